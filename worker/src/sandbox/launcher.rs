//! The launcher: this program, started again to become a child in a box.
//!
//! What the kernel lets a process do to itself before it becomes another program it lets it do by plain system calls;
//! `pre_exec`, which would run them in a forked copy of the worker, is unsafe code, forbidden here. So the worker
//! starts itself with [`LAUNCHER`] as first argument. That process has one thread and no runtime, as a user namespace
//! asks for; it carries out its [`Orders`] and *becomes* the program: same pid, no process in between. Over the socket
//! that is its standard input it hands up the listener it made, and says why if it cannot go on.
//!
//! The order of steps matters. Folders are opened while the process still has the worker's rights; the namespace comes
//! before no_new_privs and the filter; the parent-death signal after the last change of credentials, which clears it.

use super::filter;
use super::handover::{self, Refusal};
use super::network;
use super::rules::Rules;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use reelmill_worker_core::sandbox::orders::{LAUNCHER, Orders, PROVER, Reach};
use reelmill_worker_core::sandbox::{Level, ResourceLimits};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

/// Exit code of a launcher that could not become its program.
const REFUSED: u8 = 126;

/// What `main` asks before it does anything else: is this process a launcher, or the prover of a box? `None`: neither.
pub fn intercept() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    let first = args.next()?;
    if first == LAUNCHER {
        Some(launch(&args.collect::<Vec<_>>()))
    } else if first == PROVER {
        Some(super::prover::run(&args.collect::<Vec<_>>()))
    } else {
        None
    }
}

fn launch(words: &[OsString]) -> ExitCode {
    let refusal = match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(worker) => {
            let Err(refusal) = become_program(words, &worker);
            handover::refuse(&worker, &refusal);
            refusal
        }
        Err(e) => Refusal::Box(format!("no socket to the worker: {e}")),
    };
    eprintln!("reelmill: {refusal}");
    ExitCode::from(REFUSED)
}

/// Returns only if it cannot.
fn become_program(words: &[OsString], worker: &OwnedFd) -> Result<Infallible, Refusal> {
    let (orders, program) = Orders::decode(words).map_err(|e| Refusal::Box(e.to_string()))?;
    let rules = match orders.level.has_files() {
        true => Some(Rules::open(&orders)?),
        false => None,
    };
    let mut is_own_user = false;
    if orders.level.has_network() {
        is_own_user = network::enter()?;
        if orders.reach == Reach::Own {
            handover::give(worker, &network::listen()?)?;
        }
    }
    limit(orders.limits, is_own_user)?;
    prctl::set_no_new_privs().map_err(|e| Refusal::step("no_new_privs was not set", e))?;
    if let Some(rules) = rules {
        rules.enforce()?;
    }
    if orders.level > Level::Basic {
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, none).map_err(|e| Refusal::step("capabilities were not given up", e))?;
    }
    die_with(orders.parent)?;
    if orders.level > Level::Basic {
        filter::apply(orders.reach)?;
    }
    // the environment is the one the worker gave this process: the whole of `ENVIRONMENT`
    let (program, args) = (&program[0], &program[1..]);
    let error = Command::new(program).args(args).stdin(Stdio::null()).exec();
    Err(Refusal::Program(format!("{}: {error}", program.to_string_lossy())))
}

fn limit(limits: ResourceLimits, is_own_user: bool) -> Result<(), Refusal> {
    let mut all = vec![
        (Resource::RLIMIT_CORE, limits.core),
        (Resource::RLIMIT_FSIZE, limits.file_size),
        (Resource::RLIMIT_NOFILE, limits.open_files),
        (Resource::RLIMIT_AS, limits.address_space),
    ];
    if is_own_user {
        // elsewhere all processes of the worker's user count against it
        all.push((Resource::RLIMIT_NPROC, limits.processes));
    }
    for (resource, most) in all {
        setrlimit(resource, most, most)
            .map_err(|e| Refusal::step(&format!("{resource:?} was not set"), e))?;
    }
    Ok(())
}

/// The kernel kills this process when the thread that started it ends; whoever came too late for that ends here.
fn die_with(parent: u32) -> Result<(), Refusal> {
    prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|e| Refusal::step("the parent-death signal was not set", e))?;
    match getppid().as_raw() == parent as i32 {
        true => Ok(()),
        false => Err(Refusal::Box("the worker is gone".to_owned())),
    }
}
