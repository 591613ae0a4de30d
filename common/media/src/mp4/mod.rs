//! Index of an MP4 or MOV from its own tables, by ranged reads.
//!
//! A sans-I/O machine: [`Mp4Index::step`] says which byte ranges it needs, the caller reads them from wherever the
//! source lies, gives them to [`Mp4Index::feed`] and steps again. Read are the box headers on the way to `moov`,
//! `moov` itself, and the first 16 KiB of up to 16 sync samples.
//!
//! The result must be what ffmpeg shows with `-copyts`. Whatever this reader is not sure of is
//! [`IndexError::NotNative`]: the caller then runs the packet scan, which asks ffmpeg itself.
//!
//! | module | what it knows |
//! |---|---|
//! | `movie` | what the boxes of `moov` say |
//! | `entry` | codecs and their configuration |
//! | `timeline` | edit lists and presentation times, as libavformat makes them |
//! | `draft` | the index, before and after the look at sync samples |

mod draft;
mod entry;
mod movie;
mod timeline;

use crate::boxes::{fourcc, header};
use crate::error::IndexError;
use crate::limits::{Limits, check};
use bytes::Bytes;
use draft::Draft;
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

/// Bytes read at the head of the file: most small films' `moov` is inside.
const HEAD: u64 = 64 * 1024;
/// Bytes read where a box header is expected beyond the bytes at hand: most `moov` at the end fit.
const WINDOW: u64 = 256 * 1024;
/// Boxes before `moov`, and reads to find it, at most.
const MAX_BOXES: u32 = 256;
const MAX_READS: u32 = 16;

/// The machine: feed it what it asks for until it is done.
#[derive(Debug)]
pub struct Mp4Index {
    size: u64,
    limits: Limits,
    phase: Phase,
    /// Ranges asked for, and what has come of them so far.
    asked: Vec<Range<u64>>,
    got: Vec<Bytes>,
    broken: Option<IndexError>,
}

#[derive(Debug)]
enum Phase {
    /// Looking for `moov`: the next header is at `at`.
    Walk { at: u64, boxes: u32, reads: u32 },
    /// `moov` was asked for; its content begins `head` bytes in.
    Movie { head: usize },
    /// Sync samples were asked for.
    Peek(Box<Draft>),
    /// Done or failed.
    Over,
}

/// What a phase comes to.
enum Next {
    Ask(Phase, Vec<Range<u64>>),
    Done(Box<SourceIndex>),
}

impl Mp4Index {
    /// Begins with a source of `size` bytes.
    pub fn new(size: u64, limits: Limits) -> Self {
        Self {
            size,
            limits,
            phase: Phase::Walk { at: 0, boxes: 0, reads: 1 },
            asked: std::iter::once(0..size.min(HEAD)).collect(),
            got: Vec::new(),
            broken: None,
        }
    }

    /// Goes on as far as the bytes given so far allow.
    pub fn step(&mut self) -> Step {
        if let Some(error) = self.broken.take() {
            self.phase = Phase::Over;
            return Step::Err(error);
        }
        if matches!(self.phase, Phase::Over) {
            return Step::Err(IndexError::protocol("stepped after the end"));
        }
        if self.size == 0 {
            self.phase = Phase::Over;
            return Step::Err(IndexError::no_media("it is empty (0 bytes)"));
        }
        if self.got.len() < self.asked.len() {
            return Step::Need(self.asked[self.got.len()..].to_vec());
        }
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        let got = std::mem::take(&mut self.got);
        match self.advance(phase, &got) {
            Ok(Next::Done(index)) => Step::Done(index),
            Ok(Next::Ask(phase, ranges)) => {
                self.phase = phase;
                self.asked = ranges.clone();
                Step::Need(ranges)
            }
            Err(error) => Step::Err(error),
        }
    }

    /// Gives the bytes of the next requested range, which starts at `offset`.
    pub fn feed(&mut self, offset: u64, bytes: Bytes) {
        match self.asked.get(self.got.len()) {
            Some(range) if range.start == offset && range.end - range.start == bytes.len() as u64 => {
                self.got.push(bytes);
            }
            Some(range) => {
                self.broken = Some(IndexError::protocol(format!(
                    "asked for bytes {}..{}, given {} at {offset}",
                    range.start,
                    range.end,
                    bytes.len()
                )));
            }
            None => self.broken = Some(IndexError::protocol("given bytes that were not asked for")),
        }
    }

    fn advance(&self, phase: Phase, got: &[Bytes]) -> Result<Next, IndexError> {
        let one = || got.first().ok_or_else(|| IndexError::protocol("stepped without bytes"));
        match phase {
            Phase::Walk { at, boxes, reads } => self.walk(at, boxes, reads, one()?),
            Phase::Movie { head } => self.movie(&one()?[head..]),
            Phase::Peek(draft) => draft.finish(got).map(|index| Next::Done(Box::new(index))),
            Phase::Over => Err(IndexError::protocol("stepped after the end")),
        }
    }

    /// Walks over box headers within `window`, which was read where this walk last stopped (`asked[0].start`).
    fn walk(&self, mut at: u64, mut boxes: u32, reads: u32, window: &Bytes) -> Result<Next, IndexError> {
        let base = self.asked.first().map_or(0, |r| r.start);
        loop {
            if at >= self.size {
                return Err(IndexError::not_native("there is no moov: the file is cut short or no MP4"));
            }
            boxes += 1;
            if boxes > MAX_BOXES || reads > MAX_READS {
                return Err(IndexError::not_native("moov lies behind too many other boxes"));
            }
            let here = usize::try_from(at - base).ok().and_then(|o| window.get(o..)).unwrap_or_default();
            let Some((kind, head, size)) = header(here).map_err(IndexError::not_native)? else {
                if base + window.len() as u64 == self.size {
                    return Err(IndexError::not_native("the file ends in the middle of a box header"));
                }
                let next = Phase::Walk { at, boxes: boxes - 1, reads: reads + 1 };
                return Ok(Next::Ask(next, std::iter::once(at..self.size.min(at + WINDOW)).collect()));
            };
            let end = size.map_or(Some(self.size), |s| at.checked_add(s)).filter(|e| *e <= self.size);
            let Some(end) = end else {
                return Err(IndexError::not_native(format!("box {} reaches over the end", fourcc(kind))));
            };
            match &kind {
                b"moov" => return self.at_movie(at..end, head, here),
                b"moof" => return Err(IndexError::not_native("the movie is fragmented")),
                b"meta" => return Err(IndexError::not_native("the file holds pictures as items")),
                _ => at = end,
            }
        }
    }

    fn at_movie(&self, range: Range<u64>, head: u64, here: &[u8]) -> Result<Next, IndexError> {
        let size = range.end - range.start;
        check("bytes of moov", size, self.limits.moov_bytes)?;
        let head = head as usize;
        match usize::try_from(size).ok().and_then(|size| here.get(head..size)) {
            Some(moov) => self.movie(moov),
            None => Ok(Next::Ask(Phase::Movie { head }, std::iter::once(range).collect())),
        }
    }

    fn movie(&self, moov: &[u8]) -> Result<Next, IndexError> {
        let movie = movie::read(moov, &self.limits)?;
        let draft = Draft::new(moov, &movie, self.size, &self.limits)?;
        let ranges = draft.ranges();
        if ranges.is_empty() {
            return draft.finish(&[]).map(|index| Next::Done(Box::new(index)));
        }
        Ok(Next::Ask(Phase::Peek(Box::new(draft)), ranges))
    }
}
