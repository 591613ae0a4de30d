//! The outbox: what was decided and is not durable yet.
//!
//! Transitions push transactions (changes that belong together, and what may be done once they are durable). One
//! batch is in flight; whatever is pushed meanwhile waits and forms the next one, in order. Effects of a transaction
//! without changes wait too: they may tell of an earlier transaction that is not durable yet.
//!
//! Deletions that nobody waits for (the parts of a job that has ended, thousands at once) stand aside: each batch takes a
//! few of them along, so that commits and leases do not wait behind them.
//!
//! ```text
//! push -> queue -> in flight -done-> gone (its effects are performed)
//!                     |  ^  `-fenced-> everything is dropped
//!                     `--'unknown: the very same batch again
//! ```

use crate::effect::{Effect, Step};
use crate::record::{BATCH_OPS_MAX, Batch, BatchId, Op};
use reelmill_common::FencingTerm;
use reelmill_common::record::StateKey;
use std::collections::{BTreeMap, VecDeque};

/// Waits before a batch of unknown fate is sent again: doubling from the first to the last, milliseconds.
const RESEND_MS: (u64, u64) = (50, 2_000);

/// Of a batch's operations, as many may be deletions that nobody waits for, and as many are left to them while there are
/// any: every commit is deleted one day, so that fewer would never come to an end under full load.
const ASIDE_MAX: usize = BATCH_OPS_MAX / 2;

/// Changes that are made together or not at all, and what follows. Far fewer than [`BATCH_OPS_MAX`] operations.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) ops: Vec<Op>,
    pub(crate) then: Vec<Effect>,
    /// Keys that nothing will be written under any more: to be deleted some time, with these changes or after them.
    pub(crate) aside: Vec<StateKey>,
}

/// Decided, not durable.
#[derive(Debug)]
pub(crate) struct Outbox {
    term: FencingTerm,
    last: BatchId,
    in_flight: Option<(Batch, Vec<Effect>)>,
    queue: VecDeque<Transaction>,
    queued_ops: usize,
    /// Keys to be deleted some time. What came before them is durable or in the batch that takes them along; what a
    /// leader does not come to, the next one finds.
    aside: VecDeque<StateKey>,
}

impl Outbox {
    pub(crate) fn new(term: FencingTerm) -> Self {
        Self {
            term,
            last: BatchId(0),
            in_flight: None,
            queue: VecDeque::new(),
            queued_ops: 0,
            aside: VecDeque::new(),
        }
    }

    /// Operations that wait, those in flight included and those that stand aside not.
    pub(crate) fn waiting_ops(&self) -> usize {
        self.queued_ops + self.in_flight.as_ref().map_or(0, |(b, _)| b.ops.len())
    }

    /// Is this the batch in flight?
    pub(crate) fn is_in_flight(&self, id: BatchId) -> bool {
        self.in_flight.as_ref().is_some_and(|(b, _)| b.id == id)
    }

    /// Takes what one event led to and says what to do now. `early`: also let dependent effects go (a sabotage).
    pub(crate) fn step(&mut self, transactions: Vec<Transaction>, early: bool) -> Step {
        let mut at_once = Vec::new();
        for mut t in transactions {
            if self.in_flight.is_some() {
                let (go, wait) = t.then.into_iter().partition(|e| early || e.is_independent());
                at_once.extend::<Vec<_>>(go);
                t.then = wait;
            }
            self.queued_ops += t.ops.len();
            if t != Transaction::default() {
                self.queue.push_back(t);
            }
        }
        if self.in_flight.is_some() {
            return Step { writes: Batch::default(), then: at_once };
        }
        self.next()
    }

    /// The batch in flight is durable and its effects are performed: gives both back.
    pub(crate) fn acknowledged(&mut self) -> (Vec<Op>, Vec<Effect>) {
        self.in_flight.take().map(|(b, then)| (b.ops, then)).unwrap_or_default()
    }

    /// The fate of the batch in flight is unknown: the very same again, a little later.
    pub(crate) fn again(&mut self) -> Step {
        let Some((batch, then)) = &mut self.in_flight else { return Step::default() };
        batch.delay_ms = (batch.delay_ms * 2).clamp(RESEND_MS.0, RESEND_MS.1);
        Step { writes: batch.clone(), then: then.clone() }
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
            return Step { writes: Batch::default(), then };
        }
        self.last = BatchId(self.last.0 + 1);
        let batch = Batch { id: self.last, term: self.term, ops: ops.into_values().collect(), delay_ms: 0 };
        self.in_flight = Some((batch.clone(), then.clone()));
        Step { writes: batch, then }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::JobId;

    fn delete(n: u32) -> Op {
        Op::Delete(StateKey::Job(JobId::parse(&format!("j{n}")).expect("id")))
    }

