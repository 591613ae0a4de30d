//! The world: virtual time, a coordinator, and workers that are as fast as they are.

use super::film::Film;
use super::guests::Guests;
use super::trace::{Ending, Try};
use crate::sim::rng::Rng;
use reelmill_common::capability::{Capability, EncoderProof};
use reelmill_common::job::{JobOptions, JobRequest, JobState};
use reelmill_common::keys::{ObjectKey, report_key};
use reelmill_common::ladder::{EncoderFamily, LadderChoice};
use reelmill_common::outcome::{AttemptCost, ChunkReport, Fault, FaultKind, Outcome, Report, ReportBody};
use reelmill_common::record::{ObjectRef, PlanRef};
use reelmill_common::session::{AttemptProgress, FromWorker, Hello, ToWorker};
use reelmill_common::{
    AttemptId, BootId, FencingTerm, Fingerprint, JobId, Millis, Sha256, SpecId, TenantId, WorkerId,
};
use reelmill_coordinator_core::{
    BatchId, Call, Coordinator, CoordinatorConfig, Effect, Event, LeaseOrder, Op, Record, SessionId, Step,
    Submission, TaskId, TaskKind, TermBegun, Token, WorkKind,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// A message on its way.
const LAG_MS: u64 = 10;
/// A batch made durable.
const WRITE_MS: u64 = 5;
/// Putting a chunk's files into storage.
const UPLOAD_MS: u64 = 200;
/// A crashed worker is back.
const REBOOT_MS: u64 = 5_000;
const TICK_MS: u64 = 250;
const BEAT_MS: u64 = 5_000;
/// A run that lasts this long has failed.
pub(super) const GIVE_UP_MS: u64 = 6 * 3_600_000;

/// Workers of one slot, as a run begins with them.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// True speed of each, permille of the reference.
    pub speed: Vec<u64>,
    /// The speed each has advertised.
    pub said: Vec<u64>,
    /// Attempts that fail, permille: half of them with a fault, half with their worker.
    pub fails_permille: u64,
}

impl Fleet {
    /// `size` workers with speeds from 500 to 2,000 permille, advertised within a tenth, and 2 % failures.
    pub fn spread(size: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let speed: Vec<u64> = (0..size).map(|_| rng.range(500, 2_000)).collect();
        let said = speed.iter().map(|s| s * rng.range(900, 1_100) / 1_000).collect();
        Self { speed, said, fails_permille: 20 }
    }

    /// `size` equal workers without a fault.
    pub fn equal(size: usize) -> Self {
        Self { speed: vec![1_000; size], said: vec![1_000; size], fails_permille: 0 }
    }
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Run {
    /// From the plan to the last commit, milliseconds.
    pub makespan_ms: u64,
    /// The film's work over all workers' speeds, milliseconds: nothing is faster.
    pub ideal_ms: u64,
    /// Attempts leased; of these, second ones of stragglers and such as failed.
    pub attempts: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// For how long all workers together did what was committed, milliseconds.
    pub won_ms: u64,
    /// For how long they did what failed.
    pub lost_ms: u64,
    /// For how long they did what another one was done with first.
    pub doubled_ms: u64,
    /// All attempts that ended before the film did.
    pub tries: Vec<Try>,
}

impl Run {
    /// Ideal over makespan, permille.
    pub fn efficiency_permille(&self) -> u64 {
        self.ideal_ms * 1_000 / self.makespan_ms.max(1)
    }
}

/// Runs the film on the fleet. `None`: it never ended.
pub fn run(film: &Film, fleet: &Fleet, seed: u64) -> Option<Run> {
    let mut world = World::new(film, fleet, seed);
    world.begin();
    while let Some(Reverse((at, _, what))) = world.heap.pop() {
        if at > GIVE_UP_MS {
            return None;
        }
        world.now = Millis(at);
        world.happens(what);
        if let Some(ended) = world.ended {
            let speed: u64 = fleet.speed.iter().sum();
            return Some(Run {
                makespan_ms: ended.since(world.began),
                ideal_ms: film.work_ms * 1_000 / speed.max(1),
                attempts: world.attempts,
                failed: world.failed,
                won_ms: world.won_ms,
                lost_ms: world.lost_ms,
                doubled_ms: world.doubled_ms,
                tries: world.tries,
            });
        }
    }
    None
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum What {
    Durable(BatchId),
    Tick,
    Beat(usize, u64),
    Asks(usize, u64),
    Returns(usize),
    Made(usize, u64, AttemptId),
    Breaks(usize, u64, AttemptId, bool),
    Stored(usize, u64, AttemptId),
    Arrives(usize),
    Answers(TaskId, bool),
}

/// An attempt on a worker.
#[derive(Clone, Debug)]
struct Doing {
    job: JobId,
    spec: SpecId,
    kind: WorkKind,
    since: Millis,
    takes_ms: u64,
    stored: bool,
}

struct Labourer {
    session: SessionId,
    life: u64,
    doing: BTreeMap<AttemptId, Doing>,
}

pub(super) struct World<'a> {
    fleet: &'a Fleet,
    specs: Vec<reelmill_coordinator_core::SpecRef>,
    pub(super) cost_ms: BTreeMap<SpecId, u64>,
    pub(super) guests: Option<Guests>,
    rng: Rng,
    pub(super) now: Millis,
    pub(super) heap: BinaryHeap<Reverse<(u64, u64, What)>>,
    made: u64,
    pub(super) config: CoordinatorConfig,
    machine: Coordinator,
    waiting: Option<Step>,
    store: BTreeMap<String, Record>,
    labourers: Vec<Labourer>,
    sessions: u64,
    began: Millis,
    ended: Option<Millis>,
    attempts: u64,
    failed: u64,
    won_ms: u64,
    lost_ms: u64,
    doubled_ms: u64,
    tries: Vec<Try>,
}

impl<'a> World<'a> {
    pub(super) fn new(film: &Film, fleet: &'a Fleet, seed: u64) -> Self {
        let cost_ms = film.specs.iter().zip(&film.cost_ms).map(|(s, c)| (s.id, *c)).collect();
        let labourer = |n| Labourer { session: SessionId(n as u64 + 1), life: 0, doing: BTreeMap::new() };
        Self {
            fleet,
            specs: film.specs.clone(),
            cost_ms,
            guests: None,
            rng: Rng::new(seed ^ 0xf1ee7),
            now: Millis(1),
            heap: BinaryHeap::new(),
            made: 0,
            config: CoordinatorConfig::default(),
            machine: Coordinator::new(CoordinatorConfig::default()),
            waiting: None,
            store: BTreeMap::new(),
            labourers: (0..fleet.speed.len()).map(labourer).collect(),
            sessions: fleet.speed.len() as u64,
            began: Millis(0),
            ended: None,
            attempts: 0,
            failed: 0,
            won_ms: 0,
            lost_ms: 0,
            doubled_ms: 0,
            tries: vec![],
        }
    }

