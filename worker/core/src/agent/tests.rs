//! Tests of the agent machine: each rule of its head; and a property over whatever networks do.

mod networks;

use super::*;
use reelmill_common::capability::Capability;
use reelmill_common::outcome::{AttemptCost, Fault, FaultKind, Report, ReportBody};
use reelmill_common::session::{
    FromWorker, Lease, NamedFile, ReadGrant, SignedFile, SignedGrant, Termed, ToWorker, WriteGrant,
};
use reelmill_common::spec::{IndexSpec, WorkItem};
use reelmill_common::{BootId, JobId, ObjectKey, Secret, Sha256, WorkerId};

const TTL: u64 = 15_000;
const BEAT: u64 = 5_000;
const COST: AttemptCost = AttemptCost { wall_ms: 9, cpu_ms: 7, encode_ms: 8, source_bytes: 600 };

fn agent(slots: u32) -> Agent {
    let worker = WorkerId::parse("w1").unwrap();
    let capability = Capability {
        worker: worker.clone(),
        slots,
        cores: 2,
        memory_mib: 1_024,
        encoders: Vec::new(),
        ffmpeg_build: "ffmpeg".to_owned(),
        audits: true,
        audits_sound: true,
    };
    Agent::new(AgentConfig::new(worker, BootId::parse("b1").unwrap(), capability))
}

fn id(term: u64, sequence: u64) -> AttemptId {
    AttemptId { term: FencingTerm(term), sequence }
}

fn lease(attempt: AttemptId, alone: bool) -> Box<Lease> {
    let item =
        WorkItem::Index(IndexSpec { location: "/a".to_owned(), salt: attempt.to_string(), decode: false });
    Box::new(Lease {
        attempt,
        spec: item.spec_id(),
        job: JobId::parse("job").unwrap(),
        item,
        source: ReadGrant { url: "file:///a".to_owned(), signed: None, bytes: None, version: None },
        output: WriteGrant {
            package: "file:///p".to_owned(),
            work: "file:///w".to_owned(),
            own: false,
            signed: false,
        },
        audited: None,
        decoder_threads: 1,
        alone,
    })
}

fn from(term: u64, message: ToWorker) -> AgentEvent {
    AgentEvent::Received(Termed { term: FencingTerm(term), message })
}

fn welcome(term: u64) -> AgentEvent {
    from(term, ToWorker::Welcome { lease_ttl_ms: TTL, heartbeat_ms: BEAT })
}

fn give(attempt: AttemptId) -> AgentEvent {
    from(attempt.term.0, ToWorker::Lease(lease(attempt, false)))
}

fn granted(attempt: AttemptId, allowed: bool) -> AgentEvent {
    from(attempt.term.0, ToWorker::Granted { attempt, allowed, uploads: vec![] })
}

fn settled(attempt: AttemptId) -> AgentEvent {
    from(attempt.term.0, ToWorker::Settled { attempt, verdict: reelmill_common::outcome::Verdict::Won })
}

fn report() -> Box<Report> {
    let key = ObjectKey::parse("reports/x.pb").unwrap();
    Box::new(Report {
        key,
        sha256: Sha256::of(b"r"),
        bytes: 1,
        body: ReportBody::Index(AttemptCost::default()),
    })
}

fn fault() -> Fault {
    Fault { kind: FaultKind::Encoder, message: "broken".to_owned(), detail: String::new() }
}

/// Effects in a word each.
fn says(fx: &[AgentEffect]) -> Vec<String> {
    fx.iter()
        .map(|e| match e {
            AgentEffect::Send(FromWorker::Hello(h)) => {
                format!("hello {} running {} unsettled", h.running.len(), h.unsettled.len())
            }
            AgentEffect::Send(FromWorker::Lease { slots }) => format!("want {slots}"),
            AgentEffect::Send(FromWorker::Heartbeat { sequence, running }) => {
                let running: Vec<String> =
                    running.iter().map(|r| format!("{} {}/{}", r.attempt, r.done, r.total)).collect();
                format!("beat {sequence} [{}]", running.join(", "))
            }
            AgentEffect::Send(FromWorker::Grant { attempt, files }) => {
                format!("grant {attempt} {}?", files.len())
            }
            AgentEffect::Send(FromWorker::Outcome { attempt, outcome, .. }) => match &**outcome {
                Outcome::Done(_) => format!("done {attempt}"),
                Outcome::Failed { fault: f, .. } => format!("{} {attempt}", f.kind.name()),
            },
            AgentEffect::Send(FromWorker::Draining) => "draining".to_owned(),
            AgentEffect::Start(l) => format!("start {}", l.attempt),
            AgentEffect::Upload { attempt } => format!("upload {attempt}"),
            AgentEffect::Signed { attempt, uploads } => format!("signed {attempt} {}", uploads.len()),
            AgentEffect::Renewed { sources } => format!("renewed {}", sources.len()),
            AgentEffect::Abort { attempt } => format!("abort {attempt}"),
            AgentEffect::Discard { attempt } => format!("discard {attempt}"),
            AgentEffect::Reconnect => "reconnect".to_owned(),
            AgentEffect::Exit => "exit".to_owned(),
        })
        .collect()
}

