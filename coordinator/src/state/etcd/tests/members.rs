//! Three members on loopback, killed; and a leader that stands still while another takes its place.

use super::*;

fn three(server: &EtcdServer, lease_ttl_s: u64) -> EtcdConfig {
    EtcdConfig { lease_ttl_s, request_timeout_ms: 500, ..config(server, "three/") }
}

#[tokio::test]
async fn a_leader_outlives_the_member_it_talks_to_and_ends_before_its_lease_without_a_majority() {
    let mut server = EtcdServer::start_with(3, &[]);
    let state = EtcdState::connect(three(&server, 3)).await.unwrap();
    let term = state.campaign("a:1").await.unwrap();
    assert!(state.write(&Batch::leading(term).put("a", "1")).await.is_done());

    // one of three: the write in flight is unknown, then goes on elsewhere, and the term outlives the lease's time
    server.kill(0);
    let killed_at = tokio::time::Instant::now();
    for n in 0.. {
        let known = write_until_known(&state, &Batch::leading(term).put("n", format!("{n}"))).await;
        assert!(known.is_done(), "{known:?}");
        if killed_at.elapsed() > Duration::from_millis(3_200) {
            break;
        }
        tokio::time::timeout(Duration::from_millis(200), state.lost(term)).await.expect_err("it leads on");
    }

    // two of three: nothing is certain any more, and this leader is over before its lease can be
    server.kill(1);
    let killed_at = tokio::time::Instant::now();
    let batch = Batch::leading(term).put("b", "2");
    let unknown = state.write(&batch).await;
    assert!(matches!(unknown, WriteResult::Unknown(_)), "{unknown:?}");
    let unavailable = state.scan("", None, 5).await.unwrap_err();
    assert_eq!(unavailable.kind(), StateErrorKind::Unavailable, "{unavailable}");
    let why = tokio::time::timeout(Duration::from_secs(10), state.lost(term)).await.unwrap();
    assert!(killed_at.elapsed() < Duration::from_secs(3), "over after {:?}: {why}", killed_at.elapsed());
    assert!(matches!(state.write(&batch).await, WriteResult::GuardFailed), "the same batch, too");

    server.restart_together(&[0, 1]);
    let next = state.campaign("a:1").await.unwrap();
    assert!(next > term);
    assert!(write_until_known(&state, &Batch::leading(next).put("c", "3")).await.is_done());
    let found = state.scan("", None, 9).await.unwrap().entries;
    assert!(found.len() >= 3 && found[0] == ("a".to_owned(), b"1".to_vec()), "{found:?}");
}

/// As a stopped process: its runtime is polled no more, so neither are its keep-alives, and it does not know.
#[test]
fn a_leader_that_stood_still_is_fenced_at_its_next_write() {
    let server = EtcdServer::start();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (paused, running) = (runtime(), runtime());
    let first = paused.block_on(EtcdState::connect(config(&server, "paused/"))).unwrap();
    let term = paused.block_on(first.campaign("a:1")).unwrap();
    assert!(paused.block_on(first.write(&Batch::leading(term).put("a", "1"))).is_done());

    let second = running.block_on(EtcdState::connect(config(&server, "paused/"))).unwrap();
    let next = running.block_on(second.campaign("b:2")).unwrap();
    assert!(next > term);
    assert!(running.block_on(second.write(&Batch::leading(next).put("a", "2"))).is_done());

    assert!(first.shared.leads(term), "it has not noticed, so that the guard in etcd is what is tried");
    let fenced = paused.block_on(first.write(&Batch::leading(term).put("a", "stale")));
    assert!(matches!(fenced, WriteResult::GuardFailed), "{fenced:?}");
    assert!(!first.shared.leads(term), "now it knows");
    let found = running.block_on(second.scan("", None, 5)).unwrap().entries;
    assert_eq!(found, [("a".to_owned(), b"2".to_vec())]);
}
