//! A coordinator killed at its effects: this test runs itself as the coordinator's process, aborts it before and after
//! chosen effects, starts it again, and compares what comes out with an undisturbed run.
//!
//! The workers are invented, so a run is short; kills with real encoders belong to the whole program's tests.

use crate::cluster::{PATIENCE, World};
use crate::fake_worker::Manner;
use reelmill_common::record::StateKey;
use reelmill_common::{Sha256, SpecId};
use reelmill_coordinator::state::StateStore as _;
use reelmill_coordinator::state::embedded::EmbeddedState;
use reelmill_coordinator::{CoordinatorConfig, start};
use reelmill_proto::jobs::v1 as wire;
use reelmill_proto::jobs::v1::jobs_client::JobsClient;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio_util::sync::CancellationToken;

const DIRECTORY: &str = "REELMILL_TEST_COORDINATOR";
const SWITCH: &str = "REELMILL_ABORT_AT_EFFECT";
/// Every so many effects are tried, before and after in turn; a prime, so that it does not keep step with anything.
const STRIDE: usize = 7;

/// So many runs go on at a time: most of each is waiting, for processes to start and leases to run out.
const LANES: usize = 6;

#[test]
fn killed_at_its_effects_it_goes_on_and_nothing_committed_is_done_again() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return in_runtime(coordinator(Path::new(&directory)));
    }
    let (undisturbed, died) = in_runtime(run_to_the_end(""));
    assert!(!died);
    assert!(undisturbed.contains_key("master.m3u8") && undisturbed.contains_key("manifest.mpd"));
    let (next, kills, is_over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let lane = || {
        while !is_over.load(Ordering::Relaxed) {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let at = format!("{}{}", 1 + n * STRIDE, if n.is_multiple_of(2) { "" } else { "+" });
            let (package, died) = in_runtime(run_to_the_end(&format!("coordinator:{at}")));
            assert_eq!(package, undisturbed, "killed at {at}");
            if died {
                kills.fetch_add(1, Ordering::Relaxed);
            } else {
                is_over.store(true, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| (0..LANES).for_each(|_| drop(scope.spawn(lane))));
    let kills = kills.into_inner();
    assert!(kills >= 5, "a job has more than {} effects", kills * STRIDE);
}

fn in_runtime<T>(run: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("a runtime").block_on(run)
}

/// The child's part: serve until killed.
async fn coordinator(directory: &Path) {
    let mut config = CoordinatorConfig::local(directory);
    config.http_addr = None;
    config.machine.lease_ttl_ms = 900;
    config.machine.heartbeat_ms = 300;
    let running = start(config, CancellationToken::new()).await.expect("it starts");
    println!("\nserving {}", running.grpc_addr);
    running.join.await.expect("it does not panic").expect("it ends well");
}

fn spawn(directory: &Path, switch: &str) -> (Child, Option<SocketAddr>) {
    let this_test = "kills::killed_at_its_effects_it_goes_on_and_nothing_committed_is_done_again";
    let mut child = Command::new(std::env::current_exe().expect("this test has a path"))
        .args(["--exact", this_test, "--nocapture"])
        .env(DIRECTORY, directory)
        .env(SWITCH, switch)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it runs itself");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let address = lines.map_while(Result::ok).find_map(|l| l.strip_prefix("serving ")?.parse().ok());
    (child, address)
}

/// Takes a job to Published under one kill; the package's hashes by name, and whether the kill happened.
async fn run_to_the_end(switch: &str) -> (BTreeMap<String, Sha256>, bool) {
    let world = World::new();
    let directory = tempfile::tempdir().expect("a directory");
    let (mut child, address) = spawn(directory.path(), switch);
    let mut committed = BTreeMap::new();
    let attempt = match address {
        Some(address) => one_life(&world, address).await,
        None => None,
    };
    let died = attempt.is_none();
    if died {
        child.wait().expect("it has ended");
        committed = worked_of_committed(&world, directory.path()).await;
        let (again, address) = spawn(directory.path(), "");
        child = again;
        let ended = one_life(&world, address.expect("it starts again")).await;
        assert!(ended.is_some(), "killed at {switch}: the second life reaches the end");
    }
    child.kill().expect("it can be killed");
    child.wait().expect("it has ended");
    let worked = world.fleet.worked.lock().expect("not poisoned").clone();
    for (spec, times) in committed {
        assert_eq!(
            worked.get(&spec),
            Some(&times),
            "killed at {switch}: {spec} was committed and worked on again"
        );
    }
    (package(directory.path()), died)
}

/// One life of the coordinator with a worker; `None` when it died first. The submit is repeated under its key.
async fn one_life(world: &World, address: SocketAddr) -> Option<()> {
    let life = async {
        let mut jobs = JobsClient::connect(format!("http://{address}")).await.ok()?;
        let request = wire::SubmitRequest { job: Some(world.request("key-1")) };
        let id = loop {
            match jobs.submit(request.clone()).await {
                Ok(answer) => break answer.into_inner().job?.id,
                // not leading yet
                Err(status) if reelmill_proto::status::read_not_leader(&status).is_some() => {
                    tokio::task::yield_now().await;
                }
                Err(_) => return None,
            }
        };
        let fleet = world.fleet.clone();
        tokio::spawn(async move { fleet.work(address, None, "w1", Manner::Good).await });
        let request = wire::WatchRequest { id: id.clone(), after_version: 0 };
        let mut watch = jobs.watch(request).await.ok()?.into_inner();
        while watch.message().await.ok()?.is_some() {}
        let job = jobs.get(wire::GetRequest { id }).await.ok()?.into_inner().job?;
        assert_eq!(job.state(), wire::JobState::Published, "{job:?}");
        Some(())
    };
    tokio::time::timeout(PATIENCE, life).await.expect("a life ends in time")
}

/// How often each spec that is committed now has been worked on so far.
async fn worked_of_committed(world: &World, directory: &Path) -> BTreeMap<SpecId, u32> {
    let state = EmbeddedState::open(&directory.join("state")).expect("the lock is free");
    let page = state.scan("commits/", None, 1_000).await.expect("it is read");
    let worked = world.fleet.worked.lock().expect("not poisoned");
    page.entries
        .iter()
        .filter_map(|(key, _)| match StateKey::parse(key) {
            Some(StateKey::Commit(_, spec)) => Some((spec, worked.get(&spec).copied().unwrap_or(0))),
            _ => None,
        })
        .collect()
}

/// Every file of the one package but the report, which tells times.
fn package(directory: &Path) -> BTreeMap<String, Sha256> {
    let tenant = directory.join("publish/local");
    let job = only_entry(&tenant);
    let mut found = BTreeMap::new();
    let mut folders = vec![job.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&job).expect("below").display().to_string();
            if name != "report.json" {
                found.insert(name, Sha256::of(&std::fs::read(&path).expect("a file")));
            }
        }
    }
    found
}

fn only_entry(folder: &Path) -> std::path::PathBuf {
    let mut entries = std::fs::read_dir(folder).expect("a folder");
    entries.next().expect("an entry").expect("an entry").path()
}
