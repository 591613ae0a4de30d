//! A coordinator and a worker as processes that die and come again.

use crate::bench::Bench;
use anyhow::{Context, Result, bail, ensure};
pub(crate) use reelmill_tests::process::Process;
use reelmill_tests::{reelmill, tool};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A job as `/api/jobs` shows it.
pub(crate) struct Job {
    pub(crate) state: String,
    pub(crate) text: String,
}

/// Where a run's coordinator is and what it runs in.
pub(crate) struct Place<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) data: PathBuf,
    pub(crate) log: PathBuf,
    grpc: String,
    http: String,
}

impl<'a> Place<'a> {
    pub(crate) fn new(bench: &'a Bench, room: &str) -> Result<Self> {
        let (data, log) = bench.room(room)?;
        let (grpc, http) = (reelmill::own_address()?, reelmill::own_address()?);
        Ok(Self { bench, data, log, grpc, http })
    }

    fn process(&self, role: &str, arguments: &[&str], switch: Option<&str>) -> Result<Process> {
        let mut command =
            self.bench.command(&[role, "--log-json", "--log", "info,reelmill_effects=debug"])?;
        command.args(arguments).env("REELMILL_COORDINATOR", format!("http://{}", self.grpc));
        if let Some(switch) = switch {
            command.env("REELMILL_ABORT_AT_EFFECT", switch);
        }
        Process::start(command, &self.said(role))
    }

    /// Where a role's words go.
    pub(crate) fn said(&self, role: &str) -> PathBuf {
        self.data.with_file_name(format!("{role}.log"))
    }

    fn data(&self) -> Result<&str> {
        self.data.to_str().context("UTF-8")
    }

    /// Starts a coordinator with short leases.
    pub(crate) fn coordinator(&self, switch: Option<&str>) -> Result<Process> {
        let data = self.data()?;
        let listen = ["--data", data, "--grpc", &self.grpc, "--http", &self.http, "--lease-ttl", "3s"];
        self.process("coordinator", &listen, switch)
    }

    /// Starts coordinator and worker in one process.
    pub(crate) fn serve(&self) -> Result<Process> {
        let data = self.data()?;
        let listen = ["--data", data, "--grpc", &self.grpc, "--http", &self.http, "--lease-ttl", "3s"];
        self.process("serve", &[&listen[..], &["--workers", "2"]].concat(), None)
    }

    /// Starts the worker; it always has the same name.
    pub(crate) fn worker(&self, switch: Option<&str>) -> Result<Process> {
        let scratch = self.data.with_file_name("scratch");
        std::fs::create_dir_all(&scratch)?;
        let scratch = scratch.to_str().context("UTF-8")?;
        self.process("worker", &["--scratch", scratch, "--slots", "2", "--name", "w1"], switch)
    }

    /// Waits until the coordinator leads; false if it ended first.
    pub(crate) fn leads(&self, process: &mut Process) -> Result<bool> {
        let led = tool::wait_until("the coordinator leads", PATIENCE, || {
            if process.ended().ok().flatten().is_some() {
                return Some(false);
            }
            reelmill::get(&self.http, "/readyz").ok().filter(|r| r.0 == 200).map(|_| true)
        });
        led.with_context(|| process.said())
    }

    /// Submits the film under a key; `None` when the coordinator does not answer.
    pub(crate) fn submit(&self, key: &str, preset: &str) -> Result<Option<String>> {
        let mut command = self.bench.command(&["submit", "--json", "--idempotency-key", key])?;
        command.arg(&self.bench.film).args(self.bench.encoding(preset));
        command.env("REELMILL_COORDINATOR", format!("http://{}", self.grpc));
        let done = tool::run(&mut command, PATIENCE)?;
        match done.code() {
            0 => {
                let line: Value = serde_json::from_str(done.text().lines().next().context("a line")?)?;
                Ok(Some(line["job_id"].as_str().context("job_id")?.to_owned()))
            }
            5 => Ok(None),
            code => bail!("submit ended with {code}: {}", done.stderr),
        }
    }

    /// The jobs, oldest first; `None` when the coordinator does not answer.
    pub(crate) fn jobs(&self) -> Result<Option<Vec<Job>>> {
        let Ok((200, body)) = reelmill::get(&self.http, "/api/jobs") else { return Ok(None) };
        let page: Value = serde_json::from_str(&body)?;
        let text = |v: &Value| v.as_str().map(str::to_owned).context("a text");
        let jobs = page["jobs"].as_array().context("jobs")?;
        let one = |j: &Value| Ok(Job { state: text(&j["state"])?, text: j.to_string() });
        jobs.iter().map(one).collect::<Result<_>>().map(Some)
    }

    /// Are there `count` jobs, all published? An error when one ended in another way.
    pub(crate) fn published(&self, count: usize) -> Result<bool> {
        let Some(jobs) = self.jobs()? else { return Ok(false) };
        for job in &jobs {
            ensure!(!["failed", "cancelled"].contains(&job.state.as_str()), "{}", job.text);
        }
        Ok(jobs.len() == count && jobs.iter().all(|j| j.state == "published"))
    }

    /// Where a job's package lies.
    pub(crate) fn package(&self, job: &str) -> PathBuf {
        self.data.join("publish/local").join(job)
    }
}
