//! Segments that were there before: those of another cut are adopted, everything else is refused by name.

use crate::run::{Film, bind, encode, report, rung, spec, words};
use crate::{BARS, X264, dir};
use reelmill_common::check::check_report;
use reelmill_common::index::{Demuxer, SourceId};
use reelmill_common::ladder::{AudioMix, AudioSettings};
use reelmill_common::outcome::FileReport;
use reelmill_common::spec::{
    AAC_FRAME, AudioChunk, AudioSegment, ChunkMedia, ChunkSpec, ExactTime, VideoChunk,
};
use reelmill_common::{SegmentNumber, Sha256, Ticks, Timebase};
use reelmill_media::aac::{WindowSequence, window};
use reelmill_media::cmaf::{Kind, SegmentInput, SegmentSample, segment};
use reelmill_media::fragments::read;
use reelmill_worker_core::adopt::adopt;
use reelmill_worker_core::argv::{Input, Location, audio};
use reelmill_worker_core::build::{self, BuiltFile};
use reelmill_worker_core::verify::OutputError;
use std::path::Path;

/// A segment taken apart, to be put together otherwise.
#[derive(Clone)]
struct Parts {
    number: u32,
    kind: Kind,
    start: i64,
    end: i64,
    delay: u32,
    /// Time, key flag, bytes.
    samples: Vec<(i64, bool, Vec<u8>)>,
}

impl Parts {
    fn of(init: &[u8], file: &BuiltFile, kind: Kind, delay: u32) -> Self {
        let whole = [init, &file.bytes].concat();
        let track = read(&whole).unwrap().remove(0);
        let sample = |s: &reelmill_media::fragments::Sample| {
            (s.pts - i64::from(delay), s.key, whole[s.range.clone()].to_vec())
        };
        let length: i64 = track.samples.iter().map(|s| i64::from(s.duration)).sum();
        let start = track.samples[0].dts;
        Self {
            number: file.report.segment.unwrap().0,
            kind,
            start,
            end: start + length,
            delay,
            samples: track.samples.iter().map(sample).collect(),
        }
    }

    fn written(&self) -> Vec<u8> {
        let sample = |(pts, key, bytes): &'_ (i64, bool, Vec<u8>)| (*pts, *key, bytes.clone());
        let samples: Vec<_> = self.samples.iter().map(sample).collect();
        let samples = samples.iter().map(|(pts, key, bytes)| SegmentSample { pts: *pts, key: *key, bytes });
        segment(&SegmentInput {
            number: self.number,
            kind: self.kind,
            start: self.start,
            end: self.end,
            reorder_delay: self.delay,
            samples: samples.collect(),
        })
        .unwrap()
        .bytes
    }

    fn with(&self, spoil: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut parts = self.clone();
        spoil(&mut parts);
        parts.written()
    }
}

/// Six seconds at 25 frames a second, with an IDR each second, in segments of two.
fn film(dir: &Path, rungs: &[reelmill_common::spec::VideoRung]) -> (Film, VideoChunk) {
    let film = Film::make(dir, "a.mp4", BARS, &format!("{X264} keyint=20"), Demuxer::Mov);
    let whole = film.chunk(0, 150, 50, rungs);
    (film, whole)
}

fn refused(spec: &ChunkSpec, made: &FileReport, ours: &[u8], found: &[u8], says: &str) {
    let e: OutputError = adopt(spec, made, ours, found).expect_err(says);
    assert!(e.to_string().contains(says), "{says:?} not in {:?}", e.to_string());
}

#[test]
fn segments_of_another_cut_and_another_quality_are_adopted() {
    let dir = dir();
    let mut rungs = [rung("big", 128, 72, 1), rung("half", 64, 36, 2)];
    let (film, _) = film(dir.path(), &rungs);
    bind("ffmpeg", dir.path(), film.timebase, &mut rungs);
    for r in &mut rungs {
        r.reorder_delay = 2 * 512 * u32::from(r.settings.every);
    }
    // the earlier one: the whole film at once, coarser, with two threads
    let mut earlier = film.chunk(0, 150, 50, &rungs);
    for r in &mut earlier.rungs {
        (r.settings.crf_tenths, r.settings.threads) = (260, 2);
    }
    let found = encode("ffmpeg", dir.path(), &earlier, &film.input());
    let chunk = film.chunk(50, 150, 50, &rungs);
    let made = encode("ffmpeg", dir.path(), &chunk, &film.input());
    let spec = spec(&film, &chunk);
    let mut adopted = report(&chunk, &made);
    let (mut differ, mut i) = (0, 0);
    for (ours, theirs) in made.iter().zip(&found) {
        for file in ours {
            let there = theirs.iter().find(|f| f.name == file.name).unwrap();
            differ += usize::from(there.bytes != file.bytes);
            let taken = adopt(&spec, &file.report, &file.bytes, &there.bytes).unwrap();
            assert_eq!(taken, there.report, "what its own attempt said of it");
            adopted.files[i] = taken;
            i += 1;
        }
    }
    assert_eq!((differ, i), (4, 4), "every segment was made of other bytes");
    check_report(&spec, &adopted).unwrap();

    let first = self::spec(&film, &earlier);
    let init = &found[0][0];
    assert_eq!(adopt(&first, &init.report, &init.bytes, &init.bytes), Ok(init.report.clone()));
    refused(&first, &init.report, &init.bytes, &found[1][0].bytes, "in moov");
    // a segment of the rung with half the frames in the place of one with all
    refused(&spec, &made[0][0].report, &made[0][0].bytes, &found[1][2].bytes, "expected 50 frames, found 25");
    // and its neighbour in time
    refused(&spec, &made[0][0].report, &made[0][0].bytes, &found[0][3].bytes, "expected a frame at");
}

