//! A worker process: the real agent machine with a shell around it that pretends to encode and upload ([`work`]).

mod work;

use super::Bug;
use super::net::{Conn, ConnId};
use super::plans::build_of;
use super::rng::Rng;
use super::scenario::Scenario;
use super::world::{Clock, What, World};
use reelmill_common::outcome::Verdict;
use reelmill_common::session::{FromWorker, Termed, ToWorker};
use reelmill_common::{AttemptId, BootId, Fingerprint, JobId, Millis, Sha256, SpecId};
use reelmill_worker_core::agent::{Agent, AgentConfig, AgentEffect, AgentEvent};
use std::collections::{BTreeMap, BTreeSet};
use work::Work;

/// An upgrade leads from one build to the one that is so many further.
const BUILDS: u8 = 10;

/// A worker process.
#[derive(Debug)]
pub(super) struct Labour {
    /// Which life of it: what belongs to an earlier one is dropped.
    pub(super) life: u64,
    /// Its clock.
    pub(super) clock: Clock,
    /// It does nothing until then.
    pub(super) paused_until_ms: u64,
    /// Its connection.
    pub(super) conn: Option<ConnId>,
    /// Attempts that leaders leased to this life and that were not settled: the world's knowledge, not its own.
    pub(super) leased: BTreeSet<AttemptId>,
    agent: Option<Agent>,
    work: BTreeMap<AttemptId, Work>,
    /// Attempts that this life ever started, was allowed to upload, and has outcomes of: for the laws.
    started: BTreeSet<AttemptId>,
    allowed: BTreeSet<AttemptId>,
    concluded: BTreeSet<AttemptId>,
    /// What each attempt of this life put into storage.
    uploads: BTreeMap<AttemptId, (JobId, SpecId)>,
    /// Heartbeats of this life: when sent, what was named.
    beats: BTreeMap<u64, (Millis, Vec<AttemptId>)>,
    /// When the renewal of each attempt's lease was sent.
    renewed: BTreeMap<AttemptId, Millis>,
    /// When the Hello or heartbeat was sent that was answered last.
    answered: Millis,
    greeted: Millis,
    ticks_at: Option<Millis>,
    dials: u64,
    pub(super) slow_permille: u64,
}

impl Labour {
    /// A worker that was not started yet.
    pub(super) fn new(rng: &mut Rng, scenario: &Scenario) -> Self {
        // a fleet that is fair has much to do, and must come to its end
        let slowness: &[u64] =
            if scenario.fair { &[700, 1_000, 1_500] } else { &[700, 1_000, 1_000, 1_500, 4_000] };
        Self {
            life: 0,
            clock: Clock::new(rng),
            paused_until_ms: 0,
            conn: None,
            leased: BTreeSet::new(),
            agent: None,
            work: BTreeMap::new(),
            started: BTreeSet::new(),
            allowed: BTreeSet::new(),
            concluded: BTreeSet::new(),
            uploads: BTreeMap::new(),
            beats: BTreeMap::new(),
            renewed: BTreeMap::new(),
            answered: Millis(0),
            greeted: Millis(0),
            ticks_at: None,
            dials: 0,
            slow_permille: rng.pick(slowness),
        }
    }
}

impl World {
    /// A worker dies with everything it held.
    pub(super) fn worker_dies(&mut self, w: usize, how: &'static str) {
        if self.workers[w].agent.is_none() {
            return;
        }
        self.note(how, w, self.workers[w].life);
        self.evidence(w, None);
        let old = &self.workers[w];
        let (life, clock, slow_permille) = (old.life + 1, old.clock, old.slow_permille);
        self.workers[w] =
            Labour { life, clock, slow_permille, ..Labour::new(&mut self.rng.clone(), &self.scenario) };
        self.close_all(|conn| conn.worker == w);
        self.soon(5_000, What::WorkerStarts(w));
    }

    /// A worker comes back with other encoder builds.
    pub(super) fn upgrade_worker(&mut self, w: usize) {
        if self.workers[w].agent.is_none() {
            return;
        }
        for proof in &mut self.scenario.workers[w].encoders {
            let next = build_of(proof.fingerprint).saturating_add(BUILDS).min(u8::MAX - BUILDS);
            proof.fingerprint = Fingerprint(Sha256::of(&[next]));
        }
        self.worker_dies(w, "worker: upgraded");
    }

