//! The measurement in small, without a word about speed: what is acknowledged is there, whatever is killed.

use reelmill_bench_control::{Options, run};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The real binary: named by `REELMILL_BIN`, else the one built beside the tests.
fn reelmill() -> PathBuf {
    if let Some(named) = std::env::var_os("REELMILL_BIN") {
        return named.into();
    }
    let own = std::env::current_exe().expect("this program");
    own.parent().and_then(Path::parent).expect("the target folder").join("reelmill")
}

fn options() -> Options {
    Options {
        reelmill: reelmill(),
        embedded: false,
        workers: 50,
        slots: 1,
        chunks: 500,
        open: 2_000,
        work: Duration::from_millis(100),
        warm_up: Duration::ZERO,
        measured: Duration::from_secs(3),
        // short, so that a kill does not take long
        leases_s: (3, 2),
        kills: 2,
        directory: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_in_etcd_when_etcd_and_coordinator_were_killed() {
    let figures = run(options()).await.expect("every acknowledgement is found by etcdctl");
    assert_eq!(figures.kills.len(), 2);
    assert!(figures.kills.iter().all(|k| k.acked > 0), "{:?}", figures.kills);
    assert!(figures.acked > figures.kills[1].acked, "nothing was committed after the kills");
    println!("{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_is_in_the_embedded_store_when_the_coordinator_was_killed() {
    let options = Options { embedded: true, kills: 1, ..options() };
    let figures = run(options).await.expect("every acknowledgement is found");
    assert_eq!(figures.kills.len(), 1);
    assert!(figures.acked > figures.kills[0].acked, "nothing was committed after the kills");
}
