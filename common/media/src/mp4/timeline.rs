//! From sample tables and edit lists to presentation times, exactly as libavformat's `mov` demuxer makes them.
//!
//! What it does (`mov_build_index`, `mov_fix_index`; the same in 5.1 and 9.0): with an edit `[T, T + D)`, samples
//! are taken from the last sync sample at or before T on; those whose composition time lies outside are decoded but
//! not shown; then all times are moved so that the earliest shown one is the length of the leading empty edit. The
//! index ends at the second sync sample after the edit's end. Without edits, times are composition times.

use super::movie::{Chunks, Edit, Media, Sizes, Table};
use crate::error::IndexError;
use crate::limits::{Limits, check};
use reelmill_common::time::{Ticks, Timebase};
use std::num::NonZeroU32;

/// One sample of a video track.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Sample {
    /// Decode time.
    pub(super) dts: i64,
    /// Composition time.
    pub(super) cts: i64,
    pub(super) duration: u32,
    pub(super) sync: bool,
    pub(super) offset: u64,
    pub(super) size: u32,
}

/// What is left of an edit list: one edit, after an optional silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    /// Presentation time of the edit's start, media ticks.
    pub(super) lead: i64,
    /// First media time shown.
    pub(super) from: i64,
    /// First media time no longer shown.
    pub(super) until: i64,
}

type Result<T> = std::result::Result<T, IndexError>;

fn odd<T>(why: &str) -> Result<T> {
    Err(IndexError::not_native(why))
}

/// The single window of an edit list; `None` when there is no edit list.
pub(super) fn window(edits: &[Edit], movie: u32, media: u32) -> Result<Option<Window>> {
    let (lead, edit) = match edits {
        [] => return Ok(None),
        [Edit { duration, media_time: Some(t) }] => (0, (*duration, *t)),
        [Edit { duration: lead, media_time: None }, Edit { duration, media_time: Some(t) }] => {
            (*lead, (*duration, *t))
        }
        _ => return odd("the edit list has several edits"),
    };
    let (Some(movie), Some(media)) = (NonZeroU32::new(movie), NonZeroU32::new(media)) else {
        return odd("a timescale is 0");
    };
    // 2^52 ticks leave room for every sum below
    let scaled = |v: u64| match i64::try_from(v) {
        Ok(v) if v < 1 << 52 => Ok(Timebase::hz(movie).rescale(Ticks(v), Timebase::hz(media)).0),
        _ => odd("an edit is longer than any film"),
    };
    let (lead, length) = (scaled(lead)?, scaled(edit.0)?);
    let from = i64::try_from(edit.1).unwrap_or(i64::MAX);
    if length == 0 || from > 1 << 52 || length > 1 << 52 || lead > 1 << 52 {
        return odd("an edit of no length, or far away");
    }
    Ok(Some(Window { lead, from, until: from + length }))
}

/// Checks that the sample table is whole and inside the file; gives the number of samples and their duration.
pub(super) fn extent(table: &Table, file: u64) -> Result<(u32, u64)> {
    let samples = table.sizes.count();
    let timed: u64 = table.durations.iter().map(|(n, _)| u64::from(*n)).sum();
    let composed = table.offsets.as_ref().map(|o| o.iter().map(|(n, _)| u64::from(*n)).sum::<u64>());
    if samples == 0 || timed != u64::from(samples) || composed.is_some_and(|n| n != timed) {
        return odd("sample tables differ in length");
    }
    if table.durations.iter().any(|(_, d)| *d > i32::MAX as u32) {
        return odd("a sample duration is negative");
    }
    let mut placed = 0u64;
    let mut last_end = 0u64;
    each_chunk(table, |offset, first, count| {
        let bytes = match &table.sizes {
            Sizes::Same { size, .. } => u64::from(*size) * u64::from(count),
            Sizes::Each(v) => {
                let range = first as usize..(first as usize).saturating_add(count as usize);
                v.get(range).ok_or(())?.iter().map(|s| u64::from(*s)).sum()
            }
        };
        placed += u64::from(count);
        last_end = last_end.max(offset.checked_add(bytes).ok_or(())?);
        Ok(())
    })?;
    if placed != u64::from(samples) {
        return odd("chunks do not hold as many samples as there are");
    }
    if last_end > file {
        return odd("samples lie beyond the end of the file: it is cut short");
    }
    let duration = table.durations.iter().map(|(n, d)| u64::from(*n) * u64::from(*d)).sum();
    Ok((samples, duration))
}

