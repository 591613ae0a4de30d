//! The recipe against real ffmpeg: every version there is must give the same frames, times and decoder configuration.
//!
//! Short films are made here; with `REELMILL_CORPUS` the small ones of the corpus are tried as well.
#![allow(clippy::disallowed_methods, reason = "these tests run programs and read what they wrote")]
#![allow(clippy::unwrap_used, reason = "the allowance for tests does not reach functions that tests share")]

mod adopt;
mod audit;
mod corpus;
mod joins;
mod listen;
mod look;
mod noise;
mod run;
mod sound;
mod spectrum;
mod wrong;

use reelmill_common::check::check_report;
use reelmill_common::index::Demuxer;
use reelmill_common::spec::{FrameTable, VideoChunk};
use reelmill_common::{TickRange, TickSeq, Ticks};
use run::{Film, binaries, bind, encode, pictures, report, rung, spec};
use std::path::Path;
use tempfile::TempDir;

const X264: &str = "-c:v libx264 -preset veryfast -threads 1 -x264-params";

/// Encodes a film in chunks cut at `cuts` with each ffmpeg; every rung must be whole, the pictures of the chunks laid
/// end to end must be those of one linear decode, and the binding the same everywhere.
fn chunks_meet(dir: &Path, film: &Film, cuts: &[usize], segment: usize) {
    chunks_meet_with(dir, film, cuts, segment, &|_| {});
}

/// The same after `change`ing every chunk.
fn chunks_meet_with(
    dir: &Path,
    film: &Film,
    cuts: &[usize],
    segment: usize,
    change: &dyn Fn(&mut VideoChunk),
) {
    let mut bound: Option<Vec<Vec<u8>>> = None;
    for program in binaries() {
        let mut rungs = [rung("big", 128, 72, 1), rung("half", 64, 36, 2)];
        bind(&program, dir, film.timebase, &mut rungs);
        let configs: Vec<Vec<u8>> = rungs.iter().map(|r| r.avcc.clone()).collect();
        assert_eq!(*bound.get_or_insert_with(|| configs.clone()), configs, "{program}: avcC over versions");
        let n = film.times.len();
        let chunk = |from, to, segment| {
            let mut chunk = film.chunk(from, to, segment, &rungs);
            change(&mut chunk);
            chunk
        };
        let whole = chunk(0, n, n);
        let chunks: Vec<VideoChunk> = cuts
            .iter()
            .zip(cuts.iter().skip(1).chain([&n]))
            .map(|(from, to)| chunk(*from, *to, segment))
            .collect();
        for chunk in &chunks {
            let made = encode(&program, dir, chunk, &film.input());
            assert_eq!(check_report(&spec(film, chunk), &report(chunk, &made)), Ok(()), "{program}");
        }
        for (r, rung) in rungs.iter().enumerate() {
            let hash = |c: &VideoChunk| pictures(&program, c, &film.input(), r).into_iter().map(|(_, h)| h);
            let laid: Vec<String> = chunks.iter().flat_map(hash).collect();
            let linear: Vec<String> = hash(&whole).collect();
            let count = whole.rung_frames(rung.settings.every).count();
            assert_eq!(linear.len(), count, "{program}: frames of a linear decode, rung {r}");
            let differ: Vec<usize> = (0..count).filter(|i| laid.get(*i) != linear.get(*i)).collect();
            assert!(
                differ.is_empty(),
                "{program}: rung {r}: pictures {differ:?} differ from a linear decode"
            );
        }
    }
}

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

const BARS: &str = "testsrc2=size=128x72:rate=25:duration=6";

#[test]
fn closed_gops_in_mp4() {
    let dir = dir();
    let options = format!("{X264} keyint=20:bframes=3:b-pyramid=normal:scenecut=0");
    let film = Film::make(dir.path(), "a.mp4", BARS, &options, Demuxer::Mov);
    chunks_meet(dir.path(), &film, &[0, 50, 100], 50);
}

#[test]
fn open_gops_in_a_transport_stream_that_starts_late() {
    let dir = dir();
    let options =
        format!("{X264} keyint=20:bframes=3:open-gop=1:scenecut=0 -output_ts_offset 26000 -f mpegts");
    let film = Film::make(dir.path(), "a.ts", BARS, &options, Demuxer::MpegTs);
    assert!(film.times[0] > 26_000 * 90_000);
    chunks_meet(dir.path(), &film, &[0, 50, 100], 50);
}

#[test]
fn a_transport_stream_whose_clock_wraps() {
    let dir = dir();
    // 2^33 ticks of 90 kHz are 95,443.7 s: ffmpeg unwraps by letting the film begin before zero
    let options = format!("{X264} keyint=20:bframes=3:scenecut=0 -output_ts_offset 95440 -f mpegts");
    let film = Film::make(dir.path(), "a.ts", BARS, &options, Demuxer::MpegTs);
    assert!(film.times[0] < 0 && film.times[149] > 0, "{:?}", film.times);
    chunks_meet(dir.path(), &film, &[0, 50, 100], 50);
}

#[test]
fn a_negative_start() {
    let dir = dir();
    let options =
        format!("{X264} keyint=20:bframes=3:scenecut=0 -output_ts_offset -1 -avoid_negative_ts disabled");
    let film = Film::make(dir.path(), "a.mp4", BARS, &options, Demuxer::Mov);
    chunks_meet(dir.path(), &film, &[0, 50, 100], 50);
}

