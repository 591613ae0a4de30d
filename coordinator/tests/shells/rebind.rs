//! Workers are replaced in mid-job by others whose encoder gives other decoder configurations.

use crate::cluster::{Cluster, PATIENCE, World};
use crate::fake_worker::Manner;
use reelmill_common::job::JobState;
use reelmill_proto::jobs::v1 as wire;

#[tokio::test(flavor = "multi_thread")]
async fn when_no_worker_gives_a_rungs_configuration_any_more_the_job_goes_on_with_another() {
    let world = World::new();
    let mut config = world.config();
    config.machine.rebind_after_ms = 800;
    let cluster = world.start_any(config).await;
    cluster.leads().await;
    cluster.worker("old", Manner::Leaves);
    let options = wire::JobOptions { chunk_ms: Some(4_000), ..Default::default() };
    let output = world.film().with_file_name("package").display().to_string();
    let options = wire::JobOptions { output: Some(output.clone()), ..options };
    let request = wire::JobRequest { options: Some(options), ..world.request("") };
    let (job, _) = cluster.submit(request).await.unwrap();
    let id = job.id.as_str();
    explains(&cluster, id, &["encode work items wait", "no worker is connected"]).await;
    cluster.worker("new", Manner::OtherBuild);
    explains(&cluster, id, &["nobody here gives the decoder configuration", "it will be bound anew"]).await;
    explains(&cluster, id, &["revision 2 of the plan: "]).await;
    let last = cluster.ended(id).await;
    assert_eq!(last.state, JobState::Published, "{last:?}");
    assert_eq!((last.progress.chunks_done, last.progress.retries), (last.progress.chunks_total, 0));

    let package = world.fleet.stores.open(last.package.as_deref().unwrap()).unwrap();
    let (report, _) = package.get("report.json").await.unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!((&report["plan"]["revision"], &report["plan"]["parent"]), (&2.into(), &1.into()));
    let why = report["plan"]["why"].as_str().unwrap();
    assert!(why.contains("bound anew, to what ffmpeg version of a test gives"), "{why}");
    assert_eq!(report["totals"]["faults"], 0, "it is nobody's fault");
    let rungs = report["video"].as_array().unwrap();
    let (master, _) = package.get("master.m3u8").await.unwrap();
    let master = String::from_utf8(master.to_vec()).unwrap();
    for rung in rungs {
        // an init segment and five others
        assert_eq!(rung["files"], 6, "{rung}");
        assert!(master.contains(rung["folder"].as_str().unwrap()), "{master}");
    }
    let folders = |names: &[String]| -> std::collections::BTreeSet<String> {
        names.iter().filter_map(|n| Some(n.split_once('/')?.0.to_owned())).collect()
    };
    let names = |list: Vec<reelmill_blob::Entry>| list.into_iter().map(|e| e.name).collect::<Vec<_>>();
    let all = names(package.list("").await.unwrap());
    assert!(folders(&all).len() > rungs.len() + 1, "what the first binding left lies there still: {all:?}");
    cluster.delete(id).await;
    assert_eq!(names(package.list("").await.unwrap()), Vec::<String>::new(), "and goes with the job");
    cluster.stop().await.unwrap();
}

/// Waits until the reasons of a job hold these texts.
async fn explains(cluster: &Cluster, id: &str, texts: &[&str]) {
    let mut jobs = cluster.jobs().await;
    let mut last = String::new();
    let wait = async {
        loop {
            let answer =
                jobs.explain(wire::ExplainRequest { id: id.to_owned() }).await.expect("it is explained");
            last = answer.into_inner().reasons.join("\n");
            if texts.iter().all(|text| last.contains(text)) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        panic!("{texts:?} was not told:\n{last}");
    }
}
