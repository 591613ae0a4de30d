//! The two roots: rates against measured bytes, attributes against coded sizes, I-frame ranges, the MPD's timeline.

use super::{Check, Findings};
use crate::cmaf;
use crate::mpd_rules;
use crate::package::{Attributes, Entry, Package, Rendition, parse_mpd, parse_playlist};
use anyhow::{Context, Result};

/// Largest and mean rate of a rendition in bits a second (RFC 8216 4.1: the peak is the largest rate of any
/// contiguous set of segments that lasts between 0.5 and 1.5 times the target duration).
fn rates(r: &Rendition) -> (u64, u64) {
    let rate = |bytes: u64, us: i64| bytes as u128 * 8_000_000 / us.max(1) as u128;
    let target_us = r.playlist.target as i64 * 1_000_000;
    let mut peak = 0;
    for from in 0..r.segments.len() {
        let (mut bytes, mut us) = (0, 0);
        for segment in &r.segments[from..] {
            bytes += segment.bytes;
            us += segment.extinf_us;
            if us > target_us * 3 / 2 {
                break;
            }
            if us >= target_us / 2 {
                peak = peak.max(rate(bytes, us));
            }
        }
    }
    let bytes: u64 = r.segments.iter().map(|s| s.bytes).sum();
    let us: i64 = r.segments.iter().map(|s| s.extinf_us).sum();
    let mean = rate(bytes, us);
    (peak.max(if peak == 0 { mean } else { 0 }) as u64, mean as u64)
}

/// Within a tenth of what is measured (Apple HLS authoring 9.9, 9.10).
fn near(said: u64, measured: u64) -> bool {
    said.abs_diff(measured) * 10 <= measured
}

fn number(tags: &Attributes, key: &str) -> Option<u64> {
    tags.get(key)?.parse().ok()
}

/// Checks the master playlist.
pub(super) fn check_master(package: &Package, found: &mut Findings) {
    let root = "master.m3u8";
    let (master, has_video) = (&package.master, package.video().next().is_some());
    found.expect(!master.variants.is_empty(), Check::MasterAttributes, root, || "no variant".to_owned());
    found.expect(master.independent || !has_video, Check::MasterAttributes, root, || {
        "EXT-X-INDEPENDENT-SEGMENTS is missing".to_owned()
    });
    for variant in &master.variants {
        let uri = variant.get("URI").cloned().unwrap_or_default();
        let Some(r) = package.renditions.iter().find(|r| r.uri == uri) else { continue };
        let mut needed = vec!["BANDWIDTH", "AVERAGE-BANDWIDTH", "CODECS"];
        if r.is_video() {
            needed.extend(["RESOLUTION", "FRAME-RATE"]);
            let size = format!("{}x{}", r.init.size.0, r.init.size.1);
            found.expect(variant.get("RESOLUTION") == Some(&size), Check::MasterAttributes, &uri, || {
                format!("coded {size}, RESOLUTION {:?}", variant.get("RESOLUTION"))
            });
        }
        for key in needed {
            found.expect(variant.contains_key(key), Check::MasterAttributes, &uri, || format!("no {key}"));
        }
        let audio = variant.get("AUDIO").into_iter().flat_map(|group| {
            let named = master.media.iter().filter(move |m| m.get("GROUP-ID") == Some(group));
            named.filter_map(|m| package.renditions.iter().find(|r| Some(&r.uri) == m.get("URI")))
        });
        let (mut peak, mut mean) = rates(r);
        let sound: Vec<(u64, u64)> = audio.map(rates).collect();
        peak += sound.iter().map(|s| s.0).max().unwrap_or(0);
        mean += sound.iter().map(|s| s.1).max().unwrap_or(0);
        for (key, measured) in [("BANDWIDTH", peak), ("AVERAGE-BANDWIDTH", mean)] {
            let said = number(variant, key).unwrap_or(0);
            found.expect(near(said, measured), Check::Bandwidth, &uri, || {
                format!("{key} {said}, measured {measured}")
            });
        }
    }
}

