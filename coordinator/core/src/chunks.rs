//! The work of one stage of a job: its specs, which of them are open, and which of those nobody works on.
//!
//! Only bookkeeping: decisions are made by the schedule and by the settlement of attempts.
//!
//! ```text
//! open: ready <-> taken (1 to 3 live attempts)  -> committed
//! ```

use crate::sizes::Sizes;
use crate::work::{Demand, SpecRef, WorkKind};
use reelmill_common::{AttemptId, Millis, Sha256, SpecId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Live attempts a chunk may have.
pub(crate) const LIVE_MAX: usize = 3;

/// Where a chunk stands in its job's queue: the longest first, then in plan order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rank {
    cost_ms: Reverse<u64>,
    number: u32,
    pub(crate) spec: SpecId,
}

impl Rank {
    /// Behind every rank.
    const LAST: Self = Self { cost_ms: Reverse(0), number: u32::MAX, spec: SpecId(Sha256([u8::MAX; 32])) };
}

/// One spec.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) spec: SpecRef,
    pub(crate) number: u32,
    /// At most [`LIVE_MAX`] attempts.
    pub(crate) live: Vec<AttemptId>,
    pub(crate) committed: bool,
    /// Since when nobody works on it.
    pub(crate) ready_since: Millis,
}

impl Chunk {
    fn rank(&self) -> Rank {
        Rank { cost_ms: Reverse(self.spec.cost_ms), number: self.number, spec: self.spec.id }
    }
}

/// Open specs nobody works on, of one demand; never empty.
#[derive(Clone, Debug, Default)]
struct Queue {
    ranks: BTreeSet<Rank>,
    sizes: Sizes,
}

/// The specs of a stage.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    pub(crate) kind: WorkKind,
    chunks: BTreeMap<SpecId, Chunk>,
    /// Open specs nobody works on, by what they demand.
    ready: BTreeMap<Demand, Queue>,
    ready_len: usize,
    open: usize,
    /// Predicted slot-milliseconds: of all, and of what is committed.
    pub(crate) cost_ms: u64,
    pub(crate) committed_cost_ms: u64,
}

impl Chunks {
    /// All of a stage's specs, open.
    pub(crate) fn new(kind: WorkKind, specs: &[SpecRef], now: Millis) -> Self {
        let mut this = Self {
            kind,
            chunks: BTreeMap::new(),
            ready: BTreeMap::new(),
            ready_len: 0,
            open: 0,
            cost_ms: 0,
            committed_cost_ms: 0,
        };
        for (number, spec) in (0u32..).zip(specs) {
            let chunk = Chunk { spec: *spec, number, live: vec![], committed: false, ready_since: now };
            if this.chunks.contains_key(&spec.id) {
                continue;
            }
            this.put_ready(spec.demand(), chunk.rank());
            this.chunks.insert(spec.id, chunk);
            this.open += 1;
            this.cost_ms += spec.cost_ms;
        }
        this
    }

    pub(crate) fn get(&self, spec: SpecId) -> Option<&Chunk> {
        self.chunks.get(&spec)
    }

    /// Specs without a commit.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// Open specs nobody works on.
    pub(crate) fn ready_len(&self) -> usize {
        self.ready_len
    }

    /// Open specs nobody works on, in the order in which they should be offered.
    pub(crate) fn ready(&self) -> impl Iterator<Item = &Chunk> {
        self.ready_of(|_| Some(u64::MAX))
    }

    /// What open specs that nobody works on demand, each once.
    pub(crate) fn demands(&self) -> impl Iterator<Item = Demand> {
        self.ready.keys().copied()
    }

    /// What all specs demand, committed or not; each at least once.
    pub(crate) fn all_demands(&self) -> impl Iterator<Item = Demand> {
        self.chunks.values().map(|c| c.spec.demand())
    }

