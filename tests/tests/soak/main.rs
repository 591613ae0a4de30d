//! A whole cluster under faults: two coordinators, three etcd members, four workers and an S3 server, each on a host of
//! its own, are killed, stopped, cut off and asked to leave, and the store fails in four ways. What comes out must be
//! what comes out undisturbed, and every chunk must have been committed once.
//!
//! In CI one fault of several kinds, with short leases, held to the bounds of long ones. `REELMILL_SOAK=1`
//! (`make soak`): 200 faults, ten jobs and more, with the leases that users have. `REELMILL_SOAK_FAULTS` asks for
//! another number of faults, `REELMILL_SOAK_SEED` gives a run's choices again.

mod cluster;
mod faults;
mod figures;
mod witness;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use cluster::{Cluster, Role, Times};
use faults::{Blow, Dice, Kind, Lasts, Struck};
use figures::{Story, spread};
use reelmill_blob::{PutOptions, Stores};
use reelmill_common::Sha256;
use reelmill_tests::store_faults::StoreFault;
use reelmill_tests::{hosts, tool};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use witness::Witness;

/// Files of a package by name.
type Package = BTreeMap<String, Sha256>;

const LADDER: &str =
    "[[rung]]\nname = \"small\"\nbox = [320, 180]\n[[rung]]\nname = \"tiny\"\nbox = [160, 90]\n";

/// The bounds of recovery are those of leases as users have them, in milliseconds. Of short ones they would be as long as a
/// busy machine makes processes wait.
const BOUND_MS: u64 = 15_000;

/// How much is done.
struct Size {
    times: Times,
    lease_ms: u64,
    lasts: Lasts,
    /// How long the cluster is let alone after a death whose recovery is measured, in milliseconds.
    calm_ms: u64,
    film_s: u32,
    faults: usize,
    /// Each kind strikes a busy victim at least so often.
    each: u32,
    jobs: usize,
    /// The kinds to begin with, in this order.
    first: &'static [Kind],
}

const SHORT: Size = Size {
    times: Times { lease: "3s", leader: "2s" },
    lease_ms: 3_000,
    lasts: Lasts { least_ms: 500, most_ms: 1_500 },
    calm_ms: 1_000,
    film_s: 24,
    faults: 6,
    each: 0,
    jobs: 1,
    first: &[
        Kind::Process(Role::Worker, Blow::Kill),
        Kind::Process(Role::Coordinator, Blow::Kill),
        Kind::Process(Role::Worker, Blow::Partition),
        Kind::Store(StoreFault::SlowDown),
        Kind::Process(Role::Etcd, Blow::Kill),
        Kind::Store(StoreFault::ErrorAfter),
    ],
};

const LONG: Size = Size {
    times: Times { lease: "15s", leader: "10s" },
    lease_ms: 15_000,
    lasts: Lasts { least_ms: 1_000, most_ms: 20_000 },
    calm_ms: 10_000,
    film_s: 120,
    faults: 200,
    each: 10,
    jobs: 10,
    first: &[],
};

#[test]
fn a_cluster_under_faults_loses_nothing() {
    if let Some(status) = hosts::enter("a_cluster_under_faults_loses_nothing").expect("a namespace") {
        assert!(status.success(), "{status}: what went wrong is told above");
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let mut size = if std::env::var_os("REELMILL_SOAK").is_some() { LONG } else { SHORT };
    if let Some(faults) = number("REELMILL_SOAK_FAULTS") {
        (size.faults, size.each, size.jobs) = (faults, faults as u32 / 20, faults / 20);
    }
    let seed = number("REELMILL_SOAK_SEED").unwrap_or(1) as u64;
    soak(&size, seed).expect("nothing is lost");
}

fn soak(size: &Size, seed: u64) -> Result<()> {
    println!("seed {seed}");
    let mut run = Run::new(size, seed)?;
    let reference = run.undisturbed()?;
    let calm_until = faults::unix_ms();
    run.disturbed()?;
    println!("{:5} s  all {} jobs are published", run.began.elapsed().as_secs(), run.jobs.len());
    run.check(&reference)?;
    run.told(calm_until)
}

/// One run.
struct Run<'a> {
    size: &'a Size,
    dice: Dice,
    began: Instant,
    cluster: Cluster,
    witness: Witness,
    stores: Stores,
    /// One for all calls: the stores keep connections that live in it.
    runtime: Runtime,
    ladder: String,
    jobs: Vec<String>,
    struck: Vec<Struck>,
}

