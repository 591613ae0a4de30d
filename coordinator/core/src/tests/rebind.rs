//! Bindings: builds that do not give what a rung is bound to, and revisions that bind it anew.

use super::rig::*;
use crate::*;
use reelmill_common::capability::Needs;
use reelmill_common::job::{FailReason, JobState};
use reelmill_common::outcome::{FaultKind, Verdict};
use reelmill_common::plan::RungSet;
use reelmill_common::{Fingerprint, Sha256, SpecId};
use std::collections::{BTreeMap, BTreeSet};

const MINUTE: u64 = 60_000;

/// A chunk of the rungs at these places.
fn bound(n: u8, cost_ms: u64, rungs: &[usize]) -> SpecRef {
    SpecRef { rungs: RungSet::of(rungs.iter().copied()), ..spec(n, cost_ms) }
}

/// A worker with an encoder build of its own.
fn build(rig: &mut Rig, name: &str, boot: &str, build: u8, slots: u32) -> SessionId {
    let mut hello = rig.hello(name, boot, slots);
    hello.capability.encoders[0].fingerprint = Fingerprint(Sha256([build; 32]));
    hello.capability.ffmpeg_build = format!("ffmpeg {build}");
    let session = rig.connect(hello);
    rig.ask(session, slots);
    session
}

/// Minutes in which these workers are heard of.
fn pass(rig: &mut Rig, minutes: u64, sessions: &[SessionId]) {
    for _ in 0..minutes * 6 {
        sessions.iter().for_each(|s| rig.beat(*s, &[]));
        rig.tick(MINUTE / 6);
    }
}

fn explained(rig: &Rig) -> String {
    rig.machine.explain(rig.now, &tenant("t"), &job("j")).expect("job").join("\n")
}

fn revised(revision: u32, specs: &[SpecRef], rebound: &[usize]) -> Result<TaskOutput, TaskError> {
    Ok(TaskOutput::Revised {
        plan: plan_ref(revision, specs.len()),
        specs: specs.to_vec(),
        rebound: RungSet::of(rebound.iter().copied()),
    })
}

/// A job of two chunks with two rungs and one of sound; the first is committed by build 1, which then goes; build 2
/// does not give what the second is bound to.
fn stranded(config: CoordinatorConfig) -> (Rig, SessionId, LeaseOrder) {
    let mut rig = Rig::with(config);
    let old = build(&mut rig, "old", "b1", 1, 1);
    rig.submit("j");
    rig.plan("j", old, &[bound(1, 900, &[0, 1]), bound(2, 500, &[0, 1]), spec(3, 100)]);
    rig.ask(old, 1);
    let first = rig.leases().remove(0);
    rig.wins(&first);
    rig.feed(Event::WorkerDisconnected { session: old });
    let new = build(&mut rig, "new", "b1", 2, 2);
    let mut leases = rig.leases();
    assert_eq!(leases.iter().map(|l| l.spec.0.0[0]).collect::<Vec<_>>(), [2, 3], "it may be able");
    assert_eq!(rig.ends(&leases[0], fault(FaultKind::Binding)), Some(Verdict::Lost));
    (rig, new, leases.remove(1))
}

#[test]
fn a_build_that_gives_another_binding_gets_no_more_such_work_and_nobody_is_at_fault() {
    let mut rig = Rig::new();
    let old = build(&mut rig, "old", "b1", 1, 1);
    rig.submit("j");
    let chunks = [bound(1, 900, &[0, 1]), bound(2, 800, &[0, 1]), bound(3, 700, &[0]), spec(4, 100)];
    rig.plan("j", old, &chunks);
    rig.ask(old, 1);
    let new = build(&mut rig, "new", "b1", 2, 3);
    let given = rig.leases();
    let of_new: Vec<_> = given.iter().filter(|l| l.session == new).cloned().collect();
    assert_eq!(of_new.iter().map(|l| l.spec.0.0[0]).collect::<Vec<_>>(), [2, 3, 4]);
    rig.ends(&of_new[0], fault(FaultKind::Binding));
    assert_eq!(rig.budget("j", of_new[0].spec), None, "it counts for no budget");
    assert_eq!(rig.machine.workers(rig.now)[0].suspended_ms, None);
    rig.ask(new, 3);
    assert_eq!(rig.leases(), vec![], "chunk 2 waits for a build that gives it");
    assert!(explained(&rig).contains("1 encode work items wait"), "{}", explained(&rig));
    assert!(explained(&rig).contains("new (ffmpeg 2) have another"), "{}", explained(&rig));
    rig.wins(&of_new[1]);
    rig.wins(&of_new[2]);
    pass(&mut rig, 20, &[old, new]);
    assert_eq!(rig.record("j").rebind, None, "one that gives it is here, however long it takes");
    let again = rig.leases();
    assert!(again.iter().all(|l| l.session == old || l.spec.0.0[0] != 2), "{again:?}");
}

