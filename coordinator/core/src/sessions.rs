//! Workers and what they say: introductions, heartbeats, requests, farewells.
//!
//! A worker has one session; a newer one replaces the older, whose messages are not obeyed any more. A session that
//! is gone takes nothing with it: leases run on until they expire, and the worker may come back and claim them.

use crate::attempt::{Attempt, Phase, Why};
use crate::effect::{Effect, GrantOrder};
use crate::event::SessionId;
use crate::job::Job;
use crate::leader::Leader;
use crate::outcomes::Ended;
use crate::turn::{Turn, sabotaged};
use crate::worker::Worker;
use reelmill_common::outcome::{AttemptCost, FaultKind, Outcome};
use reelmill_common::session::{AttemptProgress, FromWorker, Hello, NamedFile, ToWorker};
use reelmill_common::{AttemptId, BootId, JobId, Millis, SpecId, WorkerId};

impl Leader {
    /// Has the worker heard of a leader after this one?
    pub(crate) fn is_deposed_by(&self, turn: &Turn<'_>, hello: &Hello) -> bool {
        hello.highest_term > self.term && !sabotaged!(turn.config, HigherTermIgnored)
    }

    /// A worker introduces itself, first on a new session; on the same session again if the answer was slow.
    pub(crate) fn greet(&mut self, turn: &mut Turn<'_>, session: SessionId, hello: Hello) {
        let id = hello.worker.clone();
        let again = match self.take_session(turn, session, &hello) {
            Some(again) => again,
            None => return,
        };
        self.came(turn, &hello.boot);
        turn.then(Effect::Send {
            session,
            term: self.term,
            message: ToWorker::Welcome {
                lease_ttl_ms: turn.config.lease_ttl_ms,
                heartbeat_ms: turn.config.heartbeat_ms,
            },
        });
        if !again {
            self.reconcile(turn, &id, &hello);
        }
        if let Some(worker) = self.workers.get_mut(&id) {
            // after what the boot before lost was counted: leases of it that ran out earlier were of the same crash
            worker.hears(turn.now);
        }
        for (attempt, job, spec) in hello.running {
            self.claimed(turn, session, &id, (attempt, job, spec));
        }
        for (attempt, job, spec, outcome) in hello.unsettled {
            self.unsettled(turn, session, &id, Ended { attempt, job, spec, outcome });
        }
        turn.reschedule = true;
    }

    /// Makes the session its worker's. `None`: it is not (an older one, late); else whether it was so before.
    fn take_session(&mut self, turn: &mut Turn<'_>, session: SessionId, hello: &Hello) -> Option<bool> {
        let id = &hello.worker;
        let now = turn.now;
        let worker = self
            .workers
            .entry(id.clone())
            .or_insert_with(|| Worker::new(id, hello.boot.clone(), hello.capability.clone(), now));
        let before = worker.session;
        if before.is_some_and(|b| b > session) {
            turn.then(Effect::CloseSession { session });
            return None;
        }
        if before == Some(session) {
            return Some(true);
        }
        worker.session = Some(session);
        worker.capability = hello.capability.clone();
        worker.wanted = 0;
        worker.draining = false;
        if let Some(old) = before {
            turn.then(Effect::CloseSession { session: old });
            self.sessions.remove(&old);
        }
        self.sessions.insert(session, id.clone());
        Some(false)
    }

    /// What the worker was given and does not name. After a new boot it vanished with the old one; else the lease was
    /// lost with the old connection.
    fn reconcile(&mut self, turn: &mut Turn<'_>, id: &WorkerId, hello: &Hello) {
        let Some(worker) = self.workers.get_mut(id) else { return };
        let rebooted = worker.boot != hello.boot;
        worker.boot = BootId::clone(&hello.boot);
        let named = |a: &AttemptId| {
            hello.running.iter().any(|(n, ..)| n == a) || hello.unsettled.iter().any(|(n, ..)| n == a)
        };
        let missing: Vec<AttemptId> = worker.held.iter().filter(|a| !named(a)).copied().collect();
        for attempt in missing {
            let left = self.attempts.get(&attempt).is_some_and(|a| a.phase != Phase::Decided);
            if rebooted && left {
                self.vanished(turn, attempt);
            } else {
                self.end_attempt(turn, attempt, Why::NeverArrived);
            }
        }
    }

