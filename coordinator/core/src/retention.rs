//! What is kept for how long after a job's end: its record for 30 days, then less and less.
//!
//! ```text
//! Failed | Cancelled --30 days--> Collecting -> Collected --a while, and collected once more--> no key
//! Published --30 days--> Archive: the record becomes an object beside the folded commits --> no key
//! ```
//!
//! So that no object outlives the last record that knows of it: what was uploaded for a job that never published is
//! deleted, what was deleted by its owner is forgotten, and a package that plays keeps its record, as an object. A leader
//! that was stopped for a while and wakes up deposed may be in the middle of storing something, a plan say, of a job that
//! was deleted and collected meanwhile: nothing can fence a write to an object store. Hence the second collection. Wall
//! time decides nothing else; when it jumps, a job goes sooner or later.

use crate::effect::Effect;
use crate::job::Job;
use crate::leader::Leader;
use crate::record::Op;
use crate::turn::Turn;
use crate::work::TaskKind;
use reelmill_common::JobId;
use reelmill_common::job::JobState;
use reelmill_common::record::StateKey;

/// Jobs that go in one sweep.
const EXPIRED_PER_SWEEP: usize = 50;

impl Leader {
    /// Jobs whose end is long ago.
    pub(crate) fn expire_jobs(&mut self, turn: &mut Turn<'_>, unix_ms: u64) {
        let long_ago = |ended: u64| unix_ms.saturating_sub(ended) >= turn.config.retain_ms;
        let is_old = |j: &Job| match j.state() {
            // however long ago it ended: what comes late comes after it was deleted
            JobState::Collected => j.told_until <= turn.now,
            _ => j.record.ended_unix_ms.is_some_and(long_ago),
        };
        let old: Vec<(JobId, JobState)> = self
            .jobs
            .values()
            .filter(|j| j.task.is_none() && is_old(j))
            .map(|j| (j.id().clone(), j.state().clone()))
            .take(EXPIRED_PER_SWEEP)
            .collect();
        for (id, state) in old {
            match state {
                JobState::Failed(_) | JobState::Cancelled => self.collect(turn, &id),
                JobState::Published => self.start(turn, &id, TaskKind::Archive, 0, 0),
                JobState::Collected => self.start(turn, &id, TaskKind::Collect, 0, 0),
                _ => {}
            }
        }
    }

    /// Nothing is left of the job. The second time its record goes, too.
    pub(crate) fn collected(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        if *job.state() == JobState::Collected {
            return self.forget_job(turn, id);
        }
        job.told_until = turn.now.plus(turn.config.tell_collected_ms);
        self.move_job(turn, id, JobState::Collected, vec![], vec![]);
    }

    /// The record is an object. A job that was deleted meanwhile goes on to be collected, that object with it.
    pub(crate) fn archived(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        match self.jobs.get(id).map(|j| j.state()) {
            Some(JobState::Published) => self.forget_job(turn, id),
            Some(_) => self.advance(turn, id),
            None => {}
        }
    }

    fn forget_job(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        self.forget_parts(turn, id);
        self.jobs.remove(id);
        turn.write(vec![Op::Delete(StateKey::Job(id.clone()))], vec![Effect::JobChanged(id.clone())]);
    }
}