#[test]
fn what_a_build_failed_at_with_more_rungs_it_may_give_with_fewer() {
    let mut rig = Rig::new();
    let w = build(&mut rig, "w", "b1", 2, 1);
    rig.submit("j");
    rig.plan(
        "j",
        w,
        &[bound(1, 900, &[0, 1]), bound(2, 800, &[0]), bound(3, 700, &[1]), bound(4, 600, &[0, 1])],
    );
    let mut tried = vec![];
    for fails in [true, false, true] {
        rig.ask(w, 1);
        let lease = rig.leases().remove(0);
        tried.push(lease.spec.0.0[0]);
        if fails {
            rig.ends(&lease, fault(FaultKind::Binding));
        } else {
            rig.wins(&lease);
        }
    }
    rig.ask(w, 1);
    assert_eq!((tried, rig.leases()), (vec![1, 2, 3], vec![]));
}

#[test]
fn after_ten_minutes_without_a_build_that_gives_it_a_rung_is_bound_anew() {
    let (mut rig, new, sound) = stranded(CoordinatorConfig::default());
    rig.wins(&sound);
    pass(&mut rig, 9, &[new]);
    assert_eq!(rig.record("j").rebind, None);
    let why = explained(&rig);
    assert!(why.contains("nobody here gives the decoder configuration that 720p, 360p is bound to"), "{why}");
    assert!(why.contains("new (ffmpeg 2)") && why.contains("old was the last"), "{why}");
    assert!(why.contains("s it will be bound anew"), "{why}");
    pass(&mut rig, 2, &[new]);
    let rebind = rig.record("j").rebind.clone().expect("it begins, durably");
    assert_eq!((rebind.revision, rebind.rungs, rebind.found), (2, RungSet::of([0, 1]), None));
    assert!(explained(&rig).contains("revision 2 of the plan is being made"), "{}", explained(&rig));

    rig.task_ends(TaskKind::PrepareAnalyse, Ok(TaskOutput::AnalyseReady(Some(spec(9, 50)))));
    rig.ask(new, 2);
    let analyse = rig.leases().remove(0);
    assert_eq!((analyse.kind, analyse.session), (WorkKind::Analyse, new));
    rig.wins(&analyse);
    let record = rig.record("j");
    let found = record.rebind.as_ref().and_then(|r| r.found.clone()).expect("found");
    assert_eq!(
        (found.fingerprint, found.ffmpeg_build.as_str()),
        (Some(Fingerprint(Sha256([2; 32]))), "ffmpeg 2")
    );
    assert_eq!(record.analysis, None, "that of the first plan is what it was");

    let specs = [bound(1, 900, &[1]), bound(11, 800, &[0]), bound(12, 500, &[0, 1]), spec(3, 100)];
    let writes = rig.writes;
    rig.task_ends(TaskKind::MakePlan, revised(2, &specs, &[0]));
    assert_eq!(rig.writes - writes, 1, "one write switches");
    let record = rig.record("j");
    assert_eq!((record.plan.as_ref().map(|p| p.revision), record.rebind.clone()), (Some(2), None));
    assert_eq!((record.unable.len(), &record.state), (0, &JobState::Running));
    assert!(explained(&rig).contains("revision 2 of the plan: 720p was bound anew"), "{}", explained(&rig));
    rig.ask(new, 2);
    let leases = rig.leases();
    let open: Vec<u8> = leases.iter().map(|l| l.spec.0.0[0]).collect();
    assert_eq!(open, [11, 12], "1 and 3 are committed and stand");
    let view = rig.machine.view(rig.now, &tenant("t"), &job("j")).expect("job");
    assert_eq!((view.progress.chunks_done, view.progress.chunks_total), (2, 4));
    leases.iter().for_each(|l| rig.wins(l));
    let view = rig.machine.view(rig.now, &tenant("t"), &job("j")).expect("job");
    assert_eq!((view.progress.chunks_done, view.progress.chunks_total), (4, 4));
    rig.publish();
    assert_eq!(rig.state("j"), JobState::Publishing);
}

