//! A cluster whose workers have no credential of any store: film and package lie in S3, requests are signed for them. With
//! conditional puts, and by promotion without; there through two kills: of the leader while workers upload, and of the one
//! that took over in the middle of the promotion.

use crate::etcd_server::EtcdServer;
use crate::{SHORT, command, expected_headers, open, run};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use reelmill_blob::{Blobs, PutOptions};
use reelmill_tests::process::Process;
use reelmill_tests::reelmill::{self, own_address};
use reelmill_tests::seaweed::Seaweed;
use reelmill_tests::tool;
use serde_json::Value;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// What one cluster makes of the film, and where its package goes.
pub(crate) struct Cluster<'a> {
    pub(crate) server: &'a Seaweed,
    /// Is there.
    pub(crate) directory: &'a Path,
    pub(crate) publish: &'a str,
    /// Options of its coordinators beside the usual ones.
    pub(crate) options: &'a [String],
    /// Variables of its coordinators beside those of the store.
    pub(crate) variables: &'a [(&'a str, &'a str)],
}

/// One of its coordinators.
struct Coordinator {
    process: Process,
    http: String,
}

impl Coordinator {
    /// Waits until it says this of itself.
    fn is(&mut self, role: &str) -> Result<()> {
        let is_it = tool::wait_until(&format!("a coordinator is {role}"), PATIENCE, || {
            let ended = self.process.ended().ok().flatten().map(|_| false);
            let says = || reelmill::get(&self.http, "/readyz").ok().filter(|r| r.1.starts_with(role));
            ended.or_else(|| says().map(|_| true))
        });
        ensure!(is_it?, "{}", self.process.said());
        Ok(())
    }

    /// Waits until the crash switch has ended it.
    fn is_aborted(&mut self) -> Result<()> {
        let ended = tool::wait_until("a coordinator aborts", PATIENCE, || self.process.ended().transpose());
        let ended = ended.with_context(|| self.process.said())??;
        ensure!(ended.signal() == Some(6), "{ended}: {}", self.process.said());
        Ok(())
    }

    /// Waits until the one job is published.
    fn has_published(&self) -> Result<()> {
        let state = || -> Option<String> {
            let (_, body) = reelmill::get(&self.http, "/api/jobs").ok().filter(|r| r.0 == 200)?;
            let jobs: Value = serde_json::from_str(&body).ok()?;
            let state = jobs["jobs"][0]["state"].as_str()?;
            ["published", "failed"].contains(&state).then(|| state.to_owned())
        };
        let state = tool::wait_until("the job ends", PATIENCE, state).with_context(|| self.process.said())?;
        ensure!(state == "published", "{state}: {}", self.process.said());
        Ok(())
    }
}

impl Cluster<'_> {
    fn coordinator(&self, name: &str, grpc: &str, switch: Option<&str>) -> Result<Coordinator> {
        let http = own_address()?;
        let mut command = command(self.server, &["--log", "debug", "coordinator", "--grants", "signed"]);
        command.args(["--grpc", grpc, "--http", &http, "--lease-ttl", "3s"]);
        command.args(["--work", "s3://vod/work", "--publish", self.publish]).args(self.options);
        command.arg("--data").arg(self.directory.join(name)).envs(self.variables.iter().copied());
        command.envs(switch.map(|at| ("REELMILL_ABORT_AT_EFFECT", at)));
        Ok(Coordinator { process: Process::start(command, &self.said(name))?, http })
    }

    /// Where a process's words go.
    fn said(&self, name: &str) -> std::path::PathBuf {
        self.directory.join(format!("{name}.log"))
    }

    /// A worker that knows these coordinators, and nothing of any store.
    fn worker(&self, coordinators: &str) -> Result<Process> {
        let options = ["--log", "debug", "worker", "--name", "w1", "--slots", "2", "--coordinator"];
        let mut command = reelmill::command(&options)?;
        command.arg(coordinators).arg("--scratch").arg(self.directory).env_clear();
        for name in ["PATH", "HOME"] {
            command.env(name, std::env::var_os(name).with_context(|| name.to_owned())?);
        }
        Process::start(command, &self.said("worker"))
    }

    fn submit(&self, coordinators: &str) -> Command {
        let mut command = command(self.server, &["submit", "s3://films/in/a%20film.mp4", "--json"]);
        command.args(["--ladder", "240p", "--preset", "speed", "--segment", "1s", "--chunk", "2s"]);
        command.env("REELMILL_COORDINATOR", coordinators);
        command
    }

    /// With one coordinator, and nothing that goes wrong; the job.
    pub(crate) fn publishes(&self) -> Result<String> {
        let grpc = own_address()?;
        let mut coordinator = self.coordinator("coordinator", &grpc, None)?;
        coordinator.is("leading")?;
        let _worker = self.worker(&format!("http://{grpc}"))?;
        let job = job_of(run(self.submit(&format!("http://{grpc}")).arg("--watch")))?;
        coordinator.has_published()?;
        Ok(job)
    }

    /// With a leader that dies while requests are signed, another one that takes over and dies while it promotes, and a
    /// third; the job.
    async fn publishes_through_kills(&self) -> Result<String> {
        let grpc = [own_address()?, own_address()?, own_address()?];
        let all = grpc.each_ref().map(|address| format!("http://{address}")).join(",");
        let mut first = self.coordinator("first", &grpc[0], Some("coordinator:send_granted:5+"))?;
        first.is("leading")?;
        let mut second = self.coordinator("second", &grpc[1], Some("coordinator:copy_media:2+"))?;
        second.is("standby")?;
        let _worker = self.worker(&all)?;
        let job = job_of(run(&mut self.submit(&all)))?;
        first.is_aborted()?;
        second.is_aborted()?;

        // nobody leads: what was promoted lies there, what was not where its attempt wrote it, and no root names it
        let there = names(&self.package(&job)).await?;
        ensure!(there.iter().any(|name| name.ends_with(".m4s") || name.ends_with(".mp4")), "{there:?}");
        ensure!(!there.iter().any(|name| name.ends_with(".m3u8") || name.ends_with(".mpd")), "{there:?}");
        let attempts = open(self.server, &format!("s3://vod/work/local/{job}/attempts"));
        ensure!(names(&attempts).await?.len() >= there.len(), "removed before it was published: {there:?}");

        let mut third = self.coordinator("third", &grpc[2], None)?;
        third.is("leading")?;
        third.has_published()?;
        Ok(job)
    }

    fn package(&self, job: &str) -> Blobs {
        open(self.server, &format!("{}/local/{job}", self.publish))
    }

    /// All that its processes have said.
    fn words(&self) -> Result<String> {
        let mut words = String::new();
        for entry in std::fs::read_dir(self.directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "log") {
                words += &std::fs::read_to_string(&path)?;
            }
        }
        Ok(words)
    }
}

