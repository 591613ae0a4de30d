//! One measurement: start everything, warm up, measure (and kill), let the workers leave, count.

use crate::coordinator::{Client, Coordinator, PATIENCE};
use crate::etcd::{Etcd, Health};
use crate::figures::{Figures, Killed, Size, Times, Used};
use crate::film::Film;
use crate::histogram::Histogram;
use crate::jobs::Jobs;
use crate::ledger::Ledger;
use crate::process::{Usage, own_usage, raise_descriptors, until};
use crate::worker::{Shared, work};
use anyhow::{Context as _, Result, ensure};
use reelmill_blob::Stores;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How often jobs are looked after.
const TEND: Duration = Duration::from_millis(200);
/// Sizes are noted so often in a measurement.
const SIZES: u32 = 10;
/// The worst of this many seconds is told.
const WINDOW_S: usize = 10;
/// Workers that begin to connect together.
const AT_ONCE: usize = 50;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary `reelmill`.
    pub reelmill: PathBuf,
    /// The coordinator's own store instead of etcd.
    pub embedded: bool,
    /// Connections.
    pub workers: usize,
    /// Slots of each.
    pub slots: u32,
    /// Chunks of a job.
    pub chunks: u32,
    /// Chunks that are open at any time, at least.
    pub open: u64,
    /// How long the work of a chunk takes, on average.
    pub work: Duration,
    /// Not measured.
    pub warm_up: Duration,
    /// Measured.
    pub measured: Duration,
    /// Seconds after which a silent worker has lost its work, and a silent coordinator its lead. The defaults of the
    /// flags are 15 and 10.
    pub leases_s: (u64, u64),
    /// How often coordinator and etcd are killed meanwhile.
    pub kills: u32,
    /// Where data lies: on a disk. Default: the system's folder for temporary files.
    pub directory: Option<PathBuf>,
}

struct Bench {
    options: Options,
    coordinator: Coordinator,
    client: Client,
    etcd: Option<Etcd>,
    jobs: Jobs,
    shared: Arc<Shared>,
    workers: JoinSet<Result<()>>,
    /// CPU seconds of coordinators, etcds (and nothing else) that were killed.
    killed_cpu_s: [f64; 3],
    /// After the processes that write there.
    _directory: TempDir,
}

/// Measures. An error where anything is not as it was acknowledged.
pub async fn run(options: Options) -> Result<Figures> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    // a socket a worker, here and in the coordinator, which inherits the limit; what else is open is little
    let descriptors = raise_descriptors(options.workers as u64 + 500)?;
    let mut bench = Bench::start(options).await?;
    let warm_up = bench.options.warm_up;
    bench.pass(warm_up).await?;
    let mut figures = bench.measured().await?;
    (figures.load, figures.descriptors) = (load, descriptors);
    let acked = bench.leave().await?;
    figures.acked = acked;
    Ok(figures)
}

impl Bench {
    async fn start(options: Options) -> Result<Self> {
        ensure!(options.reelmill.exists(), "{} is not built", options.reelmill.display());
        let parent = options.directory.clone().unwrap_or_else(std::env::temp_dir);
        let directory = tempfile::Builder::new().prefix("reelmill-control-").tempdir_in(parent)?;
        let path: &Path = directory.path();
        let etcd = if options.embedded { None } else { Some(Etcd::start(path).await?) };
        let coordinator =
            Coordinator::start(&options.reelmill, path, etcd.as_ref(), options.leases_s).await?;
        let film = Film(options.chunks);
        let shared = Arc::new(Shared {
            address: coordinator.address.clone(),
            film,
            slots: options.slots,
            work: options.work,
            stores: Stores::default(),
            ledger: Ledger::default(),
            leases: Histogram::default(),
            acks: Histogram::default(),
            welcomes: AtomicU64::new(0),
            begun: Instant::now(),
            drain: CancellationToken::new(),
            hand_back: CancellationToken::new(),
        });
        let mut bench = Self {
            client: coordinator.client()?,
            jobs: Jobs::new(film, options.open),
            workers: JoinSet::new(),
            killed_cpu_s: [0.0; 3],
            coordinator,
            etcd,
            shared,
            options,
            _directory: directory,
        };
        bench.connect().await?;
        until("jobs have their plans", PATIENCE, async || {
            bench.tend().await?;
            Ok(bench.jobs.are_planned())
        })
        .await?;
        Ok(bench)
    }

