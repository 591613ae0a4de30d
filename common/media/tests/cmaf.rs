//! The CMAF writer against independent readers: mp4-atom, our own fragment reader, and a real ffmpeg.

use expect_test::expect_file;
use mp4_atom::{Any, Decode, Moof, Moov};
use proptest::prelude::*;
use reelmill_media::cmaf::{
    AudioInit, CmafError, Kind, SegmentInput, SegmentSample, VideoInit, init_audio, init_video, place,
    segment,
};
use reelmill_media::fragments::{self, Config};
use std::fmt::Write as _;

/// A record that x264 made for a 64x48 picture: High profile, one SPS, one PPS.
const AVCC: &[u8] = &[
    1, 0x64, 0, 0x0A, 0xFF, 0xE1, 0, 0x18, 0x67, 0x64, 0, 0x0A, 0xAC, 0xD9, 0x44, 0x7B, 1, 0x10, 0, 0, 3, 0,
    0x10, 0, 0, 3, 3, 0, 0xF1, 0x22, 0x59, 0x60, 1, 0, 5, 0x68, 0xEB, 0xEC, 0xB2, 0x2C, 0xFD, 0xF8, 0xF8, 0,
];

fn video_init(reorder_delay: u32) -> Vec<u8> {
    let init =
        VideoInit { width: 64, height: 48, timescale: 24_000, avcc: AVCC, colour: [1, 1, 1], reorder_delay };
    init_video(&init).expect("init")
}

fn audio_init() -> Vec<u8> {
    let asc = &[0x11, 0x90];
    let init = AudioInit { timescale: 48_000, channels: 2, asc, bit_rate: 128_000, encoder_delay: 1024 };
    init_audio(&init).expect("init")
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for line in bytes.chunks(32) {
        line.iter().for_each(|b| write!(out, "{b:02x}").expect("string"));
        out.push('\n');
    }
    out
}

/// Two GOPs of I B B P in decode order I P B B, at 1001 ticks.
fn two_gops() -> SegmentInput<'static> {
    let order = [0i64, 3, 1, 2, 4, 7, 5, 6];
    let samples = order
        .into_iter()
        .map(|n| SegmentSample {
            pts: 8008 + 1001 * n,
            key: n % 4 == 0,
            bytes: &[0, 0, 0, 1, 0x65][..5 - n as usize % 2],
        })
        .collect();
    SegmentInput { number: 2, kind: Kind::Video, start: 8008, end: 16_016, reorder_delay: 2002, samples }
}

#[test]
fn golden_bytes() {
    let mut out = String::new();
    writeln!(out, "video init, reorder delay 2002\n{}", hex(&video_init(2002))).expect("string");
    writeln!(out, "audio init\n{}", hex(&audio_init())).expect("string");
    writeln!(out, "two GOPs\n{}", hex(&segment(&two_gops()).expect("segment").bytes)).expect("string");
    let packets: Vec<SegmentSample<'_>> =
        (0..3).map(|i| SegmentSample { pts: 1024 * i, key: true, bytes: &[0x21, 0x10, 5] }).collect();
    let tail = SegmentInput {
        number: 1,
        kind: Kind::Audio,
        start: 0,
        end: 2048 + 500,
        reorder_delay: 0,
        samples: packets,
    };
    writeln!(out, "audio segment with a short last packet\n{}", hex(&segment(&tail).expect("segment").bytes))
        .expect("string");
    expect_file!["golden/cmaf.txt"].assert_eq(&out);
}

#[test]
fn an_independent_reader_understands_the_init_segments() {
    for (init, skip) in [(video_init(2002), Some(2002)), (video_init(0), None), (audio_init(), Some(1024))] {
        let mut rest = &init[..];
        assert!(
            matches!(Any::decode(&mut rest).expect("ftyp"), Any::Ftyp(f) if f.major_brand == b"iso6".into())
        );
        let moov = Moov::decode(&mut rest).expect("moov");
        assert!(rest.is_empty());
        let edits = moov.trak[0].edts.as_ref().and_then(|e| e.elst.as_ref());
        assert_eq!(edits.and_then(|e| e.entries[0].media_time), skip);
        assert_eq!(moov.mvex.expect("mvex").trex.len(), 1);
    }
    // a delay over 2^31 needs version 1
    let mut rest = &video_init(3_000_000_000)[..];
    Any::decode(&mut rest).expect("ftyp");
    let moov = Moov::decode(&mut rest).expect("moov");
    assert_eq!(
        moov.trak[0].edts.as_ref().and_then(|e| e.elst.as_ref()).expect("elst").entries[0].media_time,
        Some(3_000_000_000)
    );
}

