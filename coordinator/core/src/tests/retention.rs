//! What is kept for how long, what is refused when the state store fills, and how long a new leader waits.

use super::outside::own_worker;
use super::rig::*;
use crate::config::RETAIN_MS;
use crate::*;
use reelmill_common::job::{FailReason, JobState};
use reelmill_common::outcome::FaultKind;
use reelmill_common::record::{JobRecord, StateKey};

/// A job that was published just now.
fn published(rig: &mut Rig) {
    let (_, leases) = rig.running();
    leases.iter().for_each(|lease| rig.wins(lease));
    rig.publish();
    rig.task_ends(TaskKind::WriteManifests, Ok(TaskOutput::ManifestsWritten));
    assert_eq!(rig.state("j"), JobState::Published);
    rig.done.clear();
}

fn is_stored(rig: &Rig) -> bool {
    rig.store.contains_key(&StateKey::Job(job("j")))
}

fn delete(rig: &mut Rig) -> bool {
    rig.call(Call::Delete { tenant: tenant("t"), job: job("j") }).is_some_and(|answer| answer.is_ok())
}

#[test]
fn a_published_job_is_archived_after_thirty_days_and_then_forgotten() {
    let mut rig = Rig::new();
    published(&mut rig);
    rig.tick(RETAIN_MS - 60_000);
    assert_eq!(rig.task(), None, "not yet");
    rig.tick(60_000);
    let away = TaskError::Transient { message: "away".to_owned() };
    rig.task_ends(TaskKind::Archive, Err(away));
    assert!(is_stored(&rig), "the key stays until the object is there");
    assert_eq!(rig.task(), None);
    rig.tick(60_000);
    rig.task_ends(TaskKind::Archive, Ok(TaskOutput::Archived));
    assert!(!is_stored(&rig));
    assert_eq!(rig.machine.view(rig.now, &tenant("t"), &job("j")), None);
    assert!(rig.done.contains(&Effect::JobChanged(job("j"))), "who watches it is told");
}

#[test]
fn an_archived_job_can_be_deleted_and_is_forgotten_after_that() {
    let mut rig = Rig::new();
    published(&mut rig);
    let record = rig.record("j").clone();
    rig.tick(RETAIN_MS + 60_000);
    rig.task_ends(TaskKind::Archive, Ok(TaskOutput::Archived));
    assert!(!is_stored(&rig));
    assert!(!delete(&mut rig), "its record is elsewhere");
    rig.done.clear();
    let deleted = |rig: &mut Rig, record: &JobRecord| {
        rig.call(Call::DeleteArchived { record: Box::new(record.clone()) })
    };
    let new = Answer { job: job("j"), existed: false };
    assert_eq!(deleted(&mut rig, &record), Some(Ok(new.clone())));
    assert_eq!(rig.state("j"), JobState::Collecting, "durable before anything is deleted");
    assert_eq!(rig.task().map(|t| (t.kind, t.delay_ms)), Some((TaskKind::Collect, 75_000)));
    assert_eq!(deleted(&mut rig, &record), Some(Ok(Answer { existed: true, ..new })), "it was so already");
    rig.done.clear();
    rig.term(2);
    rig.task_ends(TaskKind::Collect, Ok(TaskOutput::Collected));
    rig.tick(rig.config.tell_collected_ms);
    rig.task_ends(TaskKind::Collect, Ok(TaskOutput::Collected));
    assert!(!is_stored(&rig));
    let running = JobRecord { state: JobState::Running, ..record };
    assert_eq!(
        deleted(&mut rig, &running),
        Some(Err(Refusal::NotFound(job("j")))),
        "not a record of the archive"
    );
}

