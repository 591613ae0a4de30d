//! One tenant does not find what is another's, by any method or route: it is told what it would be told if it were not
//! there.

use crate::access::{AccessFile, channel, get_as, guarded};
use crate::cluster::{Cluster, World};
use crate::etcd::until;
use crate::fake_worker::{Manner, signed};
use reelmill_common::Secret;
use reelmill_coordinator::access::Role;
use reelmill_proto::jobs::v1 as wire;
use reelmill_proto::jobs::v1::jobs_client::JobsClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// What a method says of a job.
async fn asks(jobs: &mut JobsClient<Channel>, method: &str, id: &str, token: &Secret) -> Result<(), Status> {
    let (id, token) = (id.to_owned(), Some(token));
    match method {
        "get" => jobs.get(signed(token, wire::GetRequest { id })).await.map(drop),
        "watch" => jobs.watch(signed(token, wire::WatchRequest { id, after_version: 0 })).await.map(drop),
        "cancel" => jobs.cancel(signed(token, wire::CancelRequest { id })).await.map(drop),
        "retry" => jobs.retry(signed(token, wire::RetryRequest { id })).await.map(drop),
        "explain" => jobs.explain(signed(token, wire::ExplainRequest { id })).await.map(drop),
        _ => jobs.delete(signed(token, wire::DeleteRequest { id })).await.map(drop),
    }
}

async fn submits(
    jobs: &mut JobsClient<Channel>,
    token: &Secret,
    job: wire::JobRequest,
) -> Result<wire::SubmitResponse, Status> {
    let request = wire::SubmitRequest { job: Some(job) };
    Ok(jobs.submit(signed(Some(token), request)).await?.into_inner())
}

/// Two tenants with a film each, and an operator.
struct Two {
    world: World,
    cluster: Cluster,
    mine: Secret,
    theirs: Secret,
    ops: Secret,
    _file: AccessFile,
}

impl Two {
    async fn start() -> Self {
        let (world, mut file) = (World::new(), AccessFile::new());
        let (mine, theirs) = (file.submitter("mine"), file.submitter("theirs"));
        let ops = file.add("ops", Role::Operate, "");
        let pool = file.add("pool", Role::Worker, "");
        for tenant in ["mine", "theirs"] {
            std::fs::create_dir(world.films().join(tenant)).expect("a directory");
            std::fs::write(world.films().join(tenant).join("film.mp4"), b"x").expect("a film");
        }
        let cluster = guarded(&world, &file).await;
        cluster.worker_as("w1", Manner::Good, &pool);
        Self { world, cluster, mine, theirs, ops, _file: file }
    }

    fn film(&self, tenant: &str, key: &str) -> wire::JobRequest {
        let source = self.world.films().join(tenant).join("film.mp4").display().to_string();
        wire::JobRequest { source, idempotency_key: key.to_owned(), ..Default::default() }
    }

    async fn jobs(&self) -> JobsClient<Channel> {
        JobsClient::new(channel(&self.cluster).await)
    }

