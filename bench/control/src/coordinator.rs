//! A real coordinator process, and its clients' side: submit, look, cancel, delete.

use crate::etcd::Etcd;
use crate::film::CHUNK_MS;
use crate::process::{Process, Usage, free_address, get, until};
use anyhow::{Context as _, Result, ensure};
use reelmill_common::JobId;
use reelmill_proto::jobs::v1::jobs_client::JobsClient;
use reelmill_proto::jobs::v1::{
    CancelRequest, DeleteRequest, GetRequest, Job, JobOptions, JobRequest, SubmitRequest,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

/// How long anything may take that is not disturbed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The process and where it is reached.
#[derive(Debug)]
pub(crate) struct Coordinator {
    process: Process,
    program: PathBuf,
    arguments: Vec<String>,
    directory: PathBuf,
    /// Of gRPC.
    pub(crate) address: String,
    http: String,
}

impl Coordinator {
    /// Starts one, over etcd or else with its embedded store, and waits until it leads.
    pub(crate) async fn start(
        program: &Path,
        directory: &Path,
        etcd: Option<&Etcd>,
        (workers_s, leaders_s): (u64, u64),
    ) -> Result<Self> {
        let (address, http) = (free_address()?, free_address()?);
        std::fs::write(directory.join("film.mp4"), b"no film: a measurement")?;
        let mut arguments = vec![
            "coordinator".to_owned(),
            format!("--data={}", directory.join("data").display()),
            format!("--grpc={address}"),
            format!("--http={http}"),
            format!("--lease-ttl={workers_s}s"),
            "--log=warn".to_owned(),
        ];
        if let Some(etcd) = etcd {
            arguments.extend([format!("--etcd={}", etcd.url()), format!("--etcd-lease-ttl={leaders_s}s")]);
        }
        let (program, directory) = (program.to_owned(), directory.to_owned());
        let process = spawn(&program, &arguments, &directory)?;
        let mut this = Self { process, program, arguments, directory, address, http };
        this.leads().await?;
        Ok(this)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again over the same state.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.process = spawn(&self.program, &self.arguments, &self.directory)?;
        self.leads().await
    }

    async fn leads(&mut self) -> Result<()> {
        let log = self.log();
        until("the coordinator leads", PATIENCE, async || {
            ensure!(!self.process.has_ended()?, "the coordinator ended: see {}", log.display());
            Ok(get(&self.http, "/readyz").await.is_some_and(|body| body.starts_with("leading")))
        })
        .await
    }

    /// Where its log goes.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("coordinator.log")
    }

    /// Size of the embedded store, bytes.
    pub(crate) fn state_bytes(&self) -> Result<u64> {
        let entries = std::fs::read_dir(self.directory.join("data/state"))?;
        let files =
            entries.filter_map(|e| e.and_then(|e| e.metadata()).ok()).filter(std::fs::Metadata::is_file);
        Ok(files.map(|f| f.len()).sum())
    }

    /// What it has used.
    pub(crate) fn usage(&self) -> Result<Usage> {
        self.process.usage()
    }

    /// The source that all jobs name.
    fn source(&self) -> String {
        self.directory.join("film.mp4").display().to_string()
    }

    /// A way to its jobs API.
    pub(crate) fn client(&self) -> Result<Client> {
        let channel = Endpoint::from_shared(format!("http://{}", self.address))?.connect_lazy();
        Ok(Client { jobs: JobsClient::new(channel), source: self.source(), submitted: 0 })
    }
}

fn spawn(program: &Path, arguments: &[String], directory: &Path) -> Result<Process> {
    let mut command = Command::new(program);
    // two arenas, as in the image (deploy/Dockerfile)
    command.args(arguments).env_remove("REELMILL_COORDINATOR").env("MALLOC_ARENA_MAX", "2");
    Process::start(command, &directory.join("coordinator.log"))
}

/// A client of the jobs API. While nobody leads it waits.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    jobs: JobsClient<Channel>,
    source: String,
    submitted: u64,
}

impl Client {
    /// Hands the film over once more: one segment a chunk.
    pub(crate) async fn submit(&mut self) -> Result<JobId> {
        let options = JobOptions { segment_ms: CHUNK_MS, chunk_ms: Some(CHUNK_MS), ..JobOptions::default() };
        self.submitted += 1;
        let job = JobRequest {
            source: self.source.clone(),
            options: Some(options),
            // asked again, it is the same job
            idempotency_key: format!("control-{}", self.submitted),
            // above all that were submitted before: its index and plan would wait behind all their chunks, and the
            // number of open chunks would fall
            priority: i32::try_from(self.submitted)?,
            ..JobRequest::default()
        };
        let ask = SubmitRequest { job: Some(job) };
        let answer = patiently(async || self.jobs.submit(ask.clone()).await).await?;
        Ok(JobId::parse(&answer.job.context("a job")?.id)?)
    }

    /// A job as it stands.
    pub(crate) async fn job(&mut self, id: &JobId) -> Result<Job> {
        let answer = patiently(async || self.jobs.get(GetRequest { id: id.to_string() }).await).await?;
        answer.job.context("a job")
    }

    /// Ends a job and has everything of it deleted.
    pub(crate) async fn delete(&mut self, id: &JobId) -> Result<()> {
        patiently(async || self.jobs.cancel(CancelRequest { id: id.to_string() }).await).await?;
        patiently(async || self.jobs.delete(DeleteRequest { id: id.to_string() }).await).await?;
        Ok(())
    }
}

/// Asks until somebody leads.
async fn patiently<T>(mut ask: impl AsyncFnMut() -> Result<Response<T>, Status>) -> Result<T> {
    let mut answer = None;
    until("somebody leads", PATIENCE, async || match ask().await {
        Ok(response) => {
            answer = Some(response.into_inner());
            Ok(true)
        }
        Err(status) if status.code() == Code::Unavailable => Ok(false),
        Err(status) => Err(status.into()),
    })
    .await?;
    answer.context("an answer")
}
