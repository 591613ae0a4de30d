//! Workers are replaced in mid-job by others with another ffmpeg, as a rolling upgrade does: real processes, real encoders.
//! The job ends Published, each rung has one decoder configuration, every frame is there, and the report says who made
//! what.

use anyhow::{Context, Result, ensure};
use reelmill_tests::cluster::{Cluster, PATIENCE, ffmpeg};
use reelmill_tests::film::{Film, PLAIN, Rate};
use reelmill_tests::tool;

/// Thirty chunks of one segment.
const FILM: Film =
    Film { name: "upgraded", size: (426, 240), rate: Rate::Constant(24, 1), frames: 720, gop: 24, ..PLAIN };

/// Becomes the real program, with another count of reference frames: that is in the decoder configuration.
const ODD: &str = r#"#!/bin/sh
n=$#
was=
while [ "$n" -gt 0 ]; do
  word=$1
  shift
  [ "$was" = -refs ] && set -- "$@" 5 || set -- "$@" "$word"
  was=$word
  n=$((n - 1))
done
exec @FFMPEG@ "$@"
"#;

#[test]
fn a_rolling_upgrade_in_mid_job_ends_published() -> Result<()> {
    let newer = std::env::var("REELMILL_FFMPEG_NEW").ok().filter(|p| !p.is_empty());
    let Some(newer) = newer else { return Ok(()) };
    let cluster = Cluster::start(FILM)?;
    let new = cluster.tools("new", &format!("#!/bin/sh\nexec {newer} \"$@\"\n"))?;
    let mut workers = ["w1", "w2"].map(|name| cluster.worker(name, None));
    let job = cluster.submit()?;
    cluster.committed(2)?;
    for (name, worker) in ["w1", "w2"].iter().zip(&mut workers) {
        let old = worker.as_mut().map_err(|e| anyhow::anyhow!("{e:#}"))?;
        old.leave()?;
        *worker = cluster.worker(name, Some(&new));
    }
    let report = cluster.published(&job)?;
    let builds = report["builds"].as_array().context("builds")?;
    let made = |n: usize| Some((builds.get(n)?["ffmpeg"].as_str()?, builds.get(n)?["chunks"].as_u64()?));
    let (Some((first, of_first)), Some((second, of_second))) = (made(0), made(1)) else {
        anyhow::bail!("two builds made it: {builds:?}");
    };
    ensure!(first != second && of_first > 0 && of_second > 0, "{builds:?}");
    ensure!(report["totals"]["faults"] == 0 && report["totals"]["losses"] == 0, "{}", report["totals"]);
    println!("revision {}: {builds:?}", report["plan"]["revision"]);
    Ok(())
}

#[test]
fn an_upgrade_to_a_build_with_other_configurations_binds_the_rungs_anew() -> Result<()> {
    let cluster = Cluster::start(FILM)?;
    let real = ffmpeg()?;
    let odd = cluster.tools("odd", &ODD.replace("@FFMPEG@", real.to_str().context("UTF-8")?))?;
    let mut old = cluster.worker("w1", None)?;
    let job = cluster.submit()?;
    cluster.committed(3)?;
    old.leave()?;
    let _new = cluster.worker("w1", Some(&odd))?;
    let report = cluster.published(&job)?;
    ensure!(report["plan"]["revision"] == 2 && report["plan"]["parent"] == 1, "{}", report["plan"]);
    let why = report["plan"]["why"].as_str().unwrap_or_default();
    ensure!(why.contains("bound anew"), "{}", report["plan"]);
    ensure!(report["totals"]["faults"] == 0, "it is nobody's fault: {}", report["totals"]);
    let done = tool::run(&mut cluster.client(&["jobs", "explain", &job])?, PATIENCE)?.success()?;
    ensure!(done.text().contains("revision 2 of the plan"), "{}", done.text());
    Ok(())
}
