//! Frames of a rung against the frame table of the spec.

use super::nal::is_idr;
use super::{OutputError, Sample, SegmentPlan, only_track, same_config, same_timescale};
use crate::argv::timeline::{encoder_timebase, encoder_times};
use reelmill_common::Ticks;
use reelmill_common::spec::{SegmentSpan, VideoChunk, VideoRung};
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
    idrs(chunk, spec, &samples, file)?;
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
                return Err(OutputError::frames(format!("{place}, frame {}", e.number), what));
            }
            None => break,
        }
    }
    if order.len() != expected.len() {
        let what = format!("expected {} frames, found {}", expected.len(), order.len());
        return Err(OutputError::frames(place, what));
    }
    let sample = |(s, time): (&reelmill_media::fragments::Sample, i64)| Sample {
        time,
        key: s.key,
        range: s.range.clone(),
    };
    Ok(track.samples.iter().zip(shown).map(sample).collect())
}

/// Every planned IDR is an IDR by its NAL units, not only by its flag; flags and units agree on every frame.
fn idrs(chunk: &VideoChunk, rung: &VideoRung, samples: &[Sample], file: &[u8]) -> Result<(), OutputError> {
    let place = |time: i64| format!("{}, frame at {time}", rung.folder);
    let mut keys: Vec<i64> = Vec::new();
    for s in samples {
        let bytes = file.get(s.range.clone()).unwrap_or_default();
        match (is_idr(bytes, &rung.avcc), s.key) {
            (Ok(true), true) => keys.push(s.time),
            (Ok(false), false) => {}
            (Ok(false), true) => {
                let what = "is flagged as a key frame but holds no IDR picture";
                return Err(OutputError::new(place(s.time), what));
            }
            (Ok(true), false) => {
                let what = "is an IDR picture but not flagged as a key frame";
                return Err(OutputError::new(place(s.time), what));
            }
            (Err(what), _) => return Err(OutputError::new(place(s.time), what)),
        }
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
            return Err(OutputError::new(place(*frame), what));
        }
    }
    Ok(())
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
        let mut own = Vec::new();
        while let Some(s) = samples.next_if(|s| span.range.contains(Ticks(s.time))) {
            own.push(s);
        }
        starts_with_idr(place, span, &own)?;
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

/// The first frame in decode order is the segment's first one, and an IDR.
fn starts_with_idr(place: &str, span: &SegmentSpan, samples: &[Sample]) -> Result<(), OutputError> {
    let found = match samples.first() {
        Some(s) if s.key && s.time == span.range.start.0 => return Ok(()),
        Some(s) => format!("{} at {}", if s.key { "an IDR" } else { "a frame that is no IDR" }, s.time),
        None => "none".to_owned(),
    };
    let what = format!("expected an IDR at {} first, found {found}", span.range.start.0);
    Err(OutputError::new(format!("{place}, segment {}", span.number), what))
}

/// One segment of a rung, written earlier: `samples` are those found in it, their bytes lie in `file`. The same is
/// asked of it as of the encoder's output: each frame of the plan at its time, no other, IDRs where they are planned.
///
/// # Errors
/// [`OutputError`] at the first thing that is not as planned.
pub(crate) fn found_segment(
    chunk: &VideoChunk,
    rung: &VideoRung,
    span: &SegmentSpan,
    samples: Vec<Sample>,
    file: &[u8],
) -> Result<SegmentPlan, OutputError> {
    let place = format!("{}, segment {}", rung.folder, span.number);
    let planned = chunk.rung_frames(rung.settings.every).filter_map(|i| chunk.frames.output.get(i));
    let planned: Vec<i64> = planned.filter(|t| span.range.contains(Ticks(*t))).collect();
    let mut found: Vec<i64> = samples.iter().map(|s| s.time).collect();
    found.sort_unstable();
    if found.len() != planned.len() {
        let what = format!("expected {} frames, found {}", planned.len(), found.len());
        return Err(OutputError::new(place, what));
    }
    if let Some((found, planned)) = found.iter().zip(&planned).find(|(found, planned)| found != planned) {
        return Err(OutputError::new(place, format!("expected a frame at {planned}, found one at {found}")));
    }
    idrs(chunk, rung, &samples, file)?;
    starts_with_idr(&rung.folder, span, &samples)?;
    Ok(SegmentPlan { number: span.number.0, start: span.range.start.0, end: span.range.end.0, samples })
}
