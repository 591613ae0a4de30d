//! Who may work: one name, one credential, durable before it is said.

use super::rig::*;
use crate::*;
use reelmill_common::record::StateKey;
use reelmill_common::{Sha256, WorkerId};

const MONTH: u64 = 30 * 86_400_000;

fn worker(name: &str) -> WorkerId {
    WorkerId::parse(name).expect("worker")
}

fn stored(rig: &Rig, name: &str) -> Option<Sha256> {
    match rig.store.get(&StateKey::Worker(worker(name))) {
        Some(Record::Worker(record)) => Some(record.secret),
        _ => None,
    }
}

/// The answer, once it was given.
fn ask(rig: &mut Rig, call: WorkerCall) -> Option<Result<(), Refusal>> {
    rig.done.clear();
    rig.feed(Event::WorkerCall { token: Token(77), call });
    replied(rig)
}

fn replied(rig: &Rig) -> Option<Result<(), Refusal>> {
    rig.done.iter().find_map(|effect| match effect {
        Effect::ReplyWorker { token: Token(77), result } => Some(result.clone()),
        _ => None,
    })
}

fn enrol(
    rig: &mut Rig,
    name: &str,
    secret: u8,
    renews: Option<u8>,
    unix_ms: u64,
) -> Option<Result<(), Refusal>> {
    let hash = |n| Sha256([n; 32]);
    let enrolment = Enrolment {
        worker: worker(name),
        secret: hash(secret),
        renews: renews.map(hash),
        unix_ms,
        expires_unix_ms: unix_ms + MONTH,
    };
    ask(rig, WorkerCall::Enrol(Box::new(enrolment)))
}

#[test]
fn a_name_has_one_credential_and_only_that_renews_it() {
    let mut rig = Rig::new();
    let taken = || Some(Err(Refusal::WorkerExists(worker("w"))));
    let unknown = || Some(Err(Refusal::NoSuchWorker(worker("w"))));
    assert_eq!(enrol(&mut rig, "w", 1, None, 0), Some(Ok(())));
    assert_eq!(enrol(&mut rig, "w", 1, None, 5), Some(Ok(())), "the answer was lost");
    assert_eq!(enrol(&mut rig, "w", 2, None, 5), taken());
    assert_eq!(enrol(&mut rig, "w", 2, Some(9), 5), unknown(), "with the credential of another");
    assert_eq!(enrol(&mut rig, "w", 2, Some(1), 5), Some(Ok(())));
    assert_eq!(enrol(&mut rig, "w", 3, Some(1), 5), unknown(), "the old one is no more");
    assert_eq!(stored(&rig, "w"), Some(Sha256([2; 32])));
    rig.term(2);
    assert_eq!(enrol(&mut rig, "w", 4, None, 6), taken(), "another leader knows, too");
    assert_eq!(enrol(&mut rig, "w", 4, None, 6 + MONTH), Some(Ok(())), "one that has run out holds no name");
}

#[test]
fn nothing_is_said_before_it_is_durable() {
    let mut rig = Rig::new();
    rig.answers = false;
    assert_eq!(enrol(&mut rig, "w", 1, None, 0), None);
    rig.answer();
    assert_eq!(replied(&rig), Some(Ok(())));
    rig.answers = true;
    assert_eq!(ask(&mut rig, WorkerCall::Revoke { worker: worker("w") }), Some(Ok(())));
    assert_eq!(stored(&rig, "w"), None);
    let unknown = Some(Err(Refusal::NoSuchWorker(worker("w"))));
    assert_eq!(ask(&mut rig, WorkerCall::Revoke { worker: worker("w") }), unknown);
    assert_eq!(enrol(&mut rig, "w", 2, None, 0), Some(Ok(())), "it may join again");
}

#[test]
fn what_has_run_out_is_forgotten_and_a_follower_knows_nothing() {
    let mut rig = Rig::new();
    assert_eq!(enrol(&mut rig, "w", 1, None, 5_000), Some(Ok(())));
    rig.tick(MONTH - 60_000);
    assert!(stored(&rig, "w").is_some());
    rig.tick(120_000);
    assert_eq!(stored(&rig, "w"), None);
    rig.feed(Event::TermLost);
    assert_eq!(enrol(&mut rig, "w", 1, None, 5_000), Some(Err(Refusal::NotLeader)));
}