/// An agent with what it says, one event at a time.
struct Bench {
    agent: Agent,
    now: Millis,
}

impl Bench {
    fn joined(slots: u32) -> Self {
        let mut bench = Self { agent: agent(slots), now: Millis(1_000) };
        bench.expect(AgentEvent::Disconnected, &["reconnect"]);
        bench.expect(AgentEvent::Connected, &["hello 0 running 0 unsettled"]);
        bench.expect(welcome(1), &[&format!("want {slots}")]);
        bench
    }

    fn expect(&mut self, event: AgentEvent, expected: &[&str]) {
        let fx = self.agent.handle(self.now, event.clone());
        assert_eq!(says(&fx), expected, "at {:?} after {event:?}", self.now);
    }

    fn later(&mut self, ms: u64) -> &mut Self {
        self.now = self.now.plus(ms);
        self
    }

    fn made(attempt: AttemptId) -> AgentEvent {
        let name = "a/000001.m4s".to_owned();
        AgentEvent::Made { attempt, files: vec![NamedFile { name, bytes: 1, sha256: Sha256::of(b"f") }] }
    }
}

#[test]
fn an_attempt_from_lease_to_settled() {
    let mut b = Bench::joined(1);
    let a = id(1, 7);
    b.expect(give(a), &["start 1-7"]);
    b.expect(AgentEvent::Progress { attempt: a, done: 3, total: 10, cost: COST }, &[]);
    b.later(BEAT).expect(AgentEvent::Tick, &["beat 1 [1-7 3/10]"]);
    b.expect(from(1, ToWorker::HeartbeatAck { sequence: 1 }), &[]);
    b.expect(Bench::made(a), &["grant 1-7 1?", "want 1"]);
    b.expect(granted(a, true), &["upload 1-7"]);
    b.expect(granted(a, true), &[]);
    b.expect(AgentEvent::Uploaded { attempt: a, report: report() }, &["discard 1-7", "done 1-7"]);
    assert_eq!(b.agent.held(), (0, 1));
    b.expect(settled(a), &[]);
    b.expect(settled(a), &[]);
    assert_eq!(b.agent.held(), (0, 0));
}

fn signed_grant() -> SignedGrant {
    SignedGrant { url: Secret::new("https://store/a?signature".to_owned()), headers: vec![], valid_ms: TTL }
}

/// The answer with requests for files of these names.
fn signed(attempt: AttemptId, names: &[&str]) -> AgentEvent {
    let file =
        |name: &&str| SignedFile { name: (*name).to_owned(), put: signed_grant(), get: signed_grant() };
    let uploads = names.iter().map(file).collect();
    from(attempt.term.0, ToWorker::Granted { attempt, allowed: true, uploads })
}

fn wanted(attempt: AttemptId, name: &str) -> AgentEvent {
    let file = NamedFile { name: name.to_owned(), bytes: 1, sha256: Sha256::of(b"r") };
    AgentEvent::Wanted { attempt, files: vec![file] }
}

