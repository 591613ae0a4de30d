//! The world: virtual time, the heap of what will happen, and the processes it happens to.
//!
//! One thread, no clock, one stream of chance. An event is popped, handed to the process it is for, and what that
//! process does becomes new events. Ties are broken by the order in which events were made.

use super::client::Client;
use super::control::Control;
use super::labour::Labour;
use super::laws::Laws;
use super::net::{Conn, ConnId};
use super::rest::Rest;
use super::rng::Rng;
use super::scenario::{CONTROLS, Chances, Scenario};
use super::store::{Objects, Store, Written};
use super::tally::{Tally, Trace};
use reelmill_common::outcome::FaultKind;
use reelmill_common::session::{FromWorker, Termed, ToWorker};
use reelmill_common::{AttemptId, FencingTerm, JobId, SpecId};
use reelmill_coordinator_core::{Answer, Batch, BatchId, Call, Refusal, TaskId, Token};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Everything that can happen.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A coordinator process starts again.
    ControlStarts(usize),
    /// A coordinator's timer.
    ControlTick(usize, u64),
    /// A coordinator keeps its leader key alive, or learns that it is gone.
    KeepAlive(usize, u64),
    /// The store looks for a leader.
    Election,
    /// A coordinator has won a term.
    Won(usize, u64, FencingTerm),
    /// It has read everything.
    Loaded(usize, u64, FencingTerm),
    /// A batch reaches the store; a silent one is not answered (any more).
    Write { control: usize, life: u64, batch: Box<Batch>, silent: bool },
    /// The store's answer; `None`: nobody knows.
    WriteAnswer { control: usize, life: u64, batch: BatchId, written: Option<Written> },
    /// A grant that was long in signing leaves.
    Signed(usize, u64, ConnId, Box<Termed<ToWorker>>),
    /// A task's work is over.
    TaskOver(usize, u64, TaskId),
    /// A message of a worker arrives.
    ToControl(ConnId, Box<FromWorker>),
    /// A message of a coordinator arrives.
    ToWorker(Conn, Box<Termed<ToWorker>>),
    /// The coordinator's end of a connection breaks.
    ControlCutOff(ConnId),
    /// The worker's end of a connection breaks.
    WorkerCutOff(ConnId),
    /// A worker dials.
    Dial(usize, u64),
    /// A worker starts again.
    WorkerStarts(usize),
    /// A worker's timer.
    WorkerTick(usize, u64),
    /// Work goes on (`done` of 3), is made at 3.
    Work { worker: usize, life: u64, attempt: AttemptId, done: u64 },
    /// Work ends badly.
    WorkFails { worker: usize, life: u64, attempt: AttemptId, kind: FaultKind },
    /// Files are in storage; `whole`: and nothing went wrong.
    Uploaded { worker: usize, life: u64, attempt: AttemptId, whole: bool, of: Box<(JobId, SpecId)> },
    /// A client's call arrives at a coordinator.
    Call { control: usize, token: Token, call: Box<Call> },
    /// A client hears an answer.
    Answer { token: Token, result: Result<Answer, Refusal> },
    /// A client looks around.
    ClientTurn(usize),
    /// Something large goes wrong.
    Havoc,
    /// The link between a worker and a coordinator works again.
    LinkHeals(usize, usize),
    /// The link between a coordinator and the store works again.
    StoreLinkHeals(usize),
    /// Faults stop.
    Heal,
}

#[derive(Debug)]
struct Entry(u64, u64, What);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// A process's clock: it starts anywhere and runs a little fast or slow. Its wall clock also jumps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start_ms: u64,
    drift_ppm: i64,
    /// Added to the wall clock, milliseconds.
    pub(super) wall_jump_ms: i64,
}

impl Clock {
    /// A clock that is wrong by at most 500 parts in a million.
    pub(super) fn new(rng: &mut Rng) -> Self {
        let drift_ppm = rng.range(0, 1_000) as i64 - 500;
        Self { start_ms: rng.range(0, 1_000_000), drift_ppm, wall_jump_ms: 0 }
    }

    /// What it shows.
    pub(super) fn read(&self, now_ms: u64) -> reelmill_common::Millis {
        let drift = now_ms as i64 * self.drift_ppm / 1_000_000;
        reelmill_common::Millis(self.start_ms + now_ms.saturating_add_signed(drift))
    }

    /// What the wall clock shows.
    pub(super) fn wall(&self, now_ms: u64) -> u64 {
        (1_790_000_000_000 + now_ms).saturating_add_signed(self.wall_jump_ms)
    }
}

