//! Whose word counts when a worker says that a file of another is wrong.

use super::audit::*;
use super::rig::*;
use crate::*;
use reelmill_common::capability::Capability;
use reelmill_common::job::JobState;
use reelmill_common::outcome::{FaultKind, Verdict};

#[test]
fn a_second_worker_has_to_say_so_where_there_is_one() {
    let mut rig = Rig::new();
    let w = made(&mut rig);
    let (a, b) = (auditor(&mut rig, "a"), auditor(&mut rig, "b"));
    draw(&mut rig);
    let order = accuses(&mut rig, a);
    rig.ask(a, 1);
    rig.ask(w, 1);
    assert!(rig.leases().is_empty() && rig.record("j").audits.caught.is_empty(), "one word");
    assert_eq!(rig.budget("j", order.spec), None, "a verdict is no failure of the audit");
    accuses(&mut rig, b);
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
    accuses(&mut rig, a);
    confirms(&mut rig, b);
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
    accuses(&mut rig, a);
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
    small.capability = Capability { audits: true, memory_mib: 50, ..small.capability };
    let small = rig.connect(small);
    draw(&mut rig);
    accuses(&mut rig, a);
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
    accuses(&mut rig, a);
    waits(&mut rig, SECOND_VOICE_MS - 1_000);
    let why = why(&rig);
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
    accuses(&mut rig, a);
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
    accuses(&mut rig, a);
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
    confirms(&mut rig, b);
    assert!(rig.record("j").audits.caught.is_empty());
}
