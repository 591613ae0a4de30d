//! Jobs that were published long ago: their records lie as objects beside their work files, and no key knows of them.
//!
//! They can be looked at, played and deleted. An archived record is read when it is asked for, below the caller's tenant
//! only, and a few are kept; where a job has a live record, that one counts.

use crate::catalog::{Catalog, fatal, storage, unreadable};
use crate::driver::DriverHandle;
use crate::places::url_of;
use crate::status;
use reelmill_blob::BlobErrorKind;
use reelmill_common::job::{JobState, JobView, Progress};
use reelmill_common::outcome::FaultKind;
use reelmill_common::record::{ArchiveRecord, JobRecord};
use reelmill_common::{JobId, TenantId};
use reelmill_coordinator_core::{Refusal, TaskError};
use reelmill_proto::stored::decode_archive;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tonic::Status;

/// The archived record in a job's private area.
pub(crate) const RECORD: &str = "record.pb";
/// A record names two roots and two playlists a rendition; this is many times the largest.
const RECORD_MAX: u64 = 4 << 20;

impl Catalog {
    /// An archived job of a tenant; `None` where there is none, or where the job lives.
    pub(crate) async fn archived(
        &self,
        tenant: &TenantId,
        job: &JobId,
    ) -> Result<Option<Arc<ArchiveRecord>>, TaskError> {
        if self.record(job).is_some() {
            return Ok(None);
        }
        let is_theirs = |archive: &ArchiveRecord| archive.job.request.tenant == *tenant;
        if let Some(archive) = self.kept_archive(job) {
            return Ok(Some(archive).filter(|a| is_theirs(a)));
        }
        let seen = self.forgotten();
        let work = self.work_of(tenant, job)?;
        let bytes = match work.head(RECORD).await {
            Ok(head) if head.bytes > RECORD_MAX => {
                let text = format!("the archived record of {job} has {} bytes: that is none", head.bytes);
                return Err(fatal(FaultKind::Storage, text));
            }
            Ok(head) => work.get_range(RECORD, 0..head.bytes).await.map_err(storage)?,
            Err(error) if error.kind() == BlobErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(storage(error)),
        };
        let archive = decode_archive(&bytes).map_err(|e| unreadable("archived record", &e))?;
        if archive.job.id != *job || !is_theirs(&archive) || archive.job.state != JobState::Published {
            tracing::warn!(%job, %tenant, "what lies in the place of an archived record is another one");
            return Ok(None);
        }
        let archive = Arc::new(archive);
        self.keep_archive(Arc::clone(&archive), seen);
        Ok(Some(archive))
    }

    /// The record by which a job's package is played, live or archived.
    pub(crate) async fn published(
        &self,
        tenant: &TenantId,
        job: &JobId,
    ) -> Result<Option<Arc<JobRecord>>, TaskError> {
        let record = match self.record(job) {
            Some(live) => Some(live),
            None => self.archived(tenant, job).await?.map(|a| Arc::new(a.job.clone())),
        };
        Ok(record.filter(|r| r.state == JobState::Published && r.request.tenant == *tenant))
    }

    /// An archived job as its tenant sees it.
    fn archived_view(&self, archive: &ArchiveRecord) -> Result<JobView, TaskError> {
        let (record, request) = (&archive.job, &archive.job.request);
        let chunks = record.plan.as_ref().map_or(0, |p| p.chunks);
        let package = url_of(&self.place(record)?.package);
        Ok(JobView {
            id: record.id.clone(),
            tenant: request.tenant.clone(),
            source: request.source.clone(),
            labels: request.labels.clone(),
            priority: request.priority,
            state: record.state.clone(),
            run: record.run,
            submitted_unix_ms: record.submitted_unix_ms,
            progress: Progress {
                chunks_done: chunks,
                chunks_total: chunks,
                elapsed_ms: record.elapsed_ms(archive.archived_unix_ms),
                media_ms: record.plan.as_ref().map_or(0, |p| p.media_ms),
                ..Progress::default()
            },
            version: record.version,
            notes: vec![format!(
                "archived on {}; its package is at {package} and plays on; it can be shown and deleted",
                day(archive.archived_unix_ms)
            )],
            package: Some(package),
        })
    }
}

/// A job of a tenant, live or archived.
pub(crate) async fn view(
    driver: &DriverHandle,
    catalog: &Catalog,
    tenant: &TenantId,
    job: &JobId,
) -> Result<JobView, Status> {
    let missing = match driver.view(tenant.clone(), job.clone()).await {
        Ok(view) => return Ok(view),
        Err(refusal) => refusal,
    };
    if matches!(missing, Refusal::NotFound(_))
        && let Some(archive) = catalog.archived(tenant, job).await.map_err(|e| status::of_task(&e))?
    {
        return catalog.archived_view(&archive).map_err(|e| status::of_task(&e));
    }
    Err(status::of_refusal(&missing, &driver.role()))
}

/// The day of a wall clock, in UTC.
fn day(unix_ms: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)).unwrap_or(UNIX_EPOCH);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.split_once('T').map_or_else(|| text.clone(), |(day, _)| day.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_told_as_iso_8601_has_it() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(1_795_000_000_000), "2026-11-18");
    }
}
