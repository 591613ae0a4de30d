//! A coordinator process: the real control machine with a driver around it, its leadership, its writes and its tasks.
//!
//! The driver here does what the one in `reelmill-coordinator` must do: write, then perform; one batch at a time;
//! check reports before they are fed; close everything when a term ends.

use super::net::ConnId;
use super::rng::Rng;
use super::store::Written;
use super::world::{Clock, What, World};
use reelmill_common::capability::Capability;
use reelmill_common::job::{FailReason, JobState};
use reelmill_common::outcome::{Fault, FaultKind, Outcome};
use reelmill_common::record::ManifestRef;
use reelmill_common::record::{ObjectRef, PlanRef};
use reelmill_common::session::{FromWorker, Hello, Lease, ReadGrant, Termed, ToWorker, WriteGrant};
use reelmill_common::spec::{IndexSpec, WorkItem};
use reelmill_common::{AttemptId, FencingTerm, JobId, Sha256, TenantId, keys};
use reelmill_coordinator_core::{
    BatchId, Coordinator, Effect, Event, LeaseOrder, SessionId, Step, Task, TaskError, TaskId, TaskKind,
    TaskOutput, TermBegun, Token,
};
use std::collections::{BTreeMap, BTreeSet};

/// The leader key goes when it was not kept alive for this long.
const LEADER_TTL_MS: u64 = 4_000;
const KEEP_ALIVE_MS: u64 = 1_000;
const TICK_MS: u64 = 250;

/// A coordinator process.
#[derive(Debug)]
pub(super) struct Control {
    /// Is it running?
    pub(super) alive: bool,
    /// Which life of it: what belongs to an earlier one is dropped.
    pub(super) life: u64,
    /// Its clock.
    pub(super) clock: Clock,
    /// It does nothing until then.
    pub(super) paused_until_ms: u64,
    /// It wants to lead.
    campaigns: bool,
    /// The term it was elected to.
    term: Option<FencingTerm>,
    machine: Option<Coordinator>,
    /// Effects that wait for the batch in flight.
    then: Option<(BatchId, Vec<Effect>)>,
    conns: BTreeMap<SessionId, ConnId>,
    /// Sessions of connections.
    pub(super) sessions_by_conn: BTreeMap<ConnId, SessionId>,
    last_session: u64,
    tasks: BTreeMap<TaskId, Task>,
    /// When each worker was last heard of.
    heard_ms: BTreeMap<usize, u64>,
    /// Leases given on each session and not over.
    leases: BTreeMap<SessionId, BTreeSet<AttemptId>>,
    /// For the fairness law: what each pair of backlogged tenants had been given when the interval began.
    fair_since: BTreeMap<TenantId, u64>,
}

impl Control {
    /// A process that was not started yet.
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            alive: false,
            life: 0,
            clock: Clock::new(rng),
            paused_until_ms: 0,
            campaigns: false,
            term: None,
            machine: None,
            then: None,
            conns: BTreeMap::new(),
            sessions_by_conn: BTreeMap::new(),
            last_session: 0,
            tasks: BTreeMap::new(),
            heard_ms: BTreeMap::new(),
            leases: BTreeMap::new(),
            fair_since: BTreeMap::new(),
        }
    }
}

impl World {
    /// A coordinator dies: its memory is gone.
    pub(super) fn control_dies(&mut self, c: usize) {
        if !self.controls[c].alive {
            return;
        }
        let leading = self.controls[c].term.is_some();
        self.note(if leading { "control: leader crashed" } else { "control: standby crashed" }, c, 0);
        let life = self.controls[c].life;
        self.controls[c] = Control {
            life: life + 1,
            clock: self.controls[c].clock,
            last_session: 0,
            ..Control::new(&mut self.rng.clone())
        };
        self.close_all(|conn| conn.control == c);
        self.soon(4_000, What::ControlStarts(c));
    }

    /// A coordinator is asked to hand over.
    pub(super) fn step_down(&mut self, c: usize) {
        if self.controls[c].term.is_some() {
            self.note("control: steps down", c, 0);
            self.feed(c, Event::StepDown);
        }
    }

