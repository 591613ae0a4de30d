//! Tests of the sound's plan: mixes, languages, groups, and where packets are cut.

use super::*;
use crate::testing;
use proptest::prelude::*;

fn settings(sample_rate: u32, channels: u16) -> AudioSettings {
    AudioSettings { sample_rate, channels, bit_rate_kbps: 128, mix: AudioMix::Keep }
}

/// As read from `esds` in files that ffmpeg 5.1.9 and 9.0.2 wrote with `-c:a aac`: both the same.
#[test]
fn the_audio_specific_config_is_what_ffmpeg_writes() {
    for (rate, channels, want) in [
        (44_100, 1, [0x12, 0x08, 0x56, 0xE5, 0x00]),
        (44_100, 2, [0x12, 0x10, 0x56, 0xE5, 0x00]),
        (44_100, 6, [0x12, 0x30, 0x56, 0xE5, 0x00]),
        (48_000, 1, [0x11, 0x88, 0x56, 0xE5, 0x00]),
        (48_000, 2, [0x11, 0x90, 0x56, 0xE5, 0x00]),
        (48_000, 6, [0x11, 0xB0, 0x56, 0xE5, 0x00]),
    ] {
        assert_eq!(audio_specific_config(&settings(rate, channels)), want, "{rate} Hz, {channels} channels");
    }
}

#[test]
fn packets_carry_the_samples_and_one_frame_of_delay() {
    assert_eq!(packets(1), 2);
    assert_eq!(packets(1024), 2);
    assert_eq!(packets(1025), 3);
    assert_eq!(packets(48_000), 48);
}

#[test]
fn the_groups_hold_what_their_names_say() {
    let index = testing::surround();
    let (wishes, _) = wishes(&index);
    let shown: Vec<_> = wishes
        .iter()
        .map(|w| (w.name.as_str(), w.group, w.settings.channels, w.is_default, w.needs_peak))
        .collect();
    assert_eq!(
        shown,
        [
            ("audio-en", DEFAULT_GROUP, 2, false, true),
            ("audio-de", DEFAULT_GROUP, 2, true, false),
            ("audio-51-en", SURROUND_GROUP, 6, false, false),
        ]
    );
}

#[test]
fn one_rate_and_one_channel_count_hold_for_a_group() {
    let of = |tracks: Vec<AudioTrack>| {
        let index = testing::index(None, tracks);
        let (wishes, _) = wishes(&index);
        wishes.iter().map(|w| (w.settings.sample_rate, w.settings.channels)).collect::<Vec<_>>()
    };
    let track = testing::audio;
    assert_eq!(of(vec![track(0, 2, 44_100, 9)]), [(44_100, 2)]);
    assert_eq!(of(vec![track(0, 2, 44_100, 9), track(1, 2, 48_000, 9)]), [(48_000, 2); 2]);
    assert_eq!(of(vec![track(0, 1, 8000, 9), track(1, 1, 96_000, 9)]), [(48_000, 1); 2]);
    assert_eq!(of(vec![track(0, 1, 48_000, 9), track(1, 2, 48_000, 9)]), [(48_000, 2); 2]);
}

#[test]
fn names_and_titles_are_unique_and_safe() {
    let mut tracks: Vec<_> = (0..4).map(|n| testing::audio(n, 2, 48_000, 9)).collect();
    tracks[0].title = Some("a \"quoted\"\n title".to_owned());
    tracks[1].language = Some("EN".to_owned());
    tracks[2].language = Some("eng".to_owned());
    tracks[3].language = Some("x\"><script".to_owned());
    let labels = labels(&tracks);
    let shown: Vec<_> =
        labels.iter().map(|l| (l.suffix.as_str(), l.title.as_str(), l.language.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("-und", "a quoted title", "und"),
            ("-en", "English", "en"),
            ("-en-2", "English 2", "en"),
            ("-und-2", "Audio", "und"),
        ]
    );
}

proptest! {
    /// Every packet is in exactly one segment, no segment is empty, and each border is the nearest there is.
    #[test]
    fn segments_cover_all_packets_once(
        steps in prop::collection::vec(1i64..400_000, 1..60),
        rate in prop::sample::select(vec![44_100u32, 48_000]),
        scale in prop::sample::select(vec![1000u32, 24_000, 60_000, 90_000]),
    ) {
        let mut bounds = vec![0];
        bounds.extend(steps.iter().scan(0, |at, s| { *at += s; Some(*at) }));
        let samples = rescale(*bounds.last().unwrap(), scale, rate).max(1);
        let segments = segments(&bounds, scale, rate, samples);
        prop_assert_eq!(segments[0].first_packet, 0);
        prop_assert_eq!(segments.last().unwrap().end_packet, packets(samples));
        prop_assert!(segments.iter().all(|s| s.first_packet < s.end_packet));
        prop_assert!(segments.windows(2).all(|w| w[0].end_packet == w[1].first_packet));
        prop_assert!(segments.iter().zip(1..).all(|(s, n)| s.number == SegmentNumber(n)));
        for s in &segments[1..] {
            let begins = i128::from(s.first_packet * AAC_FRAME - AAC_FRAME);
            let near = bounds.iter().any(|b| (i128::from(rescale(*b, scale, rate)) - begins).abs() <= 512);
            prop_assert!(near, "packet {} is near no boundary", s.first_packet);
        }
    }
}
