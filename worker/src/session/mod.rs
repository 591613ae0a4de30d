//! The driver: carries events into the agent's machine and performs the effects it answers with, in order.
//!
//! Events come from the connection, from the attempts' tasks, from the clock and from whoever stops the worker.
//! Nothing is decided here: what to send, start, upload and forget is for [`Agent`] to say. The driver never waits for
//! a connection or for work; each has a task of its own that reports by an event.

mod dial;
#[cfg(feature = "sabotage")]
mod sabotage;
mod signed;

use crate::abort::AbortSwitch;
use crate::clock::Clock;
use crate::config::WorkerError;
use crate::scratch::{AttemptDir, Scratch};
use crate::security::Security;
use crate::source::SignedSource;
use crate::work::{Craft, Made, Order, Spent};
use crate::{fault, metrics, upload};
pub use dial::Dial;
use dial::{Connection, Dialer};
use reelmill_blob::{SignedRequests, Stores};
use reelmill_common::capability::Capability;
use reelmill_common::outcome::{Fault, Report};
use reelmill_common::session::{FromWorker, Lease, NamedFile, Termed, ToWorker, WriteGrant};
use reelmill_common::spec::{ChunkMedia, WorkItem};
use reelmill_common::{AttemptId, BootId, WorkerId};
use reelmill_proto::worker::v1 as pb;
use reelmill_worker_core::agent::{Agent, AgentConfig, AgentEffect, AgentEvent};
#[cfg(feature = "sabotage")]
pub use sabotage::Sabotage;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tracing::Instrument as _;

/// True when the driver runs with the named bug; always false in builds without the feature `sabotage`.
macro_rules! sabotaged {
    ($driver:expr, $bug:ident) => {{
        #[cfg(feature = "sabotage")]
        let on = $driver.sabotage == Some(Sabotage::$bug);
        #[cfg(not(feature = "sabotage"))]
        let on = false;
        on
    }};
}

/// Events waiting for the driver.
const EVENTS: usize = 1024;

/// What reaches the driver.
#[derive(Debug)]
pub(crate) enum Event {
    /// A connection is open and can be written to.
    Connected {
        /// Which.
        generation: u64,
        /// Where to write.
        outbound: mpsc::Sender<pb::FromWorker>,
    },
    /// The coordinator said something.
    Received {
        /// On which connection.
        generation: u64,
        /// What.
        message: Termed<ToWorker>,
    },
    /// A connection ended, or was never made.
    Ended {
        /// Which.
        generation: u64,
        /// How.
        end: Status,
    },
    /// An attempt is this far.
    Progress(AttemptId, u64, u64),
    /// An attempt's work has ended.
    Worked(AttemptId, Result<Box<Made>, Fault>),
    /// An attempt's upload lacks a request for this file.
    Wanted(AttemptId, NamedFile),
    /// An attempt's upload has ended, with the report of what lies there now.
    Uploaded(AttemptId, Result<Box<Report>, Fault>),
}

/// How a worker is asked to leave.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Finish what runs, then leave.
    pub drain: CancellationToken,
    /// Stop what runs, hand it back, then leave.
    pub hand_back: CancellationToken,
}

/// What the driver is made of.
pub(crate) struct Parts {
    pub(crate) craft: Arc<dyn Craft>,
    pub(crate) capability: Capability,
    pub(crate) clock: Clock,
    pub(crate) dial: Dial,
    pub(crate) scratch: Scratch,
    pub(crate) stores: Stores,
    pub(crate) switch: AbortSwitch,
    pub(crate) coordinators: Vec<String>,
    pub(crate) security: Security,
    pub(crate) boot: BootId,
}

