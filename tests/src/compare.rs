//! A package of any film against the film itself, without marks: frame counts and times, each frame against its own
//! place and its neighbours', colours, and the sound's lag and drift by correlation.
//!
//! It is weaker than the marks (a still film hides an exchange), and covers what made films cannot: real cameras.

use crate::judge::{self, Check, Finding};
use crate::marks::Pictures;
use crate::package::{Package, Rendition};
use crate::{sound, tool};
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;

/// Everything that is wrong with a package of the film at `source`.
pub fn compare(source: &Path, package_dir: &Path) -> Result<Vec<Finding>> {
    let package = Package::load(package_dir)?;
    let mut found = judge::structure(&package)?;
    let pictures = if package.video().next().is_some() { Some(Pictures::decode(source)?) } else { None };
    for rendition in package.video() {
        if let Some(pictures) = &pictures {
            compare_pictures(rendition, pictures, &mut found)?;
        }
    }
    if let Some(rendition) = package.audio().next() {
        compare_sound(source, rendition, pictures.as_ref(), &mut found)?;
    }
    Ok(found)
}

/// Of each rendition: its name, the text of its playlist and the decode times of its segments.
pub type Cut = Vec<(String, String, Vec<i64>)>;

/// Each rendition's playlist text and its segments' decode times, by name without the settings' hash: what no other cut
/// into chunks may change. (The master playlist orders variants by measured rate, which the cut may move a little.)
pub fn grid(package: &Package) -> Result<Cut> {
    let of = |r: &Rendition| {
        let folder = r.init_path.parent().context("a rendition's folder")?;
        let text = std::fs::read_to_string(folder.join("playlist.m3u8"))?;
        let name = r.uri.rsplit_once('-').map_or(r.uri.as_str(), |(name, _)| name).to_owned();
        Ok((name, text, r.segments.iter().map(|s| s.tfdt).collect()))
    };
    let mut all = package.renditions.iter().map(of).collect::<Result<Vec<_>>>()?;
    all.sort();
    Ok(all)
}

fn push(found: &mut Vec<Finding>, check: Check, place: &str, detail: String) {
    found.push(Finding { check, place: place.to_owned(), detail });
}

/// Is the film faster than 32 frames a second, on average?
fn is_fast(source: &Pictures) -> bool {
    let (num, den) = source.timebase;
    let frames = source.pts.len() as i64 - 1;
    let span = source.pts.last().zip(source.pts.first()).map_or(0, |(b, a)| b - a);
    frames * den > 32 * span * num
}

/// Mean difference of a plane of two pictures.
fn apart(a: &[u8], b: &[u8], plane: usize) -> u32 {
    let range = plane * Pictures::SAMPLES..(plane + 1) * Pictures::SAMPLES;
    let sum: u32 = a[range.clone()].iter().zip(&b[range]).map(|(x, y)| u32::from(x.abs_diff(*y))).sum();
    sum * 16 / Pictures::SAMPLES as u32
}

fn compare_pictures(r: &Rendition, source: &Pictures, found: &mut Vec<Finding>) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let joined = scratch.path().join("joined.mp4");
    r.join(&joined)?;
    let shown = Pictures::decode(&joined)?;
    if !shown.complaints.is_empty() {
        push(found, Check::DecodesCleanly, &r.uri, shown.complaints.join("; "));
    }
    let step = if is_fast(source) && r.init.size.0.min(r.init.size.1) <= 360 { 2 } else { 1 };
    let due: Vec<usize> = (0..source.pts.len()).step_by(step).collect();
    if due.len() != shown.pts.len() {
        push(found, Check::FrameCount, &r.uri, format!("{} frames, due {}", shown.pts.len(), due.len()));
        return Ok(());
    }
    compare_times(r, source, &shown, &due, found);
    // Sixteenths of a level: a frame may not look more like its neighbour's place than like its own.
    let distance = |i: usize, k: usize| apart(&shown.frames[i], &source.frames[due[k]], 0);
    let misplaced = (1..due.len().saturating_sub(1)).find(|i| {
        let own = distance(*i, *i);
        own > 64 && own > distance(*i, i - 1).min(distance(*i, i + 1)) + 16
    });
    if let Some(i) = misplaced {
        let around = [i - 1, i, i + 1].map(|k| distance(i, k));
        push(
            found,
            Check::FrameOrder,
            &r.uri,
            format!("frame {i}: distances to {around:?} neighbours in 1/16"),
        );
    }
    let mut chroma: Vec<u32> = due
        .iter()
        .enumerate()
        .map(|(i, k)| {
            apart(&shown.frames[i], &source.frames[*k], 1).max(apart(&shown.frames[i], &source.frames[*k], 2))
        })
        .collect();
    chroma.sort_unstable();
    let median = chroma.get(chroma.len() / 2).copied().unwrap_or(0);
    if median > 8 * 16 {
        push(found, Check::Colours, &r.uri, format!("median chroma difference {median}/16 levels"));
    }
    Ok(())
}

