//! The outbox: what was decided and is not durable yet.
//!
//! Transitions push transactions (changes that belong together, and what may be done once they are durable). One
//! batch is in flight; whatever is pushed meanwhile waits and forms the next one, in order. Effects of a transaction
//! without changes wait too: they may tell of an earlier transaction that is not durable yet. What tells of nothing leaves
//! at once; what tells of few keys (a lease: its job, its spec) leaves when what was decided about those is durable,
//! and not behind the commits of everybody else.
//!
//! Deletions that nobody waits for (the parts of a job that has ended, thousands at once) stand aside: each batch takes a
//! few of them along, so that commits and leases do not wait behind them.
//!
//! ```text
//! push -> queue -> in flight -done-> gone (its effects are performed)
//!                     |  ^  `-fenced-> everything is dropped
//!                     `--'unknown: the very same batch again
//! ```

use crate::effect::{Effect, Needs, Step};
use crate::event::SessionId;
use crate::record::{BATCH_OPS_MAX, Batch, BatchId, Op};
use reelmill_common::FencingTerm;
use reelmill_common::record::StateKey;
use reelmill_common::session::ToWorker;
use std::collections::{BTreeMap, VecDeque};

/// Waits before a batch of unknown fate is sent again: doubling from the first to the last, milliseconds.
const RESEND_MS: (u64, u64) = (50, 2_000);

/// Of a batch's operations, as many may be deletions that nobody waits for, and as many are left to them while there are
/// any: every commit is deleted one day, so that fewer would never come to an end under full load.
const ASIDE_MAX: usize = BATCH_OPS_MAX / 2;

/// With more operations waiting than this, work whose commits would come behind them is not given out: a store that is
/// slower than its workers sets the pace, and neither memory nor the wait for an acknowledgement grows with the fleet.
const BEHIND_OPS: usize = 20 * BATCH_OPS_MAX;

/// Changes that are made together or not at all, and what follows. Far fewer than [`BATCH_OPS_MAX`] operations.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) ops: Vec<Op>,
    pub(crate) then: Vec<Effect>,
    /// Keys that nothing will be written under any more: to be deleted some time, with these changes or after them.
    pub(crate) aside: Vec<StateKey>,
}

/// Decided, not durable. Transactions are numbered in order.
#[derive(Debug)]
pub(crate) struct Outbox {
    term: FencingTerm,
    last: BatchId,
    in_flight: Option<(Batch, Vec<Effect>)>,
    queue: VecDeque<Transaction>,
    /// The number of the first one in the queue: those in flight are before it.
    first: u64,
    queued_ops: usize,
    /// The last transaction, in flight or in the queue, that changes a key.
    changes: BTreeMap<StateKey, u64>,
    /// The last transaction that a session's Revoke waits for.
    stops: BTreeMap<SessionId, u64>,
    /// What only waits for the batch in flight, and what waited for the last one.
    behind: Vec<Effect>,
    released: Vec<Effect>,
    /// Keys to be deleted some time. What came before them is durable or in the batch that takes them along; what a
    /// leader does not come to, the next one finds.
    aside: VecDeque<StateKey>,
}

/// When an effect may leave.
enum Leaves {
    AtOnce,
    /// With the batch in flight.
    InFlight,
    /// With the transaction of this number.
    With(u64),
}

impl Outbox {
    pub(crate) fn new(term: FencingTerm) -> Self {
        Self {
            term,
            last: BatchId(0),
            in_flight: None,
            queue: VecDeque::new(),
            first: 0,
            queued_ops: 0,
            changes: BTreeMap::new(),
            stops: BTreeMap::new(),
            behind: Vec::new(),
            released: Vec::new(),
            aside: VecDeque::new(),
        }
    }

    /// Operations that wait, those in flight included and those that stand aside not.
    pub(crate) fn waiting_ops(&self) -> usize {
        self.queued_ops + self.in_flight.as_ref().map_or(0, |(b, _)| b.ops.len())
    }

    /// Does so much wait that more commits should not be asked for?
    pub(crate) fn is_behind(&self) -> bool {
        self.waiting_ops() > BEHIND_OPS
    }

    /// Is this the batch in flight?
    pub(crate) fn is_in_flight(&self, id: BatchId) -> bool {
        self.in_flight.as_ref().is_some_and(|(b, _)| b.id == id)
    }

    /// Takes what one event led to and says what to do now. `early`: also let dependent effects go (a sabotage).
    pub(crate) fn step(&mut self, transactions: Vec<Transaction>, early: bool) -> Step {
        let mut now = std::mem::take(&mut self.released);
        for t in transactions {
            self.push(t, early, &mut now);
        }
        let mut step = if self.in_flight.is_some() { Step::default() } else { self.next() };
        now.append(&mut step.now);
        Step { now, ..step }
    }