#[test]
fn an_upload_asks_for_requests_until_it_has_them_or_is_stopped() {
    let mut b = Bench::joined(1);
    let a = id(1, 7);
    b.expect(give(a), &["start 1-7"]);
    b.expect(wanted(a, "too early"), &[]);
    b.expect(Bench::made(a), &["grant 1-7 1?", "want 1"]);
    b.expect(signed(a, &["a/000001.m4s"]), &["signed 1-7 1", "upload 1-7"]);
    b.expect(wanted(a, "a/000001.m4s"), &["grant 1-7 1?"]);
    b.expect(wanted(a, "report"), &["grant 1-7 1?"]);
    b.expect(signed(a, &["report"]), &["signed 1-7 1"]);
    // what was not answered is asked again, and by the next leader, too
    b.later(BEAT).expect(AgentEvent::Tick, &["beat 1 [1-7 0/0]", "grant 1-7 1?", "want 1"]);
    b.expect(AgentEvent::Disconnected, &["reconnect"]);
    b.expect(wanted(a, "a/000001.m4s"), &[]);
    b.expect(AgentEvent::Connected, &["hello 1 running 0 unsettled"]);
    b.expect(welcome(1), &["grant 1-7 1?", "want 1"]);
    b.expect(signed(a, &["a/000001.m4s"]), &["signed 1-7 1"]);
    b.later(BEAT).expect(AgentEvent::Tick, &["beat 2 [1-7 0/0]", "want 1"]);
    b.expect(wanted(a, "report"), &["grant 1-7 1?"]);
    b.expect(granted(a, false), &["abort 1-7"]);
    b.expect(signed(a, &["report"]), &[]);
}

#[test]
fn sources_are_renewed_by_the_leader_of_now_alone() {
    let mut b = Bench::joined(1);
    let sources = vec![(id(1, 7), signed_grant())];
    b.expect(from(1, ToWorker::Renewed { sources: sources.clone() }), &["renewed 1"]);
    b.expect(from(2, ToWorker::HeartbeatAck { sequence: 1 }), &["hello 0 running 0 unsettled"]);
    b.expect(from(1, ToWorker::Renewed { sources }), &[]);
}

#[test]
fn what_is_not_answered_is_said_again_with_the_heartbeat() {
    let mut b = Bench::joined(2);
    let (a, c) = (id(1, 1), id(1, 2));
    b.expect(give(a), &["start 1-1", "want 1"]);
    b.expect(give(c), &["start 1-2"]);
    b.expect(
        AgentEvent::WorkFailed { attempt: a, fault: fault(), cost: COST },
        &["discard 1-1", "encoder 1-1", "want 1"],
    );
    b.expect(Bench::made(c), &["grant 1-2 1?", "want 2"]);
    b.later(BEAT - 1).expect(AgentEvent::Tick, &[]);
    b.later(1).expect(AgentEvent::Tick, &["beat 1 [1-2 0/0]", "encoder 1-1", "grant 1-2 1?", "want 2"]);
    b.expect(AgentEvent::Tick, &[]);
}

#[test]
fn outcomes_and_work_survive_a_lost_connection_and_a_new_leader() {
    let mut b = Bench::joined(2);
    let (a, c) = (id(1, 1), id(1, 2));
    b.expect(give(a), &["start 1-1", "want 1"]);
    b.expect(give(c), &["start 1-2"]);
    b.expect(AgentEvent::Disconnected, &["reconnect"]);
    b.expect(AgentEvent::WorkFailed { attempt: a, fault: fault(), cost: COST }, &["discard 1-1"]);
    b.later(10 * TTL).expect(Bench::made(c), &[]);
    b.expect(AgentEvent::Connected, &["hello 1 running 1 unsettled"]);
    b.expect(welcome(2), &["grant 1-2 1?", "want 2"]);
    b.expect(from(2, ToWorker::Granted { attempt: c, allowed: true, uploads: vec![] }), &["upload 1-2"]);
    b.expect(
        from(2, ToWorker::Settled { attempt: a, verdict: reelmill_common::outcome::Verdict::Gone }),
        &[],
    );
    assert_eq!(b.agent.held(), (1, 0));
}

#[test]
fn an_older_term_is_not_obeyed() {
    let mut b = Bench::joined(1);
    let a = id(1, 1);
    b.expect(give(a), &["start 1-1"]);
    b.expect(AgentEvent::Disconnected, &["reconnect"]);
    b.expect(AgentEvent::Connected, &["hello 1 running 0 unsettled"]);
    b.expect(welcome(3), &[]);
    b.expect(from(1, ToWorker::Revoke { attempt: a }), &[]);
    b.expect(from(2, ToWorker::Settled { attempt: a, verdict: reelmill_common::outcome::Verdict::Won }), &[]);
    assert_eq!(b.agent.held(), (1, 0));
    b.expect(welcome(2), &["reconnect"]);
    assert_eq!(b.agent.highest_term(), FencingTerm(3));
}

