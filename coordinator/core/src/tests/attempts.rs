//! Attempts: verdicts, budgets, leases, grants.

use super::rig::*;
use crate::*;
use reelmill_common::job::{FailReason, JobState};
use reelmill_common::outcome::{AttemptCost, FaultKind, Verdict};
use reelmill_common::session::{FromWorker, NamedFile, ToWorker};
use reelmill_common::{AttemptId, FencingTerm, Sha256};

#[test]
fn an_outcome_that_is_reported_again_is_settled_again() {
    let mut rig = Rig::new();
    let (_, leases) = rig.running();
    rig.wins(&leases[0]);
    let writes = rig.writes;
    rig.wins(&leases[0]);
    assert_eq!(rig.writes, writes, "a duplicate changes nothing");
    let other = LeaseOrder { attempt: AttemptId { term: FencingTerm(1), sequence: 99 }, ..leases[0].clone() };
    let report = rig.report(&other);
    assert_eq!(rig.ends(&other, report), Some(Verdict::Lost), "the chunk has its output");
    let unknown = LeaseOrder { job: job("nobody"), ..leases[0].clone() };
    let report = rig.report(&unknown);
    assert_eq!(rig.ends(&unknown, report), Some(Verdict::Gone));
}

#[test]
fn only_a_live_attempt_of_this_very_spec_is_committed() {
    let mut rig = Rig::new();
    let (_, leases) = rig.running();
    let crossed = LeaseOrder { spec: leases[1].spec, ..leases[0].clone() };
    let report = rig.report(&crossed);
    assert_eq!(rig.ends(&crossed, report), Some(Verdict::Lost));
    let dead = LeaseOrder { attempt: AttemptId { term: FencingTerm(1), sequence: 77 }, ..leases[0].clone() };
    let report = rig.report(&dead);
    assert_eq!(rig.ends(&dead, report), Some(Verdict::Lost));
    let thief = rig.worker("thief", 1);
    let report = rig.report(&leases[0]);
    assert_eq!(rig.ends_on(thief, &leases[0], report), Some(Verdict::Lost), "it is another worker's");
    assert_eq!(rig.machine.commits(&job("j")).count(), 1, "the index and nothing else");
    rig.wins(&leases[0]);
}

#[test]
fn a_report_of_another_kind_is_a_wrong_output() {
    let mut rig = Rig::new();
    let (_, leases) = rig.running();
    let index = LeaseOrder { kind: WorkKind::Index, ..leases[0].clone() };
    let report = rig.report(&index);
    assert_eq!(rig.ends(&leases[0], report), Some(Verdict::Lost));
    assert_eq!(rig.budget("j", leases[0].spec), Some((1, 0, false)));
}

#[test]
fn three_faults_fail_the_job_on_distinct_workers_where_there_are_some() {
    let mut rig = Rig::new();
    let (_, leases) = rig.running();
    let mut lease = leases[0].clone();
    let others = [rig.worker("x", 1), rig.worker("y", 1)];
    let (mut sessions, mut again) = (vec![lease.session], vec![]);
    for n in 1..=3 {
        assert!(rig.machine.faults(&job("j")).all(|f| !f.failed));
        rig.done.clear();
        assert_eq!(rig.ends(&lease.clone(), fault(FaultKind::Encoder)), Some(Verdict::Lost));
        assert_eq!(rig.budget("j", leases[0].spec), Some((n, 0, n == 3)));
        if n < 3 {
            again.extend(rig.leases().into_iter().filter(|l| l.spec == leases[0].spec));
            lease = again.pop().expect("offered again");
            sessions.push(lease.session);
        }
    }
    sessions.sort();
    assert_eq!(sessions, [leases[0].session, others[0], others[1]]);
    let JobState::Failed(FailReason { kind, message, .. }) = rig.state("j") else { panic!("it failed") };
    assert_eq!(kind, FaultKind::Encoder);
    assert!(message.contains("3 times") && message.contains("it broke"), "{message}");
    rig.call(Call::Retry { tenant: tenant("t"), job: job("j") });
    assert_eq!(rig.budget("j", leases[0].spec), None, "a Retry renews budgets");
}

#[test]
fn with_one_worker_faults_are_tried_there_again() {
    let mut rig = Rig::new();
    let (w, leases) = rig.running();
    rig.ends(&leases[0], fault(FaultKind::Storage));
    rig.ask(w, 1);
    assert_eq!(rig.leases().iter().map(|l| l.spec).collect::<Vec<_>>(), [leases[0].spec]);
}

