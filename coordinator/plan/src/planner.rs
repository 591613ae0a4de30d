//! The plan: every decision of the other modules put together into specs that leave a worker nothing to decide.
//!
//! Input is what the index and the analysis say, the ladder, the submitter's options and the slots hint. The hint and
//! the wanted chunk size decide who encodes what; they never change a boundary, a time, a name or a playlist.

use crate::audio::{self, Wish, ranges};
use crate::film::Film;
use crate::framemap::{FrameMap, MapNeeds};
use crate::grid::{self, GopRule, Grid};
use crate::ladder::{FittedLadder, gop_frames_full_rate};
use crate::limits::{self, LIMITS};
use crate::timeline::{Timeline, place};
use crate::{PlanError, cost, picture, wish, words};
use reelmill_common::capability::Needs;
use reelmill_common::hash::Canonical;
use reelmill_common::index::{SourceId, SourceIndex, VideoTrack};
use reelmill_common::job::{JobOptions, SegmentAlignment};
use reelmill_common::ladder::settings_hash;
use reelmill_common::outcome::AnalyseReport;
use reelmill_common::plan::{AudioRendition, Plan, PlanReport, PlannedChunk, Sizing, VideoRendition};
use reelmill_common::spec::{AnalyseSpec, AudioChunk, ChunkMedia, ChunkSpec, ExactTime, RECIPE};
use reelmill_common::time::{self, Timebase};
use std::num::NonZeroU32;

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
    /// For what cluster.
    pub sizing: Sizing,
}

/// Wanted distance of IDRs in milliseconds.
const GOP_MS: i64 = 2_000;

/// What has to be found out by a worker before the plan can be made: the decoder configuration of every rung, in
/// ladder order, the peak of every downmix, in the order of the renditions, and where ranges of sound can meet.
///
/// The encode timebase is `1/den` of the source's: the worker multiplies a numerator out before it encodes.
///
/// # Errors
/// Those of [`plan`], for a source whose sound may have to be cut: that depends on what the plan will cost.
pub fn analyse_spec(
    index: &SourceIndex,
    ladder: &FittedLadder,
    options: &JobOptions,
    sizing: Sizing,
) -> Result<AnalyseSpec, PlanError> {
    let den = index
        .video
        .as_ref()
        .map_or(NonZeroU32::MIN, |v| NonZeroU32::new(v.timebase.den()).unwrap_or(NonZeroU32::MIN));
    let (wishes, _) = audio::wishes(index);
    let mut joins = Vec::new();
    let rule = ranges::Rule::new(options, sizing);
    if ranges::possible(&wishes, rule) {
        // costs depend on no finding: any that are well formed will do
        let analyses = AnalyseReport {
            avcc: ladder.rungs.iter().map(|_| vec![1; 7]).collect(),
            peaks: wishes.iter().filter(|w| w.needs_peak).map(|_| 0).collect(),
            joins: Vec::new(),
        };
        let input = PlanInput { index, analyses: &analyses, ladder, options, sizing };
        let draft = continuous(&input, &wishes, Vec::new())?;
        joins.extend(ranges::wanted(&draft, &wishes, rule).joins.into_iter().map(|j| j.probe));
    }
    Ok(AnalyseSpec {
        source: index.source,
        demuxer: index.demuxer,
        encode_timebase: Timebase::hz(den),
        rungs: ladder.rungs.iter().map(|r| r.settings.clone()).collect(),
        downmixes: wishes
            .iter()
            .filter(|w| w.needs_peak)
            .map(|w| (w.track.stream, w.settings.clone()))
            .collect(),
        joins,
        round: 1,
    })
}

