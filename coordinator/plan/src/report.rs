//! Plans for people: [`explain`] says why, [`dump`] says what, in a canonical text that golden tests compare.

use crate::words::seconds;
use reelmill_common::index::{Colour, Rotation};
use reelmill_common::ladder::AudioMix;
use reelmill_common::plan::{AudioRendition, Plan, PlannedChunk, VideoRendition};
use reelmill_common::spec::{AudioChunk, AudioSegment, ChunkMedia, FrameTable, PictureRecipe, VideoChunk};
use reelmill_common::time::TickSeq;
use std::fmt::Write as _;

/// Every decision in plain words, in the order they were made, and what became of the frames.
pub fn explain(plan: &Plan) -> Vec<String> {
    let r = &plan.report;
    let mut out = r.decisions.clone();
    if !plan.video.is_empty() {
        out.push(format!(
            "frames: {} in the source, {} shown again, {} left out",
            r.source_frames, r.repeated_frames, r.dropped_frames
        ));
    }
    out
}

/// The whole plan as text: the same plan gives the same text, and a person can review it. Long lists are shown by
/// their ends.
pub fn dump(plan: &Plan) -> String {
    let mut out = String::new();
    // writing to a String cannot fail
    let _ = write_plan(&mut out, plan);
    out
}

fn write_plan(out: &mut String, plan: &Plan) -> std::fmt::Result {
    writeln!(out, "revision {} parent {:?}", plan.revision, plan.parent)?;
    writeln!(out, "zero {} x {} s", plan.zero.ticks.0, plan.zero.timebase)?;
    let length = seconds(plan.duration, plan.timebase);
    writeln!(out, "timeline {} s ticks, duration {} = {length} s", plan.timebase, plan.duration)?;
    writeln!(out, "grid {}", listed(&plan.grid))?;
    plan.video.iter().try_for_each(|v| video(out, v))?;
    plan.audio.iter().try_for_each(|a| audio(out, a))?;
    plan.chunks.iter().try_for_each(|c| chunk(out, c))?;
    writeln!(out, "why")?;
    explain(plan).iter().try_for_each(|d| writeln!(out, "  {d}"))
}

fn video(out: &mut String, v: &VideoRendition) -> std::fmt::Result {
    let s = &v.settings;
    writeln!(out, "video {} in {}", v.name, v.folder)?;
    writeln!(
        out,
        "  {}x{} every {} frames {} rate {}/{} delay {}",
        s.width, s.height, s.every, v.frames, v.frame_rate.0, v.frame_rate.1, v.reorder_delay
    )?;
    writeln!(
        out,
        "  {} {} crf {}.{} max {} kbit/s buffer {} kbit level {} refs {} bframes {} lookahead {} gop {} threads {}{} {}",
        s.family.name(),
        s.preset.name(),
        s.crf_tenths / 10,
        s.crf_tenths % 10,
        s.max_rate_kbps,
        s.buffer_kbit,
        s.level,
        s.refs,
        s.bframes,
        s.lookahead,
        s.gop_frames,
        s.threads,
        if s.cpu_independent { " cpu-independent" } else { "" },
        s.colour.name()
    )
}

fn audio(out: &mut String, a: &AudioRendition) -> std::fmt::Result {
    let s = &a.settings;
    let default = if a.is_default { " default" } else { "" };
    writeln!(out, "audio {} in {}", a.name, a.folder)?;
    writeln!(out, "  group {} language {} title {:?}{default}", a.group, a.language, a.title)?;
    writeln!(
        out,
        "  {} Hz {} channels {} kbit/s asc {}",
        s.sample_rate,
        s.channels,
        s.bit_rate_kbps,
        hex(&a.asc)
    )?;
    if let AudioMix::Matrix(rows) = &s.mix {
        rows.iter().try_for_each(|row| writeln!(out, "  mix {row:?}"))?;
    }
    writeln!(out, "  samples {} segments {}", a.total_samples, packets(&a.segments))
}

fn chunk(out: &mut String, c: &PlannedChunk) -> std::fmt::Result {
    match &c.spec.media {
        ChunkMedia::Video(v) => video_chunk(out, v)?,
        ChunkMedia::Audio(a) => audio_chunk(out, a)?,
    }
    let family = c.needs.family.map_or("no encoder", |f| f.name());
    writeln!(out, "  cost {} ms, needs {family}, {} MiB", c.cost_ms, c.needs.memory_mib)
}

