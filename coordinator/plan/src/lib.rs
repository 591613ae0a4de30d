//! Pure media decisions: from a [`SourceIndex`](reelmill_common::index::SourceIndex) and a wish to a
//! [`Plan`](reelmill_common::plan::Plan) so detailed that workers have nothing left to decide, and from a plan and
//! the sizes of the files made for it to the HLS and DASH manifests.
//!
//! The order of use: [`ladder::fit`], [`analyse_spec`] (done by a worker), [`plan()`], and at the end
//! [`manifest::write`]. Nothing here waits, reads a clock, draws a random number or knows a host: the same input gives
//! the same bytes, on any machine, at any time.

mod audio;
pub mod audit;
mod chunks;
mod cost;
mod effort;
mod error;
mod film;
mod framemap;
mod grid;
pub mod ladder;
pub mod limits;
pub mod manifest;
mod picture;
mod planner;
mod rate;
pub mod report;
pub mod revise;
mod tail;
#[cfg(test)]
#[path = "../tests/films/mod.rs"]
mod testing;
mod timeline;
pub mod wish;
mod words;

pub use cost::cost_class;
pub use error::PlanError;
pub use planner::{PlanInput, analyse_spec, plan};
