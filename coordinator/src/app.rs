//! Puts a coordinator together and runs it: config to components to servers, and down again in order.
//!
//! Down means: the driver tells the workers to reconnect elsewhere and ends its term, then the servers stop. Nothing
//! durable depends on it; a kill at any moment is as good.

use crate::abort::AbortSwitch;
use crate::access::{self, Enrolled, Guard, Table};
use crate::admission::Admission;
use crate::catalog::Catalog;
use crate::config::{CoordinatorConfig, StateLocation};
use crate::door::{self, Protocol, ServerTls};
use crate::driver::{self, Parts};
use crate::error::CoordinatorError;
use crate::grpc::{self, Shared};
use crate::http::{self, Edge};
use crate::places::Places;
use crate::state::embedded::EmbeddedState;
use crate::state::etcd::EtcdState;
use crate::state::memory::MemoryState;
use crate::state::{Leadership, StateStore};
use crate::telemetry;
use crate::watched::Watched;
use reelmill_blob::Stores;
use reelmill_common::Secret;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

/// Connections that are not workers' sessions: calls and watches, requests over HTTP.
const CLIENTS: usize = 4_096;
/// Where this process's own worker comes in when everybody else needs TLS.
const OWN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A coordinator that runs.
#[derive(Debug)]
pub struct Running {
    /// Where gRPC is served.
    pub grpc_addr: SocketAddr,
    /// Where HTTP is served, if it is.
    pub http_addr: Option<SocketAddr>,
    /// Are both secured by TLS?
    pub has_tls: bool,
    /// Where a worker of this process reaches gRPC: on loopback, without TLS.
    pub own_addr: SocketAddr,
    /// What it has to show there.
    pub own_token: Secret,
    /// Ends after shutdown, or when an operator has to act.
    pub join: JoinHandle<Result<(), CoordinatorError>>,
}

/// What a coordinator stands on. [`start`] opens it from the config; tests share it between coordinators and put faults
/// under it.
#[derive(Clone)]
pub struct Components {
    /// Object stores.
    pub stores: Stores,
    /// Durable state.
    pub store: Arc<dyn StateStore>,
    /// Who leads.
    pub leadership: Arc<dyn Leadership>,
}

/// Where connections come from.
#[derive(Debug)]
pub struct Door<I> {
    /// Where they are accepted.
    pub address: SocketAddr,
    /// Each of them, accepted.
    pub incoming: I,
}

/// Starts a coordinator. It serves until `shutdown`, or until its state or storage lets it do nothing more.
pub async fn start(
    config: CoordinatorConfig,
    shutdown: CancellationToken,
) -> Result<Running, CoordinatorError> {
    config.check()?;
    let (store, leadership) = open_state(&config).await?;
    start_on(config, Components { stores: Stores::default(), store, leadership }, shutdown).await
}

/// The same on given components; `config.state` is not looked at.
pub async fn start_on(
    config: CoordinatorConfig,
    components: Components,
    shutdown: CancellationToken,
) -> Result<Running, CoordinatorError> {
    config.check()?;
    let tls = open_tls(&config).await?;
    let (listener, address) = listen(config.grpc_addr).await?;
    let (own, own_addr) = match tls {
        Some(_) => listen(OWN).await.map(|(listener, bound)| (Some(listener), bound))?,
        None => (None, address),
    };
    let servers = CancellationToken::new();
    let handshakes = tls.as_ref().map(Watched::follow);
    let door = door::Door::new(Protocol::Grpc, handshakes, config.sessions_max + CLIENTS);
    let incoming = ReceiverStream::new(door.open(listener, own, &servers));
    let grpc = Grpc { door: Door { address, incoming }, own_addr, servers };
    serve(config, components, grpc, tls, shutdown).await
}