fn video_chunk(out: &mut String, v: &VideoChunk) -> std::fmt::Result {
    let seek = v.seek.map_or("start".to_owned(), |s| s.0.to_string());
    writeln!(out, "chunk v{} stream {} decode from {seek}", v.number, v.stream)?;
    writeln!(out, "  trim [{}, {}) x {} s", v.trim.start.0, v.trim.end.0, v.timebase)?;
    frames(out, &v.frames)?;
    writeln!(out, "  first output frame {}, picture {}", v.first_output, picture(&v.picture))?;
    let bounds: Vec<i64> =
        v.segments.iter().map(|s| s.range.start.0).chain(v.segments.last().map(|s| s.range.end.0)).collect();
    let first = v.segments.first().map_or(0, |s| s.number.0);
    writeln!(out, "  segments from {first}: {}", listed(&bounds))?;
    writeln!(out, "  idr {}", listed(&v.idr.iter().map(|t| t.0).collect::<Vec<_>>()))?;
    let rungs: Vec<_> = v.rungs.iter().map(|r| format!("{} x{}", r.folder, r.settings.threads)).collect();
    writeln!(out, "  rungs {}", rungs.join(", "))
}

fn frames(out: &mut String, f: &FrameTable) -> std::fmt::Result {
    write!(out, "  frames {} -> {}", sequence(&f.source), sequence(&f.output))?;
    match &f.copies {
        None => writeln!(out),
        Some(copies) => {
            let other: Vec<_> = copies
                .iter()
                .enumerate()
                .filter(|(_, c)| **c != 1)
                .map(|(n, c)| format!("{n}:{c}"))
                .collect();
            writeln!(out, ", copies {}", shortened(&other))
        }
    }
}

fn audio_chunk(out: &mut String, a: &AudioChunk) -> std::fmt::Result {
    writeln!(out, "chunk a{} stream {} in {}", a.number, a.stream, a.folder)?;
    let loudness = if a.measure_loudness { ", loudness measured" } else { "" };
    writeln!(
        out,
        "  packets [{}, {}), segments {}{loudness}",
        a.packets.0,
        a.packets.1,
        packets(&a.segments)
    )?;
    let Some(range) = &a.range else { return Ok(()) };
    let seek = range.seek.map_or("start".to_owned(), |s| s.0.to_string());
    let (grid, pre_roll) = (range.grid, range.pre_roll);
    writeln!(
        out,
        "  decode from {seek}, samples on {} + n * {}, {pre_roll} packets pre-roll",
        grid.origin, grid.step
    )
}

fn picture(p: &PictureRecipe) -> String {
    let Rotation { quarter_turns, mirrored } = p.rotation;
    let Colour { primaries, transfer, matrix, full_range } = p.colour;
    let code = |c: Option<u8>| c.map_or("-".to_owned(), |c| c.to_string());
    let range = if full_range == Some(true) { "full" } else { "limited" };
    let curve = p.tone_map.map_or(String::new(), |t| format!(" tones {} to {}", t.peak, t.white));
    let fields = p.deinterlace.map_or(String::new(), |f| format!(" deinterlace {f:?}"));
    format!(
        "turns {quarter_turns}{}{fields} colour {}/{}/{} {range}{curve}",
        if mirrored { " mirrored" } else { "" },
        code(primaries),
        code(transfer),
        code(matrix)
    )
}

fn sequence(seq: &TickSeq) -> String {
    match seq {
        TickSeq::Regular { first, step, count } => format!("{count} from {first} by {step}"),
        TickSeq::Listed(times) => listed(times),
    }
}

fn listed(times: &[i64]) -> String {
    shortened(&times.iter().map(i64::to_string).collect::<Vec<_>>())
}

fn packets(segments: &[AudioSegment]) -> String {
    let borders = segments.iter().map(|s| s.first_packet).chain(segments.last().map(|s| s.end_packet));
    shortened(&borders.map(|b| b.to_string()).collect::<Vec<_>>())
}

/// Up to a dozen values in full, more by their ends.
fn shortened(values: &[String]) -> String {
    match values.len() {
        0..=12 => format!("{} [{}]", values.len(), values.join(" ")),
        n => format!("{n} [{} … {}]", values[..6].join(" "), values[n - 4..].join(" ")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
