//! Workers that join with a credential of their own.

use crate::access::{AccessFile, channel, guarded};
use crate::cluster::{Cluster, PATIENCE, World};
use crate::fake_worker::{Session, hello, signed};
use reelmill_common::session::ToWorker;
use reelmill_common::{Secret, WorkerId, credential};
use reelmill_coordinator::access::Role;
use reelmill_proto::worker::v1 as wire;
use reelmill_proto::worker::v1::fleet_client::FleetClient;
use reelmill_proto::worker::v1::workers_client::WorkersClient;
use tonic::{Code, Status};

fn own(name: &str, bits: u8) -> Secret {
    credential::make(&WorkerId::parse(name).expect("a name"), [bits; 32])
}

async fn enrol(cluster: &Cluster, shown: &Secret, name: &str, fresh: &Secret) -> Result<u64, Status> {
    let secret = credential::hash(fresh).0.to_vec();
    let request = wire::EnrolRequest { worker: name.to_owned(), secret };
    let mut client = WorkersClient::new(channel(cluster).await);
    Ok(client.enrol(signed(Some(shown), request)).await?.into_inner().expires_unix_ms)
}

async fn session(cluster: &Cluster, shown: &Secret, name: &str) -> Result<Session, Status> {
    let mut session = Session::signed(cluster.grpc(), Some(shown), hello(name, "b1")).await?;
    match session.next().await? {
        Some(message) => assert!(matches!(message.message, ToWorker::Welcome { .. })),
        None => return Err(Status::aborted("the session ended")),
    }
    Ok(session)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_joins_works_renews_and_is_revoked() {
    let (world, mut file) = (World::new(), AccessFile::new());
    let (join, ops) = (file.add("join", Role::Enrol, ""), file.add("ops", Role::Operate, ""));
    let pool = file.add("pool", Role::Worker, "");
    let cluster = guarded(&world, &file).await;
    let (first, second) = (own("gpu-1", 1), own("gpu-1", 2));
    assert_eq!(session(&cluster, &first, "gpu-1").await.err().unwrap().code(), Code::Unauthenticated);
    enrol(&cluster, &join, "gpu-1", &first).await.unwrap();
    enrol(&cluster, &join, "gpu-1", &first).await.expect("the answer was lost, and it asks again");
    drop(session(&cluster, &first, "gpu-1").await.unwrap());

    let taken = enrol(&cluster, &join, "gpu-1", &own("gpu-1", 9)).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists, "{taken}");
    let other = session(&cluster, &first, "gpu-2").await.err().unwrap();
    assert_eq!(other.code(), Code::PermissionDenied, "{other}");
    let shared = session(&cluster, &pool, "gpu-1").await.err().unwrap();
    assert_eq!(shared.code(), Code::PermissionDenied, "the name has a credential of its own: {shared}");
    let _beside = session(&cluster, &pool, "gpu-2").await.unwrap();
    let other = enrol(&cluster, &first, "gpu-2", &own("gpu-2", 1)).await.unwrap_err();
    assert_eq!(other.code(), Code::PermissionDenied, "a credential makes no others: {other}");

    enrol(&cluster, &first, "gpu-1", &second).await.expect("it renews itself");
    assert_eq!(session(&cluster, &first, "gpu-1").await.err().unwrap().code(), Code::Unauthenticated);
    let mut open = session(&cluster, &second, "gpu-1").await.unwrap();

    let mut fleet = FleetClient::new(channel(&cluster).await);
    let list = fleet.list(signed(Some(&ops), wire::ListRequest::default())).await.unwrap().into_inner();
    let names: Vec<_> =
        list.workers.iter().map(|w| (w.worker.as_str(), w.expires_unix_ms.is_some())).collect();
    assert_eq!(names, [("gpu-1", true), ("gpu-2", false)]);
    assert!(list.workers[0].connected && list.workers[0].expires_unix_ms > list.workers[0].enrolled_unix_ms);

    let revoke = || signed(Some(&ops), wire::RevokeRequest { worker: "gpu-1".to_owned() });
    fleet.revoke(revoke()).await.unwrap();
    let ended = async {
        loop {
            match open.next().await {
                Ok(Some(_)) => {}
                ended => return ended,
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("its session ends at once");
    assert_eq!(ended.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(session(&cluster, &second, "gpu-1").await.err().unwrap().code(), Code::Unauthenticated);
    assert_eq!(fleet.revoke(revoke()).await.unwrap_err().code(), Code::NotFound);
    enrol(&cluster, &join, "gpu-1", &own("gpu-1", 3)).await.expect("it may join again");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_says_who_leads_and_the_next_leader_knows_who_has_joined() {
    let (world, mut file) = (World::new(), AccessFile::new());
    let join = file.add("join", Role::Enrol, "");
    let shared = file.add("pool", Role::Worker, "");
    let leader = guarded(&world, &file).await;
    let mut config = world.config();
    config.access = Some(file.path());
    let standby = world.start_any(config).await;
    let mine = own("w", 1);
    let told = async |shown: &Secret| {
        // it needs a moment to hear who leads
        let wait = async {
            loop {
                let status = session(&standby, shown, "w").await.err().expect("it does not lead");
                if let Some(Some(address)) = reelmill_proto::status::read_not_leader(&status) {
                    return address;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("it says who leads")
    };
    assert!(told(&mine).await.contains(&leader.grpc().to_string()), "a credential it cannot know");
    assert!(told(&shared).await.contains(&leader.grpc().to_string()));
    let stranger = own("stranger", 7);
    assert_eq!(enrol(&standby, &join, "w", &mine).await.unwrap_err().code(), Code::Unavailable);
    enrol(&leader, &join, "w", &mine).await.unwrap();
    let no_role = enrol(&leader, &shared, "w2", &own("w2", 1)).await.unwrap_err();
    assert_eq!(no_role.code(), Code::PermissionDenied, "{no_role}");
    leader.stop().await.unwrap();
    standby.leads().await;
    drop(session(&standby, &mine, "w").await.unwrap());
    assert_eq!(session(&standby, &stranger, "stranger").await.err().unwrap().code(), Code::Unauthenticated);
    standby.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_worker_could_send_is_refused() {
    let (world, mut file) = (World::new(), AccessFile::new());
    let join = file.add("join", Role::Enrol, "");
    let cluster = guarded(&world, &file).await;
    let mut client = WorkersClient::new(channel(&cluster).await);
    for (worker, secret, says) in
        [("", vec![0; 32], "worker"), ("W", vec![0; 32], "a-z"), ("w", vec![0; 31], "SHA-256")]
    {
        let request = wire::EnrolRequest { worker: worker.to_owned(), secret };
        let status = client.enrol(signed(Some(&join), request)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(says), "{status}");
    }
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_worker_has_so_many_sessions() {
    let (world, mut file) = (World::new(), AccessFile::new());
    let join = file.add("join", Role::Enrol, "");
    let cluster = guarded(&world, &file).await;
    let mine = own("w", 1);
    enrol(&cluster, &join, "w", &mine).await.unwrap();
    let mut silent = Vec::new();
    let refused = loop {
        // sessions that never say Hello
        let (sender, messages) = tokio::sync::mpsc::channel::<wire::FromWorker>(1);
        let request = signed(Some(&mine), tokio_stream::wrappers::ReceiverStream::new(messages));
        match WorkersClient::new(channel(&cluster).await).session(request).await {
            Ok(open) => silent.push((sender, open)),
            Err(status) => break status,
        }
    };
    assert_eq!((refused.code(), silent.len()), (Code::ResourceExhausted, 4), "{refused}");
    cluster.stop().await.unwrap();
}
