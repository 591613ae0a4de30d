//! How long work takes on whom.
//!
//! A worker's pace is what its attempts took over what was predicted; before its first commit, what the fleet's pace
//! and its proven speed say. Estimates only choose between slots: nothing depends on their being right.

use crate::worker::Worker;
use reelmill_common::capability::Needs;

/// The pace that is believed before anything was measured, thousandths.
const UNKNOWN: u64 = 1_000;

/// What paces are told by besides what was measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pacing {
    /// Before anything was measured, speeds are held against their mean; 0: it is not known.
    pub(crate) mean_speed: u64,
}

/// Measured paces of the fleet, smoothed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paces {
    /// Durations over predictions, thousandths.
    pace_permille: Option<u64>,
    /// The same, times the worker's proven speed: what divided by a speed gives the pace of a worker not measured yet.
    reach: Option<u64>,
}

impl Paces {
    /// An attempt of an encoder took this many thousandths of its prediction, on a worker of this speed.
    pub(crate) fn measured(&mut self, pace_permille: u64, speed: u64) {
        let pace = pace_permille.clamp(10, 1_000_000);
        let smoothed = |old: Option<u64>, new: u64| Some(old.map_or(new, |old| (old * 7 + new) / 8));
        self.pace_permille = smoothed(self.pace_permille, pace);
        self.reach = smoothed(self.reach, pace.saturating_mul(speed));
    }

    /// What a worker's pace is taken to be, thousandths.
    pub(crate) fn of(self, worker: &Worker, needs: Needs, pacing: Pacing) -> u64 {
        let speed = worker.speed(needs);
        let by_speed = || match (self.reach, pacing.mean_speed) {
            (Some(reach), _) if speed > 0 => Some(reach / speed),
            (None, mean) if speed > 0 && mean > 0 => Some(UNKNOWN * mean / speed),
            _ => self.pace_permille,
        };
        worker.pace_permille.or_else(by_speed).unwrap_or(UNKNOWN).max(1)
    }
}