#[test]
fn every_fault_of_a_picture_segment_is_named() {
    let dir = dir();
    let mut rungs = [rung("big", 128, 72, 1)];
    let (film, _) = film(dir.path(), &rungs);
    bind("ffmpeg", dir.path(), film.timebase, &mut rungs);
    rungs[0].reorder_delay = 1024;
    let mut chunk = film.chunk(0, 150, 50, &rungs);
    // two GOPs a segment
    let step = film.times[1] - film.times[0];
    chunk.idr = (0..6).map(|i| Ticks(i * 25 * step)).collect();
    let made = encode("ffmpeg", dir.path(), &chunk, &film.input()).remove(0);
    let (init, ours) = (&made[0].bytes, &made[2]);
    let good = Parts::of(init, ours, Kind::Video, 1024);
    assert_eq!(good.written(), ours.bytes, "taken apart and put together it is the same");
    let middle = good.samples.iter().position(|s| s.1 && s.0 != good.start).unwrap();
    let spec = spec(&film, &chunk);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("reaches over the end", b"not ours".to_vec()),
        ("unexpected box junk", b"\0\0\0\x08junk".to_vec()),
        ("expected 50 frames, found 0", Vec::new()),
        ("reach over the end of the file", ours.bytes[..ours.bytes.len() / 2].to_vec()),
        ("in free", [&ours.bytes[..], b"\0\0\0\x08free"].concat()),
        ("in styp", [&ours.bytes[..8], b"cmfs", &ours.bytes[12..]].concat()),
        ("expected 50 frames, found 100", ours.bytes.repeat(2)),
        ("in moof/mfhd", good.with(|p| p.number += 1)),
        ("expected its end at", good.with(|p| p.end += step)),
        ("expected a frame at", good.with(|p| p.delay += step as u32)),
        (
            "expected 50 frames, found 49",
            good.with(|p| {
                // the writer is given the room it needs without that frame
                p.delay += 4096;
                p.samples.pop();
            }),
        ),
        (
            "expected a frame at",
            good.with(|p| {
                (p.start, p.end) = (p.start + step, p.end + step);
                p.samples.iter_mut().for_each(|s| s.0 += step);
            }),
        ),
        ("expected a frame at", good.with(|p| p.samples[middle].0 += 1)),
        (
            "flagged as a key frame but holds no IDR",
            good.with(|p| p.samples[0].2 = vec![0, 0, 0, 2, 0x41, 9]),
        ),
        (
            "expected an IDR for the one planned",
            good.with(|p| {
                p.samples[middle].1 = false;
                p.samples[middle].2 = vec![0, 0, 0, 2, 0x41, 9];
            }),
        ),
        ("is an IDR picture but not flagged", good.with(|p| p.samples[middle].1 = false)),
        (
            "a parameter set that is not the bound one",
            good.with(|p| {
                p.samples[3].2 = [&[0, 0, 0, 2, 0x67, 1], &p.samples[3].2[..]].concat();
            }),
        ),
        ("do not fill it", good.with(|p| p.samples[7].2.push(0))),
        ("holds no picture", good.with(|p| p.samples[9].2 = vec![0, 0, 0, 2, 6, 5])),
    ];
    for (says, found) in &cases {
        refused(&spec, &ours.report, &ours.bytes, found, says);
    }
    let mut elsewhere = ours.report.clone();
    elsewhere.segment = Some(SegmentNumber(9));
    refused(&spec, &elsewhere, &ours.bytes, &ours.bytes, "no such segment");
    // a parameter set that is the bound one changes nothing for a player
    let sps = &rungs[0].avcc[6..8 + usize::from(rungs[0].avcc[7])];
    let again = good.with(|p| p.samples[0].2 = [&[0, 0], sps, &p.samples[0].2[..]].concat());
    let taken = adopt(&spec, &ours.report, &ours.bytes, &again).unwrap();
    assert_eq!(taken.iframes[0].length, ours.report.iframes[0].length + 2 + sps.len() as u64);
    assert_eq!((taken.bytes, taken.sha256), (again.len() as u64, Sha256::of(&again)));
}

