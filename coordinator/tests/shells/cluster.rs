//! A coordinator on memory stores, with the clients and workers of a test.

use crate::fake_worker::{Fleet, Manner};
use reelmill_blob::Stores;
use reelmill_common::Secret;
use reelmill_common::job::JobView;
use reelmill_coordinator::state::memory::MemoryState;
use reelmill_coordinator::state::{Leadership, StateStore};
use reelmill_coordinator::{Components, CoordinatorConfig, CoordinatorError, Running, start, start_on};
use reelmill_proto::jobs::v1 as wire;
use reelmill_proto::jobs::v1::jobs_client::JobsClient;
use reelmill_proto::jobs::v1::watch_response::Event;
use reelmill_proto::worker::v1::ListRequest;
use reelmill_proto::worker::v1::fleet_client::FleetClient;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Nothing in these tests takes a tenth of it; whatever does hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// State, objects and a source that coordinators share.
pub(crate) struct World {
    pub(crate) state: MemoryState,
    pub(crate) fleet: Fleet,
    directory: tempfile::TempDir,
}

/// One running coordinator.
pub(crate) struct Cluster {
    pub(crate) running: Running,
    fleet: Fleet,
    shutdown: CancellationToken,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::over(Stores::default())
    }

    /// Over object stores of the test's own.
    pub(crate) fn over(stores: Stores) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("film.mp4"), b"not looked at by these workers").expect("a file");
        Self { state: MemoryState::new(), fleet: Fleet { stores, ..Fleet::default() }, directory }
    }

    pub(crate) fn film(&self) -> PathBuf {
        self.directory.path().join("film.mp4")
    }

    /// Where it lies.
    pub(crate) fn films(&self) -> PathBuf {
        self.directory.path().canonicalize().expect("a path")
    }

    pub(crate) fn config(&self) -> CoordinatorConfig {
        let mut config = CoordinatorConfig::local(self.directory.path());
        config.work = Some("memory://reelmill/work".to_owned());
        config.publish = Some("memory://reelmill/publish".to_owned());
        // one slow worker must not decide a test about something else
        config.machine.suspend_after = 1_000;
        config.machine.store_timeout_ms = 1;
        config.machine.lease_ttl_ms = 3_000;
        config.machine.heartbeat_ms = 1_000;
        config
    }

    /// A coordinator that leads.
    pub(crate) async fn start(&self) -> Cluster {
        let cluster = self.start_any(self.config()).await;
        cluster.leads().await;
        cluster
    }

    /// A coordinator that may stand by.
    pub(crate) async fn start_any(&self, config: CoordinatorConfig) -> Cluster {
        self.start_over(config, Arc::new(self.state.contender())).await
    }

    /// A coordinator over another state.
    pub(crate) async fn start_over<T: StateStore + Leadership + 'static>(
        &self,
        config: CoordinatorConfig,
        state: Arc<T>,
    ) -> Cluster {
        let components =
            Components { stores: self.fleet.stores.clone(), store: state.clone(), leadership: state };
        let shutdown = CancellationToken::new();
        let running = start_on(config, components, shutdown.clone()).await.expect("it starts");
        Cluster { running, fleet: self.fleet.clone(), shutdown }
    }

    /// Why no coordinator starts with these settings.
    pub(crate) async fn refused(&self, config: CoordinatorConfig) -> CoordinatorError {
        let state = Arc::new(self.state.contender());
        let stores = self.fleet.stores.clone();
        let components = Components { stores, store: state.clone(), leadership: state };
        start_on(config, components, CancellationToken::new()).await.expect_err("it does not start")
    }

    /// A coordinator that leads, with everything in a directory.
    pub(crate) async fn start_embedded(&self, config: CoordinatorConfig) -> Cluster {
        let shutdown = CancellationToken::new();
        let running = start(config, shutdown.clone()).await.expect("it starts");
        let cluster = Cluster { running, fleet: self.fleet.clone(), shutdown };
        cluster.leads().await;
        cluster
    }

    /// A request for the film.
    pub(crate) fn request(&self, key: &str) -> wire::JobRequest {
        wire::JobRequest {
            source: self.film().display().to_string(),
            idempotency_key: key.to_owned(),
            ..Default::default()
        }
    }
}

