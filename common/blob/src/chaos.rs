//! `ChaosStore`: a seeded decorator that makes any object store fail the ways real ones do.
//!
//! The same seed and the same sequence of calls give the same faults. It must never invent bytes: every fault is an
//! error, a delay, or a body that ends too early.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// A way to fail.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ChaosFault {
    /// The call fails and did nothing.
    ErrorBefore,
    /// The call did what it should and its answer is lost.
    ErrorAfter,
    /// The body ends too early, with an error or, worse, without one.
    Truncated,
    /// Nothing ever comes back.
    Stall,
    /// The server is overloaded and says so.
    SlowDown,
}

impl ChaosFault {
    /// Every way to fail.
    pub const ALL: [Self; 5] =
        [Self::ErrorBefore, Self::ErrorAfter, Self::Truncated, Self::Stall, Self::SlowDown];
}

/// How often each fault strikes, in thousandths of all calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChaosRates {
    /// [`ChaosFault::ErrorBefore`].
    pub error_before: u32,
    /// [`ChaosFault::ErrorAfter`].
    pub error_after: u32,
    /// [`ChaosFault::Truncated`]; only a body can be.
    pub truncated: u32,
    /// [`ChaosFault::Stall`].
    pub stall: u32,
    /// [`ChaosFault::SlowDown`].
    pub slow_down: u32,
}

impl ChaosRates {
    /// Every fault equally often.
    pub fn each(per_mille: u32) -> Self {
        Self {
            error_before: per_mille,
            error_after: per_mille,
            truncated: per_mille,
            stall: per_mille,
            slow_down: per_mille,
        }
    }
}

/// An object store that fails by a seed.
#[derive(Clone)]
pub struct ChaosStore {
    inner: Arc<dyn ObjectStore>,
    dice: Arc<Mutex<Dice>>,
}

struct Dice {
    rng: ChaCha8Rng,
    rates: ChaosRates,
    struck: BTreeMap<ChaosFault, u64>,
}

impl fmt::Debug for ChaosStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChaosStore({:?})", self.inner)
    }
}

impl fmt::Display for ChaosStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChaosStore({})", self.inner)
    }
}

impl ChaosStore {
    /// Makes `inner` fail at these rates.
    pub fn new(inner: Arc<dyn ObjectStore>, seed: u64, rates: ChaosRates) -> Self {
        let dice = Dice { rng: ChaCha8Rng::seed_from_u64(seed), rates, struck: BTreeMap::new() };
        Self { inner, dice: Arc::new(Mutex::new(dice)) }
    }

    /// How often each fault has struck.
    pub fn struck(&self) -> BTreeMap<ChaosFault, u64> {
        self.roll_with(|dice| dice.struck.clone())
    }

    /// Stops all faults, or changes how often they strike.
    pub fn set_rates(&self, rates: ChaosRates) {
        self.roll_with(|dice| dice.rates = rates);
    }

