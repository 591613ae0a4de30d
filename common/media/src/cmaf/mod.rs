//! Writer of the package's own CMAF files: init segments and media segments, byte for byte a function of their input.

mod init;
mod segment;

pub use init::{AudioInit, VideoInit, init_audio, init_video};
pub use segment::{Kind, Segment, SegmentInput, SegmentSample, segment};

use crate::boxes::children;

/// The box in which the byte `at` of a segment lies, as `moof/traf/tfdt`: for messages about what differs there.
pub fn place(segment: &[u8], at: usize) -> String {
    let (mut path, mut within, mut at) = (String::new(), segment, at);
    while let Some(found) = children(within).map_while(Result::ok).find(|c| (c.start..c.end()).contains(&at))
    {
        path = if path.is_empty() { found.name() } else { format!("{path}/{}", found.name()) };
        let is_parent = matches!(&found.kind, b"moof" | b"traf");
        let Some(inside) = at.checked_sub(found.start + found.head).filter(|_| is_parent) else { break };
        (within, at) = (found.body, inside);
    }
    if path.is_empty() { "no box".to_owned() } else { path }
}

/// Why a segment cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CmafError {
    /// A value does not fit the box it belongs into.
    #[error("{what} {value} does not fit into its box")]
    Range {
        /// Which value.
        what: &'static str,
        /// The value.
        value: i64,
    },
    /// A segment needs at least one sample.
    #[error("segment {number} has no samples")]
    Empty {
        /// The segment.
        number: u32,
    },
    /// The decoder must be able to start here.
    #[error("segment {number} does not begin with a sync sample")]
    NoSync {
        /// The segment.
        number: u32,
    },
    /// Audio packets are never reordered.
    #[error("segment {number}: the packet at {pts} is out of order")]
    AudioOrder {
        /// The segment.
        number: u32,
        /// The packet's time.
        pts: i64,
    },
    /// Presentation times must be distinct.
    #[error("segment {number} has two samples at {pts}")]
    Duplicate {
        /// The segment.
        number: u32,
        /// The time.
        pts: i64,
    },
    /// The earliest sample must lie at the segment's start and the last before its end.
    #[error("segment {number} is [{start}, {end}) but its samples span [{first}, {last}]")]
    Span {
        /// The segment.
        number: u32,
        /// Its planned start.
        start: i64,
        /// Its planned end.
        end: i64,
        /// Earliest presentation time.
        first: i64,
        /// Latest presentation time.
        last: i64,
    },
    /// The plan's reorder delay is too small for this picture order.
    #[error(
        "segment {number}: the frame at {pts} is decoded {late} ticks too late for a reorder delay of {delay}"
    )]
    Reorder {
        /// The segment.
        number: u32,
        /// The frame's presentation time.
        pts: i64,
        /// By how much its composition offset would be negative.
        late: i64,
        /// The planned delay.
        delay: u32,
    },
}
