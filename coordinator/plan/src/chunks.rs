//! Cutting the picture into chunks: whole segments, from the grid lines that follow a source keyframe most closely,
//! and where decoding has to begin for each.
//!
//! The cut changes who encodes what, and nothing that a player sees: grid, IDRs, times and names are settled before.

use crate::cost::CHUNK_OVERHEAD_MS;
use crate::effort::Effort;
use crate::framemap::FrameMap;
use crate::grid::Grid;
use reelmill_common::index::{IndexMethod, KeyFrame, KeyKind, SourceIndex, VideoTrack};
use reelmill_common::time::Ticks;

/// Segments `[first, end)` of one chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cut {
    /// First segment, from 0.
    pub first: usize,
    /// Segment after the last.
    pub end: usize,
    /// Predicted cost in slot-milliseconds.
    pub cost_ms: u64,
    /// A slot's fair share of what was left when this chunk was cut, slot-milliseconds; `None`: cut by duration.
    pub share_ms: Option<u64>,
}

/// How large chunks are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    /// By duration in output ticks.
    Duration(i64),
    /// By predicted cost, for this many slots: many chunks per slot, shrinking toward the end.
    Slots(u64),
}

/// Chunks of this cost keep a slot for long enough to forget its start-up, and a lost one is no great loss.
const MOST_MS: u64 = 60_000;
/// Smaller chunks would be mostly start-up.
const LEAST_MS: u64 = 4_000;
/// A chunk has no more showings of held pictures than this (but for one that cannot be cut): each costs the worker a
/// filter.
const MOST_REPEATS: usize = 500;
/// The next chunk is this part of a slot's fair share of what is left.
const SHARE: u64 = 2;
/// The same where slots may be of unlike speed: small enough for one that is lost late, and for a slot four times
/// slower than others; large enough that starting and decoding up to the first frame cost little.
const SHARE_OF_UNLIKE: u64 = 3;

/// More slots than one small machine has may be of unlike speed.
pub(crate) fn are_unlike(slots: u64) -> bool {
    slots > 4
}

/// What the cutting looks at.
pub(crate) struct Cutter<'a> {
    pub video: &'a VideoTrack,
    pub map: &'a FrameMap,
    pub grid: &'a Grid,
    /// Where decoding may begin.
    pub starts: DecodeStarts,
    /// How much more or less work the film is here than there.
    pub effort: Effort,
    /// Nanoseconds of a slot for an output frame at all rungs.
    pub encode_ns: u64,
    /// Nanoseconds of a slot to decode a source frame.
    pub decode_ns: u64,
}

