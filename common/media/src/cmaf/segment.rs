//! Media segments: `styp`, one `moof`, one `mdat`.

use super::CmafError;
use reelmill_common::outcome::IFrame;

/// Picture or sound.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Reordered pictures; composition offsets are written.
    Video,
    /// Packets in presentation order, every one a sync sample; no composition offsets.
    Audio,
}

/// One sample, in decode order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentSample<'a> {
    /// Presentation time in ticks of the rendition's timescale, on the timeline on which `start` lies.
    pub pts: i64,
    /// Sync sample (IDR)?
    pub key: bool,
    /// Its bytes, AVCC length-prefixed NAL units or a raw AAC packet.
    pub bytes: &'a [u8],
}

/// A segment to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentInput<'a> {
    /// Segment number: `mfhd` sequence number.
    pub number: u32,
    /// Picture or sound.
    pub kind: Kind,
    /// Start on the media timeline (video: output ticks; audio: `first_packet * 1024`), which is `tfdt`. The
    /// earliest sample lies exactly here.
    pub start: i64,
    /// End: closes the last sample's duration.
    pub end: i64,
    /// As in [`super::VideoInit::reorder_delay`]; 0 for audio.
    pub reorder_delay: u32,
    /// Samples in decode order.
    pub samples: Vec<SegmentSample<'a>>,
}

/// A finished segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// The file.
    pub bytes: Vec<u8>,
    /// For I-frame playlists: the first IDR, as the range from the start of `moof` to the end of its sample.
    /// Empty for audio.
    pub iframes: Vec<IFrame>,
}

/// Writes a segment.
///
/// # Errors
/// [`CmafError`] naming the rule that the samples break.
pub fn segment(input: &SegmentInput<'_>) -> Result<Segment, CmafError> {
    Err(CmafError::Empty { number: input.number })
}
