//! What the machine writes: typed records under typed keys, gathered into batches.
//!
//! Every value is absolute, so the same batch may be written twice. The stored form of a record lives in
//! `reelmill-proto`; the guard that ties a batch to its term is added by whoever performs it.

use reelmill_common::FencingTerm;
use reelmill_common::record::{
    CommitRecord, FaultRecord, IdempotencyRecord, JobRecord, OutsideRecord, StateKey, WorkerRecord,
};

/// Most operations of one batch: etcd refuses transactions of more than 128, guards included.
pub const BATCH_OPS_MAX: usize = 100;

/// One record of the families the leader writes through the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// `jobs/<id>`
    Job(Box<JobRecord>),
    /// `commits/<id>/<spec>`
    Commit(Box<CommitRecord>),
    /// `faults/<id>/<spec>`
    Fault(Box<FaultRecord>),
    /// `idem/<tenant>/<key>`
    Idempotency(Box<IdempotencyRecord>),
    /// `outside`
    Outside(OutsideRecord),
    /// `workers/<name>`
    Worker(Box<WorkerRecord>),
}

impl Record {
    /// The key it is stored under.
    pub fn key(&self) -> StateKey {
        match self {
            Self::Job(r) => StateKey::Job(r.id.clone()),
            Self::Commit(r) => StateKey::Commit(r.job.clone(), r.spec),
            Self::Fault(r) => StateKey::Fault(r.job.clone(), r.spec),
            Self::Idempotency(r) => StateKey::Idempotency(r.tenant.clone(), r.key.clone()),
            Self::Outside(_) => StateKey::Outside,
            Self::Worker(r) => StateKey::Worker(r.worker.clone()),
        }
    }
}

/// One change of the state store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Store the record under its key.
    Put(Record),
    /// Forget the key; it need not exist.
    Delete(StateKey),
}

impl Op {
    /// The key it changes.
    pub fn key(&self) -> StateKey {
        match self {
            Self::Put(record) => record.key(),
            Self::Delete(key) => key.clone(),
        }
    }
}

/// Names a batch within its term.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct BatchId(pub u64);

/// Changes to be written together or not at all, guarded by the term. Empty: there is nothing to write.
///
/// A batch whose fate was unknown is written again, and a copy of it may still be on its way. So whoever writes it
/// also guards the order: within a term a batch takes effect only if no later one has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    /// Its number within the term; named in the answer.
    pub id: BatchId,
    /// The term that guards it.
    pub term: FencingTerm,
    /// At most [`BATCH_OPS_MAX`] changes, no key twice, ascending by key.
    pub ops: Vec<Op>,
    /// Wait this long before writing: 0 at first, growing when the store does not say what became of the batch.
    pub delay_ms: u64,
}

impl Batch {
    /// Is there nothing to write?
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}
