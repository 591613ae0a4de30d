//! H.264 sequence parameter sets (ITU-T H.264, 7.3.2.1.1 and E.1.1) and `avcC` records (ISO/IEC 14496-15).

use super::{Picture, Record, unescape, vui_head};
use crate::bits::Bits;
use reelmill_common::index::{Colour, KeyKind};

/// Reads the payload of an `avcC` box.
pub(crate) fn record(avcc: &[u8]) -> Option<Record> {
    let [1, _, _, _, lengths, sets, high, low, rest @ ..] = avcc else { return None };
    if sets & 31 == 0 {
        return None;
    }
    let sps = rest.get(..usize::from(*high) << 8 | usize::from(*low))?;
    Some(Record { length_size: usize::from(lengths & 3) + 1, picture: sps_picture(sps)? })
}

/// What a picture of this `nal_unit_type` is; `None` for units that hold no picture.
pub(crate) fn picture_kind(unit_type: u8) -> Option<KeyKind> {
    match unit_type {
        5 => Some(KeyKind::Idr),
        // slices of any other picture: at a sync sample that is a recovery point
        1..=4 => Some(KeyKind::Open),
        _ => None,
    }
}

fn sps_picture(sps: &[u8]) -> Option<Picture> {
    let bytes = unescape(sps.get(1..)?);
    let b = &mut Bits::new(&bytes);
    let profile = b.take(8)?;
    b.skip(16)?; // constraints, level
    b.ue()?; // id
    let (mut chroma, mut separate, mut bit_depth) = (1, false, 8);
    if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
        chroma = b.ue()?;
        separate = chroma == 3 && b.flag()?;
        bit_depth = b.ue()?.checked_add(8).filter(|d| *d <= 14)?;
        b.ue()?; // chroma depth
        b.skip(1)?; // lossless bypass
        if b.flag()? {
            scaling_lists(b, if chroma == 3 { 12 } else { 8 })?;
        }
    }
    b.ue()?; // log2_max_frame_num
    match b.ue()? {
        0 => b.skip_ue(1)?,
        1 => {
            b.skip(1)?;
            b.skip_ue(2)?;
            let cycle = b.ue()?;
            b.skip_ue(cycle.min(256))?;
        }
        _ => {}
    }
    b.ue()?; // reference frames
    b.skip(1)?; // gaps allowed
    let (wide, tall) = (b.ue()?.checked_add(1)?, b.ue()?.checked_add(1)?);
    let frames_only = b.flag()?;
    b.skip(if frames_only { 1 } else { 2 })?;
    let crop = if b.flag()? { [b.ue()?, b.ue()?, b.ue()?, b.ue()?] } else { [0; 4] };
    let (sar, colour) = if b.flag()? { vui_head(b)? } else { (None, Colour::default()) };

    let fields = if frames_only { 1 } else { 2 };
    let (unit_x, unit_y) = match (chroma, separate) {
        (1, _) => (2, 2),
        (2, _) => (2, 1),
        _ => (1, 1),
    };
    let side = |blocks: u32, unit: u32, a: u32, b: u32| {
        blocks.checked_mul(16)?.checked_sub(a.checked_add(b)?.checked_mul(unit)?).filter(|v| *v > 0)
    };
    Some(Picture {
        width: side(wide, unit_x, crop[0], crop[1])?,
        height: side(tall.checked_mul(fields)?, unit_y * fields, crop[2], crop[3])?,
        bit_depth: bit_depth as u8,
        frames_only,
        sar,
        colour,
    })
}

fn scaling_lists(b: &mut Bits<'_>, lists: u32) -> Option<()> {
    for list in 0..lists {
        if !b.flag()? {
            continue;
        }
        let (mut last, mut next) = (8i32, 8i32);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = last.wrapping_add(b.se()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_x264_is_read() {
        // 64x48, High, made by x264
        let avcc = [
            1, 0x64, 0, 0x0A, 0xFF, 0xE1, 0, 0x18, 0x67, 0x64, 0, 0x0A, 0xAC, 0xD9, 0x44, 0x7B, 0x01, 0x10,
            0, 0, 3, 0, 0x10, 0, 0, 3, 3, 0, 0xF1, 0x22, 0x59, 0x60, 1, 0, 5, 0x68, 0xEB, 0xEC, 0xB2, 0x2C,
            0xFD, 0xF8, 0xF8, 0,
        ];
        let record = record(&avcc).expect("record");
        assert_eq!(record.length_size, 4);
        let p = record.picture;
        assert_eq!((p.width, p.height, p.bit_depth, p.frames_only), (64, 48, 8, true));
        for cut in 0..33 {
            assert!(super::record(&avcc[..cut.min(8)]).is_none());
        }
    }
}
