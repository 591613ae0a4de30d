//! Jobs through the gRPC service.

use crate::cluster::World;
use crate::fake_worker::Manner;
use reelmill_common::job::JobState;
use reelmill_common::outcome::FaultKind;
use reelmill_proto::jobs::v1 as wire;
use reelmill_proto::stored::decode_commits;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_film_goes_all_the_way_and_every_item_is_done_once() {
    let world = World::new();
    let cluster = world.start().await;
    cluster.worker("w1", Manner::Good);
    cluster.worker("w2", Manner::Good);
    let (job, created) = cluster.submit(world.request("")).await.unwrap();
    assert!(created);
    let (views, _) = cluster.watch(job.id.as_str(), 0).await;
    assert!(views.windows(2).all(|w| w[0].version < w[1].version), "versions only grow");
    let last = views.last().unwrap();
    assert_eq!(last.state, JobState::Published, "{last:?}");
    assert_eq!(last.progress.chunks_done, last.progress.chunks_total);
    assert_eq!(last.progress.media_ms, 20_000);

    let package = world.fleet.stores.open(last.package.as_deref().unwrap()).unwrap();
    let names: Vec<String> = package.list("").await.unwrap().into_iter().map(|e| e.name).collect();
    for root in ["master.m3u8", "manifest.mpd", "report.json"] {
        assert!(names.iter().any(|n| n == root), "{root} in {names:?}");
    }
    let (report, _) = package.get("report.json").await.unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["source"], "film.mp4");
    assert_eq!(report["plan"]["segments"], 5);
    assert_eq!(report["totals"]["faults"], 0);
    let kbps = report["video"][0]["peak_segment_kbps"].as_u64().unwrap();
    assert_eq!(kbps, 40_000 * 8 / 4_000, "40,000 bytes in each segment of 4 s");

    let work = world.fleet.stores.open(&format!("memory://reelmill/work/local/{}", job.id)).unwrap();
    let (commits, _) = work.get("commits.pb").await.unwrap();
    let commits = decode_commits(&commits).unwrap();
    assert_eq!(commits.len(), last.progress.chunks_total as usize);
    let worked = world.fleet.worked.lock().unwrap().clone();
    assert!(commits.iter().all(|c| worked.contains_key(&c.spec)));
    let audits = report["audit"]["segments"].as_u64().unwrap() as usize;
    assert!(audits > 0);
    assert_eq!(
        worked.len(),
        commits.len() + 2 + audits,
        "the chunks, the index, the analysis and the audits"
    );
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_request() {
    let world = World::new();
    let cluster = world.start().await;
    let (first, created) = cluster.submit(world.request("key-1")).await.unwrap();
    let (again, created_again) = cluster.submit(world.request("key-1")).await.unwrap();
    assert_eq!((created, created_again), (true, false));
    assert_eq!(first.id, again.id);
    let other = wire::JobRequest { priority: 5, ..world.request("key-1") };
    let error = cluster.submit(other).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    assert!(error.message().contains(first.id.as_str()), "{error}");
    let (keyless, _) = cluster.submit(world.request("")).await.unwrap();
    assert_ne!(keyless.id, first.id);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_oldest_first() {
    let world = World::new();
    let cluster = world.start().await;
    let mut submitted = Vec::new();
    for _ in 0..5 {
        submitted.push(cluster.submit(world.request("")).await.unwrap().0.id.to_string());
    }
    let (mut seen, mut page_token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = wire::ListRequest { page_size: 2, page_token };
        let page = cluster.jobs().await.list(request).await.unwrap().into_inner();
        seen.extend(page.jobs.into_iter().map(|j| j.id));
        pages += 1;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((seen, pages), (submitted, 3));
    let request = wire::ListRequest { page_size: 2, page_token: "Not A Token".to_owned() };
    assert_eq!(cluster.jobs().await.list(request).await.unwrap_err().code(), Code::InvalidArgument);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_cancelled_retried_published_and_deleted() {
    let world = World::new();
    let cluster = world.start().await;
    let id = cluster.submit(world.request("")).await.unwrap().0.id.to_string();
    let mut jobs = cluster.jobs().await;
    jobs.cancel(wire::CancelRequest { id: id.clone() }).await.unwrap();
    assert_eq!(cluster.ended(&id).await.state, JobState::Cancelled);
    let early = jobs.get(wire::GetRequest { id: id.clone() }).await.unwrap().into_inner().job.unwrap();
    assert_eq!(early.run, 1);

    jobs.retry(wire::RetryRequest { id: id.clone() }).await.unwrap();
    cluster.worker("w1", Manner::Good);
    let published = cluster.ended(&id).await;
    assert_eq!((published.state.clone(), published.run.0), (JobState::Published, 2), "{published:?}");
    let refused = jobs.cancel(wire::CancelRequest { id: id.clone() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");

    cluster.delete(&id).await;
    for root in ["work", "publish"] {
        let place = world.fleet.stores.open(&format!("memory://reelmill/{root}/local/{id}")).unwrap();
        assert_eq!(place.list("").await.unwrap(), [], "{root}");
    }
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said() {
    let world = World::new();
    let cluster = world.start().await;
    let mut jobs = cluster.jobs().await;
    let bad = wire::JobOptions { preset: "warp".to_owned(), ..Default::default() };
    let error =
        cluster.submit(wire::JobRequest { options: Some(bad), ..world.request("") }).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("options.preset"), "{error}");

    let missing = wire::JobRequest { source: "/nowhere/film.mp4".to_owned(), ..Default::default() };
    assert_eq!(cluster.submit(missing).await.unwrap_err().code(), Code::NotFound);
    let plain = wire::JobRequest { source: "http://host/film.mp4".to_owned(), ..Default::default() };
    assert_eq!(cluster.submit(plain).await.unwrap_err().code(), Code::InvalidArgument);

    let unknown = wire::GetRequest { id: "nobody".to_owned() };
    assert_eq!(jobs.get(unknown).await.unwrap_err().code(), Code::NotFound);
    let watched = wire::WatchRequest { id: "nobody".to_owned(), after_version: 0 };
    assert_eq!(jobs.watch(watched).await.unwrap_err().code(), Code::NotFound);
    let misspelt = wire::GetRequest { id: "../x".to_owned() };
    assert_eq!(jobs.get(misspelt).await.unwrap_err().code(), Code::InvalidArgument);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_what_is_missing_and_what_was_decided() {
    let world = World::new();
    let cluster = world.start().await;
    let id = cluster.submit(world.request("")).await.unwrap().0.id.to_string();
    let mut jobs = cluster.jobs().await;
    let waiting = jobs.explain(wire::ExplainRequest { id: id.clone() }).await.unwrap().into_inner();
    assert!(waiting.reasons.iter().any(|r| r.contains("no worker is connected")), "{:?}", waiting.reasons);
    assert!(waiting.decisions.is_empty());
    cluster.worker("w1", Manner::Good);
    cluster.ended(&id).await;
    let done = jobs.explain(wire::ExplainRequest { id }).await.unwrap().into_inner();
    assert!(!done.decisions.is_empty());
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_no_film_fails_the_job_with_its_reason() {
    let world = World::new();
    let cluster = world.start().await;
    cluster.worker("w1", Manner::Refuses);
    let id = cluster.submit(world.request("")).await.unwrap().0.id.to_string();
    let ended = cluster.ended(&id).await;
    assert_eq!(ended.state.exit_code(), Some(3));
    let JobState::Failed(reason) = ended.state else { panic!("failed") };
    assert_eq!(reason.kind, FaultKind::Source);
    assert!(reason.message.contains("the source is not a film"), "{}", reason.message);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumes_where_it_was() {
    let world = World::new();
    let cluster = world.start().await;
    cluster.worker("w1", Manner::Good);
    let id = cluster.submit(world.request("")).await.unwrap().0.id.to_string();
    let ended = cluster.ended(&id).await;
    let (all, _) = cluster.watch(&id, 0).await;
    assert_eq!(all.len(), 1, "one snapshot of a job that has ended");
    let (none, _) = cluster.watch(&id, ended.version).await;
    assert_eq!(none, [], "nothing has changed since");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_deleted_job_is_answered_with_its_fate() {
    let world = World::new();
    let mut config = world.config();
    config.machine.tell_collected_ms = 0;
    let cluster = world.start_any(config).await;
    cluster.leads().await;
    cluster.worker("w1", Manner::Good);
    let id = cluster.submit(world.request("key-1")).await.unwrap().0.id.to_string();
    cluster.ended(&id).await;
    let mut jobs = cluster.jobs().await;
    jobs.delete(wire::DeleteRequest { id: id.clone() }).await.unwrap();
    let refused = async || {
        let refused = cluster.submit(world.request("key-1")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains(&format!("job {id}, which was deleted")), "{refused}");
    };
    refused().await;
    let gone = async {
        while jobs.get(wire::GetRequest { id: id.clone() }).await.is_ok() {
            refused().await;
        }
    };
    tokio::time::timeout(crate::cluster::PATIENCE, gone).await.expect("forgotten in time");
    refused().await;
    assert!(cluster.submit(world.request("key-2")).await.unwrap().1, "a new key makes a new job");
    cluster.stop().await.unwrap();
}
