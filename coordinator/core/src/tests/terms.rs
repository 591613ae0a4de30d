//! Terms: takeover, deposition, batches of unknown fate, sessions.

use super::rig::*;
use crate::*;
use reelmill_common::FencingTerm;
use reelmill_common::job::JobState;
use reelmill_common::outcome::{FaultKind, Verdict};
use reelmill_common::session::{FromWorker, ToWorker};

#[test]
fn a_follower_refuses_and_ignores() {
    let mut machine = Coordinator::new(CoordinatorConfig::default());
    let rig = Rig::new();
    let call = Call::Cancel { tenant: tenant("t"), job: job("j") };
    let step = machine.handle(rig.now, Event::Call { token: Token(1), call });
    assert_eq!(step.now, [Effect::Reply { token: Token(1), result: Err(Refusal::NotLeader) }]);
    let hello = Box::new(rig.hello("w", "b", 1));
    let step = machine.handle(rig.now, Event::WorkerConnected { session: SessionId(1), hello });
    assert_eq!(step.now, [Effect::CloseSession { session: SessionId(1) }]);
    assert_eq!(machine.handle(rig.now, Event::Tick { unix_ms: 0 }), Step::default());
    assert_eq!(machine.term(), None);
}

#[test]
fn a_fenced_write_ends_the_term_and_all_memory() {
    let mut rig = Rig::new();
    rig.answers = false;
    rig.submit_as("j", "t", None, 1, 0);
    rig.done.clear();
    let id = rig.waiting.take().expect("a batch").writes.id;
    rig.feed(Event::BatchFenced(BatchId(99)));
    assert_eq!(rig.machine.term(), Some(FencingTerm(1)), "of another batch: nothing");
    rig.feed(Event::BatchFenced(id));
    assert_eq!(rig.done, [Effect::EndTerm], "no reply, no lease");
    assert_eq!(rig.machine.term(), None);
}

#[test]
fn a_batch_of_unknown_fate_is_sent_again_until_it_is_known() {
    let mut rig = Rig::new();
    rig.answers = false;
    rig.submit_as("j", "t", None, 1, 0);
    let first = rig.waiting.take().expect("a batch");
    rig.feed(Event::BatchUnknown(first.writes.id));
    let second = rig.waiting.clone().expect("the batch again");
    assert_eq!((&second.writes.ops, &second.then), (&first.writes.ops, &first.then));
    assert!(second.writes.delay_ms > 0);
    rig.answer();
    assert!(rig.reply(Token(1)).is_some());
}

#[test]
fn a_worker_that_knows_a_higher_term_ends_this_one() {
    let mut rig = Rig::new();
    rig.done.clear();
    let hello = reelmill_common::session::Hello { highest_term: FencingTerm(2), ..rig.hello("w", "b", 1) };
    rig.connect(hello);
    assert_eq!(rig.done, [Effect::EndTerm]);
    assert_eq!(rig.machine.term(), None);
}

#[test]
fn stepping_down_sends_workers_elsewhere() {
    let mut rig = Rig::new();
    let session = rig.worker("w", 1);
    rig.done.clear();
    rig.feed(Event::StepDown);
    let message = ToWorker::Drain { reconnect: true };
    assert_eq!(rig.done, [Effect::Send { session, term: FencingTerm(1), message }, Effect::EndTerm]);
}

#[test]
fn a_new_leader_adopts_what_runs_and_waits_before_it_offers_the_rest() {
    let mut rig = Rig::new();
    let (_, leases) = rig.running();
    rig.term(2);
    let mut hello = rig.hello("w", "b1", 2);
    hello.running = vec![(leases[0].attempt, job("j"), leases[0].spec)];
    rig.done.clear();
    let w = rig.connect(hello);
    assert!(!rig.was_revoked(leases[0].attempt));
    rig.ask(w, 2);
    assert_eq!(rig.leases(), vec![], "somebody may still claim the other");
    let why = rig.machine.explain(rig.now, &tenant("t"), &job("j")).expect("job");
    assert!(why[0].contains("claim"), "{why:?}");
    rig.tick(5_001);
    rig.beat(w, &[leases[0].attempt]);
    let rest = rig.leases();
    assert_eq!(rest.iter().map(|l| l.spec).collect::<Vec<_>>(), [leases[1].spec]);
    assert_eq!(rest[0].attempt.term, FencingTerm(2));
    let adopted = LeaseOrder { session: w, ..leases[0].clone() };
    rig.wins(&adopted);
    assert_eq!(rig.budget("j", leases[1].spec), None, "a change of leader counts for nothing");
}

