//! What readers outside of browsers make of a package's times: ffprobe and GStreamer, over the HLS root, over the MPD,
//! and over a rendition's segments laid end to end.
//!
//! Times are nanoseconds of the presentation. Packets of sound that end at or before zero are the encoder's delay, which
//! nobody hears: they are not counted.

use crate::tool;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const SECOND: i64 = 1_000_000_000;
/// Times of a reader that rounds to nanoseconds are known to this.
const ROUNDING: i64 = 1_000;

/// What a reader found of one track.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Track {
    /// When the first picture or packet begins.
    pub first: i64,
    /// When the last one ends.
    pub end: i64,
    /// Pictures, or packets of sound.
    pub count: usize,
}

impl Track {
    /// From begin and end of each picture or packet, in any order.
    fn of(spans: &[(i64, i64)]) -> Result<Self> {
        let shown = || spans.iter().filter(|(_, end)| *end > ROUNDING);
        Ok(Self {
            first: shown().map(|s| s.0).min().context("the reader found nothing")?,
            end: shown().map(|s| s.1).max().context("the reader found nothing")?,
            count: shown().count(),
        })
    }
}

/// Both tracks of a film.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// The picture.
    pub video: Track,
    /// The sound.
    pub audio: Track,
}

/// The packets that ffprobe reads from a manifest.
pub fn ffprobe(manifest: &Path) -> Result<Times> {
    Ok(Times { video: ffprobe_track(manifest, "v:0")?, audio: ffprobe_track(manifest, "a:0")? })
}

/// One track alone: ffmpeg's MPD demuxer ends the whole film where the first of the tracks it reads ends.
fn ffprobe_track(manifest: &Path, stream: &str) -> Result<Track> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", stream]);
    command.args(["-show_entries", "packet=pts,duration:stream=time_base", "-of", "json"]);
    // nor does that demuxer find the segments when the manifest's name is relative
    command.arg(manifest.canonicalize()?);
    let done = tool::run(&mut command, DEADLINE)?.success()?;
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).context("ffprobe's JSON")?;
    let time_base = json["streams"][0]["time_base"].as_str();
    let (num, den) = time_base.and_then(|t| t.split_once('/')).context("ffprobe found no such stream")?;
    let (num, den): (i64, i64) = (num.parse()?, den.parse()?);
    let nanos = |ticks: i64| i128::from(ticks) * i128::from(SECOND) * i128::from(num) / i128::from(den);
    let span = |packet: &serde_json::Value| -> Result<(i64, i64)> {
        let begin = packet["pts"].as_i64().context("a packet without pts")?;
        // ffmpeg 5.1 leaves the first packet's duration out, which is not the one that ends last
        let end = begin + packet["duration"].as_i64().unwrap_or(1);
        Ok((nanos(begin).try_into()?, nanos(end).try_into()?))
    };
    let packets = json["packets"].as_array().context("ffprobe found no packet")?;
    Track::of(&packets.iter().map(span).collect::<Result<Vec<_>>>()?)
}

/// What GStreamer's decoders give for a manifest.
///
/// Its adaptive demuxers (1.22) put media time on the screen and leave the edit list of the init segment out, so every
/// time is late by exactly that list's media time: `edits`, of picture and sound.
pub fn gstreamer(manifest: &Path, edits: (i64, i64)) -> Result<Times> {
    let uri = format!("uri=file://{}", manifest.canonicalize()?.display());
    let mut launch = vec!["uridecodebin", &uri, "name=d"];
    launch.extend("d. ! video/x-raw ! queue ! fakesink name=video sync=false".split(' '));
    launch.extend("d. ! audio/x-raw ! queue ! fakesink name=audio sync=false".split(' '));
    let log = launched(&launch)?;
    let track = |sink: &str, edit: i64| {
        let spans: Vec<_> = spans(&log, sink)?.into_iter().map(|(a, b)| (a - edit, b - edit)).collect();
        Track::of(&spans)
    };
    Ok(Times { video: track("video", edits.0)?, audio: track("audio", edits.1)? })
}

/// What GStreamer's decoder gives for one rendition in a file; here it follows the edit list.
pub fn gstreamer_file(file: &Path) -> Result<Track> {
    let location = format!("location={}", file.display());
    let mut launch = vec!["filesrc", &location];
    launch.extend("! qtdemux ! decodebin ! fakesink name=only sync=false".split(' '));
    Track::of(&spans(&launched(&launch)?, "only")?)
}

/// The log of the sinks of a pipeline that ran to its end.
fn launched(pipeline: &[&str]) -> Result<String> {
    let mut command = Command::new("gst-launch-1.0");
    command.arg("-q").args(pipeline).env("GST_DEBUG", "basesink:6").env("GST_DEBUG_NO_COLOR", "1");
    Ok(tool::run(&mut command, DEADLINE)?.success()?.stderr)
}

/// Begin and end of every buffer that came to a sink, in the time of its segment.
fn spans(log: &str, sink: &str) -> Result<Vec<(i64, i64)>> {
    let (named, mut from, mut found) = (format!("<{sink}>"), 0, Vec::new());
    for line in log.lines().filter(|l| l.contains(&named)) {
        if let Some((_, rest)) = line.split_once("configured segment time segment start=") {
            from = clock(rest)?;
        } else if let Some((_, rest)) = line.split_once("chain_unlocked") {
            let Some((_, rest)) = rest.split_once("got times start: ") else { continue };
            let (begin, end) = rest.split_once(", end: ").context("GStreamer's times")?;
            found.push((clock(begin)? - from, clock(end)? - from));
        }
    }
    Ok(found)
}

/// `0:00:06.047708333` and what follows it, as nanoseconds.
fn clock(text: &str) -> Result<i64> {
    let end = text.find(|c: char| !matches!(c, '0'..='9' | ':' | '.')).unwrap_or(text.len());
    let (whole, part) = text[..end].split_once('.').with_context(|| format!("time {text}"))?;
    ensure!(part.len() == 9, "time {text}");
    let mut seconds = 0;
    for field in whole.split(':') {
        seconds = seconds * 60 + field.parse::<i64>()?;
    }
    Ok(seconds * SECOND + part.parse::<i64>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_gstreamer_are_read_to_the_nanosecond() {
        assert_eq!(clock("1:02:03.000000004, offset=0").expect("time"), 3_723_000_000_004);
        assert!(clock("3.5").is_err());
    }

    #[test]
    fn a_segment_moves_the_buffers_of_its_own_sink_alone() {
        let log = "x <a> configured segment time segment start=0:00:00.000000100, offset=0:00:00.000000000\n\
                   x:gst_base_sink_chain_unlocked:<a> got times start: 0:00:00.000000150, end: 0:00:00.000000250\n\
                   x:gst_base_sink_get_sync_times:<a> got times start: 0:00:00.000000150, stop: 0:00:00.000000250\n\
                   x:gst_base_sink_chain_unlocked:<b> got times start: 0:00:00.000000007, end: 0:00:00.000000009\n";
        assert_eq!(spans(log, "a").expect("times"), [(50, 150)]);
        assert_eq!(spans(log, "b").expect("times"), [(7, 9)]);
    }

    #[test]
    fn the_encoders_delay_is_not_counted() {
        let track = Track::of(&[(-2000, 1), (4000, 6000), (0, 4000)]).expect("spans");
        assert_eq!(track, Track { first: 0, end: 6000, count: 2 });
        assert!(Track::of(&[(-100, 0)]).is_err());
    }
}
