//! Films whose decoder shows other frames than their index promised.
//!
//! An index is made without decoding, so a film that is damaged inside of its samples promises frames that nobody will
//! see. Whoever encodes such a part finds that out, with what its decoder complained of ([`FaultKind::Damage`]). One that
//! says so may be what is broken: the chunk is tried once more, elsewhere where there is an elsewhere. Said twice, it is
//! the film: the job goes back to Indexing, and what the decoder shows is the film from then on. That is one write, and
//! happens once a job: what a second worker's decoder still shows otherwise after that is the input's fault.
//!
//! ```text
//! Running --Damage--> Running --Damage, again--> Indexing (by what is shown) --> Planned --> ... --Damage, twice--> Failed (3)
//! ```
//! The new plan has other chunks and other folders, because the index is another: what was committed before stays where it
//! is, is not published, and goes with the job.
//!
//! [`FaultKind::Damage`]: reelmill_common::outcome::FaultKind::Damage

use crate::attempt::Attempt;
use crate::job::Job;
use crate::leader::Leader;
use crate::turn::{Turn, sabotaged};
use reelmill_common::job::{FailReason, JobState};
use reelmill_common::outcome::{Fault, FaultKind};
use reelmill_common::{JobId, SpecId};

impl Job {
    /// Did an attempt at this chunk find before that the film shows other frames?
    fn was_called_damaged(&self, spec: SpecId) -> bool {
        let last = self.faults.get(&spec).and_then(|f| f.last.as_ref());
        last.is_some_and(|fault| fault.kind == FaultKind::Damage)
    }
}

impl Leader {
    /// An encode found other frames than the index promised.
    pub(crate) fn damaged(&mut self, turn: &mut Turn<'_>, attempt: &Attempt, fault: Fault) {
        let Some(job) = self.jobs.get(&attempt.job) else { return };
        let last_try = job.fault_record(attempt.spec.id).faults + 1 >= turn.config.faults_max;
        if !job.was_called_damaged(attempt.spec.id) && !last_try {
            // it does not count against the worker, which says what it saw
            return self.charge_fault(turn, attempt, fault);
        }
        if job.record.damage.is_some() && !sabotaged!(turn.config, IndexedForEver) {
            let reason = FailReason {
                kind: FaultKind::Source,
                message: format!("its decoder shows other frames at each look: {}", fault.message),
                detail: fault.detail,
            };
            return self.fail_job(turn, &attempt.job, reason, vec![]);
        }
        self.index_anew(turn, &attempt.job, fault.message);
    }

    /// Back to Indexing, by what the decoder shows.
    fn index_anew(&mut self, turn: &mut Turn<'_>, id: &JobId, damage: String) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.note("the film is damaged: it is decoded once to see which frames there are".to_owned());
        let record = &mut job.record;
        record.damage = Some(damage);
        (record.index, record.analysis, record.plan) = (None, None, None);
        // what was bound, and who could not give it, was of the plan that is gone
        (record.rebind, record.unbound_ms) = (None, 0);
        record.unable.clear();
        (job.fingerprint, job.last_maker) = (None, None);
        (job.durable_chunks, job.durable_cost_ms, job.plan_cost_ms) = (0, 0, 0);
        self.unbound.remove(id);
        self.move_job(turn, id, JobState::Indexing, vec![], vec![]);
        self.stop_work(turn, id);
        self.advance(turn, id);
    }
}
