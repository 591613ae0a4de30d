//! A job's way, and what clients may ask.

use super::rig::*;
use crate::*;
use reelmill_common::job::{FailReason, JobState};
use reelmill_common::outcome::{FaultKind, Verdict};
use reelmill_common::record::StateKey;
use reelmill_common::{Millis, RunNo};

#[test]
fn a_job_goes_all_the_way() {
    let mut rig = Rig::new();
    let w = rig.worker("w", 1);
    rig.submit("j");
    assert_eq!(rig.state("j"), JobState::Indexing, "its Index item was leased in the same write");
    let index = rig.leases().remove(0);
    rig.wins(&index);
    assert!(rig.record("j").index.is_some(), "the index is part of its commit");
    rig.task_ends(TaskKind::PrepareAnalyse, Ok(TaskOutput::AnalyseReady(Some(spec(7, 100)))));
    rig.ask(w, 1);
    let analyse = rig.leases().remove(0);
    assert_eq!(analyse.kind, WorkKind::Analyse);
    rig.wins(&analyse);
    assert!(rig.record("j").analysis.is_some());
    let plan = plan_ref(1, 1);
    rig.task_ends(TaskKind::MakePlan, Ok(TaskOutput::Planned { plan, specs: vec![spec(1, 900)] }));
    assert_eq!(rig.state("j"), JobState::Planned);
    rig.ask(w, 1);
    assert_eq!(rig.state("j"), JobState::Running);
    let chunk = rig.leases().remove(0);
    let writes = rig.writes;
    rig.wins(&chunk);
    assert_eq!(rig.writes - writes, 1, "a chunk costs one durable write");
    rig.publish();
    assert_eq!(rig.state("j"), JobState::Publishing);
    assert!(!rig.record("j").manifests.is_empty(), "hashes are durable before a manifest is written");
    rig.task_ends(TaskKind::WriteManifests, Ok(TaskOutput::ManifestsWritten));
    assert_eq!(rig.state("j"), JobState::Published);
    assert!(rig.record("j").ended_unix_ms.is_some());
    let parts = rig.store.keys().filter(|k| matches!(k, StateKey::Commit(..) | StateKey::Fault(..)));
    assert_eq!(parts.count(), 0, "commits were folded");
    assert_eq!(rig.call(Call::Delete { tenant: tenant("t"), job: job("j") }).map(|r| r.is_ok()), Some(true));
    assert_eq!(rig.state("j"), JobState::Collecting);
    let collect = rig.task().expect("collection");
    assert_eq!((collect.kind, collect.delay_ms), (TaskKind::Collect, 75_000), "lease TTL and store timeout");
    rig.feed(Event::TaskEnded { task: collect.id, result: Ok(TaskOutput::Collected) });
    assert_eq!(rig.state("j"), JobState::Collected);
    rig.tick(599_000);
    assert_eq!(rig.state("j"), JobState::Collected, "told for ten minutes");
    rig.tick(11_000);
    rig.task_ends(TaskKind::Collect, Ok(TaskOutput::Collected));
    assert!(!rig.store.keys().any(|key| *key == StateKey::Job(job("j"))), "then nothing is left");
}

#[test]
fn the_time_a_job_has_taken_stands_still_at_its_end_and_outlives_leaders() {
    let mut rig = Rig::new();
    let elapsed = |rig: &Rig| rig.machine.view(rig.now, &tenant("t"), &job("j")).unwrap().progress.elapsed_ms;
    // a term of this rig begins with a clock of its own: the tick tells the time
    rig.tick(1);
    rig.running();
    assert_eq!(elapsed(&rig), 0);
    rig.tick(1_000);
    assert_eq!(elapsed(&rig), 1_000);
    rig.term(2);
    rig.tick(1_000);
    assert_eq!(elapsed(&rig), 2_000, "a new leader goes on counting");
    rig.call(Call::Cancel { tenant: tenant("t"), job: job("j") });
    rig.tick(5_000);
    assert_eq!(elapsed(&rig), 2_000, "what it took");
    rig.term(3);
    rig.tick(5_000);
    assert_eq!(elapsed(&rig), 2_000, "another leader says the same");
    rig.call(Call::Retry { tenant: tenant("t"), job: job("j") });
    rig.tick(300);
    assert_eq!(elapsed(&rig), 300, "a run of its own");
}