impl Cutter<'_> {
    /// Cuts the whole film. Every segment is in exactly one chunk; one of several costs no more than `most_ms`, but where
    /// it cannot be cut.
    pub(crate) fn cut(&self, target: Target, most_ms: Option<u64>) -> Vec<Cut> {
        let most_ms = most_ms.unwrap_or(u64::MAX);
        let lines = self.grid.len();
        let mut left_ns: u64 = (0..lines).map(|s| self.segment_ns(s)).sum();
        let mut cuts = Vec::new();
        let mut first = 0;
        while first < lines {
            let end = match target {
                Target::Duration(ticks) => {
                    let span = |s: usize| (self.grid.bounds[s + 1] - self.grid.bounds[s]).max(1) as u64;
                    self.best_end(first, ticks.max(1) as u64, span, most_ms)
                }
                Target::Slots(slots) => {
                    let share =
                        fair_ns(left_ns, slots) / if are_unlike(slots) { SHARE_OF_UNLIKE } else { SHARE };
                    let share = share.clamp(LEAST_MS * 1_000_000, MOST_MS * 1_000_000);
                    self.best_end(first, share, |s| self.segment_ns(s), most_ms)
                }
            };
            let share_ms = match target {
                Target::Slots(slots) => Some(fair_ns(left_ns, slots) / 1_000_000),
                Target::Duration(_) => None,
            };
            cuts.push(Cut { first, end, cost_ms: self.cost_ms(first, end, self.encode_ns), share_ms });
            let ns: u64 = (first..end).map(|s| self.segment_ns(s)).sum();
            left_ns = left_ns.saturating_sub(ns);
            first = end;
        }
        cuts
    }

    /// Predicted cost in slot-milliseconds of segments `[first, end)`, where encoding an output frame takes `encode_ns`.
    pub(crate) fn cost_ms(&self, first: usize, end: usize, encode_ns: u64) -> u64 {
        let ns: u64 = (first..end).map(|s| self.work_ns(s, encode_ns)).sum();
        CHUNK_OVERHEAD_MS + (ns + self.preroll_ns(first)) / 1_000_000
    }

    /// The end of the chunk that begins at `first`: among the lines within a third of the wanted size, the one with
    /// the least decoding before it; of equals the nearest to the wanted size. None that would cost more than `most_ms`,
    /// where there is another.
    fn best_end(&self, first: usize, wanted: u64, size: impl Fn(usize) -> u64, most_ms: u64) -> usize {
        let lines = self.grid.len();
        let (mut sum, mut repeats) = (0u64, 0);
        let mut cost_ns = self.preroll_ns(first);
        let mut best: Option<(bool, u64, u64, usize)> = None;
        for end in first + 1..=lines {
            sum = sum.saturating_add(size(end - 1));
            repeats += self.repeats(end - 1);
            cost_ns = cost_ns.saturating_add(self.segment_ns(end - 1));
            let dear = CHUNK_OVERHEAD_MS + cost_ns / 1_000_000 > most_ms;
            if best.is_some() && (dear || repeats > MOST_REPEATS) {
                break;
            }
            let off = sum.abs_diff(wanted);
            let near = off <= wanted / 3;
            if best.is_some() && sum > wanted && !near {
                // the first line beyond still counts when nothing nearer can be cut
                if best.is_some_and(|b| b.0 || b.2 <= off) {
                    break;
                }
            }
            if !self.can_cut(end) {
                continue;
            }
            let preroll = if near && end < lines { self.preroll_ns(end) } else { 0 };
            let candidate = (near, preroll, off, end);
            let better = best.is_none_or(|b| match (candidate.0, b.0) {
                (true, false) => true,
                (false, true) => false,
                (true, true) => (candidate.1, candidate.2) < (b.1, b.2),
                (false, false) => candidate.2 < b.2,
            });
            if better {
                best = Some(candidate);
            }
        }
        best.map_or(lines, |b| b.3)
    }

    /// A chunk can begin at a segment whose first frame is shown there for the first time: a source frame belongs to
    /// one chunk.
    fn can_cut(&self, line: usize) -> bool {
        self.grid.first.get(line).is_none_or(|frame| self.map.is_first_showing(*frame))
    }

    fn repeats(&self, s: usize) -> usize {
        let (first, end) = self.grid.frames(s, self.map);
        (first..end).filter(|j| !self.map.is_first_showing(*j)).count()
    }

    fn segment_ns(&self, s: usize) -> u64 {
        self.work_ns(s, self.encode_ns)
    }

    fn work_ns(&self, s: usize, encode_ns: u64) -> u64 {
        let (first, end) = self.grid.frames(s, self.map);
        let source = |j: usize| self.map.source.get(j).copied().unwrap_or(self.video.frames.len() as u32);
        let decoded = u64::from(source(end).saturating_sub(source(first)));
        let even_ns = (end - first) as u64 * encode_ns + decoded * self.decode_ns;
        even_ns / 1_000 * self.effort.permille(source(first), source(end))
    }

    /// Frames decoded and thrown away before a chunk that begins with this segment.
    fn preroll_ns(&self, s: usize) -> u64 {
        let frame = self.source_frame(s);
        let from = self.starts.before(frame, self.video).map_or(0, |start| start.frame);
        u64::from(frame.saturating_sub(from)) * self.decode_ns
    }

    /// The first source frame of a segment.
    pub(crate) fn source_frame(&self, s: usize) -> u32 {
        let frame = self.grid.first.get(s).and_then(|j| self.map.source.get(*j));
        frame.copied().unwrap_or(self.video.frames.len() as u32)
    }

    /// Where the decoder begins for a chunk whose first segment is `s`; `None`: at the start of the source.
    pub(crate) fn seek(&self, s: usize) -> Option<Ticks> {
        self.starts.before(self.source_frame(s), self.video).map(|start| Ticks(start.pts))
    }
}

fn fair_ns(left_ns: u64, slots: u64) -> u64 {
    left_ns / slots.max(1)
}

/// A keyframe decoding may begin at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DecodeStart {
    pts: i64,
    frame: u32,
    /// Proven closed: nothing after it needs anything before it.
    closed: bool,
}

/// The keyframes of a source in order of presentation.
pub(crate) struct DecodeStarts {
    keys: Vec<DecodeStart>,
}

impl DecodeStarts {
    /// Takes the index's keyframes. An IDR counts as proven only where the index was read from an MP4's tables:
    /// elsewhere seeking lands by rounded or interpolated times, and one keyframe earlier costs little.
    pub(crate) fn of(index: &SourceIndex, video: &VideoTrack) -> Self {
        let exact = index.method == IndexMethod::Mp4Tables;
        let start = |k: &KeyFrame| DecodeStart {
            pts: k.pts.0,
            frame: k.frame,
            closed: exact && k.kind == KeyKind::Idr,
        };
        let mut keys: Vec<_> = video.keys.iter().map(start).collect();
        keys.sort_by_key(|k| (k.pts, k.frame));
        Self { keys }
    }

    /// Where to begin so that `frame` and all after it come out whole: at the keyframe not after it if that is proven
    /// closed, else at the one before that. `None` is the start of the source, also when that keyframe is the first.
    fn before(&self, frame: u32, video: &VideoTrack) -> Option<DecodeStart> {
        let pts = video.frames.get(frame as usize)?;
        let wanted = self.keys.partition_point(|k| k.pts <= pts).checked_sub(1)?;
        let start = if self.keys[wanted].closed { wanted } else { wanted.checked_sub(1)? };
        (start > 0).then(|| self.keys[start])
    }
}
