//! The agent's side of the connection: greeting, terms, heartbeats, and the repair of what may have been lost.

use super::attempts::Phase;
use super::session::Stage;
use super::words::AgentEffect;
#[cfg(feature = "sabotage")]
use super::words::Sabotage;
use super::{Agent, Leaving};
use reelmill_common::session::{FromWorker, Hello, Termed, ToWorker};
use reelmill_common::{AttemptId, FencingTerm, Millis};

impl Agent {
    /// Introduces the worker; `anew` on a fresh connection.
    pub(super) fn greet(&mut self, now: Millis, anew: bool, fx: &mut Vec<AgentEffect>) {
        let since = match self.session.stage {
            Stage::Greeting { since, .. } if !anew => since,
            _ => now,
        };
        if anew {
            self.session.close();
        }
        self.session.stage = Stage::Greeting { since, said: now };
        let (mut running, mut unsettled) = (Vec::new(), Vec::new());
        for (attempt, held) in self.attempts.iter_mut() {
            match &mut held.phase {
                Phase::Ended { outcome, said } => {
                    *said = Some(now);
                    unsettled.push((attempt, held.job.clone(), held.spec, outcome.as_ref().clone()));
                }
                _ => running.push((attempt, held.job.clone(), held.spec)),
            }
        }
        fx.push(AgentEffect::Send(FromWorker::Hello(Hello {
            worker: self.config.worker.clone(),
            boot: self.config.boot.clone(),
            highest_term: self.highest_term,
            capability: self.config.capability.clone(),
            running,
            unsettled,
        })));
    }

    pub(super) fn lost_connection(&mut self, fx: &mut Vec<AgentEffect>) {
        self.session.close();
        if sabotaged!(self, OutcomeDroppedOnReconnect) {
            let ended: Vec<AttemptId> = self
                .attempts
                .iter()
                .filter(|(_, h)| matches!(h.phase, Phase::Ended { .. }))
                .map(|(a, _)| a)
                .collect();
            for attempt in ended {
                self.attempts.forget(attempt);
            }
        }
        fx.push(AgentEffect::Reconnect);
    }

    /// Dials again although nobody said that the connection is gone.
    pub(super) fn reconnect(&mut self, fx: &mut Vec<AgentEffect>) {
        self.lost_connection(fx);
    }

    pub(super) fn received(&mut self, now: Millis, message: Termed<ToWorker>, fx: &mut Vec<AgentEffect>) {
        if self.session.stage == Stage::Offline {
            return;
        }
        if message.term < self.highest_term && !sabotaged!(self, OldTermAccepted) {
            // A deposed leader that still welcomes: our Hello told it; look for the real one at once.
            if matches!(message.message, ToWorker::Welcome { .. }) {
                self.reconnect(fx);
            }
            return;
        }
        self.highest_term = self.highest_term.max(message.term);
        let superseded = matches!(self.session.stage, Stage::Joined { term } if term < message.term);
        match message.message {
            ToWorker::Welcome { lease_ttl_ms, heartbeat_ms } => {
                self.welcomed(now, message.term, lease_ttl_ms, heartbeat_ms, fx);
                return;
            }
            ToWorker::Lease(lease) => self.leased(now, lease, fx),
            ToWorker::HeartbeatAck { sequence } => self.acknowledged(now, sequence),
            ToWorker::Granted { attempt, allowed, uploads } => {
                self.granted(now, attempt, allowed, uploads, fx);
            }
            ToWorker::Renewed { sources } => fx.push(AgentEffect::Renewed { sources }),
            ToWorker::Settled { attempt, .. } | ToWorker::Revoke { attempt } => self.dropped(attempt, fx),
            ToWorker::Drain { reconnect: true } => return self.reconnect(fx),
            ToWorker::Drain { reconnect: false } => self.begin_leaving(now, fx),
        }
        if superseded {
            // A new term on an old connection: its leader has not heard what we hold.
            self.greet(now, true, fx);
        }
    }

