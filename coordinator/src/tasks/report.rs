//! `report.json`: what was planned, made and checked, for people and scripts. The one published thing that is not a
//! pure function of plan and commits: it tells who made what, and how long it took.

use super::Order;
use super::package::{Package, folder_of, is_published};
use reelmill_common::audit::Audits;
use reelmill_common::loudness::{Loudness, LoudnessSummary};
use reelmill_common::outcome::{AttemptCost, ChunkReport};
use reelmill_common::plan::{AudioRendition, Plan, PlannedChunk, VideoRendition};
use reelmill_common::record::FaultRecord;
use reelmill_common::spec::{AAC_FRAME, ChunkMedia};
use reelmill_common::{SpecId, Ticks, Timebase};
use reelmill_coordinator_core::TaskError;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

/// Version of the file's shape; fields may be added without raising it.
const VERSION: u32 = 1;

/// What every published package has passed.
const CHECKS: [&str; 6] = [
    "every segment: frame count, first and last time, IDR at its start, decoder configuration (by its worker)",
    "every report: held against its spec before the commit and before publishing",
    "every report's bytes: SHA-256 as named by its commit",
    "every file: present in the package with its size (one listing per rendition)",
    "some files (`audit`): read back, decoded and compared with the source, by another worker where there is one",
    "every manifest: SHA-256 recorded before the first one was written; roots written last",
];

#[derive(Serialize)]
struct JsonReport<'a> {
    version: u32,
    job: &'a str,
    tenant: &'a str,
    /// The file's name only: where it lies is the owner's business.
    source: &'a str,
    run: u32,
    submitted_unix_ms: u64,
    plan: JsonPlan<'a>,
    video: Vec<JsonVideo<'a>>,
    audio: Vec<JsonAudio<'a>>,
    chunks: Vec<JsonChunk<'a>>,
    totals: JsonTotals,
    encoder_builds: BTreeSet<&'a str>,
    /// Who made how much of the picture: more than one where workers were replaced or differ.
    builds: Vec<JsonBuild<'a>>,
    audit: JsonAudit<'a>,
    checks: [&'static str; 6],
}

#[derive(Serialize)]
struct JsonPlan<'a> {
    revision: u32,
    /// The revision it comes from, and why that did not stay: only where rungs were bound anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    duration_ms: u64,
    segments: usize,
    source_frames: u64,
    repeated_frames: u64,
    dropped_frames: u64,
    decisions: &'a [String],
}

/// Second looks at files.
#[derive(Serialize)]
struct JsonAudit<'a> {
    segments: u32,
    /// Of these, of sound: decoded and held against the source as well.
    of_sound: u32,
    by_another_worker: u32,
    /// Workers whose files were found wrong, and made again by others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    caught: Vec<JsonCaught<'a>>,
}

#[derive(Serialize)]
struct JsonCaught<'a> {
    worker: &'a str,
    what: &'a str,
}

/// An encoder build with its chunks.
#[derive(Serialize)]
struct JsonBuild<'a> {
    ffmpeg: &'a str,
    fingerprint: String,
    chunks: usize,
}

#[derive(Serialize)]
struct JsonVideo<'a> {
    name: &'a str,
    folder: &'a str,
    width: u32,
    height: u32,
    frames: u64,
    encoder: &'static str,
    preset: &'static str,
    crf_tenths: u32,
    max_rate_kbps: u32,
    #[serde(flatten)]
    measured: Measured,
}

#[derive(Serialize)]
struct JsonAudio<'a> {
    name: &'a str,
    folder: &'a str,
    language: &'a str,
    channels: u16,
    sample_rate: u32,
    samples: u64,
    bit_rate_kbps: u32,
    #[serde(flatten)]
    measured: Measured,
    #[serde(skip_serializing_if = "Option::is_none")]
    loudness: Option<JsonLoudness>,
}

