//! The roles a process can take: coordinator, worker, or both. They compose the crates' shells; they decide nothing.

use crate::args::{self, Boxed, Coordinator, Listen, Serve, Worker};
use crate::exit::{CommandResult, Exit, Failure};
use crate::signals::{self, Signals};
use reelmill_common::ids::WorkerId;
use reelmill_coordinator::state::StateErrorKind;
use reelmill_coordinator::{
    CoordinatorConfig, CoordinatorError, CoordinatorErrorKind, Grants, Running, StateLocation,
};
use reelmill_worker::enrol::Membership;
use reelmill_worker::sandbox::{Mode, SandboxConfig};
use reelmill_worker::security::{Security, TokenSource};
use reelmill_worker::{Stop, WorkerConfig, WorkerError};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a part may take to leave before it is dropped.
const PATIENCE: Duration = Duration::from_secs(10);

/// This program, whatever has become of its file: it starts itself as the launcher of each ffmpeg.
pub(crate) const LAUNCHER: &str = "/proc/self/exe";

/// The box around ffmpeg, as asked for.
pub(crate) fn sandbox(args: &Boxed) -> SandboxConfig {
    let mode = match args.sandbox.as_str() {
        "require" => Mode::Require,
        "off" => Mode::Off,
        _ => Mode::Auto,
    };
    SandboxConfig { mode, paths: args.sandbox_path.clone(), ..SandboxConfig::new(LAUNCHER.into()) }
}

/// The process-wide TLS provider, chosen before anything can open a connection.
pub(crate) fn install_crypto() {
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider is installed already");
    }
}

/// The async runtime.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Encoder, format!("cannot start the runtime: {e}")))
}

/// Cores this process may use.
pub(crate) fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// Signals, or a sentence why not.
pub(crate) fn listen() -> Result<Signals, Failure> {
    signals::listen().map_err(|e| Failure::new(Exit::Encoder, format!("cannot listen for signals: {e}")))
}

/// `reelmill serve`
pub(crate) async fn serve(args: Serve) -> CommandResult {
    let signals = listen()?;
    let config = coordinator_config(&args.data, &args.listen);
    let slots = args.workers.unwrap_or_else(cores);
    let bench = Bench { scratch: args.data.join("scratch"), slots, sandbox: sandbox(&args.boxed) };
    let cluster = Local::start(config, Some(bench)).await?;
    cluster.opening().cancel();
    announce(&cluster.coordinator);
    until_stopped(cluster, &signals).await
}

/// `reelmill coordinator`
pub(crate) async fn coordinator(args: Coordinator) -> CommandResult {
    let signals = listen()?;
    let mut config = coordinator_config(&args.data, &args.listen);
    (config.work, config.publish, config.advertise) = (args.work, args.publish, args.advertise);
    config.grants = match args.grants {
        args::Grants::Ambient => Grants::Ambient,
        args::Grants::Signed => Grants::Signed,
    };
    if let Some(etcd) = args.etcd.config()? {
        config.state = StateLocation::Etcd(etcd);
    }
    let cluster = Local::start(config, None).await?;
    announce(&cluster.coordinator);
    until_stopped(cluster, &signals).await
}

/// `reelmill worker`
pub(crate) async fn worker(args: Worker) -> CommandResult {
    let signals = listen()?;
    let name = match &args.name {
        Some(name) => name.clone(),
        // a credential is for a name that stays
        None if args.enrol => host_name(),
        None => format!("{}-{}", host_name(), std::process::id()),
    };
    let name = WorkerId::parse(&name).map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
    let security = secured(&args, &name, &signals).await?;
    let scratch = args.scratch.unwrap_or_else(std::env::temp_dir);
    let config = WorkerConfig {
        slots: args.slots,
        cache: cache_dir(),
        security,
        sandbox: sandbox(&args.boxed),
        ..WorkerConfig::new(name, args.target.coordinator, scratch, LAUNCHER.into())
    };
    let app = reelmill_worker::Worker::build(config).await.map_err(worker_failure)?;
    eprintln!(
        "worker {} is ready: {} slots, {}, sandbox {}",
        app.capability().worker,
        app.capability().slots,
        app.capability().ffmpeg_build,
        app.sandbox().name()
    );
    app.run(Stop { drain: signals.drain, hand_back: signals.abort }).await;
    Ok(Exit::Done)
}