    pub(super) fn welcomed(
        &mut self,
        now: Millis,
        term: FencingTerm,
        ttl: u64,
        cadence: u64,
        fx: &mut Vec<AgentEffect>,
    ) {
        self.session.lease_ttl_ms = ttl.max(1);
        self.session.heartbeat_ms = cadence.clamp(1, ttl.max(1));
        let Stage::Greeting { since, .. } = self.session.stage else {
            self.session.stage = Stage::Joined { term };
            return;
        };
        self.session.stage = Stage::Joined { term };
        // Several Hellos may be out; the answer may be to the first of them.
        self.session.renewed = since;
        self.session.next_beat = now.plus(self.session.heartbeat_ms);
        for (_, held) in self.attempts.iter_mut() {
            held.renewed = held.renewed.max(since);
        }
        if self.leaving != Leaving::No {
            fx.push(AgentEffect::Send(FromWorker::Draining));
        }
        self.repair(now, fx);
    }

    pub(super) fn acknowledged(&mut self, now: Millis, sequence: u64) {
        let Some(beat) = self.session.acknowledged(sequence) else { return };
        let counted = if sabotaged!(self, LeaseFromReceipt) { now } else { beat.sent };
        self.session.renewed = self.session.renewed.max(beat.sent);
        for attempt in beat.named {
            if let Some(held) = self.attempts.get_mut(attempt) {
                held.renewed = held.renewed.max(counted);
            }
        }
    }

    pub(super) fn tick(&mut self, now: Millis, fx: &mut Vec<AgentEffect>) {
        match self.session.stage {
            Stage::Offline => {}
            Stage::Greeting { since, said } => {
                if now.since(since) >= self.session.heartbeat_ms.saturating_mul(3) {
                    self.reconnect(fx);
                } else if now.since(said) >= self.session.heartbeat_ms {
                    self.greet(now, false, fx);
                }
            }
            Stage::Joined { .. } if now.since(self.session.renewed) >= self.session.lease_ttl_ms => {
                // Nothing was acknowledged for a whole lease: the line is dead, whatever TCP believes.
                self.reconnect(fx);
            }
            Stage::Joined { .. } => {
                if now >= self.session.next_beat {
                    self.beat(now, fx);
                }
            }
        }
    }

    /// A heartbeat, and everything else that may have been lost since the one before.
    pub(super) fn beat(&mut self, now: Millis, fx: &mut Vec<AgentEffect>) {
        let running = self.attempts.running();
        let sequence = self.session.beat(now, &running);
        fx.push(AgentEffect::Send(FromWorker::Heartbeat { sequence, running }));
        if self.leaving != Leaving::No {
            fx.push(AgentEffect::Send(FromWorker::Draining));
        }
        self.repair(now, fx);
    }

    /// Says again what was not answered within a heartbeat: outcomes and questions for a grant.
    pub(super) fn repair(&mut self, now: Millis, fx: &mut Vec<AgentEffect>) {
        let cadence = self.session.heartbeat_ms;
        let due = |at: Option<Millis>| at.is_none_or(|t| now.since(t) >= cadence);
        for (attempt, held) in self.attempts.iter_mut() {
            match &mut held.phase {
                Phase::Ended { outcome, said } if due(*said) => {
                    *said = Some(now);
                    let (job, spec, outcome) = (held.job.clone(), held.spec, outcome.clone());
                    fx.push(AgentEffect::Send(FromWorker::Outcome { attempt, job, spec, outcome }));
                }
                Phase::Uploading { wanted: files, asked } if !files.is_empty() && due(*asked) => {
                    *asked = Some(now);
                    fx.push(AgentEffect::Send(FromWorker::Grant { attempt, files: files.clone() }));
                }
                Phase::Made { files, asked } if due(*asked) => {
                    *asked = Some(now);
                    fx.push(AgentEffect::Send(FromWorker::Grant { attempt, files: files.clone() }));
                }
                _ => {}
            }
        }
    }
}