/// Decides everything: timeline, frame map, grid, renditions, chunks.
///
/// # Errors
/// Sources beyond the limits, options out of range, and an analysis that does not fit [`analyse_spec`].
pub fn plan(input: &PlanInput<'_>) -> Result<Plan, PlanError> {
    let (wishes, audio_notes) = audio::wishes(input.index);
    let mut plan = continuous(input, &wishes, audio_notes)?;
    let rule = ranges::Rule::new(input.options, input.sizing);
    let wanted = if ranges::possible(&wishes, rule) {
        ranges::wanted(&plan, &wishes, rule)
    } else {
        ranges::Wanted::default()
    };
    ranges::split(&mut plan, &wanted, rule, &input.analyses.joins)?;
    words::summary(&mut plan);
    Ok(plan)
}

/// The plan with one encode for each audio rendition.
fn continuous(input: &PlanInput<'_>, wishes: &[Wish<'_>], notes: Vec<String>) -> Result<Plan, PlanError> {
    limits::check(input.index, &LIMITS)?;
    wish::check_options(input.options)?;
    check_analyses(input, wishes)?;
    let mut report = PlanReport {
        decisions: input.index.notes.clone(),
        source_bytes: input.index.bytes,
        ..PlanReport::default()
    };
    let ignored = &input.index.ignored;
    report
        .decisions
        .extend(ignored.iter().map(|t| format!("not carried: stream {}, {}: {}", t.stream, t.what, t.why)));
    report.decisions.extend(input.ladder.notes.iter().cloned());
    let mut plan = match &input.index.video {
        Some(video) => plan_film(input, video, wishes, report)?,
        None => plan_sound_only(input, wishes, report)?,
    };
    plan.report.decisions.extend(notes);
    add_sound(&mut plan, input, wishes);
    limits::at_most("segments", plan.grid.len() as u64, LIMITS.segments)?;
    Ok(plan)
}

fn check_analyses(input: &PlanInput<'_>, wishes: &[Wish<'_>]) -> Result<(), PlanError> {
    let bad = |what: String| Err(PlanError::BadReport { what });
    let (avcc, rungs) = (input.analyses.avcc.len(), input.ladder.rungs.len());
    if avcc != rungs {
        return bad(format!("the analysis holds {avcc} decoder configurations for {rungs} rungs"));
    }
    if (rungs == 0) != input.index.video.is_none() {
        return bad("the ladder was fitted to another source".to_owned());
    }
    if let Some(n) = input.analyses.avcc.iter().position(|a| !is_avcc(a)) {
        return bad(format!("the decoder configuration of rung {} is no avcC", input.ladder.rungs[n].name));
    }
    let (peaks, downmixes) = (input.analyses.peaks.len(), wishes.iter().filter(|w| w.needs_peak).count());
    if peaks != downmixes {
        return bad(format!("the analysis holds {peaks} peaks for {downmixes} downmixes"));
    }
    Ok(())
}

/// ISO/IEC 14496-15: version 1, profile, compatibility, level, lengths, SPS, PPS.
pub(crate) fn is_avcc(record: &[u8]) -> bool {
    record.len() >= 7 && record[0] == 1
}

