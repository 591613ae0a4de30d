//! Uploads of a granted attempt: every file create-only, then the report's object. Nothing is ever overwritten.
//!
//! Where the grant says that nobody else writes below its base, files are put without asking what is there: only a try of
//! the same upload can have put it. So is the report, always: it is named by its attempt.
//!
//! A file that is there already is another attempt's of the same rendition. With the same bytes it is as good as ours;
//! with others it is verified against the spec and, if it holds, named in the report in place of ours. Order matters
//! only at the end: the report names the files, so it comes last. Retries belong to the store.

use crate::abort::AbortSwitch;
use crate::work::Made;
use crate::{fault, metrics};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use reelmill_blob::{Blobs, Existing, PutOptions, PutOutcome, SignedRequests, Stores, blocking};
use reelmill_common::keys::IMMUTABLE;
use reelmill_common::outcome::{Fault, FaultKind, FileReport, Report};
use reelmill_common::session::WriteGrant;
use reelmill_worker_core::adopt::adopt;

/// Files of one attempt that are on their way at the same time.
const AT_ONCE: usize = 4;

/// Puts everything an attempt made where its grant says. Gives the report of what lies there now.
pub(crate) async fn upload(
    stores: &Stores,
    output: &WriteGrant,
    signed: Option<&SignedRequests>,
    made: &Made,
    switch: &AbortSwitch,
) -> Result<Report, Fault> {
    let mut adopted = Vec::new();
    if !made.files.is_empty() {
        let package = open(stores, &output.package, signed)?;
        let options =
            PutOptions { content_type: Some(made.item.media_type()), cache_control: Some(IMMUTABLE) };
        let target = &Target { package, own: output.own, options };
        adopted = futures::stream::iter(0..made.files.len())
            .map(|i| async move {
                let put = switch.around("put_media", put(target, made, i)).await?;
                Ok::<_, Fault>(put.map(|adopted| (i, adopted)))
            })
            .buffer_unordered(AT_ONCE)
            .try_filter_map(|put| async move { Ok(put) })
            .try_collect()
            .await?;
    }
    let (report, object) = made.naming(adopted);
    let work = open(stores, &output.work, signed)?;
    switch.around("put_report", replace(&work, report.key.as_str(), object, PutOptions::default())).await?;
    Ok(report)
}

/// A base URL, by the worker's credential or by the requests that are signed for the attempt: these know their files by
/// the names they were asked under.
fn open(stores: &Stores, url: &str, signed: Option<&SignedRequests>) -> Result<Blobs, Fault> {
    let opened = match signed {
        Some(signed) => stores.signed(url, signed.clone()),
        None => stores.open(url),
    };
    opened.map_err(|e| fault::of_output(&e))
}

/// Where the files of an attempt go, and how.
struct Target {
    package: Blobs,
    own: bool,
    options: PutOptions,
}

/// Puts file `i` of the attempt; what is to be reported instead if another one stays in its place.
async fn put(
    Target { package, own, options }: &Target,
    made: &Made,
    i: usize,
) -> Result<Option<FileReport>, Fault> {
    let (file, path) = &made.files[i];
    let scratch = path.clone();
    let content = blocking(move || std::fs::read(scratch)).await.map_err(std::io::Error::other).flatten();
    let content = content.map_err(|e| {
        fault::fault(FaultKind::Storage, format!("scratch file {} cannot be read back: {e}", path.display()))
    })?;
    if content.len() as u64 != file.bytes {
        let message = format!("scratch file {} has changed: {} bytes", path.display(), content.len());
        return Err(fault::fault(FaultKind::Storage, message));
    }
    let ours = Bytes::from(content);
    if *own {
        replace(package, &file.name, ours, *options).await?;
        return Ok(None);
    }
    let Some(found) = create(package, &file.name, ours.clone(), *options).await? else { return Ok(None) };
    let Some((spec, report)) = made.asked_for(i) else {
        return Err(in_the_way(package, &file.name, &found, "nothing says what should be in it"));
    };
    let adopted = adopt(spec, report, &ours, &found.content)
        .map_err(|e| in_the_way(package, &file.name, &found, &e.to_string()))?;
    tracing::info!(name = file.name, sha256 = %found.sha256, "adopted what was there already");
    Ok(Some(adopted))
}

/// Writes `name`, which is this attempt's alone.
async fn replace(root: &Blobs, name: &str, content: Bytes, options: PutOptions) -> Result<(), Fault> {
    let bytes = content.len() as u64;
    root.put_replace(name, content, options).await.map_err(|e| fault::of_output(&e))?;
    metrics::uploaded(bytes);
    Ok(())
}

/// Writes `name` if it is not there; what is there instead, if its bytes are others.
async fn create(
    root: &Blobs,
    name: &str,
    content: Bytes,
    options: PutOptions,
) -> Result<Option<Existing>, Fault> {
    let bytes = content.len() as u64;
    match root.put_create(name, content, options).await.map_err(|e| fault::of_output(&e))? {
        PutOutcome::Created => {
            metrics::uploaded(bytes);
            Ok(None)
        }
        PutOutcome::AlreadyThere(found) if found.same => {
            tracing::debug!(name, "already there with the same bytes");
            Ok(None)
        }
        PutOutcome::AlreadyThere(found) => Ok(Some(found)),
    }
}

fn in_the_way(root: &Blobs, name: &str, found: &Existing, why: &str) -> Fault {
    let message = format!(
        "{}/{name} is there already and cannot be used ({} bytes, SHA-256 {}): {why}. It is never overwritten: remove \
         it, or let the package go elsewhere",
        root.root(),
        found.content.len(),
        found.sha256
    );
    fault::fault(FaultKind::Output, message)
}
