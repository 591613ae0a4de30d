//! Segments that were there before: may this attempt's report name them in place of its own?
//!
//! Every segment is put create-only. One that lies there already was written by another attempt, perhaps of another
//! cut of the film or by another ffmpeg: its bytes differ from ours and are as good, if it is what the spec asks for.
//! Segments are closed GOPs under one decoder configuration, so those of several attempts may stand side by side.
//! From the spec, our own file and the one found comes the report of the one found, or what is wrong with it; nothing
//! here compares pictures, only what a player's timeline and decoder rely on.
//!
//! The rule for boxes is one: of the samples found, our writer makes exactly the bytes found. So nothing can be adopted
//! that this program would not have written, and I-frame ranges are the writer's own.

use crate::build::{assemble, audio_init, video_init};
use crate::verify::{OutputError, Sample, SegmentPlan, found_packets, found_segment};
use reelmill_common::outcome::{FileReport, IFrame};
use reelmill_common::spec::{AudioChunk, ChunkMedia, ChunkSpec, VideoChunk};
use reelmill_common::{SegmentNumber, Sha256};
use reelmill_media::aac::{WindowSequence, window};
use reelmill_media::cmaf::{Kind, place};
use reelmill_media::fragments::read;

/// What the attempt reports of a file it made when `found` is there in its place. `ours` is the content of the file it
/// made, `made` its report.
///
/// # Errors
/// [`OutputError`]: in what the file found is not what the spec asks for.
pub fn adopt(
    spec: &ChunkSpec,
    made: &FileReport,
    ours: &[u8],
    found: &[u8],
) -> Result<FileReport, OutputError> {
    let iframes = match (&spec.media, made.segment) {
        (ChunkMedia::Video(chunk), Some(number)) => picture(chunk, made.rung as usize, number, found)?,
        (ChunkMedia::Audio(chunk), Some(number)) => sound(chunk, number, ours, found)?,
        (_, None) => {
            same_bytes("init segment as found", ours, found)?;
            Vec::new()
        }
    };
    Ok(FileReport {
        rung: made.rung,
        segment: made.segment,
        bytes: found.len() as u64,
        sha256: Sha256::of(found),
        iframes,
    })
}

pub(crate) fn picture(
    chunk: &VideoChunk,
    rung: usize,
    number: SegmentNumber,
    found: &[u8],
) -> Result<Vec<IFrame>, OutputError> {
    let (Some(rung), Some(span)) =
        (chunk.rungs.get(rung), chunk.segments.iter().find(|s| s.number == number))
    else {
        return Err(OutputError::new(
            format!("rung {rung}, segment {number}"),
            "the spec has no such segment",
        ));
    };
    let found = Found::read(&rung.folder, number, &video_init(chunk, rung)?, found)?;
    let samples = found.samples(i64::from(rung.reorder_delay));
    let plan = found_segment(chunk, rung, span, samples, &found.whole)?;
    found.as_we_write(Kind::Video, rung.reorder_delay, &plan)
}

fn sound(
    chunk: &AudioChunk,
    number: SegmentNumber,
    ours: &[u8],
    found: &[u8],
) -> Result<Vec<IFrame>, OutputError> {
    let init = audio_init(chunk)?;
    let (found, iframes) = packets(chunk, number, &init, found)?;
    found.meets_neighbours_of(&Found::read(&chunk.folder, number, &init, ours)?)?;
    Ok(iframes)
}

/// Is a segment of sound, behind its `init`, what is written here of the packets that the spec asks for?
pub(crate) fn packets<'a>(
    chunk: &'a AudioChunk,
    number: SegmentNumber,
    init: &[u8],
    found: &[u8],
) -> Result<(Found<'a>, Vec<IFrame>), OutputError> {
    let Some(segment) = chunk.segments.iter().find(|s| s.number == number) else {
        let place = format!("{}, segment {number}", chunk.folder);
        return Err(OutputError::new(place, "the spec has no such segment"));
    };
    let found = Found::read(&chunk.folder, number, init, found)?;
    let plan = found_packets(chunk, segment, found.samples(0))?;
    let iframes = found.as_we_write(Kind::Audio, 0, &plan)?;
    Ok((found, iframes))
}

