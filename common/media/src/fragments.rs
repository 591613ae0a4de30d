//! Samples of ffmpeg's fragmented MP4 output, read back whole.
//!
//! The container is transport only: the worker takes times and bytes from it and writes its own segments with
//! [`crate::cmaf`]. Strict: what ffmpeg would not write is an error, because it means a truncated or foreign file.

use std::ops::Range;

/// Why a file is not what ffmpeg writes with `+frag_keyframe+empty_moov+default_base_moof`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fragmented MP4 at byte {offset}: {what}")]
pub struct FragmentError {
    /// Where in the file.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

/// A track's decoder configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Config {
    /// H.264: the payload of `avcC` (ISO/IEC 14496-15, AVCDecoderConfigurationRecord).
    Avc(Vec<u8>),
    /// AAC: the AudioSpecificConfig of `esds` (ISO/IEC 14496-3).
    Aac(Vec<u8>),
}

/// One track.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Track {
    /// Its id in the file.
    pub id: u32,
    /// Ticks a second of every time below.
    pub timescale: u32,
    /// Decoder configuration.
    pub config: Config,
    /// Samples in file order, which is decode order.
    pub samples: Vec<Sample>,
}

/// One sample.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Presentation time: `dts` plus composition offset.
    pub pts: i64,
    /// Decode time: `tfdt` plus the durations before. Signed: ffmpeg writes negative times as two's complement.
    pub dts: i64,
    /// Sync sample?
    pub key: bool,
    /// Where its bytes lie in the file.
    pub range: Range<usize>,
    /// Duration as written.
    pub duration: u32,
}

/// Reads a whole file.
///
/// # Errors
/// [`FragmentError`] at the first byte that is not what ffmpeg writes.
pub fn read(file: &[u8]) -> Result<Vec<Track>, FragmentError> {
    Err(FragmentError { offset: file.len() as u64, what: String::new() })
}
