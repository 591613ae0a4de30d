//! What was measured, as one line of JSON and as a table.

use crate::etcd::Health;
use crate::process::Usage;
use serde_json::{Value, json};
use std::fmt;

/// What a kill left.
#[derive(Clone, Copy, Debug)]
pub struct Killed {
    /// Distinct commits acknowledged until then.
    pub acked: u64,
    /// Commits stored beyond those: their acknowledgements were under way.
    pub unacked: usize,
    /// From the kill until every worker was welcomed again, milliseconds.
    pub away_ms: u64,
}

/// How large the database was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) at_s: u64,
    pub(crate) database: u64,
    pub(crate) in_use: u64,
    pub(crate) coordinator_mib: u64,
}

/// CPU of a process in the measured time, in cores, and its memory at the end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) cores: f64,
    pub(crate) rss_mib: u64,
    pub(crate) peak_mib: u64,
}

impl Used {
    pub(crate) fn between(before: Usage, after: Usage, seconds: f64) -> Self {
        // a process that was killed meanwhile began anew
        let cores = (after.cpu_s - before.cpu_s).max(0.0) / seconds;
        Self { cores, rss_mib: after.rss_mib, peak_mib: after.peak_mib }
    }

    fn json(self) -> Value {
        json!({ "cores": round(self.cores), "rss_mib": self.rss_mib, "peak_mib": self.peak_mib })
    }
}

/// Milliseconds that half of all, 99 % of all, and all did not exceed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    pub(crate) count: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) most_ms: f64,
}

impl Times {
    fn json(self) -> Value {
        json!({ "count": self.count, "p50_ms": round(self.p50_ms), "p99_ms": round(self.p99_ms), "most_ms": round(self.most_ms) })
    }
}

/// Everything that was measured.
#[derive(Clone, Debug)]
pub struct Figures {
    pub(crate) store: &'static str,
    pub(crate) workers: usize,
    pub(crate) slots: u32,
    pub(crate) work_ms: u64,
    pub(crate) descriptors: u64,
    pub(crate) load: String,
    pub(crate) seconds: f64,
    /// Distinct commits acknowledged in the measured time.
    pub commits: u64,
    /// In the worst ten seconds, a second.
    pub(crate) worst_per_s: f64,
    /// Chunks open at its beginning and at its end.
    pub(crate) open: (u64, u64),
    pub(crate) leases: Times,
    pub(crate) acks: Times,
    pub(crate) coordinator: Used,
    pub(crate) etcd: Option<Used>,
    pub(crate) driver: Used,
    pub(crate) sizes: Vec<Size>,
    /// How long etcd's disk took, at the end.
    pub(crate) health: Option<Health>,
    /// Jobs that were counted and deleted on the way.
    pub(crate) deleted: u64,
    /// Welcomes beyond the first of each worker and those after kills: connections or terms that were lost.
    pub(crate) reconnects: u64,
    /// Kills, in their order.
    pub kills: Vec<Killed>,
    /// Distinct commits acknowledged from start to end.
    pub acked: u64,
}

impl Figures {
    /// Acknowledged commits a second.
    pub fn per_s(&self) -> f64 {
        self.commits as f64 / self.seconds
    }

    /// One line of JSON.
    pub fn json(&self) -> Value {
        let sizes = self.sizes.iter().map(|s| {
            json!({ "at_s": s.at_s, "database_mib": s.database >> 20, "in_use_mib": s.in_use >> 20,
                    "coordinator_mib": s.coordinator_mib })
        });
        let kills = self
            .kills
            .iter()
            .map(|k| json!({ "acked": k.acked, "stored_but_unacked": k.unacked, "away_ms": k.away_ms }));
        json!({
            "store": self.store, "workers": self.workers, "slots": self.slots, "work_ms": self.work_ms,
            "descriptors": self.descriptors, "load_before": self.load, "seconds": round(self.seconds),
            "open_chunks": [self.open.0, self.open.1], "commits": self.commits, "commits_per_s": round(self.per_s()),
            "worst_10s_per_s": round(self.worst_per_s), "lease": self.leases.json(), "ack": self.acks.json(),
            "coordinator": self.coordinator.json(), "etcd": self.etcd.map(Used::json),
            "driver": self.driver.json(), "sizes": sizes.collect::<Vec<_>>(),
            "etcd_fsync_p99_ms": self.health.map(|h| h.fsync.p99_ms),
            "etcd_fsync_most_ms": self.health.map(|h| h.fsync.most_ms),
            "etcd_commit_p99_ms": self.health.map(|h| h.commit.p99_ms),
            "etcd_commit_most_ms": self.health.map(|h| h.commit.most_ms), "jobs_counted_and_deleted": self.deleted,
            "reconnects": self.reconnects, "kills": kills.collect::<Vec<_>>(), "acked_in_all": self.acked,
        })
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, text: String| writeln!(f, "  {name:<34} {text}");
        let (workers, slots) = (self.workers, self.slots);
        row("state store", self.store.to_owned())?;
        row("workers", format!("{workers} connections of {slots} slots, work of {} ms", self.work_ms))?;
        row("load of the machine before", self.load.clone())?;
        row("chunks open, begin and end", format!("{} and {}", self.open.0, self.open.1))?;
        row(
            "commits acknowledged",
            format!("{} in {:.1} s: {:.0}/s", self.commits, self.seconds, self.per_s()),
        )?;
        row("worst ten seconds", format!("{:.0}/s", self.worst_per_s))?;
        for (name, t) in [("lease", self.leases), ("acknowledgement", self.acks)] {
            row(name, format!("p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms", t.p50_ms, t.p99_ms, t.most_ms))?;
        }
        let all =
            [("coordinator", Some(self.coordinator)), ("etcd", self.etcd), ("driver", Some(self.driver))];
        for (name, used) in all.into_iter().filter_map(|(name, used)| Some((name, used?))) {
            row(name, format!("{:.2} cores, {} MiB, at most {}", used.cores, used.rss_mib, used.peak_mib))?;
        }
        let disk = self.health.map(|h| [("etcd's fsync", h.fsync), ("etcd's database commit", h.commit)]);
        for (name, t) in disk.into_iter().flatten() {
            row(name, format!("p99 at most {} ms, most at most {} ms", t.p99_ms, t.most_ms))?;
        }
        for s in &self.sizes {
            let (file, used) = (s.database >> 20, s.in_use >> 20);
            row(
                &format!("after {} s", s.at_s),
                format!("database {file} MiB, {used} in use; coordinator {} MiB", s.coordinator_mib),
            )?;
        }
        for k in &self.kills {
            let (acked, unacked) = (k.acked, k.unacked);
            row(
                "killed",
                format!("{acked} acked, all stored; {unacked} more stored; away {} ms", k.away_ms),
            )?;
        }
        row("connections lost, but by kills", self.reconnects.to_string())?;
        row("jobs counted and deleted", self.deleted.to_string())?;
        row("acknowledged and stored, in all", self.acked.to_string())
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