    /// A worker says that it runs an attempt.
    fn claimed(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        worker: &WorkerId,
        (attempt, job, spec): (AttemptId, JobId, SpecId),
    ) {
        let mine = self.attempts.get_mut(&attempt).filter(|a| a.worker == *worker && a.spec.id == spec);
        if let Some(a) = mine {
            a.session = session;
            a.is_known();
            a.renewed_at = turn.now;
            if let Some(work) = self.jobs.get_mut(&job).and_then(|j| j.work.as_mut()) {
                work.trust(spec);
            }
            self.index_ready(&job);
        } else if !self.may_adopt(attempt) || !self.adopt(turn, session, worker, attempt, &job, spec) {
            let message = ToWorker::Revoke { attempt };
            turn.then(Effect::Send { session, term: self.term, message });
        }
    }

    /// A worker brings the outcome of an attempt that ended while it was away. One of an older leader's attempts is
    /// adopted on the spot; its fault then counts for nothing, because the older leader may have counted it.
    fn unsettled(&mut self, turn: &mut Turn<'_>, session: SessionId, worker: &WorkerId, ended: Ended) {
        let old = !self.attempts.contains_key(&ended.attempt) && self.may_adopt(ended.attempt);
        let counts = match &ended.outcome {
            Outcome::Done(_) => true,
            Outcome::Failed { fault, .. } => {
                fault.kind == FaultKind::Source || sabotaged!(turn.config, OldFaultCountsAgain)
            }
        };
        if old && counts {
            self.adopt(turn, session, worker, ended.attempt, &ended.job, ended.spec);
        }
        self.settle(turn, session, ended);
    }

    /// Only attempts of older leaders are adopted, and not after they failed here: one of this term that is not live
    /// was ended by this leader.
    fn may_adopt(&self, attempt: AttemptId) -> bool {
        attempt.term < self.term && !self.old_faults.contains(&attempt)
    }

    /// Takes over an attempt of an open spec. Says whether it did.
    pub(crate) fn adopt(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        worker: &WorkerId,
        id: AttemptId,
        job: &JobId,
        spec: SpecId,
    ) -> bool {
        let wanted = |j: &&Job| j.is_active() && !j.record.audits.is_caught(worker);
        let Some(work) = self.jobs.get(job).filter(wanted).and_then(|j| j.work.as_ref()) else {
            return false;
        };
        let Some(chunk) = work.get(spec).filter(|_| work.may_take(spec)) else { return false };
        let family = chunk.spec.needs.family;
        let (kind, next) = (work.kind, self.jobs.get(job).and_then(|j| j.begun_by(work.kind)));
        let attempt = Attempt {
            job: job.clone(),
            spec: chunk.spec,
            kind,
            worker: worker.clone(),
            fingerprint: self.workers.get(worker).and_then(|w| w.fingerprint(family)),
            session,
            phase: Phase::Running,
            offered_at: turn.now,
            renewed_at: turn.now,
            progress: (0, 0),
            progress_at: turn.now,
            cost: AttemptCost::default(),
            alone: false,
        };
        self.begin_attempt(id, attempt);
        if let Some(state) = next {
            self.move_job(turn, job, state, vec![], vec![]);
        }
        true
    }

