//! The made films are what their descriptions say: read back by the reader of marks, before anything transcodes them.

use reelmill_tests::film::{FILMS, Film};
use reelmill_tests::{marks, tool};
use std::time::Duration;

fn reads_back(film: &Film) {
    let dir = tempfile::tempdir().expect("scratch");
    let made = film.make(dir.path()).expect("film");
    let expected = film.expected();
    let reading = marks::read(&made.path).expect("reads");
    let counters: Vec<_> = reading.marks.iter().map(|m| m.counter).collect();
    let due: Vec<_> = expected.frames.iter().map(|f| Some(f.0)).collect();
    assert_eq!(counters, due, "{}: counters", film.name);
    assert!(reading.marks.iter().all(|m| m.colours), "{}: colours", film.name);
    // Times to one tick of the source's own clock.
    let (num, den) = reading.timebase;
    let first = reading.marks[0].pts;
    for (mark, (counter, at)) in reading.marks.iter().zip(&expected.frames) {
        let apart = (mark.pts - first) * num * expected.scale - at * den;
        assert!(apart.abs() <= num * expected.scale, "{}: frame {counter} at {}", film.name, mark.pts);
    }
}

#[test]
fn every_made_film_reads_back() {
    for film in &FILMS {
        reads_back(film);
    }
}

#[test]
fn a_film_starts_where_it_says() {
    let dir = tempfile::tempdir().expect("scratch");
    // 95,443 s lie 0.717689 s before the 33-bit clock runs over, and ffmpeg counts from there.
    for (name, start) in [("late-start", "0.700000"), ("clock-runs-over", "-0.717689"), ("plain", "0.000000")]
    {
        let film = FILMS.iter().find(|f| f.name == name).expect("film");
        let made = Film { frames: 30, ..*film }.make(dir.path()).expect("film");
        let mut probe = std::process::Command::new("ffprobe");
        probe.args([
            "-v",
            "error",
            "-select_streams",
            "v",
            "-show_entries",
            "stream=start_time",
            "-of",
            "csv=p=0",
        ]);
        let done = tool::run(probe.arg(&made.path), Duration::from_secs(20)).expect("probe").success();
        assert_eq!(done.expect("probes").text().lines().next(), Some(start), "{name}");
    }
}