impl Cluster {
    pub(crate) fn grpc(&self) -> SocketAddr {
        self.running.grpc_addr
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.running.http_addr.expect("HTTP is served")
    }

    async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.running.own_addr)).expect("an address");
        endpoint.connect().await.expect("a connection")
    }

    pub(crate) async fn jobs(&self) -> JobsClient<Channel> {
        JobsClient::new(self.channel().await)
    }

    /// Waits until it leads, as a balancer would: by its health.
    pub(crate) async fn leads(&self) {
        let request = HealthCheckRequest { service: "reelmill.jobs.v1.Jobs".to_owned() };
        let wait = async {
            let mut health = HealthClient::new(self.channel().await);
            let mut watch = health.watch(request).await.expect("health is watched").into_inner();
            while let Some(answer) = watch.message().await.expect("health goes on") {
                if answer.status() == ServingStatus::Serving {
                    return;
                }
            }
            panic!("health ended");
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it leads in time");
    }

    /// A worker that works until the coordinator goes.
    pub(crate) fn worker(&self, name: &'static str, manner: Manner) {
        let (fleet, address) = (self.fleet.clone(), self.grpc());
        tokio::spawn(async move { fleet.work(address, None, name, manner).await });
    }

    /// The same with a token.
    pub(crate) fn worker_as(&self, name: &'static str, manner: Manner, token: &Secret) {
        let (fleet, address, token) = (self.fleet.clone(), self.grpc(), token.clone());
        tokio::spawn(async move { fleet.work(address, Some(&token), name, manner).await });
    }

    /// Waits until so many workers are here.
    pub(crate) async fn workers(&self, count: usize) {
        let wait = async {
            let mut fleet = FleetClient::new(self.channel().await);
            loop {
                let list = fleet.list(ListRequest::default()).await.expect("workers are listed").into_inner();
                if list.workers.iter().filter(|w| w.connected).count() >= count {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("they come in time");
    }

    pub(crate) async fn submit(&self, job: wire::JobRequest) -> Result<(JobView, bool), Status> {
        let request = wire::SubmitRequest { job: Some(job) };
        let answer = self.jobs().await.submit(request).await?.into_inner();
        let view = answer.job.expect("a job").try_into().expect("a view");
        Ok((view, answer.created))
    }

    /// Watches a job to its end and returns everything seen: views and how often only progress came.
    pub(crate) async fn watch(&self, id: &str, after_version: u64) -> (Vec<JobView>, usize) {
        let wait = async {
            let request = wire::WatchRequest { id: id.to_owned(), after_version };
            let mut watch = self.jobs().await.watch(request).await.expect("it is watched").into_inner();
            let (mut views, mut progress) = (Vec::new(), 0);
            while let Some(message) = watch.message().await.expect("the watch goes on") {
                match message.event.expect("an event") {
                    Event::Snapshot(job) | Event::Change(job) => views.push(job.try_into().expect("a view")),
                    Event::Progress(_) => progress += 1,
                }
            }
            (views, progress)
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the job ends in time")
    }

    /// The job after its end.
    pub(crate) async fn ended(&self, id: &str) -> JobView {
        self.watch(id, 0).await.0.pop().expect("at least a snapshot")
    }

    /// Deletes a job and waits until nothing of it is left.
    pub(crate) async fn delete(&self, id: &str) {
        let mut jobs = self.jobs().await;
        jobs.delete(wire::DeleteRequest { id: id.to_owned() }).await.expect("it may be deleted");
        let gone = async {
            loop {
                let get = wire::GetRequest { id: id.to_owned() };
                let job = jobs.get(get).await.expect("the record stays").into_inner().job.expect("a job");
                if job.state() == wire::JobState::Collected {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("collected in time");
    }

    pub(crate) async fn stop(self) -> Result<(), CoordinatorError> {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.running.join).await.expect("it stops in time");
        ended.expect("it does not panic")
    }
}