#[test]
fn a_job_that_is_deleted_while_it_is_archived_is_collected() {
    for archived in [true, false] {
        let mut rig = Rig::new();
        published(&mut rig);
        rig.tick(RETAIN_MS + 60_000);
        let task = rig.task().expect("a task");
        assert_eq!(task.kind, TaskKind::Archive);
        assert!(delete(&mut rig));
        assert_eq!(rig.state("j"), JobState::Collecting);
        let away = TaskError::Transient { message: "away".to_owned() };
        let result = if archived { Ok(TaskOutput::Archived) } else { Err(away) };
        rig.feed(Event::TaskEnded { task: task.id, result });
        assert_eq!(rig.state("j"), JobState::Collecting);
        rig.task_ends(TaskKind::Collect, Ok(TaskOutput::Collected));
        assert_eq!(rig.state("j"), JobState::Collected);
    }
}

#[test]
fn a_deleted_job_is_collected_once_more_before_its_record_goes() {
    let mut rig = Rig::new();
    published(&mut rig);
    assert!(delete(&mut rig));
    rig.task_ends(TaskKind::Collect, Ok(TaskOutput::Collected));
    assert_eq!((rig.state("j"), rig.task()), (JobState::Collected, None));
    rig.tick(rig.config.tell_collected_ms - 1_000);
    assert_eq!(rig.task(), None, "still told");
    rig.tick(60_000);
    let task = rig.task().expect("a task");
    assert_eq!((task.kind, task.delay_ms), (TaskKind::Collect, 0));
    let away = TaskError::Transient { message: "away".to_owned() };
    rig.feed(Event::TaskEnded { task: task.id, result: Err(away) });
    assert!(is_stored(&rig), "until nothing is left");
    rig.task_ends(TaskKind::Collect, Ok(TaskOutput::Collected));
    assert!(!is_stored(&rig));
    assert!(rig.done.contains(&Effect::JobChanged(job("j"))), "who watches it is told");
}

/// The collection that begins when the job is deleted.
fn collect_delay(rig: &mut Rig) -> u64 {
    rig.done.clear();
    assert!(delete(rig));
    let task = rig.task().expect("a task");
    assert_eq!(task.kind, TaskKind::Collect);
    task.delay_ms
}

#[test]
fn collection_waits_for_uploads_that_may_still_land_and_not_longer() {
    let mut rig = Rig::new();
    published(&mut rig);
    rig.tick(30_000);
    assert_eq!(collect_delay(&mut rig), 45_000, "lease TTL and store timeout from its last work on");

    let mut rig = Rig::new();
    published(&mut rig);
    rig.tick(80_000);
    assert_eq!(collect_delay(&mut rig), 0, "long ago");

    let mut rig = Rig::new();
    published(&mut rig);
    rig.tick(80_000);
    rig.term(2);
    assert_eq!(collect_delay(&mut rig), 75_000, "a new leader does not know when that was");

    let mut rig = Rig::new();
    rig.submit("j");
    assert!(rig.call(Call::Cancel { tenant: tenant("t"), job: job("j") }).is_some_and(|a| a.is_ok()));
    assert_eq!(collect_delay(&mut rig), 0, "nobody has worked on it");
}

#[test]
fn where_workers_die_with_the_leader_only_the_store_may_be_late() {
    let config = CoordinatorConfig { store_timeout_ms: 7_000, ..own_worker() };
    let mut rig = Rig::with(config);
    rig.running();
    rig.term(2);
    assert!(rig.call(Call::Cancel { tenant: tenant("t"), job: job("j") }).is_some_and(|a| a.is_ok()));
    assert_eq!(collect_delay(&mut rig), 7_000);
}

