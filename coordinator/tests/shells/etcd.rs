//! A coordinator over a real etcd: what happens when it fills up, and what is left in it of jobs that have ended.

use crate::cluster::{Cluster, PATIENCE, World};
use crate::etcd_server::EtcdServer;
use crate::fake_worker::Manner;
use crate::http::get;
use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Client, CompactionOptions, DeleteOptions, GetOptions,
};
use reelmill_common::job::JobState;
use reelmill_coordinator::state::etcd::{EtcdConfig, EtcdState};
use reelmill_proto::jobs::v1::CancelRequest;
use std::sync::Arc;
use std::time::Duration;
use tonic::Code;

/// Small enough to be filled in a moment.
const QUOTA: u64 = 32 << 20;
/// What others keep in the same etcd.
const FOREIGN: &str = "elsewhere/";

async fn start(world: &World, server: &EtcdServer) -> Cluster {
    let config = EtcdConfig {
        endpoints: server.urls(),
        lease_ttl_s: 2,
        poll_ms: 20,
        quota_bytes: QUOTA,
        compact_every_ms: 100,
        keep_revisions_ms: 0,
        ..EtcdConfig::default()
    };
    let state = EtcdState::connect(config).await.expect("a contender");
    let mut settings = world.config();
    settings.machine.tell_collected_ms = 2_000;
    let cluster = world.start_over(settings, Arc::new(state)).await;
    cluster.leads().await;
    cluster
}

/// Everything below `prefix`, as an etcd client sees it.
async fn keys(etcd: &mut Client, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let answer = etcd.get(prefix, Some(GetOptions::new().with_prefix())).await.expect("etcd answers");
    let text = |key: &[u8]| String::from_utf8(key.to_vec()).expect("our keys are text");
    answer.kvs().iter().map(|entry| (text(entry.key()), entry.value().to_vec())).collect()
}

pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(50));
    let wait = async {
        while !holds().await {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_etcd_takes_no_new_jobs_finishes_those_it_has_and_takes_new_ones_when_there_is_room() {
    let (world, server) = (World::new(), EtcdServer::start());
    let cluster = start(&world, &server).await;
    let mut etcd = Client::connect(server.urls(), None).await.expect("a client");
    let first = cluster.submit(world.request("first")).await.expect("there is room").0.id.to_string();

    // values of the size that ours have: large ones are copied a few times, and leave a file that is larger than needed
    let put = |n: usize| {
        let mut etcd = etcd.clone();
        async move { etcd.put(format!("{FOREIGN}{n}"), vec![7; 16 << 10], None).await }
    };
    for some in 0..24 {
        let puts = (0..62).map(|n| put(some * 62 + n));
        futures::future::try_join_all(puts).await.expect("etcd itself has room");
    }
    let mut refusal = None;
    until("submits are refused", async || {
        refusal = cluster.submit(world.request("")).await.err();
        refusal.is_some()
    })
    .await;
    let refusal = refusal.expect("refused");
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    for word in [&format!("of {QUOTA} bytes"), "new jobs are refused", "jobs that run go on", "delete jobs"] {
        assert!(refusal.message().contains(word), "{refusal}");
    }
    let ready = get(cluster.http(), "/readyz").await;
    assert!(ready.status == 200 && ready.text().contains("% full"), "{}", ready.text());
    let metrics = get(cluster.http(), "/metrics").await.text();
    let gauge = |kind: &str| -> f64 {
        let name = format!("reelmill_state_bytes{{kind=\"{kind}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
    };
    assert!(gauge("used") > 0.7 * gauge("most") && gauge("most") == QUOTA as f64);

    let (again, created) = cluster.submit(world.request("first")).await.expect("its key is answered");
    assert_eq!((again.id.as_str(), created), (first.as_str(), false));
    cluster.worker("w1", Manner::Good);
    assert_eq!(cluster.ended(&first).await.state, JobState::Published, "a job that runs commits and ends");

    etcd.delete(FOREIGN, Some(DeleteOptions::new().with_prefix())).await.expect("deleted");
    // the leader compacts what was deleted; nobody defragments
    until("submits are taken", async || cluster.submit(world.request("")).await.is_ok()).await;
    cluster.stop().await.expect("it stops");
}

/// What an operator does when etcd is full: compact, defragment, disarm.
async fn make_room(etcd: &mut Client) {
    let deleted = etcd.delete(FOREIGN, Some(DeleteOptions::new().with_prefix())).await.expect("deleted");
    let now = deleted.header().expect("a header").revision();
    // the leader of before may have compacted further already
    let _ = etcd.compact(now, Some(CompactionOptions::new().with_physical())).await;
    etcd.defragment().await.expect("defragmented");
    let alarms = etcd.alarm(AlarmAction::Get, AlarmType::Nospace, None).await.expect("alarms");
    for alarm in alarms.alarms() {
        let mut of = AlarmOptions::new();
        of.with_member(alarm.member_id());
        etcd.alarm(AlarmAction::Deactivate, AlarmType::Nospace, Some(of)).await.expect("disarmed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_without_room_ends_the_term_and_is_led_again_when_its_operator_has_made_some() {
    let quota = format!("--quota-backend-bytes={QUOTA}");
    let (world, server) = (World::new(), EtcdServer::start_with(1, &[&quota]));
    let cluster = start(&world, &server).await;
    let mut etcd = Client::connect(server.urls(), None).await.expect("a client");
    let id = cluster.submit(world.request("first")).await.expect("there is room").0.id.to_string();
    let mut puts = 0;
    while etcd.put(format!("{FOREIGN}{puts}"), vec![7; 512 << 10], None).await.is_ok() {
        puts += 1;
        assert!(puts < 200, "it is never full");
    }
    let refused = cluster.jobs().await.cancel(CancelRequest { id: id.clone() }).await.expect_err("no room");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    until("it says why nobody leads", async || {
        let ready = get(cluster.http(), "/readyz").await;
        let words = ["the state store is full", "space exceeded", "compact", "disarm"];
        ready.status == 503 && words.iter().all(|word| ready.text().contains(word))
    })
    .await;
    assert!(!cluster.running.join.is_finished());
    make_room(&mut etcd).await;
    cluster.leads().await;
    // the cancel that was refused did not happen
    cluster.worker("w1", Manner::Good);
    assert_eq!(cluster.ended(&id).await.state, JobState::Published);
    cluster.stop().await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_published_job_one_key_is_left_and_of_a_deleted_one_none() {
    let (world, server) = (World::new(), EtcdServer::start());
    let cluster = start(&world, &server).await;
    let mut etcd = Client::connect(server.urls(), None).await.expect("a client");
    cluster.worker("w1", Manner::Good);
    let mut kept = Vec::new();
    for key in ["kept", ""] {
        let id = cluster.submit(world.request(key)).await.expect("taken").0.id.to_string();
        assert_eq!(cluster.ended(&id).await.state, JobState::Published);
        kept.push(id);
    }
    let deleted = kept.pop().expect("two jobs");
    let named = |all: &[(String, Vec<u8>)], id: &str| -> Vec<String> {
        all.iter().filter(|(key, _)| key.contains(id)).map(|(key, _)| key.clone()).collect()
    };
    let mut all = Vec::new();
    until("the commits are folded", async || {
        all = keys(&mut etcd, "").await;
        !all.iter().any(|(key, _)| key.starts_with("reelmill/commits/"))
    })
    .await;
    assert_eq!(named(&all, &deleted), [format!("reelmill/jobs/{deleted}")]);
    assert_eq!(named(&all, &kept[0]), [format!("reelmill/jobs/{}", kept[0])]);

    cluster.delete(&deleted).await;
    until("nothing names the job", async || {
        all = keys(&mut etcd, "").await;
        let holds = |value: &[u8]| value.windows(deleted.len()).any(|part| part == deleted.as_bytes());
        !all.iter().any(|(key, value)| key.contains(&deleted) || holds(value))
    })
    .await;
    let left: Vec<&str> = all.iter().map(|(key, _)| key.as_str()).collect();
    let mut wanted = vec!["reelmill/idem/local/kept".to_owned(), format!("reelmill/jobs/{}", kept[0])];
    wanted.extend(["reelmill/leader", "reelmill/outside"].map(str::to_owned));
    assert_eq!(left, wanted);
    cluster.stop().await.expect("it stops");
}