    /// Something of a coordinator's own.
    pub(super) fn control_event(&mut self, what: What) {
        match what {
            What::ControlStarts(c) => self.control_starts(c),
            What::ControlTick(c, life) if self.controls[c].life == life => {
                self.after(TICK_MS, What::ControlTick(c, life));
                self.silence_is_evidence(c);
                let unix_ms = self.controls[c].clock.wall(self.now_ms);
                self.feed(c, Event::Tick { unix_ms });
            }
            What::KeepAlive(c, life) if self.controls[c].life == life => self.keep_alive(c),
            What::Election => self.election(),
            What::Won(c, life, term) if self.controls[c].life == life => {
                self.controls[c].term = Some(term);
                self.soon(600, What::Loaded(c, life, term));
            }
            What::Loaded(c, life, term) if self.controls[c].life == life => self.loaded(c, term),
            What::Write { control, life, batch, silent } => {
                let written = self.store.write(&batch, &mut self.laws, &mut self.tally);
                if !silent {
                    let answer = What::WriteAnswer { control, life, batch: batch.id, written: Some(written) };
                    self.soon(15, answer);
                }
            }
            What::WriteAnswer { control: c, life, batch, written } if self.controls[c].life == life => {
                self.write_answered(c, batch, written);
            }
            What::TaskOver(c, life, task) if self.controls[c].life == life => self.task_over(c, task),
            _ => {}
        }
    }

    fn control_starts(&mut self, c: usize) {
        if self.controls[c].alive {
            return;
        }
        let machine = self.bug.coordinator(self.scenario.config());
        let control = &mut self.controls[c];
        control.alive = true;
        control.campaigns = true;
        control.machine = Some(machine);
        let life = control.life;
        self.note("control: started", c, life);
        self.after(TICK_MS, What::ControlTick(c, life));
        self.after(KEEP_ALIVE_MS, What::KeepAlive(c, life));
    }

    fn election(&mut self) {
        self.after(200, What::Election);
        if self.store.leader.is_some_and(|l| l.expires_ms < self.now_ms) {
            self.note("store: leader key expired", 0, 0);
            self.store.leader = None;
        }
        if self.store.leader.is_some() {
            return;
        }
        let able = |c: &usize| {
            let control = &self.controls[*c];
            let here = control.alive && control.paused_until_ms <= self.now_ms;
            here && control.campaigns && control.term.is_none() && !self.store_cut.contains_key(c)
        };
        let candidates: Vec<usize> = (0..self.controls.len()).filter(able).collect();
        if candidates.is_empty() {
            return;
        }
        let c = self.rng.pick(&candidates);
        let life = self.controls[c].life;
        let term = self.store.elect(c, life, self.now_ms + LEADER_TTL_MS);
        self.note("store: leader elected", c, term.0);
        self.soon(40, What::Won(c, life, term));
    }

    fn keep_alive(&mut self, c: usize) {
        let life = self.controls[c].life;
        self.after(KEEP_ALIVE_MS, What::KeepAlive(c, life));
        let (Some(term), false) = (self.controls[c].term, self.store_cut.contains_key(&c)) else { return };
        if self.store.leads(c, life, term) {
            if let Some(key) = &mut self.store.leader {
                key.expires_ms = self.now_ms + LEADER_TTL_MS;
            }
        } else if self.rng.chance(500) {
            // sometimes its next write tells it first
            self.note("control: told that it is deposed", c, term.0);
            self.feed(c, Event::TermLost);
            self.term_over(c);
        }
    }

    /// The new leader has read everything and begins.
    fn loaded(&mut self, c: usize, term: FencingTerm) {
        if self.controls[c].term != Some(term) {
            return;
        }
        let records: Vec<_> = self.store.records().cloned().collect();
        let needs_plan =
            |s: &JobState| matches!(s, JobState::Planned | JobState::Running | JobState::Publishing);
        let planned: Vec<JobId> =
            self.store.jobs().filter(|j| needs_plan(&j.state)).map(|j| j.id.clone()).collect();
        let mut plans = BTreeMap::new();
        for job in planned {
            if !self.objects.plans.contains(&job) {
                self.laws.breach(format!("job {job} has no stored plan"));
            }
            let chunks = self.laws.film(&job).map(|f| f.chunks.clone()).unwrap_or_default();
            plans.insert(job, Ok(chunks));
        }
        self.note("control: term begun", c, term.0);
        let unix_ms = self.controls[c].clock.wall(self.now_ms);
        self.controls[c].heard_ms.clear();
        self.feed(c, Event::TermBegun(Box::new(TermBegun { term, records, plans, unix_ms })));
    }

