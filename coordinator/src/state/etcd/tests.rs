//! The etcd adapter against the suite and a real etcd, and what only etcd can do to it.

use super::super::conformance::{self, Contender, Factory, TestState};
use super::server::EtcdServer;
use super::*;

mod members;
mod space;
mod users;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Short, so that an expiry does not take long; etcd itself allows no less than its election timeout.
const TTL_S: u64 = 2;

/// One server for the whole suite; each state has a prefix of its own.
struct Etcd {
    server: EtcdServer,
    states: AtomicU64,
}

struct Prefix(EtcdConfig);

fn config(server: &EtcdServer, prefix: &str) -> EtcdConfig {
    EtcdConfig {
        endpoints: server.urls(),
        prefix: prefix.to_owned(),
        lease_ttl_s: TTL_S,
        poll_ms: 20,
        ..EtcdConfig::default()
    }
}

impl Factory for Etcd {
    fn state(&self) -> BoxFuture<'_, Result<Box<dyn TestState>, StateError>> {
        let prefix = format!("cell-{}/", self.states.fetch_add(1, Ordering::Relaxed));
        std::future::ready(Ok(Box::new(Prefix(config(&self.server, &prefix))) as Box<dyn TestState>)).boxed()
    }
}

impl TestState for Prefix {
    fn contender(&self) -> BoxFuture<'_, Result<Box<dyn Contender>, StateError>> {
        async { Ok(Box::new(EtcdState::connect(self.0.clone()).await?) as Box<dyn Contender>) }.boxed()
    }

    fn depose(&self) -> BoxFuture<'_, Result<(), StateError>> {
        async {
            let key = format!("{}{LEADER}", self.0.prefix);
            raw(&self.0.endpoints[0]).await.delete(key, None).await.unwrap();
            Ok(())
        }
        .boxed()
    }

    fn restart(self: Box<Self>) -> BoxFuture<'static, Result<Option<Box<dyn TestState>>, StateError>> {
        std::future::ready(Ok(Some(self as Box<dyn TestState>))).boxed()
    }
}

async fn raw(url: &str) -> etcd_client::Client {
    etcd_client::Client::connect([url], None).await.unwrap()
}

#[tokio::test]
async fn etcd_conforms() {
    let etcd = Etcd { server: EtcdServer::start(), states: AtomicU64::new(0) };
    conformance::run(&etcd).await.unwrap();
}

#[tokio::test]
async fn a_late_duplicate_of_a_batch_cannot_bring_old_values_back() {
    let server = EtcdServer::start();
    let state = EtcdState::connect(config(&server, "late/")).await.unwrap();
    let term = state.campaign("a:1").await.unwrap();
    let old = Batch::leading(term).put("a", "old");
    // the request that lingers somewhere: exactly what is sent for the first batch
    let lingering = state.transaction(&old, 1);
    assert!(state.write(&old).await.is_done());
    assert!(state.write(&Batch::leading(term).put("a", "new")).await.is_done());
    let arrived = raw(&server.url()).await.txn(lingering).await.unwrap();
    assert!(!arrived.succeeded());
    assert_eq!(state.scan("", None, 5).await.unwrap().entries, [("a".to_owned(), b"new".to_vec())]);
    assert!(state.write(&Batch::leading(term).put("a", "newer")).await.is_done());
}

#[tokio::test]
async fn a_batch_whose_answer_was_lost_is_done_when_sent_again() {
    let server = EtcdServer::start();
    let state = EtcdState::connect(config(&server, "lost/")).await.unwrap();
    let term = state.campaign("a:1").await.unwrap();
    let batch = Batch::leading(term).put("a", "1");
    // applied, but the answer never came: what a timeout leaves behind
    let applied = raw(&server.url()).await.txn(state.transaction(&batch, 1)).await.unwrap();
    assert!(applied.succeeded());
    state.sequence.lock().await.unresolved = Some(batch.clone());
    let other = state.write(&Batch::leading(term).put("b", "2")).await;
    assert!(matches!(other, WriteResult::Refused(_)), "another batch must wait: {other:?}");
    assert!(state.write(&batch).await.is_done());
    assert!(state.write(&Batch::leading(term).put("b", "2")).await.is_done());
    assert_eq!(state.scan("", None, 5).await.unwrap().entries.len(), 2);
}

