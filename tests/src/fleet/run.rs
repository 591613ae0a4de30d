//! One run: the film on a fleet, and how it went.

use super::film::Film;
use super::trace::Try;
use super::world::World;
use crate::sim::rng::Rng;
use std::fmt;

/// Workers of one slot, as a run begins with them.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// True speed of each, permille of the reference.
    pub speed: Vec<u64>,
    /// The speed each has advertised.
    pub said: Vec<u64>,
    /// Attempts that fail, permille: half of them with a fault, half with their worker.
    pub fails_permille: u64,
    /// Every second worker has the odd build ([`Film::odd_ms`]).
    pub is_mixed: bool,
}

impl Fleet {
    /// `size` workers with speeds from 500 to 2,000 permille, advertised within a tenth, and 2 % failures.
    pub fn spread(size: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let speed: Vec<u64> = (0..size).map(|_| rng.range(500, 2_000)).collect();
        let said = speed.iter().map(|s| s * rng.range(900, 1_100) / 1_000).collect();
        Self { speed, said, fails_permille: 20, is_mixed: false }
    }

    /// The same, with two encoder builds.
    pub fn mixed(size: usize, seed: u64) -> Self {
        Self { is_mixed: true, fails_permille: 0, ..Self::spread(size, seed) }
    }

    /// Has the worker the odd build?
    pub(super) fn is_odd(&self, worker: usize) -> bool {
        self.is_mixed && worker % 2 == 1
    }

    /// `size` equal workers without a fault.
    pub fn equal(size: usize) -> Self {
        Self { speed: vec![1_000; size], said: vec![1_000; size], fails_permille: 0, is_mixed: false }
    }
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Run {
    /// From the plan to the last commit, milliseconds.
    pub makespan_ms: u64,
    /// The film's work over all workers' speeds, milliseconds: nothing is faster.
    pub ideal_ms: u64,
    /// Attempts leased; of these, second ones of stragglers and such as failed.
    pub attempts: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// For how long all workers together did what was committed, milliseconds.
    pub won_ms: u64,
    /// For how long they did what failed.
    pub lost_ms: u64,
    /// For how long they did what another one was done with first.
    pub doubled_ms: u64,
    /// All attempts that ended before the film did.
    pub tries: Vec<Try>,
}

impl Run {
    /// Ideal over makespan, permille.
    pub fn efficiency_permille(&self) -> u64 {
        self.ideal_ms * 1_000 / self.makespan_ms.max(1)
    }
}

/// Why a run has no end to tell of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unfinished {
    /// Nothing more came of it, for hours.
    Stalled,
    /// A job failed.
    Failed {
        /// Which, and what it says.
        why: String,
    },
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stalled => write!(f, "nothing more came of it, for hours"),
            Self::Failed { why } => write!(f, "{why}"),
        }
    }
}

impl std::error::Error for Unfinished {}

/// Runs the film on the fleet.
pub fn run(film: &Film, fleet: &Fleet, seed: u64) -> Result<Run, Unfinished> {
    let mut world = World::new(film, fleet, seed);
    world.begin();
    let ended = world.until(|w| w.ended)?;
    let speed: u64 = fleet.speed.iter().sum();
    Ok(Run {
        makespan_ms: ended.since(world.began),
        ideal_ms: film.work_ms * 1_000 / speed.max(1),
        attempts: world.attempts,
        failed: world.failed,
        won_ms: world.won_ms,
        lost_ms: world.lost_ms,
        doubled_ms: world.doubled_ms,
        tries: world.tries,
    })
}