impl<'a> Run<'a> {
    fn new(size: &'a Size, seed: u64) -> Result<Self> {
        let cluster = Cluster::start(size.times)?;
        let witness = Witness::start(&cluster.etcds);
        let stores = cluster.calm().iter().fold(Stores::default(), |s, (n, v)| s.with_variable(n, v));
        let ladder = cluster.dir().join("ladder.toml");
        std::fs::write(&ladder, LADDER)?;
        let film = cluster.dir().join("film.mp4");
        make_film(&film, size.film_s)?;
        let content = Bytes::from(std::fs::read(&film)?);
        let films = stores.open("s3://films")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(films.put_replace("film.mp4", content, PutOptions::default()))?;
        Ok(Self {
            size,
            dice: Dice::new(seed),
            began: Instant::now(),
            witness,
            stores,
            runtime,
            ladder: ladder.display().to_string(),
            jobs: Vec::new(),
            struck: Vec::new(),
            cluster,
        })
    }

    fn submit(&mut self) -> Result<String> {
        let key = format!("job-{}", self.jobs.len());
        let encoding = ["--preset", "veryfast", "--chunk", "4s", "--segment", "2s", "--ladder", &self.ladder];
        let job = self.cluster.submit("s3://films/film.mp4", &key, &encoding)?;
        // the same key is the same job, however often it had to be said
        ensure!(!self.jobs.contains(&job), "two keys gave one job");
        self.jobs.push(job.clone());
        Ok(job)
    }

    /// What comes out when nothing happens.
    fn undisturbed(&mut self) -> Result<Package> {
        let job = self.submit()?;
        self.wait_for(std::slice::from_ref(&job), Duration::from_secs(600))?;
        self.package(&job)
    }

    /// Strikes until it is enough; two jobs at least are always on their way.
    fn disturbed(&mut self) -> Result<()> {
        loop {
            let states: BTreeMap<String, String> =
                self.cluster.jobs()?.unwrap_or_default().into_iter().collect();
            let ended = self.jobs.iter().filter(|j| states.get(*j).is_some_and(|s| s == "published")).count();
            let counts = faults::counts(&self.struck);
            let each = faults::KINDS.iter().all(|k| counts.get(k).map_or(0, |c| c.1) >= self.size.each);
            let is_enough = self.struck.len() >= self.size.faults && each;
            // the first one was undisturbed
            if is_enough && self.jobs.len() > self.size.jobs {
                break;
            }
            if !states.is_empty() && self.jobs.len() - ended < 2 && !is_enough || self.jobs.len() == 1 {
                self.submit()?;
            }
            let kind = match self.size.first.get(self.struck.len()) {
                Some(kind) => *kind,
                None => faults::next_kind(&self.struck, &mut self.dice)?,
            };
            if let Some(one) = faults::strike(&mut self.cluster, kind, &mut self.dice, self.size.lasts)? {
                println!(
                    "{:5} s  fault {:3}  {:?} on {}{}",
                    self.began.elapsed().as_secs(),
                    self.struck.len() + 1,
                    one.kind,
                    one.victim,
                    if one.busy { "" } else { " (idle)" }
                );
                let is_death = matches!(one.kind, Kind::Process(_, Blow::Kill));
                self.struck.push(one);
                if is_death {
                    faults::rest(Duration::from_millis(self.size.calm_ms));
                }
            }
            self.cluster.check_alive()?;
        }
        let jobs = self.jobs.clone();
        self.wait_for(&jobs, Duration::from_secs(1_800))
    }

