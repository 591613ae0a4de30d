//! The process group of a child: signalled only while its id is certainly still its own.
//!
//! A group's id is its leader's pid, which the kernel may give away once the leader is reaped. So the reaping thread
//! and everybody who signals share one lock: signals go out before the reaping or not at all.

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::sync::{Arc, Mutex, PoisonError};

/// A child's group, shared by who signals and who reaps.
#[derive(Clone)]
pub(super) struct Group {
    pid: Pid,
    reaped: Arc<Mutex<bool>>,
}

impl Group {
    pub(super) fn of(pid: u32) -> Self {
        Self { pid: Pid::from_raw(pid as i32), reaped: Arc::new(Mutex::new(false)) }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends `signal` to every process of the group, unless the group is gone.
    pub(super) fn signal(&self, signal: Signal) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if *reaped {
            return;
        }
        match killpg(self.pid, signal) {
            // ESRCH: nobody left; EPERM cannot be, the children are ours and gain no privileges
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(e) => {
                tracing::warn!(pid = self.pid.as_raw(), %signal, error = %e, "could not signal a process group")
            }
        }
    }

    /// Kills what the leader left behind and reaps the leader with `reap`; nobody can signal any more after it.
    pub(super) fn finish<T>(&self, reap: impl FnOnce() -> T) -> T {
        self.signal(Signal::SIGKILL);
        let mut reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        let result = reap();
        *reaped = true;
        result
    }
}
