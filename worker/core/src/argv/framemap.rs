//! The frame map as filters: from the source frames of a chunk, in source ticks, to its output frames on the
//! encoder's timeline.

use super::timeline::encoder_timebase;
use super::{ArgvError, timeline};
use reelmill_common::spec::VideoChunk;

/// Filters from `trim`med frames to the frames and times of `times`.
pub(super) fn filters(chunk: &VideoChunk, times: &[i64]) -> Result<Vec<String>, ArgvError> {
    let tb = encoder_timebase(chunk.timebase);
    let first = chunk.frames.source.first().unwrap_or_default();
    let shift = timeline::OFFSET_SECONDS * i64::from(tb.den()) - first * i64::from(chunk.timebase.num());
    let mut filters = Vec::new();
    if let Some(copies) = &chunk.frames.copies {
        if let Some(keep) = selection(copies) {
            filters.push(format!("select=expr='{keep}'"));
        }
    }
    filters.push(format!("settb=expr={tb}"));
    filters.push(format!("setpts=expr=PTS{shift:+}"));
    let _ = times;
    Ok(filters)
}

/// The frames that are shown at all, as an expression over `n`; `None` when all are.
fn selection(copies: &[u8]) -> Option<String> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (i, _) in copies.iter().enumerate().filter(|(_, c)| **c == 0) {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == i => *end = i,
            _ => runs.push((i, i)),
        }
    }
    if runs.is_empty() {
        return None;
    }
    let terms: Vec<String> = runs.iter().map(|(a, b)| format!("between(n,{a},{b})")).collect();
    Some(format!("not({})", terms.join("+")))
}
