//! Blocks of sources, kept in memory for a while and read once for all attempts of this worker that want them.
//!
//! Attempts on one film read the same bytes again and again: chunks begin at a keyframe before their first frame, sound
//! lies between pictures, and ffmpeg drops a connection with bytes under way whenever it seeks. So what is fetched is
//! always a whole block, it is counted to the attempt that first wanted it, and it is kept: the least recently used
//! goes first. A fetch that nobody waits for any more is brought to its end, because its bytes are on their way.

use super::Counted;
use bytes::Bytes;
use reelmill_blob::{BlobError, BlobErrorKind};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// Bytes fetched at once: a round trip to a store is worth it, and little is fetched beside what was wanted.
pub(super) const BLOCK: u64 = 512 * 1024;
/// Blocks kept, of all sources together: 128 MiB.
const MOST: usize = 256;

/// What names a source's bytes: URL, size, version.
pub(super) type Key = (String, u64, Option<String>);

type Cell = Arc<OnceCell<Bytes>>;

/// The kept ones. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// With when each was last wanted, in wishes since the start.
    blocks: BTreeMap<(Arc<Key>, u64), (u64, Cell)>,
    wishes: u64,
}

impl Blocks {
    /// The block with this number of a source.
    pub(super) async fn get(&self, source: &Counted, number: u64) -> Result<Bytes, BlobError> {
        let cell = self.cell(&source.key, number);
        if let Some(bytes) = cell.get() {
            return Ok(bytes.clone());
        }
        let source = source.clone();
        let fetched = tokio::spawn(async move {
            let fetch = || async {
                let start = number * BLOCK;
                let bytes = source.reader.read(start..(start + BLOCK).min(source.reader.bytes())).await?;
                source.count(bytes.len() as u64);
                Ok(bytes)
            };
            cell.get_or_try_init(fetch).await.cloned()
        });
        fetched.await.unwrap_or_else(|e| {
            Err(BlobError::new(BlobErrorKind::Unavailable, format!("reading the source broke off: {e}")))
        })
    }

    /// Drops what is kept of a source.
    pub(super) fn forget(&self, key: &Key) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.blocks.retain(|(of, _), _| **of != *key);
    }

    fn cell(&self, key: &Arc<Key>, number: u64) -> Cell {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.wishes += 1;
        let now = kept.wishes;
        let name = (Arc::clone(key), number);
        if let Some((wanted, cell)) = kept.blocks.get_mut(&name) {
            *wanted = now;
            return Arc::clone(cell);
        }
        if kept.blocks.len() == MOST {
            let oldest =
                kept.blocks.iter().min_by_key(|(_, (wanted, _))| *wanted).map(|(name, _)| name.clone());
            oldest.map(|name| kept.blocks.remove(&name));
        }
        let cell = Cell::default();
        kept.blocks.insert(name, (now, Arc::clone(&cell)));
        cell
    }
}
