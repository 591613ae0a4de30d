//! Second looks: who is asked, and what becomes of what is wrong.

use super::rig::*;
use crate::*;
use reelmill_common::job::JobState;
use reelmill_common::outcome::{FaultKind, Verdict};
use reelmill_common::plan::RungSet;
use reelmill_common::record::StateKey;
use reelmill_common::session::FromWorker;

pub(super) const SECOND_VOICE_MS: u64 = 300_000;

/// So much time passes, in which all workers that are here are heard of.
pub(super) fn waits(rig: &mut Rig, ms: u64) {
    for _ in 0..ms / 1_000 {
        rig.tick(1_000);
    }
}

/// A worker that can audit.
pub(super) fn auditor(rig: &mut Rig, name: &str) -> SessionId {
    let mut hello = rig.hello(name, "b1", 2);
    (hello.capability.audits, hello.capability.audits_sound) = (true, true);
    rig.connect(hello)
}

/// One of before sound was audited.
fn deaf(rig: &mut Rig, name: &str) -> SessionId {
    let mut hello = rig.hello(name, "b1", 2);
    hello.capability.audits = true;
    rig.connect(hello)
}

pub(super) fn drawn(n: u8, chunk: SpecRef) -> AuditRef {
    let spec =
        SpecRef { needs: reelmill_common::capability::Needs { family: None, ..NEEDS }, ..spec(n, 100) };
    AuditRef { spec, chunk: chunk.id, name: format!("720p, segment {n} (chunk 0)"), sound: false }
}

/// A job whose two chunks `w` has made, the first of them drawn.
pub(super) fn made(rig: &mut Rig) -> SessionId {
    let w = auditor(rig, "w");
    rig.ask(w, 2);
    rig.submit("j");
    rig.plan("j", w, &[spec(1, 900), spec(2, 500)]);
    rig.ask(w, 2);
    for lease in rig.leases() {
        rig.wins(&lease);
    }
    w
}

pub(super) fn draw(rig: &mut Rig) {
    let drawn = vec![drawn(11, spec(1, 900))];
    rig.task_ends(TaskKind::PrepareAudit, Ok(TaskOutput::AuditsReady(drawn)));
}

/// The one lease there is, and that it is an audit by this worker.
pub(super) fn asked(rig: &mut Rig, session: SessionId) -> LeaseOrder {
    let leases = rig.leases();
    assert_eq!(leases.iter().map(|l| (l.kind, l.session)).collect::<Vec<_>>(), [(WorkKind::Audit, session)]);
    leases[0].clone()
}

pub(super) fn why(rig: &Rig) -> String {
    rig.machine.explain(rig.now, &tenant("t"), &job("j")).expect("job").join("\n")
}

pub(super) fn is_committed(rig: &Rig, n: u8) -> bool {
    rig.store.contains_key(&StateKey::Commit(job("j"), spec(n, 1).id))
}

pub(super) fn says_wrong(rig: &mut Rig, order: &LeaseOrder) {
    assert_eq!(rig.ends(order, fault(FaultKind::Media)), Some(Verdict::Lost));
}

/// It is asked, and finds the file wrong.
pub(super) fn accuses(rig: &mut Rig, session: SessionId) -> LeaseOrder {
    rig.ask(session, 1);
    let order = asked(rig, session);
    says_wrong(rig, &order);
    order
}

/// It is asked, and finds the file as it should be.
pub(super) fn confirms(rig: &mut Rig, session: SessionId) {
    rig.ask(session, 1);
    let order = asked(rig, session);
    rig.wins(&order);
}

/// The places of what was withdrawn are free, and its chunks are open again.
pub(super) fn is_swept(rig: &mut Rig) {
    rig.task_ends(TaskKind::Sweep, Ok(TaskOutput::Swept));
    rig.task_ends(TaskKind::LoadPlan, Ok(TaskOutput::PlanLoaded(vec![spec(1, 900), spec(2, 500)])));
}

#[test]
fn somebody_else_looks_at_it_before_it_is_published() {
    let mut rig = Rig::new();
    let w = made(&mut rig);
    let a = auditor(&mut rig, "a");
    draw(&mut rig);
    rig.ask(w, 2);
    assert!(rig.leases().is_empty(), "the maker is free, and is not asked");
    rig.ask(a, 2);
    let order = asked(&mut rig, a);
    assert_eq!(rig.state("j"), JobState::Running);
    rig.wins(&order);
    rig.publish();
    let audits = rig.record("j").audits.clone();
    assert_eq!((audits.files, audits.by_another), (1, 1));
    assert_eq!(rig.state("j"), JobState::Publishing);
}

#[test]
fn one_worker_looks_at_its_own_work_and_the_record_says_so() {
    let mut rig = Rig::new();
    let w = made(&mut rig);
    draw(&mut rig);
    confirms(&mut rig, w);
    rig.publish();
    assert_eq!((rig.record("j").audits.files, rig.record("j").audits.by_another), (1, 0));
}

