//! Every index of every core film of a corpus against what ffmpeg shows when it decodes the film.
//!
//! Runs when `REELMILL_CORPUS` names a directory with a `catalog.tsv` (CI sets it); `REELMILL_CORPUS_ALL=1` takes the
//! films that are not tagged `core` as well and reports those whose frames no index can foresee.

mod support;

use reelmill_common::index::{Colour, Demuxer, IndexMethod, SourceIndex, VideoTrack};
use reelmill_common::time::{Ticks, Timebase};
use reelmill_media::{IndexError, probe_format};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use support::{native, scan_as_needed, truth};

/// Not core, and beyond any index: damage inside of samples that only the decoder meets.
const UNFORESEEN: [&str; 2] = ["mp4_invalid_nalu.mp4", "debian_opencv_box.mp4"];

/// Not core, and minutes of decoding.
const TOO_LONG: [&str; 1] = ["long_362s_4k60_av1.mp4"];

/// The core files that hold no media.
const NO_MEDIA: [&str; 4] =
    ["html_error_page.mp4", "random_64k.mp4", "zero_bytes.mp4", "mp4_moov_at_end_truncated_no_moov.mp4"];

fn films() -> Option<Vec<PathBuf>> {
    let root = PathBuf::from(std::env::var_os("REELMILL_CORPUS")?);
    let all = std::env::var_os("REELMILL_CORPUS_ALL").is_some();
    let catalog = std::fs::read_to_string(root.join("catalog.tsv")).expect("catalog.tsv");
    let rows =
        catalog.lines().skip(1).filter_map(|l| l.split('\t').collect::<Vec<_>>().first_chunk::<2>().copied());
    let films: Vec<PathBuf> = rows
        .filter(|[file, tags]| tags.split(',').any(|t| t == "core") || (all && !TOO_LONG.contains(file)))
        .map(|[file, _]| root.join(file))
        .collect();
    assert!(films.len() >= 20, "the corpus has {} films only", films.len());
    Some(films)
}

fn name(film: &Path) -> &str {
    film.file_name().and_then(|n| n.to_str()).expect("name")
}

fn difference(index: &[i64], shown: &[i64]) -> String {
    let at = index.iter().zip(shown).position(|(a, b)| a != b).unwrap_or(index.len().min(shown.len()));
    let near = |v: &[i64]| format!("{:?}", &v[at.min(v.len())..v.len().min(at + 4)]);
    format!(
        "{} frames, shown {}; from frame {at}: {} shown {}",
        index.len(),
        shown.len(),
        near(index),
        near(shown)
    )
}

fn check_keys(track: &VideoTrack, faults: &mut Vec<String>) {
    let frames: Vec<i64> = track.frames.iter().collect();
    for key in &track.keys {
        let frame = key.frame as usize;
        if frames.get(frame).is_none_or(|t| *t != key.pts.0 && (frame > 0 || *t < key.pts.0)) {
            faults.push(format!("key {key:?} is not frame {frame}"));
        }
    }
    if track.keys.windows(2).any(|w| w[0].pts >= w[1].pts) {
        faults.push("keys out of order".to_owned());
    }
}

