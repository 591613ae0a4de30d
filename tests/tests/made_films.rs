//! Every made film through the real binary, cut three ways; every package judged frame by frame and sample by
//! sample; the three cuts must have the same segments at the same times.
//! Two more have their sound cut into ranges, and must be the same packages as with one encode.

use libtest_mimic::{Arguments, Failed, Trial};
use reelmill_tests::compare::{Cut, grid};
use reelmill_tests::film::{Expected, FILMS, Film, Made, PLAIN, Rate, Wrap};
use reelmill_tests::judge::judge;
use reelmill_tests::package::Package;
use reelmill_tests::{reelmill, tool};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Three segments a film.
const SEGMENT: &str = "2s";
/// Chunks of one segment, of two, and one chunk for the whole film.
const CHUNKS: [&str; 3] = ["2s", "4s", "600s"];

fn main() {
    let mut trials: Vec<_> = FILMS.iter().map(|film| Trial::test(film.name, || stands(film))).collect();
    trials.push(Trial::test("sound_in_ranges", || sound_in_ranges("slow", Wrap::Mp4)));
    trials.push(Trial::test("sound_in_ranges_of_opus", || sound_in_ranges("slow-opus", Wrap::MkvOpus)));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn stands(film: &Film) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let made = film.make(dir.path()).map_err(|e| format!("{e:#}"))?;
    let mut cuts = Vec::new();
    for chunk in CHUNKS {
        cuts.push((chunk, transcoded(&made, dir.path(), &["--chunk", chunk, "--segment", SEGMENT])?));
    }
    alike(&cuts)
}

/// A film so cheap to look at that its sound would hold up the job: cut into ranges where the option allows it, and
/// nobody can tell it from the package, nor from the loudness that is told. A range has 44 s in front of it that are
/// encoded for nothing.
fn sound_in_ranges(name: &'static str, wrap: Wrap) -> Result<(), Failed> {
    let (size, rate) = ((426, 240), Rate::Constant(5, 1));
    let film = Film { name, size, rate, wrap, frames: 480, gop: 20, ..PLAIN };
    let dir = tempfile::tempdir()?;
    let made = film.make(dir.path()).map_err(|e| format!("{e:#}"))?;
    let (mut cuts, mut loudness) = (Vec::new(), Vec::new());
    for (least, ranges) in [("120s", false), ("30s", true)] {
        let options = ["--sound-range", least, "--workers", "4"];
        cuts.push((least, transcoded(&made, dir.path(), &options)?));
        let report = std::fs::read_to_string(dir.path().join(least).join("report.json"))?;
        if report.contains("ranges that meet at packets") != ranges {
            return Err(
                format!("{}: {least}: ranges were expected: {ranges}\n{report}", options.join(" ")).into()
            );
        }
        let report: Value = serde_json::from_str(&report)?;
        loudness.push(report["audio"][0]["loudness"].clone());
    }
    if !loudness[0]["integrated_lufs_x100"].is_i64() || loudness[0] != loudness[1] {
        return Err(format!("one encode is as loud as {}, ranges as {}", loudness[0], loudness[1]).into());
    }
    alike(&cuts)
}

/// Transcodes into a folder named by the first option's value, and judges the package.
fn transcoded(made: &Made, dir: &Path, options: &[&str]) -> Result<Cut, Failed> {
    let out = dir.join(options[1]);
    let what = options.join(" ");
    let all = [&["--preset", "speed", "--json"], options].concat();
    let done = reelmill::transcode(&made.path, &out, &all).map_err(|e| format!("{e:#}"))?;
    if done.code() != 0 {
        return Err(format!("{what}: exit {}:\n{}{}", done.code(), done.text(), done.stderr).into());
    }
    let found = judge(&out, &expected(made)?).map_err(|e| format!("{what}: {e:#}"))?;
    if !found.is_empty() {
        let all: Vec<String> = found.iter().map(ToString::to_string).collect();
        return Err(format!("{what}:\n{}", all.join("\n")).into());
    }
    let package = Package::load(&out).map_err(|e| format!("{e:#}"))?;
    if package.master.iframes.len() != package.video().count() {
        return Err(format!("{what}: an I-frame playlist for each video rendition is due").into());
    }
    grid(&package).map_err(|e| format!("{e:#}").into())
}

/// What the film's description tells, and what its maker made of it: ffmpeg 5.1 writes Opus into Matroska as if the
/// samples that decoders leave out did not count, so that all of the sound is early by them; ffmpeg 9 does not.
fn expected(made: &Made) -> Result<Expected, Failed> {
    let mut expected = made.film.expected();
    if let (Wrap::MkvOpus, Some(sound)) = (made.film.wrap, &mut expected.sound) {
        let mut probe = Command::new("ffprobe");
        probe.args("-v error -select_streams a -show_entries stream=start_pts -of csv=p=0".split(' '));
        let start = tool::run(probe.arg(&made.path), Duration::from_secs(20)).and_then(|done| done.success());
        let start = start.map_err(|e| format!("{e:#}"))?.text();
        // 312 samples are 6.5 ms; what is left out itself begins that much before 0
        sound.from += match start.trim() {
            "-13" => 312,
            "-7" | "-6" => 0,
            other => return Err(format!("sound begins at {other:?} ms").into()),
        };
    }
    Ok(expected)
}

/// All cuts have the same playlists and decode times.
fn alike(cuts: &[(&str, Cut)]) -> Result<(), Failed> {
    for (name, cut) in &cuts[1..] {
        if *cut != cuts[0].1 {
            return Err(format!("{name} and {} differ:\n{cut:?}\n{:?}", cuts[0].0, cuts[0].1).into());
        }
    }
    Ok(())
}
