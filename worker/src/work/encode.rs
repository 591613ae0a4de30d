//! Encode: one chunk through ffmpeg, read back, verified, and written as the package's own files.

use super::Work;
use super::ffmpeg::Encoding;
use crate::scratch::AttemptDir;
use crate::source::{Served, Source};
use crate::{fault, metrics};
use reelmill_common::index::Demuxer;
use reelmill_common::ladder::VideoSettings;
use reelmill_common::outcome::{AttemptCost, ChunkReport, Fault, FaultKind};
use reelmill_common::session::NamedFile;
use reelmill_common::spec::{AAC_FRAME, AudioChunk, VideoChunk};
use reelmill_worker_core::argv;
use reelmill_worker_core::argv::timeline::OFFSET_SECONDS;
use reelmill_worker_core::build;
use reelmill_worker_core::meter::Meter;
use reelmill_worker_core::progress::Update;
use reelmill_worker_core::rate::{self, Measured};
use reelmill_worker_core::stderr::out_of_room;
use reelmill_worker_core::verify::OutputError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Files = Vec<(NamedFile, PathBuf)>;

/// Encodes a video chunk at all its rungs; again, with a lower cap, those that overshot theirs
/// ([`reelmill_worker_core::rate`]).
pub(super) async fn video(
    work: &Work,
    demuxer: Demuxer,
    chunk: &VideoChunk,
    source: &Source,
) -> Result<(ChunkReport, Files), Fault> {
    let chunk = Arc::new(chunk.clone());
    let mut rungs: Vec<Option<Capped>> = chunk.rungs.iter().map(|_| None).collect();
    let mut due: Vec<(usize, VideoSettings)> =
        chunk.rungs.iter().map(|r| r.settings.clone()).enumerate().collect();
    let mut report = begin(work, "");
    report.encoder = chunk.rungs.first().and_then(|r| work.proof(r.settings.family));
    for encode in 1..=rate::MOST_ENCODES {
        let stderr = pictures(work, demuxer, &chunk, &due, source).await?;
        let complaints = fault::tail(&stderr).complaints();
        let mut again = Vec::new();
        for (rung, used) in due {
            let part = Part::Picture(Arc::clone(&chunk), rung);
            let made = read_back(&work.dir, file_name(rung), part).await;
            let made = made.map_err(|f| fault::of_damage(f, &complaints))?;
            let measured = rate::measure(&chunk, made.files.iter().map(|(_, _, file)| file));
            let wanted = &chunk.rungs[rung].settings;
            if encode < rate::MOST_ENCODES {
                again.extend(measured.next(wanted, &used).map(|settings| (rung, settings)));
            }
            Capped::add(&mut rungs[rung], made, measured, used.max_rate_kbps);
        }
        report.notes.extend(complaints);
        due = again;
        if due.is_empty() {
            break;
        }
    }
    metrics::encoded(chunk.frames.output.len() as u64, work.cost().encode_ms);
    let mut files = Vec::new();
    for (capped, spec) in rungs.into_iter().flatten().zip(&chunk.rungs) {
        report.notes.extend(rate::note(&spec.folder, &spec.settings, &capped.encodes));
        add(&mut report, &mut files, capped.rung);
    }
    Ok((report, files))
}

/// A rung with what each of its encodes measured, and with which cap.
struct Capped {
    rung: Rung,
    encodes: Vec<(u32, Measured)>,
}

impl Capped {
    /// A later encode replaces the files of the one before: their names are the same.
    fn add(slot: &mut Option<Self>, rung: Rung, measured: Measured, cap_kbps: u32) {
        let mut encodes = slot.take().map_or(Vec::new(), |before| before.encodes);
        encodes.push((cap_kbps, measured));
        *slot = Some(Self { rung, encodes });
    }
}

/// ffmpeg's own file of a rung, in the attempt's directory, where it stands.
fn file_name(rung: usize) -> String {
    format!("rung-{rung}.mp4")
}

/// One ffmpeg for the rungs that are due, each with its settings; what it said.
async fn pictures(
    work: &Work,
    demuxer: Demuxer,
    chunk: &VideoChunk,
    due: &[(usize, VideoSettings)],
    source: &Source,
) -> Result<String, Fault> {
    let outputs: Vec<String> = due.iter().map(|(rung, _)| file_name(*rung)).collect();
    let served = source.for_ffmpeg(demuxer, work.lease.decoder_threads).await?;
    let args = argv::video::encode(&rate::with_only(chunk, due), &served.input, &outputs)
        .map_err(|e| fault::of_argv(&e))?;
    let total = chunk.frames.output.len() as u64;
    let every = due.first().map_or(1, |(_, settings)| u64::from(settings.every));
    let tell = |u: Update| (work.progress)((u.frames * every).min(total), total);
    let mut watch = Encoding::new(work, source, tell);
    let what = format!("encoding video chunk {}", chunk.number);
    run(work, &what, args, &mut watch, &served).await
}

