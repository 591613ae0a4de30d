//! The source of an attempt: one object, opened once, the same until the end.
//!
//! The index reads it by ranges. ffmpeg reads a local file itself (unless only the worker's privileges open it) and
//! everything else through a loopback reader that serves this one object and nothing more. Where the source lies comes from the lease's grant, never from the
//! worker's own configuration. Retries belong to the store below.

mod access;
mod blocks;
mod loopback;
mod moov;

use crate::fault;
use crate::process::Network;
use crate::sandbox::Level;
use blocks::{BLOCK, Blocks, Key};
use bytes::Bytes;
use loopback::Loopback;
use moov::Moovs;
use reelmill_blob::source::source_name;
use reelmill_blob::{
    BlobError, Finding, SignedRequests, SourceReader, Stores, open_signed_source, open_source, witness,
};
use reelmill_common::Sha256;
use reelmill_common::index::Demuxer;
use reelmill_common::outcome::{Fault, FaultKind};
use reelmill_common::session::{ReadGrant, SignedGrant};
use reelmill_worker_core::argv::{Input, Location};
use reelmill_worker_core::sandbox::orders::SERVED_PORT;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::task::AbortOnDropHandle;

/// Opens sources; keeps what is worth keeping between attempts on one source.
#[derive(Clone, Debug)]
pub struct Sources {
    stores: Stores,
    moovs: Moovs,
    blocks: Blocks,
    level: Level,
}

impl Sources {
    /// Sources in `stores`, for children in boxes of this level.
    pub fn new(stores: Stores, level: Level) -> Self {
        Self { stores, moovs: Moovs::default(), blocks: Blocks::default(), level }
    }

    /// Opens what the grant names, with the requests that are `signed` for it, if any. A source that is not the accepted
    /// one any more is refused.
    pub async fn open(&self, grant: &ReadGrant, signed: Option<&SignedSource>) -> Result<Source, Fault> {
        let reader = self.reader(&grant.url, signed).await.map_err(|e| fault::of_source(&e))?;
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

    /// Says whether the object that the grant names is what was written there; read from its store each time, past
    /// everything that is kept.
    pub(crate) async fn witness(
        &self,
        grant: &ReadGrant,
        signed: Option<&SignedSource>,
        bytes: u64,
        sha256: Sha256,
    ) -> Result<Result<Bytes, Finding>, BlobError> {
        let requests = signed.map(|signed| signed.requests.clone());
        witness(&self.stores, &grant.url, requests, bytes, sha256).await
    }

    /// Opens an object, whatever it is.
    async fn reader(&self, url: &str, signed: Option<&SignedSource>) -> Result<SourceReader, BlobError> {
        match signed {
            Some(signed) => open_signed_source(&self.stores, url, signed.requests.clone()).await,
            None => open_source(&self.stores, url).await,
        }
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

    /// Nothing that is kept of it is used any more: whoever opens it reads it from its store.
    pub(crate) fn forget_kept(&self) {
        self.sources.blocks.forget(&self.reader.key);
        self.sources.moovs.forget(&self.reader.key);
    }

    /// How ffmpeg gets at it, for as long as the result lives.
    pub async fn for_ffmpeg(&self, demuxer: Demuxer, threads: u8) -> Result<Served, Fault> {
        let served = |location, network, file, listening| Served {
            input: Input { demuxer, location, threads },
            source: self.clone(),
            network,
            file,
            _listening: listening,
        };
        if let Some(file) = self.opened_by_ffmpeg() {
            let text = file.clone().into_os_string().into_string().map_err(|path| {
                let message = format!("source: the path {} is not UTF-8: rename it", path.display());
                fault::fault(FaultKind::Source, message)
            })?;
            return Ok(served(Location::File(text), Network::Nothing, Some(file), None));
        }
        let moov = match demuxer {
            Demuxer::Mov => self.sources.moovs.of(&self.reader).await,
            _ => Ok(None),
        };
        let loopback = Loopback::new(self.reader.clone(), moov.map_err(|e| fault::of_source(&e))?);
        if self.sources.level.has_network() {
            let location = Location::Loopback(loopback.url(SERVED_PORT));
            let network = Network::Own(Arc::new(move |listener| loopback.serve_handed(listener)));
            return Ok(served(location, network, None, None));
        }
        let (port, listening) = loopback.listen().map_err(|e| {
            fault::fault(FaultKind::Storage, format!("the loopback reader did not start: {e}"))
        })?;
        Ok(served(Location::Loopback(loopback.url(port)), Network::Port(port), None, Some(listening)))
    }

    /// The file that ffmpeg opens itself: one of this machine which the box leaves it the right to read.
    fn opened_by_ffmpeg(&self) -> Option<PathBuf> {
        let path = self.reader.reader.local_path()?;
        (self.sources.level == Level::Basic || access::is_plain(&path)).then_some(path)
    }

    /// Fails if the object was replaced since it was opened, or if the loopback reader had to give up on it.
    pub async fn still_good(&self) -> Result<(), Fault> {
        if let Some(e) = self.reader.failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(fault::of_source(&e));
        }
        let now = self.sources.reader(&self.reader.key.0, self.signed.as_ref()).await;
        let now = now.map_err(|e| fault::of_source(&e))?;
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
    /// What ffmpeg has to reach for it.
    pub(crate) network: Network,
    /// The file that ffmpeg opens itself.
    pub(crate) file: Option<PathBuf>,
    /// Serves until it is dropped.
    _listening: Option<AbortOnDropHandle<()>>,
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