    /// Feeds the machine and does what it says.
    pub(super) fn feed(&mut self, c: usize, event: Event) {
        let now = self.controls[c].clock.read(self.now_ms);
        let Some(machine) = &mut self.controls[c].machine else { return };
        let step = machine.handle(now, event);
        self.perform_step(c, step);
        self.check_fairness(c);
    }

    fn perform_step(&mut self, c: usize, step: Step) {
        if step.writes.is_empty() {
            return self.perform(c, step.then);
        }
        let control = &mut self.controls[c];
        let batch = step.writes;
        let one = control.then.as_ref().is_none_or(|(id, _)| *id == batch.id);
        control.then = Some((batch.id, step.then));
        if !one {
            self.laws.breach("two batches are in flight".to_owned());
        }
        if Some(batch.term) != self.controls[c].term {
            self.laws.breach("a batch of another term".to_owned());
        }
        self.write(c, batch);
    }

    /// Sends a batch to the store, which may lose it, its answer, or time.
    fn write(&mut self, c: usize, batch: reelmill_coordinator_core::Batch) {
        let life = self.controls[c].life;
        let id = batch.id;
        let way = batch.delay_ms + self.rng.range(1, 15);
        let unknown = What::WriteAnswer { control: c, life, batch: id, written: None };
        let chances = self.chances;
        if self.store_cut.contains_key(&c) || self.rng.chance(chances.error_before) {
            self.note("store: error before", c, id.0);
            return self.after(way + 300, unknown);
        }
        let write = |silent| What::Write { control: c, life, batch: Box::new(batch.clone()), silent };
        if self.rng.chance(chances.error_after) {
            self.note("store: error after", c, id.0);
            self.after(way, write(true));
            return self.after(way + 300, unknown);
        }
        if self.rng.chance(chances.stall) {
            self.note("store: stalled copy", c, id.0);
            let late = way + self.rng.range(300, 5_000);
            self.after(late, write(true));
            return self.after(way + 300, unknown);
        }
        self.after(way, write(false));
    }

    fn write_answered(&mut self, c: usize, batch: BatchId, written: Option<Written>) {
        let Some((id, then)) = self.controls[c].then.take() else { return };
        if id != batch {
            self.controls[c].then = Some((id, then));
            return;
        }
        match written {
            Some(Written::Done) => {
                self.perform(c, then);
                self.feed(c, Event::BatchDone(batch));
            }
            Some(Written::Fenced) => {
                self.note("control: fenced", c, batch.0);
                if self.bug.is_fencing() {
                    self.perform(c, then);
                }
                self.feed(c, Event::BatchFenced(batch));
            }
            None => self.feed(c, Event::BatchUnknown(batch)),
        }
    }

    fn perform(&mut self, c: usize, effects: Vec<Effect>) {
        for effect in effects {
            self.perform_one(c, effect);
        }
    }

    fn perform_one(&mut self, c: usize, effect: Effect) {
        match effect {
            Effect::Lease(order) => self.send_lease(c, *order),
            Effect::Send { session, term, message } => self.send(c, session, term, message),
            Effect::CloseSession { session } => {
                if let Some(conn) = self.controls[c].conns.remove(&session) {
                    self.controls[c].sessions_by_conn.remove(&conn);
                    self.controls[c].leases.remove(&session);
                    self.close(conn);
                }
            }
            Effect::Reply { token, result } => {
                self.law_of_reply(token, &result);
                self.soon(30, What::Answer { token, result });
            }
            Effect::Start(task) => self.start_task(c, task),
            Effect::Forget(task) => {
                self.controls[c].tasks.remove(&task);
            }
            Effect::EndTerm => self.term_over(c),
            Effect::JobChanged(_) | Effect::Count(_) => {}
        }
    }

