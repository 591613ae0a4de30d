//! The segment grid and the forced IDR pictures, the same for every rung.
//!
//! A fixed grid by default: it depends on the film and the wanted segment duration, never on chunks or machines.
//! Each segment begins with an IDR; between two IDRs no picture is referenced across.

use crate::framemap::FrameMap;
use crate::timeline::{Pace, Timeline};
use reelmill_common::index::KeyFrame;

/// Segment boundaries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Grid {
    /// `n + 1` times for n segments, from 0 to the end.
    pub bounds: Vec<i64>,
    /// Number of the first output frame of each segment.
    pub first: Vec<usize>,
}

/// The distance of grid lines in output ticks: an even number of frames nearest to the wanted duration when the rate
/// is constant, exactly the wanted duration otherwise.
pub(crate) fn line_ticks(timeline: &Timeline, segment_ms: u32) -> i64 {
    match timeline.pace {
        Pace::Constant { step } => segment_frames(timeline, segment_ms) as i64 * step,
        Pace::Variable { .. } => timeline.timescale() * i64::from(segment_ms) / 1000,
    }
    .max(2)
}

/// Frames of a grid segment at the output rate (the average when variable), even.
pub(crate) fn segment_frames(timeline: &Timeline, segment_ms: u32) -> u64 {
    let doubled = timeline.rate.over(2).frames_in_ms(segment_ms.into());
    doubled.max(1) * 2
}

impl Grid {
    /// The fixed grid: segment k begins at the first frame at or after k lines.
    pub(crate) fn fixed(map: &FrameMap, line: i64, even: bool, second: i64) -> Self {
        let mut grid = Self::start();
        let mut frame = 0;
        let mut due = line;
        while due < map.end {
            frame += map.times[frame..].partition_point(|t| *t < due);
            frame += if even { frame % 2 } else { 0 };
            let Some(&time) = map.times.get(frame) else { break };
            grid.begin(frame, time, map.end - second);
            // a frame may come many lines late; lines it has passed begin nothing
            due = (time / line + 1) * line;
        }
        grid.close(map.end)
    }

    /// Boundaries at source keyframes, each about one line after the one before; where the source has none within
    /// two lines the segment is cut without.
    pub(crate) fn at_keys(map: &FrameMap, keys: &[KeyFrame], line: i64, even: bool, second: i64) -> Self {
        let starts: Vec<usize> = keys
            .iter()
            .map(|k| map.source.partition_point(|s| *s < k.frame))
            .filter(|j| *j < map.times.len() && !(even && j % 2 == 1))
            .collect();
        let mut grid = Self::start();
        let mut at = 0;
        loop {
            let from = map.times[at];
            let after = |ticks: i64| starts.partition_point(|j| map.times[*j] < from + ticks);
            let nearest = starts[after(second.max(line / 2))..]
                .iter()
                .take_while(|j| map.times[**j] <= from + 2 * line)
                .min_by_key(|j| (map.times[**j] - from - line).abs());
            let next = nearest.copied().unwrap_or_else(|| {
                let j = map.times.partition_point(|t| *t < from + line);
                j + if even { j % 2 } else { 0 }
            });
            let Some(&time) = map.times.get(next) else { break };
            if !grid.begin(next, time, map.end - second) {
                break;
            }
            at = next;
        }
        grid.close(map.end)
    }

    fn start() -> Self {
        Self { bounds: vec![0], first: vec![0] }
    }

    /// Begins a segment unless it would be empty or a sliver.
    fn begin(&mut self, frame: usize, time: i64, latest: i64) -> bool {
        let fits = time <= latest && self.bounds.last().is_none_or(|b| *b < time);
        if fits {
            self.bounds.push(time);
            self.first.push(frame);
        }
        fits
    }

    fn close(mut self, end: i64) -> Self {
        self.bounds.push(end);
        self
    }

    /// How many segments.
    pub(crate) fn len(&self) -> usize {
        self.first.len()
    }

    /// Output frames `[first, end)` of segment `s`.
    pub(crate) fn frames(&self, s: usize, map: &FrameMap) -> (usize, usize) {
        (self.first[s], self.first.get(s + 1).copied().unwrap_or(map.times.len()))
    }
}

/// How IDRs are spaced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GopRule {
    /// Longest distance of two IDRs in output frames, even.
    pub frames: u64,
    /// Wanted distance in output ticks.
    pub ticks: i64,
    /// Only frames with even numbers?
    pub even: bool,
}

/// Numbers of the output frames that are forced to be IDR, ascending: the first of each segment, and within it one
/// for each wanted distance, evenly spread.
pub(crate) fn idr_frames(map: &FrameMap, grid: &Grid, rule: GopRule) -> Vec<usize> {
    let mut out = Vec::new();
    for s in 0..grid.len() {
        let (first, end) = grid.frames(s, map);
        let length = grid.bounds[s + 1] - grid.bounds[s];
        // rounded down from three quarters over: a segment of 2.4 s stays one GOP, one of 4.004 s becomes two
        let gops = ((length + rule.ticks / 4) / rule.ticks.max(1)).max(1);
        let mut wanted = vec![first];
        for g in 1..gops {
            let due = grid.bounds[s] + (i128::from(length) * i128::from(g) / i128::from(gops)) as i64;
            let at = first + map.times[first..end].partition_point(|t| *t < due);
            let at = align(at, rule.even);
            if at < end && wanted.last().is_some_and(|w| *w < at) {
                wanted.push(at);
            }
        }
        wanted.push(end);
        for pair in wanted.windows(2) {
            spread(&mut out, pair[0], pair[1], rule);
        }
    }
    out
}

fn align(frame: usize, even: bool) -> usize {
    if even { frame - frame % 2 } else { frame }
}

/// IDRs from `from` on, so that none is further from the next than the rule's frames.
fn spread(out: &mut Vec<usize>, from: usize, to: usize, rule: GopRule) {
    let most = usize::try_from(rule.frames).unwrap_or(usize::MAX).max(2);
    let parts = (to - from).div_ceil(most).max(1);
    for i in 0..parts {
        // `from` is even where it has to be, and so is every rounded-down part of it
        out.push(from + align((to - from) * i / parts, rule.even));
    }
}

/// The composition delay of a rung that shows every `every`-th frame: the furthest any B-frame of a pyramid within
/// three can be decoded after its turn, which is two of the rung's frames within one GOP. 0 when that would exceed a
/// second: then negative offsets are the lesser evil.
pub(crate) fn reorder_delay(map: &FrameMap, idrs: &[usize], every: u8, second: i64) -> u32 {
    let every = usize::from(every.max(1));
    let mut longest = 0;
    for (n, &from) in idrs.iter().enumerate() {
        let to = idrs.get(n + 1).copied().unwrap_or(map.times.len());
        let mut own = (from..to).filter(|j| j % every == 0);
        let (mut a, mut b) = (own.next(), own.next());
        for c in own {
            if let Some(a) = a {
                longest = longest.max(map.times[c] - map.times[a]);
            }
            (a, b) = (b, Some(c));
        }
    }
    if longest > second { 0 } else { u32::try_from(longest).unwrap_or(0) }
}