/// The same with connections to gRPC that somebody else accepts, and secures; `config.grpc_addr` says only how open they
/// are.
pub async fn serve_on<I, C>(
    config: CoordinatorConfig,
    components: Components,
    grpc: Door<I>,
    shutdown: CancellationToken,
) -> Result<Running, CoordinatorError>
where
    I: Stream<Item = io::Result<C>> + Send + 'static,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    config.check()?;
    let tls = open_tls(&config).await?;
    let grpc = Grpc { own_addr: grpc.address, door: grpc, servers: CancellationToken::new() };
    serve(config, components, grpc, tls, shutdown).await
}

/// The way to gRPC.
struct Grpc<I> {
    door: Door<I>,
    /// For this process's own worker, where the way that all others take is by TLS.
    own_addr: SocketAddr,
    /// Ends what accepts connections.
    servers: CancellationToken,
}

async fn serve<I, C>(
    config: CoordinatorConfig,
    components: Components,
    grpc: Grpc<I>,
    tls: Option<Watched<ServerTls>>,
    shutdown: CancellationToken,
) -> Result<Running, CoordinatorError>
where
    I: Stream<Item = io::Result<C>> + Send + 'static,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let Components { stores, store, leadership } = components;
    let switch = Arc::new(AbortSwitch::from_env()?);
    // recorded from the first event on
    telemetry::recorder();
    let places = open_places(&config, stores.clone()).await?;
    let admission = Admission::new(&config, stores, places.roots());
    // what cannot be published to is told now, not when the first job comes
    admission.default_placement().await?;
    let access = open_access(&config).await?;
    let http = match config.http_addr {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let catalog = Arc::new(Catalog::new(places));
    let enrolled = Enrolled::new();
    let (has_tls, grpc_addr) = (tls.is_some(), grpc.door.address);
    let (driver, handle) = driver::driver(Parts {
        machine: config.machine.clone(),
        access: access.as_ref().map(Watched::follow),
        enrolled: enrolled.clone(),
        store,
        leadership,
        catalog: Arc::clone(&catalog),
        switch,
        address: config.advertise.clone().unwrap_or_else(|| url(grpc_addr, has_tls)),
        decoder_threads: config.decoder_threads,
        signed_for: config.signed_for(),
        outlasts_full: config.outlasts_full_state,
    });
    let own_token = access::token::generate();
    let table = access.as_ref().map(Watched::follow);
    let guard = Guard::new(table, &own_token, enrolled.clone(), handle.clone());
    let shared = Shared {
        guard: guard.clone(),
        enrolled,
        driver: handle.clone(),
        catalog: Arc::clone(&catalog),
        admission,
        sessions_max: config.sessions_max,
        slots_hint: config.slots_hint,
    };
    let edge = Edge { driver: handle, catalog, guard };
    let http_addr = http.as_ref().map(|(_, bound)| *bound);
    let running = |join| Running { grpc_addr, http_addr, has_tls, own_addr: grpc.own_addr, own_token, join };
    tracing::info!(grpc = %grpc_addr, http = ?http_addr, tls = has_tls, "coordinator started");
    let web = http.map(|(listener, _)| Web { listener, edge });
    let files = Files { tls, access };
    let servers = grpc.servers.clone();
    let serving = Serving { grpc: grpc.door.incoming, shared, web, files, servers };
    Ok(running(tokio::spawn(run(driver, serving, shutdown))))
}

/// Where others reach gRPC, as far as this process can tell.
fn url(address: SocketAddr, has_tls: bool) -> String {
    let scheme = if has_tls { "https" } else { "http" };
    format!("{scheme}://{address}")
}

/// The HTTP edge and where it listens.
struct Web {
    listener: TcpListener,
    edge: Edge,
}

/// What changes while it is served.
struct Files {
    tls: Option<Watched<ServerTls>>,
    access: Option<Watched<Table>>,
}