#[test]
fn the_time_a_published_job_took_is_that_from_its_first_chunk_to_its_last_manifest() {
    let mut rig = Rig::new();
    let elapsed = |rig: &Rig| rig.machine.view(rig.now, &tenant("t"), &job("j")).unwrap().progress.elapsed_ms;
    rig.submit("j");
    rig.tick(700);
    assert_eq!(elapsed(&rig), 0, "waiting is no encoding");
    let w = rig.worker("w", 2);
    rig.plan("j", w, &[spec(1, 900)]);
    rig.ask(w, 1);
    let chunk = rig.leases().remove(0);
    rig.tick(2_000);
    rig.wins(&chunk);
    rig.publish();
    rig.tick(100);
    rig.task_ends(TaskKind::WriteManifests, Ok(TaskOutput::ManifestsWritten));
    assert_eq!(rig.state("j"), JobState::Published);
    for _ in 0..3 {
        assert_eq!(elapsed(&rig), 2_100);
        rig.tick(1_000);
    }
    rig.call(Call::Delete { tenant: tenant("t"), job: job("j") });
    assert_eq!(elapsed(&rig), 2_100, "while it is collected, too");
}

#[test]
fn nothing_leaves_before_it_is_durable() {
    let mut rig = Rig::new();
    rig.worker("w", 1);
    rig.done.clear();
    rig.answers = false;
    assert_eq!(rig.submit_as("j", "t", None, 1, 0), None, "no reply yet");
    assert_eq!(rig.leases(), vec![], "and no lease");
    assert_eq!(rig.machine.view(rig.now, &tenant("t"), &job("j")), None, "and nobody sees it");
    rig.answer();
    assert!(rig.reply(Token(1)).is_some());
    assert_eq!(rig.leases().len(), 1);
    assert!(rig.machine.view(rig.now, &tenant("t"), &job("j")).is_some());
    assert!(rig.done.contains(&Effect::JobChanged(job("j"))));
}

#[test]
fn an_idempotency_key_stands_for_one_request() {
    let mut rig = Rig::new();
    let made = |j, existed| Some(Ok(Answer { job: job(j), existed }));
    assert_eq!(rig.submit_as("a", "t", Some("k"), 1, 0), made("a", false));
    assert_eq!(rig.submit_as("b", "t", Some("k"), 1, 0), made("a", true));
    assert_eq!(rig.submit_as("c", "t", Some("k"), 2, 0), Some(Err(Refusal::AlreadyExists { job: job("a") })));
    assert_eq!(rig.submit_as("d", "u", Some("k"), 2, 0), made("d", false), "keys belong to a tenant");
    rig.term(2);
    assert_eq!(rig.submit_as("e", "t", Some("k"), 1, 0), made("a", true), "and outlive a leader");
    assert_eq!(rig.store.keys().filter(|k| matches!(k, StateKey::Job(_))).count(), 2);
}

#[test]
fn the_key_of_a_deleted_job_makes_no_other_one() {
    let mut rig = Rig::new();
    let submit = |rig: &mut Rig, id, hash| rig.submit_as(id, "t", Some("k"), hash, 0);
    submit(&mut rig, "a", 1);
    rig.call(Call::Cancel { tenant: tenant("t"), job: job("a") });
    rig.call(Call::Delete { tenant: tenant("t"), job: job("a") });
    let deleted = Some(Err(Refusal::Deleted { job: job("a") }));
    assert_eq!(submit(&mut rig, "b", 1), deleted, "while it is collected");
    assert_eq!(submit(&mut rig, "b", 2), Some(Err(Refusal::AlreadyExists { job: job("a") })));
    rig.task_ends(TaskKind::Collect, Ok(TaskOutput::Collected));
    assert_eq!(rig.state("a"), JobState::Collected);
    assert_eq!(submit(&mut rig, "b", 1), deleted, "and when it is");
    rig.tick(3_600_000);
    rig.task_ends(TaskKind::Collect, Ok(TaskOutput::Collected));
    assert!(!rig.store.contains_key(&StateKey::Job(job("a"))), "nothing is left but the key");
    assert_eq!(submit(&mut rig, "b", 1), Some(Ok(Answer { job: job("a"), existed: true })));
    rig.tick(30 * 24 * 3_600_000);
    assert_eq!(submit(&mut rig, "b", 1), Some(Ok(Answer { job: job("b"), existed: false })), "a month later");
}

