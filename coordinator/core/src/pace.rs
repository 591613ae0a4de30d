//! How long work takes on whom, and until when all that waits can be done.
//!
//! A worker's pace is what its attempts took over what was predicted; before its first commit, what the fleet's pace
//! and its proven speed say. From paces comes the [`Horizon`]: the time in which the fleet could finish everything that
//! is ready. A slot that would need longer than that for a chunk leaves it to a faster one: on machines of unlike
//! speed the end of a film would otherwise wait for the slowest (list scheduling on related machines: Gonzalez, Ibarra,
//! Sahni, SIAM J. Comput. 1977, who give each job to the machine that finishes it first).
//!
//! Estimates only choose between slots. What failed before is not held back, nor is anything while nothing runs.

use crate::attempt::{Attempt, Phase};
use crate::config::Rules;
use crate::leader::Leader;
use crate::work::{SpecRef, WorkKind};
use crate::worker::Worker;
use reelmill_common::Millis;
use reelmill_common::capability::Needs;
use reelmill_common::ladder::EncoderFamily;

/// With more ready chunks a slot than this the end is far: the longest go first, whoever takes them.
const FAR_PER_SLOT: usize = 32;
/// The pace that is believed before anything was measured, thousandths.
const UNKNOWN: u64 = 1_000;

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
    pub(crate) fn of(self, worker: &Worker, needs: Needs) -> u64 {
        let by_speed = || {
            let speed = worker.speed(needs);
            self.reach.filter(|_| speed > 0).map(|reach| reach / speed)
        };
        worker.pace_permille.or_else(by_speed).or(self.pace_permille).unwrap_or(UNKNOWN).max(1)
    }
}

/// When slots get free, and until when they could have done all that is ready.
#[derive(Debug, Default)]
pub(crate) struct Horizon {
    /// `None`: the end is far, or nothing runs that could be waited for.
    until: Option<Until>,
    /// Before anything was measured, speeds are held against their mean.
    mean_speed: u64,
    /// Every slot that can take an encoder's work, now or when it is free.
    slots: Vec<Slot>,
}

/// Milliseconds from now, for work of this family.
#[derive(Clone, Copy, Debug)]
struct Until {
    family: Option<EncoderFamily>,
    /// The slot that is first done with the longest chunk is done with it.
    longest_ms: u64,
    /// All that is ready is done.
    all_ms: u64,
}

impl Horizon {
    /// When the chunk would be done by the slot that would be done with it first, milliseconds from now.
    pub(crate) fn soonest_ms(&self, spec: SpecRef) -> Option<u64> {
        let done_in =
            |s: &Slot| s.free_in_ms.saturating_add(spec.cost_ms.saturating_mul(s.pace_permille) / 1_000);
        self.slots.iter().map(done_in).min()
    }
}

/// One slot.
#[derive(Debug)]
struct Slot {
    free_in_ms: u64,
    pace_permille: u64,
}

impl Leader {
    /// How long a worker will take for a chunk, milliseconds.
    pub(crate) fn takes_ms(&self, horizon: &Horizon, worker: &Worker, spec: SpecRef) -> u64 {
        (spec.cost_ms.saturating_mul(self.pace_permille(horizon, worker, spec.needs)) / 1_000).max(1)
    }

    fn pace_permille(&self, horizon: &Horizon, worker: &Worker, needs: Needs) -> u64 {
        let speed = worker.speed(needs);
        let unmeasured = self.paces.reach.is_none() && worker.pace_permille.is_none();
        match horizon.mean_speed {
            mean if unmeasured && mean > 0 && speed > 0 => UNKNOWN * mean / speed,
            _ => self.paces.of(worker, needs),
        }
    }

    /// Would the chunk be done on this worker by the time that everything else could be? With half as much again to
    /// spare, because predictions are off by content; but the slot that would be first done with the longest may take it.
    pub(crate) fn is_timely(&self, horizon: &Horizon, worker: &Worker, spec: SpecRef) -> bool {
        let Some(until) = horizon.until.filter(|u| u.family == spec.needs.family) else { return true };
        let takes_ms = self.takes_ms(horizon, worker, spec);
        takes_ms <= until.longest_ms || takes_ms.saturating_add(takes_ms / 2) <= until.all_ms
    }

