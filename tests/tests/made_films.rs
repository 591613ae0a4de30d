//! Every made film through the real binary, cut three ways; every package judged frame by frame and sample by
//! sample; the three cuts must have the same segments at the same times.
//! One more film has its sound cut into ranges, and must be the same package as with one encode.

use libtest_mimic::{Arguments, Failed, Trial};
use reelmill_tests::compare::{Cut, grid};
use reelmill_tests::film::{FILMS, Film, Made, PLAIN, Rate};
use reelmill_tests::judge::judge;
use reelmill_tests::package::Package;
use reelmill_tests::reelmill;
use std::path::Path;

/// Three segments a film.
const SEGMENT: &str = "2s";
/// Chunks of one segment, of two, and one chunk for the whole film.
const CHUNKS: [&str; 3] = ["2s", "4s", "600s"];

fn main() {
    let mut trials: Vec<_> = FILMS.iter().map(|film| Trial::test(film.name, || stands(film))).collect();
    trials.push(Trial::test("sound_in_ranges", sound_in_ranges));
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
/// nobody can tell it from the package. A range has 44 s in front of it that are encoded for nothing.
fn sound_in_ranges() -> Result<(), Failed> {
    let size = (426, 240);
    let film = Film { name: "slow", size, rate: Rate::Constant(5, 1), frames: 480, gop: 20, ..PLAIN };
    let dir = tempfile::tempdir()?;
    let made = film.make(dir.path()).map_err(|e| format!("{e:#}"))?;
    let mut cuts = Vec::new();
    for (least, ranges) in [("120s", false), ("30s", true)] {
        let options = ["--sound-range", least, "--workers", "4"];
        cuts.push((least, transcoded(&made, dir.path(), &options)?));
        let report = std::fs::read_to_string(dir.path().join(least).join("report.json"))?;
        if report.contains("ranges that meet at packets") != ranges {
            return Err(
                format!("{}: {least}: ranges were expected: {ranges}\n{report}", options.join(" ")).into()
            );
        }
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
    let found = judge(&out, &made.film.expected()).map_err(|e| format!("{what}: {e:#}"))?;
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

/// All cuts have the same playlists and decode times.
fn alike(cuts: &[(&str, Cut)]) -> Result<(), Failed> {
    for (name, cut) in &cuts[1..] {
        if *cut != cuts[0].1 {
            return Err(format!("{name} and {} differ:\n{cut:?}\n{:?}", cuts[0].0, cuts[0].1).into());
        }
    }
    Ok(())
}
