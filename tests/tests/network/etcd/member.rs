//! A member of the cluster as clients meet it: the store behind gRPC, and what goes wrong with calls.
//!
//! All members share one store: consensus is not what is judged here. A member that cannot reach most of the others
//! answers nothing of use, as a real one.

use super::store::Store;
use crate::sabotage::Bug;
use reelmill_tests::sim::rng::Rng;
use reelmill_tests::sim::tally::Tally;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::sleep;
use tonic::{Response, Status};

/// How long etcd itself waits for its members before it gives a request up.
const GIVES_UP: Duration = Duration::from_secs(7);
/// Port of every member.
pub(crate) const PORT: u16 = 2379;

/// Of a thousand calls, how many end so.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// Nothing was done, and it says so.
    pub(crate) before: u64,
    /// It was done, and it says otherwise.
    pub(crate) after: u64,
    /// It is done when nobody waits for it any more.
    pub(crate) late: u64,
    /// It takes a while.
    pub(crate) slow: u64,
    /// Too many requests.
    pub(crate) busy: u64,
}

/// The cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) rates: Rates,
    pub(crate) members: usize,
    /// Members that do not run.
    pub(crate) down: BTreeSet<String>,
    /// What went wrong with calls.
    pub(crate) struck: Tally,
    rng: Rng,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Well,
    Before,
    After,
    Late(Duration),
    Slow(Duration),
    Busy,
    NoQuorum,
}

impl Cluster {
    pub(crate) fn new(members: usize, bug: Bug, rng: Rng) -> Arc<Mutex<Self>> {
        let store = Store::new(bug);
        let rates = Rates::default();
        Arc::new(Mutex::new(Self {
            store,
            rates,
            members,
            down: BTreeSet::new(),
            struck: Tally::default(),
            rng,
        }))
    }

    fn fate(&mut self) -> Fate {
        if (self.members - self.down.len()) * 2 <= self.members {
            self.struck.count("etcd: no quorum");
            return Fate::NoQuorum;
        }
        let (at, detail) = (self.rng.range(0, 999), self.rng.range(0, 9_000));
        let Rates { before, after, late, slow, busy } = self.rates;
        let fates = [
            (before, "etcd: error before", Fate::Before),
            (after, "etcd: error after", Fate::After),
            (late, "etcd: done late", Fate::Late(Duration::from_millis(500 + detail))),
            (slow, "etcd: slow", Fate::Slow(Duration::from_millis(detail / 3))),
            (busy, "etcd: busy", Fate::Busy),
        ];
        let mut below = 0;
        let struck = fates.into_iter().find(|(rate, ..)| {
            below += rate;
            at < below
        });
        struck.map_or(Fate::Well, |(_, name, fate)| {
            self.struck.count(name);
            fate
        })
    }
}

/// One member.
#[derive(Clone)]
pub(crate) struct Member(pub(crate) Arc<Mutex<Cluster>>);

fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

impl Member {
    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a call, as its fate will have it.
    pub(super) async fn serve<T>(
        &self,
        call: impl FnOnce(&mut Store, Duration) -> Result<T, Status> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let fate = self.cluster().fate();
        let timed_out = || Status::unavailable("etcdserver: request timed out");
        match fate {
            Fate::Well => {}
            Fate::Before => return Err(Status::unavailable("etcdserver: leader changed")),
            Fate::Busy => return Err(Status::resource_exhausted("etcdserver: too many requests")),
            Fate::Slow(pause) => sleep(pause).await,
            Fate::NoQuorum => {
                sleep(GIVES_UP).await;
                return Err(timed_out());
            }
            Fate::After => {
                drop(call(self.cluster().store.at(now()), now()));
                return Err(timed_out());
            }
            Fate::Late(pause) => {
                let late = self.clone();
                tokio::spawn(async move {
                    sleep(pause).await;
                    drop(call(late.cluster().store.at(now()), now()));
                });
                sleep(GIVES_UP).await;
                return Err(timed_out());
            }
        }
        call(self.cluster().store.at(now()), now()).map(Response::new)
    }
}
