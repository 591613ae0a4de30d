//! Until when all that waits can be done, and which slot should leave a chunk to another for it.
//!
//! From the workers' paces comes the [`Horizon`]: the time by which the fleet could finish everything that is ready. A
//! slot that would need longer than that for a chunk leaves it to a faster one: on machines of unlike speed the end of a
//! film would otherwise wait for the slowest (list scheduling on related machines: Gonzalez, Ibarra, Sahni, SIAM J.
//! Comput. 1977, who give each job to the machine that finishes it first).
//!
//! By when everything could be done is told by predicted costs and paces alone: a build's factors ([`crate::classes`]) are
//! about 1 over all that it does. Where one chunk is looked at they count, on whomever it would run.
//!
//! Looking at every slot costs as much as the fleet, so it is not done at every event: a horizon is kept for as many
//! passes as a [`SLOTS_A_LOOK`]th of the slots, and no longer than [`KEPT_MS`].

use crate::advantage::{Leaves, leaves};
use crate::attempt::{Attempt, Phase};
use crate::chunks::Chunks;
use crate::classes::{AS_PREDICTED, Build, Classes};
use crate::config::Rules;
use crate::leader::Leader;
use crate::pace::Pacing;
use crate::sizes::Sizes;
use crate::work::WorkKind;
use crate::worker::Worker;
use reelmill_common::capability::Needs;
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::plan::CostClass;
use reelmill_common::{JobId, Millis};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// With more ready chunks a slot than this the end is far: the longest go first, whoever takes them.
const FAR_PER_SLOT: u64 = 32;
/// A horizon is looked at by one pass for so many slots.
const SLOTS_A_LOOK: u32 = 16;
/// A horizon is not kept for longer, milliseconds.
const KEPT_MS: u64 = 250;
/// A chunk is done in time if it is within this part of the horizon, over and under: the rest is to spare, because
/// predictions are off by content and what fails begins anew.
const IN_TIME: (u64, u64) = (3, 4);
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
    /// There is so much to do that nobody leaves anything to anybody.
    far: bool,
    /// By the encoder that work needs, when all of it that is ready could be done. Nothing of a family when its end is far,
    /// nothing of it waits, or nobody can do it.
    until: BTreeMap<Option<EncoderFamily>, Millis>,
    /// Of the slots that can take such work, now or when they are free, by build, those that no other one of it outdoes,
    /// from the fastest, which may be the last to be free, to the one that is free first.
    best: BTreeMap<Option<EncoderFamily>, BTreeMap<Option<Build>, Vec<Slot>>>,
    /// What each build leaves to others.
    leaves: BTreeMap<Option<EncoderFamily>, Leaves>,
    /// Of the workers for such work, those than which no other one is both faster and larger, from the fastest to the
    /// largest.
    rooms: BTreeMap<Option<EncoderFamily>, Vec<Room>>,
}

/// What a worker has for one chunk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Room {
    pace_permille: u64,
    memory_mib: u64,
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

/// Work of a kind, and what was learned of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Like<'a> {
    pub(crate) family: Option<EncoderFamily>,
    pub(crate) class: CostClass,
    pub(crate) classes: &'a Classes,
}

impl Horizon {
    /// May a pass still go by it?
    fn holds(&self, now: Millis) -> bool {
        self.looks > 0 && now.since(self.at) < KEPT_MS
    }

    /// Could all that is ready be done within so many milliseconds?
    pub(crate) fn is_near(&self, now: Millis, within_ms: u64) -> bool {
        !self.far && self.all_ms(now).is_none_or(|all_ms| all_ms <= within_ms)
    }

    /// In how many milliseconds all that is ready could be done, if that is looked at.
    pub(crate) fn all_ms(&self, now: Millis) -> Option<u64> {
        self.until.values().map(|until| until.since(now)).max()
    }

    /// Do chunks of several tenants wait?
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Does a build leave such work to others, who are better at it?
    pub(crate) fn is_left(&self, like: Like<'_>, build: Option<Build>) -> bool {
        self.leaves.get(&like.family).is_some_and(|l| l.contains(&(build, like.class)))
    }

    /// Is anything left by some build to others?
    pub(crate) fn is_some_left(&self) -> bool {
        !self.is_shared && self.leaves.values().any(|l| !l.is_empty())
    }

    /// Nothing is left to faster ones.
    pub(crate) fn forget(&mut self) {
        self.until.clear();
        self.leaves.clear();
    }

