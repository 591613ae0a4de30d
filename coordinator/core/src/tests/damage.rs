//! Films whose decoder shows other frames than their index promised.

use super::rig::*;
use crate::*;
use reelmill_common::job::{FailReason, JobState};
use reelmill_common::outcome::{FaultKind, Verdict};

/// A job with two chunks: `v` runs the first, `w` the other one, and has a slot left.
fn running() -> (Rig, SessionId, SessionId, Vec<LeaseOrder>) {
    let mut rig = Rig::new();
    let (v, w) = (rig.worker("v", 1), rig.connect(rig.hello("w", "b1", 2)));
    rig.submit("j");
    rig.plan("j", v, &[spec(1, 900), spec(2, 500)]);
    rig.ask(v, 1);
    rig.ask(w, 1);
    let leases = rig.leases();
    assert_eq!(leases.len(), 2);
    (rig, v, w, leases)
}

/// Who has this chunk calls it damaged, and one of `sessions` gets it next.
fn damaged(rig: &mut Rig, first: &LeaseOrder, sessions: &[SessionId]) -> LeaseOrder {
    assert_eq!(rig.ends(first, fault(FaultKind::Damage)), Some(Verdict::Lost));
    sessions.iter().for_each(|s| rig.ask(*s, 1));
    let again = rig.leases().into_iter().find(|l| l.spec == first.spec);
    again.expect("it is tried once more")
}

/// The index of the film as it is shown, and a plan of it.
fn indexed_anew(rig: &mut Rig, session: SessionId, chunks: &[SpecRef]) {
    rig.ask(session, 1);
    let index = rig.leases().into_iter().find(|l| l.kind == WorkKind::Index).expect("an Index lease");
    assert_eq!(index.spec, rig.record("j").index_spec().spec_id());
    rig.wins(&index);
    rig.task_ends(TaskKind::PrepareAnalyse, Ok(TaskOutput::AnalyseReady(None)));
    let plan = plan_ref(1, chunks.len());
    rig.task_ends(TaskKind::MakePlan, Ok(TaskOutput::Planned { plan, specs: chunks.to_vec() }));
}

#[test]
fn a_film_that_two_attempts_call_damaged_is_indexed_by_what_is_shown() {
    let (mut rig, _, w, leases) = running();
    let before = rig.record("j").index_spec();
    let again = damaged(&mut rig, &leases[0], &[w]);
    assert_eq!((rig.state("j"), rig.budget("j", again.spec)), (JobState::Running, Some((1, 0, false))));
    assert_eq!(rig.record("j").damage, None, "one may be what is broken");
    rig.ends(&again, fault(FaultKind::Damage));
    let record = rig.record("j").clone();
    assert_eq!((record.state.clone(), record.damage.as_deref()), (JobState::Indexing, Some("it broke")));
    assert!(record.index.is_none() && record.analysis.is_none() && record.plan.is_none(), "{record:?}");
    assert!(record.index_spec().decode && record.index_spec().spec_id() != before.spec_id());
    assert!(rig.was_revoked(leases[1].attempt), "nobody works at what the packets promised");
    assert_eq!(rig.machine.view(rig.now, &tenant("t"), &job("j")).unwrap().progress.chunks_total, 0);

    indexed_anew(&mut rig, w, &[spec(11, 900)]);
    rig.ask(w, 1);
    let chunk = rig.leases().remove(0);
    assert_eq!((rig.state("j"), chunk.spec), (JobState::Running, spec(11, 900).id));
    let why = rig.machine.explain(rig.now, &tenant("t"), &job("j")).unwrap();
    assert!(why.iter().any(|w| w.contains("the film is damaged")), "{why:?}");
    rig.wins(&chunk);
    rig.publish();
    rig.task_ends(TaskKind::WriteManifests, Ok(TaskOutput::ManifestsWritten));
    assert_eq!(rig.state("j"), JobState::Published);
}

#[test]
fn what_came_of_the_promise_is_lost_whenever_it_comes() {
    let (mut rig, _, w, leases) = running();
    let again = damaged(&mut rig, &leases[0], &[w]);
    rig.ends(&again, fault(FaultKind::Damage));
    let report = rig.report(&leases[1]);
    assert_eq!(rig.ends(&leases[1], report), Some(Verdict::Lost), "its chunk is of no plan");
}

#[test]
fn a_film_that_is_shown_otherwise_once_more_is_at_fault() {
    let (mut rig, v, w, leases) = running();
    let again = damaged(&mut rig, &leases[0], &[w]);
    rig.ends(&again, fault(FaultKind::Damage));
    indexed_anew(&mut rig, w, &[spec(11, 900)]);
    rig.ask(w, 1);
    let chunk = rig.leases().remove(0);
    let again = damaged(&mut rig, &chunk, &[v, w]);
    assert_eq!(rig.state("j"), JobState::Running);
    rig.ends(&again, fault(FaultKind::Damage));
    let state = rig.state("j");
    assert_eq!(state.exit_code(), Some(3), "{state:?}");
    let JobState::Failed(FailReason { kind, message, .. }) = state else { panic!("failed") };
    assert!(kind == FaultKind::Source && message.contains("it broke"), "{kind:?}: {message}");
}

#[test]
fn a_new_leader_goes_on_where_the_last_one_was() {
    let (mut rig, _, w, leases) = running();
    let again = damaged(&mut rig, &leases[0], &[w]);
    rig.term(2);
    rig.tick(60_000);
    rig.worker("w", 2);
    let again = rig.leases().into_iter().find(|l| l.spec == again.spec).expect("still open");
    rig.ends(&again, fault(FaultKind::Damage));
    assert_eq!(rig.state("j"), JobState::Indexing, "that it was said before outlives who heard it");
    rig.term(3);
    rig.tick(60_000);
    let w = rig.worker("w", 1);
    indexed_anew(&mut rig, w, &[spec(11, 900)]);
    assert!(rig.record("j").plan.is_some() && rig.record("j").damage.is_some());
}

#[test]
fn the_last_try_decides_and_other_faults_stay_what_they_are() {
    let (mut rig, v, w, leases) = running();
    rig.ends(&leases[0], fault(FaultKind::Encoder));
    for kind in [FaultKind::Damage, FaultKind::Encoder] {
        [v, w].iter().for_each(|s| rig.ask(*s, 1));
        let again = rig.leases().into_iter().find(|l| l.spec == leases[0].spec).expect("again");
        rig.ends(&again, fault(kind));
    }
    assert_eq!(rig.state("j").exit_code(), Some(4), "{:?}", rig.state("j"));

    let (mut rig, v, w, leases) = running();
    rig.ends(&leases[0], fault(FaultKind::Encoder));
    for kind in [FaultKind::Output, FaultKind::Damage] {
        [v, w].iter().for_each(|s| rig.ask(*s, 1));
        let again = rig.leases().into_iter().find(|l| l.spec == leases[0].spec).expect("again");
        rig.ends(&again, fault(kind));
    }
    assert_eq!(rig.state("j"), JobState::Indexing, "there is no fourth try to hear it once more");
}

#[test]
fn damage_is_found_by_encoding_only() {
    let mut rig = Rig::new();
    let workers = ["u", "v", "w"].map(|name| rig.worker(name, 1));
    rig.submit("j");
    for _ in 0..3 {
        workers.iter().for_each(|w| rig.ask(*w, 1));
        let index = rig.leases().remove(0);
        rig.ends(&index, fault(FaultKind::Damage));
    }
    let state = rig.state("j");
    assert_eq!((state.exit_code(), rig.record("j").damage.as_ref()), (Some(4), None), "{state:?}");
}
