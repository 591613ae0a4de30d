//! A cluster whose workers have no credential of any store: film and package lie in S3, requests are signed for them. With
//! conditional puts, and by promotion without.

use crate::{SHORT, command, expected_headers, open, run};
use anyhow::{Context, Result};
use bytes::Bytes;
use reelmill_blob::PutOptions;
use reelmill_tests::process::Process;
use reelmill_tests::reelmill::{self, own_address};
use reelmill_tests::seaweed::Seaweed;
use reelmill_tests::tool;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// What one cluster made of the film: where its package lies.
struct Cluster<'a> {
    server: &'a Seaweed,
    directory: &'a Path,
    /// Variables of the coordinator beside those of the store.
    variables: &'a [(&'a str, &'a str)],
    publish: &'a str,
}

impl Cluster<'_> {
    fn publishes(&self) -> Result<(String, String)> {
        let (grpc, http) = (own_address()?, own_address()?);
        std::fs::create_dir(self.directory)?;
        let data = self.directory.join("data");
        let data = data.to_str().context("UTF-8")?;
        let (work, publish) = ("s3://vod/work", self.publish);
        let places = ["--data", data, "--work", work, "--publish", publish, "--lease-ttl", "3s"];
        let roles = ["--log", "debug", "coordinator", "--grants", "signed", "--grpc", &grpc, "--http", &http];
        let mut coordinator = command(self.server, &[&roles[..], &places].concat());
        coordinator.envs(self.variables.iter().copied());
        let log = self.directory.join("coordinator.log");
        let mut coordinator = Process::start(coordinator, &log)?;
        let leads = tool::wait_until("the coordinator leads", PATIENCE, || {
            let ended = coordinator.ended().ok().flatten().map(|_| false);
            ended.or_else(|| reelmill::get(&http, "/readyz").ok().filter(|r| r.0 == 200).map(|_| true))
        });
        anyhow::ensure!(leads?, "{}", coordinator.said());

        let mut worker = reelmill::command(&[
            "--log",
            "debug",
            "worker",
            "--name",
            "w1",
            "--slots",
            "2",
            "--coordinator",
        ])?;
        worker.arg(format!("http://{grpc}")).arg("--scratch").arg(self.directory);
        worker.env_clear();
        for name in ["PATH", "HOME"] {
            worker.env(name, std::env::var_os(name).with_context(|| name.to_owned())?);
        }
        let said = self.directory.join("worker.log");
        let _worker = Process::start(worker, &said)?;

        let mut submit = command(self.server, &["submit", "s3://films/in/a%20film.mp4", "--watch", "--json"]);
        submit.args(["--ladder", "240p", "--preset", "speed", "--chunk", "4s"]);
        let done = run(submit.env("REELMILL_COORDINATOR", format!("http://{grpc}")));
        let words = || {
            std::fs::read_to_string(&said).unwrap_or_default()
                + &std::fs::read_to_string(&log).unwrap_or_default()
        };
        anyhow::ensure!(done.code() == 0, "{} {}\n{}", done.text(), done.stderr, words());
        let first: serde_json::Value = serde_json::from_str(done.text().lines().next().context("a line")?)?;
        Ok((first["job_id"].as_str().context("a job")?.to_owned(), words()))
    }
}

#[tokio::test]
async fn a_film_is_published_by_workers_without_a_credential() {
    let directory = tempfile::tempdir().expect("scratch");
    let film = SHORT.make(directory.path()).expect("a film").path;
    let server = Seaweed::start().expect("SeaweedFS");
    let content = Bytes::from(std::fs::read(&film).expect("read"));
    let films = open(&server, "s3://films");
    films.put_replace("in/a film.mp4", content, PutOptions::default()).await.expect("uploaded");
    let bucket = open(&server, "s3://vod");
    bucket.put_replace("beside", Bytes::from_static(b"x"), PutOptions::default()).await.expect("written");

    let disabled = [("AWS_CONDITIONAL_PUT", "disabled")];
    let mut packages = Vec::new();
    for (name, variables) in [("direct", &[][..]), ("promoted", &disabled)] {
        let (directory, publish) = (directory.path().join(name), format!("s3://vod/{name}"));
        let cluster = Cluster { server: &server, directory: &directory, variables, publish: &publish };
        let (job, words) = cluster.publishes().unwrap_or_else(|error| panic!("{name}: {error:?}"));
        assert!(!words.contains("Signature="), "{name}: a signature was logged");
        let package = open(&server, &format!("{publish}/local/{job}"));
        let mut files = Vec::new();
        for entry in package.list("").await.expect("listed").into_iter().filter(|e| e.name != "report.json") {
            let content = package.get(&entry.name).await.expect("read").0;
            assert_eq!(
                package.served_as(&entry.name).await.expect("looked at"),
                expected_headers(&entry.name)
            );
            files.push((entry.name, content));
        }
        assert!(
            files.iter().any(|(name, _)| name == "master.m3u8") && files.len() > 6,
            "{name}: {}",
            files.len()
        );
        let left = bucket.list(&format!("work/local/{job}/attempts")).await.expect("listed");
        assert_eq!(left, [], "{name}");
        packages.push(files);
    }
    assert!(packages[0] == packages[1], "the way to the package changes the package");
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
