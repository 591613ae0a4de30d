//! The attempts a worker holds, with the phase each is in, and which waiting lease may start.
//!
//! Pure bookkeeping: it says nothing to anybody. What is said about a phase is decided in [`super`].

use reelmill_common::outcome::{AttemptCost, Outcome};
use reelmill_common::session::{AttemptProgress, Lease, NamedFile};
use reelmill_common::{AttemptId, JobId, Millis, SpecId};
use std::collections::{BTreeMap, BTreeSet};

/// How many forgotten attempts are remembered, so that a late duplicate of a lease does not start them again.
const REMEMBERED: usize = 512;

/// Where an attempt is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Leased, no slot yet.
    Waiting(Box<Lease>),
    /// The shell works on it.
    Working,
    /// Made; asked for the grant at `asked`.
    Made { files: Vec<NamedFile>, asked: Option<Millis> },
    /// The shell uploads it. `wanted`: files it has asked requests for and has none yet; said at `asked`.
    Uploading { wanted: Vec<NamedFile>, asked: Option<Millis> },
    /// Over; the outcome was last said at `said`.
    Ended { outcome: Box<Outcome>, said: Option<Millis> },
}

/// One attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub(super) job: JobId,
    pub(super) spec: SpecId,
    pub(super) alone: bool,
    pub(super) phase: Phase,
    /// When the heartbeat was sent whose acknowledgement renewed the lease last.
    pub(super) renewed: Millis,
    pub(super) done: u64,
    pub(super) total: u64,
    pub(super) cost: AttemptCost,
}

/// All attempts held, and those forgotten lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts {
    held: BTreeMap<AttemptId, Held>,
    /// Waiting leases in the order of their arrival.
    queue: Vec<AttemptId>,
    forgotten: BTreeSet<AttemptId>,
}

impl Attempts {
    pub(super) fn get_mut(&mut self, attempt: AttemptId) -> Option<&mut Held> {
        self.held.get_mut(&attempt)
    }

    pub(super) fn get(&self, attempt: AttemptId) -> Option<&Held> {
        self.held.get(&attempt)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (AttemptId, &Held)> {
        self.held.iter().map(|(id, h)| (*id, h))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (AttemptId, &mut Held)> {
        self.held.iter_mut().map(|(id, h)| (*id, h))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Is the attempt held, or was it lately?
    pub(super) fn knows(&self, attempt: AttemptId) -> bool {
        self.held.contains_key(&attempt) || self.forgotten.contains(&attempt)
    }

    /// Takes a lease in.
    pub(super) fn accept(&mut self, lease: Box<Lease>, renewed: Millis) {
        let (attempt, job, spec, alone) = (lease.attempt, lease.job.clone(), lease.spec, lease.alone);
        let phase = Phase::Waiting(lease);
        let cost = AttemptCost::default();
        self.held.insert(attempt, Held { job, spec, alone, phase, renewed, done: 0, total: 0, cost });
        self.queue.push(attempt);
    }

    /// Drops an attempt for good and remembers that it was here.
    pub(super) fn forget(&mut self, attempt: AttemptId) -> Option<Held> {
        let held = self.held.remove(&attempt)?;
        self.queue.retain(|a| *a != attempt);
        self.forgotten.insert(attempt);
        while self.forgotten.len() > REMEMBERED {
            // the smallest id is the oldest: terms and sequences only grow
            self.forgotten.pop_first();
        }
        Some(held)
    }

    /// The attempt does not wait for a slot any more.
    pub(super) fn unqueue(&mut self, attempt: AttemptId) {
        self.queue.retain(|a| *a != attempt);
    }

    /// The next lease that may start with `slots` slots, moved to `Working`; `None` when none may.
    /// First come, first served: an `alone` lease waits for the others to end and lets nobody past.
    pub(super) fn start_next(&mut self, slots: usize) -> Option<Box<Lease>> {
        let head = *self.queue.first()?;
        let may = if self.held.get(&head)?.alone {
            !self.iter().any(|(_, h)| h.busy())
        } else {
            self.working() < slots && !self.iter().any(|(_, h)| h.alone && h.busy())
        };
        if !may {
            return None;
        }
        self.queue.remove(0);
        let held = self.held.get_mut(&head)?;
        match std::mem::replace(&mut held.phase, Phase::Working) {
            Phase::Waiting(lease) => Some(lease),
            // the queue holds waiting attempts only
            other => {
                held.phase = other;
                None
            }
        }
    }

    /// Attempts that wait for a slot.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Attempts being worked on.
    pub(super) fn working(&self) -> usize {
        self.iter().filter(|(_, h)| h.phase == Phase::Working).count()
    }

    /// Attempts that ended and were not settled.
    pub(super) fn unsettled(&self) -> usize {
        self.iter().filter(|(_, h)| matches!(h.phase, Phase::Ended { .. })).count()
    }

    /// Does an attempt that must run alone wait, run or upload?
    pub(super) fn alone(&self) -> bool {
        self.iter().any(|(_, h)| h.alone && !matches!(h.phase, Phase::Ended { .. }))
    }

    /// What a heartbeat says: everything that has not ended.
    pub(super) fn running(&self) -> Vec<AttemptProgress> {
        self.iter()
            .filter(|(_, h)| !matches!(h.phase, Phase::Ended { .. }))
            .map(|(attempt, h)| AttemptProgress { attempt, done: h.done, total: h.total, cost: h.cost })
            .collect()
    }
}

impl Phase {
    /// The shell begins to upload.
    pub(super) fn uploading() -> Self {
        Self::Uploading { wanted: Vec::new(), asked: None }
    }
}

impl Held {
    /// Does the shell do something for it, or is it about to?
    pub(super) fn busy(&self) -> bool {
        matches!(self.phase, Phase::Working | Phase::Made { .. } | Phase::Uploading { .. })
    }
}