    /// As [`Chunks::ready`], of some demands only, and of these what costs at most so much.
    pub(crate) fn ready_of<'a, F: Fn(Demand) -> Option<u64>>(
        &'a self,
        most_ms: F,
    ) -> impl Iterator<Item = &'a Chunk> + use<'a, F> {
        let from = |cost_ms| Rank { cost_ms: Reverse(cost_ms), number: 0, spec: SpecId(Sha256([0; 32])) };
        let kinds = self.ready.iter().filter_map(|(demand, queue)| Some((most_ms(*demand)?, &queue.ranks)));
        let mut kinds: Vec<_> = kinds.map(|(most_ms, ranks)| ranks.range(from(most_ms)..)).collect();
        let first = |ranks: &std::collections::btree_set::Range<'a, Rank>| {
            ranks.clone().next().copied().unwrap_or(Rank::LAST)
        };
        std::iter::from_fn(move || kinds.iter_mut().min_by_key(|ranks| first(ranks))?.next())
            .filter_map(|rank| self.chunks.get(&rank.spec))
    }

    /// How much waits, of each size, by demand.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (Demand, &Sizes)> {
        self.ready.iter().map(|(demand, queue)| (*demand, &queue.sizes))
    }

    /// Specs with a live attempt.
    pub(crate) fn taken_len(&self) -> usize {
        self.open - self.ready_len
    }

    /// May an attempt of this spec begin, or be adopted?
    pub(crate) fn may_take(&self, spec: SpecId) -> bool {
        self.chunks.get(&spec).is_some_and(|c| !c.committed && c.live.len() < LIVE_MAX)
    }

    /// An attempt begins. The caller asked [`Chunks::may_take`] before.
    pub(crate) fn take(&mut self, spec: SpecId, attempt: AttemptId) {
        if let Some(c) = self.chunks.get_mut(&spec) {
            debug_assert!(!c.committed && c.live.len() < LIVE_MAX, "a chunk has at most three live attempts");
            c.live.push(attempt);
            let (demand, rank) = (c.spec.demand(), c.rank());
            self.remove_ready(demand, rank);
        }
    }

    /// Its attempts may come to nothing: it waits for another one, as if nobody worked on it.
    pub(crate) fn doubt(&mut self, spec: SpecId, now: Millis) {
        if self.is_ready(spec) || !self.may_take(spec) {
            return;
        }
        if let Some(c) = self.chunks.get_mut(&spec) {
            c.ready_since = now;
            let (demand, rank) = (c.spec.demand(), c.rank());
            self.put_ready(demand, rank);
        }
    }

    /// The worker of its attempt is back with it.
    pub(crate) fn trust(&mut self, spec: SpecId) {
        if let Some(c) = self.chunks.get(&spec).filter(|c| !c.live.is_empty()) {
            let (demand, rank) = (c.spec.demand(), c.rank());
            self.remove_ready(demand, rank);
        }
    }

    /// Does it wait for somebody to begin with it?
    pub(crate) fn is_ready(&self, spec: SpecId) -> bool {
        let waits = |c: &Chunk| self.ready.get(&c.spec.demand()).is_some_and(|q| q.ranks.contains(&c.rank()));
        self.chunks.get(&spec).is_some_and(waits)
    }

    /// An attempt has ended without a commit.
    pub(crate) fn release(&mut self, spec: SpecId, attempt: AttemptId, now: Millis) {
        if let Some(c) = self.chunks.get_mut(&spec) {
            c.live.retain(|a| *a != attempt);
            if c.live.is_empty() && !c.committed {
                c.ready_since = now;
                let (demand, rank) = (c.spec.demand(), c.rank());
                self.put_ready(demand, rank);
            }
        }
    }

    /// The spec has its output. Gives back the attempts that are not needed any more.
    pub(crate) fn commit(&mut self, spec: SpecId) -> Vec<AttemptId> {
        let Some(c) = self.chunks.get_mut(&spec) else { return vec![] };
        if c.committed {
            return vec![];
        }
        c.committed = true;
        self.open -= 1;
        self.committed_cost_ms += c.spec.cost_ms;
        let rivals = std::mem::take(&mut c.live);
        let (demand, rank) = (c.spec.demand(), c.rank());
        self.remove_ready(demand, rank);
        rivals
    }

    fn put_ready(&mut self, demand: Demand, rank: Rank) {
        let queue = self.ready.entry(demand).or_default();
        if queue.ranks.insert(rank) {
            self.ready_len += 1;
            queue.sizes.add(rank.cost_ms.0);
        }
    }

    fn remove_ready(&mut self, demand: Demand, rank: Rank) {
        let Some(queue) = self.ready.get_mut(&demand) else { return };
        if queue.ranks.remove(&rank) {
            self.ready_len -= 1;
            queue.sizes.remove(rank.cost_ms.0);
        }
        if queue.ranks.is_empty() {
            self.ready.remove(&demand);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::FencingTerm;
    use reelmill_common::capability::Needs;
    use reelmill_common::plan::{CostClass, RungSet};

    fn spec(n: u8, cost_ms: u64) -> SpecRef {
        let needs = Needs { family: None, memory_mib: 1 };
        SpecRef { id: SpecId(Sha256([n; 32])), cost_ms, needs, rungs: RungSet::NONE, class: CostClass::NONE }
    }

    fn attempt(sequence: u64) -> AttemptId {
        AttemptId { term: FencingTerm(1), sequence }
    }

    #[test]
    fn the_longest_come_first_then_plan_order() {
        let c = Chunks::new(WorkKind::Encode, &[spec(9, 5), spec(2, 8), spec(1, 5)], Millis(0));
        let order: Vec<u32> = c.ready().map(|c| c.number).collect();
        assert_eq!(order, [1, 0, 2]);
        assert_eq!((c.open(), c.cost_ms), (3, 18));
        let cheap: Vec<u32> = c.ready_of(|_| Some(7)).map(|c| c.number).collect();
        assert_eq!(cheap, [0, 2], "what costs more is passed over");
        assert_eq!(c.ready_of(|_| None).count(), 0);
        let waiting: Vec<_> = c.waiting().map(|(d, sizes)| (d, sizes.count())).collect();
        assert_eq!(waiting, [(spec(1, 5).demand(), 3)]);
    }

    #[test]
    fn a_chunk_is_ready_taken_committed() {
        let s = spec(1, 5);
        let mut c = Chunks::new(WorkKind::Encode, &[s], Millis(0));
        c.take(s.id, attempt(1));
        assert_eq!((c.ready_len(), c.taken_len(), c.may_take(s.id)), (0, 1, true));
        c.take(s.id, attempt(2));
        c.take(s.id, attempt(3));
        assert!(!c.may_take(s.id), "three are the most");
        c.release(s.id, attempt(1), Millis(7));
        assert_eq!((c.ready_len(), c.waiting().count()), (0, 0), "the others still work on it");
        assert_eq!(c.commit(s.id), [attempt(2), attempt(3)]);
        assert_eq!((c.open(), c.committed_cost_ms, c.may_take(s.id)), (0, 5, false));
        c.doubt(s.id, Millis(8));
        c.release(s.id, attempt(2), Millis(8));
        assert_eq!((c.ready_len(), c.commit(s.id).len()), (0, 0), "committed is final");
    }

    #[test]
    fn a_chunk_whose_worker_may_be_lost_waits_for_another_one() {
        let s = spec(1, 5);
        let mut c = Chunks::new(WorkKind::Encode, &[s], Millis(0));
        c.take(s.id, attempt(1));
        c.doubt(s.id, Millis(3));
        c.doubt(s.id, Millis(4));
        assert_eq!((c.ready_len(), c.get(s.id).map(|c| c.ready_since)), (1, Some(Millis(3))));
        c.trust(s.id);
        assert_eq!(c.ready_len(), 0, "it is back");
        c.doubt(s.id, Millis(5));
        c.take(s.id, attempt(2));
        assert_eq!((c.ready_len(), c.taken_len()), (0, 1));
        c.doubt(s.id, Millis(6));
        c.take(s.id, attempt(3));
        c.doubt(s.id, Millis(6));
        assert_eq!(c.ready_len(), 0, "three are the most");
        c.release(s.id, attempt(1), Millis(7));
        c.release(s.id, attempt(3), Millis(7));
        assert_eq!(c.ready_len(), 0);
        c.doubt(s.id, Millis(8));
        c.release(s.id, attempt(2), Millis(9));
        assert_eq!((c.ready_len(), c.ready().count()), (1, 1), "once, however often it was put back");
    }
}
