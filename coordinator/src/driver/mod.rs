//! The driver: one task that feeds events to the control machine, makes its writes durable and performs its effects,
//! strictly in that order. It decides nothing.
//!
//! ```text
//! campaign ─► load everything ─► TermBegun ─► lead: input | write ended | task ended | tick | term lost ─┐
//!     ▲                                                                                                 │
//!     └───────────────────────────────── EndTerm: drop sessions, callers, tasks ◄───────────────────────┘
//! ```

mod effects;
mod full;
mod grants;
mod handle;
mod load;
mod room;
mod write;

pub(crate) use handle::{DriverHandle, Input, Outbound, Role};

use crate::abort::AbortSwitch;
use crate::access::{Enrolled, Table};
use crate::catalog::Catalog;
use crate::clock::{Clock, unix_ms};
use crate::error::CoordinatorError;
use crate::state::{Leadership, Room, StateError, StateStore};
use crate::tasks::{Context, Tasks};
use crate::telemetry;
use full::Full;
use handle::{Ask, Caller};
use reelmill_common::job::{JobState, JobView};
use reelmill_common::{FencingTerm, JobId, Millis};
use reelmill_coordinator_core::{
    Coordinator as Machine, CoordinatorConfig, Event, Record, SessionId, Step, Token,
};
use room::Rooms;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use write::Writing;

/// The machine wants to hear of time at least four times a second.
const TICK: Duration = Duration::from_millis(200);
/// How often gauges are brought up to date, milliseconds.
const OBSERVE_MS: u64 = 2_000;
/// Inputs waiting for the driver.
const INPUTS: usize = 1_024;
/// Job changes a slow watcher may lag behind before it looks at its job anew.
const CHANGES: usize = 1_024;

/// What the driver is made of.
pub(crate) struct Parts {
    pub(crate) machine: CoordinatorConfig,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) leadership: Arc<dyn Leadership>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) enrolled: Enrolled,
    pub(crate) switch: Arc<AbortSwitch>,
    /// Where clients and workers reach this process.
    pub(crate) address: String,
    /// The access file, where there is one: what tenants may have.
    pub(crate) access: Option<watch::Receiver<Arc<Table>>>,
    /// Threads a worker's decoder may use.
    pub(crate) decoder_threads: u8,
    /// Workers are given signed requests, valid for so long; `None`: they have a credential themselves.
    pub(crate) signed_for: Option<Duration>,
    /// Waits for room when the state store is full, instead of ending.
    pub(crate) outlasts_full: bool,
}

/// The driver and everything only it touches.
pub(crate) struct Driver {
    parts: Parts,
    machine: Machine,
    clock: Clock,
    inputs: mpsc::Receiver<Input>,
    role: watch::Sender<Role>,
    room: watch::Sender<Option<Room>>,
    changes: broadcast::Sender<JobId>,
    sessions: BTreeMap<SessionId, Outbound>,
    callers: BTreeMap<Token, Caller>,
    next_token: u64,
    tasks: Tasks,
    writing: Option<Writing>,
    leading: bool,
    /// Since the store was full, and until a write is done.
    full: Option<Full>,
    observe_at: Millis,
}

/// A driver that has not begun, and the way to talk to it.
pub(crate) fn driver(parts: Parts) -> (Driver, DriverHandle) {
    let (sender, inputs) = mpsc::channel(INPUTS);
    let (role, watched) = watch::channel(Role::Starting);
    let (room, room_watched) = watch::channel(None);
    let (changes, _) = broadcast::channel(CHANGES);
    let context = Context::new(Arc::clone(&parts.catalog), Arc::clone(&parts.switch));
    let handle = DriverHandle::new(sender, watched, room_watched, changes.clone());
    let driver = Driver {
        machine: Machine::new(parts.machine.clone()),
        clock: Clock::start(),
        inputs,
        role,
        room,
        changes,
        sessions: BTreeMap::new(),
        callers: BTreeMap::new(),
        next_token: 0,
        tasks: Tasks::new(Arc::new(context)),
        writing: None,
        leading: false,
        full: None,
        observe_at: Millis(0),
        parts,
    };
    (driver, handle)
}