#[test]
fn one_that_may_be_able_ends_the_waiting_and_one_that_is_not_begins_it_again() {
    let (mut rig, new, _) = stranded(CoordinatorConfig::default());
    pass(&mut rig, 9, &[new]);
    let other = build(&mut rig, "other", "b1", 3, 1);
    let lease = rig.leases().into_iter().find(|l| l.session == other).expect("it is tried");
    for _ in 0..3 * 6 {
        rig.beat(other, &[lease.attempt]);
        rig.beat(new, &[]);
        rig.tick(MINUTE / 6);
    }
    assert_eq!(rig.record("j").rebind, None, "somebody may give it");
    assert_eq!(rig.ends(&lease, fault(FaultKind::Binding)), Some(Verdict::Lost));
    pass(&mut rig, 9, &[new, other]);
    assert_eq!(rig.record("j").rebind, None);
    pass(&mut rig, 2, &[new, other]);
    assert!(rig.record("j").rebind.is_some());
}

#[test]
fn with_no_patience_it_is_bound_anew_at_once() {
    let (mut rig, new, sound) = stranded(CoordinatorConfig { rebind_after_ms: 0, ..Default::default() });
    rig.tick(250);
    assert!(rig.record("j").rebind.is_some());
    rig.task_ends(TaskKind::PrepareAnalyse, Ok(TaskOutput::AnalyseReady(Some(spec(9, 50)))));
    rig.ask(new, 1);
    let analyse = rig.leases().into_iter().find(|l| l.kind == WorkKind::Analyse).expect("asked");
    rig.wins(&analyse);
    let specs = [bound(1, 900, &[1]), bound(11, 800, &[0]), spec(3, 100)];
    rig.task_ends(TaskKind::MakePlan, revised(2, &specs, &[0]));
    assert!(rig.leases().iter().all(|l| l.spec != sound.spec), "what runs goes on and is not given twice");
    rig.wins(&sound);
}

#[test]
fn work_that_the_next_revision_has_not_is_stopped() {
    let (mut rig, new, sound) = stranded(CoordinatorConfig { rebind_after_ms: 0, ..Default::default() });
    rig.tick(250);
    rig.task_ends(TaskKind::PrepareAnalyse, Ok(TaskOutput::AnalyseReady(Some(spec(9, 50)))));
    rig.ask(new, 1);
    let analyse = rig.leases().remove(0);
    rig.wins(&analyse);
    rig.done.retain(|e| matches!(e, Effect::Start(_)));
    rig.task_ends(TaskKind::MakePlan, revised(2, &[bound(1, 900, &[1]), bound(11, 800, &[0])], &[0]));
    assert!(rig.was_revoked(sound.attempt));
    let report = rig.report(&sound);
    assert_eq!(rig.ends(&sound, report), Some(Verdict::Lost));
}

#[test]
fn a_new_leader_knows_who_is_unable_and_goes_on_with_a_revision() {
    let (mut rig, _, _) = stranded(CoordinatorConfig { rebind_after_ms: 0, ..Default::default() });
    let plan = |chunks: &[SpecRef]| BTreeMap::from([(job("j"), Ok(chunks.to_vec()))]);
    let first = [bound(1, 900, &[0, 1]), bound(2, 500, &[0, 1]), spec(3, 100)];
    let term = |rig: &mut Rig, n: u64| {
        rig.done.clear();
        rig.begin(n, plan(&first));
        rig.now = rig.now.plus(6_000);
        build(rig, "new", &format!("b{n}"), 2, 2)
    };
    let new = term(&mut rig, 2);
    rig.tick(0);
    let leases: Vec<SpecId> = rig.leases().iter().map(|l| l.spec).collect();
    assert_eq!(leases, [first[2].id], "it is not tried once more");
    assert!(rig.record("j").rebind.is_some(), "and nobody else is here");
    let new = {
        let _ = new;
        term(&mut rig, 3)
    };
    rig.task_ends(TaskKind::PrepareAnalyse, Ok(TaskOutput::AnalyseReady(Some(spec(9, 50)))));
    rig.ask(new, 2);
    let analyse = rig.leases().into_iter().find(|l| l.kind == WorkKind::Analyse).expect("asked");
    rig.wins(&analyse);
    let new = term(&mut rig, 4);
    let specs = [bound(1, 900, &[1]), bound(11, 800, &[0]), spec(3, 100)];
    rig.task_ends(TaskKind::MakePlan, revised(2, &specs, &[0]));
    rig.ask(new, 2);
    let open: BTreeSet<u8> = rig.leases().iter().map(|l| l.spec.0.0[0]).collect();
    assert_eq!(open, BTreeSet::from([11, 3]));
}

