//! One run with one kill, and what must hold of it.

use crate::bench::Bench;
use crate::cluster::{Place, Process};
use crate::{encodes, state};
use anyhow::{Context, Result, ensure};
use reelmill_common::Sha256;
use reelmill_tests::tool;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(crate) use crate::cluster::PATIENCE;

/// The key that every submit of the film comes under.
pub(crate) const KEY: &str = "twelve-chunks";
pub(crate) const PRESET: &str = "ultrafast";

/// Which process is killed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Side {
    Coordinator,
    Worker,
}

impl Side {
    fn role(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
        }
    }
}

/// When it is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    /// Before this effect, or after it.
    Effect(u64, bool),
    /// So long after the worker's start.
    Elapsed(Duration),
}

/// A kill to be tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kill {
    pub(crate) side: Side,
    pub(crate) at: Moment,
}

impl Kill {
    fn switch(self, side: Side) -> Option<String> {
        match self.at {
            Moment::Effect(k, after) if side == self.side => {
                Some(format!("{k}{}", if after { "+" } else { "" }))
            }
            _ => None,
        }
    }
}

/// What an undisturbed run does and makes.
pub(crate) struct Reference {
    files: BTreeMap<String, Sha256>,
    /// How often each encode was started.
    pub(crate) encodes: BTreeMap<String, u32>,
    /// Kinds of the effects of either side, in order.
    pub(crate) effects: BTreeMap<Side, Vec<String>>,
    /// From the worker's start to Published.
    pub(crate) wall: Duration,
}

/// What was seen, added up over runs.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    /// Kills that happened.
    pub(crate) killed: usize,
    /// Runs that were over before the kill.
    missed: usize,
    /// Encodes that were committed at the kills.
    pub(crate) committed: usize,
    /// Encodes started beyond one for each chunk: those the kills interrupted.
    repeated: u32,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { killed, missed, committed, repeated } = self;
        write!(
            f,
            "{killed} killed, {missed} over before; {committed} encodes committed at the kills, none of them started \
             again; {repeated} interrupted ones started again"
        )
    }
}

/// A kill as it was found: what was committed then, and the notes that had been taken.
pub(crate) struct Found {
    committed: BTreeSet<String>,
    before: BTreeSet<String>,
}

impl Found {
    /// The state is read first: a note taken in between is of an encode that was not committed then.
    pub(crate) fn look(data: &Path, log: &Path) -> Result<Self> {
        Ok(Self { committed: state::committed(data)?, before: encodes::noted(log)? })
    }

    /// Nothing that was committed then has been started since.
    fn check(&self, log: &Path) -> Result<()> {
        let since = encodes::started(log, &self.before)?;
        let again: Vec<&String> = since.keys().filter(|e| self.committed.contains(*e)).collect();
        ensure!(again.is_empty(), "committed before the kill and started again: {again:?}");
        Ok(())
    }
}

/// A coordinator, a worker, a film, and at most one kill.
struct Run<'a> {
    place: Place<'a>,
    kill: Option<Kill>,
    found: Option<Found>,
    coordinator: Process,
    worker: Option<Process>,
    began: Instant,
}

impl<'a> Run<'a> {
    fn new(place: Place<'a>, kill: Option<Kill>) -> Result<Self> {
        let switch = kill.and_then(|k| k.switch(Side::Coordinator));
        let coordinator = place.coordinator(switch.as_deref())?;
        Ok(Self { place, kill, found: None, coordinator, worker: None, began: Instant::now() })
    }

    /// The coordinator died: look at what it left, and start it again.
    fn coordinator_died(&mut self) -> Result<()> {
        self.expected(Side::Coordinator)?;
        self.found = Some(Found::look(&self.place.data, &self.place.log)?);
        self.coordinator = self.place.coordinator(None)?;
        ensure!(
            self.place.leads(&mut self.coordinator)?,
            "it does not start again: {}",
            self.coordinator.said()
        );
        Ok(())
    }

    /// The worker died: the coordinator stands still while its state is looked at.
    fn worker_died(&mut self) -> Result<()> {
        self.expected(Side::Worker)?;
        let (data, log) = (&self.place.data, &self.place.log);
        self.found = Some(self.coordinator.while_stopped(|| Found::look(data, log))?);
        self.worker = Some(self.place.worker(None)?);
        Ok(())
    }