    /// The machine has dropped everything; so does its process.
    fn term_over(&mut self, c: usize) {
        let life = self.controls[c].life;
        let Some(term) = self.controls[c].term.take() else { return };
        if self.store.leads(c, life, term) {
            self.store.leader = None;
        }
        let control = &mut self.controls[c];
        control.then = None;
        control.tasks.clear();
        control.leases.clear();
        control.fair_since.clear();
        control.sessions_by_conn.clear();
        let conns = std::mem::take(&mut control.conns);
        conns.into_values().for_each(|conn| self.close(conn));
        self.note("control: term over", c, term.0);
    }

    fn send_lease(&mut self, c: usize, order: LeaseOrder) {
        self.trace.tell(self.now_ms, c, || format!("leases {order:?}"));
        self.law_of_lease(c, &order);
        self.laws.leased(&order.job, order.spec, order.attempt);
        let Some(conn) = self.controls[c].conns.get(&order.session).copied() else {
            return self.laws.may_be_lost(order.attempt, None);
        };
        self.controls[c].leases.entry(order.session).or_default().insert(order.attempt);
        match self.conns.get(&conn).copied() {
            Some(conn) if self.workers[conn.worker].life == conn.worker_life => {
                self.workers[conn.worker].leased.insert(order.attempt);
            }
            // leased to a worker that is dead already, as its next Hello will show
            _ => self.laws.may_be_lost(order.attempt, None),
        }
        self.note("lease: offered", c, order.attempt.sequence);
        let url = format!("model:///{}", order.job);
        let item = IndexSpec { location: url.clone(), salt: order.spec.to_string() };
        let lease = Lease {
            attempt: order.attempt,
            spec: order.spec,
            job: order.job,
            item: WorkItem::Index(item),
            source: ReadGrant { url: url.clone(), bytes: None, version: None },
            output: WriteGrant { package: url.clone(), work: url },
            decoder_threads: 1,
            alone: order.alone,
        };
        self.send_to_worker(conn, Termed { term: order.term, message: ToWorker::Lease(Box::new(lease)) });
    }

    fn send(&mut self, c: usize, session: SessionId, term: FencingTerm, message: ToWorker) {
        self.trace.tell(self.now_ms, c, || format!("{term:?} says {message:?} on {session:?}"));
        self.law_of_message(c, term, &message);
        let over = match &message {
            ToWorker::Settled { attempt, .. } | ToWorker::Revoke { attempt } => Some(*attempt),
            _ => None,
        };
        if let Some(attempt) = over {
            self.controls[c].leases.entry(session).or_default().remove(&attempt);
        }
        if let Some(conn) = self.controls[c].conns.get(&session).copied() {
            self.send_to_worker(conn, Termed { term, message });
        }
    }

    /// A worker's message arrives.
    pub(super) fn control_hears(&mut self, id: ConnId, message: FromWorker) {
        let Some(conn) = self.conns.get(&id).copied() else { return };
        let c = conn.control;
        if self.controls[c].life != conn.control_life || self.cut.contains_key(&(conn.worker, c)) {
            return;
        }
        self.trace.tell(self.now_ms, c, || format!("hears from worker {}: {message:?}", conn.worker));
        let control = &mut self.controls[c];
        let session = control.sessions_by_conn.get(&id).copied();
        if session.is_some() || matches!(message, FromWorker::Hello(_)) {
            control.heard_ms.insert(conn.worker, self.now_ms);
        }
        match (message, session) {
            (FromWorker::Hello(hello), session) => self.hello(c, id, session, hello),
            (_, None) => {}
            (FromWorker::Outcome { attempt, job, spec, outcome }, Some(session)) => {
                self.tally.count("heard: outcome");
                let outcome = Box::new(self.checked(attempt, *outcome));
                self.feed(c, Event::OutcomeChecked { session, attempt, job, spec, outcome });
            }
            (FromWorker::Grant { attempt, files }, Some(session)) => {
                if let Some(leases) = self.controls[c].leases.get_mut(&session) {
                    // from here on the attempt takes no slot
                    leases.remove(&attempt);
                }
                self.feed(c, Event::WorkerSaid { session, message: FromWorker::Grant { attempt, files } });
            }
            (message, Some(session)) => self.feed(c, Event::WorkerSaid { session, message }),
        }
    }

