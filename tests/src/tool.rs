//! Child processes of the tests: started, fed, read to the end, and ended at a deadline.
//!
//! No test waits by sleeping: it waits for a child, or for a predicate with a deadline ([`wait_until`]).

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a child left behind.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output, whole.
    pub stdout: Vec<u8>,
    /// Its standard error, whole, as text.
    pub stderr: String,
}

impl Done {
    /// The output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The exit code; -1 when a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Fails with the end of standard error unless the child exited with 0.
    pub fn success(self) -> Result<Self> {
        if !self.status.success() {
            let tail: Vec<&str> = self.stderr.lines().rev().take(15).collect();
            bail!("{}: {}", self.status, tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
        Ok(self)
    }
}

/// Runs a command to its end, feeding it `input`; kills it at the deadline.
pub fn run_fed(
    command: &mut Command,
    deadline: Duration,
    input: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send,
) -> Result<Done> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {shown}"))?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    let stdout = child.stdout.take().context("stdout is piped")?;
    let stderr = child.stderr.take().context("stderr is piped")?;
    std::thread::scope(|scope| {
        // A child that ends early closes the pipe: its exit status tells why, not our broken pipe.
        scope.spawn(move || input(&mut stdin).is_ok());
        let (sender, receiver) = mpsc::channel();
        let errors = sender.clone();
        scope.spawn(move || sender.send((true, read_all(stdout))));
        scope.spawn(move || errors.send((false, read_all(stderr))));
        let end = Instant::now() + deadline;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok((true, bytes)) => out = bytes?,
                Ok((false, bytes)) => err = bytes?,
                Err(_) => {
                    child.kill().context("cannot kill")?;
                    child.wait()?;
                    bail!("{shown} did not end within {deadline:?}");
                }
            }
        }
        Ok(Done { status: child.wait()?, stdout: out, stderr: String::from_utf8_lossy(&err).into_owned() })
    })
}

/// Runs a command to its end without input; kills it at the deadline.
pub fn run(command: &mut Command, deadline: Duration) -> Result<Done> {
    run_fed(command, deadline, |_| Ok(()))
}

/// Asks `done` again and again until it gives a value or the deadline has passed.
pub fn wait_until<T>(what: &str, deadline: Duration, mut done: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = done() {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("{what}: not within {deadline:?}");
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// The ffmpeg that made films and judged packages are made and read with: Debian's, never the one under test by
/// accident of PATH. `REELMILL_TEST_FFMPEG` names another.
pub fn ffmpeg() -> Command {
    let mut c = Command::new(std::env::var_os("REELMILL_TEST_FFMPEG").unwrap_or_else(|| "ffmpeg".into()));
    c.args(["-nostdin", "-hide_banner", "-y"]);
    c
}

/// An ffmpeg for tests that start it hundreds of times and do not mind which: the one named by `REELMILL_FFMPEG_NEW`, else
/// the first on PATH. A static build starts in a quarter of the CPU time that Debian's needs to load its libraries.
pub fn quick_ffmpeg() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("REELMILL_FFMPEG_NEW").filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    let path = std::env::var_os("PATH").context("PATH")?;
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("ffmpeg"));
    found.find(|program| program.is_file()).context("ffmpeg is not on PATH")
}

fn read_all(mut from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_exit_code_are_kept() {
        let done =
            run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]), Duration::from_secs(10));
        let done = done.expect("runs");
        assert_eq!((done.text().as_str(), done.stderr.as_str(), done.code()), ("out\n", "err\n", 3));
        assert!(done.success().is_err());
    }

    #[test]
    fn a_child_that_hangs_is_killed_at_its_deadline() {
        let error = run(Command::new("sleep").arg("600"), Duration::from_millis(50)).expect_err("hangs");
        assert!(error.to_string().contains("did not end"), "{error}");
    }

    #[test]
    fn a_child_is_fed() {
        let done = run_fed(&mut Command::new("cat"), Duration::from_secs(10), |w| w.write_all(b"fed"));
        assert_eq!(done.expect("runs").stdout, b"fed");
    }
}
