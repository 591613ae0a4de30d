//! The schedule: order, fit, and what must hold after every pass whatever is asked.

use super::rig::*;
use crate::*;
use proptest::prelude::*;
use reelmill_common::capability::Needs;
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::plan::{CostClass, RungSet};
use reelmill_common::session::FromWorker;
use reelmill_common::{AttemptId, Fingerprint, JobId, Sha256, SpecId};
use std::collections::BTreeMap;

fn order(rig: &mut Rig) -> Vec<(String, u8)> {
    rig.leases().into_iter().map(|l| (l.job.to_string(), l.spec.0.0[0])).collect()
}

fn named(names: &[(&str, u8)]) -> Vec<(String, u8)> {
    names.iter().map(|(j, n)| ((*j).to_owned(), *n)).collect()
}

#[test]
fn within_a_tenant_priority_then_age_then_the_longest() {
    let mut rig = Rig::new();
    rig.planned(&[
        ("a", "t", 0, &[spec(1, 100), spec(2, 300)]),
        ("b", "t", 0, &[spec(3, 900)]),
        ("c", "t", 5, &[spec(4, 50)]),
    ]);
    rig.worker("w", 9);
    assert_eq!(order(&mut rig), named(&[("c", 4), ("a", 2), ("a", 1), ("b", 3)]));
}

#[test]
fn what_jobs_begin_with_does_not_wait_behind_older_chunks() {
    let mut rig = Rig::new();
    let chunks: Vec<SpecRef> = (10..30).map(|n| spec(n, 9_000)).collect();
    rig.planned(&[("a", "t", 0, &chunks), ("urgent", "t", 5, &[spec(1, 100), spec(2, 100)])]);
    for new in ["b", "c", "d"] {
        rig.submit(new);
    }
    let says = "1 job of tenant t goes before it, by priority, then age; first urgent, of priority 5";
    let why = |rig: &Rig, id: &str| rig.machine.explain(rig.now, &tenant("t"), &job(id)).expect("job");
    rig.connect(rig.hello("busy", "b1", 1));
    assert!(why(&rig, "b").iter().any(|w| w == says), "{:?}", why(&rig, "b"));
    let says = "4 jobs of tenant t go before it, by priority, then age; first urgent, of priority 5; 3 have short work \
                (index, analysis, audits), which goes before chunks of its priority every second time";
    assert!(why(&rig, "a").iter().any(|w| w == says), "{:?}", why(&rig, "a"));
    rig.worker("w", 9);
    let jobs: Vec<String> = order(&mut rig).into_iter().map(|(job, _)| job).collect();
    // a priority is a priority; then every second one is short, and the older job's chunks go on between them
    assert_eq!(jobs, ["urgent", "urgent", "b", "a", "c", "a", "d", "a", "a"]);
}

#[test]
fn tenants_share_by_weight() {
    let tenants = shares(&[("t", 1), ("u", 3)]);
    let mut rig = Rig::with(CoordinatorConfig { tenants, ..Default::default() });
    let chunks = |from: u8| (from..from + 8).map(|n| spec(n, 600)).collect::<Vec<_>>();
    rig.planned(&[("a", "t", 9, &chunks(10)), ("b", "u", 0, &chunks(20))]);
    rig.worker("w", 8);
    let got = order(&mut rig);
    let (t, u) = (got.iter().filter(|(j, _)| j == "a").count(), got.iter().filter(|(j, _)| j == "b").count());
    assert_eq!((t, u), (2, 6));
}

#[test]
fn work_goes_where_it_can_be_done() {
    let mut rig = Rig::new();
    let nvenc = Needs { family: Some(EncoderFamily::Nvenc), memory_mib: 100 };
    let big = Needs { family: None, memory_mib: 3_000 };
    let chunks = [
        SpecRef { needs: nvenc, ..spec(1, 900) },
        SpecRef { needs: big, ..spec(2, 800) },
        SpecRef { needs: big, ..spec(3, 700) },
    ];
    rig.planned(&[("a", "t", 0, &chunks)]);
    let w = rig.worker("w", 4);
    assert_eq!(order(&mut rig), named(&[("a", 2)]), "no encoder for 1, no memory for 3 beside 2");
    let why = rig.machine.explain(rig.now, &tenant("t"), &job("a")).expect("job");
    assert!(why.iter().any(|w| w.contains("nvenc")), "{why:?}");
    let mut hello = rig.hello("gpu", "b", 1);
    hello.capability.encoders[0].family = EncoderFamily::Nvenc;
    let gpu = rig.connect(hello);
    rig.ask(gpu, 1);
    assert_eq!(rig.leases().iter().map(|l| (l.session, l.spec.0.0[0])).collect::<Vec<_>>(), [(gpu, 1)]);
    assert_ne!(w, gpu);
}

