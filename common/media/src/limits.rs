//! What a source may have at most. Each limit has its own error, so that a refusal names what was too much.

use crate::error::IndexError;

/// Bounds on a source. The defaults fit ten hours at 120 frames a second in 8K.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Tracks of any kind.
    pub tracks: u64,
    /// Samples (frames or audio packets) of one track.
    pub samples: u64,
    /// Keyframes of one track.
    pub keyframes: u64,
    /// Edit list entries of one track.
    pub edits: u64,
    /// Pixels of one picture.
    pub pixels: u64,
    /// Seconds from first to last frame.
    pub seconds: u64,
    /// Bytes of an MP4's `moov`.
    pub moov_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tracks: 64,
            samples: 8_000_000,
            keyframes: 4_400_000,
            edits: 1_000,
            pixels: 8192 * 4352,
            seconds: 12 * 3600,
            moov_bytes: 256 << 20,
        }
    }
}

/// Refuses `found` when it exceeds `limit`.
pub(crate) fn check(what: &'static str, found: u64, limit: u64) -> Result<(), IndexError> {
    if found > limit { Err(IndexError::Limit { what, found, limit }) } else { Ok(()) }
}
