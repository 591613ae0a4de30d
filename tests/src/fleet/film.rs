//! The film: two hours of 1080p24, planned by the real planner, with the cost of each chunk as a worker would find it.
//!
//! The planner predicts costs from pixels. What a chunk costs here is made of measured costs of segments
//! (`segments.txt`), so predictions are off as they are in life: by content, and by what each part of a chunk decodes
//! again.

use anyhow::{Context as _, Result, ensure};
use reelmill_common::Sha256;
use reelmill_common::index::{
    AudioTrack, Colour, Demuxer, FieldOrder, IndexMethod, KeyFrame, KeyKind, Light, Rotation, SampleGrid,
    SourceId, SourceIndex, VideoTrack,
};
use reelmill_common::job::JobOptions;
use reelmill_common::ladder::LadderChoice;
use reelmill_common::outcome::AnalyseReport;
use reelmill_common::plan::{CostClass, PlannedChunk, RungSet, Sizing};
use reelmill_common::spec::{ChunkMedia, VideoChunk, VideoRung};
use reelmill_common::time::{TickSeq, Ticks, Timebase};
use reelmill_coordinator_core::{CoordinatorConfig, SpecRef};
use reelmill_plan::{PlanInput, analyse_spec, ladder};

/// CPU milliseconds of each segment of a real film, all rungs, without start-up: `bench/RESULTS.md` says how they were
/// taken.
const MEASURED: &str = include_str!("segments.txt");
/// Bytes of each of those segments in the film's source: what the planner tells costs by.
const BYTES: &str = include_str!("bytes.txt");
/// Of a segment's cost, the part that every ffmpeg that makes some of its rungs pays: decoding, permille (measured:
/// `bench/RESULTS.md`, "Where the time goes").
const DECODE_PERMILLE: u64 = 58;
/// Starting ffmpeg, opening the source, reading back: measured, milliseconds.
const START_MS: u64 = 200;
/// Length of the film, seconds.
const SECONDS: u32 = 7_200;
/// Frames a second, and in a segment of 4 s.
const FPS: u32 = 24;
const SEGMENT_FRAMES: u64 = 96;

/// A planned film.
#[derive(Clone, Debug)]
pub struct Film {
    /// Its chunks, as the control machine sees them.
    pub specs: Vec<SpecRef>,
    /// What each of them costs a worker of speed 1, milliseconds, in the same order.
    pub cost_ms: Vec<u64>,
    /// The same, where the encoder build takes twice as long for the largest rung as anybody predicts.
    pub odd_ms: Vec<u64>,
    /// What the film costs a worker of speed 1 that starts once and decodes once, milliseconds: no plan changes it.
    pub work_ms: u64,
}

impl Film {
    /// Planned for a fleet of so many slots.
    pub fn planned(slots_hint: u32) -> Result<Self> {
        Self::lasting(SECONDS, slots_hint)
    }

    /// One of so many seconds.
    pub fn lasting(seconds: u32, slots_hint: u32) -> Result<Self> {
        Self::sized(seconds, Sizing::alone(slots_hint))
    }

    /// One of so many seconds, of a tenant that shares the slots with others.
    pub fn shared(seconds: u32, slots_hint: u32) -> Result<Self> {
        let most_ms = CoordinatorConfig::default().chunk_cost_max_ms;
        Self::sized(seconds, Sizing { slots_hint, chunk_cost_max_ms: Some(most_ms) })
    }

    /// The same film, of whose chunks nobody knows which are alike: nothing is learned of builds.
    pub fn unclassed(&self) -> Self {
        let specs = self.specs.iter().map(|s| SpecRef { class: CostClass::NONE, ..*s }).collect();
        Self { specs, ..self.clone() }
    }

    fn sized(seconds: u32, sizing: Sizing) -> Result<Self> {
        let index = index(seconds)?;
        let options = JobOptions::default();
        let ladder = ladder::fit(&index, &LadderChoice::Default, &options)?;
        let spec = analyse_spec(&index, &ladder, &options, sizing)?;
        let analyses = AnalyseReport {
            avcc: spec
                .rungs
                .iter()
                .map(|r| vec![1, 100, 0, r.level, 0xFF, 0xE1, 0, 1, 0x67, 1, 0, 1, 0x68])
                .collect(),
            peaks: vec![10_000; spec.downmixes.len()],
            joins: spec.joins.iter().map(|j| j.segments.first().map_or(0, |s| s.first_packet)).collect(),
        };
        let plan = reelmill_plan::plan(&PlanInput {
            index: &index,
            analyses: &analyses,
            ladder: &ladder,
            options: &options,
            sizing,
        })?;
        let segments = numbers(MEASURED)?;
        let all: u64 =
            plan.video.iter().map(|v| pixels(v.settings.width, v.settings.height, v.settings.every)).sum();
        ensure!(all > 0, "the plan has no picture");
        let largest = plan.video.first().map_or(0, |v| v.settings.width);
        let cost = |chunk: &PlannedChunk, times: u64| match &chunk.spec.media {
            ChunkMedia::Video(video) => {
                let of = |r: &VideoRung| {
                    let times = if r.settings.width == largest { times } else { 1 };
                    times * pixels(r.settings.width, r.settings.height, r.settings.every)
                };
                video_ms(video, &segments, (video.rungs.iter().map(of).sum(), all))
            }
            ChunkMedia::Audio(_) => chunk.cost_ms,
        };
        let sound: u64 = plan
            .audio
            .iter()
            .map(|a| a.total_samples * 1_000 / (u64::from(a.settings.sample_rate) * 45))
            .sum();
        let picture: u64 = (0..plan.grid.len().saturating_sub(1)).map(|s| segments[s % segments.len()]).sum();
        Ok(Self {
            cost_ms: plan.chunks.iter().map(|c| cost(c, 1)).collect(),
            odd_ms: plan.chunks.iter().map(|c| cost(c, 2)).collect(),
            work_ms: START_MS + picture + sound,
            specs: plan
                .chunks
                .iter()
                .map(|c| SpecRef {
                    id: c.spec.spec_id(),
                    cost_ms: c.cost_ms,
                    needs: c.needs,
                    rungs: RungSet::NONE,
                    class: reelmill_plan::cost_class(&plan, &c.spec),
                })
                .collect(),
        })
    }
}

