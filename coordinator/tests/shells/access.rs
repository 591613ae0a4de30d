//! Who may do what: every role at every method and every route, and what those are told who may not.

use crate::cluster::{Cluster, PATIENCE, World};
use crate::fake_worker::{Session, hello, signed};
use crate::http::{Answer, ask};
use reelmill_common::Secret;
use reelmill_common::session::{FromWorker, ToWorker};
use reelmill_coordinator::access::{Role, token};
use reelmill_proto::jobs::v1 as wire;
use reelmill_proto::jobs::v1::jobs_client::JobsClient;
use reelmill_proto::worker::v1 as workers;
use reelmill_proto::worker::v1::fleet_client::FleetClient;
use reelmill_proto::worker::v1::workers_client::WorkersClient;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// An access file that a test writes and changes.
pub(crate) struct AccessFile {
    directory: tempfile::TempDir,
    entries: BTreeMap<String, String>,
    tenants: String,
}

impl AccessFile {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let file = Self { directory, entries: BTreeMap::new(), tenants: String::new() };
        file.write();
        file
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("access.toml")
    }

    /// A new token of this name.
    pub(crate) fn add(&mut self, name: &str, role: Role, rest: &str) -> Secret {
        let secret = token::generate();
        let sha256 = token::hash(&secret);
        let entry =
            format!("[[token]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\nrole = \"{role}\"\n{rest}\n");
        self.entries.insert(name.to_owned(), entry);
        self.write();
        secret
    }

    pub(crate) fn submitter(&mut self, tenant: &str) -> Secret {
        self.add(&format!("{tenant}-submit"), Role::Submit, &format!("tenant = \"{tenant}\""))
    }

    pub(crate) fn withdraw(&mut self, name: &str) {
        self.entries.remove(name).expect("it was there");
        self.write();
    }

    pub(crate) fn tenants(&mut self, text: &str) {
        text.clone_into(&mut self.tenants);
        self.write();
    }

    fn write(&self) {
        let entries: String = self.entries.values().map(String::as_str).collect();
        std::fs::write(self.path(), entries + &self.tenants).expect("a file");
    }
}

/// A coordinator with this access file that leads.
pub(crate) async fn guarded(world: &World, file: &AccessFile) -> Cluster {
    let mut config = world.config();
    config.access = Some(file.path());
    config.source_root = Some(world.films());
    let cluster = world.start_any(config).await;
    cluster.leads().await;
    cluster
}

pub(crate) async fn channel(cluster: &Cluster) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", cluster.grpc())).expect("an address");
    endpoint.connect().await.expect("a connection")
}

/// `GET` with a token.
pub(crate) async fn get_as(cluster: &Cluster, token: Option<&Secret>, path: &str) -> Answer {
    let head = token.map(|t| format!("Authorization: Bearer {}\r\n", t.reveal())).unwrap_or_default();
    ask(cluster.http(), "GET", path, &head).await
}

/// Calls a method with nothing sensible in it.
async fn call(cluster: &Cluster, method: &str, token: Option<&Secret>) -> Result<(), Status> {
    let channel = channel(cluster).await;
    let mut jobs = JobsClient::new(channel.clone());
    let mut fleet = FleetClient::new(channel.clone());
    match method {
        "Jobs/Submit" => jobs.submit(signed(token, wire::SubmitRequest::default())).await.map(drop),
        "Jobs/Get" => jobs.get(signed(token, wire::GetRequest::default())).await.map(drop),
        "Jobs/List" => jobs.list(signed(token, wire::ListRequest::default())).await.map(drop),
        "Jobs/Watch" => jobs.watch(signed(token, wire::WatchRequest::default())).await.map(drop),
        "Jobs/Cancel" => jobs.cancel(signed(token, wire::CancelRequest::default())).await.map(drop),
        "Jobs/Retry" => jobs.retry(signed(token, wire::RetryRequest::default())).await.map(drop),
        "Jobs/Explain" => jobs.explain(signed(token, wire::ExplainRequest::default())).await.map(drop),
        "Jobs/Delete" => jobs.delete(signed(token, wire::DeleteRequest::default())).await.map(drop),
        "Workers/Session" => {
            let nothing = signed(token, tokio_stream::empty::<workers::FromWorker>());
            WorkersClient::new(channel).session(nothing).await.map(drop)
        }
        "Workers/Enrol" => {
            let request = workers::EnrolRequest { worker: String::new(), secret: vec![] };
            WorkersClient::new(channel).enrol(signed(token, request)).await.map(drop)
        }
        "Fleet/List" => fleet.list(signed(token, workers::ListRequest::default())).await.map(drop),
        "Fleet/Revoke" => fleet.revoke(signed(token, workers::RevokeRequest::default())).await.map(drop),
        other => panic!("a method without a row: {other}"),
    }
}