/// Encodes an audio chunk.
pub(super) async fn audio(
    work: &Work,
    demuxer: Demuxer,
    chunk: &AudioChunk,
    source: &Source,
) -> Result<(ChunkReport, Files), Fault> {
    let name = "audio.mp4".to_owned();
    let served = source.for_ffmpeg(demuxer, work.lease.decoder_threads).await?;
    let args = argv::audio::encode(chunk, &served.input, &name).map_err(|e| fault::of_argv(&e))?;
    let total = chunk.packets.1.saturating_sub(chunk.packets.0);
    let rate = u64::from(chunk.settings.sample_rate);
    let before = argv::audio::encoded_range(chunk).start_sample + OFFSET_SECONDS as u64 * rate;
    let tell = |u: Update| {
        let samples = u.out_time_us.unwrap_or_default().max(0) as u64 / 1_000 * rate / 1_000;
        (work.progress)((samples.saturating_sub(before) / AAC_FRAME).min(total), total);
    };
    let mut watch = Encoding::new(work, source, tell);
    watch.meter = Meter::new(chunk);
    let what = format!("encoding audio chunk {}", chunk.number);
    let stderr = run(work, &what, args, &mut watch, &served).await?;

    let mut report = begin(work, &stderr);
    match watch.meter.map(|meter| meter.finish(&stderr)).transpose() {
        Ok(loudness) => report.loudness = loudness.map(Box::new),
        // the sound itself is good
        Err(not) => report.notes.push(not.to_string()),
    }
    let mut files = Vec::new();
    let part = Part::Sound(Arc::new(chunk.clone()));
    add(&mut report, &mut files, read_back(&work.dir, name, part).await?);
    Ok((report, files))
}

/// Runs ffmpeg. A source that broke underneath it is the better explanation of a failure,
/// and makes a success worthless.
async fn run(
    work: &Work,
    what: &str,
    args: Vec<String>,
    watch: &mut Encoding<'_>,
    served: &Served,
) -> Result<String, Fault> {
    let ran = work.ffmpeg(what, args, Some(served), watch).await;
    if !work.stop.is_cancelled() {
        served.source.still_good().await?;
    }
    let ran = ran?;
    match out_of_room(what, &fault::tail(&ran.stderr)) {
        Some(full) => Err(full),
        None => Ok(ran.stderr),
    }
}

fn begin(work: &Work, stderr: &str) -> ChunkReport {
    ChunkReport {
        files: Vec::new(),
        units: Vec::new(),
        configs: Vec::new(),
        loudness: None,
        cost: AttemptCost::default(),
        encoder: None,
        ffmpeg_build: work.shop.tools.build.clone(),
        notes: fault::tail(stderr).complaints(),
    }
}

/// One rung, finished.
struct Rung {
    files: Vec<(NamedFile, PathBuf, reelmill_common::outcome::FileReport)>,
    units: u64,
    config: Vec<u8>,
}

fn add(report: &mut ChunkReport, files: &mut Files, rung: Rung) {
    report.units.push(rung.units);
    report.configs.push(rung.config);
    for (named, path, file) in rung.files {
        report.files.push(file);
        files.push((named, path));
    }
}

/// What a file of ffmpeg's holds.
enum Part {
    /// This rung of a chunk.
    Picture(Arc<VideoChunk>, usize),
    /// A chunk of sound.
    Sound(Arc<AudioChunk>),
}

/// Reads ffmpeg's file back, makes the rung's files of it and keeps them in scratch. Off the async threads: this is
/// hashing and disk.
async fn read_back(dir: &Arc<AttemptDir>, name: String, part: Part) -> Result<Rung, Fault> {
    let dir = Arc::clone(dir);
    tokio::task::spawn_blocking(move || keep(&dir, Path::new(&name), &part)).await.unwrap_or_else(|e| {
        Err(fault::fault(FaultKind::Output, format!("reading the output back broke off: {e}")))
    })
}

fn keep(dir: &AttemptDir, name: &Path, part: &Part) -> Result<Rung, Fault> {
    let file = dir.read(name)?;
    let made = match part {
        Part::Picture(chunk, rung) => build::video(chunk, *rung, &file),
        Part::Sound(chunk) => build::audio(chunk, &file),
    };
    let mut made = made.map_err(OutputError::into_fault)?;
    let mut files = Vec::new();
    for built in made.by_ref() {
        let built = built.map_err(OutputError::into_fault)?;
        let path = dir.write(&format!("package/{}", built.name), &built.bytes)?;
        let (bytes, sha256) = (built.report.bytes, built.report.sha256);
        files.push((NamedFile { name: built.name, bytes, sha256 }, path, built.report));
    }
    dir.remove(name)?;
    Ok(Rung { files, units: made.units, config: made.config })
}
