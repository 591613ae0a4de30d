//! The HTTP edge: health, metrics, finished packages, the player page, and jobs as JSON to read.
//!
//! Changes nothing: whoever wants a job done uses gRPC. Serves names that a published job's plan and record know, never
//! what happens to lie in a directory.

mod api;
mod login;
mod package;
mod player;

use crate::access::role::Need;
use crate::access::{Gated, Guard, LOGIN};
use crate::catalog::Catalog;
use crate::door::{Connection, Incoming};
use crate::driver::{DriverHandle, Role};
use crate::state::Room;
use crate::status;
use crate::telemetry;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tower::ServiceExt as _;
use tower_http::set_header::SetResponseHeaderLayer;

/// What still runs this long after shutdown is cut off.
const DRAIN: Duration = Duration::from_secs(5);
/// No request has a larger head, the token among it.
const HEAD_MAX: usize = 16 << 10;
/// No request has a larger body: a token, at most.
const BODY_MAX: usize = 4 << 10;
/// The head of a request has to be there in this time, and the next one on the same connection.
const HEAD: Duration = Duration::from_secs(30);
/// Histograms keep every sample until somebody tidies them.
const UPKEEP: Duration = Duration::from_secs(5);

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Edge {
    pub(crate) driver: DriverHandle,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) guard: Guard,
}

/// Serves until shutdown, then waits for open requests, but not for ever.
pub(crate) async fn serve(mut incoming: Incoming, edge: Edge, shutdown: CancellationToken) {
    let upkeep = tokio::spawn(tidy(shutdown.clone()));
    let (router, open) = (router(edge), TaskTracker::new());
    loop {
        let next = tokio::select! {
            next = incoming.recv() => next,
            () = shutdown.cancelled() => None,
        };
        let Some(next) = next else { break };
        match next {
            Ok(connection) => drop(open.spawn(converse(connection, router.clone(), shutdown.clone()))),
            Err(error) => tracing::debug!(%error, "a connection was not let in"),
        }
    }
    open.close();
    if tokio::time::timeout(DRAIN, open.wait()).await.is_err() {
        tracing::info!("requests that were still open are cut off");
    }
    upkeep.abort();
}

/// Answers the requests of one connection.
async fn converse(connection: Connection, router: Router, shutdown: CancellationToken) {
    let peer = connection.peer().clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request)
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_header_size(HEAD_MAX)
        .serve_connection(TokioIo::new(connection), service);
    let mut conversation = std::pin::pin!(conversation);
    let ended = tokio::select! {
        ended = conversation.as_mut() => ended,
        () = shutdown.cancelled() => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended in the middle of something");
    }
}

async fn tidy(shutdown: CancellationToken) {
    let Some(recorder) = telemetry::recorder() else { return };
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tokio::select! {
            _ = tick.tick() => recorder.run_upkeep(),
            () = shutdown.cancelled() => return,
        }
    }
}

/// Every route, and what each needs.
pub(crate) fn routes(guard: Guard) -> Gated<Edge> {
    Gated::new(guard)
        .route("/healthz", Need::Nothing, get(async || "ok\n"))
        .route("/readyz", Need::Nothing, get(ready))
        .route("/metrics", Need::Metrics, get(metrics))
        .route(LOGIN, Need::Nothing, get(login::page).post(login::enter))
        .route("/logout", Need::Nothing, post(login::leave))
        .route("/", Need::Jobs, get(login::home))
        .route("/api/jobs", Need::Jobs, get(api::list))
        .route("/api/jobs/{job}", Need::Jobs, get(api::one))
        .route("/packages/{tenant}/{job}/{*name}", Need::Jobs, get(package::file).options(package::preflight))
        .route("/play/{job}", Need::Jobs, get(player::page))
        .route(player::HLS_JS_PATH, Need::Nothing, get(player::hls_js))
}

