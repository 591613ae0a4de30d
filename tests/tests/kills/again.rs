//! What runs for long is cut off again and again, and each time goes on where it was.

use crate::bench::Bench;
use crate::case::{Found, KEY, PATIENCE, PRESET, Reference, Tally};
use crate::cluster::{Place, Process};
use crate::{Dice, encodes};
use anyhow::{Context, Result, bail, ensure};
use reelmill_tests::tool;
use std::collections::BTreeSet;
use std::path::Path;

/// Lets a process work until it has started so many encodes since `before`, or is done: true.
fn let_work(
    process: &mut Process,
    log: &Path,
    before: &BTreeSet<String>,
    encodes: usize,
    mut is_done: impl FnMut() -> Result<bool>,
) -> Result<bool> {
    let mut look = || -> Result<Option<bool>> {
        if is_done()? {
            return Ok(Some(true));
        }
        if process.ended()?.is_some() {
            bail!("it ended: {}", process.said());
        }
        Ok((encodes::noted(log)?.len() >= before.len() + encodes).then_some(false))
    };
    tool::wait_until("it works", PATIENCE, || look().transpose())?
}

/// `serve`, cut off `count` times while it works on the film.
pub(crate) fn serve_with_kills(bench: &Bench, reference: &Reference, count: usize) -> Tally {
    let run = || -> Result<Tally> {
        let place = Place::new(bench, "serve")?;
        let (mut kills, mut dice) = (Vec::new(), Dice(0x5EF7E));
        let mut process = place.serve()?;
        ensure!(place.leads(&mut process)?, "{}", process.said());
        let job = place.submit(KEY, PRESET)?.context("it answers")?;
        for _ in 0..count {
            let before = encodes::noted(&place.log)?;
            let encodes = dice.encodes_of(count);
            if let_work(&mut process, &place.log, &before, encodes, || place.published(1))? {
                break;
            }
            process.cut()?;
            kills.push(Found::look(&place.data, &place.log)?);
            process = place.serve()?;
            ensure!(place.leads(&mut process)?, "{}", process.said());
            ensure!(place.submit(KEY, PRESET)?.as_ref() == Some(&job), "the same key is another job");
        }
        tool::wait_until("the job is published", PATIENCE, || match place.published(1) {
            Ok(false) => None,
            other => Some(other),
        })??;
        ensure!(process.leave()?.success(), "{}", process.said());
        Tally::of(reference, &place.package(&job), &place.log, &kills)
    };
    run().unwrap_or_else(|e| panic!("serve: {e:#}"))
}

/// `transcode`, cut off up to `count` times and started again with the same words.
pub(crate) fn transcode_with_kills(bench: &Bench, reference: &Reference, count: usize) -> Tally {
    let run = || -> Result<Tally> {
        let (out, log) = bench.room("transcode")?;
        let said = out.with_file_name("transcode.log");
        let start = || -> Result<Process> {
            let mut command = bench.command(&["transcode"])?;
            command
                .arg(&bench.film)
                .arg("--out")
                .arg(&out)
                .args(bench.encoding(PRESET))
                .args(["--workers", "2"]);
            Process::start(command, &said)
        };
        let (mut kills, mut dice) = (Vec::new(), Dice(0x7A5C));
        let mut process = start()?;
        for _ in 0..count {
            let before = encodes::noted(&log)?;
            let encodes = dice.encodes_of(count);
            let is_done = || Ok(out.join("master.m3u8").exists());
            if let_work(&mut process, &log, &before, encodes, is_done)? {
                break;
            }
            process.cut()?;
            kills.push(Found::look(&out.join(".reelmill"), &log)?);
            process = start()?;
        }
        let ended = tool::wait_until("transcode ends", PATIENCE, || process.ended().transpose())??;
        ensure!(ended.success(), "{}", process.said());
        ensure!(!out.join(".reelmill").exists(), "its state stays");
        Tally::of(reference, &out, &log, &kills)
    };
    run().unwrap_or_else(|e| panic!("transcode: {e:#}"))
}