/// An attempt as the driver holds it.
struct Attempt {
    kind: &'static str,
    output: WriteGrant,
    /// What its source is read with and its results are written with, where not with a credential.
    reads: Option<SignedSource>,
    writes: Option<SignedRequests>,
    span: tracing::Span,
    /// Removes the scratch files with the last one that holds it.
    dir: Option<Arc<AttemptDir>>,
    made: Option<Arc<Made>>,
    spent: Arc<Spent>,
    stop: CancellationToken,
    task: Option<AbortOnDropHandle<()>>,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The driver.
pub(crate) struct Driver {
    agent: Agent,
    worker: WorkerId,
    craft: Arc<dyn Craft>,
    clock: Clock,
    scratch: Scratch,
    stores: Stores,
    switch: Arc<AbortSwitch>,
    dialer: Dialer,
    connection: Option<Connection>,
    generation: u64,
    attempts: BTreeMap<AttemptId, Attempt>,
    events: mpsc::Sender<Event>,
    inbox: mpsc::Receiver<Event>,
    leaving: bool,
    #[cfg(feature = "sabotage")]
    pub(crate) sabotage: Option<Sabotage>,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Result<Self, WorkerError> {
        let worker = parts.capability.worker.clone();
        let config = AgentConfig::new(worker.clone(), parts.boot, parts.capability);
        let (events, inbox) = mpsc::channel(EVENTS);
        Ok(Self {
            agent: Agent::new(config),
            worker,
            craft: parts.craft,
            clock: parts.clock,
            scratch: parts.scratch,
            stores: parts.stores,
            switch: Arc::new(parts.switch),
            dialer: Dialer::new(&parts.coordinators, parts.security, parts.dial)?,
            connection: None,
            generation: 0,
            attempts: BTreeMap::new(),
            events,
            inbox,
            leaving: false,
            #[cfg(feature = "sabotage")]
            sabotage: None,
        })
    }

    /// Works until the agent leaves.
    pub(crate) async fn run(mut self, stop: Stop) {
        self.tell(AgentEvent::Disconnected).await;
        let (mut draining, mut handing_back) = (false, false);
        while !self.leaving {
            let tick = self.agent.next_tick().map(|at| self.clock.instant(at));
            tokio::select! {
                event = self.inbox.recv() => match event {
                    Some(event) => self.take(event).await,
                    // never: the driver holds a sender itself
                    None => break,
                },
                () = tokio::time::sleep_until(tick.unwrap_or_else(tokio::time::Instant::now)), if tick.is_some() => {
                    self.tell(AgentEvent::Tick).await;
                }
                () = stop.drain.cancelled(), if !draining => {
                    draining = true;
                    tracing::info!("leaving after the work that runs");
                    self.tell(AgentEvent::DrainRequested).await;
                }
                () = stop.hand_back.cancelled(), if draining && !handing_back => {
                    handing_back = true;
                    tracing::info!("handing back the work that runs");
                    self.tell(AgentEvent::DrainRequested).await;
                }
            }
        }
        self.attempts.clear();
        self.scratch.emptied().await;
    }

