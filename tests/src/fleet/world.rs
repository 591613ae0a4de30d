//! The world: virtual time, and a coordinator with a store that always answers.

use super::film::Film;
use super::guests::Guests;
use super::labour::Labourer;
use super::run::{Fleet, Unfinished};
use super::trace::Try;
use crate::sim::rng::Rng;
use reelmill_common::job::{FailReason, JobOptions, JobRequest, JobState};
use reelmill_common::keys::ObjectKey;
use reelmill_common::ladder::LadderChoice;
use reelmill_common::record::{ObjectRef, PlanRef};
use reelmill_common::{AttemptId, FencingTerm, JobId, Millis, Sha256, SpecId, TenantId};
use reelmill_coordinator_core::{
    BatchId, Call, Coordinator, CoordinatorConfig, Effect, Event, Op, Record, SessionId, SpecRef, Step,
    Submission, TaskId, TaskKind, TermBegun, Token,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// A batch made durable.
const WRITE_MS: u64 = 5;
const TICK_MS: u64 = 250;
/// A run that lasts this long has stalled.
const GIVE_UP_MS: u64 = 6 * 3_600_000;

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

pub(super) struct World<'a> {
    pub(super) fleet: &'a Fleet,
    specs: Vec<SpecRef>,
    /// What chunks cost with the usual build and with the odd one.
    pub(super) cost_ms: BTreeMap<SpecId, (u64, u64)>,
    pub(super) guests: Option<Guests>,
    pub(super) rng: Rng,
    pub(super) now: Millis,
    pub(super) heap: BinaryHeap<Reverse<(u64, u64, What)>>,
    made: u64,
    pub(super) config: CoordinatorConfig,
    machine: Coordinator,
    waiting: Option<Step>,
    store: BTreeMap<String, Record>,
    pub(super) labourers: Vec<Labourer>,
    pub(super) sessions: u64,
    pub(super) began: Millis,
    pub(super) ended: Option<Millis>,
    /// Why a job has failed, if one has.
    job_failed: Option<String>,
    pub(super) attempts: u64,
    pub(super) failed: u64,
    pub(super) won_ms: u64,
    pub(super) lost_ms: u64,
    pub(super) doubled_ms: u64,
    pub(super) tries: Vec<Try>,
}

impl<'a> World<'a> {
    pub(super) fn new(film: &Film, fleet: &'a Fleet, seed: u64) -> Self {
        let labourer = |n| Labourer { session: SessionId(n as u64 + 1), life: 0, doing: BTreeMap::new() };
        let mut this = Self {
            fleet,
            specs: film.specs.clone(),
            cost_ms: BTreeMap::new(),
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
            job_failed: None,
            attempts: 0,
            failed: 0,
            won_ms: 0,
            lost_ms: 0,
            doubled_ms: 0,
            tries: vec![],
        };
        this.costs(film);
        this
    }

    /// The chunks of a film cost what they do.
    pub(super) fn costs(&mut self, film: &Film) {
        let costs = film.cost_ms.iter().zip(&film.odd_ms).map(|(usual, odd)| (*usual, *odd));
        self.cost_ms.extend(film.specs.iter().map(|s| s.id).zip(costs));
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

    fn term(&mut self, term: u64, plans: BTreeMap<JobId, Result<Vec<SpecRef>, FailReason>>) {
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

    /// Lets things happen until that is so, or a job has failed.
    pub(super) fn until<T>(&mut self, is_so: impl Fn(&Self) -> Option<T>) -> Result<T, Unfinished> {
        while let Some(Reverse((at, _, what))) = self.heap.pop() {
            if at > GIVE_UP_MS {
                break;
            }
            self.now = Millis(at);
            self.happens(what);
            if let Some(so) = is_so(self) {
                return Ok(so);
            }
            if let Some(why) = self.job_failed.take() {
                return Err(Unfinished::Failed { why });
            }
        }
        Err(Unfinished::Stalled)
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
                Op::Put(r) => {
                    self.notes_failure(&r);
                    self.store.insert(format!("{:?}", r.key()), r)
                }
                Op::Delete(key) => self.store.remove(&format!("{key:?}")),
            };
        }
        self.perform(step.then);
        self.feed(Event::BatchDone(id));
    }

    fn notes_failure(&mut self, record: &Record) {
        let Record::Job(job) = record else { return };
        if let JobState::Failed(reason) = &job.state {
            self.job_failed = Some(format!("{}: {}", job.id, reason.message));
        }
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
                self.made(w, attempt);
            }
            What::Breaks(w, life, attempt, crash) if self.labourers[w].life == life => {
                self.breaks(w, attempt, crash);
            }
            What::Stored(w, life, attempt) if self.labourers[w].life == life => {
                self.stored(w, attempt);
            }
            _ => {}
        }
    }
}

fn names() -> (JobId, TenantId) {
    let job = JobId::parse("film").unwrap_or_else(|_| unreachable!("a valid name"));
    let tenant = TenantId::parse("t").unwrap_or_else(|_| unreachable!("a valid name"));
    (job, tenant)
}

pub(super) fn key(name: &str) -> ObjectKey {
    ObjectKey::parse(name).unwrap_or_else(|_| unreachable!("a valid name"))
}
