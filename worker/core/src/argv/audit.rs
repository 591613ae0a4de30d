//! Both sides of an audit as small pictures: a segment as it was committed, and the part of the source that it shows.
//!
//! The source goes through the very filters of the recipe, with a small picture in place of the rung's, so that turning,
//! deinterlacing, colour and tone curve are those of the rung. Frames are not repeated or left out: what is shown when
//! is the frame table's, and the comparison reads that. Two files come of each run: the pictures one after the other,
//! and a line for each with its time.
//!
//! Sound alike: a segment, and the samples that its encoder was given, both as integers. Those come of the whole range that
//! the encoder was given, because where a sample lies may depend on what was decoded before it.

use super::audio::{chain, encoded_range};
use super::timeline::{OFFSET_SECONDS, encoder_timebase, seconds_floor};
use super::video::times_pass;
use super::{Argv, ArgvError, Input, Level, picture};
use reelmill_common::ladder::VideoSettings;
use reelmill_common::spec::{AudioChunk, VideoChunk, VideoRung};
use reelmill_common::{TickRange, Timebase};

/// Size of the small pictures.
pub const WIDTH: u32 = 64;
/// See [`WIDTH`].
pub const HEIGHT: u32 = 36;
/// The filter that makes them.
fn small() -> String {
    format!("scale=w={WIDTH}:h={HEIGHT}:flags=bicubic")
}

/// Where the results of a run go, in the attempt's directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outputs<'a> {
    /// The pictures: luma, then the two planes of colour at half the size, eight bits each.
    pub pictures: &'a str,
    /// Their times, as [`crate::audit::times`] reads them.
    pub times: &'a str,
}

/// Arguments that decode a segment: `path` is a file with its init segment before it. Any error of the decoder ends the
/// run. Times come in ticks of `timescale`.
///
/// # Errors
/// [`ArgvError`] when an argument would be too long.
pub fn segment(
    path: &str,
    rung: &VideoRung,
    timescale: Timebase,
    out: Outputs<'_>,
) -> Result<Vec<String>, ArgvError> {
    let a = committed(path, &[]);
    let s = &rung.settings;
    // a picture that is smaller than the rung cannot be cropped: the run fails
    let size = format!("crop=w={}:h={}:x=0:y=0:exact=1", s.width, s.height);
    let graph = format!("[0:v:0]{size},{},format=pix_fmts=yuv420p", small());
    finish(a, &graph, timescale, out)
}

/// Arguments that decode the source frames of `frames` (source ticks) as the chunk decodes them. Times are counted from
/// `frames.start`, in [`encoder_timebase`].
///
/// # Errors
/// [`ArgvError`] when an argument would be too long.
pub fn source(
    chunk: &VideoChunk,
    rung: &VideoRung,
    frames: TickRange,
    input: &Input,
    out: Outputs<'_>,
) -> Result<Vec<String>, ArgvError> {
    let tb = encoder_timebase(chunk.timebase);
    let seek = chunk.seek.map(|t| seconds_floor(t, chunk.timebase));
    let mut a = Argv::ffmpeg(Level::Warning);
    a.input(input, seek.as_deref());
    let mut filters = picture::before_trim(&chunk.picture, chunk.timebase);
    filters.push(format!("trim=start_pts={}:end_pts={}", frames.start.0, frames.end.0));
    filters.push(format!("settb=expr={tb}"));
    filters.push(format!("setpts=expr=PTS{:+}", -frames.start.0 * i64::from(chunk.timebase.num())));
    filters.extend(picture::upright(chunk.picture.rotation));
    let s = &rung.settings;
    if s.width < WIDTH || s.height < HEIGHT {
        // what such a rung has no pixels for it cannot show
        filters.extend(picture::to_rung(&chunk.picture, s));
        filters.push(small());
    } else {
        let small = VideoSettings { width: WIDTH, height: HEIGHT, ..s.clone() };
        filters.extend(picture::to_rung(&chunk.picture, &small));
    }
    finish(a, &format!("[0:{}]{}", chunk.stream, filters.join(",")), tb, out)
}

/// A file that was committed, behind its init segment. Any error of the decoder ends the run.
fn committed(path: &str, decoder: &[&str]) -> Argv {
    let mut a = Argv::ffmpeg(Level::Warning);
    a.words(&["-xerror", "-copyts", "-protocol_whitelist", "file", "-f", "mov"])
        // an edit list moves the times, or cuts frames off, as the demuxer's version likes
        .words(&["-ignore_editlist", "1", "-threads", "1"])
        .words(&["-err_detect", "crccheck+bitstream+buffer+explode"])
        .words(decoder)
        .pair("-i", format!("file:{path}"));
    a
}

/// Arguments that decode a segment of sound into `pcm`: `path` is a file with its init segment before it. Any error of the
/// decoder ends the run.
///
/// # Errors
/// [`ArgvError`] when an argument would be too long.
pub fn sound_segment(path: &str, pcm: &str) -> Result<Vec<String>, ArgvError> {
    // nor does a version of the decoder decide what is cut off
    let mut a = committed(path, &["-flags2", "+skip_manual"]);
    a.words(&["-map", "0:a:0"]);
    integers(a, pcm)
}

/// Arguments that decode `samples` of the film, as the encoder of `chunk` was given them, into `pcm`.
///
/// # Errors
/// [`ArgvError`] when the spec contradicts itself.
pub fn sound_source(
    chunk: &AudioChunk,
    samples: (u64, u64),
    input: &Input,
    pcm: &str,
) -> Result<Vec<String>, ArgvError> {
    let given = encoded_range(chunk);
    if samples.0 < given.start_sample || samples.1 > given.end_sample {
        let what = format!("samples {} to {} are not the chunk's", samples.0, samples.1);
        return Err(ArgvError::FrameMap(what));
    }
    let at = |sample: u64| {
        sample - given.start_sample + OFFSET_SECONDS as u64 * u64::from(chunk.settings.sample_rate)
    };
    let mut a = Argv::ffmpeg(Level::Warning);
    let seek = chunk.range.and_then(|r| r.seek).map(|at| seconds_floor(at, chunk.timebase));
    let wanted = format!("atrim=start_pts={}:end_pts={}", at(samples.0), at(samples.1));
    a.input(input, seek.as_deref())
        .pair("-filter_complex_threads", input.threads.max(1))
        .pair("-filter_complex", format!("{},{wanted}[sound]", chain(chunk)?))
        .words(&["-map", "[sound]"]);
    integers(a, pcm)
}

fn integers(mut a: Argv, pcm: &str) -> Result<Vec<String>, ArgvError> {
    a.words(&["-c:a", "pcm_s16le", "-f", "s16le"]);
    a.0.push(format!("file:{pcm}"));
    a.finish()
}

fn finish(mut a: Argv, graph: &str, tb: Timebase, out: Outputs<'_>) -> Result<Vec<String>, ArgvError> {
    a.pair("-filter_complex", format!("{graph},split=outputs=2[pictures][times]"));
    for (label, format, path) in
        [("[pictures]", "rawvideo", out.pictures), ("[times]", "framecrc", out.times)]
    {
        a.words(&["-map", label, "-c:v", "rawvideo"]);
        times_pass(&mut a, tb);
        a.pair("-f", format);
        a.0.push(format!("file:{path}"));
    }
    a.finish()
}
