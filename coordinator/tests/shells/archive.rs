//! Jobs whose records were archived: shown, played and deleted all the same.

use crate::cluster::{Cluster, PATIENCE, World};
use crate::fake_worker::Manner;
use crate::http::{ask, get};
use reelmill_blob::PutOptions;
use reelmill_common::job::JobState;
use reelmill_proto::jobs::v1 as wire;
use reelmill_proto::stored::decode_archive;
use tonic::Code;

/// A published job, and the coordinator after the one that archived it.
async fn archived(world: &World) -> (Cluster, String) {
    let cluster = world.start().await;
    cluster.worker("w1", Manner::Good);
    let id = cluster.submit(world.request("")).await.expect("submitted").0.id.to_string();
    assert_eq!(cluster.ended(&id).await.state, JobState::Published);
    cluster.stop().await.expect("stopped");
    let mut config = world.config();
    config.machine.retain_ms = 0;
    config.machine.lease_ttl_ms = 1_000;
    let cluster = world.start_any(config.clone()).await;
    cluster.leads().await;
    let gone = async {
        let list = wire::ListRequest { page_size: 10, page_token: String::new() };
        while !cluster.jobs().await.list(list.clone()).await.expect("a list").into_inner().jobs.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it is archived in time");
    cluster.stop().await.expect("stopped");
    let cluster = world.start_any(config).await;
    cluster.leads().await;
    (cluster, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_job_is_shown_and_plays_on() {
    let world = World::new();
    let (cluster, id) = archived(&world).await;
    let mut jobs = cluster.jobs().await;
    let shown = jobs.get(wire::GetRequest { id: id.clone() }).await.unwrap().into_inner().job.unwrap();
    assert_eq!(shown.state(), wire::JobState::Published);
    assert!(shown.progress.unwrap().elapsed_ms > 0, "what it took is part of its record");
    let says = &shown.notes[0];
    assert!(says.starts_with("archived on 20") && says.contains(shown.package()), "{says}");
    let (views, _) = cluster.watch(&id, 0).await;
    assert_eq!(views.len(), 1, "one snapshot");
    let explained = jobs.explain(wire::ExplainRequest { id: id.clone() }).await.unwrap().into_inner();
    assert!(explained.reasons[0].starts_with("archived on ") && !explained.decisions.is_empty());
    let refused = jobs.cancel(wire::CancelRequest { id: id.clone() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("archived"), "{refused}");

    let base = format!("/packages/local/{id}");
    let master = get(cluster.http(), &format!("{base}/master.m3u8")).await;
    assert_eq!(master.status, 200, "{}", master.text());
    let text = master.text();
    let playlist = text.lines().find(|l| !l.starts_with('#') && l.ends_with(".m3u8")).expect("a variant");
    let folder = playlist.split('/').next().unwrap();
    assert_eq!(get(cluster.http(), &format!("{base}/{playlist}")).await.status, 200);
    let part =
        ask(cluster.http(), "GET", &format!("{base}/{folder}/000002.m4s"), "Range: bytes=0-9\r\n").await;
    assert_eq!((part.status, part.body.len()), (206, 10));
    for path in [format!("/play/{id}"), format!("/api/jobs/{id}")] {
        let page = get(cluster.http(), &path).await;
        assert!(page.status == 200 && page.text().contains("published"), "{path}: {}", page.text());
    }
    for path in [
        format!("{base}/report.json"),
        format!("{base}/{folder}/000099.m4s"),
        format!("/packages/other/{id}/master.m3u8"),
        "/packages/local/nobody/master.m3u8".to_owned(),
        "/play/nobody".to_owned(),
    ] {
        assert_eq!(get(cluster.http(), &path).await.status, 404, "{path}");
    }
    cluster.stop().await.unwrap();
}

/// What lies in the place of a record and is another's, or none at all, opens nothing.
#[tokio::test(flavor = "multi_thread")]
async fn only_a_jobs_own_archived_record_counts() {
    let world = World::new();
    let (cluster, id) = archived(&world).await;
    let work = world.fleet.stores.open("memory://reelmill/work/local").unwrap();
    let (record, _) = work.get(&format!("{id}/record.pb")).await.unwrap();
    assert_eq!(decode_archive(&record).unwrap().job.id.as_str(), id);
    let put = async |job: &str, bytes: bytes::Bytes| {
        work.put_replace(&format!("{job}/record.pb"), bytes, PutOptions::default()).await.unwrap();
    };
    put("another", record).await;
    put("damaged", bytes::Bytes::from_static(b"\xff\xff\xff")).await;
    put("endless", bytes::Bytes::from(vec![0; (4 << 20) + 1])).await;
    for (job, status) in [("another", 404), ("damaged", 500), ("endless", 500)] {
        let answer = get(cluster.http(), &format!("/packages/local/{job}/master.m3u8")).await;
        assert_eq!(answer.status, status, "{job}: {}", answer.text());
    }
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archived_job_is_deleted_with_everything_it_made() {
    let world = World::new();
    let (cluster, id) = archived(&world).await;
    let master = format!("/packages/local/{id}/master.m3u8");
    assert_eq!(get(cluster.http(), &master).await.status, 200, "and is kept in memory");
    cluster.delete(&id).await;
    assert_eq!(get(cluster.http(), &master).await.status, 404);
    for root in ["work", "publish"] {
        let place = world.fleet.stores.open(&format!("memory://reelmill/{root}/local/{id}")).unwrap();
        assert_eq!(place.list("").await.unwrap(), [], "{root}");
    }
    cluster.stop().await.unwrap();
    let cluster = world.start().await;
    let shown = cluster.jobs().await.get(wire::GetRequest { id }).await.unwrap().into_inner().job.unwrap();
    assert_eq!(shown.state(), wire::JobState::Collected, "told for a while");
    cluster.stop().await.unwrap();
}
