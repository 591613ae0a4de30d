//! The source of an attempt: one object, opened once, the same until the end.
//!
//! The index reads it by ranges. ffmpeg reads a local file itself and everything else through a loopback reader that
//! serves this one object and nothing more. Where the source lies comes from the lease's grant, never from the
//! worker's own configuration. Retries belong to the store below.

mod blocks;
mod loopback;
mod moov;

use crate::fault;
use blocks::{BLOCK, Blocks, Key};
use bytes::Bytes;
use loopback::Loopback;
use moov::Moovs;
use reelmill_blob::source::source_name;
use reelmill_blob::{BlobError, SignedRequests, SourceReader, Stores, open_signed_source, open_source};
use reelmill_common::index::Demuxer;
use reelmill_common::outcome::Fault;
use reelmill_common::session::{ReadGrant, SignedGrant};
use reelmill_worker_core::argv::{Input, Location};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Opens sources; keeps what is worth keeping between attempts on one source.
#[derive(Clone, Debug)]
pub struct Sources {
    stores: Stores,
    moovs: Moovs,
    blocks: Blocks,
}

impl Sources {
    /// Sources in `stores`.
    pub fn new(stores: Stores) -> Self {
        Self { stores, moovs: Moovs::default(), blocks: Blocks::default() }
    }

    /// Opens what the grant names, with the requests that are `signed` for it, if any. A source that is not the accepted
    /// one any more is refused.
    pub async fn open(&self, grant: &ReadGrant, signed: Option<&SignedSource>) -> Result<Source, Fault> {
        let reader = self.reader(&grant.url, signed).await?;
        reader.check(grant.bytes, grant.version.as_deref()).map_err(|e| fault::of_source(&e))?;
        let key = (grant.url.clone(), reader.bytes(), reader.version().map(str::to_owned));
        let reader = Counted {
            reader,
            key: Arc::new(key),
            blocks: self.blocks.clone(),
            read: Arc::default(),
            served: Arc::default(),
            failed: Arc::default(),
        };
        Ok(Source { sources: self.clone(), signed: signed.cloned(), reader })
    }

    async fn reader(&self, url: &str, signed: Option<&SignedSource>) -> Result<SourceReader, Fault> {
        let opened = match signed {
            Some(signed) => open_signed_source(&self.stores, url, signed.requests.clone()).await,
            None => open_source(&self.stores, url).await,
        };
        opened.map_err(|e| fault::of_source(&e))
    }
}

/// The requests by which one attempt reads its source; renewed while its lease lives.
#[derive(Clone, Debug)]
pub struct SignedSource {
    name: String,
    requests: SignedRequests,
}

impl SignedSource {
    /// Those of a grant; `None` if it has none, because the worker has a credential of the source's store.
    pub fn of(grant: &ReadGrant) -> Result<Option<Self>, Fault> {
        let Some(request) = &grant.signed else { return Ok(None) };
        let name = source_name(&grant.url).map_err(|e| fault::of_source(&e))?;
        // requests to read are brought by heartbeats, without being asked for
        let signed = Self { name, requests: SignedRequests::new(|_| {}) };
        signed.renew(request).map_err(|e| fault::of_source(&e))?;
        Ok(Some(signed))
    }

    /// Reads with this request from now on.
    pub fn renew(&self, request: &SignedGrant) -> Result<(), BlobError> {
        self.requests.bring_get(&self.name, request)
    }
}

/// One opened source.
#[derive(Clone, Debug)]
pub struct Source {
    sources: Sources,
    signed: Option<SignedSource>,
    reader: Counted,
}

impl Source {
    /// Its bytes, by ranges.
    pub fn reader(&self) -> &SourceReader {
        &self.reader.reader
    }

    /// Bytes of it that were counted for the attempt so far: read or served here, and what a child that has ended read of
    /// a local file.
    pub fn bytes_read(&self) -> u64 {
        self.reader.read.load(Ordering::Relaxed)
    }

    /// Grows with every byte that ffmpeg was given, whether it had to be read for it or was kept from before: a run that
    /// is still reading is not stuck.
    pub fn bytes_moved(&self) -> u64 {
        self.bytes_read() + self.reader.served.load(Ordering::Relaxed)
    }

    /// Counts bytes read with [`Source::reader`], or by a child that opened the file itself.
    pub fn count(&self, bytes: u64) {
        self.reader.count(bytes);
    }

    /// How ffmpeg gets at it, for as long as the result lives.
    pub async fn for_ffmpeg(&self, demuxer: Demuxer, threads: u8) -> Result<Served, Fault> {
        let storage = |e: std::io::Error| {
            fault::fault(
                reelmill_common::outcome::FaultKind::Storage,
                format!("the loopback reader did not start: {e}"),
            )
        };
        let (location, loopback) = match self.reader.reader.local_path() {
            Some(path) => {
                let path = path.into_os_string().into_string().map_err(|path| {
                    fault::fault(
                        reelmill_common::outcome::FaultKind::Source,
                        format!("source: the path {} is not UTF-8: rename it", path.display()),
                    )
                })?;
                (Location::File(path), None)
            }
            None => {
                let moov = match demuxer {
                    Demuxer::Mov => self.sources.moovs.of(&self.reader).await,
                    _ => Ok(None),
                };
                let moov = moov.map_err(|e| fault::of_source(&e))?;
                let loopback = Loopback::start(self.reader.clone(), moov).await.map_err(storage)?;
                (Location::Loopback(loopback.url()), Some(loopback))
            }
        };
        Ok(Served { input: Input { demuxer, location, threads }, source: self.clone(), _loopback: loopback })
    }

    /// Fails if the object was replaced since it was opened, or if the loopback reader had to give up on it.
    pub async fn still_good(&self) -> Result<(), Fault> {
        if let Some(e) = self.reader.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(fault::of_source(&e));
        }
        let now = self.sources.reader(&self.reader.key.0, self.signed.as_ref()).await?;
        let (bytes, version) = (self.reader.reader.bytes(), self.reader.reader.version());
        now.check(Some(bytes), version).map_err(|e| fault::of_source(&e))
    }
}

/// A source while ffmpeg may read it.
#[derive(Debug)]
pub struct Served {
    /// What ffmpeg is told.
    pub input: Input,
    /// The source itself.
    pub source: Source,
    /// Serves until it is dropped.
    _loopback: Option<Loopback>,
}

/// A reader whose bytes are counted and whose last failure is kept.
#[derive(Clone, Debug)]
struct Counted {
    reader: SourceReader,
    key: Arc<Key>,
    blocks: Blocks,
    read: Arc<AtomicU64>,
    served: Arc<AtomicU64>,
    failed: Arc<Mutex<Option<BlobError>>>,
}

impl Counted {
    fn count(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
        crate::metrics::source_bytes(bytes);
    }

    /// The part of block `number` that lies within `range`.
    async fn block(&self, number: u64, range: &Range<u64>) -> Result<Bytes, BlobError> {
        let bytes = self.blocks.get(self, number).await?;
        let start = number * BLOCK;
        let within = range.start.max(start) - start..range.end.min(start + bytes.len() as u64) - start;
        self.served.fetch_add(within.end - within.start, Ordering::Relaxed);
        Ok(bytes.slice(within.start as usize..within.end as usize))
    }

    /// Keeps why reading failed: ffmpeg will only see a broken connection.
    fn fail(&self, e: BlobError) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
    }
}
