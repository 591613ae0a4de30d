//! What clients ask of the machine, and what they are told.

use reelmill_common::job::JobRequest;
use reelmill_common::record::{JobRecord, Placement};
use reelmill_common::{JobId, Sha256, TenantId, WorkerId};

/// Names a waiting caller; the driver knows who it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// A change that a client wants. The principal's tenant has been checked against the request's by the driver.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    /// Make a job.
    Submit(Box<Submission>),
    /// Stop a job that is not being published yet.
    Cancel {
        /// Whose.
        tenant: TenantId,
        /// Which.
        job: JobId,
    },
    /// Run a failed or cancelled job again, keeping what is committed.
    Retry {
        /// Whose.
        tenant: TenantId,
        /// Which.
        job: JobId,
    },
    /// Delete everything of a job that has ended.
    Delete {
        /// Whose.
        tenant: TenantId,
        /// Which.
        job: JobId,
    },
    /// Delete everything of a job whose record was archived. Its record, as it was read from there: it has been checked
    /// against the principal's tenant. It comes back into the state for as long as that takes.
    DeleteArchived {
        /// The record of a published job.
        record: Box<JobRecord>,
    },
}

/// A change of who may work, and as whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WorkerCall {
    /// A worker joins, or renews what it joined with.
    Enrol(Box<Enrolment>),
    /// A worker is to be let in no more.
    Revoke {
        /// Which.
        worker: WorkerId,
    },
}

/// A worker's credential to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Enrolment {
    /// Whose.
    pub worker: WorkerId,
    /// Hash of the credential.
    pub secret: Sha256,
    /// Hash of the credential that the caller was let in with; `None`: it came with a token to join.
    pub renews: Option<Sha256>,
    /// Wall clock, milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// When it ends, likewise.
    pub expires_unix_ms: u64,
}

/// A job to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submission {
    /// A new id; unused if the idempotency key names an older job.
    pub id: JobId,
    /// What is wanted.
    pub request: JobRequest,
    /// Hash of the request's canonical form: equal requests, equal hashes.
    pub request_hash: Sha256,
    /// Slots to plan for; `None`: those of the workers connected now (at least 1).
    pub slots_hint: Option<u32>,
    /// How media comes to lie in the package: what the package's store can do.
    pub placement: Placement,
    /// Wall clock, milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

/// A call that was obeyed. What it says is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The job it concerns.
    pub job: JobId,
    /// Submit: the key and request had made this job before. Cancel, Delete: it was so already.
    pub existed: bool,
}

/// A call that was refused, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The job does not exist, or is another tenant's.
    #[error("there is no job {0}; list your jobs to see their ids")]
    NotFound(JobId),
    /// The idempotency key stands for another request.
    #[error("the idempotency key already stands for job {job} with a different request; use a new key")]
    AlreadyExists {
        /// The job it stands for.
        job: JobId,
    },
    /// The idempotency key stands for a job that was deleted. Not for a new one: the client may be sending again what it
    /// sent before somebody deleted it.
    #[error(
        "the idempotency key stands for job {job}, which was deleted; use a new key to have it done again"
    )]
    Deleted {
        /// The job it stands for.
        job: JobId,
    },
    /// The job's state does not allow it.
    #[error("job {job} is {state}: {advice}")]
    WrongState {
        /// The job.
        job: JobId,
        /// Its state's name.
        state: &'static str,
        /// What would help.
        advice: &'static str,
    },
    /// A bound is reached.
    #[error("{what}: {limit} is the limit; try again when some jobs have ended")]
    Exhausted {
        /// Which bound.
        what: &'static str,
        /// Its value.
        limit: usize,
    },
    /// The tenant has as much as it may have.
    #[error(
        "tenant {tenant} has {used} {what} and may have {limit} ({quota}): try again when some have ended, or ask an operator, \
         who sets {quota} in the access file"
    )]
    Quota {
        /// Whose.
        tenant: TenantId,
        /// The bound, as the access file calls it.
        quota: &'static str,
        /// Of what.
        what: &'static str,
        /// Its value.
        limit: usize,
        /// What there is now.
        used: usize,
    },
    /// The state store is nearly full. Jobs that run still need room in it.
    #[error(
        "the state store has used {used} of {most} bytes: new jobs are refused until there is room, jobs that run go on; \
         delete jobs that nobody needs any more (their room comes back within minutes), or give the store more"
    )]
    StateFull {
        /// Bytes used.
        used: u64,
        /// Bytes it may use.
        most: u64,
    },
    /// The name belongs to another credential.
    #[error("worker {0} is enrolled already: take another --name, or `reelmill workers revoke {0}` first")]
    WorkerExists(WorkerId),
    /// No such worker is enrolled, or not with that credential.
    #[error("worker {0} is not enrolled, or not with this credential; `reelmill workers list` shows who is")]
    NoSuchWorker(WorkerId),
    /// This process does not lead.
    #[error("this coordinator does not lead; ask the leader")]
    NotLeader,
}
