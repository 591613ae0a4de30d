//! Puts a coordinator together and runs it: config to components to servers, and down again in order.
//!
//! Down means: the driver tells the workers to reconnect elsewhere and ends its term, then the servers stop. Nothing
//! durable depends on it; a kill at any moment is as good.

use crate::abort::AbortSwitch;
use crate::admission::Admission;
use crate::catalog::Catalog;
use crate::config::{CoordinatorConfig, StateLocation};
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
use reelmill_blob::Stores;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

/// A coordinator that runs.
#[derive(Debug)]
pub struct Running {
    /// Where gRPC is served.
    pub grpc_addr: SocketAddr,
    /// Where HTTP is served, if it is.
    pub http_addr: Option<SocketAddr>,
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
    let listener = listen(config.grpc_addr).await?;
    let address = local(&listener, config.grpc_addr)?;
    serve_on(config, components, Door { address, incoming: TcpListenerStream::new(listener) }, shutdown).await
}

/// The same with connections to gRPC that somebody else accepts; `config.grpc_addr` says only how open they are.
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
    let Components { stores, store, leadership } = components;
    let switch = Arc::new(AbortSwitch::from_env()?);
    // recorded from the first event on
    telemetry::recorder();
    let places = open_places(&config, stores.clone()).await?;
    let admission = Admission::new(&config, stores, places.roots());
    // what cannot be published to is told now, not when the first job comes
    admission.default_placement().await?;
    let http = match config.http_addr {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let Door { address: grpc_addr, incoming } = grpc;
    let http_addr = match (&http, config.http_addr) {
        (Some(listener), Some(asked)) => Some(local(listener, asked)?),
        _ => None,
    };
    let catalog = Arc::new(Catalog::new(places));
    let (driver, handle) = driver::driver(Parts {
        machine: config.machine.clone(),
        store,
        leadership,
        catalog: Arc::clone(&catalog),
        switch,
        address: config.advertise.clone().unwrap_or_else(|| format!("http://{grpc_addr}")),
        decoder_threads: config.decoder_threads,
        signed_for: config.signed_for(),
        outlasts_full: config.outlasts_full_state,
    });
    let shared = Shared {
        driver: handle.clone(),
        catalog: Arc::clone(&catalog),
        admission,
        sessions_max: config.sessions_max,
        slots_hint: config.slots_hint,
    };
    let edge = Edge { driver: handle, catalog };
    tracing::info!(grpc = %grpc_addr, http = ?http_addr, "coordinator started");
    let join = tokio::spawn(run(driver, incoming, shared, http, edge, shutdown));
    Ok(Running { grpc_addr, http_addr, join })
}

/// The driver ends first; a server that ends by itself takes everything with it.
async fn run<I, C>(
    driver: driver::Driver,
    grpc: I,
    shared: Shared,
    http: Option<TcpListener>,
    edge: Edge,
    shutdown: CancellationToken,
) -> Result<(), CoordinatorError>
where
    I: Stream<Item = io::Result<C>>,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    // the driver stops for our reasons, too; the caller's token is the caller's
    let stop_driver = shutdown.child_token();
    let stop_servers = CancellationToken::new();
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
        let result = match http {
            Some(listener) => http::serve(listener, edge, stop_servers.clone()).await,
            None => Ok(()),
        };
        result.inspect_err(|_| stop_driver.cancel())
    };
    let (driver, grpc, http) = tokio::join!(driver, grpc, http);
    driver.and(grpc).and(http)
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

async fn listen(address: SocketAddr) -> Result<TcpListener, CoordinatorError> {
    TcpListener::bind(address).await.map_err(|source| CoordinatorError::Bind { address, source })
}

fn local(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, CoordinatorError> {
    listener.local_addr().map_err(|source| CoordinatorError::Bind { address, source })
}
