//! The picture's chunks: who encodes which segments at which rungs, and all that their workers need for it.
//!
//! Cutting and costs come from [`Cutter`], splitting by rung from [`tail`]; here they become specs.

use crate::chunks::{Cut, Cutter, DecodeStarts, Target};
use crate::effort::Effort;
use crate::framemap::FrameMap;
use crate::grid::Grid;
use crate::planner::PlanInput;
use crate::timeline::Timeline;
use crate::{cost, tail, words};
use reelmill_common::SegmentNumber;
use reelmill_common::capability::Needs;
use reelmill_common::index::{SourceIndex, VideoTrack};
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::plan::{PlannedChunk, VideoRendition};
use reelmill_common::rungs::{RungLists, Rungs};
use reelmill_common::spec::{
    ChunkMedia, ChunkSpec, FrameTable, PictureRecipe, SegmentSpan, VideoChunk, VideoRung,
};
use reelmill_common::time::{TickRange, TickSeq, Ticks};

/// With no more slots than this a slot has many chunks, and it does not matter which of them are the costly ones. Chunks
/// of equal cost would even do harm: equal slots would get free at the same time, and what is urgent waits for one.
const FEW_SLOTS: u64 = 32;

/// What video chunks are made of.
pub(crate) struct Film<'a> {
    pub index: &'a SourceIndex,
    pub video: &'a VideoTrack,
    pub timeline: &'a Timeline,
    pub map: &'a FrameMap,
    pub grid: &'a Grid,
    pub idrs: &'a [usize],
    pub recipe: PictureRecipe,
}

/// A cut, and the rungs of each chunk that it becomes.
struct Shared {
    cut: Cut,
    parts: Vec<Vec<usize>>,
}

