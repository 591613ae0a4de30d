//! Until when all that waits can be done, and which slot should leave a chunk to another for it.
//!
//! From the workers' paces comes the [`Horizon`]: the time by which the fleet could finish everything that is ready. A
//! slot that would need longer than that for a chunk leaves it to a faster one: on machines of unlike speed the end of a
//! film would otherwise wait for the slowest (list scheduling on related machines: Gonzalez, Ibarra, Sahni, SIAM J.
//! Comput. 1977, who give each job to the machine that finishes it first).
//!
//! Looking at every slot costs as much as the fleet, so it is not done at every event: a horizon is kept for as many
//! passes as a [`SLOTS_A_LOOK`]th of the slots, and no longer than [`KEPT_MS`].

use crate::attempt::{Attempt, Phase};
use crate::config::Rules;
use crate::leader::Leader;
use crate::pace::Pacing;
use crate::work::{SpecRef, WorkKind};
use crate::worker::Worker;
use reelmill_common::Millis;
use reelmill_common::capability::Needs;
use reelmill_common::ladder::EncoderFamily;

/// With more ready chunks a slot than this the end is far: the longest go first, whoever takes them.
const FAR_PER_SLOT: usize = 32;
/// A horizon is looked at by one pass for so many slots.
const SLOTS_A_LOOK: u32 = 16;
/// A horizon is not kept for longer, milliseconds.
const KEPT_MS: u64 = 250;
/// Work without an encoder: any speed counts.
const ANY: Needs = Needs { family: None, memory_mib: 0 };

/// When slots get free, and until when they could have done all that is ready.
#[derive(Debug, Default)]
pub(crate) struct Horizon {
    /// When it was looked at.
    at: Millis,
    /// Passes that may still go by it.
    looks: u32,
    /// Slots of workers that are connected.
    pub(crate) slots: u32,
    /// Chunks of several tenants wait: a slot that one left would be the other's, and it would lose its share by having
    /// little left. So nothing is left to faster ones.
    is_shared: bool,
    /// How paces are told.
    pub(crate) pacing: Pacing,
    /// `None`: the end is far, or nothing runs that could be waited for.
    until: Option<Until>,
    /// Of the slots that can take an encoder's work, now or when they are free, those that no other one outdoes, from the
    /// fastest, which may be the last to be free, to the one that is free first.
    best: Vec<Slot>,
}

/// For work of this family.
#[derive(Clone, Copy, Debug)]
struct Until {
    family: Option<EncoderFamily>,
    /// The slot that is first done with the longest chunk is done with it.
    longest: Millis,
    /// All that is ready is done.
    all: Millis,
}

/// One slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Slot {
    pace_permille: u64,
    free_in_ms: u64,
}

impl Slot {
    fn done_in(&self, cost_ms: u64) -> u64 {
        self.free_in_ms.saturating_add(cost_ms.saturating_mul(self.pace_permille) / 1_000)
    }
}

impl Horizon {
    /// May a pass still go by it?
    fn holds(&self, now: Millis) -> bool {
        self.looks > 0 && now.since(self.at) < KEPT_MS
    }

    /// When the chunk would be done by the slot that would be done with it first, milliseconds from now.
    pub(crate) fn soonest_ms(&self, now: Millis, spec: SpecRef) -> Option<u64> {
        let old = now.since(self.at);
        let done_in =
            |s: &Slot| Slot { free_in_ms: s.free_in_ms.saturating_sub(old), ..*s }.done_in(spec.cost_ms);
        self.best.iter().map(done_in).min()
    }

    /// The most that a chunk may cost which a worker of such a pace is to begin now, milliseconds: it would be done by
    /// the time that everything else could be. With half as much again to spare, because predictions are off by content;
    /// but the slot that would be first done with the longest may take it.
    pub(crate) fn most_ms(&self, now: Millis, family: Option<EncoderFamily>, pace_permille: u64) -> u64 {
        let Some(until) = self.until.filter(|u| u.family == family && !self.is_shared) else {
            return u64::MAX;
        };
        let may_take_ms = until.longest.since(now).max(until.all.since(now).saturating_mul(2) / 3);
        (may_take_ms.saturating_add(1).saturating_mul(1_000) - 1) / pace_permille.max(1)
    }
}

impl Leader {
    /// The horizon that a pass goes by. It is given back to the leader after the pass.
    pub(crate) fn look(&mut self, now: Millis, rules: &Rules, is_shared: bool) -> Horizon {
        let mut horizon = std::mem::take(&mut self.horizon);
        if !horizon.holds(now) {
            horizon = self.horizon(now, rules, is_shared);
            horizon.looks = (horizon.slots / SLOTS_A_LOOK).max(1);
        }
        horizon.looks -= 1;
        horizon.is_shared = is_shared;
        horizon
    }