#[test]
fn a_new_term_on_an_old_connection_is_greeted() {
    let mut b = Bench::joined(1);
    b.expect(give(id(1, 1)), &["start 1-1"]);
    b.expect(from(2, ToWorker::HeartbeatAck { sequence: 9 }), &["hello 1 running 0 unsettled"]);
    b.expect(welcome(2), &[]);
}

#[test]
fn a_lease_counts_from_the_sending_of_the_heartbeat_that_named_it() {
    let mut b = Bench::joined(1);
    let a = id(1, 1);
    b.expect(give(a), &["start 1-1"]);
    b.later(BEAT).expect(AgentEvent::Tick, &["beat 1 [1-1 0/0]"]);
    let sent = b.now;
    b.later(BEAT - 1).expect(from(1, ToWorker::HeartbeatAck { sequence: 1 }), &[]);
    assert_eq!(b.agent.lease_end(a), Some(sent.plus(TTL)));
    b.expect(Bench::made(a), &["grant 1-1 1?", "want 1"]);
    b.now = sent.plus(TTL);
    b.expect(granted(a, true), &["want 1"]);
    // the line is dead for a lease: dial again, keep the work, ask the next leader
    b.expect(AgentEvent::Tick, &["reconnect"]);
    b.expect(AgentEvent::Connected, &["hello 1 running 0 unsettled"]);
    b.expect(welcome(1), &["grant 1-1 1?", "want 1"]);
    b.expect(granted(a, true), &["upload 1-1"]);
}

#[test]
fn a_hello_is_repeated_and_then_the_line_is_given_up() {
    let mut b = Bench { agent: agent(1), now: Millis(0) };
    b.expect(AgentEvent::Connected, &["hello 0 running 0 unsettled"]);
    assert_eq!(b.agent.next_tick(), Some(Millis(BEAT)));
    b.later(BEAT).expect(AgentEvent::Tick, &["hello 0 running 0 unsettled"]);
    b.later(BEAT).expect(AgentEvent::Tick, &["hello 0 running 0 unsettled"]);
    b.later(BEAT).expect(AgentEvent::Tick, &["reconnect"]);
    assert_eq!(b.agent.next_tick(), None);
}

#[test]
fn a_refusal_or_a_revocation_ends_the_attempt_for_good() {
    let mut b = Bench::joined(1);
    let (a, c) = (id(1, 1), id(1, 2));
    b.expect(give(a), &["start 1-1"]);
    b.expect(Bench::made(a), &["grant 1-1 1?", "want 1"]);
    b.expect(granted(a, false), &["abort 1-1"]);
    b.expect(give(a), &[]);
    b.expect(give(c), &["start 1-2"]);
    b.expect(from(1, ToWorker::Revoke { attempt: c }), &["abort 1-2", "want 1"]);
    for late in [Bench::made(c), AgentEvent::Uploaded { attempt: c, report: report() }] {
        b.expect(late, &[]);
    }
    b.expect(AgentEvent::WorkFailed { attempt: c, fault: fault(), cost: COST }, &[]);
}

#[test]
fn a_refusal_does_not_forget_an_outcome() {
    let mut b = Bench::joined(1);
    let a = id(1, 1);
    b.expect(give(a), &["start 1-1"]);
    b.expect(
        AgentEvent::WorkFailed { attempt: a, fault: fault(), cost: COST },
        &["discard 1-1", "encoder 1-1", "want 1"],
    );
    b.expect(granted(a, false), &[]);
    assert_eq!(b.agent.held(), (0, 1));
}

#[test]
fn leases_beyond_the_slots_wait_and_then_go_back() {
    let mut b = Bench::joined(1);
    b.expect(give(id(1, 1)), &["start 1-1"]);
    b.expect(give(id(1, 2)), &[]);
    b.expect(give(id(1, 3)), &[]);
    b.expect(give(id(1, 4)), &["abandoned 1-4"]);
    b.expect(Bench::made(id(1, 1)), &["grant 1-1 1?", "start 1-2"]);
    b.expect(from(1, ToWorker::Revoke { attempt: id(1, 3) }), &[]);
    b.expect(Bench::made(id(1, 2)), &["grant 1-2 1?", "want 1"]);
}