fn router(edge: Edge) -> Router {
    let no_sniff = SetResponseHeaderLayer::if_not_present(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    let (routes, _) = routes(edge.guard.clone()).done();
    routes.layer(DefaultBodyLimit::max(BODY_MAX)).layer(no_sniff).with_state(edge)
}

/// Ready: it leads, or stands by for another. A leader adds how full its state is: jobs go on when it takes no new ones.
async fn ready(State(edge): State<Edge>) -> Response {
    match edge.driver.role() {
        Role::Leading => {
            let state = edge.driver.room().map(|room| {
                let (percent, Room { used, most }) = (room.percent(), room);
                format!("state: {percent} % full, {used} of {most} bytes\n")
            });
            (StatusCode::OK, format!("leading\n{}", state.unwrap_or_default()))
        }
        Role::Standby { leader: Some(leader) } => (StatusCode::OK, format!("standby, {leader} leads\n")),
        Role::Standby { leader: None } => (StatusCode::SERVICE_UNAVAILABLE, "nobody leads yet\n".to_owned()),
        Role::Full { why } => {
            let text = format!("nobody leads: the state store is full and is tried again\nstate: {why}\n");
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
        Role::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()),
        Role::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
    }
    .into_response()
}

async fn metrics() -> Response {
    match telemetry::recorder() {
        Some(recorder) => {
            let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            ([(header::CONTENT_TYPE, text)], recorder.render()).into_response()
        }
        None => {
            (StatusCode::SERVICE_UNAVAILABLE, "this process records its metrics elsewhere\n").into_response()
        }
    }
}

/// A status as the gRPC services would give it, over HTTP.
pub(crate) struct HttpError(Status);

impl HttpError {
    fn not_found(what: &str) -> Self {
        Self(Status::not_found(what))
    }
}

impl From<Status> for HttpError {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let Self(status) = self;
        let code = status::http(status.code());
        (code, [(header::CACHE_CONTROL, "no-store")], format!("{}\n", status.message())).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::{Door, Protocol};
    use crate::places::Places;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    /// What each route needs. Those that need nothing tell nothing that is secret: whether this process lives and leads,
    /// the login page, and a public library.
    const RULES: [(&str, Need); 11] = [
        ("/healthz", Need::Nothing),
        ("/readyz", Need::Nothing),
        ("/metrics", Need::Metrics),
        ("/login", Need::Nothing),
        ("/logout", Need::Nothing),
        ("/", Need::Jobs),
        ("/api/jobs", Need::Jobs),
        ("/api/jobs/{job}", Need::Jobs),
        ("/packages/{tenant}/{job}/{*name}", Need::Jobs),
        ("/play/{job}", Need::Jobs),
        (player::HLS_JS_PATH, Need::Nothing),
    ];

    #[test]
    fn every_route_has_its_rule() {
        let (_, rules) = routes(Guard::of_test()).done();
        assert_eq!(rules, RULES);
    }

    /// An edge behind its door, on a clock that runs to the next deadline where nothing happens.
    async fn served() -> (std::net::SocketAddr, CancellationToken) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let incoming = Door::new(Protocol::Http, None, 8).open(listener, None, &shutdown);
        let places = Places::open(reelmill_blob::Stores::default(), "memory://m/w", "memory://m/p").unwrap();
        let catalog = Arc::new(Catalog::new(places));
        let edge = Edge { driver: DriverHandle::of_test(), catalog, guard: Guard::of_test() };
        tokio::spawn(serve(incoming, edge, shutdown.clone()));
        (address, shutdown)
    }

    /// What is answered to these bytes; the connection stays open for more, as far as the client goes.
    async fn told(stream: &mut TcpStream, bytes: &[u8], until: &str) -> String {
        stream.write_all(bytes).await.unwrap();
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains(until) {
            let mut some = [0; 1_024];
            match stream.read(&mut some).await.unwrap() {
                0 => break,
                count => heard.extend(&some[..count]),
            }
        }
        String::from_utf8_lossy(&heard).into_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_is_hung_up_on() {
        let (address, _shutdown) = served().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let first = told(&mut stream, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "ok\n").await;
        assert!(first.starts_with("HTTP/1.1 200"), "{first}");
        let start = tokio::time::Instant::now();
        let rest = told(&mut stream, b"GET /healthz HTTP/1.1\r\nX-Slow: ", "never said").await;
        assert!(!rest.contains(" 200 "), "{rest}");
        assert!(start.elapsed() <= HEAD * 2, "it ended after {:?}", start.elapsed());
    }

    #[tokio::test]
    async fn heads_and_bodies_are_bounded() {
        let (address, _shutdown) = served().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(HEAD_MAX));
        let answer = told(&mut stream, head.as_bytes(), "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        let mut stream = TcpStream::connect(address).await.unwrap();
        let body = "x".repeat(BODY_MAX + 1);
        let post = format!("POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = told(&mut stream, post.as_bytes(), "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
}
