//! Playlists against the files they name: existence, decode times, durations, segment starts, boundaries, ends.

use super::{Check, Findings};
use crate::package::{Package, Rendition};

/// One microsecond of rounding, as EXTINF is given in.
const ROUNDING_US: i128 = 1;

fn micros(ticks: i64, timescale: u32) -> i128 {
    (i128::from(ticks) * 1_000_000 + i128::from(timescale) / 2).div_euclid(i128::from(timescale))
}

/// Checks one rendition.
pub(super) fn check_rendition(r: &Rendition, found: &mut Findings) {
    let list = &r.playlist;
    for (name, why) in &r.broken {
        found.expect(false, Check::SegmentExists, &r.uri, || format!("{name} {why}"));
    }
    found.expect(!list.segments.is_empty(), Check::SegmentExists, &r.uri, || "no segment".to_owned());
    let form = list.kind == "VOD" && list.ended && !list.discontinuity;
    found.expect(form, Check::PlaylistForm, &r.uri, || {
        format!("type {:?}, ended {}, discontinuity {}", list.kind, list.ended, list.discontinuity)
    });
    for segment in &r.segments {
        let rounded = (segment.extinf_us + 500_000) / 1_000_000;
        found.expect(rounded <= list.target as i64, Check::TargetDuration, &r.uri, || {
            format!("{} lasts {} us, target {} s", segment.uri, segment.extinf_us, list.target)
        });
    }
    check_times(r, found);
    if r.is_video() {
        check_starts(r, found);
    }
}

fn check_times(r: &Rendition, found: &mut Findings) {
    let scale = r.init.timescale;
    if let Some(first) = r.segments.first() {
        found.expect(first.tfdt == 0, Check::DecodeTimeline, &r.uri, || {
            format!("the first segment begins at {}", first.tfdt)
        });
    }
    let (mut cumulated_us, mut shown) = (0i128, 0i64);
    for (i, segment) in r.segments.iter().enumerate() {
        let lasts: i64 = segment.samples.iter().map(|s| i64::from(s.duration)).sum();
        let end = segment.tfdt + lasts;
        if let Some(next) = r.segments.get(i + 1) {
            found.expect(next.tfdt == end, Check::DecodeTimeline, &r.uri, || {
                format!("{} ends at {end}, {} begins at {}", segment.uri, next.uri, next.tfdt)
            });
        }
        // The packets before the first audible sample belong to the first segment's file but not to its time.
        let hidden = if r.is_video() { 0 } else { r.init.edit_media_time };
        let due = micros(end - hidden, scale) - micros(shown, scale);
        shown = end - hidden;
        cumulated_us += i128::from(segment.extinf_us);
        let off = (due - i128::from(segment.extinf_us)).abs();
        let drift = (micros(shown, scale) - cumulated_us).abs();
        found.expect(off <= ROUNDING_US && drift <= ROUNDING_US, Check::Extinf, &r.uri, || {
            format!("{} lasts {due} us, EXTINF {} us, drift {drift} us", segment.uri, segment.extinf_us)
        });
    }
}

fn check_starts(r: &Rendition, found: &mut Findings) {
    for segment in &r.segments {
        let Some(first) = segment.samples.first() else { continue };
        let at = first.dts + first.offset;
        let earliest = segment.samples.iter().map(|s| s.dts + s.offset).min();
        let good = first.sync && first.is_idr() && earliest == Some(at);
        found.expect(good, Check::SegmentStart, &r.uri, || {
            format!("{}: sync {}, IDR {}, shown at {at}", segment.uri, first.sync, first.is_idr())
        });
        let shown = at - r.init.edit_media_time;
        found.expect(shown == segment.tfdt, Check::DecodeTimeline, &r.uri, || {
            format!("{} is decoded from {} and shown from {shown}", segment.uri, segment.tfdt)
        });
    }
}

/// Checks what renditions owe each other.
pub(super) fn check_together(package: &Package, found: &mut Findings) {
    let mut video = package.video();
    if let Some(first) = video.next() {
        for other in video {
            let same = first.segments.len() == other.segments.len()
                && first.segments.iter().zip(&other.segments).all(|(a, b)| {
                    i128::from(a.tfdt) * i128::from(other.init.timescale)
                        == i128::from(b.tfdt) * i128::from(first.init.timescale)
                });
            found.expect(same, Check::SameBoundaries, &other.uri, || format!("differs from {}", first.uri));
        }
    }
    let end = |r: &Rendition| {
        let hidden = if r.is_video() { 0 } else { r.init.edit_media_time };
        micros(r.end() - hidden, r.init.timescale)
    };
    let ends: Vec<(i128, &str)> = package.renditions.iter().map(|r| (end(r), r.uri.as_str())).collect();
    if let (Some(low), Some(high)) = (ends.iter().min(), ends.iter().max()) {
        // One audio sample at 44.1 kHz is 23 us; a video tick at most 100 us.
        found.expect(high.0 - low.0 <= 100, Check::EndsTogether, low.1, || {
            format!("ends at {} us, {} at {} us", low.0, high.1, high.0)
        });
    }
}