#[test]
fn a_variable_rate_in_matroska_milliseconds() {
    let dir = dir();
    let source = format!("{BARS},settb=1/1000,setpts=PTS+5*mod(N*N\\,7)");
    let options =
        format!("{X264} keyint=20:bframes=3:scenecut=0 -fps_mode passthrough -enc_time_base 1/1000");
    let film = Film::make(dir.path(), "a.mkv", &source, &options, Demuxer::Matroska);
    assert!(film.times.windows(3).any(|w| w[1] - w[0] != w[2] - w[1]));
    chunks_meet(dir.path(), &film, &[0, 50, 100], 50);
}

#[test]
fn coarse_ticks_in_avi() {
    let dir = dir();
    let source = BARS.replace("rate=25", "rate=24000/1001");
    let film = Film::make(dir.path(), "a.avi", &source, "-c:v mpeg4 -bf 0 -g 20 -q:v 3", Demuxer::Avi);
    assert_eq!(film.timebase.num(), 1_001);
    chunks_meet(dir.path(), &film, &[0, 48, 96], 48);
}

/// Frames at 10 a second with a hold of 2.4 s and one of 1.3 s next to it, a frame left out, and a hold of the very
/// last frame; 1/24000 on both sides.
fn held_film(dir: &Path) -> (Film, VideoChunk) {
    let source = "testsrc2=size=128x72:rate=10:duration=3,settb=1/24000,\
                  setpts=PTS+if(gt(N\\,12)\\,55200)+if(gt(N\\,13)\\,28800)";
    let options = format!(
        "{X264} keyint=8:bframes=2:scenecut=0 -fps_mode passthrough -enc_time_base 1/24000 \
                           -video_track_timescale 24000"
    );
    let film = Film::make(dir, "held.mp4", source, &options, Demuxer::Mov);
    let rungs = [rung("all", 128, 72, 1), rung("half", 64, 36, 2)];
    let mut chunk = film.chunk(4, 30, 26, &rungs);
    let t0 = chunk.frames.output.first().unwrap();
    // source frames 12 and 13 of the film are held; frame 20 is left out; frame 29 is held to the end
    let mut copies = vec![1u8; 26];
    (copies[8], copies[9], copies[16], copies[25]) = (3, 2, 0, 2);
    let mut output = Vec::new();
    for (i, shown) in chunk.frames.output.iter().enumerate() {
        output.extend((0..i64::from(copies[i])).map(|c| shown + c * 24_000));
    }
    let end = output[output.len() - 1] + 2_400;
    chunk.frames = FrameTable {
        source: chunk.frames.source.clone(),
        copies: Some(copies),
        output: TickSeq::from_sorted(output),
    };
    chunk.segments[0].range = TickRange::new(t0, end);
    chunk.idr = vec![Ticks(t0)];
    (film, chunk)
}

#[test]
fn held_frames_are_repeated_and_left_out_ones_are_not_there() {
    let dir = dir();
    let (film, mut chunk) = held_film(dir.path());
    for program in binaries() {
        bind(&program, dir.path(), film.timebase, &mut chunk.rungs);
        let once = film.chunk(4, 30, 26, &chunk.rungs);
        let source: Vec<String> =
            pictures(&program, &once, &film.input(), 0).into_iter().map(|(_, h)| h).collect();
        let shown = pictures(&program, &chunk, &film.input(), 0);
        let expected: Vec<(i64, String)> = {
            let copies = chunk.frames.copies.clone().unwrap();
            let sources = (0..copies.len()).flat_map(|i| vec![i; usize::from(copies[i])]);
            let t0 = chunk.frames.output.first().unwrap();
            sources.zip(chunk.frames.output.iter()).map(|(i, t)| (t - t0, source[i].clone())).collect()
        };
        assert_eq!(shown, expected, "{program}");
        encode(&program, dir.path(), &chunk, &film.input());
    }
}

#[test]
fn every_second_frame_of_a_fast_source() {
    let dir = dir();
    let options = format!("{X264} keyint=30:scenecut=0");
    let source = BARS.replace("rate=25:duration=6", "rate=100:duration=1");
    let film = Film::make(dir.path(), "fast.mp4", &source, &options, Demuxer::Mov);
    let mut chunk = film.chunk(30, 100, 70, &[rung("all", 128, 72, 1)]);
    let whole = film.chunk(0, 100, 100, &chunk.rungs);
    chunk.first_output = 15;
    chunk.frames.copies = Some((0..70).map(|i| u8::from(i % 2 == 0)).collect());
    chunk.frames.output = TickSeq::from_sorted(chunk.frames.output.iter().step_by(2).collect());
    for program in binaries() {
        bind(&program, dir.path(), film.timebase, &mut chunk.rungs);
        let all = pictures(&program, &whole, &film.input(), 0);
        let kept: Vec<String> = all.iter().skip(30).step_by(2).map(|(_, h)| h.clone()).collect();
        let found: Vec<String> =
            pictures(&program, &chunk, &film.input(), 0).into_iter().map(|(_, h)| h).collect();
        assert_eq!(found, kept, "{program}");
        encode(&program, dir.path(), &chunk, &film.input());
    }
}
