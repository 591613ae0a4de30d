//! A process that is killed, stopped and asked to leave by its test.

use crate::tool;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long a process may take to stand still or to leave.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process; killed when dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says goes to the end of `log`.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = std::fs::File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// A power cut.
    pub fn cut(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// Stops it and waits until it stands still; [`Self::go_on`] ends that.
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        let stat = format!("/proc/{}/stat", self.child.id());
        tool::wait_until("the process stands still", PATIENCE, || {
            let text = std::fs::read_to_string(&stat).ok()?;
            let state = text.rsplit_once(')')?.1.trim_start().chars().next()?;
            (state == 'T').then_some(())
        })
    }

    /// Lets a stopped process go on.
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Does something while the process stands still.
    pub fn while_stopped<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.stop()?;
        let result = work();
        self.go_on()?;
        result
    }

    /// Asks it to leave and waits for that.
    pub fn leave(&mut self) -> Result<ExitStatus> {
        if self.child.try_wait()?.is_none() {
            self.signal(Signal::SIGTERM)?;
        }
        let child = &mut self.child;
        tool::wait_until("the process leaves", PATIENCE, || child.try_wait().transpose())
            .with_context(|| self.log.display().to_string())?
            .map_err(Into::into)
    }

    /// The end of what it said.
    pub fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<&str> =
            text.lines().rev().filter(|l| !l.contains("reelmill_effects")).take(12).collect();
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Does it have a child that runs `program` now?
    pub fn runs(&self, program: &str) -> bool {
        let children = format!("/proc/{0}/task", self.child.id());
        let Ok(tasks) = std::fs::read_dir(children) else { return false };
        tasks.flatten().any(|task| {
            let ids = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            ids.split_whitespace().any(|id| {
                std::fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|c| c.trim() == program)
            })
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nothing to do when it has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