    /// Turns an event of the shells into one of the agent; what belongs to a replaced connection is dropped.
    async fn take(&mut self, event: Event) {
        let current = self.generation;
        match event {
            Event::Connected { generation, outbound } if generation == current => {
                if let Some(connection) = &mut self.connection {
                    connection.outbound = Some(outbound);
                }
                self.tell(AgentEvent::Connected).await;
            }
            Event::Received { generation, message } if generation == current => {
                if matches!(message.message, ToWorker::Welcome { .. }) {
                    tracing::info!(term = message.term.0, "joined");
                    self.dialer.welcomed();
                }
                self.tell(AgentEvent::Received(message)).await;
            }
            Event::Ended { generation, end } if generation == current && !sabotaged!(self, EndNotHeard) => {
                tracing::warn!(why = end.message(), code = ?end.code(), "no connection to a coordinator");
                if sabotaged!(self, AttemptsForgotten) {
                    self.attempts.clear();
                }
                self.dialer.ended(&end);
                self.connection = None;
                self.tell(AgentEvent::Disconnected).await;
            }
            Event::Connected { .. } | Event::Received { .. } | Event::Ended { .. } => {}
            Event::Progress(attempt, done, total) => {
                let Some(held) = self.attempts.get(&attempt) else { return };
                let cost = held.spent.so_far(self.clock.now());
                self.tell(AgentEvent::Progress { attempt, done, total, cost }).await;
            }
            Event::Wanted(attempt, file) => {
                self.tell(AgentEvent::Wanted { attempt, files: vec![file] }).await;
            }
            Event::Worked(attempt, Ok(made)) => {
                let files = made.files.iter().map(|(file, _)| file.clone()).collect();
                let Some(held) = self.attempts.get_mut(&attempt) else { return };
                held.made = Some(Arc::from(made));
                self.tell(AgentEvent::Made { attempt, files }).await;
            }
            Event::Uploaded(attempt, Ok(report)) => {
                let Some(held) = self.attempts.get(&attempt) else { return };
                held.span.in_scope(|| tracing::info!("done"));
                metrics::attempt_ended(held.kind, "done");
                self.tell(AgentEvent::Uploaded { attempt, report }).await;
            }
            Event::Worked(attempt, Err(fault)) | Event::Uploaded(attempt, Err(fault)) => {
                let Some(held) = self.attempts.get(&attempt) else { return };
                let kind = fault.kind.name();
                held.span.in_scope(|| tracing::warn!(kind, detail = fault.detail, "failed: {fault}"));
                metrics::attempt_ended(held.kind, kind);
                let cost = held.spent.so_far(self.clock.now());
                self.tell(AgentEvent::WorkFailed { attempt, fault, cost }).await;
            }
        }
    }

    /// One event into the agent, and every effect that comes of it. A connection found dead on the way is an event of
    /// its own, after the effects that were due.
    async fn tell(&mut self, event: AgentEvent) {
        let mut due = Some(event);
        while let Some(event) = due.take() {
            for effect in self.agent.handle(self.clock.now(), event) {
                let switch = Arc::clone(&self.switch);
                let sent = match effect {
                    // its number depends on time, so it would make kill tests count differently each time
                    AgentEffect::Send(beat @ FromWorker::Heartbeat { .. }) => self.send(&beat),
                    effect => switch.around(name(&effect), self.perform(effect)).await,
                };
                if !sent {
                    due = Some(AgentEvent::Disconnected);
                }
            }
        }
    }

    /// Performs one effect; false if the connection turned out to be lost.
    async fn perform(&mut self, effect: AgentEffect) -> bool {
        match effect {
            AgentEffect::Send(message) => return self.send(&message),
            AgentEffect::Start(lease) => self.start(*lease),
            AgentEffect::Upload { attempt } => self.upload(attempt),
            AgentEffect::Signed { attempt, uploads } => self.signed(attempt, &uploads),
            AgentEffect::Renewed { sources } => self.renewed(&sources),
            AgentEffect::Abort { attempt } => {
                if let Some(held) = self.attempts.remove(&attempt) {
                    held.span.in_scope(|| tracing::info!("aborted"));
                }
            }
            AgentEffect::Discard { attempt } => {
                self.attempts.remove(&attempt);
            }
            AgentEffect::Reconnect => {
                if self.connection.take().is_some() {
                    self.dialer.ended(&Status::deadline_exceeded("given up"));
                }
                self.generation += 1;
                self.connection = Some(self.dialer.dial(self.generation, self.events.clone()));
            }
            AgentEffect::Exit => self.leaving = true,
        }
        true
    }

    fn send(&mut self, message: &FromWorker) -> bool {
        let sent = self.connection.as_ref().is_none_or(|connection| connection.send(message));
        if !sent {
            tracing::warn!("the coordinator takes no more messages: connecting anew");
            self.dialer.ended(&Status::unavailable("takes no more messages"));
            self.connection = None;
        }
        sent
    }