#[test]
fn alone_means_alone() {
    let mut b = Bench::joined(2);
    b.expect(give(id(1, 1)), &["start 1-1", "want 1"]);
    b.expect(from(1, ToWorker::Lease(lease(id(1, 2), true))), &[]);
    b.expect(give(id(1, 3)), &[]);
    b.expect(
        AgentEvent::WorkFailed { attempt: id(1, 1), fault: fault(), cost: COST },
        &["discard 1-1", "encoder 1-1", "start 1-2"],
    );
    b.expect(
        AgentEvent::WorkFailed { attempt: id(1, 2), fault: fault(), cost: COST },
        &["discard 1-2", "encoder 1-2", "start 1-3", "want 1"],
    );
}

#[test]
fn unsettled_outcomes_are_bounded_by_taking_no_more() {
    let mut b = Bench::joined(1);
    b.agent.config.max_unsettled = 2;
    b.expect(give(id(1, 1)), &["start 1-1"]);
    b.expect(
        AgentEvent::WorkFailed { attempt: id(1, 1), fault: fault(), cost: COST },
        &["discard 1-1", "encoder 1-1", "want 1"],
    );
    b.expect(give(id(1, 2)), &["start 1-2"]);
    b.expect(
        AgentEvent::WorkFailed { attempt: id(1, 2), fault: fault(), cost: COST },
        &["discard 1-2", "encoder 1-2"],
    );
    b.expect(settled(id(1, 1)), &["want 1"]);
}

#[test]
fn leaving_finishes_what_runs() {
    let mut b = Bench::joined(1);
    b.expect(give(id(1, 1)), &["start 1-1"]);
    b.expect(give(id(1, 2)), &[]);
    b.expect(AgentEvent::DrainRequested, &["draining", "abandoned 1-2"]);
    b.expect(from(1, ToWorker::Drain { reconnect: false }), &[]);
    b.expect(give(id(1, 3)), &["abandoned 1-3"]);
    b.expect(settled(id(1, 2)), &[]);
    b.expect(settled(id(1, 3)), &[]);
    b.later(BEAT).expect(AgentEvent::Tick, &["beat 1 [1-1 0/0]", "draining"]);
    b.expect(from(1, ToWorker::HeartbeatAck { sequence: 1 }), &[]);
    b.expect(Bench::made(id(1, 1)), &["grant 1-1 1?"]);
    b.expect(granted(id(1, 1), true), &["upload 1-1"]);
    b.expect(AgentEvent::Uploaded { attempt: id(1, 1), report: report() }, &["discard 1-1", "done 1-1"]);
    b.expect(settled(id(1, 1)), &["exit"]);
    b.expect(AgentEvent::Connected, &[]);
}

#[test]
fn asked_twice_it_hands_everything_back() {
    let mut b = Bench::joined(1);
    b.expect(give(id(1, 1)), &["start 1-1"]);
    b.expect(AgentEvent::DrainRequested, &["draining"]);
    b.expect(AgentEvent::DrainRequested, &["abort 1-1", "abandoned 1-1"]);
    b.expect(settled(id(1, 1)), &["exit"]);

    let mut b = Bench::joined(1);
    b.expect(give(id(1, 1)), &["start 1-1"]);
    b.expect(AgentEvent::Disconnected, &["reconnect"]);
    b.expect(AgentEvent::DrainRequested, &[]);
    // nobody is there to settle anything
    b.expect(AgentEvent::DrainRequested, &["abort 1-1", "exit"]);

    let mut b = Bench::joined(1);
    b.expect(give(id(1, 1)), &["start 1-1"]);
    b.expect(AgentEvent::DrainRequested, &["draining"]);
    b.expect(AgentEvent::DrainRequested, &["abort 1-1", "abandoned 1-1"]);
    b.expect(AgentEvent::DrainRequested, &["exit"]);
}

#[test]
fn a_coordinator_that_goes_away_is_left_with_the_work_kept() {
    let mut b = Bench::joined(1);
    b.expect(give(id(1, 1)), &["start 1-1"]);
    b.expect(from(1, ToWorker::Drain { reconnect: true }), &["reconnect"]);
    b.expect(AgentEvent::Connected, &["hello 1 running 0 unsettled"]);
}

#[test]
fn an_idle_worker_leaves_at_once() {
    let mut b = Bench::joined(1);
    b.expect(AgentEvent::DrainRequested, &["draining", "exit"]);
}