/// Measured on the files themselves.
#[derive(Serialize, Default, Clone, Copy)]
struct Measured {
    files: u64,
    bytes: u64,
    average_kbps: u64,
    peak_segment_kbps: u64,
}

#[derive(Serialize)]
struct JsonLoudness {
    integrated_lufs_x100: i32,
    range_lu_x100: i32,
    true_peak_dbtp_x100: i32,
}

#[derive(Serialize)]
struct JsonChunk<'a> {
    number: u32,
    kind: &'static str,
    spec: String,
    attempt: String,
    worker: &'a str,
    files: usize,
    bytes: u64,
    predicted_ms: u64,
    wall_ms: u64,
    cpu_ms: u64,
    encode_ms: u64,
    source_bytes: u64,
    faults: u32,
    losses: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoder: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    ffmpeg: &'a str,
    notes: &'a [String],
}

#[derive(Serialize, Default)]
struct JsonTotals {
    chunks: usize,
    bytes: u64,
    source_size: u64,
    /// Read by all attempts: those of the chunks, and the others.
    source_bytes: u64,
    attempt_wall_ms: u64,
    attempt_cpu_ms: u64,
    other_attempts: JsonCost,
    faults: u32,
    losses: u32,
}

/// Index, analysis, attempts that failed or were lost.
#[derive(Serialize, Default)]
struct JsonCost {
    wall_ms: u64,
    cpu_ms: u64,
    encode_ms: u64,
    source_bytes: u64,
}

/// Renders the report of a package.
pub(super) fn render(order: &Order, package: &Package) -> Result<Vec<u8>, TaskError> {
    let (record, plan) = (&order.record, &package.plan.plan);
    let sizes = Sizes::of(plan, &package.reports);
    let source = record.request.source.rsplit('/').next().unwrap_or_default();
    let report = JsonReport {
        version: VERSION,
        job: record.id.as_str(),
        tenant: record.request.tenant.as_str(),
        source,
        run: record.run.0,
        submitted_unix_ms: record.submitted_unix_ms,
        plan: JsonPlan {
            revision: plan.revision,
            parent: plan.parent,
            why: record.plan.as_ref().and_then(|p| p.why.as_deref()),
            duration_ms: millis(plan.timebase, plan.duration),
            segments: plan.grid.len().saturating_sub(1),
            source_frames: plan.report.source_frames,
            repeated_frames: plan.report.repeated_frames,
            dropped_frames: plan.report.dropped_frames,
            decisions: &plan.report.decisions,
        },
        video: plan.video.iter().map(|r| video(plan, r, &sizes)).collect(),
        audio: plan.audio.iter().map(|r| audio(plan, r, &sizes, &package.reports)).collect(),
        chunks: chunks(order, package),
        totals: totals(order, package),
        encoder_builds: package.reports.iter().map(|r| r.ffmpeg_build.as_str()).collect(),
        builds: builds(&package.reports),
        audit: audit(&record.audits),
        checks: CHECKS,
    };
    let mut json = serde_json::to_vec_pretty(&report)
        .map_err(|e| crate::catalog::internal(format!("report.json cannot be written: {e}")))?;
    json.push(b'\n');
    Ok(json)
}

fn audit(audits: &Audits) -> JsonAudit<'_> {
    let caught = audits.caught.iter().map(|c| JsonCaught { worker: c.worker.as_str(), what: &c.what });
    JsonAudit {
        segments: audits.files,
        of_sound: audits.sound,
        by_another_worker: audits.by_another,
        caught: caught.collect(),
    }
}

/// Sizes of the files of each rendition: media segments by number, and all files together.
struct Sizes<'a> {
    segments: BTreeMap<&'a str, BTreeMap<u32, u64>>,
    files: BTreeMap<&'a str, (u64, u64)>,
}