    /// Looks at all that is ready and at every slot.
    pub(crate) fn horizon(&self, now: Millis, rules: &Rules) -> Horizon {
        let speeds: Vec<u64> =
            self.workers.values().filter(|w| w.session.is_some()).map(|w| w.speed(ANY)).collect();
        let mean_speed = speeds.iter().sum::<u64>() / (speeds.len() as u64).max(1);
        let mut horizon = Horizon { until: None, mean_speed, slots: Vec::new() };
        let (mut count, mut cost_ms) = (0usize, 0u64);
        let (mut longest, mut least_ms) = (None::<SpecRef>, u64::MAX);
        for id in self.ready.values().flatten().map(|(_, id)| id) {
            let Some(work) = self.jobs.get(id).filter(|j| j.hold_until <= now).and_then(|j| j.work.as_ref())
            else {
                continue;
            };
            count += work.ready_len();
            cost_ms += work.ready_cost_ms;
            let first = work.ready().next().map(|c| c.spec);
            longest = longest.into_iter().chain(first).max_by_key(|s| s.cost_ms);
            least_ms = least_ms.min(work.least_ready_ms());
        }
        if count > FAR_PER_SLOT * self.slots() as usize {
            return horizon;
        }
        // nothing is ready: what runs is looked at, for second attempts
        let needs = longest.map_or(ANY, |l| l.needs);
        horizon.slots = self.slots_until(now, rules, &horizon, needs);
        let Some(longest) = longest else { return horizon };
        let runs = horizon.slots.iter().any(|s| s.free_in_ms > 0);
        horizon.until = horizon.soonest_ms(longest).filter(|_| runs).map(|soonest_ms| Until {
            family: longest.needs.family,
            longest_ms: soonest_ms.saturating_add(soonest_ms / 50),
            all_ms: all_done_in(&horizon.slots, cost_ms, least_ms.clamp(1, longest.cost_ms)),
        });
        horizon
    }

    /// Every slot that can take such work, now or when it is free.
    fn slots_until(&self, now: Millis, rules: &Rules, horizon: &Horizon, needs: Needs) -> Vec<Slot> {
        let mut slots = Vec::new();
        for worker in self.workers.values().filter(|w| w.is_eligible(needs)) {
            let pace_permille = self.pace_permille(horizon, worker, needs);
            let busy = worker
                .held
                .iter()
                .filter(|a| !worker.uploading.contains(a))
                .filter_map(|a| self.attempts.get(a))
                .map(|a| self.left_ms(now, horizon, worker, a));
            let free = std::iter::repeat_n(0, worker.free_slots(now, rules) as usize);
            slots.extend(busy.chain(free).map(|free_in_ms| Slot { free_in_ms, pace_permille }));
        }
        slots
    }

    /// For how long an attempt will still run: by its progress, else by its worker's pace. What has overrun its
    /// prediction and shows no progress is taken to last as long again.
    pub(crate) fn left_ms(&self, now: Millis, horizon: &Horizon, worker: &Worker, a: &Attempt) -> u64 {
        if a.phase == Phase::Uploading {
            return 0;
        }
        let elapsed = now.since(a.offered_at);
        let (done, total) = a.progress;
        let predicted = self.takes_ms(horizon, worker, a.spec);
        match done {
            0 if a.kind == WorkKind::Encode && elapsed > predicted => elapsed,
            0 => predicted.saturating_sub(elapsed),
            _ => elapsed.saturating_mul(total.saturating_sub(done)) / done,
        }
    }
}

/// Work without an encoder: any speed counts.
const ANY: Needs = Needs { family: None, memory_mib: 0 };

/// The least time in which the slots could do work of this cost, each slot a whole number of quanta (the shortest
/// chunks come last and fill what is left), to within a hundredth.
fn all_done_in(slots: &[Slot], cost_ms: u64, quantum_ms: u64) -> u64 {
    let done_by = |t: u64| -> u64 {
        let quanta = |s: &Slot| {
            t.saturating_sub(s.free_in_ms) / (quantum_ms.saturating_mul(s.pace_permille) / 1_000).max(1)
        };
        slots.iter().map(|s| quanta(s).saturating_mul(quantum_ms)).fold(0, u64::saturating_add)
    };
    let mut enough = 1_000;
    while done_by(enough) < cost_ms {
        if enough > u64::MAX / 4 {
            return enough;
        }
        enough *= 2;
    }
    let mut short = enough / 2;
    while enough - short > enough / 100 + 1 {
        let middle = short + (enough - short) / 2;
        if done_by(middle) >= cost_ms { enough = middle } else { short = middle }
    }
    enough
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(of: &[(u64, u64)]) -> Vec<Slot> {
        of.iter()
            .map(|(free_in_ms, pace_permille)| Slot {
                free_in_ms: *free_in_ms,
                pace_permille: *pace_permille,
            })
            .collect()
    }

    #[test]
    fn the_end_is_when_whole_chunks_are_done() {
        let close =
            |got: u64, want: u64| assert!(got >= want && got <= want + want / 50 + 2, "{got} for {want}");
        close(all_done_in(&slots(&[(0, 1_000)]), 30_000, 10_000), 30_000);
        close(all_done_in(&slots(&[(0, 1_000), (0, 1_000)]), 30_000, 10_000), 20_000);
        // the slow one would need 40 s for its first: the fast one does all three
        close(all_done_in(&slots(&[(0, 1_000), (0, 4_000)]), 30_000, 10_000), 30_000);
        close(all_done_in(&slots(&[(5_000, 1_000), (0, 500)]), 30_000, 10_000), 15_000);
        assert!(all_done_in(&[], 1, 1) > u64::MAX / 8, "nobody is there");
    }
}
