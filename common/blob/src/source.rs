//! The film a job is about: which location a user's words mean, and ranged reads of that one object for as long as it
//! stays the same object.
//!
//! A path is resolved once, by whoever accepts the job: links followed, and what they lead to inside the source root.
//! From then on the resolved location is the source. Where it is read, nothing is looked up again but the bytes.

use crate::blobs::{Blobs, Head};
use crate::error::{BlobError, BlobErrorKind};
use crate::location::{Root, Stores};
use crate::signed::SignedRequests;
use crate::transfer;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _, try_unfold};
use std::ops::Range;
use std::path::{Path, PathBuf};
use url::Url;

/// How much of a local file is read at once when it is streamed, in bytes.
const LOCAL_PIECE: u64 = 1 << 20;

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
        // as an object store has it: there is no object of that name
        return Err(BlobError::new(BlobErrorKind::NotFound, format!("{shown} is {what}; name a film")));
    }
    std::fs::File::open(&resolved).map_err(|error| BlobError::from_io(error, "read the source", &shown))?;
    let url = Url::from_file_path(&resolved)
        .map_err(|()| BlobError::new(BlobErrorKind::Invalid, format!("{shown} has no absolute path")))?;
    Ok(SourceLocation { url: url.to_string(), path: Some(resolved), bytes: Some(metadata.len()) })
}

/// Opens the object that `url` names. Its size and version now are what every later read is held to.
pub async fn open_source(stores: &Stores, url: &str) -> Result<SourceReader, BlobError> {
    let (blobs, name) = place(stores, url, None)?;
    let head = blobs.head(&name).await?;
    Ok(SourceReader { blobs, name, head })
}

/// The same of whoever has no credential of its store: it is read with the request that `requests` hold under the URL's
/// own name in its bucket ([`source_name`]), now and whenever they are renewed.
pub async fn open_signed_source(
    stores: &Stores,
    url: &str,
    requests: SignedRequests,
) -> Result<SourceReader, BlobError> {
    let (blobs, name) = place(stores, url, Some(requests))?;
    let head = blobs.head(&name).await?;
    Ok(SourceReader { blobs, name, head })
}

/// The store of the object that `url` names, and its name there; with `requests`, as they give access to it.
pub(crate) fn place(
    stores: &Stores,
    url: &str,
    requests: Option<SignedRequests>,
) -> Result<(Blobs, String), BlobError> {
    if let Some(requests) = requests {
        let name = source_name(url)?;
        let bucket = url.strip_suffix(name.as_str()).unwrap_or(url).trim_end_matches('/');
        return Ok((stores.signed(bucket, requests)?, name));
    }
    match Root::parse(url)? {
        Root::Local(path) => {
            let unusable = || {
                let message = format!("{} cannot be read: its name is not UTF-8; rename it", path.display());
                BlobError::new(BlobErrorKind::Invalid, message)
            };
            let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(unusable)?;
            Ok((stores.open_directory(path.parent().ok_or_else(unusable)?)?, name.to_owned()))
        }
        Root::Bucket { bucket, prefix, .. } => Ok((stores.open(&bucket)?, prefix.to_string())),
    }
}

