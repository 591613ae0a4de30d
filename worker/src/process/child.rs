//! One child and the thread that owns it.
//!
//! **Death with the worker.** The launcher ([`crate::sandbox`]) sets PR_SET_PDEATHSIG before it becomes the program. That
//! signal fires when the thread that forked dies, so each child has a thread of its own which forks it, waits for it and
//! reaps it: the thread ends before its child only when the whole worker does. Rejected: a watchdog process per child
//! (one more thing to supervise), tokio's `kill_on_drop` (no destructor runs in a worker that is killed).
//!
//! **What it cost** is read from `/proc/<pid>` between the child's end (`waitid` with WNOWAIT) and its reaping:
//! `getrusage(RUSAGE_CHILDREN)` would mix children that run side by side. `io` is opened while the child runs: of one
//! that has ended it belongs to root, and no ordinary user could open it any more.

use super::group::Group;
use super::{Failure, Launch};
use crate::sandbox::{Refusal, take};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use reelmill_worker_core::sandbox::ENVIRONMENT;
use reelmill_worker_core::sandbox::orders::LAUNCHER;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::oneshot;

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
    pub(super) fn failure(&self) -> Option<Failure> {
        if let Some(signal) = self.status.signal() {
            return Some(Failure::Signalled(signal));
        }
        match self.status.code().unwrap_or(-1) {
            0 => None,
            code => Some(Failure::Exited(code)),
        }
    }
}

/// A started child. Dropping it kills its group.
pub(super) struct Child {
    group: Group,
    account: Account,
    report: oneshot::Receiver<io::Result<Exit>>,
    ended: Option<io::Result<Exit>>,
}

/// A child that runs, with what it has to say and the listener in its network, if it asked for one.
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
    pub(super) listener: Option<TcpListener>,
}

/// What the child's thread hands over once the program runs.
struct Ready {
    group: Group,
    account: Account,
    stdout: std::process::ChildStdout,
    stderr: std::process::ChildStderr,
    listener: Option<TcpListener>,
}

impl Child {
    /// Starts `launch` on a thread of its own, and returns when the program runs in its box.
    pub(super) async fn start(launch: &Launch) -> Result<Started, Failure> {
        let failed = |e: io::Error| Failure::DidNotStart(e.to_string());
        executable(&launch.program).map_err(failed)?;
        let (command, launcher) = command(launch).map_err(failed)?;
        let (started_tx, started) = oneshot::channel();
        let (report_tx, report) = oneshot::channel();
        std::thread::Builder::new()
            .name("child".to_owned())
            .spawn(move || supervise(command, &launcher, started_tx, report_tx))
            .map_err(failed)?;
        let gone = |_| Failure::DidNotStart("the thread that starts children ended".to_owned());
        let ready = started.await.map_err(gone)??;
        // from here on a dropped future kills the group
        let child = Self { group: ready.group, account: ready.account, report, ended: None };
        Ok(Started {
            child,
            stdout: ChildStdout::from_std(ready.stdout).map_err(failed)?,
            stderr: ChildStderr::from_std(ready.stderr).map_err(failed)?,
            listener: ready.listener,
        })
    }

    /// What it used up so far.
    pub(super) fn so_far(&self) -> Cost {
        self.account.cost()
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

/// The child's thread: forks, sees the program start, waits, counts, reaps.
fn supervise(
    mut command: Command,
    launcher: &UnixStream,
    started: oneshot::Sender<Result<Ready, Failure>>,
    report: oneshot::Sender<io::Result<Exit>>,
) {
    // std opens every descriptor close-on-exec, but this process may have inherited others from whoever started it
    close_fds::set_fds_cloexec_threadsafe(3, &[]);
    let spawned = command.spawn();
    // it holds the launcher's end of the socket, whose end tells that the program runs
    drop(command);
    let mut child = match spawned {
        Ok(child) => child,
        Err(e) => {
            // the receiver is gone when the attempt was dropped meanwhile: nobody is left to tell
            let _ = started.send(Err(Failure::NoBox(format!("its launcher did not start: {e}"))));
            return;
        }
    };
    let group = Group::of(child.id());
    let mut account = Account::open(group.pid().as_raw());
    let taken = take(launcher);
    if account.io.is_none() {
        account = Account::open(group.pid().as_raw());
    }
    let ready = match (taken, child.stdout.take(), child.stderr.take()) {
        (Ok(listener), Some(stdout), Some(stderr)) => {
            Ok(Ready { group: group.clone(), account: account.clone(), stdout, stderr, listener })
        }
        (Err(Refusal::Program(why)), ..) => Err(Failure::DidNotStart(why)),
        (Err(Refusal::Box(why)), ..) => Err(Failure::NoBox(why)),
        (Ok(_), ..) => Err(Failure::DidNotStart("its pipes are missing".to_owned())),
    };
    if ready.is_err() || started.is_closed() {
        group.signal(Signal::SIGKILL);
    }
    if started.send(ready).is_err() {
        group.signal(Signal::SIGKILL);
    }
    let seen = await_end(group.pid());
    let cost = account.cost();
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

/// Where a child's cost is read.
#[derive(Clone)]
struct Account {
    pid: i32,
    io: Option<Arc<File>>,
}

impl Account {
    /// Of a child that has just been started. While its launcher changes its rights nobody but root may open it.
    fn open(pid: i32) -> Self {
        Self { pid, io: File::open(format!("/proc/{pid}/io")).ok().map(Arc::new) }
    }

    /// Of a child that runs, or has ended and is not reaped; 0 where `/proc` does not tell (nothing is decided by a cost).
    fn cost(&self) -> Cost {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok();
        let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        let ticks = stat.and_then(|stat| cpu_ticks(&stat)).unwrap_or_default();
        Cost {
            cpu_ms: ticks * 1000 / per_second.max(1) as u64,
            read_bytes: self.io.as_ref().and_then(|io| read_chars(&whole(io)?)).unwrap_or_default(),
        }
    }
}

/// What a small file of `/proc` says now.
fn whole(file: &File) -> Option<String> {
    let mut text = [0; 1_024];
    let bytes = file.read_at(&mut text, 0).ok()?;
    Some(String::from_utf8_lossy(&text[..bytes]).into_owned())
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

/// The launcher knows the program only when it is too late to say so nicely, so look first.
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

/// The launcher's command, and the worker's end of the socket to it.
fn command(launch: &Launch) -> io::Result<(Command, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new(launch.sandbox.launcher());
    command
        .arg(LAUNCHER)
        .args(launch.sandbox.orders(launch).encode())
        .arg(&launch.program)
        .args(&launch.args)
        .env_clear()
        .envs(ENVIRONMENT)
        .current_dir(&launch.dir)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    Ok((command, ours))
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
