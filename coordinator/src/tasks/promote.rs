//! Promotion: in a store that cannot create a name only once, what was committed lies below the names of the attempts that
//! made it, and is copied from there to its final names before anything names it. The bytes stay in the store.
//!
//! A commit names one attempt, and nobody but that attempt ever writes below its name. So every leader that promotes a
//! job copies the same bytes to the same names, as often as it likes: one that was deposed and does not know it yet does
//! no harm, whether it comes before, between or after the copies of the one that leads. It is stopped by its sources, too:
//! they go first when a job is collected, so that what it still tries finds nothing, and only after the roots were written
//! when a job is published, by when every copy of it was proved to be there.
//!
//! In a directory that a submitter named something may lie under a final name already. It is never overwritten: the same
//! bytes are as good as ours, others refuse the job.

use super::package::{folder_of, is_published};
use super::{Context, Order};
use crate::catalog::{fatal, internal, storage};
use crate::places::JobPlace;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reelmill_blob::BlobErrorKind;
use reelmill_common::keys::{ATTEMPTS, attempt_file, media_name};
use reelmill_common::outcome::{ChunkReport, FaultKind};
use reelmill_common::plan::Plan;
use reelmill_common::record::{CommitRecord, Placement};
use reelmill_common::{AttemptId, Sha256};
use reelmill_coordinator_core::TaskError;
use std::collections::BTreeSet;

/// Objects copied, or deleted, at a time: none of their bytes come here.
const AT_ONCE: usize = 32;
/// Objects read at a time that lie where ours should go.
const READS: usize = 4;

/// A committed file and its attempt.
struct Committed {
    attempt: AttemptId,
    name: String,
    bytes: u64,
    sha256: Sha256,
}

/// Copies what is committed to its final names, if the job is one that needs it. That everything is there afterwards, with
/// its size, is for whoever lists the package.
pub(super) async fn promote(
    context: &Context,
    order: &Order,
    place: &JobPlace,
    plan: &Plan,
    commits: &[CommitRecord],
    reports: &[ChunkReport],
) -> Result<(), TaskError> {
    if order.record.placement == Placement::Direct {
        return Ok(());
    }
    let mut committed = Vec::new();
    for ((chunk, commit), report) in plan.chunks.iter().zip(commits).zip(reports) {
        for file in &report.files {
            let folder = folder_of(chunk, file.rung).ok_or_else(|| {
                internal(format!("a report names rung {}, which its chunk has not", file.rung))
            })?;
            if !is_published(plan, folder) {
                continue;
            }
            let name = media_name(folder, file.segment);
            let (attempt, bytes, sha256) = (commit.attempt, file.bytes, file.sha256);
            committed.push(Committed { attempt, name, bytes, sha256 });
        }
    }
    if place.is_shared {
        // one at a time, so that of two jobs with one place the second finds what the first has put there
        let _only = context.shared_place.lock().await;
        let missing = not_there(place, committed).await?;
        return copy(context, place, missing).await;
    }
    copy(context, place, committed).await
}

async fn copy(context: &Context, place: &JobPlace, files: Vec<Committed>) -> Result<(), TaskError> {
    let one = |file: Committed| async move {
        let from = attempt_file(file.attempt, &file.name);
        let copied = place.package.copy_from(&file.name, &place.work, &from, file.bytes);
        match context.switch.around("copy_media", copied).await {
            // another leader has promoted, published and removed it: then the listing finds what it was copied to
            Err(error) if error.kind() == BlobErrorKind::NotFound => {
                tracing::debug!(name = file.name, "nothing to promote: {error}");
                Ok(())
            }
            copied => copied.map_err(storage),
        }
    };
    let mut copies = Vec::with_capacity(files.len());
    for file in files {
        copies.push(one(file));
    }
    stream::iter(copies).buffer_unordered(AT_ONCE).try_collect().await
}

/// Those files under whose final names nothing lies yet. What lies there must be the same: it is read for that, because
/// no store says what an object's SHA-256 is unless its writer did.
async fn not_there(place: &JobPlace, files: Vec<Committed>) -> Result<Vec<Committed>, TaskError> {
    let folders: BTreeSet<&str> = files.iter().filter_map(|f| Some(f.name.split_once('/')?.0)).collect();
    let mut there = BTreeSet::new();
    for folder in folders {
        there.extend(place.package.list(folder).await.map_err(storage)?.into_iter().map(|entry| entry.name));
    }
    let (there, missing): (Vec<_>, Vec<_>) = files.into_iter().partition(|f| there.contains(&f.name));
    let mut looks = Vec::with_capacity(there.len());
    for file in there {
        looks.push(is_the_same(place, file));
    }
    stream::iter(looks).buffer_unordered(READS).try_collect::<()>().await?;
    Ok(missing)
}

async fn is_the_same(place: &JobPlace, file: Committed) -> Result<(), TaskError> {
    match place.package.get_verified(&file.name, file.bytes, file.sha256).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == BlobErrorKind::Changed => {
            let root = place.package.root();
            let message = format!(
                "{root}/{} is there already with other bytes. It is never overwritten: remove it, or let the package go \
                 elsewhere",
                file.name
            );
            Err(fatal(FaultKind::Storage, message))
        }
        Err(error) => Err(storage(error)),
    }
}

/// Removes what lies below names of attempts. For jobs past the point of no return: no attempt of theirs can win any more,
/// and what has won was copied. An upload that was allowed before may still land afterwards; nothing names it, and it goes
/// when the job is archived or collected, by when it has long ended.
pub(super) async fn remove_attempts(
    context: &Context,
    order: &Order,
    place: &JobPlace,
) -> Result<(), TaskError> {
    if order.record.placement == Placement::Direct {
        return Ok(());
    }
    let left = place.work.list(ATTEMPTS).await.map_err(storage)?;
    let one = |name: String| async move {
        context.switch.around("delete_object", place.work.delete(&name)).await.map_err(storage)
    };
    let names = left.into_iter().map(|entry| entry.name);
    stream::iter(names.map(one)).buffer_unordered(AT_ONCE).try_collect().await
}
