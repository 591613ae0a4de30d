//! Decisions in plain words for the plan's report: what was decided and from what, so that nobody has to read code
//! to learn why a package looks as it does.

use crate::chunks::Cut;
use crate::framemap::FrameMap;
use crate::grid::Grid;
use crate::planner::PlanInput;
use crate::timeline::{Found, Timeline};
use reelmill_common::job::{JobOptions, SegmentAlignment};
use reelmill_common::plan::Plan;
use reelmill_common::spec::ChunkMedia;
use reelmill_common::time::{Ticks, Timebase};

/// A time in seconds with microseconds, for reading only.
pub(crate) fn seconds(ticks: i64, timebase: Timebase) -> String {
    let micros = timebase.micros(Ticks(ticks));
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Milliseconds as seconds with one decimal.
fn tenths(ms: u64) -> String {
    format!("{}.{}", ms / 1000, ms % 1000 / 100)
}

pub(crate) fn timeline(
    timeline: &Timeline,
    map: &FrameMap,
    grid: &Grid,
    options: &JobOptions,
) -> Vec<String> {
    let mut out = Vec::new();
    let zero = seconds(timeline.zero, timeline.source);
    let scale = timeline.timescale();
    let rate = timeline.rate;
    out.push(format!(
        "timeline: zero is the first shown frame, at {zero} s of the source; {scale} ticks a second"
    ));
    out.push(match timeline.found {
        Found::Exact => format!("timeline: constant {rate} frames a second, exact in the source's ticks"),
        Found::Snapped => format!(
            "timeline: constant {rate} frames a second; the source's times ({} s ticks) are rounded and were put back",
            timeline.source
        ),
        Found::Variable => format!("timeline: variable frame rate, {rate} on average; times are kept as they are"),
    });
    if timeline.keep_every > 1 {
        let dropped = map.dropped;
        out.push(format!(
            "frames: faster than 60 a second; one of {} is kept, {dropped} left out",
            timeline.keep_every
        ));
    }
    if map.repeated > 0 {
        out.push(format!(
            "frames: a picture is held for more than a second across a segment boundary; shown {} times more there",
            map.repeated
        ));
    }
    if map.dropped == 0 && map.repeated == 0 {
        out.push("frames: each source frame once, at its own time".to_owned());
    }
    let kind = match options.segments {
        SegmentAlignment::Grid => "on a fixed grid",
        SegmentAlignment::Source => "at source keyframes",
    };
    let longest = grid.bounds.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
    out.push(format!(
        "segments: {} {kind}, the longest {} s; an IDR at the start of each and about every 2 s",
        grid.len(),
        seconds(longest, timeline.out)
    ));
    out
}

pub(crate) fn cuts(input: &PlanInput<'_>, cuts: &[Cut], split: usize) -> String {
    let total: u64 = cuts.iter().map(|c| c.cost_ms).sum();
    let largest = cuts.iter().map(|c| c.cost_ms).max().unwrap_or(0);
    let how = match input.options.chunk_ms {
        Some(ms) => format!("of about {} s as asked", tenths(ms.into())),
        None => format!("sized by predicted cost for {} slots", input.sizing.slots_hint.max(1)),
    };
    let split = match split {
        0 => String::new(),
        n => format!("; {n} split by rung, because slots would idle beside"),
    };
    format!(
        "chunks: {} of the picture {how}; predicted {} slot-seconds in all, {} for the largest{split}",
        cuts.len(),
        tenths(total),
        tenths(largest),
    )
}

/// What a bound on the cost of chunks has changed; empty: nothing.
pub(crate) fn bounded(most_ms: u64, costs: &[u64], instead_of: &[u64]) -> String {
    let beyond = costs.iter().filter(|cost_ms| **cost_ms > most_ms).count();
    if costs == instead_of && beyond == 0 {
        return String::new();
    }
    let largest = costs.iter().max().copied().unwrap_or(0);
    let beyond = match beyond {
        0 => String::new(),
        n => format!(", which {n} exceed all the same: there is nothing smaller than a segment at one rung"),
    };
    format!(
        "; tenants share the slots, so a chunk may cost {} slot-seconds at most{beyond}: {} chunks instead of {}, \
         {} for the largest",
        tenths(most_ms),
        costs.len(),
        instead_of.len(),
        tenths(largest),
    )
}

pub(crate) fn gain(stream: u32, peak: u32) -> String {
    format!(
        "sound: the downmix of stream {stream} peaks at {}.{:04} of full scale; lowered as a whole by that",
        peak / 10_000,
        peak % 10_000
    )
}

/// Closes the report with the plan's sum.
pub(crate) fn summary(plan: &mut Plan) {
    let audio = plan.chunks.iter().filter(|c| matches!(c.spec.media, ChunkMedia::Audio(_))).count();
    let line = format!(
        "plan: {} s, {} video and {} audio renditions, {} chunks ({audio} of sound, first)",
        seconds(plan.duration, plan.timebase),
        plan.video.len(),
        plan.audio.len(),
        plan.chunks.len()
    );
    plan.report.decisions.push(line);
}