/// A video chunk: its start, what it decodes before its first frame, and its rungs' share of its segments: so much of all.
fn video_ms(chunk: &VideoChunk, segments: &[u64], (mine, all): (u64, u64)) -> u64 {
    let permille = DECODE_PERMILLE + (1_000 - DECODE_PERMILLE) * mine / all;
    let of = |number: u32| segments[(number as usize - 1) % segments.len()];
    let work: u64 = chunk.segments.iter().map(|s| of(s.number.0)).sum();
    let first = chunk.segments.first().map_or(1, |s| s.number.0);
    let begins = chunk.frames.source.get(0).unwrap_or(0);
    let before = chunk.seek.map_or(0, |seek| begins - seek.0).max(0) as u64 / STEP as u64;
    START_MS + work * permille / 1_000 + of(first) * DECODE_PERMILLE * before / SEGMENT_FRAMES / 1_000
}

fn pixels(width: u32, height: u32, every: u8) -> u64 {
    u64::from(width) * u64::from(height) / u64::from(every.max(1))
}

fn numbers(text: &str) -> Result<Vec<u64>> {
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    let all: Vec<u64> = lines
        .flat_map(str::split_whitespace)
        .map(|n| n.parse().context("a table of the fleet's film"))
        .collect::<Result<_>>()?;
    ensure!(!all.is_empty(), "a table of the fleet's film holds no numbers");
    Ok(all)
}

/// Ticks of a frame at a timescale of 12,288.
const STEP: i64 = 512;

/// A closed GOP of 1 to 5 s, as scene cuts make them.
fn index(seconds: u32) -> Result<SourceIndex> {
    let frames = TickSeq::Regular { first: 0, step: STEP, count: seconds * FPS };
    let mut keys = Vec::new();
    let bytes = numbers(BYTES)?;
    let offset = |frame: u32| {
        let (whole, part) = (u64::from(frame) / SEGMENT_FRAMES, u64::from(frame) % SEGMENT_FRAMES);
        let of = |s: u64| bytes[s as usize % bytes.len()];
        (0..whole).map(of).sum::<u64>() + of(whole) * part / SEGMENT_FRAMES
    };
    let (mut at, mut turn) = (0u32, 0u32);
    while at < seconds * FPS {
        let (pts, offset) = (Ticks(i64::from(at) * STEP), Some(offset(at)));
        keys.push(KeyFrame { frame: at, pts, kind: KeyKind::Idr, offset });
        turn = (turn * 73 + 41) % 97;
        at += FPS + turn;
    }
    let timebase = |den| Timebase::new(1, den).context("a timebase");
    let video = VideoTrack {
        stream: 0,
        codec: "h264".to_owned(),
        timebase: timebase(12_288)?,
        width: 1920,
        height: 1080,
        sar: (1, 1),
        rotation: Rotation::default(),
        bit_depth: Some(8),
        colour: Colour { primaries: Some(1), transfer: Some(1), matrix: Some(1), full_range: Some(false) },
        light: Light::default(),
        field_order: FieldOrder::Progressive,
        language: None,
        end: Some(Ticks(i64::from(seconds * FPS) * STEP)),
        frames,
        keys,
    };
    let sound = AudioTrack {
        stream: 1,
        codec: "aac".to_owned(),
        timebase: timebase(48_000)?,
        sample_rate: 48_000,
        channels: 2,
        layout: None,
        language: None,
        title: None,
        is_default: false,
        first: Ticks(0),
        end: Ticks(i64::from(seconds) * 48_000),
        gaps: Vec::new(),
        grid: Some(SampleGrid { origin: 0, step: 1 }),
    };
    Ok(SourceIndex {
        source: SourceId(Sha256::of(&seconds.to_be_bytes())),
        bytes: 4 << 30,
        demuxer: Demuxer::Mov,
        method: IndexMethod::Mp4Tables,
        video: Some(video),
        audio: vec![sound],
        ignored: Vec::new(),
        notes: Vec::new(),
    })
}
