//! What a seed stands for: who runs, what is submitted, and what goes wrong when.

use crate::etcd::member::Rates;
use bytes::Bytes;
use reelmill_blob::chaos::ChaosRates;
use reelmill_tests::sim::rng::Rng;
use std::time::Duration;

/// Coordinators.
pub(crate) const COORDINATORS: u64 = 2;
/// Workers.
pub(crate) const WORKERS: u64 = 3;
/// Films that there are.
pub(crate) const FILMS: u64 = 2;

/// The bytes of a film, by its URL.
pub(crate) fn source_of(url: &str) -> Bytes {
    url.bytes().cycle().take(100_000).collect()
}

/// The URL of a film.
pub(crate) fn film(number: u64) -> String {
    format!("memory://films/film-{number}.mp4")
}

/// Something that goes wrong with hosts or the network between them, for a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    /// A process is killed.
    Crash(String),
    /// A process is asked to leave.
    Leave(String),
    /// Nothing gets through between two hosts; what was on its way is lost.
    Cut(String, String),
    /// Nothing gets through in one direction.
    OneWay(String, String),
    /// Nothing gets through until it all does, late.
    Hold(String, String),
    /// A host reaches nobody.
    Isolate(String),
    /// Somebody takes the leader's lease, or only its key.
    Depose {
        /// Its lease.
        lease: bool,
    },
}

impl Act {
    /// Its name, for counting.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Crash(host) if host.starts_with("etcd") => "an etcd member killed",
            Self::Crash(host) if host.starts_with("worker") => "a worker killed",
            Self::Crash(_) => "a coordinator killed",
            Self::Leave(host) if host.starts_with("worker") => "a worker left",
            Self::Leave(_) => "a coordinator left",
            Self::Cut(..) => "a link cut",
            Self::OneWay(..) => "a link cut one way",
            Self::Hold(..) => "a link held",
            Self::Isolate(_) => "a host isolated",
            Self::Depose { lease: true } => "the leader's lease revoked",
            Self::Depose { lease: false } => "the leader's key removed",
        }
    }
}

/// One run's circumstances.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) members: usize,
    pub(crate) slots: Vec<u32>,
    /// The film of each job, and when it is submitted after the one before.
    pub(crate) jobs: Vec<(u64, Duration)>,
    pub(crate) latency: Duration,
    /// Faults stop here.
    pub(crate) heal: Duration,
    pub(crate) etcd: Rates,
    pub(crate) objects: ChaosRates,
    /// Of a thousand specs.
    pub(crate) encoder_faults: u64,
    /// What goes wrong: when, and for how long.
    pub(crate) acts: Vec<(Duration, Act, Duration)>,
}

impl Scenario {
    /// The circumstances of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x4e45_5457_4f52_4b00);
        let ms = Duration::from_millis;
        let members = rng.pick(&[1, 3, 3]);
        let slots = (0..WORKERS).map(|_| rng.range(1, 2) as u32).collect();
        let jobs = (0..rng.range(3, 5)).map(|n| (n % FILMS, ms(rng.range(100, 9_000)))).collect();
        let latency = ms(rng.pick(&[10, 50, 400]));
        let heal = ms(rng.range(25_000, 50_000));
        let mut some = |high: u64| if rng.chance(300) { 0 } else { rng.range(1, high) };
        let etcd =
            Rates { before: some(40), after: some(60), late: some(50), slow: some(60), busy: some(20) };
        let mut few = |high: u64| some(high) as u32;
        let objects = ChaosRates {
            error_before: few(30),
            error_after: few(30),
            truncated: few(30),
            stall: few(15),
            slow_down: few(30),
        };
        let encoder_faults = some(100);
        let (mut at, gap) = (2_000, rng.range(1_500, 6_000));
        let mut acts = Vec::new();
        while Duration::from_millis(at) < heal {
            acts.push((ms(at), act(&mut rng, members as u64), ms(rng.range(200, 14_000))));
            at += rng.range(200, gap);
        }
        Self { seed, members, slots, jobs, latency, heal, etcd, objects, encoder_faults, acts }
    }

    /// The same in a world where nothing goes wrong.
    pub(crate) fn undisturbed(&self) -> Self {
        Self {
            latency: Duration::from_millis(10),
            heal: Duration::ZERO,
            etcd: Rates::default(),
            objects: ChaosRates::default(),
            encoder_faults: 0,
            jobs: self.jobs.iter().map(|(film, _)| (*film, Duration::ZERO)).collect(),
            acts: Vec::new(),
            ..self.clone()
        }
    }
}

fn act(rng: &mut Rng, members: u64) -> Act {
    let coordinator = |rng: &mut Rng| format!("coordinator-{}", rng.range(0, COORDINATORS - 1));
    let worker = |rng: &mut Rng| format!("worker-{}", rng.range(0, WORKERS - 1));
    let member = |rng: &mut Rng| format!("etcd-{}", rng.range(0, members - 1));
    let (a, b, c, d) = (coordinator(rng), worker(rng), member(rng), rng.chance(500));
    // between a coordinator and somebody
    let other = if d { b.clone() } else { c.clone() };
    match rng.range(0, 12) {
        0 | 1 => Act::Crash(a),
        2 => Act::Crash(b),
        3 => Act::Crash(c),
        4 => Act::Leave(a),
        5 => Act::Leave(b),
        6 | 7 => Act::Cut(a, other),
        8 if d => Act::OneWay(a, b),
        8 => Act::OneWay(c, a),
        9 if d => Act::OneWay(b, a),
        9 => Act::OneWay(a, c),
        10 => Act::Hold(a, other),
        11 => Act::Isolate(if d { a } else { b }),
        _ => Act::Depose { lease: d },
    }
}
