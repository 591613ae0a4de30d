//! How everybody else talks to the driver: calls, reads and worker sessions in; roles and job changes out.

use crate::state::Room;
use reelmill_common::job::JobView;
use reelmill_common::session::{Hello, Termed, ToWorker};
use reelmill_common::{JobId, TenantId};
use reelmill_coordinator_core::{Answer, Call, Event, Refusal, SessionId, WorkerCall, WorkerView};
use reelmill_proto::{status, worker::v1 as wire};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// What this process is to its clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Nothing is known yet.
    Starting,
    /// Somebody else leads, or nobody.
    Standby {
        /// Where the leader is reached.
        leader: Option<String>,
    },
    /// Nobody leads, because the state store takes no writes.
    Full {
        /// What the store said, and what to do.
        why: String,
    },
    /// It leads.
    Leading,
    /// It is going.
    Stopping,
}

impl Role {
    /// Takes over who leads; tells whether that is news.
    pub(super) fn follow(&mut self, next: Self) -> bool {
        let is_news = *self != next;
        *self = next;
        is_news
    }
}

/// Something for the driver.
pub(crate) enum Input {
    /// Of a worker session that the driver knows.
    Event(Box<Event>),
    /// A worker has introduced itself; its outcomes are checked.
    Connected { session: SessionId, hello: Box<Hello>, outbound: Outbound },
    /// A change that a client wants.
    Call { call: Call, reply: oneshot::Sender<Result<Answer, Refusal>> },
    /// A change of who may work.
    WorkerCall { call: WorkerCall, reply: oneshot::Sender<Result<(), Refusal>> },
    /// A read.
    Ask(Ask),
}

/// A read; the answer is `None` when the job is not there.
pub(crate) enum Ask {
    View { tenant: TenantId, job: JobId, reply: oneshot::Sender<Option<JobView>> },
    List { tenant: TenantId, after: Option<JobId>, limit: usize, reply: oneshot::Sender<Vec<JobView>> },
    Explain { tenant: TenantId, job: JobId, reply: oneshot::Sender<Option<(JobView, Vec<String>)>> },
    Workers { reply: oneshot::Sender<Vec<WorkerView>> },
}

/// Somebody who waits for the machine's answer.
pub(super) enum Caller {
    Job(oneshot::Sender<Result<Answer, Refusal>>),
    Worker(oneshot::Sender<Result<(), Refusal>>),
}

impl Caller {
    /// The term has ended.
    pub(super) fn refuse(self) {
        // whoever has gone finds out when he asks again
        match self {
            Self::Job(reply) => drop(reply.send(Err(Refusal::NotLeader))),
            Self::Worker(reply) => drop(reply.send(Err(Refusal::NotLeader))),
        }
    }
}

/// The answer of a process that does not lead. A dropped reply or session says the same.
pub(super) fn refuse(input: Input) {
    match input {
        Input::Call { reply, .. } => Caller::Job(reply).refuse(),
        Input::WorkerCall { reply, .. } => Caller::Worker(reply).refuse(),
        Input::Connected { outbound, .. } => outbound.end(),
        Input::Event(_) | Input::Ask(_) => {}
    }
}

/// The way to one worker.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    messages: mpsc::Sender<Result<wire::ToWorker, Status>>,
    closed: CancellationToken,
}

impl Outbound {
    pub(crate) fn new(
        messages: mpsc::Sender<Result<wire::ToWorker, Status>>,
        closed: CancellationToken,
    ) -> Self {
        Self { messages, closed }
    }

    /// Sends without waiting. A worker that does not read what it is sent is dropped: waiting would hold up all the
    /// others, and dropping single messages would lose leases.
    pub(super) fn send(&self, message: &Termed<ToWorker>) {
        if self.messages.try_send(Ok(message.into())).is_err() {
            self.closed.cancel();
        }
    }

    /// Its worker has a newer session, or is not wanted.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// The term has ended: the worker should look for the leader.
    pub(super) fn end(&self) {
        let _ = self.messages.try_send(Err(status::not_leader(None)));
        self.closed.cancel();
    }
}