    fn hello(&mut self, c: usize, id: ConnId, session: Option<SessionId>, mut hello: Hello) {
        self.tally.count("heard: hello");
        let session = session.unwrap_or_else(|| {
            let control = &mut self.controls[c];
            control.last_session += 1;
            let session = SessionId(control.last_session);
            control.conns.insert(session, id);
            control.sessions_by_conn.insert(id, session);
            session
        });
        if !hello.running.is_empty() {
            self.tally.count("heard: hello with running attempts");
        }
        if !hello.unsettled.is_empty() {
            self.tally.count("heard: hello with unsettled outcomes");
        }
        for (attempt, _, _, outcome) in &mut hello.unsettled {
            *outcome = self.checked(*attempt, outcome.clone());
        }
        let highest = hello.highest_term;
        self.feed(c, Event::WorkerConnected { session, hello: Box::new(hello) });
        let term = self.controls[c].machine.as_ref().and_then(Coordinator::term);
        if term.is_some_and(|t| t < highest) {
            self.laws.breach(format!("{term:?} goes on although {highest:?} was heard of"));
        }
    }

    /// The check of a report against its spec: finds what is wrong.
    fn checked(&mut self, attempt: AttemptId, outcome: Outcome) -> Outcome {
        if matches!(outcome, Outcome::Done(_)) && self.laws.wrong.contains(&attempt) {
            self.tally.count("outcome: found wrong");
            let message = "a frame is missing".to_owned();
            return Outcome::Failed(Fault { kind: FaultKind::Output, message, detail: String::new() });
        }
        outcome
    }

    /// The coordinator's end of a connection is gone.
    pub(super) fn control_cut_off(&mut self, id: ConnId) {
        let Some(c) = self.conns.get(&id).map(|conn| conn.control) else { return };
        let Some(session) = self.controls[c].sessions_by_conn.remove(&id) else { return };
        self.controls[c].conns.remove(&session);
        self.controls[c].leases.remove(&session);
        self.note("control: session gone", c, session.0);
        self.feed(c, Event::WorkerDisconnected { session });
    }

    /// A leader that has not heard of a worker for a lease may take its attempts as lost.
    fn silence_is_evidence(&mut self, c: usize) {
        let ttl_ms = self.scenario.config().lease_ttl_ms;
        for w in 0..self.workers.len() {
            let heard = self.controls[c].heard_ms.get(&w).copied().unwrap_or(0);
            if self.now_ms - heard >= ttl_ms - 100 {
                self.evidence(w, self.controls[c].term);
            }
        }
    }

    /// Whatever a worker holds may be counted as lost.
    pub(super) fn evidence(&mut self, w: usize, by: Option<FencingTerm>) {
        for attempt in self.workers[w].leased.clone() {
            self.laws.may_be_lost(attempt, by);
        }
    }

    fn start_task(&mut self, c: usize, task: Task) {
        self.law_of_task(c, &task);
        let life = self.controls[c].life;
        self.tally.count(match task.kind {
            TaskKind::PrepareAnalyse => "task: prepare analyse",
            TaskKind::MakePlan => "task: make plan",
            TaskKind::LoadPlan => "task: load plan",
            TaskKind::BuildManifests => "task: build manifests",
            TaskKind::WriteManifests => "task: write manifests",
            TaskKind::Collect => "task: collect",
        });
        let took = task.delay_ms + self.rng.range(5, 400);
        self.after(took, What::TaskOver(c, life, task.id));
        self.controls[c].tasks.insert(task.id, task);
    }

    fn task_over(&mut self, c: usize, id: TaskId) {
        let Some(task) = self.controls[c].tasks.remove(&id) else { return };
        let result = if self.rng.chance(self.chances.objects) {
            self.tally.count("task: transient error");
            Err(TaskError::Transient { message: "object storage is away".to_owned() })
        } else {
            self.task_result(&task)
        };
        self.feed(c, Event::TaskEnded { task: id, result });
    }

