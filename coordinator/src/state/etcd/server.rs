//! Real etcd for tests: Debian's `etcd` on free ports, one member or several, each with a directory of its own.
//!
//! Knows no client: whether a member is up is asked over HTTP, on an address of its own that asks for no certificate.
//! A machine without etcd fails these tests and says what to install: a suite that skips proves nothing.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Running members of one cluster; they die with this value.
pub(crate) struct EtcdServer {
    members: Vec<Member>,
    more: Vec<String>,
    directory: TempDir,
}

struct Member {
    process: Option<Child>,
    directory: PathBuf,
    client: String,
    peer: String,
    health: String,
}

impl EtcdServer {
    /// Starts one member and waits until it answers.
    pub(crate) fn start() -> Self {
        Self::start_with(1, &[])
    }

    /// Starts a cluster of `count` members, each with these arguments on top, and waits until all answer.
    pub(crate) fn start_with(count: usize, more: &[&str]) -> Self {
        // between finding a free port and using it somebody else may take it
        for _ in 0..5 {
            let directory = tempfile::tempdir().expect("a directory");
            let member = |n: usize| Member {
                process: None,
                directory: directory.path().join(n.to_string()),
                client: free_address(),
                peer: free_address(),
                health: free_address(),
            };
            let members = (0..count).map(member).collect();
            let more = more.iter().map(|text| (*text).to_owned()).collect();
            let mut server = Self { members, more, directory };
            (0..count).for_each(|n| server.spawn(n));
            if (0..count).all(|n| server.is_up(n)) {
                return server;
            }
        }
        panic!("etcd did not come up in five tries");
    }

    /// Where clients reach the first member.
    pub(crate) fn url(&self) -> String {
        self.urls().remove(0)
    }

    /// Where clients reach each member.
    pub(crate) fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("{}://{}", self.scheme(), member.client)).collect()
    }

    /// Kills member `n`.
    pub(crate) fn kill(&mut self, n: usize) {
        if let Some(mut process) = self.members[n].process.take() {
            process.kill().expect("it can be killed");
            process.wait().expect("it has ended");
        }
    }

    /// Starts member `n` again over its data, after [`Self::kill`], and waits until it answers.
    pub(crate) fn restart(&mut self, n: usize) {
        self.spawn(n);
        assert!(self.is_up(n), "etcd did not come back: {}", self.said(n));
    }

    /// Starts several members again at once: none of them is healthy without another.
    pub(crate) fn restart_together(&mut self, members: &[usize]) {
        members.iter().for_each(|n| self.spawn(*n));
        assert!(members.iter().all(|n| self.is_up(*n)), "etcd did not come back");
    }

    /// Stops the first member where it stands, as a machine that hangs, and waits until it stands still; `false` lets it
    /// go on.
    pub(crate) fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let process = self.members[0].process.as_ref().expect("it runs");
        let status = Command::new("kill").args([signal, &process.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
        let begun = Instant::now();
        while frozen && !is_stopped(process.id()) {
            assert!(begun.elapsed() < PATIENCE, "etcd was stopped and goes on");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn scheme(&self) -> &'static str {
        if self.more.iter().any(|text| text.starts_with("--cert-file")) { "https" } else { "http" }
    }

    fn said(&self, n: usize) -> String {
        std::fs::read_to_string(self.log(n)).unwrap_or_default()
    }

    fn log(&self, n: usize) -> PathBuf {
        self.directory.path().join(format!("{n}.log"))
    }

    fn spawn(&mut self, n: usize) {
        let cluster: Vec<String> =
            self.members.iter().enumerate().map(|(n, m)| format!("member{n}=http://{}", m.peer)).collect();
        let (scheme, member) = (self.scheme(), &self.members[n]);
        let (client, peer) = (format!("{scheme}://{}", member.client), format!("http://{}", member.peer));
        let mut command = Command::new("etcd");
        command
            .args(["--name", &format!("member{n}"), "--log-level", "error", "--logger", "zap"])
            .args([
                "--heartbeat-interval",
                "30",
                "--election-timeout",
                "300",
                "--initial-cluster-state",
                "new",
            ])
            .arg("--data-dir")
            .arg(&member.directory)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--listen-metrics-urls", &format!("http://{}", member.health)])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(&self.more);
        let log = std::fs::File::options().create(true).append(true).open(self.log(n)).expect("a log");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a handle")).stderr(log);
        let started = command.spawn().unwrap_or_else(|error| {
            panic!("cannot start etcd ({error}): install it with `apt-get install -y etcd-server`")
        });
        self.members[n].process = Some(started);
    }

    /// Waits until member `n` is healthy, which means that its cluster is; false if it ended instead.
    fn is_up(&mut self, n: usize) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let member = &mut self.members[n];
            let process = member.process.as_mut().expect("it was started");
            if process.try_wait().expect("it is ours").is_some() {
                return false;
            }
            if is_healthy(&member.health).unwrap_or(false) {
                return true;
            }
            // the health check waits for a leader by itself; this is only for the time before it listens
            std::thread::park_timeout(Duration::from_millis(20));
        }
        panic!("etcd runs but did not answer in time: {}", self.said(n));
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        for process in self.members.iter_mut().filter_map(|member| member.process.as_mut()) {
            // it may be dead already, which is what we want
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// What `openssl` makes for a test: a certificate authority, and a certificate of it for this host that serves and logs
/// in, each as `name.pem` and `name.key` in one directory.
pub(crate) fn certificates(directory: &Path) {
    let run = |arguments: &str| {
        let mut command = Command::new("openssl");
        let output = command.current_dir(directory).args(arguments.split_whitespace()).output();
        let output = output.expect("openssl is installed: `apt-get install -y openssl`");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let extensions = format!("subjectAltName=IP:{}\nextendedKeyUsage=serverAuth,clientAuth\n", host());
    std::fs::write(directory.join("ext"), extensions).expect("a file");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    run(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca"));
    run(&format!("req {key} -keyout etcd.key -out etcd.csr -subj /CN=etcd"));
    run("x509 -req -in etcd.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out etcd.pem");
}

/// A signal takes a moment to arrive, and etcd answers meanwhile: every thread of it has to stand still.
fn is_stopped(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(')').is_none_or(|(_, state)| state.trim_start().starts_with('T'))
    })
}

fn is_healthy(address: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET /health HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.contains("200 OK") && answer.contains("\"true\""))
}

/// A loopback host of this process alone, as Linux gives them: all of 127/8 is there. A port that a killed member
/// leaves free stays free until it comes back.
fn host() -> Ipv4Addr {
    // an id has 22 bits at most
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 128 | high, middle, low)
}

fn free_address() -> String {
    let listener = TcpListener::bind((host(), 0)).expect("loopback has a free port");
    listener.local_addr().expect("it is bound").to_string()
}
