//! The simulation over many seeds, and the bugs it must find.
//!
//! `REELMILL_SIM_SEEDS` says how many seeds (1,000 if it does not); `REELMILL_SIM_SEED` runs that one alone and prints
//! its course.

use reelmill_coordinator_core::sabotage::Sabotage as ControlBug;
use reelmill_tests::sim::tally::Tally;
use reelmill_tests::sim::{Bug, Outcome, run};
use reelmill_worker_core::agent::Sabotage as AgentBug;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds in a run of the tests.
const SEEDS: u64 = 1_000;
/// Seeds that are run a second time.
const TWICE: u64 = 50;
/// What may happen, but too seldom to be counted on.
const SELDOM: &[&str] = &[
    "audit: a rotten maker says that all is well",
    "client: refused",
    "plan: made anew without a caught worker's chunks",
    "record: outside gone",
    "task: by a deposed leader",
];
/// How often everything that can happen must have happened over [`SEEDS`] seeds.
const EACH: u64 = 100;

/// Everything that can happen: transitions of the machines, and faults of what is around them.
const EVERYTHING: &[&str] = &[
    "agent: asked for grant",
    "agent: draining",
    "agent: heard an older term",
    "agent: heartbeat",
    "agent: outcome",
    "audit: by its maker",
    "audit: of sound",
    "attempt: committed",
    "attempt: faulted",
    "attempt: not needed",
    "attempt: offered",
    "attempt: second of a straggler",
    "attempt: vanished",
    "client: asked a standby",
    "client: cancelled",
    "client: deleted",
    "client: key of a deleted job",
    "client: key taken",
    "client: ran again",
    "client: submitted",
    "client: submitted before",
    "clock: wall jumped",
    "control: fenced",
    "control: leader crashed",
    "control: paused",
    "control: session gone",
    "control: started",
    "control: standby crashed",
    "control: steps down",
    "control: term begun",
    "control: term over",
    "control: told that it is deposed",
    "fairness: checked",
    "grant: allowed",
    "grant: refused",
    "heard: hello",
    "heard: hello with running attempts",
    "heard: hello with unsettled outcomes",
    "heard: outcome",
    "job: accepted",
    "job: a build is unable",
    "job: a lone accuser is believed",
    "job: a worker is caught",
    "job: bound anew",
    "job: cancelled",
    "job: collected",
    "job: collecting",
    "job: failed",
    "job: indexed by what is shown",
    "job: indexing",
    "job: planned",
    "job: published",
    "job: publishing",
    "job: run again",
    "job: running",
    "job: to be bound anew",
    "lease: alone",
    "lease: offered",
    "net: connected",
    "net: dropped",
    "net: duplicated",
    "net: late",
    "net: link cut",
    "net: lost in a cut link",
    "net: reordered",
    "outcome: found wrong",
    "record: commit",
    "record: commit withdrawn",
    "record: deleted",
    "record: fault",
    "record: idempotency",
    "record: job forgotten",
    "record: outside",
    "revoked",
    "settled: gone",
    "settled: lost",
    "settled: won",
    "store: error after",
    "store: error before",
    "store: fenced",
    "store: late copy refused",
    "store: leader elected",
    "store: leader key expired",
    "store: link cut",
    "store: stalled copy",
    "store: written",
    "task: archive",
    "task: build manifests",
    "task: collect",
    "task: load plan",
    "task: make plan",
    "task: prepare analyse",
    "task: prepare audit",
    "task: sweep",
    "task: transient error",
    "task: write manifests",
    "work: an audit found something",
    "work: another binding",
    "work: failed",
    "work: hangs",
    "work: made something rotten",
    "work: made something wrong",
    "work: other frames are shown",
    "work: started",
    "work: upload begins",
    "worker: caught",
    "worker: connection gone",
    "worker: crashed",
    "worker: drained",
    "worker: killed by its work",
    "worker: left",
    "worker: paused",
    "worker: started",
    "worker: suspended",
    "worker: upgraded",
];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")))
}

