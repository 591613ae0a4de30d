//! A worker that commits what is wrong is caught; what it made goes, and others make it again.

use crate::cluster::World;
use crate::fake_worker::{Manner, ROTTEN};
use reelmill_common::job::JobState;
use reelmill_proto::jobs::v1 as wire;

/// In a store where names are created once, what is wrong lies where the right thing has to go.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_made_that_is_caught_is_replaced_before_anything_is_published() {
    let world = World::new();
    let mut config = world.config();
    // the other of two workers has nobody to confirm what it sees
    config.machine.second_voice_ms = 800;
    let cluster = world.start_any(config).await;
    cluster.leads().await;
    cluster.worker("bad", Manner::Rotten);
    cluster.worker("good", Manner::Good);
    cluster.workers(2).await;
    let options = wire::JobOptions { chunk_ms: Some(4_000), ..Default::default() };
    let (job, _) =
        cluster.submit(wire::JobRequest { options: Some(options), ..world.request("") }).await.unwrap();
    let last = cluster.ended(job.id.as_str()).await;
    assert_eq!(last.state, JobState::Published, "{last:?}");

    let package = world.fleet.stores.open("memory://reelmill/publish/local").unwrap();
    let package = package.below(job.id.as_str()).unwrap();
    let (report, _) = package.get("report.json").await.unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    let caught = report["audit"]["caught"].as_array().unwrap();
    assert_eq!((caught.len(), &caught[0]["worker"]), (1, &"bad".into()), "{caught:?}");
    assert!(caught[0]["what"].as_str().is_some_and(|w| w.contains("segment") && w.contains("it is rotten")));
    assert!(report["audit"]["segments"].as_u64().is_some_and(|n| n > 0), "{}", report["audit"]);
    for chunk in report["chunks"].as_array().unwrap() {
        assert_eq!(chunk["worker"], "good", "{chunk}");
    }
    for entry in package.list("").await.unwrap() {
        let (content, _) = package.get(&entry.name).await.unwrap();
        let rotten = content.windows(ROTTEN.len()).any(|w| w == ROTTEN.as_bytes());
        assert!(!rotten || entry.name == "report.json", "{} is still there", entry.name);
    }
    cluster.stop().await.unwrap();
}