#[test]
fn what_never_published_is_collected_after_thirty_days_and_then_forgotten() {
    let failed = |rig: &mut Rig| {
        rig.worker("w", 1);
        rig.submit("j");
        let index = rig.leases().remove(0);
        rig.ends(&index, fault(FaultKind::Source));
        assert!(matches!(rig.state("j"), JobState::Failed(FailReason { kind: FaultKind::Source, .. })));
    };
    let cancelled = |rig: &mut Rig| {
        rig.submit("j");
        assert!(rig.call(Call::Cancel { tenant: tenant("t"), job: job("j") }).is_some_and(|a| a.is_ok()));
        assert_eq!(rig.state("j"), JobState::Cancelled);
    };
    for end in [&failed as &dyn Fn(&mut Rig), &cancelled] {
        let mut rig = Rig::new();
        end(&mut rig);
        rig.done.clear();
        rig.tick(RETAIN_MS - 60_000);
        assert_eq!(rig.task(), None, "it can still be run again");
        rig.tick(60_000);
        assert_eq!(rig.state("j"), JobState::Collecting);
        rig.task_ends(TaskKind::Collect, Ok(TaskOutput::Collected));
        assert_eq!(rig.state("j"), JobState::Collected);
        rig.tick(rig.config.tell_collected_ms);
        rig.task_ends(TaskKind::Collect, Ok(TaskOutput::Collected));
        assert!(!is_stored(&rig), "nothing is left, and nothing knows of it");
    }
}

#[test]
fn submits_are_refused_at_seven_tenths_of_the_state_stores_room() {
    let mut rig = Rig::new();
    let submit = |rig: &mut Rig, id: &str| rig.submit_as(id, "t", None, 1, 0);
    assert!(matches!(submit(&mut rig, "a"), Some(Ok(_))), "nothing is known");
    rig.feed(Event::StateRoom { used: 699, most: 1_000 });
    assert!(matches!(submit(&mut rig, "b"), Some(Ok(_))));
    rig.feed(Event::StateRoom { used: 700, most: 1_000 });
    let refusal = Refusal::StateFull { used: 700, most: 1_000 };
    assert!(refusal.to_string().contains("700 of 1000 bytes"), "{refusal}");
    assert_eq!(submit(&mut rig, "c"), Some(Err(refusal)));
    assert_eq!(submit(&mut rig, "a").map(|a| a.is_ok()), Some(false), "a new job of an old name is new");
    let cancel = rig.call(Call::Cancel { tenant: tenant("t"), job: job("a") });
    assert!(cancel.is_some_and(|a| a.is_ok()), "what makes room is obeyed");
    rig.feed(Event::StateRoom { used: u64::MAX / 2, most: u64::MAX });
    assert!(matches!(submit(&mut rig, "d"), Some(Ok(_))));
}

#[test]
fn a_key_that_stands_is_answered_although_the_store_is_full() {
    let mut rig = Rig::new();
    assert!(matches!(rig.submit_as("a", "t", Some("k"), 1, 0), Some(Ok(_))));
    rig.feed(Event::StateRoom { used: 1, most: 1 });
    let again = rig.submit_as("b", "t", Some("k"), 1, 0);
    assert_eq!(again, Some(Ok(Answer { job: job("a"), existed: true })));
}

#[test]
fn what_a_deleted_job_had_committed_is_forgotten_before_its_objects_are() {
    for leader_dies in [false, true] {
        let mut rig = Rig::new();
        let (_, leases) = rig.running();
        rig.wins(&leases[0]);
        let commits = |rig: &Rig| rig.store.keys().filter(|k| matches!(k, StateKey::Commit(..))).count();
        let before = commits(&rig);
        assert!(before > 0);
        assert!(rig.call(Call::Cancel { tenant: tenant("t"), job: job("j") }).is_some_and(|a| a.is_ok()));
        assert_eq!(commits(&rig), before, "a Retry goes on with them");
        if leader_dies {
            // between the record and the keys
            let record = JobRecord { state: JobState::Collecting, ..rig.record("j").clone() };
            rig.store.insert(StateKey::Job(job("j")), Record::Job(Box::new(record)));
            rig.term(2);
        } else {
            assert!(delete(&mut rig));
        }
        assert_eq!((rig.state("j"), commits(&rig)), (JobState::Collecting, 0));
        assert_eq!(rig.machine.commits(&job("j")).count(), 0);
        rig.task_ends(TaskKind::Collect, Ok(TaskOutput::Collected));
        assert_eq!(rig.state("j"), JobState::Collected);
    }
}
