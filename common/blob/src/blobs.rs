//! Objects under one root, by relative name: every operation checked, limited in time and retried here.

use crate::blocking::blocking;
use crate::error::{BlobError, BlobErrorKind};
use crate::local;
use crate::location::Client;
use crate::policy::Policy;
use crate::transfer;
use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{
    Attribute, Attributes, GetOptions, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload,
};
use reelmill_common::Sha256;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A root in an object store; names are relative to it. Cloning is cheap.
#[derive(Clone)]
pub struct Blobs {
    client: Client,
    prefix: Path,
    root: String,
    directory: Option<PathBuf>,
    policy: Policy,
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blobs({})", self.root)
    }
}

/// How an object is served later. A local file keeps neither: its server decides by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PutOptions {
    /// `Content-Type`.
    pub content_type: Option<&'static str>,
    /// `Cache-Control`.
    pub cache_control: Option<&'static str>,
}

/// How an object is served.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Served {
    /// `Content-Type`, if the store keeps one.
    pub content_type: Option<String>,
    /// `Cache-Control`, if the store keeps one.
    pub cache_control: Option<String>,
}

/// What a create-only put found.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "an object that was there already may hold other bytes"]
pub enum PutOutcome {
    /// The object holds exactly our bytes, and an attempt of this call wrote it (an attempt whose answer was lost is
    /// recognised by its hash).
    Created,
    /// It was there before; nothing was written.
    AlreadyThere(Existing),
}

/// An object that was there before a create-only put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Existing {
    /// Its content, to be verified by whoever knows what it should be.
    pub content: Bytes,
    /// SHA-256 of the content.
    pub sha256: Sha256,
    /// Is it what would have been written?
    pub same: bool,
}

/// What a store knows of an object without its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Size in bytes.
    pub bytes: u64,
    /// Changes with the object (ETag); `None` where the store has none.
    pub version: Option<String>,
}

/// One object of a listing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// Name relative to the root.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
}

impl Blobs {
    /// A root in `store`; `directory` is where it lies if it is a local one.
    pub(crate) fn new(
        client: Client,
        prefix: Path,
        root: String,
        directory: Option<PathBuf>,
        policy: Policy,
    ) -> Self {
        Self { client, prefix, root, directory, policy }
    }

    /// The location `url` with the default policy and a client of its own ([`crate::Stores`] shares clients).
    pub fn open(url: &str) -> Result<Self, BlobError> {
        crate::Stores::default().open(url)
    }

    /// The root as it was named, for messages.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The root as a directory of this machine, if it is one.
    pub fn directory(&self) -> Option<&std::path::Path> {
        self.directory.as_deref()
    }

    /// The path of `name` on this machine, if the root is local and `name` can name an object in it.
    pub fn local_path(&self, name: &str) -> Option<PathBuf> {
        self.path(name).ok()?;
        self.directory.as_ref().map(|directory| directory.join(name))
    }

    /// The same store with `prefix` as a further part of the root.
    pub fn below(&self, prefix: &str) -> Result<Self, BlobError> {
        let mut below = self.clone();
        below.root = self.shown(prefix);
        below.prefix = self.path(prefix)?;
        below.directory = self.local_path(prefix);
        Ok(below)
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.client.store
    }

    pub(crate) fn signer(&self) -> Option<&Arc<dyn Signer>> {
        self.client.signer.as_ref()
    }

    /// Writes `name` if it is not there. If it is, nothing is overwritten, and its content comes back.
    pub async fn put_create(
        &self,
        name: &str,
        content: Bytes,
        options: PutOptions,
    ) -> Result<PutOutcome, BlobError> {
        let path = self.path(name)?;
        let sha256 = Sha256::of(&content);
        let tries = std::sync::atomic::AtomicU32::new(0);
        self.policy
            .retry(|_| async {
                // an earlier attempt may have written although it reported failure
                let first = tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
                match self.put_once(&path, name, content.clone(), PutMode::Create, options).await {
                    Ok(()) => Ok(PutOutcome::Created),
                    Err(error) if error.kind() == BlobErrorKind::Conflict => {
                        let found = self.existing(&path, name, sha256).await?;
                        Ok(if found.same && !first {
                            PutOutcome::Created
                        } else {
                            PutOutcome::AlreadyThere(found)
                        })
                    }
                    Err(error) => Err(error),
                }
            })
            .await
    }

    /// Writes `name` whether or not it is there, at once for every reader. For manifests and private state only:
    /// media is never overwritten.
    pub async fn put_replace(
        &self,
        name: &str,
        content: Bytes,
        options: PutOptions,
    ) -> Result<(), BlobError> {
        let path = self.path(name)?;
        self.policy.retry(|_| self.put_once(&path, name, content.clone(), PutMode::Overwrite, options)).await
    }

