//! The gRPC server: jobs, worker sessions, health and reflection, with limits and keepalive set on purpose.

mod fleet;
mod jobs;
mod limits;
mod session;
mod watch;

use crate::access::{AccessLayer, Enrolled, Guard, Principal};
use crate::admission::Admission;
use crate::catalog::Catalog;
use crate::driver::{DriverHandle, Role};
use crate::error::CoordinatorError;
use fleet::FleetService;
use jobs::JobsService;
use reelmill_proto::jobs::v1::jobs_server::JobsServer;
use reelmill_proto::worker::v1::fleet_server::FleetServer;
use reelmill_proto::worker::v1::workers_server::WorkersServer;
use reelmill_proto::{FILE_DESCRIPTOR_SET, MAX_MESSAGE_BYTES};
use session::WorkersService;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Status};
use tonic_health::server::HealthReporter;

/// A request of the jobs API is a few kilobytes; a ladder of thousands of rungs is not one.
const MAX_REQUEST_BYTES: usize = 1 << 20;
/// The head of a request, a token among it.
const MAX_HEAD_BYTES: u32 = 16 << 10;
/// Calls on one connection at a time.
const CALLS_PER_CONNECTION: usize = 256;
/// HTTP/2 pings find dead connections: the first after this, given up after [`PING_TIMEOUT`].
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// The default windows of 64 KiB would stall reports of large chunks.
const WINDOW_BYTES: u32 = 1 << 20;
/// What still runs this long after shutdown is cut off.
const DRAIN: Duration = Duration::from_secs(5);

/// What the services share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) guard: Guard,
    pub(crate) enrolled: Enrolled,
    pub(crate) driver: DriverHandle,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) admission: Admission,
    pub(crate) sessions_max: usize,
    pub(crate) slots_hint: Option<u32>,
}

/// Serves the connections that come in until shutdown, then waits for open calls, but not for ever.
pub(crate) async fn serve<C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static>(
    incoming: impl Stream<Item = io::Result<C>>,
    shared: Shared,
    shutdown: CancellationToken,
) -> Result<(), CoordinatorError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    // who asks first must not hear that there is no such service
    tell_health(&health, &shared.driver.role()).await;
    let follow = tokio::spawn(follow_role(health, shared.driver.clone()));
    let failed = |message: String| CoordinatorError::Server { server: "gRPC", message };
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|e| failed(e.to_string()))?;
    let jobs = JobsServer::new(JobsService::new(shared.clone())).max_decoding_message_size(MAX_REQUEST_BYTES);
    let fleet =
        FleetServer::new(FleetService::new(shared.clone())).max_decoding_message_size(MAX_REQUEST_BYTES);
    let access = AccessLayer::new(shared.guard.clone());
    let workers = WorkersServer::new(WorkersService::new(shared, shutdown.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let server = Server::builder()
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_max_header_list_size(MAX_HEAD_BYTES)
        .max_concurrent_streams(CALLS_PER_CONNECTION as u32)
        .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
        .load_shed(true)
        .layer(access)
        .add_service(health_service)
        .add_service(reflection)
        .add_service(jobs)
        .add_service(workers)
        .add_service(fleet)
        .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
    // a graceful shutdown can hang on a connection in its handshake: race it against a deadline
    let deadline = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    let result = tokio::select! {
        result = server => result.map_err(|e| failed(e.to_string())),
        () = deadline => Ok(()),
    };
    follow.abort();
    result
}

/// Health says SERVING while this process leads, so that a balancer finds the leader.
async fn follow_role(health: HealthReporter, driver: DriverHandle) {
    let mut roles = driver.roles();
    loop {
        let role = roles.borrow_and_update().clone();
        tell_health(&health, &role).await;
        if roles.changed().await.is_err() {
            return;
        }
    }
}

async fn tell_health(health: &HealthReporter, role: &Role) {
    let status = match role {
        Role::Leading => tonic_health::ServingStatus::Serving,
        _ => tonic_health::ServingStatus::NotServing,
    };
    for service in ["", "reelmill.jobs.v1.Jobs", "reelmill.worker.v1.Workers", "reelmill.worker.v1.Fleet"] {
        health.set_service_status(service, status).await;
    }
}

/// Who calls. The layer puts it into every request.
fn principal<T>(request: &Request<T>) -> Result<Principal, Status> {
    let principal = request.extensions().get::<Principal>().cloned();
    principal.ok_or_else(|| Status::unauthenticated("nobody said who is calling"))
}
