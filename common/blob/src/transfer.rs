//! One attempt to read an object's bytes: bounded in size and in time without progress, and short reads found out.

use crate::blobs::Head;
use crate::error::{BlobError, BlobErrorKind};
use crate::policy::Policy;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, GetResultPayload, ObjectStore};
use std::ops::Range;
use std::sync::Arc;

/// Reads what `options` ask for, whole, or fails.
pub(crate) async fn read(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    what: &str,
    options: GetOptions,
    policy: &Policy,
) -> Result<(Bytes, Head), BlobError> {
    let result = open(store, path, what, options, policy).await?;
    let head = Head::of(&result.meta);
    Ok((content(result, what, policy).await?, head))
}

/// The bytes of what was opened, whole, or fails.
pub(crate) async fn content(result: GetResult, what: &str, policy: &Policy) -> Result<Bytes, BlobError> {
    let expected = result.range.end.saturating_sub(result.range.start);
    if expected > policy.object_bytes {
        let message =
            format!("{what} is too large to read at once: {expected} bytes, limit {}", policy.object_bytes);
        return Err(BlobError::new(BlobErrorKind::Invalid, message));
    }
    let content = match result.payload {
        // one read on a blocking thread; as a stream a file comes in pieces of 8 KiB, each with a thread switch
        GetResultPayload::File(..) => {
            let whole = async { result.bytes().await.map_err(|e| BlobError::from_store(e, "read", what)) };
            policy.limit(0, "read", what, whole).await?
        }
        GetResultPayload::Stream(body) => collect(body, expected, what, policy).await?,
    };
    if content.len() as u64 != expected {
        return Err(BlobError::damaged(format!("{what} gave {} bytes instead of {expected}", content.len())));
    }
    Ok(content)
}

/// Gathers a body, and stops once it is longer than `expected`.
async fn collect(
    mut body: BoxStream<'static, object_store::Result<Bytes>>,
    expected: u64,
    what: &str,
    policy: &Policy,
) -> Result<Bytes, BlobError> {
    let mut content = BytesMut::with_capacity(expected as usize);
    loop {
        let next = async { body.try_next().await.map_err(|e| BlobError::from_store(e, "read", what)) };
        let Some(piece) = policy.limit(0, "read", what, next).await? else {
            break;
        };
        content.extend_from_slice(&piece);
        if content.len() as u64 > expected {
            break;
        }
    }
    Ok(content.freeze())
}

/// Reads exactly `range`, of the object that `version` describes if it is given.
pub(crate) async fn read_range(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    what: &str,
    range: Range<u64>,
    version: Option<&Head>,
    policy: &Policy,
) -> Result<Bytes, BlobError> {
    if range.start >= range.end {
        return Ok(Bytes::new());
    }
    let (content, head) = read(store, path, what, options(range.clone(), version), policy).await?;
    same_version(what, version, &head)?;
    let wanted = range.end - range.start;
    if content.len() as u64 != wanted {
        // stores cut a range at the end of the object
        let message = format!("{what} ends at {} bytes; bytes {range:?} were wanted", head.bytes);
        return Err(BlobError::new(BlobErrorKind::Invalid, message));
    }
    Ok(content)
}

/// Opens an object's body.
pub(crate) async fn open(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    what: &str,
    options: GetOptions,
    policy: &Policy,
) -> Result<GetResult, BlobError> {
    policy
        .limit(0, "read", what, async {
            store.get_opts(path, options).await.map_err(|error| BlobError::from_store(error, "read", what))
        })
        .await
}

/// A ranged read that the store itself refuses when the object has changed, where it can tell.
pub(crate) fn options(range: Range<u64>, version: Option<&Head>) -> GetOptions {
    // a weak ETag never matches (RFC 9110, 13.1.1); the answer's own version is compared in any case
    let if_match = version.and_then(|head| head.version.clone()).filter(|tag| !tag.starts_with("W/"));
    GetOptions { range: Some(GetRange::Bounded(range)), if_match, ..Default::default() }
}

/// Fails for good if the object is not the one that was opened.
pub(crate) fn same_version(what: &str, wanted: Option<&Head>, found: &Head) -> Result<(), BlobError> {
    match wanted {
        Some(wanted) if wanted != found => Err(BlobError::new(
            BlobErrorKind::Changed,
            format!("{what} was replaced while it was being read"),
        )),
        _ => Ok(()),
    }
}
