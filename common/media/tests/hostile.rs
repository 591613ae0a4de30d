//! Hostile bytes: whatever is fed, an answer comes, nothing panics, and memory stays within a small multiple of the
//! input.

use bytes::Bytes;
use cap::Cap;
use proptest::prelude::*;
use reelmill_common::index::SourceIndex;
use reelmill_media::mp4::{Mp4Index, Step};
use reelmill_media::scan::{Depth, Scan};
use reelmill_media::{IndexError, Limits, aac, fragments, probe_format};
use std::alloc::System;
use std::sync::Mutex;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// One measurement at a time: the allocator is shared.
static ONE: Mutex<()> = Mutex::new(());

const TINY: &[u8] = include_bytes!("data/tiny.mp4");
const FRAGMENTS: &[u8] = include_bytes!("data/fragments.mp4");

/// Runs `work` with at most `budget` bytes more than are in use now; more aborts the test.
fn bounded<T>(budget: usize, work: impl FnOnce() -> T) -> T {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    MEMORY.set_limit(MEMORY.allocated() + budget).expect("limit");
    let result = work();
    MEMORY.set_limit(usize::MAX).expect("no limit");
    result
}

/// What is allowed for an input of `len` bytes: tables grow at most 48-fold (one sample of one byte), plus slack for
/// what other tests do meanwhile.
fn budget(len: usize) -> usize {
    64 * len + (16 << 20)
}

fn index(file: &[u8]) -> Result<SourceIndex, IndexError> {
    let mut machine = Mp4Index::new(file.len() as u64, Limits::default());
    for _ in 0..64 {
        match machine.step() {
            Step::Done(index) => return Ok(*index),
            Step::Err(error) => return Err(error),
            Step::Need(ranges) => {
                for range in ranges {
                    assert!(range.start < range.end && range.end <= file.len() as u64, "{range:?}");
                    let bytes = &file[range.start as usize..range.end as usize];
                    machine.feed(range.start, Bytes::copy_from_slice(bytes));
                }
            }
        }
    }
    panic!("asked for more than 64 times");
}

fn scan(text: &str, depth: Depth) -> Result<SourceIndex, IndexError> {
    let mut scan = Scan::new(depth, Limits::default());
    for line in text.split('\n') {
        scan.line(line)?;
    }
    scan.finish(1, "v")
}