/// Runs seeds on two threads, each taking the next one (they differ a hundredfold in length); outcomes come back in
/// the order of seeds. A broken law is told at once, and each ten thousand seeds: a long run that is cut has told
/// what it had found.
fn run_all(seeds: Range<u64>, bug: Bug) -> Vec<(u64, Outcome)> {
    let next = AtomicU64::new(seeds.start);
    let share = || {
        let taken = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end);
        let ran = std::iter::from_fn(taken).map(|seed| (seed, run(seed, bug, false)));
        let told = ran.inspect(|(seed, outcome)| {
            if let Some(law) = &outcome.broken {
                println!("seed {seed}: {law}");
            }
            if seed % 10_000 == 9_999 {
                println!("{} seeds", seed + 1);
            }
        });
        told.collect::<Vec<_>>()
    };
    let mut all = std::thread::scope(|scope| {
        let other = scope.spawn(share);
        let mut all = share();
        all.extend(other.join().expect("a simulation does not panic"));
        all
    });
    all.sort_by_key(|(seed, _)| *seed);
    all
}

#[test]
fn every_seed_keeps_the_laws() {
    if let Some(seed) = number("REELMILL_SIM_SEED") {
        let outcome = run(seed, Bug::None, true);
        assert_eq!(outcome.broken, None, "seed {seed} after {} virtual ms", outcome.took_ms);
        return;
    }
    let seeds = number("REELMILL_SIM_SEEDS").unwrap_or(SEEDS);
    let outcomes = run_all(0..seeds, Bug::None);
    let mut tally = Tally::default();
    let mut broken = vec![];
    for (seed, outcome) in &outcomes {
        tally.add(&outcome.tally);
        broken.extend(outcome.broken.as_ref().map(|b| format!("seed {seed}: {b}")));
    }
    for (what, n) in tally.iter() {
        println!("{n:>10}  {what}");
    }
    let hours = outcomes.iter().map(|(_, o)| o.took_ms).sum::<u64>() / 3_600_000;
    println!("{seeds} seeds, {hours} virtual hours");
    let longest = outcomes.iter().map(|(seed, o)| (o.longest_wait_ms, seed)).max();
    println!("longest wait for a step after the faults had stopped (milliseconds, seed): {longest:?}");
    assert!(broken.is_empty(), "{} of {seeds} seeds broke a law:\n{}", broken.len(), broken.join("\n"));
    for what in EVERYTHING {
        let n = tally.of(what);
        assert!(n >= EACH.min(EACH * seeds / SEEDS), "{what}: only {n} times in {seeds} seeds");
    }
    for (what, _) in tally.iter() {
        assert!(
            EVERYTHING.contains(&what) || SELDOM.contains(&what),
            "{what} is not on the list of everything that can happen"
        );
    }
}

#[test]
fn a_seed_is_a_history() {
    let first = run_all(0..TWICE, Bug::None);
    let second = run_all(0..TWICE, Bug::None);
    assert_eq!(first, second, "a seed ran differently the second time");
    let hashes: std::collections::BTreeSet<u64> = first.iter().map(|(_, o)| o.hash).collect();
    assert_eq!(hashes.len() as u64, TWICE, "different seeds are different histories");
}

/// The bug must be found within the seeds of an ordinary run.
fn finds(bug: Bug) {
    let found = (0..SEEDS).find_map(|seed| run(seed, bug, false).broken.map(|law| (seed, law)));
    let (seed, law) = found.unwrap_or_else(|| panic!("{bug:?} was not found within {SEEDS} seeds"));
    println!("{bug:?}: seed {seed}: {law}");
    assert_eq!(run(seed, Bug::None, false).broken, None, "seed {seed} is sound without the bug");
}

