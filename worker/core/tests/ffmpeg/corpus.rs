//! Small films of the corpus, when `REELMILL_CORPUS` names it: real muxers and encoders have habits of their own.

use crate::run::Film;
use crate::sound::{chunk, packets, ranges_measure_what_one_encode_does};
use crate::{chunks_meet, dir};
use reelmill_common::Timebase;
use reelmill_common::index::Demuxer;
use reelmill_worker_core::argv::{Input, Location};
use std::path::PathBuf;

fn film(name: &str, demuxer: Demuxer) -> Option<Film> {
    let corpus = PathBuf::from(std::env::var_os("REELMILL_CORPUS")?);
    Some(Film::open(&corpus.join(name), demuxer))
}

/// The film's own rate and stereo; thirty seconds.
#[test]
fn loudness_of_a_real_film_in_ranges() {
    let Some(corpus) = std::env::var_os("REELMILL_CORPUS") else { return };
    let path = PathBuf::from(corpus).join("agent327_1080p24_tail88s.mp4");
    let location = Location::File(path.to_string_lossy().into_owned());
    let input = Input { demuxer: Demuxer::Mov, location, threads: 1 };
    let mut whole = chunk(30 * 48_000, (0, packets(30 * 48_000)), 0);
    whole.stream = 1;
    whole.timebase = Timebase::new(1, 48_000).unwrap();
    whole.measure_loudness = true;
    ranges_measure_what_one_encode_does(dir().path(), &whole, &input, [500, 900]);
}

/// Three chunks of about a third each.
fn thirds(name: &str, demuxer: Demuxer) {
    let Some(film) = film(name, demuxer) else { return };
    let n = film.times.len();
    // cut at even frames, as plans do, so that a half-rate rung has the first frame of each chunk
    let even = |i: usize| i - i % 2;
    chunks_meet(dir().path(), &film, &[0, even(n / 3), even(2 * n / 3)], n);
}

#[test]
fn hevc_with_leading_pictures() {
    thirds("hevc_cra_rasl_foreman_720p.mp4", Demuxer::Mov);
}

#[test]
fn mpeg4_and_mp3_in_avi() {
    thirds("avi_mpeg4_mp3_960x400.avi", Demuxer::Avi);
}

#[test]
fn a_first_time_of_ten_seconds() {
    thirds("mp4_firstpts_10s_sar.mp4", Demuxer::Mov);
}

#[test]
fn a_portrait_stream_that_starts_at_588_seconds() {
    thirds("live_portrait_720x1280.ts", Demuxer::MpegTs);
}

#[test]
fn a_quicktime_file_turned_upside_down() {
    thirds("h264_rot180_sar.mov", Demuxer::Mov);
}
