//! Leaders change, writes end unknown, and nothing is lost.

use crate::cluster::World;
use crate::fake_worker::Manner;
use reelmill_common::job::JobState;
use reelmill_coordinator::state::memory::Injection;
use reelmill_proto::jobs::v1 as wire;
use reelmill_proto::status::read_not_leader;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_names_the_leader_and_takes_over_what_it_left() {
    let world = World::new();
    let leader = world.start().await;
    let standby = world.start_any(world.config()).await;
    let told = async {
        loop {
            let error = standby.submit(world.request("")).await.unwrap_err();
            assert_eq!(error.code(), Code::Unavailable);
            if let Some(Some(address)) = read_not_leader(&error) {
                return address;
            }
        }
    };
    let address = tokio::time::timeout(crate::cluster::PATIENCE, told).await.expect("it learns who leads");
    assert_eq!(address, format!("http://{}", leader.grpc()));
    let worker =
        crate::fake_worker::Session::open(standby.grpc(), crate::fake_worker::hello("w0", "b")).await;
    let refused = worker.err().expect("a standby has no work");
    assert_eq!(read_not_leader(&refused), Some(Some(address)));

    let id = leader.submit(world.request("key-1")).await.unwrap().0.id.to_string();
    leader.stop().await.unwrap();
    standby.leads().await;
    let (again, created) = standby.submit(world.request("key-1")).await.unwrap();
    assert_eq!((again.id.as_str(), created), (id.as_str(), false), "the key outlives its leader");
    standby.worker("w1", Manner::Good);
    assert_eq!(standby.ended(&id).await.state, JobState::Published);
    standby.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposed_leader_campaigns_again_and_the_job_goes_on() {
    let world = World::new();
    let cluster = world.start().await;
    let id = cluster.submit(world.request("")).await.unwrap().0.id.to_string();
    world.state.depose();
    let back = async {
        let mut jobs = cluster.jobs().await;
        while jobs.get(wire::GetRequest { id: id.clone() }).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::cluster::PATIENCE, back).await.expect("it leads again");
    cluster.worker("w1", Manner::Good);
    assert_eq!(cluster.ended(&id).await.state, JobState::Published);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_of_unknown_end_are_sent_again() {
    let world = World::new();
    let cluster = world.start().await;
    for injection in [Injection::UnknownBefore, Injection::UnknownAfter, Injection::UnknownAfter] {
        world.state.inject(injection);
    }
    let (job, created) = cluster.submit(world.request("key-1")).await.unwrap();
    assert!(created);
    cluster.worker("w1", Manner::Good);
    assert_eq!(cluster.ended(job.id.as_str()).await.state, JobState::Published);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_state_outlives_its_process() {
    let world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let config = || {
        let mut config = reelmill_coordinator::CoordinatorConfig::local(directory.path());
        config.machine.lease_ttl_ms = 3_000;
        config
    };
    let first = world.start_embedded(config()).await;
    let id = first.submit(world.request("key-1")).await.unwrap().0.id.to_string();
    first.stop().await.unwrap();
    let second = world.start_embedded(config()).await;
    let (again, created) = second.submit(world.request("key-1")).await.unwrap();
    assert_eq!((again.id.as_str(), created), (id.as_str(), false));
    second.worker("w1", Manner::Good);
    let ended = second.ended(&id).await;
    assert_eq!(ended.state, JobState::Published, "{ended:?}");
    let package = ended.package.expect("a place");
    let path = url::Url::parse(&package).unwrap().to_file_path().unwrap();
    assert!(path.starts_with(directory.path().canonicalize().unwrap()) && path.join("master.m3u8").is_file());
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_has_ended_holds_its_directory_no_longer() {
    let world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let config = || reelmill_coordinator::CoordinatorConfig::local(directory.path());
    for _ in 0..20 {
        let cluster = world.start_embedded(config()).await;
        // with writes under way
        cluster.submit(world.request("")).await.unwrap();
        cluster.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_directory_is_shared_with_what_lies_there() {
    let world = World::new();
    let cluster = world.start().await;
    cluster.worker("w1", Manner::Good);
    let out = world.fleet.stores.open("memory://reelmill/out").unwrap();
    let mine = bytes::Bytes::from_static(b"the owner's own file");
    out.put_replace("notes.txt", mine, reelmill_blob::PutOptions::default()).await.unwrap();
    let request = || wire::JobRequest {
        options: Some(wire::JobOptions {
            output: Some("memory://reelmill/out".to_owned()),
            ..Default::default()
        }),
        ..world.request("")
    };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let id = cluster.submit(request()).await.unwrap().0.id.to_string();
        assert_eq!(cluster.ended(&id).await.state, JobState::Published);
        ids.push(id);
    }
    let names = async || {
        let listed = out.list("").await.unwrap();
        listed.into_iter().map(|e| e.name).collect::<Vec<_>>()
    };
    let before = names().await;
    cluster.delete(&ids[0]).await;
    assert_eq!(names().await, before, "the newer job's package lies there");
    cluster.delete(&ids[1]).await;
    assert_eq!(names().await, ["notes.txt"], "the owner's own file stays");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_job_uploaded_into_a_named_directory_is_collected() {
    let world = World::new();
    let out = world.fleet.stores.open("memory://reelmill/out").unwrap();
    let names = async || {
        let listed = out.list("").await.unwrap();
        listed.into_iter().map(|e| e.name).collect::<Vec<_>>()
    };
    let request = |preset: &str| wire::JobRequest {
        options: Some(wire::JobOptions {
            output: Some("memory://reelmill/out".to_owned()),
            preset: preset.to_owned(),
            ..Default::default()
        }),
        ..world.request("")
    };
    let first = world.start().await;
    first.worker("w1", Manner::Good);
    let id = first.submit(request("balanced")).await.unwrap().0.id.to_string();
    assert_eq!(first.ended(&id).await.state, JobState::Published);
    first.stop().await.unwrap();
    let published = names().await;

    let second = world.start().await;
    second.worker("w2", Manner::Miscounts);
    // of other settings, in folders of its own; of the same, in the folders that play
    for (preset, adds) in [("speed", true), ("balanced", false)] {
        let failed = second.submit(request(preset)).await.unwrap().0.id.to_string();
        assert!(matches!(second.ended(&failed).await.state, JobState::Failed(_)));
        assert_eq!(names().await.len() > published.len(), adds, "{preset}");
        second.delete(&failed).await;
        assert_eq!(names().await, published, "what plays stays, and nothing else");
    }
    second.stop().await.unwrap();
}

/// A leader that was stopped while it wrote, and wakes up when its job was deleted and collected: nothing keeps an object
/// store from taking what it still has to write.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_deposed_leader_stores_late_goes_with_the_record() {
    let world = World::new();
    let own = world.start().await;
    own.worker("w1", Manner::Good);
    let output = Some("memory://reelmill/out".to_owned());
    let named = wire::JobRequest {
        options: Some(wire::JobOptions { output, ..Default::default() }),
        ..world.request("")
    };
    let mut ids = vec![];
    for request in [world.request(""), named] {
        let id = own.submit(request).await.unwrap().0.id.to_string();
        assert_eq!(own.ended(&id).await.state, JobState::Published);
        own.delete(&id).await;
        ids.push(id);
    }
    own.stop().await.unwrap();
    let open = |place: String| world.fleet.stores.open(&format!("memory://reelmill/{place}")).unwrap();
    let of_jobs = [("work", &ids[0]), ("publish", &ids[0]), ("work", &ids[1])];
    let of_jobs = of_jobs.map(|(root, id)| open(format!("{root}/local/{id}")));
    let out = open("out".to_owned());
    for place in of_jobs.iter().chain([&out]) {
        assert_eq!(place.list("").await.unwrap(), []);
        let late = bytes::Bytes::from_static(b"#EXTM3U");
        place.put_replace("master.m3u8", late, reelmill_blob::PutOptions::default()).await.unwrap();
    }

    let mut config = world.config();
    config.machine.tell_collected_ms = 0;
    let next = world.start_any(config).await;
    next.leads().await;
    let mut jobs = next.jobs().await;
    let gone = async {
        for id in &ids {
            while jobs.get(wire::GetRequest { id: id.clone() }).await.is_ok() {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(crate::cluster::PATIENCE, gone).await.expect("forgotten in time");
    for place in &of_jobs {
        assert_eq!(place.list("").await.unwrap(), []);
    }
    let left: Vec<_> = out.list("").await.unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(left, ["master.m3u8"], "in a directory of the submitter's it may be somebody else's by now");
    next.stop().await.unwrap();
}

/// Until the answer of `/readyz` is of this kind, and what it is then.
async fn ready(cluster: &crate::cluster::Cluster, status: u16, says: &str) {
    let wait = async {
        loop {
            let ready = crate::http::get(cluster.http(), "/readyz").await;
            if ready.status == status && ready.text().contains(says) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::cluster::PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {says}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_ends_the_term_and_not_the_coordinator() {
    let world = World::new();
    let cluster = world.start().await;
    let id = cluster.submit(world.request("key-1")).await.unwrap().0.id.to_string();
    world.state.set_full(true);
    let refused = cluster.submit(world.request("key-2")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    ready(&cluster, 503, "the state store is full").await;
    ready(&cluster, 503, "there is no room left").await;
    assert!(!cluster.running.join.is_finished());
    world.state.set_full(false);
    cluster.leads().await;
    ready(&cluster, 200, "leading").await;
    let listed = cluster.jobs().await.list(wire::ListRequest::default()).await.unwrap().into_inner().jobs;
    assert_eq!(listed.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), [id.as_str()], "as it was");
    assert!(cluster.submit(world.request("key-2")).await.unwrap().1, "what was refused never happened");
    cluster.worker("w1", Manner::Good);
    assert_eq!(cluster.ended(&id).await.state, JobState::Published);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_serves_one_command_ends_with_a_full_store() {
    let world = World::new();
    let mut config = world.config();
    config.outlasts_full_state = false;
    let cluster = world.start_any(config).await;
    cluster.leads().await;
    world.state.set_full(true);
    cluster.submit(world.request("")).await.unwrap_err();
    let error = tokio::time::timeout(crate::cluster::PATIENCE, cluster.running.join).await.unwrap().unwrap();
    assert!(error.unwrap_err().to_string().contains("no room left"));
}
