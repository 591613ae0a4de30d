//! The real binary, as a user runs it. Named by `REELMILL_BIN`, else the one built beside the tests
//! (`cargo build -p reelmill`, which `scripts/test` does).

use crate::tool::{self, Done};
use anyhow::{Context, Result, ensure};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// The binary under test.
pub fn binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("REELMILL_BIN") {
        return Ok(named.into());
    }
    // target/debug/deps/<test> -> target/debug/reelmill
    let own = std::env::current_exe()?;
    let built = own.parent().and_then(Path::parent).context("target folder")?.join("reelmill");
    ensure!(built.exists(), "{} is not built: run `cargo build -p reelmill` first", built.display());
    Ok(built)
}

/// The binary with arguments.
pub fn command(arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(arguments).env_remove("REELMILL_COORDINATOR");
    Ok(command)
}

/// `reelmill transcode INPUT --out OUT …`.
pub fn transcode(input: &Path, out: &Path, more: &[&str]) -> Result<Done> {
    let mut command = command(&["transcode"])?;
    command.arg(input).arg("--out").arg(out).args(more);
    tool::run(&mut command, Duration::from_secs(280))
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A loopback host of this process alone, as Linux gives them: all of 127/8 is there. What listens on it may end and
/// come again, and no test that runs beside this one takes its place.
fn own_host() -> Ipv4Addr {
    // an id has 22 bits at most
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | high, middle, low)
}

/// An address to listen on that only this process knows; every call gives another one.
pub fn own_address() -> Result<String> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // below those ports that outgoing connections are given
    const FIRST: u16 = 20_000;
    let host = own_host();
    let free = std::iter::repeat_with(|| FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % 10_000)
        .take(1_000)
        .find(|port| TcpListener::bind((host, *port)).is_ok());
    Ok(format!("{host}:{}", free.with_context(|| format!("no free port on {host}"))?))
}

/// A running `reelmill serve`, ended when dropped.
pub struct Server {
    child: Child,
    /// Address of its gRPC services.
    pub grpc: String,
    /// Address of its HTTP edge.
    pub http: String,
}

impl Server {
    /// Starts `reelmill serve` over a data folder and waits until it says that it is ready.
    pub fn start(data: &Path) -> Result<Self> {
        let (grpc, http) = (own_address()?, own_address()?);
        let mut command = command(&["serve", "--grpc", &grpc, "--http", &http, "--workers", "1", "--data"])?;
        let log = std::fs::File::create(data.with_extension("log"))?;
        command.arg(data).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("cannot start reelmill serve")?;
        let server = Self { child, grpc, http };
        tool::wait_until("reelmill serve is ready", Duration::from_secs(60), || {
            get(&server.http, "/readyz").ok().filter(|r| r.0 == 200)
        })?;
        Ok(server)
    }

    /// A client command against this server.
    pub fn client(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = command(arguments)?;
        command.env("REELMILL_COORDINATOR", format!("http://{}", self.grpc));
        Ok(command)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to do when it has ended already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// `GET path` from a server on loopback: status and body. One request a connection.
pub fn get(address: &str, path: &str) -> Result<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let status = text.split_whitespace().nth(1).context("no status line")?.parse()?;
    Ok((status, text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned())))
}
