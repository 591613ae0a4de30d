//! Everything a coordinator may want done. The driver performs effects in their order and decides nothing.

use crate::call::{Answer, Refusal, Token};
use crate::event::SessionId;
use crate::record::Batch;
use crate::work::{Task, WorkKind};
use reelmill_common::outcome::{AttemptCost, FaultKind};
use reelmill_common::record::StateKey;
use reelmill_common::session::{NamedFile, ToWorker};
use reelmill_common::{AttemptId, FencingTerm, JobId, SpecId, WorkerId};

/// What one event leads to.
///
/// The driver performs `now`, then writes `writes` (if it is not empty), and performs `then` only when the store has
/// acknowledged it. When a batch is acknowledged: perform its `then`, then feed
/// [`Event::BatchDone`](crate::Event::BatchDone). At most one batch is ever in flight.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use = "a step that is not performed is lost"]
pub struct Step {
    /// To be done at once: all that these tell of is durable, or tells of nothing that has to be.
    pub now: Vec<Effect>,
    /// To be made durable.
    pub writes: Batch,
    /// To be done after that; empty where nothing is to be written.
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

/// What has to be durable before an effect may leave.
#[allow(
    clippy::large_enum_variant,
    reason = "looked at once and dropped: a box would be an allocation a lease"
)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Needs {
    /// Nothing: it neither depends on nor tells of anything that is stored.
    Nothing,
    /// What was decided about these keys so far, and, of a worker's session, that it was told to stop what it is to stop.
    These {
        /// All that it tells of.
        keys: [StateKey; 4],
        /// Where it goes.
        session: SessionId,
    },
    /// All that was decided so far.
    Everything,
}

impl Effect {
    /// What it depends on, and what it tells of.
    ///
    /// A lease or a grant tells that its job is there, is to be worked for by this plan and these settings, and where it
    /// stands (all of it the job's record); that its spec is open (no commit that counts), with what budget is left; and
    /// that workers may be here who outlive the leader. Nothing about other specs, jobs or workers is said by it: what is
    /// on its way of them is nobody's to wait for.
    pub(crate) fn needs(&self) -> Needs {
        let these = |job: &JobId, spec, session| Needs::These {
            keys: [
                StateKey::Job(job.clone()),
                StateKey::Commit(job.clone(), spec),
                StateKey::Fault(job.clone(), spec),
                StateKey::Outside,
            ],
            session,
        };
        match self {
            Self::Lease(order) => these(&order.job, order.spec, order.session),
            Self::Grant(order) => these(&order.job, order.spec, order.session),
            Self::Send {
                message: ToWorker::HeartbeatAck { .. } | ToWorker::Welcome { .. } | ToWorker::Drain { .. },
                ..
            } => Needs::Nothing,
            // a view shows durable state, whatever is decided meanwhile
            Self::CloseSession { .. } | Self::JobChanged(_) | Self::Count(_) | Self::Forget(_) => {
                Needs::Nothing
            }
            _ => Needs::Everything,
        }
    }
}
