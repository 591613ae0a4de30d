//! The plan.

use crate::PlanError;
use crate::ladder::FittedLadder;
use reelmill_common::index::SourceIndex;
use reelmill_common::job::JobOptions;
use reelmill_common::outcome::AnalyseReport;
use reelmill_common::plan::Plan;
use reelmill_common::spec::AnalyseSpec;
use reelmill_common::time::Timebase;

/// Everything a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct PlanInput<'a> {
    /// The source.
    pub index: &'a SourceIndex,
    /// What the work of [`analyse_spec`] found out.
    pub analyses: &'a AnalyseReport,
    /// The ladder fitted to this source.
    pub ladder: &'a FittedLadder,
    /// The submitter's wishes.
    pub options: &'a JobOptions,
    /// Slots the cluster had at Submit.
    pub slots_hint: u32,
}

/// What has to be found out by a worker before the plan can be made.
pub fn analyse_spec(index: &SourceIndex, ladder: &FittedLadder) -> AnalyseSpec {
    AnalyseSpec {
        source: index.source,
        demuxer: index.demuxer,
        encode_timebase: index.video.as_ref().map_or(Timebase::hz(std::num::NonZeroU32::MIN), |v| v.timebase),
        rungs: ladder.rungs.iter().map(|r| r.settings.clone()).collect(),
        downmixes: Vec::new(),
    }
}

/// Decides everything.
pub fn plan(input: &PlanInput<'_>) -> Result<Plan, PlanError> {
    let _ = input;
    Err(PlanError::EmptyLadder)
}
