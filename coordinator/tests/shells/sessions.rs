//! Worker sessions over real gRPC.

use crate::cluster::{PATIENCE, World};
use crate::fake_worker::{Manner, Session, hello};
use reelmill_common::job::JobState;
use reelmill_common::outcome::FaultKind;
use reelmill_common::session::{FromWorker, ToWorker};
use reelmill_proto::worker::v1::workers_client::WorkersClient;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_does_not_fit_its_spec_is_a_fault_of_its_worker() {
    let world = World::new();
    let cluster = world.start().await;
    cluster.worker("w1", Manner::Miscounts);
    let id = cluster.submit(world.request("")).await.unwrap().0.id.to_string();
    let ended = cluster.ended(&id).await;
    let JobState::Failed(reason) = ended.state else { panic!("{ended:?}") };
    assert_eq!(reason.kind, FaultKind::Output);
    assert!(reason.message.contains("expected"), "{}", reason.message);
    assert!(ended.progress.retries >= 3, "the budget was used: {:?}", ended.progress);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_is_hello() {
    let world = World::new();
    let cluster = world.start().await;
    let (sender, messages) = tokio::sync::mpsc::channel(1);
    sender.send((&FromWorker::Lease { slots: 1 }).into()).await.unwrap();
    let mut client = WorkersClient::connect(format!("http://{}", cluster.grpc())).await.unwrap();
    let mut inbound = client.session(ReceiverStream::new(messages)).await.unwrap().into_inner();
    let error = inbound.message().await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("Hello"), "{error}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_has_one_session_and_the_newest_counts() {
    let world = World::new();
    let cluster = world.start().await;
    let mut old = Session::open(cluster.grpc(), hello("w1", "boot1")).await.unwrap();
    assert!(matches!(old.next().await.unwrap().unwrap().message, ToWorker::Welcome { .. }));
    let mut new = Session::open(cluster.grpc(), hello("w1", "boot2")).await.unwrap();
    assert!(matches!(new.next().await.unwrap().unwrap().message, ToWorker::Welcome { .. }));
    let closed = async { while old.next().await.unwrap().is_some() {} };
    tokio::time::timeout(PATIENCE, closed).await.expect("the old session is closed");
    new.say(FromWorker::Heartbeat { sequence: 7, running: Vec::new() }).await;
    let acked = async {
        loop {
            if new.next().await.unwrap().unwrap().message == (ToWorker::HeartbeatAck { sequence: 7 }) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, acked).await.expect("the new session is alive");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_counted() {
    let world = World::new();
    let mut config = world.config();
    config.sessions_max = 1;
    let cluster = world.start_any(config).await;
    cluster.leads().await;
    let _one = Session::open(cluster.grpc(), hello("w1", "boot1")).await.unwrap();
    let error = Session::open(cluster.grpc(), hello("w2", "boot1")).await.err().expect("refused");
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert!(reelmill_proto::status::read_retry_delay(&error).is_some());
    cluster.stop().await.unwrap();
}