/// How a worker secures its sessions; where it is to join, once it has.
async fn secured(args: &Worker, name: &WorkerId, signals: &Signals) -> Result<Security, Failure> {
    let security = args.target.security.settings()?;
    if !args.enrol {
        return Ok(security);
    }
    let directory = args.state.clone().or_else(state_dir).ok_or_else(|| {
        Failure::new(Exit::Usage, "there is no home directory to keep a credential in: name one with --state")
    })?;
    let addresses = args.target.coordinator.clone();
    let membership = Membership::new(name.clone(), addresses, security, &directory);
    let security = tokio::select! {
        joined = membership.join() => joined.map_err(|e| Failure::new(Exit::Usage, e.to_string()))?,
        () = signals.drain.cancelled() => {
            return Err(Failure::new(Exit::Interrupted, "interrupted before it had joined"));
        }
    };
    tokio::spawn(membership.keep(signals.abort.clone()));
    Ok(security)
}

/// Where a worker keeps what it must not lose.
fn state_dir() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".local/state"));
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home)?;
    Some(base.join("reelmill"))
}

/// The worker of a one-process cluster.
pub(crate) struct Bench {
    /// Where its scratch files go.
    pub(crate) scratch: PathBuf,
    /// Concurrent encodes; none: no worker.
    pub(crate) slots: u32,
    /// The box around ffmpeg.
    pub(crate) sandbox: SandboxConfig,
}

/// A coordinator in this process with, usually, a worker beside it: `serve` and `transcode`.
pub(crate) struct Local {
    /// Its addresses and its end.
    pub(crate) coordinator: Running,
    opening: CancellationToken,
    shutdown: CancellationToken,
    worker: Option<JoinHandle<()>>,
    stop: Stop,
}

impl Local {
    /// Starts the coordinator and, where there is to be one, proves a worker, which begins to work at the
    /// [`Self::opening`].
    pub(crate) async fn start(config: CoordinatorConfig, bench: Option<Bench>) -> Result<Self, Failure> {
        let bench = bench.filter(|bench| bench.slots > 0);
        let (shutdown, stop) = (CancellationToken::new(), Stop::default());
        let boot = reelmill_worker::boot_id();
        let mut config = config;
        // the embedded store is locked by this process: whoever leads next finds the worker dead with it
        if bench.is_some() && matches!(config.state, StateLocation::Embedded) {
            config.machine.own_worker = Some(boot.clone());
        }
        let coordinator =
            reelmill_coordinator::start(config, shutdown.clone()).await.map_err(coordinator_failure)?;
        let opening = CancellationToken::new();
        let mut local = Self { coordinator, opening, shutdown, worker: None, stop };
        if let Some(Bench { scratch, slots, sandbox }) = bench {
            let config = WorkerConfig {
                boot: Some(boot),
                slots: Some(slots),
                cache: cache_dir(),
                security: Security {
                    token: Some(TokenSource::Given(local.coordinator.own_token.clone())),
                    insecure: true, // to ourselves
                    ..Security::default()
                },
                sandbox,
                ..WorkerConfig::new(
                    local_worker_id(),
                    vec![format!("http://{}", local.coordinator.own_addr)],
                    scratch,
                    LAUNCHER.into(),
                )
            };
            match reelmill_worker::Worker::build(config).await {
                Ok(app) => {
                    let (opening, stop) = (local.opening.clone(), local.stop.clone());
                    local.worker = Some(tokio::spawn(async move {
                        tokio::select! {
                            () = opening.cancelled() => app.run(stop).await,
                            () = stop.drain.cancelled() => {}
                        }
                    }));
                }
                Err(e) => {
                    let failure = worker_failure(e);
                    local.leave().await;
                    return Err(failure);
                }
            }
        }
        Ok(local)
    }

