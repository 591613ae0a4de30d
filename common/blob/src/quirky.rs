//! `Quirky`: a decorator that makes any object store do one thing differently from what it should, as real ones do. For
//! tests: of [`crate::proof`], and of whoever has to live with such a store.
//!
//! It must never fail at random ([`crate::chaos`] does that): what it does wrong it does wrong always. It can also keep
//! copies on their way, as a slow server does with requests whose sender has died meanwhile, and damage bodies that it
//! sends, each in another place.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A way in which real stores differ from what they claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quirk {
    /// None: it does everything right.
    None,
    /// `If-None-Match` is not read: every create wins.
    CreateOverwrites,
    /// `If-None-Match` is refused.
    CreateRefused,
    /// The same, and there are no copies within the store.
    NoCopies,
    /// The same, and copies lose their headers.
    BareCopies,
    /// `Content-Type` and `Cache-Control` are forgotten.
    HeadersDropped,
    /// A range begins a byte early.
    RangeShifted,
    /// What was just written is not listed yet.
    ListStale,
    /// No multipart upload.
    NoMultipart,
}

/// A store with a quirk. Clones share everything.
#[derive(Clone)]
pub struct Quirky {
    inner: Arc<dyn ObjectStore>,
    kept: Arc<Mutex<Kept>>,
    /// Copies that are held go on when this turns true.
    released: watch::Sender<bool>,
}

struct Kept {
    quirk: Quirk,
    /// Copies asked for so far.
    copies: u64,
    /// Of those to come, so many are held.
    hold: u64,
    held: u64,
    /// Bodies to come that are damaged, and those that were.
    damage: u32,
    damaged: u32,
}

impl fmt::Debug for Quirky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quirky({:?}, {:?})", self.kept().quirk, self.inner)
    }
}

impl fmt::Display for Quirky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Quirky {
    /// Gives `inner` a quirk.
    pub fn new(inner: Arc<dyn ObjectStore>, quirk: Quirk) -> Self {
        let kept = Kept { quirk, copies: 0, hold: 0, held: 0, damage: 0, damaged: 0 };
        Self { inner, kept: Arc::new(Mutex::new(kept)), released: watch::Sender::new(false) }
    }

    /// Another quirk from now on.
    pub fn set(&self, quirk: Quirk) {
        self.kept().quirk = quirk;
    }

    /// How many copies were asked for.
    pub fn copies(&self) -> u64 {
        self.kept().copies
    }

    /// The next `copies` reach the server and stay there until [`Quirky::release`], whatever becomes of their senders.
    pub fn hold(&self, copies: u64) {
        self.released.send_replace(false);
        let mut kept = self.kept();
        (kept.hold, kept.held) = (copies, 0);
    }

    /// How many copies are, or were, held.
    pub fn held(&self) -> u64 {
        self.kept().held
    }

    /// Performs what was held.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// The next so many bodies come with one byte changed.
    pub fn damage_bodies(&self, bodies: u32) {
        let mut kept = self.kept();
        (kept.damage, kept.damaged) = (bodies, 0);
    }

    /// How many came so.
    pub fn bodies_damaged(&self) -> u32 {
        self.kept().damaged
    }

    /// Which body of those to damage the next one is, if it is one.
    fn counts_body(&self) -> Option<u32> {
        let mut kept = self.kept();
        kept.damage = kept.damage.checked_sub(1)?;
        kept.damaged += 1;
        Some(kept.damaged)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a copy; is it to be held?
    fn counts_copy(&self) -> bool {
        let mut kept = self.kept();
        kept.copies += 1;
        let is_held = kept.hold > 0;
        if is_held {
            kept.hold -= 1;
            kept.held += 1;
        }
        is_held
    }
}

/// The same answer with one byte changed, for each `nth` another.
async fn damage(result: GetResult, nth: u32) -> Result<GetResult> {
    let (meta, range) = (result.meta.clone(), result.range.clone());
    let (attributes, extensions) = (result.attributes.clone(), result.extensions.clone());
    let mut bytes = result.bytes().await?.to_vec();
    let at = (nth as usize).wrapping_mul(7_919) % bytes.len().max(1);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 0x55;
    }
    let body = stream::once(async move { Ok(Bytes::from(bytes)) });
    Ok(GetResult { payload: GetResultPayload::Stream(body.boxed()), meta, range, attributes, extensions })
}

fn refused(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "Quirky".to_owned() }
}

#[async_trait]
impl ObjectStore for Quirky {
    async fn put_opts(&self, to: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let quirk = self.kept().quirk;
        match quirk {
            Quirk::CreateOverwrites => options.mode = PutMode::Overwrite,
            Quirk::CreateRefused | Quirk::NoCopies | Quirk::BareCopies if options.mode == PutMode::Create => {
                return Err(refused("create"));
            }
            Quirk::HeadersDropped => options.attributes = Default::default(),
            _ => {}
        }
        self.inner.put_opts(to, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if self.kept().quirk == Quirk::NoMultipart {
            return Err(refused("multipart"));
        }
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Path, mut options: GetOptions) -> Result<GetResult> {
        let quirk = self.kept().quirk;
        if let (Quirk::RangeShifted, Some(GetRange::Bounded(range))) = (quirk, &mut options.range)
            && range.start > 0
        {
            *range = range.start - 1..range.end - 1;
        }
        let has_body = !options.head;
        let result = self.inner.get_opts(from, options).await?;
        match has_body.then(|| self.counts_body()).flatten() {
            Some(nth) => damage(result, nth).await,
            None => Ok(result),
        }
    }

    fn delete_stream(&self, names: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(names)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.kept().quirk {
            Quirk::ListStale => stream::empty().boxed(),
            _ => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let quirk = self.kept().quirk;
        match quirk {
            Quirk::NoCopies => return Err(refused("copy")),
            Quirk::BareCopies => {
                let content = self.inner.get(from).await?.bytes().await?;
                return self.inner.put(to, content.into()).await.map(drop);
            }
            _ => {}
        }
        if !self.counts_copy() {
            return self.inner.copy_opts(from, to, options).await;
        }
        let (inner, from, to) = (Arc::clone(&self.inner), from.clone(), to.clone());
        let mut released = self.released.subscribe();
        // a task of the server's: it outlives who asked
        let copy = tokio::spawn(async move {
            // an error says that the store has gone, and with it whoever could look
            let _ = released.wait_for(|released| *released).await;
            inner.copy_opts(&from, &to, options).await
        });
        copy.await.unwrap_or_else(|error| Err(Error::JoinError { source: error }))
    }
}
