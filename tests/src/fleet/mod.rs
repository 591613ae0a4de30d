//! A simulated fleet: the real planner and the real control machine, over workers that only take time. It answers one
//! question: how much of a fleet's speed becomes progress.
//!
//! [`film`] is a two-hour film whose segments cost what segments of a real film were measured to cost; [`run()`] runs its
//! plan on workers of unlike speed, some of which fail: [`world`] is the time that passes and the coordinator, [`labour`]
//! the workers. Network and stores answer at once and never fail: what happens when they do is [`crate::sim`]'s.

pub mod film;
pub mod guests;
pub mod labour;
pub mod run;
pub mod trace;
pub mod world;

pub use film::Film;
pub use guests::{Guest, at_random, visit};
pub use run::{Fleet, Run, Unfinished, run};
pub use trace::tell;