    fn start(&mut self, lease: Lease) {
        let attempt = lease.attempt;
        let span = tracing::info_span!(
            "attempt",
            worker = %self.worker,
            job = %lease.job,
            chunk = number(&lease.item),
            attempt = %attempt,
            kind = lease.item.kind(),
        );
        let source = SignedSource::of(&lease.source);
        let mut held = Attempt {
            kind: lease.item.kind(),
            output: lease.output.clone(),
            // a lease that names no source that can be read fails with its work
            reads: source.as_ref().ok().and_then(Option::clone),
            writes: lease.output.signed.then(|| self.requests(attempt)),
            span: span.clone(),
            dir: None,
            made: None,
            spent: Arc::new(Spent::new(self.clock.now())),
            stop: CancellationToken::new(),
            task: None,
        };
        let (events, progress) = (self.events.clone(), self.events.clone());
        let dir = self.scratch.attempt(attempt).map(Arc::new);
        held.dir = dir.as_ref().ok().cloned();
        let (craft, stop, spent) = (Arc::clone(&self.craft), held.stop.clone(), Arc::clone(&held.spent));
        let work = async move {
            tracing::info!("started");
            let result = match (dir, source) {
                (Ok(dir), Ok(source)) => {
                    // told again soon: a full queue loses nothing that matters
                    let progress =
                        move |done, total| drop(progress.try_send(Event::Progress(attempt, done, total)));
                    let progress = Box::new(progress);
                    fault::caught(craft.perform(Order { lease, source, dir, stop, progress, spent })).await
                }
                (Err(e), _) => Err(e.into()),
                (_, Err(fault)) => Err(fault),
            };
            // the driver is gone only when the worker leaves
            let _ = events.send(Event::Worked(attempt, result.map(Box::new))).await;
        };
        held.task = Some(AbortOnDropHandle::new(tokio::spawn(work.instrument(span))));
        self.attempts.insert(attempt, held);
    }

    fn upload(&mut self, attempt: AttemptId) {
        let Some(held) = self.attempts.get_mut(&attempt) else { return };
        let Some(made) = held.made.clone() else { return };
        let (stores, switch, events) = (self.stores.clone(), Arc::clone(&self.switch), self.events.clone());
        let early = sabotaged!(self, UploadedAtOnce).then(|| made.report.clone());
        let (output, signed, span) = (held.output.clone(), held.writes.clone(), held.span.clone());
        let put = async move {
            if let Some(report) = early {
                let _ = events.send(Event::Uploaded(attempt, Ok(Box::new(report)))).await;
            }
            let put = upload::upload(&stores, &output, signed.as_ref(), &made, &switch);
            let result = fault::caught(put).await;
            let _ = events.send(Event::Uploaded(attempt, result.map(Box::new))).await;
        };
        held.task = Some(AbortOnDropHandle::new(tokio::spawn(put.instrument(span))));
    }
}

/// An effect's kind, for the crash switch.
fn name(effect: &AgentEffect) -> &'static str {
    match effect {
        AgentEffect::Send(FromWorker::Hello(_)) => "send_hello",
        AgentEffect::Send(FromWorker::Lease { .. }) => "send_lease",
        AgentEffect::Send(FromWorker::Heartbeat { .. }) => "send_heartbeat",
        AgentEffect::Send(FromWorker::Grant { .. }) => "send_grant",
        AgentEffect::Send(FromWorker::Outcome { .. }) => "send_outcome",
        AgentEffect::Send(FromWorker::Draining) => "send_draining",
        AgentEffect::Start(_) => "start",
        AgentEffect::Upload { .. } => "upload",
        AgentEffect::Signed { .. } => "signed",
        AgentEffect::Renewed { .. } => "renewed",
        AgentEffect::Abort { .. } => "abort",
        AgentEffect::Discard { .. } => "discard",
        AgentEffect::Reconnect => "reconnect",
        AgentEffect::Exit => "exit",
    }
}

/// A chunk's number in its plan, for logs.
fn number(item: &WorkItem) -> Option<u32> {
    match item {
        WorkItem::Encode(spec) => Some(match &spec.media {
            ChunkMedia::Video(chunk) => chunk.number,
            ChunkMedia::Audio(chunk) => chunk.number,
        }),
        WorkItem::Index(_) | WorkItem::Analyse(_) | WorkItem::Audit(_) => None,
    }
}
