//! The frame map: which source frame is shown when, from zero to the end, the same for every chunk and rung.
//!
//! It is the identity unless a film is faster than 60 frames a second (then every k-th frame is kept) or holds one
//! picture for more than a second across a grid line (then the picture is shown again there, so that a segment can
//! begin). Both are counted.

use crate::timeline::{Pace, Timeline};
use reelmill_common::index::VideoTrack;
use reelmill_common::time::TickSeq;

/// Every output frame, and the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FrameMap {
    /// Output time of every output frame, strictly ascending, from 0.
    pub times: Vec<i64>,
    /// Source frame of every output frame, ascending.
    pub source: Vec<u32>,
    /// End of the presentation.
    pub end: i64,
    /// Showings beyond the first.
    pub repeated: u64,
    /// Source frames left out.
    pub dropped: u64,
}

/// What the map has to serve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MapNeeds {
    /// Distance of grid lines in output ticks.
    pub line: i64,
    /// End of the longest audio track in output ticks, if there is one.
    pub audio_end: Option<i64>,
    /// Must frames on grid lines have even numbers (half-rate rungs exist)?
    pub even: bool,
}

/// A source frame is shown at most this often: a count fits one byte.
const MOST_COPIES: i64 = 250;

impl FrameMap {
    /// Is output frame `j` the first showing of its source frame?
    pub(crate) fn is_first_showing(&self, j: usize) -> bool {
        j == 0 || self.source.get(j) != self.source.get(j - 1)
    }

    /// The map of a checked video track.
    pub(crate) fn of(video: &VideoTrack, timeline: &Timeline, needs: MapNeeds) -> Self {
        let kept: Vec<(u32, i64)> = video
            .frames
            .iter()
            .enumerate()
            .step_by(timeline.keep_every as usize)
            .map(|(i, pts)| (i as u32, timeline.output_time(i, pts)))
            .collect();
        let spacing = median_gap(kept.iter().map(|k| k.1));
        let last = kept.last().map_or(0, |k| k.1);
        let picture_end = last + last_duration(video, timeline, spacing);
        let end = picture_end.max(needs.audio_end.unwrap_or(0));
        let mut map = Self {
            times: Vec::with_capacity(kept.len()),
            source: Vec::with_capacity(kept.len()),
            end,
            repeated: 0,
            dropped: (video.frames.len() - kept.len()) as u64,
        };
        let second = timeline.timescale();
        // the encoder counts in the source's ticks: two of them apart, rounding cannot make two times one
        let apart = 2 * (second + i64::from(timeline.source.den()) - 1) / i64::from(timeline.source.den());
        let pace = Spacing { usual: spacing.unwrap_or(second / 25), apart: apart.max(2) };
        for (n, &(frame, time)) in kept.iter().enumerate() {
            map.push(frame, time);
            let (until, is_last) = kept.get(n + 1).map_or((end, true), |next| (next.1, false));
            if until - time > second {
                // no segment begins within the last second, and none is worth a copy just before the next picture
                let room = if is_last { second } else { second / 10 };
                map.hold(frame, until - room.max(pace.apart), pace, needs);
            }
        }
        map.repeated = (map.times.len() - kept.len()) as u64;
        map
    }

    fn push(&mut self, frame: u32, time: i64) {
        self.times.push(time);
        self.source.push(frame);
    }

    /// Shows `frame` again on the grid lines up to `until`. Where the next number is odd but must be even, one more
    /// copy goes right after the picture, at the film's own pace, where it disturbs no later time; a line without
    /// room for both is left out.
    fn hold(&mut self, frame: u32, until: i64, pace: Spacing, needs: MapNeeds) {
        let shown = self.times.last().copied().unwrap_or(0);
        let line = needs.line.max(1);
        let lines = (until / line - shown / line).max(0);
        let room = if needs.even { MOST_COPIES / 2 } else { MOST_COPIES };
        let stride = ((lines + room - 1) / room).max(1);
        let mut at = (shown / line + 1) * line;
        while at <= until {
            let previous = self.times.last().copied().unwrap_or(0);
            let filler =
                (needs.even && self.times.len() % 2 == 1).then(|| previous + pace.usual.max(pace.apart));
            if at - filler.unwrap_or(previous) >= pace.apart {
                if let Some(filler) = filler {
                    self.push(frame, filler);
                }
                self.push(frame, at);
            }
            at += line * stride;
        }
    }
}

/// Distances of frames in output ticks.
#[derive(Clone, Copy, Debug)]
struct Spacing {
    /// The film's usual one.
    usual: i64,
    /// The least at which two frames stay two.
    apart: i64,
}

/// How long the last picture is shown, in output ticks: as the container says if that is between half and twice the
/// usual distance of frames, else the usual distance. A constant rate's last frame that the container rounds by a
/// tick lasts exactly one frame.
fn last_duration(video: &VideoTrack, timeline: &Timeline, spacing: Option<i64>) -> i64 {
    let second = timeline.timescale();
    let last = video.frames.last().unwrap_or(0);
    let told = video
        .end
        .map(|end| {
            timeline.place(end.0, timeline.source).saturating_sub(timeline.place(last, timeline.source))
        })
        .filter(|told| *told > 0 && timeline.keep_every == 1);
    let Some(usual) = spacing else {
        // a single picture: nothing to compare with
        return told.unwrap_or(second / 25).max(1);
    };
    let tick = timeline.place(timeline.zero + 1, timeline.source).max(1);
    let plausible = told.filter(|told| *told >= usual / 2 && *told <= usual.saturating_mul(2));
    match (timeline.pace, plausible) {
        (Pace::Constant { step }, Some(told)) if (told - step).abs() <= tick => step,
        (Pace::Constant { step }, None) => step,
        (_, Some(told)) => told,
        (_, None) => usual,
    }
    .max(1)
}

/// The median distance of neighbours; `None` for fewer than two times.
fn median_gap(times: impl Iterator<Item = i64>) -> Option<i64> {
    let times: Vec<i64> = times.collect();
    let mut gaps: Vec<i64> = times.windows(2).map(|w| w[1] - w[0]).collect();
    let middle = gaps.len().checked_sub(1)? / 2;
    Some(*gaps.select_nth_unstable(middle).1)
}

/// Does the source hold a picture for longer than a second anywhere before its last? Half-rate rungs are not made of
/// such films: their even frames would come too late.
pub(crate) fn holds_long(frames: &TickSeq, timeline: &Timeline) -> bool {
    if timeline.is_constant() {
        return false;
    }
    let mut previous = None;
    frames.iter().enumerate().any(|(i, pts)| {
        let time = timeline.output_time(i, pts);
        let gap = previous.replace(time).map_or(0, |p| time - p);
        gap > timeline.timescale()
    })
}
