//! Real films: each one of the corpus that its catalog marks `core` (and not `long`) through the real binary.
//!
//! `REELMILL_CORPUS` names the folder with `catalog.tsv`. Without it there is nothing to run and this says so; CI sets
//! it, and `.ci/tests-floor` makes sure that these tests were among those that ran. Files that hold no media must be
//! refused with exit code 3 and a reason.

use libtest_mimic::{Arguments, Failed, Trial};
use reelmill_tests::compare::{compare, grid};
use reelmill_tests::package::Package;
use reelmill_tests::reelmill;
use std::path::{Path, PathBuf};

/// A row of the catalog: name, and whether it holds media at all (a duration).
fn rows(catalog: &str) -> Vec<(String, bool)> {
    catalog
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .filter(|c| c.len() > 10)
        .filter(|c| {
            let tags: Vec<&str> = c[1].split(',').collect();
            tags.contains(&"core") && !tags.contains(&"long")
        })
        .map(|c| (c[0].to_owned(), c[10].parse::<f64>().is_ok_and(|seconds| seconds > 0.0)))
        .collect()
}

fn main() {
    let mut trials = vec![Trial::test("the_catalog_is_read", || {
        let text = "file\ttags\n\
                    a.mp4\tcore\t1\ts\tl\tmov\th264\t\t2x2\t24\t1.5\n\
                    b.mp4\tcore,long\t1\ts\tl\tmov\th264\t\t2x2\t24\t99\n\
                    c.mp4\tcore\t1\ts\tl\t\t\t\t\t\t0.000\n\
                    d.mp4\t\t1\ts\tl\tmov\th264\t\t2x2\t24\t1";
        let wanted = vec![("a.mp4".to_owned(), true), ("c.mp4".to_owned(), false)];
        if rows(text) == wanted { Ok(()) } else { Err(format!("{:?}", rows(text)).into()) }
    })];
    match std::env::var_os("REELMILL_CORPUS").map(PathBuf::from) {
        None => eprintln!("REELMILL_CORPUS is not set: no film of the corpus is tried"),
        Some(folder) => {
            let catalog = std::fs::read_to_string(folder.join("catalog.tsv")).expect("catalog.tsv");
            for (name, media) in rows(&catalog) {
                let film = folder.join(&name);
                if CUT.contains(&name.as_str()) {
                    let film = film.clone();
                    trials.push(Trial::test(format!("{name}, cut three ways"), move || is_cut_alike(&film)));
                }
                trials.push(Trial::test(name, move || if media { stands(&film) } else { is_refused(&film) }));
            }
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// Films that are cut three ways: an MP4 of 30 s, a transport stream with two keyframes, and 40 s at 29.83 a second.
const CUT: [&str; 3] = ["bbb_30s_faststart.mp4", "live_1080p30_16s_baseline.ts", "bottles_40s_29.83fps.mp4"];

/// Chunks of 4 s, of 30 s and one for the whole film: the same segments at the same times.
fn is_cut_alike(film: &Path) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let mut cuts = Vec::new();
    for chunk in ["4s", "30s", "36000s"] {
        let out = dir.path().join(chunk);
        let options = ["--preset", "ultrafast", "--ladder", "240p", "--chunk", chunk, "--json"];
        let done = reelmill::transcode(film, &out, &options).map_err(|e| format!("{e:#}"))?;
        if done.code() != 0 {
            return Err(
                format!("--chunk {chunk}: exit {}:\n{}{}", done.code(), done.text(), done.stderr).into()
            );
        }
        let package = Package::load(&out).map_err(|e| format!("{e:#}"))?;
        cuts.push((chunk, grid(&package).map_err(|e| format!("{e:#}"))?));
    }
    let (first, others) = cuts.split_first().ok_or("nothing was cut")?;
    match others.iter().find(|(_, cut)| *cut != first.1) {
        None if first.1.iter().any(|(.., tfdts)| tfdts.len() > 1) => Ok(()),
        None => Err("a film of one segment cannot be cut".into()),
        Some((chunk, cut)) => {
            Err(format!("--chunk {chunk} and {} differ:\n{cut:?}\n{:?}", first.0, first.1).into())
        }
    }
}

fn stands(film: &Path) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("out");
    // The fastest preset: what is judged here is times and places, not bits.
    let options = ["--preset", "ultrafast", "--chunk", "8s", "--json"];
    let done = reelmill::transcode(film, &out, &options).map_err(|e| format!("{e:#}"))?;
    if done.code() != 0 {
        return Err(format!("exit {}:\n{}{}", done.code(), done.text(), done.stderr).into());
    }
    let found = compare(film, &out).map_err(|e| format!("{e:#}"))?;
    if found.is_empty() {
        return Ok(());
    }
    Err(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n").into())
}

fn is_refused(film: &Path) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("out");
    let done = reelmill::transcode(film, &out, &[]).map_err(|e| format!("{e:#}"))?;
    if done.code() != 3 {
        return Err(format!("exit {} instead of 3:\n{}{}", done.code(), done.text(), done.stderr).into());
    }
    if done.stderr.trim().is_empty() {
        return Err("refused without a reason".into());
    }
    if out.join("master.m3u8").exists() || out.join("manifest.mpd").exists() {
        return Err("a package of a film that is none".into());
    }
    Ok(())
}
