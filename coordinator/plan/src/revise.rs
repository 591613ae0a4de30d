//! The next revision of a plan: some rungs bound to what another encoder build gives, because nobody gives any more what
//! they are bound to. Everything else stays as it is, and with it every spec whose commit is still good for something.
//!
//! One decoder configuration over each rung is the hard rule, so a rung that is bound anew is made anew, as a whole, in a
//! folder of its own: a folder's name holds the binding. A committed chunk stands for its other rungs, and a new chunk
//! beside it makes what is missing; an open chunk is replaced by one with the new binding. What committed chunks hold of
//! a folder that is no rendition's any more is not part of the package.
//!
//! What was committed may cease to count, because its worker was caught ([`replan`]). Of a plan that was revised, chunks
//! that stood for some of their rungs cannot be made again as they are: they hold the others as these were bound before.

use crate::film::rung;
use crate::planner::{self, folder};
use crate::{PlanError, cost};
use reelmill_common::SpecId;
use reelmill_common::capability::Needs;
use reelmill_common::index::VideoTrack;
use reelmill_common::outcome::AnalyseReport;
use reelmill_common::plan::{Plan, PlannedChunk, RungSet, VideoRendition};
use reelmill_common::rungs::{RungLists, Rungs};
use reelmill_common::spec::{AnalyseSpec, ChunkMedia, ChunkSpec, VideoChunk, VideoRung};
use reelmill_common::time::TickSeq;
use std::collections::BTreeSet;

/// Everything a revision depends on.
#[derive(Clone, Copy, Debug)]
pub struct RevisionInput<'a> {
    /// The plan as it is.
    pub plan: &'a Plan,
    /// The picture of its source.
    pub video: &'a VideoTrack,
    /// Specs that are committed, perhaps of earlier revisions, too.
    pub committed: &'a BTreeSet<SpecId>,
    /// Rungs in question.
    pub rungs: RungSet,
    /// What the work of [`rebind_spec`] found out.
    pub found: &'a AnalyseReport,
    /// By which encoder build, for people.
    pub by: &'a str,
}

/// A revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revised {
    /// The plan; the one of before when nothing is bound to anything else.
    pub plan: Plan,
    /// Rungs that are bound to something else than before.
    pub rebound: RungSet,
}

/// What has to be found out by a worker before rungs can be bound anew; `first` is what was asked for the first plan.
pub fn rebind_spec(first: &AnalyseSpec, rungs: RungSet, round: u32) -> AnalyseSpec {
    let wanted = first.rungs.iter().enumerate().filter(|(place, _)| rungs.has(*place));
    AnalyseSpec {
        source: first.source,
        demuxer: first.demuxer,
        encode_timebase: first.encode_timebase,
        rungs: wanted.map(|(_, settings)| settings.clone()).collect(),
        downmixes: Vec::new(),
        joins: Vec::new(),
        round,
    }
}

/// Which of a plan's rungs one of its chunks makes, and has to make as they are bound.
pub fn rungs_of(plan: &Plan, spec: &ChunkSpec) -> RungSet {
    let ChunkMedia::Video(chunk) = &spec.media else { return RungSet::NONE };
    let place = |r: &VideoRung| plan.video.iter().position(|v| v.folder == r.folder);
    RungSet::of(chunk.rungs.iter().filter_map(place))
}

/// Which rungs of `next` are bound to something else than in `plan`.
pub fn rebound(plan: &Plan, next: &Plan) -> RungSet {
    let pairs = plan.video.iter().zip(&next.video).enumerate();
    RungSet::of(pairs.filter(|(_, (old, new))| old.avcc != new.avcc).map(|(place, _)| place))
}

/// The next revision of a plan of which some of what was committed does not count any more: chunks that are open now hold
/// their rungs as these are bound, once each. The plan itself where they do so already; `why` is for people.
pub fn replan(plan: &Plan, video: &VideoTrack, committed: &BTreeSet<SpecId>, why: &str) -> Plan {
    let made = Chunks::of(&Base { plan, video, committed }, &plan.video);
    if made.chunks == plan.chunks {
        return plan.clone();
    }
    let mut next = Plan { revision: plan.revision + 1, parent: Some(plan.revision), ..plan.clone() };
    next.report.decisions.push(format!(
        "planned anew, each rung as it is bound now: {why}; {} committed chunks stand",
        made.kept
    ));
    next.chunks = made.chunks;
    next
}

