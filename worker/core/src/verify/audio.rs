//! Packets of an audio chunk against its packet grid, and whether ranges of one rendition may meet.
//!
//! Two ranges are encoded by workers that do not see each other, and meet at a packet border the plan has fixed. A
//! decoder overlaps the halves of the windows on both sides of it, so the later half of the packet before the join must
//! be the half that both encoders thought of. The rule that makes it so without a word between them: **the packet
//! before a join has a long Kaiser-Bessel window that all its channels share**. The earlier range holds it against its
//! last packet, the later one against the last packet of its own pre-roll; what follows such a packet in either encode
//! is legal behind such a packet of the other. Where a film's sound has an attack at a border, the rule does not hold:
//! [`join`] looks for a border where it does, with room to spare, before the plan is made.

use super::{OutputError, Sample, SegmentPlan, only_track, same_config, same_timescale};
use crate::argv::audio::encoded_range;
use crate::argv::timeline::OFFSET_SECONDS;
use reelmill_common::spec::{AAC_FRAME, AudioChunk, AudioSegment};
use reelmill_media::aac::{WindowSequence, shared_window};
use reelmill_media::fragments::{Config, Track};

/// Packets on both sides of a border that must be plainly long for ranges to be planned to meet there: an encoder on
/// another machine, or sound decoded with other noise, will then not see an attack at the border itself.
const QUIET: u64 = 3;

/// Checks ffmpeg's output of an audio chunk and sorts its packets into the chunk's segments, without the packets that
/// were only encoded to warm up and to run out.
///
/// # Errors
/// [`OutputError`] at the first thing that is not as planned.
pub fn packets(chunk: &AudioChunk, file: &[u8]) -> Result<Vec<SegmentPlan>, OutputError> {
    let place = chunk.folder.as_str();
    let track = checked(chunk, file)?;
    let first = encoded_range(chunk).first_packet;
    joinable(chunk, &track, file)?;
    let mut plans = Vec::with_capacity(chunk.segments.len());
    for segment in &chunk.segments {
        let sample = |p: u64| {
            let s = track.samples.get(p.checked_sub(first)? as usize)?;
            Some(Sample { time: (p * AAC_FRAME) as i64, key: true, range: s.range.clone() })
        };
        let samples: Option<Vec<Sample>> = (segment.first_packet..segment.end_packet).map(sample).collect();
        let Some(samples) = samples else {
            let what = format!("packets {} to {} were not encoded", segment.first_packet, segment.end_packet);
            return Err(OutputError::new(format!("{place}, segment {}", segment.number), what));
        };
        let (start, end) = span(chunk, segment);
        plans.push(SegmentPlan { number: segment.number.0, start, end, samples });
    }
    Ok(plans)
}

/// The first place asked for at which two ranges of the rendition can meet: the first packet of a segment of the probe
/// `chunk` around which nothing but plain long windows is found. `None`: there is none.
///
/// # Errors
/// [`OutputError`] when ffmpeg's output is not what the chunk asks for.
pub fn join(chunk: &AudioChunk, file: &[u8]) -> Result<Option<u64>, OutputError> {
    let track = checked(chunk, file)?;
    let plain = |p: u64| {
        let window = packet(chunk, &track, file, p).and_then(shared_window);
        window.is_some_and(|w| w.sequence == WindowSequence::OnlyLong && w.kaiser)
    };
    let quiet = |border: &u64| *border >= QUIET && (border - QUIET..border + QUIET).all(plain);
    Ok(chunk.segments.iter().map(|s| s.first_packet).find(quiet))
}

/// ffmpeg's track, with the packets of the chunk in their places.
fn checked(chunk: &AudioChunk, file: &[u8]) -> Result<Track, OutputError> {
    let place = chunk.folder.as_str();
    let track = only_track(place, file)?;
    same_timescale(place, &track, chunk.settings.sample_rate)?;
    let Config::Aac(_) = track.config else {
        return Err(OutputError::new(place, "expected AAC, found H.264"));
    };
    same_config(place, &track.config, &chunk.asc)?;
    grid(chunk, place, &track)?;
    Ok(track)
}

