//! The check of what an encoder made, before anything leaves the worker: ffmpeg's exit code is not trusted.
//!
//! From ffmpeg's file and the spec comes either the proof that every frame of the spec is there exactly once, at its
//! exact time, with IDRs where they were planned and the decoder configuration the rung is bound to, or an
//! [`OutputError`] that says where, what was expected and what was found.

mod audio;
mod nal;
mod video;
mod written;

pub(crate) use audio::found_packets;
pub use audio::{join, packets};
pub(crate) use video::found_segment;
pub use video::frames;
pub use written::written;

use reelmill_common::outcome::{Fault, FaultKind};
use reelmill_media::fragments::{Config, FragmentError, Track, read};
use std::ops::Range;

/// What is wrong with an output: says where, what was expected and what was found.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct OutputError {
    /// Rendition folder, and segment or frame.
    pub place: String,
    /// Expected and found.
    pub what: String,
    /// What kind of thing it is, where that tells what to do about it.
    pub cause: Cause,
}

/// What is wrong with an output, as far as it tells whose fault it may be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// All that is wrong is that the encoder build gives another decoder configuration than the rung is bound to.
    Binding,
    /// Other frames came out than were promised, or at other times.
    Frames,
    /// Anything else.
    Other,
}

impl OutputError {
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into(), cause: Cause::Other }
    }

    /// Of frames that are not as promised.
    fn frames(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { cause: Cause::Frames, ..Self::new(place, what) }
    }

    /// As the fault of an attempt. That frames are not as promised is damage if the decoder complained, too, which only
    /// the caller knows.
    pub fn into_fault(self) -> Fault {
        let kind = match self.cause {
            Cause::Binding => FaultKind::Binding,
            Cause::Frames => FaultKind::Damage,
            Cause::Other => FaultKind::Output,
        };
        Fault { kind, message: self.to_string(), detail: String::new() }
    }
}

/// A verified sample, in decode order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Presentation time on the rendition's media timeline: output ticks (video), samples (audio).
    pub time: i64,
    /// IDR, or any audio packet.
    pub key: bool,
    /// Where its bytes lie in ffmpeg's file.
    pub range: Range<usize>,
}

/// A segment to be written: every sample of it is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentPlan {
    /// Its number.
    pub number: u32,
    /// Its start on the media timeline, which is `tfdt`.
    pub start: i64,
    /// Its end.
    pub end: i64,
    /// Its samples in decode order.
    pub samples: Vec<Sample>,
}

/// The one track of ffmpeg's output.
pub(crate) fn only_track(place: &str, file: &[u8]) -> Result<Track, OutputError> {
    let unreadable = |e: FragmentError| OutputError::new(place, format!("ffmpeg's output is not whole: {e}"));
    let mut tracks = read(file).map_err(unreadable)?;
    match (tracks.pop(), tracks.len()) {
        (Some(track), 0) => Ok(track),
        (last, more) => {
            let count = more + usize::from(last.is_some());
            Err(OutputError::new(place, format!("expected one track in ffmpeg's output, found {count}")))
        }
    }
}

/// The decoder configuration must be the bound one, byte for byte.
fn same_config(place: &str, config: &Config, bound: &[u8]) -> Result<(), OutputError> {
    let (name, found) = match config {
        Config::Avc(b) => ("avcC", b),
        Config::Aac(b) => ("AudioSpecificConfig", b),
    };
    if found == bound {
        return Ok(());
    }
    let what = format!(
        "{name} is {} but the rendition is bound to {}: another encoder build made the others",
        hex(found),
        hex(bound)
    );
    // what an AudioSpecificConfig holds is the plan's decision, whatever the build
    let cause = if matches!(config, Config::Avc(_)) { Cause::Binding } else { Cause::Other };
    Err(OutputError { cause, ..OutputError::new(place, what) })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn same_timescale(place: &str, track: &Track, expected: u32) -> Result<(), OutputError> {
    if track.timescale == expected {
        return Ok(());
    }
    let what = format!("timescale is {}, expected {expected}", track.timescale);
    Err(OutputError::new(place, what))
}