/// Makes the next revision.
///
/// # Errors
/// [`PlanError::BadReport`] when what was found does not answer [`rebind_spec`].
pub fn revise(input: &RevisionInput<'_>) -> Result<Revised, PlanError> {
    let plan = input.plan;
    let places: Vec<usize> = (0..plan.video.len()).filter(|place| input.rungs.has(*place)).collect();
    let found = &input.found.avcc;
    if found.len() != places.len() || !found.iter().all(|avcc| planner::is_avcc(avcc)) {
        let what = format!("{} decoder configurations were found for {} rungs", found.len(), places.len());
        return Err(PlanError::BadReport { what });
    }
    let mut next = plan.clone();
    for (place, avcc) in places.iter().zip(found) {
        let rendition = &mut next.video[*place];
        rendition.avcc.clone_from(avcc);
        let settings = &rendition.settings;
        rendition.folder = folder(&rendition.name, |c| settings.canonical(c), avcc, plan.source, &plan.grid);
    }
    let rebound = rebound(plan, &next);
    if rebound.is_empty() {
        return Ok(Revised { plan: plan.clone(), rebound });
    }
    next.revision = plan.revision + 1;
    next.parent = Some(plan.revision);
    let base = Base { plan, video: input.video, committed: input.committed };
    let made = Chunks::of(&base, &next.video);
    let decision = words(input, &next, rebound, &made);
    let chunks = made.chunks;
    next.report.decisions.push(decision);
    next.chunks = chunks;
    Ok(Revised { plan: next, rebound })
}

fn words(input: &RevisionInput<'_>, next: &Plan, rebound: RungSet, made: &Chunks<'_>) -> String {
    let names = next.video.iter().enumerate().filter(|(place, _)| rebound.has(*place));
    let names: Vec<&str> = names.map(|(_, v)| v.name.as_str()).collect();
    let by = if input.by.is_empty() { "another encoder build" } else { input.by };
    format!(
        "{} bound anew, to what {by} gives: no worker gave any more what it was bound to; {} committed chunks stand, for \
         {} of them the rungs bound anew are encoded again",
        names.join(", "),
        made.kept,
        made.again
    )
}

/// What the chunks of the next revision are made from.
#[derive(Clone, Copy)]
struct Base<'a> {
    plan: &'a Plan,
    video: &'a VideoTrack,
    committed: &'a BTreeSet<SpecId>,
}

/// The chunks of the next revision, as they come together.
struct Chunks<'a> {
    video: &'a VideoTrack,
    next: &'a [VideoRendition],
    /// What is made already or by a chunk of the revision: folder and first segment. A rendition's chunks begin at the
    /// same segments in all revisions.
    covered: BTreeSet<(String, u32)>,
    lists: RungLists,
    chunks: Vec<PlannedChunk>,
    numbers: u32,
    kept: usize,
    again: usize,
}

impl<'a> Chunks<'a> {
    fn of(base: &Base<'a>, next: &'a [VideoRendition]) -> Self {
        let numbers = base.plan.chunks.iter().filter_map(|c| match &c.spec.media {
            ChunkMedia::Video(v) => Some(v.number + 1),
            ChunkMedia::Audio(_) => None,
        });
        let mut this = Self {
            video: base.video,
            next,
            covered: BTreeSet::new(),
            lists: RungLists::default(),
            chunks: Vec::new(),
            numbers: numbers.max().unwrap_or(0),
            kept: 0,
            again: 0,
        };
        let planned = base.plan.chunks.iter().map(|c| (c, base.committed.contains(&c.spec.spec_id())));
        let planned: Vec<(&PlannedChunk, bool)> = planned.collect();
        for (chunk, _) in planned.iter().filter(|(_, committed)| *committed) {
            if let ChunkMedia::Video(video) = &chunk.spec.media {
                let made = video.rungs.iter().filter(|r| next.iter().any(|v| v.folder == r.folder));
                this.covered.extend(made.map(|r| (r.folder.clone(), first_segment(video))));
            }
        }
        let stays: Vec<bool> =
            planned.iter().map(|(chunk, committed)| !committed && this.may_stay(&chunk.spec.media)).collect();
        for ((chunk, committed), stays) in planned.into_iter().zip(stays) {
            match &chunk.spec.media {
                _ if stays => this.chunks.push(chunk.clone()),
                ChunkMedia::Audio(_) => this.chunks.push(chunk.clone()),
                ChunkMedia::Video(video) if committed => this.beside(chunk, video),
                ChunkMedia::Video(video) => this.instead(chunk, video),
            }
        }
        this
    }

