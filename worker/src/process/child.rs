//! One child and the thread that owns it.
//!
//! **Death with the worker.** `unsafe_code` is forbidden here, so `pre_exec` is out of reach. The child is started
//! through `setpriv --pdeathsig KILL --nnp` of util-linux (on every Debian), which sets PR_SET_PDEATHSIG and
//! no_new_privs and then *becomes* the program: same pid, no process in between. That signal fires when the thread
//! that forked dies, so each child has a thread of its own which forks it, waits for it and reaps it: the thread ends
//! before its child only when the whole worker does. Rejected: a watchdog process per child (one more thing to
//! supervise), tokio's `kill_on_drop` (no destructor runs in a worker that is killed). Without `setpriv` children
//! still die with every orderly end of the worker; `doctor` says what is missing.
//!
//! **What it cost** is read from `/proc/<pid>` between the child's end (`waitid` with WNOWAIT) and its reaping:
//! `getrusage(RUSAGE_CHILDREN)` would mix children that run side by side.

use super::group::Group;
use super::{Failure, Launch};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use reelmill_worker_core::sandbox::{ENVIRONMENT, ResourceLimits};
use rlimit::Resource;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::oneshot;

/// Applies the limits right after the start; a program cannot raise hard limits again.
fn apply(limits: ResourceLimits, pid: i32) -> io::Result<()> {
    let all = [
        (Resource::CORE, limits.core),
        (Resource::FSIZE, limits.file_size),
        (Resource::NOFILE, limits.open_files),
        (Resource::AS, limits.address_space),
    ];
    for (resource, most) in all {
        match rlimit::prlimit(pid, resource, Some((most, most)), None) {
            Ok(()) => {}
            // it has ended already: nothing left to limit
            Err(e) if e.raw_os_error() == Some(Errno::ESRCH as i32) => return Ok(()),
            Err(e) => {
                return Err(io::Error::new(e.kind(), format!("limit {} not set: {e}", resource.as_name())));
            }
        }
    }
    Ok(())
}

/// What a child used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// CPU milliseconds, user and system, of all its threads and of the children it waited for.
    pub cpu_ms: u64,
    /// Bytes it read by system calls: its input, give or take the few kilobytes a program reads of itself.
    pub read_bytes: u64,
}

/// The end of a child.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exit {
    status: ExitStatus,
    pub(super) cost: Cost,
}

impl Exit {
    /// Why this is no success, if it is none.
    pub(super) fn failure(&self, stderr: &str) -> Option<Failure> {
        if let Some(signal) = self.status.signal() {
            return Some(Failure::Signalled(signal));
        }
        match self.status.code().unwrap_or(-1) {
            0 => None,
            // what setpriv says when it cannot become the program
            126 | 127 if stderr.starts_with("setpriv:") => Some(Failure::DidNotStart(stderr.to_owned())),
            code => Some(Failure::Exited(code)),
        }
    }
}

/// A started child. Dropping it kills its group.
pub(super) struct Child {
    group: Group,
    report: oneshot::Receiver<io::Result<Exit>>,
    ended: Option<io::Result<Exit>>,
}

type Started = (Group, std::process::ChildStdout, std::process::ChildStderr);

impl Child {
    /// Starts `launch` on a thread of its own.
    pub(super) async fn start(launch: &Launch) -> io::Result<(Self, ChildStdout, ChildStderr)> {
        executable(&launch.program)?;
        let command = command(launch);
        let limits = launch.limits;
        let (started_tx, started) = oneshot::channel();
        let (report_tx, report) = oneshot::channel();
        std::thread::Builder::new()
            .name("child".to_owned())
            .spawn(move || supervise(command, limits, started_tx, report_tx))?;
        let (group, stdout, stderr) =
            started.await.map_err(|_| io::Error::other("the thread that starts children ended"))??;
        // from here on a dropped future kills the group
        let child = Self { group, report, ended: None };
        Ok((child, ChildStdout::from_std(stdout)?, ChildStderr::from_std(stderr)?))
    }

    /// What it used up so far.
    pub(super) fn so_far(&self) -> Cost {
        Cost::of(self.group.pid().as_raw())
    }

    /// Waits for the end without asking for it. Safe to drop and call again.
    pub(super) async fn ended(&mut self) {
        if self.ended.is_none() {
            let report = (&mut self.report).await;
            self.ended = Some(report.unwrap_or_else(|_| Err(io::Error::other("its thread ended"))));
        }
    }

    /// Waits for the end and tells it.
    pub(super) async fn exited(mut self) -> io::Result<Exit> {
        self.ended().await;
        self.ended.take().unwrap_or_else(|| Err(io::Error::other("its end was told twice")))
    }

