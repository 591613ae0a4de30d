//! The worker's machine: decides, for every event, what to send, start, upload, abort and when to leave.
//!
//! It must not wait, read a clock or touch the world: the shell carries events in and performs the effects in order.
//! Events come from the session (messages of the coordinator), from the processes the shell runs, and from a timer;
//! effects go back to the same places.
//!
//! Life of an attempt on a worker. Only this machine moves it; the arrow says what moves it:
//!
//! ```text
//! Lease ─► Waiting ─► Working ─► Made ─► Uploading ─► Ended ─► (forgotten)
//!           slot       Made       Granted   Uploaded     Settled
//!     Waiting..Uploading ─WorkFailed─► Ended
//!     any ─Revoke | Granted{false} | Settled─► (forgotten), work aborted
//! ```
//!
//! - Everything held survives a lost connection and a change of leader: work goes on, and the outcome is kept until
//!   `Settled`. Every message is repaired by repetition at heartbeat cadence and is idempotent at both ends.
//! - A lease counts from the *sending* of the last acknowledged heartbeat that named the attempt. It bounds waste
//!   only: past it no upload begins, but the work is kept, because the next leader may adopt it.
//! - Everything held is bounded: no lease is asked for while `max_unsettled` outcomes wait.

mod attempts;
mod session;

#[cfg(test)]
mod tests;

use self::attempts::{Attempts, Held, Phase};
use self::session::{Session, Stage};
use reelmill_common::capability::Capability;
use reelmill_common::outcome::{Fault, FaultKind, Outcome, Report};
use reelmill_common::session::{FromWorker, Hello, Lease, NamedFile, Termed, ToWorker};
use reelmill_common::{AttemptId, BootId, FencingTerm, Millis, WorkerId};

/// Who the agent is and how much it may hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentConfig {
    /// The worker's name.
    pub worker: WorkerId,
    /// This start of it.
    pub boot: BootId,
    /// What it can do; `slots` bounds what is worked on at the same time.
    pub capability: Capability,
    /// Repeat a Hello that was not answered after this long, and reconnect after three times as long. Only used
    /// until the first Welcome tells the real cadence.
    pub greet_ms: u64,
    /// No lease is asked for while this many outcomes wait for their verdict.
    pub max_unsettled: usize,
}

