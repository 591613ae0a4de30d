//! Every made film through the real binary, cut three ways; every package judged frame by frame and sample by
//! sample; the three cuts must have the same segments at the same times.

use libtest_mimic::{Arguments, Failed, Trial};
use reelmill_tests::film::{FILMS, Film};
use reelmill_tests::judge::judge;
use reelmill_tests::package::Package;
use reelmill_tests::reelmill;
use std::path::Path;

/// Chunks of one segment, of two, and one chunk for the whole film.
const CHUNKS: [&str; 3] = ["4s", "8s", "600s"];

fn main() {
    let trials = FILMS.iter().map(|film| Trial::test(film.name, || stands(film))).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn stands(film: &Film) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let made = film.make(dir.path()).map_err(|e| format!("{e:#}"))?;
    let mut cuts = Vec::new();
    for chunk in CHUNKS {
        let out = dir.path().join(chunk);
        let options = ["--preset", "speed", "--chunk", chunk, "--json"];
        let done = reelmill::transcode(&made.path, &out, &options).map_err(|e| format!("{e:#}"))?;
        if done.code() != 0 {
            return Err(
                format!("--chunk {chunk}: exit {}:\n{}{}", done.code(), done.text(), done.stderr).into()
            );
        }
        let found = judge(&out, &film.expected()).map_err(|e| format!("--chunk {chunk}: {e:#}"))?;
        if !found.is_empty() {
            let all: Vec<String> = found.iter().map(ToString::to_string).collect();
            return Err(format!("--chunk {chunk}:\n{}", all.join("\n")).into());
        }
        let package = Package::load(&out).map_err(|e| format!("{e:#}"))?;
        if package.master.iframes.len() != package.video().count() {
            return Err(
                format!("--chunk {chunk}: an I-frame playlist for each video rendition is due").into()
            );
        }
        cuts.push((chunk, times(&out)?));
    }
    for (chunk, cut) in &cuts[1..] {
        if *cut != cuts[0].1 {
            return Err(format!("--chunk {chunk} and {} differ:\n{cut:?}\n{:?}", cuts[0].0, cuts[0].1).into());
        }
    }
    Ok(())
}

/// The media playlists' texts and the decode times of their segments, in the master playlist's order.
fn times(out: &Path) -> Result<Vec<(String, Vec<i64>)>, Failed> {
    let package = Package::load(out).map_err(|e| format!("{e:#}"))?;
    let mut all: Vec<(String, String, Vec<i64>)> = Vec::new();
    for r in &package.renditions {
        let text = std::fs::read_to_string(out.join(&r.uri))?;
        let name = r.uri.rsplit_once('-').map_or(r.uri.as_str(), |(name, _)| name).to_owned();
        all.push((name, text, r.segments.iter().map(|s| s.tfdt).collect()));
    }
    // Variants are ordered by measured rate, which the cut may move a little: compare by name.
    all.sort();
    Ok(all.into_iter().map(|(_, text, tfdts)| (text, tfdts)).collect())
}
