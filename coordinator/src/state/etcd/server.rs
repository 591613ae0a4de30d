//! A real etcd for tests: Debian's `etcd` on free ports with a directory of its own.
//!
//! A machine without it fails these tests and says what to install: a suite that skips proves nothing.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// One running etcd; it dies with this value.
pub(crate) struct EtcdServer {
    process: Child,
    directory: TempDir,
    client_url: String,
    peer_url: String,
}

impl EtcdServer {
    /// Starts one and waits until it answers.
    pub(crate) async fn start() -> Self {
        // between finding a free port and using it somebody else may take it
        for _ in 0..5 {
            let (client_url, peer_url) = (free_url(), free_url());
            let directory = tempfile::tempdir().unwrap();
            let process = spawn(directory.path(), &client_url, &peer_url);
            let mut server = Self { process, directory, client_url, peer_url };
            if server.is_up().await {
                return server;
            }
        }
        panic!("etcd did not come up in five tries");
    }

    /// Where clients reach it.
    pub(crate) fn url(&self) -> &str {
        &self.client_url
    }

    /// Starts it again over the same data, after [`Self::kill`].
    pub(crate) async fn restart(&mut self) {
        self.process = spawn(self.directory.path(), &self.client_url, &self.peer_url);
        assert!(self.is_up().await, "etcd did not come back");
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Stops it where it stands, as a machine that hangs; `false` lets it go on.
    pub(crate) fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let status = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until it answers a read; false if it ended instead.
    async fn is_up(&mut self) -> bool {
        let mut look = tokio::time::interval(Duration::from_millis(50));
        for _ in 0..600 {
            look.tick().await;
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if let Ok(mut client) = etcd_client::Client::connect([&self.client_url], None).await {
                let answer = tokio::time::timeout(Duration::from_secs(1), client.get("up", None)).await;
                if matches!(answer, Ok(Ok(_))) {
                    return true;
                }
            }
        }
        panic!("etcd runs but did not answer within 30 s");
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        // it may be dead already, which is what we want
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn spawn(directory: &Path, client_url: &str, peer_url: &str) -> Child {
    let log = std::fs::File::create(directory.join("log")).unwrap();
    Command::new("etcd")
        .args(["--name", "test", "--log-level", "error", "--initial-cluster-state", "new"])
        .arg("--data-dir")
        .arg(directory.join("data"))
        .args(["--listen-client-urls", client_url, "--advertise-client-urls", client_url])
        .args(["--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url])
        .args(["--initial-cluster", &format!("test={peer_url}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| {
            panic!("cannot start etcd ({error}): install it with `apt-get install -y etcd-server`")
        })
}
