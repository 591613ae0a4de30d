//! The outbox: what leaves when, by examples and by whatever may come.

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
    assert_eq!(out.waiting_ops(), 1 + ASIDE_MAX + 80, "what stands aside is not counted before it is sent");
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
    Transaction { ops: keys.iter().cloned().map(Op::Delete).collect(), then: then.to_vec(), aside: vec![] }
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
        let (key, one) = ([key], [lease(1, "a", 1)]);
        // with the same changes, in the batch in flight, and behind it
        let mut with = Outbox::new(FencingTerm(1));
        let step = with.step(vec![changes(&key, &one)], false);
        assert_eq!((step.now.len(), step.then.len()), if waits { (0, 1) } else { (1, 0) }, "{key:?}");
        let mut flies = Outbox::new(FencingTerm(1));
        let _ = flies.step(vec![changes(&key, &[])], false);
        let now = flies.step(vec![changes(&[], &one)], false).now;
        assert_eq!(now.is_empty(), waits, "{key:?}");
        flies.acknowledged();
        assert_eq!(flies.step(vec![], false).now.len(), usize::from(waits), "{key:?}");
        let mut queued = Outbox::new(FencingTerm(1));
        let _ = queued.step(vec![changes(&[StateKey::Term], &[])], false);
        let _ = queued.step(vec![changes(&key, &[changed(1)]), changes(&[], &[changed(2)])], false);
        let now = queued.step(vec![changes(&[], &one)], false).now;
        assert_eq!(now.is_empty(), waits, "{key:?}");
        queued.acknowledged();
        let then = queued.step(vec![], false).then;
        let expected =
            if waits { vec![changed(1), one[0].clone(), changed(2)] } else { vec![changed(1), changed(2)] };
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
            prop_assert!(leases[n].waits.iter().all(is_durable), "{n} before what it tells of is durable");
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
fn decide(come: Comes, decided: &mut BTreeMap<StateKey, u32>, leases: &mut Vec<Decided>) -> Vec<Transaction> {
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
