//! The two ports behind which all durable state lies: [`StateStore`] and [`Leadership`].
//!
//! Keys are text, values are bytes; what they mean is the business of `reelmill-coordinator-core` and of the
//! conversions in `reelmill-proto`. This module must not know a record type, decide anything or retry a write: a
//! write ends as *done*, *guard failed*, *refused* or *unknown*, and the driver says what happens then.
//!
//! Three implementations pass one conformance suite ([`conformance::run`]): [`memory`], [`embedded`] (redb under an
//! exclusive lock on the data directory) and [`etcd`].
//!
//! Both traits return boxed futures and so can be used as `dyn`: the driver holds `Arc<dyn StateStore>` chosen at
//! start-up and tests wrap it. One allocation beside an fsync or a round trip does not show; an enum of three would
//! have to be taught every decorator, and generics would spread through the driver.

mod batch;
pub mod conformance;
mod election;
pub mod embedded;
pub mod etcd;
pub mod memory;

pub use batch::{Batch, Guard, MAX_BATCH_BYTES, MAX_BATCH_OPERATIONS, MAX_KEY_BYTES};

use futures::future::BoxFuture;
use reelmill_common::{FencingTerm, record::LeaderRecord};

/// The most entries one page of a scan holds, whatever was asked for.
pub const MAX_PAGE_ENTRIES: usize = 1_000;

/// Durable keys and values, ordered by the bytes of the key.
pub trait StateStore: Send + Sync {
    /// The entries whose keys begin with `prefix`, ascending, from the first one greater than `after`, at most
    /// `limit` of them (and never more than [`MAX_PAGE_ENTRIES`]). Linearizable: it sees every write that was
    /// acknowledged before it was called. Two pages are two reads; nothing changes between them for a leader that
    /// loads before its first write, because nobody else can write.
    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StateError>>;

    /// Applies all of `batch` or nothing, if its guard holds. Writes of one leader go one after the other; after
    /// [`WriteResult::Unknown`] the very same batch has to be sent again before any other. Sending it again is safe
    /// whether or not it was applied: it is applied at most once, and never after a later one.
    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, WriteResult>;

    /// How full the store is now; `None` where nothing bounds it. Whoever asks does so every few seconds: it costs no
    /// write, and no more than a round trip.
    fn room(&self) -> BoxFuture<'_, Result<Option<Room>, StateError>>;
}

/// How much of what a store may take up is taken up, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Taken up: what another byte cannot have. More than [`Room::most`] when the store is over its bound already.
    pub used: u64,
    /// The bound.
    pub most: u64,
}

impl Room {
    /// Is more of it taken up, by its bound, than of the other?
    pub fn is_fuller_than(self, other: Self) -> bool {
        u128::from(self.used) * u128::from(other.most) > u128::from(other.used) * u128::from(self.most)
    }

    /// What is taken up, in hundredths of the bound.
    pub fn percent(self) -> u64 {
        u64::try_from(u128::from(self.used) * 100 / u128::from(self.most.max(1))).unwrap_or(u64::MAX)
    }
}

/// Who leads.
pub trait Leadership: Send + Sync {
    /// Waits until this contender leads and returns its term, greater than every earlier one. `address` is where
    /// clients and workers reach it. Fails only on what waiting cannot cure. A contender that leads already waits for
    /// the end of its own term first.
    fn campaign<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<FencingTerm, StateError>>;

    /// Resolves, with the reason, when `term` has ended: resigned, taken away, or no longer certain.
    fn lost(&self, term: FencingTerm) -> BoxFuture<'_, String>;

    /// Gives up the term held, if any, so that another contender need not wait for a deadline.
    fn resign(&self) -> BoxFuture<'_, Result<(), StateError>>;

    /// Who leads now, for the answer `NotLeader { address }`; `None` while nobody does.
    fn leader(&self) -> BoxFuture<'_, Result<Option<LeaderRecord>, StateError>>;
}

/// One page of a scan.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// Keys and values, ascending by key.
    pub entries: Vec<(String, Vec<u8>)>,
    /// Pass this as `after` for the next page; `None`: this was the last.
    pub next: Option<String>,
}

/// How a write ended.
#[derive(Debug)]
#[must_use = "an effect may only follow a write that is done"]
pub enum WriteResult {
    /// Durable.
    Done,
    /// Not applied, and it never will be: another term leads. Drop all memory and end the term.
    GuardFailed,
    /// It may be durable or not. Send the very same batch again.
    Unknown(String),
    /// Not applied, and the same batch cannot be: it breaks a limit, or the store lets this process write nothing, or is
    /// full. An operator or a developer has to act.
    Refused(StateError),
}

impl WriteResult {
    /// Is it durable?
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

/// Why the state store could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StateError {
    kind: StateErrorKind,
    message: String,
}

/// What a caller can do about a [`StateError`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StateErrorKind {
    /// Not reachable, too slow or failing just now: try again.
    Unavailable,
    /// Another process holds the data directory.
    Locked,
    /// Not allowed: credentials or file permissions.
    Permission,
    /// No room left: disk or database quota.
    Full,
    /// What is stored cannot be read.
    Corrupt,
    /// The call itself is wrong.
    Invalid,
}

impl StateError {
    /// An error of `kind`; `message` says what happened and what to do.
    pub fn new(kind: StateErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> StateErrorKind {
        self.kind
    }

    /// May the same call succeed later without anybody acting?
    pub fn retryable(&self) -> bool {
        self.kind == StateErrorKind::Unavailable
    }
}