#[test]
fn work_that_nobody_can_do_does_not_stand_in_the_way() {
    let mut rig = Rig::new();
    let nvenc = Needs { family: Some(EncoderFamily::Nvenc), memory_mib: 100 };
    let hopeless: Vec<SpecRef> = (10..90).map(|n| SpecRef { needs: nvenc, ..spec(n, 900) }).collect();
    let mixed: Vec<SpecRef> = hopeless.iter().copied().chain([spec(2, 50)]).collect();
    rig.planned(&[("a", "t", 9, &hopeless), ("b", "t", 5, &mixed), ("c", "t", 0, &[spec(1, 50)])]);
    rig.worker("w", 2);
    assert_eq!(order(&mut rig), named(&[("b", 2), ("c", 1)]));
}

#[test]
fn nothing_waits_for_the_fingerprint_that_it_would_rather_have() {
    let mut rig = Rig::new();
    rig.planned(&[("a", "t", 0, &[spec(1, 1_000), spec(2, 1_000), spec(3, 1_000)])]);
    let join = |rig: &mut Rig, name: &str, kilopixels_per_second, fingerprint| {
        let mut hello = rig.hello(name, "b", 2);
        hello.capability.encoders[0].kilopixels_per_second = kilopixels_per_second;
        hello.capability.encoders[0].fingerprint = Fingerprint(Sha256([fingerprint; 32]));
        let session = rig.connect(hello);
        rig.ask(session, 1);
        session
    };
    let slow = join(&mut rig, "slow", 1_000, 1);
    let fast = join(&mut rig, "fast", 10_000, 2);
    assert_eq!(rig.leases().iter().map(|l| l.session).collect::<Vec<_>>(), [slow, fast]);
    rig.ask(slow, 1);
    assert_eq!(rig.leases(), [], "the fast one will be done with both before");
    rig.ask(fast, 1);
    assert_eq!(rig.leases().iter().map(|l| l.session).collect::<Vec<_>>(), [fast]);
}

/// Of whom a faster one lacks the memory is nobody who would be done with it before.
#[test]
fn nothing_is_left_to_a_faster_one_that_has_not_the_memory_for_it() {
    let mut rig = Rig::new();
    let sized =
        |n: u8, cost_ms, memory_mib| SpecRef { needs: Needs { memory_mib, ..NEEDS }, ..spec(n, cost_ms) };
    rig.planned(&[("a", "t", 0, &[sized(1, 1_100, 500), sized(2, 1_000, 3_000), sized(3, 900, 500)])]);
    let join = |rig: &mut Rig, name: &str, kilopixels_per_second, memory_mib| {
        let mut hello = rig.hello(name, "b", 2);
        hello.capability.encoders[0].kilopixels_per_second = kilopixels_per_second;
        hello.capability.memory_mib = memory_mib;
        rig.connect(hello)
    };
    let fast = join(&mut rig, "fast", 10_000, 1_000);
    let slow = join(&mut rig, "slow", 1_000, 4_000);
    let who = |rig: &mut Rig| rig.leases().iter().map(|l| (l.session, l.spec.0.0[0])).collect::<Vec<_>>();
    rig.ask(slow, 2);
    assert_eq!(who(&mut rig), [(slow, 2)], "the fast one will be done with the others before");
    rig.ask(fast, 2);
    assert_eq!(who(&mut rig), [(fast, 1), (fast, 3)]);
}

#[test]
fn a_job_that_waits_says_why() {
    let mut rig = Rig::new();
    rig.planned(&[("a", "t", 0, &[spec(1, 100)]), ("b", "t", 7, &[spec(2, 100), spec(3, 100)])]);
    let why = |rig: &Rig| rig.machine.explain(rig.now, &tenant("t"), &job("a")).expect("job").join("; ");
    assert!(why(&rig).contains("no worker is connected"), "{}", why(&rig));
    rig.worker("w", 1);
    assert!(why(&rig).contains("1 job of tenant t goes before it"), "{}", why(&rig));
    assert_eq!(
        rig.machine.backlog(),
        Backlog { ready: 2, taken: 1, cost_ms: 300, slots: 1, busy: 1, jobs: 2, factors: (1_000, 1_000) }
    );
}

