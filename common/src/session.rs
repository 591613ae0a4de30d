//! What coordinator and worker say to each other on their one bidirectional session, as domain values.
//!
//! The wire form is `proto/proto/reelmill/worker/v1/worker.proto`; its conversions live in `reelmill-proto`.

use crate::capability::Capability;
use crate::hash::Sha256;
use crate::ids::{AttemptId, BootId, FencingTerm, JobId, SpecId, WorkerId};
use crate::outcome::{AttemptCost, Outcome, Verdict};
use crate::secret::Secret;
use crate::spec::WorkItem;

/// From worker to coordinator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FromWorker {
    /// First on every connection, with everything the worker still holds.
    Hello(Hello),
    /// Please lease me up to this many items.
    Lease {
        /// Free slots.
        slots: u32,
    },
    /// I live, and so do these attempts.
    Heartbeat {
        /// Counts up with each heartbeat of a connection; the answer names it.
        sequence: u64,
        /// Attempts being worked on.
        running: Vec<AttemptProgress>,
    },
    /// I have made these files of an attempt; may I upload them? Names come first: the fence of the data plane.
    Grant {
        /// The attempt.
        attempt: AttemptId,
        /// What will be uploaded.
        files: Vec<NamedFile>,
    },
    /// An attempt has ended. Repeated until `Settled`.
    Outcome {
        /// The attempt.
        attempt: AttemptId,
        /// Its job, as the lease named it: two jobs of one film share specs, and a new leader knows no attempts.
        job: JobId,
        /// The work's spec.
        spec: SpecId,
        /// How.
        outcome: Box<Outcome>,
    },
    /// I am draining: lease me nothing more.
    Draining,
}

/// A worker's introduction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Its name.
    pub worker: WorkerId,
    /// This start of it.
    pub boot: BootId,
    /// The highest term it has heard of: an older leader must step back.
    pub highest_term: FencingTerm,
    /// What it can do.
    pub capability: Capability,
    /// Attempts it works on, each with the job and spec its lease named (two jobs of one film share specs).
    pub running: Vec<(AttemptId, JobId, SpecId)>,
    /// Attempts that ended and were not settled yet.
    pub unsettled: Vec<(AttemptId, JobId, SpecId, Outcome)>,
}

/// How far an attempt is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AttemptProgress {
    /// The attempt.
    pub attempt: AttemptId,
    /// Source frames (or packets) finished.
    pub done: u64,
    /// Of how many.
    pub total: u64,
    /// What it used up so far: all that is ever heard of an attempt that is lost.
    pub cost: AttemptCost,
}

/// A file about to be uploaded: path below the grant's base, size and hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedFile {
    /// `<rendition folder>/<file>`.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: Sha256,
}

/// From coordinator to worker. Every message carries the term it was sent in (see [`Termed`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ToWorker {
    /// Answer to Hello.
    Welcome {
        /// A lease ends this long after the *sending* of the last acknowledged heartbeat.
        lease_ttl_ms: u64,
        /// Send heartbeats this often.
        heartbeat_ms: u64,
    },
    /// Do this.
    Lease(Box<Lease>),
    /// The heartbeat `sequence` arrived: leases of everything it named are renewed.
    HeartbeatAck {
        /// Which.
        sequence: u64,
    },
    /// Answer to Grant.
    Granted {
        /// The attempt.
        attempt: AttemptId,
        /// Upload (true), or stop: the attempt is lost (false).
        allowed: bool,
        /// Where the lease says that outputs are signed for: the requests to write the files that were asked for.
        uploads: Vec<SignedFile>,
    },
    /// The leases of these attempts live on, and so does their right to read their sources.
    Renewed {
        /// Each with the request to read it.
        sources: Vec<(AttemptId, SignedGrant)>,
    },
    /// An outcome has been dealt with; forget it.
    Settled {
        /// The attempt.
        attempt: AttemptId,
        /// How.
        verdict: Verdict,
    },
    /// Stop this attempt: it is not wanted any more.
    Revoke {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Finish what you have and leave (rolling upgrade); the coordinator is going, too, if `reconnect`.
    Drain {
        /// Reconnect elsewhere rather than leave.
        reconnect: bool,
    },
}

/// A message with the term of its sender.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Termed<T> {
    /// The sender's term.
    pub term: FencingTerm,
    /// What it says.
    pub message: T,
}

/// The right to run an attempt until a deadline, renewed by heartbeat.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// The attempt.
    pub attempt: AttemptId,
    /// The name under which the result will be committed.
    pub spec: SpecId,
    /// For logs: which job.
    pub job: JobId,
    /// What to do.
    pub item: WorkItem,
    /// Where to read.
    pub source: ReadGrant,
    /// Where to write.
    pub output: WriteGrant,
    /// For an audit: where the file that it is about is read.
    pub audited: Option<ReadGrant>,
    /// Threads ffmpeg's decoder may use; does not change bytes.
    pub decoder_threads: u8,
    /// Run alone on the worker (after repeated losses).
    pub alone: bool,
}

/// Where the source is read from. A worker never builds a location from its own configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadGrant {
    /// `file:///…` or an object URL: what the source is, and where the worker's ambient credentials open it unless there
    /// is a signed request for it.
    pub url: String,
    /// The request to read it. It lives as long as the lease and is renewed with it ([`ToWorker::Renewed`]).
    pub signed: Option<SignedGrant>,
    /// Size the coordinator knows, if any.
    pub bytes: Option<u64>,
    /// Identity known from the index, if any: a changed source is refused.
    pub version: Option<String>,
}

/// Where results are written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WriteGrant {
    /// Base URL of the package's files, `<base>/<folder>/<file>`: the public one, or the attempt's own.
    pub package: String,
    /// Base URL of the job's private area: reports and index.
    pub work: String,
    /// Nobody else ever writes below `package`, whose store would let them overwrite: write without asking whether
    /// something is there.
    pub own: bool,
    /// Nothing is written with ambient credentials: each file has to be granted with a signed request.
    pub signed: bool,
}

/// One request to an object store that its holder may make without a credential until it expires.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedGrant {
    /// The URL with its signature: never printed.
    pub url: Secret,
    /// Headers that have to be sent as they are: they are under the signature.
    pub headers: Vec<(String, String)>,
    /// How long it is valid from when it was sent, milliseconds.
    pub valid_ms: u64,
}

/// The requests for one file of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedFile {
    /// As it was asked for.
    pub name: String,
    /// Writes exactly the bytes that were asked for.
    pub put: SignedGrant,
    /// Reads what is there already.
    pub get: SignedGrant,
}
