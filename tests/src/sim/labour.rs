//! A worker process: the real agent machine with a shell around it that pretends to encode and upload.

use super::Bug;
use super::net::{Conn, ConnId};
use super::plans::build_of;
use super::rng::Rng;
use super::scenario::{Scenario, UPLOAD_MAX_MS};
use super::world::{Clock, What, World};
use reelmill_common::audit::AuditReport;
use reelmill_common::outcome::{
    AnalyseReport, AttemptCost, ChunkReport, Fault, FaultKind, Report, ReportBody, Verdict,
};
use reelmill_common::session::{FromWorker, Lease, NamedFile, Termed, ToWorker};
use reelmill_common::{AttemptId, BootId, Fingerprint, JobId, Millis, Sha256, SpecId, keys};
use reelmill_coordinator_core::WorkKind;
use reelmill_worker_core::agent::{Agent, AgentConfig, AgentEffect, AgentEvent};
use std::collections::{BTreeMap, BTreeSet};

/// A child process that makes no progress is killed after this.
const STALLED_MS: u64 = 9_000;
/// An upgrade leads from one build to the one that is so many further.
const BUILDS: u8 = 10;
/// What an attempt costs from start to end.
const COST: AttemptCost = AttemptCost { wall_ms: 0, cpu_ms: 3, encode_ms: 0, source_bytes: 1 };