    /// An open chunk all of whose rungs are as they are bound now, and wanted, is left to whoever works on it.
    fn may_stay(&mut self, media: &ChunkMedia) -> bool {
        let ChunkMedia::Video(video) = media else { return false };
        let first = first_segment(video);
        let makes: Vec<(String, u32)> = video.rungs.iter().map(|r| (r.folder.clone(), first)).collect();
        let is_wanted = |made: &(String, u32)| {
            self.next.iter().any(|v| v.folder == made.0) && !self.covered.contains(made)
        };
        let stays = makes.iter().all(is_wanted);
        if stays {
            self.covered.extend(makes);
        }
        stays
    }

    /// A committed chunk stands if it makes anything of the package; what else its rungs need is made beside it.
    fn beside(&mut self, chunk: &PlannedChunk, video: &VideoChunk) {
        if video.rungs.iter().any(|r| self.next.iter().any(|v| v.folder == r.folder)) {
            self.chunks.push(chunk.clone());
            self.kept += 1;
        }
        let rungs = self.missing(video);
        if !rungs.is_empty() {
            let number = self.numbers;
            self.numbers += 1;
            self.again += 1;
            self.push(chunk, VideoChunk { number, rungs, ..video.clone() });
        }
    }

    /// An open chunk makes its rungs as they are bound now.
    fn instead(&mut self, chunk: &PlannedChunk, video: &VideoChunk) {
        let rungs = self.missing(video);
        if !rungs.is_empty() {
            self.push(chunk, VideoChunk { rungs, ..video.clone() });
        }
    }

    /// The rungs of a chunk that nobody makes yet in its range, as they are bound now.
    fn missing(&mut self, video: &VideoChunk) -> Rungs {
        let first = first_segment(video);
        let mut rungs = Vec::new();
        for old in &video.rungs {
            let named =
                |v: &&VideoRendition| old.folder.rsplit_once('-').is_some_and(|(name, _)| name == v.name);
            let Some(rendition) = self.next.iter().find(named) else { continue };
            if self.covered.insert((rendition.folder.clone(), first)) {
                rungs.push(rung(rendition));
            }
        }
        self.lists.shared(rungs.into())
    }

    fn push(&mut self, old: &PlannedChunk, video: VideoChunk) {
        let settings = || video.rungs.iter().map(|r| &r.settings);
        self.chunks.push(PlannedChunk {
            cost_ms: cost_ms(self.video, &video),
            needs: Needs {
                family: settings().map(|s| s.family).next(),
                memory_mib: cost::video_memory_mib(self.video, settings()),
            },
            spec: ChunkSpec { media: ChunkMedia::Video(video), ..old.spec.clone() },
        });
    }
}

fn first_segment(video: &VideoChunk) -> u32 {
    video.segments.first().map_or(0, |s| s.number.0)
}

/// Predicted cost of a chunk by what its spec says.
fn cost_ms(track: &VideoTrack, chunk: &VideoChunk) -> u64 {
    let begins = chunk.seek.map_or(0, |seek| place(&track.frames, seek.0));
    let before = place(&track.frames, chunk.trim.start.0).saturating_sub(begins);
    let decoded = (before + chunk.frames.source.len()) as u64 * cost::decode_frame_ns(track);
    let encode_ns = cost::encode_frame_ns(chunk.rungs.iter().map(|r| &r.settings));
    cost::CHUNK_OVERHEAD_MS + (decoded + chunk.frames.output.len() as u64 * encode_ns) / 1_000_000
}

/// How many frames are shown before a time.
fn place(frames: &TickSeq, time: i64) -> usize {
    let (mut low, mut high) = (0, frames.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if frames.get(middle).is_some_and(|t| t < time) { low = middle + 1 } else { high = middle }
    }
    low
}