/// Everything.
#[derive(Debug)]
pub(super) struct World {
    /// What the seed stands for.
    pub(super) scenario: Scenario,
    /// Virtual milliseconds.
    pub(super) now_ms: u64,
    sequence: u64,
    heap: BinaryHeap<Reverse<Entry>>,
    /// Chance.
    pub(super) rng: Rng,
    /// What may go wrong now.
    pub(super) chances: Chances,
    /// The laws.
    pub(super) laws: Laws,
    /// Counts.
    pub(super) tally: Tally,
    /// The course.
    pub(super) trace: Trace,
    /// The state store.
    pub(super) store: Store,
    /// Object storage.
    pub(super) objects: Objects,
    /// Coordinators.
    pub(super) controls: Vec<Control>,
    /// Workers.
    pub(super) workers: Vec<Labour>,
    /// Clients.
    pub(super) clients: Vec<Client>,
    /// Open connections.
    pub(super) conns: BTreeMap<ConnId, Conn>,
    /// Connections made.
    pub(super) last_conn: u64,
    /// Cut links: worker, coordinator.
    pub(super) cut: BTreeMap<(usize, usize), ()>,
    /// Coordinators that cannot reach the store.
    pub(super) store_cut: BTreeMap<usize, ()>,
    /// The batch whose effects are being performed.
    pub(super) performing: Option<(FencingTerm, BatchId)>,
    /// The course since the heal.
    pub(super) rest: Rest,
    /// Which bug the processes run with.
    pub(super) bug: super::Bug,
}

impl World {
    /// The world of a seed, with nothing happened yet.
    pub(super) fn new(scenario: Scenario, bug: super::Bug, print: bool) -> Self {
        let mut rng = Rng::new(scenario.seed.wrapping_mul(0x9e37_79b9).wrapping_add(1));
        let controls = (0..CONTROLS).map(|_| Control::new(&mut rng)).collect();
        let workers = (0..scenario.workers.len()).map(|_| Labour::new(&mut rng, &scenario)).collect();
        let clients = scenario.tenants.iter().map(|_| Client::new(&scenario, &mut rng)).collect();
        let mut this = Self {
            now_ms: 0,
            sequence: 0,
            heap: BinaryHeap::new(),
            chances: scenario.chances,
            laws: Laws::new(&scenario),
            tally: Tally::default(),
            trace: Trace::new(print),
            store: Store::default(),
            objects: Objects::default(),
            controls,
            workers,
            clients,
            conns: BTreeMap::new(),
            last_conn: 0,
            cut: BTreeMap::new(),
            store_cut: BTreeMap::new(),
            performing: None,
            rest: Rest::default(),
            bug,
            rng,
            scenario,
        };
        (0..this.controls.len()).for_each(|c| this.soon(10, What::ControlStarts(c)));
        (0..this.workers.len()).for_each(|w| this.soon(2_000, What::WorkerStarts(w)));
        (0..this.clients.len()).for_each(|c| this.soon(3_000, What::ClientTurn(c)));
        this.after(1, What::Election);
        this.after(this.scenario.heal_ms, What::Heal);
        this.next_havoc();
        this
    }

    /// Runs until everything is at rest, or a law is broken.
    pub(super) fn run(&mut self) {
        let heal_ms = self.scenario.heal_ms;
        while let Some(Reverse(Entry(at, _, what))) = self.heap.pop() {
            self.now_ms = at;
            self.laws.now_ms = at;
            self.happen(what);
            if at > heal_ms {
                if self.is_at_rest() {
                    break;
                }
                self.law_of_rest();
            }
            if self.laws.broken.is_some() {
                return;
            }
        }
        self.laws.at_the_end(&self.store, &self.objects);
    }

    fn is_at_rest(&self) -> bool {
        let forgets = self.scenario.forgets() && self.store.tells_of_deleted();
        self.clients.iter().all(Client::is_done) && self.store.is_at_rest() && !forgets
    }

