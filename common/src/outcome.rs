//! What comes of an attempt: a report of what was made and checked, or a fault a person can act on.

use crate::audit::AuditReport;
use crate::capability::EncoderProof;
use crate::hash::Sha256;
use crate::ids::SegmentNumber;
use crate::keys::ObjectKey;
use crate::loudness::Loudness;
use std::iter::Sum;
use std::ops::AddAssign;

/// The end of an attempt as its worker tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Everything was made, checked and uploaded.
    Done(Report),
    /// It did not work.
    Failed {
        /// Why.
        fault: Fault,
        /// What it used up all the same.
        cost: AttemptCost,
    },
}

impl Outcome {
    /// What the attempt used up.
    pub fn cost(&self) -> AttemptCost {
        match self {
            Self::Done(report) => report.cost(),
            Self::Failed { cost, .. } => *cost,
        }
    }
}

/// What an attempt made. Stored as an object under `key` before it is reported; the commit names key and hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Where the report (index, analysis, chunk or audit report in its stored form) lies in the private area.
    pub key: ObjectKey,
    /// SHA-256 of that object.
    pub sha256: Sha256,
    /// Size of that object in bytes.
    pub bytes: u64,
    /// What the coordinator checks against the spec before it commits.
    pub body: ReportBody,
}

/// The report's content, by kind of work.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReportBody {
    /// The object under the report's key is the `SourceIndex`; what it cost.
    Index(AttemptCost),
    /// avcC per rung and peak per downmix; what it cost.
    Analyse(AnalyseReport, AttemptCost),
    /// Segments of a chunk. What it cost is told there, because it is stored with the chunk.
    Encode(ChunkReport),
    /// What was seen of a file that is as it should be; what it cost.
    Audit(AuditReport, AttemptCost),
}

impl Report {
    /// What the attempt used up.
    pub fn cost(&self) -> AttemptCost {
        match &self.body {
            ReportBody::Index(cost) | ReportBody::Analyse(_, cost) | ReportBody::Audit(_, cost) => *cost,
            ReportBody::Encode(report) => report.cost,
        }
    }
}

/// Facts of an `Analyse` item, in the order of its spec.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AnalyseReport {
    /// Decoder configuration record per rung.
    pub avcc: Vec<Vec<u8>>,
    /// Peak per downmix in 1/10,000 of full scale (may exceed 10,000).
    pub peaks: Vec<u32>,
    /// Per wanted join, the first packet of the range after it; 0: it cannot be at any of the places asked for.
    pub joins: Vec<u64>,
}

/// What was made of a chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkReport {
    /// Every file of the chunk, in the order rung by rung, init first, then segments ascending.
    pub files: Vec<FileReport>,
    /// Output frames (video) or packets (audio) per rung, in the spec's order.
    pub units: Vec<u64>,
    /// Decoder configuration per rung as found in the output (avcC, or AudioSpecificConfig).
    pub configs: Vec<Vec<u8>>,
    /// Measured loudness of an audio chunk: a whole rendition's, or that of its range.
    pub loudness: Option<Box<Loudness>>,
    /// What it cost.
    pub cost: AttemptCost,
    /// Encoder that made it.
    pub encoder: Option<EncoderProof>,
    /// First line of `ffmpeg -version`.
    pub ffmpeg_build: String,
    /// Things worth telling: decoder complaints, concealed frames.
    pub notes: Vec<String>,
}

/// One file of the package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileReport {
    /// Index of the rung in the spec (0 for audio).
    pub rung: u32,
    /// Init segment (`None`) or a media segment.
    pub segment: Option<SegmentNumber>,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the content.
    pub sha256: Sha256,
    /// I-frames in the segment.
    pub iframes: Vec<IFrame>,
}

/// An IDR picture within a segment, for I-frame playlists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IFrame {
    /// Presentation time in output ticks.
    pub time: i64,
    /// First byte of the range (that of the `moof` for the segment's first).
    pub offset: u64,
    /// Bytes in the range, up to the end of the IDR's sample.
    pub length: u64,
}

/// What an attempt used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AttemptCost {
    /// Wall-clock milliseconds from lease to report.
    pub wall_ms: u64,
    /// CPU milliseconds of its child processes.
    pub cpu_ms: u64,
    /// Of the wall time, milliseconds in which ffmpeg or ffprobe ran.
    pub encode_ms: u64,
    /// Source bytes read: those that came from the source's store, read ahead in vain or not; of a local file that
    /// ffmpeg opens itself, what its system calls read, its own few kilobytes included.
    pub source_bytes: u64,
}

impl AddAssign for AttemptCost {
    fn add_assign(&mut self, other: Self) {
        self.wall_ms = self.wall_ms.saturating_add(other.wall_ms);
        self.cpu_ms = self.cpu_ms.saturating_add(other.cpu_ms);
        self.encode_ms = self.encode_ms.saturating_add(other.encode_ms);
        self.source_bytes = self.source_bytes.saturating_add(other.source_bytes);
    }
}

impl Sum for AttemptCost {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

/// Why an attempt failed: who is at fault and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Where the fault lies.
    pub kind: FaultKind,
    /// What happened, to what, in one sentence for a person.
    pub message: String,
    /// Last lines of the child's stderr, if one ran.
    pub detail: String,
}

/// Where a fault lies: decides about retry and about the job's exit code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FaultKind {
    /// The input cannot be used: no retry, exit code 3.
    Source,
    /// The encoder did not start, exited, was killed or stalled: retried within `faults`, exit code 4.
    Encoder,
    /// What it made is wrong (count, times, decoder configuration): retried within `faults`, exit code 4.
    Output,
    /// What it made is right but for the decoder configuration: this worker's build gives another one than the rung is
    /// bound to. Counts for no budget; the build gets no such work of the job any more.
    Binding,
    /// The decoder shows other frames of the source than its index promised, and complained of what it read. Another worker
    /// may read it better, so it is tried once more; said twice, the film is indexed anew by what its decoder shows, and if
    /// that was done before, the input is at fault. Jobs never fail with it.
    Damage,
    /// Object storage or the source's storage failed: retried within `faults`, exit code 5.
    Storage,
    /// The worker is stopping or the attempt was revoked: counts for no budget.
    Abandoned,
    /// The worker could not run the encoder as it must (its sandbox): retried within `faults`, exit code 4.
    Worker,
    /// The verdict of an audit: the file is not what its commit says. Counts for no budget of the audit; the fault is its
    /// maker's. Only ever on its way from an auditor: it is not stored, and jobs fail with `Output`.
    Media,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Source,
        Self::Encoder,
        Self::Output,
        Self::Binding,
        Self::Damage,
        Self::Storage,
        Self::Abandoned,
        Self::Worker,
        Self::Media,
    ];

    /// Stable name for metric labels, reports and stored records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Encoder => "encoder",
            Self::Output => "output",
            Self::Binding => "binding",
            Self::Damage => "damage",
            Self::Storage => "storage",
            Self::Abandoned => "abandoned",
            Self::Worker => "worker",
            Self::Media => "media",
        }
    }
}

/// What became of a reported attempt, as the coordinator tells the worker.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verdict {
    /// Its output is the chunk's output.
    Won,
    /// Another attempt was first, or it was refused.
    Lost,
    /// The job is gone; forget it.
    Gone,
}
