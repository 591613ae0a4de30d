//! The real shells over a simulated network (turmoil): the coordinator's driver, gRPC server and etcd adapter, the
//! worker's session, source and upload, with etcd-client against a small etcd of our own, objects in memory that fail,
//! and something quicker in place of ffmpeg.
//!
//! What the simulation of the pure machines (`sim`) cannot see is judged here: connections that break, hang or come back,
//! answers that are lost, keep-alives, retries, redirects, shutdown. A seed is a whole history: `mad-turmoil` takes
//! chance and clocks from the simulation, which is for the whole process, so that each seed runs in a process of its own.
//!
//! `REELMILL_TURMOIL_SEED=7` replays a seed with its log; `REELMILL_TURMOIL_SEEDS=1000` runs so many.

mod client;
mod conforms;
mod craft;
mod etcd;
#[path = "../../../coordinator/tests/shells/film.rs"]
#[allow(dead_code, reason = "only a part of it is needed here")]
mod film;
mod hosts;
mod sabotage;
mod scenario;
mod tell;
mod wire;
mod world;

use libtest_mimic::{Arguments, Failed, Trial};
use rand::SeedableRng as _;
use sabotage::Bug;
use scenario::Scenario;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use world::Outcome;

/// Seeds of an ordinary run.
const SEEDS: u64 = 20;
/// Seeds that come into what is seldom, too.
const MANY: u64 = 100;
/// Seeds within which each bug is found; most of them at once.
const FINDS: u64 = 60;
/// Seeds that are run twice.
const TWICE: u64 = 4;
/// One seed, for the process that runs it.
const SEED: &str = "REELMILL_TURMOIL_SEED";
/// The bug that its processes have.
const BUG: &str = "REELMILL_TURMOIL_BUG";
/// Asks a process to run the suite of state stores instead.
const SUITE: &str = "REELMILL_TURMOIL_SUITE";
/// How a process says that a law was broken.
const BROKEN: &str = "BROKEN ";

static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// The first panic of any task.
fn panicked() -> Option<String> {
    PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// The metrics recorder measures the processor's counter against the clock, and waits for time to pass.
fn warm_up() {
    let paused = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    paused.expect("a runtime").block_on(async {
        let recorder = tokio::task::spawn_blocking(|| drop(reelmill_coordinator::recorder()));
        while !recorder.is_finished() {
            tokio::time::advance(std::time::Duration::from_micros(10)).await;
        }
    });
}

/// Runs one seed in this process, after the same without faults; what each job's package must be like is from there.
fn run(seed: u64, bug: Bug) -> Outcome {
    let clocks = mad_turmoil::time::SimClocksGuard::init();
    tell::listen(std::env::var("REELMILL_TURMOIL_LOG").ok());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANIC.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| info.to_string());
        hook(info);
    }));
    // on a thread of its own, and before chance is the seed's: several threads are at work here
    std::thread::spawn(warm_up).join().expect("the clock has been measured");
    // nor is this name by the seed's chance: where another process with the seed has it, one would be drawn once more
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = scratch.path().to_owned();
    mad_turmoil::rand::set_rng(rand::rngs::StdRng::seed_from_u64(seed));
    // a new thread: what it hashes by is the seed's from the beginning
    let outcome = std::thread::spawn(move || both(seed, bug, &directory)).join();
    drop(clocks);
    outcome.unwrap_or_else(|_| panic!("the run itself panicked"))
}

fn both(seed: u64, bug: Bug, scratch: &Path) -> Outcome {
    let scenario = Scenario::of(seed);
    let wanted = world::run(&scenario.undisturbed(), Bug::None, &scratch.join("undisturbed"));
    assert_eq!(wanted.broken, None, "undisturbed");
    let mut outcome = world::run(&scenario, bug, &scratch.join("disturbed"));
    let packages = |outcome: &Outcome| outcome.jobs.iter().map(|job| job.package.clone()).collect::<Vec<_>>();
    if outcome.broken.is_none() && packages(&outcome) != packages(&wanted) {
        outcome.broken = Some("a package differs from the undisturbed run's".to_owned());
    }
    outcome
}

/// Runs one seed and tells of it: counts, the hash, and what is wrong.
fn one(seed: u64) {
    let bug = std::env::var(BUG).map_or(Bug::None, |name| Bug::named(&name).expect("a bug"));
    let outcome = run(seed, bug);
    for (what, times) in outcome.tally.iter() {
        println!("{times:>8}  {what}");
    }
    println!("hash {:016x} after {:?}", outcome.hash, outcome.took);
    if let Some(broken) = outcome.broken {
        println!("{BROKEN}{broken}");
    }
}

/// What a seed's process has told.
struct Told {
    /// All of it.
    text: String,
    /// What is wrong.
    broken: Option<String>,
}