/// Five seconds of a sweep in three segments.
fn sound(dir: &Path, kbps: u32) -> (ChunkSpec, Vec<BuiltFile>) {
    let path = dir.join("sweep.wav").to_string_lossy().into_owned();
    let mut argv = words("-nostdin -v error -y -f lavfi -i");
    argv.push("aevalsrc=0.3*sin(600*t*t)|0.3*sin(500*t*t):sample_rate=48000:duration=5".to_owned());
    argv.push(path.clone());
    crate::run::run("ffmpeg", &argv);
    let tb = Timebase::new(1, 48_000).unwrap();
    let segment = |n: u32, first_packet, end_packet| AudioSegment {
        number: SegmentNumber(n),
        first_packet,
        end_packet,
    };
    let total_samples = 5 * 48_000 - 100;
    let packets = (total_samples + AAC_FRAME).div_ceil(AAC_FRAME);
    let chunk = AudioChunk {
        number: 0,
        stream: 0,
        timebase: tb,
        zero: ExactTime { ticks: Ticks(0), timebase: tb },
        folder: "audio-0123456789".to_owned(),
        settings: AudioSettings {
            sample_rate: 48_000,
            channels: 2,
            bit_rate_kbps: kbps,
            mix: AudioMix::Keep,
        },
        total_samples,
        packets: (0, packets),
        segments: vec![segment(1, 0, 94), segment(2, 94, 188), segment(3, 188, packets)],
        asc: vec![0x11, 0x90, 0x56, 0xe5, 0x00],
        measure_loudness: false,
        range: None,
    };
    let input = Input { demuxer: Demuxer::Wav, location: Location::File(path), threads: 1 };
    let out = dir.join("sound.mp4").to_string_lossy().into_owned();
    crate::run::run("ffmpeg", &audio::encode(&chunk, &input, &out).unwrap());
    let file = std::fs::read(&out).unwrap();
    let files: Result<Vec<_>, _> = build::audio(&chunk, &file).and_then(Iterator::collect);
    let source = SourceId(Sha256::of(b"film"));
    (ChunkSpec { source, demuxer: Demuxer::Wav, media: ChunkMedia::Audio(chunk) }, files.unwrap())
}

#[test]
fn sound_of_another_encode_is_adopted_and_every_fault_is_named() {
    let dir = dir();
    let (spec, made) = sound(dir.path(), 128);
    let (_, found) = sound(dir.path(), 96);
    for (ours, there) in made.iter().zip(&found).skip(1) {
        assert_ne!(ours.bytes, there.bytes);
        assert_eq!(adopt(&spec, &ours.report, &ours.bytes, &there.bytes), Ok(there.report.clone()));
    }
    // the bit rate is said in the init segment
    refused(&spec, &made[0].report, &made[0].bytes, &found[0].bytes, "in moov");

    let (init, ours, last) = (&made[0].bytes, &made[2], &made[3]);
    let good = Parts::of(init, ours, Kind::Audio, 0);
    let tail = Parts::of(init, last, Kind::Audio, 0);
    assert_eq!((good.written(), tail.written()), (ours.bytes.clone(), last.bytes.clone()));
    // the window sequence lies behind the element's id, its tag, the common window's flag and a reserved bit
    let short = |sample: &mut (i64, bool, Vec<u8>)| {
        assert_eq!(window(&sample.2).unwrap().sequence, WindowSequence::OnlyLong);
        sample.2[1] |= 0x40;
        assert_eq!(window(&sample.2).unwrap().sequence, WindowSequence::EightShort);
    };
    let cases: Vec<(&str, &BuiltFile, Vec<u8>)> = vec![
        ("expected 94 packets, found 93", ours, good.with(|p| drop(p.samples.pop()))),
        (
            "expected packet 94 at sample 96256",
            ours,
            good.with(|p| {
                (p.start, p.end) = (p.start + 1024, p.end + 1024);
                p.samples.iter_mut().for_each(|s| s.0 += 1024);
            }),
        ),
        ("expected packet 100 at sample", ours, good.with(|p| p.samples[6].0 += 1)),
        ("in moof/mfhd", ours, good.with(|p| p.number = 3)),
        ("expected its end at", ours, good.with(|p| p.end -= 1)),
        // the film's last packet is cut to where its sound ends
        ("expected its end at", last, tail.with(|p| p.end = p.samples[p.samples.len() - 1].0 + 1024)),
        ("cannot follow the packet before it", ours, good.with(|p| short(&mut p.samples[0]))),
        ("cannot precede the packet after it", ours, good.with(|p| short(p.samples.last_mut().unwrap()))),
        ("in free", ours, [&ours.bytes[..], b"\0\0\0\x08free"].concat()),
    ];
    for (says, ours, found) in &cases {
        refused(&spec, &ours.report, &ours.bytes, found, says);
    }
}