#[tokio::test]
async fn an_etcd_that_hangs_makes_a_write_unknown_and_ends_the_term_before_the_lease() {
    let server = EtcdServer::start();
    let config = EtcdConfig { request_timeout_ms: 300, lease_ttl_s: 3, ..config(&server, "hang/") };
    let state = EtcdState::connect(config).await.unwrap();
    let term = state.campaign("a:1").await.unwrap();
    let batch = Batch::leading(term).put("a", "1");
    server.freeze(true);
    let frozen_at = tokio::time::Instant::now();
    let result = state.write(&batch).await;
    assert!(matches!(result, WriteResult::Unknown(_)), "{result:?}");
    let why = state.lost(term).await;
    assert!(
        frozen_at.elapsed() < Duration::from_secs(3),
        "the term outlived its lease: {:?}",
        frozen_at.elapsed()
    );
    assert!(why.contains("no keep-alive was acknowledged"), "{why}");
    // whatever became of it: this leader is over, also for the very same batch
    assert!(matches!(state.write(&batch).await, WriteResult::GuardFailed));
    server.freeze(false);
    let next = state.campaign("a:1").await.unwrap();
    assert!(next > term);
    assert!(state.write(&Batch::leading(next).put("a", "2")).await.is_done());
}

#[tokio::test]
async fn a_crashed_leaders_lease_runs_out_and_the_standby_leads() {
    let server = EtcdServer::start();
    let first = EtcdState::connect(config(&server, "crash/")).await.unwrap();
    let second = EtcdState::connect(config(&server, "crash/")).await.unwrap();
    let term = first.campaign("a:1").await.unwrap();
    // dropping it stops the keep-alives and revokes nothing, as a crash does
    drop(first);
    let next = second.campaign("b:2").await.unwrap();
    assert!(next > term);
}

/// The driver's loop: the very same batch until its fate is known.
async fn write_until_known(state: &EtcdState, batch: &Batch) -> WriteResult {
    let mut pause = tokio::time::interval(Duration::from_millis(20));
    let again = async {
        loop {
            pause.tick().await;
            match state.write(batch).await {
                WriteResult::Unknown(_) => {}
                known => return known,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again).await.unwrap()
}

#[tokio::test]
async fn a_restarted_etcd_has_the_batches_and_dead_members_are_passed_over() {
    let mut server = EtcdServer::start();
    let dead = EtcdServer::start().url();
    let config = EtcdConfig {
        endpoints: vec![dead, server.url()],
        request_timeout_ms: 1_500,
        lease_ttl_s: 60,
        ..config(&server, "members/")
    };
    let state = EtcdState::connect(config).await.unwrap();
    let term = state.campaign("a:1").await.unwrap();
    assert!(state.write(&Batch::leading(term).put("a", "1")).await.is_done());
    server.kill(0);
    let batch = Batch::leading(term).put("b", "2");
    assert!(matches!(state.write(&batch).await, WriteResult::Unknown(_)));
    server.restart(0);
    let known = write_until_known(&state, &batch).await;
    assert!(known.is_done(), "{known:?}");
    assert_eq!(state.scan("", None, 5).await.unwrap().entries.len(), 2);
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_in_words() {
    let wrong = [
        (EtcdConfig { endpoints: Vec::new(), ..EtcdConfig::default() }, "endpoint"),
        (
            EtcdConfig { endpoints: vec!["https://host:2379".to_owned()], ..EtcdConfig::default() },
            "authority",
        ),
        (EtcdConfig { endpoints: vec!["host:2379".to_owned()], ..EtcdConfig::default() }, "http://"),
        (EtcdConfig { prefix: "reelmill".to_owned(), ..EtcdConfig::default() }, "prefix"),
        (EtcdConfig { lease_ttl_s: 1, ..EtcdConfig::default() }, "lease"),
    ];
    for (config, word) in wrong {
        let error = EtcdState::connect(config).await.err().unwrap();
        assert_eq!(error.kind(), StateErrorKind::Invalid);
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn the_end_of_a_prefix_comes_right_after_it() {
    assert_eq!(end_of_prefix("reelmill/"), b"reelmill0");
    assert_eq!(end_of_prefix("jobs/a"), b"jobs/b");
}