fn plan_film(
    input: &PlanInput<'_>,
    video: &VideoTrack,
    wishes: &[Wish<'_>],
    mut report: PlanReport,
) -> Result<Plan, PlanError> {
    let timeline = Timeline::of(video);
    let options = input.options;
    let even = input.ladder.rungs.iter().any(|r| r.settings.every > 1);
    let line = grid::line_ticks(&timeline, options.segment_ms);
    let audio_end = wishes.iter().map(|w| timeline.place(w.track.end.0, w.track.timebase)).max();
    let map = FrameMap::of(video, &timeline, MapNeeds { line, audio_end, even });
    let second = timeline.timescale();
    limits::at_most("seconds", (map.end / second) as u64, LIMITS.seconds)?;
    let grid = match options.segments {
        SegmentAlignment::Grid => Grid::fixed(&map, line, even, second),
        SegmentAlignment::Source => Grid::at_keys(&map, &video.keys, line, even, second),
    };
    let gop = GopRule {
        frames: gop_frames_full_rate(&timeline, options.segment_ms),
        ticks: second * GOP_MS / 1000,
        even,
    };
    let idrs = grid::idr_frames(&map, &grid, gop);
    let (recipe, picture_notes) = picture::recipe(video, &timeline);
    let renditions = video_renditions(input, &map, &idrs, &timeline, &grid.bounds);
    let film =
        Film { index: input.index, video, timeline: &timeline, map: &map, grid: &grid, idrs: &idrs, recipe };
    let (chunks, slots_note) = film.chunks(input, &renditions);
    report.source_frames = video.frames.len() as u64;
    report.repeated_frames = map.repeated;
    report.dropped_frames = map.dropped;
    report.decisions.extend(words::timeline(&timeline, &map, &grid, options));
    report.decisions.extend(picture_notes);
    report.decisions.push(slots_note);
    Ok(Plan {
        revision: 1,
        parent: None,
        source: input.index.source,
        zero: timeline.exact_zero(),
        timebase: timeline.out,
        duration: map.end,
        grid: grid.bounds.clone(),
        video: renditions,
        audio: Vec::new(),
        chunks,
        report,
    })
}

/// A rendition's folder. Its hash holds all that decides what lies in it and nothing else: the recipe, the source,
/// the settings, the binding and the boundaries; not the chunks, which say only who makes it.
pub(crate) fn folder(
    name: &str,
    settings: impl FnOnce(&mut Canonical),
    binding: &[u8],
    source: SourceId,
    bounds: &[i64],
) -> String {
    let write = |c: &mut Canonical| {
        settings(c);
        c.num(RECIPE.into()).num(bounds.len() as u64);
        for bound in bounds {
            c.int(*bound);
        }
    };
    format!("{name}-{}", settings_hash(write, binding, source))
}

fn video_renditions(
    input: &PlanInput<'_>,
    map: &FrameMap,
    idrs: &[usize],
    timeline: &Timeline,
    bounds: &[i64],
) -> Vec<VideoRendition> {
    let bound = input.ladder.rungs.iter().zip(&input.analyses.avcc);
    bound
        .map(|(rung, avcc)| {
            let every = u64::from(rung.settings.every.max(1));
            let frames = (map.times.len() as u64).div_ceil(every);
            VideoRendition {
                name: rung.name.clone(),
                folder: folder(&rung.name, |c| rung.settings.canonical(c), avcc, input.index.source, bounds),
                settings: rung.settings.clone(),
                avcc: avcc.clone(),
                reorder_delay: grid::reorder_delay(map, idrs, rung.settings.every, timeline.timescale()),
                frames,
                frame_rate: frame_rate(timeline, map, frames, every),
            }
        })
        .collect()
}

/// Frames and seconds. Exact at a constant rate; the average to a thousandth otherwise.
fn frame_rate(timeline: &Timeline, map: &FrameMap, frames: u64, every: u64) -> (u64, u64) {
    if timeline.is_constant() {
        return timeline.rate.over(every).parts();
    }
    let ticks = map.end.max(1) as u128;
    let milli = (u128::from(frames) * timeline.timescale() as u128 * 1000 + ticks / 2) / ticks;
    let milli = u64::try_from(milli).unwrap_or(u64::MAX).max(1);
    let g = time::gcd(milli, 1000).max(1);
    (milli / g, 1000 / g)
}

fn plan_sound_only(
    input: &PlanInput<'_>,
    wishes: &[Wish<'_>],
    report: PlanReport,
) -> Result<Plan, PlanError> {
    let at = |ticks, timebase| ExactTime { ticks, timebase };
    let starts = wishes.iter().map(|w| at(w.track.first, w.track.timebase));
    let zero =
        starts.reduce(|a, b| if b.timebase.cmp_at(b.ticks, a.timebase, a.ticks).is_lt() { b } else { a });
    let rate = wishes.first().and_then(|w| NonZeroU32::new(w.settings.sample_rate));
    let (Some(zero), Some(rate)) = (zero, rate) else {
        return Err(PlanError::NothingToEncode { ignored: "it holds no track at all".to_owned() });
    };
    let out = Timebase::hz(rate);
    let ends = wishes.iter().map(|w| place(zero, at(w.track.end, w.track.timebase), out));
    let duration = ends.max().unwrap_or(0).max(1);
    limits::at_most("seconds", duration as u64 / u64::from(rate.get()), LIMITS.seconds)?;
    Ok(Plan {
        revision: 1,
        parent: None,
        source: input.index.source,
        zero,
        timebase: out,
        duration,
        grid: Vec::new(),
        video: Vec::new(),
        audio: Vec::new(),
        chunks: Vec::new(),
        report,
    })
}

/// Segment boundaries for sound: the picture's, or where there is none a fixed grid whose last segment takes a tail
/// of under a second.
fn sound_bounds(plan: &Plan, segment_ms: u32) -> Vec<i64> {
    if !plan.grid.is_empty() {
        return plan.grid.clone();
    }
    let second = i64::from(plan.timebase.den());
    let line = (second * i64::from(segment_ms) / 1000).max(1);
    let inner = (1..).map(|k| k * line).take_while(|t| plan.duration - t >= second);
    std::iter::once(0).chain(inner).chain(std::iter::once(plan.duration)).collect()
}

/// Adds the audio renditions and their chunks, which come first: they are the longest single pieces of work.
fn add_sound(plan: &mut Plan, input: &PlanInput<'_>, wishes: &[Wish<'_>]) {
    let bounds = sound_bounds(plan, input.options.segment_ms);
    let timescale = plan.timebase.den();
    let mut peaks = input.analyses.peaks.iter();
    let mut chunks = Vec::new();
    for (number, wish) in wishes.iter().enumerate() {
        let peak = if wish.needs_peak { peaks.next().copied().unwrap_or(0) } else { 0 };
        let settings = audio::with_gain(&wish.settings, peak);
        if settings != wish.settings {
            plan.report.decisions.push(words::gain(wish.track.stream, peak));
        }
        let asc = audio::audio_specific_config(&settings);
        let total_samples = audio::rescale(plan.duration, timescale, settings.sample_rate).max(1);
        let rendition = AudioRendition {
            folder: folder(&wish.name, |c| settings.canonical(c), &asc, input.index.source, &bounds),
            name: wish.name.clone(),
            group: wish.group.to_owned(),
            language: wish.language.clone(),
            title: wish.title.clone(),
            is_default: wish.is_default,
            segments: audio::segments(&bounds, timescale, settings.sample_rate, total_samples),
            settings,
            asc,
            total_samples,
        };
        let mut chunk = AudioChunk {
            number: number as u32,
            stream: wish.track.stream,
            timebase: wish.track.timebase,
            zero: plan.zero,
            folder: rendition.folder.clone(),
            settings: rendition.settings.clone(),
            total_samples,
            packets: (0, audio::packets(total_samples)),
            segments: rendition.segments.clone(),
            asc: rendition.asc.clone(),
            measure_loudness: rendition.group == audio::DEFAULT_GROUP,
            range: None,
        };
        chunk.range = audio::ranges::whole(&chunk, wish.track);
        chunks.push(PlannedChunk {
            spec: ChunkSpec {
                source: input.index.source,
                demuxer: input.index.demuxer,
                media: ChunkMedia::Audio(chunk),
            },
            cost_ms: cost::audio_ms(total_samples, rendition.settings.sample_rate),
            needs: Needs { family: None, memory_mib: cost::AUDIO_MEMORY_MIB },
        });
        plan.audio.push(rendition);
    }
    chunks.append(&mut plan.chunks);
    plan.chunks = chunks;
}
