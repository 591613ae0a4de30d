//! Measured bit rates, in whole bits a second, rounded up: HLS's peak and average, DASH's @bandwidth.

use super::tracks::{Segment, Track};

/// The largest bit rate of any contiguous set of segments that lasts between half and one and a half target
/// durations (RFC 8216, section 4.1); of the whole where no set does. `bits` tells the size of a segment.
pub(super) fn peak(track: &Track<'_>, target_seconds: i64, bits: impl Fn(&Segment) -> u64) -> u64 {
    let scale = i64::from(track.timescale);
    let (least, most) = (target_seconds * scale, 3 * target_seconds * scale);
    let segments = &track.segments;
    let mut peak = 0;
    for (n, first) in segments.iter().enumerate() {
        let mut sum = 0u64;
        for segment in &segments[n..] {
            sum = sum.saturating_add(bits(segment));
            // doubled, so that the halves are whole
            let doubled = 2 * (segment.end - first.start);
            if doubled > most {
                break;
            }
            if doubled >= least {
                peak = peak.max(rate(sum, segment.end - first.start, scale));
            }
        }
    }
    if peak > 0 { peak } else { average(track, bits) }
}

/// All bits over the whole duration.
pub(super) fn average(track: &Track<'_>, bits: impl Fn(&Segment) -> u64) -> u64 {
    let sum = track.segments.iter().map(bits).fold(0, u64::saturating_add);
    let ticks = track.segments.last().map_or(0, |s| s.end);
    rate(sum, ticks, track.timescale.into())
}

/// The size of a whole segment.
pub(super) fn segment_bits(segment: &Segment) -> u64 {
    segment.bytes.saturating_mul(8)
}

/// The size of a segment's I-frame, with what stands before it.
pub(super) fn iframe_bits(segment: &Segment) -> u64 {
    segment.iframe.map_or(0, |i| i.length.saturating_mul(8))
}

fn rate(bits: u64, ticks: i64, scale: i64) -> u64 {
    let n = u128::from(bits) * scale.max(1) as u128;
    u64::try_from(n.div_ceil(ticks.max(1) as u128)).unwrap_or(u64::MAX)
}

/// The least rate at which a client that starts with any segment and begins to play `buffer_micros` later has every
/// segment whole when its turn comes (ISO/IEC 23009-1, 5.3.5.2, with each segment needed entire at its start).
pub(super) fn never_underflows(track: &Track<'_>, buffer_micros: i64) -> u64 {
    let (mut low, mut high) = (0, 1);
    while !suffices(track, buffer_micros, high) {
        if high > u64::MAX / 4 {
            return high;
        }
        (low, high) = (high, high * 2);
    }
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if suffices(track, buffer_micros, middle) { high = middle } else { low = middle }
    }
    high
}

/// In millionths of a bit: for every start i and every later segment j, the bits of i to j arrive within the buffer
/// plus the time from i to j. What is left over the line is carried along, so that one pass does.
fn suffices(track: &Track<'_>, buffer_micros: i64, rate: u64) -> bool {
    let rate = i128::from(rate);
    let buffer = rate * i128::from(buffer_micros.max(1));
    let mut sent = 0i128;
    let mut best_start = i128::MAX;
    for segment in &track.segments {
        let due = rate * i128::from(track.micros(segment.start));
        best_start = best_start.min(sent - due);
        sent += i128::from(segment_bits(segment)) * 1_000_000;
        if sent - due - best_start > buffer {
            return false;
        }
    }
    true
}

#[cfg(test)]
#[path = "bandwidth_tests.rs"]
mod tests;