/// A cheap, shared way to the driver.
#[derive(Clone)]
pub(crate) struct DriverHandle {
    inputs: mpsc::Sender<Input>,
    role: watch::Receiver<Role>,
    room: watch::Receiver<Option<Room>>,
    changes: broadcast::Sender<JobId>,
    next_session: Arc<AtomicU64>,
}

impl DriverHandle {
    pub(super) fn new(
        inputs: mpsc::Sender<Input>,
        role: watch::Receiver<Role>,
        room: watch::Receiver<Option<Room>>,
        changes: broadcast::Sender<JobId>,
    ) -> Self {
        Self { inputs, role, room, changes, next_session: Arc::default() }
    }

    /// To nobody.
    #[cfg(test)]
    pub(crate) fn of_test() -> Self {
        let (inputs, _) = mpsc::channel(1);
        Self::new(inputs, watch::channel(Role::Leading).1, watch::channel(None).1, broadcast::channel(1).0)
    }

    /// What this process is now.
    pub(crate) fn role(&self) -> Role {
        self.role.borrow().clone()
    }

    /// How full the state store is; `None` where nothing bounds it, and where this process does not lead.
    pub(crate) fn room(&self) -> Option<Room> {
        *self.room.borrow()
    }

    /// Follows what this process is.
    pub(crate) fn roles(&self) -> watch::Receiver<Role> {
        self.role.clone()
    }

    /// Job ids, each whenever the job's durable state has changed.
    pub(crate) fn changes(&self) -> broadcast::Receiver<JobId> {
        self.changes.subscribe()
    }

    /// A name for a new session, never used before in this process.
    pub(crate) fn new_session(&self) -> SessionId {
        SessionId(self.next_session.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Hands something to the driver; `false` when it has gone.
    pub(crate) async fn tell(&self, input: Input) -> bool {
        self.inputs.send(input).await.is_ok()
    }

    /// A change; the answer is durable when it comes.
    pub(crate) async fn call(&self, call: Call) -> Result<Answer, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.tell(Input::Call { call, reply }).await;
        answer.await.unwrap_or(Err(Refusal::NotLeader))
    }

    /// A change of who may work; durable when the answer comes.
    pub(crate) async fn worker_call(&self, call: WorkerCall) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        self.tell(Input::WorkerCall { call, reply }).await;
        answer.await.unwrap_or(Err(Refusal::NotLeader))
    }

    /// Workers of which the leader knows.
    pub(crate) async fn workers(&self) -> Result<Vec<WorkerView>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.tell(Input::Ask(Ask::Workers { reply })).await;
        answer.await.map_err(|_| Refusal::NotLeader)
    }

    /// A job as its tenant sees it; an error when this process does not lead.
    pub(crate) async fn view(&self, tenant: TenantId, job: JobId) -> Result<JobView, Refusal> {
        let (reply, answer) = oneshot::channel();
        let missing = Refusal::NotFound(job.clone());
        self.tell(Input::Ask(Ask::View { tenant, job, reply })).await;
        answer.await.map_err(|_| Refusal::NotLeader)?.ok_or(missing)
    }

    /// A tenant's jobs, oldest first.
    pub(crate) async fn list(
        &self,
        tenant: TenantId,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Vec<JobView>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.tell(Input::Ask(Ask::List { tenant, after, limit, reply })).await;
        answer.await.map_err(|_| Refusal::NotLeader)
    }

    /// A job, and why it stands where it stands.
    pub(crate) async fn explain(
        &self,
        tenant: TenantId,
        job: JobId,
    ) -> Result<(JobView, Vec<String>), Refusal> {
        let (reply, answer) = oneshot::channel();
        let missing = Refusal::NotFound(job.clone());
        self.tell(Input::Ask(Ask::Explain { tenant, job, reply })).await;
        answer.await.map_err(|_| Refusal::NotLeader)?.ok_or(missing)
    }
}