/// Checks I-frame playlists, where there are any.
pub(super) fn check_iframes(package: &Package, found: &mut Findings) -> Result<()> {
    for tags in &package.master.iframes {
        let uri = tags.get("URI").context("EXT-X-I-FRAME-STREAM-INF without URI")?;
        let path = package.dir.join(uri);
        let list = parse_playlist(&std::fs::read_to_string(&path).with_context(|| uri.clone())?)?;
        let folder = path.parent().context("folder")?;
        let total: i64 = list.segments.iter().map(|s| s.extinf_us).sum();
        let rendition = package.video().find(|r| r.init_path.parent() == Some(folder));
        let shown: i64 = rendition.map_or(0, |r| r.segments.iter().map(|s| s.extinf_us).sum());
        found.expect((total - shown).abs() <= list.segments.len() as i64, Check::IFrames, uri, || {
            format!("I-frames last {total} us, segments {shown} us")
        });
        for Entry { uri: name, range, .. } in &list.segments {
            let bytes = std::fs::read(folder.join(name)).with_context(|| name.clone())?;
            let range = range.map(|(length, offset)| (offset as usize, (offset + length) as usize));
            let part = range.and_then(|(a, b)| bytes.get(a..b));
            let good = part.is_some_and(|p| p.get(4..8) == Some(b"moof") && holds_idr(p));
            found.expect(good, Check::IFrames, uri, || format!("{name} {range:?} is not moof to IDR"));
        }
    }
    Ok(())
}

/// Does the picture data behind the header of a byte range begin with an IDR slice, whole within the range?
fn holds_idr(range: &[u8]) -> bool {
    let Some(moof) = range.get(..4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize) else {
        return false;
    };
    let mut at = moof + 8;
    while let Some(head) = range.get(at..at + 5) {
        let next = at + 4 + u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if matches!(head[4] & 31, 1 | 5) {
            return head[4] & 31 == 5 && next <= range.len();
        }
        at = next;
    }
    false
}

/// Checks that the MPD names the same files with the same times as HLS does.
pub(super) fn check_mpd(package: &Package, found: &mut Findings) -> Result<()> {
    let root = "manifest.mpd";
    let text = std::fs::read_to_string(package.dir.join(root)).context(root)?;
    for fault in mpd_rules::faults(&text)? {
        found.expect(false, Check::MpdForm, root, || fault);
    }
    let mpd = parse_mpd(&text)?;
    let count = (mpd.representations.len(), package.renditions.len());
    found.expect(count.0 == count.1, Check::MpdTimeline, root, || {
        format!("{} representations, {} HLS renditions", count.0, count.1)
    });
    for r in &package.renditions {
        let Ok(init) = r.init_path.strip_prefix(&package.dir) else { continue };
        let Some(told) =
            mpd.representations.iter().find(|m| package.dir.join(&m.init) == package.dir.join(init))
        else {
            found.expect(false, Check::MpdTimeline, &r.uri, || {
                format!("no representation with {}", init.display())
            });
            continue;
        };
        let size = told.size.map(|(w, h)| (w as u16, h as u16)).unwrap_or_default();
        found.expect(size == r.init.size, Check::MpdTimeline, &r.uri, || format!("size {size:?} in the MPD"));
        found.expect(told.segments.len() == r.playlist.segments.len(), Check::MpdTimeline, &r.uri, || {
            format!("{} segments in the MPD, {} in HLS", told.segments.len(), r.playlist.segments.len())
        });
        for ((begin, lasts, name), segment) in told.segments.iter().zip(&r.segments) {
            let held: i64 = segment.samples.iter().map(|s| i64::from(s.duration)).sum();
            let offset = told.offset.max(if r.is_video() { 0 } else { r.init.edit_media_time });
            // S@t may count media time or presentation time; sound's pre-roll is the difference.
            let begins = [segment.tfdt, (segment.tfdt - offset).max(0)].map(|t| t * told.timescale);
            let said = begin * i64::from(r.init.timescale);
            let ends = [segment.tfdt + held, segment.tfdt + held - offset].map(|t| t * told.timescale);
            let ended = (begin + lasts) * i64::from(r.init.timescale);
            let same_file = package.dir.join(name) == segment.path;
            let good = same_file && begins.contains(&said) && ends.contains(&ended);
            found.expect(good, Check::MpdTimeline, &r.uri, || {
                format!(
                    "{name} at {begin}+{lasts}/{}, file {} at {}+{held}",
                    told.timescale, segment.uri, segment.tfdt
                )
            });
        }
    }
    let longest =
        package.renditions.iter().map(|r| r.segments.iter().map(|s| s.extinf_us).sum::<i64>()).max();
    let off = (mpd.duration_us - longest.unwrap_or(0)).abs();
    found.expect(off <= 1000, Check::MpdTimeline, root, || {
        format!("lasts {} us, HLS {longest:?} us", mpd.duration_us)
    });
    // The MPD must be readable as XML and its init segments as CMAF.
    for told in &mpd.representations {
        let bytes = std::fs::read(package.dir.join(&told.init)).with_context(|| told.init.clone())?;
        cmaf::read_init(&bytes)?;
    }
    Ok(())
}
