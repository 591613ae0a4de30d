//! The recipe against real ffmpeg: every version there is must give the same frames, times and decoder configuration.
//!
//! Short films are made here; with `REELMILL_CORPUS` the small ones of the corpus are tried as well.
#![allow(clippy::disallowed_methods, reason = "these tests run programs and read what they wrote")]

mod run;

use reelmill_common::index::Demuxer;
use reelmill_common::spec::VideoChunk;
use run::{Film, binaries, bind, encode, pictures, rung};
use std::path::Path;
use tempfile::TempDir;

const X264: &str = "-c:v libx264 -preset veryfast -threads 1 -x264-params";

/// Encodes a film in chunks cut at `cuts` with each ffmpeg; every rung must be whole, the pictures of the chunks laid
/// end to end must be those of one linear decode, and the binding the same everywhere.
fn chunks_meet(dir: &Path, film: &Film, cuts: &[usize], segment: usize) {
    let mut bound: Option<Vec<Vec<u8>>> = None;
    for program in binaries() {
        let mut rungs = [rung("big", 128, 72, 1), rung("half", 64, 36, 2)];
        bind(&program, dir, film.timebase, &mut rungs);
        let configs: Vec<Vec<u8>> = rungs.iter().map(|r| r.avcc.clone()).collect();
        assert_eq!(*bound.get_or_insert_with(|| configs.clone()), configs, "{program}: avcC over versions");
        let n = film.times.len();
        let whole = film.chunk(0, n, n, &rungs);
        let chunks: Vec<VideoChunk> = cuts
            .iter()
            .zip(cuts.iter().skip(1).chain([&n]))
            .map(|(from, to)| film.chunk(*from, *to, segment, &rungs))
            .collect();
        for chunk in &chunks {
            let made = encode(&program, dir, chunk, &film.input());
            assert_eq!(made.len(), 2);
        }
        for r in 0..rungs.len() {
            let hash = |c: &VideoChunk| pictures(&program, c, &film.input(), r).into_iter().map(|(_, h)| h);
            let laid: Vec<String> = chunks.iter().flat_map(hash).collect();
            let linear: Vec<String> = hash(&whole).collect();
            let count = whole.rung_frames(rungs[r].settings.every).count();
            assert_eq!(linear.len(), count, "{program}: frames of a linear decode, rung {r}");
            let differ: Vec<usize> = (0..count).filter(|i| laid.get(*i) != linear.get(*i)).collect();
            assert!(differ.is_empty(), "{program}: rung {r}: pictures {differ:?} differ from a linear decode");
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
    let options = format!("{X264} keyint=20:bframes=3:open-gop=1:scenecut=0 -output_ts_offset 26000 -f mpegts");
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
    let options = format!("{X264} keyint=20:bframes=3:scenecut=0 -output_ts_offset -1 -avoid_negative_ts disabled");
    let film = Film::make(dir.path(), "a.mp4", BARS, &options, Demuxer::Mov);
    chunks_meet(dir.path(), &film, &[0, 50, 100], 50);
}

#[test]
fn a_variable_rate_in_matroska_milliseconds() {
    let dir = dir();
    let source = format!("{BARS},settb=1/1000,setpts=PTS+5*mod(N*N\\,7)");
    let options = format!("{X264} keyint=20:bframes=3:scenecut=0 -fps_mode passthrough -enc_time_base 1/1000");
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