    async fn connect(&mut self) -> Result<()> {
        for first in (0..self.options.workers).step_by(AT_ONCE) {
            let after = (first + AT_ONCE).min(self.options.workers);
            for number in first..after {
                self.workers.spawn(work(Arc::clone(&self.shared), number));
            }
            self.welcomed(after as u64).await?;
        }
        Ok(())
    }

    /// Waits until workers were welcomed so often in all.
    async fn welcomed(&self, times: u64) -> Result<()> {
        let shared = &self.shared;
        until("workers are welcomed", PATIENCE, async || Ok(shared.welcomes.load(Ordering::Relaxed) >= times))
            .await
    }

    async fn tend(&mut self) -> Result<()> {
        self.jobs.tend(&mut self.client, &self.shared.ledger, self.etcd.as_ref()).await
    }

    /// Lets time pass, and looks after the jobs.
    async fn pass(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let mut look = interval(TEND);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < end {
            look.tick().await;
            self.tend().await?;
            if let Some(ended) = self.workers.try_join_next() {
                ended?.context("a worker left")?;
                anyhow::bail!("a worker left by itself");
            }
        }
        self.shared.ledger.check()
    }

    /// What coordinator, etcd and this process have used, those that were killed included.
    fn usages(&self) -> Result<[Usage; 3]> {
        let etcd = self.etcd.as_ref().map(Etcd::usage).transpose()?.unwrap_or_default();
        let mut usages = [self.coordinator.usage()?, etcd, own_usage()?];
        usages.iter_mut().zip(self.killed_cpu_s).for_each(|(usage, killed)| usage.cpu_s += killed);
        Ok(usages)
    }

    async fn measured(&mut self) -> Result<Figures> {
        let (shared, begun) = (Arc::clone(&self.shared), Instant::now());
        shared.leases.clear();
        shared.acks.clear();
        let (before, acked) = (self.usages()?, shared.ledger.acks());
        let open = self.jobs.open_chunks(&shared.ledger);
        let seconds = Seconds::count(Arc::clone(&shared));
        let (mut kills, mut sizes) = (Vec::new(), Vec::new());
        let parts = SIZES.max(self.options.kills + 1);
        for part in 1..=parts {
            self.pass(self.options.measured / parts).await?;
            sizes.push(self.size(begun).await?);
            if part <= self.options.kills {
                kills.push(self.kill(part % 2 == 0).await?);
            }
        }
        let (took, after) = (begun.elapsed().as_secs_f64(), self.usages()?);
        let used = |n: usize| Used::between(before[n], after[n], took);
        let commits = shared.ledger.acks() - acked;
        let worst_per_s = seconds.worst();
        let health = match &self.etcd {
            Some(etcd) => Some(etcd.health().await?),
            None => None,
        };
        Ok(Figures {
            store: if self.etcd.is_some() { "etcd" } else { "embedded" },
            workers: self.options.workers,
            slots: self.options.slots,
            work_ms: self.options.work.as_millis() as u64,
            descriptors: 0,
            load: String::new(),
            seconds: took,
            commits,
            worst_per_s,
            open: (open, self.jobs.open_chunks(&shared.ledger)),
            leases: times(&shared.leases),
            acks: times(&shared.acks),
            coordinator: used(0),
            etcd: self.etcd.is_some().then(|| used(1)),
            driver: used(2),
            sizes,
            health,
            deleted: self.jobs.deleted,
            reconnects: shared
                .welcomes
                .load(Ordering::Relaxed)
                .saturating_sub(self.options.workers as u64 * (1 + u64::from(self.options.kills))),
            kills,
            acked: 0,
        })
    }

