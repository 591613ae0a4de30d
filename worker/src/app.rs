//! Composition: settings to a worker, a worker to its end. The one place where the parts meet.

use crate::abort::AbortSwitch;
use crate::clock::Clock;
use crate::config::{WorkerConfig, WorkerError};
use crate::sandbox::{self, Level, Mode, Sandbox};
use crate::scratch::Scratch;
use crate::session::{Dial, Driver, Parts, Stop};
use crate::source::Sources;
use crate::tools::Tools;
use crate::work::{Craft, Shop};
use crate::{machine, metrics, probe};
use reelmill_blob::Stores;
use reelmill_common::BootId;
use reelmill_common::capability::Capability;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A worker that has proved what it can do and is ready to run.
pub struct App {
    driver: Driver,
    capability: Capability,
    level: Level,
}

/// What a worker stands on. [`Worker::build`] finds it on this machine; tests put faults under it.
pub struct Components {
    /// Object stores.
    pub stores: Stores,
    /// Its own files.
    pub scratch: Scratch,
    /// What it advertises.
    pub capability: Capability,
    /// Its clock.
    pub clock: Clock,
    /// Who does the work.
    pub craft: Arc<dyn Craft>,
    /// How coordinators are reached.
    pub dial: Dial,
}

/// Builds workers.
#[derive(Debug)]
pub struct Worker;

impl Worker {
    /// Checks settings, ffmpeg and scratch space, and proves the encoders.
    pub async fn build(config: WorkerConfig) -> Result<App, WorkerError> {
        Self::build_with(config, Stores::default()).await
    }

    /// The same, with object stores given: those of the process, or faulty ones of a test.
    pub async fn build_with(config: WorkerConfig, stores: Stores) -> Result<App, WorkerError> {
        metrics::register();
        let basic = Sandbox::basic(&config.sandbox);
        let mut tools = Tools::find(config.ffmpeg.as_deref(), config.ffprobe.as_deref(), basic).await?;
        let scratch = Scratch::open(&config.scratch, &config.worker, config.scratch_quota)?;
        let proved = sandbox::prove(&tools.sandbox, config.sandbox.mode, &tools, &scratch).await;
        let level = proved.sandbox.level();
        metrics::sandboxed(level);
        match config.sandbox.mode {
            Mode::Require if level < Level::Full => return Err(WorkerError::Sandbox(proved.text())),
            Mode::Auto if level < Level::Full => {
                tracing::warn!(level = level.name(), "the sandbox around ffmpeg is {}", proved.text());
            }
            _ => {}
        }
        tools.sandbox = proved.sandbox;
        let cache = config.cache.as_deref().unwrap_or(&config.scratch);
        let proofs = probe::prove(&tools, &scratch, cache).await?;
        for (family, fault) in &proofs.failed {
            tracing::warn!(
                family = family.name(),
                detail = fault.detail,
                "encoder does not work here: {fault}"
            );
        }
        if proofs.encoders.is_empty() {
            let why = proofs.failed.first().map_or("none is known to it".to_owned(), |(_, f)| f.to_string());
            return Err(WorkerError::NoEncoder(why));
        }
        let cores = config.cores.unwrap_or_else(machine::cores).max(1);
        let capability = Capability {
            worker: config.worker.clone(),
            slots: config.slots.unwrap_or(cores).max(1),
            cores,
            memory_mib: config.memory_mib.unwrap_or_else(machine::memory_mib),
            encoders: proofs.encoders,
            ffmpeg_build: tools.build.clone(),
            audits: true,
            audits_sound: true,
        };
        let clock = Clock::start();
        let shop = Shop {
            tools,
            sources: Sources::new(stores.clone(), level),
            capability: capability.clone(),
            stall_ms: config.stall_ms,
            clock,
        };
        let components =
            Components { stores, scratch, capability, clock, craft: Arc::new(shop), dial: Dial::default() };
        Ok(App { level, ..Self::assemble(config, components)? })
    }

    /// A worker of given parts; of `config`, only whom to work for, how and as which start counts.
    pub fn assemble(config: WorkerConfig, components: Components) -> Result<App, WorkerError> {
        let Components { stores, scratch, capability, clock, craft, dial } = components;
        let driver = Driver::new(Parts {
            craft,
            capability: capability.clone(),
            clock,
            dial,
            scratch,
            stores,
            switch: AbortSwitch::from_env()?,
            coordinators: config.coordinators,
            security: config.security,
            boot: config.boot.unwrap_or_else(boot_id),
        })?;
        Ok(App { driver, capability, level: Level::default() })
    }
}

impl App {
    /// The same worker with a bug.
    #[cfg(feature = "sabotage")]
    #[must_use]
    pub fn sabotaged(mut self, bug: Option<crate::session::Sabotage>) -> Self {
        self.driver.sabotage = bug;
        self
    }

    /// What it will advertise.
    pub fn capability(&self) -> &Capability {
        &self.capability
    }

    /// The box its children start in.
    pub fn sandbox(&self) -> Level {
        self.level
    }

    /// Works until asked to leave. Dropping the future ends everything at once: children are killed, scratch files
    /// removed, and the coordinator learns of it by the lost connection.
    pub async fn run(self, stop: Stop) {
        let Capability { worker, slots, ffmpeg_build, .. } = &self.capability;
        let sandbox = self.level.name();
        tracing::info!(%worker, slots, ffmpeg = ffmpeg_build, sandbox, "worker is ready");
        self.driver.run(stop).await;
        tracing::info!("worker has left");
    }
}

/// Builds a worker and runs it until `shutdown` is cancelled; then it finishes what runs, and leaves.
pub async fn run(config: WorkerConfig, shutdown: CancellationToken) -> Result<(), WorkerError> {
    let app = Worker::build(config).await?;
    app.run(Stop { drain: shutdown, ..Stop::default() }).await;
    Ok(())
}

/// A name that no other start of any worker has.
pub fn boot_id() -> BootId {
    let name = hex::encode(rand::random::<[u8; 16]>());
    BootId::parse(&name).unwrap_or_else(|e| unreachable!("hex digits are a valid name: {e}"))
}
