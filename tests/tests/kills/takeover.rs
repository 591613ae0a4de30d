//! Two coordinators on one etcd, and the one that leads is killed in the middle of a job.

use crate::bench::Bench;
use crate::case::PATIENCE;
use crate::cluster::Process;
use crate::etcd_server::EtcdServer;
use crate::{CHUNKS, encodes, named_files_are_there, state};
use anyhow::{Context, Result, ensure};
use reelmill_coordinator::state::etcd::{EtcdConfig, EtcdState};
use reelmill_tests::{reelmill, tool};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;

struct Coordinator {
    process: Process,
    grpc: String,
    http: String,
}

impl Coordinator {
    /// All coordinators have one directory for work files and packages; state lies in etcd.
    fn start(bench: &Bench, data: &Path, etcd: &EtcdServer, log: &Path) -> Result<Self> {
        let (grpc, http) = (reelmill::own_address()?, reelmill::own_address()?);
        let mut command = bench.command(&["coordinator", "--lease-ttl", "3s", "--etcd-lease-ttl", "2s"])?;
        command.arg("--data").arg(data).args([
            "--grpc",
            &grpc,
            "--http",
            &http,
            "--etcd",
            &etcd.urls().join(","),
        ]);
        Ok(Self { process: Process::start(command, log)?, grpc, http })
    }

    /// Waits until it says this of itself.
    fn is(&self, role: &str) -> Result<()> {
        let look = || reelmill::get(&self.http, "/readyz").ok().filter(|r| r.1.starts_with(role)).map(drop);
        tool::wait_until(&format!("a coordinator is {role}"), PATIENCE, look)
            .with_context(|| self.process.said())
    }

    fn states(&self) -> Result<Vec<String>> {
        let (_, body) = reelmill::get(&self.http, "/api/jobs")?;
        let page: Value = serde_json::from_str(&body)?;
        let jobs = page["jobs"].as_array().context("jobs")?;
        Ok(jobs.iter().filter_map(|job| job["state"].as_str().map(str::to_owned)).collect())
    }
}

/// What both coordinators and the worker have in common.
struct Place {
    runtime: Runtime,
    state: EtcdState,
    data: PathBuf,
    log: PathBuf,
}

impl Place {
    fn committed(&self) -> Result<BTreeSet<String>> {
        self.runtime.block_on(state::committed_in(&self.state, &self.data))
    }
}

fn takeover() -> Result<()> {
    let bench = Bench::new();
    let (data, log) = bench.room("takeover")?;
    let said = |who: &str| data.with_file_name(format!("{who}.log"));
    let etcd = EtcdServer::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let config = EtcdConfig { endpoints: etcd.urls(), ..EtcdConfig::default() };
    let state = runtime.block_on(EtcdState::connect(config))?;
    let place = Place { runtime, state, data: data.clone(), log };

    let mut leader = Coordinator::start(&bench, &data, &etcd, &said("leader"))?;
    leader.is("leading")?;
    let standby = Coordinator::start(&bench, &data, &etcd, &said("standby"))?;
    standby.is(&format!("standby, http://{} leads", leader.grpc))?;

    // clients and workers know both, the standby first: it sends them on
    let both = format!("http://{},http://{}", standby.grpc, leader.grpc);
    let mut submit = bench.command(&["submit", "--json", "--idempotency-key", "film"])?;
    submit.arg(&bench.film).args(bench.encoding("ultrafast")).env("REELMILL_COORDINATOR", &both);
    let submitted = tool::run(&mut submit, PATIENCE)?.success()?;
    let line: Value = serde_json::from_str(submitted.text().lines().next().context("a line")?)?;
    let job = line["job_id"].as_str().context("job_id")?;
    let scratch = data.with_file_name("scratch");
    std::fs::create_dir_all(&scratch)?;
    let mut worker = bench.command(&["worker", "--slots", "2", "--name", "w1"])?;
    worker.arg("--scratch").arg(&scratch).env("REELMILL_COORDINATOR", &both);
    let mut worker = Process::start(worker, &said("worker"))?;

    // the plan is made, some chunks are committed, others are being encoded
    let some = || place.committed().ok().filter(|done| done.len() >= 4).map(drop);
    tool::wait_until("some chunks are committed", PATIENCE, some).with_context(|| leader.process.said())?;
    leader.process.cut()?;
    let (committed, before) = (place.committed()?, encodes::noted(&place.log)?);
    ensure!(committed.len() < CHUNKS, "the job was over too soon: {committed:?}");

    standby.is("leading")?;
    let published = || match standby.states() {
        Ok(states) if states == ["published"] => Some(Ok(())),
        Ok(states) if states.iter().any(|s| s == "failed") => Some(Err(anyhow::anyhow!("{states:?}"))),
        _ => None,
    };
    tool::wait_until("the job is published", PATIENCE, published)
        .with_context(|| standby.process.said())??;
    ensure!(
        tool::run(&mut submit, PATIENCE)?.success()?.text().contains(job),
        "the key is another job's now"
    );
    ensure!(worker.leave()?.success(), "{}", worker.said());

    let since = encodes::started(&place.log, &before)?;
    let again: Vec<&String> = since.keys().filter(|encode| committed.contains(*encode)).collect();
    ensure!(again.is_empty(), "committed before the kill and started again: {again:?}");
    // what the worker held when its leader died it brought to the next one: nothing was encoded twice at all
    let all = encodes::started(&place.log, &BTreeSet::new())?;
    ensure!(all.len() == CHUNKS + 2 && all.values().all(|times| *times == 1), "{all:?}");
    named_files_are_there(&data.join("publish/local").join(job));
    println!(
        "takeover: {} committed before the kill, {} encodes started after it",
        committed.len(),
        since.len()
    );
    Ok(())
}

#[test]
fn a_standby_takes_over_a_job_whose_leader_was_killed() {
    takeover().unwrap_or_else(|error| panic!("{error:#}"));
}