/// Where both ways know something they must say the same.
fn agree(native: &SourceIndex, scan: &SourceIndex, faults: &mut Vec<String>) {
    if let (Some(a), Some(b)) = (&native.video, &scan.video) {
        let plain = |v: &VideoTrack| {
            (
                v.stream,
                v.codec.clone(),
                v.timebase,
                v.width,
                v.height,
                v.rotation,
                v.bit_depth,
                v.language.clone(),
            )
        };
        if plain(a) != plain(b) {
            faults.push(format!("native {:?} scan {:?}", plain(a), plain(b)));
        }
        let sar = |v: &VideoTrack| u64::from(v.sar.0) * 1_000_000 / u64::from(v.sar.1);
        if sar(a).abs_diff(sar(b)) > 2 {
            faults.push(format!("native sar {:?} scan {:?}", a.sar, b.sar));
        }
        // the scan reports the range that decoders assume where nothing is stated
        let colour = |v: &VideoTrack| Colour { full_range: v.colour.full_range.or(Some(false)), ..v.colour };
        if colour(a) != colour(b) {
            faults.push(format!("native {:?} scan {:?}", a.colour, b.colour));
        }
        let keys = |v: &VideoTrack| v.keys.iter().map(|k| (k.frame, k.pts)).collect::<Vec<_>>();
        if keys(a) != keys(b) {
            faults.push(format!("native keys {:?} scan {:?}", keys(a), keys(b)));
        }
    }
    if native.audio.len() != scan.audio.len() {
        faults.push(format!("native {} audio tracks, scan {}", native.audio.len(), scan.audio.len()));
    }
    for (a, b) in native.audio.iter().zip(&scan.audio) {
        let plain = (a.stream, &a.codec, a.timebase, a.sample_rate, a.channels, &a.language, a.first);
        if plain != (b.stream, &b.codec, b.timebase, b.sample_rate, b.channels, &b.language, b.first) {
            faults.push(format!("native {a:?} scan {b:?}"));
        }
        // packets end where packets end: the edit list is finer
        let packet = a.timebase.rescale(Ticks(a.end.0.abs_diff(b.end.0) as i64), MILLIS).0;
        if packet > 100 {
            faults.push(format!("native audio ends at {:?}, scan at {:?}", a.end, b.end));
        }
    }
}

const MILLIS: Timebase = Timebase::hz(std::num::NonZeroU32::new(1000).expect("a thousand"));

fn examine(film: &Path, faults: &mut Vec<String>) -> String {
    let mut head = Vec::new();
    File::open(film).expect("film").take(4096).read_to_end(&mut head).expect("head");
    let demuxer = match probe_format(&head) {
        Ok(demuxer) => demuxer,
        Err(refused) => return format!("refused: {refused}"),
    };
    let (by_tables, read) = match demuxer {
        Some(Demuxer::Mov) => native(film),
        _ => (Err(IndexError::NotNative { why: "no MP4".to_owned() }), 0),
    };
    let (by_scan, depth) = scan_as_needed(film, demuxer);
    let scan = match by_scan {
        Ok(scan) => scan,
        Err(error) => {
            if let Ok(index) = by_tables {
                faults.push(format!("native gives {index:?} where the scan says {error}"));
            }
            return format!("{error}");
        }
    };
    let shown = scan.video.as_ref().map(|v| truth(film, &scan, v.stream));
    let mut line = format!("{depth:?}");
    for (index, how) in [(by_tables.as_ref().ok(), "native"), (Some(&scan), "scan")] {
        let (Some(index), Some(shown)) = (index, &shown) else { continue };
        let Some(video) = &index.video else {
            faults.push(format!("{how} has no video"));
            continue;
        };
        let times: Vec<i64> = video.frames.iter().collect();
        if &times != shown {
            faults.push(format!("{how}: {}", difference(&times, shown)));
        }
        check_keys(video, faults);
        line = format!(
            "{how} {} frames {} keys {:?}, {line}",
            times.len(),
            video.keys.len(),
            video.keys[..video.keys.len().min(1)].first().map(|k| k.kind)
        );
    }
    match &by_tables {
        Ok(index) => {
            assert_eq!(index.method, IndexMethod::Mp4Tables);
            agree(index, &scan, faults);
            format!("{line}, read {read} bytes")
        }
        Err(why) => format!("{line}, {why}"),
    }
}

#[test]
fn indexes_are_what_ffmpeg_shows() {
    let Some(films) = films() else {
        println!("skipped: REELMILL_CORPUS names no corpus");
        return;
    };
    let mut failed = Vec::new();
    for film in &films {
        let mut faults = Vec::new();
        let line = examine(film, &mut faults);
        println!("{}: {line}", name(film));
        let unforeseen = UNFORESEEN.contains(&name(film));
        if NO_MEDIA.contains(&name(film)) && !line.contains("no video or audio") {
            faults.push(format!("not refused: {line}"));
        }
        for fault in &faults {
            println!("    {}{fault}", if unforeseen { "(unforeseen) " } else { "" });
        }
        if !faults.is_empty() && !unforeseen {
            failed.push(format!("{}: {}", name(film), faults.join("; ")));
        }
    }
    assert!(failed.is_empty(), "{} of {} films:\n{}", failed.len(), films.len(), failed.join("\n"));
}
