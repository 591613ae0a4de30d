//! How full etcd is, as its members say it.
//!
//! etcd refuses writes when a member's database *file* reaches the quota, whatever lies free inside of it: the file
//! does not shrink by deleting or compacting, only by defragmenting. As long as the file is below the quota, pages that
//! a compaction freed are used again before it grows. So what is used is what lies in use, until the file itself has
//! come to the quota: then the store is full.

use super::super::{MAX_BATCH_BYTES, Room};
use super::{CallError, EtcdState, Shared, StateError};
use etcd_client::StatusResponse;

/// What has to be left below the quota: etcd counts the whole of a batch against it before it looks for free pages.
const MARGIN: u64 = 2 * MAX_BATCH_BYTES as u64;

/// What one member says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberStatus {
    /// Its etcd's version.
    pub version: String,
    /// Size of its database file in bytes.
    pub file_bytes: u64,
    /// Bytes in use within the file, old revisions included.
    pub used_bytes: u64,
    /// The quota it keeps: its own word since etcd 3.6, the setting before.
    pub quota_bytes: u64,
    /// It refuses writes until an operator has made room and disarmed the alarm.
    pub is_full: bool,
}

impl MemberStatus {
    fn of(status: &StatusResponse, quota_setting: u64) -> Self {
        let bytes = |n: i64| u64::try_from(n).unwrap_or(0);
        Self {
            version: status.version().to_owned(),
            file_bytes: bytes(status.db_size()),
            used_bytes: bytes(status.raft_used_db_size()),
            quota_bytes: Some(bytes(status.db_size_quota())).filter(|n| *n > 0).unwrap_or(quota_setting),
            is_full: status.errors().iter().any(|error| error.contains("NOSPACE")),
        }
    }

    /// The room in it.
    pub fn room(&self) -> Room {
        let most = self.quota_bytes;
        let is_full = self.is_full || self.file_bytes.saturating_add(MARGIN) > most;
        Room { used: if is_full { most.max(self.file_bytes) } else { self.used_bytes }, most }
    }
}

impl EtcdState {
    /// What each member says of itself, or why it does not.
    pub async fn members(&self) -> Vec<(String, Result<MemberStatus, StateError>)> {
        let asked = ask(&self.shared).await.into_iter();
        asked.map(|(url, status)| (url, status.map_err(|error| error.into_state_error("ask")))).collect()
    }
}

/// The room in the fullest member that answers: a write has to fit into every one.
pub(super) async fn room(shared: &Shared) -> Result<Option<Room>, CallError> {
    let (mut fullest, mut failed): (Option<Room>, _) = (None, None);
    for (_, status) in ask(shared).await {
        match status.map(|status| status.room()) {
            Ok(room) => fullest = Some(fullest.filter(|other| other.is_fuller_than(room)).unwrap_or(room)),
            Err(error) => failed = Some(error),
        }
    }
    match (fullest, failed) {
        (None, Some(error)) => Err(error),
        (fullest, _) => Ok(fullest),
    }
}

async fn ask(shared: &Shared) -> Vec<(String, Result<MemberStatus, CallError>)> {
    let statuses = shared.endpoints.each(|client| async move { client.maintenance_client().status().await });
    let quota = shared.config.quota_bytes;
    let read = |(url, status): (String, Result<StatusResponse, CallError>)| {
        (url, status.map(|status| MemberStatus::of(&status, quota)))
    };
    statuses.await.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(file_bytes: u64, used_bytes: u64, is_full: bool) -> MemberStatus {
        MemberStatus { version: String::new(), file_bytes, used_bytes, quota_bytes: 1 << 30, is_full }
    }

    #[test]
    fn what_lies_in_use_counts_until_the_file_itself_is_at_the_quota() {
        let most = 1 << 30;
        assert_eq!(member(900 << 20, 100 << 20, false).room(), Room { used: 100 << 20, most });
        assert_eq!(member(most - MARGIN, 100 << 20, false).room(), Room { used: 100 << 20, most });
        assert_eq!(member(most - MARGIN + 1, 100 << 20, false).room(), Room { used: most, most });
        assert_eq!(member(100 << 20, 50 << 20, true).room(), Room { used: most, most });
        assert_eq!(member(most + 1, 50 << 20, false).room(), Room { used: most + 1, most });
    }
}