/// A few edits of a good file: bytes replaced, numbers made extreme, pieces cut out or doubled.
fn mutated(good: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), 0u8..5, any::<u32>(), 1usize..64);
    prop::collection::vec(edit, 1..12).prop_map(move |edits| {
        let mut bytes = good.to_vec();
        for (place, how, value, length) in edits {
            if bytes.len() < 8 {
                break;
            }
            let at = place.index(bytes.len() - 4);
            match how {
                0 => bytes[at] = value as u8,
                1 => bytes[at..at + 4].copy_from_slice(&value.to_be_bytes()),
                2 => bytes[at..at + 4].copy_from_slice(&[0xFF; 4]),
                3 => drop(bytes.drain(at..(at + length).min(bytes.len()))),
                _ => {
                    let piece = bytes[at..(at + length).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        bytes
    })
}

fn ffprobe_text() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        (-5i64..200_000).prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        Just("N/A".to_owned()),
        "[a-z0-9|=\\\\]{0,8}",
    ];
    let packet = (0u32..3, number.clone(), number.clone(), number.clone(), "[KDC_]{2}").prop_map(
        |(stream, pts, dts, duration, flags)| {
            format!("packet|stream_index={stream}|pts={pts}|dts={dts}|duration={duration}|size=9|pos=4|flags={flags}")
        },
    );
    let stream = (0u32..3, "h264|aac|vp9|mpeg4", "video|audio", number.clone(), number).prop_map(
        |(index, codec, kind, width, start)| {
            format!(
                "stream|index={index}|codec_name={codec}|codec_type={kind}|width={width}|height={width}|\
                 time_base=1/90000|start_pts={start}|sample_rate=48000|channels=2|displaymatrix=\\n0: 1 2 3\\n"
            )
        },
    );
    let line = prop_oneof![6 => packet, 2 => stream, 1 => Just("format|format_name=mpegts".to_owned()), 1 => ".{0,40}"];
    prop::collection::vec(line, 0..60).prop_map(|lines| lines.join("\n"))
}

#[test]
fn the_good_files_are_read() {
    let index = index(TINY).expect("index");
    assert_eq!((index.video.map(|v| v.frames.len()), index.audio.len()), (Some(12), 1));
    assert_eq!(fragments::read(FRAGMENTS).expect("fragments")[0].samples.len(), 12);
}

#[test]
fn counts_beyond_reason_cost_nothing() {
    // every count of every table set to the maximum, one after the other
    for kind in [b"stts", b"ctts", b"stss", b"stsc", b"stsz", b"stco", b"elst", b"stsd", b"dref"] {
        let mut at = 0;
        while let Some(found) = TINY[at..].windows(4).position(|w| w == kind) {
            at += found + 4;
            for field in [4, 8, 12] {
                let mut file = TINY.to_vec();
                file[at + field..at + field + 4].fill(0xFF);
                // an answer of any kind, within the budget
                drop(bounded(budget(file.len()), || index(&file)));
            }
        }
        assert!(at > 0, "{kind:?} is in the file");
    }
}

#[test]
fn every_truncation_is_answered() {
    for length in 0..TINY.len() {
        assert!(index(&TINY[..length]).is_err(), "{length} bytes gave an index");
    }
    // ffmpeg's index of the fragments comes last and is not needed
    let media = FRAGMENTS.windows(4).position(|w| w == b"mfra").expect("mfra") - 4;
    for length in 1..media {
        if let Ok(tracks) = fragments::read(&FRAGMENTS[..length]) {
            assert!(tracks[0].samples.len() < 12, "{length} bytes gave every sample");
        }
    }
}

#[test]
fn limits_have_their_own_errors() {
    let with = |limits: Limits| {
        let mut machine = Mp4Index::new(TINY.len() as u64, limits);
        machine.feed(0, Bytes::from_static(TINY));
        match machine.step() {
            Step::Err(IndexError::Limit { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    let all = Limits::default();
    assert_eq!(with(Limits { tracks: 1, ..all }), "tracks");
    assert_eq!(with(Limits { samples: 11, ..all }), "frames");
    assert_eq!(with(Limits { keyframes: 1, ..all }), "keyframes");
    assert_eq!(with(Limits { edits: 0, ..all }), "edits");
    assert_eq!(with(Limits { pixels: 1023, ..all }), "pixels a picture");
    assert_eq!(with(Limits { moov_bytes: 99, ..all }), "bytes of moov");
    assert_eq!(with(Limits { seconds: 0, ..all }), "seconds");
}

#[test]
fn limits_of_a_scan_have_their_own_errors() {
    let stream = |index: u32, kind: &str| {
        format!(
            "stream|index={index}|codec_name={}|codec_type={kind}|width=32|height=32|time_base=1/1000|\
             sample_rate=1000|channels=2\n",
            if kind == "video" { "h264" } else { "aac" }
        )
    };
    let packet = |index: u32, pts: u32| {
        format!("packet|stream_index={index}|pts={pts}|dts={pts}|duration=500|size=9|pos=4|flags=K__\n")
    };
    let film = packet(0, 0)
        + &packet(0, 500)
        + &packet(1, 0)
        + &packet(1, 9_000)
        + &stream(0, "video")
        + &stream(1, "audio")
        + "format|format_name=mpegts";
    let with = |limits: Limits| {
        let mut machine = Scan::new(Depth::Packets, limits);
        let lines = film.split('\n').try_for_each(|line| machine.line(line));
        match lines.and_then(|()| machine.finish(1, "v")) {
            Err(IndexError::Limit { what, .. }) => what,
            other => panic!("{other:?}"),
        }
    };
    let all = Limits::default();
    assert_eq!(with(Limits { tracks: 1, ..all }), "tracks");
    assert_eq!(with(Limits { samples: 1, ..all }), "packets or frames of one track");
    assert_eq!(with(Limits { keyframes: 1, ..all }), "keyframes");
    assert_eq!(with(Limits { edits: 0, ..all }), "gaps in one audio track");
    assert_eq!(with(Limits { pixels: 1023, ..all }), "pixels a picture");
    assert_eq!(with(Limits { seconds: 0, ..all }), "seconds");
}

#[test]
fn what_packets_leave_open_is_said_where_frames_were_read() {
    let stream = "stream|index=0|codec_name=h264|codec_type=video|width=32|height=32|time_base=1/25|\
                  disposition:attached_pic=0\nformat|format_name=mpegts";
    let packet = |n: u32, flags: &str| {
        format!("packet|stream_index=0|pts={n}|dts={n}|duration=1|size=9|pos=4|flags={flags}\n")
    };
    let packets = packet(0, "K__") + &packet(1, "__C") + &packet(2, "___") + stream;
    let why = match scan(&packets, Depth::Packets) {
        Err(IndexError::NeedsFrameScan { why }) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why, "damaged or empty packets: 1 of 3");
    let mut frames = Scan::new(Depth::Frames, Limits::default()).because(why);
    let shown = [0, 2].map(|n| format!("frame|media_type=video|stream_index=0|key_frame=1|pts={n}\n"));
    for line in (shown.concat() + stream).split('\n') {
        frames.line(line).unwrap();
    }
    let index = frames.finish(1, "v").unwrap();
    let note = "every frame was decoded to learn its time: damaged or empty packets: 1 of 3";
    assert!(index.notes.iter().any(|n| n == note), "{:?}", index.notes);
}

#[test]
fn wrong_bytes_are_a_fault_of_the_caller() {
    let mut machine = Mp4Index::new(TINY.len() as u64, Limits::default());
    machine.feed(5, Bytes::from_static(&[1, 2, 3]));
    assert!(matches!(machine.step(), Step::Err(IndexError::Protocol { .. })));
    assert!(matches!(machine.step(), Step::Err(IndexError::Protocol { .. })), "there is no way on");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_films_never_panic(file in mutated(TINY)) {
        drop(bounded(budget(file.len()), || index(&file)));
    }

    #[test]
    fn mutated_fragments_never_panic(file in mutated(FRAGMENTS)) {
        drop(bounded(budget(file.len()), || fragments::read(&file)));
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        drop(probe_format(&bytes));
        drop(index(&bytes));
        drop(fragments::read(&bytes));
        let _ = aac::window(&bytes);
    }

    #[test]
    fn any_output_of_ffprobe_never_panics(text in ffprobe_text()) {
        drop(scan(&text, Depth::Packets));
        drop(scan(&text, Depth::Frames));
    }
}