    pub(super) fn after(&mut self, ms: u64, what: What) {
        self.made += 1;
        self.heap.push(Reverse((self.now.0 + ms, self.made, what)));
    }

    /// A leader that finds the job planned, and all workers.
    pub(super) fn begin(&mut self) {
        self.term(1, BTreeMap::new());
        if !self.specs.is_empty() {
            self.begin_film();
        }
        self.began = self.now;
        for w in 0..self.labourers.len() {
            self.connects(w);
        }
        self.after(TICK_MS, What::Tick);
    }

    fn begin_film(&mut self) {
        let (id, tenant) = names();
        let request = JobRequest {
            tenant,
            source: "/films/two-hours.mp4".to_owned(),
            ladder: LadderChoice::default(),
            options: JobOptions::default(),
            labels: BTreeMap::new(),
            priority: 0,
            idempotency_key: None,
        };
        let submission = Submission {
            id: id.clone(),
            request,
            request_hash: Sha256([1; 32]),
            slots_hint: None,
            unix_ms: 1,
            placement: Default::default(),
        };
        self.feed(Event::Call { token: Token(1), call: Call::Submit(Box::new(submission)) });
        self.settle_writes();
        let object = ObjectRef { key: key("plan"), bytes: 1, sha256: Sha256([2; 32]) };
        let plan = PlanRef {
            rungs: Vec::new(),
            why: None,
            revision: 1,
            object,
            chunks: self.specs.len() as u32,
            media_ms: 7_200_000,
        };
        for record in self.store.values_mut() {
            if let Record::Job(job) = record {
                (job.state, job.plan) = (JobState::Planned, Some(plan.clone()));
            }
        }
        let specs = self.specs.clone();
        self.term(2, [(id, Ok(specs))].into());
        self.settle_writes();
    }

    fn term(
        &mut self,
        term: u64,
        plans: BTreeMap<
            JobId,
            Result<Vec<reelmill_coordinator_core::SpecRef>, reelmill_common::job::FailReason>,
        >,
    ) {
        self.machine = Coordinator::new(self.config.clone());
        self.waiting = None;
        let records = self.store.values().cloned().collect();
        let begun = TermBegun { term: FencingTerm(term), records, plans, unix_ms: 1 };
        self.feed(Event::TermBegun(Box::new(begun)));
    }

    /// Makes everything durable that waits for it, in no time: only before the run begins.
    fn settle_writes(&mut self) {
        while let Some(id) = self.waiting.as_ref().map(|s| s.writes.id) {
            self.durable(id);
        }
        self.heap.clear();
    }

