//! Machines of a small cluster, each in a network namespace of its own: a process there has its own address, and taking
//! its link down is a true partition, in which packets are lost and nobody is told.
//!
//! The test itself runs in a namespace too ([`enter`]), where the switch (a bridge) is: nothing here can reach or be
//! reached from the machine's own network. It needs the right to make namespaces: root's, or anybody's where user
//! namespaces are allowed; in a container `--privileged`.

use crate::tool;
use anyhow::{Context, Result, ensure};
use std::process::{Command, ExitStatus};
use std::time::Duration;

/// Set in the process that is inside.
const INSIDE: &str = "REELMILL_TEST_HUB";
/// The address of the test itself.
pub const HUB: &str = "10.88.0.1";

/// Runs the test `name` of this program again in a namespace of its own, to its end; `None` when this is that run.
pub fn enter(name: &str) -> Result<Option<ExitStatus>> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(None);
    }
    let mut unshare = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let status = unshare
        .args(["--net", "--mount", "--propagation", "private"])
        // whatever is started inside ends with it
        .args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(std::env::current_exe()?)
        .args(["--exact", name, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .status()
        .context("cannot start unshare: it comes with util-linux")?;
    Ok(Some(status))
}

/// The switch and the hosts at it.
pub struct Network {
    hosts: u8,
}

impl Network {
    /// A switch without hosts, in the namespace this process is in.
    pub fn new() -> Result<Self> {
        ensure!(std::env::var_os(INSIDE).is_some(), "call `enter` first");
        // names of namespaces are mounts below /run: ours are seen by nobody else
        run("mount", &["-t", "tmpfs", "tmpfs", "/run"])?;
        std::fs::create_dir("/run/netns")?;
        ip("link set lo up")?;
        ip("link add hub type bridge")?;
        ip(&format!("addr add {HUB}/24 dev hub"))?;
        ip("link set hub up")?;
        Ok(Self { hosts: 0 })
    }

    /// Another host.
    pub fn host(&mut self) -> Result<Host> {
        self.hosts += 1;
        let (name, number) = (format!("h{}", self.hosts), self.hosts);
        let address = format!("10.88.0.{}", 10 + number);
        ip(&format!("netns add {name}"))?;
        ip(&format!("link add v{number} type veth peer name eth0 netns {name}"))?;
        ip(&format!("link set v{number} master hub up"))?;
        for command in ["link set lo up", "link set eth0 up", &format!("addr add {address}/24 dev eth0")] {
            ip(&format!("-n {name} {command}"))?;
        }
        Ok(Host { name, link: format!("v{number}"), address })
    }
}

/// One host.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
    link: String,
    /// Its address; names are not resolved there.
    pub address: String,
}

impl Host {
    /// `command`, to be run there. The process keeps its id, so signals reach it.
    pub fn command(&self, command: &Command) -> Command {
        let mut there = Command::new("ip");
        there.args(["netns", "exec", &self.name]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => there.env(name, value),
                None => there.env_remove(name),
            };
        }
        there
    }

    /// Takes the host off the network, or brings it back.
    pub fn plug(&self, is_in: bool) -> Result<()> {
        ip(&format!("link set {} {}", self.link, if is_in { "up" } else { "down" }))
    }
}

fn ip(arguments: &str) -> Result<()> {
    run("ip", &arguments.split(' ').collect::<Vec<_>>())
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let done = tool::run(Command::new(program).args(arguments), Duration::from_secs(10))?;
    done.success().with_context(|| format!("{program} {}", arguments.join(" ")))?;
    Ok(())
}