impl Film<'_> {
    /// All chunks of the picture, and why they are as they are.
    pub(crate) fn chunks(
        &self,
        input: &PlanInput<'_>,
        renditions: &[VideoRendition],
    ) -> (Vec<PlannedChunk>, String) {
        let slots = u64::from(input.sizing.slots_hint.max(1));
        let cutter = self.cutter(slots, renditions);
        let target = match input.options.chunk_ms {
            Some(ms) => Target::Duration(self.timeline.timescale().saturating_mul(ms.into()) / 1000),
            None => Target::Slots(slots),
        };
        let rung_ns: Vec<u64> =
            renditions.iter().map(|r| cost::encode_frame_ns(std::iter::once(&r.settings))).collect();
        let family = renditions.first().map(|r| r.settings.family);
        let most_ms = input.sizing.chunk_cost_max_ms;
        let all = shared_out(&cutter, target, slots, most_ms, &rung_ns);
        let mut chunks = Vec::new();
        let mut lists = RungLists::default();
        for Shared { cut, parts } in &all {
            for part in parts {
                let rungs = lists.shared(part.iter().map(|i| rung(&renditions[*i])).collect());
                let number = chunks.len() as u32;
                chunks.push(PlannedChunk {
                    cost_ms: part_ms(&cutter, *cut, part, &rung_ns),
                    ..self.planned(number, *cut, &cutter, family, rungs)
                });
            }
        }
        let cuts: Vec<Cut> = all.iter().map(|s| s.cut).collect();
        let split = all.iter().filter(|s| s.parts.len() > 1).count();
        let mut note = words::cuts(input, &cuts, split);
        if let Some(most_ms) = most_ms {
            let free = shared_out(&cutter, target, slots, None, &rung_ns);
            let ms =
                |s: &Shared| s.parts.iter().map(|p| part_ms(&cutter, s.cut, p, &rung_ns)).collect::<Vec<_>>();
            let instead_of: Vec<u64> = free.iter().flat_map(ms).collect();
            let costs: Vec<u64> = all.iter().flat_map(ms).collect();
            note += &words::bounded(most_ms, &costs, &instead_of);
        }
        (chunks, note)
    }

    fn cutter(&self, slots: u64, renditions: &[VideoRendition]) -> Cutter<'_> {
        Cutter {
            video: self.video,
            map: self.map,
            grid: self.grid,
            starts: DecodeStarts::of(self.index, self.video),
            effort: if slots > FEW_SLOTS { Effort::of(self.video) } else { Effort::default() },
            encode_ns: cost::encode_frame_ns(renditions.iter().map(|r| &r.settings)),
            decode_ns: cost::decode_frame_ns(self.video),
        }
    }

    /// A chunk; what it costs is not known here.
    fn planned(
        &self,
        number: u32,
        cut: Cut,
        cutter: &Cutter<'_>,
        family: Option<EncoderFamily>,
        rungs: Rungs,
    ) -> PlannedChunk {
        let memory_mib = cost::video_memory_mib(self.video, rungs.iter().map(|r| &r.settings));
        PlannedChunk {
            cost_ms: 0,
            needs: Needs { family, memory_mib },
            spec: ChunkSpec {
                source: self.index.source,
                demuxer: self.index.demuxer,
                media: ChunkMedia::Video(self.chunk(number, cut, cutter, rungs)),
            },
        }
    }

    fn chunk(&self, number: u32, cut: Cut, cutter: &Cutter<'_>, rungs: Rungs) -> VideoChunk {
        let (first, _) = self.grid.frames(cut.first, self.map);
        let (_, end) = self.grid.frames(cut.end - 1, self.map);
        // the first chunk begins with the film, also where frames before the first kept one would be left out
        let source = (cutter.source_frame(cut.first), cutter.source_frame(cut.end));
        let span = |s: usize| SegmentSpan {
            number: SegmentNumber(s as u32 + 1),
            range: TickRange::new(self.grid.bounds[s], self.grid.bounds[s + 1]),
        };
        let idrs = self.idrs.partition_point(|j| *j < first)..self.idrs.partition_point(|j| *j < end);
        VideoChunk {
            number,
            stream: self.video.stream,
            timebase: self.video.timebase,
            seek: cutter.seek(cut.first),
            trim: self.trim(source),
            frames: self.frames(source, (first, end)),
            first_output: first as u64,
            out_timebase: self.timeline.out,
            picture: self.recipe.clone(),
            segments: (cut.first..cut.end).map(span).collect(),
            idr: self.idrs[idrs].iter().map(|j| Ticks(self.map.times[*j])).collect(),
            rungs,
        }
    }

    fn trim(&self, source: (u32, u32)) -> TickRange {
        let frames = &self.video.frames;
        let after_last = frames.last().unwrap_or(0).saturating_add(1);
        let at = |n: u32| frames.get(n as usize).unwrap_or(after_last);
        TickRange::new(at(source.0), at(source.1))
    }

    fn frames(&self, source: (u32, u32), output: (usize, usize)) -> FrameTable {
        let mut copies = vec![0u8; (source.1 - source.0) as usize];
        for shown in &self.map.source[output.0..output.1] {
            if let Some(count) = copies.get_mut((shown - source.0) as usize) {
                *count = count.saturating_add(1);
            }
        }
        let identity = copies.iter().all(|c| *c == 1);
        let times = (source.0..source.1).filter_map(|n| self.video.frames.get(n as usize));
        FrameTable {
            source: TickSeq::from_sorted(times.collect()),
            copies: (!identity).then_some(copies),
            output: TickSeq::from_sorted(self.map.times[output.0..output.1].to_vec()),
        }
    }
}

/// Cuts the film and says which rungs of each cut are encoded together.
fn shared_out(
    cutter: &Cutter<'_>,
    target: Target,
    slots: u64,
    most_ms: Option<u64>,
    rung_ns: &[u64],
) -> Vec<Shared> {
    let cuts = cutter.cut(target, most_ms);
    let parts = tail::parts(&cuts, slots);
    let share = |(cut, parts): (Cut, u64)| {
        let cost_ms = |part: &[usize]| part_ms(cutter, cut, part, rung_ns);
        Shared { cut, parts: tail::bounded(rung_ns, parts, most_ms, cost_ms) }
    };
    cuts.into_iter().zip(parts).map(share).collect()
}

/// Predicted slot-milliseconds of some rungs of a cut.
fn part_ms(cutter: &Cutter<'_>, cut: Cut, part: &[usize], rung_ns: &[u64]) -> u64 {
    cutter.cost_ms(cut.first, cut.end, part.iter().map(|i| rung_ns[*i]).sum())
}

/// A rung as a chunk's spec names it.
pub(crate) fn rung(rendition: &VideoRendition) -> VideoRung {
    VideoRung {
        folder: rendition.folder.clone(),
        settings: rendition.settings.clone(),
        avcc: rendition.avcc.clone(),
        reorder_delay: rendition.reorder_delay,
    }
}
