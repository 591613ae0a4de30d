//! Everything that can happen to a coordinator. The driver turns calls, messages, answers of stores and timers into
//! these and feeds them to [`Coordinator::handle`](crate::Coordinator::handle), one at a time.

use crate::call::{Call, Token, WorkerCall};
use crate::record::{BatchId, Record};
use crate::tenants::Tenants;
use crate::work::{SpecRef, TaskError, TaskId, TaskOutput};
use reelmill_common::outcome::Outcome;
use reelmill_common::session::{FromWorker, Hello};
use reelmill_common::{AttemptId, FencingTerm, JobId, SpecId};
use std::collections::BTreeMap;

/// Names a worker's connection. The driver counts up: never the same number twice in one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionId(pub u64);

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// This process leads from now on. Everything known from before is dropped first.
    TermBegun(Box<TermBegun>),
    /// The leadership is gone (or was given up): drop all memory.
    TermLost,
    /// The batch is durable. Its `then` has been, or is being, performed.
    BatchDone(BatchId),
    /// Another term leads; nothing was written.
    BatchFenced(BatchId),
    /// The store did not say what became of the batch. The next step holds the very same batch again, with the same
    /// `then`: forget the `then` that came with it before.
    BatchUnknown(BatchId),
    /// Time passed. At least four times per second while leading.
    Tick {
        /// Wall clock, milliseconds since the Unix epoch: shown and retained by, never decided with.
        unix_ms: u64,
    },
    /// A client of the jobs API asks for a change. Reading is done with the views of the machine.
    Call {
        /// Named in the reply.
        token: Token,
        /// What is asked.
        call: Call,
    },
    /// A change of who may work is asked for.
    WorkerCall {
        /// Named in the reply.
        token: Token,
        /// What is asked.
        call: WorkerCall,
    },
    /// A worker has opened a session and introduced itself. Its unsettled outcomes have been checked as those of
    /// [`Event::OutcomeChecked`].
    WorkerConnected {
        /// The new session.
        session: SessionId,
        /// Its first message.
        hello: Box<Hello>,
    },
    /// A worker said something other than Hello or an Outcome. (An Outcome that comes here all the same is taken as
    /// checked; a Hello is taken as one of a new connection.)
    WorkerSaid {
        /// On which session.
        session: SessionId,
        /// What.
        message: FromWorker,
    },
    /// An attempt has ended and its report was checked against the spec: one that does not fit has become
    /// `Failed(Fault { kind: Output, .. })` on the way here.
    OutcomeChecked {
        /// On which session it came.
        session: SessionId,
        /// The attempt.
        attempt: AttemptId,
        /// Its job.
        job: JobId,
        /// Its spec.
        spec: SpecId,
        /// How it ended.
        outcome: Box<Outcome>,
    },
    /// A session is gone.
    WorkerDisconnected {
        /// Which.
        session: SessionId,
    },
    /// A task of the machine ([`Effect::Start`](crate::Effect::Start)) has ended.
    TaskEnded {
        /// Which.
        task: TaskId,
        /// How.
        result: Result<TaskOutput, TaskError>,
    },
    /// How much of the room it may use the state store has used, in bytes. Told every few seconds, if it is known.
    StateRoom {
        /// Used.
        used: u64,
        /// May be used.
        most: u64,
    },
    /// What tenants may have is something else from now on, and from the next term on if this process does not lead.
    Tenants(Tenants),
    /// The process is going: tell the workers to reconnect elsewhere, then end the term.
    StepDown,
}

/// What a term begins with: everything that is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TermBegun {
    /// The new term: higher than any before.
    pub term: FencingTerm,
    /// Every record of the families in [`Record`], in any order. Read after the term was won.
    pub records: Vec<Record>,
    /// The specs of the stored plan of every job that is Planned, Running or Publishing; or why its plan
    /// can never be read (a store that is only away is waited for). A job whose plan is missing here fails.
    pub plans: BTreeMap<JobId, Result<Vec<SpecRef>, reelmill_common::job::FailReason>>,
    /// Wall clock, milliseconds since the Unix epoch.
    pub unix_ms: u64,
}
