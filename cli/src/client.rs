//! The jobs API as the CLI uses it: a list of addresses, the leader found among them, gRPC statuses turned into exit
//! codes and sentences.

use crate::args::ClientTarget;
use crate::exit::{Exit, Failure};
use reelmill_common::ids::JobId;
use reelmill_common::job::{JobRequest, JobView, Progress};
use reelmill_proto::jobs::v1 as wire;
use reelmill_proto::jobs::v1::jobs_client::JobsClient;
use reelmill_proto::status::is_not_allowed;
use reelmill_proto::worker::v1 as worker_wire;
use reelmill_proto::worker::v1::fleet_client::FleetClient;
use reelmill_worker::security::{self, Security};
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

/// Rounds over all addresses before the cluster counts as unreachable; a new leader needs a few seconds.
const ROUNDS: u32 = 6;
/// Pause between rounds.
const PAUSE: Duration = Duration::from_millis(500);

/// A client of the jobs service.
pub(crate) struct Client {
    addresses: Vec<String>,
    security: Security,
    /// For whom an operator speaks.
    tenant: Option<String>,
    current: usize,
}

/// The services behind one connection.
struct Services {
    jobs: JobsClient<Channel>,
    fleet: FleetClient<Channel>,
}

/// What a watch says next.
pub(crate) enum Change {
    /// The whole job.
    Job(Box<JobView>),
    /// Only its progress.
    Progress(Progress),
}

impl Client {
    /// A client of the coordinators that the command line names.
    pub(crate) fn of(ClientTarget { target, tenant }: &ClientTarget) -> Result<Self, Failure> {
        let client = Self::new(&target.coordinator, target.security.settings()?)?;
        Ok(Self { tenant: tenant.clone(), ..client })
    }

    /// A client of the coordinators at `addresses` (`http://host:port`, `https://host:port`).
    pub(crate) fn new(addresses: &[String], security: Security) -> Result<Self, Failure> {
        let addresses: Vec<String> = addresses
            .iter()
            .map(|a| a.trim().trim_end_matches('/'))
            .filter(|a| !a.is_empty())
            .map(|a| if a.contains("://") { a.to_owned() } else { format!("http://{a}") })
            .collect();
        if addresses.is_empty() {
            return Err(Failure::new(Exit::Usage, "no coordinator address: use --coordinator URL"));
        }
        for address in &addresses {
            security.endpoint(address).map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
        }
        Ok(Self { addresses, security, tenant: None, current: 0 })
    }

    /// Hands in a job; says whether it is new.
    pub(crate) async fn submit(&mut self, request: &JobRequest) -> Result<(JobView, bool), Failure> {
        let request = wire::SubmitRequest { job: Some(request.into()) };
        let answer = self.call(refused_submission, &request, async |mut c, r| c.jobs.submit(r).await).await?;
        Ok((view(answer.job)?, answer.created))
    }

    /// One job.
    pub(crate) async fn get(&mut self, id: &JobId) -> Result<JobView, Failure> {
        let request = wire::GetRequest { id: id.to_string() };
        view(self.call(refused, &request, async |mut c, r| c.jobs.get(r).await).await?.job)
    }

    /// All jobs, newest first.
    pub(crate) async fn list(&mut self) -> Result<Vec<JobView>, Failure> {
        let (mut jobs, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = wire::ListRequest { page_size: 200, page_token };
            let page = self.call(refused, &request, async |mut c, r| c.jobs.list(r).await).await?;
            for job in page.jobs {
                jobs.push(view(Some(job))?);
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                jobs.sort_by(|a: &JobView, b| {
                    (b.submitted_unix_ms, &b.id).cmp(&(a.submitted_unix_ms, &a.id))
                });
                return Ok(jobs);
            }
        }
    }

    /// Stops a job.
    pub(crate) async fn cancel(&mut self, id: &JobId) -> Result<JobView, Failure> {
        let request = wire::CancelRequest { id: id.to_string() };
        view(self.call(refused, &request, async |mut c, r| c.jobs.cancel(r).await).await?.job)
    }

