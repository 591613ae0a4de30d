//! An audit: is a file that another worker committed what its commit says, and is it the film's?
//!
//! In three steps, each of which may find it wrong. The bytes: size and hash are the committed ones. The boxes: an init
//! segment is the one that is written here, a media segment holds every frame of the spec at its time and is what is
//! written here of its samples ([`check`], [`check_sound`]). The media: a decoder takes every frame without a complaint, and
//! each picture looks like the frame of the source that it should show, and no other ([`compare`]); the sound is the
//! source's, as loud and at its time ([`sound::compare`]).
//!
//! What is wrong with the file is a [`Wrong`]; anything that keeps the auditor from seeing it is a fault of the audit.

mod carried;
mod compare;
pub mod sound;
mod sums;

pub use carried::{Carried, check_sound};
pub use compare::{Bars, Measured, Pictures, compare, judge, measure};

use crate::adopt::picture;
use crate::build::video_init;
use crate::stderr::Tail;
use crate::verify::OutputError;
use reelmill_common::audit::AuditSpec;
use reelmill_common::spec::{ChunkMedia, VideoChunk, VideoRung};
use reelmill_common::{SegmentNumber, Sha256, TickRange, Ticks, Timebase};

/// What is wrong with the file: for the person who has to look at its maker.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(pub String);

/// A file whose bytes and boxes are right, and what is to be seen in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked<'a> {
    /// Its chunk.
    pub chunk: &'a VideoChunk,
    /// Its rung.
    pub rung: &'a VideoRung,
    /// What a decoder is given; `None` for an init segment, which holds no picture.
    pub segment: Option<Shown>,
}

/// A segment, ready to be decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Init segment and segment.
    pub file: Vec<u8>,
    /// Times of its frames from the first on, in output ticks. Ascending.
    pub times: Vec<i64>,
    /// The source frames that are wanted to compare with: from the first to behind the last.
    pub source: TickRange,
    /// Their times from the first on, in the encoder's timebase. Ascending.
    pub source_times: Vec<i64>,
    /// Which of those each frame of the segment shows.
    pub shows: Vec<usize>,
}

/// Holds the bytes of a file against its commit and its spec.
///
/// # Errors
/// [`Wrong`]: in what the file is not what was committed, or not what the spec asks for.
pub fn check<'a>(spec: &'a AuditSpec, found: &[u8]) -> Result<Checked<'a>, Wrong> {
    let ChunkMedia::Video(chunk) = &spec.chunk.media else {
        return Err(Wrong("it is not a file of the picture".to_owned()));
    };
    let Some(rung) = chunk.rungs.get(spec.rung as usize) else {
        return Err(Wrong(format!("its chunk has no rung {}", spec.rung)));
    };
    as_committed(spec, found)?;
    let wrong = |e: OutputError| Wrong(e.to_string());
    let init = video_init(chunk, rung).map_err(wrong)?;
    let Some(number) = spec.segment else {
        return match init == found {
            true => Ok(Checked { chunk, rung, segment: None }),
            false => Err(Wrong("the init segment is not the one that the spec asks for".to_owned())),
        };
    };
    picture(chunk, spec.rung as usize, number, found).map_err(wrong)?;
    let segment = shown(chunk, rung, number, [&init, found].concat())?;
    Ok(Checked { chunk, rung, segment: Some(segment) })
}

fn as_committed(spec: &AuditSpec, found: &[u8]) -> Result<(), Wrong> {
    let (bytes, sha256) = (found.len() as u64, Sha256::of(found));
    if (bytes, sha256) == (spec.bytes, spec.sha256) {
        return Ok(());
    }
    Err(Wrong(format!(
        "{} bytes with SHA-256 {} were committed, and {bytes} with {sha256} lie there",
        spec.bytes, spec.sha256
    )))
}

