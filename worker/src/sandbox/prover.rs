//! The prover: this program as a child in a box, which tries what a child should not be able to do and says what
//! came of it. It uses no code of the worker's but names: it is to be as free as any program would be.

use nix::sys::signal::kill;
use nix::unistd::Pid;
use reelmill_worker_core::sandbox::proof::Deed;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What there is to be tried, in the order of the prover's arguments.
#[derive(Clone, Debug)]
pub(super) struct Targets {
    /// A port of the worker's loopback on which it listens for connections.
    pub(super) tcp: u16,
    /// One on which it waits for datagrams.
    pub(super) udp: u16,
    /// A socket of the worker's in the file system.
    pub(super) unix: PathBuf,
    /// A file that is none of a child's business.
    pub(super) secret: PathBuf,
    /// Where no child may write.
    pub(super) outside: PathBuf,
    /// The port at which the child is served.
    pub(super) served: u16,
}

impl Targets {
    pub(super) fn encode(&self) -> Vec<OsString> {
        let port = |p: u16| OsString::from(p.to_string());
        let [unix, secret, outside] = [&self.unix, &self.secret, &self.outside].map(|p| p.clone().into());
        vec![port(self.tcp), port(self.udp), unix, secret, outside, port(self.served)]
    }

    fn decode(words: &[OsString]) -> Option<Self> {
        let [tcp, udp, unix, secret, outside, served] = words else { return None };
        let port = |word: &OsStr| word.to_str()?.parse().ok();
        Some(Self {
            tcp: port(tcp)?,
            udp: port(udp)?,
            unix: unix.into(),
            secret: secret.into(),
            outside: outside.into(),
            served: port(served)?,
        })
    }
}

/// Tries everything, a line each.
pub(super) fn run(words: &[OsString]) -> ExitCode {
    let Some(targets) = Targets::decode(words) else {
        eprintln!("reelmill: this is for the worker to call, not for people");
        return ExitCode::FAILURE;
    };
    for deed in Deed::ALL {
        match attempt(deed, &targets) {
            Ok(()) => println!("done {}", deed.name()),
            Err(e) => println!("stopped {}\n({e})", deed.name()),
        }
    }
    match served(targets.served) {
        Ok(()) => println!("served"),
        Err(e) => println!("(not served: {e})"),
    }
    ExitCode::SUCCESS
}

fn attempt(deed: Deed, targets: &Targets) -> io::Result<()> {
    match deed {
        Deed::Tcp => TcpStream::connect((Ipv4Addr::LOCALHOST, targets.tcp)).map(drop),
        Deed::Udp => {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.send_to(b"out", (Ipv4Addr::LOCALHOST, targets.udp)).map(drop)
        }
        Deed::Unix => UnixStream::connect(&targets.unix).map(drop),
        Deed::Read => {
            let secret = File::open(&targets.secret);
            secret.or_else(|_| File::open(Path::new("/etc/passwd"))).map(drop)
        }
        Deed::Write => fs::write(&targets.outside, b"out"),
        Deed::Signal => kill(Pid::parent(), None).map_err(Into::into),
    }
}

fn served(port: u16) -> io::Result<()> {
    let mut first = [0];
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))?.read_exact(&mut first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prover_is_told_what_to_try() {
        let targets = Targets {
            tcp: 1,
            udp: 2,
            unix: "/a socket".into(),
            secret: "/s".into(),
            outside: "/o".into(),
            served: 3,
        };
        let words = targets.encode();
        assert_eq!(format!("{:?}", Targets::decode(&words)), format!("{:?}", Some(targets)));
        assert!(Targets::decode(&words[1..]).is_none());
    }
}
