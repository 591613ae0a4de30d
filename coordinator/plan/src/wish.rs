//! What a submitter may ask for, whatever the source: one list of ranges, held before a job is accepted (by the
//! coordinator's Submit and by the command line) and once more when its plan is made.

use crate::{PlanError, ladder};
use reelmill_common::job::JobOptions;
use reelmill_common::ladder::LadderChoice;
use std::ops::RangeInclusive;

/// Segment durations a job may ask for, in milliseconds.
pub const SEGMENT_MS: RangeInclusive<u32> = 1_000..=20_000;

/// What a job may ask of its shortest range of sound, in milliseconds.
pub const SOUND_RANGE_MS: RangeInclusive<u32> = 10_000..=24 * 3_600_000;

/// Can a job with this ladder and these options be planned, if its source can?
///
/// # Errors
/// [`PlanError::BadOption`], and those of [`ladder::check`]. Each names the value and what would be right.
pub fn check(choice: &LadderChoice, options: &JobOptions) -> Result<(), PlanError> {
    check_options(options)?;
    ladder::check(choice)
}

/// The same of the options alone. A chunk may be as short or long as anybody likes: it holds whole segments, one at
/// least.
pub(crate) fn check_options(options: &JobOptions) -> Result<(), PlanError> {
    if !SEGMENT_MS.contains(&options.segment_ms) {
        return Err(PlanError::BadOption {
            option: "the segment duration in milliseconds",
            found: options.segment_ms.into(),
            allowed: format!("{} to {}", SEGMENT_MS.start(), SEGMENT_MS.end()),
        });
    }
    if !SOUND_RANGE_MS.contains(&options.sound_range_ms) {
        return Err(PlanError::BadOption {
            option: "the least duration of a range of sound in milliseconds",
            found: options.sound_range_ms.into(),
            allowed: format!("{} to {}", SOUND_RANGE_MS.start(), SOUND_RANGE_MS.end()),
        });
    }
    if options.chunk_ms == Some(0) {
        return Err(PlanError::BadOption {
            option: "the chunk duration in milliseconds",
            found: 0,
            allowed: "1 or more".to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(options: JobOptions) -> Option<String> {
        check(&LadderChoice::Default, &options).err().map(|e| e.to_string())
    }

    #[test]
    fn durations_lie_within_their_ranges() {
        let segment = |segment_ms| says(JobOptions { segment_ms, ..JobOptions::default() });
        let chunk = |ms| says(JobOptions { chunk_ms: Some(ms), ..JobOptions::default() });
        let sound = |sound_range_ms| says(JobOptions { sound_range_ms, ..JobOptions::default() });
        assert_eq!((sound(10_000), sound(86_400_000)), (None, None));
        for ms in [0, 9_999, 86_400_001] {
            assert!(sound(ms).is_some_and(|e| e.contains("10000 to 86400000")), "{ms}");
        }
        for ms in [1_000, 4_000, 20_000] {
            assert_eq!((segment(ms), chunk(ms)), (None, None), "{ms}");
        }
        for ms in [0, 999, 20_001, u32::MAX] {
            assert!(segment(ms).is_some_and(|e| e.contains("1000 to 20000")), "{ms}");
        }
        assert!(chunk(0).is_some_and(|e| e.contains("1 or more")));
        assert_eq!((chunk(1), chunk(u32::MAX)), (None, None));
    }

    #[test]
    fn ladders_are_looked_at_too() {
        let unknown = LadderChoice::Named(vec!["999p".to_owned()]);
        let error = check(&unknown, &JobOptions::default()).expect_err("refused").to_string();
        assert!(error.contains("999p") && error.contains("1080p"), "{error}");
    }
}