/// What the shell does for an attempt.
#[derive(Clone, Debug)]
struct Work {
    job: JobId,
    spec: SpecId,
    kind: WorkKind,
    /// Milliseconds of a third of it.
    third_ms: u64,
}

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

    /// The shell starts a child process.
    fn start_work(&mut self, w: usize, lease: Lease) {
        let attempt = lease.attempt;
        self.note("work: started", w, attempt.sequence);
        if !self.workers[w].started.insert(attempt) {
            self.laws.breach(format!("worker {w} starts {attempt} a second time"));
        }
        let Some((kind, spec)) = self.laws.spec(&lease.job, lease.spec) else { return };
        let life = self.workers[w].life;
        let third_ms = (spec.cost_ms * self.workers[w].slow_permille / 3_000).max(1);
        let work = Work { job: lease.job.clone(), spec: lease.spec, kind, third_ms };
        self.workers[w].work.insert(attempt, work);
        let part = self.laws.chunk(&lease.job, lease.spec).map(|c| c.part);
        let (broken, poisoned) = self
            .laws
            .film(&lease.job)
            .map_or((false, false), |f| (f.broken, part.is_some() && f.poison == part));
        let chances = self.chances;
        let fails = What::WorkFails { worker: w, life, attempt, kind: FaultKind::Encoder };
        if kind == WorkKind::Index && broken {
            self.after(third_ms, fails);
        } else if self.rng.chance(chances.kill) || (poisoned && self.rng.chance(500)) {
            self.worker_dies(w, "worker: killed by its work");
        } else if self.rng.chance(chances.hang) {
            self.note("work: hangs", w, attempt.sequence);
            self.after(STALLED_MS, fails);
        } else if self.rng.chance(chances.fault) {
            self.after(third_ms, fails);
        } else {
            self.after(third_ms, What::Work { worker: w, life, attempt, done: 1 });
        }
    }

    fn work_goes_on(&mut self, w: usize, attempt: AttemptId, done: u64) {
        let Some(work) = self.workers[w].work.get(&attempt).cloned() else { return };
        let life = self.workers[w].life;
        if done < 3 {
            let cost = AttemptCost { cpu_ms: done, ..AttemptCost::default() };
            self.tell_agent(w, AgentEvent::Progress { attempt, done: done * 100, total: 300, cost });
            return self.after(work.third_ms, What::Work { worker: w, life, attempt, done: done + 1 });
        }
        if self.has_other_binding(w, &work) {
            return self.work_fails(w, attempt, FaultKind::Binding);
        }
        let name = format!("rung/{attempt}.m4s");
        let files = match work.kind {
            WorkKind::Encode => vec![NamedFile { name, bytes: 1, sha256: work.spec.0 }],
            WorkKind::Index | WorkKind::Analyse | WorkKind::Audit => vec![],
        };
        if work.kind == WorkKind::Audit && self.sees_wrong(w, &work.job, work.spec) {
            return self.work_fails(w, attempt, FaultKind::Media);
        }
        self.tell_agent(w, AgentEvent::Made { attempt, files });
    }

    /// The build with which a worker encodes a film's picture.
    fn build(&self, w: usize, job: &JobId) -> Option<u8> {
        let family = self.laws.film(job)?.family;
        let proof = self.capability(w).encoders.iter().find(|e| e.family == family)?;
        Some(build_of(proof.fingerprint))
    }

    /// Does the worker's build give something else than a rung of the chunk is bound to?
    fn has_other_binding(&self, w: usize, work: &Work) -> bool {
        let build = self.build(w, &work.job).unwrap_or(0);
        let chunk = self.laws.chunk(&work.job, work.spec);
        chunk.is_some_and(|c| c.rungs.iter().any(|(place, bound)| self.laws.gives(build, *place) != *bound))
    }

    fn work_fails(&mut self, w: usize, attempt: AttemptId, kind: FaultKind) {
        let Some(work) = self.workers[w].work.get(&attempt).cloned() else { return };
        let broken = work.kind == WorkKind::Index && self.laws.film(&work.job).is_some_and(|f| f.broken);
        let kind = if broken { FaultKind::Source } else { kind };
        self.note("work: failed", w, attempt.sequence);
        if kind == FaultKind::Binding {
            self.tally.count("work: another binding");
        } else if kind == FaultKind::Media {
            self.tally.count("work: an audit found something");
        } else if !broken {
            self.laws.faulted(&work.job, work.spec, attempt);
        }
        let fault = Fault { kind, message: "the model says so".to_owned(), detail: String::new() };
        self.conclude(w, attempt, AgentEvent::WorkFailed { attempt, fault, cost: COST });
    }

    /// An end that the agent must keep until it is settled.
    fn conclude(&mut self, w: usize, attempt: AttemptId, event: AgentEvent) {
        if self.workers[w].work.remove(&attempt).is_some() {
            self.workers[w].concluded.insert(attempt);
            self.tell_agent(w, event);
        }
    }

    fn upload(&mut self, w: usize, attempt: AttemptId) {
        self.note("work: upload begins", w, attempt.sequence);
        let worker = &self.workers[w];
        let ttl_ms = self.scenario.config().lease_ttl_ms;
        let now = worker.clock.read(self.now_ms);
        let renewed = worker.renewed.get(&attempt).copied().unwrap_or(Millis(0));
        if !worker.allowed.contains(&attempt) {
            self.laws.breach(format!("worker {w} uploads {attempt} without a grant"));
        }
        if now.since(renewed) > ttl_ms {
            self.laws.breach(format!("worker {w} begins to upload {attempt} past its lease"));
        }
        let (life, whole) = (self.workers[w].life, !self.rng.chance(self.chances.objects));
        let took = self.rng.range(5, if self.rng.clone().chance(100) { UPLOAD_MAX_MS } else { 300 });
        let Some(work) = self.workers[w].work.get(&attempt) else { return };
        let of = Box::new((work.job.clone(), work.spec));
        self.after(took, What::Uploaded { worker: w, life, attempt, whole, of });
    }

    /// Files have arrived in storage, whether or not their worker still lives, or still works on this.
    fn uploaded(&mut self, w: usize, life: u64, attempt: AttemptId, whole: bool) {
        if self.workers[w].life != life {
            return;
        }
        let Some(work) = self.workers[w].work.get(&attempt).cloned() else { return };
        if !whole {
            return self.after(0, What::WorkFails { worker: w, life, attempt, kind: FaultKind::Storage });
        }
        self.workers[w].uploads.insert(attempt, (work.job.clone(), work.spec));
        if self.rng.chance(self.chances.wrong) {
            self.note("work: made something wrong", w, attempt.sequence);
            self.laws.wrong.insert(attempt);
            self.laws.faulted(&work.job, work.spec, attempt);
        } else {
            self.laws.made.insert(attempt);
            self.may_be_rotten(w, attempt, work.kind);
            if let Some(build) = self.build(w, &work.job) {
                self.laws.builds.insert(attempt, build);
            }
        }
        let report = Box::new(report(&work, attempt));
        self.conclude(w, attempt, AgentEvent::Uploaded { attempt, report });
    }
}

fn report(work: &Work, attempt: AttemptId) -> Report {
    let body = match work.kind {
        WorkKind::Index => ReportBody::Index(COST),
        WorkKind::Analyse => ReportBody::Analyse(AnalyseReport::default(), COST),
        WorkKind::Audit => ReportBody::Audit(AuditReport::default(), COST),
        WorkKind::Encode => ReportBody::Encode(ChunkReport {
            files: vec![],
            units: vec![],
            configs: vec![],
            loudness: None,
            cost: COST,
            encoder: None,
            ffmpeg_build: String::new(),
            notes: vec![],
        }),
    };
    Report { key: keys::report_key(work.spec, attempt), sha256: Sha256::of(b"report"), bytes: 6, body }
}
