//! What goes into the agent and what comes out: configuration, events, effects, and the bugs it can be given.

use reelmill_common::capability::Capability;
use reelmill_common::outcome::{AttemptCost, Fault, Report};
use reelmill_common::session::{FromWorker, Lease, NamedFile, SignedFile, SignedGrant, Termed, ToWorker};
use reelmill_common::{AttemptId, BootId, WorkerId};

/// Who the agent is and how much it may hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentConfig {
    /// The worker's name.
    pub worker: WorkerId,
    /// This start of it.
    pub boot: BootId,
    /// What it can do; `slots` bounds what is worked on at the same time.
    pub capability: Capability,
    /// Repeat a Hello that was not answered after this long, and reconnect after three times as long. Only used
    /// until the first Welcome tells the real cadence.
    pub greet_ms: u64,
    /// No lease is asked for while this many outcomes wait for their verdict.
    pub max_unsettled: usize,
}

impl AgentConfig {
    /// The configuration with the usual bounds: 5 s between greetings, 64 unsettled outcomes.
    pub fn new(worker: WorkerId, boot: BootId, capability: Capability) -> Self {
        Self { worker, boot, capability, greet_ms: 5_000, max_unsettled: 64 }
    }
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AgentEvent {
    /// A connection to a coordinator is open; nothing has been said on it.
    Connected,
    /// The connection is gone. Also the very first event: it makes the agent ask for a connection. The shell drops
    /// events of a connection that an [`AgentEffect::Reconnect`] has replaced.
    Disconnected,
    /// The coordinator said something.
    Received(Termed<ToWorker>),
    /// Time passed. Comes at [`super::Agent::next_tick`] or more often.
    Tick,
    /// The work of an attempt goes on. May come as often as the shell likes; only the latest is told.
    Progress {
        /// The attempt.
        attempt: AttemptId,
        /// Units finished.
        done: u64,
        /// Of how many.
        total: u64,
        /// What the attempt used up so far.
        cost: AttemptCost,
    },
    /// The work is done and verified; its files lie in scratch, hashed. Index and Analyse items have no files.
    Made {
        /// The attempt.
        attempt: AttemptId,
        /// What is to be uploaded, in the order of the report.
        files: Vec<NamedFile>,
    },
    /// An upload needs signed requests for these files: it has none, or theirs have expired.
    Wanted {
        /// The attempt.
        attempt: AttemptId,
        /// Which.
        files: Vec<NamedFile>,
    },
    /// All files and the report object are in storage.
    Uploaded {
        /// The attempt.
        attempt: AttemptId,
        /// What is reported.
        report: Box<Report>,
    },
    /// The work or the upload failed for good; nothing of the attempt runs any more.
    WorkFailed {
        /// The attempt.
        attempt: AttemptId,
        /// Why.
        fault: Fault,
        /// What the attempt used up.
        cost: AttemptCost,
    },
    /// The operator wants the worker to leave: first finish what runs; asked again, hand everything back; asked a
    /// third time, leave at once.
    DrainRequested,
}

/// What the shell must do, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "an effect that is not performed is lost"]
pub enum AgentEffect {
    /// Send on the current connection; if that fails, say [`AgentEvent::Disconnected`].
    Send(FromWorker),
    /// Start the work of a lease in a fresh scratch directory. Answer: Progress, then Made or WorkFailed.
    Start(Box<Lease>),
    /// Upload what was made, then the report object. Answer: Uploaded or WorkFailed.
    Upload {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Write these files with these requests. Before the Upload, and while it lasts.
    Signed {
        /// The attempt.
        attempt: AttemptId,
        /// The requests.
        uploads: Vec<SignedFile>,
    },
    /// Read the sources of these attempts with these requests from now on.
    Renewed {
        /// The requests.
        sources: Vec<(AttemptId, SignedGrant)>,
    },
    /// Kill whatever runs for the attempt and delete its scratch. No answer; later events of it are ignored.
    Abort {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Delete the scratch of an attempt whose work has ended.
    Discard {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Drop the connection, if there is one, and dial with the shell's own back-off until [`AgentEvent::Connected`].
    Reconnect,
    /// Leave: nothing is running. The last effect ever.
    Exit,
}

/// One-line bugs that the simulation must find. Compiled only with the feature `sabotage`.
#[cfg(feature = "sabotage")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sabotage {
    /// Outcomes are forgotten when the connection is lost.
    OutcomeDroppedOnReconnect,
    /// An outcome is forgotten once sent, not once settled.
    OutcomeForgottenOnSend,
    /// A lease counts from the arrival of an acknowledgement instead of the sending of the heartbeat.
    LeaseFromReceipt,
    /// Messages of an older term are obeyed.
    OldTermAccepted,
    /// Uploads begin without asking.
    UploadWithoutGrant,
    /// A repeated Lease message starts the work again.
    LeaseStartsTwice,
}

#[cfg(feature = "sabotage")]
impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::OutcomeDroppedOnReconnect,
        Self::OutcomeForgottenOnSend,
        Self::LeaseFromReceipt,
        Self::OldTermAccepted,
        Self::UploadWithoutGrant,
        Self::LeaseStartsTwice,
    ];
}