    /// Queues a transaction; what may leave at once is added to `now`.
    fn push(&mut self, mut t: Transaction, early: bool, now: &mut Vec<Effect>) {
        let number = self.first + self.queue.len() as u64;
        self.changes.extend(t.ops.iter().map(|op| (op.key(), number)));
        for effect in std::mem::take(&mut t.then) {
            let leaves = if early { Leaves::AtOnce } else { self.leaves(&effect, number, t.ops.is_empty()) };
            match leaves {
                Leaves::AtOnce => now.push(effect),
                Leaves::InFlight => self.behind.push(effect),
                Leaves::With(n) if n == number => {
                    if let Effect::Send { session, message: ToWorker::Revoke { .. }, .. } = &effect {
                        self.stops.insert(*session, number);
                    }
                    t.then.push(effect);
                }
                Leaves::With(n) => {
                    if let Some(earlier) = self.queue.get_mut((n - self.first) as usize) {
                        earlier.then.push(effect);
                    }
                }
            }
        }
        self.queued_ops += t.ops.len();
        if t != Transaction::default() {
            self.queue.push_back(t);
        }
    }

    /// When an effect of the transaction that comes next may leave.
    fn leaves(&self, effect: &Effect, number: u64, is_empty: bool) -> Leaves {
        let last = match effect.needs() {
            Needs::Nothing => None,
            Needs::These { keys, session } => {
                let changed = keys.iter().filter_map(|key| self.changes.get(key));
                changed.chain(self.stops.get(&session)).max().copied()
            }
            Needs::Everything if self.in_flight.is_none() && self.queue.is_empty() && is_empty => None,
            Needs::Everything => Some(number),
        };
        match last {
            None => Leaves::AtOnce,
            Some(n) if n < self.first => Leaves::InFlight,
            Some(n) => Leaves::With(n),
        }
    }

    /// The batch in flight is durable and its effects are performed: gives both back.
    pub(crate) fn acknowledged(&mut self) -> (Vec<Op>, Vec<Effect>) {
        let Some((batch, then)) = self.in_flight.take() else { return Default::default() };
        for op in &batch.ops {
            let key = op.key();
            if self.changes.get(&key).is_some_and(|n| *n < self.first) {
                self.changes.remove(&key);
            }
        }
        self.stops.retain(|_, n| *n >= self.first);
        self.released.append(&mut self.behind);
        (batch.ops, then)
    }

    /// The fate of the batch in flight is unknown: the very same again, a little later.
    pub(crate) fn again(&mut self) -> Step {
        let Some((batch, then)) = &mut self.in_flight else { return Step::default() };
        batch.delay_ms = (batch.delay_ms * 2).clamp(RESEND_MS.0, RESEND_MS.1);
        Step { now: Vec::new(), writes: batch.clone(), then: then.clone() }
    }

    /// Forms the next batch from the queue: whole transactions, in order, as many as fit.
    fn next(&mut self) -> Step {
        let mut ops: BTreeMap<StateKey, Op> = BTreeMap::new();
        let mut then = Vec::new();
        let most = if self.aside.is_empty() { BATCH_OPS_MAX } else { BATCH_OPS_MAX - ASIDE_MAX };
        while let Some(t) = self.queue.front() {
            let fresh = t.ops.iter().filter(|op| !ops.contains_key(&op.key())).count();
            if ops.len() + fresh > most && !ops.is_empty() {
                break;
            }
            let Some(t) = self.queue.pop_front() else { break };
            debug_assert!(t.ops.len() <= BATCH_OPS_MAX, "a transaction must fit into a batch");
            self.first += 1;
            self.queued_ops -= t.ops.len();
            // values are absolute: of two changes of one key the later one is what both come to
            ops.extend(t.ops.into_iter().map(|op| (op.key(), op)));
            then.extend(t.then);
            self.aside.extend(t.aside);
        }
        let room = BATCH_OPS_MAX.saturating_sub(ops.len()).min(ASIDE_MAX).min(self.aside.len());
        for key in self.aside.drain(..room) {
            // what was decided about the key meanwhile stands
            ops.entry(key.clone()).or_insert(Op::Delete(key));
        }
        if ops.is_empty() {
            // nothing is in flight, so whoever is to be told to stop is told now
            self.stops.retain(|_, n| *n >= self.first);
            return Step { now: then, ..Step::default() };
        }
        self.last = BatchId(self.last.0 + 1);
        let batch = Batch { id: self.last, term: self.term, ops: ops.into_values().collect(), delay_ms: 0 };
        self.in_flight = Some((batch.clone(), then.clone()));
        Step { now: Vec::new(), writes: batch, then }
    }
}

#[cfg(test)]
mod tests;
