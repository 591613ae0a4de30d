//! Bugs that a run must find, each a line or so: most by wrapping a shell or by answering as if the line were not there,
//! three behind a switch of the worker's shells.

use crate::wire;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reelmill_common::FencingTerm;
use reelmill_common::record::LeaderRecord;
use reelmill_coordinator::state::{Batch, Leadership, Page, Room, StateError, StateStore, WriteResult};
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// The bug that all processes of a run have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Bug {
    /// None.
    #[default]
    None,
    /// A write is acknowledged when it is sent.
    AckBeforeWrite,
    /// A write whose answer is lost is taken as done.
    UnknownTakenAsDone,
    /// A transaction does not compare the number of its batch: one that comes late overwrites newer ones.
    BatchNotNumbered,
    /// A transaction does not compare the term.
    TermNotCompared,
    /// Connections to etcd are not pinged: one that nobody answers on is kept for ever.
    EtcdNotPinged,
    /// A worker forgets its attempts when its connection ends, and goes on telling of them.
    AttemptsForgotten,
    /// A worker takes the end of its connection for one that it has replaced already.
    EndNotHeard,
    /// A worker takes what an attempt uploads for uploaded when it begins.
    UploadedAtOnce,
}

impl Bug {
    /// Those that must be found.
    pub(crate) const ALL: [Self; 8] = [
        Self::AckBeforeWrite,
        Self::UnknownTakenAsDone,
        Self::BatchNotNumbered,
        Self::TermNotCompared,
        Self::EtcdNotPinged,
        Self::AttemptsForgotten,
        Self::EndNotHeard,
        Self::UploadedAtOnce,
    ];

    /// By its name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bug| format!("{bug:?}") == name)
    }

    /// Of a worker's shells.
    pub(crate) fn of_worker(self) -> Option<reelmill_worker::Sabotage> {
        match self {
            Self::AttemptsForgotten => Some(reelmill_worker::Sabotage::AttemptsForgotten),
            Self::EndNotHeard => Some(reelmill_worker::Sabotage::EndNotHeard),
            Self::UploadedAtOnce => Some(reelmill_worker::Sabotage::UploadedAtOnce),
            _ => None,
        }
    }

    /// The channel to a member of etcd.
    pub(crate) fn channel(self, endpoint: Endpoint) -> Channel {
        let never = Duration::from_secs(1 << 20);
        match self {
            Self::EtcdNotPinged => wire::channel(endpoint.http2_keep_alive_interval(never)),
            _ => wire::channel(endpoint),
        }
    }
}

/// A state store with a bug.
pub(crate) struct Bugged<T> {
    pub(crate) inner: Arc<T>,
    pub(crate) bug: Bug,
}

impl<T: StateStore + 'static> StateStore for Bugged<T> {
    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StateError>> {
        self.inner.scan(prefix, after, limit)
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, WriteResult> {
        match self.bug {
            Bug::AckBeforeWrite => {
                let (inner, batch) = (Arc::clone(&self.inner), batch.clone());
                tokio::spawn(async move { drop(inner.write(&batch).await) });
                futures::future::ready(WriteResult::Done).boxed()
            }
            Bug::UnknownTakenAsDone => async move {
                match self.inner.write(batch).await {
                    WriteResult::Unknown(_) => WriteResult::Done,
                    known => known,
                }
            }
            .boxed(),
            _ => self.inner.write(batch),
        }
    }

    fn room(&self) -> BoxFuture<'_, Result<Option<Room>, StateError>> {
        self.inner.room()
    }
}

impl<T: Leadership> Leadership for Bugged<T> {
    fn campaign<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<FencingTerm, StateError>> {
        self.inner.campaign(address)
    }

    fn lost(&self, term: FencingTerm) -> BoxFuture<'_, String> {
        self.inner.lost(term)
    }

    fn resign(&self) -> BoxFuture<'_, Result<(), StateError>> {
        self.inner.resign()
    }

    fn leader(&self) -> BoxFuture<'_, Result<Option<LeaderRecord>, StateError>> {
        self.inner.leader()
    }
}
