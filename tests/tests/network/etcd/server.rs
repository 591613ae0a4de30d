//! The calls of etcd's API that our adapter makes, over gRPC. Written by hand: the generated server traits want every
//! request's type by name, and etcd-client does not export all of them.

use super::member::{Cluster, Member, PORT};
use super::store::Store;
use crate::wire;
use etcd_client::proto::{
    PbCompactionResponse, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse,
    PbLeaseRevokeRequest, PbLeaseRevokeResponse, PbStatusResponse,
};
use prost::Message;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// `CompactionRequest` of rpc.proto.
#[derive(Clone, PartialEq, prost::Message)]
struct CompactionRequest {
    #[prost(int64, tag = "1")]
    revision: i64,
}

/// `LeaseGrantRequest` of rpc.proto.
#[derive(Clone, PartialEq, prost::Message)]
struct LeaseGrantRequest {
    #[prost(int64, tag = "1")]
    ttl: i64,
}

/// `StatusRequest` of rpc.proto.
#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

/// Runs a member until it is killed.
pub(crate) async fn run(cluster: Arc<Mutex<Cluster>>) -> turmoil::Result {
    let member = Member(cluster);
    let answer = move |request: http::Request<axum::body::Body>| {
        let member = member.clone();
        async move { Ok::<_, Infallible>(answer(member, request.map(Body::new)).await) }
    };
    let routes = Routes::from(axum::Router::new().fallback_service(tower::service_fn(answer)));
    let incoming = wire::listen(PORT).await?;
    // etcd looks after silent clients every two hours only: whoever wants to know sooner asks
    Ok(Server::builder().add_routes(routes).serve_with_incoming(incoming).await?)
}

async fn answer(member: Member, request: http::Request<Body>) -> http::Response<Body> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/etcdserverpb.KV/Range" => unary(member, request, |store, _, asked| store.range(&asked)).await,
        "/etcdserverpb.KV/Txn" => unary(member, request, |store, _, asked| store.txn(&asked)).await,
        "/etcdserverpb.KV/Compact" => {
            unary(member, request, |store, _, asked: CompactionRequest| {
                store.compact(asked.revision)?;
                Ok(PbCompactionResponse { header: store.header() })
            })
            .await
        }
        "/etcdserverpb.Lease/LeaseGrant" => {
            unary(member, request, |store, now, LeaseGrantRequest { ttl }| {
                let id = store.grant(ttl, now);
                Ok(PbLeaseGrantResponse { header: store.header(), id, ttl, error: String::new() })
            })
            .await
        }
        "/etcdserverpb.Lease/LeaseRevoke" => {
            unary(member, request, |store, _, asked: PbLeaseRevokeRequest| {
                store.revoke(asked.id)?;
                Ok(PbLeaseRevokeResponse { header: store.header() })
            })
            .await
        }
        "/etcdserverpb.Lease/LeaseKeepAlive" => keep_alive(member, request).await,
        "/etcdserverpb.Maintenance/Status" => {
            unary(member, request, |store, _, _: StatusRequest| Ok(status(store))).await
        }
        other => Status::unimplemented(format!("our adapter does not call {other}")).into_http(),
    }
}

async fn unary<Q, A>(
    member: Member,
    request: http::Request<Body>,
    call: impl FnOnce(&mut Store, Duration, Q) -> Result<A, Status> + Copy + Send + 'static,
) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    let service = tower::service_fn(move |asked: Request<Q>| {
        let member = member.clone();
        async move { member.serve(move |store, now| call(store, now, asked.into_inner())).await }
    });
    Grpc::new(ProstCodec::<A, Q>::default()).unary(service, request).await
}

async fn keep_alive(member: Member, request: http::Request<Body>) -> http::Response<Body> {
    let service = tower::service_fn(move |asked: Request<Streaming<PbLeaseKeepAliveRequest>>| {
        let member = member.clone();
        let (answers, stream) = mpsc::channel(8);
        tokio::spawn(async move {
            let mut asked = asked.into_inner();
            while let Ok(Some(PbLeaseKeepAliveRequest { id })) = asked.message().await {
                let kept = member.serve(move |store, now| {
                    let ttl = store.keep_alive(id, now);
                    Ok(PbLeaseKeepAliveResponse { header: store.header(), id, ttl })
                });
                if answers.send(kept.await.map(Response::into_inner)).await.is_err() {
                    return;
                }
            }
        });
        async move { Ok::<_, Status>(Response::new(ReceiverStream::new(stream))) }
    });
    let codec = ProstCodec::<PbLeaseKeepAliveResponse, PbLeaseKeepAliveRequest>::default();
    Grpc::new(codec).streaming(service, request).await
}

fn status(store: &mut Store) -> PbStatusResponse {
    let (db_size_in_use, db_size) = store.room();
    PbStatusResponse {
        header: store.header(),
        version: "3.6.0".to_owned(),
        db_size,
        db_size_in_use,
        db_size_quota: 2 << 30,
        ..PbStatusResponse::default()
    }
}