#[test]
fn a_build_whose_chunks_differ_from_its_own_analysis_fails_the_job_and_a_retry_tries_all_again() {
    let (mut rig, new, _) = stranded(CoordinatorConfig { rebind_after_ms: 0, ..Default::default() });
    rig.tick(250);
    rig.task_ends(TaskKind::PrepareAnalyse, Ok(TaskOutput::AnalyseReady(Some(spec(9, 50)))));
    rig.ask(new, 2);
    let analyse = rig.leases().remove(0);
    rig.wins(&analyse);
    let same = [bound(1, 900, &[0, 1]), bound(2, 500, &[0, 1]), spec(3, 100)];
    rig.task_ends(TaskKind::MakePlan, revised(1, &same, &[]));
    let JobState::Failed(FailReason { kind, message, .. }) = rig.state("j") else { panic!("it never ends") };
    assert_eq!(kind, FaultKind::Output);
    assert!(message.contains("ffmpeg 2 gives another decoder configuration"), "{message}");
    rig.call(Call::Retry { tenant: tenant("t"), job: job("j") });
    assert_eq!((rig.record("j").unable.len(), rig.record("j").rebind.clone()), (0, None));
    rig.task_ends(TaskKind::LoadPlan, Ok(TaskOutput::PlanLoaded(same.to_vec())));
    rig.ask(new, 2);
    assert_eq!(rig.leases()[0].spec, same[1].id);
}

/// A build that missed with two rungs at once may well give one of them: that it says of the one what is asked for
/// contradicts nothing, and it is given that chunk.
#[test]
fn a_build_that_missed_with_more_rungs_contradicts_nothing_when_it_gives_fewer() {
    let mut rig = Rig::with(CoordinatorConfig { rebind_after_ms: 0, ..Default::default() });
    let old = build(&mut rig, "old", "b1", 1, 1);
    rig.submit("j");
    let chunks = [bound(1, 900, &[0, 1]), bound(2, 500, &[0])];
    rig.plan("j", old, &chunks);
    rig.feed(Event::WorkerDisconnected { session: old });
    let wide = build(&mut rig, "wide", "b1", 2, 1);
    let both = rig.leases().remove(0);
    assert_eq!(both.spec, chunks[0].id);
    rig.ends(&both, fault(FaultKind::Binding));
    let old = build(&mut rig, "old", "b2", 1, 1);
    let both = rig.leases().into_iter().find(|l| l.session == old).expect("it gives both");
    rig.wins(&both);
    for session in [wide, old] {
        rig.feed(Event::WorkerDisconnected { session });
    }
    // a third build does not give the one rung that is left
    let narrow = build(&mut rig, "narrow", "b1", 3, 1);
    let one = rig.leases().into_iter().find(|l| l.session == narrow).expect("it may be able");
    assert_eq!(one.spec, chunks[1].id);
    rig.ends(&one, fault(FaultKind::Binding));
    rig.tick(250);
    assert_eq!(rig.record("j").rebind.as_ref().map(|r| r.rungs), Some(RungSet::of([0])));
    rig.task_ends(TaskKind::PrepareAnalyse, Ok(TaskOutput::AnalyseReady(Some(spec(9, 50)))));
    let wide = build(&mut rig, "wide", "b2", 2, 1);
    let analyse = rig.leases().into_iter().find(|l| l.session == wide).expect("asked");
    assert_eq!(analyse.kind, WorkKind::Analyse);
    rig.wins(&analyse);
    rig.task_ends(TaskKind::MakePlan, revised(1, &chunks, &[]));
    assert_eq!(rig.state("j"), JobState::Running);
    rig.ask(wide, 1);
    let one = rig.leases().into_iter().find(|l| l.session == wide).expect("it was not tried with one");
    assert_eq!(one.spec, chunks[1].id);
    rig.wins(&one);
    rig.publish();
    assert_eq!(rig.state("j"), JobState::Publishing);
}

#[test]
fn a_fault_of_binding_of_work_without_one_is_a_fault() {
    let mut rig = Rig::new();
    let (_, leases) = rig.running();
    rig.ends(&leases[0], fault(FaultKind::Binding));
    assert_eq!(rig.budget("j", leases[0].spec), Some((1, 0, false)));
}

