//! The cluster under test: three etcd members, an S3 server behind a faulty proxy, two coordinators and four workers,
//! each on a host of its own.

use anyhow::{Context, Result, bail, ensure};
use reelmill_tests::hosts::{HUB, Host, Network};
use reelmill_tests::process::Process;
use reelmill_tests::reelmill;
use reelmill_tests::seaweed::{self, Seaweed};
use reelmill_tests::store_faults::FaultyStore;
use reelmill_tests::tool;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How long anything may take that is not disturbed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Role {
    Etcd,
    Coordinator,
    Worker,
}

/// Times of the cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Of the workers' leases.
    pub(crate) lease: &'static str,
    /// Of the leader's lease in etcd.
    pub(crate) leader: &'static str,
}

/// A process on a host, which can be started again as it was.
pub(crate) struct Node {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) host: Host,
    pub(crate) log: PathBuf,
    command: Command,
    pub(crate) process: Process,
}

impl Node {
    fn start(role: Role, name: &str, host: Host, command: Command, logs: &Path) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let command = host.command(&command);
        let process = Process::start(again(&command), &log)?;
        Ok(Self { role, name: name.to_owned(), host, log, command, process })
    }

    /// Starts it again after it was killed or left.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.process = Process::start(again(&self.command), &self.log)?;
        Ok(())
    }
}

/// A command is not cloned by the standard library.
fn again(command: &Command) -> Command {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => again.env(name, value),
            None => again.env_remove(name),
        };
    }
    again
}

/// All of it. The nodes die before the network goes.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    pub(crate) store: FaultyStore,
    seaweed: Seaweed,
    coordinators: Vec<String>,
    pub(crate) etcds: Vec<String>,
    dir: TempDir,
    _network: Network,
}

impl Cluster {
    /// Starts everything and waits until a coordinator leads.
    pub(crate) fn start(times: Times) -> Result<Self> {
        let mut network = Network::new()?;
        let dir = tempfile::tempdir()?;
        let seaweed = Seaweed::start_on(&network.host()?)?;
        let store = FaultyStore::start(HUB, &seaweed.address())?;
        let mut nodes = start_etcd(&mut network, dir.path())?;
        let etcds: Vec<String> = nodes.iter().map(|n| format!("http://{}:2379", n.host.address)).collect();
        let hosts = [network.host()?, network.host()?];
        let coordinators: Vec<String> = hosts.iter().map(|h| h.address.clone()).collect();
        let variables = seaweed::variables(HUB, store.port);
        for (i, host) in hosts.into_iter().enumerate() {
            let command = coordinator(&host, dir.path(), i, &etcds.join(","), times)?;
            nodes.push(start_ours(Role::Coordinator, i, host, command, &variables, dir.path())?);
        }
        let urls: Vec<String> = coordinators.iter().map(|address| format!("http://{address}:7070")).collect();
        for i in 0..4 {
            let (host, name) = (network.host()?, format!("w{i}"));
            let scratch = dir.path().join(&name);
            std::fs::create_dir(&scratch)?;
            let mut command = reelmill::command(&["worker", "--slots", "1", "--name", &name, "--scratch"])?;
            command.arg(scratch).env("REELMILL_COORDINATOR", urls.join(","));
            nodes.push(start_ours(Role::Worker, i, host, command, &variables, dir.path())?);
        }
        let cluster = Self { nodes, store, seaweed, coordinators, etcds, dir, _network: network };
        tool::wait_until("a coordinator leads", PATIENCE, || cluster.leader())?;
        Ok(cluster)
    }

    /// Somewhere to write.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Variables of clients that reach the store past the faults.
    pub(crate) fn calm(&self) -> Vec<(&'static str, String)> {
        self.seaweed.variables().to_vec()
    }

    /// The place among the nodes of the coordinator that leads now, if one says so.
    pub(crate) fn leader(&self) -> Option<usize> {
        // a standby is ready, too
        let leads = |n: &Node| {
            let answer = reelmill::get(&format!("{}:7080", n.host.address), "/readyz");
            answer.is_ok_and(|(status, text)| status == 200 && text.starts_with("leading"))
        };
        self.nodes.iter().position(|n| n.role == Role::Coordinator && leads(n))
    }