/// The job that a submit tells of.
fn job_of(submitted: tool::Done) -> Result<String> {
    let submitted = submitted.success()?;
    let line: Value = serde_json::from_str(submitted.text().lines().next().context("a line")?)?;
    Ok(line["job_id"].as_str().context("a job")?.to_owned())
}

async fn names(root: &Blobs) -> Result<Vec<String>> {
    Ok(root.list("").await?.into_iter().map(|entry| entry.name).collect())
}

/// All of a package by name but the report, which tells times, with the headers that it is to be served with.
async fn files(package: &Blobs) -> Result<Vec<(String, Bytes)>> {
    let mut files = Vec::new();
    for name in names(package).await?.into_iter().filter(|name| name != "report.json") {
        ensure!(
            package.served_as(&name).await? == expected_headers(&name),
            "{name} is served in another way"
        );
        files.push((name.clone(), package.get(&name).await?.0));
    }
    Ok(files)
}

#[tokio::test]
async fn a_film_is_published_by_workers_without_a_credential() {
    let directory = tempfile::tempdir().expect("scratch");
    let film = SHORT.make(directory.path()).expect("a film").path;
    let (server, etcd) = (Seaweed::start().expect("SeaweedFS"), EtcdServer::start());
    let content = Bytes::from(std::fs::read(&film).expect("read"));
    let films = open(&server, "s3://films");
    films.put_replace("in/a film.mp4", content, PutOptions::default()).await.expect("uploaded");
    let bucket = open(&server, "s3://vod");
    bucket.put_replace("beside", Bytes::from_static(b"x"), PutOptions::default()).await.expect("written");

    let (direct, promoted) = (directory.path().join("direct"), directory.path().join("promoted"));
    let etcd = ["--etcd", &etcd.urls().join(","), "--etcd-lease-ttl", "2s"].map(str::to_owned);
    let direct = Cluster {
        server: &server,
        directory: &direct,
        publish: "s3://vod/direct",
        options: &[],
        variables: &[],
    };
    let promoted = Cluster {
        directory: &promoted,
        publish: "s3://vod/promoted",
        options: &etcd,
        variables: &[("AWS_CONDITIONAL_PUT", "disabled")],
        ..direct
    };
    for cluster in [&direct, &promoted] {
        std::fs::create_dir(cluster.directory).expect("a directory");
    }
    let wanted = direct.publishes().unwrap_or_else(|error| panic!("direct: {error:?}"));
    let wanted = files(&direct.package(&wanted)).await.expect("a package");
    assert!(wanted.iter().any(|(name, _)| name == "master.m3u8") && wanted.len() > 12, "{}", wanted.len());

    let job = promoted.publishes_through_kills().await.unwrap_or_else(|error| panic!("promoted: {error:?}"));
    let made = files(&promoted.package(&job)).await.expect("a package");
    assert!(made == wanted, "the way to the package changes the package");
    let left = bucket.list(&format!("work/local/{job}/attempts")).await.expect("listed");
    assert_eq!(left, []);
    for cluster in [direct, promoted] {
        assert!(!cluster.words().expect("words").contains("Signature="), "a signature was logged");
    }
}

#[test]
fn what_cannot_be_signed_for_is_refused_by_name_at_the_start() {
    let directory = tempfile::tempdir().expect("scratch");
    let data = directory.path().to_str().expect("UTF-8");
    let (grpc, http) = (own_address().expect("an address"), own_address().expect("an address"));
    let arguments = ["coordinator", "--grants", "signed", "--data", data, "--grpc", &grpc, "--http", &http];
    let done = run(&mut reelmill::command(&arguments).expect("the binary"));
    assert_ne!(done.code(), 0);
    assert!(
        done.stderr.contains("cannot be signed") && done.stderr.contains("--grants ambient"),
        "{}",
        done.stderr
    );
}
