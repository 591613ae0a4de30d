//! Child processes that are measured and killed: the coordinator and etcd.

use anyhow::{Context as _, Result};
use nix::unistd::{SysconfVar, sysconf};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A process; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Seconds of CPU, of user and system together.
    pub(crate) cpu_s: f64,
    /// Resident memory now, MiB.
    pub(crate) rss_mib: u64,
    /// The most it ever was, MiB.
    pub(crate) peak_mib: u64,
}

impl Process {
    /// Starts it; what it says goes to the end of `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Self(command.spawn().with_context(|| format!("cannot start {command:?}"))?))
    }

    /// SIGKILL: nothing is flushed, nobody is told.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Has it ended by itself?
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }

    /// What it has used.
    pub(crate) fn usage(&self) -> Result<Usage> {
        usage_of(&self.0.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // nothing to do when it has ended already
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// What this very process has used.
pub(crate) fn own_usage() -> Result<Usage> {
    usage_of("self")
}

fn usage_of(id: &str) -> Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    // after the name, which may hold anything: state is the 3rd field, utime and stime the 14th and 15th
    let fields: Vec<&str> = stat.rsplit_once(')').context("/proc/PID/stat")?.1.split_whitespace().collect();
    let ticks: u64 = fields.iter().skip(11).take(2).map(|t| t.parse().unwrap_or(0)).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("CLK_TCK")? as f64;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let mib = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).context("/proc/PID/status")?;
        Ok(line.split_whitespace().nth(1).context("a size")?.parse::<u64>()? / 1_024)
    };
    Ok(Usage { cpu_s: ticks as f64 / per_second, rss_mib: mib("VmRSS")?, peak_mib: mib("VmHWM")? })
}

/// Lets this process and its children have as many sockets as the system allows; says how many that is.
pub(crate) fn raise_descriptors(needed: u64) -> Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = needed.max(soft).min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    anyhow::ensure!(
        wanted >= needed,
        "{needed} descriptors are needed and {hard} allowed: raise `ulimit -Hn`"
    );
    Ok(wanted)
}

/// Waits until something holds, for at most `patience`.
pub(crate) async fn until(
    what: &str,
    patience: Duration,
    mut holds: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let mut look = tokio::time::interval(Duration::from_millis(50));
    let wait = async {
        while !holds().await? {
            look.tick().await;
        }
        Ok(())
    };
    tokio::time::timeout(patience, wait).await.with_context(|| format!("not within {patience:?}: {what}"))?
}

/// `GET path` at `host:port`: the body, if the answer is 200.
pub(crate) async fn get(address: &str, path: &str) -> Option<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let talk = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        let ask = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        (head.split_whitespace().nth(1) == Some("200")).then(|| body.to_owned())
    };
    tokio::time::timeout(Duration::from_secs(10), talk).await.ok().flatten()
}

/// An address of loopback that was free a moment ago.
pub(crate) fn free_address() -> Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