    /// Asks the group to end, and after `grace` makes it.
    pub(super) async fn end(mut self, grace: Duration) -> io::Result<Exit> {
        self.group.signal(Signal::SIGTERM);
        if tokio::time::timeout(grace, self.ended()).await.is_err() {
            self.group.signal(Signal::SIGKILL);
        }
        self.exited().await
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.group.signal(Signal::SIGKILL);
    }
}

/// The child's thread: forks, limits, waits, counts, reaps.
fn supervise(
    mut command: Command,
    limits: ResourceLimits,
    started: oneshot::Sender<io::Result<Started>>,
    report: oneshot::Sender<io::Result<Exit>>,
) {
    // std opens every descriptor close-on-exec, but this process may have inherited others from whoever started it
    close_fds::set_fds_cloexec_threadsafe(3, &[]);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => {
            // the receiver is gone when the attempt was dropped meanwhile: nobody is left to tell
            let _ = started.send(Err(e));
            return;
        }
    };
    let group = Group::of(child.id());
    let pipes = child.stdout.take().zip(child.stderr.take());
    let ready = apply(limits, group.pid().as_raw())
        .and_then(|()| pipes.ok_or_else(|| io::Error::other("its pipes are missing")))
        .map(|(stdout, stderr)| (group.clone(), stdout, stderr));
    if ready.is_err() || started.is_closed() {
        group.signal(Signal::SIGKILL);
    }
    if started.send(ready).is_err() {
        group.signal(Signal::SIGKILL);
    }
    let seen = await_end(group.pid());
    let cost = Cost::of(group.pid().as_raw());
    let exit = group.finish(|| child.wait()).map(|status| Exit { status, cost });
    let _ = report.send(seen.and(exit));
}

/// Blocks until the child has ended, and leaves it unreaped.
fn await_end(pid: nix::unistd::Pid) -> io::Result<()> {
    loop {
        match waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

impl Cost {
    /// Of a child that runs, or has ended and is not reaped; 0 where `/proc` does not tell (nothing is decided by a cost).
    fn of(pid: i32) -> Self {
        let told = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        let ticks = told("stat").and_then(|stat| cpu_ticks(&stat)).unwrap_or_default();
        Self {
            cpu_ms: ticks * 1000 / per_second.max(1) as u64,
            read_bytes: told("io").and_then(|io| read_chars(&io)).unwrap_or_default(),
        }
    }
}

/// `rchar` of `/proc/<pid>/io` (proc(5)).
fn read_chars(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("rchar:"))?.trim().parse().ok()
}

/// `utime + stime + cutime + cstime` of a line of `/proc/<pid>/stat` (proc(5), fields 14 to 17; the name in field 2 may
/// hold spaces): what wait4(2) tells. The last two are of children it has waited for: a wrapper around ffmpeg has some.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    (0..4).map(|_| fields.next()?.parse::<u64>().ok()).sum()
}

/// `setpriv` knows the program only when it is too late to say so nicely, so look first.
fn executable(program: &Path) -> io::Result<()> {
    let told = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", program.display()));
    let meta = std::fs::metadata(program).map_err(told)?;
    if meta.is_file() && meta.permissions().mode() & 0o111 != 0 {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{} is not an executable file", program.display()),
        ))
    }
}

fn command(launch: &Launch) -> Command {
    let mut command = match setpriv() {
        Some(setpriv) => {
            let mut c = Command::new(setpriv);
            c.args(["--pdeathsig", "KILL", "--nnp", "--"]).arg(&launch.program);
            c
        }
        None => Command::new(&launch.program),
    };
    command
        .args(&launch.args)
        .env_clear()
        .envs(ENVIRONMENT)
        .current_dir(&launch.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    command
}

/// Where util-linux's `setpriv` is, if it is installed.
pub(crate) fn setpriv() -> Option<PathBuf> {
    ["/usr/bin/setpriv", "/bin/setpriv"].into_iter().map(PathBuf::from).find(|p| executable(p).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_past_a_name_with_spaces() {
        let stat = "42 (a (b) c) R 1 42 42 0 -1 4194304 9 0 0 0 700 55 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(755));
        let wrapper = "42 (sh) Z 1 42 42 0 -1 4194304 9 0 0 0 1 2 400 30 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(wrapper), Some(433));
        assert_eq!(cpu_ticks("42 (x"), None);
        assert_eq!(read_chars("rchar: 512\nwchar: 7\n"), Some(512));
    }
}