    /// Where its gRPC is.
    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.coordinator.grpc_addr)
    }

    /// Cancelled to let the worker begin.
    pub(crate) fn opening(&self) -> CancellationToken {
        self.opening.clone()
    }

    /// Resolves when the coordinator has ended by itself.
    pub(crate) async fn failed(&mut self) -> Failure {
        match (&mut self.coordinator.join).await {
            Ok(Ok(())) => Failure::new(Exit::Unreachable, "the coordinator has ended"),
            Ok(Err(e)) => coordinator_failure(e),
            Err(e) => Failure::new(Exit::Encoder, format!("the coordinator has crashed: {e}")),
        }
    }

    /// Stops what runs, hands it back, and takes both down.
    pub(crate) async fn leave(self) {
        self.stop.drain.cancel();
        self.stop.hand_back.cancel();
        self.end().await;
    }

    /// Finishes what runs (or hands it back when `abort` fires), then takes both down.
    async fn drain(self, abort: CancellationToken) {
        self.stop.drain.cancel();
        let hand_back = self.stop.hand_back.clone();
        let watch = tokio::spawn(async move {
            abort.cancelled().await;
            hand_back.cancel();
        });
        if let Some(mut worker) = self.worker {
            log_panic("worker", (&mut worker).await);
        }
        watch.abort();
        self.shutdown.cancel();
        bounded("coordinator", self.coordinator.join).await;
    }

    async fn end(self) {
        if let Some(worker) = self.worker {
            bounded("worker", worker).await;
        }
        self.shutdown.cancel();
        bounded("coordinator", self.coordinator.join).await;
    }
}

async fn until_stopped(mut cluster: Local, signals: &Signals) -> CommandResult {
    tokio::select! {
        failure = cluster.failed() => return Err(failure),
        () = signals.drain.cancelled() => {}
    }
    eprintln!("finishing what runs; once more to leave now");
    cluster.drain(signals.abort.clone()).await;
    Ok(Exit::Done)
}

async fn bounded<T>(what: &str, mut handle: JoinHandle<T>) {
    match tokio::time::timeout(PATIENCE, &mut handle).await {
        Ok(ended) => log_panic(what, ended.map(drop)),
        Err(_) => {
            tracing::warn!(what, "did not leave in time; dropped");
            handle.abort();
        }
    }
}

fn log_panic(what: &str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(what, %error, "ended badly");
    }
}

fn announce(running: &Running) {
    let scheme = if running.has_tls { "https" } else { "http" };
    eprintln!("gRPC  {scheme}://{}", running.grpc_addr);
    if let Some(http) = running.http_addr {
        eprintln!("HTTP  {scheme}://{http}  (/healthz, /readyz, /metrics, /play/<job>)");
    }
}

fn coordinator_config(data: &Path, listen: &Listen) -> CoordinatorConfig {
    let mut config = CoordinatorConfig::local(data);
    config.machine.lease_ttl_ms = u64::try_from(listen.lease_ttl.as_millis()).unwrap_or(u64::MAX);
    config.machine.heartbeat_ms = config.machine.lease_ttl_ms / 3;
    config.machine.rebind_after_ms = u64::try_from(listen.rebind_after.as_millis()).unwrap_or(u64::MAX);
    CoordinatorConfig {
        grpc_addr: listen.grpc,
        http_addr: Some(listen.http),
        tls: listen.security.tls(),
        access: listen.security.access.clone(),
        insecure: listen.insecure,
        source_root: listen.source_root.clone(),
        stores: listen.stores.clone(),
        ..config
    }
}

/// Proofs of encoders are kept in the user's cache: the same ffmpeg on the same CPU is proved once.
fn cache_dir() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home)?;
    let directory = base.join("reelmill");
    std::fs::create_dir_all(&directory).is_ok().then_some(directory)
}

/// The worker of a one-process cluster.
fn local_worker_id() -> WorkerId {
    WorkerId::parse("local").unwrap_or_else(|e| unreachable!("a literal name is valid: {e}"))
}

/// The host's name, in the grammar of names.
fn host_name() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|h| h.into_string().ok()).unwrap_or_default();
    let host: String = host
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .skip_while(|c| *c == '-')
        .take(40)
        .collect();
    if host.is_empty() { "worker".to_owned() } else { host }
}

fn coordinator_failure(e: CoordinatorError) -> Failure {
    let ours = |kind| matches!(kind, StateErrorKind::Locked | StateErrorKind::Invalid);
    let is_usage = matches!(&e, CoordinatorError::State(s) if ours(s.kind()));
    let exit = match e.kind() {
        _ if is_usage => Exit::Usage,
        CoordinatorErrorKind::Usage => Exit::Usage,
        CoordinatorErrorKind::Storage => Exit::Unreachable,
        CoordinatorErrorKind::Internal => Exit::Encoder,
    };
    Failure::new(exit, e.to_string())
}

fn worker_failure(e: WorkerError) -> Failure {
    let exit = match &e {
        WorkerError::Tool(_) | WorkerError::NoEncoder(_) | WorkerError::Sandbox(_) => Exit::Encoder,
        WorkerError::Scratch(_) => Exit::Unreachable,
        _ => Exit::Usage,
    };
    Failure::new(exit, e.to_string())
}