#[test]
fn outcomes_of_an_older_term_are_committed_or_settled() {
    let mut rig = Rig::new();
    let (_, leases) = rig.running();
    rig.ends(&leases[1], fault(FaultKind::Encoder));
    assert_eq!(rig.budget("j", leases[1].spec), Some((1, 0, false)));
    rig.term(2);
    let mut hello = rig.hello("w", "b1", 2);
    hello.unsettled = vec![
        (leases[0].attempt, job("j"), leases[0].spec, rig.report(&leases[0])),
        (leases[1].attempt, job("j"), leases[1].spec, fault(FaultKind::Encoder)),
    ];
    rig.done.clear();
    rig.connect(hello);
    assert_eq!(rig.verdict(leases[0].attempt), Some(Verdict::Won));
    assert_eq!(rig.verdict(leases[1].attempt), Some(Verdict::Lost));
    assert_eq!(rig.budget("j", leases[1].spec), Some((1, 0, false)), "counted once");
}

#[test]
fn a_hello_that_comes_late_brings_no_failed_attempt_back() {
    let mut rig = Rig::new();
    let (_, leases) = rig.running();
    rig.term(2);
    let mut hello = rig.hello("w", "b1", 2);
    hello.running = vec![(leases[0].attempt, job("j"), leases[0].spec)];
    let w = rig.connect(hello.clone());
    let adopted = LeaseOrder { session: w, ..leases[0].clone() };
    rig.ends(&adopted, fault(FaultKind::Storage));
    assert_eq!(rig.budget("j", leases[0].spec), Some((1, 0, false)));
    // the same words once more, from before the end
    rig.done.clear();
    let again = rig.connect(hello);
    assert!(rig.was_revoked(leases[0].attempt));
    rig.ends(&LeaseOrder { session: again, ..leases[0].clone() }, fault(FaultKind::Storage));
    assert_eq!(rig.budget("j", leases[0].spec), Some((1, 0, false)), "counted once");
}

#[test]
fn what_does_not_match_an_open_spec_is_stopped() {
    let mut rig = Rig::new();
    let (_, leases) = rig.running();
    rig.wins(&leases[0]);
    rig.term(2);
    let mut hello = rig.hello("w", "b1", 2);
    let strange = reelmill_common::AttemptId { term: FencingTerm(1), sequence: 50 };
    hello.running = vec![
        (leases[0].attempt, job("j"), leases[0].spec),
        (strange, job("j"), spec(9, 1).id),
        (leases[1].attempt, job("other"), leases[1].spec),
    ];
    rig.done.clear();
    rig.connect(hello);
    assert!(
        rig.was_revoked(leases[0].attempt) && rig.was_revoked(strange) && rig.was_revoked(leases[1].attempt)
    );
}

#[test]
fn an_attempt_that_this_leader_ended_is_not_adopted() {
    let mut rig = Rig::new();
    let (w, leases) = rig.running();
    rig.feed(Event::WorkerDisconnected { session: w });
    rig.tick(16_000);
    let mut hello = rig.hello("w", "b1", 2);
    hello.running = vec![(leases[0].attempt, job("j"), leases[0].spec)];
    hello.unsettled = vec![(leases[1].attempt, job("j"), leases[1].spec, rig.report(&leases[1]))];
    rig.done.clear();
    rig.connect(hello);
    assert!(rig.was_revoked(leases[0].attempt));
    assert_eq!(rig.verdict(leases[1].attempt), Some(Verdict::Lost));
}

#[test]
fn a_worker_that_comes_back_keeps_what_it_names_and_loses_what_never_arrived() {
    let mut rig = Rig::new();
    let (w, leases) = rig.running();
    let mut hello = rig.hello("w", "b1", 2);
    hello.running = vec![(leases[0].attempt, job("j"), leases[0].spec)];
    rig.done.clear();
    let again = rig.connect(hello.clone());
    assert!(rig.done.contains(&Effect::CloseSession { session: w }), "one session a worker");
    assert_eq!(rig.budget("j", leases[1].spec), None);
    rig.ask(again, 1);
    let offered = rig.leases();
    assert_eq!(offered.iter().map(|l| l.spec).collect::<Vec<_>>(), [leases[1].spec]);
    rig.said(again, FromWorker::Hello(hello));
    rig.beat(again, &[leases[0].attempt, offered[0].attempt]);
    assert!(!rig.was_revoked(offered[0].attempt), "a Hello said twice takes nothing away");
    rig.done.clear();
    rig.ask(w, 9);
    rig.beat(w, &[]);
    assert_eq!(rig.done, [], "the old session is not heard");
    let late = rig.hello("w", "b1", 2);
    rig.feed(Event::WorkerConnected { session: w, hello: Box::new(late) });
    assert_eq!(rig.done, [Effect::CloseSession { session: w }], "nor does it come back");
}

