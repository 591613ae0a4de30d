//! One ffmpeg for one video chunk: one decode, every rung.

use super::timeline::{encoder_timebase, encoder_times, seconds_floor};
use super::{Argv, ArgvError, Input, Level, framemap, picture, x264};
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::spec::{VideoChunk, VideoRung};
use reelmill_common::{Ticks, Timebase};

/// Arguments that encode a chunk; rung `i` is written to `outputs[i]`, an absolute path in a fresh directory.
///
/// # Errors
/// [`ArgvError`] when the spec contradicts itself.
pub fn encode(chunk: &VideoChunk, input: &Input, outputs: &[String]) -> Result<Vec<String>, ArgvError> {
    if outputs.len() != chunk.rungs.len() || outputs.is_empty() {
        return Err(ArgvError::Outputs { rungs: chunk.rungs.len(), outputs: outputs.len() });
    }
    let times = encoder_times(chunk)?;
    let mut a = Argv::ffmpeg(Level::Warning);
    // ffmpeg seeks in microseconds; rounded down the time still lies after every earlier keyframe
    let seek = chunk.seek.map(|t| seconds_floor(t, chunk.timebase));
    a.input(input, seek.as_deref())
        .pair("-filter_complex_threads", input.threads.max(1))
        .pair("-filter_complex", graph(chunk, &times)?);
    for (i, (rung, path)) in chunk.rungs.iter().zip(outputs).enumerate() {
        if rung.settings.family != EncoderFamily::X264 {
            return Err(ArgvError::Family(rung.settings.family.name()));
        }
        a.pair("-map", format!("[rung{i}]"));
        x264::options(&mut a, &rung.settings, &forced(chunk, rung, &times));
        times_pass(&mut a, encoder_timebase(chunk.timebase));
        a.transport(path);
    }
    a.finish()
}

/// What is the same for each output: times pass through untouched, in the encoder's timebase, which is the file's
/// timescale too (the muxer would double small ones).
pub(super) fn times_pass(a: &mut Argv, tb: Timebase) {
    a.words(&["-fps_mode", "passthrough"])
        .pair("-enc_time_base", tb)
        .pair("-video_track_timescale", tb.den());
}

fn graph(chunk: &VideoChunk, times: &[i64]) -> Result<String, ArgvError> {
    let mut common = picture::before_trim(&chunk.picture, chunk.timebase);
    common.push(format!("trim=start_pts={}:end_pts={}", chunk.trim.start.0, chunk.trim.end.0));
    common.extend(framemap::filters(chunk, times)?);
    common.extend(picture::upright(chunk.picture.rotation));
    let mut graph = format!("[0:{}]{}", chunk.stream, common.join(","));
    let ends: String = (0..chunk.rungs.len()).map(|i| format!("[full{i}]")).collect();
    if chunk.rungs.len() > 1 {
        graph.push_str(&format!(",split=outputs={}", chunk.rungs.len()));
    }
    graph.push_str(&ends);
    for (i, rung) in chunk.rungs.iter().enumerate() {
        let mut own = Vec::new();
        let every = u64::from(rung.settings.every.max(1));
        if every > 1 {
            own.push(format!("select=expr='not(mod(n+{},{every}))'", chunk.first_output % every));
        }
        own.extend(picture::to_rung(&chunk.picture, &rung.settings));
        graph.push_str(&format!(";[full{i}]{}[rung{i}]", own.join(",")));
    }
    Ok(graph)
}

/// Times of the frames that must be IDRs, one per planned IDR that the rung has a frame for.
///
/// ffmpeg 5.1 rounds each time to the encoder's timebase before it compares, 9.0 compares exactly. The frame's own
/// time rounded down to the microsecond is right for both: never after the frame, and nearer to it than half a tick
/// wherever a tick is longer than two microseconds; where ticks are shorter, the frame before is far away.
fn forced(chunk: &VideoChunk, rung: &VideoRung, times: &[i64]) -> String {
    let tb = encoder_timebase(chunk.timebase);
    let mut planned = chunk.idr.iter().map(|t| t.0).peekable();
    let mut list = Vec::new();
    for i in chunk.rung_frames(rung.settings.every) {
        let (Some(shown), Some(time)) = (chunk.frames.output.get(i), times.get(i)) else { break };
        let mut due = false;
        while planned.next_if(|t| *t <= shown).is_some() {
            due = true;
        }
        if due {
            list.push(seconds_floor(Ticks(*time), tb));
        }
    }
    list.join(",")
}