#[test]
fn what_is_found_to_hold_is_asked_for_anew_when_it_is_lost_again() {
    let (mut rig, new, _) = stranded(CoordinatorConfig { rebind_after_ms: 0, ..Default::default() });
    rig.tick(250);
    rig.task_ends(TaskKind::PrepareAnalyse, Ok(TaskOutput::AnalyseReady(Some(spec(9, 50)))));
    // a third build comes, says that it gives what there is, and goes
    let third = build(&mut rig, "third", "b1", 1, 1);
    let analyse = rig.leases().into_iter().find(|l| l.session == third).expect("asked");
    rig.wins(&analyse);
    rig.feed(Event::WorkerDisconnected { session: third });
    let same = [bound(1, 900, &[0, 1]), bound(2, 500, &[0, 1]), spec(3, 100)];
    rig.task_ends(TaskKind::MakePlan, revised(1, &same, &[]));
    assert_eq!((rig.record("j").rebind.clone(), rig.state("j")), (None, JobState::Running));
    rig.beat(new, &[]);
    rig.tick(250);
    assert_eq!((rig.record("j").rebind.is_some(), rig.record("j").rebinds), (true, 2));
}

#[test]
fn rungs_that_are_lost_one_after_the_other_are_bound_anew_one_after_the_other() {
    let mut rig = Rig::with(CoordinatorConfig { rebind_after_ms: 0, ..Default::default() });
    let old = build(&mut rig, "old", "b1", 1, 1);
    rig.submit("j");
    rig.plan("j", old, &[bound(1, 900, &[0]), bound(2, 500, &[1])]);
    rig.feed(Event::WorkerDisconnected { session: old });
    let new = build(&mut rig, "new", "b1", 2, 2);
    let leases = rig.leases();
    rig.ends(&leases[0], fault(FaultKind::Binding));
    rig.tick(250);
    rig.task_ends(TaskKind::PrepareAnalyse, Ok(TaskOutput::AnalyseReady(Some(spec(9, 50)))));
    rig.ask(new, 1);
    let analyse = rig.leases().remove(0);
    rig.ends(&leases[1], fault(FaultKind::Binding));
    rig.wins(&analyse);
    let first = rig.record("j").rebind.clone().expect("of the rung that was lost first");
    assert_eq!((first.revision, first.rungs, first.found.is_some()), (2, RungSet::of([0]), true));
    // the store is slow: the end of this one and the beginning of the next come to one write
    rig.answers = false;
    rig.submit_as("k", "t", None, 1, 0);
    rig.task_ends(TaskKind::MakePlan, revised(2, &[bound(11, 900, &[0]), bound(2, 500, &[1])], &[0]));
    rig.tick(250);
    rig.answer();
    assert!(rig.task().is_none(), "nothing is asked for before it is durable that it will be");
    rig.answer();
    let record = rig.record("j");
    let next = record.rebind.clone().expect("of the other one");
    assert_eq!((record.plan.as_ref().map(|p| p.revision), record.rebinds), (Some(2), 2));
    assert_eq!((next.revision, next.rungs, next.found), (3, RungSet::of([1]), None));
    assert_eq!(rig.task().map(|t| t.kind), Some(TaskKind::PrepareAnalyse));
}

#[test]
fn a_worker_is_what_it_says_on_its_session_whatever_it_said_on_the_one_before() {
    let (mut rig, _, _) = stranded(CoordinatorConfig::default());
    let bound_chunk = |leases: Vec<LeaseOrder>| leases.into_iter().find(|l| l.spec.0.0[0] == 2);
    let same = build(&mut rig, "new", "b2", 2, 2);
    assert_eq!(bound_chunk(rig.leases()), None, "the same build, started again");
    let upgraded = build(&mut rig, "new", "b3", 3, 2);
    let lease = bound_chunk(rig.leases()).expect("another build is tried");
    assert_eq!(lease.session, upgraded);
    // what was said on the session before is not heard any more
    rig.ask(same, 2);
    rig.ends_on(same, &lease, fault(FaultKind::Binding));
    assert_eq!(rig.record("j").unable.len(), 1);
    assert_eq!(rig.ends(&lease, fault(FaultKind::Binding)), Some(Verdict::Lost));
    assert_eq!(rig.record("j").unable.len(), 2);
}