impl AgentConfig {
    /// The configuration with the usual bounds: 5 s between greetings, 64 unsettled outcomes.
    pub fn new(worker: WorkerId, boot: BootId, capability: Capability) -> Self {
        Self { worker, boot, capability, greet_ms: 5_000, max_unsettled: 64 }
    }
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AgentEvent {
    /// A connection to a coordinator is open; nothing has been said on it.
    Connected,
    /// The connection is gone. Also the very first event: it makes the agent ask for a connection. The shell drops
    /// events of a connection that an [`AgentEffect::Reconnect`] has replaced.
    Disconnected,
    /// The coordinator said something.
    Received(Termed<ToWorker>),
    /// Time passed. Comes at [`Agent::next_tick`] or more often.
    Tick,
    /// The work of an attempt goes on. May come as often as the shell likes; only the latest is told.
    Progress {
        /// The attempt.
        attempt: AttemptId,
        /// Units finished.
        done: u64,
        /// Of how many.
        total: u64,
    },
    /// The work is done and verified; its files lie in scratch, hashed. Index and Analyse items have no files.
    Made {
        /// The attempt.
        attempt: AttemptId,
        /// What is to be uploaded, in the order of the report.
        files: Vec<NamedFile>,
    },
    /// All files and the report object are in storage.
    Uploaded {
        /// The attempt.
        attempt: AttemptId,
        /// What is reported.
        report: Box<Report>,
    },
    /// The work or the upload failed for good; nothing of the attempt runs any more.
    WorkFailed {
        /// The attempt.
        attempt: AttemptId,
        /// Why.
        fault: Fault,
    },
    /// The operator wants the worker to leave: first finish what runs; asked again, hand everything back; asked a
    /// third time, leave at once.
    DrainRequested,
}

/// What the shell must do, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "an effect that is not performed is lost"]
pub enum AgentEffect {
    /// Send on the current connection; if that fails, say [`AgentEvent::Disconnected`].
    Send(FromWorker),
    /// Start the work of a lease in a fresh scratch directory. Answer: Progress, then Made or WorkFailed.
    Start(Box<Lease>),
    /// Upload what was made, then the report object. Answer: Uploaded or WorkFailed.
    Upload {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Kill whatever runs for the attempt and delete its scratch. No answer; later events of it are ignored.
    Abort {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Delete the scratch of an attempt whose work has ended.
    Discard {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Drop the connection, if there is one, and dial with the shell's own back-off until [`AgentEvent::Connected`].
    Reconnect,
    /// Leave: nothing is running. The last effect ever.
    Exit,
}

/// One-line bugs that the simulation must find. Compiled only with the feature `sabotage`.
#[cfg(feature = "sabotage")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sabotage {
    /// Outcomes are forgotten when the connection is lost.
    OutcomeDroppedOnReconnect,
    /// An outcome is forgotten once sent, not once settled.
    OutcomeForgottenOnSend,
    /// A lease counts from the arrival of an acknowledgement instead of the sending of the heartbeat.
    LeaseFromReceipt,
    /// Messages of an older term are obeyed.
    OldTermAccepted,
    /// Uploads begin without asking.
    UploadWithoutGrant,
    /// A repeated Lease message starts the work again.
    LeaseStartsTwice,
}

#[cfg(feature = "sabotage")]
impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::OutcomeDroppedOnReconnect,
        Self::OutcomeForgottenOnSend,
        Self::LeaseFromReceipt,
        Self::OldTermAccepted,
        Self::UploadWithoutGrant,
        Self::LeaseStartsTwice,
    ];
}

/// How far leaving has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leaving {
    /// Not leaving.
    No,
    /// Finish what runs, take nothing new.
    Finishing,
    /// Everything was handed back; leave when that is settled, or at this time.
    HandedBack(Millis),
    /// Exit was said.
    Gone,
}

/// The worker's machine.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    session: Session,
    attempts: Attempts,
    highest_term: FencingTerm,
    leaving: Leaving,
    #[cfg(feature = "sabotage")]
    sabotage: Option<Sabotage>,
}

/// Is this bug switched on? Always `false` without the feature.
macro_rules! sabotaged {
    ($agent:expr, $bug:ident) => {{
        #[cfg(feature = "sabotage")]
        let on = $agent.sabotage == Some(Sabotage::$bug);
        #[cfg(not(feature = "sabotage"))]
        let on = false;
        on
    }};
}

