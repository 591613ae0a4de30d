//! Pictures of a rendition against the film: each frame once, in its place, at its time, in its colours.

use super::{Check, Findings};
use crate::film::Expected;
use crate::marks::{self, Reading};
use crate::package::Rendition;
use anyhow::Result;
use reelmill_common::Sha256;
use std::collections::BTreeMap;

/// The frames this rung must show: all, or every second one for small rungs of fast films.
fn due(expected: &Expected, short_side: u16) -> Vec<(u32, i64)> {
    let step = if expected.fast && short_side <= 360 { 2 } else { 1 };
    expected.frames.iter().copied().step_by(step).collect()
}

/// Checks one video rendition.
pub(super) fn check(
    r: &Rendition,
    expected: &Expected,
    seen: &mut BTreeMap<Sha256, Result<Reading, String>>,
    found: &mut Findings,
) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let joined = scratch.path().join("joined.mp4");
    r.join(&joined)?;
    let read = || marks::read(&joined).map_err(|why| format!("{why:#}"));
    let reading = match seen.entry(Sha256::of(&std::fs::read(&joined)?)).or_insert_with(read) {
        Ok(reading) => reading,
        Err(why) => {
            found.expect(false, Check::DecodesCleanly, &r.uri, || why.clone());
            return Ok(());
        }
    };
    let due = due(expected, r.init.size.0.min(r.init.size.1));
    found.expect(reading.complaints.is_empty(), Check::DecodesCleanly, &r.uri, || {
        reading.complaints.join("; ")
    });
    found.expect(reading.marks.len() == due.len(), Check::FrameCount, &r.uri, || {
        format!("{} frames, the film has {}", reading.marks.len(), due.len())
    });
    let wrong = reading.marks.iter().zip(&due).position(|(mark, due)| mark.counter != Some(due.0));
    found.expect(wrong.is_none(), Check::FrameOrder, &r.uri, || {
        let at = wrong.unwrap_or(0);
        format!("frame {at} shows {:?}, due is {}", reading.marks[at].counter, due[at].0)
    });
    let pale = reading.marks.iter().position(|m| m.counter.is_some() && !m.colours);
    found.expect(pale.is_none(), Check::Colours, &r.uri, || format!("wrong colours from frame {pale:?} on"));
    let (num, den) = reading.timebase;
    let decoded = reading.marks.iter().map(|m| (m.pts, i128::from(num), i128::from(den)));
    check_times(r, "decoder", decoded, &due, expected.scale, found);
    let written = r.presentation_times();
    let written = written.iter().map(|t| (*t, 1, i128::from(r.init.timescale)));
    check_times(r, "boxes", written, &due, expected.scale, found);
    Ok(())
}

/// Compares times (ticks of `num / den` seconds) with the film's to one tick of the rendition.
fn check_times(
    r: &Rendition,
    told_by: &str,
    times: impl Iterator<Item = (i64, i128, i128)>,
    due: &[(u32, i64)],
    scale: i64,
    found: &mut Findings,
) {
    let scale = i128::from(scale);
    let wrong = times.zip(due).enumerate().find(|(_, ((t, num, den), (_, at)))| {
        // |t * num / den - at / scale| > 1 / timescale, without a division
        let apart = (i128::from(*t) * num * scale - i128::from(*at) * den).abs();
        apart * i128::from(r.init.timescale) > den * scale
    });
    found.expect(wrong.is_none(), Check::FrameTime, &r.uri, || {
        format!("by the {told_by}: (frame, ((ticks, num, den), (counter, due / {scale}))) = {wrong:?}")
    });
}