    /// The whole of `name`, and what the store says of it.
    pub async fn get(&self, name: &str) -> Result<(Bytes, Head), BlobError> {
        let path = self.path(name)?;
        self.policy.retry(|_| self.get_once(&path, name)).await
    }

    /// The whole of `name`, if it has `bytes` bytes and this hash. Anything else is an error after the last attempt
    /// and never a result.
    pub async fn get_verified(&self, name: &str, bytes: u64, sha256: Sha256) -> Result<Bytes, BlobError> {
        let path = self.path(name)?;
        self.policy
            .retry(|_| async {
                let (content, _) = self.get_once(&path, name).await?;
                let found = Sha256::of(&content);
                if content.len() as u64 == bytes && found == sha256 {
                    return Ok(content);
                }
                Err(BlobError::damaged(format!(
                    "{} is not what was written: {} bytes with SHA-256 {found} instead of {bytes} with {sha256}",
                    self.shown(name),
                    content.len(),
                )))
            })
            .await
    }

    /// The bytes `range` of `name`; a range that reaches beyond the end is an error.
    pub async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, BlobError> {
        self.get_range_of(name, range, None).await
    }

    /// Several ranges of `name`, in the order given; near ones are read together.
    pub async fn get_ranges(&self, name: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlobError> {
        self.get_ranges_of(name, ranges, None).await
    }

    /// A range, while the object still is `version`.
    pub(crate) async fn get_range_of(
        &self,
        name: &str,
        range: Range<u64>,
        version: Option<&Head>,
    ) -> Result<Bytes, BlobError> {
        let path = self.path(name)?;
        let what = self.shown(name);
        self.policy
            .retry(|_| transfer::read_range(self.store(), &path, &what, range.clone(), version, &self.policy))
            .await
    }

    /// Several ranges, while the object still is `version`.
    pub(crate) async fn get_ranges_of(
        &self,
        name: &str,
        ranges: &[Range<u64>],
        version: Option<&Head>,
    ) -> Result<Vec<Bytes>, BlobError> {
        // a round trip costs more than a megabyte; a local read costs nothing
        let gap = if self.directory.is_some() { 0 } else { object_store::OBJECT_STORE_COALESCE_DEFAULT };
        object_store::coalesce_ranges(ranges, |range| self.get_range_of(name, range, version), gap).await
    }

    /// Size and version of `name`.
    pub async fn head(&self, name: &str) -> Result<Head, BlobError> {
        let path = self.path(name)?;
        let what = self.shown(name);
        self.policy
            .retry(|_| {
                self.policy.limit(0, "look at", &what, async {
                    let found = self.store().head(&path).await;
                    found.map(|meta| Head::of(&meta)).map_err(|e| BlobError::from_store(e, "look at", &what))
                })
            })
            .await
    }

    /// How `name` is served by the store itself.
    pub async fn served_as(&self, name: &str) -> Result<Served, BlobError> {
        let path = self.path(name)?;
        let what = self.shown(name);
        let options = GetOptions { head: true, ..Default::default() };
        let look = |_| transfer::open(self.store(), &path, &what, options.clone(), &self.policy);
        let attributes = self.policy.retry(look).await?.attributes;
        let text = |attribute| attributes.get(&attribute).map(|value| value.to_string());
        Ok(Served {
            content_type: text(Attribute::ContentType),
            cache_control: text(Attribute::CacheControl),
        })
    }

    /// Every object whose name lies below the directory `prefix` (`""`: all), sorted by name. The store is asked page by
    /// page; a listing that fails in the middle begins anew, because not every store lists in order.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Entry>, BlobError> {
        let path = if prefix.is_empty() { self.prefix.clone() } else { self.path(prefix)? };
        self.policy.retry(|_| self.list_once(&path, prefix)).await
    }

    /// Removes `name`; that it is gone already is no error.
    pub async fn delete(&self, name: &str) -> Result<(), BlobError> {
        let path = self.path(name)?;
        let what = self.shown(name);
        self.policy
            .retry(|_| {
                self.policy.limit(0, "delete", &what, async {
                    let deleted = self.store().delete(&path).await;
                    match deleted.map_err(|e| BlobError::from_store(e, "delete", &what)) {
                        Err(error) if error.kind() != BlobErrorKind::NotFound => Err(error),
                        _ => Ok(()),
                    }
                })
            })
            .await
    }

    /// Removes what a crash left half-written below a local root and says how many files that were. Others may be
    /// writing there: `idle` is how long a write that lives can go without a byte.
    pub async fn sweep(&self, idle: Duration) -> Result<u64, BlobError> {
        self.swept(move |directory| local::sweep(directory, idle)).await
    }

    /// Removes what crashes left half-written under these names, and says how many files that were. For names that are
    /// there: whoever still writes one of them writes it in vain.
    pub async fn sweep_names(&self, names: BTreeSet<String>) -> Result<u64, BlobError> {
        self.swept(move |directory| local::sweep_names(directory, &names)).await
    }

