//! Whole-film facts that need an encoder or a decoder, before planning: the avcC of each rung's settings, and the
//! peak of each downmix.

use super::audio::pan;
use super::timeline::encoder_timebase;
use super::{Argv, ArgvError, Input, Level, picture, x264};
use reelmill_common::Timebase;
use reelmill_common::ladder::{AudioSettings, EncoderFamily, VideoSettings};

/// Frames of the made-up clip: the decoder configuration is settled when the encoder opens.
const FRAMES: u32 = 1;

/// Arguments that encode a made-up frame at each rung's settings, in the timebase of the film (`source`); the
/// avcC of `outputs[i]` is that of every chunk at `rungs[i]`: the very same options as for a chunk write it.
///
/// # Errors
/// [`ArgvError`] when the spec contradicts itself.
pub fn configs(
    source: Timebase,
    rungs: &[VideoSettings],
    outputs: &[String],
) -> Result<Vec<String>, ArgvError> {
    if outputs.len() != rungs.len() || outputs.is_empty() {
        return Err(ArgvError::Outputs { rungs: rungs.len(), outputs: outputs.len() });
    }
    let tb = encoder_timebase(source);
    let mut a = Argv::ffmpeg(Level::Warning);
    a.pair("-filter_complex", configs_graph(tb, rungs));
    for (i, (s, path)) in rungs.iter().zip(outputs).enumerate() {
        if s.family != EncoderFamily::X264 {
            return Err(ArgvError::Family(s.family.name()));
        }
        a.pair("-map", format!("[rung{i}]"));
        x264::options(&mut a, s, "0");
        super::video::times_pass(&mut a, tb);
        a.transport(path);
    }
    a.finish()
}

/// One source per rung at its own size; frames lie a whole number of ticks apart whatever the timebase.
fn configs_graph(tb: Timebase, rungs: &[VideoSettings]) -> String {
    let step = (tb.den() / 25).max(1);
    let chain = |(i, s): (usize, &VideoSettings)| {
        format!(
            "color=color=gray:size={}x{}:rate=25,trim=end_frame={FRAMES},format=pix_fmts=yuv420p,\
             {},setsar=sar=1,settb=expr={tb},setpts=expr=N*{step}[rung{i}]",
            s.width,
            s.height,
            picture::tagged(s.colour)
        )
    };
    rungs.iter().enumerate().map(chain).collect::<Vec<_>>().join(";")
}

/// Arguments that measure the peak of a downmix before any gain: [`parse_peak`] reads it from stderr.
///
/// # Errors
/// [`ArgvError`] when the spec contradicts itself.
pub fn peak(input: &Input, stream: u32, settings: &AudioSettings) -> Result<Vec<String>, ArgvError> {
    let mut a = Argv::ffmpeg(Level::Info);
    a.input(input, None)
        .pair(
            "-filter_complex",
            format!(
                "[0:{stream}]{},\
                 astats=measure_perchannel=none:measure_overall=Min_level+Max_level[peak]",
                pan(settings)
            ),
        )
        .words(&["-map", "[peak]", "-f", "null", "-"]);
    a.finish()
}

/// The peak in 1/10,000 of full scale, rounded up, from the whole stderr of a [`peak`] run; `None` when it says none.
/// Sound in floating point may exceed full scale, and so may a sum of channels: the peak is not clipped.
pub fn parse_peak(stderr: &str) -> Option<u32> {
    let level = |label: &str| {
        stderr
            .lines()
            .rev()
            .find_map(|l| l.split_once(label).map(|(_, rest)| rest.trim()))
            .and_then(ten_thousandths)
    };
    Some(level("Min level:")?.max(level("Max level:")?))
}

/// Magnitude of a decimal number in 1/10,000, rounded up.
fn ten_thousandths(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (kept, rest) = part.split_at(part.len().min(4));
    let kept: String = kept.chars().chain("0000".chars()).take(4).collect();
    let up = u32::from(rest.bytes().any(|b| b != b'0'));
    whole.parse::<u32>().ok()?.checked_mul(10_000)?.checked_add(kept.parse::<u32>().ok()? + up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_the_larger_magnitude_rounded_up() {
        let text = "[Parsed_astats_2 @ 0x55] [info] Overall\n[Parsed_astats_2 @ 0x55] [info] Min level: -1.234501\n\
                    [Parsed_astats_2 @ 0x55] [info] Max level: 0.900000\n";
        assert_eq!(parse_peak(text), Some(12_346));
        assert_eq!(parse_peak("[x] Min level: 0.000000\n[x] Max level: 0.5\n"), Some(5_000));
        assert_eq!(parse_peak("[x] Min level: nan\n[x] Max level: nan\n"), None);
        assert_eq!(parse_peak(""), None);
    }
}