/// Runs a seed in a process of its own.
fn replay(seed: u64, bug: Bug) -> Told {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env(SEED, seed.to_string());
    if bug != Bug::None {
        command.env(BUG, format!("{bug:?}"));
    }
    told(&mut command)
}

fn told(command: &mut Command) -> Told {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output().expect("it starts");
    let text = String::from_utf8_lossy(&stdout).into_owned();
    let found = text.lines().find_map(|line| line.strip_prefix(BROKEN)).map(str::to_owned);
    let crashed = || format!("{status}: {}", String::from_utf8_lossy(&stderr));
    let broken = found.or_else(|| (!status.success()).then(crashed));
    Told { text, broken }
}

/// Runs seeds on two threads.
fn replay_all(seeds: u64) -> Vec<(u64, Told)> {
    let half = |odd: u64| -> Vec<_> {
        (0..seeds).filter(|seed| seed % 2 == odd).map(|seed| (seed, replay(seed, Bug::None))).collect()
    };
    std::thread::scope(|scope| {
        let odd = scope.spawn(|| half(1));
        let mut all = half(0);
        all.extend(odd.join().expect("the other half"));
        all
    })
}

fn every_seed_keeps_the_laws() -> Result<(), Failed> {
    let seeds = number("REELMILL_TURMOIL_SEEDS").unwrap_or(SEEDS);
    let (mut counts, mut broken) = (BTreeMap::<String, u64>::new(), Vec::new());
    for (seed, told) in replay_all(seeds) {
        let why = told.broken.map(|why| {
            format!("seed {seed}: {why}\n    {SEED}={seed} REELMILL_TURMOIL_LOG=debug,turmoil=off,h2=off cargo test -p reelmill-tests --test network")
        });
        broken.extend(why);
        for line in told.text.lines() {
            if let Some((times, what)) = line.trim().split_once("  ")
                && let Ok(times) = times.parse::<u64>()
            {
                *counts.entry(what.to_owned()).or_default() += times;
            }
        }
    }
    for (what, times) in &counts {
        println!("{times:>10}  {what}");
    }
    if !broken.is_empty() {
        return Err(format!("{} of {seeds} seeds:\n{}", broken.len(), broken.join("\n")).into());
    }
    let often = tell::OFTEN.iter().filter(|_| seeds >= SEEDS);
    let sometimes = tell::SOMETIMES.iter().filter(|_| seeds >= MANY);
    let never = often.chain(sometimes).find(|what| !counts.contains_key(**what));
    never.map_or(Ok(()), |what| Err(format!("no seed came to this: {what}").into()))
}

/// Equal seeds say the same to each other at the same times, byte for byte; others do not.
fn a_seed_is_a_history() -> Result<(), Failed> {
    let mut hashes = BTreeSet::new();
    for seed in 0..TWICE {
        // beside each other: what one process leaves anywhere is nothing to the other
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| replay(seed, Bug::None).text);
            (replay(seed, Bug::None).text, first.join().expect("the first"))
        });
        if first != second {
            return Err(format!("seed {seed} ran differently:\n{first}\n{second}").into());
        }
        hashes.extend(first.lines().find(|line| line.starts_with("hash")).map(str::to_owned));
    }
    match hashes.len() as u64 {
        TWICE => Ok(()),
        different => Err(format!("{TWICE} seeds, {different} histories").into()),
    }
}

/// In a process of its own: runs the suite over the small etcd.
fn conform() {
    let _clocks = mad_turmoil::time::SimClocksGuard::init();
    if let Err(error) = std::thread::spawn(conforms::run).join().expect("it does not panic") {
        println!("{BROKEN}{error}");
    }
}

fn the_small_etcd_conforms() -> Result<(), Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    told(command.env(SUITE, "1")).broken.map_or(Ok(()), |why| Err(why.into()))
}

/// A bug is found within a few seeds.
fn finds(bug: Bug) -> Result<(), Failed> {
    for seed in 0..FINDS {
        if let Some(why) = replay(seed, bug).broken {
            println!("{bug:?}: seed {seed}: {}", why.lines().next().unwrap_or_default());
            return Ok(());
        }
    }
    Err(format!("{bug:?} was not found within {FINDS} seeds").into())
}

fn main() {
    if let Some(seed) = number(SEED) {
        return one(seed);
    }
    if std::env::var_os(SUITE).is_some() {
        return conform();
    }
    let mut trials = vec![
        Trial::test("every_seed_keeps_the_laws", every_seed_keeps_the_laws),
        Trial::test("a_seed_is_a_history", a_seed_is_a_history),
        Trial::test("the_small_etcd_conforms", the_small_etcd_conforms),
    ];
    trials.extend(Bug::ALL.map(|bug| Trial::test(format!("finds_{bug:?}"), move || finds(bug))));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
