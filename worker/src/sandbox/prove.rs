//! Which box holds here: found by trying each, the strongest first, and never by asking what the kernel offers.
//!
//! A box holds when the prover in it could do nothing that the box should stop, was served what it should be, nothing
//! was heard here of what it tried, and ffmpeg and ffprobe start in it.

use super::Sandbox;
use super::prover::Targets;
use crate::process::{self, ChildError, Collect, Failure, Launch, Network, Serve};
use crate::scratch::{AttemptDir, Scratch};
use crate::tools::Tools;
use landlock::{AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
use reelmill_worker_core::sandbox::orders::{PROVER, SERVED_PORT};
use reelmill_worker_core::sandbox::proof::{Deed, Facts, Findings, advice};
use reelmill_worker_core::sandbox::{Level, Mode};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Names that the proof uses in its directory: where the child may write, and what it must not reach.
const INSIDE: &str = "inside";
const SECRET: &str = "secret";
const OUTSIDE: &str = "outside";
const SOCKET: &str = "socket";
/// A silent prover of this length is a hung one.
const PATIENCE_MS: u64 = 60_000;

/// The box that holds on this machine.
#[derive(Clone, Debug)]
pub struct Proved {
    /// The box.
    pub sandbox: Sandbox,
    /// What a child can do all the same.
    pub gaps: Vec<Deed>,
    /// Stronger boxes, and why they do not hold here.
    pub refused: Vec<(Level, String)>,
    /// What is to be done about that.
    pub advice: Vec<&'static str>,
}

impl Proved {
    /// Level, gaps, reasons and advice, for a person.
    pub fn text(&self) -> String {
        let mut parts = vec![self.sandbox.level().name().to_owned()];
        match self.sandbox.level() {
            Level::Basic => {
                parts.push("ffmpeg may do whatever the worker's user may, within limits".to_owned())
            }
            _ => parts.extend(self.gaps.iter().map(|deed| deed.means().to_owned())),
        }
        parts.extend(self.refused.iter().map(|(level, why)| format!("not {}: {why}", level.name())));
        parts.extend(self.advice.iter().map(|advice| (*advice).to_owned()));
        parts.join("; ")
    }
}

/// Finds the strongest box that holds; with [`Mode::Off`] nothing is tried.
pub async fn prove(basic: &Sandbox, mode: Mode, tools: &Tools, scratch: &Scratch) -> Proved {
    let mut refused = Vec::new();
    let levels: &[Level] = if mode == Mode::Off { &[Level::Basic] } else { &Level::ALL };
    for level in levels {
        let sandbox = basic.at(*level);
        let seen = match level {
            // there is nothing in it to be proved
            Level::Basic => Ok(Deed::ALL.to_vec()),
            _ => try_one(&sandbox, tools, scratch).await,
        };
        match seen {
            Ok(gaps) => {
                let advice = if mode == Mode::Off { Vec::new() } else { advice(*level, facts()) };
                return Proved { sandbox, gaps, refused, advice };
            }
            Err(why) => refused.push((*level, why)),
        }
    }
    unreachable!("the last level asks for nothing")
}

async fn try_one(sandbox: &Sandbox, tools: &Tools, scratch: &Scratch) -> Result<Vec<Deed>, String> {
    let dir = scratch.dir("sandbox").map_err(|e| e.to_string())?;
    let (findings, started) = tokio::join!(findings(sandbox, &dir), start_programs(sandbox, tools, &dir));
    started?;
    let findings = findings?;
    findings.judge(sandbox.level())?;
    Ok(findings.done)
}

/// What the prover saw, and what was heard of it.
async fn findings(sandbox: &Sandbox, dir: &AttemptDir) -> Result<Findings, String> {
    let bait = Bait::lay(dir).await.map_err(|e| format!("the proof could not be prepared: {e}"))?;
    let serve: Serve = Arc::new(|listener| {
        AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(e) = greet(listener).await {
                tracing::debug!(error = %e, "the prover was not served");
            }
        }))
    });
    // without a network of its own the child is served as a source would be: by a listener of this machine
    let (served, network, _greeting) = if sandbox.level().has_network() {
        (SERVED_PORT, Network::Own(serve), None)
    } else {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| e.to_string())?;
        let port = listener.local_addr().map_err(|e| e.to_string())?.port();
        (port, Network::Port(port), Some(serve(listener)))
    };
    let mut args = vec![PROVER.into()];
    args.extend(bait.targets(dir.path(), served).map_err(|e| e.to_string())?.encode());
    let launch = Launch {
        program: sandbox.launcher().to_owned(),
        args,
        dir: dir.path().join(INSIDE),
        limits: process::small_limits(),
        network,
        source: None,
        quota: None,
        sandbox: sandbox.clone(),
    };
    let mut said = Collect::new(64 * 1024, PATIENCE_MS);
    let ran = process::run(&launch, &mut said, &CancellationToken::new()).await;
    ran.map_err(|e| why("the prover", e))?;
    let mut findings = Findings::read(&said.into_lines())?;
    for deed in bait.taken(dir.path()) {
        if !findings.done.contains(&deed) {
            findings.done.push(deed);
        }
    }
    Ok(findings)
}

