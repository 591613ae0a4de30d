//! Everything a coordinator may want done. The driver performs effects in their order and decides nothing.

use crate::call::{Answer, Refusal, Token};
use crate::event::SessionId;
use crate::record::Batch;
use crate::work::{Task, WorkKind};
use reelmill_common::outcome::{AttemptCost, FaultKind};
use reelmill_common::session::{NamedFile, ToWorker};
use reelmill_common::{AttemptId, FencingTerm, JobId, SpecId, WorkerId};

/// What one event leads to.
///
/// The driver writes `writes` (if it is not empty), and performs `then` only when the store has acknowledged it;
/// with empty `writes`, at once. When a batch is acknowledged: perform its `then`, then feed
/// [`Event::BatchDone`](crate::Event::BatchDone). At most one batch is ever in flight.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use = "a step that is not performed is lost"]
pub struct Step {
    /// To be made durable first.
    pub writes: Batch,
    /// To be done after that.
    pub then: Vec<Effect>,
}

/// Something to be done in the world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send a lease to a worker: the driver adds the item and the grants.
    Lease(Box<LeaseOrder>),
    /// Send any other message to a worker. A session that is gone is no error.
    Send {
        /// To whom.
        session: SessionId,
        /// The term it is said in.
        term: FencingTerm,
        /// What.
        message: ToWorker,
    },
    /// Tell a worker that it may upload. The driver adds requests for the files that were asked for, where it signs.
    Grant(Box<GrantOrder>),
    /// Close a session: its worker has a newer one.
    CloseSession {
        /// Which.
        session: SessionId,
    },
    /// Answer a caller.
    Reply {
        /// Whom.
        token: Token,
        /// What.
        result: Result<Answer, Refusal>,
    },
    /// Answer a caller of [`WorkerCall`](crate::WorkerCall).
    ReplyWorker {
        /// Whom.
        token: Token,
        /// What.
        result: Result<(), Refusal>,
    },
    /// Start a task beside the machine.
    Start(Task),
    /// The task's result is not wanted any more; it may be stopped. Its answer would be ignored.
    Forget(crate::work::TaskId),
    /// A job's durable state has changed: watchers look at its view again.
    JobChanged(JobId),
    /// Something that metrics count.
    Count(Count),
    /// This process leads no more and the machine has dropped everything: close all sessions, answer all waiting
    /// callers with [`Refusal::NotLeader`], forget all tasks, campaign again.
    EndTerm,
}

/// A lease to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaseOrder {
    /// To whom.
    pub session: SessionId,
    /// The term it is said in.
    pub term: FencingTerm,
    /// The attempt.
    pub attempt: AttemptId,
    /// Its job.
    pub job: JobId,
    /// Its spec.
    pub spec: SpecId,
    /// What kind of work it is.
    pub kind: WorkKind,
    /// Run alone on the worker.
    pub alone: bool,
}

/// An upload that is allowed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrantOrder {
    /// To whom.
    pub session: SessionId,
    /// The term it is said in.
    pub term: FencingTerm,
    /// The attempt.
    pub attempt: AttemptId,
    /// Its job.
    pub job: JobId,
    /// Its spec.
    pub spec: SpecId,
    /// The files, as its worker names them: not looked at here.
    pub files: Vec<NamedFile>,
}

/// Events that metrics count; no ids in labels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Count {
    /// An attempt was offered after waiting this long since its work became ready.
    Offered {
        /// What kind of work.
        kind: WorkKind,
        /// Milliseconds in the queue.
        queued_ms: u64,
        /// A second attempt of a straggler.
        speculative: bool,
    },
    /// An attempt's output was committed.
    Committed {
        /// What kind of work.
        kind: WorkKind,
        /// By whom.
        worker: WorkerId,
        /// Milliseconds from offer to commit.
        took_ms: u64,
        /// Predicted slot-milliseconds.
        cost_ms: u64,
        /// What it used up.
        spent: AttemptCost,
    },
    /// An attempt ended with a fault.
    Faulted {
        /// What kind of work.
        kind: WorkKind,
        /// Where the fault lies.
        fault: FaultKind,
        /// On whom.
        worker: WorkerId,
        /// What it used up.
        spent: AttemptCost,
    },
    /// A worker vanished while running an attempt.
    Vanished {
        /// What kind of work.
        kind: WorkKind,
        /// Who.
        worker: WorkerId,
        /// What it used up, as far as was heard.
        spent: AttemptCost,
    },
    /// An attempt was not needed any more (lost race, cancelled job).
    Superseded {
        /// What kind of work.
        kind: WorkKind,
        /// What it used up, as far as was heard.
        spent: AttemptCost,
    },
    /// An audit, and whoever confirmed it, found something wrong that was committed.
    Caught {
        /// Whose.
        worker: WorkerId,
    },
    /// A worker failed too often in a row and gets no work for a while.
    Suspended {
        /// Who.
        worker: WorkerId,
        /// For how long.
        for_ms: u64,
    },
}

impl Effect {
    /// May it leave although a batch is in flight? Only what neither depends on nor tells of any undurable state.
    pub(crate) fn is_independent(&self) -> bool {
        match self {
            Self::Send { message, .. } => matches!(
                message,
                ToWorker::HeartbeatAck { .. } | ToWorker::Welcome { .. } | ToWorker::Drain { .. }
            ),
            // a view shows durable state, whatever is decided meanwhile
            Self::CloseSession { .. } | Self::JobChanged(_) | Self::Count(_) | Self::Forget(_) => true,
            _ => false,
        }
    }
}
