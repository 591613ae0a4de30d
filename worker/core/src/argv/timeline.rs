//! The encoder's timeline: where each output frame of a chunk lies while it is encoded.
//!
//! The encoder counts in `1/D` seconds for a source timebase of `N/D`: every source time stays exact, and the
//! timebase, which is written into the SPS, is the same for all chunks and for the analysis. Times are counted from
//! the chunk's first frame plus [`OFFSET_SECONDS`], so that none is negative, decode times of B-frames included.
//!
//! The argument builder and the verification both read this module and nothing else, so they cannot disagree.

use super::ArgvError;
use reelmill_common::spec::VideoChunk;
use reelmill_common::{Ticks, Timebase};
use std::num::NonZeroU32;

/// Where a chunk's first frame lies on the encoder's timeline, in seconds.
pub const OFFSET_SECONDS: i64 = 10;

/// The timebase that pictures of a source timebase are encoded in.
pub fn encoder_timebase(source: Timebase) -> Timebase {
    // a timebase's denominator is never zero
    Timebase::hz(NonZeroU32::new(source.den()).unwrap_or(NonZeroU32::MIN))
}

/// Times of a chunk's output frames at full rate, in the encoder's timebase, ascending, one per output frame.
///
/// The first showing of a source frame lies at its source time; a repeated showing lies as much later as on the
/// output timeline, rounded to the nearest tick.
///
/// # Errors
/// [`ArgvError::FrameMap`] when counts do not match or times do not ascend.
pub fn encoder_times(chunk: &VideoChunk) -> Result<Vec<i64>, ArgvError> {
    let tb = encoder_timebase(chunk.timebase);
    let (n, frames) = (i64::from(chunk.timebase.num()), &chunk.frames);
    let (Some(first), total) = (frames.source.first(), frames.output.len()) else {
        return Err(bad("no source frame"));
    };
    if frames.copies.as_ref().is_some_and(|c| c.len() != frames.source.len()) {
        return Err(bad("as many counts as source frames are needed"));
    }
    let mut times = Vec::with_capacity(total);
    for (i, source) in frames.source.iter().enumerate() {
        let copies = frames.copies.as_ref().map_or(1, |c| c[i]);
        let at = (source - first) * n + OFFSET_SECONDS * i64::from(tb.den());
        let base = frames.output.get(times.len()).unwrap_or_default();
        for copy in 0..copies {
            let Some(shown) = frames.output.get(times.len()) else {
                return Err(bad("fewer output times than frames shown"));
            };
            let later = if copy == 0 { 0 } else { chunk.out_timebase.rescale(Ticks(shown - base), tb).0 };
            times.push(at + later);
        }
    }
    if times.len() != total {
        return Err(bad("more output times than frames shown"));
    }
    if times.is_empty() {
        return Err(bad("no frame is shown"));
    }
    if times.windows(2).any(|w| w[0] >= w[1]) {
        return Err(bad("times do not ascend"));
    }
    Ok(times)
}

/// A time as ffmpeg reads it (`seconds.microseconds`), rounded down to the microsecond.
pub fn seconds_floor(t: Ticks, tb: Timebase) -> String {
    let micros = tb.rescale_floor(t, Timebase::hz(NonZeroU32::new(1_000_000).unwrap_or(NonZeroU32::MIN))).0;
    let (sign, abs) = if micros < 0 { ("-", micros.unsigned_abs()) } else { ("", micros.unsigned_abs()) };
    format!("{sign}{}.{:06}", abs / 1_000_000, abs % 1_000_000)
}

fn bad(what: &str) -> ArgvError {
    ArgvError::FrameMap(what.to_owned())
}