    /// Looks at all that is ready and at every slot.
    pub(crate) fn horizon(&self, now: Millis, rules: &Rules, is_shared: bool) -> Horizon {
        let connected = || self.workers.values().filter(|w| w.session.is_some());
        let speeds = connected().map(|w| w.speed(ANY)).sum::<u64>() / (connected().count() as u64).max(1);
        let pacing = Pacing { mean_speed: speeds };
        let mut horizon = Horizon { at: now, slots: self.slots(), is_shared, pacing, ..Horizon::default() };
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
        if count > FAR_PER_SLOT * horizon.slots as usize {
            return horizon;
        }
        // nothing is ready: what runs is looked at, for second attempts
        let needs = longest.map_or(ANY, |l| l.needs);
        let slots = self.slots_until(now, rules, &horizon, needs);
        horizon.best = best(&slots);
        let Some(longest) = longest else { return horizon };
        let runs = slots.iter().any(|s| s.free_in_ms > 0);
        horizon.until = horizon.soonest_ms(now, longest).filter(|_| runs).map(|soonest_ms| Until {
            family: longest.needs.family,
            longest: now.plus(soonest_ms.saturating_add(soonest_ms / 50)),
            all: now.plus(all_done_in(&slots, cost_ms, least_ms.clamp(1, longest.cost_ms))),
        });
        horizon
    }

    /// Every slot that can take such work, now or when it is free.
    fn slots_until(&self, now: Millis, rules: &Rules, horizon: &Horizon, needs: Needs) -> Vec<Slot> {
        let mut slots = Vec::new();
        for worker in self.workers.values().filter(|w| w.is_eligible(needs)) {
            let pace_permille = self.paces.of(worker, needs, horizon.pacing);
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

    /// How long a worker will take for a chunk, milliseconds.
    pub(crate) fn takes_ms(&self, horizon: &Horizon, worker: &Worker, spec: SpecRef) -> u64 {
        let pace = self.paces.of(worker, spec.needs, horizon.pacing);
        (spec.cost_ms.saturating_mul(pace) / 1_000).max(1)
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

/// Those than which no other one is both free sooner and faster: whatever a chunk costs, one of them is first done with
/// it. From the fastest to the slowest.
fn best(slots: &[Slot]) -> Vec<Slot> {
    let mut slots = slots.to_vec();
    slots.sort_unstable();
    let mut best: Vec<Slot> = Vec::new();
    for slot in slots {
        if best.last().is_none_or(|b| slot.free_in_ms < b.free_in_ms) {
            best.push(slot);
        }
    }
    best
}

/// The least time in which the slots could do work of this cost, each slot a whole number of quanta (the shortest
/// chunks come last and fill what is left), to within a hundredth.
fn all_done_in(slots: &[Slot], cost_ms: u64, quantum_ms: u64) -> u64 {
    let takes = |s: &Slot| (s.free_in_ms, (quantum_ms.saturating_mul(s.pace_permille) / 1_000).max(1));
    let slots: Vec<(u64, u64)> = slots.iter().map(takes).collect();
    let wanted = cost_ms.div_ceil(quantum_ms.max(1));
    let done_by = |t: u64| {
        slots.iter().map(|(free, takes)| t.saturating_sub(*free) / takes).fold(0, u64::saturating_add)
    };
    let mut enough = 1_000;
    while done_by(enough) < wanted {
        if enough > u64::MAX / 4 {
            return enough;
        }
        enough *= 2;
    }
    let mut short = enough / 2;
    while enough - short > enough / 100 + 1 {
        let middle = short + (enough - short) / 2;
        if done_by(middle) >= wanted { enough = middle } else { short = middle }
    }
    enough
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slots(of: &[(u64, u64)]) -> Vec<Slot> {
        let slot = |(free_in_ms, pace_permille): &(u64, u64)| Slot {
            free_in_ms: *free_in_ms,
            pace_permille: *pace_permille,
        };
        of.iter().map(slot).collect()
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

    proptest! {
        #[test]
        fn some_of_the_best_is_first_done_whatever_it_costs(
            of in prop::collection::vec((0u64..60_000, 100u64..5_000), 1..40),
            cost_ms in 0u64..60_000,
        ) {
            let slots = slots(&of);
            let first = |of: &[Slot]| of.iter().map(|s| s.done_in(cost_ms)).min();
            prop_assert_eq!(first(&best(&slots)), first(&slots));
        }

        #[test]
        fn what_is_timely_is_done_in_time(
            (longest, all, pace, cost_ms) in (1u64..100_000, 1u64..100_000, 1u64..1_000_000, 1u64..100_000),
        ) {
            let until = Until { family: None, longest: Millis(longest), all: Millis(all) };
            let horizon = Horizon { until: Some(until), ..Horizon::default() };
            let takes_ms = cost_ms * pace / 1_000;
            let timely = takes_ms <= longest.max(all * 2 / 3);
            prop_assert_eq!(cost_ms <= horizon.most_ms(Millis(0), None, pace), timely);
            prop_assert_eq!(horizon.most_ms(Millis(0), Some(EncoderFamily::X264), pace), u64::MAX);
        }
    }
}