    fn task_result(&mut self, task: &Task) -> Result<TaskOutput, TaskError> {
        let Some(film) = self.laws.film(&task.job).cloned() else {
            let message = "nobody submitted this job".to_owned();
            return Err(TaskError::Transient { message });
        };
        Ok(match task.kind {
            TaskKind::PrepareAnalyse => TaskOutput::AnalyseReady(film.analyse),
            TaskKind::MakePlan if film.unplannable => {
                let message = "no track can be shown".to_owned();
                let reason = FailReason { kind: FaultKind::Source, message, detail: String::new() };
                return Err(TaskError::Fatal(reason));
            }
            TaskKind::MakePlan => {
                self.objects.plans.insert(task.job.clone());
                let object =
                    ObjectRef { key: keys::plan_key(1), bytes: 1, sha256: Sha256::of(film.name.as_bytes()) };
                let plan =
                    PlanRef { revision: 1, object, chunks: film.chunks.len() as u32, media_ms: 60_000 };
                TaskOutput::Planned { plan, specs: film.chunks }
            }
            TaskKind::LoadPlan => TaskOutput::PlanLoaded(film.chunks),
            TaskKind::BuildManifests => {
                let sha256 = Sha256::of(film.name.as_bytes());
                TaskOutput::ManifestsReady(vec![ManifestRef {
                    name: "master.m3u8".to_owned(),
                    bytes: 1,
                    sha256,
                }])
            }
            TaskKind::WriteManifests => {
                self.objects.roots.insert(task.job.clone());
                TaskOutput::ManifestsWritten
            }
            TaskKind::Collect => {
                self.objects.delete(&task.job);
                TaskOutput::Collected
            }
        })
    }

    /// A client's call arrives.
    pub(super) fn control_called(&mut self, c: usize, token: Token, call: reelmill_coordinator_core::Call) {
        if self.controls[c].alive {
            self.feed(c, Event::Call { token, call });
        }
    }

    /// What a worker can do.
    pub(super) fn capability(&self, w: usize) -> &Capability {
        &self.scenario.workers[w]
    }
}

/// Laws over what a coordinator does.
impl World {
    fn is_true_leader(&self, c: usize) -> bool {
        let control = &self.controls[c];
        control.term.is_some_and(|t| self.store.leads(c, control.life, t))
    }

    fn law_of_lease(&mut self, c: usize, order: &LeaseOrder) {
        let record = self.store.job(&order.job).map(|j| (j.state.clone(), j.plan.is_some()));
        if self.is_true_leader(c) {
            let encode = order.kind == reelmill_coordinator_core::WorkKind::Encode;
            let right = match &record {
                None => false,
                Some((JobState::Accepted, _)) => false,
                Some((_, planned)) => !encode || *planned,
            };
            if !right {
                self.laws.breach(format!("{} is leased while {} is {record:?}", order.attempt, order.job));
            }
        }
        let Some((_, spec)) = self.laws.spec(&order.job, order.spec) else {
            return self.laws.breach(format!("a lease of an unknown spec of {}", order.job));
        };
        let Some(conn) = self.controls[c].conns.get(&order.session).and_then(|id| self.conns.get(id)) else {
            return;
        };
        let capability = self.capability(conn.worker).clone();
        if !capability.meets(spec.needs) {
            let worker = &capability.worker;
            self.laws.breach(format!("{worker} was leased what it cannot do: {:?}", spec.needs));
        }
        let held = self.controls[c].leases.get(&order.session).map_or(0, BTreeSet::len);
        if held >= capability.slots as usize {
            let worker = &capability.worker;
            self.laws.breach(format!("{worker} has {} slots and was leased {}", capability.slots, held + 1));
        }
    }

