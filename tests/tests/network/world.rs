//! One run: the hosts of a scenario, what happens to them, and what must be true in the end.

use crate::client::{Client, Ended, Seen};
use crate::craft::Labour;
use crate::etcd::member::{Cluster, Rates};
use crate::etcd::server;
use crate::hosts::{self, Site};
use crate::sabotage::Bug;
use crate::scenario::{Act, COORDINATORS, FILMS, Scenario, WORKERS, film, source_of};
use crate::{tell, wire};
use reelmill_blob::chaos::{ChaosRates, ChaosStore};
use reelmill_blob::{Policy, PutOptions, Stores};
use reelmill_common::SpecId;
use reelmill_tests::sim::rng::Rng;
use reelmill_tests::sim::tally::Tally;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};
use turmoil::{Builder, Sim};

/// The network's clock: what happens within it happens together.
const TICK: Duration = Duration::from_millis(10);
/// After the last fault, every job is published within this.
const MEND: Duration = Duration::from_secs(600);
/// A process that is asked to leave has left within this.
const LEAVE: Duration = Duration::from_secs(180);

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    /// What is wrong, if anything.
    pub(crate) broken: Option<String>,
    /// Hash of all bytes on the network, with their times.
    pub(crate) hash: u64,
    /// The jobs.
    pub(crate) jobs: Vec<Ended>,
    /// Virtual time that it took.
    pub(crate) took: Duration,
    /// How often what happened.
    pub(crate) tally: Tally,
}

/// An act that is going on.
#[derive(Debug)]
struct Ongoing {
    until: Duration,
    act: Act,
}

struct World<'a> {
    sim: Sim<'a>,
    site: Arc<Site>,
    etcd: Arc<Mutex<Cluster>>,
    chaos: Arc<Mutex<Vec<ChaosStore>>>,
    seen: Arc<Mutex<Seen>>,
    ongoing: Vec<Ongoing>,
    tally: Tally,
}

