//! Deletes what a job left behind, in Collecting, from where it can never live again. Nothing else in the coordinator
//! deletes objects but what removes attempts' own files (`promote`) and what was never published (`audit`).

use super::promote::remove_attempts;
use super::publish::REPORT;
use super::{Context, Order};
use crate::catalog::{storage, unreadable};
use crate::places::JobPlace;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reelmill_blob::{BlobErrorKind, Blobs};
use reelmill_common::job::JobState;
use reelmill_common::keys::{is_plan, media_name};
use reelmill_common::plan::Plan;
use reelmill_common::record::ManifestRef;
use reelmill_common::{SegmentNumber, Sha256};
use reelmill_coordinator_core::{TaskError, TaskOutput};
use reelmill_plan::manifest::{DASH_ROOT, HLS_ROOT};
use reelmill_proto::stored::decode_plan;

/// What players begin with.
const ROOTS: [&str; 2] = [HLS_ROOT, DASH_ROOT];
/// Objects deleted at a time.
const DELETES: usize = 16;

/// Deletes the package, then the private area: a crash in between leaves what is needed to go on. A job that is collected
/// already is collected once more before its record goes, for what a deposed leader stored late; not in a directory that
/// a submitter named: by then the same film may have been made there again by somebody else, byte for byte.
pub(super) async fn collect(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let place = context.catalog.place(&order.record)?;
    // first: a leader that was deposed in the middle of promoting copies nothing behind the deletion
    remove_attempts(context, order, &place).await?;
    let private = all(&place.work).await?;
    let is_again = order.record.state == JobState::Collected;
    let package = if place.is_shared && is_again {
        Vec::new()
    } else if place.is_shared {
        own_names(context, order, &place, &private).await?
    } else {
        all(&place.package).await?
    };
    if place.is_shared && !is_again {
        // in a directory of our own nothing else is there to be mistaken for ours, and it goes as a whole
        let names = package.iter().cloned().collect();
        context.switch.around("sweep", place.package.sweep_names(names)).await.map_err(storage)?;
    }
    delete(context, &place.package, package).await?;
    delete(context, &place.work, private).await?;
    Ok(TaskOutput::Collected)
}

async fn all(blobs: &Blobs) -> Result<Vec<String>, TaskError> {
    Ok(blobs.list("").await.map_err(storage)?.into_iter().map(|e| e.name).collect())
}

/// In a directory that the submitter named: what this job's own plan and record know. Nothing when another job writes
/// there. Roots that are not this job's (it never published, or was replaced) stay, with the folders that they name:
/// two jobs of one film with one set of settings share their media.
async fn own_names(
    context: &Context,
    order: &Order,
    place: &JobPlace,
    private: &[String],
) -> Result<Vec<String>, TaskError> {
    if context.catalog.is_output_of_another(&order.record) {
        return Ok(Vec::new());
    }
    let foreign = foreign_roots(&place.package, &order.record.manifests).await?;
    let mut names: Vec<String> = order.record.manifests.iter().map(|m| m.name.clone()).collect();
    if foreign.is_empty() && !names.is_empty() {
        names.push(REPORT.to_owned());
    }
    // the plan is deleted after the package: without it there is nothing left here
    let plan = order.record.plan.as_ref().filter(|p| private.iter().any(|n| n == p.object.key.as_str()));
    if plan.is_some() {
        names.extend(media_names(&context.catalog.plan(&order.record).await?.plan));
    }
    names.extend(earlier_names(order, place, private).await?);
    names.sort_unstable();
    names.dedup();
    names.retain(|name| match name.split_once('/') {
        // a folder's name ends in a hash: nothing else that a root says looks like it
        Some((folder, _)) => !foreign.iter().any(|(_, text)| text.contains(folder)),
        None => !foreign.iter().any(|(root, _)| root == name),
    });
    Ok(names)
}

/// What earlier revisions of the plan wrote: rungs that were bound anew left their folders behind.
async fn earlier_names(
    order: &Order,
    place: &JobPlace,
    private: &[String],
) -> Result<Vec<String>, TaskError> {
    let current = order.record.plan.as_ref().map(|p| p.object.key.as_str());
    let mut names = Vec::new();
    for key in private.iter().filter(|name| is_plan(name) && Some(name.as_str()) != current) {
        let (content, _) = place.work.get(key).await.map_err(storage)?;
        names.extend(media_names(&decode_plan(&content).map_err(|e| unreadable("plan", &e))?));
    }
    Ok(names)
}

/// The roots in a package that are not as the job's record names them, with what they say.
pub(super) async fn foreign_roots(
    package: &Blobs,
    own: &[ManifestRef],
) -> Result<Vec<(&'static str, String)>, TaskError> {
    let mut foreign = Vec::new();
    for root in ROOTS {
        match package.get(root).await {
            Ok((content, _)) => {
                let sha256 = Sha256::of(&content);
                if !own.iter().any(|m| m.name == root && m.sha256 == sha256) {
                    foreign.push((root, String::from_utf8_lossy(&content).into_owned()));
                }
            }
            Err(error) if error.kind() == BlobErrorKind::NotFound => {}
            Err(error) => return Err(storage(error)),
        }
    }
    Ok(foreign)
}

/// Every media file of a plan.
pub(super) fn media_names(plan: &Plan) -> Vec<String> {
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