    fn expected(&self, side: Side) -> Result<()> {
        let process = if side == Side::Worker { self.worker.as_ref() } else { Some(&self.coordinator) };
        let said = process.map(Process::said).unwrap_or_default();
        ensure!(self.found.is_none() && self.kill.is_some_and(|k| k.side == side), "{side:?} died: {said}");
        Ok(())
    }

    /// Starts everything and hands the film over; the job's id. Every submit has the same key.
    fn begin(&mut self) -> Result<String> {
        if !self.place.leads(&mut self.coordinator)? {
            self.coordinator_died()?;
        }
        let job = self.submit()?;
        let switch = self.kill.and_then(|k| k.switch(Side::Worker));
        self.worker = Some(self.place.worker(switch.as_deref())?);
        self.began = Instant::now();
        Ok(job)
    }

    fn submit(&mut self) -> Result<String> {
        if let Some(job) = self.place.submit(KEY, PRESET)? {
            return Ok(job);
        }
        let coordinator = &mut self.coordinator;
        tool::wait_until("a coordinator that does not answer has died", PATIENCE, || {
            coordinator.ended().transpose()
        })??;
        self.coordinator_died()?;
        self.place.submit(KEY, PRESET)?.context("a coordinator that was started again answers")
    }

    /// One look at everything: who died, who has to die, is it done?
    fn look(&mut self) -> Result<bool> {
        if let Some(Kill { side, at: Moment::Elapsed(after) }) = self.kill
            && self.found.is_none()
            && self.began.elapsed() >= after
        {
            match side {
                Side::Coordinator => self.coordinator.cut()?,
                Side::Worker => self.worker.as_mut().context("a worker")?.cut()?,
            }
        }
        if self.coordinator.ended()?.is_some() {
            self.coordinator_died()?;
        }
        if self.worker.as_mut().context("a worker")?.ended()?.is_some() {
            self.worker_died()?;
        }
        self.place.published(1)
    }

    /// Takes the job to Published and both processes down; a kill may still come on the way down. Gives the job and the
    /// time it took.
    fn run_to_end(&mut self) -> Result<(String, Duration)> {
        let job = self.begin()?;
        let done = tool::wait_until("the job is published", PATIENCE, || match self.look() {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        });
        done.and_then(|r| r).with_context(|| {
            let worker = self.worker.as_ref().map(Process::said).unwrap_or_default();
            format!("coordinator:\n{}\nworker:\n{worker}", self.coordinator.said())
        })?;
        let wall = self.began.elapsed();
        ensure!(self.submit()? == job, "the same key is another job after a kill");
        let left = self.worker.as_mut().context("a worker")?.leave()?;
        if !left.success() {
            // nothing is left to do: another worker would only leave again
            self.expected(Side::Worker)?;
            let (data, log) = (&self.place.data, &self.place.log);
            self.found = Some(self.coordinator.while_stopped(|| Found::look(data, log))?);
        }
        if !self.coordinator.leave()?.success() {
            self.coordinator_died()?;
            ensure!(self.place.published(1)?, "published no more after a kill on the way down");
            ensure!(self.coordinator.leave()?.success(), "{}", self.coordinator.said());
        }
        Ok((job, wall))
    }
}

/// Every file below a package by its hash, but `report.json`, which tells times.
pub(crate) fn files(package: &Path) -> Result<BTreeMap<String, Sha256>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![package.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let name = path.strip_prefix(package)?.to_str().context("UTF-8")?.to_owned();
            if path.is_dir() && !name.starts_with('.') {
                folders.push(path);
            } else if path.is_file() && name != "report.json" {
                found.insert(name, Sha256::of(&std::fs::read(&path)?));
            }
        }
    }
    Ok(found)
}

/// The kinds of all effects told in JSON logs, by side, in their order.
fn effects(log: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let mut found: BTreeMap<String, BTreeMap<u64, String>> = BTreeMap::new();
    for line in log.lines().filter(|l| l.contains("reelmill_effects")) {
        let told: Value = serde_json::from_str(line)?;
        let text = |name: &str| told["fields"][name].as_str().map(str::to_owned).context("a text");
        let number = told["fields"]["number"].as_u64().context("a number")?;
        found.entry(text("side")?).or_default().insert(number, text("kind")?);
    }
    Ok(found.into_iter().map(|(side, kinds)| (side, kinds.into_values().collect())).collect())
}

