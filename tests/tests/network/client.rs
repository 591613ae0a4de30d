//! Whoever has films to encode: submits each with its key until somebody has taken it, and looks after it until it is
//! published.

use crate::hosts::{self, Site};
use crate::scenario::{COORDINATORS, film};
use crate::wire;
use reelmill_common::job::{JobState, JobView};
use reelmill_common::keys::job_prefix;
use reelmill_common::{Sha256, SpecId, TenantId};
use reelmill_proto::jobs::v1::jobs_client::JobsClient;
use reelmill_proto::jobs::v1::{GetRequest, JobRequest, SubmitRequest};
use reelmill_proto::status::read_not_leader;
use reelmill_proto::stored::decode_commits;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// A call that takes longer is asked of another coordinator.
const PATIENCE: Duration = Duration::from_secs(5);
/// Who has lost etcd finds it again within this.
const MEND: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(300);

/// A package: what lies in it, by name.
pub(crate) type Package = BTreeMap<String, Sha256>;

/// A job as it ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ended {
    pub(crate) id: String,
    pub(crate) package: Package,
    /// What its folded commits name.
    pub(crate) committed: BTreeSet<SpecId>,
    /// How many files were looked at again.
    pub(crate) audited: u64,
}

/// What the client has seen; jobs in the order of their submission.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) jobs: Vec<Ended>,
    /// The last thing that it heard.
    pub(crate) last: String,
}

pub(crate) struct Client {
    site: Arc<Site>,
    seen: Arc<Mutex<Seen>>,
    /// Whom it asks next.
    at: String,
    turn: u64,
}

impl Client {
    pub(crate) fn new(site: Arc<Site>, seen: Arc<Mutex<Seen>>) -> Self {
        Self { site, seen, at: hosts::address(0), turn: 0 }
    }

    pub(crate) async fn run(mut self) -> turmoil::Result {
        let mut ids = Vec::new();
        for (number, (of, pause)) in self.site.scenario.jobs.clone().into_iter().enumerate() {
            let job = JobRequest {
                source: film(of),
                idempotency_key: format!("job-{number}"),
                ..JobRequest::default()
            };
            let request = SubmitRequest { job: Some(job) };
            let submit = |mut jobs: JobsClient<Channel>| {
                let request = request.clone();
                async move { jobs.submit(request).await }
            };
            let answer = self.ask(submit).await?;
            let view = JobView::try_from(answer.job.ok_or("an answer without a job")?)?;
            ids.push(view.id.to_string());
            sleep(pause).await;
        }
        for id in &ids {
            self.published(id).await?;
        }
        // object storage must not fail while we look at the packages
        while turmoil::sim_elapsed().unwrap_or_default() <= self.site.scenario.heal {
            sleep(PAUSE).await;
        }
        self.everybody_knows_who_leads(&ids[0]).await?;
        for id in &ids {
            let view = self.published(id).await?;
            let ended = self.look(&view).await?;
            self.seen().jobs.push(ended);
        }
        Ok(())
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the end of a job. One that was taken is never unknown again.
    async fn published(&mut self, id: &str) -> Result<JobView, Box<dyn std::error::Error>> {
        loop {
            let request = GetRequest { id: id.to_owned() };
            let get = |mut jobs: JobsClient<Channel>| {
                let request = request.clone();
                async move { jobs.get(request).await }
            };
            let view = JobView::try_from(self.ask(get).await?.job.ok_or("an answer without a job")?)?;
            self.seen().last = format!("{id} is {} with {:?}", view.state.name(), view.progress);
            match &view.state {
                JobState::Published => return Ok(view),
                JobState::Failed(reason) => return Err(format!("job {id} failed: {}", reason.message).into()),
                _ => sleep(PAUSE).await,
            }
        }
    }

    /// Each coordinator leads or names who does.
    async fn everybody_knows_who_leads(&mut self, id: &str) -> Result<(), Box<dyn std::error::Error>> {
        for number in 0..COORDINATORS {
            let address = hosts::address(number);
            let knows = async {
                loop {
                    let get = |mut jobs: JobsClient<Channel>| async move {
                        jobs.get(GetRequest { id: id.to_owned() }).await
                    };
                    match once(&address, get).await {
                        Ok(_) => return,
                        Err(status) if read_not_leader(&status).flatten().is_some() => return,
                        Err(_) => sleep(PAUSE).await,
                    }
                }
            };
            let told = timeout(MEND, knows).await;
            told.map_err(|_| format!("{address} neither leads nor knows who does"))?;
        }
        Ok(())
    }

    /// Asks until somebody answers.
    async fn ask<T, F>(&mut self, call: impl Fn(JobsClient<Channel>) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        loop {
            let status = match once(&self.at, &call).await {
                Ok(answer) => return Ok(answer),
                Err(status) => status,
            };
            self.seen().last = format!("{} says {status}", self.at);
            match status.code() {
                Code::Unavailable
                | Code::DeadlineExceeded
                | Code::Cancelled
                | Code::Unknown
                | Code::ResourceExhausted => {}
                // a connection that breaks in the middle of an answer
                Code::Internal if std::error::Error::source(&status).is_some() => {}
                _ => return Err(status),
            }
            self.turn += 1;
            self.at = match read_not_leader(&status).flatten() {
                Some(leader) if !self.turn.is_multiple_of(3) => leader,
                _ => hosts::address(self.turn % COORDINATORS),
            };
            sleep(PAUSE).await;
        }
    }

    /// What there is of a published job.
    async fn look(&self, view: &JobView) -> Result<Ended, Box<dyn std::error::Error>> {
        let stores = &self.site.stores;
        let package = stores.open(view.package.as_deref().ok_or("a published job without a package")?)?;
        let (mut found, mut audited) = (Package::new(), 0);
        for entry in package.list("").await? {
            let (content, _) = package.get(&entry.name).await?;
            if entry.name == "report.json" {
                // the one object that tells of this run alone
                let report: serde_json::Value = serde_json::from_slice(&content)?;
                audited = report["audit"]["segments"].as_u64().ok_or("a report without audits")?;
            } else {
                found.insert(entry.name, Sha256::of(&content));
            }
        }
        let work = stores.open("memory://reelmill/work")?;
        let commits =
            work.below(job_prefix(&TenantId::local(), &view.id).as_str())?.get("commits.pb").await?.0;
        let committed = decode_commits(&commits)?.into_iter().map(|c| c.spec).collect();
        Ok(Ended { id: view.id.to_string(), package: found, committed, audited })
    }
}

/// Asks one coordinator, on a connection of its own.
async fn once<T, F>(address: &str, call: impl Fn(JobsClient<Channel>) -> F) -> Result<T, Status>
where
    F: Future<Output = Result<tonic::Response<T>, Status>>,
{
    let asked = async {
        let endpoint = Endpoint::from_shared(address.to_owned());
        let endpoint = endpoint.map_err(|e| Status::invalid_argument(e.to_string()))?;
        let channel = wire::connect(endpoint).await.map_err(|e| Status::unavailable(e.to_string()))?;
        call(JobsClient::new(channel)).await
    };
    let answer = timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("")));
    answer.map(tonic::Response::into_inner)
}