macro_rules! sabotages {
    ($($name:ident: $bug:expr,)*) => {
        $(#[test] fn $name() { finds($bug) })*

        /// Every bug that the machines can have is on the list above.
        #[test]
        fn every_sabotage_has_its_test() {
            let tested = [$($bug),*];
            for bug in ControlBug::ALL {
                assert!(tested.contains(&Bug::Control(bug)), "{bug:?}");
            }
            for bug in AgentBug::ALL {
                assert!(tested.contains(&Bug::Agent(bug)), "{bug:?}");
            }
        }
    };
}

sabotages! {
    finds_a_commit_without_liveness_check: Bug::Control(ControlBug::CommitWithoutLiveness),
    finds_an_effect_before_its_write: Bug::Control(ControlBug::EffectBeforeWrite),
    finds_unknown_taken_as_failed: Bug::Control(ControlBug::UnknownTakenAsFailed),
    finds_a_fenced_write_ignored: Bug::Control(ControlBug::FencedIgnored),
    finds_a_higher_term_ignored: Bug::Control(ControlBug::HigherTermIgnored),
    finds_publishing_before_the_last_commit: Bug::Control(ControlBug::PublishBeforeLastCommit),
    finds_a_retry_that_forgets_commits: Bug::Control(ControlBug::RetryForgetsCommits),
    finds_an_old_fault_counted_again: Bug::Control(ControlBug::OldFaultCountsAgain),
    finds_budgets_that_are_not_durable: Bug::Control(ControlBug::BudgetNotDurable),
    finds_handed_back_work_counted_as_failed: Bug::Control(ControlBug::AbandonedCounts),
    finds_a_double_grant: Bug::Control(ControlBug::DoubleGrant),
    finds_fairness_switched_off: Bug::Control(ControlBug::FairnessOff),
    finds_idempotency_switched_off: Bug::Control(ControlBug::IdempotencyOff),
    finds_needs_ignored: Bug::Control(ControlBug::NeedsIgnored),
    finds_slots_ignored: Bug::Control(ControlBug::SlotsIgnored),
    finds_leases_that_never_expire: Bug::Control(ControlBug::LeaseNeverExpires),
    finds_leases_by_the_wall_clock: Bug::Control(ControlBug::LeaseByWallClock),
    finds_a_winner_forgotten: Bug::Control(ControlBug::WinnerForgotten),
    finds_collection_that_does_not_wait: Bug::Control(ControlBug::CollectAtOnce),
    finds_workers_from_outside_not_recorded: Bug::Control(ControlBug::OutsideNotRecorded),
    finds_a_build_that_is_asked_again_for_what_it_does_not_give: Bug::Control(ControlBug::UnableForgotten),
    finds_another_binding_counted_as_a_fault: Bug::Control(ControlBug::OtherBindingCounts),
    finds_commits_kept_of_a_rung_that_was_bound_anew: Bug::Control(ControlBug::RebindKeepsCommits),
    finds_jobs_published_without_an_audit: Bug::Control(ControlBug::PublishedUnaudited),
    finds_makers_that_audit_themselves: Bug::Control(ControlBug::MakerAuditsItself),
    finds_wrong_media_that_stays_committed: Bug::Control(ControlBug::WrongStaysCommitted),
    finds_accusers_that_are_asked_again: Bug::Control(ControlBug::AccuserAskedAgain),
    finds_lone_accusers_believed_at_once: Bug::Control(ControlBug::LoneAccuserBelieved),
    finds_a_damaged_film_that_is_indexed_for_ever: Bug::Control(ControlBug::IndexedForEver),
    finds_files_deleted_by_attempt: Bug::DeleteByAttempt,
    finds_outcomes_dropped_on_reconnect: Bug::Agent(AgentBug::OutcomeDroppedOnReconnect),
    finds_outcomes_forgotten_on_send: Bug::Agent(AgentBug::OutcomeForgottenOnSend),
    finds_a_lease_counted_from_its_receipt: Bug::Agent(AgentBug::LeaseFromReceipt),
    finds_an_older_term_obeyed: Bug::Agent(AgentBug::OldTermAccepted),
    finds_an_upload_without_grant: Bug::Agent(AgentBug::UploadWithoutGrant),
    finds_a_lease_that_starts_twice: Bug::Agent(AgentBug::LeaseStartsTwice),
}
