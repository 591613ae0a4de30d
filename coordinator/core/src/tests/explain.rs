//! `jobs explain`: every reason why a job waits, word for word.

use super::rig::*;
use crate::*;
use reelmill_common::capability::Needs;
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::outcome::{AttemptCost, FaultKind};
use reelmill_common::session::{AttemptProgress, FromWorker};

/// Why job `a` of tenant `t` waits: what is said after how much of it does.
fn why(rig: &Rig) -> Vec<String> {
    let all = rig.machine.explain(rig.now, &tenant("t"), &job("a")).expect("job");
    let waits = all.iter().position(|w| w.ends_with("work items wait")).expect("something waits");
    all[waits + 1..].to_vec()
}

/// Job `a` with these chunks, and nobody who works.
fn waiting(chunks: &[SpecRef]) -> Rig {
    let mut rig = Rig::new();
    rig.planned(&[("a", "t", 0, chunks)]);
    rig
}

fn costly(n: u8) -> SpecRef {
    spec(n, 30_000)
}

#[test]
fn nobody_is_there() {
    assert_eq!(why(&waiting(&[costly(1)])), ["no worker is connected: start one"]);
}

#[test]
fn nobody_has_the_encoder() {
    let nvenc = Needs { family: Some(EncoderFamily::Nvenc), memory_mib: 100 };
    let mut rig = waiting(&[SpecRef { needs: nvenc, ..costly(1) }]);
    rig.worker("w", 1);
    rig.worker("x", 1);
    assert_eq!(why(&rig), ["it needs the encoder nvenc: no worker here has it (2 connected)"]);
}

#[test]
fn nobody_has_the_memory() {
    let much = Needs { memory_mib: 9_000, ..NEEDS };
    let mut rig = waiting(&[SpecRef { needs: much, ..costly(1) }]);
    rig.worker("w", 1);
    let says = "it needs 9000 MiB of memory: no worker here with what it needs (x264) has that, the largest has 4000 MiB";
    assert_eq!(why(&rig), [says]);
}

#[test]
fn the_memory_is_taken() {
    let much = Needs { memory_mib: 3_000, ..NEEDS };
    let mut rig = waiting(&[1, 2].map(|n| SpecRef { needs: much, ..costly(n) }));
    rig.worker("w", 2);
    assert_eq!(why(&rig), ["the memory of the 1 worker that could do it is taken: it needs 3000 MiB"]);
}

#[test]
fn all_are_busy_until() {
    let mut rig = waiting(&[1, 2, 3, 4].map(costly));
    let w = rig.worker("w", 2);
    rig.worker("x", 1);
    let first = rig.leases().remove(0);
    let says = |s: u64| {
        [format!("all slots of the 2 workers that could do it are taken: the next is free in about {s} s")]
    };
    assert_eq!(why(&rig), says(30));
    rig.now = rig.now.plus(4_500);
    assert_eq!(why(&rig), says(26), "by what was predicted, until there is progress");
    rig.now = rig.now.plus(5_500);
    let running =
        vec![AttemptProgress { attempt: first.attempt, done: 1, total: 2, cost: AttemptCost::default() }];
    rig.said(w, FromWorker::Heartbeat { sequence: 1, running });
    assert_eq!(why(&rig), says(10), "half of it is done");
    rig.now = rig.now.plus(4_000);
    assert_eq!(why(&rig), says(6), "it goes on between two heartbeats");
    rig.now = rig.now.plus(9_000);
    assert_eq!(why(&rig), says(3), "what is 3 s late may be as late again");
}

#[test]
fn nobody_has_asked() {
    let mut rig = waiting(&[costly(1)]);
    rig.connect(rig.hello("w", "b", 1));
    assert_eq!(why(&rig), ["the 1 worker that could do it did not ask for work yet"]);
}

