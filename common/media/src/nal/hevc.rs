//! HEVC sequence parameter sets (ITU-T H.265, 7.3.2.2 and E.2.1) and `hvcC` records (ISO/IEC 14496-15).

use super::{Picture, Record, unescape, vui_head};
use crate::bits::Bits;
use reelmill_common::index::{Colour, KeyKind};

const SPS: u8 = 33;

/// Reads the payload of an `hvcC` box.
pub(crate) fn record(hvcc: &[u8]) -> Option<Record> {
    let lengths = *hvcc.get(21)?;
    let arrays = *hvcc.get(22)?;
    let mut rest = hvcc.get(23..)?;
    for _ in 0..arrays {
        let [kind, high, low, more @ ..] = rest else { return None };
        rest = more;
        for _ in 0..u16::from_be_bytes([*high, *low]) {
            let (length, more) = rest.split_first_chunk::<2>()?;
            let (unit, more) = more.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            rest = more;
            if kind & 63 == SPS {
                return Some(Record {
                    length_size: usize::from(lengths & 3) + 1,
                    picture: sps_picture(unit)?,
                });
            }
        }
    }
    None
}

/// What a picture of this `nal_unit_type` is; `None` for units that hold no picture.
pub(crate) fn picture_kind(unit_type: u8) -> Option<KeyKind> {
    match unit_type {
        19 | 20 => Some(KeyKind::Idr),
        // BLA and CRA, whose leading pictures may refer to what came before
        16..=18 | 21 => Some(KeyKind::Open),
        // no random access point, whatever the container says
        0..=31 => Some(KeyKind::Unknown),
        _ => None,
    }
}

fn sps_picture(sps: &[u8]) -> Option<Picture> {
    let bytes = unescape(sps.get(2..)?);
    let b = &mut Bits::new(&bytes);
    b.skip(4)?; // VPS id
    let sub_layers = b.take(3)?;
    b.skip(1)?; // temporal nesting
    profile_tier_level(b, sub_layers)?;
    b.ue()?; // id
    let chroma = b.ue()?;
    let separate = chroma == 3 && b.flag()?;
    let (width, height) = (b.ue()?, b.ue()?);
    let crop = if b.flag()? { [b.ue()?, b.ue()?, b.ue()?, b.ue()?] } else { [0; 4] };
    let bit_depth = b.ue()?.checked_add(8).filter(|d| *d <= 16)?;
    b.ue()?; // chroma depth
    let poc_bits = b.ue()?.checked_add(4).filter(|n| *n <= 16)?;
    let all_layers = b.flag()?;
    b.skip_ue(3 * if all_layers { sub_layers + 1 } else { 1 })?;
    b.skip_ue(6)?; // block sizes and depths
    if b.flag()? && b.flag()? {
        scaling_list_data(b)?;
    }
    b.skip(2)?; // AMP, SAO
    if b.flag()? {
        b.skip(8)?; // PCM depths
        b.skip_ue(2)?;
        b.skip(1)?;
    }
    short_term_sets(b)?;
    if b.flag()? {
        let n = b.ue()?.min(33);
        b.skip((n * (poc_bits + 1)) as usize)?;
    }
    b.skip(2)?; // temporal MVP, strong intra smoothing
    let (mut sar, mut colour, mut field_seq) = (None, Colour::default(), false);
    if b.flag()? {
        (sar, colour) = vui_head(b)?;
        if b.flag()? {
            b.skip_ue(2)?; // chroma location
        }
        b.skip(1)?; // neutral chroma
        field_seq = b.flag()?;
    }
    let (unit_x, unit_y) = match (chroma, separate) {
        (1, _) => (2, 2),
        (2, _) => (2, 1),
        _ => (1, 1),
    };
    let side = |whole: u32, unit: u32, a: u32, b: u32| {
        whole.checked_sub(a.checked_add(b)?.checked_mul(unit)?).filter(|v| *v > 0)
    };
    Some(Picture {
        width: side(width, unit_x, crop[0], crop[1])?,
        height: side(height, unit_y, crop[2], crop[3])?,
        bit_depth: bit_depth as u8,
        frames_only: !field_seq,
        sar,
        colour,
    })
}

fn profile_tier_level(b: &mut Bits<'_>, sub_layers: u32) -> Option<()> {
    b.skip(88 + 8)?;
    let mut present = Vec::with_capacity(8);
    for _ in 0..sub_layers {
        present.push((b.flag()?, b.flag()?));
    }
    if sub_layers > 0 {
        b.skip(2 * (8 - sub_layers as usize))?;
    }
    present.into_iter().try_for_each(|(profile, level)| {
        b.skip(if profile { 88 } else { 0 })?;
        b.skip(if level { 8 } else { 0 })
    })
}

fn scaling_list_data(b: &mut Bits<'_>) -> Option<()> {
    for size in 0..4u32 {
        for _ in (0..6).step_by(if size == 3 { 3 } else { 1 }) {
            if !b.flag()? {
                b.ue()?;
                continue;
            }
            if size > 1 {
                b.se()?;
            }
            b.skip_ue(64.min(1 << (4 + 2 * size)))?;
        }
    }
    Some(())
}

/// `st_ref_pic_set` of every index (7.3.7): only the number of pictures in each matters, to predict the next.
fn short_term_sets(b: &mut Bits<'_>) -> Option<()> {
    let sets = b.ue()?;
    if sets > 64 {
        return None;
    }
    let mut before = 0;
    for index in 0..sets {
        if index > 0 && b.flag()? {
            b.skip(1)?; // sign of the difference
            b.ue()?;
            let mut now = 0;
            for _ in 0..=before {
                let used = b.flag()?;
                now += u32::from(used || b.flag()?);
            }
            before = now;
        } else {
            let (negative, positive) = (b.ue()?, b.ue()?);
            before = negative.checked_add(positive).filter(|n| *n <= 32)?;
            for _ in 0..before {
                b.ue()?;
                b.skip(1)?;
            }
        }
    }
    Some(())
}