    /// The pace of the fastest worker with the memory for such work, where faster ones have not. Those are nobody to leave
    /// it to.
    pub(crate) fn fastest_with_room(&self, needs: Needs) -> Option<u64> {
        let rooms = self.rooms.get(&needs.family)?;
        let first = rooms.iter().position(|r| r.memory_mib >= needs.memory_mib)?;
        (first > 0).then(|| rooms[first].pace_permille)
    }

    /// When the chunk would be done by the slot that would be done with it first, milliseconds from now.
    pub(crate) fn soonest_ms(&self, now: Millis, like: Like<'_>, cost_ms: u64) -> Option<u64> {
        self.best_at(now, like).map(|s| s.done_in(cost_ms)).min()
    }

    /// The best slots, as they are now and as fast as they are at such work.
    fn best_at(&self, now: Millis, like: Like<'_>) -> impl Iterator<Item = Slot> {
        let old = now.since(self.at);
        self.best.get(&like.family).into_iter().flatten().flat_map(move |(build, slots)| {
            let factor = like.classes.factor(*build, like.class);
            slots.iter().map(move |s| Slot {
                free_in_ms: s.free_in_ms.saturating_sub(old),
                pace_permille: (s.pace_permille.saturating_mul(factor) / AS_PREDICTED).max(1),
            })
        })
    }

    /// The most that a chunk may cost which a worker of such a pace at it is to begin now, milliseconds: it would be done
    /// [`IN_TIME`] of when everything else could be; or no other slot, busy now, would be done with it before.
    pub(crate) fn most_ms(&self, now: Millis, like: Like<'_>, pace_permille: u64) -> u64 {
        let Some(until) = self.until.get(&like.family).filter(|_| !self.is_shared) else { return u64::MAX };
        let (part, whole) = IN_TIME;
        let in_time_ms = until.since(now).saturating_mul(1_000 * part) / whole / pace_permille.max(1);
        // done in cost x pace, the other one in its wait + cost x its pace: it is first with what costs more
        let first_ms = |s: Slot| match pace_permille.saturating_sub(s.pace_permille + s.pace_permille / 50) {
            0 => u64::MAX,
            slower => s.free_in_ms.saturating_mul(1_000) / slower,
        };
        let first_ms = self.best_at(now, like).map(first_ms).min();
        in_time_ms.max(first_ms.unwrap_or(u64::MAX))
    }
}

impl Leader {
    /// Work of a family and class.
    pub(crate) fn like(&self, family: Option<EncoderFamily>, class: CostClass) -> Like<'_> {
        Like { family, class, classes: &self.classes }
    }

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
        let speeds: Vec<u64> =
            self.workers.values().filter(|w| w.session.is_some()).map(|w| w.speed(ANY)).collect();
        let pacing = Pacing { mean_speed: speeds.iter().sum::<u64>() / (speeds.len() as u64).max(1) };
        let mut horizon = Horizon { at: now, slots: self.slots(), is_shared, pacing, ..Horizon::default() };
        let mut waiting: BTreeMap<Option<EncoderFamily>, Sizes> =
            self.attempts.values().map(|a| (a.spec.needs.family, Default::default())).collect();
        let mut by_class: BTreeMap<Option<EncoderFamily>, BTreeMap<CostClass, u64>> = BTreeMap::new();
        for work in self.ready.jobs().filter_map(|id| self.offered_work(now, id)) {
            for (demand, sizes) in work.waiting() {
                waiting.entry(demand.needs.family).or_default().add_all(sizes);
                let of = by_class.entry(demand.needs.family).or_default();
                *of.entry(demand.class).or_default() += sizes.cost_ms();
            }
        }
        let count: u64 = waiting.values().map(Sizes::count).sum();
        if count > FAR_PER_SLOT * u64::from(horizon.slots) {
            horizon.far = true;
            return horizon;
        }
        for (family, sizes) in &waiting {
            let needs = Needs { family: *family, ..ANY };
            let builds = self.slots_until(now, rules, &horizon, needs);
            let slots: Vec<Slot> = builds.values().flatten().copied().collect();
            let best = builds.iter().map(|(build, slots)| (*build, best(slots))).collect();
            horizon.best.insert(*family, best);
            let rooms = self.workers.values().filter(|w| w.is_eligible(needs)).map(|w| Room {
                pace_permille: self.paces.of(w, needs, horizon.pacing),
                memory_mib: w.capability.memory_mib,
            });
            let rooms = roomier(rooms.collect());
            horizon.rooms.insert(*family, rooms);
            if sizes.count() > 0 && !slots.is_empty() {
                let all_ms = all_done_in(&slots, &beside(&waiting, *family));
                horizon.until.insert(*family, now.plus(all_ms));
                let reach_ms =
                    builds.iter().map(|(build, slots)| (*build, reach_ms(slots, all_ms))).collect();
                let of = by_class.remove(family).unwrap_or_default();
                horizon.leaves.insert(*family, leaves(&self.classes, &reach_ms, &of));
            }
        }
        horizon
    }

    /// The open work of a job of which something may be offered.
    fn offered_work(&self, now: Millis, job: &JobId) -> Option<&Chunks> {
        self.jobs.get(job).filter(|j| j.hold_until <= now)?.work.as_ref()
    }

    /// Every slot that can take such work, now or when it is free, by build.
    fn slots_until(
        &self,
        now: Millis,
        rules: &Rules,
        horizon: &Horizon,
        needs: Needs,
    ) -> BTreeMap<Option<Build>, Vec<Slot>> {
        let mut slots: BTreeMap<_, Vec<Slot>> = BTreeMap::new();
        for worker in self.workers.values().filter(|w| w.is_eligible(needs)) {
            let pace_permille = self.paces.of(worker, needs, horizon.pacing);
            let busy = worker
                .held
                .iter()
                .filter(|a| !worker.uploading.contains(a))
                .filter_map(|a| self.attempts.get(a))
                .map(|a| self.left_ms(now, horizon, worker, a));
            let free = std::iter::repeat_n(0, worker.idle_slots(now, rules) as usize);
            let of_build = slots.entry(worker.build(needs.family)).or_default();
            of_build.extend(busy.chain(free).map(|free_in_ms| Slot { free_in_ms, pace_permille }));
        }
        slots
    }

    /// For how long an attempt will still run: by its progress, as it was when that was heard, else by its worker's pace.
    /// What has overrun its prediction and shows no progress is taken to last as long again, and what has overrun what its
    /// progress promised for as long as it has.
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
            _ => {
                let then = a.progress_at.since(a.offered_at);
                let left = then.saturating_mul(total.saturating_sub(done)) / done;
                left.abs_diff(now.since(a.progress_at))
            }
        }
    }
}

