//! What a tenant may have: slots delay, open jobs refuse, a film's length fails; told anew while the machine runs.

use super::rig::*;
use crate::*;
use reelmill_common::job::JobState;
use reelmill_common::session::FromWorker;
use reelmill_common::{FencingTerm, Millis};

fn rules(of: TenantRules) -> Tenants {
    [(tenant("t"), of)].into_iter().collect()
}

fn rig(of: TenantRules) -> Rig {
    Rig::with(CoordinatorConfig { tenants: rules(of), ..Default::default() })
}

fn chunks(from: u8, count: u8) -> Vec<SpecRef> {
    (from..from + count).map(|n| spec(n, 600)).collect()
}

fn of(leases: &[LeaseOrder], id: &str) -> usize {
    leases.iter().filter(|l| l.job.as_str() == id).count()
}

fn why(rig: &Rig, id: &str, owner: &str) -> Vec<String> {
    rig.machine.explain(rig.now, &tenant(owner), &job(id)).expect("job")
}

const SLOTS: &str = "tenant t has the 2 slots that it may have at a time (max_slots): an operator sets that in the access file";

#[test]
fn slots_beyond_the_bound_are_the_others() {
    let mut rig = rig(TenantRules { weight: 9, max_slots: Some(2), ..Default::default() });
    rig.planned(&[("a", "t", 0, &chunks(10, 8)), ("b", "u", 0, &chunks(30, 3))]);
    let w = rig.worker("w", 6);
    let leases = rig.leases();
    assert_eq!((of(&leases, "a"), of(&leases, "b")), (2, 3), "and one slot of six idles");
    assert_eq!(why(&rig, "a", "t").last().map(String::as_str), Some(SLOTS));
    // what uploads is off its slot
    let first = leases.iter().find(|l| l.job.as_str() == "a").expect("leased");
    rig.said(w, FromWorker::Grant { attempt: first.attempt, files: vec![] });
    rig.ask(w, 2);
    assert_eq!(of(&rig.leases(), "a"), 1);
    rig.wins(first);
    rig.ask(w, 1);
    assert_eq!(of(&rig.leases(), "a"), 0, "it has two again");
}

#[test]
fn a_second_attempt_takes_a_slot_as_the_first_one_does() {
    let mut rig = rig(TenantRules { max_slots: Some(1), ..Default::default() });
    rig.planned(&[("a", "t", 0, &chunks(10, 1))]);
    let w = rig.worker("w", 1);
    let first = rig.leases().remove(0);
    rig.worker("x", 1);
    rig.feed(Event::WorkerDisconnected { session: w });
    rig.tick(5_000);
    assert_eq!(rig.leases(), [], "the first may still run");
    rig.feed(Event::Tenants(rules(TenantRules { max_slots: Some(2), ..Default::default() })));
    rig.tick(250);
    assert_eq!(rig.leases().iter().map(|l| l.spec).collect::<Vec<_>>(), [first.spec]);
}

#[test]
fn a_tenant_rests_and_goes_on_as_its_rules_change() {
    let mut rig = rig(TenantRules { max_slots: Some(0), ..Default::default() });
    rig.planned(&[("a", "t", 0, &chunks(10, 4))]);
    rig.worker("w", 4);
    assert_eq!(rig.leases(), []);
    let says = "tenant t has the 0 slots that it may have at a time (max_slots): an operator sets that in the access file";
    assert_eq!(why(&rig, "a", "t").last().map(String::as_str), Some(says));
    rig.feed(Event::Tenants(rules(TenantRules { max_slots: Some(3), ..Default::default() })));
    assert_eq!(rig.leases().len(), 3);
    rig.feed(Event::Tenants(Tenants::default()));
    assert_eq!(rig.leases().len(), 1, "nothing bounds it");
}

#[test]
fn weights_hold_from_the_next_chunk_on() {
    let mut rig =
        Rig::with(CoordinatorConfig { tenants: shares(&[("t", 1), ("u", 1)]), ..Default::default() });
    rig.planned(&[("a", "t", 0, &chunks(10, 30)), ("b", "u", 0, &chunks(50, 30))]);
    rig.worker("w", 8);
    let leases = rig.leases();
    assert_eq!((of(&leases, "a"), of(&leases, "b")), (4, 4));
    rig.feed(Event::Tenants(shares(&[("t", 1), ("u", 3)])));
    rig.worker("x", 16);
    let leases = rig.leases();
    assert_eq!((of(&leases, "a"), of(&leases, "b")), (4, 12));
}

#[test]
fn a_follower_takes_rules_into_its_next_term() {
    let mut machine = Coordinator::new(CoordinatorConfig::default());
    let told = machine.handle(
        Millis(1),
        Event::Tenants(rules(TenantRules { max_open_jobs: Some(0), ..Default::default() })),
    );
    assert_eq!((told.now, told.then), (vec![], vec![]));
    let mut rig = Rig::new();
    rig.machine = machine;
    let begun = TermBegun { term: FencingTerm(2), records: vec![], plans: Default::default(), unix_ms: 1 };
    rig.feed(Event::TermBegun(Box::new(begun)));
    assert!(matches!(rig.submit_as("a", "t", None, 1, 0), Some(Err(Refusal::Quota { limit: 0, .. }))));
}