#[test]
fn slots_are_left_for_faster_ones() {
    let mut rig = waiting(&[1, 2].map(costly));
    let fast = rig.worker("w", 1);
    let mut hello = rig.hello("snail", "b", 1);
    hello.capability.encoders[0].kilopixels_per_second = 100;
    let slow = rig.connect(hello);
    rig.ask(slow, 1);
    assert_eq!(rig.leases().iter().map(|l| l.session).collect::<Vec<_>>(), [fast]);
    let says = "slots are free, but so slow (snail) that faster ones will be done with it before";
    assert_eq!(why(&rig), [says]);
}

#[test]
fn others_of_the_tenant_go_first() {
    let mut rig = Rig::new();
    let chunks: Vec<SpecRef> = (10..14).map(costly).collect();
    rig.planned(&[("a", "t", 0, &[costly(1)]), ("b", "t", 7, &chunks), ("c", "t", 3, &[costly(5)])]);
    rig.worker("w", 1);
    assert_eq!(
        why(&rig)[0],
        "2 jobs of tenant t go before it, by priority, then age; first b, of priority 7"
    );
}

#[test]
fn tenants_share() {
    let mut rig = Rig::with(CoordinatorConfig { tenants: shares(&[("u", 3)]), ..Default::default() });
    let chunks = |from: u8| (from..from + 8).map(costly).collect::<Vec<_>>();
    rig.planned(&[("a", "t", 0, &chunks(10)), ("b", "u", 0, &chunks(30))]);
    rig.worker("w", 8);
    let says = "2 tenants share the slots by weight: tenant t has 1 of 4, and 2 of 8 slots now";
    assert_eq!(why(&rig)[0], says);
}

#[test]
fn workers_are_draining_or_suspended() {
    let mut rig = waiting(&[1, 2, 3].map(costly));
    rig.worker("w", 3);
    let x = rig.connect(rig.hello("x", "b", 1));
    rig.said(x, FromWorker::Draining);
    for lease in rig.leases() {
        rig.ends(&lease, fault(FaultKind::Output));
    }
    rig.now = rig.now.plus(1_500);
    assert_eq!(
        why(&rig)[..3],
        [
            "1 worker is draining and gets nothing new",
            "worker w failed too often in a row and gets no work for 29 s",
            "no worker that could do it takes work now",
        ]
    );
    assert_eq!(why(&rig)[3], "encode work failed on w: it broke");
}

#[test]
fn what_workers_died_of_waits_for_one_that_is_idle() {
    let mut rig = Rig::new();
    rig.planned(&[("a", "t", 5, &[costly(1)]), ("b", "t", 0, &[costly(7)])]);
    let first = rig.worker("w", 1);
    let other = rig.connect(rig.hello("v", "b", 2));
    rig.ask(other, 1);
    assert_eq!(rig.leases().iter().map(|l| l.session).collect::<Vec<_>>(), [first, other]);
    let second = rig.connect(rig.hello("w", "b2", 1));
    rig.ask(second, 1);
    assert_eq!(rig.leases().iter().map(|l| l.session).collect::<Vec<_>>(), [second]);
    rig.connect(rig.hello("w", "b3", 1));
    assert_eq!(rig.budget("a", costly(1).id).map(|b| b.1), Some(2), "it died twice");
    rig.ask(other, 1);
    assert_eq!(rig.leases(), []);
    let says = "workers vanished while they ran its next chunk, which therefore runs alone: it waits for a worker that runs \
                nothing else";
    assert_eq!(why(&rig)[0], says);
}

#[test]
fn a_new_leader_waits_for_claims() {
    let mut rig = waiting(&[1, 2].map(costly));
    rig.worker("w", 1);
    rig.begin(3, [(job("a"), Ok([1, 2].map(costly).to_vec()))].into());
    let all = rig.machine.explain(rig.now, &tenant("t"), &job("a")).expect("job");
    assert_eq!(all[0], "a new leader waits 5 s for workers to claim what they already run");
}
