//! The workers that have credentials of their own, as the leader's records say. Filled from acknowledged writes only.

use super::{Failure, token};
use crate::clock::unix_ms;
use reelmill_common::record::WorkerRecord;
use reelmill_common::{Sha256, WorkerId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A wall clock is looked at again after this.
const LOOK: Duration = Duration::from_secs(60);

type Records = BTreeMap<WorkerId, WorkerRecord>;

/// Enrolled workers.
#[derive(Clone, Debug)]
pub(crate) struct Enrolled(Arc<watch::Sender<Records>>);

impl Enrolled {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::channel(Records::new()).0))
    }

    /// A term has been loaded.
    pub(crate) fn load(&self, records: impl Iterator<Item = WorkerRecord>) {
        self.0.send_replace(records.map(|r| (r.worker.clone(), r)).collect());
    }

    /// A record has become durable.
    pub(crate) fn put(&self, record: WorkerRecord) {
        self.0.send_modify(|records| drop(records.insert(record.worker.clone(), record)));
    }

    /// A record has gone.
    pub(crate) fn remove(&self, worker: &WorkerId) {
        self.0.send_modify(|records| drop(records.remove(worker)));
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<WorkerRecord> {
        self.0.borrow().values().cloned().collect()
    }

    /// Has this name a credential of its own?
    pub(crate) fn holds(&self, worker: &WorkerId) -> bool {
        self.0.borrow().contains_key(worker)
    }

    /// Is this the worker's credential, now?
    pub(super) fn check(&self, worker: &WorkerId, sha256: &Sha256, unix_ms: u64) -> Result<(), Failure> {
        check(&self.0.borrow(), worker, sha256, unix_ms)
    }

    /// Waits until it is not, any more.
    pub(super) async fn ended(&self, worker: &WorkerId, sha256: &Sha256) {
        let mut records = self.0.subscribe();
        while check(&records.borrow_and_update(), worker, sha256, unix_ms()).is_ok() {
            tokio::select! {
                changed = records.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }
}

fn check(records: &Records, worker: &WorkerId, sha256: &Sha256, unix_ms: u64) -> Result<(), Failure> {
    match records.get(worker).filter(|r| token::same(&r.secret, sha256)) {
        Some(record) if record.expires_unix_ms <= unix_ms => Err(Failure::Expired),
        Some(_) => Ok(()),
        None => Err(Failure::Unknown),
    }
}
