//! What an attempt has used up, added up while it goes on: whoever asks is told, however the attempt ends.
//!
//! CPU time and local reads come from `/proc` ([`crate::process::Cost`]), of a running child as of its last look; bytes
//! of the source that were read here, or served to ffmpeg, from the source's own counter.

use crate::process::{Cost, Watch};
use crate::source::Source;
use reelmill_common::Millis;
use reelmill_common::outcome::AttemptCost;
use std::sync::{Mutex, OnceLock, PoisonError};

/// One attempt's account.
#[derive(Debug)]
pub struct Spent {
    began: Millis,
    source: OnceLock<Source>,
    children: Mutex<Children>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Children {
    cpu_ms: u64,
    wall_ms: u64,
    /// Of the child that runs; its reads only where it reads the source itself.
    running: Cost,
}

impl Spent {
    /// Nothing yet; the wall time runs from `now`.
    pub fn new(now: Millis) -> Self {
        Self { began: now, source: OnceLock::new(), children: Mutex::default() }
    }

    /// The sum as of `now`.
    pub fn so_far(&self, now: Millis) -> AttemptCost {
        let children = *self.children.lock().unwrap_or_else(PoisonError::into_inner);
        AttemptCost {
            wall_ms: now.since(self.began),
            cpu_ms: children.cpu_ms + children.running.cpu_ms,
            encode_ms: children.wall_ms,
            source_bytes: self.source.get().map_or(0, Source::bytes_read) + children.running.read_bytes,
        }
    }

    /// The attempt reads this source, whose counter starts at 0 with it.
    pub(super) fn reads(&self, source: &Source) {
        // an attempt opens its source once
        let _ = self.source.set(source.clone());
    }

    /// A child has ended. `source` is what it read without us: the file it opened itself.
    pub(super) fn ended(&self, cost: Cost, wall_ms: u64, source: Option<&Source>) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.cpu_ms += cost.cpu_ms;
        children.wall_ms += wall_ms;
        children.running = Cost::default();
        if let Some(source) = source {
            source.count(cost.read_bytes);
        }
    }
}

/// Listens to a child and keeps its account up to date.
pub(super) struct Metered<'a> {
    pub(super) watch: &'a mut dyn Watch,
    pub(super) spent: &'a Spent,
    /// It opens the source's file itself.
    pub(super) opens_source: bool,
}

impl Watch for Metered<'_> {
    fn line(&mut self, line: &[u8], now: Millis) -> Result<(), String> {
        self.watch.line(line, now)
    }

    fn stalled(&mut self, now: Millis, so_far: Cost) -> Option<u64> {
        let read_bytes = if self.opens_source { so_far.read_bytes } else { 0 };
        self.spent.children.lock().unwrap_or_else(PoisonError::into_inner).running =
            Cost { read_bytes, ..so_far };
        self.watch.stalled(now, so_far)
    }
}
