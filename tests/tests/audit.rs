//! Audits with real processes and real encoders: a worker whose ffmpeg makes other pictures than the film's, in boxes and
//! at times that no check finds fault with, is found and named, and nothing of it is published.

use anyhow::{Context, Result, ensure};
use reelmill_tests::cluster::{Cluster, PATIENCE, ffmpeg};
use reelmill_tests::film::{Film, PLAIN, Rate};
use reelmill_tests::tool;

/// Three chunks.
const FILM: Film =
    Film { name: "audited", size: (426, 240), rate: Rate::Constant(24, 1), frames: 72, gop: 24, ..PLAIN };

/// Becomes the real program; where it encodes, every picture goes upside down on its way to the encoder.
const WRONG: &str = r#"#!/bin/sh
case " $* " in
*" libx264 "*) ;;
*) exec @FFMPEG@ "$@" ;;
esac
n=$#
while [ "$n" -gt 0 ]; do
  word=$1
  shift
  case $word in
  *,setsar=sar=1*) word=${word%%,setsar=sar=1*},vflip,setsar=sar=1${word#*,setsar=sar=1} ;;
  esac
  set -- "$@" "$word"
  n=$((n - 1))
done
exec @FFMPEG@ "$@"
"#;

#[test]
fn a_worker_that_makes_other_pictures_is_found_and_named() -> Result<()> {
    let cluster = Cluster::start(FILM)?;
    let wrong = WRONG.replace("@FFMPEG@", ffmpeg()?.to_str().context("UTF-8")?);
    let wrong = cluster.tools("wrong", &wrong)?;
    let _worker = cluster.worker("w1", Some(&wrong))?;
    let job = cluster.submit()?;
    let state = cluster.ended()?;
    ensure!(state == "failed", "{:?}", cluster.job());
    let said = tool::run(&mut cluster.client(&["jobs", "explain", &job])?, PATIENCE)?.text();
    for part in
        ["w1 committed ", ", segment ", "(chunk ", "does not show the film", "found by w1", "jobs retry"]
    {
        ensure!(said.contains(part), "{part}: {said}");
    }
    let waited = tool::run(&mut cluster.client(&["jobs", "watch", &job])?, PATIENCE)?;
    ensure!(waited.code() == 4, "{}", waited.text());
    ensure!(!cluster.package(&job).join("master.m3u8").exists(), "nothing of it is published");
    Ok(())
}

#[test]
fn honest_workers_look_at_each_other_s_work() -> Result<()> {
    let cluster = Cluster::start(FILM)?;
    let _workers = [cluster.worker("w1", None)?, cluster.worker("w2", None)?];
    let job = cluster.submit()?;
    let report = cluster.published(&job)?;
    let audit = &report["audit"];
    ensure!(audit["segments"].as_u64().is_some_and(|n| n > 0), "{audit}");
    ensure!(audit["by_another_worker"] == audit["segments"] && audit["caught"].is_null(), "{audit}");
    Ok(())
}
