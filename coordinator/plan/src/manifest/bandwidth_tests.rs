//! Tests of measured rates: peak windows of RFC 8216, and the least DASH bandwidth that never underflows.

use super::super::tracks::{Kind, Track};
use super::*;
use crate::audio;
use reelmill_common::SegmentNumber;
use reelmill_common::ladder::{AudioMix, AudioSettings};
use reelmill_common::plan::AudioRendition;

fn rendition() -> AudioRendition {
    AudioRendition {
        name: "audio".to_owned(),
        folder: "audio-0".to_owned(),
        group: audio::DEFAULT_GROUP.to_owned(),
        language: "und".to_owned(),
        title: "Audio".to_owned(),
        is_default: true,
        settings: AudioSettings { sample_rate: 48_000, channels: 2, bit_rate_kbps: 128, mix: AudioMix::Keep },
        asc: Vec::new(),
        total_samples: 0,
        segments: Vec::new(),
    }
}

/// Segments of (milliseconds, bytes).
fn track<'a>(rendition: &'a AudioRendition, sizes: &[(i64, u64)]) -> Track<'a> {
    let mut start = 0;
    let mut segments = Vec::new();
    for (n, (ms, bytes)) in sizes.iter().enumerate() {
        let number = SegmentNumber(n as u32 + 1);
        segments.push(Segment { number, start, end: start + ms, bytes: *bytes, iframe: None });
        start += ms;
    }
    Track { folder: "audio-0", codec: String::new(), timescale: 1000, kind: Kind::Audio(rendition), segments }
}

#[test]
fn the_peak_is_that_of_the_worst_window_near_the_target() {
    let r = rendition();
    // target 4 s: windows of 2 to 6 s; the lone 1 s segment is too short to count alone
    let t = track(&r, &[(4000, 400_000), (4000, 800_000), (1000, 900_000), (4000, 100_000)]);
    assert_eq!(peak(&t, 4, segment_bits), (800_000u64 + 900_000) * 8 / 5);
    assert_eq!(average(&t, segment_bits), (2_200_000u64 * 8).div_ceil(13));
    let short = track(&r, &[(500, 1000)]);
    assert_eq!(peak(&short, 4, segment_bits), 16_000);
}

/// What [`never_underflows`] promises, checked by its definition: every start, every later segment.
fn holds(t: &Track<'_>, buffer: i64, rate: u64) -> bool {
    (0..t.segments.len()).all(|i| {
        (i..t.segments.len()).all(|j| {
            let bits: u64 = t.segments[i..=j].iter().map(segment_bits).sum();
            let time = buffer + t.micros(t.segments[j].start) - t.micros(t.segments[i].start);
            i128::from(bits) * 1_000_000 <= i128::from(rate) * i128::from(time)
        })
    })
}

proptest::proptest! {
    #[test]
    fn dash_bandwidth_is_the_least_rate_that_never_underflows(
        sizes in proptest::collection::vec((1i64..8000, 1u64..5_000_000), 1..20)
    ) {
        let r = rendition();
        let t = track(&r, &sizes);
        let buffer = sizes.iter().map(|s| s.0).max().unwrap_or(1) * 1000;
        let rate = never_underflows(&t, buffer);
        proptest::prop_assert!(holds(&t, buffer, rate));
        proptest::prop_assert!(rate == 1 || !holds(&t, buffer, rate - 1));
    }
}