    fn connects(&mut self, w: usize) {
        let worker = worker(w);
        let life = self.labourers[w].life;
        let capability = Capability {
            worker: worker.clone(),
            slots: 1,
            cores: 1,
            memory_mib: 64_000,
            encoders: vec![EncoderProof {
                family: EncoderFamily::X264,
                fingerprint: Fingerprint(Sha256([1; 32])),
                kilopixels_per_second: self.fleet.said[w] * 20,
            }],
            ffmpeg_build: String::new(),
            audits: false,
            audits_sound: false,
        };
        let hello = Hello {
            worker,
            boot: BootId::parse(&format!("b{life}")).unwrap_or_else(|_| unreachable!("a valid name")),
            highest_term: FencingTerm(0),
            capability,
            running: vec![],
            unsettled: vec![],
        };
        let session = self.labourers[w].session;
        self.feed(Event::WorkerConnected { session, hello: Box::new(hello) });
        let beat = self.rng.range(1, BEAT_MS);
        self.after(beat, What::Beat(w, life));
        self.after(LAG_MS, What::Asks(w, life));
    }

    pub(super) fn feed(&mut self, event: Event) {
        let mut step = self.machine.handle(self.now, event);
        self.perform(std::mem::take(&mut step.now));
        if step.writes.is_empty() {
            return;
        }
        let id = step.writes.id;
        self.waiting = Some(step);
        self.after(WRITE_MS, What::Durable(id));
    }

