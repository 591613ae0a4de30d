//! From committed reports to manifests: read, verified, proved to be present, and written down, but not published yet.

use super::promote::promote;
use super::{Context, Order};
use crate::catalog::{LoadedPlan, blocking, fatal, internal, refused, storage, unreadable};
use crate::places::JobPlace;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reelmill_common::check::check_report;
use reelmill_common::keys::media_name;
use reelmill_common::outcome::{ChunkReport, FaultKind};
use reelmill_common::plan::{Plan, PlannedChunk};
use reelmill_common::record::{CommitRecord, ManifestRef};
use reelmill_common::spec::ChunkMedia;
use reelmill_common::{Sha256, SpecId};
use reelmill_coordinator_core::{TaskError, TaskOutput};
use reelmill_plan::manifest::{self, ManifestFile, PackageFacts};
use reelmill_proto::stored::decode_chunk_report;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Reports read at a time.
const READS: usize = 32;
/// Renditions listed at a time.
const LISTINGS: usize = 8;

/// Everything that is published of a job.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) plan: Arc<LoadedPlan>,
    /// In the order of the plan's chunks.
    pub(super) commits: Vec<CommitRecord>,
    /// In the order of the plan's chunks.
    pub(super) reports: Arc<Vec<ChunkReport>>,
    /// Media playlists first, roots last.
    pub(super) manifests: Vec<ManifestFile>,
}

impl Package {
    /// The manifests by name, size and hash.
    pub(super) fn manifest_refs(&self) -> Vec<ManifestRef> {
        let one = |m: &ManifestFile| ManifestRef {
            name: m.name.clone(),
            bytes: m.bytes.len() as u64,
            sha256: Sha256::of(&m.bytes),
        };
        self.manifests.iter().map(one).collect()
    }
}

/// Makes the manifests and keeps them for WriteManifests.
pub(super) async fn build_manifests(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let package = Arc::new(build(context, order).await?);
    let manifests = package.manifest_refs();
    context.put_built(&order.record.id, package);
    Ok(TaskOutput::ManifestsReady(manifests))
}

/// A pure function of plan and commits: two leaders come to the same bytes.
pub(super) async fn build(context: &Context, order: &Order) -> Result<Package, TaskError> {
    let plan = context.catalog.plan(&order.record).await?;
    let place = context.catalog.place(&order.record)?;
    let commits = in_plan_order(&plan, &order.commits)?;
    // a list, because the compiler cannot see that a lazy iterator of these futures may change threads
    let mut reads = Vec::with_capacity(commits.len());
    for (chunk, commit) in plan.plan.chunks.iter().zip(&commits) {
        reads.push(read_report(&place, chunk, commit));
    }
    let reports: Vec<ChunkReport> = stream::iter(reads).buffered(READS).try_collect().await?;
    promote(context, order, &place, &plan.plan, &commits, &reports).await?;
    prove_presence(&place, &plan.plan, &reports).await?;
    let reports = Arc::new(reports);
    let (for_plan, for_reports) = (Arc::clone(&plan), Arc::clone(&reports));
    let manifests = blocking(move || {
        let facts = PackageFacts::from_reports(&for_plan.plan, &for_reports).map_err(|e| refused(&e))?;
        manifest::write(&for_plan.plan, &facts).map_err(|e| refused(&e))
    })
    .await?;
    Ok(Package { plan, commits, reports, manifests })
}

pub(super) fn in_plan_order(
    plan: &LoadedPlan,
    commits: &[CommitRecord],
) -> Result<Vec<CommitRecord>, TaskError> {
    let by_spec: BTreeMap<SpecId, &CommitRecord> = commits.iter().map(|c| (c.spec, c)).collect();
    let find = |(number, (id, _)): (usize, (SpecId, &PlannedChunk))| {
        let commit = by_spec.get(&id);
        commit
            .map(|c| (*c).clone())
            .ok_or_else(|| internal(format!("chunk {number} of the plan is not committed")))
    };
    plan.named().enumerate().map(find).collect()
}

/// A commit's report, held against hash and spec once more.
pub(super) async fn read_report(
    place: &JobPlace,
    chunk: &PlannedChunk,
    commit: &CommitRecord,
) -> Result<ChunkReport, TaskError> {
    let object = &commit.report;
    let bytes =
        place.work.get_verified(object.key.as_str(), object.bytes, object.sha256).await.map_err(storage)?;
    let report = decode_chunk_report(&bytes).map_err(|e| unreadable("chunk report", &e))?;
    check_report(&chunk.spec, &report).map_err(|fault| fatal(fault.kind, fault.message))?;
    Ok(report)
}

/// Every file of the package that the reports name lies there with its size: one listing per rendition.
async fn prove_presence(place: &JobPlace, plan: &Plan, reports: &[ChunkReport]) -> Result<(), TaskError> {
    let mut wanted: BTreeMap<&str, Vec<(String, u64)>> = BTreeMap::new();
    for (chunk, report) in plan.chunks.iter().zip(reports) {
        for file in &report.files {
            let folder = folder_of(chunk, file.rung).ok_or_else(|| {
                internal(format!("a report names rung {}, which its chunk has not", file.rung))
            })?;
            if !is_published(plan, folder) {
                continue;
            }
            wanted.entry(folder).or_default().push((media_name(folder, file.segment), file.bytes));
        }
    }
    let mut folders = Vec::with_capacity(wanted.len());
    for (folder, files) in wanted {
        folders.push(prove_folder(place, folder, files));
    }
    stream::iter(folders).buffer_unordered(LISTINGS).try_collect().await
}

async fn prove_folder(place: &JobPlace, folder: &str, files: Vec<(String, u64)>) -> Result<(), TaskError> {
    let listed = place.package.list(folder).await.map_err(storage)?;
    let found: BTreeMap<&str, u64> = listed.iter().map(|e| (e.name.as_str(), e.bytes)).collect();
    for (name, bytes) in files {
        let what = match found.get(name.as_str()) {
            Some(size) if *size == bytes => continue,
            Some(size) => format!("has {size} bytes instead of {bytes}"),
            None => "is gone".to_owned(),
        };
        let root = place.package.root();
        let message = format!(
            "{name} in {root} was committed and {what}: somebody changed the package; submit the job again"
        );
        return Err(fatal(FaultKind::Storage, message));
    }
    Ok(())
}

/// Is the folder a rendition's? A committed chunk may hold some of an earlier revision's, too.
pub(super) fn is_published(plan: &Plan, folder: &str) -> bool {
    plan.video.iter().any(|v| v.folder == folder) || plan.audio.iter().any(|a| a.folder == folder)
}

/// The folder a file of a chunk belongs to.
pub(super) fn folder_of(chunk: &PlannedChunk, rung: u32) -> Option<&str> {
    match &chunk.spec.media {
        ChunkMedia::Video(v) => v.rungs.get(rung as usize).map(|r| r.folder.as_str()),
        ChunkMedia::Audio(a) => (rung == 0).then_some(a.folder.as_str()),
    }
}
