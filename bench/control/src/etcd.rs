//! A real etcd with default flags and its data on disk, and the independent look into it: `etcdctl`.

use crate::ledger::Commits;
use crate::process::{Process, Usage, free_address, get, until};
use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reelmill_common::JobId;
use reelmill_common::record::StateKey;
use reelmill_proto::stored::decode_commit;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// What a coordinator puts before all its keys.
const PREFIX: &str = "reelmill/";
/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// One member.
#[derive(Debug)]
pub(crate) struct Etcd {
    process: Process,
    directory: PathBuf,
    client: String,
    peer: String,
}

/// How etcd does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Health {
    /// Size of the database file, bytes.
    pub(crate) database: u64,
    /// Of that, in use.
    pub(crate) in_use: u64,
    /// How long syncs of its log took since it was started.
    pub(crate) fsync: Took,
    /// The same of commits of its database.
    pub(crate) commit: Took,
}

/// How long something took, as a histogram tells it: bounds of buckets, milliseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Took {
    /// 99 of 100 no longer than this.
    pub(crate) p99_ms: f64,
    /// None longer than this; infinite beyond the histogram's last bound.
    pub(crate) most_ms: f64,
}

impl Etcd {
    /// Starts one below `directory` and waits until it answers.
    pub(crate) async fn start(directory: &Path) -> Result<Self> {
        let (client, peer) = (free_address()?, free_address()?);
        let process = spawn(directory, &client, &peer)?;
        let this = Self { process, directory: directory.to_owned(), client, peer };
        this.answers().await?;
        Ok(this)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again over the same data.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.process = spawn(&self.directory, &self.client, &self.peer)?;
        self.answers().await
    }

    async fn answers(&self) -> Result<()> {
        until("etcd answers", PATIENCE, async || {
            Ok(get(&self.client, "/health").await.is_some_and(|body| body.contains("true")))
        })
        .await
    }

    /// Where clients reach it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.client)
    }

    /// What it has used.
    pub(crate) fn usage(&self) -> Result<Usage> {
        self.process.usage()
    }

    /// Its own figures.
    pub(crate) async fn health(&self) -> Result<Health> {
        let text = get(&self.client, "/metrics").await.context("etcd tells no metrics")?;
        let value = |name: &str| -> Result<f64> {
            let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
            Ok(line.with_context(|| format!("etcd has no metric {name}"))?.trim().parse()?)
        };
        Ok(Health {
            database: value("etcd_mvcc_db_total_size_in_bytes")? as u64,
            in_use: value("etcd_mvcc_db_total_size_in_use_in_bytes")? as u64,
            fsync: took(&text, "etcd_disk_wal_fsync_duration_seconds")?,
            commit: took(&text, "etcd_disk_backend_commit_duration_seconds")?,
        })
    }

    /// The commits of a job, as `etcdctl` finds them.
    pub(crate) async fn commits(&self, job: &JobId) -> Result<Commits> {
        let prefix = format!("{PREFIX}commits/{job}/");
        let output = tokio::process::Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.url(), "--command-timeout", "60s"])
            .args(["get", "--prefix", &prefix, "--write-out", "json"])
            .output()
            .await
            .context("cannot start etcdctl: it comes with etcd")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "etcdctl ended with {}: {said}", output.status);
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let entries = answer["kvs"].as_array().map_or(&[][..], Vec::as_slice);
        entries.iter().map(|entry| commit(entry, job)).collect()
    }
}

fn commit(entry: &Value, job: &JobId) -> Result<(reelmill_common::SpecId, reelmill_common::AttemptId)> {
    let bytes = |name: &str| -> Result<Vec<u8>> {
        Ok(STANDARD.decode(entry[name].as_str().with_context(|| format!("etcdctl told no {name}"))?)?)
    };
    let key = String::from_utf8(bytes("key")?)?;
    let parsed = key.strip_prefix(PREFIX).and_then(StateKey::parse);
    let record = decode_commit(&bytes("value")?)?;
    let named = StateKey::Commit(job.clone(), record.spec);
    ensure!(parsed == Some(named), "{key} holds the commit of {} of {}", record.spec, record.job);
    Ok((record.spec, record.attempt))
}

fn spawn(directory: &Path, client: &str, peer: &str) -> Result<Process> {
    let (client, peer) = (format!("http://{client}"), format!("http://{peer}"));
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(directory.join("etcd"));
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", &format!("default={peer}"), "--log-level", "warn"]);
    Process::start(command, &directory.join("etcd.log"))
}

/// The upper bounds of the buckets of a Prometheus histogram that hold the 99th percentile and the longest.
fn took(text: &str, name: &str) -> Result<Took> {
    let head = format!("{name}_bucket{{le=\"");
    let buckets: Vec<(f64, u64)> = text
        .lines()
        .filter_map(|line| {
            let (bound, count) = line.strip_prefix(&head)?.split_once("\"} ")?;
            // "+Inf" parses
            Some((bound.parse().ok()?, count.parse::<f64>().ok()? as u64))
        })
        .collect();
    let (_, all) = buckets.last().with_context(|| format!("etcd has no histogram {name}"))?;
    let bound_ms = |wanted: u64| {
        buckets.iter().find(|(_, count)| *count >= wanted).map_or(0.0, |(bound, _)| bound * 1_000.0)
    };
    Ok(Took { p99_ms: bound_ms((all * 99).div_ceil(100)), most_ms: bound_ms(*all) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_bound_of_its_bucket() {
        let text = "h_bucket{le=\"0.001\"} 10\nh_bucket{le=\"0.002\"} 989\nh_bucket{le=\"0.004\"} 999\n\
                    h_bucket{le=\"+Inf\"} 1000\nh_sum 1\n";
        assert_eq!(took(text, "h").unwrap(), Took { p99_ms: 4.0, most_ms: f64::INFINITY });
        let all = text.replace("999", "1000");
        assert_eq!(took(&all, "h").unwrap(), Took { p99_ms: 4.0, most_ms: 4.0 });
        assert!(took(text, "other").is_err());
    }
}
