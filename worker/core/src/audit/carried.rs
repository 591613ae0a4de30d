//! A segment of sound: its bytes and boxes, and which samples of the film it carries.
//!
//! A packet of AAC says the second half of what the one before it says, and the first half of its own: so a decoder that
//! begins with a segment gives one packet's samples that are no sound yet ([`AAC_FRAME`]), and the last packet's own half
//! is said by the next segment. All samples between are held against the source, to where the film ends.

use super::{Wrong, as_committed};
use crate::adopt::packets;
use crate::build::audio_init;
use crate::verify::OutputError;
use reelmill_common::audit::AuditSpec;
use reelmill_common::spec::{AAC_FRAME, AudioChunk, ChunkMedia};

/// A segment, ready to be decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Carried {
    /// Init segment and segment.
    pub file: Vec<u8>,
    /// Samples that a decoder gives of it, of each channel.
    pub decoded: u64,
    /// Of these, how many at the beginning are no sound yet.
    pub skip: u64,
    /// The sound that follows, in samples of the film at the rate of the rendition: from the first to behind the last.
    pub samples: (u64, u64),
}

/// Holds the bytes of a file of sound against its commit and its spec: what is to be listened to, nothing of an init
/// segment.
///
/// # Errors
/// [`Wrong`]: in what the file is not what was committed, or not what the spec asks for.
pub fn check_sound<'a>(
    spec: &'a AuditSpec,
    found: &[u8],
) -> Result<(&'a AudioChunk, Option<Carried>), Wrong> {
    let ChunkMedia::Audio(chunk) = &spec.chunk.media else {
        return Err(Wrong("it is not a file of sound".to_owned()));
    };
    as_committed(spec, found)?;
    let wrong = |e: OutputError| Wrong(e.to_string());
    let init = audio_init(chunk).map_err(wrong)?;
    let Some(number) = spec.segment else {
        return match init == found {
            true => Ok((chunk, None)),
            false => Err(Wrong("the init segment is not the one that the spec asks for".to_owned())),
        };
    };
    packets(chunk, number, &init, found).map_err(wrong)?;
    let segment = chunk.segments.iter().find(|s| s.number == number);
    let segment = segment.ok_or_else(|| Wrong("the spec has no such segment".to_owned()))?;
    let start = (segment.first_packet * AAC_FRAME).min(chunk.total_samples);
    let end = (segment.end_packet.saturating_sub(1) * AAC_FRAME).clamp(start, chunk.total_samples);
    Ok((
        chunk,
        Some(Carried {
            file: [&init, found].concat(),
            decoded: segment.end_packet.saturating_sub(segment.first_packet) * AAC_FRAME,
            skip: AAC_FRAME,
            samples: (start, end),
        }),
    ))
}