    /// A client command.
    pub(crate) fn client(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = reelmill::command(arguments)?;
        let urls: Vec<String> = self.coordinators.iter().map(|a| format!("http://{a}:7070")).collect();
        command.env("REELMILL_COORDINATOR", urls.join(","));
        Ok(command)
    }

    /// Hands a film over under a key, as often as it takes; the job's id.
    pub(crate) fn submit(&self, source: &str, key: &str, encoding: &[&str]) -> Result<String> {
        tool::wait_until("the film is accepted", PATIENCE, || {
            let mut command = self.client(&["submit", source, "--json", "--idempotency-key", key]).ok()?;
            let done = tool::run(command.args(encoding), PATIENCE).ok()?;
            let line: Value = serde_json::from_str(done.text().lines().next()?).ok()?;
            line["job_id"].as_str().map(str::to_owned)
        })
    }

    /// State of every job that the leader knows, by id; `None` while nobody leads.
    pub(crate) fn jobs(&self) -> Result<Option<Vec<(String, String)>>> {
        let Some(leader) = self.leader() else { return Ok(None) };
        let address = format!("{}:7080", self.nodes[leader].host.address);
        let Ok((200, body)) = reelmill::get(&address, "/api/jobs") else { return Ok(None) };
        let page: Value = serde_json::from_str(&body)?;
        let text = |v: &Value| v.as_str().map(str::to_owned).context("a text");
        let jobs = page["jobs"].as_array().context("jobs")?;
        let mut states = Vec::new();
        for job in jobs {
            let state = text(&job["state"])?;
            ensure!(!["failed", "cancelled"].contains(&state.as_str()), "{job}");
            states.push((text(&job["id"])?, state));
        }
        Ok(Some(states))
    }

    /// Every node that should run does.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            if let Some(status) = node.process.ended()? {
                bail!("{} ended by itself with {status}: {}", node.name, node.process.said());
            }
        }
        Ok(())
    }
}

fn start_etcd(network: &mut Network, dir: &Path) -> Result<Vec<Node>> {
    let hosts = [network.host()?, network.host()?, network.host()?];
    let peer = |h: &Host| format!("http://{}:2380", h.address);
    let members: Vec<String> =
        hosts.iter().enumerate().map(|(i, h)| format!("etcd{i}={}", peer(h))).collect();
    let member = |(i, host): (usize, Host)| {
        let (name, client) = (format!("etcd{i}"), format!("http://{}:2379", host.address));
        let mut command = Command::new("etcd");
        command.args(["--name", &name, "--log-level", "error", "--initial-cluster-state", "new"]);
        command.arg("--data-dir").arg(dir.join(&name));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer(&host), "--initial-advertise-peer-urls", &peer(&host)]);
        command.args(["--initial-cluster", &members.join(",")]);
        Node::start(Role::Etcd, &name, host, command, dir)
    };
    hosts.into_iter().enumerate().map(member).collect()
}

fn coordinator(host: &Host, dir: &Path, i: usize, etcds: &str, times: Times) -> Result<Command> {
    let data = dir.join(format!("coordinator{i}"));
    std::fs::create_dir(&data)?;
    let (grpc, http) = (format!("{}:7070", host.address), format!("{}:7080", host.address));
    let mut command = reelmill::command(&["coordinator", "--log-json", "--log"])?;
    command
        .arg("info,reelmill_coordinator::driver=debug,reelmill_coordinator::tasks=debug,reelmill_blob=debug")
        .arg("--data")
        .arg(data);
    command.args(["--grpc", &grpc, "--http", &http, "--advertise", &format!("http://{grpc}"), "--insecure"]);
    command.args(["--etcd", etcds, "--etcd-lease-ttl", times.leader, "--lease-ttl", times.lease]);
    command.args(["--work", "s3://work", "--publish", "s3://vod", "--store", "s3://films"]);
    Ok(command)
}

fn start_ours(
    role: Role,
    i: usize,
    host: Host,
    mut command: Command,
    variables: &[(&'static str, String)],
    dir: &Path,
) -> Result<Node> {
    let name = if role == Role::Worker { format!("w{i}") } else { format!("c{i}") };
    command.envs(variables.iter().cloned()).env("XDG_CACHE_HOME", dir.join("cache"));
    Node::start(role, &name, host, command, dir)
}