    /// Sweeps a local root; other stores leave nothing behind that could be seen.
    async fn swept(
        &self,
        sweep: impl FnOnce(&std::path::Path) -> Result<u64, BlobError> + Send + 'static,
    ) -> Result<u64, BlobError> {
        let Some(directory) = self.directory.clone() else {
            return Ok(0);
        };
        match blocking(move || sweep(&directory)).await {
            Ok(swept) => swept,
            Err(error) => {
                Err(BlobError::new(BlobErrorKind::Unavailable, format!("the sweep was stopped: {error}")))
            }
        }
    }

    async fn put_once(
        &self,
        path: &Path,
        name: &str,
        content: Bytes,
        mode: PutMode,
        options: PutOptions,
    ) -> Result<(), BlobError> {
        let what = self.shown(name);
        let size = content.len() as u64;
        let options =
            object_store::PutOptions { mode, attributes: self.attributes(options), ..Default::default() };
        self.policy
            .limit(size, "write", &what, async {
                let put = self.store().put_opts(path, PutPayload::from_bytes(content), options).await;
                put.map(drop).map_err(|error| BlobError::from_store(error, "write", &what))
            })
            .await
    }

    /// What lies at `path`, after a create-only put was told that something does. It may have been a conflict with a
    /// writer that failed in the end, so its absence is worth another attempt.
    async fn existing(&self, path: &Path, name: &str, ours: Sha256) -> Result<Existing, BlobError> {
        match self.get_once(path, name).await {
            Ok((content, _)) => {
                let sha256 = Sha256::of(&content);
                Ok(Existing { content, sha256, same: sha256 == ours })
            }
            Err(error) if error.kind() == BlobErrorKind::NotFound => Err(BlobError::new(
                BlobErrorKind::Unavailable,
                format!("cannot write {}: another writer is at it", self.shown(name)),
            )),
            Err(error) => Err(error),
        }
    }

    async fn get_once(&self, path: &Path, name: &str) -> Result<(Bytes, Head), BlobError> {
        transfer::read(self.store(), path, &self.shown(name), GetOptions::default(), &self.policy).await
    }

    async fn list_once(&self, path: &Path, prefix: &str) -> Result<Vec<Entry>, BlobError> {
        let what = self.shown(prefix);
        let mut found = self.store().list(Some(path).filter(|p| !p.as_ref().is_empty()));
        let mut entries = Vec::new();
        loop {
            let next = async { found.try_next().await.map_err(|e| BlobError::from_store(e, "list", &what)) };
            let Some(meta) = self.policy.limit(0, "list", &what, next).await? else {
                break;
            };
            let Some(name) = self.relative(&meta.location) else {
                continue;
            };
            if !local::is_hidden(&name) {
                entries.push(Entry { name, bytes: meta.size });
            }
            if entries.len() > self.policy.list_entries {
                let message = format!("{what} holds more than {} objects", self.policy.list_entries);
                return Err(BlobError::new(BlobErrorKind::Invalid, message));
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn attributes(&self, options: PutOptions) -> Attributes {
        if self.directory.is_some() {
            return Attributes::new();
        }
        let content_type = options.content_type.map(|value| (Attribute::ContentType, value));
        let cache_control = options.cache_control.map(|value| (Attribute::CacheControl, value));
        content_type.into_iter().chain(cache_control).collect()
    }

    pub(crate) fn path(&self, name: &str) -> Result<Path, BlobError> {
        let invalid = |why: &str| {
            BlobError::new(BlobErrorKind::Invalid, format!("{name:?} cannot name an object: {why}"))
        };
        if name.is_empty() || name.starts_with('/') || name.ends_with('/') || name.contains("//") {
            return Err(invalid("it is empty, absolute or has an empty part"));
        }
        let relative = Path::parse(name).map_err(|error| invalid(&error.to_string()))?;
        if name.split('/').any(local::is_staging) {
            return Err(invalid("names ending in '#' and digits are kept for files being written"));
        }
        Ok(self.prefix.parts().chain(relative.parts()).collect())
    }

    fn relative(&self, path: &Path) -> Option<String> {
        if self.prefix.as_ref().is_empty() {
            return Some(path.as_ref().to_owned());
        }
        path.as_ref().strip_prefix(self.prefix.as_ref())?.strip_prefix('/').map(str::to_owned)
    }

    pub(crate) fn shown(&self, name: &str) -> String {
        if name.is_empty() {
            self.root.clone()
        } else {
            format!("{}/{name}", self.root.trim_end_matches('/'))
        }
    }
}

impl Head {
    pub(crate) fn of(meta: &object_store::ObjectMeta) -> Self {
        Self { bytes: meta.size, version: meta.e_tag.clone() }
    }
}