    async fn size(&self, begun: Instant) -> Result<Size> {
        let health = match &self.etcd {
            Some(etcd) => etcd.health().await?,
            None => Health { database: self.coordinator.state_bytes()?, ..Health::default() },
        };
        Ok(Size {
            at_s: begun.elapsed().as_secs(),
            database: health.database,
            in_use: health.in_use,
            coordinator_mib: self.coordinator.usage()?.rss_mib,
        })
    }

    /// SIGKILL to both, the state store first or last; then everything acknowledged is looked for, and both come back.
    async fn kill(&mut self, store_first: bool) -> Result<Killed> {
        let (begun, welcomes) = (Instant::now(), self.shared.welcomes.load(Ordering::Relaxed));
        let usages = self.usages()?;
        if let Some(etcd) = self.etcd.as_mut().filter(|_| store_first) {
            etcd.kill()?;
        }
        self.coordinator.kill()?;
        if let Some(etcd) = self.etcd.as_mut() {
            if !store_first {
                etcd.kill()?;
            }
            etcd.restart().await?;
        }
        (self.killed_cpu_s[0], self.killed_cpu_s[1]) = (usages[0].cpu_s, usages[1].cpu_s);
        let shared = Arc::clone(&self.shared);
        let mut unacked = None;
        if self.etcd.is_some() {
            // nobody writes now, so what is missing is lost
            unacked = Some(self.jobs.count(&mut self.client, &shared.ledger, self.etcd.as_ref()).await?);
        }
        let acked = shared.ledger.acks();
        self.coordinator.restart().await?;
        self.welcomed(welcomes + self.options.workers as u64).await?;
        let away_ms = begun.elapsed().as_millis() as u64;
        let unacked = match unacked {
            Some(unacked) => unacked,
            None => self.jobs.count(&mut self.client, &shared.ledger, None).await?,
        };
        Ok(Killed { acked, unacked, away_ms })
    }

    /// All workers leave, with everything settled; then what is stored is exactly what was acknowledged.
    async fn leave(mut self) -> Result<u64> {
        self.shared.drain.cancel();
        // each job has a chunk that nobody finishes, perhaps on two workers
        let holders = 2 * self.jobs.len();
        let patience = PATIENCE + self.shared.work * 2;
        let workers = &mut self.workers;
        until("workers leave", patience, async || {
            while let Some(ended) = workers.try_join_next() {
                ended?.context("a worker left")?;
            }
            Ok(workers.len() <= holders)
        })
        .await?;
        self.shared.hand_back.cancel();
        tokio::time::timeout(patience, async {
            while let Some(ended) = self.workers.join_next().await {
                ended?.context("a worker left")?;
            }
            anyhow::Ok(())
        })
        .await
        .context("workers do not hand back what they hold")??;
        self.shared.ledger.check()?;
        let ledger = &self.shared.ledger;
        let extra = self.jobs.count(&mut self.client, ledger, self.etcd.as_ref()).await?;
        ensure!(extra == 0, "{extra} commits are stored that nobody was told of, after everything was told");
        Ok(ledger.acks())
    }
}

/// Acknowledgements counted second by second.
struct Seconds {
    counts: Arc<Mutex<Vec<u64>>>,
    _task: AbortOnDropHandle<()>,
}

impl Seconds {
    fn count(shared: Arc<Shared>) -> Self {
        let counts = Arc::new(Mutex::new(vec![shared.ledger.acks()]));
        let noted = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            let mut second = interval(Duration::from_secs(1));
            second.tick().await;
            loop {
                second.tick().await;
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(shared.ledger.acks());
            }
        });
        Self { counts, _task: AbortOnDropHandle::new(task) }
    }

    /// Acknowledgements a second in the window that had fewest.
    fn worst(&self) -> f64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let window = WINDOW_S.min(counts.len() - 1).max(1);
        let least = counts.windows(window + 1).map(|w| w[window] - w[0]).min();
        least.map_or(0.0, |least| least as f64 / window as f64)
    }
}

fn times(of: &Histogram) -> Times {
    Times {
        count: of.count(),
        p50_ms: of.permille_ms(500),
        p99_ms: of.permille_ms(990),
        most_ms: of.permille_ms(1_000),
    }
}