    fn durable(&mut self, id: BatchId) {
        let Some(step) = self.waiting.take_if(|s| s.writes.id == id) else { return };
        for op in step.writes.ops {
            match op {
                Op::Put(r) => self.store.insert(format!("{:?}", r.key()), r),
                Op::Delete(key) => self.store.remove(&format!("{key:?}")),
            };
        }
        self.perform(step.then);
        self.feed(Event::BatchDone(id));
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Lease(order) => self.leased(&order),
                Effect::Grant(order) => self.granted(order.session, order.attempt),
                Effect::Send { session, message, .. } => self.told(session, message),
                Effect::Start(task) if task.kind == TaskKind::PrepareAudit && task.job == names().0 => {
                    self.ended = Some(self.now);
                }
                Effect::Start(task) => self.guest_task(&task),
                _ => {}
            }
        }
    }

    fn of(&self, session: SessionId) -> Option<usize> {
        // sessions are few and the newest ones of each worker only
        self.labourers.iter().position(|l| l.session == session)
    }

    fn leased(&mut self, order: &LeaseOrder) {
        let Some(w) = self.of(order.session) else { return };
        self.attempts += 1;
        let whole = self.early_ms(order.kind).or_else(|| self.cost_ms.get(&order.spec).copied());
        let takes_ms = whole.unwrap_or(1) * 1_000 / self.fleet.speed[w];
        let doing = Doing {
            job: order.job.clone(),
            spec: order.spec,
            kind: order.kind,
            since: self.now,
            takes_ms,
            stored: false,
        };
        let life = self.labourers[w].life;
        self.labourers[w].doing.insert(order.attempt, doing);
        if self.rng.chance(self.fleet.fails_permille) {
            self.failed += 1;
            let (at, crash) = (self.rng.range(1, takes_ms), self.rng.chance(500));
            self.after(LAG_MS + at, What::Breaks(w, life, order.attempt, crash));
        } else {
            self.after(LAG_MS + takes_ms, What::Made(w, life, order.attempt));
        }
    }

    fn granted(&mut self, session: SessionId, attempt: AttemptId) {
        let Some(w) = self.of(session) else { return };
        let life = self.labourers[w].life;
        self.after(LAG_MS + UPLOAD_MS, What::Stored(w, life, attempt));
        self.after(LAG_MS, What::Asks(w, life));
    }

    fn told(&mut self, session: SessionId, message: ToWorker) {
        let Some(w) = self.of(session) else { return };
        let life = self.labourers[w].life;
        match message {
            ToWorker::Granted { attempt, allowed: false, .. } | ToWorker::Revoke { attempt } => {
                if let Some(doing) = self.labourers[w].doing.remove(&attempt) {
                    self.doubled_ms += self.now.since(doing.since).min(doing.takes_ms);
                    self.tried(w, &doing, Ending::Superseded);
                }
                self.after(LAG_MS, What::Asks(w, life));
            }
            _ => {}
        }
    }

    pub(super) fn happens(&mut self, what: What) {
        match what {
            What::Durable(id) => self.durable(id),
            What::Arrives(n) => self.arrives(n),
            What::Answers(task, planned) => self.answers(task, planned),
            What::Tick => {
                self.feed(Event::Tick { unix_ms: self.now.0 });
                self.after(TICK_MS, What::Tick);
            }
            What::Returns(w) => {
                self.sessions += 1;
                self.labourers[w].session = SessionId(self.sessions);
                self.connects(w);
            }
            What::Beat(w, life) if self.labourers[w].life == life => self.beats(w),
            What::Asks(w, life) if self.labourers[w].life == life => self.asks(w),
            What::Made(w, life, attempt) if self.labourers[w].life == life => {
                if let Some(doing) = self.labourers[w].doing.get_mut(&attempt) {
                    doing.stored = true;
                    self.says(w, FromWorker::Grant { attempt, files: vec![] });
                }
            }
            What::Breaks(w, life, attempt, crash) if self.labourers[w].life == life => {
                self.breaks(w, attempt, crash);
            }
            What::Stored(w, life, attempt) if self.labourers[w].life == life => {
                if let Some(doing) = self.labourers[w].doing.remove(&attempt) {
                    self.won_ms += doing.takes_ms;
                    self.tried(w, &doing, Ending::Won);
                    self.concludes(w, attempt, doing.clone(), Outcome::Done(report(&doing, attempt)));
                }
            }
            _ => {}
        }
    }

    fn says(&mut self, w: usize, message: FromWorker) {
        let session = self.labourers[w].session;
        self.feed(Event::WorkerSaid { session, message });
    }

    fn asks(&mut self, w: usize) {
        if self.labourers[w].doing.values().all(|d| d.stored) {
            self.says(w, FromWorker::Lease { slots: 1 });
        }
    }

    fn beats(&mut self, w: usize) {
        let now = self.now;
        let progress = |(attempt, d): (&AttemptId, &Doing)| AttemptProgress {
            attempt: *attempt,
            done: now.since(d.since).min(d.takes_ms),
            total: d.takes_ms,
            cost: AttemptCost::default(),
        };
        let running = self.labourers[w].doing.iter().map(progress).collect();
        self.says(w, FromWorker::Heartbeat { sequence: 1, running });
        let life = self.labourers[w].life;
        self.after(BEAT_MS, What::Beat(w, life));
    }

    fn breaks(&mut self, w: usize, attempt: AttemptId, crash: bool) {
        let Some(doing) = self.labourers[w].doing.remove(&attempt) else { return };
        self.lost_ms += self.now.since(doing.since);
        self.tried(w, &doing, if crash { Ending::Crashed } else { Ending::Failed });
        let life = self.labourers[w].life;
        if crash {
            let session = self.labourers[w].session;
            self.labourers[w].doing.clear();
            self.labourers[w].life += 1;
            self.feed(Event::WorkerDisconnected { session });
            self.after(REBOOT_MS, What::Returns(w));
        } else {
            let fault =
                Fault { kind: FaultKind::Encoder, message: "it broke".to_owned(), detail: String::new() };
            self.concludes(w, attempt, doing, Outcome::Failed { fault, cost: AttemptCost::default() });
            self.after(LAG_MS, What::Asks(w, life));
        }
    }

    fn tried(&mut self, worker: usize, doing: &Doing, ending: Ending) {
        let (spec, from, until) = (doing.spec, doing.since, self.now);
        self.tries.push(Try { spec, worker, from, until, ending });
    }

    fn concludes(&mut self, w: usize, attempt: AttemptId, doing: Doing, outcome: Outcome) {
        let session = self.labourers[w].session;
        let (job, spec) = (doing.job, doing.spec);
        self.feed(Event::OutcomeChecked { session, attempt, job, spec, outcome: Box::new(outcome) });
    }
}

fn report(doing: &Doing, attempt: AttemptId) -> Report {
    let chunk = ChunkReport {
        files: vec![],
        units: vec![],
        configs: vec![],
        loudness: None,
        cost: AttemptCost::default(),
        encoder: None,
        ffmpeg_build: String::new(),
        notes: vec![],
    };
    Report {
        key: report_key(doing.spec, attempt),
        sha256: Sha256([3; 32]),
        bytes: 3,
        body: match doing.kind {
            WorkKind::Index => ReportBody::Index(AttemptCost::default()),
            WorkKind::Analyse => ReportBody::Analyse(Default::default(), AttemptCost::default()),
            _ => ReportBody::Encode(chunk),
        },
    }
}

fn names() -> (JobId, TenantId) {
    let job = JobId::parse("film").unwrap_or_else(|_| unreachable!("a valid name"));
    let tenant = TenantId::parse("t").unwrap_or_else(|_| unreachable!("a valid name"));
    (job, tenant)
}

fn worker(w: usize) -> WorkerId {
    WorkerId::parse(&format!("w{w:04}")).unwrap_or_else(|_| unreachable!("a valid name"))
}

pub(super) fn key(name: &str) -> ObjectKey {
    ObjectKey::parse(name).unwrap_or_else(|_| unreachable!("a valid name"))
}
