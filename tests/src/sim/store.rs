//! The model of what is durable: the state store with its leader key, and object storage.
//!
//! The state store does what the port promises: a batch takes effect whole or not at all, only in its term, and never
//! behind a later batch of the term. Everything that is stored passes the laws of [`super::laws`] on its way.

use super::laws::Laws;
use super::tally::Tally;
use reelmill_common::job::JobState;
use reelmill_common::record::{CommitRecord, FaultRecord, JobRecord, StateKey};
use reelmill_common::{FencingTerm, JobId, SpecId};
use reelmill_coordinator_core::{Batch, BatchId, Op, Record};
use std::collections::{BTreeMap, BTreeSet};

/// Who leads, by the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LeaderKey {
    /// Which coordinator process.
    pub(super) control: usize,
    /// Which life of it.
    pub(super) life: u64,
    /// Its term.
    pub(super) term: FencingTerm,
    /// The key goes if it is not kept alive until then.
    pub(super) expires_ms: u64,
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Written {
    /// It took effect.
    Done,
    /// Another term leads.
    Fenced,
}

/// The state store.
#[derive(Debug, Default)]
pub(super) struct Store {
    records: BTreeMap<StateKey, Record>,
    /// The elected leader.
    pub(super) leader: Option<LeaderKey>,
    terms: u64,
    applied: BatchId,
}

impl Store {
    /// Makes a process the leader.
    pub(super) fn elect(&mut self, control: usize, life: u64, expires_ms: u64) -> FencingTerm {
        self.terms += 1;
        let term = FencingTerm(self.terms);
        self.leader = Some(LeaderKey { control, life, term, expires_ms });
        self.applied = BatchId(0);
        term
    }

    /// Is this the leading process and life?
    pub(super) fn leads(&self, control: usize, life: u64, term: FencingTerm) -> bool {
        self.leader.is_some_and(|l| (l.control, l.life, l.term) == (control, life, term))
    }

    /// Writes a batch, guarded by term and order.
    pub(super) fn write(&mut self, batch: &Batch, laws: &mut Laws, tally: &mut Tally) -> Written {
        if self.leader.is_none_or(|l| l.term != batch.term) {
            tally.count("store: fenced");
            return Written::Fenced;
        }
        if batch.id < self.applied {
            tally.count("store: late copy refused");
            return Written::Done;
        }
        self.applied = batch.id;
        laws.writing(self, batch, tally);
        for op in &batch.ops {
            match op {
                Op::Put(record) => {
                    self.records.insert(record.key(), record.clone());
                }
                Op::Delete(key) => {
                    self.records.remove(key);
                }
            }
        }
        laws.written(self, batch);
        tally.count("store: written");
        Written::Done
    }

    /// Everything.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// A job's record.
    pub(super) fn job(&self, id: &JobId) -> Option<&JobRecord> {
        match self.records.get(&StateKey::Job(id.clone())) {
            Some(Record::Job(r)) => Some(r),
            _ => None,
        }
    }

    /// Every job's record.
    pub(super) fn jobs(&self) -> impl Iterator<Item = &JobRecord> {
        self.records.values().filter_map(|r| match r {
            Record::Job(r) => Some(&**r),
            _ => None,
        })
    }

    /// A spec's commit.
    pub(super) fn commit(&self, job: &JobId, spec: SpecId) -> Option<&CommitRecord> {
        match self.records.get(&StateKey::Commit(job.clone(), spec)) {
            Some(Record::Commit(r)) => Some(r),
            _ => None,
        }
    }

    /// All commits of a job.
    pub(super) fn commits(&self, job: &JobId) -> impl Iterator<Item = &CommitRecord> {
        self.records.values().filter_map(move |r| match r {
            Record::Commit(c) if c.job == *job => Some(&**c),
            _ => None,
        })
    }

    /// A spec's budget.
    pub(super) fn fault(&self, job: &JobId, spec: SpecId) -> Option<&FaultRecord> {
        match self.records.get(&StateKey::Fault(job.clone(), spec)) {
            Some(Record::Fault(r)) => Some(r),
            _ => None,
        }
    }

    /// Would the next leader know that workers may outlive this one?
    pub(super) fn knows_of_workers(&self) -> bool {
        self.records.contains_key(&StateKey::Outside)
    }

    /// Has every job come to its end, and does nothing go on by itself?
    pub(super) fn is_at_rest(&self) -> bool {
        self.jobs().all(|j| j.state.is_terminal() && j.state != JobState::Collecting)
    }

    /// Is a job still told of that was deleted?
    pub(super) fn tells_of_deleted(&self) -> bool {
        self.jobs().any(|j| j.state == JobState::Collected)
    }
}

/// Object storage: which files of which jobs are there.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// Output of specs: everything an attempt put.
    pub(super) outputs: BTreeSet<(JobId, SpecId)>,
    /// Stored plans.
    pub(super) plans: BTreeSet<JobId>,
    /// Records that became objects.
    pub(super) archived: BTreeSet<JobId>,
    /// Packages whose roots are readable.
    pub(super) roots: BTreeSet<JobId>,
    /// Jobs for which somebody who does not lead any more has stored something since anything of them was deleted.
    pub(super) late: BTreeSet<JobId>,
}

impl Objects {
    /// What there is of a job.
    pub(super) fn left(&self, job: &JobId) -> Vec<&'static str> {
        let output = self.outputs.iter().any(|(j, _)| j == job).then_some("outputs");
        let kinds = [("plans", &self.plans), ("archived", &self.archived), ("roots", &self.roots)];
        let others = kinds.into_iter().filter(|(_, kind)| kind.contains(job)).map(|(name, _)| name);
        output.into_iter().chain(others).collect()
    }

    /// Deletes everything of a job.
    pub(super) fn delete(&mut self, job: &JobId) {
        self.outputs.retain(|(j, _)| j != job);
        self.plans.remove(job);
        self.archived.remove(job);
        self.roots.remove(job);
        self.late.remove(job);
    }
}
