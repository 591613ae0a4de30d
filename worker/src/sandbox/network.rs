//! A network of the child's own: nothing in it but a loopback device, and on that one listener of the worker's.

use super::handover::Refusal;
use nix::sched::{CloneFlags, unshare};
use reelmill_worker_core::sandbox::orders::SERVED_PORT;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with, sockopt,
};
use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// How far the worker's side of a connection runs ahead of the child: ffmpeg drops one whenever it seeks.
pub(crate) const READ_AHEAD: usize = 64 * 1024;

/// Moves this process into a network of its own. Ordinary users need a user namespace for it; where there is none,
/// root does without. Says whether there is one. No user is mapped into it: the process keeps its files and loses
/// whatever it could do as root.
pub(super) fn enter() -> Result<bool, Refusal> {
    let is_own_user = match unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET) {
        Ok(()) => true,
        Err(with_user) => match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => false,
            Err(_) => return Err(Refusal::step("no network namespace of its own", with_user)),
        },
    };
    loopback_up().map_err(|e| Refusal::step("no loopback in the network namespace", e))?;
    Ok(is_own_user)
}

/// Listens where the child is told that its source is. Connections are accepted by the worker.
pub(super) fn listen() -> Result<TcpListener, Refusal> {
    let failed = |e: io::Error| Refusal::step("no listener in the network namespace", e);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, SERVED_PORT)).map_err(failed)?;
    // inherited by accepted connections
    sockopt::set_socket_send_buffer_size(&listener, READ_AHEAD).map_err(|e| failed(e.into()))?;
    Ok(listener)
}

/// Sets the flag IFF_UP of device 1, which is the loopback of every new namespace (rtnetlink(7): RTM_NEWLINK with an
/// `ifinfomsg`, answered by an `nlmsgerr`). The ioctl that does the same cannot be called from safe code.
fn loopback_up() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    let mut message = Vec::with_capacity(32);
    message.extend_from_slice(&32_u32.to_ne_bytes());
    message.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&REQUEST_AND_ACK.to_ne_bytes());
    // sequence and port; then family, padding, type, the index of the device, its flags, and which of them count
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&1_i32.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());

    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 256];
    let (bytes, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    match answer.get(16..20).filter(|_| bytes >= 20).and_then(|code| code.try_into().ok()) {
        Some(code) => match i32::from_ne_bytes(code) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(-code)),
        },
        None => Err(io::Error::other("the kernel's answer is too short")),
    }
}