    /// Starts a job again.
    pub(crate) async fn retry(&mut self, id: &JobId) -> Result<JobView, Failure> {
        let request = wire::RetryRequest { id: id.to_string() };
        view(self.call(refused, &request, async |mut c, r| c.jobs.retry(r).await).await?.job)
    }

    /// Deletes a job.
    pub(crate) async fn delete(&mut self, id: &JobId) -> Result<JobView, Failure> {
        let request = wire::DeleteRequest { id: id.to_string() };
        view(self.call(refused, &request, async |mut c, r| c.jobs.delete(r).await).await?.job)
    }

    /// The job, why it is where it is, and what its plan decided.
    pub(crate) async fn explain(
        &mut self,
        id: &JobId,
    ) -> Result<(JobView, Vec<String>, Vec<String>), Failure> {
        let request = wire::ExplainRequest { id: id.to_string() };
        let answer = self.call(refused, &request, async |mut c, r| c.jobs.explain(r).await).await?;
        Ok((view(answer.job)?, answer.reasons, answer.decisions))
    }

    /// Follows a job until it is terminal, telling `each` every change; goes on over lost connections.
    pub(crate) async fn watch(
        &mut self,
        id: &JobId,
        mut each: impl FnMut(&JobView),
    ) -> Result<JobView, Failure> {
        let mut seen: Option<JobView> = None;
        loop {
            let after_version = seen.as_ref().map_or(0, |v| v.version);
            let request = wire::WatchRequest { id: id.to_string(), after_version };
            let mut stream = self.call(refused, &request, async |mut c, r| c.jobs.watch(r).await).await?;
            while let Ok(Some(message)) = stream.message().await {
                match change(message)? {
                    Some(Change::Job(view)) => seen = Some(*view),
                    Some(Change::Progress(progress)) => {
                        if let Some(view) = &mut seen {
                            view.progress = progress;
                        }
                    }
                    None => continue,
                }
                if let Some(view) = &seen {
                    each(view);
                }
            }
            // The stream has ended: at the job's end, or because a connection or a leader was lost. Ask.
            let now = self.get(id).await?;
            if now.state.is_terminal() {
                if seen.as_ref() != Some(&now) {
                    each(&now);
                }
                return Ok(now);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// All workers, by name.
    pub(crate) async fn workers(&mut self) -> Result<Vec<worker_wire::WorkerInfo>, Failure> {
        let (mut workers, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = worker_wire::ListRequest { page_size: 0, page_token };
            let page = self.call(refused, &request, async |mut c, r| c.fleet.list(r).await).await?;
            workers.extend(page.workers);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(workers);
            }
        }
    }

    /// Ends a worker's credential.
    pub(crate) async fn revoke(&mut self, worker: &str) -> Result<(), Failure> {
        let request = worker_wire::RevokeRequest { worker: worker.to_owned() };
        self.call(refused, &request, async |mut c, r| c.fleet.revoke(r).await).await.map(drop)
    }

    /// One call to the leader, looked for over all addresses. Every call of the service may be repeated: those that
    /// change something are idempotent (Submit by its key, the others by the job's state).
    async fn call<R: Clone, T>(
        &mut self,
        refused: fn(&Status) -> Failure,
        request: &R,
        call: impl AsyncFn(Services, Request<R>) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        let mut last = String::new();
        for round in 0..ROUNDS {
            for _ in 0..self.addresses.len() {
                let address = self.addresses[self.current].clone();
                match self.connect(&address).await {
                    Ok(client) => match call(client, self.signed(request)?).await {
                        Ok(answer) => return Ok(answer.into_inner()),
                        Err(status) if status.code() == Code::Unavailable => {
                            let why = security::diagnose(&address, &status).await;
                            last = format!("{address}: {}", why.as_deref().unwrap_or(status.message()));
                            self.follow(&status)?;
                        }
                        Err(status) => return Err(failure(&address, &status, refused).await),
                    },
                    Err(e) => {
                        last = format!("{address}: {e}");
                        self.current = (self.current + 1) % self.addresses.len();
                    }
                }
            }
            if round + 1 < ROUNDS {
                tokio::time::sleep(PAUSE).await;
            }
        }
        Err(Failure::new(
            Exit::Unreachable,
            format!("no coordinator answers ({last}); is one running, and is --coordinator right?"),
        ))
    }

    fn signed<R: Clone>(&self, request: &R) -> Result<Request<R>, Failure> {
        let mut request = Request::new(request.clone());
        self.security.sign(&mut request).map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
        if let Some(tenant) = &self.tenant {
            let value = tenant
                .parse()
                .map_err(|_| Failure::new(Exit::Usage, format!("--tenant {tenant:?} is no name")))?;
            request.metadata_mut().insert("reelmill-tenant", value);
        }
        Ok(request)
    }

    async fn connect(&self, address: &str) -> Result<Services, String> {
        let endpoint = self.security.endpoint(address).map_err(|e| e.to_string())?;
        let channel = endpoint.connect().await.map_err(|e| security::explain(&e))?;
        let jobs = JobsClient::new(channel.clone()).max_decoding_message_size(64 << 20);
        Ok(Services { jobs, fleet: FleetClient::new(channel) })
    }

    /// After `NotLeader`: the leader's address if it was told, else the next one.
    fn follow(&mut self, status: &Status) -> Result<(), Failure> {
        let Some(leader) = reelmill_proto::status::read_not_leader(status).flatten() else {
            self.current = (self.current + 1) % self.addresses.len();
            return Ok(());
        };
        let leader = if leader.contains("://") { leader } else { format!("http://{leader}") };
        self.current = match self.addresses.iter().position(|a| *a == leader) {
            Some(known) => known,
            None => {
                self.security.endpoint(&leader).map_err(|e| Failure::new(Exit::Usage, e.to_string()))?;
                self.addresses.push(leader);
                self.addresses.len() - 1
            }
        };
        Ok(())
    }
}

/// A call that did not come to be, or was refused.
async fn failure(address: &str, status: &Status, refused: fn(&Status) -> Failure) -> Failure {
    match security::diagnose(address, status).await {
        Some(why) => Failure::new(Exit::Unreachable, format!("{address}: {why}")),
        None => refused(status),
    }
}

fn view(job: Option<wire::Job>) -> Result<JobView, Failure> {
    let job = job.ok_or_else(|| strange("an answer without a job"))?;
    JobView::try_from(job).map_err(|e| strange(&e.to_string()))
}

fn change(message: wire::WatchResponse) -> Result<Option<Change>, Failure> {
    use wire::watch_response::Event;
    Ok(match message.event {
        Some(Event::Snapshot(job) | Event::Change(job)) => Some(Change::Job(Box::new(view(Some(job))?))),
        Some(Event::Progress(p)) => Some(Change::Progress(p.into())),
        None => None,
    })
}

fn strange(what: &str) -> Failure {
    Failure::new(
        Exit::Unreachable,
        format!("the coordinator answered something this version cannot read ({what}); use equal versions"),
    )
}

/// A film that is not there, or may not be read, is the input's fault and not the command line's.
fn refused_submission(status: &Status) -> Failure {
    match status.code() {
        Code::PermissionDenied if is_not_allowed(status) => refused(status),
        Code::NotFound | Code::PermissionDenied => Failure::new(Exit::Input, status.message().to_owned()),
        _ => refused(status),
    }
}

fn refused(status: &Status) -> Failure {
    let exit = match status.code() {
        Code::InvalidArgument | Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition => {
            Exit::Usage
        }
        Code::Unauthenticated | Code::PermissionDenied => Exit::Usage,
        Code::Cancelled => Exit::Cancelled,
        _ => Exit::Unreachable,
    };
    Failure::new(exit, status.message().to_owned())
}
