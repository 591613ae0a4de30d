//! The socket between a worker and the launcher of a child: the listener goes up (SCM_RIGHTS), and the reason why a
//! child could not be started. Its end without a word means that the child runs: the launcher's copy closes when it
//! becomes the program.
//!
//! First byte of a message: `L` with a listener beside it, `B` and the reason why there is no box, `P` and the reason
//! why the program did not start.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, send, sendmsg,
};
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A launcher needs milliseconds; one that says nothing for this long has been stopped.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest reason that is read.
const LONGEST: usize = 4_096;

/// Why a launcher did not become its program.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The box could not be made.
    #[error("{0}")]
    Box(String),
    /// The program does not start.
    #[error("{0}")]
    Program(String),
}

impl Refusal {
    /// A step of the box failed.
    pub(super) fn step(what: &str, why: impl fmt::Display) -> Self {
        Self::Box(format!("{what}: {why}"))
    }
}

/// Hands the worker a listener.
pub(super) fn give(worker: &OwnedFd, listener: &TcpListener) -> Result<(), Refusal> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let handed = [listener.as_fd()];
    beside.push(SendAncillaryMessage::ScmRights(&handed));
    sendmsg(worker, &[IoSlice::new(b"L")], &mut beside, SendFlags::NOSIGNAL)
        .map(drop)
        .map_err(|e| Refusal::step("the listener could not be handed to the worker", e))
}

/// Tells the worker why not.
pub(super) fn refuse(worker: &OwnedFd, refusal: &Refusal) {
    let sign = match refusal {
        Refusal::Box(_) => 'B',
        Refusal::Program(_) => 'P',
    };
    // a worker that is gone hears nothing; standard error says it as well
    let _ = send(worker, format!("{sign}{refusal}").as_bytes(), SendFlags::NOSIGNAL);
}

/// Waits until the child runs, and takes what was handed up; or learns why it does not.
pub(crate) fn take(launcher: &UnixStream) -> Result<Option<TcpListener>, Refusal> {
    let heard = |e: io::Error| Refusal::step("nothing is heard of the launcher", e);
    launcher.set_read_timeout(Some(PATIENCE)).map_err(heard)?;
    let (mut listener, mut said) = (None, Vec::new());
    loop {
        let mut bytes = [0; 512];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let got = match recvmsg(launcher, &mut parts, &mut beside, RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => message.bytes,
            Err(rustix::io::Errno::INTR) => continue,
            // what it had not read when it became the program: nothing is ever sent down
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(e) => return Err(heard(e.into())),
        };
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                listener = fds.map(TcpListener::from).last().or(listener);
            }
        }
        if got == 0 || said.len() > LONGEST {
            break;
        }
        said.extend_from_slice(&bytes[..got]);
    }
    let said = String::from_utf8_lossy(&said).into_owned();
    let said = said.trim_start_matches('L');
    match said.chars().next() {
        None => Ok(listener),
        Some('P') => Err(Refusal::Program(said[1..].to_owned())),
        Some('B') => Err(Refusal::Box(said[1..].to_owned())),
        Some(_) => Err(Refusal::Box(format!("the launcher said {said:?}"))),
    }
}