#[test]
fn workers_that_cannot_audit_are_not_asked_and_hold_up_nothing() {
    let mut rig = Rig::new();
    let (w, leases) = rig.running();
    leases.iter().for_each(|l| rig.wins(l));
    draw(&mut rig);
    rig.ask(w, 2);
    assert!(rig.leases().is_empty());
    rig.publish();
    assert_eq!((rig.state("j"), rig.record("j").audits.files), (JobState::Publishing, 0));
}

/// The first chunk's picture and the second one's sound.
fn draw_both(rig: &mut Rig) {
    let sound = AuditRef { sound: true, ..drawn(12, spec(2, 500)) };
    let drawn = vec![drawn(11, spec(1, 900)), sound];
    rig.task_ends(TaskKind::PrepareAudit, Ok(TaskOutput::AuditsReady(drawn)));
}

#[test]
fn who_cannot_hear_is_asked_to_look_and_no_more() {
    let mut rig = Rig::new();
    let w = made(&mut rig);
    let a = deaf(&mut rig, "a");
    draw_both(&mut rig);
    rig.ask(w, 2);
    rig.ask(a, 2);
    let mut leases = rig.leases();
    leases.sort_by_key(|l| l.session);
    // of those who are here only its maker can listen
    let asked: Vec<_> = leases.iter().map(|l| (l.session, l.spec)).collect();
    assert_eq!(asked, [(w, spec(12, 1).id), (a, spec(11, 1).id)]);
    leases.iter().for_each(|l| rig.wins(l));
    rig.publish();
    let audits = rig.record("j").audits.clone();
    assert_eq!((audits.files, audits.sound, audits.by_another), (2, 1, 1));
    let why = rig.machine.explain(rig.now, &tenant("t"), &job("j")).expect("job");
    let told = "2 of its files were looked at again, 1 of them of sound; 1 by another worker than made them";
    assert!(why.iter().any(|line| line == told), "{why:?}");
}

#[test]
fn where_nobody_can_hear_the_pictures_are_looked_at_all_the_same() {
    let mut rig = Rig::new();
    let w = made(&mut rig);
    let a = deaf(&mut rig, "a");
    rig.feed(Event::WorkerDisconnected { session: w });
    draw_both(&mut rig);
    rig.ask(a, 2);
    let order = asked(&mut rig, a);
    assert_eq!((order.spec, rig.state("j")), (spec(11, 1).id, JobState::Running));
    rig.wins(&order);
    rig.tick(1_000);
    rig.publish();
    assert_eq!(rig.state("j"), JobState::Publishing);
    let audits = rig.record("j").audits.clone();
    assert_eq!((audits.files, audits.sound), (1, 0));
}

#[test]
fn a_new_leader_keeps_what_was_looked_at_and_waits_for_workers_to_come_back() {
    let mut rig = Rig::new();
    made(&mut rig);
    draw(&mut rig);
    rig.done.clear();
    rig.term(2);
    draw(&mut rig);
    rig.tick(5_001);
    assert!(rig.task().is_none(), "nobody is here: it is not published because nobody can be asked");
    let w = auditor(&mut rig, "w");
    confirms(&mut rig, w);
    rig.done.clear();
    rig.term(3);
    draw(&mut rig);
    rig.publish();
    assert_eq!(rig.record("j").audits.files, 1);
}

/// What was made of a revised plan is planned anew: nobody may be left who gives what its chunks were bound to before.
#[test]
fn after_a_revision_what_a_caught_worker_made_is_planned_anew_and_made_by_others() {
    for failed in [false, true] {
        let mut rig = Rig::new();
        let w = made(&mut rig);
        let record =
            reelmill_common::record::JobRecord { plan: Some(plan_ref(2, 2)), ..rig.record("j").clone() };
        rig.store.insert(StateKey::Job(job("j")), Record::Job(Box::new(record)));
        rig.done.clear();
        rig.term(2);
        let mut w = {
            let _ = w;
            auditor(&mut rig, "w")
        };
        rig.tick(5_001);
        let a = (!failed).then(|| auditor(&mut rig, "a"));
        draw(&mut rig);
        rig.ask(a.unwrap_or(w), 2);
        let order = asked(&mut rig, a.unwrap_or(w));
        says_wrong(&mut rig, &order);
        waits(&mut rig, if failed { 0 } else { SECOND_VOICE_MS });
        if failed {
            assert!(matches!(rig.state("j"), JobState::Failed(_)));
            let again = rig.call(Call::Retry { tenant: tenant("t"), job: job("j") });
            assert!(again.is_some_and(|r| r.is_ok()));
        }
        rig.task_ends(TaskKind::Sweep, Ok(TaskOutput::Swept));
        let rebind = rig.record("j").rebind.clone().expect("durable");
        assert_eq!((rebind.revision, rebind.rungs, rebind.found), (3, RungSet::NONE, None));
        let why = why(&rig);
        assert!(
            why.contains("revision 3 of the plan is being made: what a worker made that was caught"),
            "{why}"
        );
        // a new leader goes on with it, and offers nothing of the plan before
        rig.done.clear();
        rig.term(3);
        w = auditor(&mut rig, "w");
        let a = auditor(&mut rig, "a");
        rig.tick(5_001);
        rig.ask(w, 2);
        rig.ask(a, 2);
        assert_eq!(rig.leases(), vec![]);
        let specs = vec![spec(21, 900), spec(22, 500)];
        let plan = plan_ref(3, 2);
        rig.task_ends(TaskKind::MakePlan, Ok(TaskOutput::Revised { plan, specs, rebound: RungSet::NONE }));
        assert_eq!(rig.record("j").rebind, None);
        let leases = rig.leases();
        assert_eq!(leases.iter().map(|l| (l.session, l.spec.0.0[0])).collect::<Vec<_>>(), [(a, 21), (a, 22)]);
        leases.iter().for_each(|l| rig.wins(l));
        rig.publish();
        assert_eq!(rig.state("j"), JobState::Publishing);
    }
}