#[test]
fn idempotency_keys_end_after_thirty_days() {
    let mut rig = Rig::new();
    rig.submit_as("a", "t", Some("k"), 1, 0);
    let keys = |rig: &Rig| rig.store.keys().filter(|k| matches!(k, StateKey::Idempotency(..))).count();
    let day = 24 * 3_600 * 1_000;
    rig.tick(29 * day);
    assert_eq!(keys(&rig), 1);
    rig.tick(day);
    assert_eq!(keys(&rig), 0);
    assert!(rig.record("a").version > 0, "the job is kept");
}

#[test]
fn another_tenants_job_does_not_exist() {
    let mut rig = Rig::new();
    rig.submit("j");
    let call = |rig: &mut Rig, call| rig.call(call);
    let (tenant, id) = (tenant("other"), job("j"));
    let gone = Some(Err(Refusal::NotFound(id.clone())));
    assert_eq!(call(&mut rig, Call::Cancel { tenant: tenant.clone(), job: id.clone() }), gone);
    assert_eq!(call(&mut rig, Call::Retry { tenant: tenant.clone(), job: id.clone() }), gone);
    assert_eq!(call(&mut rig, Call::Delete { tenant: tenant.clone(), job: id.clone() }), gone);
    assert_eq!(rig.machine.view(rig.now, &tenant, &id), None);
    assert_eq!(rig.machine.explain(rig.now, &tenant, &id), None);
    assert!(rig.machine.list(rig.now, &tenant, None, 10).is_empty());
}

#[test]
fn cancel_stops_work_and_retry_keeps_what_is_committed() {
    let mut rig = Rig::new();
    let (w, leases) = rig.running();
    rig.wins(&leases[0]);
    rig.done.clear();
    let answer = rig.call(Call::Cancel { tenant: tenant("t"), job: job("j") });
    assert_eq!(answer, Some(Ok(Answer { job: job("j"), existed: false })));
    assert!(rig.was_revoked(leases[1].attempt));
    assert_eq!(rig.state("j"), JobState::Cancelled);
    let late = rig.report(&leases[1]);
    assert_eq!(rig.ends(&leases[1], late), Some(Verdict::Gone));
    let again = rig.call(Call::Cancel { tenant: tenant("t"), job: job("j") });
    assert_eq!(again, Some(Ok(Answer { job: job("j"), existed: true })));
    rig.call(Call::Retry { tenant: tenant("t"), job: job("j") });
    assert_eq!((rig.state("j"), rig.record("j").run), (JobState::Running, RunNo(2)));
    rig.task_ends(TaskKind::LoadPlan, Ok(TaskOutput::PlanLoaded(vec![spec(1, 900), spec(2, 500)])));
    rig.ask(w, 2);
    let open: Vec<_> = rig.leases().into_iter().map(|l| l.spec).collect();
    assert_eq!(open, [leases[1].spec], "only the open chunk runs again");
}

#[test]
fn publishing_is_the_point_of_no_return() {
    let mut rig = Rig::new();
    let (_, leases) = rig.running();
    leases.iter().for_each(|l| rig.wins(l));
    rig.publish();
    let refused = rig.call(Call::Cancel { tenant: tenant("t"), job: job("j") });
    assert!(matches!(refused, Some(Err(Refusal::WrongState { state: "publishing", .. }))));
    let reason =
        FailReason { kind: FaultKind::Storage, message: "disk full".to_owned(), detail: String::new() };
    rig.task_ends(TaskKind::WriteManifests, Err(TaskError::Fatal(reason)));
    assert_eq!(rig.state("j"), JobState::Publishing, "there is only forward");
    let task = rig.task().expect("it is tried again");
    assert_eq!((task.kind, task.delay_ms), (TaskKind::WriteManifests, 250));
    assert_eq!(
        rig.machine.explain(rig.now, &tenant("t"), &job("j")).expect("job").last().map(String::as_str),
        Some("write_manifests waits: disk full")
    );
}