    /// Something will happen in `ms`.
    pub(super) fn after(&mut self, ms: u64, what: What) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry(self.now_ms + ms, self.sequence, what)));
    }

    /// Something will happen within `ms`.
    pub(super) fn soon(&mut self, ms: u64, what: What) {
        let delay = self.rng.range(1, ms.max(1));
        self.after(delay, what);
    }

    /// It happened, for the counts and the course.
    pub(super) fn note(&mut self, what: &'static str, who: usize, value: u64) {
        self.tally.count(what);
        self.trace.step(self.now_ms, what, who as u64, value);
        self.trace.tell(self.now_ms, who, || format!("{what} {value}"));
    }

    /// Something large goes wrong before long.
    fn next_havoc(&mut self) {
        if self.chances.havoc_ms < u64::MAX {
            self.soon(2 * self.chances.havoc_ms, What::Havoc);
        }
    }

    fn happen(&mut self, what: What) {
        if let Some(until) = self.paused_until(&what) {
            let wait = until - self.now_ms;
            return self.after(wait, what);
        }
        match what {
            // what was to come after the heal does not
            What::Havoc if self.chances.havoc_ms == u64::MAX => {}
            What::Havoc => {
                self.havoc();
                self.next_havoc();
            }
            What::Heal => self.heal(),
            What::LinkHeals(w, c) => {
                self.cut.remove(&(w, c));
            }
            What::StoreLinkHeals(c) => {
                self.store_cut.remove(&c);
            }
            What::Call { .. } | What::Answer { .. } | What::ClientTurn(_) => self.client_event(what),
            What::Dial(..)
            | What::WorkerStarts(_)
            | What::WorkerTick(..)
            | What::Work { .. }
            | What::WorkFails { .. }
            | What::Uploaded { .. } => self.worker_event(what),
            What::ToControl(..) | What::ToWorker(..) | What::ControlCutOff(_) | What::WorkerCutOff(_) => {
                self.net_event(what);
            }
            _ => self.control_event(what),
        }
    }

    /// A paused process does nothing: what is for it waits.
    fn paused_until(&self, what: &What) -> Option<u64> {
        let control = |c: usize| self.controls[c].paused_until_ms;
        let worker = |w: usize| self.workers[w].paused_until_ms;
        let until = match what {
            What::ControlTick(c, _) | What::KeepAlive(c, _) | What::Won(c, ..) | What::Loaded(c, ..) => {
                control(*c)
            }
            What::WriteAnswer { control: c, .. } | What::TaskOver(c, ..) | What::Call { control: c, .. } => {
                control(*c)
            }
            What::Signed(c, ..) => control(*c),
            What::WorkerTick(w, _) | What::Dial(w, _) => worker(*w),
            What::Work { worker: w, .. } | What::WorkFails { worker: w, .. } => worker(*w),
            What::ToControl(conn, _) | What::ControlCutOff(conn) => {
                self.conns.get(conn).map_or(0, |c| control(c.control))
            }
            What::ToWorker(conn, _) => worker(conn.worker),
            What::WorkerCutOff(conn) => self.conns.get(conn).map_or(0, |c| worker(c.worker)),
            _ => 0,
        };
        (until > self.now_ms).then_some(until)
    }

    /// One of the larger faults.
    fn havoc(&mut self) {
        let w = self.rng.range(0, self.workers.len() as u64 - 1) as usize;
        let c = self.rng.range(0, self.controls.len() as u64 - 1) as usize;
        let long = self.rng.range(200, 12_000);
        match self.rng.range(0, 10) {
            0 => self.worker_dies(w, "worker: crashed"),
            1 => self.control_dies(c),
            2 => {
                self.note("worker: paused", w, long);
                self.workers[w].paused_until_ms = self.now_ms + long;
            }
            3 => {
                self.note("control: paused", c, long);
                self.controls[c].paused_until_ms = self.now_ms + long;
            }
            4 | 5 => {
                self.note("net: link cut", w, long);
                self.cut.insert((w, c), ());
                self.after(long, What::LinkHeals(w, c));
                self.break_conns_between(w, c);
            }
            6 => {
                self.note("store: link cut", c, long);
                self.store_cut.insert(c, ());
                self.after(long, What::StoreLinkHeals(c));
            }
            7 => self.drain_worker(w),
            8 => self.step_down(c),
            9 if !self.scenario.fair => self.upgrade_worker(w),
            _ => {
                let jump = self.rng.range(0, 7_200_000) as i64 - 3_600_000;
                self.note("clock: wall jumped", c, jump.unsigned_abs());
                self.controls[c].clock.wall_jump_ms += jump;
            }
        }
    }

    /// Nothing goes wrong any more; what is broken is mended.
    fn heal(&mut self) {
        self.trace.tell(self.now_ms, "world", || "healed".to_owned());
        self.chances = Chances::NONE;
        self.cut.clear();
        self.store_cut.clear();
        self.controls.iter_mut().for_each(|c| c.paused_until_ms = 0);
        self.workers.iter_mut().for_each(|w| w.paused_until_ms = 0);
        self.laws.films.iter_mut().chain(&mut self.laws.shown).for_each(|f| f.poison = None);
    }
}
