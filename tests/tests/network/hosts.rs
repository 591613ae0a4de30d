//! The processes: a coordinator and a worker, each made of its real shells over the simulated network.

use crate::craft::{Encoder, Labour};
use crate::etcd::member;
use crate::sabotage::{Bug, Bugged};
use crate::scenario::{COORDINATORS, Scenario};
use crate::wire;
use futures::FutureExt as _;
use reelmill_blob::Stores;
use reelmill_common::capability::{Capability, EncoderProof};
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::{Fingerprint, Sha256, WorkerId};
use reelmill_coordinator::state::etcd::{EtcdConfig, EtcdState};
use reelmill_coordinator::{Components, CoordinatorConfig, CoordinatorError, Door, Running};
use reelmill_worker::clock::Clock;
use reelmill_worker::sandbox::Level;
use reelmill_worker::scratch::Scratch;
use reelmill_worker::source::Sources;
use reelmill_worker::{Dial, Stop, Worker, WorkerConfig};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Port of every coordinator.
const PORT: u16 = 7070;
/// Tasks of a process that has ended are over after this.
const QUIET: Duration = Duration::from_secs(30);

/// What all processes of a run share.
pub(crate) struct Site {
    pub(crate) scenario: Scenario,
    pub(crate) bug: Bug,
    pub(crate) stores: Stores,
    pub(crate) labour: Arc<Mutex<Labour>>,
    pub(crate) scratch: PathBuf,
    /// How a process that runs is asked to leave.
    stops: Mutex<BTreeMap<String, CancellationToken>>,
}

impl Site {
    pub(crate) fn new(
        scenario: Scenario,
        bug: Bug,
        stores: Stores,
        labour: Arc<Mutex<Labour>>,
        scratch: PathBuf,
    ) -> Self {
        Self { scenario, bug, stores, labour, scratch, stops: Mutex::default() }
    }

    /// Asks a process to leave.
    pub(crate) fn stop(&self, name: &str) {
        if let Some(stop) = self.stops.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            stop.cancel();
        }
    }

    fn started(&self, name: &str) -> CancellationToken {
        let stop = CancellationToken::new();
        self.stops.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), stop.clone());
        stop
    }

    fn etcd(&self) -> EtcdConfig {
        let url = |n| format!("http://etcd-{n}:{}", member::PORT);
        EtcdConfig {
            endpoints: (0..self.scenario.members).map(url).collect(),
            lease_ttl_s: 5,
            request_timeout_ms: 2_000,
            poll_ms: 300,
            compact_every_ms: 4_000,
            keep_revisions_ms: 5_000,
            ..EtcdConfig::default()
        }
    }
}

/// Where a coordinator is reached.
pub(crate) fn address(number: u64) -> String {
    format!("http://coordinator-{number}:{PORT}")
}

/// A coordinator until it is asked to leave.
pub(crate) async fn coordinator(name: String, site: Arc<Site>) -> turmoil::Result {
    let stop = site.started(&name);
    let running = loop {
        match start(&name, &site, stop.clone()).await {
            Ok(running) => break running,
            // whoever supervises it starts it again
            Err(error) if turmoil::sim_elapsed().unwrap_or_default() < site.scenario.heal => {
                tracing::warn!(%error, "did not start");
                sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(format!("{name} did not start: {error}").into()),
        }
    };
    running.join.await?.map_err(|error| format!("{name} ended: {error}"))?;
    is_quiet(&name).await
}

async fn start(name: &str, site: &Site, stop: CancellationToken) -> Result<Running, CoordinatorError> {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let incoming = wire::listen(PORT).await.map_err(|source| CoordinatorError::Bind { address, source })?;
    let mut config = CoordinatorConfig::local(&site.scratch);
    config.work = Some("memory://reelmill/work".to_owned());
    config.publish = Some("memory://reelmill/publish".to_owned());
    (config.grpc_addr, config.http_addr) = (address, None);
    config.advertise = Some(format!("http://{name}:{PORT}"));
    config.insecure = true;
    config.stores = vec!["memory://films".to_owned()];
    config.slots_hint = Some(4);
    config.machine.lease_ttl_ms = 6_000;
    config.machine.heartbeat_ms = 2_000;
    config.machine.store_timeout_ms = 4_000;
    config.machine.suspend_ms = 3_000;
    let inner = Arc::new(EtcdState::connect_by(site.etcd(), |endpoint| site.bug.channel(endpoint)).await?);
    let state = Arc::new(Bugged { inner, bug: site.bug });
    let components = Components { stores: site.stores.clone(), store: state.clone(), leadership: state };
    reelmill_coordinator::serve_on(config, components, Door { address, incoming }, stop).await
}

/// A worker until it is asked to leave.
pub(crate) async fn worker(number: u64, site: Arc<Site>) -> turmoil::Result {
    let name = format!("worker-{number}");
    let stop = site.started(&name);
    let id = WorkerId::parse(&name)?;
    let addresses = (0..COORDINATORS).map(|n| address((number + n) % COORDINATORS)).collect();
    let config = WorkerConfig::new(id.clone(), addresses, site.scratch.clone(), site.scratch.clone());
    let proof = EncoderProof {
        family: EncoderFamily::X264,
        fingerprint: Fingerprint(Sha256::of(b"clip")),
        kilopixels_per_second: 50_000,
    };
    let capability = Capability {
        worker: id.clone(),
        slots: site.scenario.slots[number as usize],
        cores: 2,
        memory_mib: 64_000,
        encoders: vec![proof],
        ffmpeg_build: "a simulated one".to_owned(),
        audits: true,
        audits_sound: true,
    };
    let sources = Sources::new(site.stores.clone(), Level::Basic);
    let components = reelmill_worker::Components {
        stores: site.stores.clone(),
        scratch: Scratch::open(&site.scratch, &id, 1 << 30)?,
        capability,
        clock: Clock::start(),
        craft: Arc::new(Encoder { sources, labour: Arc::clone(&site.labour) }),
        dial: Dial::by(|endpoint| wire::connect(endpoint).boxed()),
    };
    let app = Worker::assemble(config, components)?.sabotaged(site.bug.of_worker());
    app.run(Stop { drain: stop, ..Stop::default() }).await;
    is_quiet(&name).await
}

/// Nothing that a process has started may outlive its end for long, but what waits for others on a connection: that ends
/// with its sockets.
async fn is_quiet(name: &str) -> turmoil::Result {
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let quiet = || async {
        while tasks() > 0 {
            sleep(Duration::from_millis(100)).await;
        }
    };
    if tokio::time::timeout(QUIET, quiet()).await.is_ok() {
        return Ok(());
    }
    wire::end_sockets(name);
    let waited = tokio::time::timeout(QUIET, quiet()).await;
    Ok(waited.map_err(|_| format!("{} tasks of {name} live on after its end", tasks()))?)
}
