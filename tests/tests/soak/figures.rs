//! How long it took until things went on, read from what the coordinators logged.

use crate::cluster::{Cluster, Role};
use crate::faults::{Blow, Kind, Struck};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

/// Work was handed to a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Leased {
    unix_ms: u64,
    coordinator: String,
    attempt: String,
    /// Job and chunk.
    work: (String, String),
    session: u64,
}

/// What the coordinators said, in the order of time.
#[derive(Default)]
pub(crate) struct Story {
    leases: Vec<Leased>,
    /// When each attempt was settled.
    settled: BTreeMap<String, u64>,
    /// Whose session it was, by coordinator and number, from when on.
    sessions: Vec<(u64, String, u64, String)>,
}

impl Story {
    /// Reads the logs of both coordinators.
    pub(crate) fn read(cluster: &Cluster) -> Result<Self> {
        let mut story = Self::default();
        for node in cluster.nodes.iter().filter(|n| n.role == Role::Coordinator) {
            let log = std::fs::read_to_string(&node.log)?;
            for line in log.lines().filter(|line| line.starts_with('{')) {
                story.line(&node.name, line).with_context(|| line.to_owned())?;
            }
        }
        story.leases.sort_by_key(|lease| lease.unix_ms);
        story.sessions.sort();
        Ok(story)
    }

    fn line(&mut self, coordinator: &str, line: &str) -> Result<()> {
        // a process killed while it wrote leaves half a line
        let Ok(line) = serde_json::from_str::<Value>(line) else { return Ok(()) };
        let fields = &line["fields"];
        let time = humantime::parse_rfc3339(line["timestamp"].as_str().context("a time")?)?;
        let unix_ms = u64::try_from(time.duration_since(UNIX_EPOCH)?.as_millis())?;
        let text = |name: &str| fields[name].as_str().map(str::to_owned).context("a text");
        match fields["message"].as_str() {
            Some("leased") => self.leases.push(Leased {
                unix_ms,
                coordinator: coordinator.to_owned(),
                attempt: text("attempt")?,
                work: (text("job")?, text("chunk")?),
                session: fields["session"].as_u64().context("a session")?,
            }),
            Some("settled") => {
                self.settled.entry(text("attempt")?).or_insert(unix_ms);
            }
            Some("worker connected") => {
                let session = line["span"]["session"].as_u64().context("a session")?;
                self.sessions.push((unix_ms, coordinator.to_owned(), session, text("worker")?));
            }
            _ => {}
        }
        Ok(())
    }

    /// Whose session a lease went to: a coordinator that starts again counts from the beginning.
    fn worker(&self, lease: &Leased) -> Option<&str> {
        let mut all = self.sessions.iter().rev();
        let found = all.find(|(since, coordinator, session, _)| {
            *since <= lease.unix_ms && *coordinator == lease.coordinator && *session == lease.session
        });
        found.map(|(.., worker)| worker.as_str())
    }

    /// From a worker's death to when all that it held was in other hands, in milliseconds; of those deaths that cost
    /// something and whose recovery no other fault disturbed.
    pub(crate) fn after_workers(&self, struck: &[Struck]) -> Vec<u64> {
        let deaths = deaths(struck, Role::Worker).map(|death| (death, self.after_worker(death)));
        recoveries(struck, deaths)
    }

    fn after_worker(&self, death: &Struck) -> Option<u64> {
        let held = self.leases.iter().filter(|lease| {
            let is_open = self.settled.get(&lease.attempt).is_none_or(|at| *at > death.unix_ms);
            lease.unix_ms <= death.unix_ms && is_open && self.worker(lease) == Some(&death.victim)
        });
        // one that was held since long before belongs to a job that ended without it
        let again = held.filter(|lease| death.unix_ms - lease.unix_ms < 120_000).filter_map(|lease| {
            self.leases.iter().find(|l| l.unix_ms > death.unix_ms && l.work == lease.work).map(|l| l.unix_ms)
        });
        again.max()
    }

    /// From a leader's death to the next lease, in milliseconds; of those deaths while work was open and whose recovery
    /// no other fault disturbed.
    pub(crate) fn after_leaders(&self, struck: &[Struck]) -> Vec<u64> {
        let next = |death: &Struck| self.leases.iter().find(|l| l.unix_ms > death.unix_ms).map(|l| l.unix_ms);
        recoveries(struck, deaths(struck, Role::Coordinator).map(|death| (death, next(death))))
    }

    /// The longest that an attempt took from lease to settlement before `unix_ms`, in milliseconds.
    pub(crate) fn longest_chunk(&self, unix_ms: u64) -> u64 {
        let took = |lease: &Leased| {
            let settled = *self.settled.get(&lease.attempt)?;
            (settled <= unix_ms).then(|| settled.saturating_sub(lease.unix_ms))
        };
        self.leases.iter().filter_map(took).max().unwrap_or(0)
    }
}

fn deaths(struck: &[Struck], role: Role) -> impl Iterator<Item = &Struck> {
    struck.iter().filter(move |s| s.busy && s.kind == Kind::Process(role, Blow::Kill))
}

/// How long each death was felt, unless another fault began before that was over.
fn recoveries<'a>(struck: &[Struck], deaths: impl Iterator<Item = (&'a Struck, Option<u64>)>) -> Vec<u64> {
    let alone = |death: &Struck, over: u64| {
        !struck.iter().any(|other| other.unix_ms > death.unix_ms && other.unix_ms <= over)
    };
    let recovered =
        deaths.filter_map(|(death, over)| over.filter(|over| alone(death, *over)).map(|o| (death, o)));
    recovered.map(|(death, over)| over - death.unix_ms).collect()
}

/// Least, median and most.
pub(crate) fn spread(mut of: Vec<u64>) -> String {
    of.sort_unstable();
    match (of.first(), of.get(of.len() / 2), of.last()) {
        (Some(least), Some(median), Some(most)) => {
            format!("{} of them, {least} / {median} / {most} ms (least, median, most)", of.len())
        }
        _ => "none".to_owned(),
    }
}