    fn roll_with<T>(&self, f: impl FnOnce(&mut Dice) -> T) -> T {
        f(&mut self.dice.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The fault of this call, if any. Always one roll, so that a later fault does not depend on the kind of call.
    fn roll(&self, has_body: bool) -> Option<(ChaosFault, u64)> {
        self.roll_with(|dice| {
            let (mut at, detail) = (dice.rng.random_range(0..1_000_u32), dice.rng.random::<u64>());
            let rates = [
                (ChaosFault::ErrorBefore, dice.rates.error_before),
                (ChaosFault::ErrorAfter, dice.rates.error_after),
                (ChaosFault::Truncated, if has_body { dice.rates.truncated } else { 0 }),
                (ChaosFault::Stall, dice.rates.stall),
                (ChaosFault::SlowDown, dice.rates.slow_down),
            ];
            let fault = rates.into_iter().find_map(|(fault, rate)| {
                let hit = at < rate;
                at = at.saturating_sub(rate);
                hit.then_some(fault)
            })?;
            *dice.struck.entry(fault).or_default() += 1;
            Some((fault, detail))
        })
    }

    /// Runs a call without a body under its fault.
    async fn strike<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        match self.roll(false).map(|(fault, _)| fault) {
            None | Some(ChaosFault::Truncated) => call.await,
            Some(ChaosFault::ErrorBefore) => Err(broken("the connection was reset before the request")),
            Some(ChaosFault::SlowDown) => Err(broken("503 Slow Down")),
            Some(ChaosFault::Stall) => std::future::pending().await,
            Some(ChaosFault::ErrorAfter) => {
                call.await?;
                Err(broken("the connection was reset before the answer"))
            }
        }
    }

    /// A listing under its fault: it breaks off after some entries.
    fn strike_list(
        &self,
        list: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.roll(true) {
            None => list,
            Some((ChaosFault::Stall, detail)) => {
                list.take((detail % 4) as usize).chain(stream::pending()).boxed()
            }
            Some((_, detail)) => {
                let end = stream::once(async { Err(broken("the listing broke off")) });
                list.take((detail % 4) as usize).chain(end).boxed()
            }
        }
    }
}

fn broken(what: &'static str) -> object_store::Error {
    object_store::Error::Generic { store: "ChaosStore", source: what.into() }
}

/// Cuts `result`'s body at a place that `detail` decides; half of the times without an error.
fn truncate(result: GetResult, detail: u64) -> GetResult {
    let length = result.range.end - result.range.start;
    let keep = if length == 0 { 0 } else { detail % length };
    let silent = (detail >> 32).is_multiple_of(2);
    let (meta, range) = (result.meta.clone(), result.range.clone());
    let (attributes, extensions) = (result.attributes.clone(), result.extensions.clone());
    let cut = result.into_stream().scan(keep, |left, piece| {
        let piece = piece.map(|mut bytes: Bytes| {
            bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= bytes.len() as u64;
            bytes
        });
        let ends = matches!(&piece, Ok(bytes) if bytes.is_empty());
        std::future::ready((!ends).then_some(piece))
    });
    let end = stream::iter((!silent).then(|| Err(broken("the body broke off"))));
    let payload = GetResultPayload::Stream(cut.chain(end).boxed());
    GetResult { payload, meta, range, attributes, extensions }
}

#[async_trait]
impl ObjectStore for ChaosStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.strike(self.inner.put_opts(location, payload, opts)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.strike(self.inner.put_multipart_opts(location, opts)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.roll(true) {
            None => self.inner.get_opts(location, options).await,
            Some((ChaosFault::ErrorBefore | ChaosFault::ErrorAfter, _)) => {
                Err(broken("the connection was reset"))
            }
            Some((ChaosFault::SlowDown, _)) => Err(broken("503 Slow Down")),
            Some((ChaosFault::Truncated, detail)) => {
                Ok(truncate(self.inner.get_opts(location, options).await?, detail))
            }
            // before the answer, or in the middle of the body
            Some((ChaosFault::Stall, detail)) if options.head || detail >> 63 == 0 => {
                std::future::pending().await
            }
            Some((ChaosFault::Stall, detail)) => {
                let mut result = truncate(self.inner.get_opts(location, options).await?, detail);
                if let GetResultPayload::Stream(body) = result.payload {
                    let so_far = body.take_while(|piece| std::future::ready(piece.is_ok()));
                    result.payload = GetResultPayload::Stream(so_far.chain(stream::pending()).boxed());
                }
                Ok(result)
            }
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.strike(self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let chaos = self.clone();
        locations
            .then(move |location| {
                let chaos = chaos.clone();
                async move {
                    let one = stream::once(std::future::ready(location)).boxed();
                    let mut deleted = chaos.inner.delete_stream(one);
                    chaos
                        .strike(
                            async move { deleted.next().await.unwrap_or_else(|| Err(broken("no answer"))) },
                        )
                        .await
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.strike_list(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.strike_list(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.strike(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.strike(self.inner.copy_opts(from, to, options)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.strike(self.inner.rename_opts(from, to, options)).await
    }
}