fn compare_times(
    r: &Rendition,
    source: &Pictures,
    shown: &Pictures,
    due: &[usize],
    found: &mut Vec<Finding>,
) {
    let in_nanos =
        |t: i64, (num, den): (i64, i64)| i128::from(t) * i128::from(num) * 1_000_000_000 / i128::from(den);
    let tick = |tb| in_nanos(1, tb).max(1);
    // Rounded container times are snapped to the rate they come from: one tick of either clock.
    let slack = tick(source.timebase) + 1_000_000_000 / i128::from(r.init.timescale) + 2;
    let wrong = due.iter().enumerate().find(|(i, k)| {
        let at = in_nanos(shown.pts[*i] - shown.pts[0], shown.timebase);
        let due = in_nanos(source.pts[**k] - source.pts[0], source.timebase);
        (at - due).abs() > slack
    });
    if let Some((i, k)) = wrong {
        let (at, due) = (shown.pts[i] - shown.pts[0], source.pts[*k] - source.pts[0]);
        let detail = format!("frame {i} at {at} ({:?}), due {due} ({:?})", shown.timebase, source.timebase);
        push(found, Check::FrameTime, &r.uri, detail);
    }
    if shown.pts.first() != Some(&0) {
        push(found, Check::FrameTime, &r.uri, format!("the first frame is shown at {:?}", shown.pts.first()));
    }
}

/// The source's first audio track as ffmpeg decodes it: time of its first sample in nanoseconds, and samples at
/// `rate`, mixed to one channel.
fn source_sound(source: &Path, rate: u32) -> Result<(i128, Vec<i16>)> {
    let filter = format!("ashowinfo,aresample={rate},aformat=sample_fmts=s16:channel_layouts=mono");
    let mut command = tool::ffmpeg();
    command.args(["-v", "info", "-nostats", "-copyts", "-i"]).arg(source);
    command.args(["-map", "0:a:0", "-af", &filter, "-f", "s16le", "-"]);
    let done = tool::run(&mut command, Duration::from_secs(120))?.success()?;
    let first = done.stderr.lines().find(|l| l.contains("ashowinfo") && l.contains("pts_time:"));
    let text = first.and_then(|l| l.split("pts_time:").nth(1)).and_then(|r| r.split_whitespace().next());
    let text = text.context("no audio frame")?;
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |d| (-1, d));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let nanos = whole.parse::<i128>()? * 1_000_000_000 + format!("{part:0<9}")[..9].parse::<i128>()?;
    let samples = done.stdout.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    Ok((sign * nanos, samples))
}

fn compare_sound(
    source: &Path,
    r: &Rendition,
    pictures: Option<&Pictures>,
    found: &mut Vec<Finding>,
) -> Result<()> {
    let rate = r.init.timescale;
    let heard = judge::decode(r)?;
    let (begins, samples) = source_sound(source, rate)?;
    let zero = pictures.map_or(begins, |p| {
        let (num, den) = p.timebase;
        i128::from(p.pts[0]) * i128::from(num) * 1_000_000_000 / i128::from(den)
    });
    let late = (begins - zero) * i128::from(rate) / 1_000_000_000;
    let aligned: Vec<i16> = if late >= 0 {
        vec![0; late as usize].into_iter().chain(samples).collect()
    } else {
        samples.get((-late) as usize..).unwrap_or_default().to_vec()
    };
    let step = rate as usize * 3;
    let lags: Vec<(i64, f64)> = (rate as usize / 2..heard.len())
        .step_by(step)
        .filter_map(|at| sound::lag_between(&aligned, &heard, at, 8192, 1200))
        .filter(|(_, likeness)| *likeness > 0.5)
        .collect();
    let spread = lags.iter().map(|l| l.0).max().zip(lags.iter().map(|l| l.0).min());
    if let Some((high, low)) = spread {
        // A container that counts milliseconds may move the start by half of one.
        if high.abs().max(low.abs()) > i64::from(rate) / 1000 {
            push(found, Check::AudioLag, &r.uri, format!("lags {low}..{high} samples at {rate} Hz"));
        }
        if high - low > 2 {
            push(found, Check::AudioLag, &r.uri, format!("drifts from {low} to {high} samples at {rate} Hz"));
        }
    }
    Ok(())
}