#[test]
fn a_source_fault_fails_the_job_at_once_and_an_abandoned_attempt_costs_nothing() {
    let mut rig = Rig::new();
    let (w, leases) = rig.running();
    assert_eq!(rig.ends(&leases[0], fault(FaultKind::Abandoned)), Some(Verdict::Lost));
    assert_eq!(rig.budget("j", leases[0].spec), None);
    rig.ask(w, 1);
    let again = rig.leases().remove(0);
    assert_eq!(again.spec, leases[0].spec);
    rig.ends(&again, fault(FaultKind::Source));
    assert!(matches!(rig.state("j"), JobState::Failed(FailReason { kind: FaultKind::Source, .. })));
    assert!(rig.was_revoked(leases[1].attempt), "nobody works for it any more");
}

#[test]
fn what_attempts_used_up_is_written_down_once_and_that_of_chunks_in_their_reports() {
    let mut rig = Rig::new();
    let (w, leases) = rig.running();
    let sum = |costs: &[AttemptCost]| costs.iter().copied().sum::<AttemptCost>();
    assert_eq!(rig.record("j").spent, COST, "the index");
    for _ in 0..2 {
        rig.ends(&leases[0], fault(FaultKind::Encoder));
        assert_eq!(rig.record("j").spent, sum(&[COST; 2]), "one that failed, however often it says so");
    }
    rig.beat(w, &[leases[1].attempt]);
    let reborn = rig.hello("w", "b2", 2);
    let w = rig.connect(reborn);
    assert_eq!(rig.record("j").spent, sum(&[COST, COST, HEARD]), "one that vanished, as far as was heard");
    rig.tick(400_000); // past any suspension
    rig.beat(w, &[]);
    while rig.machine.commits(&job("j")).count() < 3 {
        rig.ask(w, 2);
        let leases = rig.leases();
        assert!(!leases.is_empty());
        leases.iter().for_each(|lease| rig.wins(lease));
    }
    rig.publish();
    assert_eq!(rig.record("j").spent, sum(&[COST, COST, HEARD]), "what is in the package tells its own cost");
}

#[test]
fn a_worker_that_vanishes_costs_a_loss_and_the_second_makes_the_chunk_run_alone() {
    let mut rig = Rig::new();
    let (_, leases) = rig.running();
    let spec = leases[0].spec;
    let mut boot = 1;
    for n in 1..=6u32 {
        boot += 1;
        rig.done.clear();
        let hello = rig.hello("w", &format!("b{boot}"), 2);
        let w = rig.connect(hello);
        assert_eq!(rig.budget("j", spec), Some((0, n, n == 6)));
        rig.tick(400_000); // past any suspension
        rig.beat(w, &[]);
        rig.ask(w, 2);
        let leases = rig.leases();
        if n == 6 {
            assert!(matches!(rig.state("j"), JobState::Failed(_)));
        } else if n == 1 {
            assert_eq!(
                leases.iter().map(|l| l.alone).collect::<Vec<_>>(),
                [false, false],
                "once may be chance"
            );
        } else {
            assert_eq!(leases.iter().map(|l| (l.spec, l.alone)).collect::<Vec<_>>(), [(spec, true)]);
        }
    }
}

#[test]
fn a_lease_ends_when_its_worker_is_silent() {
    let mut rig = Rig::new();
    let (w, leases) = rig.running();
    rig.tick(14_000);
    rig.beat(w, &[leases[0].attempt]);
    rig.done.clear();
    rig.tick(2_000);
    assert!(!rig.was_revoked(leases[0].attempt), "renewed by name");
    assert!(rig.was_revoked(leases[1].attempt), "its worker lives and does not know it");
    assert_eq!(rig.budget("j", leases[1].spec), None, "which is nobody's fault");
    rig.feed(Event::WorkerDisconnected { session: w });
    rig.tick(16_000);
    assert_eq!(rig.budget("j", leases[0].spec), Some((0, 1, false)), "now it has vanished");
}

#[test]
fn an_outcome_after_the_lease_ended_is_refused() {
    let mut rig = Rig::new();
    let (w, leases) = rig.running();
    rig.tick(16_000);
    rig.beat(w, &[leases[0].attempt]);
    assert!(rig.was_revoked(leases[0].attempt), "named and not wanted");
    let report = rig.report(&leases[0]);
    assert_eq!(rig.ends(&leases[0], report), Some(Verdict::Lost));
}

#[test]
fn sources_are_read_by_live_attempts_until_they_upload() {
    let mut rig = Rig::new();
    let (w, leases) = rig.running();
    let reads = |rig: &Rig, session| {
        let reads = rig.machine.reads_of(session);
        reads.into_iter().map(|(attempt, _)| attempt).collect::<Vec<_>>()
    };
    let all: Vec<AttemptId> = leases.iter().map(|l| l.attempt).collect();
    assert!(all.len() >= 2);
    assert_eq!(reads(&rig, w), all);
    assert_eq!(reads(&rig, SessionId(99)), []);
    rig.said(w, FromWorker::Grant { attempt: all[0], files: vec![] });
    assert_eq!(reads(&rig, w), all[1..], "what is uploaded was read");
    rig.tick(16_000);
    assert_eq!(reads(&rig, w), [], "what has expired is read no more");
}