#[test]
fn a_chunk_that_must_run_alone_gets_a_worker_to_itself() {
    let mut rig = Rig::new();
    let (w, leases) = rig.running();
    // two losses of the first chunk, on a worker that comes and goes
    for boot in ["b2", "b3"] {
        let hello = rig.hello("w", boot, 2);
        let session = rig.connect(hello);
        rig.tick(400_000);
        rig.beat(session, &[]);
        rig.done.clear();
        rig.ask(session, 2);
    }
    assert_ne!(w, leases[0].session.max(SessionId(99)));
    let budgets: BTreeMap<SpecId, u32> = rig.machine.faults(&job("j")).map(|f| (f.spec, f.losses)).collect();
    assert!(budgets.values().any(|l| *l >= 2), "{budgets:?}");
    let x = rig.worker("x", 2);
    let given = rig.leases();
    for lease in given.iter().filter(|l| l.alone) {
        assert_eq!(
            given.iter().filter(|l| l.session == lease.session).count(),
            1,
            "nothing runs beside it on {x:?}"
        );
    }
}

#[test]
fn what_needs_much_memory_is_not_starved_by_what_needs_less() {
    let sized = |n: u8, memory_mib: u64| SpecRef { needs: Needs { memory_mib, ..NEEDS }, ..spec(n, 600) };
    let medium: Vec<SpecRef> = (10..40).map(|n| sized(n, 1_500)).collect();
    let mut rig = Rig::new();
    rig.planned(&[
        ("a", "t", 0, &medium),
        ("b", "u", 0, &[sized(1, 3_000)]),
        ("c", "v", 0, &[sized(2, 900)]),
    ]);
    // a moment when the large one does not fit: two others have come before it
    let w = rig.connect(rig.hello("w", "b1", 4));
    rig.feed(Event::Tenants(Tenants::from_iter([
        (tenant("u"), TenantRules { max_slots: Some(0), ..Default::default() }),
        (tenant("v"), TenantRules { max_slots: Some(0), ..Default::default() }),
    ])));
    rig.ask(w, 4);
    let first = rig.leases();
    assert_eq!(first.iter().map(|l| l.job.as_str()).collect::<Vec<_>>(), ["a", "a"]);
    rig.feed(Event::Tenants(Tenants::default()));
    assert_eq!(order(&mut rig), named(&[("c", 2)]), "beside the large one there will be room for this");
    for (n, lease) in first.iter().enumerate() {
        rig.wins(lease);
        rig.ask(w, 4);
        let next = order(&mut rig);
        assert_eq!(next, if n == 0 { named(&[]) } else { named(&[("b", 1)]) }, "after {n}");
    }
}

/// What a worker may do in the property below.
#[derive(Clone, Debug)]
enum Move {
    Ask(usize, u32),
    Finish(usize),
    Break(usize),
    Grant(usize),
    Leave(usize),
    Return(usize),
    Time(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0..4usize, 0..9u32).prop_map(|(w, n)| Move::Ask(w, n)),
        6 => (0..64usize).prop_map(Move::Finish),
        1 => (0..64usize).prop_map(Move::Break),
        2 => (0..64usize).prop_map(Move::Grant),
        1 => (0..4usize).prop_map(Move::Leave),
        2 => (0..4usize).prop_map(Move::Return),
        1 => (1..20_000u64).prop_map(Move::Time),
    ];
    prop::collection::vec(one, 1..120)
}

struct Fleet {
    slots: Vec<u32>,
    sessions: Vec<SessionId>,
    boots: u32,
    /// Leases that run, by attempt; those that upload.
    live: BTreeMap<AttemptId, LeaseOrder>,
    uploading: Vec<AttemptId>,
}