#[test]
fn a_lease_that_has_not_left_is_not_lost_with_its_worker() {
    let mut rig = Rig::new();
    rig.worker("w", 1);
    rig.answers = false;
    rig.submit_as("j", "t", None, 1, 0);
    rig.tick(60_000);
    rig.connect(rig.hello("w", "b2", 1));
    rig.answers = true;
    rig.answer();
    assert_eq!(rig.machine.faults(&job("j")).count(), 0);
    assert_eq!(rig.leases().len(), 1, "to a session that is gone");
}

#[test]
fn a_new_leader_goes_on_wherever_a_job_stands() {
    let mut rig = Rig::new();
    let (_, leases) = rig.running();
    leases.iter().for_each(|l| rig.wins(l));
    rig.done.clear();
    rig.term(2);
    assert_eq!(rig.task().map(|t| t.kind), Some(TaskKind::PrepareAudit));
    rig.done.clear();
    rig.term(3);
    rig.publish();
    rig.done.clear();
    rig.term(4);
    rig.task_ends(TaskKind::WriteManifests, Ok(TaskOutput::ManifestsWritten));
    assert_eq!(rig.state("j"), JobState::Published);
    rig.call(Call::Delete { tenant: tenant("t"), job: job("j") });
    rig.done.clear();
    rig.term(5);
    assert_eq!(rig.task().map(|t| (t.kind, t.delay_ms)), Some((TaskKind::Collect, 75_000)));
}

#[test]
fn a_job_whose_plan_cannot_be_read_fails_and_can_be_run_again() {
    let mut rig = Rig::new();
    rig.running();
    let records = rig.store.values().cloned().collect();
    rig.machine = Coordinator::new(CoordinatorConfig::default());
    let plans = std::collections::BTreeMap::new();
    let begun = TermBegun { term: FencingTerm(2), records, plans, unix_ms: 1 };
    rig.feed(Event::TermBegun(Box::new(begun)));
    assert!(matches!(rig.state("j"), JobState::Failed(r) if r.kind == FaultKind::Storage));
    rig.done.clear();
    rig.call(Call::Retry { tenant: tenant("t"), job: job("j") });
    assert_eq!(rig.task().map(|t| t.kind), Some(TaskKind::LoadPlan));
}

#[test]
fn a_retry_and_what_it_brings_to_life_are_one_write_and_told_after_it() {
    let mut rig = Rig::new();
    let w = rig.worker("w", 1);
    rig.submit("j");
    let index = rig.leases().remove(0);
    rig.term(2);
    rig.call(Call::Cancel { tenant: tenant("t"), job: job("j") });
    // the store is slow: while it writes, the job is to run again, and the worker comes with what it made before
    rig.answers = false;
    rig.submit_as("k", "t", None, 1, 0);
    rig.call(Call::Retry { tenant: tenant("t"), job: job("j") });
    let mut hello = rig.hello("w", "b1", 1);
    hello.unsettled = vec![(index.attempt, job("j"), index.spec, rig.report(&index))];
    rig.done.clear();
    let again = rig.connect(hello);
    assert_ne!(w, again);
    rig.answer();
    assert_eq!((rig.state("j"), rig.verdict(index.attempt)), (JobState::Cancelled, None));
    let batch = &rig.waiting.as_ref().expect("the next one").writes.ops;
    let holds = |what: fn(&Record) -> bool| batch.iter().any(|op| matches!(op, Op::Put(r) if what(r)));
    assert!(holds(|r| matches!(r, Record::Job(j) if j.id == job("j") && j.run.0 == 2)));
    assert!(holds(|r| matches!(r, Record::Commit(c) if c.job == job("j"))));
    rig.answer();
    assert_eq!((rig.state("j"), rig.verdict(index.attempt)), (JobState::Indexing, Some(Verdict::Won)));
    assert!(rig.record("j").index.is_some(), "it is not indexed once more");
}