impl Driver {
    /// Runs terms until shutdown, or until an operator has to act.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), CoordinatorError> {
        let result = self.terms(&shutdown).await;
        self.role.send_replace(Role::Stopping);
        self.end_term().await;
        self.resign().await;
        result
    }

    async fn terms(&mut self, shutdown: &CancellationToken) -> Result<(), CoordinatorError> {
        loop {
            let term = match self.campaign(shutdown).await {
                Ok(Some(term)) => term,
                Ok(None) => return Ok(()),
                Err(error) if self.outlasts(&error) => {
                    self.is_full(&error);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            tracing::info!(term = term.0, "this coordinator leads");
            self.parts.catalog.clear();
            let leadership = Arc::clone(&self.parts.leadership);
            let mut lost = leadership.lost(term);
            let load = load::term(Arc::clone(&self.parts.store), Arc::clone(&self.parts.catalog), term);
            let loaded = tokio::select! {
                loaded = self.meanwhile(load, shutdown) => loaded,
                why = &mut lost => {
                    tracing::warn!(term = term.0, %why, "the term ended while it was being loaded");
                    continue;
                }
            };
            let Some(begun) = loaded.transpose()? else { return Ok(()) };
            self.leading = true;
            self.parts.enrolled.load(begun.records.iter().filter_map(|record| match record {
                Record::Worker(r) => Some(r.as_ref().clone()),
                _ => None,
            }));
            self.tenants().await?;
            self.feed(Event::TermBegun(Box::new(begun))).await?;
            let waits_ms = self.machine.takeover_ms();
            tracing::info!(term = term.0, waits_ms, "the term has begun");
            self.role.send_replace(Role::Leading);
            self.lead(term, lost, shutdown).await?;
            self.role.send_replace(self.standing_by(None));
            if shutdown.is_cancelled() {
                return Ok(());
            }
            self.resign().await;
        }
    }

    /// Gives up the term. Where nobody can be told, as in a partition, the leader's lease ends it a little later.
    async fn resign(&self) {
        if let Err(error) = self.parts.leadership.resign().await {
            tracing::warn!(%error, "could not resign; the next leader waits for the lease");
        }
    }

    /// Waits to become the leader; `None` at shutdown.
    async fn campaign(&mut self, shutdown: &CancellationToken) -> Result<Option<FencingTerm>, StateError> {
        let (leadership, address) = (Arc::clone(&self.parts.leadership), self.parts.address.clone());
        let pause = self.full.as_ref().map_or(Duration::ZERO, |full| full.pause);
        self.role.send_replace(self.standing_by(self.leader().await));
        let mut campaign = std::pin::pin!(async move {
            tokio::time::sleep(pause).await;
            leadership.campaign(&address).await
        });
        let mut look = interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                term = &mut campaign => return Ok(Some(term?)),
                Some(input) = self.inputs.recv() => handle::refuse(input),
                _ = look.tick() => {
                    let next = self.standing_by(self.leader().await);
                    self.role.send_if_modified(|role| role.follow(next));
                }
                () = shutdown.cancelled() => return Ok(None),
            }
        }
    }

    async fn leader(&self) -> Option<String> {
        match self.parts.leadership.leader().await {
            Ok(record) => record.map(|r| r.address),
            Err(error) => {
                tracing::debug!(%error, "cannot see who leads");
                None
            }
        }
    }

    /// Waits for something while this process leads nothing yet; `None` at shutdown.
    async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = T>,
        shutdown: &CancellationToken,
    ) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return Some(result),
                Some(input) = self.inputs.recv() => handle::refuse(input),
                () = shutdown.cancelled() => return None,
            }
        }
    }

    /// Leads until the machine ends the term.
    async fn lead(
        &mut self,
        term: FencingTerm,
        lost: impl Future<Output = String>,
        shutdown: &CancellationToken,
    ) -> Result<(), CoordinatorError> {
        let mut lost = std::pin::pin!(lost);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rooms = Rooms::watch(Arc::clone(&self.parts.store));
        while self.leading {
            tokio::select! {
                Some(input) = self.inputs.recv() => self.input(input).await?,
                result = write::ended(&mut self.writing) => self.written(result).await?,
                (task, result) = self.tasks.next() => self.feed(Event::TaskEnded { task, result }).await?,
                _ = tick.tick() => {
                    self.feed(Event::Tick { unix_ms: unix_ms() }).await?;
                    self.observe();
                }
                () = changed(&mut self.parts.access) => self.tenants().await?,
                room = rooms.next() => self.roomed(room).await?,
                why = &mut lost => {
                    tracing::warn!(term = term.0, %why, "the term ended");
                    self.feed(Event::TermLost).await?;
                }
                () = shutdown.cancelled() => self.feed(Event::StepDown).await?,
            }
        }
        Ok(())
    }

    /// Shows how things stand, every few seconds: it looks at every job.
    fn observe(&mut self) {
        let now = self.clock.now();
        if now >= self.observe_at {
            self.observe_at = now.plus(OBSERVE_MS);
            telemetry::observe(
                self.machine.backlog(),
                &self.machine.workers(now),
                &self.parts.catalog.states(),
            );
        }
    }

    /// What tenants may have, as the access file has it now.
    async fn tenants(&mut self) -> Result<(), CoordinatorError> {
        let tenants = self.parts.access.as_mut().map(|table| table.borrow_and_update().tenants());
        match tenants {
            Some(tenants) => self.feed(Event::Tenants(tenants)).await,
            None => Ok(()),
        }
    }

    /// The state store has said how full it is.
    async fn roomed(&mut self, room: Room) -> Result<(), CoordinatorError> {
        telemetry::room(room);
        self.room.send_replace(Some(room));
        self.feed(Event::StateRoom { used: room.used, most: room.most }).await
    }

    async fn input(&mut self, input: Input) -> Result<(), CoordinatorError> {
        match input {
            Input::Event(event) => {
                if let Event::WorkerDisconnected { session } = *event {
                    self.sessions.remove(&session);
                }
                self.feed(*event).await
            }
            Input::Connected { session, hello, outbound } => {
                self.sessions.insert(session, outbound);
                self.feed(Event::WorkerConnected { session, hello }).await
            }
            Input::Call { call, reply } => {
                let token = self.wait(Caller::Job(reply));
                self.feed(Event::Call { token, call }).await
            }
            Input::WorkerCall { call, reply } => {
                let token = self.wait(Caller::Worker(reply));
                self.feed(Event::WorkerCall { token, call }).await
            }
            Input::Ask(ask) => {
                self.answer(ask);
                Ok(())
            }
        }
    }

    /// A caller waits for its answer from here on.
    fn wait(&mut self, caller: Caller) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.callers.insert(token, caller);
        token
    }

    /// Reads are answered from the machine's views; a caller that has gone is no error.
    fn answer(&self, ask: Ask) {
        let (now, machine) = (self.clock.now(), &self.machine);
        let located = |view| self.located(view);
        match ask {
            Ask::View { tenant, job, reply } => {
                let _ = reply.send(machine.view(now, &tenant, &job).map(located));
            }
            Ask::List { tenant, after, limit, reply } => {
                let jobs = machine.list(now, &tenant, after.as_ref(), limit);
                let _ = reply.send(jobs.into_iter().map(located).collect());
            }
            Ask::Explain { tenant, job, reply } => {
                let reasons = machine.explain(now, &tenant, &job);
                let view = machine.view(now, &tenant, &job).map(located);
                let _ = reply.send(view.zip(reasons));
            }
            Ask::Workers { reply } => {
                let _ = reply.send(machine.workers(now));
            }
        }
    }

    /// The machine does not know where packages lie.
    fn located(&self, mut view: JobView) -> JobView {
        if view.state == JobState::Published
            && let Some(record) = self.parts.catalog.record(&view.id)
            && let Ok(place) = self.parts.catalog.place(&record)
        {
            view.package = Some(crate::places::url_of(&place.package));
        }
        view
    }

    /// Feeds one event and begins what follows from it.
    async fn feed(&mut self, event: Event) -> Result<(), CoordinatorError> {
        let step = self.machine.handle(self.clock.now(), event);
        self.follow(step).await
    }

    /// Performs what needs not wait, and begins to write.
    async fn follow(&mut self, step: Step) -> Result<(), CoordinatorError> {
        self.perform(step.now).await;
        if !step.writes.is_empty() {
            self.begin_write(step.writes, step.then);
        }
        Ok(())
    }

    /// Drops everything that belongs to a term.
    async fn end_term(&mut self) {
        self.leading = false;
        self.room.send_replace(None);
        if let Some(writing) = self.writing.take() {
            writing.abandoned().await;
        }
        self.tasks.clear();
        self.parts.catalog.clear();
        for (_, outbound) in std::mem::take(&mut self.sessions) {
            outbound.end();
        }
        for (_, caller) in std::mem::take(&mut self.callers) {
            caller.refuse();
        }
    }
}

/// Until the file has changed; one that is not there, or is not followed any more, never does.
async fn changed(access: &mut Option<watch::Receiver<Arc<Table>>>) {
    let gone = match access {
        Some(table) => table.changed().await.is_err(),
        None => true,
    };
    if gone {
        std::future::pending::<()>().await;
    }
}