#[test]
fn the_i_frame_range_ends_with_the_first_picture() {
    let made = segment(&two_gops()).expect("segment");
    assert_eq!(made.iframes.len(), 1);
    let iframe = made.iframes[0];
    assert_eq!(iframe.time, 8008);
    let range = &made.bytes[iframe.offset as usize..(iframe.offset + iframe.length) as usize];
    assert_eq!(&range[4..8], b"moof");
    assert!(range.ends_with(&[0, 0, 0, 1, 0x65]));
    let moof = Moof::decode(&mut &range[..]).expect("moof");
    assert_eq!(moof.mfhd.sequence_number, 2);
}

#[test]
fn a_byte_of_a_segment_is_named_by_its_box() {
    let bytes = segment(&two_gops()).expect("segment").bytes;
    let of = |kind: &[u8; 4]| bytes.windows(4).position(|w| w == kind).expect("box");
    let cases: [(&[u8; 4], &str); 7] = [
        (b"styp", "styp"),
        (b"moof", "moof"),
        (b"mfhd", "moof/mfhd"),
        (b"traf", "moof/traf"),
        (b"tfdt", "moof/traf/tfdt"),
        (b"trun", "moof/traf/trun"),
        (b"mdat", "mdat"),
    ];
    for (kind, path) in cases {
        assert_eq!(place(&bytes, of(kind)), path);
    }
    assert_eq!(place(&bytes, of(b"tfdt") + 4), "moof/traf/tfdt", "its content");
    assert_eq!(place(&bytes, bytes.len() - 1), "mdat");
    assert_eq!(place(&bytes, bytes.len()), "no box");
    assert_eq!(place(b"not a box", 3), "no box");
}

#[test]
fn each_broken_rule_is_named() {
    let good = two_gops();
    assert!(matches!(
        segment(&SegmentInput { samples: vec![], ..good.clone() }),
        Err(CmafError::Empty { number: 2 })
    ));
    let mut swapped = good.clone();
    swapped.samples.swap(0, 1);
    assert!(matches!(segment(&swapped), Err(CmafError::NoSync { .. })));
    let mut twice = good.clone();
    twice.samples[1].pts = 8008;
    assert!(matches!(segment(&twice), Err(CmafError::Duplicate { pts: 8008, .. })));
    assert!(matches!(segment(&SegmentInput { start: 8000, ..good.clone() }), Err(CmafError::Span { .. })));
    assert!(matches!(segment(&SegmentInput { end: 15_015, ..good.clone() }), Err(CmafError::Span { .. })));
    assert!(matches!(
        segment(&SegmentInput { reorder_delay: 1000, ..good.clone() }),
        Err(CmafError::Reorder { pts: 9009, late: 1, delay: 1000, .. })
    ));
    assert!(matches!(
        segment(&SegmentInput { kind: Kind::Audio, reorder_delay: 0, ..good }),
        Err(CmafError::AudioOrder { .. })
    ));
    let narrow =
        VideoInit { width: 0, height: 48, timescale: 1, avcc: AVCC, colour: [1, 1, 1], reorder_delay: 0 };
    assert!(matches!(init_video(&narrow), Err(CmafError::Range { what: "width", .. })));
    let fast = AudioInit { timescale: 96_000, channels: 2, asc: &[1], bit_rate: 0, encoder_delay: 0 };
    assert!(matches!(init_audio(&fast), Err(CmafError::Range { what: "sample rate", .. })));
}