impl<'a> Sizes<'a> {
    fn of(plan: &'a Plan, reports: &[ChunkReport]) -> Self {
        let mut this = Self { segments: BTreeMap::new(), files: BTreeMap::new() };
        for (chunk, report) in plan.chunks.iter().zip(reports) {
            for file in &report.files {
                let Some(folder) = folder_of(chunk, file.rung) else { continue };
                let (files, bytes) = this.files.entry(folder).or_default();
                (*files, *bytes) = (*files + 1, *bytes + file.bytes);
                if let Some(number) = file.segment {
                    this.segments.entry(folder).or_default().insert(number.0, file.bytes);
                }
            }
        }
        this
    }

    /// `span_ms` tells the duration of a segment by its number.
    fn measure(&self, folder: &str, duration_ms: u64, span_ms: impl Fn(u32) -> u64) -> Measured {
        let (files, bytes) = self.files.get(folder).copied().unwrap_or_default();
        let rate = |bytes: u64, ms: u64| bytes.saturating_mul(8).checked_div(ms).unwrap_or(0);
        let segments = self.segments.get(folder).into_iter().flatten();
        let peak = segments.map(|(number, bytes)| rate(*bytes, span_ms(*number))).max();
        Measured {
            files,
            bytes,
            average_kbps: rate(bytes, duration_ms),
            peak_segment_kbps: peak.unwrap_or(0),
        }
    }
}

fn millis(timebase: Timebase, ticks: i64) -> u64 {
    u64::try_from(timebase.micros(Ticks(ticks)) / 1_000).unwrap_or(0)
}

fn video<'a>(plan: &Plan, r: &'a VideoRendition, sizes: &Sizes<'_>) -> JsonVideo<'a> {
    let span = |number: u32| {
        let at = number as usize;
        match (at.checked_sub(1).and_then(|i| plan.grid.get(i)), plan.grid.get(at)) {
            (Some(start), Some(end)) => millis(plan.timebase, end - start),
            _ => 0,
        }
    };
    JsonVideo {
        name: &r.name,
        folder: &r.folder,
        width: r.settings.width,
        height: r.settings.height,
        frames: r.frames,
        encoder: r.settings.family.name(),
        preset: r.settings.preset.name(),
        crf_tenths: r.settings.crf_tenths,
        max_rate_kbps: r.settings.max_rate_kbps,
        measured: sizes.measure(&r.folder, millis(plan.timebase, plan.duration), span),
    }
}

fn audio<'a>(
    plan: &Plan,
    r: &'a AudioRendition,
    sizes: &Sizes<'_>,
    reports: &[ChunkReport],
) -> JsonAudio<'a> {
    let rate = NonZeroU32::new(r.settings.sample_rate).unwrap_or(NonZeroU32::MIN);
    let samples_ms = |samples: u64| millis(Timebase::hz(rate), i64::try_from(samples).unwrap_or(i64::MAX));
    let spans: BTreeMap<u32, u64> = r
        .segments
        .iter()
        .map(|s| (s.number.0, samples_ms((s.end_packet - s.first_packet) * AAC_FRAME)))
        .collect();
    JsonAudio {
        name: &r.name,
        folder: &r.folder,
        language: &r.language,
        channels: r.settings.channels,
        sample_rate: r.settings.sample_rate,
        samples: r.total_samples,
        bit_rate_kbps: r.settings.bit_rate_kbps,
        measured: sizes
            .measure(&r.folder, samples_ms(r.total_samples), |n| spans.get(&n).copied().unwrap_or(0)),
        loudness: loudness(plan, r, reports),
    }
}

/// Of the rendition's chunks together; nothing where one was not measured, as a part says nothing of the whole.
fn loudness(plan: &Plan, r: &AudioRendition, reports: &[ChunkReport]) -> Option<JsonLoudness> {
    let is_of = |media: &ChunkMedia| matches!(media, ChunkMedia::Audio(a) if a.folder == r.folder);
    let mut whole = Loudness::default();
    for (_, report) in plan.chunks.iter().zip(reports).filter(|(chunk, _)| is_of(&chunk.spec.media)) {
        whole.merge(report.loudness.as_deref()?);
    }
    let LoudnessSummary { integrated_lufs_x100, range_lu_x100, true_peak_dbtp_x100 } = whole.summary()?;
    Some(JsonLoudness { integrated_lufs_x100, range_lu_x100, true_peak_dbtp_x100 })
}

