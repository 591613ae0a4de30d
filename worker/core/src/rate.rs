//! The bound on what a capped encode may overshoot: a chunk whose largest window exceeds one and a half times the
//! rung's cap is encoded again with a lower one (RFC 8216, section 4.1, for what a window is).
//!
//! A buffer of one and a half seconds lets a window of two segments stay within the bound by itself; a short one, as of
//! a clip of a second or a picture that no quantiser makes small, does not. What comes next follows from the spec and
//! the measured sizes alone, so the same spec still gives the same bytes: the rule is part of the recipe. It only
//! lowers the cap; quality and decoder configuration are the spec's.

use reelmill_common::ladder::VideoSettings;
use reelmill_common::outcome::FileReport;
use reelmill_common::spec::{VideoChunk, VideoRung};

/// Encodes of a rung of a chunk, at most, the first included: after the last one it is taken as it is, and said.
pub const MOST_ENCODES: u32 = 3;

/// A window may exceed the cap by this factor: three halves.
const BOUND: (u128, u128) = (3, 2);

/// A new cap aims this much below the bound, in hundredths, so that one more encode is enough nearly always.
const AIM: u128 = 95;

/// No cap is lower than this: x264 takes 0 for no cap.
const LEAST_KBPS: u32 = 8;

/// What an encode of a rung measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measured {
    /// The largest rate of a window, in bits a second, rounded up.
    pub peak_bps: u64,
}

/// The largest rate of any run of a chunk's segments that lasts between half and one and a half times the longest of
/// them. The longest stands for the target duration: in a chunk that is only a film's short tail the rule is stricter
/// than the playlist asks. `files` are those of one rung, in the order of their segments.
pub fn measure<'a>(chunk: &VideoChunk, files: impl Iterator<Item = &'a FileReport>) -> Measured {
    let media = files.filter(|f| f.segment.is_some());
    let segments: Vec<(i64, u64)> =
        chunk.segments.iter().zip(media).map(|(s, f)| (s.range.end.0 - s.range.start.0, f.bytes)).collect();
    let longest = segments.iter().map(|s| s.0).max().unwrap_or(0);
    let second = u128::from(chunk.out_timebase.den());
    let mut peak_bps = 0;
    for first in 0..segments.len() {
        let (mut ticks, mut bits) = (0i64, 0u128);
        for (own, bytes) in &segments[first..] {
            ticks += own;
            bits += u128::from(*bytes) * 8;
            if 2 * ticks > 3 * longest {
                break;
            }
            if 2 * ticks >= longest && ticks > 0 {
                let rate = (bits * second).div_ceil(ticks as u128 * u128::from(chunk.out_timebase.num()));
                peak_bps = peak_bps.max(u64::try_from(rate).unwrap_or(u64::MAX));
            }
        }
    }
    Measured { peak_bps }
}

impl Measured {
    /// Is it within the bound of a rung whose cap is `cap_kbps`?
    pub fn holds(self, cap_kbps: u32) -> bool {
        u128::from(self.peak_bps) * BOUND.1 <= u128::from(cap_kbps) * 1_000 * BOUND.0
    }

    /// The settings to encode again with, after an encode with `used` for a rung that is to have those of `wanted`.
    /// `None`: it holds, or no lower cap is left. The cap is lowered by as much as the window was too large, and the
    /// buffer with it.
    pub fn next(self, wanted: &VideoSettings, used: &VideoSettings) -> Option<VideoSettings> {
        if self.holds(wanted.max_rate_kbps) || self.peak_bps == 0 {
            return None;
        }
        let allowed = u128::from(wanted.max_rate_kbps) * 1_000 * BOUND.0 / BOUND.1;
        let cap = u128::from(used.max_rate_kbps) * allowed * AIM / (u128::from(self.peak_bps) * 100);
        let cap = u32::try_from(cap).unwrap_or(used.max_rate_kbps).max(LEAST_KBPS);
        if cap >= used.max_rate_kbps {
            return None;
        }
        let buffer = u64::from(wanted.buffer_kbit) * u64::from(cap) / u64::from(wanted.max_rate_kbps.max(1));
        let buffer_kbit = u32::try_from(buffer).unwrap_or(used.buffer_kbit).max(1);
        Some(VideoSettings { max_rate_kbps: cap, buffer_kbit, ..used.clone() })
    }
}

/// A chunk of only some rungs, each with settings of its own: what is encoded again.
pub fn with_only(chunk: &VideoChunk, rungs: &[(usize, VideoSettings)]) -> VideoChunk {
    let rung = |(n, settings): &(usize, VideoSettings)| {
        Some(VideoRung { settings: settings.clone(), ..chunk.rungs.get(*n)?.clone() })
    };
    VideoChunk { rungs: rungs.iter().filter_map(rung).collect(), ..chunk.clone() }
}

/// What the report says of a rung: nothing of one that was encoded once and holds. `encodes` are the cap in kbit/s and
/// the measurement of each, in order.
pub fn note(folder: &str, wanted: &VideoSettings, encodes: &[(u32, Measured)]) -> Option<String> {
    let [(_, first), again @ ..] = encodes else { return None };
    let cap = wanted.max_rate_kbps;
    let kbps = |m: &Measured| m.peak_bps.div_ceil(1_000);
    if again.is_empty() && first.holds(cap) {
        return None;
    }
    let again: Vec<String> = again
        .iter()
        .map(|(cap, m)| format!("; encoded again with a cap of {cap} kbit/s, which gave {}", kbps(m)))
        .collect();
    let held = encodes.last().is_some_and(|(_, m)| m.holds(cap));
    Some(format!(
        "{folder}: a window of {} kbit/s exceeds one and a half times the cap of {cap} kbit/s{}{}",
        kbps(first),
        again.concat(),
        if held { "" } else { "; taken as it is, because a lower cap makes it no smaller" }
    ))
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