/// Strictly increasing times, a segmentation, and a decode order: any order within each segment that begins with
/// the earliest frame.
fn film() -> impl Strategy<Value = Vec<Vec<(i64, usize)>>> {
    let gaps = prop::collection::vec(1i64..5000, 1..60);
    (gaps, prop::collection::vec(any::<(u8, u32)>(), 60)).prop_map(|(gaps, dice)| {
        let mut time = 0;
        let mut segments: Vec<Vec<(i64, usize)>> = vec![vec![]];
        for (i, gap) in gaps.iter().enumerate() {
            if dice[i].0 < 40 && segments.last().is_some_and(|s| !s.is_empty()) {
                segments.push(vec![]);
            }
            segments.last_mut().expect("one").push((time, 1 + dice[i].0 as usize));
            time += gap;
        }
        for segment in &mut segments {
            segment[1..].sort_by_key(|(t, _)| dice[*t as usize % 60].1);
        }
        segments
    })
}

/// The least reorder delay that suits all segments; at least 1, because 0 means negative offsets.
fn least_delay(segments: &[Vec<(i64, usize)>]) -> u32 {
    let late = segments.iter().flat_map(|s| {
        let mut sorted: Vec<i64> = s.iter().map(|(t, _)| *t).collect();
        sorted.sort_unstable();
        s.iter().zip(sorted).map(|((pts, _), dts)| dts - pts).collect::<Vec<_>>()
    });
    late.max().unwrap_or(0).max(1) as u32
}

proptest! {
    #[test]
    fn any_times_give_contiguous_segments(segments in film(), last in 1i64..5000, negative in any::<bool>()) {
        let bytes = [7u8; 300];
        let delay = if negative { 0 } else { least_delay(&segments) };
        let mut file = video_init(delay);
        let mut wanted = Vec::new();
        for (k, frames) in segments.iter().enumerate() {
            let start = frames.iter().map(|f| f.0).min().expect("frames");
            let end = match segments.get(k + 1) {
                Some(next) => next.iter().map(|f| f.0).min().expect("frames"),
                None => frames.iter().map(|f| f.0).max().expect("frames") + last,
            };
            let samples: Vec<_> = frames
                .iter()
                .enumerate()
                .map(|(i, (pts, len))| SegmentSample { pts: *pts, key: i == 0, bytes: &bytes[..*len] })
                .collect();
            wanted.extend(samples.iter().map(|s| (s.pts, s.key, s.bytes.len(), end)));
            let input = SegmentInput { number: k as u32 + 1, kind: Kind::Video, start, end, reorder_delay: delay, samples };
            file.extend(segment(&input).expect("segment").bytes);
        }
        let tracks = fragments::read(&file).expect("readable");
        prop_assert_eq!(&tracks[0].config, &Config::Avc(AVCC.to_vec()));
        let samples = &tracks[0].samples;
        prop_assert_eq!(samples.len(), wanted.len());
        let mut clock = 0;
        for (sample, (pts, key, len, _)) in samples.iter().zip(&wanted) {
            prop_assert_eq!(sample.dts, clock);
            clock += i64::from(sample.duration);
            prop_assert_eq!(sample.pts - i64::from(delay), *pts);
            prop_assert!(negative || sample.pts >= sample.dts);
            prop_assert_eq!((sample.key, sample.range.len()), (*key, *len));
        }
        prop_assert_eq!(clock, wanted.last().expect("frames").3);
    }

    #[test]
    fn one_tick_less_delay_is_refused(segments in film()) {
        let delay = least_delay(&segments);
        prop_assume!(delay > 1);
        let bytes = [7u8; 300];
        let errors = segments.iter().filter(|frames| {
            let samples: Vec<_> = frames
                .iter()
                .enumerate()
                .map(|(i, (pts, len))| SegmentSample { pts: *pts, key: i == 0, bytes: &bytes[..*len] })
                .collect();
            let start = frames.iter().map(|f| f.0).min().expect("frames");
            let end = frames.iter().map(|f| f.0).max().expect("frames") + 1;
            let input = SegmentInput { number: 1, kind: Kind::Video, start, end, reorder_delay: delay - 1, samples };
            matches!(segment(&input), Err(CmafError::Reorder { .. }))
        });
        prop_assert!(errors.count() > 0);
    }
}
