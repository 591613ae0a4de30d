//! Films that are damaged inside of their samples: the container is without a fault and promises frames that no decoder
//! shows. They are published with what is shown, each picture once and at its time, and it is said what is missing.

use anyhow::{Context, Result, ensure};
use reelmill_tests::film::{Film, PLAIN, Wrap};
use reelmill_tests::package::Package;
use reelmill_tests::{judge, marks, reelmill, tool};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Five seconds.
const FILM: Film = Film { name: "damaged", frames: 120, ..PLAIN };
/// Chunks of one segment: some of the film is decoded from its middle.
const CUT: [&str; 6] = ["--preset", "speed", "--chunk", "2s", "--segment", "2s"];

/// A sample of a film's picture, in the order of the file.
struct Sample {
    /// Which frame it holds.
    frame: u32,
    at: usize,
    bytes: usize,
    key: bool,
}

fn samples(film: &Path) -> Result<Vec<Sample>> {
    let mut probe = Command::new("ffprobe");
    probe.args(["-v", "error", "-select_streams", "v", "-show_packets", "-of", "compact=p=0"]);
    probe.args(["-show_entries", "packet=pts,pos,size,flags"]);
    let listed = tool::run(probe.arg(film), Duration::from_secs(20))?.success()?.text();
    let mut samples = Vec::new();
    for line in listed.lines().filter(|l| !l.is_empty()) {
        let of = |key: &str| line.split('|').find_map(|f| f.strip_prefix(key)?.strip_prefix('='));
        let number = |key: &str| -> Result<usize> { Ok(of(key).context("a number")?.parse()?) };
        samples.push(Sample {
            // 24 a second, in 1/90,000 s
            frame: u32::try_from(number("pts")? / 3_750)?,
            at: number("pos")?,
            bytes: number("size")?,
            key: of("flags").is_some_and(|f| f.contains('K')),
        });
    }
    Ok(samples)
}

/// The film in `dir`, with some samples made unreadable, and the frames that they hold: `picks` are told the samples that
/// hold keyframes.
fn damaged(dir: &Path, film: &Film, picks: impl Fn(&[usize]) -> Vec<usize>) -> Result<(PathBuf, Vec<u32>)> {
    let path = film.make(dir)?.path;
    let mut content = std::fs::read(&path)?;
    let samples = samples(&path)?;
    let keys: Vec<usize> = (0..samples.len()).filter(|n| samples[*n].key).collect();
    let mut lost = Vec::new();
    for n in picks(&keys) {
        let Sample { frame, at, bytes, .. } = samples[n];
        // a unit that would end far behind its sample
        content[at..at + 4].fill(0x7f);
        content[at + 4..at + bytes].fill(0x55);
        lost.push(frame);
    }
    std::fs::write(&path, content)?;
    Ok((path, lost))
}

/// Transcodes, which must end well, and gives the report.
fn published(film: &Path, out: &Path) -> Result<Value> {
    let done = reelmill::transcode(film, out, &CUT)?;
    ensure!(done.code() == 0, "{}", done.stderr);
    Ok(serde_json::from_slice(&std::fs::read(out.join("report.json"))?)?)
}

#[test]
fn what_its_decoder_shows_is_published_and_what_is_missing_is_said() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // no picture hangs on those before a keyframe
    let (film, lost) = damaged(dir.path(), &FILM, |keys| vec![keys[1] - 1, keys[2] - 2, keys[2] - 1])?;
    assert_eq!(lost, [47, 94, 95]);
    let out = dir.path().join("out");
    let report = published(&film, &out)?;
    let mut expected = FILM.expected();
    expected.frames.retain(|(n, _)| !lost.contains(n));
    assert_eq!(judge::judge(&out, &expected)?, Vec::new());
    let plan = &report["plan"];
    assert_eq!(plan["source_frames"], 117, "{plan}");
    let said = plan["decisions"][0].as_str().context("a decision")?;
    assert!(said.contains("its decoder shows 117 of the 120 pictures"), "{said}");
    assert!(said.ends_with("missing are 1 from 0:01.958 on, 2 from 0:03.917 on"), "{said}");
    assert_eq!(plan["why"], said, "jobs explain says it, too");
    Ok(())
}

#[test]
fn a_film_whose_first_picture_is_lost_begins_with_the_first_that_is_shown() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (film, _) = damaged(dir.path(), &FILM, |keys| vec![keys[0]])?;
    let out = dir.path().join("out");
    let report = published(&film, &out)?;
    let mut expected = FILM.expected();
    let (_, zero) = expected.frames[48];
    expected.frames = expected.frames.split_off(48).iter().map(|(n, at)| (*n, at - zero)).collect();
    // picture and sound stay together
    let sound = expected.sound.as_mut().context("sound")?;
    sound.from = zero * 48_000 / expected.scale;
    assert_eq!(judge::judge(&out, &expected)?, Vec::new());
    assert_eq!(report["plan"]["source_frames"], 72);
    Ok(())
}

#[test]
fn pictures_that_hang_on_a_lost_one_are_where_the_decoder_shows_them() -> Result<()> {
    for wrap in [Wrap::Mp4, Wrap::Mov] {
        let dir = tempfile::tempdir()?;
        let film = Film { wrap, sound_rate: 0, ..FILM };
        let (film, _) = damaged(dir.path(), &film, |keys| vec![keys[1]])?;
        let out = dir.path().join("out");
        let report = published(&film, &out)?;
        let reading = marks::read(&film)?;
        // its decoder has lost its way, and shows some at times that are past
        let mut shown: Vec<i64> = Vec::new();
        for mark in &reading.marks {
            if shown.last().is_none_or(|last| mark.pts > *last) {
                shown.push(mark.pts);
            }
        }
        ensure!(shown.len() < 120, "all are shown without the second keyframe");
        assert_eq!(report["plan"]["source_frames"], shown.len());
        let package = Package::load(&out)?;
        assert_eq!(judge::structure(&package)?, Vec::new());
        for rendition in package.video() {
            let (num, den) = reading.timebase;
            let at = |t: &i64| (t - shown[0]) * num * i64::from(rendition.init.timescale);
            let times: Vec<i64> = rendition.presentation_times().iter().map(|t| t * den).collect();
            assert_eq!(times, shown.iter().map(at).collect::<Vec<_>>(), "{wrap:?}: {}", rendition.uri);
        }
    }
    Ok(())
}

#[test]
fn a_film_of_which_nothing_is_shown_is_refused_with_3() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let film = Film { frames: 24, sound_rate: 0, ..FILM };
    let (film, _) = damaged(dir.path(), &film, |keys| keys.to_vec())?;
    let done = reelmill::transcode(&film, &dir.path().join("out"), &CUT)?;
    assert_eq!(done.code(), 3, "{}", done.stderr);
    ensure!(done.stderr.contains("nothing of it can be decoded"), "{}", done.stderr);
    Ok(())
}
