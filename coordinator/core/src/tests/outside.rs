//! Workers that may outlive the leader: written down before they are given work, waited for by the next leader.

use super::rig::*;
use crate::*;
use reelmill_common::BootId;
use reelmill_common::record::StateKey;

/// Settings of a process whose own worker is of boot `b1`.
pub(super) fn own_worker() -> CoordinatorConfig {
    CoordinatorConfig { own_worker: BootId::parse("b1").ok(), ..CoordinatorConfig::default() }
}

fn is_recorded(rig: &Rig) -> bool {
    rig.store.contains_key(&StateKey::Outside)
}

/// How long the next leader, in a new process, lets open chunks wait for claims.
fn waits_ms(rig: &mut Rig) -> u64 {
    rig.term(2);
    let worker = rig.connect(rig.hello("next", "b9", 2));
    rig.ask(worker, 2);
    for (waited, ms) in [(0, 4_999), (4_999, 1)] {
        if !rig.leases().is_empty() {
            return waited;
        }
        rig.tick(ms);
    }
    assert_eq!(rig.leases().len(), 2, "nobody claims them");
    5_000
}

#[test]
fn nobody_is_waited_for_where_only_the_own_worker_was() {
    let mut rig = Rig::with(own_worker());
    rig.running();
    assert!(!is_recorded(&rig));
    assert_eq!(waits_ms(&mut rig), 0);
}

#[test]
fn workers_of_other_processes_are_waited_for() {
    let mut rig = Rig::with(own_worker());
    rig.connect(rig.hello("other", "b7", 1));
    rig.running();
    assert!(is_recorded(&rig));
    assert_eq!(waits_ms(&mut rig), 5_000);
    let mut rig = Rig::new();
    rig.running();
    assert_eq!(waits_ms(&mut rig), 5_000, "a coordinator without a worker of its own");
}

#[test]
fn work_from_outside_is_leased_when_that_is_durable_and_it_is_written_once() {
    let mut rig = Rig::new();
    rig.submit("j");
    rig.answers = false;
    rig.worker("w", 1);
    assert_eq!(rig.leases(), []);
    let first = rig.waiting.clone().expect("a write");
    assert!(first.writes.ops.iter().any(|op| op.key() == StateKey::Outside), "{first:?}");
    rig.answers = true;
    rig.answer();
    assert_eq!(rig.leases().len(), 1);
    let writes = rig.writes;
    rig.connect(rig.hello("v", "b3", 1));
    rig.connect(rig.hello("v", "b4", 1));
    rig.tick(1_000);
    assert_eq!(rig.writes, writes, "no write for another worker, or for one that comes again");
}

#[test]
fn a_term_without_them_that_is_longer_than_a_lease_forgets_them() {
    let mut rig = Rig::new();
    rig.running();
    rig.config = own_worker();
    rig.term(2);
    rig.connect(rig.hello("own", "b1", 1));
    rig.tick(15_000);
    assert!(is_recorded(&rig), "one may still hold a lease");
    rig.tick(1);
    assert!(!is_recorded(&rig));
    rig.connect(rig.hello("w", "b7", 1));
    assert!(is_recorded(&rig), "it is back");
    rig.tick(60_000);
    assert!(is_recorded(&rig), "for as long as the term lasts");
}

#[test]
fn a_term_that_ends_early_forgets_nobody() {
    let mut rig = Rig::new();
    rig.running();
    for term in 2..6 {
        rig.term(term);
        rig.tick(14_000);
    }
    assert!(is_recorded(&rig));
}

#[test]
fn the_own_worker_is_waited_for_by_the_next_term_of_its_process() {
    let mut rig = Rig::with(own_worker());
    let (_, leases) = rig.running();
    assert_eq!(leases.len(), 2);
    let records: Vec<Record> = rig.store.values().cloned().collect();
    let plans = [(job("j"), Ok(vec![spec(1, 900), spec(2, 500)]))].into();
    rig.feed(Event::TermLost);
    let begun = TermBegun { term: reelmill_common::FencingTerm(2), records, plans, unix_ms: 5_000 };
    rig.feed(Event::TermBegun(Box::new(begun)));
    rig.done.clear();
    let again = rig.connect(rig.hello("v", "b1", 2));
    rig.ask(again, 2);
    assert_eq!(rig.leases(), [], "it lived on, and may name what it runs");
    rig.tick(5_000);
    assert_eq!(rig.leases().len(), 2);
}
