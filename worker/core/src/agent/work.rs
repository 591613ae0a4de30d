//! The agent's attempts from lease to verdict, and how it leaves.

use super::attempts::Phase;
use super::words::AgentEffect;
#[cfg(feature = "sabotage")]
use super::words::Sabotage;
use super::{Agent, Leaving};
use reelmill_common::outcome::{AttemptCost, Fault, FaultKind, Outcome};
use reelmill_common::session::{FromWorker, Lease, NamedFile, SignedFile};
use reelmill_common::{AttemptId, Millis};

impl Agent {
    pub(super) fn slots(&self) -> usize {
        self.config.capability.slots.max(1) as usize
    }

    pub(super) fn leased(&mut self, now: Millis, lease: Box<Lease>, fx: &mut Vec<AgentEffect>) {
        if sabotaged!(self, LeaseStartsTwice) && self.attempts.knows(lease.attempt) {
            fx.push(AgentEffect::Start(lease));
            return;
        }
        if self.attempts.knows(lease.attempt) {
            return;
        }
        // What was asked for and what arrives may cross; a few extra leases wait, more are handed back.
        let refuse = self.leaving != Leaving::No || self.attempts.waiting() >= 2 * self.slots();
        let attempt = lease.attempt;
        self.attempts.accept(lease, self.session.renewed);
        self.session.asked = None;
        if refuse {
            self.hand_back(now, attempt, fx);
        }
    }

    /// Starts what may start, then asks for what is still missing.
    pub(super) fn fill_slots(&mut self, now: Millis, fx: &mut Vec<AgentEffect>) {
        let slots = self.slots();
        while let Some(lease) = self.attempts.start_next(slots) {
            fx.push(AgentEffect::Start(lease));
        }
        if !self.session.joined() || self.leaving != Leaving::No || self.attempts.alone() {
            return;
        }
        let taken = self.attempts.working() + self.attempts.waiting();
        let room = self.config.max_unsettled.saturating_sub(self.attempts.iter().count());
        let free = slots.saturating_sub(taken).min(room) as u32;
        let asked = self.session.asked;
        let again = asked.is_none_or(|(at, n)| n != free || now.since(at) >= self.session.heartbeat_ms);
        if free > 0 && again {
            self.session.asked = Some((now, free));
            fx.push(AgentEffect::Send(FromWorker::Lease { slots: free }));
        } else if free == 0 {
            self.session.asked = None;
        }
    }

    pub(super) fn progressed(&mut self, attempt: AttemptId, done: u64, total: u64, cost: AttemptCost) {
        if let Some(held) = self.attempts.get_mut(attempt) {
            held.total = total;
            held.done = held.done.max(done).min(total);
            held.cost = cost;
        }
    }

    pub(super) fn made(
        &mut self,
        now: Millis,
        attempt: AttemptId,
        files: Vec<NamedFile>,
        fx: &mut Vec<AgentEffect>,
    ) {
        let joined = self.session.joined();
        let at_once = sabotaged!(self, UploadWithoutGrant);
        let Some(held) = self.attempts.get_mut(attempt) else { return };
        if held.phase != Phase::Working {
            return;
        }
        if at_once {
            held.phase = Phase::uploading();
            fx.push(AgentEffect::Upload { attempt });
            return;
        }
        if joined {
            fx.push(AgentEffect::Send(FromWorker::Grant { attempt, files: files.clone() }));
        }
        held.phase = Phase::Made { files, asked: joined.then_some(now) };
    }

    pub(super) fn granted(
        &mut self,
        now: Millis,
        attempt: AttemptId,
        allowed: bool,
        uploads: Vec<SignedFile>,
        fx: &mut Vec<AgentEffect>,
    ) {
        if !allowed {
            // An outcome is settled by Settled alone: this answer is to an older question.
            if self.attempts.get(attempt).is_some_and(|h| !matches!(h.phase, Phase::Ended { .. })) {
                self.dropped(attempt, fx);
            }
            return;
        }
        let ttl = self.session.lease_ttl_ms;
        let Some(held) = self.attempts.get_mut(attempt) else { return };
        match &mut held.phase {
            // Past its lease an upload does not begin; the question is asked again with the next heartbeat.
            Phase::Made { .. } if now.since(held.renewed) < ttl => {
                held.phase = Phase::uploading();
                if !uploads.is_empty() {
                    fx.push(AgentEffect::Signed { attempt, uploads });
                }
                fx.push(AgentEffect::Upload { attempt });
            }
            Phase::Uploading { wanted, .. } if !uploads.is_empty() => {
                wanted.retain(|file| !uploads.iter().any(|signed| signed.name == file.name));
                fx.push(AgentEffect::Signed { attempt, uploads });
            }
            _ => {}
        }
    }