/// Every method of ours, and who may call it.
const METHODS: [(&str, &[Role]); 12] = [
    ("Jobs/Submit", &[Role::Submit, Role::Operate]),
    ("Jobs/Get", &[Role::Submit, Role::Operate]),
    ("Jobs/List", &[Role::Submit, Role::Operate]),
    ("Jobs/Watch", &[Role::Submit, Role::Operate]),
    ("Jobs/Cancel", &[Role::Submit, Role::Operate]),
    ("Jobs/Retry", &[Role::Submit, Role::Operate]),
    ("Jobs/Explain", &[Role::Submit, Role::Operate]),
    ("Jobs/Delete", &[Role::Submit, Role::Operate]),
    ("Workers/Session", &[Role::Worker]),
    // a shared worker token comes through the table of rights and is refused by the method: see `enrol`
    ("Workers/Enrol", &[Role::Enrol]),
    ("Fleet/List", &[Role::Operate]),
    ("Fleet/Revoke", &[Role::Operate]),
];

/// Every route, and who may ask for it; `None`: everybody.
const ROUTES: [(&str, Option<&[Role]>); 9] = [
    ("/healthz", None),
    ("/readyz", None),
    ("/login", None),
    ("/assets/hls.min.js", None),
    ("/metrics", Some(&[Role::Metrics, Role::Operate])),
    ("/", Some(&[Role::Submit, Role::Operate])),
    ("/api/jobs", Some(&[Role::Submit, Role::Operate])),
    ("/api/jobs/nobody", Some(&[Role::Submit, Role::Operate])),
    ("/play/nobody", Some(&[Role::Submit, Role::Operate])),
];

