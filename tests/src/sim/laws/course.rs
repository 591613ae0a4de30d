//! What a job's record may become.

use crate::sim::store::Store;
use reelmill_common::JobId;
use reelmill_common::job::JobState;
use reelmill_common::record::JobRecord;
use reelmill_coordinator_core::{Batch, Op, Record};

/// A job's record as a batch leaves it.
pub(super) fn job_in<'a>(batch: &'a Batch, job: &JobId) -> Option<&'a JobRecord> {
    batch.ops.iter().find_map(|op| match op {
        Op::Put(Record::Job(j)) if j.id == *job => Some(&**j),
        _ => None,
    })
}

/// Was there a moment between what is stored and what a batch leaves in which workers could work for the job? A batch
/// takes effect whole, and a Retry and what it brought to life fall together while an earlier write is on its way: a
/// worker that comes then with an outcome that nobody has settled has it committed in the Retry's own batch.
pub(super) fn lives_in(store: &Store, batch: &Batch, job: &JobId) -> bool {
    let (before, after) = (store.job(job), job_in(batch, job));
    let lived = |r: &JobRecord| {
        use JobState::{Accepted, Indexing, Planned, Running};
        matches!(r.state, Accepted | Indexing | Planned | Running)
    };
    let ran_again = || before.zip(after).is_some_and(|(before, after)| after.run > before.run);
    before.is_some_and(lived) || after.is_some_and(lived) || ran_again()
}

/// All of a record that says how far its job is; what is used up, shown or waited for is left out.
pub(super) fn place(job: &JobRecord) -> impl PartialEq + '_ {
    let made = (&job.index, &job.analysis, &job.plan, &job.manifests);
    (&job.state, job.run, made, &job.rebind, job.rebinds, &job.unable)
}

/// May a job's record follow another? States may be skipped: changes of one batch fall together.
pub(super) fn may_follow(old: &JobRecord, new: &JobRecord) -> bool {
    let rank = |s: &JobState| match s {
        JobState::Accepted => 0,
        JobState::Indexing => 1,
        JobState::Planned => 2,
        JobState::Running => 3,
        JobState::Publishing => 4,
        JobState::Published => 5,
        JobState::Failed(_) | JobState::Cancelled => 6,
        JobState::Collecting => 7,
        JobState::Collected => 8,
    };
    let (from, to) = (rank(&old.state), rank(&new.state));
    match (&old.damage, &new.damage) {
        (old, new) if old == new => {}
        // back to Indexing, and on from there: once a job, and while workers work for it
        (None, Some(_)) => return (2..4).contains(&from) || new.run > old.run && from == 6,
        _ => return false,
    }
    if new.run > old.run {
        // a Retry leads back; from active states a fall and the Retry may have fallen together
        return from != 4 && from != 5 && from < 7;
    }
    match (from, to) {
        (4 | 5, 6) => false,
        (6, 6) => old.state == new.state,
        _ => from <= to,
    }
}
