//! The simulated network under the shells: connections come in here and go out from here. Every byte that arrives is
//! noted, with its time, in the run's hash: two runs with equal hashes have said the same to each other.

use futures::Stream;
use http::Uri;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};
use tower::Service;
use turmoil::net::{TcpListener, TcpStream};

thread_local! {
    static TRACE: RefCell<DefaultHasher> = RefCell::new(DefaultHasher::new());
    /// Ends the sockets of each host.
    static SOCKETS: RefCell<BTreeMap<IpAddr, CancellationToken>> = const { RefCell::new(BTreeMap::new()) };
}

/// Something happened.
pub(crate) fn note(what: &impl Hash) {
    let at = turmoil::sim_elapsed().unwrap_or_default();
    TRACE.with_borrow_mut(|trace| (at, what).hash(trace));
}

/// What has happened so far, as a number.
pub(crate) fn hash() -> u64 {
    TRACE.with_borrow(DefaultHasher::finish)
}

/// What the kernel does when a process is gone: its sockets end, whatever they wait for.
pub(crate) fn end_sockets(host: &str) {
    let sockets = SOCKETS.with_borrow_mut(|all| all.remove(&turmoil::lookup(host)));
    sockets.unwrap_or_default().cancel();
}

/// One end of a connection.
pub(crate) struct Wire {
    stream: TcpStream,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Wire {
    pub(crate) async fn open(host: &str, port: u16) -> io::Result<Self> {
        Ok(Self::new(TcpStream::connect((host, port)).await?))
    }

    fn new(stream: TcpStream) -> Self {
        let host = stream.local_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip());
        let ended = SOCKETS.with_borrow_mut(|all| all.entry(host).or_default().clone().cancelled_owned());
        Self { stream, ended: Box::pin(ended) }
    }
}

impl Connected for Wire {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            note(&(self.stream.local_addr().ok(), &buf.filled()[before..]));
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connections to a port of this host.
pub(crate) async fn listen(port: u16) -> io::Result<impl Stream<Item = io::Result<Wire>> + Send> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    Ok(futures::stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| Wire::new(stream));
        Some((accepted, listener))
    }))
}

/// Opens connections for channels.
#[derive(Clone, Copy, Debug)]
struct Connector;

impl Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Wire>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().to_owned();
            Ok(TokioIo::new(Wire::open(&host, uri.port_u16().unwrap_or(80)).await?))
        })
    }
}

/// A channel that connects when it is first used.
pub(crate) fn channel(endpoint: Endpoint) -> Channel {
    endpoint.connect_with_connector_lazy(Connector)
}

/// A channel that is connected.
pub(crate) async fn connect(endpoint: Endpoint) -> Result<Channel, tonic::transport::Error> {
    endpoint.connect_with_connector(Connector).await
}
