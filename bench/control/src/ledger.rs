//! What the workers were told is durable: every verdict *won*, by job and spec. Held against what an independent client
//! finds in the state store.

use anyhow::{Result, ensure};
use reelmill_common::{AttemptId, JobId, SpecId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Commits by spec: whose output it is.
pub(crate) type Commits = BTreeMap<SpecId, AttemptId>;

/// All acknowledgements.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    jobs: Mutex<Jobs>,
    acks: AtomicU64,
}

#[derive(Debug, Default)]
struct Jobs {
    open: BTreeMap<JobId, Commits>,
    /// Jobs that were counted and handed back to the coordinator for deletion.
    closed: BTreeSet<JobId>,
    wrong: Vec<String>,
}

impl Ledger {
    /// A worker was told that its output is the spec's.
    pub(crate) fn acked(&self, job: &JobId, spec: SpecId, attempt: AttemptId) {
        let mut jobs = self.jobs();
        if jobs.closed.contains(job) {
            jobs.wrong.push(format!("{spec} of {job} was acknowledged after the job was counted"));
            return;
        }
        match jobs.open.entry(job.clone()).or_default().insert(spec, attempt) {
            None => {
                self.acks.fetch_add(1, Ordering::Relaxed);
            }
            // said again after a reconnect
            Some(before) if before == attempt => {}
            Some(before) => {
                jobs.wrong.push(format!("{spec} of {job} was acknowledged to {before} and to {attempt}"));
            }
        }
    }

    /// Distinct commits acknowledged so far, of all jobs.
    pub(crate) fn acks(&self) -> u64 {
        self.acks.load(Ordering::Relaxed)
    }

    /// How many of a job.
    pub(crate) fn count(&self, job: &JobId) -> usize {
        self.jobs().open.get(job).map_or(0, BTreeMap::len)
    }

    /// Those of a job.
    pub(crate) fn commits(&self, job: &JobId) -> Commits {
        self.jobs().open.get(job).cloned().unwrap_or_default()
    }

    /// No further commit of this job is expected.
    pub(crate) fn close(&self, job: &JobId) {
        let mut jobs = self.jobs();
        jobs.open.remove(job);
        jobs.closed.insert(job.clone());
    }

    /// Nothing was acknowledged that must not be.
    pub(crate) fn check(&self) -> Result<()> {
        let jobs = self.jobs();
        ensure!(
            jobs.wrong.is_empty(),
            "{} wrong acknowledgements: {:?}",
            jobs.wrong.len(),
            jobs.wrong.first()
        );
        Ok(())
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every acknowledged commit is stored as it was acknowledged. Gives how many are stored beyond those.
pub(crate) fn held_against(job: &JobId, acked: &Commits, stored: &Commits) -> Result<usize> {
    for (spec, attempt) in acked {
        let found = stored.get(spec);
        ensure!(
            found == Some(attempt),
            "{spec} of {job} was acknowledged to {attempt}; the store has {found:?}"
        );
    }
    Ok(stored.len() - acked.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::{FencingTerm, Sha256};

    fn spec(n: u8) -> SpecId {
        SpecId(Sha256([n; 32]))
    }

    fn attempt(sequence: u64) -> AttemptId {
        AttemptId { term: FencingTerm(1), sequence }
    }

    #[test]
    fn what_is_said_again_counts_once_and_what_contradicts_is_told() {
        let (ledger, job) = (Ledger::default(), JobId::parse("j1").unwrap());
        ledger.acked(&job, spec(1), attempt(1));
        ledger.acked(&job, spec(1), attempt(1));
        assert_eq!((ledger.acks(), ledger.count(&job)), (1, 1));
        ledger.check().unwrap();
        ledger.acked(&job, spec(1), attempt(2));
        assert!(ledger.check().is_err());
    }

    #[test]
    fn a_commit_that_is_missing_or_anothers_is_told_and_more_are_counted() {
        let job = JobId::parse("j1").unwrap();
        let acked = Commits::from([(spec(1), attempt(1))]);
        let stored = Commits::from([(spec(1), attempt(1)), (spec(2), attempt(2))]);
        assert_eq!(held_against(&job, &acked, &stored).unwrap(), 1);
        assert!(held_against(&job, &stored, &acked).is_err());
        let others = Commits::from([(spec(1), attempt(9))]);
        assert!(held_against(&job, &acked, &others).is_err());
    }

    #[test]
    fn nothing_is_acknowledged_of_a_job_that_was_counted() {
        let (ledger, job) = (Ledger::default(), JobId::parse("j1").unwrap());
        ledger.close(&job);
        ledger.acked(&job, spec(1), attempt(1));
        assert!(ledger.check().is_err());
    }
}