/// Packet `p` of the rendition in ffmpeg's output.
fn packet<'a>(chunk: &AudioChunk, track: &Track, file: &'a [u8], p: u64) -> Option<&'a [u8]> {
    let i = p.checked_sub(encoded_range(chunk).first_packet)?;
    file.get(track.samples.get(usize::try_from(i).ok()?)?.range.clone())
}

/// The packets before both joins of a range let it meet any other that does the same.
fn joinable(chunk: &AudioChunk, track: &Track, file: &[u8]) -> Result<(), OutputError> {
    let all = (chunk.total_samples + AAC_FRAME).div_ceil(AAC_FRAME);
    for border in [chunk.packets.0, chunk.packets.1].into_iter().filter(|b| *b > 0 && *b < all) {
        let window = packet(chunk, track, file, border - 1).and_then(shared_window);
        let long = |w: WindowSequence| matches!(w, WindowSequence::OnlyLong | WindowSequence::LongStop);
        if !window.is_some_and(|w| long(w.sequence) && w.kaiser) {
            let what = format!("ranges cannot meet here: expected a long window, found {window:?}");
            return Err(OutputError::new(format!("{}, packet {}", chunk.folder, border - 1), what));
        }
    }
    Ok(())
}

/// Exactly the packets of the range, 1,024 samples apart, the first one a packet before its sound.
fn grid(chunk: &AudioChunk, place: &str, track: &Track) -> Result<(), OutputError> {
    let range = encoded_range(chunk);
    let given = range.end_sample.saturating_sub(range.start_sample);
    let expected = given.div_ceil(AAC_FRAME) + 1;
    let origin = OFFSET_SECONDS * i64::from(chunk.settings.sample_rate);
    for (i, s) in track.samples.iter().enumerate() {
        let planned = origin + (i as i64 - 1) * AAC_FRAME as i64;
        if s.pts != planned {
            let what = format!(
                "expected {expected} packets; this one is found at sample {}, expected {}",
                s.pts - origin,
                planned - origin
            );
            return Err(OutputError::new(format!("{place}, packet {}", range.first_packet + i as u64), what));
        }
    }
    if track.samples.len() as u64 == expected {
        return Ok(());
    }
    let what = format!("expected {expected} packets for {given} samples, found {}", track.samples.len());
    Err(OutputError::new(place, what))
}

/// One segment of an audio rendition, written earlier: the same is asked of it as of the encoder's output.
///
/// # Errors
/// [`OutputError`] at the first packet that is not as planned.
pub(crate) fn found_packets(
    chunk: &AudioChunk,
    segment: &AudioSegment,
    samples: Vec<Sample>,
) -> Result<SegmentPlan, OutputError> {
    let place = format!("{}, segment {}", chunk.folder, segment.number);
    let planned = segment.end_packet.saturating_sub(segment.first_packet);
    if samples.len() as u64 != planned {
        return Err(OutputError::new(place, format!("expected {planned} packets, found {}", samples.len())));
    }
    for (packet, s) in (segment.first_packet..).zip(&samples) {
        let time = (packet * AAC_FRAME) as i64;
        if s.time != time || !s.key {
            let what = format!("expected packet {packet} at sample {time}, found one at {}", s.time);
            return Err(OutputError::new(place, what));
        }
    }
    let (start, end) = span(chunk, segment);
    Ok(SegmentPlan { number: segment.number.0, start, end, samples })
}

/// Where a segment lies on the media timeline; the film's last packet is shortened to where its sound ends.
fn span(chunk: &AudioChunk, segment: &AudioSegment) -> (i64, i64) {
    // samples presented and one packet of encoder delay
    let end_of_track = chunk.total_samples + AAC_FRAME;
    let end = (segment.end_packet * AAC_FRAME).min(end_of_track);
    ((segment.first_packet * AAC_FRAME) as i64, end as i64)
}
