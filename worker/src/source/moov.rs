//! The `moov` of MP4 sources, kept in memory: ffmpeg reads all of it at every open, and every chunk is an open.
//!
//! Only the box headers on the way to it are looked at; nothing in it is parsed here. A file in which it is not found
//! this way is simply read without.

use super::Counted;
use super::blocks::Key;
use bytes::Bytes;
use reelmill_blob::BlobError;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// Sources whose `moov` is kept; the oldest goes first.
const SOURCES: usize = 4;
/// Largest `moov` that is kept.
const LARGEST: u64 = 64 << 20;
/// Top-level boxes looked at on the way.
const BOXES: usize = 64;

/// A `moov` and where it lies.
#[derive(Clone, Debug)]
pub(super) struct Moov {
    pub(super) at: u64,
    pub(super) bytes: Bytes,
}

impl Moov {
    pub(super) fn range(&self) -> Range<u64> {
        self.at..self.at + self.bytes.len() as u64
    }
}

type Kept = Vec<(Arc<Key>, Arc<OnceCell<Option<Moov>>>)>;

/// The kept ones. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub(super) struct Moovs(Arc<Mutex<Kept>>);

impl Moovs {
    /// The `moov` of a source, read at most once for all who ask at the same time.
    pub(super) async fn of(&self, source: &Counted) -> Result<Option<Moov>, BlobError> {
        let cell = {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match kept.iter().find(|(k, _)| *k == source.key) {
                Some((_, cell)) => Arc::clone(cell),
                None => {
                    if kept.len() == SOURCES {
                        kept.remove(0);
                    }
                    let cell = Arc::default();
                    kept.push((Arc::clone(&source.key), Arc::clone(&cell)));
                    cell
                }
            }
        };
        cell.get_or_try_init(|| read(source)).await.cloned()
    }

    /// Drops that of a source.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _)| **of != *key);
    }
}

async fn read(source: &Counted) -> Result<Option<Moov>, BlobError> {
    let size = source.reader.bytes();
    let mut at = 0;
    for _ in 0..BOXES {
        if at + 16 > size {
            return Ok(None);
        }
        let header = source.reader.read(at..at + 16).await?;
        source.count(header.len() as u64);
        let Some((kind, length)) = box_header(&header) else { return Ok(None) };
        let end = match length {
            0 => size,
            n => at.saturating_add(n),
        };
        if kind == *b"moov" {
            if end > size || end - at > LARGEST {
                return Ok(None);
            }
            let bytes = source.reader.read(at..end).await?;
            source.count(bytes.len() as u64);
            return Ok(Some(Moov { at, bytes }));
        }
        if end <= at {
            return Ok(None);
        }
        at = end;
    }
    Ok(None)
}

/// Type and whole length of a box (ISO/IEC 14496-12, 4.2); length 0 reaches to the end of the file.
fn box_header(header: &[u8]) -> Option<([u8; 4], u64)> {
    let word = u32::from_be_bytes(header.get(..4)?.try_into().ok()?);
    let kind = header.get(4..8)?.try_into().ok()?;
    let length = match word {
        0 => 0,
        1 => u64::from_be_bytes(header.get(8..16)?.try_into().ok()?).max(16),
        n => u64::from(n).max(8),
    };
    Some((kind, length))
}