    /// Waits for the end of a job.
    async fn ended(&self, id: &str, token: &Secret) {
        let request = wire::WatchRequest { id: id.to_owned(), after_version: 0 };
        let mut watch =
            self.jobs().await.watch(signed(Some(token), request)).await.expect("it is watched").into_inner();
        while watch.message().await.expect("the watch goes on").is_some() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_job_is_not_there_for_any_method_or_route() {
    let two = Two::start().await;
    let mut jobs = two.jobs().await;
    let made = submits(&mut jobs, &two.theirs, two.film("theirs", "")).await.unwrap();
    let id = made.job.unwrap().id;
    two.ended(&id, &two.theirs).await;
    for method in ["get", "watch", "cancel", "retry", "explain", "delete"] {
        let there = asks(&mut jobs, method, &id, &two.mine).await.unwrap_err();
        let not_there = asks(&mut jobs, method, "0192f0c1-aa", &two.mine).await.unwrap_err();
        assert_eq!((there.code(), not_there.code()), (Code::NotFound, Code::NotFound), "{method}");
        let nameless = |s: &Status, id: &str| s.message().replace(id, "ID");
        assert_eq!(nameless(&there, &id), nameless(&not_there, "0192f0c1-aa"), "{method}");
    }
    for path in [
        format!("/api/jobs/{id}"),
        format!("/play/{id}"),
        format!("/packages/theirs/{id}/master.m3u8"),
        format!("/packages/mine/{id}/master.m3u8"),
    ] {
        assert_eq!(get_as(&two.cluster, Some(&two.mine), &path).await.status, 404, "{path}");
        let owner = get_as(&two.cluster, Some(&two.theirs), &path).await.status;
        assert_eq!(owner, if path.starts_with("/packages/mine") { 404 } else { 200 }, "{path}");
    }
    let list = jobs.list(signed(Some(&two.mine), wire::ListRequest::default())).await.unwrap();
    assert_eq!(list.into_inner().jobs, []);
    let page = get_as(&two.cluster, Some(&two.mine), "/api/jobs").await.text();
    assert!(!page.contains(&id), "{page}");
    assert!(!get_as(&two.cluster, Some(&two.mine), "/").await.text().contains(&id));
    assert!(get_as(&two.cluster, Some(&two.theirs), "/").await.text().contains(&id));
    // naming the tenant helps nobody but an operator
    for path in ["/api/jobs?tenant=theirs", "/?tenant=theirs"] {
        assert_eq!(get_as(&two.cluster, Some(&two.mine), path).await.status, 403, "{path}");
        assert!(get_as(&two.cluster, Some(&two.ops), path).await.text().contains(&id), "{path}");
        assert!(!get_as(&two.cluster, Some(&two.ops), "/api/jobs").await.text().contains(&id));
    }
    let file = format!("/packages/theirs/{id}/master.m3u8");
    assert_eq!(get_as(&two.cluster, Some(&two.ops), &file).await.status, 200);
    let mut as_theirs = signed(Some(&two.mine), wire::GetRequest { id: id.clone() });
    as_theirs.metadata_mut().insert("reelmill-tenant", "theirs".parse().unwrap());
    assert_eq!(jobs.get(as_theirs).await.unwrap_err().code(), Code::PermissionDenied);
    let mut as_theirs = signed(Some(&two.ops), wire::DeleteRequest { id });
    as_theirs.metadata_mut().insert("reelmill-tenant", "theirs".parse().unwrap());
    jobs.delete(as_theirs).await.expect("an operator steers all jobs");
    two.cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_films_are_each_tenants_own() {
    let two = Two::start().await;
    let mut jobs = two.jobs().await;
    let one = submits(&mut jobs, &two.mine, two.film("mine", "key")).await.unwrap();
    let other = submits(&mut jobs, &two.theirs, two.film("theirs", "key")).await.unwrap();
    assert!(one.created && other.created, "the same key, and two jobs");
    let (one, other) = (one.job.unwrap(), other.job.unwrap());
    assert_eq!((one.tenant.as_str(), other.tenant.as_str()), ("mine", "theirs"));
    for source in [two.film("theirs", ""), two.world.request("")] {
        let refused = submits(&mut jobs, &two.mine, source).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        assert!(!reelmill_proto::status::is_not_allowed(&refused), "the film is at fault, not the token");
    }
    let elsewhere = wire::JobRequest { source: "s3://films/a.mp4".to_owned(), ..Default::default() };
    assert_eq!(submits(&mut jobs, &two.mine, elsewhere).await.unwrap_err().code(), Code::PermissionDenied);
    two.cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_read_again_as_the_file_changes_and_what_is_wrong_changes_none() {
    let (world, mut file) = (World::new(), AccessFile::new());
    let (mine, ops) = (file.submitter("mine"), file.add("ops", Role::Operate, ""));
    let quota = |n: u32| format!("[[tenant]]\nname = \"mine\"\nmax_open_jobs = {n}\n");
    file.tenants(&quota(1));
    std::fs::create_dir(world.films().join("mine")).expect("a directory");
    let film = world.films().join("mine").join("film.mp4");
    std::fs::write(&film, b"x").expect("a film");
    let cluster = guarded(&world, &file).await;
    let mut jobs = JobsClient::new(channel(&cluster).await);
    let job = wire::JobRequest { source: film.display().to_string(), ..Default::default() };
    submits(&mut jobs, &mine, job.clone()).await.expect("the first");
    let says = "tenant mine has 1 open jobs and may have 1 (max_open_jobs): try again when some have ended, or ask an \
                operator, who sets max_open_jobs in the access file";
    let refused = submits(&mut jobs, &mine, job.clone()).await.expect_err("one too many");
    assert_eq!((refused.code(), refused.message()), (Code::ResourceExhausted, says));

    file.tenants("[[tenant]]\nname = \"mine\"\nmax_open_jobs = \"many\"\n");
    until("the file was refused", async || {
        let failed = "reelmill_file_reloads_total{files=\"access\",outcome=\"failed\"} 1";
        get_as(&cluster, Some(&ops), "/metrics").await.text().contains(failed)
    })
    .await;
    let refused = submits(&mut jobs, &mine, job.clone()).await.expect_err("as before");
    assert_eq!(refused.message(), says);

    file.tenants(&quota(2));
    until("another is taken", async || submits(&mut jobs.clone(), &mine, job.clone()).await.is_ok()).await;
    cluster.stop().await.unwrap();
}
