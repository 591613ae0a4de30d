//! Workers that join with a credential of their own: who is enrolled is durable, and one name has one credential.
//!
//! ```text
//! (nothing) | expired --Enrol--> enrolled --Enrol with the old credential--> enrolled --Revoke | 30 days--> (nothing)
//! ```
//!
//! Only hashes come here. Whether a caller holds the credential that it names was found out at the door; sessions of a
//! credential that is no more are ended there, too.

use crate::call::{Enrolment, Refusal, Token, WorkerCall};
use crate::effect::Effect;
use crate::leader::Leader;
use crate::record::{Op, Record};
use crate::turn::Turn;
use reelmill_common::WorkerId;
use reelmill_common::record::{StateKey, WorkerRecord};

/// Workers that may be enrolled.
const ENROLLED_MAX: usize = 20_000;
/// Records that go in one sweep.
const EXPIRED_PER_SWEEP: usize = 50;

impl Leader {
    /// Obeys or refuses; either is answered once it is durable.
    pub(crate) fn worker_call(&mut self, turn: &mut Turn<'_>, token: Token, call: WorkerCall) {
        let result = match call {
            WorkerCall::Enrol(enrolment) => self.enrol(turn, *enrolment),
            WorkerCall::Revoke { worker } => self.revoke_worker(turn, &worker),
        };
        turn.then(Effect::ReplyWorker { token, result });
    }

    fn enrol(&mut self, turn: &mut Turn<'_>, e: Enrolment) -> Result<(), Refusal> {
        let record = WorkerRecord {
            worker: e.worker.clone(),
            secret: e.secret,
            enrolled_unix_ms: e.unix_ms,
            expires_unix_ms: e.expires_unix_ms,
        };
        let known = self.enrolled.get(&e.worker).filter(|r| r.expires_unix_ms > e.unix_ms);
        match (known, e.renews) {
            // the same once more: its answer was lost
            (Some(known), _) if known.secret == e.secret => return Ok(()),
            (Some(known), Some(shown)) if known.secret == shown => {}
            (None, None) => {}
            (Some(_), None) => return Err(Refusal::WorkerExists(e.worker)),
            (_, Some(_)) => return Err(Refusal::NoSuchWorker(e.worker)),
        }
        if known.is_none() && self.enrolled.len() >= ENROLLED_MAX {
            return Err(Refusal::Exhausted { what: "enrolled workers", limit: ENROLLED_MAX });
        }
        turn.write(vec![Op::Put(Record::Worker(Box::new(record.clone())))], vec![]);
        self.enrolled.insert(e.worker, record);
        Ok(())
    }

    fn revoke_worker(&mut self, turn: &mut Turn<'_>, worker: &WorkerId) -> Result<(), Refusal> {
        if self.enrolled.remove(worker).is_none() {
            return Err(Refusal::NoSuchWorker(worker.clone()));
        }
        turn.write(vec![Op::Delete(StateKey::Worker(worker.clone()))], vec![]);
        Ok(())
    }

    /// Credentials that have run out.
    pub(crate) fn expire_enrolled(&mut self, turn: &mut Turn<'_>, unix_ms: u64) {
        let old = self.enrolled.values().filter(|r| r.expires_unix_ms <= unix_ms);
        let old: Vec<WorkerId> = old.map(|r| r.worker.clone()).take(EXPIRED_PER_SWEEP).collect();
        let delete = |worker: WorkerId| {
            self.enrolled.remove(&worker);
            Op::Delete(StateKey::Worker(worker))
        };
        let ops: Vec<Op> = old.into_iter().map(delete).collect();
        if !ops.is_empty() {
            turn.write(ops, vec![]);
        }
    }
}
