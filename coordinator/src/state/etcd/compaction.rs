//! The leader's care for etcd's history: every write leaves the value before it behind, until somebody compacts.
//!
//! Only a leader does it, and only for as long as its term lasts; nothing depends on it but space. Scans read the latest
//! revision, so that a compaction takes nothing from anybody here. It is the whole etcd's history, other users' as well:
//! where that is somebody else's business, it is turned off.

use super::{CallError, Shared};
use crate::telemetry;
use etcd_client::Error;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::Code;

/// Compacts for ever, if it is wanted at all.
pub(super) async fn run(shared: &Shared) {
    let every = Duration::from_millis(shared.config.compact_every_ms);
    if every.is_zero() {
        return std::future::pending().await;
    }
    let mut history = History::new(Duration::from_millis(shared.config.keep_revisions_ms));
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut has_freed = false;
    loop {
        tick.tick().await;
        if has_freed && let Err(error) = touch(shared).await {
            tracing::debug!(?error, "etcd may count what was freed as used until its next write");
        }
        let compacted = compact(shared, &mut history).await;
        has_freed = matches!(compacted, Ok(Some(_)));
        if let Err(error) = &compacted {
            tracing::warn!(?error, "etcd could not be compacted, trying again later");
        }
        if let Ok(Some(_)) | Err(_) = compacted {
            telemetry::compacted(compacted.is_ok());
        }
    }
}

/// Notes the present revision and compacts to the newest one that is old enough, if there is one.
async fn compact(shared: &Shared, history: &mut History) -> Result<Option<i64>, CallError> {
    let Some(now) = shared.revision().await? else { return Ok(None) };
    let Some(revision) = history.note(Instant::now(), now) else { return Ok(None) };
    let compact = |client: etcd_client::Client| async move {
        match client.kv_client().compact(revision, None).await {
            // another leader's, or etcd's own, went further
            Err(Error::GRpcStatus(status)) if status.code() == Code::OutOfRange => Ok(()),
            answer => answer.map(drop),
        }
    };
    shared.endpoints.read(compact).await?;
    tracing::debug!(revision, "etcd is compacted");
    Ok(Some(revision))
}

/// A write that changes nothing: pages freed by a compaction come to be free, and counted as such, with the next write
/// after it. Where submits are refused and no job runs there would be none. A lease without keys costs no revision, so
/// that it is not compacted in its turn.
async fn touch(shared: &Shared) -> Result<(), CallError> {
    let lease =
        shared.endpoints.once(|mut client| async move { client.lease_grant(1, None).await }).await?.id();
    shared.endpoints.once(|mut client| async move { client.lease_revoke(lease).await }).await.map(drop)
}

/// Revisions, and when they were the present one.
struct History {
    keep: Duration,
    notes: VecDeque<(Instant, i64)>,
}

impl History {
    fn new(keep: Duration) -> Self {
        Self { keep, notes: VecDeque::new() }
    }

    /// Notes the present revision. Returns the newest one noted at least `keep` ago, once.
    fn note(&mut self, now: Instant, revision: i64) -> Option<i64> {
        self.notes.push_back((now, revision));
        let mut old = None;
        while let Some((_, noted)) = self.notes.pop_front_if(|(at, _)| now.duration_since(*at) >= self.keep) {
            old = Some(noted);
        }
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_revision_that_is_old_enough_goes_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut history = History::new(Duration::from_secs(300));
        assert_eq!(history.note(at(0), 10), None);
        assert_eq!(history.note(at(60), 20), None);
        assert_eq!(history.note(at(299), 30), None);
        assert_eq!(history.note(at(361), 40), Some(20), "those of 300 s ago and before");
        assert_eq!(history.note(at(362), 50), None, "nothing is compacted twice");
        assert_eq!(history.note(at(700), 60), Some(50));
        assert_eq!(History::new(Duration::ZERO).note(at(0), 7), Some(7));
    }
}
