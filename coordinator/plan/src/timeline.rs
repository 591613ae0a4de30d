//! The one timeline: where zero is, whether frames come at a constant rate, and in which ticks the package counts.
//!
//! Works on the index's frame times and nothing else. Times are absolute; nothing is ever added up.

use crate::rate::{Rate, STANDARD, source_timescale};
use reelmill_common::index::VideoTrack;
use reelmill_common::spec::ExactTime;
use reelmill_common::time::{TickSeq, Ticks, Timebase};
use std::num::NonZeroU32;

/// Above this many frames a second every k-th frame is kept. A little over 60, so that a camera's 60.06 stays whole.
const FASTEST: u64 = 63;

/// Slower films count as variable, so that a long hold can be cut anywhere.
const SLOWEST_CONSTANT: u64 = 2;

/// How the film's frames lie in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Timeline {
    /// Source time of the first shown frame: output time 0.
    pub zero: i64,
    /// Unit of source times.
    pub source: Timebase,
    /// Unit of output times: `1 / timescale`.
    pub out: Timebase,
    /// Constant or variable.
    pub pace: Pace,
    /// Every how many-th source frame is kept: 1 but for sources above 60 frames a second.
    pub keep_every: u32,
    /// Output frames a second; the average when variable.
    pub rate: Rate,
    /// How the pace was found.
    pub found: Found,
}

/// Constant or variable frame rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// Every output frame lasts `step` output ticks.
    Constant {
        /// Output ticks.
        step: i64,
    },
    /// Source times are kept as they are, times `scale` output ticks each.
    Variable {
        /// Output ticks in a source tick.
        scale: i64,
    },
}

/// Why the pace is what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// Times are exact multiples of a frame.
    Exact,
    /// Times are a standard rate's, rounded to the source's ticks.
    Snapped,
    /// Neither.
    Variable,
}

impl Timeline {
    /// The timeline of a checked video track.
    pub(crate) fn of(video: &VideoTrack) -> Self {
        let found = constant_rate(&video.frames, video.timebase)
            .filter(|(r, _)| r.cmp_whole(SLOWEST_CONSTANT).is_ge())
            .and_then(|(rate, found)| Self::constant(video, rate, found));
        found.unwrap_or_else(|| Self::variable(video))
    }

    fn constant(video: &VideoTrack, source_rate: Rate, found: Found) -> Option<Self> {
        let keep_every = keep_every(source_rate);
        let rate = source_rate.over(keep_every.into());
        let timescale = rate.timescale()?;
        let step = rate.step(timescale)?;
        Some(Self {
            zero: video.frames.first().unwrap_or(0),
            source: video.timebase,
            out: Timebase::hz(NonZeroU32::new(timescale)?),
            pace: Pace::Constant { step },
            keep_every,
            rate,
            found,
        })
    }

    fn variable(video: &VideoTrack) -> Self {
        let den = video.timebase.den();
        let timescale = source_timescale(den);
        let average = average_rate(&video.frames, video.timebase);
        let keep_every = keep_every(average);
        Self {
            zero: video.frames.first().unwrap_or(0),
            source: video.timebase,
            out: Timebase::hz(NonZeroU32::new(timescale).unwrap_or(NonZeroU32::MIN)),
            pace: Pace::Variable { scale: i64::from(video.timebase.num()) * i64::from(timescale / den) },
            keep_every,
            rate: average.over(keep_every.into()),
            found: Found::Variable,
        }
    }

    /// Output ticks a second.
    pub(crate) fn timescale(&self) -> i64 {
        self.out.den().into()
    }

    /// Output time of the kept source frame number `frame`, shown at `pts` on the source timeline.
    pub(crate) fn output_time(&self, frame: usize, pts: i64) -> i64 {
        match self.pace {
            Pace::Constant { step } => (frame as i64 / i64::from(self.keep_every)) * step,
            Pace::Variable { scale } => (pts - self.zero) * scale,
        }
    }

    /// Any time of another track on this timeline: output ticks, rounded to nearest.
    pub(crate) fn place(&self, ticks: i64, timebase: Timebase) -> i64 {
        place(self.exact_zero(), ExactTime { ticks: Ticks(ticks), timebase }, self.out)
    }

    /// The film's zero on the source timeline.
    pub(crate) fn exact_zero(&self) -> ExactTime {
        ExactTime { ticks: Ticks(self.zero), timebase: self.source }
    }

    /// Is the frame rate constant?
    pub(crate) fn is_constant(&self) -> bool {
        matches!(self.pace, Pace::Constant { .. })
    }
}

