//! What a source may be at most, and the checks that make the rest of the crate total: after `check` no time
//! overflows, no list is out of order and no loop is longer than these numbers say.
//!
//! Reads the index only; decides nothing about it.

use crate::PlanError;
use reelmill_common::index::{AudioTrack, SourceIndex, VideoTrack};
use reelmill_common::time::{TickSeq, Ticks, Timebase};

/// Bounds on a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Pixels of a coded picture.
    pub pixels: u64,
    /// Frames of the film.
    pub frames: u64,
    /// Seconds from the first frame or sample to the end.
    pub seconds: u64,
    /// Audio tracks.
    pub audio_tracks: u64,
    /// Channels of an audio track.
    pub channels: u64,
    /// Segments of a rendition.
    pub segments: u64,
}

/// The limits in force: 8K pictures, 24 hours at 60 frames a second.
pub const LIMITS: Limits = Limits {
    pixels: 8192 * 4352,
    frames: 24 * 3600 * 60,
    seconds: 24 * 3600,
    audio_tracks: 32,
    channels: 64,
    segments: 100_000,
};

/// Times beyond this many ticks of either sign are refused: it keeps every product within `i128` and every
/// difference within `i64`.
const FAR: i64 = 1 << 60;

/// Refuses what exceeds a limit or cannot be true.
pub(crate) fn check(index: &SourceIndex, limits: &Limits) -> Result<(), PlanError> {
    if let Some(video) = &index.video {
        check_video(video, limits)?;
    } else if index.audio.is_empty() {
        let ignored: Vec<_> = index.ignored.iter().map(|t| format!("{} ({})", t.what, t.why)).collect();
        let ignored =
            if ignored.is_empty() { "it holds no track at all".to_owned() } else { ignored.join(", ") };
        return Err(PlanError::NothingToEncode { ignored });
    }
    at_most("audio tracks", index.audio.len() as u64, limits.audio_tracks)?;
    index.audio.iter().try_for_each(|a| check_audio(a, limits))
}

pub(crate) fn at_most(what: &'static str, found: u64, limit: u64) -> Result<(), PlanError> {
    if found > limit { Err(PlanError::Limit { what, found, limit }) } else { Ok(()) }
}

fn check_video(video: &VideoTrack, limits: &Limits) -> Result<(), PlanError> {
    let (width, height) = (video.width, video.height);
    if width == 0 || height == 0 || video.sar.0 == 0 || video.sar.1 == 0 {
        return Err(PlanError::NoSize { width, height });
    }
    at_most("pixels in a picture", u64::from(width) * u64::from(height), limits.pixels)?;
    at_most("frames", video.frames.len() as u64, limits.frames)?;
    check_order(&video.frames)?;
    let (Some(first), Some(last)) = (video.frames.first(), video.frames.last()) else {
        return Err(PlanError::NoFrames);
    };
    at_most("seconds", whole_seconds(last - first, video.timebase), limits.seconds)
}

fn check_order(frames: &TickSeq) -> Result<(), PlanError> {
    let bad = |what: String| PlanError::BadTimes { track: "video".to_owned(), what };
    match frames {
        TickSeq::Regular { first, step, count } => {
            let last = i128::from(*first) + i128::from(*step) * i128::from(*count);
            if *step <= 0 && *count > 1 {
                return Err(bad("they stand still".to_owned()));
            }
            if i128::from(*first).abs() > FAR.into() || last.abs() > FAR.into() {
                return Err(bad("they are out of all proportion".to_owned()));
            }
        }
        TickSeq::Listed(times) => {
            if let Some(at) = times.windows(2).position(|w| w[0] >= w[1]) {
                return Err(bad(format!("frame {} is not later than the one before it", at + 1)));
            }
            if times.iter().any(|t| t.unsigned_abs() > FAR as u64) {
                return Err(bad("they are out of all proportion".to_owned()));
            }
        }
    }
    Ok(())
}

fn check_audio(audio: &AudioTrack, limits: &Limits) -> Result<(), PlanError> {
    let bad = |what: &str| PlanError::BadTimes {
        track: format!("audio (stream {})", audio.stream),
        what: what.to_owned(),
    };
    let far = |t: Ticks| t.0.unsigned_abs() > FAR as u64;
    if far(audio.first) || far(audio.end) {
        return Err(bad("they are out of all proportion"));
    }
    if audio.end < audio.first {
        return Err(bad("the end comes before the beginning"));
    }
    if audio.channels == 0 || audio.sample_rate == 0 {
        return Err(bad("no channels or no sample rate"));
    }
    at_most("channels in an audio track", audio.channels.into(), limits.channels)?;
    at_most("seconds", whole_seconds(audio.end.0 - audio.first.0, audio.timebase), limits.seconds)
}

fn whole_seconds(ticks: i64, timebase: Timebase) -> u64 {
    let seconds = i128::from(ticks) * i128::from(timebase.num()) / i128::from(timebase.den());
    u64::try_from(seconds).unwrap_or(u64::MAX)
}
