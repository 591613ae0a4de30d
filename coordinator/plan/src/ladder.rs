//! The ladder: which renditions a source gets.

use crate::PlanError;
use reelmill_common::index::SourceIndex;
use reelmill_common::job::JobOptions;
use reelmill_common::ladder::{LadderChoice, VideoSettings};

/// A ladder fitted to a source: the rungs, largest first, and why they are these.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FittedLadder {
    /// Rungs, largest first; none when the source has no picture.
    pub rungs: Vec<FittedRung>,
    /// Decisions in plain words.
    pub notes: Vec<String>,
}

/// One rung with complete settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FittedRung {
    /// `1080p`, `720p`, …: unique within the ladder, obeys the grammar of names.
    pub name: String,
    /// Encoder settings.
    pub settings: VideoSettings,
}

/// Fits the wanted ladder to the source: sizes, rates, levels, GOPs.
pub fn fit(
    index: &SourceIndex,
    choice: &LadderChoice,
    options: &JobOptions,
) -> Result<FittedLadder, PlanError> {
    let _ = (index, choice, options);
    Err(PlanError::EmptyLadder)
}