#[test]
fn grants_are_for_live_attempts_of_open_specs() {
    let mut rig = Rig::new();
    let (w, leases) = rig.running();
    let granted = |rig: &mut Rig, attempt| {
        rig.done.clear();
        let files = vec![NamedFile { name: "a/1".to_owned(), bytes: 1, sha256: Sha256::of(b"a") }];
        rig.said(w, FromWorker::Grant { attempt, files: files.clone() });
        let allows = |e: &Effect| matches!(e, Effect::Grant(g) if (g.session, g.attempt, &g.files) == (w, attempt, &files));
        let refused = ToWorker::Granted { attempt, allowed: false, uploads: vec![] };
        let allowed = rig.done.iter().any(allows);
        assert_eq!(rig.sent().any(|m| *m == refused), !allowed);
        allowed
    };
    assert!(granted(&mut rig, leases[0].attempt));
    assert!(granted(&mut rig, leases[0].attempt), "asked twice, answered twice");
    assert!(!granted(&mut rig, AttemptId { term: FencingTerm(1), sequence: 99 }));
    rig.wins(&leases[0]);
    assert!(!granted(&mut rig, leases[0].attempt));
    rig.now = rig.now.plus(15_001);
    assert!(!granted(&mut rig, leases[1].attempt), "its lease is over, though nobody noticed yet");
    rig.call(Call::Cancel { tenant: tenant("t"), job: job("j") });
    assert!(!granted(&mut rig, leases[1].attempt));
}

#[test]
fn the_first_of_two_attempts_wins_and_the_other_is_stopped() {
    let mut rig = Rig::new();
    let (w, leases) = rig.running();
    let second = rig.worker("x", 2);
    assert_eq!(rig.leases(), vec![], "nothing is late yet");
    let all = [leases[0].attempt, leases[1].attempt];
    rig.tick(1_000);
    rig.beat(w, &all);
    rig.tick(900);
    let twins = rig.leases();
    assert_eq!(
        twins.iter().map(|l| (l.spec, l.session)).collect::<Vec<_>>(),
        [
            (leases[1].spec, second), // latest by its prediction
            (leases[0].spec, second),
        ]
    );
    rig.tick(10_000);
    rig.beat(w, &all);
    rig.beat(second, &[twins[0].attempt, twins[1].attempt]);
    rig.worker("z", 4);
    rig.tick(1_000);
    assert_eq!(rig.leases(), vec![], "two are the most");
    rig.wins(&twins[1]);
    assert!(rig.was_revoked(leases[0].attempt));
    assert_eq!(rig.budget("j", leases[0].spec), None, "a lost race counts for nothing");
    let report = rig.report(&leases[0]);
    assert_eq!(rig.ends(&leases[0], report), Some(Verdict::Lost));
}

/// Near the end everything waits for what failed: several workers try it at once; before that one does.
#[test]
fn what_fails_near_the_end_is_tried_by_several_at_once() {
    let tried_by = |chunks: u8| {
        let mut rig = Rig::new();
        let all: Vec<_> = (1..=chunks).map(|n| spec(n, 1_000)).collect();
        rig.planned(&[("a", "t", 0, &all)]);
        rig.worker("w", 1);
        rig.worker("x", 1);
        let first = rig.leases().remove(0);
        rig.ends(&first, fault(FaultKind::Encoder));
        let (y, z) = (rig.worker("y", 2), rig.worker("z", 2));
        rig.worker("v", 2);
        rig.worker("u", 2);
        let again: Vec<_> = rig.leases().into_iter().filter(|l| l.spec == first.spec).collect();
        let mut by: Vec<_> = again.iter().map(|l| l.session).collect();
        assert_eq!(by[0], y);
        by.dedup();
        assert_eq!(by.len(), again.len(), "those of one worker would fail together");
        if by.len() > 1 {
            assert_eq!(by[1], z);
            rig.ends(&again[0], fault(FaultKind::Encoder));
            rig.wins(&again[1]);
            assert!(again[2..].iter().all(|l| rig.was_revoked(l.attempt)));
        }
        by.len()
    };
    assert_eq!([tried_by(2), tried_by(20)], [3, 1]);
}

#[test]
fn two_jobs_of_one_film_share_specs_and_no_outcome() {
    let mut rig = Rig::new();
    let w = rig.worker("w", 4);
    let chunks = [spec(1, 900)];
    rig.submit("a");
    rig.plan("a", w, &chunks);
    rig.submit("b");
    rig.ask(w, 4);
    let (a, b): (Vec<_>, Vec<_>) = rig.leases().into_iter().partition(|l| l.job == job("a"));
    assert_eq!((a.len(), b.len()), (1, 1));
    let wrong = LeaseOrder { job: job("b"), ..a[0].clone() };
    let report = rig.report(&wrong);
    assert_eq!(rig.ends(&wrong, report), Some(Verdict::Lost));
    rig.wins(&a[0]);
    assert_eq!(rig.machine.commits(&job("b")).count(), 0);
}

