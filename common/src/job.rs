//! A job as its owner asks for it and sees it.

use crate::ids::{IdempotencyKey, JobId, RunNo, TenantId};
use crate::ladder::{JobPreset, LadderChoice};
use crate::outcome::FaultKind;
use std::collections::BTreeMap;

/// What a client submits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobRequest {
    /// Whose job.
    pub tenant: TenantId,
    /// A path or an object URL.
    pub source: String,
    /// Renditions wanted.
    pub ladder: LadderChoice,
    /// Other wishes.
    pub options: JobOptions,
    /// Free labels of the owner; keys and values obey the grammar of names.
    pub labels: BTreeMap<String, String>,
    /// Higher goes first within a tenant; 0 is normal.
    pub priority: i32,
    /// The same key and request give the same job for 30 days.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// How to cut and encode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobOptions {
    /// Speed against quality.
    pub preset: JobPreset,
    /// Wanted segment duration in milliseconds.
    pub segment_ms: u32,
    /// Wanted chunk duration in milliseconds; `None`: by predicted cost.
    pub chunk_ms: Option<u32>,
    /// What segments align to.
    pub segments: SegmentAlignment,
    /// Where the package goes: a prefix of its own below the publish root, or an explicit directory or URL
    /// (`transcode --out`).
    pub output: Option<String>,
    /// Byte-equal output over CPU classes.
    pub cpu_independent: bool,
    /// Sound that would hold up the job is cut into ranges of at least so many milliseconds.
    pub sound_range_ms: u32,
}

impl Default for JobOptions {
    fn default() -> Self {
        Self {
            preset: JobPreset::Balanced,
            segment_ms: 4_000,
            chunk_ms: None,
            segments: SegmentAlignment::Grid,
            output: None,
            cpu_independent: false,
            sound_range_ms: 120_000,
        }
    }
}

/// What segments align to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum SegmentAlignment {
    /// A fixed grid.
    #[default]
    Grid,
    /// Source keyframes.
    Source,
}

/// A job's lifecycle. Only the leader writes it.
///
/// ```text
/// Accepted -> Indexing -> Planned -> Running -> Publishing -> Published
///     any before Publishing -> Failed | Cancelled;  Failed | Cancelled -> Running (Retry)
///     Published | Failed | Cancelled -> Collecting -> Collected
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JobState {
    /// Durable, nothing done yet.
    Accepted,
    /// A worker demuxes the source (and analyses it).
    Indexing,
    /// The plan is stored.
    Planned,
    /// Chunks are being encoded.
    Running,
    /// All committed; manifests are being written. The point of no return.
    Publishing,
    /// `master.m3u8` and `manifest.mpd` are there.
    Published,
    /// It did not work, and why.
    Failed(FailReason),
    /// Its owner stopped it.
    Cancelled,
    /// Its objects are being deleted.
    Collecting,
    /// Nothing is left but the record.
    Collected,
}

impl JobState {
    /// Stable lowercase name for records, labels and JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Indexing => "indexing",
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Publishing => "publishing",
            Self::Published => "published",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
            Self::Collecting => "collecting",
            Self::Collected => "collected",
        }
    }

    /// Will it not change without somebody asking?
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Published | Self::Failed(_) | Self::Cancelled | Self::Collecting | Self::Collected
        )
    }

    /// The exit code of whoever waits for the job (0, 3, 4, 5 or 6), once it is terminal.
    pub fn exit_code(&self) -> Option<u8> {
        match self {
            Self::Published => Some(0),
            Self::Failed(r) => Some(match r.kind {
                FaultKind::Source => 3,
                FaultKind::Encoder
                | FaultKind::Output
                | FaultKind::Binding
                | FaultKind::Damage
                | FaultKind::Abandoned
                | FaultKind::Worker
                | FaultKind::Media => 4,
                FaultKind::Storage => 5,
            }),
            Self::Cancelled | Self::Collecting | Self::Collected => Some(6),
            _ => None,
        }
    }
}

/// Why a job failed, for a person who can act.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailReason {
    /// Where the fault lies.
    pub kind: FaultKind,
    /// What happened, to which chunk, on which worker, what to do.
    pub message: String,
    /// Stderr tail or similar.
    pub detail: String,
}

/// A job as Get, List and Watch show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Its owner.
    pub tenant: TenantId,
    /// Its source as submitted.
    pub source: String,
    /// Labels as submitted.
    pub labels: BTreeMap<String, String>,
    /// Priority as submitted.
    pub priority: i32,
    /// Where in its life.
    pub state: JobState,
    /// Which run.
    pub run: RunNo,
    /// Wall-clock milliseconds since the Unix epoch at submission: shown only.
    pub submitted_unix_ms: u64,
    /// How far.
    pub progress: Progress,
    /// Changes with every durable change of the job: the resume token of Watch.
    pub version: u64,
    /// Where the package's roots are, once published (URL or path of the package's directory).
    pub package: Option<String>,
    /// Why it waits, fails or is slow, for `explain`; the latest few reasons.
    pub notes: Vec<String>,
}

/// Progress of a job; never stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Chunks committed.
    pub chunks_done: u32,
    /// Chunks planned (0 before the plan).
    pub chunks_total: u32,
    /// Chunks being encoded now.
    pub chunks_running: u32,
    /// Predicted work in slot-milliseconds: all of it.
    pub work_total_ms: u64,
    /// Of that, done (running chunks by their frames).
    pub work_done_ms: u64,
    /// Milliseconds to the end at the present speed; `None` while unknown.
    pub eta_ms: Option<u64>,
    /// Milliseconds since the job's present run began to encode, or between that and the job's end; 0 before it.
    pub elapsed_ms: u64,
    /// Duration of the film in milliseconds (0 before the plan).
    pub media_ms: u64,
    /// Faults and losses so far.
    pub retries: u32,
}