    fn changed(n: u32) -> Effect {
        Effect::Reply { token: crate::Token(n.into()), result: Err(crate::Refusal::NotLeader) }
    }

    fn transaction(ops: std::ops::Range<u32>, effect: u32) -> Transaction {
        Transaction { ops: ops.map(delete).collect(), then: vec![changed(effect)], aside: vec![] }
    }

    #[test]
    fn one_batch_is_in_flight_and_the_rest_waits_for_it() {
        let mut out = Outbox::new(FencingTerm(7));
        let first = out.step(vec![transaction(0..2, 1)], false);
        assert_eq!((first.writes.ops.len(), first.then.len()), (2, 1));
        let meanwhile = out.step(vec![transaction(0..0, 2), transaction(2..3, 3)], false);
        assert_eq!(meanwhile, Step::default(), "neither writes nor effects leave");
        assert_eq!(out.acknowledged().0.len(), 2);
        let second = out.step(vec![], false);
        assert_eq!(second.then, vec![changed(2), changed(3)]);
        assert_eq!((second.writes.id, second.writes.term), (BatchId(2), FencingTerm(7)));
    }

    #[test]
    fn a_batch_of_unknown_fate_is_sent_again_unchanged() {
        let mut out = Outbox::new(FencingTerm(1));
        let first = out.step(vec![transaction(0..3, 1)], false);
        let _ = out.step(vec![transaction(3..4, 2)], false);
        let again = out.again();
        assert_eq!((&again.writes.ops, &again.then), (&first.writes.ops, &first.then));
        assert_eq!((again.writes.id, again.writes.delay_ms), (first.writes.id, 50));
        assert_eq!(out.again().writes.delay_ms, 100);
    }

    #[test]
    fn batches_hold_whole_transactions_and_each_key_once() {
        let mut out = Outbox::new(FencingTerm(1));
        let _ = out.step(vec![transaction(0..1, 0)], false);
        let _ = out.step(vec![transaction(0..60, 1), transaction(0..60, 2), transaction(100..150, 3)], false);
        out.acknowledged();
        let second = out.step(vec![], false);
        assert_eq!(second.writes.ops.len(), 60, "the same sixty keys once; fifty more would not fit");
        assert_eq!(second.then, vec![changed(1), changed(2)]);
        out.acknowledged();
        assert_eq!(out.step(vec![], false).writes.ops.len(), 50);
    }

    #[test]
    fn what_nobody_waits_for_holds_nobody_up_and_comes_to_its_end() {
        let mut out = Outbox::new(FencingTerm(1));
        let aside = (1_000..1_120).map(|n| delete(n).key()).collect();
        let _ = out.step(vec![Transaction { aside, ..transaction(0..1, 0) }], false);
        let _ = out.step(vec![transaction(0..40, 1), transaction(40..80, 2)], false);
        assert_eq!(
            out.waiting_ops(),
            1 + ASIDE_MAX + 80,
            "what stands aside is not counted before it is sent"
        );
        assert_eq!(out.acknowledged().0.len(), 1 + ASIDE_MAX);
        let second = out.step(vec![], false);
        assert_eq!((second.writes.ops.len(), second.then), (40 + ASIDE_MAX, vec![changed(1)]), "both go on");
        out.acknowledged();
        let third = out.step(vec![], false);
        assert_eq!((third.writes.ops.len(), third.then), (40 + 20, vec![changed(2)]));
        out.acknowledged();
        assert_eq!(out.step(vec![], false), Step::default());
    }

    #[test]
    fn what_stands_aside_goes_with_or_after_what_was_decided_before_it() {
        let mut out = Outbox::new(FencingTerm(1));
        let _ = out.step(vec![transaction(0..1, 0)], false);
        let aside = vec![delete(7_000).key()];
        let last = Transaction { aside, ..transaction(5_000..5_001, 2) };
        let _ = out.step(vec![transaction(0..60, 1), transaction(60..120, 1), last], false);
        out.acknowledged();
        let before_it = out.step(vec![], false).writes.ops;
        assert!(before_it.len() == 60 && !before_it.contains(&delete(7_000)));
        out.acknowledged();
        let with_it = out.step(vec![], false).writes.ops;
        assert!(with_it.contains(&delete(5_000)) && with_it.contains(&delete(7_000)));
    }

    #[test]
    fn independent_effects_do_not_wait() {
        let mut out = Outbox::new(FencingTerm(1));
        let _ = out.step(vec![transaction(0..1, 0)], false);
        let close = Effect::CloseSession { session: crate::SessionId(1) };
        let both = Transaction { then: vec![changed(1), close.clone()], ..Transaction::default() };
        assert_eq!(out.step(vec![both], false).then, vec![close]);
    }
}
