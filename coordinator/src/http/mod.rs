//! The HTTP edge: health, metrics, finished packages, the player page, and jobs as JSON to read.
//!
//! Changes nothing: whoever wants a job done uses gRPC. Serves names that a published job's plan and record know, never
//! what happens to lie in a directory.

mod api;
mod package;
mod player;

use crate::catalog::Catalog;
use crate::driver::{DriverHandle, Role};
use crate::error::CoordinatorError;
use crate::principal::PrincipalLayer;
use crate::state::Room;
use crate::status;
use crate::telemetry;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tower_http::set_header::SetResponseHeaderLayer;

/// What still runs this long after shutdown is cut off.
const DRAIN: Duration = Duration::from_secs(5);
/// Histograms keep every sample until somebody tidies them.
const UPKEEP: Duration = Duration::from_secs(5);

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Edge {
    pub(crate) driver: DriverHandle,
    pub(crate) catalog: Arc<Catalog>,
}

/// Serves until shutdown, then waits for open requests, but not for ever.
pub(crate) async fn serve(
    listener: TcpListener,
    edge: Edge,
    shutdown: CancellationToken,
) -> Result<(), CoordinatorError> {
    let upkeep = tokio::spawn(tidy(shutdown.clone()));
    let server =
        axum::serve(listener, router(edge)).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    let result = tokio::select! {
        result = server => {
            result.map_err(|e| CoordinatorError::Server { server: "HTTP", message: e.to_string() })
        }
        () = deadline => Ok(()),
    };
    upkeep.abort();
    result
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

/// Every route.
pub(crate) fn router(edge: Edge) -> Router {
    let no_sniff = SetResponseHeaderLayer::if_not_present(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/jobs", get(api::list))
        .route("/api/jobs/{job}", get(api::one))
        .route("/packages/{tenant}/{job}/{*name}", get(package::file).options(package::preflight))
        .route("/play/{job}", get(player::page))
        .route(player::HLS_JS_PATH, get(player::hls_js))
        .layer(PrincipalLayer::local())
        .layer(no_sniff)
        .with_state(edge)
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
