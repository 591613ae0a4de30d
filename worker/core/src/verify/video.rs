//! Frames of a rung against the frame table of the spec.

use super::{OutputError, Sample, SegmentPlan, only_track, same_config, same_timescale};
use crate::argv::timeline::{encoder_timebase, encoder_times};
use reelmill_common::spec::{VideoChunk, VideoRung};
use reelmill_media::fragments::{Config, Track};

/// Checks ffmpeg's output of rung `rung` and sorts its frames into the chunk's segments.
///
/// # Errors
/// [`OutputError`] at the first thing that is not as planned.
pub fn frames(chunk: &VideoChunk, rung: usize, file: &[u8]) -> Result<Vec<SegmentPlan>, OutputError> {
    let Some(spec) = chunk.rungs.get(rung) else {
        return Err(OutputError::new(
            format!("rung {rung}"),
            format!("the chunk has {} rungs", chunk.rungs.len()),
        ));
    };
    let place = spec.folder.as_str();
    let track = only_track(place, file)?;
    same_timescale(place, &track, encoder_timebase(chunk.timebase).den())?;
    let Config::Avc(_) = track.config else {
        return Err(OutputError::new(place, "expected H.264, found AAC"));
    };
    same_config(place, &track.config, &spec.avcc)?;
    let expected = expected(chunk, spec).map_err(|what| OutputError::new(place, what))?;
    let samples = at_output_times(chunk, place, &track, &expected)?;
    let nal_length = spec.avcc.get(4).map_or(4, |b| usize::from(b & 3) + 1);
    idrs(chunk, place, &samples, file, nal_length)?;
    into_segments(chunk, place, samples)
}

/// A frame that must be there.
struct Expected {
    /// Number in the whole film, at full rate.
    number: u64,
    /// On the encoder's timeline.
    encoded: i64,
    /// On the output's timeline.
    shown: i64,
}

fn expected(chunk: &VideoChunk, rung: &VideoRung) -> Result<Vec<Expected>, String> {
    let times = encoder_times(chunk).map_err(|e| e.to_string())?;
    let frame = |i: usize| {
        Some(Expected {
            number: chunk.first_output + i as u64,
            encoded: *times.get(i)?,
            shown: chunk.frames.output.get(i)?,
        })
    };
    chunk
        .rung_frames(rung.settings.every)
        .map(|i| frame(i).ok_or_else(|| "the frame map is not consistent".to_owned()))
        .collect()
}

/// Compares frames with the table, exactly, and gives each its output time; the order stays that of decoding.
fn at_output_times(
    chunk: &VideoChunk,
    place: &str,
    track: &Track,
    expected: &[Expected],
) -> Result<Vec<Sample>, OutputError> {
    let mut order: Vec<usize> = (0..track.samples.len()).collect();
    order.sort_by_key(|i| track.samples[*i].pts);
    let mut shown = vec![0; order.len()];
    let tb = encoder_timebase(chunk.timebase);
    for (rank, i) in order.iter().enumerate() {
        let found = track.samples[*i].pts;
        match expected.get(rank) {
            Some(e) if e.encoded == found => shown[*i] = e.shown,
            Some(e) => {
                let relative = |t: i64| t - expected.first().map_or(0, |f| f.encoded);
                let what = format!(
                    "expected {} frames; number {rank} of the chunk is found {} ticks of {tb} s after the first frame, \
                     expected {}",
                    expected.len(),
                    relative(found),
                    relative(e.encoded)
                );
                return Err(OutputError::new(format!("{place}, frame {}", e.number), what));
            }
            None => break,
        }
    }
    if order.len() != expected.len() {
        let what = format!("expected {} frames, found {}", expected.len(), order.len());
        return Err(OutputError::new(place, what));
    }
    let sample = |(s, time): (&reelmill_media::fragments::Sample, i64)| Sample {
        time,
        key: s.key,
        range: s.range.clone(),
    };
    Ok(track.samples.iter().zip(shown).map(sample).collect())
}

