//! Deletes what a job left behind: the only place in the coordinator that deletes objects, and only of jobs in
//! Collecting, which can never live again.

use super::publish::REPORT;
use super::{Context, Order};
use crate::catalog::{LoadedPlan, storage};
use crate::places::JobPlace;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reelmill_blob::{BlobErrorKind, Blobs};
use reelmill_common::keys::media_name;
use reelmill_common::record::ManifestRef;
use reelmill_common::{SegmentNumber, Sha256};
use reelmill_coordinator_core::{TaskError, TaskOutput};

/// Objects deleted at a time.
const DELETES: usize = 16;

/// Deletes the package, then the private area: a crash in between leaves what is needed to go on.
pub(super) async fn collect(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let place = context.catalog.place(&order.record)?;
    let private = all(&place.work).await?;
    let package = if place.is_shared {
        own_names(context, order, &place, &private).await?
    } else {
        all(&place.package).await?
    };
    delete(context, &place.package, package).await?;
    delete(context, &place.work, private).await?;
    Ok(TaskOutput::Collected)
}

async fn all(blobs: &Blobs) -> Result<Vec<String>, TaskError> {
    Ok(blobs.list("").await.map_err(storage)?.into_iter().map(|e| e.name).collect())
}

/// In a directory that the submitter named: what this job's own plan and record know. Nothing at all when the roots
/// are not this job's, it never had any, or another job writes there: its package may use the same media.
async fn own_names(
    context: &Context,
    order: &Order,
    place: &JobPlace,
    private: &[String],
) -> Result<Vec<String>, TaskError> {
    if order.record.manifests.is_empty() || context.catalog.is_output_of_another(&order.record) {
        return Ok(Vec::new());
    }
    for root in order.record.manifests.iter().filter(|m| !m.name.contains('/')) {
        if is_replaced(&place.package, root).await? {
            return Ok(Vec::new());
        }
    }
    let manifests = order.record.manifests.iter().map(|m| m.name.clone());
    let mut names: Vec<String> = manifests.chain([REPORT.to_owned()]).collect();
    // the plan is deleted after the package: without it there is nothing left here
    let plan = order.record.plan.as_ref().filter(|p| private.iter().any(|n| n == p.object.key.as_str()));
    if plan.is_some() {
        names.extend(media_names(context.catalog.plan(&order.record).await?.as_ref()));
    }
    Ok(names)
}

async fn is_replaced(package: &Blobs, root: &ManifestRef) -> Result<bool, TaskError> {
    match package.get(&root.name).await {
        Ok((content, _)) => Ok(Sha256::of(&content) != root.sha256),
        Err(error) if error.kind() == BlobErrorKind::NotFound => Ok(false),
        Err(error) => Err(storage(error)),
    }
}

/// Every media file of a plan.
pub(super) fn media_names(loaded: &LoadedPlan) -> Vec<String> {
    let plan = &loaded.plan;
    let segments = u32::try_from(plan.grid.len().saturating_sub(1)).unwrap_or(u32::MAX);
    let video = plan.video.iter().flat_map(|r| {
        let numbers = (1..=segments).map(|n| Some(SegmentNumber(n)));
        std::iter::once(None).chain(numbers).map(|n| media_name(&r.folder, n))
    });
    let audio = plan.audio.iter().flat_map(|r| {
        let numbers = r.segments.iter().map(|s| Some(s.number));
        std::iter::once(None).chain(numbers).map(|n| media_name(&r.folder, n))
    });
    video.chain(audio).collect()
}

/// Deletes roots first: nobody should begin to play what is going.
async fn delete(context: &Context, blobs: &Blobs, names: Vec<String>) -> Result<(), TaskError> {
    let (roots, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|n| !n.contains('/'));
    for names in [roots, others] {
        let one = |name: String| async move {
            context.switch.around("delete_object", blobs.delete(&name)).await.map_err(storage)
        };
        stream::iter(names.into_iter().map(one)).buffer_unordered(DELETES).try_collect::<()>().await?;
    }
    Ok(())
}