/// A segment as found, with its init segment before it, as a player reads it.
pub(crate) struct Found<'a> {
    folder: &'a str,
    place: String,
    whole: Vec<u8>,
    init: usize,
    samples: Vec<reelmill_media::fragments::Sample>,
}

impl<'a> Found<'a> {
    fn read(folder: &'a str, number: SegmentNumber, init: &[u8], bytes: &[u8]) -> Result<Self, OutputError> {
        let place = format!("{folder}, segment {number} as found");
        let whole = [init, bytes].concat();
        let tracks = read(&whole).map_err(|e| OutputError::new(&place, e.to_string()))?;
        // the init segment, which is ours, has one track
        let samples = tracks.into_iter().flat_map(|t| t.samples).collect();
        Ok(Self { folder, place, whole, init: init.len(), samples })
    }

    /// Its samples, on the timeline that is shown: `delay` is what the init segment's edit list takes off.
    fn samples(&self, delay: i64) -> Vec<Sample> {
        let sample = |s: &reelmill_media::fragments::Sample| Sample {
            time: s.pts.saturating_sub(delay),
            key: s.key,
            range: s.range.clone(),
        };
        self.samples.iter().map(sample).collect()
    }

    /// Decode times run from the segment's start to its end, which is where its neighbours are. Everything else (sequence
    /// number, flags, the order of boxes) in one: what our writer makes of the samples is what was found.
    fn as_we_write(&self, kind: Kind, delay: u32, plan: &SegmentPlan) -> Result<Vec<IFrame>, OutputError> {
        let mut decode = plan.start;
        for s in &self.samples {
            if s.dts != decode {
                let what = format!("expected decode time {decode}, found {}", s.dts);
                return Err(OutputError::new(&self.place, what));
            }
            decode = decode.saturating_add(s.duration.into());
        }
        if decode != plan.end {
            let what = format!("expected its end at {}, found {decode}", plan.end);
            return Err(OutputError::new(&self.place, what));
        }
        let again = assemble(self.folder, kind, delay, plan, &self.whole)?;
        same_bytes(&self.place, &again.bytes, self.whole.get(self.init..).unwrap_or_default())?;
        Ok(again.iframes)
    }

    /// Neighbouring packets overlap, so what stands before and after our packets must be able to stand before and
    /// after the ones found: they begin and end with windows of the same kind (ISO/IEC 14496-3, 4.6.11).
    fn meets_neighbours_of(&self, ours: &Found<'_>) -> Result<(), OutputError> {
        const LONG: WindowSequence = WindowSequence::OnlyLong;
        let at = |f: &Found<'_>, s: Option<&reelmill_media::fragments::Sample>| {
            s.and_then(|s| f.whole.get(s.range.clone())).and_then(window)
        };
        let begins = |f: &Found<'_>| at(f, f.samples.first()).map(|w| LONG.may_precede(w.sequence));
        let ends = |f: &Found<'_>| at(f, f.samples.last()).map(|w| (w.sequence.may_precede(LONG), w.kaiser));
        let fail = |what: &str| Err(OutputError::new(&self.place, what));
        if begins(self) != begins(ours) {
            return fail("its first packet's window cannot follow the packet before it");
        }
        if ends(self) != ends(ours) {
            return fail("its last packet's window cannot precede the packet after it");
        }
        Ok(())
    }
}

fn same_bytes(at: &str, expected: &[u8], found: &[u8]) -> Result<(), OutputError> {
    if expected == found {
        return Ok(());
    }
    let same = expected.iter().zip(found).take_while(|(a, b)| a == b).count();
    // bytes that are too many lie in the file found, bytes that are missing in the one expected
    let within = if found.len() > same { found } else { expected };
    let what = format!("it differs from what is written here at byte {same}, in {}", place(within, same));
    Err(OutputError::new(at, what))
}
