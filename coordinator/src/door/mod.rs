//! The front door: every connection, gRPC or HTTP, with TLS or without, comes in here and nowhere else.
//!
//! ```text
//! listener ─► one place of all ─► one place in handshake, for a bounded time ─► Connection ─► gRPC | HTTP server
//! ```
//!
//! Where places have run out, new connections wait in the system's queue. Who somebody is, is asked later (`access`).

mod connection;
mod plain;
mod tls;

#[cfg(test)]
mod tests;

pub(crate) use connection::{Connection, Peer};
pub(crate) use tls::{ServerTls, watched as watched_tls};

use crate::telemetry;
use connection::Stream;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Handshakes at a time, of one door.
const HANDSHAKES: usize = 256;
/// A handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A connection that has not asked anything it may ask by then is closed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections that wait for their server to take them.
const WAITING: usize = 64;
/// Pause after the system could not give us a connection: it has no descriptors left.
const BREATH: Duration = Duration::from_millis(200);

/// What is spoken behind a door.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    /// HTTP/2 with gRPC.
    Grpc,
    /// HTTP/1.1.
    Http,
}

/// How a handshake ended, as metrics name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Handshake {
    /// The connection is secured.
    Done,
    /// One side did not like the other's certificate, version or words.
    Failed,
    /// It took too long.
    Late,
    /// The client spoke without TLS.
    Plain,
}

impl Handshake {
    pub(crate) const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::Late, Self::Plain];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Late => "late",
            Self::Plain => "plain",
        }
    }
}

/// A door that lets connections in.
#[derive(Clone)]
pub(crate) struct Door {
    protocol: Protocol,
    tls: Option<watch::Receiver<Arc<ServerTls>>>,
    places: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    patience: Duration,
}

/// Connections that were let in, for a server.
pub(crate) type Incoming = mpsc::Receiver<io::Result<Connection>>;
type Inside = mpsc::Sender<io::Result<Connection>>;

impl Door {
    pub(crate) fn new(
        protocol: Protocol,
        tls: Option<watch::Receiver<Arc<ServerTls>>>,
        connections_max: usize,
    ) -> Self {
        Self {
            protocol,
            tls,
            places: Arc::new(Semaphore::new(connections_max)),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            patience: PATIENCE,
        }
    }

    /// Lets connections of these listeners in until shutdown. By those of `own` only this process's own worker comes, on
    /// loopback and without TLS.
    pub(crate) fn open(
        self,
        listener: TcpListener,
        own: Option<TcpListener>,
        shutdown: &CancellationToken,
    ) -> Incoming {
        let (inside, incoming) = mpsc::channel(WAITING);
        if let Some(own) = own {
            let door = Self { tls: None, ..self.clone() };
            tokio::spawn(door.accept(own, true, inside.clone(), shutdown.clone()));
        }
        tokio::spawn(self.accept(listener, false, inside, shutdown.clone()));
        incoming
    }

    async fn accept(self, listener: TcpListener, is_own: bool, inside: Inside, shutdown: CancellationToken) {
        let next = async || {
            let permit = Arc::clone(&self.places).acquire_owned().await;
            let permit = permit.map_err(|_| io::Error::other("the door is closed"))?;
            let (stream, address) = listener.accept().await?;
            Ok::<_, io::Error>((stream, address, permit))
        };
        loop {
            let accepted = tokio::select! {
                accepted = next() => accepted,
                () = shutdown.cancelled() => return,
                () = inside.closed() => return,
            };
            match accepted {
                Ok((stream, address, permit)) => {
                    self.let_in(stream, (address, is_own), permit, &inside).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
    }

    async fn let_in(
        &self,
        stream: TcpStream,
        (address, is_own): (SocketAddr, bool),
        permit: OwnedSemaphorePermit,
        inside: &Inside,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, peer = %address, "a connection ended before it began");
            return;
        }
        let Some(tls) = &self.tls else {
            let peer = Peer::new(address, is_own, false);
            let connection = Connection::new(Stream::Plain(stream), peer, self.patience, permit);
            // the server has gone
            let _ = inside.send(Ok(connection)).await;
            return;
        };
        let Ok(in_handshake) = Arc::clone(&self.handshakes).acquire_owned().await else { return };
        // those that are open keep what they were made with
        let tls = Arc::clone(&tls.borrow());
        let config = match self.protocol {
            Protocol::Grpc => Arc::clone(&tls.grpc),
            Protocol::Http => Arc::clone(&tls.http),
        };
        let (inside, patience) = (inside.clone(), self.patience);
        tokio::spawn(async move {
            let shaken = tokio::time::timeout(HANDSHAKE, shake(stream, TlsAcceptor::from(config))).await;
            drop(in_handshake);
            let (end, stream) = match shaken {
                Ok(Ok(Some(stream))) => (Handshake::Done, Some(stream)),
                Ok(Ok(None)) => (Handshake::Plain, None),
                Ok(Err(error)) => {
                    tracing::debug!(%error, peer = %address, "a handshake failed");
                    (Handshake::Failed, None)
                }
                Err(_) => (Handshake::Late, None),
            };
            telemetry::shook(end);
            if let Some(stream) = stream {
                let peer = Peer::new(address, false, true);
                let _ = inside.send(Ok(Connection::new(stream, peer, patience, permit))).await;
            }
        });
    }
}

/// The handshake; `None`: the client speaks without TLS, and was told.
async fn shake(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<Option<Stream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if !plain::is_tls(first[0]) {
        plain::tell(stream).await;
        return Ok(None);
    }
    match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => Ok(Some(Stream::Tls(stream))),
        Err((error, stream)) => {
            // the alert that says why is on its way
            plain::hang_up(stream).await;
            Err(error)
        }
    }
}
