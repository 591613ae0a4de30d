//! Tests of the report check: each way a report can be wrong is named.

use super::*;
use crate::hash::Sha256;
use crate::index::{Colour, Demuxer, Rotation, SourceId};
use crate::ladder::{AudioMix, AudioSettings, EncoderFamily, OutputColour, VideoSettings, X264Preset};
use crate::outcome::{AttemptCost, IFrame};
use crate::spec::{
    AudioChunk, AudioSegment, ExactTime, FrameTable, PictureRecipe, SegmentSpan, VideoChunk, VideoRung,
};
use crate::time::{TickSeq, Ticks, Timebase};

fn rung(name: &str, every: u8) -> VideoRung {
    let settings = VideoSettings {
        family: EncoderFamily::X264,
        width: 64,
        height: 36,
        every,
        max_rate_kbps: 100,
        buffer_kbit: 150,
        crf_tenths: 230,
        preset: X264Preset::Medium,
        level: 30,
        refs: 3,
        bframes: 3,
        lookahead: 20,
        gop_frames: 20,
        threads: 1,
        cpu_independent: false,
        colour: OutputColour::Bt709,
    };
    VideoRung { folder: name.to_owned(), settings, avcc: vec![1, every], reorder_delay: 2 }
}

/// 21 frames numbered from 3 on, in two segments, at full and at half rate.
fn video() -> ChunkSpec {
    let tb = Timebase::new(1, 10).expect("timebase");
    let times = TickSeq::Regular { first: 0, step: 1, count: 21 };
    let span = |n: u32, a: i64, b: i64| SegmentSpan { number: SegmentNumber(n), range: TickRange::new(a, b) };
    let picture = PictureRecipe {
        rotation: Rotation::default(),
        deinterlace: None,
        colour: Colour::default(),
        tone_map: None,
    };
    let chunk = VideoChunk {
        number: 0,
        stream: 0,
        timebase: tb,
        seek: None,
        trim: TickRange::new(0, 21),
        frames: FrameTable { source: times.clone(), copies: None, output: times },
        first_output: 3,
        out_timebase: tb,
        picture,
        segments: vec![span(1, 0, 10), span(2, 10, 21)],
        idr: vec![Ticks(0), Ticks(10)],
        rungs: vec![rung("a-0", 1), rung("b-0", 2)].into(),
    };
    ChunkSpec { source: SourceId(Sha256::of(b"x")), demuxer: Demuxer::Mov, media: ChunkMedia::Video(chunk) }
}

fn file(rung: u32, segment: Option<u32>, idr: Option<i64>) -> FileReport {
    let iframes = idr.map(|time| IFrame { time, offset: 24, length: 70 }).into_iter().collect();
    FileReport { rung, segment: segment.map(SegmentNumber), bytes: 100, sha256: Sha256::of(b"f"), iframes }
}

fn good() -> ChunkReport {
    let rung = |r| [file(r, None, None), file(r, Some(1), Some(0)), file(r, Some(2), Some(10))];
    ChunkReport {
        files: [rung(0), rung(1)].concat(),
        units: vec![21, 10],
        configs: vec![vec![1, 1], vec![1, 2]],
        loudness: None,
        cost: AttemptCost::default(),
        encoder: None,
        ffmpeg_build: String::new(),
        notes: Vec::new(),
    }
}

#[test]
fn a_true_report_passes() {
    assert_eq!(check_report(&video(), &good()), Ok(()));
}

#[test]
fn each_untruth_is_named() {
    type Lie = fn(&mut ChunkReport);
    let cases: [(&str, Lie); 11] = [
        ("expected 21 frames", |r| r.units[0] = 20),
        ("expected 10 frames", |r| r.units[1] = 11),
        ("2 renditions", |r| {
            r.units.pop();
        }),
        ("b-0: the decoder configuration", |r| r.configs[1] = vec![9]),
        ("b-0/000002.m4s: the report does not have it", |r| {
            r.files.pop();
        }),
        ("a file that the spec has not", |r| r.files.push(file(1, Some(3), None))),
        ("a-0/init.mp4", |r| r.files.swap(0, 1)),
        ("a-0/000001.m4s: it is empty", |r| r.files[1].bytes = 0),
        ("no IDR picture", |r| r.files[1].iframes.clear()),
        ("outside of the segment", |r| r.files[2].iframes[0].time = 9),
        ("outside of the segment", |r| r.files[2].iframes[0].length = u64::MAX),
    ];
    for (says, spoil) in cases {
        let mut report = good();
        spoil(&mut report);
        let fault = check_report(&video(), &report).expect_err(says);
        assert_eq!(fault.kind, FaultKind::Output);
        assert!(fault.message.contains(says), "{says:?} not in {:?}", fault.message);
    }
}

#[test]
fn a_chunks_files_are_those_its_report_must_have() {
    let ChunkMedia::Video(chunk) = video().media else { panic!("pictures") };
    let named = |f: &FileReport| media_name(&chunk.rungs[f.rung as usize].folder, f.segment);
    let reported: Vec<String> = good().files.iter().map(named).collect();
    assert_eq!(chunk_files(&video()), reported);
}

#[test]
fn a_chunk_without_segment_one_has_no_init() {
    let tb = Timebase::new(1, 48_000).expect("timebase");
    let segment = |n: u32, first_packet, end_packet| AudioSegment {
        number: SegmentNumber(n),
        first_packet,
        end_packet,
    };
    let settings =
        AudioSettings { sample_rate: 48_000, channels: 2, bit_rate_kbps: 128, mix: AudioMix::Keep };
    let chunk = AudioChunk {
        number: 1,
        stream: 1,
        timebase: tb,
        zero: ExactTime { ticks: Ticks(0), timebase: tb },
        folder: "audio-0".to_owned(),
        settings,
        total_samples: 1_000_000,
        packets: (100, 300),
        segments: vec![segment(2, 100, 200), segment(3, 200, 300)],
        asc: vec![0x11, 0x90],
        measure_loudness: false,
        range: None,
    };
    let spec = ChunkSpec {
        source: SourceId(Sha256::of(b"x")),
        demuxer: Demuxer::Mov,
        media: ChunkMedia::Audio(chunk),
    };
    let mut report = ChunkReport {
        files: vec![file(0, Some(2), None), file(0, Some(3), None)],
        units: vec![200],
        configs: vec![vec![0x11, 0x90]],
        ..good()
    };
    assert_eq!(check_report(&spec, &report), Ok(()));
    assert_eq!(chunk_files(&spec), ["audio-0/000002.m4s", "audio-0/000003.m4s"]);
    report.files.insert(0, file(0, None, None));
    assert!(check_report(&spec, &report).is_err());
}