/// The effects of one side of a run that is over, in their order.
fn told(place: &Place<'_>, side: Side) -> Result<Vec<String>> {
    let log = std::fs::read_to_string(place.said(side.role()))?;
    effects(&log)?.remove(side.role()).context("effects are told")
}

/// Runs a command to its good end; the effects of either side.
pub(crate) fn effects_of(command: &mut Command) -> Result<BTreeMap<String, Vec<String>>> {
    command.args(["--log-json", "--log", "reelmill_effects=debug"]);
    effects(&tool::run(command, PATIENCE)?.success()?.stderr)
}

/// The run that all others are held against.
pub(crate) fn undisturbed(bench: &Bench) -> Reference {
    let run = || -> Result<Reference> {
        let mut run = Run::new(Place::new(bench, "undisturbed")?, None)?;
        let (job, wall) = run.run_to_end()?;
        Ok(Reference {
            files: files(&run.place.package(&job))?,
            encodes: encodes::started(&run.place.log, &BTreeSet::new())?,
            effects: [Side::Coordinator, Side::Worker]
                .into_iter()
                .map(|side| Ok((side, told(&run.place, side)?)))
                .collect::<Result<_>>()?,
            wall,
        })
    };
    run().unwrap_or_else(|e| panic!("undisturbed: {e:#}"))
}

/// Tries every kill, more at a time than there are cores: a run waits for leases and for processes most of the time.
pub(crate) fn run_all(bench: &Bench, reference: &Reference, kills: &[Kill]) -> Tally {
    let (next, results) = (AtomicUsize::new(0), Mutex::new((Tally::default(), Vec::new())));
    let threads = 2 * std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(kill) = kills.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = one(bench, reference, *kill);
                    let mut results = results.lock().expect("not poisoned");
                    match result {
                        Ok(tally) => results.0.add(&tally),
                        Err(error) => results.1.push(format!("{kill:?}: {error:#}")),
                    }
                }
            });
        }
    });
    let (tally, failures) = results.into_inner().expect("not poisoned");
    assert!(failures.is_empty(), "{} of {} kills:\n{}", failures.len(), kills.len(), failures.join("\n"));
    tally
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.killed += other.killed;
        self.missed += other.missed;
        self.committed += other.committed;
        self.repeated += other.repeated;
    }

    /// Holds a run that has ended against the undisturbed one.
    pub(crate) fn of(reference: &Reference, package: &Path, log: &Path, kills: &[Found]) -> Result<Self> {
        for found in kills {
            found.check(log)?;
        }
        let made = files(package)?;
        for (name, hash) in &reference.files {
            ensure!(made.get(name) == Some(hash), "{name} is not what an undisturbed run makes");
        }
        let more: Vec<&String> = made.keys().filter(|n| !reference.files.contains_key(*n)).collect();
        ensure!(more.is_empty(), "an undisturbed run does not leave {more:?}");
        let started = encodes::started(log, &BTreeSet::new())?;
        for name in reference.encodes.keys() {
            ensure!(started.contains_key(name), "{name} was never encoded");
        }
        let times = |encodes: &BTreeMap<String, u32>| encodes.values().sum::<u32>();
        Ok(Self {
            killed: kills.len(),
            missed: usize::from(kills.is_empty()),
            committed: kills.iter().map(|f| f.committed.len()).sum(),
            repeated: times(&started) - times(&reference.encodes),
        })
    }
}

fn one(bench: &Bench, reference: &Reference, kill: Kill) -> Result<Tally> {
    let room =
        format!("{}-{:?}", kill.side.role(), kill.at).replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let mut run = Run::new(Place::new(bench, &room)?, Some(kill))?;
    let (job, _) = run.run_to_end()?;
    let kills: Vec<Found> = run.found.take().into_iter().collect();
    if let (true, Moment::Effect(k, _)) = (kills.is_empty(), kill.at) {
        // runs differ by a few effects: how often a worker asks for work depends on what it finishes together
        let performed = told(&run.place, kill.side)?.len() as u64;
        ensure!(performed < k, "not killed at effect {k} of {performed}");
    }
    let tally = Tally::of(reference, &run.place.package(&job), &run.place.log, &kills)?;
    // a soak has hundreds of these
    std::fs::remove_dir_all(run.place.data.parent().context("a room")?)?;
    Ok(tally)
}
