//! The jobs API as the CLI uses it: a list of addresses, the leader found among them, gRPC statuses turned into exit
//! codes and sentences.

use crate::exit::{Exit, Failure};
use reelmill_common::ids::JobId;
use reelmill_common::job::{JobRequest, JobView, Progress};
use reelmill_proto::jobs::v1 as wire;
use reelmill_proto::jobs::v1::jobs_client::JobsClient;
use std::future::Future;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// Rounds over all addresses before the cluster counts as unreachable; a new leader needs a few seconds.
const ROUNDS: u32 = 6;
/// Pause between rounds.
const PAUSE: Duration = Duration::from_millis(500);

/// A client of the jobs service.
pub(crate) struct Client {
    addresses: Vec<String>,
    current: usize,
}

/// What a watch says next.
pub(crate) enum Change {
    /// The whole job.
    Job(Box<JobView>),
    /// Only its progress.
    Progress(Progress),
}

impl Client {
    /// A client of the coordinators at `addresses` (`http://host:port`).
    pub(crate) fn new(addresses: &[String]) -> Result<Self, Failure> {
        let addresses: Vec<String> = addresses
            .iter()
            .map(|a| a.trim().trim_end_matches('/'))
            .filter(|a| !a.is_empty())
            .map(|a| if a.contains("://") { a.to_owned() } else { format!("http://{a}") })
            .collect();
        if addresses.is_empty() {
            return Err(Failure::new(Exit::Usage, "no coordinator address: use --coordinator URL"));
        }
        Ok(Self { addresses, current: 0 })
    }

    /// Hands in a job; says whether it is new.
    pub(crate) async fn submit(&mut self, request: &JobRequest) -> Result<(JobView, bool), Failure> {
        let request = wire::SubmitRequest { job: Some(request.into()) };
        let answer = self.call(refused_submission, async |mut c| c.submit(request.clone()).await).await?;
        Ok((view(answer.job)?, answer.created))
    }

    /// One job.
    pub(crate) async fn get(&mut self, id: &JobId) -> Result<JobView, Failure> {
        let request = wire::GetRequest { id: id.to_string() };
        view(self.call(refused, async |mut c| c.get(request.clone()).await).await?.job)
    }

    /// All jobs, newest first.
    pub(crate) async fn list(&mut self) -> Result<Vec<JobView>, Failure> {
        let (mut jobs, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = wire::ListRequest { page_size: 200, page_token };
            let page = self.call(refused, async |mut c| c.list(request.clone()).await).await?;
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
        view(self.call(refused, async |mut c| c.cancel(request.clone()).await).await?.job)
    }

    /// Starts a job again.
    pub(crate) async fn retry(&mut self, id: &JobId) -> Result<JobView, Failure> {
        let request = wire::RetryRequest { id: id.to_string() };
        view(self.call(refused, async |mut c| c.retry(request.clone()).await).await?.job)
    }

    /// Deletes a job.
    pub(crate) async fn delete(&mut self, id: &JobId) -> Result<JobView, Failure> {
        let request = wire::DeleteRequest { id: id.to_string() };
        view(self.call(refused, async |mut c| c.delete(request.clone()).await).await?.job)
    }

    /// The job, why it is where it is, and what its plan decided.
    pub(crate) async fn explain(
        &mut self,
        id: &JobId,
    ) -> Result<(JobView, Vec<String>, Vec<String>), Failure> {
        let request = wire::ExplainRequest { id: id.to_string() };
        let answer = self.call(refused, async |mut c| c.explain(request.clone()).await).await?;
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
            let mut stream = self.call(refused, async |mut c| c.watch(request.clone()).await).await?;
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

    /// One call to the leader, looked for over all addresses. Every call of the service may be repeated: those that
    /// change something are idempotent (Submit by its key, the others by the job's state).
    async fn call<T, F>(
        &mut self,
        refused: fn(&Status) -> Failure,
        call: impl Fn(JobsClient<Channel>) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let mut last = String::new();
        for round in 0..ROUNDS {
            for _ in 0..self.addresses.len() {
                let address = self.addresses[self.current].clone();
                match connect(&address).await {
                    Ok(client) => match call(client).await {
                        Ok(answer) => return Ok(answer.into_inner()),
                        Err(status) if status.code() == Code::Unavailable => {
                            last = format!("{address}: {}", status.message());
                            self.follow(&status);
                        }
                        Err(status) => return Err(refused(&status)),
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

    /// After `NotLeader`: the leader's address if it was told, else the next one.
    fn follow(&mut self, status: &Status) {
        match reelmill_proto::status::read_not_leader(status).flatten() {
            Some(leader) => {
                let leader = if leader.contains("://") { leader } else { format!("http://{leader}") };
                self.current = match self.addresses.iter().position(|a| *a == leader) {
                    Some(known) => known,
                    None => {
                        self.addresses.push(leader);
                        self.addresses.len() - 1
                    }
                };
            }
            None => self.current = (self.current + 1) % self.addresses.len(),
        }
    }
}

async fn connect(address: &str) -> Result<JobsClient<Channel>, String> {
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|e| e.to_string())?
        .connect_timeout(Duration::from_secs(3))
        .http2_keep_alive_interval(Duration::from_secs(15))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    let channel = endpoint.connect().await.map_err(|e| {
        let mut text = e.to_string();
        let mut source = std::error::Error::source(&e);
        while let Some(inner) = source {
            text = inner.to_string();
            source = inner.source();
        }
        text
    })?;
    Ok(JobsClient::new(channel).max_decoding_message_size(64 << 20))
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
        Code::NotFound | Code::PermissionDenied => Failure::new(Exit::Input, status.message().to_owned()),
        _ => refused(status),
    }
}

fn refused(status: &Status) -> Failure {
    let exit = match status.code() {
        Code::InvalidArgument | Code::NotFound | Code::AlreadyExists | Code::FailedPrecondition => {
            Exit::Usage
        }
        Code::Cancelled => Exit::Cancelled,
        _ => Exit::Unreachable,
    };
    Failure::new(exit, status.message().to_owned())
}
