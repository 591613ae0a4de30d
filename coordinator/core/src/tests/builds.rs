//! Two encoder builds of which one takes longer for large pictures than anybody predicts.

use super::rig::*;
use crate::{CoordinatorConfig, LeaseOrder, SessionId, SpecRef};
use reelmill_common::plan::CostClass;
use reelmill_common::{Fingerprint, Millis, Sha256};

const LARGE: CostClass = CostClass(1);
const SMALL: CostClass = CostClass(2);
/// Chunks of a film.
const CHUNKS: u8 = 60;
/// Which of them are small: the bits that are set.
const ORDER: u64 = 0x6A3C_95D2_E174_8B6D;

/// A fleet of a usual build and an odd one, which takes three times as long for what is large.
struct Fleet {
    rig: Rig,
    odd: SessionId,
    specs: Vec<SpecRef>,
    running: Vec<(Millis, LeaseOrder)>,
}

impl Fleet {
    /// A film; `classed`: it is known which chunks are alike.
    fn new(specs: Vec<SpecRef>, classed: bool) -> Self {
        let mut rig = Rig::with(CoordinatorConfig { lease_ttl_ms: 10_000_000, ..Default::default() });
        let class = |s: &SpecRef| if classed { s.class } else { CostClass::NONE };
        let chunks: Vec<SpecRef> = specs.iter().map(|s| SpecRef { class: class(s), ..*s }).collect();
        rig.planned(&[("a", "t", 0, &chunks)]);
        let mut hello = rig.hello("usual", "b", 1);
        hello.capability.memory_mib = 8_000;
        let usual = rig.connect(hello);
        let mut hello = rig.hello("odd", "b", 1);
        hello.capability.encoders[0].fingerprint = Fingerprint(Sha256([2; 32]));
        let odd = rig.connect(hello);
        rig.ask(usual, 1);
        rig.ask(odd, 1);
        Self { rig, odd, specs, running: vec![] }
    }

    fn is_odd(&self, order: &LeaseOrder) -> bool {
        order.session == self.odd
    }

    fn spec(&self, order: &LeaseOrder) -> SpecRef {
        *self.specs.iter().find(|s| s.id == order.spec).expect("a chunk of the film")
    }

    /// Those that were leased run.
    fn begins(&mut self) -> Vec<LeaseOrder> {
        let leases = self.rig.leases();
        for order in &leases {
            let SpecRef { cost_ms, class, .. } = self.spec(order);
            let times = if self.is_odd(order) && class == LARGE { 3 } else { 1 };
            self.running.push((self.rig.now.plus(cost_ms * times), order.clone()));
        }
        leases
    }

    /// The next one is done, and its worker asks for more.
    fn goes_on(&mut self) -> bool {
        let next = (0..self.running.len()).min_by_key(|n| (self.running[*n].0, self.running[*n].1.attempt));
        let Some(next) = next else { return false };
        let (at, order) = self.running.remove(next);
        self.rig.now = at;
        self.rig.wins(&order);
        self.rig.ask(order.session, 1);
        true
    }

    /// Everything is made: what was leased, in order, and how long it took.
    fn makes_all(mut self) -> (Vec<(bool, CostClass)>, u64) {
        let (began, mut all) = (self.rig.now, vec![]);
        loop {
            let leases = self.begins();
            all.extend(leases.iter().map(|o| (self.is_odd(o), self.spec(o).class)));
            if !self.goes_on() {
                return (all, self.rig.now.since(began));
            }
        }
    }
}

/// Chunks of both classes, as many, without any order, which cost about the same.
fn mixed() -> Vec<SpecRef> {
    let class = |n: u8| if ORDER >> n & 1 == 0 { LARGE } else { SMALL };
    (0..CHUNKS).map(|n| SpecRef { class: class(n), ..spec(n, 4_000 - 10 * u64::from(n)) }).collect()
}

#[test]
fn a_build_that_is_slow_at_something_does_something_else() {
    let (all, learned_ms) = Fleet::new(mixed(), true).makes_all();
    let (blind, blind_ms) = Fleet::new(mixed(), false).makes_all();
    let by_odd = |of: &[(bool, CostClass)], class| of.iter().filter(|l| **l == (true, class)).count();
    assert_eq!((all.len(), blind.len()), (usize::from(CHUNKS), usize::from(CHUNKS)));
    let rest = &all[30..];
    assert!(by_odd(rest, SMALL) >= 10, "{rest:?}");
    assert!(by_odd(rest, LARGE) <= 1, "{rest:?}");
    assert!(by_odd(&blind[30..], LARGE) >= 4, "it is the model that does it: {blind:?}");
    assert!(learned_ms * 10 <= blind_ms * 9, "{learned_ms} for {blind_ms}");
}

/// From the middle on, what the odd build is good at does not fit into its worker's memory.
#[test]
fn no_slot_idles_for_what_another_build_is_better_at() {
    let mut specs = mixed();
    for spec in specs.iter_mut().skip(30).filter(|s| s.class == SMALL) {
        spec.needs.memory_mib = 5_000;
    }
    let mut fleet = Fleet::new(specs, true);
    let mut leased = 0;
    while leased < usize::from(CHUNKS) - 6 {
        leased += fleet.begins().len();
        assert_eq!(fleet.running.len(), 2, "after {leased} leases");
        fleet.goes_on();
    }
}