    fn wait_for(&mut self, jobs: &[String], patience: Duration) -> Result<()> {
        let mut broken = None;
        tool::wait_until("all jobs are published", patience, || {
            match self.cluster.jobs() {
                Ok(Some(states)) => {
                    let published = |job: &String| states.iter().any(|(j, s)| j == job && s == "published");
                    jobs.iter().all(published).then_some(())
                }
                Ok(None) => None,
                // a job that failed ends the wait
                Err(error) => {
                    broken = Some(error);
                    Some(())
                }
            }
        })?;
        broken.map_or(Ok(()), Err)
    }

    /// A published package, the report aside.
    fn package(&self, job: &str) -> Result<Package> {
        let root = self.stores.open(&format!("s3://vod/local/{job}"))?;
        self.runtime.block_on(async {
            let mut package = Package::new();
            for entry in root.list("").await?.into_iter().filter(|e| e.name != "report.json") {
                let (content, _) = root.get(&entry.name).await?;
                package.insert(entry.name, Sha256::of(&content));
            }
            Ok(package)
        })
    }

    /// Every package is the undisturbed one, and every chunk was committed once.
    fn check(&self, reference: &Package) -> Result<()> {
        for job in &self.jobs {
            let package = self.package(job)?;
            let differing = |name: &&String| package.get(*name) != reference.get(*name);
            let differ: Vec<&String> = reference.keys().chain(package.keys()).filter(differing).collect();
            ensure!(differ.is_empty(), "{job} differs from the undisturbed job in {differ:?}");
            let root = self.stores.open(&format!("s3://vod/local/{job}"))?;
            let (report, _) = self.runtime.block_on(root.get("report.json"))?;
            let report: Value = serde_json::from_slice(&report)?;
            let chunks = report["chunks"].as_array().context("chunks in the report")?.len();
            ensure!(chunks > 0, "no chunks in the report");
            // the index, the analysis and the audits are committed, too
            let audits = report["audit"]["segments"].as_u64().context("audits in the report")? as usize;
            ensure!(audits > 0, "{job} was published without an audit");
            self.witness.each_once(job, chunks + 2 + audits)?;
        }
        Ok(())
    }

    /// Prints the figures and holds the bounds of recovery.
    fn told(&self, calm_until: u64) -> Result<()> {
        let story = Story::read(&self.cluster)?;
        let (workers, leaders) = (story.after_workers(&self.struck), story.after_leaders(&self.struck));
        let (lease, chunk) = (self.size.lease_ms, story.longest_chunk(calm_until));
        println!("\n{} faults in {} s:", self.struck.len(), self.began.elapsed().as_secs());
        for (kind, (all, busy)) in faults::counts(&self.struck) {
            println!("  {kind:?}: {all}, {busy} of them on a busy victim");
        }
        println!(
            "{} jobs, each package equal to the undisturbed one, each chunk committed once",
            self.jobs.len()
        );
        println!("longest chunk undisturbed: {chunk} ms; lease: {lease} ms");
        println!("a dead worker's work leased again after: {}", spread(workers.clone()));
        println!("work leased after a leader's death: {}", spread(leaders.clone()));
        let late = |times: &[u64], bound: u64| times.iter().filter(|t| **t > bound).count();
        println!(
            "later than lease and chunk: {}; than two leases: {}",
            late(&workers, lease + chunk),
            late(&leaders, 2 * lease)
        );
        ensure!(
            late(&workers, BOUND_MS + chunk) == 0,
            "work of a dead worker lay longer than lease and chunk"
        );
        ensure!(late(&leaders, 2 * BOUND_MS) == 0, "dispatch did not resume within two leases");
        Ok(())
    }
}

fn make_film(path: &Path, seconds: u32) -> Result<()> {
    let mut make = tool::ffmpeg();
    make.args(["-v", "error", "-f", "lavfi", "-i"]);
    make.arg(format!("testsrc2=size=640x360:rate=24:duration={seconds}"));
    make.args(["-f", "lavfi", "-i"]).arg(format!("sine=frequency=440:sample_rate=48000:duration={seconds}"));
    make.args(["-c:v", "libx264", "-preset", "veryfast", "-g", "48", "-bf", "2", "-pix_fmt", "yuv420p"]);
    make.args(["-c:a", "aac", "-b:a", "96k"]).arg(path);
    tool::run(&mut make, Duration::from_secs(120))?.success()?;
    Ok(())
}
