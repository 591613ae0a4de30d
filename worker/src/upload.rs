//! Uploads of a granted attempt: every file create-only, then the report's object. Nothing is ever overwritten.
//!
//! A file that is there already is another attempt's of the same spec: with the same bytes it is as good as ours.
//! Order matters only at the end: the report names the files, so it comes last. Retries belong to the store.

use crate::abort::AbortSwitch;
use crate::work::Made;
use crate::{fault, metrics};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use reelmill_blob::{Blobs, PutOptions, PutOutcome, Stores};
use reelmill_common::outcome::{Fault, FaultKind};
use reelmill_common::session::{NamedFile, WriteGrant};
use std::path::Path;

/// Files of one attempt that are on their way at the same time.
const AT_ONCE: usize = 4;
/// A folder's name changes with settings and binding, so its files may be kept for ever.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// Puts everything an attempt made where its grant says.
pub(crate) async fn upload(
    stores: &Stores,
    output: &WriteGrant,
    made: &Made,
    content_type: &'static str,
    switch: &AbortSwitch,
) -> Result<(), Fault> {
    if !made.files.is_empty() {
        let package = stores.open(&output.package).map_err(|e| fault::of_output(&e))?;
        let options = PutOptions { content_type: Some(content_type), cache_control: Some(IMMUTABLE) };
        let package = &package;
        futures::stream::iter(made.files.clone())
            .map(|(file, path)| async move {
                switch.around("put_media", put(package, &file, &path, options)).await
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
    }
    let work = stores.open(&output.work).map_err(|e| fault::of_output(&e))?;
    let key = made.report.key.as_str();
    let object = made.object.clone();
    switch.around("put_report", create(&work, key, object, PutOptions::default())).await
}

async fn put(package: &Blobs, file: &NamedFile, path: &Path, options: PutOptions) -> Result<(), Fault> {
    let content = tokio::fs::read(path).await.map_err(|e| {
        fault::fault(FaultKind::Storage, format!("scratch file {} cannot be read back: {e}", path.display()))
    })?;
    if content.len() as u64 != file.bytes {
        let message = format!("scratch file {} has changed: {} bytes", path.display(), content.len());
        return Err(fault::fault(FaultKind::Storage, message));
    }
    create(package, &file.name, content.into(), options).await
}

async fn create(root: &Blobs, name: &str, content: Bytes, options: PutOptions) -> Result<(), Fault> {
    let bytes = content.len() as u64;
    match root.put_create(name, content, options).await.map_err(|e| fault::of_output(&e))? {
        PutOutcome::Created => metrics::uploaded(bytes),
        PutOutcome::AlreadyThere(found) if found.same => {
            tracing::debug!(name, "already there with the same bytes");
        }
        PutOutcome::AlreadyThere(found) => {
            let message = format!(
                "{}/{name} is there already with other bytes ({} of them, SHA-256 {}): it is kept, and this attempt \
                 is given up; an ffmpeg of another build wrote it",
                root.root(),
                found.content.len(),
                found.sha256
            );
            return Err(fault::fault(FaultKind::Output, message));
        }
    }
    Ok(())
}
