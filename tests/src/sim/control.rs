//! A coordinator process: the real control machine with a driver around it, its leadership, its writes and its tasks.
//!
//! The driver here does what the one in `reelmill-coordinator` must do: write, then perform; one batch at a time;
//! check reports before they are fed; close everything when a term ends.

use super::net::ConnId;
use super::plans::Plan;
use super::rng::Rng;
use super::store::Written;
use super::tasks::Order;
use super::world::{Clock, What, World};
use reelmill_common::capability::Capability;
use reelmill_common::job::JobState;
use reelmill_common::session::{Termed, ToWorker};
use reelmill_common::{AttemptId, FencingTerm, JobId, SpecId, TenantId, WorkerId};
use reelmill_coordinator_core::{
    Batch, BatchId, Call, Coordinator, Count, Effect, Event, GrantOrder, SessionId, Step, TaskId, TermBegun,
    Token,
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
    pub(super) term: Option<FencingTerm>,
    /// The machine, while it runs.
    pub(super) machine: Option<Coordinator>,
    /// Effects that wait for the batch in flight.
    then: Option<(BatchId, Vec<Effect>)>,
    /// Connections of sessions.
    pub(super) conns: BTreeMap<SessionId, ConnId>,
    /// Sessions of connections.
    pub(super) sessions_by_conn: BTreeMap<ConnId, SessionId>,
    /// Sessions made.
    pub(super) last_session: u64,
    /// What the worker of each session said of itself.
    pub(super) told: BTreeMap<SessionId, Capability>,
    /// Tasks that run.
    pub(super) tasks: BTreeMap<TaskId, Order>,
    /// When each worker was last heard of.
    pub(super) heard_ms: BTreeMap<usize, u64>,
    /// Leases given on each session and not over.
    pub(super) leases: BTreeMap<SessionId, BTreeSet<AttemptId>>,
    /// For the fairness law: how far apart each pair of tenants came since both have work that waits, least and most.
    pub(super) fair_apart: BTreeMap<(TenantId, TenantId), (i128, i128)>,
    /// Workers that have been here, and could audit, since when.
    pub(super) auditors: BTreeMap<WorkerId, u64>,
    /// How often each worker was heard in this term to call a file wrong.
    pub(super) accusers: BTreeMap<(JobId, SpecId, WorkerId), u32>,
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
            told: BTreeMap::new(),
            tasks: BTreeMap::new(),
            heard_ms: BTreeMap::new(),
            leases: BTreeMap::new(),
            fair_apart: BTreeMap::new(),
            auditors: BTreeMap::new(),
            accusers: BTreeMap::new(),
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
                self.watch_auditors(c);
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
            What::Signed(c, life, conn, message) if self.controls[c].life == life => {
                self.send_to_worker(conn, *message);
            }
            What::TaskOver(c, life, task) if self.controls[c].life == life => self.task_over(c, task),
            _ => {}
        }
    }

    fn control_starts(&mut self, c: usize) {
        if self.controls[c].alive {
            return;
        }
        let machine = self.bug.coordinator(self.scenario.config.clone());
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
            let chunks = self.store.job(&job).and_then(|j| self.laws.plan(j)).map_or(vec![], Plan::specs);
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
        self.perform(c, step.now);
        if step.writes.is_empty() {
            return;
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
    fn write(&mut self, c: usize, batch: Batch) {
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
                self.performing = self.controls[c].term.map(|term| (term, batch));
                self.perform(c, then);
                self.performing = None;
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
            Effect::Grant(order) => self.grant(c, *order),
            Effect::CloseSession { session } => {
                if let Some(conn) = self.controls[c].conns.remove(&session) {
                    self.controls[c].sessions_by_conn.remove(&conn);
                    self.controls[c].leases.remove(&session);
                    self.controls[c].told.remove(&session);
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
            Effect::Count(count) => self.count(&count),
            // nobody joins in here: workers are who they say
            Effect::JobChanged(_) | Effect::ReplyWorker { .. } => {}
        }
    }

    /// The driver signs beside everything else. That needs the plan, which may have to be read first, from storage that is
    /// slow.
    fn grant(&mut self, c: usize, order: GrantOrder) {
        let GrantOrder { session, term, attempt, .. } = order;
        let message = ToWorker::Granted { attempt, allowed: true, uploads: vec![] };
        if !self.rng.chance(self.chances.objects) {
            return self.send(c, session, term, message);
        }
        self.law_of_message(c, term, &message);
        if let Some(conn) = self.controls[c].conns.get(&session).copied() {
            let took_ms = self.rng.range(500, 10_000);
            let life = self.controls[c].life;
            self.after(took_ms, What::Signed(c, life, conn, Box::new(Termed { term, message })));
        }
    }

    fn count(&mut self, count: &Count) {
        self.tally.count(match count {
            Count::Offered { speculative: true, .. } => "attempt: second of a straggler",
            Count::Offered { .. } => "attempt: offered",
            Count::Committed { .. } => "attempt: committed",
            Count::Faulted { .. } => "attempt: faulted",
            Count::Vanished { .. } => "attempt: vanished",
            Count::Superseded { .. } => "attempt: not needed",
            Count::Suspended { .. } => "worker: suspended",
            Count::Caught { .. } => "worker: caught",
        });
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
        control.told.clear();
        control.fair_apart.clear();
        control.auditors.clear();
        control.accusers.clear();
        control.sessions_by_conn.clear();
        let conns = std::mem::take(&mut control.conns);
        conns.into_values().for_each(|conn| self.close(conn));
        self.note("control: term over", c, term.0);
    }

    /// A client's call arrives.
    pub(super) fn control_called(&mut self, c: usize, token: Token, call: Call) {
        if self.controls[c].alive {
            self.feed(c, Event::Call { token, call });
        }
    }

    /// What a worker can do.
    pub(super) fn capability(&self, w: usize) -> &Capability {
        &self.scenario.workers[w]
    }
}
