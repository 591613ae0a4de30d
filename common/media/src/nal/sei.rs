//! Supplemental messages that say how bright a film is: mastering display colour volume and content light level
//! (ITU-T H.265, D.2.28 and D.2.35; the same payload types in H.264).

use super::{unescape, units};
use reelmill_common::index::Light;

const MASTERING_DISPLAY: usize = 137;
const CONTENT_LIGHT: usize = 144;

/// SEI's `nal_unit_type`.
const H264_SEI: u8 = 6;
const HEVC_PREFIX_SEI: u8 = 39;

/// What the messages before the first picture of a sync sample say; the sample may be cut short.
pub(crate) fn light(sample: &[u8], length_size: usize, hevc: bool) -> Light {
    let mut light = Light::default();
    for unit in units(sample, length_size) {
        let payload = match unit {
            [head, _, rest @ ..] if hevc && head >> 1 & 63 == HEVC_PREFIX_SEI => rest,
            [head, rest @ ..] if !hevc && head & 31 == H264_SEI => rest,
            _ => continue,
        };
        let bytes = unescape(payload);
        for (kind, message) in messages(&bytes) {
            let found = match kind {
                MASTERING_DISPLAY => mastering_display(message),
                CONTENT_LIGHT => content_light(message),
                _ => continue,
            };
            light = light.or(found);
        }
    }
    light
}

/// Payload types with their payloads, as far as they are whole.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    std::iter::from_fn(move || {
        let kind = number(&mut bytes)?;
        let size = number(&mut bytes)?;
        let (payload, rest) = bytes.split_at_checked(size)?;
        bytes = rest;
        Some((kind, payload))
    })
}

/// A number in bytes that are added up until one is not 255.
fn number(bytes: &mut &[u8]) -> Option<usize> {
    let mut sum = 0usize;
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        sum += usize::from(*byte);
        if *byte != 255 {
            return Some(sum);
        }
    }
}

/// The body of a mastering display message, which is also that of an `mdcv` box: three primaries, the white point, and
/// the brightest and darkest luminance in 1/10,000 cd/m².
pub(crate) fn mastering_display(body: &[u8]) -> Light {
    let brightest =
        body.get(16..).and_then(|b| b.first_chunk::<4>()).map(|b| u32::from_be_bytes(*b) / 10_000);
    Light { mastering_peak: brightest.filter(|l| *l > 0), ..Light::default() }
}

/// The body of a content light level message, which is also that of a `clli` box: the brightest pixel and the brightest
/// average of a frame.
pub(crate) fn content_light(body: &[u8]) -> Light {
    let brightest = body.first_chunk::<2>().map(|b| u32::from(u16::from_be_bytes(*b)));
    Light { max_content: brightest.filter(|l| *l > 0), ..Light::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ITU-R BT.2020 primaries on a display of 1,000 to 0.0001 cd/m², and 640 cd/m² at most.
    const DISPLAY: [u8; 24] = [
        0x21, 0x34, 0x9b, 0xaa, 0x19, 0x96, 0x08, 0xfc, 0x8a, 0x48, 0x39, 0x08, 0x3d, 0x13, 0x40, 0x42, 0x00,
        0x98, 0x96, 0x80, 0x00, 0x00, 0x00, 0x01,
    ];

    fn sample(units: &[&[u8]]) -> Vec<u8> {
        units
            .iter()
            .flat_map(|u| (u.len() as u32).to_be_bytes().into_iter().chain(u.iter().copied()))
            .collect()
    }

    #[test]
    fn both_messages_are_read_from_one_unit_or_two() {
        // 00 00 00 in the display's darkest level is escaped
        let escaped: Vec<u8> = [&DISPLAY[..22], &[3, 0, 1]].concat();
        let display = [&[39 << 1, 1, 137, 24][..], &escaped, &[0x80]].concat();
        let light_level = [39 << 1, 1, 144, 4, 0x02, 0x80, 0x01, 0x00, 0x80];
        let both = [&[39 << 1, 1, 144, 4, 0x02, 0x80, 0x01, 0x00, 137, 24][..], &escaped, &[0x80]].concat();
        let want = Light { max_content: Some(640), mastering_peak: Some(1_000) };
        let slice = [40, 1, 9, 9];
        assert_eq!(light(&sample(&[&display, &light_level, &slice]), 4, true), want);
        assert_eq!(light(&sample(&[&both, &slice]), 4, true), want);
        let h264 = [6, 144, 4, 0x02, 0x80, 0x01, 0x00, 0x80];
        let only = Light { max_content: Some(640), mastering_peak: None };
        assert_eq!(light(&sample(&[&h264, &[0x65, 1]]), 4, false), only);
    }

    #[test]
    fn what_is_cut_or_says_zero_says_nothing() {
        let cut = sample(&[&[39 << 1, 1, 137, 24, 1, 2, 3]]);
        assert_eq!(light(&cut, 4, true), Light::default());
        assert_eq!(light(&sample(&[&[39 << 1, 1, 255, 255]]), 4, true), Light::default());
        let zero = sample(&[&[39 << 1, 1, 144, 4, 0, 0, 0, 0, 0x80]]);
        assert_eq!(light(&zero, 4, true), Light::default());
        assert_eq!(light(&[], 4, true), Light::default());
    }
}