async fn greet(listener: std::net::TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let (mut child, _) = TcpListener::from_std(listener)?.accept().await?;
    child.write_all(b"reelmill").await
}

/// ffmpeg and ffprobe start in it: their libraries are within its rules.
async fn start_programs(sandbox: &Sandbox, tools: &Tools, dir: &AttemptDir) -> Result<(), String> {
    let started = [&tools.ffmpeg, &tools.ffprobe].map(|program| async move {
        let launch = Launch {
            program: program.clone(),
            args: vec!["-version".into()],
            dir: dir.path().to_owned(),
            limits: process::small_limits(),
            network: Network::Nothing,
            source: None,
            quota: None,
            sandbox: sandbox.clone(),
        };
        let mut said = Collect::new(64 * 1024, PATIENCE_MS);
        let ran = process::run(&launch, &mut said, &CancellationToken::new()).await;
        ran.map(drop).map_err(|e| why(&program.display().to_string(), e))
    });
    futures::future::try_join_all(started).await.map(drop)
}

/// Why a child did not run in the box that is tried: its box, or the child itself.
fn why(program: &str, e: ChildError) -> String {
    match e.how {
        Failure::NoBox(why) => why,
        how => match e.stderr.lines().last() {
            Some(last) => format!("{program} does not work in it: {how}: {last}"),
            None => format!("{program} does not work in it: {how}"),
        },
    }
}

/// What a child must not reach, and what tells that it did.
struct Bait {
    tcp: TcpListener,
    udp: UdpSocket,
    unix: UnixListener,
}

impl Bait {
    async fn lay(dir: &AttemptDir) -> io::Result<Self> {
        let path = dir.path();
        std::fs::create_dir(path.join(INSIDE))?;
        std::fs::write(path.join(SECRET), b"secret")?;
        let unix = UnixListener::bind(path.join(SOCKET))?;
        unix.set_nonblocking(true)?;
        Ok(Self {
            tcp: TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
            udp: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?,
            unix,
        })
    }

    fn targets(&self, dir: &Path, served: u16) -> io::Result<Targets> {
        Ok(Targets {
            tcp: self.tcp.local_addr()?.port(),
            udp: self.udp.local_addr()?.port(),
            unix: dir.join(SOCKET),
            secret: dir.join(SECRET),
            outside: dir.join(OUTSIDE),
            served,
        })
    }

    /// What was reached, as seen from here.
    fn taken(&self, dir: &Path) -> Vec<Deed> {
        use futures::FutureExt as _;
        let mut taken = Vec::new();
        if self.tcp.accept().now_or_never().is_some_and(|r| r.is_ok()) {
            taken.push(Deed::Tcp);
        }
        if self.udp.recv(&mut [0; 8]).now_or_never().is_some_and(|r| r.is_ok()) {
            taken.push(Deed::Udp);
        }
        if self.unix.accept().is_ok() {
            taken.push(Deed::Unix);
        }
        if dir.join(OUTSIDE).exists() {
            taken.push(Deed::Write);
        }
        taken
    }
}

/// What this machine says of itself, as far as it says it: only advice depends on it.
fn facts() -> Facts {
    let says = |path: &str, wanted: &str| std::fs::read_to_string(path).is_ok_and(|t| t.trim() == wanted);
    let asked = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    let has_landlock = asked.handle_access(AccessFs::Execute).is_ok();
    Facts {
        apparmor_restricts: says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
        namespaces_off: says("/proc/sys/user/max_user_namespaces", "0")
            || says("/proc/sys/kernel/unprivileged_userns_clone", "0"),
        in_container: ["/.dockerenv", "/run/.containerenv"].iter().any(|p| Path::new(p).exists())
            || std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        has_landlock,
    }
}
