//! The film a job is about: which location a user's words mean, and ranged reads of that one object for as long as it
//! stays the same object.
//!
//! A path is resolved once, by whoever accepts the job: links followed, and what they lead to inside the source root.
//! From then on the resolved location is the source. Where it is read, nothing is looked up again but the bytes.

use crate::blobs::{Blobs, Head};
use crate::error::{BlobError, BlobErrorKind};
use crate::location::{Root, Stores};
use crate::transfer;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _, try_unfold};
use std::ops::Range;
use std::path::{Path, PathBuf};
use url::Url;

/// A source as it is written into a job: absolute, resolved, openable anywhere with [`open_source`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceLocation {
    /// `file:///…` or an object URL.
    pub url: String,
    /// The file, if it is one of this machine.
    pub path: Option<PathBuf>,
    /// Its size, if it is a file of this machine.
    pub bytes: Option<u64>,
}

/// Finds out what `text`, a path or a URL, names. A file must be a readable regular file and, with a `source_root`, lie
/// below it once every link is followed. An object's presence is found out when it is opened.
pub fn resolve_source(text: &str, source_root: Option<&Path>) -> Result<SourceLocation, BlobError> {
    let path = match Root::parse(text)? {
        Root::Local(path) => path,
        Root::Bucket { url, prefix, .. } if !prefix.as_ref().is_empty() => {
            return Ok(SourceLocation { url: url.to_string(), path: None, bytes: None });
        }
        Root::Bucket { url, .. } => {
            return Err(BlobError::new(
                BlobErrorKind::Invalid,
                format!("{url} is a bucket; name an object in it"),
            ));
        }
    };
    let shown = path.display().to_string();
    let resolved =
        path.canonicalize().map_err(|error| BlobError::from_io(error, "read the source", &shown))?;
    if let Some(root) = source_root {
        let root_shown = root.display().to_string();
        let root = root
            .canonicalize()
            .map_err(|error| BlobError::from_io(error, "open the source root", &root_shown))?;
        if !resolved.starts_with(&root) {
            let message =
                format!("{shown} does not lie below the source root {root_shown} (links are followed)");
            return Err(BlobError::new(BlobErrorKind::Permission, message));
        }
    }
    let metadata =
        resolved.metadata().map_err(|error| BlobError::from_io(error, "read the source", &shown))?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a directory" } else { "not a regular file" };
        return Err(BlobError::new(BlobErrorKind::Invalid, format!("{shown} is {what}; name a film")));
    }
    std::fs::File::open(&resolved).map_err(|error| BlobError::from_io(error, "read the source", &shown))?;
    let url = Url::from_file_path(&resolved)
        .map_err(|()| BlobError::new(BlobErrorKind::Invalid, format!("{shown} has no absolute path")))?;
    Ok(SourceLocation { url: url.to_string(), path: Some(resolved), bytes: Some(metadata.len()) })
}

/// Opens the object that `url` names. Its size and version now are what every later read is held to.
pub async fn open_source(stores: &Stores, url: &str) -> Result<SourceReader, BlobError> {
    let (blobs, name) = match Root::parse(url)? {
        Root::Local(path) => {
            let unusable = || {
                let message = format!("{} cannot be read: its name is not UTF-8; rename it", path.display());
                BlobError::new(BlobErrorKind::Invalid, message)
            };
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(unusable)?;
            (stores.open_directory(path.parent().ok_or_else(unusable)?)?, name.to_owned())
        }
        Root::Bucket { bucket, prefix, .. } => (stores.open(&bucket)?, prefix.to_string()),
    };
    let head = blobs.head(&name).await?;
    Ok(SourceReader { blobs, name, head })
}

/// One object, read by ranges while it stays the one that was opened. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct SourceReader {
    blobs: Blobs,
    name: String,
    head: Head,
}

impl SourceReader {
    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        self.head.bytes
    }

    /// What changes when the object does; `None` where the store has none.
    pub fn version(&self) -> Option<&str> {
        self.head.version.as_deref()
    }

    /// The file, if it is one of this machine.
    pub fn local_path(&self) -> Option<PathBuf> {
        self.blobs.local_path(&self.name)
    }

    /// Fails with [`BlobErrorKind::Changed`] unless the object has the size and version known from earlier, as far as
    /// they are known.
    pub fn check(&self, bytes: Option<u64>, version: Option<&str>) -> Result<(), BlobError> {
        let same_size = bytes.is_none_or(|bytes| bytes == self.head.bytes);
        let same_version = match (version, self.version()) {
            (Some(wanted), Some(found)) => wanted == found,
            _ => true,
        };
        if same_size && same_version {
            return Ok(());
        }
        let message = format!("{} was replaced after the job was accepted; submit it again", self.shown());
        Err(BlobError::new(BlobErrorKind::Changed, message))
    }

    /// Exactly the bytes of `range`.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, BlobError> {
        self.blobs.get_range_of(&self.name, range, Some(&self.head)).await
    }

    /// Several ranges, in the order given; near ones are read together.
    pub async fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError> {
        self.blobs.get_ranges_of(&self.name, ranges, Some(&self.head)).await
    }

    /// The bytes of `range` piece by piece, for ranges too long for memory. A body that breaks off is taken up where it
    /// stopped; the attempts of one place in the object are bounded.
    pub fn stream(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BlobError>> {
        let end = range.end.min(self.head.bytes);
        let start = Progress { reader: self.clone(), at: range.start, end, failed: 0, body: None };
        try_unfold(start, |mut progress| async move {
            let piece = progress.next().await?;
            Ok(piece.map(|piece| (piece, progress)))
        })
        .boxed()
    }

    fn shown(&self) -> String {
        format!("{}/{}", self.blobs.root(), self.name)
    }
}

/// How far a stream of a source is.
struct Progress {
    reader: SourceReader,
    at: u64,
    end: u64,
    failed: u32,
    body: Option<BoxStream<'static, object_store::Result<Bytes>>>,
}

impl Progress {
    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        while self.at < self.end {
            match self.try_next().await {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => {
                    self.at += piece.len() as u64;
                    self.failed = 0;
                    return Ok(Some(piece));
                }
                Err(error) => {
                    self.body = None;
                    self.failed += 1;
                    let policy = self.reader.blobs.policy();
                    if !error.retryable() || self.failed >= policy.attempts {
                        return Err(error);
                    }
                    policy.pause(self.failed).await;
                }
            }
        }
        Ok(None)
    }

    async fn try_next(&mut self) -> Result<Bytes, BlobError> {
        let SourceReader { blobs, name, head } = &self.reader;
        let (what, policy) = (self.reader.shown(), blobs.policy());
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let options = transfer::options(self.at..self.end, Some(head));
                let opened =
                    transfer::open(blobs.store(), &blobs.path(name)?, &what, options, policy).await?;
                transfer::same_version(&what, Some(head), &Head::of(&opened.meta))?;
                self.body.insert(opened.into_stream())
            }
        };
        let next =
            async { body.try_next().await.map_err(|error| BlobError::from_store(error, "read", &what)) };
        match policy.limit(0, "read", &what, next).await? {
            Some(mut piece) => {
                piece.truncate(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
                Ok(piece)
            }
            None => Err(BlobError::damaged(format!("{what} broke off at {} of {} bytes", self.at, self.end))),
        }
    }
}