/// Runs a scenario, with the workers' files in a directory that is made for it.
pub(crate) fn run(scenario: &Scenario, bug: Bug, scratch: &Path) -> Outcome {
    std::fs::create_dir(scratch).expect("a directory");
    let mut world = World::new(scenario.clone(), bug, scratch);
    let broken = world.history().err();
    let jobs = lock(&world.seen).jobs.clone();
    let took = world.sim.elapsed();
    world.tally.add(&tell::take());
    world.tally.add(&lock(&world.etcd).struck);
    Outcome { broken, hash: wire::hash(), jobs, took, tally: world.tally }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn member(number: usize) -> String {
    format!("etcd-{number}")
}

impl World<'_> {
    fn new(scenario: Scenario, bug: Bug, scratch: &Path) -> Self {
        let mut rng = Rng::new(scenario.seed);
        let chaos: Arc<Mutex<Vec<ChaosStore>>> = Arc::default();
        let (made, dice) = (Arc::clone(&chaos), rng.number());
        let policy =
            Policy { stall_ms: 2_000, first_pause_ms: 50, longest_pause_ms: 1_000, ..Policy::default() };
        let stores = Stores::decorated(policy, move |store| {
            let store = ChaosStore::new(store, dice, ChaosRates::default());
            lock(&made).push(store.clone());
            Arc::new(store)
        });
        let etcd = Cluster::new(scenario.members, bug, Rng::new(rng.number()));
        let labour = Labour::new(Rng::new(rng.number()), scenario.encoder_faults);
        let site = Arc::new(Site::new(scenario, bug, stores, labour, scratch.to_owned()));
        let sim = Builder::new()
            .epoch(UNIX_EPOCH + Duration::from_secs(1_700_000_000))
            .simulation_duration(Duration::from_secs(3_600))
            .tick_duration(TICK)
            .min_message_latency(Duration::from_millis(1))
            .max_message_latency(site.scenario.latency)
            .tcp_capacity(1_024)
            .enable_random_order()
            .rng_seed(rng.number())
            .build();
        let seen = Arc::default();
        let mut world = Self { sim, site, etcd, chaos, seen, ongoing: Vec::new(), tally: Tally::default() };
        world.populate();
        world
    }

    fn populate(&mut self) {
        for number in 0..self.site.scenario.members {
            let etcd = Arc::clone(&self.etcd);
            self.sim.host(member(number), move || server::run(Arc::clone(&etcd)));
        }
        for number in 0..COORDINATORS {
            let (name, site) = (format!("coordinator-{number}"), Arc::clone(&self.site));
            self.sim.host(name.clone(), move || hosts::coordinator(name.clone(), Arc::clone(&site)));
        }
        for number in 0..WORKERS {
            let site = Arc::clone(&self.site);
            self.sim.host(format!("worker-{number}"), move || hosts::worker(number, Arc::clone(&site)));
        }
        let (site, seen) = (Arc::clone(&self.site), Arc::clone(&self.seen));
        self.sim.client("client", async move {
            for number in 0..FILMS {
                let url = film(number);
                let (root, name) = url.rsplit_once('/').ok_or("a film without a name")?;
                site.stores.open(root)?.put_replace(name, source_of(&url), PutOptions::default()).await?;
            }
            Client::new(site, seen).run().await
        });
    }

    /// The whole of it; what is wrong, if anything.
    fn history(&mut self) -> Result<(), String> {
        let scenario = self.site.scenario.clone();
        self.steps(Duration::from_millis(500))?;
        lock(&self.etcd).rates = scenario.etcd;
        for store in lock(&self.chaos).iter() {
            store.set_rates(scenario.objects);
        }
        let mut acts = scenario.acts.iter();
        let mut next = acts.next();
        while self.sim.elapsed() < scenario.heal {
            while let Some((_, act, during)) = next.take_if(|(at, ..)| *at <= self.sim.elapsed()) {
                self.begin(act, *during);
                next = acts.next();
            }
            self.end_what_is_over();
            self.step()?;
        }
        self.heal();
        while !self.step()? {
            if self.sim.elapsed() > scenario.heal + MEND {
                return Err(format!("not done in time: {}", lock(&self.seen).last));
            }
            self.end_what_is_over();
        }
        self.everybody_leaves()?;
        self.judge()
    }

    /// One tick; true when the client has seen all that it wanted.
    fn step(&mut self) -> Result<bool, String> {
        let done = self.sim.step().map_err(|error| error.to_string())?;
        match crate::panicked() {
            Some(panic) => Err(format!("a task panicked: {panic}")),
            None => Ok(done),
        }
    }

    fn steps(&mut self, during: Duration) -> Result<(), String> {
        let until = self.sim.elapsed() + during;
        while self.sim.elapsed() < until {
            self.step()?;
        }
        Ok(())
    }

    /// Something begins to go wrong, unless something else is wrong there already.
    fn begin(&mut self, act: &Act, during: Duration) {
        let touched = hosts_of(act);
        if self.ongoing.iter().any(|o| hosts_of(&o.act).iter().any(|host| touched.contains(host))) {
            return;
        }
        tracing::info!(?act, ?during, "HAVOC");
        match act {
            Act::Crash(host) => {
                self.sim.crash(host.as_str());
                lock(&self.etcd).down.extend(Some(host.clone()).filter(|host| host.starts_with("etcd")));
            }
            Act::Leave(host) => self.site.stop(host),
            Act::Cut(a, b) => self.sim.partition(a.as_str(), b.as_str()),
            Act::OneWay(a, b) => self.sim.partition_oneway(a.as_str(), b.as_str()),
            Act::Hold(a, b) => self.sim.hold(a.as_str(), b.as_str()),
            Act::Isolate(host) => self.each_link(host, |sim, a, b| sim.partition(a, b)),
            Act::Depose { lease } => {
                if !lock(&self.etcd).store.depose("reelmill/", *lease) {
                    return;
                }
            }
        }
        self.tally.count(act.name());
        self.ongoing.push(Ongoing { until: self.sim.elapsed() + during, act: act.clone() });
    }

    fn end_what_is_over(&mut self) {
        let now = self.sim.elapsed();
        for Ongoing { until, act } in std::mem::take(&mut self.ongoing) {
            let is_over = match &act {
                // it may take a while to leave, and is started again after that
                Act::Leave(host) => until <= now && !self.sim.is_host_running(host.as_str()),
                _ => until <= now,
            };
            if is_over {
                self.end(&act);
            } else {
                self.ongoing.push(Ongoing { until, act });
            }
        }
    }

    fn end(&mut self, act: &Act) {
        match act {
            Act::Crash(host) | Act::Leave(host) => {
                lock(&self.etcd).down.remove(host);
                self.sim.bounce(host.as_str());
            }
            Act::Cut(a, b) => self.sim.repair(a.as_str(), b.as_str()),
            Act::OneWay(a, b) => self.sim.repair_oneway(a.as_str(), b.as_str()),
            Act::Hold(a, b) => self.sim.release(a.as_str(), b.as_str()),
            Act::Isolate(host) => self.each_link(host, |sim, a, b| sim.repair(a, b)),
            Act::Depose { .. } => {}
        }
    }

    fn each_link(&self, host: &str, act: impl Fn(&Sim<'_>, &str, &str)) {
        let members = (0..self.site.scenario.members).map(member);
        let coordinators = (0..COORDINATORS).map(|n| format!("coordinator-{n}"));
        let others = members.chain(coordinators).chain((0..WORKERS).map(|n| format!("worker-{n}")));
        for other in others.chain(["client".to_owned()]).filter(|other| other != host) {
            act(&self.sim, host, &other);
        }
    }

    /// Nothing goes wrong any more. Who is leaving comes back when it has left.
    fn heal(&mut self) {
        lock(&self.etcd).rates = Rates::default();
        for store in lock(&self.chaos).iter() {
            for (fault, times) in store.struck() {
                for _ in 0..times {
                    self.tally.count(match fault {
                        reelmill_blob::chaos::ChaosFault::ErrorBefore => "objects: error before",
                        reelmill_blob::chaos::ChaosFault::ErrorAfter => "objects: error after",
                        reelmill_blob::chaos::ChaosFault::Truncated => "objects: truncated",
                        reelmill_blob::chaos::ChaosFault::Stall => "objects: stalled",
                        reelmill_blob::chaos::ChaosFault::SlowDown => "objects: slow down",
                    });
                }
            }
            store.set_rates(ChaosRates::default());
        }
        let now = self.sim.elapsed();
        for ongoing in &mut self.ongoing {
            ongoing.until = now;
        }
        self.end_what_is_over();
    }

    /// All processes are asked to leave: workers first, then those who lead them.
    fn everybody_leaves(&mut self) -> Result<(), String> {
        let since = self.sim.elapsed();
        let workers: Vec<String> = (0..WORKERS).map(|n| format!("worker-{n}")).collect();
        let coordinators: Vec<String> = (0..COORDINATORS).map(|n| format!("coordinator-{n}")).collect();
        for group in [workers, coordinators] {
            group.iter().for_each(|name| self.site.stop(name));
            while let Some(name) = group.iter().find(|name| self.sim.is_host_running(name.as_str())) {
                if self.sim.elapsed() > since + LEAVE {
                    return Err(format!("{name} was asked to leave and does not"));
                }
                self.step()?;
            }
        }
        Ok(())
    }

    /// By etcd's own history: what needs a guard had one, and each chunk was committed once.
    fn judge(&mut self) -> Result<(), String> {
        let etcd = lock(&self.etcd);
        if let Some(key) = etcd.store.unguarded.first() {
            return Err(format!("{key} was changed without a guard"));
        }
        let mut puts: BTreeMap<&str, u32> = BTreeMap::new();
        for change in etcd.store.history.iter().filter(|change| change.value.is_some()) {
            if let Some(chunk) = change.key.strip_prefix("reelmill/commits/") {
                *puts.entry(chunk).or_default() += 1;
            }
        }
        if let Some((chunk, times)) = puts.iter().find(|(_, times)| **times != 1) {
            return Err(format!("chunk {chunk} was committed {times} times"));
        }
        for job in &lock(&self.seen).jobs {
            // index, analysis and audits are committed as well, and are no part of the package
            let of_it = puts.keys().filter(|chunk| chunk.starts_with(&job.id)).count();
            let named = |spec: &&SpecId| puts.contains_key(format!("{}/{spec}", job.id).as_str());
            let seen = job.committed.iter().filter(named).count();
            if seen != job.committed.len()
                || of_it > seen + 2 + job.audited as usize
                || job.committed.is_empty()
            {
                let wanted = job.committed.len();
                return Err(format!("job {}: {wanted} chunks, of which etcd saw {seen}, of {of_it}", job.id));
            }
        }
        Ok(())
    }
}

/// The hosts that an act is about: one thing at a time goes wrong with each.
fn hosts_of(act: &Act) -> Vec<&str> {
    match act {
        Act::Crash(a) | Act::Leave(a) | Act::Isolate(a) => vec![a],
        Act::Cut(a, b) | Act::OneWay(a, b) | Act::Hold(a, b) => vec![a, b],
        Act::Depose { .. } => vec![],
    }
}