#[test]
fn the_waiting_outlives_its_leader_but_for_a_tenth() {
    let (mut rig, new, sound) = stranded(CoordinatorConfig::default());
    rig.wins(&sound);
    let writes = rig.writes;
    pass(&mut rig, 8, &[new]);
    assert_eq!((rig.writes - writes, rig.record("j").unbound_ms), (7, 7 * MINUTE), "one a minute");
    let first = [bound(1, 900, &[0, 1]), bound(2, 500, &[0, 1]), spec(3, 100)];
    rig.begin(2, BTreeMap::from([(job("j"), Ok(first.to_vec()))]));
    let new = build(&mut rig, "new", "b1", 2, 2);
    rig.tick(5_000);
    let why = explained(&rig);
    assert!(why.contains("for 420 s now") && why.contains("in 180 s it will be bound anew"), "{why}");
    pass(&mut rig, 2, &[new]);
    assert_eq!((rig.record("j").rebind.clone(), rig.record("j").unbound_ms), (None, 9 * MINUTE));
    pass(&mut rig, 1, &[new]);
    assert_eq!((rig.record("j").rebind.is_some(), rig.record("j").unbound_ms), (true, 0));
}

#[test]
fn a_new_leader_waits_a_tenth_at_least_and_forgets_when_somebody_comes() {
    let (mut rig, new, sound) = stranded(CoordinatorConfig::default());
    rig.wins(&sound);
    pass(&mut rig, 9, &[new]);
    rig.tick(50_000);
    let first = [bound(1, 900, &[0, 1]), bound(2, 500, &[0, 1]), spec(3, 100)];
    rig.begin(2, BTreeMap::from([(job("j"), Ok(first.to_vec()))]));
    let new = build(&mut rig, "new", "b1", 2, 2);
    pass(&mut rig, 1, &[new]);
    assert_eq!((rig.record("j").rebind.clone(), rig.record("j").unbound_ms), (None, 9 * MINUTE));
    let other = build(&mut rig, "other", "b1", 3, 1);
    let lease = rig.leases().remove(0);
    rig.tick(250);
    assert_eq!(rig.record("j").unbound_ms, 0, "it is being tried, and nothing else waits");
    assert_eq!(rig.ends(&lease, fault(FaultKind::Binding)), Some(Verdict::Lost));
    pass(&mut rig, 9, &[new, other]);
    assert_eq!(rig.record("j").rebind, None, "it has begun again");
    pass(&mut rig, 2, &[new, other]);
    assert!(rig.record("j").rebind.is_some());
}

/// A small worker and a large one take turns if each says what the other has committed is to be bound to: the one whom all
/// chunks of the rungs fit is asked, those that would have to be made anew among them.
#[test]
fn who_is_asked_could_make_anew_what_is_committed() {
    let mut rig = Rig::with(CoordinatorConfig { rebind_after_ms: 0, ..Default::default() });
    let old = build(&mut rig, "old", "b1", 1, 1);
    rig.submit("j");
    let much = Needs { memory_mib: 3_000, ..NEEDS };
    rig.plan("j", old, &[SpecRef { needs: much, ..bound(1, 900, &[1]) }, bound(2, 500, &[0, 1])]);
    rig.ask(old, 1);
    let large = rig.leases().remove(0);
    assert_eq!(large.spec.0.0[0], 1);
    rig.wins(&large);
    rig.feed(Event::WorkerDisconnected { session: old });
    let mut sessions = vec![];
    for (name, n, memory_mib) in [("small", 2, 500), ("large", 3, 4_000)] {
        let mut hello = rig.hello(name, "b1", 1);
        hello.capability.memory_mib = memory_mib;
        hello.capability.encoders[0].fingerprint = Fingerprint(Sha256([n; 32]));
        let session = rig.connect(hello);
        rig.ask(session, 1);
        let lease = rig.leases().remove(0);
        assert_eq!((lease.session, lease.spec.0.0[0]), (session, 2), "it may be able");
        rig.ends(&lease, fault(FaultKind::Binding));
        sessions.push(session);
    }
    rig.tick(250);
    assert_eq!(rig.record("j").rebind.as_ref().map(|r| r.rungs), Some(RungSet::of([0, 1])));
    rig.ask(sessions[0], 1);
    rig.task_ends(TaskKind::PrepareAnalyse, Ok(TaskOutput::AnalyseReady(Some(spec(9, 50)))));
    assert_eq!(rig.leases(), [], "the first chunk does not fit the small one");
    rig.ask(sessions[1], 1);
    assert_eq!(
        rig.leases().iter().map(|l| (l.session, l.kind)).collect::<Vec<_>>(),
        [(sessions[1], WorkKind::Analyse)]
    );
}