/// Calls `each` with every chunk's offset, first sample and number of samples.
fn each_chunk(
    table: &Table,
    mut each: impl FnMut(u64, u32, u32) -> std::result::Result<(), ()>,
) -> Result<()> {
    let chunks: &Chunks = &table.chunks;
    if table.chunk_runs.first().map(|r| r.0) != Some(1) {
        return odd("the first chunk is not described");
    }
    let mut first = 0u32;
    for (i, (from, count)) in table.chunk_runs.iter().enumerate() {
        let until = table.chunk_runs.get(i + 1).map_or(chunks.len() as u64 + 1, |next| u64::from(next.0));
        if u64::from(*from) >= until || until > chunks.len() as u64 + 1 {
            return odd("chunks are described out of order");
        }
        for chunk in u64::from(*from)..until {
            let offset = chunks.get(chunk as usize - 1);
            let next = first.checked_add(*count);
            let (Some(offset), Some(next)) = (offset, next) else { return odd("a chunk is missing") };
            if each(offset, first, *count).is_err() {
                return odd("a chunk holds samples that are not there");
            }
            first = next;
        }
    }
    Ok(())
}

/// All samples of a video track in decode order.
pub(super) fn samples(media: &Media, file: u64, limits: &Limits) -> Result<Vec<Sample>> {
    let table = &media.table;
    check("frames", table.sizes.count().into(), limits.samples)?;
    let (count, _) = extent(table, file)?;
    // a sample has at least one byte, so the file bounds what is allocated here
    let mut out = Vec::with_capacity(count as usize);
    let mut durations = runs(&table.durations);
    let mut offsets = table.offsets.as_ref().map(|o| runs(o));
    let mut sync = table.sync.as_ref().map(|s| s.iter().copied().peekable());
    let mut dts = 0i64;
    let mut wrong = None;
    each_chunk(table, |offset, first, count| {
        let mut at = offset;
        for i in first..first.saturating_add(count) {
            let (Some(size), Some(duration)) = (table.sizes.get(i), durations.next()) else { return Err(()) };
            if size == 0 || (duration == 0 && i + 1 < table.sizes.count()) {
                wrong = Some("a sample has no bytes or no duration");
                return Err(());
            }
            let composition = offsets.as_mut().map_or(Some(0), Iterator::next).ok_or(())?;
            // libavformat ignores such offsets in its own way
            if composition.unsigned_abs() > 1 << 27 {
                wrong = Some("a composition offset is out of all proportion");
                return Err(());
            }
            let sync = sync.as_mut().is_none_or(|s| s.next_if_eq(&(i + 1)).is_some());
            out.push(Sample { dts, cts: dts + composition, duration, sync, offset: at, size });
            dts += i64::from(duration);
            at += u64::from(size);
        }
        Ok(())
    })
    .map_err(|e| wrong.map_or(e, IndexError::not_native))?;
    if sync.is_some_and(|mut s| s.next().is_some()) {
        return odd("sync samples are out of order or not there");
    }
    Ok(out)
}

/// Expands (count, value) runs.
fn runs<T: Copy>(runs: &[(u32, T)]) -> impl Iterator<Item = T> {
    runs.iter().flat_map(|(n, v)| std::iter::repeat_n(*v, *n as usize))
}

/// Which samples are demuxed, which of them are shown, and when.
#[derive(Debug)]
pub(super) struct Shown {
    /// The demuxed samples, as a range of the track's.
    pub(super) demuxed: std::ops::Range<usize>,
    /// To be added to a composition time.
    pub(super) shift: i64,
    /// The window applied; `None` = all shown.
    pub(super) window: Option<Window>,
}

impl Shown {
    pub(super) fn is_shown(&self, sample: &Sample) -> bool {
        self.window.is_none_or(|w| w.from <= sample.cts && sample.cts < w.until)
    }
}

/// Applies the edit list.
///
/// `composed`: the track has a table of composition offsets. Then the index ends one sync sample later, because
/// pictures shown before a sync sample may follow it.
pub(super) fn present(samples: &[Sample], window: Option<Window>, composed: bool) -> Result<Shown> {
    let Some(w) = window else {
        return Ok(Shown { demuxed: 0..samples.len(), shift: 0, window: None });
    };
    let start = samples
        .iter()
        .take_while(|s| s.dts <= w.from)
        .enumerate()
        .filter(|(_, s)| s.sync && s.cts <= w.from)
        .map(|(i, _)| i)
        .last();
    let Some(start) = start else { return odd("no sync sample at or before the start of the edit") };
    let mut after_end = 0;
    let end = (start..samples.len()).find(|i| {
        let s = &samples[*i];
        if s.sync && s.cts + i64::from(s.duration) >= w.until {
            after_end += 1;
        }
        after_end > i32::from(composed)
    });
    let demuxed = start..end.map_or(samples.len(), |i| i + 1);
    let shown = Shown { demuxed: demuxed.clone(), shift: 0, window };
    let first = samples[demuxed].iter().filter(|s| shown.is_shown(s)).map(|s| s.cts).min();
    match first {
        Some(first) => Ok(Shown { shift: w.lead - first, ..shown }),
        None => odd("the edit shows no frame"),
    }
}