impl Files {
    /// Follows them from here on; what handshakes are made with.
    fn keep(self, shutdown: &CancellationToken) -> Option<watch::Receiver<Arc<ServerTls>>> {
        let handshakes = self.tls.as_ref().map(Watched::follow);
        if let Some(tls) = self.tls {
            tokio::spawn(tls.keep(shutdown.clone()));
        }
        if let Some(access) = self.access {
            tokio::spawn(access.keep(shutdown.clone()));
        }
        handshakes
    }
}

/// What is served, to whom.
struct Serving<I> {
    grpc: I,
    shared: Shared,
    web: Option<Web>,
    files: Files,
    servers: CancellationToken,
}

/// The driver ends first; a server that ends by itself takes everything with it.
async fn run<I, C>(
    driver: driver::Driver,
    serving: Serving<I>,
    shutdown: CancellationToken,
) -> Result<(), CoordinatorError>
where
    I: Stream<Item = io::Result<C>>,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let Serving { grpc, shared, web, files, servers: stop_servers } = serving;
    // the driver stops for our reasons, too; the caller's token is the caller's
    let stop_driver = shutdown.child_token();
    let handshakes = files.keep(&stop_servers);
    let driver = async {
        let result = driver.run(stop_driver.clone()).await;
        stop_servers.cancel();
        result
    };
    let grpc = async {
        let result = grpc::serve(grpc, shared, stop_servers.clone()).await;
        stop_driver.cancel();
        result
    };
    let http = async {
        if let Some(Web { listener, edge }) = web {
            let door = door::Door::new(Protocol::Http, handshakes, CLIENTS);
            http::serve(door.open(listener, None, &stop_servers), edge, stop_servers.clone()).await;
        }
    };
    let (driver, grpc, ()) = tokio::join!(driver, grpc, http);
    driver.and(grpc)
}

async fn open_access(config: &CoordinatorConfig) -> Result<Option<Watched<Table>>, CoordinatorError> {
    let Some(file) = &config.access else { return Ok(None) };
    let access = access::watched(file).await;
    access.map(Some).map_err(|why| CoordinatorError::Config(format!("access file: {why}")))
}

async fn open_tls(config: &CoordinatorConfig) -> Result<Option<Watched<ServerTls>>, CoordinatorError> {
    let Some(files) = &config.tls else { return Ok(None) };
    let tls = door::watched_tls(files).await;
    tls.map(Some).map_err(|why| CoordinatorError::Config(format!("TLS: {why}")))
}

async fn open_state(
    config: &CoordinatorConfig,
) -> Result<(Arc<dyn StateStore>, Arc<dyn Leadership>), CoordinatorError> {
    Ok(match &config.state {
        StateLocation::Memory => both(MemoryState::new()),
        StateLocation::Etcd(etcd) => both(EtcdState::connect(etcd.clone()).await?),
        StateLocation::Embedded => {
            let directory = config.data_dir.join("state");
            // redb looks through its file after a crash
            let opened = tokio::task::spawn_blocking(move || EmbeddedState::open(&directory)).await;
            both(opened.map_err(|e| {
                CoordinatorError::Config(format!("the state directory could not be opened: {e}"))
            })??)
        }
    })
}

fn both<T: StateStore + Leadership + 'static>(state: T) -> (Arc<dyn StateStore>, Arc<dyn Leadership>) {
    let state = Arc::new(state);
    (state.clone(), state)
}

async fn open_places(config: &CoordinatorConfig, stores: Stores) -> Result<Places, CoordinatorError> {
    let places = Places::open(stores, &config.work_root(), &config.publish_root())?;
    for root in places.roots() {
        // workers write there while their coordinator starts again: a file of theirs is not half-written for longer
        let swept = root.sweep(Duration::from_millis(config.machine.store_timeout_ms)).await?;
        if swept > 0 {
            tracing::info!(root = root.root(), files = swept, "removed what a crash had left half-written");
        }
    }
    Ok(places)
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), CoordinatorError> {
    let bind = async {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bind.await.map_err(|source| CoordinatorError::Bind { address, source })
}
