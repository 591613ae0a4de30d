//! NAL units of H.264 and HEVC: what parameter sets say about the picture, and what kind of picture a sample holds.
//!
//! Only as much as an index needs. From `avcC` and `hvcC` records and the first bytes of samples.

pub(crate) mod h264;
pub(crate) mod hevc;
pub(crate) mod sei;

use reelmill_common::index::{Colour, KeyKind};

/// What a sequence parameter set says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Picture {
    /// Width after cropping.
    pub(crate) width: u32,
    /// Height after cropping.
    pub(crate) height: u32,
    /// Bits per luma sample.
    pub(crate) bit_depth: u8,
    /// Every picture is a frame.
    pub(crate) frames_only: bool,
    /// Sample aspect ratio, if stated.
    pub(crate) sar: Option<(u32, u32)>,
    /// Colour as far as stated.
    pub(crate) colour: Colour,
}

/// A decoder configuration record: parameter sets out of band.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    /// Bytes of the length before each NAL unit in a sample.
    pub(crate) length_size: usize,
    /// The first sequence parameter set.
    pub(crate) picture: Picture,
}

/// NAL units of a length-prefixed sample, as far as they are in `bytes`; the last one may be cut short.
pub(crate) fn units(bytes: &[u8], length_size: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (length, body) = rest.split_at_checked(length_size)?;
        let length = length.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
        let unit = &body[..length.min(body.len())];
        rest = body.get(length..).unwrap_or_default();
        (!body.is_empty()).then_some(unit)
    })
}

/// What the first coded picture of a sync sample is, by its NAL unit type. `None`: no picture in these bytes.
pub(crate) fn key_kind(bytes: &[u8], length_size: usize, hevc: bool) -> Option<KeyKind> {
    units(bytes, length_size).find_map(|unit| {
        let first = *unit.first()?;
        if hevc { hevc::picture_kind(first >> 1 & 63) } else { h264::picture_kind(first & 31) }
    })
}

/// Removes emulation prevention bytes (00 00 03 -> 00 00).
fn unescape(unit: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(unit.len());
    let mut zeros = 0;
    for byte in unit {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        out.push(*byte);
    }
    out
}

/// Aspect ratios of `aspect_ratio_idc` 1 to 16 (ITU-T H.264, table E-1; the same in HEVC).
const ASPECTS: [(u32, u32); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];

/// The beginning that both codecs' VUI share: aspect ratio, overscan, video signal type.
fn vui_head(b: &mut crate::bits::Bits<'_>) -> Option<(Option<(u32, u32)>, Colour)> {
    let mut sar = None;
    if b.flag()? {
        sar = match b.take(8)? {
            255 => Some((b.take(16)?, b.take(16)?)).filter(|(w, h)| *w > 0 && *h > 0),
            idc => ASPECTS.get((idc as usize).wrapping_sub(1)).copied(),
        };
    }
    if b.flag()? {
        b.skip(1)?; // overscan_appropriate
    }
    let mut colour = Colour::default();
    if b.flag()? {
        b.skip(3)?; // video_format
        colour.full_range = Some(b.flag()?);
        if b.flag()? {
            let mut code = || b.take(8).map(|v| Some(v as u8).filter(|v| *v != UNSPECIFIED));
            (colour.primaries, colour.transfer, colour.matrix) = (code()?, code()?, code()?);
        }
    }
    Some((sar, colour))
}

/// The code point that says nothing (ISO/IEC 23091-2).
pub(crate) const UNSPECIFIED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_a_cut_sample_are_still_found() {
        let sample = [0, 0, 0, 2, 0x06, 5, 0, 0, 1, 0, 0x65, 1, 2];
        let types: Vec<u8> = units(&sample, 4).map(|u| u[0] & 31).collect();
        assert_eq!(types, [6, 5]);
        assert_eq!(key_kind(&sample, 4, false), Some(KeyKind::Idr));
        assert_eq!(key_kind(&[0, 2, 0x06, 5], 2, false), None);
        assert_eq!(key_kind(&[0, 0, 0, 9, 21 << 1, 1], 4, true), Some(KeyKind::Open));
    }
}
