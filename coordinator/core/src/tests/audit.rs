//! Second looks: who is asked, whose word counts, and what becomes of what is wrong.

use super::rig::*;
use crate::*;
use reelmill_common::job::JobState;
use reelmill_common::outcome::{FaultKind, Verdict};
use reelmill_common::plan::RungSet;
use reelmill_common::record::StateKey;
use reelmill_common::session::FromWorker;

const SECOND_VOICE_MS: u64 = 300_000;

/// So much time passes, in which all workers that are here are heard of.
fn waits(rig: &mut Rig, ms: u64) {
    for _ in 0..ms / 1_000 {
        rig.tick(1_000);
    }
}

/// A worker that can audit.
fn auditor(rig: &mut Rig, name: &str) -> SessionId {
    let mut hello = rig.hello(name, "b1", 2);
    hello.capability.audits = true;
    rig.connect(hello)
}

fn drawn(n: u8, chunk: SpecRef) -> AuditRef {
    let spec =
        SpecRef { needs: reelmill_common::capability::Needs { family: None, ..NEEDS }, ..spec(n, 100) };
    AuditRef { spec, chunk: chunk.id, name: format!("720p, segment {n} (chunk 0)") }
}

/// A job whose two chunks `w` has made, the first of them drawn.
fn made(rig: &mut Rig) -> SessionId {
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

fn draw(rig: &mut Rig) {
    let drawn = vec![drawn(11, spec(1, 900))];
    rig.task_ends(TaskKind::PrepareAudit, Ok(TaskOutput::AuditsReady(drawn)));
}

/// The one lease there is, and that it is an audit by this worker.
fn asked(rig: &mut Rig, session: SessionId) -> LeaseOrder {
    let leases = rig.leases();
    assert_eq!(leases.iter().map(|l| (l.kind, l.session)).collect::<Vec<_>>(), [(WorkKind::Audit, session)]);
    leases[0].clone()
}

fn is_committed(rig: &Rig, n: u8) -> bool {
    rig.store.contains_key(&StateKey::Commit(job("j"), spec(n, 1).id))
}

fn says_wrong(rig: &mut Rig, order: &LeaseOrder) {
    assert_eq!(rig.ends(order, fault(FaultKind::Media)), Some(Verdict::Lost));
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
    rig.ask(w, 2);
    let order = asked(&mut rig, w);
    rig.wins(&order);
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
    rig.ask(w, 2);
    let order = asked(&mut rig, w);
    rig.wins(&order);
    rig.done.clear();
    rig.term(3);
    draw(&mut rig);
    rig.publish();
    assert_eq!(rig.record("j").audits.files, 1);
}

#[test]
fn a_second_worker_has_to_say_so_where_there_is_one() {
    let mut rig = Rig::new();
    let w = made(&mut rig);
    let (a, b) = (auditor(&mut rig, "a"), auditor(&mut rig, "b"));
    draw(&mut rig);
    rig.ask(a, 1);
    let order = asked(&mut rig, a);
    says_wrong(&mut rig, &order);
    rig.ask(a, 1);
    rig.ask(w, 1);
    assert!(rig.leases().is_empty() && rig.record("j").audits.caught.is_empty(), "one word");
    assert_eq!(rig.budget("j", order.spec), None, "a verdict is no failure of the audit");
    rig.ask(b, 1);
    let order = asked(&mut rig, b);
    says_wrong(&mut rig, &order);
    let caught = &rig.record("j").audits.caught;
    assert_eq!(caught.len(), 1);
    assert_eq!(caught[0].worker.as_str(), "w");
    assert_eq!(caught[0].what, "720p, segment 11 (chunk 0), which is wrong: it broke (found by a, b)");
    assert!(!is_committed(&rig, 1) && !is_committed(&rig, 2), "nothing of its maker counts");
    assert_eq!(rig.state("j"), JobState::Running);
}

#[test]
fn whoever_is_contradicted_is_not_believed() {
    let mut rig = Rig::new();
    made(&mut rig);
    let (a, b) = (auditor(&mut rig, "a"), auditor(&mut rig, "b"));
    draw(&mut rig);
    rig.ask(a, 1);
    let order = asked(&mut rig, a);
    says_wrong(&mut rig, &order);
    rig.ask(b, 1);
    let order = asked(&mut rig, b);
    rig.wins(&order);
    rig.publish();
    let audits = rig.record("j").audits.clone();
    assert!(audits.caught.is_empty() && is_committed(&rig, 1));
    assert_eq!((audits.files, audits.by_another), (1, 1));
}

#[test]
fn the_word_of_one_counts_when_nobody_is_left_to_ask() {
    let mut rig = Rig::new();
    made(&mut rig);
    let (a, b) = (auditor(&mut rig, "a"), auditor(&mut rig, "b"));
    draw(&mut rig);
    rig.ask(a, 1);
    let order = asked(&mut rig, a);
    says_wrong(&mut rig, &order);
    assert!(rig.record("j").audits.caught.is_empty());
    rig.feed(Event::WorkerDisconnected { session: b });
    rig.tick(200);
    assert!(rig.record("j").audits.caught.is_empty(), "b may come back");
    waits(&mut rig, SECOND_VOICE_MS);
    assert_eq!(rig.record("j").audits.caught.len(), 1);
    assert_eq!(rig.record("j").audits.unheard_ms, 0);
}

/// The second voice is there, and could not look at this very file: it is waited for, and the accuser is not asked again.
#[test]
fn who_cannot_look_at_a_file_is_no_second_voice_and_nobody_is_asked_twice() {
    let mut rig = Rig::new();
    let w = made(&mut rig);
    let a = auditor(&mut rig, "a");
    let mut small = rig.hello("small", "b1", 2);
    small.capability =
        reelmill_common::capability::Capability { audits: true, memory_mib: 50, ..small.capability };
    let small = rig.connect(small);
    draw(&mut rig);
    rig.ask(a, 1);
    let order = asked(&mut rig, a);
    says_wrong(&mut rig, &order);
    for session in [a, w, small] {
        rig.ask(session, 2);
    }
    waits(&mut rig, SECOND_VOICE_MS - 1_000);
    assert_eq!(rig.leases(), vec![], "asking again changes nothing");
    assert!(rig.record("j").audits.caught.is_empty());
    waits(&mut rig, 2_000);
    assert_eq!(rig.record("j").audits.caught.len(), 1);
}

#[test]
fn a_second_voice_that_comes_back_in_time_is_heard() {
    let mut rig = Rig::new();
    made(&mut rig);
    let (a, b) = (auditor(&mut rig, "a"), auditor(&mut rig, "b"));
    draw(&mut rig);
    rig.feed(Event::WorkerDisconnected { session: b });
    rig.ask(a, 1);
    let order = asked(&mut rig, a);
    says_wrong(&mut rig, &order);
    waits(&mut rig, SECOND_VOICE_MS - 1_000);
    let why = rig.machine.explain(rig.now, &tenant("t"), &job("j")).expect("job").join("\n");
    assert!(why.contains("a says that 720p, segment 11 (chunk 0) of w is wrong"), "{why}");
    assert!(why.contains("nobody else is here to look at it: in 1 s it is believed"), "{why}");
    let b = auditor(&mut rig, "b");
    rig.ask(b, 1);
    let order = asked(&mut rig, b);
    for _ in 0..10 {
        rig.tick(1_000);
        rig.beat(b, &[order.attempt]);
    }
    assert!(rig.record("j").audits.caught.is_empty(), "it is being looked at");
    rig.wins(&order);
    assert_eq!((rig.record("j").audits.caught.len(), rig.record("j").audits.unheard_ms), (0, 0));
    rig.publish();
}

/// The waiting is no leader's alone, and it does not begin anew when somebody looks in for a moment.
#[test]
fn the_wait_for_a_second_voice_outlives_its_leader_and_has_an_end() {
    let mut rig = Rig::new();
    made(&mut rig);
    let a = auditor(&mut rig, "a");
    let two = || Ok(TaskOutput::AuditsReady(vec![drawn(11, spec(1, 900)), drawn(12, spec(2, 500))]));
    rig.task_ends(TaskKind::PrepareAudit, two());
    rig.ask(a, 1);
    let order = asked(&mut rig, a);
    says_wrong(&mut rig, &order);
    waits(&mut rig, SECOND_VOICE_MS / 2 + 1_000);
    let b = auditor(&mut rig, "b");
    waits(&mut rig, 5_000);
    rig.ask(b, 2);
    let looks = rig.leases();
    assert_eq!(looks.len(), 2);
    for _ in 0..SECOND_VOICE_MS / 5_000 {
        rig.tick(5_000);
        rig.beat(b, &[looks[0].attempt, looks[1].attempt]);
    }
    for look in &looks {
        rig.ends(look, fault(FaultKind::Abandoned));
    }
    rig.feed(Event::WorkerDisconnected { session: b });
    waits(&mut rig, 1_000);
    let audits = rig.record("j").audits.clone();
    assert_eq!((audits.unheard_ms, audits.caught.len()), (SECOND_VOICE_MS / 2, 0), "b was here meanwhile");
    // what the new leader hears first says nothing of the dispute that it does not know of yet
    rig.done.clear();
    rig.term(2);
    rig.task_ends(TaskKind::PrepareAudit, two());
    let a = auditor(&mut rig, "a");
    rig.tick(5_001);
    rig.ask(a, 2);
    let orders = rig.leases();
    assert_eq!(orders.len(), 2);
    rig.wins(&orders[1]);
    says_wrong(&mut rig, &orders[0]);
    waits(&mut rig, SECOND_VOICE_MS / 2 - 1_000);
    assert!(rig.record("j").audits.caught.is_empty());
    waits(&mut rig, 2_000);
    assert_eq!(rig.record("j").audits.caught.len(), 1);
}

/// One says wrong, another says well and goes for good, a third never comes: it ends all the same.
#[test]
fn a_dispute_that_nobody_decides_ends_and_nobody_is_caught() {
    let mut rig = Rig::new();
    made(&mut rig);
    let (a, b, c) = (auditor(&mut rig, "a"), auditor(&mut rig, "b"), auditor(&mut rig, "c"));
    draw(&mut rig);
    rig.ask(a, 1);
    let order = asked(&mut rig, a);
    says_wrong(&mut rig, &order);
    rig.ask(b, 1);
    let order = asked(&mut rig, b);
    let report = rig.report(&order);
    assert_eq!(rig.ends(&order, report), Some(Verdict::Lost), "a third decides");
    rig.feed(Event::WorkerDisconnected { session: b });
    rig.feed(Event::WorkerDisconnected { session: c });
    rig.ask(a, 1);
    waits(&mut rig, SECOND_VOICE_MS - 1_000);
    assert!(rig.leases().is_empty() && rig.task().is_none());
    waits(&mut rig, 2_000);
    rig.publish();
    let audits = rig.record("j").audits.clone();
    assert_eq!((audits.files, audits.caught.len(), audits.unheard_ms), (0, 0, 0));
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
        let why = rig.machine.explain(rig.now, &tenant("t"), &job("j")).expect("job").join("\n");
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

/// What was found wrong is made again by others, when nothing of its maker can be on its way, and looked at again.
#[test]
fn nothing_is_published_unaudited_because_only_who_was_caught_is_here() {
    let mut rig = Rig::new();
    let w = made(&mut rig);
    let a = auditor(&mut rig, "a");
    draw(&mut rig);
    rig.ask(a, 2);
    let order = asked(&mut rig, a);
    says_wrong(&mut rig, &order);
    waits(&mut rig, SECOND_VOICE_MS);
    rig.task_ends(TaskKind::Sweep, Ok(TaskOutput::Swept));
    rig.task_ends(TaskKind::LoadPlan, Ok(TaskOutput::PlanLoaded(vec![spec(1, 900), spec(2, 500)])));
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
    rig.ask(a, 2);
    let order = asked(&mut rig, a);
    rig.wins(&order);
    rig.publish();
    assert_eq!(rig.record("j").audits.files, 1);
}

#[test]
fn what_was_found_wrong_is_made_again_by_others() {
    let mut rig = Rig::new();
    let w = made(&mut rig);
    let a = auditor(&mut rig, "a");
    draw(&mut rig);
    rig.ask(a, 2);
    let order = asked(&mut rig, a);
    says_wrong(&mut rig, &order);
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
    rig.task_ends(TaskKind::Sweep, Ok(TaskOutput::Swept));
    rig.task_ends(TaskKind::LoadPlan, Ok(TaskOutput::PlanLoaded(vec![spec(1, 900), spec(2, 500)])));
    rig.tick(6_000);
    rig.beat(a, &[]);
    rig.ask(w, 2);
    rig.ask(a, 2);
    let leases = rig.leases();
    assert_eq!(leases.iter().map(|l| l.session).collect::<Vec<_>>(), [a, a], "none for who was caught");
    leases.iter().for_each(|l| rig.wins(l));
    rig.task_ends(TaskKind::PrepareAudit, Ok(TaskOutput::AuditsReady(vec![drawn(12, spec(1, 900))])));
    rig.ask(a, 2);
    let order = asked(&mut rig, a);
    rig.wins(&order);
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
    rig.ask(w, 2);
    let order = asked(&mut rig, w);
    says_wrong(&mut rig, &order);
    let state = rig.state("j");
    assert_eq!(state.exit_code(), Some(4));
    let JobState::Failed(reason) = state else { panic!("{state:?}") };
    for part in ["w committed 720p, segment 11 (chunk 0)", "it broke", "found by w", "jobs retry j"] {
        assert!(reason.message.contains(part), "{}", reason.message);
    }
    assert!(!is_committed(&rig, 1) && !is_committed(&rig, 2));
    let again = rig.call(Call::Retry { tenant: tenant("t"), job: job("j") });
    assert!(again.is_some_and(|r| r.is_ok()));
    rig.task_ends(TaskKind::Sweep, Ok(TaskOutput::Swept));
    rig.task_ends(TaskKind::LoadPlan, Ok(TaskOutput::PlanLoaded(vec![spec(1, 900), spec(2, 500)])));
    rig.tick(600_000);
    rig.said(w, FromWorker::Lease { slots: 2 });
    assert!(rig.leases().is_empty(), "it gets no work of this job in any run");
    let a = auditor(&mut rig, "a");
    rig.ask(a, 2);
    assert_eq!(rig.leases().len(), 2);
}

#[test]
fn an_auditor_that_fails_is_no_accuser() {
    let mut rig = Rig::new();
    made(&mut rig);
    let (a, b) = (auditor(&mut rig, "a"), auditor(&mut rig, "b"));
    draw(&mut rig);
    rig.ask(a, 1);
    let order = asked(&mut rig, a);
    assert_eq!(rig.ends(&order, fault(FaultKind::Source)), Some(Verdict::Lost));
    assert_eq!(rig.budget("j", order.spec), Some((1, 0, false)));
    assert_eq!(rig.state("j"), JobState::Running, "nor does it say anything of the film");
    rig.ask(a, 1);
    assert!(rig.leases().is_empty(), "another may do better");
    rig.ask(b, 1);
    let order = asked(&mut rig, b);
    rig.wins(&order);
    assert!(rig.record("j").audits.caught.is_empty());
}