#[test]
fn tasks_that_wait_back_off_and_tasks_that_cannot_fail_the_job() {
    let mut rig = Rig::new();
    rig.worker("w", 1);
    rig.submit("j");
    let index = rig.leases().remove(0);
    rig.wins(&index);
    for delay_ms in [0, 250, 500, 1_000] {
        let task = rig.task().expect("a task");
        assert_eq!((task.kind, task.delay_ms), (TaskKind::PrepareAnalyse, delay_ms));
        let result = Err(TaskError::Transient { message: "away".to_owned() });
        rig.feed(Event::TaskEnded { task: task.id, result });
        let stale = Ok(TaskOutput::AnalyseReady(None));
        rig.feed(Event::TaskEnded { task: task.id, result: stale });
        assert_eq!(rig.state("j"), JobState::Indexing, "an answer that comes twice says nothing");
    }
    rig.task_ends(TaskKind::PrepareAnalyse, Ok(TaskOutput::AnalyseReady(None)));
    let reason =
        FailReason { kind: FaultKind::Source, message: "no track".to_owned(), detail: String::new() };
    rig.task_ends(TaskKind::MakePlan, Err(TaskError::Fatal(reason.clone())));
    assert_eq!(rig.state("j"), JobState::Failed(reason));
    rig.call(Call::Retry { tenant: tenant("t"), job: job("j") });
    assert_eq!(rig.state("j"), JobState::Indexing, "back to the step that failed");
    assert_eq!(rig.task().map(|t| t.kind), Some(TaskKind::PrepareAnalyse));
}

#[test]
fn a_plan_without_chunks_fails() {
    let mut rig = Rig::new();
    let w = rig.worker("w", 1);
    rig.submit("j");
    rig.plan("j", w, &[]);
    assert!(matches!(rig.state("j"), JobState::Failed(FailReason { kind: FaultKind::Source, .. })));
}

#[test]
fn submits_over_a_bound_are_refused() {
    let config = CoordinatorConfig { jobs_open_max: 3, jobs_open_per_tenant_max: 2, ..Default::default() };
    let mut rig = Rig::with(config);
    rig.submit("a");
    rig.submit("b");
    let refused = rig.submit_as("c", "t", None, 1, 0);
    assert!(matches!(refused, Some(Err(Refusal::Quota { limit: 2, used: 2, .. }))));
    assert!(matches!(rig.submit_as("d", "u", None, 1, 0), Some(Ok(_))));
    assert!(matches!(rig.submit_as("e", "v", None, 1, 0), Some(Err(Refusal::Exhausted { limit: 3, .. }))));
    rig.call(Call::Cancel { tenant: tenant("t"), job: job("a") });
    assert!(
        matches!(rig.submit_as("f", "t", None, 1, 0), Some(Ok(_))),
        "a job that has ended counts no more"
    );
}

#[test]
fn progress_versions_and_estimates_are_told() {
    let mut rig = Rig::new();
    let (w, leases) = rig.running();
    let view = |rig: &Rig| rig.machine.view(rig.now, &tenant("t"), &job("j")).expect("job");
    let before = view(&rig);
    assert_eq!((before.progress.chunks_done, before.progress.chunks_total), (0, 2));
    assert_eq!((before.progress.work_total_ms, before.progress.eta_ms), (1_400, None));
    rig.now = Millis(rig.now.0 + 450);
    let running = vec![reelmill_common::session::AttemptProgress {
        attempt: leases[0].attempt,
        done: 5,
        total: 10,
        cost: Default::default(),
    }];
    rig.said(w, reelmill_common::session::FromWorker::Heartbeat { sequence: 1, running });
    let half = view(&rig);
    assert_eq!(
        (half.progress.work_done_ms, half.progress.eta_ms),
        (450, Some(950)),
        "450 in 450 ms, 950 to go"
    );
    rig.wins(&leases[0]);
    let one = view(&rig);
    assert_eq!((one.progress.chunks_done, one.progress.work_done_ms), (1, 900));
    assert!(one.version > before.version);
    rig.wins(&leases[1]);
    let all = view(&rig);
    rig.publish();
    assert!(view(&rig).version > all.version && all.version > one.version);
    rig.task_ends(TaskKind::WriteManifests, Ok(TaskOutput::ManifestsWritten));
    assert_eq!(view(&rig).progress.chunks_done, 2);
}

#[test]
fn lists_are_paged() {
    let mut rig = Rig::new();
    ["a", "b", "c"].iter().for_each(|j| rig.submit(j));
    let page = |after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(job);
        let views = rig.machine.list(rig.now, &tenant("t"), after.as_ref(), limit);
        views.into_iter().map(|v| v.id.to_string()).collect()
    };
    assert_eq!(page(None, 2), ["a", "b"]);
    assert_eq!(page(Some("b"), 2), ["c"]);
}
