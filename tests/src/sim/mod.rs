//! The simulation: the two real machines, and models of everything around them.
//!
//! Coordinators ([`control`], [`sessions`], [`tasks`]), workers ([`labour`]), clients ([`client`]), the network ([`net`]), the state store and
//! object storage ([`store`]) live in one [`world`] of virtual time and one stream of chance, so a seed is a whole
//! history that can be run again. At every step the [`laws`] are checked (what coordinators let go, by [`watch`]): what must be true whatever goes wrong. A
//! seed says what goes wrong ([`scenario`]); faults stop at a time, and from then on every job must come to its end, soon
//! ([`rest`]).
//!
//! It proves itself by finding bugs that are put in on purpose: [`Bug`].

mod audits;
mod bindings;
mod client;
mod control;
mod labour;
mod laws;
mod net;
mod plans;
mod rest;
pub mod rng;
mod scenario;
mod sessions;
mod store;
pub mod tally;
mod tasks;
mod watch;
mod world;

use reelmill_coordinator_core::{Coordinator, CoordinatorConfig, sabotage::Sabotage as ControlBug};
use reelmill_worker_core::agent::{Agent, AgentConfig, Sabotage as AgentBug};
use scenario::Scenario;
use tally::Tally;
use world::World;

/// The bug that a run's processes have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Bug {
    /// None.
    #[default]
    None,
    /// All coordinators have this one.
    Control(ControlBug),
    /// All workers have this one.
    Agent(AgentBug),
    /// The shells of all workers delete what a lost attempt of theirs had uploaded, by the attempt.
    DeleteByAttempt,
}

impl Bug {
    fn coordinator(self, config: CoordinatorConfig) -> Coordinator {
        match self {
            Self::Control(bug) => Coordinator::sabotaged(config, bug),
            Self::None | Self::Agent(_) | Self::DeleteByAttempt => Coordinator::new(config),
        }
    }

    fn agent(self, config: AgentConfig) -> Agent {
        match self {
            Self::Agent(bug) => Agent::sabotaged(config, bug),
            Self::None | Self::Control(_) | Self::DeleteByAttempt => Agent::new(config),
        }
    }

    /// A driver belongs to the bug that takes a fenced write as done: it performs what waited for it.
    fn is_fencing(self) -> bool {
        self == Self::Control(ControlBug::FencedIgnored)
    }
}

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The law that was broken, if one was.
    pub broken: Option<String>,
    /// Hash of the course.
    pub hash: u64,
    /// Virtual milliseconds it took.
    pub took_ms: u64,
    /// The longest that was waited, after the faults had stopped, until something came of some open job, milliseconds.
    pub longest_wait_ms: u64,
    /// How often what happened.
    pub tally: Tally,
}

/// Runs a seed.
pub fn run(seed: u64, bug: Bug, print: bool) -> Outcome {
    let mut world = World::new(Scenario::of(seed), bug, print);
    world.run();
    Outcome {
        broken: world.laws.broken.take(),
        hash: world.trace.hash(),
        took_ms: world.now_ms,
        longest_wait_ms: world.rest.longest_ms,
        tally: world.tally,
    }
}
