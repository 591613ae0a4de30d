//! The last look at a finished segment: it is read back as a player would, with its init segment, and compared with
//! what should be in it. A mistake of the writer, or of memory, ends here.

use super::{OutputError, SegmentPlan};
use reelmill_media::fragments::{FragmentError, read};

/// Checks a written segment against its plan. `delay` is what the init segment's edit list takes off; `content` gives
/// the bytes of ffmpeg's file the samples were taken from.
///
/// # Errors
/// [`OutputError`] when a time, a flag or a byte differs.
pub fn written(
    place: &str,
    init: &[u8],
    segment: &[u8],
    plan: &SegmentPlan,
    delay: i64,
    content: &[u8],
) -> Result<(), OutputError> {
    let whole = [init, segment].concat();
    let fail =
        |what: String| OutputError::new(format!("{place}, segment {:06} as written", plan.number), what);
    let tracks = read(&whole).map_err(|e: FragmentError| fail(e.to_string()))?;
    let [track] = &tracks[..] else {
        return Err(fail(format!("expected one track, found {}", tracks.len())));
    };
    if track.samples.len() != plan.samples.len() {
        return Err(fail(format!("expected {} samples, found {}", plan.samples.len(), track.samples.len())));
    }
    let mut decode = plan.start;
    for (found, planned) in track.samples.iter().zip(&plan.samples) {
        if found.dts != decode {
            return Err(fail(format!("expected decode time {decode}, found {}", found.dts)));
        }
        decode += i64::from(found.duration);
        if found.pts - delay != planned.time || found.key != planned.key {
            let (pts, key) = (found.pts - delay, found.key);
            return Err(fail(format!(
                "expected time {} (key {}), found {pts} (key {key})",
                planned.time, planned.key
            )));
        }
        if whole.get(found.range.clone()) != content.get(planned.range.clone()) {
            return Err(fail(format!("the sample at {} has other bytes than were encoded", planned.time)));
        }
    }
    if decode != plan.end {
        return Err(fail(format!("expected its end at {}, found {decode}", plan.end)));
    }
    Ok(())
}
