//! Nothing is left to faster ones for ever: a slot that idles gets what is ready within a bound, whatever the others are
//! believed to do soon and never do.

use super::rig::*;
use crate::*;
use proptest::prelude::*;
use reelmill_common::outcome::AttemptCost;
use reelmill_common::session::{AttemptProgress, FromWorker};
use reelmill_common::{Millis, Sha256, SpecId};
use std::collections::BTreeMap;

const STEP_MS: u64 = 250;

/// What becomes of a worker that seems faster.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// It is connected and never asks for anything.
    Mute,
    /// It takes one chunk, tells this progress of a hundred with every heartbeat, and is never done.
    Stuck(u64),
    /// It takes one chunk and is gone for good.
    Dies,
    /// It fails at whatever it gets, and asks again.
    Fails,
}

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![
        Just(Manner::Mute),
        (0u64..=100).prop_map(Manner::Stuck),
        Just(Manner::Dies),
        Just(Manner::Fails),
    ]
}

struct Players {
    rig: Rig,
    manners: BTreeMap<SessionId, Manner>,
    /// Leases held by others than the honest one.
    held: BTreeMap<SessionId, Vec<LeaseOrder>>,
    honest: SessionId,
    /// What it does, and when it will be done.
    doing: Option<(LeaseOrder, Millis)>,
    pace: u64,
    cost_ms: BTreeMap<SpecId, u64>,
}

impl Players {
    fn join(rig: &mut Rig, name: &str, kilopixels_per_second: u64) -> SessionId {
        let mut hello = rig.hello(name, "b", 1);
        hello.capability.encoders[0].kilopixels_per_second = kilopixels_per_second;
        rig.connect(hello)
    }

    fn take(&mut self) {
        for order in self.rig.leases() {
            if order.session == self.honest {
                let takes_ms = self.cost_ms[&order.spec] * self.pace;
                self.doing = Some((order, self.rig.now.plus(takes_ms)));
            } else {
                self.held.entry(order.session).or_default().push(order);
            }
        }
    }

    /// Time passes, and everybody does what it does. True while the honest one idles although something is ready.
    fn step(&mut self, n: u64) -> bool {
        self.rig.tick(STEP_MS);
        self.take();
        if let Some((order, until)) = self.doing.take() {
            if until <= self.rig.now {
                let report = self.rig.report(&order);
                let (attempt, job, spec) = (order.attempt, order.job, order.spec);
                let outcome = Box::new(report);
                self.rig.feed(Event::OutcomeChecked { session: self.honest, attempt, job, spec, outcome });
                self.rig.ask(self.honest, 1);
            } else {
                self.doing = Some((order, until));
            }
        }
        for (session, manner) in self.manners.clone() {
            self.take();
            self.play(session, manner, n);
        }
        let mine: Vec<_> = self.doing.iter().map(|(o, _)| o.attempt).collect();
        if n.is_multiple_of(20) {
            self.rig.beat(self.honest, &mine);
        }
        self.take();
        self.doing.is_none() && self.rig.machine.backlog().ready > 0
    }

    fn play(&mut self, session: SessionId, manner: Manner, n: u64) {
        let mine = self.held.get(&session).cloned().unwrap_or_default();
        match manner {
            Manner::Dies if !mine.is_empty() => self.rig.feed(Event::WorkerDisconnected { session }),
            Manner::Fails => {
                for order in self.held.remove(&session).unwrap_or_default() {
                    let (attempt, job, spec) = (order.attempt, order.job, order.spec);
                    let outcome = Box::new(fault(reelmill_common::outcome::FaultKind::Storage));
                    self.rig.feed(Event::OutcomeChecked { session, attempt, job, spec, outcome });
                }
                self.rig.ask(session, 1);
            }
            Manner::Mute | Manner::Stuck(_) | Manner::Dies if n.is_multiple_of(20) => {
                let done = if let Manner::Stuck(done) = manner { done } else { 0 };
                let told = |o: &LeaseOrder| AttemptProgress {
                    attempt: o.attempt,
                    done,
                    total: 100,
                    cost: AttemptCost::default(),
                };
                let running = mine.iter().map(told).collect();
                self.rig.said(session, FromWorker::Heartbeat { sequence: n, running });
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_slot_that_idles_is_not_kept_from_what_is_ready(
        costs in prop::collection::vec(200u64..3_000, 1..12),
        pace in 1u64..6,
        others in prop::collection::vec((1u64..10, manner()), 0..5),
    ) {
        // faults of the ones that fail are not to end the job
        let config = CoordinatorConfig { faults_max: 1_000, losses_max: 1_000, ..Default::default() };
        let mut rig = Rig::with(config);
        let specs: Vec<SpecRef> = (0u8..).zip(&costs).map(|(n, cost_ms)| spec(n, *cost_ms)).collect();
        rig.planned(&[("a", "t", 0, &specs)]);
        let honest = Players::join(&mut rig, "honest", 1_000);
        let mut manners = BTreeMap::new();
        for (n, (times, manner)) in others.iter().enumerate() {
            let session = Players::join(&mut rig, &format!("w{n}"), times * 1_000);
            manners.insert(session, *manner);
            if !matches!(manner, Manner::Mute) {
                rig.ask(session, 1);
            }
        }
        rig.ask(honest, 1);
        let cost_ms = specs.iter().map(|s| (SpecId(Sha256(s.id.0.0)), s.cost_ms)).collect();
        let mut players = Players { rig, manners, held: BTreeMap::new(), honest, doing: None, pace, cost_ms };
        // twice the time that the honest one alone is believed to need, ten times slower than the mean at the most
        let bound_ms = 2 * costs.iter().sum::<u64>() * 10 * 11 / 10 + 5_000;
        let mut idle_ms = 0;
        for n in 1..2_000 {
            idle_ms = if players.step(n) { idle_ms + STEP_MS } else { 0 };
            prop_assert!(idle_ms <= bound_ms, "a slot idles for {idle_ms} ms beside ready work");
        }
    }
}