#[test]
fn draining_workers_get_nothing_new_and_keep_what_they_have() {
    let mut rig = Rig::new();
    let w = rig.worker("w", 2);
    rig.submit("j");
    rig.said(w, FromWorker::Draining);
    rig.plan("j", w, &[spec(1, 900)]);
    rig.ask(w, 2);
    assert_eq!(rig.leases(), vec![]);
    let why = rig.machine.explain(rig.now, &tenant("t"), &job("j")).expect("job");
    assert!(why.iter().any(|w| w.contains("draining")), "{why:?}");
    assert!(rig.machine.workers(rig.now)[0].draining);
}

#[test]
fn a_bad_worker_is_suspended_and_explained() {
    let mut rig = Rig::new();
    let w = rig.worker("w", 3);
    rig.submit("j");
    rig.plan("j", w, &[spec(1, 900), spec(2, 500), spec(3, 100)]);
    rig.ask(w, 3);
    let leases = rig.leases();
    for lease in &leases {
        rig.ends(lease, fault(FaultKind::Output));
    }
    assert!(rig.done.iter().any(|e| matches!(e, Effect::Count(Count::Suspended { for_ms: 30_000, .. }))));
    rig.ask(w, 3);
    assert_eq!(rig.leases(), vec![]);
    let why = rig.machine.explain(rig.now, &tenant("t"), &job("j")).expect("job");
    assert!(why.iter().any(|w| w.contains("worker w failed too often")), "{why:?}");
    rig.tick(10_000);
    rig.beat(w, &[]);
    rig.tick(10_000);
    rig.beat(w, &[]);
    rig.tick(10_000);
    rig.beat(w, &[]);
    rig.ask(w, 3);
    let canary = rig.leases();
    assert_eq!(canary.len(), 1, "one, to see");
    rig.wins(&canary[0]);
    rig.ask(w, 3);
    assert_eq!(rig.leases().len(), 2, "and it is trusted again");
}

#[test]
fn a_crash_counts_once_against_its_worker_however_much_it_held() {
    let mut rig = Rig::new();
    let chunks = [spec(1, 900), spec(2, 800), spec(3, 700), spec(4, 600)];
    let w = rig.worker("w", 4);
    rig.submit("j");
    rig.plan("j", w, &chunks);
    rig.ask(w, 4);
    let suspended = |rig: &Rig| rig.machine.workers(rig.now)[0].suspended_ms;
    for crash in 1..=3u32 {
        assert_eq!((rig.leases().len(), suspended(&rig)), (if crash < 3 { 4 } else { 1 }, None));
        let hello = rig.hello("w", &format!("b{}", crash + 1), 4);
        let w = rig.connect(hello);
        rig.ask(w, 4);
        let losses = chunks.map(|c| rig.budget("j", c.id).map_or(0, |(_, losses, _)| losses));
        // from its second loss on a chunk runs alone
        assert_eq!(
            losses,
            if crash < 3 { [crash; 4] } else { [3, 2, 2, 2] },
            "each chunk has its own budget"
        );
    }
    assert_eq!(suspended(&rig), Some(30_000), "three crashes in a row");
}

#[test]
fn leases_of_one_crash_that_run_out_one_after_another_count_once() {
    let config = CoordinatorConfig { suspend_after: 2, ..CoordinatorConfig::default() };
    let mut rig = Rig::with(config);
    let w = rig.worker("w", 3);
    let given = ["a", "b", "c"].map(|id| {
        rig.submit(id);
        let lease = rig.leases().remove(0);
        rig.tick(4_000);
        (id, lease.spec)
    });
    let losses = |rig: &Rig| given.map(|(id, spec)| rig.budget(id, spec).map_or(0, |(_, losses, _)| losses));
    rig.feed(Event::WorkerDisconnected { session: w });
    rig.tick(4_000);
    assert_eq!(losses(&rig), [1, 0, 0], "the first lease has run out");
    rig.tick(4_000);
    assert_eq!(losses(&rig), [1, 1, 0]);
    let reborn = rig.hello("w", "b2", 3);
    let w = rig.connect(reborn);
    assert_eq!(losses(&rig), [1, 1, 1], "lost with the boot that crashed");
    rig.ask(w, 3);
    assert_eq!(rig.leases().len(), 3, "all that was one crash");
    let reborn = rig.hello("w", "b3", 3);
    let w = rig.connect(reborn);
    rig.ask(w, 3);
    assert_eq!(rig.leases(), vec![], "the second in a row suspends");
}
