//! A coordinator and workers as real processes, with tools of their own where a test wants them to differ.

use crate::film::{Film, Made};
use crate::judge::judge;
use crate::process::Process;
use crate::{reelmill, tool};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A coordinator with a job whose film is being encoded.
pub struct Cluster {
    dir: TempDir,
    about: Film,
    film: Made,
    grpc: String,
    http: String,
    coordinator: Process,
}

impl Cluster {
    /// A coordinator that leads, and the film made.
    pub fn start(about: Film) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let film = about.make(dir.path())?;
        let (grpc, http) = (reelmill::own_address()?, reelmill::own_address()?);
        let mut command = reelmill::command(&["coordinator", "--grpc", &grpc, "--http", &http])?;
        command.args(["--lease-ttl", "5s", "--rebind-after", "1s", "--data"]).arg(dir.path().join("data"));
        let mut coordinator = Process::start(command, &dir.path().join("coordinator.log"))?;
        tool::wait_until("the coordinator leads", PATIENCE, || {
            assert!(coordinator.ended().ok().flatten().is_none(), "{}", coordinator.said());
            reelmill::get(&http, "/readyz").ok().filter(|r| r.0 == 200)
        })?;
        Ok(Self { dir, about, film, grpc, http, coordinator })
    }

    /// The program, talking to the coordinator.
    pub fn client(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = reelmill::command(arguments)?;
        command.env("REELMILL_COORDINATOR", format!("http://{}", self.grpc));
        Ok(command)
    }

    /// A folder with an ffmpeg to come first on a worker's PATH.
    pub fn tools(&self, name: &str, ffmpeg: &str) -> Result<PathBuf> {
        let folder = self.dir.path().join(name);
        std::fs::create_dir(&folder)?;
        let program = folder.join("ffmpeg");
        std::fs::write(&program, ffmpeg)?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        Ok(folder)
    }

    /// A worker that is ready, of one slot.
    pub fn worker(&self, name: &str, tools: Option<&Path>) -> Result<Process> {
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

    /// Submits the film in chunks of one segment; the job.
    pub fn submit(&self) -> Result<String> {
        let mut command = self.client(&["submit", "--json", "--preset", "speed"])?;
        command.args(["--segment", "1s", "--chunk", "1s"]).arg(&self.film.path);
        let done = tool::run(&mut command, PATIENCE)?.success()?;
        let line: Value = serde_json::from_str(done.text().lines().next().context("a line")?)?;
        Ok(line["job_id"].as_str().context("job_id")?.to_owned())
    }

    /// The job as it is listed.
    pub fn job(&self) -> Option<Value> {
        let (_, body) = reelmill::get(&self.http, "/api/jobs").ok().filter(|r| r.0 == 200)?;
        serde_json::from_str::<Value>(&body).ok()?["jobs"].get(0).cloned()
    }

    /// Waits until so many chunks are committed.
    pub fn committed(&self, chunks: u64) -> Result<()> {
        tool::wait_until("chunks are committed", PATIENCE, || {
            let done = self.job()?["progress"]["chunks_done"].as_u64()?;
            (done >= chunks).then_some(())
        })
        .with_context(|| self.coordinator.said())
    }

    /// Where the job's package goes.
    pub fn package(&self, job: &str) -> PathBuf {
        self.dir.path().join("data/publish/local").join(job)
    }

    /// Waits for the end of the job; its state.
    pub fn ended(&self) -> Result<String> {
        tool::wait_until("the job ends", PATIENCE, || {
            let state = self.job()?["state"].as_str()?.to_owned();
            ["published", "failed"].contains(&state.as_str()).then_some(state)
        })
        .with_context(|| format!("{:?}\n{}", self.job(), self.coordinator.said()))
    }

    /// Waits for the package; its report.
    pub fn published(&self, job: &str) -> Result<Value> {
        let state = self.ended()?;
        ensure!(state == "published", "{:?}", self.job());
        let package = self.package(job);
        let found = judge(&package, &self.about.expected())?;
        ensure!(found.is_empty(), "{found:?}");
        Ok(serde_json::from_slice(&std::fs::read(package.join("report.json"))?)?)
    }
}

/// ffmpeg on PATH.
pub fn ffmpeg() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").context("PATH")?;
    std::env::split_paths(&path).map(|d| d.join("ffmpeg")).find(|p| p.is_file()).context("ffmpeg")
}