#[test]
fn nothing_is_published_unaudited_because_only_who_was_caught_is_here() {
    let mut rig = Rig::new();
    let w = made(&mut rig);
    let a = auditor(&mut rig, "a");
    draw(&mut rig);
    accuses(&mut rig, a);
    waits(&mut rig, SECOND_VOICE_MS);
    is_swept(&mut rig);
    rig.beat(a, &[]);
    rig.ask(a, 2);
    rig.leases().iter().for_each(|l| rig.wins(l));
    rig.feed(Event::WorkerDisconnected { session: a });
    rig.beat(w, &[]);
    rig.task_ends(TaskKind::PrepareAudit, Ok(TaskOutput::AuditsReady(vec![drawn(12, spec(1, 900))])));
    rig.tick(250);
    assert!(
        rig.task().is_none(),
        "others may come back; that one is not asked, and does not say that nobody could be"
    );
    let a = auditor(&mut rig, "a");
    confirms(&mut rig, a);
    rig.publish();
    assert_eq!(rig.record("j").audits.files, 1);
}

/// What was found wrong is made again by others, when nothing of its maker can be on its way, and looked at again.
#[test]
fn what_was_found_wrong_is_made_again_by_others() {
    let mut rig = Rig::new();
    let w = made(&mut rig);
    let a = auditor(&mut rig, "a");
    draw(&mut rig);
    accuses(&mut rig, a);
    waits(&mut rig, SECOND_VOICE_MS);
    let sweep = rig.task().expect("a task");
    let waits = rig.config.lease_ttl_ms + rig.config.store_timeout_ms;
    assert_eq!((sweep.kind, sweep.delay_ms), (TaskKind::Sweep, waits));
    rig.ask(w, 2);
    rig.ask(a, 2);
    assert!(rig.leases().is_empty(), "its places are not free yet");
    // a new leader knows it, and does not begin too early either
    rig.term(2);
    assert!(rig.task().is_some_and(|t| t.kind == TaskKind::Sweep && t.delay_ms > 0));
    let (w, a) = (auditor(&mut rig, "w"), auditor(&mut rig, "a"));
    rig.ask(w, 2);
    rig.ask(a, 2);
    rig.tick(6_000);
    assert!(rig.leases().is_empty());
    rig.term(3);
    let (w, a) = (auditor(&mut rig, "w"), auditor(&mut rig, "a"));
    is_swept(&mut rig);
    rig.tick(6_000);
    rig.beat(a, &[]);
    rig.ask(w, 2);
    rig.ask(a, 2);
    let leases = rig.leases();
    assert_eq!(leases.iter().map(|l| l.session).collect::<Vec<_>>(), [a, a], "none for who was caught");
    leases.iter().for_each(|l| rig.wins(l));
    rig.task_ends(TaskKind::PrepareAudit, Ok(TaskOutput::AuditsReady(vec![drawn(12, spec(1, 900))])));
    confirms(&mut rig, a);
    rig.publish();
    let audits = rig.record("j").audits.clone();
    assert_eq!((audits.files, audits.by_another, audits.caught.len()), (1, 0, 1));
    assert!(!audits.unswept);
}

#[test]
fn without_others_the_job_fails_by_name_and_a_retry_needs_somebody_else() {
    let mut rig = Rig::new();
    let w = made(&mut rig);
    draw(&mut rig);
    accuses(&mut rig, w);
    let state = rig.state("j");
    assert_eq!(state.exit_code(), Some(4));
    let JobState::Failed(reason) = state else { panic!("{state:?}") };
    for part in ["w committed 720p, segment 11 (chunk 0)", "it broke", "found by w", "jobs retry j"] {
        assert!(reason.message.contains(part), "{}", reason.message);
    }
    assert!(!is_committed(&rig, 1) && !is_committed(&rig, 2));
    let again = rig.call(Call::Retry { tenant: tenant("t"), job: job("j") });
    assert!(again.is_some_and(|r| r.is_ok()));
    is_swept(&mut rig);
    rig.tick(600_000);
    rig.said(w, FromWorker::Lease { slots: 2 });
    assert!(rig.leases().is_empty(), "it gets no work of this job in any run");
    let a = auditor(&mut rig, "a");
    rig.ask(a, 2);
    assert_eq!(rig.leases().len(), 2);
}
