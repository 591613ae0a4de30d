//! What more than one test file needs: the two ways to an index, and what ffmpeg shows.

use bytes::Bytes;
use reelmill_common::index::{Demuxer, SourceIndex};
use reelmill_media::mp4::{Mp4Index, Step};
use reelmill_media::scan::{self, Depth, Scan};
use reelmill_media::{IndexError, Limits};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Drives the native reader over a local file; also gives how many bytes it read.
pub(crate) fn native(film: &Path) -> (Result<SourceIndex, IndexError>, u64) {
    let file = File::open(film).expect("film");
    let mut machine = Mp4Index::new(file.metadata().expect("metadata").len(), Limits::default());
    let mut read = 0;
    loop {
        match machine.step() {
            Step::Done(index) => return (Ok(*index), read),
            Step::Err(error) => return (Err(error), read),
            Step::Need(ranges) => {
                for range in ranges {
                    let mut bytes = vec![0; (range.end - range.start) as usize];
                    file.read_exact_at(&mut bytes, range.start).expect("range");
                    read += bytes.len() as u64;
                    machine.feed(range.start, Bytes::from(bytes));
                }
            }
        }
    }
}

/// Runs ffprobe at one depth and reads what it prints.
pub(crate) fn scanned(
    film: &Path,
    demuxer: Option<Demuxer>,
    depth: Depth,
) -> Result<SourceIndex, IndexError> {
    let mut command = Command::new("ffprobe");
    command.args(scan::arguments(depth));
    match demuxer {
        Some(d) => command.args(["-f", d.ffmpeg_name()]),
        None => command.args(["-format_whitelist", &Demuxer::ALL.map(Demuxer::ffmpeg_name).join(",")]),
    };
    let out = command.arg("-i").arg(film).stderr(Stdio::null()).output().expect("ffprobe is on PATH");
    let mut scan = Scan::new(depth, Limits::default());
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        scan.line(line)?;
    }
    scan.finish(std::fs::metadata(film).expect("metadata").len(), "as on disk")
}

/// The scan as a worker does it: packets, and frames where packets do not tell.
pub(crate) fn scan_as_needed(
    film: &Path,
    demuxer: Option<Demuxer>,
) -> (Result<SourceIndex, IndexError>, Depth) {
    match scanned(film, demuxer, Depth::Packets) {
        Err(IndexError::NeedsFrameScan { .. }) => (scanned(film, demuxer, Depth::Frames), Depth::Frames),
        other => (other, Depth::Packets),
    }
}

/// Presentation times of the frames that ffmpeg decodes and passes on with `-copyts`.
pub(crate) fn truth(film: &Path, index: &SourceIndex, stream: u32) -> Vec<i64> {
    let map = format!("0:{stream}");
    let out = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "info", "-copyts", "-f", index.demuxer.ffmpeg_name(), "-i"])
        .arg(film)
        .args(["-map", &map, "-vf", "showinfo=checksum=0", "-fps_mode", "passthrough", "-f", "null", "-"])
        .output()
        .expect("ffmpeg is on PATH");
    let text = String::from_utf8_lossy(&out.stderr);
    let times = text.lines().filter(|l| l.contains("Parsed_showinfo")).filter_map(|l| l.split_once(" pts:"));
    times.filter_map(|(_, rest)| rest.split_whitespace().next()?.parse().ok()).collect()
}
