//! The loopback reader: serves one source to one attempt's ffmpeg over HTTP on 127.0.0.1.
//!
//! Where the child has a network of its own the listener lies in that, and nobody else on the machine can reach it; else
//! it has a port of the system's choosing. A path that is a 128-bit secret of the attempt, GET and HEAD with one byte
//! range: what libavformat's http client needs, and nothing else is answered. It ends with the attempt. Bytes come from the
//! object store block by block while ffmpeg takes them ([`super::blocks`]); a store that fails for good breaks the
//! connection and leaves its reason behind, because ffmpeg could only say "I/O error".

use super::Counted;
use super::blocks::BLOCK;
use super::moov::Moov;
use crate::sandbox::READ_AHEAD;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::{HeaderMap, Method, StatusCode, header};
use reelmill_blob::BlobError;
use reelmill_common::Sha256;
use std::io;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::task::AbortOnDropHandle;

/// Largest piece given to the connection at once: a store may answer with everything in one.
const PIECE: usize = 64 * 1024;

/// One source, for whoever knows its secret.
#[derive(Clone)]
pub(super) struct Loopback {
    token: String,
    app: Router,
}

struct Served {
    source: Counted,
    moov: Option<Moov>,
    /// Hash of the only path that is answered; hashes are compared so that timing tells nothing of the secret.
    path: Sha256,
}

impl Loopback {
    pub(super) fn new(source: Counted, moov: Option<Moov>) -> Self {
        let token = hex::encode(rand::random::<[u8; 16]>());
        let served = Served { source, moov, path: Sha256::of(format!("/{token}").as_bytes()) };
        Self { token, app: Router::new().fallback(answer).with_state(Arc::new(served)) }
    }

    /// Listens on this machine's loopback: the port, and the reader while it lives.
    pub(super) fn listen(&self) -> io::Result<(u16, AbortOnDropHandle<()>)> {
        let socket = TcpSocket::new_v4()?;
        // inherited by accepted connections
        socket.set_send_buffer_size(READ_AHEAD as u32)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let listener = socket.listen(16)?;
        Ok((listener.local_addr()?.port(), self.serve(Ok(listener))))
    }

    /// Serves a listener that was made in a child's own network.
    pub(super) fn serve_handed(&self, listener: std::net::TcpListener) -> AbortOnDropHandle<()> {
        self.serve(listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener)))
    }

    fn serve(&self, listener: io::Result<TcpListener>) -> AbortOnDropHandle<()> {
        let app = self.app.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            let served = match listener {
                Ok(listener) => axum::serve(listener, app).await,
                Err(e) => Err(e),
            };
            if let Err(e) = served {
                tracing::warn!(error = %e, "loopback reader stopped");
            }
        }))
    }

    /// What ffmpeg opens at `port`. A secret.
    pub(super) fn url(&self, port: u16) -> String {
        format!("http://{}:{port}/{}", Ipv4Addr::LOCALHOST, self.token)
    }
}

async fn answer(State(served): State<Arc<Served>>, request: Request) -> Response {
    if Sha256::of(request.uri().path().as_bytes()) != served.path {
        return plain(StatusCode::NOT_FOUND);
    }
    let head_only = match *request.method() {
        Method::GET => false,
        Method::HEAD => true,
        _ => return plain(StatusCode::METHOD_NOT_ALLOWED),
    };
    let size = served.source.reader.bytes();
    let (status, range) = match wanted(request.headers(), size) {
        Ok(None) => (StatusCode::OK, 0..size),
        Ok(Some(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Err(()) => {
            let mut refused = plain(StatusCode::RANGE_NOT_SATISFIABLE);
            set(&mut refused, header::CONTENT_RANGE, &format!("bytes */{size}"));
            return refused;
        }
    };
    let length = range.end - range.start;
    let shown = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
    let body = if head_only { Body::empty() } else { Body::from_stream(served.body(range)) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    set(&mut response, header::CONTENT_TYPE, "application/octet-stream");
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut response, header::CONTENT_RANGE, &shown);
    }
    response
}

fn plain(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    // digits, slashes and constants always are valid header values
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
}

/// The one range asked for, if any (RFC 9110, 14.2). Several at once are refused: no client of ours asks so.
fn wanted(headers: &HeaderMap, size: u64) -> Result<Option<Range<u64>>, ()> {
    let Some(text) = headers.get(header::RANGE) else { return Ok(None) };
    let ranges = http_range_header::parse_range_header(text.to_str().map_err(|_| ())?).map_err(|_| ())?;
    match ranges.validate(size).map_err(|_| ())?.as_slice() {
        [one] => Ok(Some(*one.start()..*one.end() + 1)),
        _ => Err(()),
    }
}

impl Served {
    /// The bytes of `range`: those of a kept `moov` from memory, the rest from the store as they are taken.
    fn body(self: Arc<Self>, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BlobError>> {
        let kept = self.moov.clone().map_or((range.end..range.end, Bytes::new()), |m| (m.range(), m.bytes));
        let (inner, bytes) = kept;
        let start = inner.start.clamp(range.start, range.end);
        let end = inner.end.clamp(start, range.end);
        let from_memory = match start < end {
            true => bytes.slice((start - inner.start) as usize..(end - inner.start) as usize),
            false => Bytes::new(),
        };
        let memory = futures::stream::iter((!from_memory.is_empty()).then_some(Ok(from_memory)));
        let before = Arc::clone(&self).stored(range.start..start);
        before.chain(memory).chain(self.stored(end..range.end)).boxed()
    }

    fn stored(self: Arc<Self>, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BlobError>> {
        if range.is_empty() {
            return futures::stream::empty().boxed();
        }
        let blocks = range.start / BLOCK..range.end.div_ceil(BLOCK);
        let parts = futures::stream::iter(blocks).then(move |number| {
            let (served, range) = (Arc::clone(&self), range.clone());
            async move {
                served.source.block(number, &range).await.map_err(|e| {
                    let told = BlobError::new(e.kind(), e.to_string());
                    served.source.fail(e);
                    told
                })
            }
        });
        let small = parts.flat_map(|part| match part {
            Ok(bytes) => futures::stream::iter(split(bytes)).map(Ok).boxed(),
            Err(e) => futures::stream::iter([Err(e)]).boxed(),
        });
        small.boxed()
    }
}

/// The same bytes in pieces of at most [`PIECE`].
fn split(mut bytes: Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(bytes.len().div_ceil(PIECE));
    while !bytes.is_empty() {
        pieces.push(bytes.split_to(bytes.len().min(PIECE)));
    }
    pieces
}

#[cfg(test)]
#[path = "loopback_tests.rs"]
mod tests;