    /// A worker says something on its session.
    pub(crate) fn said(&mut self, turn: &mut Turn<'_>, session: SessionId, message: FromWorker) {
        let Some(id) = self.sessions.get(&session).cloned() else { return };
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.hears(turn.now);
        match message {
            FromWorker::Hello(hello) => self.greet(turn, session, hello),
            FromWorker::Lease { slots } => {
                worker.wanted = slots;
                self.asking.insert(id);
                turn.reschedule = true;
            }
            FromWorker::Heartbeat { sequence, running } => self.heartbeat(turn, session, sequence, running),
            FromWorker::Grant { attempt, files } => self.asked(turn, session, &id, attempt, files),
            FromWorker::Outcome { attempt, job, spec, outcome } => {
                self.settle(turn, session, Ended { attempt, job, spec, outcome: *outcome });
            }
            FromWorker::Draining => worker.draining = true,
        }
    }

    /// Renews the leases of what is named; what is named and not wanted is stopped.
    fn heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        sequence: u64,
        running: Vec<AttemptProgress>,
    ) {
        let Some(worker) = self.sessions.get(&session).cloned() else { return };
        for p in running {
            match self.attempts.get_mut(&p.attempt).filter(|a| a.worker == worker) {
                Some(a) => {
                    a.session = session;
                    a.is_known();
                    a.renewed_at = turn.now;
                    a.progress = (p.done, p.total);
                    a.progress_at = turn.now;
                    a.cost = p.cost;
                }
                None => turn.then(Effect::Send {
                    session,
                    term: self.term,
                    message: ToWorker::Revoke { attempt: p.attempt },
                }),
            }
        }
        turn.then(Effect::Send { session, term: self.term, message: ToWorker::HeartbeatAck { sequence } });
    }

    /// A worker has made files of an attempt.
    fn asked(
        &mut self,
        turn: &mut Turn<'_>,
        session: SessionId,
        worker: &WorkerId,
        attempt: AttemptId,
        files: Vec<NamedFile>,
    ) {
        let term = self.term;
        let allowed = self.may_upload(turn, worker, attempt);
        turn.then(match self.attempts.get(&attempt).filter(|_| allowed) {
            Some(a) => {
                let (job, spec) = (a.job.clone(), a.spec.id);
                Effect::Grant(Box::new(GrantOrder { session, term, attempt, job, spec, files }))
            }
            None => {
                let message = ToWorker::Granted { attempt, allowed, uploads: vec![] };
                Effect::Send { session, term, message }
            }
        });
    }

    /// The fence of the data plane: only a live, leased attempt of an open spec may put files.
    fn may_upload(&mut self, turn: &mut Turn<'_>, worker: &WorkerId, id: AttemptId) -> bool {
        if sabotaged!(turn.config, DoubleGrant) {
            return true;
        }
        let ttl_ms = turn.config.lease_ttl_ms;
        let now = turn.now;
        let Some(a) = self.attempts.get_mut(&id).filter(|a| a.worker == *worker) else { return false };
        if a.is_expired(now, ttl_ms) {
            return false;
        }
        let open =
            self.jobs.get(&a.job).is_some_and(|j| j.is_active() && !j.commits.contains_key(&a.spec.id));
        if open && a.phase != Phase::Uploading {
            a.phase = Phase::Uploading;
            if let Some(job) = self.jobs.get(&a.job) {
                self.in_slots.leaves(&job.record.request.tenant);
            }
            if let Some(w) = self.workers.get_mut(worker) {
                w.uploading.insert(id);
            }
            turn.reschedule = true;
        }
        open
    }

    /// A session is gone. Its worker's leases run on.
    pub(crate) fn disconnected(&mut self, now: Millis, session: SessionId) {
        let Some(id) = self.sessions.remove(&session) else { return };
        if let Some(worker) = self.workers.get_mut(&id).filter(|w| w.session == Some(session)) {
            worker.session = None;
            worker.wanted = 0;
        }
        self.forget_workers(now);
    }

    /// Drops workers that are gone and about which nothing must be remembered.
    pub(crate) fn forget_workers(&mut self, now: Millis) {
        self.workers.retain(|_, w| !w.is_forgettable(now));
    }
}