    /// An operator asks a worker to leave, gently, then less so.
    pub(super) fn drain_worker(&mut self, w: usize) {
        if self.workers[w].agent.is_some() {
            self.note("worker: drained", w, 0);
            self.tell_agent(w, AgentEvent::DrainRequested);
            if self.rng.chance(500) {
                self.tell_agent(w, AgentEvent::DrainRequested);
            }
        }
    }

    /// Something of a worker's own.
    pub(super) fn worker_event(&mut self, what: What) {
        match what {
            What::WorkerStarts(w) => self.worker_starts(w),
            What::Dial(w, life) if self.workers[w].life == life => self.dial(w),
            What::WorkerTick(w, life) if self.workers[w].life == life => {
                self.workers[w].ticks_at = None;
                self.tell_agent(w, AgentEvent::Tick);
            }
            What::Work { worker, life, attempt, done } if self.workers[worker].life == life => {
                self.work_goes_on(worker, attempt, done);
            }
            What::WorkFails { worker, life, attempt, kind } if self.workers[worker].life == life => {
                self.work_fails(worker, attempt, kind);
            }
            What::Uploaded { worker, life, attempt, whole, of } => {
                if whole {
                    self.objects.outputs.insert(*of);
                }
                self.uploaded(worker, life, attempt, whole);
            }
            _ => {}
        }
    }

    fn worker_starts(&mut self, w: usize) {
        if self.workers[w].agent.is_some() {
            return;
        }
        let capability = self.capability(w).clone();
        let life = self.workers[w].life;
        let boot = BootId::parse(&format!("boot-{w}-{life}")).expect("a name");
        let config =
            AgentConfig { greet_ms: 2_000, ..AgentConfig::new(capability.worker.clone(), boot, capability) };
        self.workers[w].agent = Some(self.bug.agent(config));
        self.note("worker: started", w, life);
        self.tell_agent(w, AgentEvent::Disconnected);
    }

    fn dial(&mut self, w: usize) {
        if self.workers[w].conn.is_some() {
            return;
        }
        self.workers[w].dials += 1;
        let c = (self.workers[w].dials as usize + w) % self.controls.len();
        match self.connect(w, c) {
            Some(conn) => {
                self.workers[w].conn = Some(conn);
                self.tell_agent(w, AgentEvent::Connected);
            }
            None => self.soon(800, What::Dial(w, self.workers[w].life)),
        }
    }

    /// Feeds the agent and does what it says.
    fn tell_agent(&mut self, w: usize, event: AgentEvent) {
        let now = self.workers[w].clock.read(self.now_ms);
        let Some(agent) = &mut self.workers[w].agent else { return };
        let effects = agent.handle(now, event);
        self.do_effects(w, effects);
        self.set_timer(w);
    }

    fn do_effects(&mut self, w: usize, effects: Vec<AgentEffect>) {
        for effect in effects {
            match effect {
                AgentEffect::Send(message) => self.worker_says(w, message),
                AgentEffect::Start(lease) => self.start_work(w, *lease),
                AgentEffect::Upload { attempt } => self.upload(w, attempt),
                // nothing is signed here
                AgentEffect::Signed { .. } | AgentEffect::Renewed { .. } => {}
                AgentEffect::Abort { attempt } | AgentEffect::Discard { attempt } => {
                    self.workers[w].work.remove(&attempt);
                }
                AgentEffect::Reconnect => self.reconnect(w),
                AgentEffect::Exit => return self.worker_leaves(w),
            }
        }
    }

    fn set_timer(&mut self, w: usize) {
        let worker = &self.workers[w];
        let Some(at) = worker.agent.as_ref().and_then(Agent::next_tick) else { return };
        if worker.ticks_at.is_some_and(|t| t <= at) {
            return;
        }
        let wait = at.since(worker.clock.read(self.now_ms)) + 1;
        let life = worker.life;
        self.workers[w].ticks_at = Some(at);
        self.after(wait, What::WorkerTick(w, life));
    }

    fn reconnect(&mut self, w: usize) {
        if let Some(conn) = self.workers[w].conn.take() {
            self.close(conn);
        }
        self.soon(800, What::Dial(w, self.workers[w].life));
    }

    fn worker_leaves(&mut self, w: usize) {
        self.worker_dies(w, "worker: left");
    }