impl Fleet {
    fn take(&mut self, rig: &mut Rig, needs: &BTreeMap<SpecId, Needs>) {
        let over: Vec<AttemptId> = self.live.keys().copied().filter(|a| rig.was_revoked(*a)).collect();
        over.iter().for_each(|a| drop(self.live.remove(a)));
        for order in rig.leases() {
            self.live.insert(order.attempt, order);
        }
        rig.done.clear();
        for (w, session) in self.sessions.iter().enumerate() {
            let mine: Vec<_> = self.live.values().filter(|l| l.session == *session).collect();
            let encoding = mine.iter().filter(|l| !self.uploading.contains(&l.attempt)).count();
            assert!(encoding <= self.slots[w] as usize, "more leases than slots");
            let memory: u64 = mine.iter().filter_map(|l| needs.get(&l.spec)).map(|n| n.memory_mib).sum();
            assert!(memory <= 4_000, "more memory than there is: {memory}");
            let alone = mine.iter().filter(|l| l.alone).count();
            assert!(alone == 0 || mine.len() == 1, "something runs beside a chunk that must run alone");
        }
        let mut per_spec: BTreeMap<(&JobId, SpecId), usize> = BTreeMap::new();
        for l in self.live.values() {
            *per_spec.entry((&l.job, l.spec)).or_default() += 1;
        }
        assert!(per_spec.values().all(|n| *n <= 3), "a chunk has at most three live attempts");
    }

    fn play(&mut self, rig: &mut Rig, m: Move) {
        let nth = |live: &BTreeMap<AttemptId, LeaseOrder>, n: usize| {
            live.values().nth(n % live.len().max(1)).cloned()
        };
        match m {
            Move::Ask(w, n) => rig.ask(self.sessions[w % self.sessions.len()], n),
            Move::Finish(n) | Move::Break(n) => {
                let Some(order) = nth(&self.live, n) else { return };
                self.live.remove(&order.attempt);
                let done = matches!(m, Move::Finish(_));
                let report = rig.report(&order);
                let broken = fault(reelmill_common::outcome::FaultKind::Encoder);
                let (attempt, job, spec) = (order.attempt, order.job.clone(), order.spec);
                let outcome = Box::new(if done { report } else { broken });
                rig.feed(Event::OutcomeChecked { session: order.session, attempt, job, spec, outcome });
            }
            Move::Grant(n) => {
                let Some(order) = nth(&self.live, n) else { return };
                self.uploading.push(order.attempt);
                rig.said(order.session, FromWorker::Grant { attempt: order.attempt, files: vec![] });
            }
            Move::Leave(w) => {
                let session = self.sessions[w % self.sessions.len()];
                rig.feed(Event::WorkerDisconnected { session });
            }
            Move::Return(w) => {
                let w = w % self.sessions.len();
                let old = self.sessions[w];
                self.live.retain(|_, l| l.session != old);
                self.boots += 1;
                let hello = rig.hello(&format!("w{w}"), &format!("boot{}", self.boots), self.slots[w]);
                self.sessions[w] = rig.connect(hello);
            }
            Move::Time(ms) => {
                rig.tick(ms);
                for (w, session) in self.sessions.clone().into_iter().enumerate() {
                    let mine: Vec<AttemptId> =
                        self.live.values().filter(|l| l.session == session).map(|l| l.attempt).collect();
                    rig.beat(session, &mine);
                    let _ = w;
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever workers do, after every event: never more leases than slots, memory and needs respected, what runs
    /// alone runs alone, at most three attempts a chunk.
    #[test]
    fn every_pass_keeps_its_promises(
        slots in prop::collection::vec(1u32..4, 1..4),
        chunks in prop::collection::vec((1u64..5_000, 1u64..2_500), 1..24),
        moves in moves(),
    ) {
        let mut rig = Rig::new();
        let specs: Vec<SpecRef> = (0u8..).zip(&chunks).map(|(n, (cost_ms, memory_mib))| SpecRef {
            id: SpecId(Sha256([n; 32])),
            cost_ms: *cost_ms,
            needs: Needs { family: None, memory_mib: *memory_mib },
            rungs: RungSet::NONE,
            class: CostClass::NONE,
        }).collect();
        rig.planned(&[("a", "t", 0, &specs), ("b", "u", 0, &specs)]);
        let needs = specs.iter().map(|s| (s.id, s.needs)).collect();
        let sessions = slots.iter().enumerate().map(|(w, n)| {
            let hello = rig.hello(&format!("w{w}"), "b1", *n);
            rig.connect(hello)
        }).collect();
        let mut fleet = Fleet { slots, sessions, boots: 1, live: BTreeMap::new(), uploading: vec![] };
        for m in moves {
            fleet.play(&mut rig, m);
            fleet.take(&mut rig, &needs);
        }
    }
}
