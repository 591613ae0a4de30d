//! Makes a package visible: the folded commits and `report.json`, media playlists, and the two roots last.
//!
//! The job's record already names every manifest with its hash, so whoever leads writes the very same bytes. Manifests
//! are the only objects that are ever replaced.
//!
//! A package may be written over an older one in the same directory: media folders are named by settings and source, so
//! the old one plays until its roots are replaced. Its files that the new roots do not name stay.

use super::collect::media_names;
use super::package::{self, Package};
use super::promote::remove_attempts;
use super::{Context, Order, report};
use crate::catalog::{internal, storage};
use crate::content;
use crate::places::JobPlace;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use reelmill_blob::{Blobs, PutOptions};
use reelmill_common::job::FailReason;
use reelmill_coordinator_core::{TaskError, TaskOutput};
use reelmill_plan::manifest::ManifestFile;
use reelmill_proto::stored::encode_commits;
use std::sync::Arc;

/// Media playlists written at a time.
const WRITES: usize = 8;
/// The folded commits in the private area.
const COMMITS: &str = "commits.pb";
/// What was done and measured, beside the roots.
pub(crate) const REPORT: &str = "report.json";

/// Writes everything, roots last.
pub(super) async fn write_manifests(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let package = match context.take_built(&order.record.id) {
        Some(package) => package,
        None => Arc::new(package::build(context, order).await?),
    };
    if package.manifest_refs() != order.record.manifests {
        return Err(internal("the manifests differ from those the job's record names".to_owned()));
    }
    let place = context.catalog.place(&order.record)?;
    if let Err(error) = write(context, order, &package, &place).await {
        // the next try need not read every report again
        context.put_built(&order.record.id, package);
        return Err(error);
    }
    if let Err(TaskError::Transient { message } | TaskError::Fatal(FailReason { message, .. })) =
        remove_attempts(context, order, &place).await
    {
        // the package is whole and must not wait for this; archiving and collection do it again
        tracing::warn!(job = %order.record.id, %message, "what attempts left behind was not removed");
    }
    Ok(TaskOutput::ManifestsWritten)
}

async fn write(
    context: &Context,
    order: &Order,
    package: &Package,
    place: &JobPlace,
) -> Result<(), TaskError> {
    sweep(context, package, place).await?;
    let commits = encode_commits(&package.commits);
    put(context, &place.work, COMMITS, commits, PutOptions::default()).await?;
    let json = report::render(order, package)?;
    put(context, &place.package, REPORT, json, content::options(REPORT)).await?;
    let (roots, playlists): (Vec<_>, Vec<_>) = package.manifests.iter().partition(|m| !m.name.contains('/'));
    let one = |m: &ManifestFile| {
        let (name, bytes) = (m.name.clone(), m.bytes.clone());
        async move { put(context, &place.package, &name, bytes, content::options(&name)).await }
    };
    stream::iter(playlists.into_iter().map(one)).buffer_unordered(WRITES).try_collect::<()>().await?;
    for root in roots {
        one(root).await?;
    }
    Ok(())
}

/// Attempts and leaders that were killed leave the files they were writing beside the ones that count.
async fn sweep(context: &Context, package: &Package, place: &JobPlace) -> Result<(), TaskError> {
    let manifests = package.manifests.iter().map(|m| m.name.clone());
    let names =
        media_names(&package.plan.plan).into_iter().chain(manifests).chain([REPORT.to_owned()]).collect();
    let swept = context.switch.around("sweep", place.package.sweep_names(names)).await.map_err(storage)?;
    if swept > 0 {
        tracing::info!(
            root = place.package.root(),
            files = swept,
            "removed what crashes had left half-written"
        );
    }
    Ok(())
}

async fn put(
    context: &Context,
    blobs: &Blobs,
    name: &str,
    bytes: Vec<u8>,
    options: PutOptions,
) -> Result<(), TaskError> {
    let kind = match name {
        COMMITS => "put_commits",
        REPORT => "put_report",
        _ if name.contains('/') => "put_playlist",
        _ => "put_root",
    };
    let put = blobs.put_replace(name, Bytes::from(bytes), options);
    context.switch.around(kind, put).await.map_err(storage)
}