/// A source time on the package's timeline that begins at `zero` and counts in `1 / out.den()`: rounded to nearest.
pub(crate) fn place(zero: ExactTime, at: ExactTime, out: Timebase) -> i64 {
    let n = i128::from(at.ticks.0) * i128::from(at.timebase.num()) * i128::from(zero.timebase.den())
        - i128::from(zero.ticks.0) * i128::from(zero.timebase.num()) * i128::from(at.timebase.den());
    let d = i128::from(at.timebase.den()) * i128::from(zero.timebase.den());
    div_nearest(n, d, out.den().into())
}

/// `n / d * scale`, rounded to nearest, saturating. The whole part is split off first: a product of three 64-bit
/// numbers would not fit.
fn div_nearest(n: i128, d: i128, scale: i128) -> i64 {
    let (whole, rest) = (n.div_euclid(d), n.rem_euclid(d));
    // rest < d <= 2^64 and scale < 2^32
    let value = whole.saturating_mul(scale).saturating_add((rest * scale + d / 2) / d);
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

fn keep_every(rate: Rate) -> u32 {
    let (num, den) = rate.parts();
    u32::try_from(num.div_ceil(den.saturating_mul(FASTEST))).unwrap_or(u32::MAX)
}

fn average_rate(frames: &TickSeq, timebase: Timebase) -> Rate {
    let span = frames.last().unwrap_or(0).saturating_sub(frames.first().unwrap_or(0));
    let gaps = frames.len().saturating_sub(1) as u128;
    if gaps == 0 || span <= 0 {
        return Rate::new(25, 1);
    }
    let mut num = gaps * u128::from(timebase.den());
    let mut den = span as u128 * u128::from(timebase.num());
    while num > u64::MAX.into() || den > u64::MAX.into() {
        (num, den) = (num >> 1, den >> 1);
    }
    Rate::new(num as u64, den as u64)
}

/// A tick that is not finer than this part of a frame's time tells times, not rounded ones: nothing is put back.
const FINE: i128 = 4;

/// The rate all frames keep to within one source tick, if there is one. A single frame has none.
fn constant_rate(frames: &TickSeq, timebase: Timebase) -> Option<(Rate, Found)> {
    if frames.len() < 2 {
        return None;
    }
    let best = STANDARD
        .into_iter()
        .filter_map(|rate| Some((greatest_error(frames, timebase, rate)?, rate)))
        .reduce(|best, next| if next.0.less_than(best.0) { next } else { best });
    if let Some((error, rate)) = best {
        return Some((rate, if error.num == 0 { Found::Exact } else { Found::Snapped }));
    }
    let step = regular_step(frames)?;
    let den = u64::try_from(i128::from(step) * i128::from(timebase.num())).ok()?;
    Some((Rate::new(timebase.den().into(), den), Found::Exact))
}

fn regular_step(frames: &TickSeq) -> Option<i64> {
    match frames {
        TickSeq::Regular { step, .. } => Some(*step),
        TickSeq::Listed(times) => {
            let step = times.get(1)? - times.first()?;
            times.windows(2).all(|w| w[1] - w[0] == step).then_some(step)
        }
    }
}

/// A deviation in source ticks, as a fraction.
#[derive(Clone, Copy)]
struct Deviation {
    num: u128,
    den: u128,
}

impl Deviation {
    fn less_than(self, other: Self) -> bool {
        self.num * other.den < other.num * self.den
    }
}

/// The greatest distance of a frame from the rate's times, or `None` when one is more than a tick away, or at all away
/// where ticks are coarse.
fn greatest_error(frames: &TickSeq, timebase: Timebase, rate: Rate) -> Option<Deviation> {
    let (fps_num, fps_den) = rate.parts();
    // frame n is due at n * due / per source ticks
    let per = i128::from(fps_num) * i128::from(timebase.num());
    let due = i128::from(fps_den) * i128::from(timebase.den());
    let zero = frames.first()?;
    let most = if due >= FINE * per { per.unsigned_abs() } else { 0 };
    let error_at = |n: usize| {
        let shown = i128::from(frames.get(n)? - zero) * per;
        let error = (shown - n as i128 * due).unsigned_abs();
        (error <= most).then_some(error)
    };
    let worst = match frames {
        // the error of a regular list grows evenly, so the last frame has the greatest
        TickSeq::Regular { .. } => error_at(frames.len() - 1)?,
        TickSeq::Listed(times) => {
            let mut worst = 0;
            for n in 0..times.len() {
                worst = error_at(n)?.max(worst);
            }
            worst
        }
    };
    Some(Deviation { num: worst, den: per.unsigned_abs() })
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