#[test]
fn open_jobs_are_bounded_for_submit_and_retry() {
    let mut rig = rig(TenantRules { max_open_jobs: Some(2), ..Default::default() });
    rig.submit("a");
    rig.submit("b");
    let refusal = rig.submit_as("c", "t", None, 1, 0).expect("an answer").expect_err("a refusal");
    let says = "tenant t has 2 open jobs and may have 2 (max_open_jobs): try again when some have ended, or ask an operator, \
                who sets max_open_jobs in the access file";
    assert_eq!(refusal.to_string(), says);
    assert!(matches!(rig.submit_as("d", "u", None, 1, 0), Some(Ok(_))), "others have their own");
    let cancel = Call::Cancel { tenant: tenant("t"), job: job("a") };
    assert!(matches!(rig.call(cancel), Some(Ok(_))));
    rig.submit("c");
    let retry = || Call::Retry { tenant: tenant("t"), job: job("a") };
    assert_eq!(rig.call(retry()), Some(Err(refusal)), "what runs again is open again");
    rig.feed(Event::Tenants(rules(TenantRules { max_open_jobs: Some(3), ..Default::default() })));
    assert!(matches!(rig.call(retry()), Some(Ok(_))));
}

#[test]
fn a_film_that_is_too_long_fails_before_it_is_encoded_and_runs_once_it_may() {
    // the rig's plans are of films of a minute
    let mut rig = rig(TenantRules { max_film_ms: Some(0), ..Default::default() });
    let w = rig.worker("w", 1);
    rig.submit("a");
    rig.plan("a", w, &chunks(10, 1));
    let says = "the film lasts 1:00 min and those of tenant t may last 0 min (max_film_minutes): ask an operator, who sets \
                max_film_minutes in the access file, then run the job again";
    assert!(matches!(rig.state("a"), JobState::Failed(reason) if reason.message == says));
    rig.ask(w, 1);
    assert_eq!(rig.leases(), [], "nothing is encoded");
    rig.feed(Event::Tenants(rules(TenantRules { max_film_ms: Some(60_000), ..Default::default() })));
    rig.done.clear();
    assert!(matches!(rig.call(Call::Retry { tenant: tenant("t"), job: job("a") }), Some(Ok(_))));
    rig.task_ends(TaskKind::PrepareAnalyse, Ok(TaskOutput::AnalyseReady(None)));
    let specs = chunks(10, 1);
    rig.task_ends(TaskKind::MakePlan, Ok(TaskOutput::Planned { plan: plan_ref(1, 1), specs }));
    assert_eq!(of(&rig.leases(), "a"), 1);
}

#[test]
fn a_bound_on_slots_costs_others_nothing_of_their_share() {
    // a bounded tenant comes back to its fair share, not to what it could not take
    let mut rig = rig(TenantRules { max_slots: Some(1), ..Default::default() });
    rig.planned(&[("a", "t", 0, &chunks(10, 40)), ("b", "u", 0, &chunks(60, 40))]);
    rig.worker("w", 8);
    let leases = rig.leases();
    assert_eq!((of(&leases, "a"), of(&leases, "b")), (1, 7));
    rig.feed(Event::Tenants(Tenants::default()));
    rig.worker("x", 8);
    let leases = rig.leases();
    assert_eq!((of(&leases, "a"), of(&leases, "b")), (5, 3), "half, and the first one");
}

/// Indexes a submitted job, and says what its record then says of the cost of its chunks.
fn bound_of(rig: &mut Rig, id: &str) -> Option<u64> {
    rig.worker(&format!("of-{id}"), 1);
    let leases = rig.leases();
    let index = leases.iter().find(|l| l.kind == WorkKind::Index && l.job.as_str() == id);
    rig.wins(index.expect("an Index lease"));
    rig.record(id).chunk_cost_max_ms
}

#[test]
fn chunks_are_bounded_where_another_tenant_has_an_open_job() {
    let mut rig = Rig::new();
    rig.submit("a");
    assert_eq!(bound_of(&mut rig, "a"), None, "nobody else is there");
    assert!(matches!(rig.submit_as("b", "u", None, 1, 0), Some(Ok(_))));
    assert_eq!(rig.record("b").chunk_cost_max_ms, None, "it is not planned yet");
    assert_eq!(bound_of(&mut rig, "b"), Some(20_000));
    assert_eq!(rig.record("a").chunk_cost_max_ms, None, "what is planned stays as it is");
    // fixed: whoever leads next plans by what the record says
    for id in ["a", "b"] {
        let (tenant, job) = (tenant(if id == "a" { "t" } else { "u" }), job(id));
        rig.call(Call::Cancel { tenant, job });
    }
    rig.term(2);
    assert_eq!(rig.record("b").chunk_cost_max_ms, Some(20_000));
    assert!(matches!(rig.submit_as("c", "u", None, 1, 0), Some(Ok(_))));
    assert_eq!(bound_of(&mut rig, "c"), None, "the other one's job has ended");
}

#[test]
fn chunks_are_bounded_where_another_tenant_is_known_by_name() {
    let mut rig = rig(TenantRules::default());
    rig.submit("a");
    assert_eq!(bound_of(&mut rig, "a"), None, "it is the one that is named");
    let names = ["t", "u"].map(|name| (tenant(name), TenantRules::default()));
    rig.feed(Event::Tenants(names.into_iter().collect()));
    rig.submit("b");
    assert_eq!(bound_of(&mut rig, "b"), Some(20_000));
}