/// Every planned IDR is an IDR by its NAL units, not only by ffmpeg's flag; so is every frame flagged as one.
fn idrs(
    chunk: &VideoChunk,
    place: &str,
    samples: &[Sample],
    file: &[u8],
    nal_length: usize,
) -> Result<(), OutputError> {
    let mut keys: Vec<i64> = Vec::new();
    for s in samples.iter().filter(|s| s.key) {
        if !file.get(s.range.clone()).is_some_and(|bytes| has_idr(bytes, nal_length)) {
            let what = "is flagged as a key frame but holds no IDR picture";
            return Err(OutputError::new(format!("{place}, frame at {}", s.time), what));
        }
        keys.push(s.time);
    }
    let mut times: Vec<i64> = samples.iter().map(|s| s.time).collect();
    times.sort_unstable();
    keys.sort_unstable();
    for planned in &chunk.idr {
        // a half-rate rung takes the next frame it has
        let at = times.partition_point(|t| *t < planned.0);
        let Some(frame) = times.get(at) else { continue };
        if keys.binary_search(frame).is_err() {
            let what = format!("expected an IDR for the one planned at {}, found none", planned.0);
            return Err(OutputError::new(format!("{place}, frame at {frame}"), what));
        }
    }
    Ok(())
}

/// Does a length-prefixed access unit hold a coded slice of an IDR picture (nal_unit_type 5)?
fn has_idr(mut bytes: &[u8], nal_length: usize) -> bool {
    while let Some((prefix, rest)) = bytes.split_at_checked(nal_length) {
        let length = prefix.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
        let Some((nal, after)) = rest.split_at_checked(length) else { return false };
        if nal.first().is_some_and(|b| b & 0x1f == 5) {
            return true;
        }
        bytes = after;
    }
    false
}

/// Cuts the frames, in decode order, into the chunk's segments: each begins with its first frame, an IDR, and no frame
/// of it is decoded before or after its neighbours' frames.
fn into_segments(
    chunk: &VideoChunk,
    place: &str,
    samples: Vec<Sample>,
) -> Result<Vec<SegmentPlan>, OutputError> {
    let mut samples = samples.into_iter().peekable();
    let mut plans = Vec::with_capacity(chunk.segments.len());
    for span in &chunk.segments {
        let place = || format!("{place}, segment {}", span.number);
        let mut own = Vec::new();
        while let Some(s) = samples.next_if(|s| span.range.contains(reelmill_common::Ticks(s.time))) {
            own.push(s);
        }
        match own.first() {
            Some(s) if s.key && s.time == span.range.start.0 => {}
            first => {
                let found = first.map_or("none".to_owned(), |s| {
                    format!("{} at {}", if s.key { "an IDR" } else { "a frame that is no IDR" }, s.time)
                });
                let what = format!("expected an IDR at {} first, found {found}", span.range.start.0);
                return Err(OutputError::new(place(), what));
            }
        }
        plans.push(SegmentPlan {
            number: span.number.0,
            start: span.range.start.0,
            end: span.range.end.0,
            samples: own,
        });
    }
    match samples.next() {
        None => Ok(plans),
        Some(s) => {
            let what = "lies in no segment, or is decoded among another segment's frames";
            Err(OutputError::new(format!("{place}, frame at {}", s.time), what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::has_idr;

    #[test]
    fn an_idr_is_found_behind_other_units() {
        let unit =
            |kind: u8, len: u8| [vec![0, 0, 0, len, 0x60 | kind], vec![0; usize::from(len) - 1]].concat();
        assert!(has_idr(&[unit(6, 3), unit(5, 9)].concat(), 4));
        assert!(!has_idr(&[unit(6, 3), unit(1, 9)].concat(), 4));
        assert!(!has_idr(&[0, 0, 0, 9, 0x65], 4), "cut off");
        assert!(!has_idr(&[], 4));
    }
}
