//! An open connection, with or without TLS, that counts as one for as long as it lives.
//!
//! Whoever connects has to ask something that is allowed, and soon: a connection that only stays is closed.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// Who is at the other end. In every request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// It came by the door that only this process's own worker knows.
    pub(crate) is_own: bool,
    /// Under TLS: what is sent to it nobody else reads.
    pub(crate) is_encrypted: bool,
    /// It has asked something that it may ask.
    welcome: Arc<AtomicBool>,
}

impl Peer {
    pub(super) fn new(address: SocketAddr, is_own: bool, is_encrypted: bool) -> Self {
        Self { address, is_own, is_encrypted, welcome: Arc::default() }
    }

    /// Somebody whose connection was accepted elsewhere.
    pub(crate) fn elsewhere() -> Self {
        Self::new(SocketAddr::from(([0, 0, 0, 0], 0)), false, false)
    }

    #[cfg(test)]
    pub(crate) fn of_test(address: SocketAddr, is_encrypted: bool) -> Self {
        Self::new(address, false, is_encrypted)
    }

    /// It may stay as long as it likes.
    pub(crate) fn welcome(&self) {
        self.welcome.store(true, Ordering::Relaxed);
    }
}

#[allow(clippy::large_enum_variant, reason = "a box would be one more allocation a connection")]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(TlsStream<TcpStream>),
}

/// A connection that was let in.
pub(crate) struct Connection {
    stream: Stream,
    peer: Peer,
    /// Until it is welcome.
    patience: Option<Pin<Box<Sleep>>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    pub(super) fn new(stream: Stream, peer: Peer, patience: Duration, permit: OwnedSemaphorePermit) -> Self {
        let patience = Some(Box::pin(tokio::time::sleep(patience)));
        Self { stream, peer, patience, _permit: permit }
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    fn poll_patience(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(patience) = &mut self.patience else { return Ok(()) };
        if self.peer.welcome.load(Ordering::Relaxed) {
            self.patience = None;
        } else if patience.as_mut().poll(context).is_ready() {
            let why = "the connection asked nothing that it may ask";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Ok(())
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_patience(context)?;
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
