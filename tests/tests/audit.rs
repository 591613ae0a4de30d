//! Audits with real processes and real encoders: a worker whose ffmpeg makes other pictures or other sound than the film's,
//! in boxes and at times that no check finds fault with, is found and named, and nothing of it is published.

use anyhow::{Context, Result, ensure};
use reelmill_tests::cluster::{Cluster, PATIENCE, ffmpeg};
use reelmill_tests::film::{Film, PLAIN, Rate};
use reelmill_tests::tool;

/// Three chunks.
const FILM: Film =
    Film { name: "audited", size: (426, 240), rate: Rate::Constant(24, 1), frames: 72, gop: 24, ..PLAIN };

/// Becomes the real program; where it encodes, a filter goes before what the encoder is given.
const WRONG: &str = r#"#!/bin/sh
case " $* " in
*" @ENCODER@ "*) ;;
*) exec @FFMPEG@ "$@" ;;
esac
n=$#
while [ "$n" -gt 0 ]; do
  word=$1
  shift
  case $word in
  *@BEFORE@*) word=${word%%@BEFORE@*}@FILTER@@BEFORE@${word#*@BEFORE@} ;;
  esac
  set -- "$@" "$word"
  n=$((n - 1))
done
exec @FFMPEG@ "$@"
"#;

/// A worker with such a program is found by what it made of `rendition`, which is `unlike` the film.
fn is_found_and_named(
    encoder: &str,
    filter: &str,
    before: &str,
    rendition: &str,
    unlike: &str,
) -> Result<()> {
    let cluster = Cluster::start(FILM)?;
    let wrong = WRONG.replace("@FFMPEG@", ffmpeg()?.to_str().context("UTF-8")?).replace("@ENCODER@", encoder);
    let wrong = wrong.replace("@FILTER@", filter).replace("@BEFORE@", before);
    let wrong = cluster.tools("wrong", &wrong)?;
    let _worker = cluster.worker("w1", Some(&wrong))?;
    let job = cluster.submit()?;
    let state = cluster.ended()?;
    ensure!(state == "failed", "{:?}", cluster.job());
    let said = tool::run(&mut cluster.client(&["jobs", "explain", &job])?, PATIENCE)?.text();
    for part in ["w1 committed ", rendition, ", segment ", "(chunk ", unlike, "found by w1", "jobs retry"] {
        ensure!(said.contains(part), "{part}: {said}");
    }
    let waited = tool::run(&mut cluster.client(&["jobs", "watch", &job])?, PATIENCE)?;
    ensure!(waited.code() == 4, "{}", waited.text());
    ensure!(!cluster.package(&job).join("master.m3u8").exists(), "nothing of it is published");
    Ok(())
}

#[test]
fn a_worker_that_makes_other_pictures_is_found_and_named() -> Result<()> {
    is_found_and_named("libx264", ",vflip", ",setsar=sar=1", "p, ", "does not show the film")
}

#[test]
fn a_worker_that_makes_other_sound_is_found_and_named() -> Result<()> {
    is_found_and_named("aac", ",volume=0.25", ",asetpts=expr=", "audio, ", "does not sound like the film")
}

#[test]
fn honest_workers_look_at_each_other_s_work() -> Result<()> {
    let cluster = Cluster::start(FILM)?;
    let _workers = [cluster.worker("w1", None)?, cluster.worker("w2", None)?];
    let job = cluster.submit()?;
    let report = cluster.published(&job)?;
    let audit = &report["audit"];
    let (all, of_sound) = (audit["segments"].as_u64(), audit["of_sound"].as_u64());
    ensure!(of_sound.is_some_and(|n| n > 0) && of_sound < all, "{audit}");
    ensure!(audit["by_another_worker"] == audit["segments"] && audit["caught"].is_null(), "{audit}");
    Ok(())
}