    fn worker_says(&mut self, w: usize, message: FromWorker) {
        let now = self.workers[w].clock.read(self.now_ms);
        match &message {
            FromWorker::Hello(hello) => {
                self.workers[w].greeted = now;
                let said: BTreeSet<AttemptId> = hello.unsettled.iter().map(|(a, ..)| *a).collect();
                let kept = self.workers[w].concluded.is_subset(&said);
                if !kept {
                    self.laws.breach(format!("worker {w} does not say again what was not settled"));
                }
            }
            FromWorker::Heartbeat { sequence, running } => {
                let named = running.iter().map(|r| r.attempt).collect();
                self.workers[w].beats.insert(*sequence, (now, named));
                self.tally.count("agent: heartbeat");
            }
            FromWorker::Outcome { .. } => self.tally.count("agent: outcome"),
            FromWorker::Grant { .. } => self.tally.count("agent: asked for grant"),
            FromWorker::Draining => self.tally.count("agent: draining"),
            FromWorker::Lease { .. } => {}
        }
        if let Some(conn) = self.workers[w].conn {
            self.send_to_control(conn, message);
        }
    }

    /// A coordinator's message arrives.
    /// Late ones of a connection that was replaced are heard, too: shells race.
    pub(super) fn worker_hears(&mut self, conn: Conn, message: Termed<ToWorker>) {
        let w = conn.worker;
        if self.workers[w].life != conn.worker_life || self.cut.contains_key(&(w, conn.control)) {
            return;
        }
        let Some(agent) = &self.workers[w].agent else { return };
        let old = message.term < agent.highest_term();
        let held = agent.held();
        if old {
            self.tally.count("agent: heard an older term");
        } else {
            self.worker_learns(w, &message.message);
            self.lost_by_attempt(w, &message.message);
        }
        self.tell_agent(w, AgentEvent::Received(message));
        if old && self.workers[w].agent.as_ref().is_some_and(|a| a.held() != held) {
            self.laws.breach(format!("worker {w} obeyed a message of an older term"));
        }
    }

    /// The bug: a lost attempt's files are deleted, although another attempt may have won with the very same ones.
    fn lost_by_attempt(&mut self, w: usize, message: &ToWorker) {
        if let ToWorker::Settled { attempt, verdict: Verdict::Lost } = message
            && self.bug == Bug::DeleteByAttempt
            && let Some(upload) = self.workers[w].uploads.get(attempt)
        {
            self.objects.outputs.remove(upload);
        }
    }

    /// What the laws remember of a message.
    fn worker_learns(&mut self, w: usize, message: &ToWorker) {
        let worker = &mut self.workers[w];
        match message {
            ToWorker::Settled { attempt, .. } | ToWorker::Revoke { attempt } => {
                worker.concluded.remove(attempt);
                worker.leased.remove(attempt);
            }
            ToWorker::Granted { attempt, allowed: true, .. } => {
                worker.allowed.insert(*attempt);
            }
            ToWorker::Granted { allowed: false, .. } | ToWorker::Renewed { .. } | ToWorker::Drain { .. } => {}
            ToWorker::Welcome { .. } => {
                worker.answered = worker.answered.max(worker.greeted);
                let (greeted, renewed) = (worker.greeted, &mut worker.renewed);
                renewed.values_mut().for_each(|r| *r = (*r).max(greeted));
            }
            ToWorker::Lease(lease) => {
                // again, if a Revoke has overtaken it
                worker.leased.insert(lease.attempt);
                worker.renewed.entry(lease.attempt).or_insert(worker.answered);
            }
            ToWorker::HeartbeatAck { sequence } => {
                let Some((sent, named)) = worker.beats.get(sequence) else { return };
                worker.answered = worker.answered.max(*sent);
                for attempt in named {
                    let renewed = worker.renewed.entry(*attempt).or_insert(*sent);
                    *renewed = (*renewed).max(*sent);
                }
            }
        }
    }

    /// The worker's end of a connection is gone.
    pub(super) fn worker_cut_off(&mut self, id: ConnId) {
        let Some(w) = self.conns.get(&id).map(|conn| conn.worker) else { return };
        if self.workers[w].conn == Some(id) {
            self.workers[w].conn = None;
            self.note("worker: connection gone", w, id.0);
            self.tell_agent(w, AgentEvent::Disconnected);
        }
    }
}
