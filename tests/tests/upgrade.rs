//! Workers are replaced in mid-job by others with another ffmpeg, as a rolling upgrade does: real processes, real encoders.
//! The job ends Published, each rung has one decoder configuration, every frame is there, and the report says who made
//! what.

use anyhow::{Context, Result, ensure};
use reelmill_tests::film::{Film, Made, PLAIN, Rate};
use reelmill_tests::judge::judge;
use reelmill_tests::process::Process;
use reelmill_tests::{reelmill, tool};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);
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

/// A coordinator with a job whose film is being encoded.
struct Cluster {
    dir: TempDir,
    film: Made,
    grpc: String,
    http: String,
    coordinator: Process,
}

impl Cluster {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let film = FILM.make(dir.path())?;
        let (grpc, http) = (reelmill::own_address()?, reelmill::own_address()?);
        let mut command = reelmill::command(&["coordinator", "--grpc", &grpc, "--http", &http])?;
        command.args(["--lease-ttl", "5s", "--rebind-after", "1s", "--data"]).arg(dir.path().join("data"));
        let mut coordinator = Process::start(command, &dir.path().join("coordinator.log"))?;
        tool::wait_until("the coordinator leads", PATIENCE, || {
            assert!(coordinator.ended().ok().flatten().is_none(), "{}", coordinator.said());
            reelmill::get(&http, "/readyz").ok().filter(|r| r.0 == 200)
        })?;
        Ok(Self { dir, film, grpc, http, coordinator })
    }

    fn client(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = reelmill::command(arguments)?;
        command.env("REELMILL_COORDINATOR", format!("http://{}", self.grpc));
        Ok(command)
    }

    /// A folder with an ffmpeg to come first on a worker's PATH.
    fn tools(&self, name: &str, ffmpeg: &str) -> Result<PathBuf> {
        let folder = self.dir.path().join(name);
        std::fs::create_dir(&folder)?;
        let program = folder.join("ffmpeg");
        std::fs::write(&program, ffmpeg)?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        Ok(folder)
    }

    /// A worker that is ready, of one slot.
    fn worker(&self, name: &str, tools: Option<&Path>) -> Result<Process> {
        let scratch = self.dir.path().join("scratch");
        std::fs::create_dir_all(&scratch)?;
        let mut command = self.client(&["worker", "--slots", "1", "--name", name, "--scratch"])?;
        let path = std::env::var_os("PATH").context("PATH")?;
        let paths = tools.map(Path::to_owned).into_iter().chain(std::env::split_paths(&path));
        command.arg(scratch).env("PATH", std::env::join_paths(paths)?);
        command.env("XDG_CACHE_HOME", self.dir.path().join("cache"));
        let log = self.dir.path().join(format!("{name}.log"));
        let said = || std::fs::read_to_string(&log).unwrap_or_default().matches("is ready:").count();
        let before = said();
        let process = Process::start(command, &log)?;
        tool::wait_until("the worker is ready", PATIENCE, || (said() > before).then_some(()))
            .with_context(|| process.said())?;
        Ok(process)
    }

    fn submit(&self) -> Result<String> {
        let mut command = self.client(&["submit", "--json", "--preset", "speed"])?;
        command.args(["--segment", "1s", "--chunk", "1s"]).arg(&self.film.path);
        let done = tool::run(&mut command, PATIENCE)?.success()?;
        let line: Value = serde_json::from_str(done.text().lines().next().context("a line")?)?;
        Ok(line["job_id"].as_str().context("job_id")?.to_owned())
    }

    fn job(&self) -> Option<Value> {
        let (_, body) = reelmill::get(&self.http, "/api/jobs").ok().filter(|r| r.0 == 200)?;
        serde_json::from_str::<Value>(&body).ok()?["jobs"].get(0).cloned()
    }

    /// Waits until so many chunks are committed.
    fn committed(&self, chunks: u64) -> Result<()> {
        tool::wait_until("chunks are committed", PATIENCE, || {
            let done = self.job()?["progress"]["chunks_done"].as_u64()?;
            (done >= chunks).then_some(())
        })
        .with_context(|| self.coordinator.said())
    }

    /// Waits for the package; its report.
    fn published(&self, job: &str) -> Result<Value> {
        let state = tool::wait_until("the job ends", PATIENCE, || {
            let state = self.job()?["state"].as_str()?.to_owned();
            ["published", "failed"].contains(&state.as_str()).then_some(state)
        })
        .with_context(|| format!("{:?}\n{}", self.job(), self.coordinator.said()))?;
        ensure!(state == "published", "{:?}", self.job());
        let package = self.dir.path().join("data/publish/local").join(job);
        let found = judge(&package, &FILM.expected())?;
        ensure!(found.is_empty(), "{found:?}");
        Ok(serde_json::from_slice(&std::fs::read(package.join("report.json"))?)?)
    }
}

/// The program on PATH.
fn ffmpeg() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").context("PATH")?;
    std::env::split_paths(&path).map(|d| d.join("ffmpeg")).find(|p| p.is_file()).context("ffmpeg")
}

#[test]
fn a_rolling_upgrade_in_mid_job_ends_published() -> Result<()> {
    let newer = std::env::var("REELMILL_FFMPEG_NEW").ok().filter(|p| !p.is_empty());
    let Some(newer) = newer else { return Ok(()) };
    let cluster = Cluster::start()?;
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
    let cluster = Cluster::start()?;
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