    /// An upload that runs needs requests; what is not answered is asked again with the heartbeats.
    pub(super) fn wanted(
        &mut self,
        now: Millis,
        attempt: AttemptId,
        files: Vec<NamedFile>,
        fx: &mut Vec<AgentEffect>,
    ) {
        let joined = self.session.joined();
        let Some(held) = self.attempts.get_mut(attempt) else { return };
        let Phase::Uploading { wanted, asked } = &mut held.phase else { return };
        // One name is never wanted twice, so the upload's files bound this.
        wanted.retain(|old| !files.iter().any(|new| new.name == old.name));
        wanted.extend(files.iter().cloned());
        *asked = joined.then_some(now);
        if joined {
            fx.push(AgentEffect::Send(FromWorker::Grant { attempt, files }));
        }
    }

    /// The attempt is over for the coordinator: stop it, forget it.
    pub(super) fn dropped(&mut self, attempt: AttemptId, fx: &mut Vec<AgentEffect>) {
        let Some(held) = self.attempts.forget(attempt) else { return };
        match held.phase {
            Phase::Waiting(_) | Phase::Ended { .. } => {}
            Phase::Working | Phase::Made { .. } | Phase::Uploading { .. } => {
                fx.push(AgentEffect::Abort { attempt })
            }
        }
    }

    /// Tell how an attempt ended, and keep the outcome until it is settled.
    pub(super) fn conclude(
        &mut self,
        now: Millis,
        attempt: AttemptId,
        outcome: Box<Outcome>,
        fx: &mut Vec<AgentEffect>,
    ) {
        let joined = self.session.joined();
        self.attempts.unqueue(attempt);
        let Some(held) = self.attempts.get_mut(attempt) else { return };
        if joined {
            let (job, spec, outcome) = (held.job.clone(), held.spec, outcome.clone());
            fx.push(AgentEffect::Send(FromWorker::Outcome { attempt, job, spec, outcome }));
        }
        held.phase = Phase::Ended { outcome, said: joined.then_some(now) };
        if joined && sabotaged!(self, OutcomeForgottenOnSend) {
            self.attempts.forget(attempt);
        }
    }
}

/// Leaving.
impl Agent {
    pub(super) fn drain_requested(&mut self, now: Millis, fx: &mut Vec<AgentEffect>) {
        match self.leaving {
            Leaving::No => self.begin_leaving(now, fx),
            Leaving::Finishing => {
                let going: Vec<AttemptId> = self.attempts.running().iter().map(|r| r.attempt).collect();
                for attempt in going {
                    self.hand_back(now, attempt, fx);
                }
                self.leaving = Leaving::HandedBack(now.plus(self.session.lease_ttl_ms));
            }
            Leaving::HandedBack(_) => self.leaving = Leaving::HandedBack(now),
            Leaving::Gone => {}
        }
    }

    /// Finish what runs, hand back what waits, take nothing more. Asked again, it changes nothing.
    pub(super) fn begin_leaving(&mut self, now: Millis, fx: &mut Vec<AgentEffect>) {
        if self.leaving != Leaving::No {
            return;
        }
        self.leaving = Leaving::Finishing;
        if self.session.joined() {
            fx.push(AgentEffect::Send(FromWorker::Draining));
        }
        let waiting: Vec<AttemptId> = self
            .attempts
            .iter()
            .filter(|(_, h)| matches!(h.phase, Phase::Waiting(_)))
            .map(|(attempt, _)| attempt)
            .collect();
        for attempt in waiting {
            self.hand_back(now, attempt, fx);
        }
    }

    /// Stops an attempt and says so: the coordinator need not wait for its lease to end.
    pub(super) fn hand_back(&mut self, now: Millis, attempt: AttemptId, fx: &mut Vec<AgentEffect>) {
        let Some(held) = self.attempts.get(attempt) else { return };
        let cost = held.cost;
        if held.busy() {
            fx.push(AgentEffect::Abort { attempt });
        }
        let fault = Fault {
            kind: FaultKind::Abandoned,
            message: format!("worker {} handed the attempt back: it is leaving or full", self.config.worker),
            detail: String::new(),
        };
        self.conclude(now, attempt, Box::new(Outcome::Failed { fault, cost }), fx);
    }

    pub(super) fn leave_if_done(&mut self, now: Millis, fx: &mut Vec<AgentEffect>) {
        let done = match self.leaving {
            Leaving::No | Leaving::Gone => false,
            Leaving::Finishing => self.attempts.is_empty(),
            // without a leader nobody settles anything: its leases run out by themselves
            Leaving::HandedBack(until) => self.attempts.is_empty() || !self.session.joined() || now >= until,
        };
        if done {
            self.leaving = Leaving::Gone;
            fx.push(AgentEffect::Exit);
        }
    }
}