fn shown(chunk: &VideoChunk, rung: &VideoRung, number: SegmentNumber, file: Vec<u8>) -> Result<Shown, Wrong> {
    let unknown = || Wrong("its frames are not in the spec's frame table".to_owned());
    let span = chunk.segments.iter().find(|s| s.number == number).ok_or_else(unknown)?;
    let of_output = sources(chunk);
    let frames: Vec<(i64, usize)> = chunk
        .rung_frames(rung.settings.every)
        .filter_map(|i| Some((chunk.frames.output.get(i)?, *of_output.get(i)?)))
        .filter(|(time, _)| span.range.contains(Ticks(*time)))
        .collect();
    let (Some((shown_at, first)), Some((_, last))) = (frames.first().copied(), frames.last().copied()) else {
        return Err(unknown());
    };
    let source: Vec<i64> = chunk.frames.source.iter().skip(first).take(last - first + 1).collect();
    let (Some(start), Some(end)) = (source.first().copied(), source.last().copied()) else {
        return Err(unknown());
    };
    Ok(Shown {
        file,
        times: frames.iter().map(|(time, _)| time - shown_at).collect(),
        source: TickRange::new(start, end.saturating_add(1)),
        source_times: source.iter().map(|t| (t - start) * i64::from(chunk.timebase.num())).collect(),
        shows: frames.iter().map(|(_, source)| source - first).collect(),
    })
}

/// The source frame, by its place in the table, of each output frame.
fn sources(chunk: &VideoChunk) -> Vec<usize> {
    match &chunk.frames.copies {
        None => (0..chunk.frames.source.len()).collect(),
        Some(copies) => {
            copies.iter().enumerate().flat_map(|(i, n)| std::iter::repeat_n(i, usize::from(*n))).collect()
        }
    }
}

/// What a run says that lacks memory or threads.
const LACKS: [&str; 3] =
    ["cannot allocate memory", "get_buffer() failed", "resource temporarily unavailable"];

/// What says that this machine, not the file, kept a decoder from its work: it then complains of good pictures, too.
pub fn lacking(stderr: &str) -> Option<String> {
    let line = stderr.lines().find(|line| LACKS.iter().any(|sign| line.to_lowercase().contains(sign)))?;
    let mut tail = Tail::default();
    tail.line(line);
    Some(tail.text())
}

/// What a decoder complains of, if it does: ffmpeg may take a broken picture for a good one and say so beside.
pub fn complaint(stderr: &str) -> Option<String> {
    let mut tail = Tail::default();
    stderr.lines().for_each(|line| tail.line(line));
    let of_decoder = |line: &&String| ["h264", "aac", "Invalid data found"].iter().any(|s| line.contains(s));
    tail.complaints().iter().find(of_decoder).cloned()
}

/// Was the source damaged where it was decoded? What lies where is then its decoder's to say, and differs with its version:
/// sound is not held against that.
pub fn is_damaged(stderr: &str) -> bool {
    stderr.lines().any(|line| line.contains("[error]") || line.to_lowercase().contains("corrupt"))
}

/// Reads the times of a run's pictures, from the first on, in ticks of `wanted`. Where a demuxer puts the first depends on
/// its version (negative offsets, edit lists); that is the boxes' to say. `None`: it is not such a text, or a time is no
/// whole number of ticks.
pub fn times(text: &str, wanted: Timebase) -> Option<Vec<i64>> {
    let mut found = None;
    let mut times = Vec::new();
    for line in text.lines() {
        if let Some(said) = line.strip_prefix("#tb 0:") {
            let (num, den) = said.trim().split_once('/')?;
            found = Some(Timebase::new(num.parse().ok()?, den.parse().ok()?)?);
        }
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let time: i64 = line.split(',').nth(2)?.trim().parse().ok()?;
        times.push(exactly(time, found?, wanted)?);
    }
    let first = times.first().copied().unwrap_or_default();
    Some(times.into_iter().map(|t| t - first).collect())
}

fn exactly(time: i64, from: Timebase, to: Timebase) -> Option<i64> {
    let part = i128::from(time) * i128::from(from.num()) * i128::from(to.den());
    let whole = i128::from(from.den()) * i128::from(to.num());
    (part % whole == 0).then(|| i64::try_from(part / whole).ok())?
}

#[cfg(test)]
mod tests;
