//! The table at the end of `transcode` and of a watched job: rungs, rates, frames, wall time, speed, CPU, read from the
//! package's own `report.json` so that nothing is said that is not written down.

use crate::exit::{Exit, Failure};
use crate::show::{realtime, short_duration, table};
use reelmill_blob::Stores;
use reelmill_common::job::JobView;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// The parts of `report.json` that are shown here; unknown fields are left alone.
#[derive(Deserialize)]
struct Report {
    plan: Plan,
    video: Vec<Video>,
    audio: Vec<Audio>,
    totals: Totals,
}

#[derive(Deserialize)]
struct Plan {
    duration_ms: u64,
    segments: u64,
    /// Why it is not what the film's packets promised, or was revised.
    why: Option<String>,
}

#[derive(Deserialize)]
struct Video {
    name: String,
    width: u32,
    height: u32,
    frames: u64,
    average_kbps: u64,
    peak_segment_kbps: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Audio {
    name: String,
    language: String,
    channels: u16,
    average_kbps: u64,
    peak_segment_kbps: u64,
    bytes: u64,
}

#[derive(Deserialize)]
struct Totals {
    chunks: u64,
    bytes: u64,
    attempt_cpu_ms: u64,
    faults: u32,
    losses: u32,
}

/// Prints what came of a published job: a table, or one JSON object with `--json`.
pub(crate) async fn print(view: &JobView, out: &str, wall: Duration, json: bool) -> Result<(), Failure> {
    let unreadable = |e: String| {
        Failure::new(Exit::Unreachable, format!("the package is published, but its report.json: {e}"))
    };
    let blobs = Stores::default().open(out).map_err(|e| unreadable(e.to_string()))?;
    let (bytes, _) = blobs.get("report.json").await.map_err(|e| unreadable(e.to_string()))?;
    let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
    if json {
        let report: Value = serde_json::from_slice(&bytes).map_err(|e| unreadable(e.to_string()))?;
        let summary = json!({
            "summary": {
                "job_id": view.id.as_str(),
                "package": out,
                "wall_ms": wall_ms,
                "video": report["video"],
                "audio": report["audio"],
                "plan": report["plan"],
                "totals": report["totals"],
            }
        });
        println!("{summary}");
        return Ok(());
    }
    let report: Report = serde_json::from_slice(&bytes).map_err(|e| unreadable(e.to_string()))?;
    println!("{}", text(&report, out, wall_ms));
    Ok(())
}

/// The same table for a job of a running coordinator, where this machine can read the package (a directory, or a store
/// it has access to). Elsewhere there is nothing to say: the package's address was printed before.
pub(crate) async fn table_if_readable(view: &JobView) {
    let Some(package) = &view.package else { return };
    let Ok(blobs) = Stores::default().open(package) else { return };
    let Ok((bytes, _)) = blobs.get("report.json").await else { return };
    if let Ok(report) = serde_json::from_slice::<Report>(&bytes) {
        println!("\n{}", text(&report, package, view.progress.elapsed_ms));
    }
}

fn text(report: &Report, out: &str, wall_ms: u64) -> String {
    let mut rungs = table(&["RUNG", "SIZE", "FRAMES", "AVERAGE", "PEAK", "BYTES"]);
    for v in &report.video {
        rungs.add_row([
            v.name.clone(),
            format!("{}x{}", v.width, v.height),
            v.frames.to_string(),
            format!("{} kb/s", v.average_kbps),
            format!("{} kb/s", v.peak_segment_kbps),
            megabytes(v.bytes),
        ]);
    }
    for a in &report.audio {
        rungs.add_row([
            a.name.clone(),
            format!("{} ch, {}", a.channels, a.language),
            "-".to_owned(),
            format!("{} kb/s", a.average_kbps),
            format!("{} kb/s", a.peak_segment_kbps),
            megabytes(a.bytes),
        ]);
    }
    let t = &report.totals;
    let mut lines = vec![
        rungs.to_string(),
        String::new(),
        format!(
            "film {}, wall {}, {} realtime, CPU {}, {} chunks, {} segments, {}",
            short_duration(report.plan.duration_ms),
            short_duration(wall_ms),
            realtime(report.plan.duration_ms, wall_ms),
            short_duration(t.attempt_cpu_ms),
            t.chunks,
            report.plan.segments,
            megabytes(t.bytes),
        ),
    ];
    if t.faults + t.losses > 0 {
        lines.push(format!(
            "{} attempts failed and {} were lost on the way; all were repeated",
            t.faults, t.losses
        ));
    }
    lines.extend(report.plan.why.clone());
    let base = out.trim_end_matches('/');
    lines.push(format!("{base}/master.m3u8\n{base}/manifest.mpd"));
    lines.join("\n")
}

/// Bytes as decimal megabytes with one digit.
fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_rung_and_both_roots() {
        let report: Report = serde_json::from_value(json!({
            "plan": { "duration_ms": 88_000, "segments": 22, "why": "the film is damaged" },
            "video": [{ "name": "720p", "width": 1280, "height": 720, "frames": 2108, "average_kbps": 2900,
                        "peak_segment_kbps": 3300, "bytes": 31_000_000u64 }],
            "audio": [{ "name": "audio", "language": "und", "channels": 2, "average_kbps": 129,
                        "peak_segment_kbps": 131, "bytes": 1_400_000u64 }],
            "totals": { "chunks": 7, "bytes": 32_400_000u64, "attempt_cpu_ms": 80_000, "faults": 1, "losses": 0 },
        }))
        .expect("report");
        let text = text(&report, "out/", 44_000);
        for part in [
            "720p",
            "1280x720",
            "2108",
            "audio",
            "2.0x",
            "1 attempts failed",
            "the film is damaged",
            "out/master.m3u8",
            "31.0 MB",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }
}
