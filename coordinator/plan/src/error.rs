//! Why no plan could be made: whose fault it is and what to do about it.
//!
//! Every refusal of this crate is one of these; nothing here panics, logs or retries. The coordinator turns the kind
//! into the job's failure (and so into an exit code) and shows the message to a person.

use reelmill_common::outcome::FaultKind;

/// A refusal, in words a person can act on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PlanError {
    /// Neither picture nor sound.
    #[error("the source has no video and no audio track that can be decoded: {ignored}")]
    NothingToEncode {
        /// What was found instead.
        ignored: String,
    },
    /// A video track without frames.
    #[error(
        "the video track has no frame that is ever shown: the file is cut off or damaged; upload it again"
    )]
    NoFrames,
    /// A video track of unknown or impossible size.
    #[error(
        "the video track's size is {width}x{height}: the file carries no usable picture header; upload it again"
    )]
    NoSize {
        /// Coded width.
        width: u32,
        /// Coded height.
        height: u32,
    },
    /// Times that do not ascend or are out of all proportion.
    #[error(
        "the {track} track's times cannot be used ({what}): the file is damaged; remux it and upload it again"
    )]
    BadTimes {
        /// Which track.
        track: String,
        /// What is wrong with them.
        what: String,
    },
    /// A limit is exceeded.
    #[error("the source has {found} {what}; the limit is {limit}")]
    Limit {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: u64,
        /// How many may be.
        limit: u64,
    },
    /// A rung name that the default table does not hold.
    #[error("there is no rung named {name:?}: use some of {known}, or describe it in a ladder file")]
    UnknownRung {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A name used twice in one ladder.
    #[error("the ladder names {name:?} twice: give each rung a name of its own")]
    DuplicateRung {
        /// The name.
        name: String,
    },
    /// A ladder without rungs.
    #[error("the ladder is empty: name at least one rung, or leave it out to get the default ladder")]
    EmptyLadder,
    /// A value of a ladder file that cannot be used.
    #[error("rung {name:?} of the ladder: {why}")]
    BadRung {
        /// The rung.
        name: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// An option out of its range.
    #[error("{option} is {found}: use {allowed}")]
    BadOption {
        /// Which option.
        option: &'static str,
        /// Its value.
        found: u64,
        /// The values it may have.
        allowed: String,
    },
    /// Analysis or encode reports that do not fit what was asked for.
    #[error("{what}: a worker reported something that does not fit its task; run the job again")]
    BadReport {
        /// What does not fit.
        what: String,
    },
}

impl PlanError {
    /// Where the fault lies. What the submitter can change (file, ladder, options) is `Source`: no retry helps.
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::BadReport { .. } => FaultKind::Output,
            _ => FaultKind::Source,
        }
    }
}
