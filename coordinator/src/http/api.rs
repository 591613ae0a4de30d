//! Jobs as JSON, to read: what the gRPC service shows, for browsers and scripts.

use super::{Edge, HttpError};
use crate::access::Principal;
use crate::archive;
use crate::status;
use axum::extract::{Extension, Json, Path, Query, State};
use reelmill_common::JobId;
use reelmill_common::job::{JobState, JobView};
use reelmill_coordinator_core::{LIST_MAX, Refusal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tonic::Status;

#[derive(Serialize)]
pub(super) struct JsonJob {
    id: String,
    tenant: String,
    source: String,
    labels: BTreeMap<String, String>,
    priority: i32,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<JsonFailure>,
    run: u32,
    version: u64,
    submitted_unix_ms: u64,
    progress: JsonProgress,
    #[serde(skip_serializing_if = "Option::is_none")]
    package: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    play: Option<String>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct JsonFailure {
    kind: &'static str,
    message: String,
    detail: String,
}

#[derive(Serialize)]
struct JsonProgress {
    chunks_done: u32,
    chunks_total: u32,
    chunks_running: u32,
    work_total_ms: u64,
    work_done_ms: u64,
    eta_ms: Option<u64>,
    elapsed_ms: u64,
    media_ms: u64,
    retries: u32,
}

#[derive(Serialize)]
pub(super) struct JsonPage {
    jobs: Vec<JsonJob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// `?after=<job>&limit=<n>`.
#[derive(Deserialize)]
pub(super) struct Paging {
    after: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/jobs`: oldest first.
pub(super) async fn list(
    State(edge): State<Edge>,
    Extension(principal): Extension<Principal>,
    Query(paging): Query<Paging>,
) -> Result<Json<JsonPage>, HttpError> {
    let after = paging.after.as_deref().map(job_id).transpose()?;
    let limit = paging.limit.unwrap_or(LIST_MAX).clamp(1, LIST_MAX);
    let jobs = edge.driver.list(principal.tenant, after, limit).await.map_err(|r| refused(&edge, &r))?;
    let next = jobs.last().filter(|_| jobs.len() == limit).map(|j| j.id.to_string());
    Ok(Json(JsonPage { jobs: jobs.into_iter().map(JsonJob::from).collect(), next }))
}

/// `GET /api/jobs/<job>`.
pub(super) async fn one(
    State(edge): State<Edge>,
    Extension(principal): Extension<Principal>,
    Path(job): Path<String>,
) -> Result<Json<JsonJob>, HttpError> {
    let view = archive::view(&edge.driver, &edge.catalog, &principal.tenant, &job_id(&job)?).await?;
    Ok(Json(view.into()))
}

pub(super) fn refused(edge: &Edge, refusal: &Refusal) -> HttpError {
    status::of_refusal(refusal, &edge.driver.role()).into()
}

pub(super) fn job_id(text: &str) -> Result<JobId, HttpError> {
    JobId::parse(text).map_err(|e| Status::invalid_argument(e.to_string()).into())
}

impl From<JobView> for JsonJob {
    fn from(v: JobView) -> Self {
        let is_published = v.state == JobState::Published;
        let state = v.state.name();
        let failure = match v.state {
            JobState::Failed(r) => {
                Some(JsonFailure { kind: r.kind.name(), message: r.message, detail: r.detail })
            }
            _ => None,
        };
        let p = v.progress;
        Self {
            play: is_published.then(|| format!("/play/{}", v.id)),
            id: v.id.to_string(),
            tenant: v.tenant.to_string(),
            source: v.source,
            labels: v.labels,
            priority: v.priority,
            state,
            failure,
            run: v.run.0,
            version: v.version,
            submitted_unix_ms: v.submitted_unix_ms,
            progress: JsonProgress {
                chunks_done: p.chunks_done,
                chunks_total: p.chunks_total,
                chunks_running: p.chunks_running,
                work_total_ms: p.work_total_ms,
                work_done_ms: p.work_done_ms,
                eta_ms: p.eta_ms,
                elapsed_ms: p.elapsed_ms,
                media_ms: p.media_ms,
                retries: p.retries,
            },
            package: v.package,
            notes: v.notes,
        }
    }
}
