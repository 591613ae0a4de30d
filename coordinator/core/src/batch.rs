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
mod tests {
    use super::*;
    use crate::effect::LeaseOrder;
    use crate::work::WorkKind;
    use proptest::prelude::*;
    use reelmill_common::{AttemptId, JobId, Sha256, SpecId};

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
        let close = Effect::CloseSession { session: SessionId(1) };
        let first = Transaction { then: vec![changed(0), close.clone()], ..transaction(0..1, 0) };
        let step = out.step(vec![first], false);
        assert_eq!((step.now, step.then), (vec![close.clone()], vec![changed(0)]));
        let both = Transaction { then: vec![changed(1), close.clone()], ..Transaction::default() };
        assert_eq!(out.step(vec![both], false).now, vec![close]);
    }

    fn job(name: &str) -> JobId {
        JobId::parse(name).expect("id")
    }

    fn spec(n: u8) -> SpecId {
        SpecId(Sha256([n; 32]))
    }

    fn lease(to: u64, of: &str, n: u8) -> Effect {
        Effect::Lease(Box::new(LeaseOrder {
            session: SessionId(to),
            term: FencingTerm(1),
            attempt: AttemptId { term: FencingTerm(1), sequence: n.into() },
            job: job(of),
            spec: spec(n),
            kind: WorkKind::Encode,
            alone: false,
        }))
    }

    fn revoke(to: u64) -> Effect {
        let attempt = AttemptId { term: FencingTerm(1), sequence: 99 };
        Effect::Send { session: SessionId(to), term: FencingTerm(1), message: ToWorker::Revoke { attempt } }
    }

    /// Changes of these keys, and then these effects.
    fn changes(keys: &[StateKey], then: &[Effect]) -> Transaction {
        Transaction {
            ops: keys.iter().cloned().map(Op::Delete).collect(),
            then: then.to_vec(),
            aside: vec![],
        }
    }

    #[test]
    fn a_lease_waits_for_its_job_and_its_spec_and_for_nothing_else() {
        for (key, waits) in [
            (StateKey::Job(job("a")), true),
            (StateKey::Commit(job("a"), spec(1)), true),
            (StateKey::Fault(job("a"), spec(1)), true),
            (StateKey::Outside, true),
            (StateKey::Job(job("b")), false),
            (StateKey::Commit(job("a"), spec(2)), false),
            (StateKey::Fault(job("a"), spec(2)), false),
            (StateKey::Commit(job("b"), spec(1)), false),
        ] {
            let one = lease(1, "a", 1);
            // with the same changes, in the batch in flight, and behind it
            let mut with = Outbox::new(FencingTerm(1));
            let step = with.step(vec![changes(&[key.clone()], &[one.clone()])], false);
            assert_eq!((step.now.len(), step.then.len()), if waits { (0, 1) } else { (1, 0) }, "{key:?}");
            let mut flies = Outbox::new(FencingTerm(1));
            let _ = flies.step(vec![changes(&[key.clone()], &[])], false);
            let now = flies.step(vec![changes(&[], &[one.clone()])], false).now;
            assert_eq!(now.is_empty(), waits, "{key:?}");
            flies.acknowledged();
            assert_eq!(flies.step(vec![], false).now.len(), usize::from(waits), "{key:?}");
            let mut queued = Outbox::new(FencingTerm(1));
            let _ = queued.step(vec![changes(&[StateKey::Term], &[])], false);
            let _ =
                queued.step(vec![changes(&[key.clone()], &[changed(1)]), changes(&[], &[changed(2)])], false);
            let now = queued.step(vec![changes(&[], &[one.clone()])], false).now;
            assert_eq!(now.is_empty(), waits, "{key:?}");
            queued.acknowledged();
            let then = queued.step(vec![], false).then;
            let expected =
                if waits { vec![changed(1), one, changed(2)] } else { vec![changed(1), changed(2)] };
            assert_eq!(then, expected, "{key:?}");
            queued.acknowledged();
            assert!(queued.changes.is_empty() && queued.stops.is_empty(), "what is durable is forgotten");
        }
    }

    #[test]
    fn a_lease_does_not_overtake_what_frees_its_slot() {
        let mut out = Outbox::new(FencingTerm(1));
        let _ = out.step(vec![transaction(0..1, 0)], false);
        let commit = changes(&[StateKey::Commit(job("b"), spec(7))], &[revoke(1)]);
        let leases = changes(&[], &[lease(1, "a", 1), lease(2, "a", 2)]);
        assert_eq!(out.step(vec![commit, leases], false).now, [lease(2, "a", 2)], "another worker's");
        out.acknowledged();
        let step = out.step(vec![changes(&[], &[lease(1, "a", 3)])], false);
        assert_eq!(step.then, [revoke(1), lease(1, "a", 1), lease(1, "a", 3)]);
        assert_eq!(out.step(vec![changes(&[], &[lease(1, "a", 4)])], false).now, [], "it was not told yet");
        out.acknowledged();
        assert_eq!(out.step(vec![], false).now, [lease(1, "a", 4)]);
    }

    #[test]
    fn a_key_that_changes_again_is_waited_for_again() {
        let mut out = Outbox::new(FencingTerm(1));
        let key = [StateKey::Job(job("a"))];
        let _ = out.step(vec![changes(&key, &[])], false);
        let _ = out.step(vec![changes(&key, &[])], false);
        assert_eq!(out.step(vec![changes(&[], &[lease(1, "a", 1)])], false), Step::default());
        out.acknowledged();
        let second = out.step(vec![], false);
        assert_eq!((second.now, second.then), (vec![], vec![lease(1, "a", 1)]));
        // the first was acknowledged, the second is in flight
        assert_eq!(out.step(vec![changes(&[], &[lease(1, "a", 2)])], false).now, []);
        out.acknowledged();
        assert_eq!(out.step(vec![], false).now, [lease(1, "a", 2)]);
    }

    /// What may come to the outbox: a change with something told of it, a lease, the end of an attempt, an answer.
    #[derive(Clone, Debug)]
    enum Comes {
        Change(u8, u8),
        Lease { to: u64, job: u8, spec: u8 },
        Stop(usize),
        Acknowledged,
    }

    fn comes() -> impl Strategy<Value = Comes> {
        prop_oneof![
            3 => (0..6u8, 0..3u8).prop_map(|(kind, n)| Comes::Change(kind, n)),
            4 => (0..3u64, 0..2u8, 0..3u8).prop_map(|(to, job, spec)| Comes::Lease { to, job, spec }),
            2 => (0..8usize).prop_map(Comes::Stop),
            4 => Just(Comes::Acknowledged),
        ]
    }

    fn key(kind: u8, n: u8) -> StateKey {
        let (a, b) = (job("j0"), job("j1"));
        match kind {
            0 => StateKey::Job(a),
            1 => StateKey::Job(b),
            2 => StateKey::Commit(a, spec(n)),
            3 => StateKey::Fault(a, spec(n)),
            4 => StateKey::Commit(b, spec(n)),
            _ => StateKey::Outside,
        }
    }

    /// A lease that was decided.
    struct Decided {
        to: u64,
        /// How often each of its keys had changed.
        waits: Vec<(StateKey, u32)>,
        /// Those whose worker was to be told first that they are over.
        frees: Vec<usize>,
        left: bool,
        stopped: bool,
        told: bool,
    }

    fn attempt(n: usize) -> AttemptId {
        AttemptId { term: FencingTerm(1), sequence: n as u64 }
    }

    /// Sees what leaves.
    fn sees(
        effect: &Effect,
        leases: &mut [Decided],
        durable: &BTreeMap<StateKey, u32>,
    ) -> Result<(), TestCaseError> {
        match effect {
            Effect::Lease(order) => {
                let n = order.attempt.sequence as usize;
                prop_assert!(!leases[n].left, "{n} leaves twice");
                prop_assert!(!leases[n].told, "{n} leaves after it was told to stop");
                prop_assert!(leases[n].frees.iter().all(|f| leases[*f].told), "{n} before its slot is free");
                let is_durable = |(k, n): &(StateKey, u32)| durable.get(k).is_some_and(|d| d >= n);
                prop_assert!(
                    leases[n].waits.iter().all(is_durable),
                    "{n} before what it tells of is durable"
                );
                leases[n].left = true;
            }
            Effect::Send { message: ToWorker::Revoke { attempt }, .. } => {
                let n = attempt.sequence as usize;
                prop_assert!(leases[n].left, "{n} is told to stop before it leaves");
                leases[n].told = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// What comes, as a transaction; and what of it is seen when it leaves.
    fn decide(
        come: Comes,
        decided: &mut BTreeMap<StateKey, u32>,
        leases: &mut Vec<Decided>,
    ) -> Vec<Transaction> {
        match come {
            Comes::Acknowledged => vec![],
            Comes::Change(kind, n) => {
                *decided.entry(key(kind, n)).or_default() += 1;
                vec![changes(&[key(kind, n)], &[])]
            }
            Comes::Lease { to, job: of, spec: n } => {
                let Effect::Lease(mut order) = lease(to, &format!("j{of}"), n) else { return vec![] };
                order.attempt = attempt(leases.len());
                let Needs::These { keys, .. } = Effect::Lease(order.clone()).needs() else { return vec![] };
                let waits = keys.into_iter().filter_map(|k| Some((k.clone(), *decided.get(&k)?))).collect();
                let is_freed = |n: &usize| leases[*n].to == to && leases[*n].stopped && !leases[*n].told;
                let frees = (0..leases.len()).filter(is_freed).collect();
                leases.push(Decided { to, waits, frees, left: false, stopped: false, told: false });
                vec![changes(&[], &[Effect::Lease(order)])]
            }
            Comes::Stop(n) => {
                let Some(l) = leases.get_mut(n).filter(|l| !l.stopped) else { return vec![] };
                l.stopped = true;
                let message = ToWorker::Revoke { attempt: attempt(n) };
                let stop = Effect::Send { session: SessionId(l.to), term: FencingTerm(1), message };
                vec![changes(&[], &[stop])]
            }
        }
    }

    proptest! {
        /// Whatever comes: what leaves leaves once, a lease not before what it tells of is durable, and neither before what
        /// frees its slot nor after what ends it.
        #[test]
        fn nothing_leaves_too_early_or_twice_or_out_of_order(all in prop::collection::vec(comes(), 1..60)) {
            let mut out = Outbox::new(FencingTerm(1));
            let (mut decided, mut durable) = (BTreeMap::new(), BTreeMap::new());
            let mut leases: Vec<Decided> = Vec::new();
            let mut in_flight: Option<(BTreeMap<StateKey, u32>, Vec<Effect>)> = None;
            for come in all.into_iter().chain((0..100).map(|_| Comes::Acknowledged)) {
                if let (Comes::Acknowledged, Some((done, then))) = (&come, in_flight.take_if(|_| matches!(come, Comes::Acknowledged))) {
                    durable.extend(done);
                    for effect in &then {
                        sees(effect, &mut leases, &durable)?;
                    }
                    let _ = out.acknowledged();
                }
                let step = out.step(decide(come, &mut decided, &mut leases), false);
                for effect in &step.now {
                    sees(effect, &mut leases, &durable)?;
                }
                if step.writes.is_empty() {
                    prop_assert!(step.then.is_empty());
                } else {
                    prop_assert!(in_flight.is_none(), "one batch at a time");
                    let so_far = |op: &Op| (op.key(), decided.get(&op.key()).copied().unwrap_or(0));
                    in_flight = Some((step.writes.ops.iter().map(so_far).collect(), step.then));
                }
            }
            prop_assert!(leases.iter().all(|l| l.left), "something never left");
        }
    }
}