/// The name of an object source within its bucket.
pub fn source_name(url: &str) -> Result<String, BlobError> {
    match Root::parse(url)? {
        Root::Bucket { prefix, .. } => Ok(prefix.to_string()),
        Root::Local(path) => Err(BlobError::new(
            BlobErrorKind::Invalid,
            format!("{} is a file of some machine: nobody can sign for it", path.display()),
        )),
    }
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
        if blobs.directory().is_some() {
            let piece = self.at..self.end.min(self.at + LOCAL_PIECE);
            return transfer::read_range(blobs.store(), &blobs.path(name)?, &what, piece, Some(head), policy)
                .await;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn resolve(path: &Path, root: Option<&Path>) -> Result<SourceLocation, BlobError> {
        resolve_source(path.to_str().unwrap(), root)
    }

    #[test]
    fn a_source_lies_below_its_root_after_every_link() {
        let directory = tempfile::tempdir().unwrap();
        let (root, outside) = (directory.path().join("root"), directory.path().join("outside"));
        fs::create_dir_all(root.join("in")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(root.join("in/a b.mp4"), "film").unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        symlink(outside.join("secret"), root.join("link.mp4")).unwrap();
        symlink(&outside, root.join("linked")).unwrap();
        symlink(root.join("in/a b.mp4"), root.join("fine.mp4")).unwrap();

        let found = resolve(&root.join("fine.mp4"), Some(&root)).unwrap();
        assert_eq!(found.bytes, Some(4));
        assert!(found.url.starts_with("file:///") && found.url.ends_with("/in/a%20b.mp4"), "{}", found.url);
        assert_eq!(resolve_source(&found.url, Some(&root)).unwrap(), found);
        for escape in ["link.mp4", "linked/secret", "../outside/secret", "in/../../outside/secret"] {
            let error = resolve(&root.join(escape), Some(&root)).unwrap_err();
            assert_eq!(error.kind(), BlobErrorKind::Permission, "{escape}: {error}");
            assert!(resolve(&root.join(escape), None).is_ok(), "{escape} is free without a root");
        }
    }

    #[test]
    fn what_is_no_film_is_refused_in_words() {
        let directory = tempfile::tempdir().unwrap();
        let missing = resolve(&directory.path().join("missing.mp4"), None).unwrap_err();
        assert_eq!(missing.kind(), BlobErrorKind::NotFound);
        assert!(missing.to_string().contains("missing.mp4: it does not exist"), "{missing}");
        let is_directory = resolve(directory.path(), None).unwrap_err();
        assert_eq!(is_directory.kind(), BlobErrorKind::NotFound);
        assert!(is_directory.to_string().contains("is a directory"), "{is_directory}");
        let device = resolve_source("/dev/zero", None).unwrap_err();
        assert!(device.to_string().contains("not a regular file"), "{device}");
        for (url, word) in [("https://host/a.mp4", "http(s)"), ("s3://bucket", "is a bucket")] {
            let error = resolve_source(url, None).unwrap_err();
            assert_eq!(error.kind(), BlobErrorKind::Invalid);
            assert!(error.to_string().contains(word), "{error}");
        }
        let object = resolve_source("s3://bucket/in/a.mp4", Some(directory.path())).unwrap();
        assert_eq!(
            object,
            SourceLocation { url: "s3://bucket/in/a.mp4".to_owned(), path: None, bytes: None }
        );
    }

    #[tokio::test]
    async fn any_file_name_can_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 239) as u8).collect();
        for name in
            ["a.mp4", "a b.mp4", "100% é [x] ~{y}|z.mp4", "take #2.mp4", "what?.mp4", "-i.mp4", "%20.mp4"]
        {
            let path = directory.path().join(name);
            fs::write(&path, &content).unwrap();
            let found = resolve(&path, None).unwrap();
            let source = open_source(&Stores::default(), &found.url).await.unwrap();
            assert_eq!(source.bytes(), 3_000_000, "{name}");
            assert_eq!(source.local_path(), Some(path.canonicalize().unwrap()), "{name}");
            assert_eq!(source.read(10..20).await.unwrap(), content[10..20], "{name}");
            let pieces: Vec<Bytes> = source.stream(5..2_999_999).try_collect().await.unwrap();
            assert_eq!(pieces.concat(), content[5..2_999_999], "{name}");
        }
    }

    #[tokio::test]
    async fn a_source_that_is_replaced_is_not_read_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("film.mp4");
        fs::write(&path, vec![1; 2_000_000]).unwrap();
        let source = open_source(&Stores::default(), path.to_str().unwrap()).await.unwrap();
        let version = source.version().unwrap().to_owned();
        source.check(Some(2_000_000), Some(&version)).unwrap();
        source.check(None, None).unwrap();
        assert_eq!(source.check(Some(1), None).unwrap_err().kind(), BlobErrorKind::Changed);
        assert_eq!(source.check(None, Some("other")).unwrap_err().kind(), BlobErrorKind::Changed);

        let mut stream = source.stream(0..2_000_000);
        assert_eq!(stream.try_next().await.unwrap().unwrap().len(), 1 << 20);
        // another file under the same name, as a careless upload makes it
        fs::write(directory.path().join("new"), vec![2; 2_000_000]).unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        assert_eq!(stream.try_next().await.unwrap_err().kind(), BlobErrorKind::Changed);
        let error = source.read(0..10).await.unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (BlobErrorKind::Changed, false));
        assert!(source.read_ranges(&[0..1, 5..6]).await.is_err());
    }

    #[tokio::test]
    async fn objects_are_sources_too() {
        let stores = Stores::default();
        let root = stores.open("memory://films/in").unwrap();
        root.put_replace("a.mp4", Bytes::from("0123456789"), crate::PutOptions::default()).await.unwrap();
        let source = open_source(&stores, "memory://films/in/a.mp4").await.unwrap();
        assert_eq!(source.read_ranges(&[8..10, 0..2]).await.unwrap(), [Bytes::from("89"), Bytes::from("01")]);
        assert_eq!(source.local_path(), None);
        root.put_replace("a.mp4", Bytes::from("9876543210"), crate::PutOptions::default()).await.unwrap();
        assert_eq!(source.read(0..2).await.unwrap_err().kind(), BlobErrorKind::Changed);
        let missing = open_source(&stores, "memory://films/in/b.mp4").await.unwrap_err();
        assert_eq!(missing.kind(), BlobErrorKind::NotFound);
    }
}