fn of_all_roles(file: &mut AccessFile) -> BTreeMap<Role, Secret> {
    let mut tokens = BTreeMap::new();
    for role in Role::ALL {
        let rest = if role == Role::Submit { "tenant = \"studio\"" } else { "" };
        tokens.insert(role, file.add(role.name(), role, rest));
    }
    tokens
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_call_its_methods_and_no_other() {
    let (world, mut file) = (World::new(), AccessFile::new());
    let tokens = of_all_roles(&mut file);
    let cluster = guarded(&world, &file).await;
    for (method, allowed) in METHODS {
        for (role, token) in &tokens {
            let code = call(&cluster, method, Some(token)).await.err().map(|status| status.code());
            let is_refused = matches!(code, Some(Code::PermissionDenied | Code::Unauthenticated));
            assert_eq!(is_refused, !allowed.contains(role), "{role} at {method}: {code:?}");
        }
        let status = call(&cluster, method, None).await.expect_err(method);
        assert_eq!(status.code(), Code::Unauthenticated, "{method}: {status}");
    }
    cluster.stop().await.unwrap();
}

#[test]
fn every_method_that_is_served_has_a_row() {
    let rows: BTreeSet<String> = METHODS.iter().map(|(method, _)| (*method).to_owned()).collect();
    let short = |path: String| path.rsplit('.').next().unwrap_or_default().to_owned();
    assert_eq!(reelmill_proto::methods().into_iter().map(short).collect::<BTreeSet<_>>(), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_ask_for_its_routes_and_no_other() {
    let (world, mut file) = (World::new(), AccessFile::new());
    let tokens = of_all_roles(&mut file);
    let cluster = guarded(&world, &file).await;
    for (path, allowed) in ROUTES {
        for (role, token) in &tokens {
            let status = get_as(&cluster, Some(token), path).await.status;
            let is_allowed = allowed.is_none_or(|roles| roles.contains(role));
            assert_eq!(status == 403, !is_allowed, "{role} at {path}: {status}");
            assert_ne!(status, 401, "{role} at {path}");
        }
        let answer = get_as(&cluster, None, path).await;
        assert_eq!(answer.status == 401, allowed.is_some(), "{path}: {}", answer.status);
        assert_eq!(answer.header("www-authenticate").is_empty(), allowed.is_none(), "{path}");
    }
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_open_and_reflection_is_not() {
    let (world, mut file) = (World::new(), AccessFile::new());
    let token = file.add("m", Role::Metrics, "");
    let cluster = guarded(&world, &file).await;
    let channel = channel(&cluster).await;
    HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await.unwrap();
    let reflect = async |token: Option<&Secret>| {
        use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
        let nothing = signed(token, tokio_stream::empty());
        ServerReflectionClient::new(channel.clone()).server_reflection_info(nothing).await.map(drop)
    };
    assert_eq!(reflect(None).await.unwrap_err().code(), Code::Unauthenticated);
    reflect(Some(&token)).await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_wrong_old_or_withdrawn_lets_nobody_in_and_is_never_repeated() {
    let (world, mut file) = (World::new(), AccessFile::new());
    let old = file.add("old", Role::Operate, "expires = 2001-01-01T00:00:00Z");
    let unknown = token::generate();
    let cluster = guarded(&world, &file).await;
    for (token, says) in
        [(Some(&old), "the token old has expired"), (Some(&unknown), "not known"), (None, "REELMILL_TOKEN")]
    {
        let status = call(&cluster, "Jobs/List", token).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(status.message().contains(says), "{status}");
        let answer = get_as(&cluster, token, "/api/jobs").await;
        assert!(answer.status == 401 && answer.text().contains(says), "{}", answer.text());
        let secret = token.map_or("reelmill_", Secret::reveal);
        assert!(!format!("{status:?} {}", answer.text()).contains(secret));
    }
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_slowed_down_and_right_ones_from_there_are_not() {
    let (world, mut file) = (World::new(), AccessFile::new());
    let good = file.add("ops", Role::Operate, "");
    let cluster = guarded(&world, &file).await;
    let wrong = token::generate();
    let mut codes = Vec::new();
    for _ in 0..14 {
        codes.push(get_as(&cluster, Some(&wrong), "/api/jobs").await.status);
    }
    assert_eq!((codes.first(), codes.last()), (Some(&401), Some(&429)), "{codes:?}");
    assert_eq!(call(&cluster, "Jobs/List", Some(&wrong)).await.unwrap_err().code(), Code::ResourceExhausted);
    call(&cluster, "Jobs/List", Some(&good)).await.unwrap();
    let counted = get_as(&cluster, Some(&good), "/metrics").await.text();
    assert!(counted.contains("reelmill_access_failures_total{why=\"unknown\"}"), "{counted}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_watches_end_with_their_token() {
    let (world, mut file) = (World::new(), AccessFile::new());
    let (worker, ops) = (file.add("pool", Role::Worker, ""), file.add("ops", Role::Operate, ""));
    let cluster = guarded(&world, &file).await;
    let mut session = Session::signed(cluster.grpc(), Some(&worker), hello("w1", "b1")).await.unwrap();
    assert!(matches!(session.next().await.unwrap().unwrap().message, ToWorker::Welcome { .. }));
    let mut jobs = JobsClient::new(channel(&cluster).await);
    let submit = wire::SubmitRequest { job: Some(world.request("")) };
    let job = jobs.submit(signed(Some(&ops), submit)).await.unwrap().into_inner().job.unwrap();
    let watch = wire::WatchRequest { id: job.id, after_version: 0 };
    let mut watch = jobs.watch(signed(Some(&ops), watch)).await.unwrap().into_inner();
    watch.message().await.unwrap().expect("a snapshot");

    file.withdraw("pool");
    let ended = async {
        loop {
            if let Err(status) = session.next().await {
                return status;
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("the session ends");
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    session.say(FromWorker::Lease { slots: 1 }).await;
    let again = Session::signed(cluster.grpc(), Some(&worker), hello("w1", "b1")).await.err().unwrap();
    assert_eq!(again.code(), Code::Unauthenticated);

    file.withdraw("ops");
    let ended = async {
        loop {
            if let Err(status) = watch.message().await {
                return status;
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ended).await.expect("the watch ends");
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_has_so_many_watches_and_leaves_the_others_theirs() {
    let (world, mut file) = (World::new(), AccessFile::new());
    let (a, b) = (file.add("a", Role::Operate, ""), file.add("b", Role::Operate, ""));
    let cluster = guarded(&world, &file).await;
    let mut jobs = JobsClient::new(channel(&cluster).await);
    let submit = wire::SubmitRequest { job: Some(world.request("")) };
    let id = jobs.submit(signed(Some(&a), submit)).await.unwrap().into_inner().job.unwrap().id;
    let watch = |token| signed(Some(token), wire::WatchRequest { id: id.clone(), after_version: 0 });
    let mut open = Vec::new();
    let refused = loop {
        match jobs.watch(watch(&a)).await {
            Ok(stream) => open.push(stream),
            Err(status) => break status,
        }
    };
    assert_eq!((refused.code(), open.len()), (Code::ResourceExhausted, 128), "{refused}");
    jobs.watch(watch(&b)).await.expect("the other has its own");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_access_file_is_refused_at_start_by_its_place() {
    let (world, mut file) = (World::new(), AccessFile::new());
    file.tenants("[[token]]\nname = 7\n");
    let mut config = world.config();
    config.access = Some(file.path());
    let error = world.refused(config).await.to_string();
    assert!(error.contains("access.toml") && error.contains("line 2"), "{error}");
}
