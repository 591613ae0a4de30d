//! A plan as data: one immutable revision of every decision for a job. `reelmill-plan` makes it; this is its shape.

use crate::capability::Needs;
use crate::index::SourceId;
use crate::ladder::{AudioSettings, VideoSettings};
use crate::spec::{AudioSegment, ChunkSpec, ExactTime};
use crate::time::Timebase;

/// Version of the plan's meaning; stored with it.
pub const PLAN_VERSION: u32 = 1;

/// Everything that was decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// 1 for the first, one more for each revision.
    pub revision: u32,
    /// The revision this one comes from.
    pub parent: Option<u32>,
    /// The source.
    pub source: SourceId,
    /// The film's zero on the source timeline: the first shown video frame (audio-only: first sample).
    pub zero: ExactTime,
    /// Presentation timeline of the package: `1 / timescale`. Output time 0 is `zero`.
    pub timebase: Timebase,
    /// End of the presentation in output ticks; all renditions end here (audio to its nearest sample).
    pub duration: i64,
    /// Video segment boundaries in output ticks: `n + 1` values for n segments, from 0 to `duration`. Empty when
    /// there is no video.
    pub grid: Vec<i64>,
    /// Video renditions, in ladder order (largest first).
    pub video: Vec<VideoRendition>,
    /// Audio renditions: default group first.
    pub audio: Vec<AudioRendition>,
    /// Work to be done.
    pub chunks: Vec<PlannedChunk>,
    /// Why it is so.
    pub report: PlanReport,
}

/// For what cluster a plan is made. Fixed in the job's record, so that planning again gives the same plan; it decides who
/// encodes what and changes nothing that a player sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizing {
    /// Slots the cluster had at Submit; 0 counts as 1.
    pub slots_hint: u32,
    /// What a chunk may cost at most, predicted slot-milliseconds, where several tenants share the slots: whoever waits for
    /// a slot waits for no more than that. `None`: nobody else is there.
    pub chunk_cost_max_ms: Option<u64>,
}

impl Sizing {
    /// For so many slots that nobody shares.
    pub fn alone(slots_hint: u32) -> Self {
        Self { slots_hint, chunk_cost_max_ms: None }
    }
}

/// Video renditions of a plan, by their places in it. What lies beyond the last place is counted to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RungSet(pub u64);

impl RungSet {
    /// None.
    pub const NONE: Self = Self(0);

    /// Those at these places.
    pub fn of(places: impl IntoIterator<Item = usize>) -> Self {
        Self(places.into_iter().fold(0, |set, place| set | 1 << place.min(63)))
    }

    /// None at all?
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Is the rendition at this place among them?
    pub fn has(self, place: usize) -> bool {
        self.meets(Self::of([place]))
    }

    /// Are all of them among `other`?
    pub fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Is one of them among `other`?
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// These and those.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Work of which one unit takes as long as another, whatever film it is of: the hash of all that decides how fast a chunk's
/// pictures are made. Never stored: plans tell it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct CostClass(pub u32);

impl CostClass {
    /// Nothing is said of how it compares.
    pub const NONE: Self = Self(0);
}

/// A video rung of the package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VideoRendition {
    /// `1080p`, `720p`, …: unique.
    pub name: String,
    /// Folder in the package: `<name>-<settings hash>`.
    pub folder: String,
    /// Encoder settings.
    pub settings: VideoSettings,
    /// Bound decoder configuration (avcC payload).
    pub avcc: Vec<u8>,
    /// Composition delay in output ticks (see `VideoRung`).
    pub reorder_delay: u32,
    /// Output frames in all.
    pub frames: u64,
    /// Frame rate as a fraction (frames, seconds) for FRAME-RATE and @frameRate; the average for VFR.
    pub frame_rate: (u64, u64),
}

/// An audio rendition of the package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AudioRendition {
    /// Unique: `audio`, `audio-deu`, `audio-51`, …
    pub name: String,
    /// Folder in the package.
    pub folder: String,
    /// HLS group / DASH adaptation set it belongs to: renditions of one group have equal channels and rate.
    pub group: String,
    /// BCP-47 language, `und` if unknown.
    pub language: String,
    /// For people.
    pub title: String,
    /// Chosen when nobody chooses.
    pub is_default: bool,
    /// Encoder settings.
    pub settings: AudioSettings,
    /// AudioSpecificConfig.
    pub asc: Vec<u8>,
    /// Samples presented, at the output rate.
    pub total_samples: u64,
    /// All segments.
    pub segments: Vec<AudioSegment>,
}

/// A chunk with what the scheduler needs to know of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedChunk {
    /// The spec.
    pub spec: ChunkSpec,
    /// Predicted cost in slot-milliseconds on a reference core.
    pub cost_ms: u64,
    /// What it needs of a worker.
    pub needs: Needs,
}

/// Why the plan is as it is: shown by `jobs explain` and written to `report.json`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PlanReport {
    /// Decisions in plain words, in the order they were made.
    pub decisions: Vec<String>,
    /// Source frames in the index.
    pub source_frames: u64,
    /// Size of the source.
    pub source_bytes: u64,
    /// Frames shown more than once, extra showings in all.
    pub repeated_frames: u64,
    /// Frames left out (sources above 60 fps).
    pub dropped_frames: u64,
}
