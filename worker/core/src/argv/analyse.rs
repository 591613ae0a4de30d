//! Whole-film facts that need an encoder or a decoder, before planning: the avcC of each rung's settings, and the
//! peak of each downmix.

use super::{Argv, ArgvError, Input};
use reelmill_common::Timebase;
use reelmill_common::ladder::{AudioSettings, VideoSettings};

/// Arguments that encode a few made-up frames at each rung's settings, in the timebase of the film; the avcC of
/// `outputs[i]` is that of every chunk at `rungs[i]`.
///
/// # Errors
/// [`ArgvError`] when the spec contradicts itself.
pub fn configs(source: Timebase, rungs: &[VideoSettings], outputs: &[String]) -> Result<Vec<String>, ArgvError> {
    let _ = source;
    if outputs.len() != rungs.len() {
        return Err(ArgvError::Outputs { rungs: rungs.len(), outputs: outputs.len() });
    }
    Argv::ffmpeg(false).finish()
}

/// Arguments that measure the peak of a downmix before any gain: [`parse_peak`] reads it from stderr.
///
/// # Errors
/// [`ArgvError`] when the spec contradicts itself.
pub fn peak(input: &Input, stream: u32, settings: &AudioSettings) -> Result<Vec<String>, ArgvError> {
    let _ = (input, stream, settings);
    Argv::ffmpeg(true).finish()
}

/// The peak in 1/10,000 of full scale from the whole stderr of a [`peak`] run; `None` when it says none.
pub fn parse_peak(stderr: &str) -> Option<u32> {
    let _ = stderr;
    None
}