impl Agent {
    /// A worker that holds nothing and is not connected. Give it [`AgentEvent::Disconnected`] first.
    pub fn new(config: AgentConfig) -> Self {
        let session = Session::new(config.greet_ms);
        Self {
            config,
            session,
            attempts: Attempts::default(),
            highest_term: FencingTerm::default(),
            leaving: Leaving::No,
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }

    /// The same worker with a bug in it.
    #[cfg(feature = "sabotage")]
    pub fn sabotaged(config: AgentConfig, bug: Sabotage) -> Self {
        Self { sabotage: Some(bug), ..Self::new(config) }
    }

    /// Decides. Deterministic: equal histories give equal effects.
    pub fn handle(&mut self, now: Millis, event: AgentEvent) -> Vec<AgentEffect> {
        let mut fx = Vec::new();
        if self.leaving == Leaving::Gone {
            return fx;
        }
        match event {
            AgentEvent::Connected => self.greet(now, true, &mut fx),
            AgentEvent::Disconnected => self.lost_connection(&mut fx),
            AgentEvent::Received(message) => self.received(now, message, &mut fx),
            AgentEvent::Tick => self.tick(now, &mut fx),
            AgentEvent::Progress { attempt, done, total } => self.progressed(attempt, done, total),
            AgentEvent::Made { attempt, files } => self.made(now, attempt, files, &mut fx),
            AgentEvent::Uploaded { attempt, report } => {
                let uploading = self.attempts.get(attempt).is_some_and(|h| h.phase == Phase::Uploading);
                if uploading {
                    fx.push(AgentEffect::Discard { attempt });
                    self.conclude(now, attempt, Box::new(Outcome::Done(*report)), &mut fx);
                }
            }
            AgentEvent::WorkFailed { attempt, fault } => {
                if self.attempts.get(attempt).is_some_and(Held::busy) {
                    fx.push(AgentEffect::Discard { attempt });
                    self.conclude(now, attempt, Box::new(Outcome::Failed(fault)), &mut fx);
                }
            }
            AgentEvent::DrainRequested => self.drain_requested(now, &mut fx),
        }
        self.fill_slots(now, &mut fx);
        self.leave_if_done(now, &mut fx);
        fx
    }

    /// When [`AgentEvent::Tick`] is due at the latest.
    pub fn next_tick(&self) -> Option<Millis> {
        let session = match self.session.stage {
            Stage::Offline => None,
            Stage::Greeting { said, .. } => Some(said.plus(self.session.heartbeat_ms)),
            Stage::Joined { .. } => Some(self.session.next_beat),
        };
        match self.leaving {
            Leaving::HandedBack(until) => Some(session.map_or(until, |s| s.min(until))),
            _ => session,
        }
    }

    /// The highest term heard of.
    pub fn highest_term(&self) -> FencingTerm {
        self.highest_term
    }

    /// Is a leader's Welcome in force?
    pub fn is_joined(&self) -> bool {
        self.session.joined()
    }

    /// Has somebody asked the worker to leave?
    pub fn is_leaving(&self) -> bool {
        self.leaving != Leaving::No
    }

    /// How many attempts wait or are worked on, and how many outcomes wait for their verdict.
    pub fn held(&self) -> (usize, usize) {
        let unsettled = self.attempts.unsettled();
        (self.attempts.iter().count() - unsettled, unsettled)
    }

    /// When the lease of an attempt ends if nothing renews it.
    pub fn lease_end(&self, attempt: AttemptId) -> Option<Millis> {
        self.attempts.get(attempt).map(|h| h.renewed.plus(self.session.lease_ttl_ms))
    }
}

/// The connection.
impl Agent {
    /// Introduces the worker; `anew` on a fresh connection.
    fn greet(&mut self, now: Millis, anew: bool, fx: &mut Vec<AgentEffect>) {
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

    fn lost_connection(&mut self, fx: &mut Vec<AgentEffect>) {
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
    fn reconnect(&mut self, fx: &mut Vec<AgentEffect>) {
        self.lost_connection(fx);
    }

    fn received(&mut self, now: Millis, message: Termed<ToWorker>, fx: &mut Vec<AgentEffect>) {
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
            ToWorker::Granted { attempt, allowed } => self.granted(now, attempt, allowed, fx),
            ToWorker::Settled { attempt, .. } | ToWorker::Revoke { attempt } => self.dropped(attempt, fx),
            ToWorker::Drain { reconnect: true } => return self.reconnect(fx),
            ToWorker::Drain { reconnect: false } => self.begin_leaving(now, fx),
        }
        if superseded {
            // A new term on an old connection: its leader has not heard what we hold.
            self.greet(now, true, fx);
        }
    }

    fn welcomed(
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

    fn acknowledged(&mut self, now: Millis, sequence: u64) {
        let Some(beat) = self.session.acknowledged(sequence) else { return };
        let counted = if sabotaged!(self, LeaseFromReceipt) { now } else { beat.sent };
        self.session.renewed = self.session.renewed.max(beat.sent);
        for attempt in beat.named {
            if let Some(held) = self.attempts.get_mut(attempt) {
                held.renewed = held.renewed.max(counted);
            }
        }
    }

    fn tick(&mut self, now: Millis, fx: &mut Vec<AgentEffect>) {
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
    fn beat(&mut self, now: Millis, fx: &mut Vec<AgentEffect>) {
        let running = self.attempts.running();
        let sequence = self.session.beat(now, &running);
        fx.push(AgentEffect::Send(FromWorker::Heartbeat { sequence, running }));
        if self.leaving != Leaving::No {
            fx.push(AgentEffect::Send(FromWorker::Draining));
        }
        self.repair(now, fx);
    }

    /// Says again what was not answered within a heartbeat: outcomes and questions for a grant.
    fn repair(&mut self, now: Millis, fx: &mut Vec<AgentEffect>) {
        let cadence = self.session.heartbeat_ms;
        let due = |at: Option<Millis>| at.is_none_or(|t| now.since(t) >= cadence);
        for (attempt, held) in self.attempts.iter_mut() {
            match &mut held.phase {
                Phase::Ended { outcome, said } if due(*said) => {
                    *said = Some(now);
                    let (job, spec, outcome) = (held.job.clone(), held.spec, outcome.clone());
                    fx.push(AgentEffect::Send(FromWorker::Outcome { attempt, job, spec, outcome }));
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

/// The work.
impl Agent {
    fn slots(&self) -> usize {
        self.config.capability.slots.max(1) as usize
    }

    fn leased(&mut self, now: Millis, lease: Box<Lease>, fx: &mut Vec<AgentEffect>) {
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
    fn fill_slots(&mut self, now: Millis, fx: &mut Vec<AgentEffect>) {
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

    fn progressed(&mut self, attempt: AttemptId, done: u64, total: u64) {
        if let Some(held) = self.attempts.get_mut(attempt) {
            held.total = total;
            held.done = held.done.max(done).min(total);
        }
    }

    fn made(&mut self, now: Millis, attempt: AttemptId, files: Vec<NamedFile>, fx: &mut Vec<AgentEffect>) {
        let joined = self.session.joined();
        let at_once = sabotaged!(self, UploadWithoutGrant);
        let Some(held) = self.attempts.get_mut(attempt) else { return };
        if held.phase != Phase::Working {
            return;
        }
        if at_once {
            held.phase = Phase::Uploading;
            fx.push(AgentEffect::Upload { attempt });
            return;
        }
        if joined {
            fx.push(AgentEffect::Send(FromWorker::Grant { attempt, files: files.clone() }));
        }
        held.phase = Phase::Made { files, asked: joined.then_some(now) };
    }

    fn granted(&mut self, now: Millis, attempt: AttemptId, allowed: bool, fx: &mut Vec<AgentEffect>) {
        if !allowed {
            // An outcome is settled by Settled alone: this answer is to an older question.
            if self.attempts.get(attempt).is_some_and(|h| !matches!(h.phase, Phase::Ended { .. })) {
                self.dropped(attempt, fx);
            }
            return;
        }
        let ttl = self.session.lease_ttl_ms;
        let Some(held) = self.attempts.get_mut(attempt) else { return };
        // Past its lease an upload does not begin; the question is asked again with the next heartbeat.
        if matches!(held.phase, Phase::Made { .. }) && now.since(held.renewed) < ttl {
            held.phase = Phase::Uploading;
            fx.push(AgentEffect::Upload { attempt });
        }
    }

    /// The attempt is over for the coordinator: stop it, forget it.
    fn dropped(&mut self, attempt: AttemptId, fx: &mut Vec<AgentEffect>) {
        let Some(held) = self.attempts.forget(attempt) else { return };
        match held.phase {
            Phase::Waiting(_) | Phase::Ended { .. } => {}
            Phase::Working | Phase::Made { .. } | Phase::Uploading => fx.push(AgentEffect::Abort { attempt }),
        }
    }

    /// Tell how an attempt ended, and keep the outcome until it is settled.
    fn conclude(
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
    fn drain_requested(&mut self, now: Millis, fx: &mut Vec<AgentEffect>) {
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
    fn begin_leaving(&mut self, now: Millis, fx: &mut Vec<AgentEffect>) {
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
    fn hand_back(&mut self, now: Millis, attempt: AttemptId, fx: &mut Vec<AgentEffect>) {
        let Some(held) = self.attempts.get(attempt) else { return };
        if held.busy() {
            fx.push(AgentEffect::Abort { attempt });
        }
        let fault = Fault {
            kind: FaultKind::Abandoned,
            message: format!("worker {} handed the attempt back: it is leaving or full", self.config.worker),
            detail: String::new(),
        };
        self.conclude(now, attempt, Box::new(Outcome::Failed(fault)), fx);
    }

    fn leave_if_done(&mut self, now: Millis, fx: &mut Vec<AgentEffect>) {
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
