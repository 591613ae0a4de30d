//! The machine's face: takes events, returns steps.

use crate::config::CoordinatorConfig;
use crate::effect::Step;
use crate::event::Event;
use reelmill_common::Millis;

/// The control machine. Leads a term at most; without one it refuses every call and ignores the rest.
#[derive(Debug)]
pub struct Coordinator {
    config: CoordinatorConfig,
}

impl Coordinator {
    /// A machine that leads no term yet.
    pub fn new(config: CoordinatorConfig) -> Self {
        Self { config }
    }

    /// What follows from an event at a time. `now` never decreases within a process.
    pub fn handle(&mut self, now: Millis, event: Event) -> Step {
        let _ = (&self.config, now, event);
        Step::default()
    }
}
