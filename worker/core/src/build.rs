//! From ffmpeg's output to the package's files: read back, verify against the spec, write our own segments.
//!
//! One segment is made at a time: memory holds ffmpeg's file and one segment, not two copies of a chunk.

use crate::verify::{OutputError, Sample, SegmentPlan, frames, only_track, packets, written};
use reelmill_common::keys::media_name;
use reelmill_common::outcome::{FileReport, IFrame};
use reelmill_common::spec::{AAC_FRAME, AudioChunk, VideoChunk, VideoRung};
use reelmill_common::{SegmentNumber, Sha256};
use reelmill_media::cmaf::{
    AudioInit, CmafError, Kind, Segment, SegmentInput, SegmentSample, VideoInit, init_audio, init_video,
    segment,
};
use reelmill_media::fragments::Config;
use std::collections::VecDeque;

/// A file of the package, finished and checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BuiltFile {
    /// `<folder>/<file>`, the path below the grant's base.
    pub name: String,
    /// Content.
    pub bytes: Vec<u8>,
    /// What the attempt reports of it.
    pub report: FileReport,
}

/// The files of one rung, made one by one: the init segment if the chunk holds segment 1, then segments ascending.
#[derive(Debug)]
pub struct RungFiles<'a> {
    file: &'a [u8],
    folder: &'a str,
    rung: u32,
    kind: Kind,
    reorder_delay: u32,
    /// What the init segment's edit list takes off presentation times.
    shown_later: i64,
    init: Vec<u8>,
    init_due: bool,
    todo: VecDeque<SegmentPlan>,
    /// Frames or packets in all segments together.
    pub units: u64,
    /// Decoder configuration found in the output: equal to the bound one.
    pub config: Vec<u8>,
}

impl Iterator for RungFiles<'_> {
    type Item = Result<BuiltFile, OutputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if std::mem::take(&mut self.init_due) {
            return Some(Ok(self.finished(None, self.init.clone(), Vec::new())));
        }
        let plan = self.todo.pop_front()?;
        Some(self.write(&plan))
    }
}

impl RungFiles<'_> {
    fn write(&self, plan: &SegmentPlan) -> Result<BuiltFile, OutputError> {
        let made = assemble(self.folder, self.kind, self.reorder_delay, plan, self.file)?;
        written(self.folder, &self.init, &made.bytes, plan, self.shown_later, self.file)?;
        Ok(self.finished(Some(SegmentNumber(plan.number)), made.bytes, made.iframes))
    }

    fn finished(&self, segment: Option<SegmentNumber>, bytes: Vec<u8>, iframes: Vec<IFrame>) -> BuiltFile {
        let report = FileReport {
            rung: self.rung,
            segment,
            bytes: bytes.len() as u64,
            sha256: Sha256::of(&bytes),
            iframes,
        };
        BuiltFile { name: media_name(self.folder, segment), bytes, report }
    }
}

/// Checks rung `rung` of a chunk in ffmpeg's output `file` and returns its files.
///
/// # Errors
/// [`OutputError`]: which rung, which frame, what was expected and found.
pub fn video<'a>(chunk: &'a VideoChunk, rung: usize, file: &'a [u8]) -> Result<RungFiles<'a>, OutputError> {
    let plans = frames(chunk, rung, file)?;
    // `frames` has checked that the rung is there
    let spec = &chunk.rungs[rung];
    let init = video_init(chunk, spec)?;
    Ok(RungFiles {
        file,
        folder: &spec.folder,
        rung: rung as u32,
        kind: Kind::Video,
        reorder_delay: spec.reorder_delay,
        shown_later: i64::from(spec.reorder_delay),
        init,
        init_due: plans.first().is_some_and(|p| p.number == 1),
        units: plans.iter().map(|p| p.samples.len() as u64).sum(),
        todo: plans.into(),
        config: spec.avcc.clone(),
    })
}

/// Checks an audio chunk in ffmpeg's output `file` and returns its files.
///
/// # Errors
/// [`OutputError`]: which packet, what was expected and found.
pub fn audio<'a>(chunk: &'a AudioChunk, file: &'a [u8]) -> Result<RungFiles<'a>, OutputError> {
    let plans = packets(chunk, file)?;
    let init = audio_init(chunk)?;
    Ok(RungFiles {
        file,
        folder: &chunk.folder,
        rung: 0,
        kind: Kind::Audio,
        reorder_delay: 0,
        shown_later: 0,
        init,
        init_due: plans.first().is_some_and(|p| p.number == 1),
        units: plans.iter().map(|p| p.samples.len() as u64).sum(),
        todo: plans.into(),
        config: chunk.asc.clone(),
    })
}

/// The decoder configuration of ffmpeg's output: for an analysis, which wants the avcC and nothing else.
///
/// # Errors
/// [`OutputError`] when the file is not ffmpeg's or holds no such track.
pub fn avcc(file: &[u8]) -> Result<Vec<u8>, OutputError> {
    match only_track("analysis", file)?.config {
        Config::Avc(bytes) => Ok(bytes),
        Config::Aac(_) => Err(OutputError::new("analysis", "expected H.264, found AAC")),
    }
}

/// A segment of the plan's samples, whose bytes lie in `file`.
pub(crate) fn assemble(
    folder: &str,
    kind: Kind,
    reorder_delay: u32,
    plan: &SegmentPlan,
    file: &[u8],
) -> Result<Segment, OutputError> {
    let sample = |s: &Sample| SegmentSample {
        pts: s.time,
        key: s.key,
        bytes: file.get(s.range.clone()).unwrap_or_default(),
    };
    segment(&SegmentInput {
        number: plan.number,
        kind,
        start: plan.start,
        end: plan.end,
        reorder_delay,
        samples: plan.samples.iter().map(sample).collect(),
    })
    .map_err(|e| refused(folder, &e))
}

/// A rung's init segment: the same whoever writes it.
pub(crate) fn video_init(chunk: &VideoChunk, rung: &VideoRung) -> Result<Vec<u8>, OutputError> {
    init_video(&VideoInit {
        width: rung.settings.width,
        height: rung.settings.height,
        timescale: chunk.out_timebase.den(),
        avcc: &rung.avcc,
        colour: rung.settings.colour.code_points(),
        reorder_delay: rung.reorder_delay,
    })
    .map_err(|e| refused(&rung.folder, &e))
}

/// An audio rendition's init segment: the same whoever writes it.
pub(crate) fn audio_init(chunk: &AudioChunk) -> Result<Vec<u8>, OutputError> {
    init_audio(&AudioInit {
        timescale: chunk.settings.sample_rate,
        channels: chunk.settings.channels,
        asc: &chunk.asc,
        bit_rate: chunk.settings.bit_rate_kbps.saturating_mul(1_000),
        encoder_delay: AAC_FRAME as u32,
    })
    .map_err(|e| refused(&chunk.folder, &e))
}

fn refused(folder: &str, e: &CmafError) -> OutputError {
    OutputError::new(folder, e.to_string())
}