    fn law_of_message(&mut self, c: usize, term: FencingTerm, message: &ToWorker) {
        use reelmill_common::outcome::Verdict;
        match message {
            ToWorker::Settled { attempt, verdict } => {
                self.tally.count(match verdict {
                    Verdict::Won => "settled: won",
                    Verdict::Lost => "settled: lost",
                    Verdict::Gone => "settled: gone",
                });
                let won = self.won(*attempt);
                if *verdict == Verdict::Won && !won {
                    self.laws.breach(format!("{attempt} was told that it won and is not committed"));
                }
                if *verdict == Verdict::Lost && won && self.is_true_leader(c) {
                    self.laws.breach(format!("{attempt} is committed and was told that it lost"));
                }
                if *verdict != Verdict::Won {
                    self.laws.told_over(term, *attempt);
                }
            }
            ToWorker::Revoke { attempt } => {
                self.tally.count("revoked");
                self.laws.told_over(term, *attempt);
            }
            ToWorker::Granted { attempt, allowed } => {
                self.tally.count(if *allowed { "grant: allowed" } else { "grant: refused" });
                if *allowed && self.laws.was_told_over(term, *attempt) {
                    self.laws.breach(format!("{attempt} may upload after it was told that it is over"));
                }
            }
            _ => {}
        }
    }

    fn won(&self, attempt: AttemptId) -> bool {
        self.laws.is_winner(attempt)
    }

    fn law_of_task(&mut self, c: usize, task: &Task) {
        if !self.is_true_leader(c) {
            return;
        }
        let state = self.store.job(&task.job).map(|j| j.state.clone());
        // a job that was stopped in the same write forgets its task next
        let stopped = matches!(state, Some(JobState::Cancelled | JobState::Failed(_)));
        let right = match task.kind {
            TaskKind::WriteManifests => state == Some(JobState::Publishing),
            TaskKind::Collect => state == Some(JobState::Collecting),
            TaskKind::BuildManifests => {
                stopped || matches!(state, Some(JobState::Planned | JobState::Running))
            }
            TaskKind::LoadPlan => stopped || state == Some(JobState::Running),
            TaskKind::PrepareAnalyse | TaskKind::MakePlan => stopped || state == Some(JobState::Indexing),
        };
        if !right {
            self.laws.breach(format!("{:?} of {} begins while it is {state:?}", task.kind, task.job));
        }
        if task.kind == TaskKind::BuildManifests {
            let chunks = self.laws.film(&task.job).map(|f| f.chunks.clone()).unwrap_or_default();
            let open = chunks.iter().filter(|s| self.store.commit(&task.job, s.id).is_none()).count();
            if open > 0 {
                self.laws.breach(format!("manifests of {} are built with {open} chunks open", task.job));
            }
        }
    }

    /// Start-time fair queueing's bound, over every interval in which two tenants have work that waits.
    fn check_fairness(&mut self, c: usize) {
        if !self.scenario.fair {
            return;
        }
        let now = self.controls[c].clock.read(self.now_ms);
        let Some(machine) = &self.controls[c].machine else { return };
        let waiting: Vec<_> = machine.tenants(now).into_iter().filter(|t| t.ready > 0).collect();
        let config = self.scenario.config();
        let slots: u64 = self.scenario.workers.iter().map(|w| u64::from(w.slots)).sum();
        let largest =
            self.scenario.films.iter().flat_map(|f| &f.chunks).map(|s| s.cost_ms).max().unwrap_or(0);
        let largest = largest.max(2_000); // the Index item
        let since = &mut self.controls[c].fair_since;
        since.retain(|t, _| waiting.iter().any(|w| w.tenant == *t));
        let fresh = waiting.iter().any(|w| !since.contains_key(&w.tenant));
        if fresh {
            // a tenant joins: one interval over all of them begins
            *since = waiting.iter().map(|w| (w.tenant.clone(), w.served_ms)).collect();
        }
        for a in &waiting {
            for b in &waiting {
                let weight = |t: &TenantId| u64::from(config.weights.get(t).copied().unwrap_or(1));
                let (wa, wb) = (weight(&a.tenant), weight(&b.tenant));
                let served = |t: &reelmill_coordinator_core::TenantView| t.served_ms - since[&t.tenant];
                // both sides times wa * wb
                let apart = (served(a) * wb).abs_diff(served(b) * wa);
                if apart > (slots + 1) * largest * (wa + wb) {
                    let what = format!("{} got {}, {} got {}", a.tenant, served(a), b.tenant, served(b));
                    return self.laws.breach(format!("unfair: {what}, with weights {wa} and {wb}"));
                }
            }
        }
        if waiting.len() > 1 {
            self.tally.count("fairness: checked");
        }
    }
}