/// How much of what is predicted the slots can do within so many milliseconds.
fn reach_ms(slots: &[Slot], within_ms: u64) -> u64 {
    let reach =
        |s: &Slot| within_ms.saturating_sub(s.free_in_ms).saturating_mul(1_000) / s.pace_permille.max(1);
    slots.iter().map(reach).fold(0, u64::saturating_add)
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

/// Those than which no other one is both faster and larger, from the fastest to the largest.
fn roomier(mut rooms: Vec<Room>) -> Vec<Room> {
    rooms.sort_unstable_by_key(|r| (r.pace_permille, Reverse(r.memory_mib)));
    let mut largest: Vec<Room> = Vec::new();
    for room in rooms {
        if largest.last().is_none_or(|l| room.memory_mib > l.memory_mib) {
            largest.push(room);
        }
    }
    largest
}

/// What slots for work of a family do: slots with an encoder also what needs none, and any slot what needs none.
fn beside(waiting: &BTreeMap<Option<EncoderFamily>, Sizes>, family: Option<EncoderFamily>) -> Sizes {
    let mut all = Sizes::default();
    let mine = waiting.iter().filter(|(other, _)| family.is_none() || other.is_none() || **other == family);
    mine.for_each(|(_, sizes)| all.add_all(sizes));
    all
}

/// The least time in which the slots could do the work, to within a hundredth: whatever is as long as some size or longer
/// takes whole chunks of that size from each slot, and for a long one a slow slot may have no room. A slot counts for what
/// it may begin, so each has [`IN_TIME`]'s rest to spare after its last: else all would wait for the few fastest, while
/// those idled that are slower and were counted on.
fn all_done_in(slots: &[Slot], sizes: &Sizes) -> u64 {
    let (part, whole) = IN_TIME;
    let mut enough = 1_000;
    for (size_ms, count) in sizes.longest_first() {
        let takes = |s: &Slot| (s.free_in_ms, (size_ms.saturating_mul(s.pace_permille) / 1_000).max(1));
        let slots: Vec<(u64, u64)> = slots.iter().map(takes).collect();
        let done_by = |t: u64| -> u64 {
            let spare = |takes: u64| takes.saturating_mul(whole - part) / part;
            let of =
                |(free, takes): &(u64, u64)| t.saturating_sub(free.saturating_add(spare(*takes))) / takes;
            slots.iter().map(of).fold(0, u64::saturating_add)
        };
        let mut short = enough - 1;
        while done_by(enough) < count {
            if enough > u64::MAX / 4 {
                return enough;
            }
            short = enough;
            enough *= 2;
        }
        while enough - short > enough / 100 + 1 {
            let middle = short + (enough - short) / 2;
            if done_by(middle) >= count { enough = middle } else { short = middle }
        }
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
        let sizes = |of: &[u64]| {
            let mut sizes = Sizes::default();
            of.iter().for_each(|ms| sizes.add(*ms));
            sizes
        };
        let close =
            |got: u64, want: u64| assert!(got >= want && got <= want + want / 50 + 2, "{got} for {want}");
        // with a third of the last one to spare
        let three = sizes(&[9_000; 3]);
        close(all_done_in(&slots(&[(0, 1_000)]), &three), 30_000);
        close(all_done_in(&slots(&[(0, 1_000), (0, 1_000)]), &three), 21_000);
        // the slow one would need 36 s for its first: the fast one does all three
        close(all_done_in(&slots(&[(0, 1_000), (0, 4_000)]), &three), 30_000);
        close(all_done_in(&slots(&[(5_000, 1_000), (0, 500)]), &three), 15_000);
        // short ones fill what is left beside the long one
        close(all_done_in(&slots(&[(0, 1_000), (0, 1_000)]), &sizes(&[9_000, 1_000, 1_000])), 12_000);
        assert!(all_done_in(&[], &three) > u64::MAX / 8, "nobody is there");
    }

    /// Where slots are counted on that may not begin, these 40 idle while 40 chunks wait for ten.
    #[test]
    fn whoever_is_counted_on_may_begin() {
        let slots = slots(&[[(1_500, 450); 10].as_slice(), &[(0, 600); 40]].concat());
        let mut sizes = Sizes::default();
        (0..40).for_each(|_| sizes.add(4_000));
        let horizon = Horizon {
            until: [(None, Millis(all_done_in(&slots, &sizes)))].into(),
            best: [(None, [(None, best(&slots))].into())].into(),
            ..Horizon::default()
        };
        let classes = Classes::default();
        let like = Like { family: None, class: CostClass::NONE, classes: &classes };
        assert!(horizon.most_ms(Millis(0), like, 600) >= 4_000);
        assert!(horizon.most_ms(Millis(0), like, 900) < 4_000, "nor does everybody");
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
        fn the_fastest_with_the_memory_is_asked_for_where_a_faster_one_lacks_it(
            of in prop::collection::vec((100u64..105, 1u64..5), 0..8),
            memory_mib in 1u64..6,
        ) {
            let room = |(pace_permille, memory_mib): &(u64, u64)| Room {
                pace_permille: *pace_permille,
                memory_mib: *memory_mib,
            };
            let rooms = [(None, roomier(of.iter().map(room).collect()))].into();
            let horizon = Horizon { rooms, ..Horizon::default() };
            let fastest = of.iter().map(|(pace, _)| *pace).min();
            let able = of.iter().filter(|(_, memory)| *memory >= memory_mib).map(|(pace, _)| *pace).min();
            let expected = able.filter(|able| Some(*able) > fastest);
            prop_assert_eq!(horizon.fastest_with_room(Needs { family: None, memory_mib }), expected);
        }

        #[test]
        fn whoever_begins_is_in_time_or_first(
            of in prop::collection::vec((0u64..60_000, 100u64..5_000), 1..12),
            (all, pace, cost_ms) in (1u64..100_000, 100u64..5_000, 1u64..100_000),
        ) {
            let slots = slots(&of);
            let (until, best) = ([(None, Millis(all))].into(), [(None, [(None, best(&slots))].into())].into());
            let horizon = Horizon { until, best, ..Horizon::default() };
            let classes = Classes::default();
            let like = |family| Like { family, class: CostClass::NONE, classes: &classes };
            let takes_ms = cost_ms * pace / 1_000;
            let soonest_ms = horizon.soonest_ms(Millis(0), like(None), cost_ms).expect("slots");
            let may_begin = cost_ms <= horizon.most_ms(Millis(0), like(None), pace);
            if takes_ms + 2 < all * 3 / 4 || takes_ms < soonest_ms {
                prop_assert!(may_begin, "{takes_ms} ms, {soonest_ms} ms elsewhere");
            }
            if takes_ms > all && takes_ms > soonest_ms + soonest_ms / 50 + 2 {
                prop_assert!(!may_begin, "{takes_ms} ms, {soonest_ms} ms elsewhere");
            }
            prop_assert_eq!(horizon.most_ms(Millis(0), like(Some(EncoderFamily::X264)), pace), u64::MAX);
        }
    }
}