/// Bytes of a chunk's files that are part of the package.
fn published_bytes(plan: &Plan, chunk: &PlannedChunk, report: &ChunkReport) -> u64 {
    let is_part = |rung| folder_of(chunk, rung).is_some_and(|folder| is_published(plan, folder));
    report.files.iter().filter(|f| is_part(f.rung)).map(|f| f.bytes).sum()
}

fn chunks<'a>(order: &'a Order, package: &'a Package) -> Vec<JsonChunk<'a>> {
    let faults: BTreeMap<SpecId, &FaultRecord> = order.faults.iter().map(|f| (f.spec, f)).collect();
    let plan = &package.plan.plan;
    plan.chunks
        .iter()
        .zip(&package.commits)
        .zip(package.reports.iter())
        .map(|((chunk, commit), report)| {
            let (number, kind) = match &chunk.spec.media {
                ChunkMedia::Video(v) => (v.number, "video"),
                ChunkMedia::Audio(a) => (a.number, "audio"),
            };
            let budget = faults.get(&commit.spec);
            JsonChunk {
                number,
                kind,
                spec: commit.spec.to_string(),
                attempt: commit.attempt.to_string(),
                worker: commit.worker.as_str(),
                files: report.files.len(),
                bytes: published_bytes(plan, chunk, report),
                predicted_ms: chunk.cost_ms,
                wall_ms: report.cost.wall_ms,
                cpu_ms: report.cost.cpu_ms,
                encode_ms: report.cost.encode_ms,
                source_bytes: report.cost.source_bytes,
                faults: budget.map_or(0, |f| f.faults),
                losses: budget.map_or(0, |f| f.losses),
                encoder: report.encoder.as_ref().map(|e| e.family.name()),
                fingerprint: report.encoder.as_ref().map(|e| e.fingerprint.0.short(12)),
                ffmpeg: &report.ffmpeg_build,
                notes: &report.notes,
            }
        })
        .collect()
}

/// Encoder builds, each with how many chunks it made, by name and hash.
fn builds(reports: &[ChunkReport]) -> Vec<JsonBuild<'_>> {
    let mut counts: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for report in reports {
        if let Some(encoder) = &report.encoder {
            *counts.entry((&report.ffmpeg_build, encoder.fingerprint.0.short(12))).or_default() += 1;
        }
    }
    let build = |((ffmpeg, fingerprint), chunks)| JsonBuild { ffmpeg, fingerprint, chunks };
    counts.into_iter().map(build).collect()
}

fn totals(order: &Order, package: &Package) -> JsonTotals {
    let (plan, reports) = (&package.plan.plan, package.reports.as_slice());
    let other = order.record.spent;
    let all: AttemptCost = reports.iter().map(|r| r.cost).chain([other]).sum();
    JsonTotals {
        chunks: reports.len(),
        bytes: plan.chunks.iter().zip(reports).map(|(c, r)| published_bytes(plan, c, r)).sum(),
        source_size: plan.report.source_bytes,
        source_bytes: all.source_bytes,
        attempt_wall_ms: all.wall_ms,
        attempt_cpu_ms: all.cpu_ms,
        other_attempts: JsonCost {
            wall_ms: other.wall_ms,
            cpu_ms: other.cpu_ms,
            encode_ms: other.encode_ms,
            source_bytes: other.source_bytes,
        },
        faults: order.faults.iter().map(|f| f.faults).sum(),
        losses: order.faults.iter().map(|f| f.losses).sum(),
    }
}
