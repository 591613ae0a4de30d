//! One ffmpeg for one audio chunk: decode, mix, resample onto the film's own grid, AAC-LC.
//!
//! Where times do not tell the track's own count of samples, the sound is anchored once: `first_pts` is the film's zero in
//! samples, so that what lies before it is cut to the sample and what is missing is silence. Later times only count where
//! they tell of a real gap (0.1 s and more).
//!
//! Where they do ([`SampleGrid`]), decoded frames are put back from rounded times onto that count, Matroska's milliseconds
//! among them. So a rendition is one continuous encode, or ranges: each decodes from a few seconds before its first
//! sample, and cuts at the very same sample wherever its decoding began. Nothing is filled in before a range: should the
//! demuxer land too late, times are not as planned and the check of the output says so.

use super::timeline::{OFFSET_SECONDS, seconds_floor};
use super::{Argv, ArgvError, Input, Level};
use reelmill_common::Timebase;
use reelmill_common::index::SampleGrid;
use reelmill_common::ladder::{AudioMix, AudioSettings};
use reelmill_common::spec::{AAC_FRAME, AudioChunk, AudioRange};
use std::num::NonZeroU32;

/// Packets encoded after a range and thrown away, so that its last packets know what follows.
pub const POST_ROLL: u64 = 4;

/// The part of a rendition that a chunk's encoder sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EncodedRange {
    /// Sample it begins with: `1024 * first_packet`.
    pub start_sample: u64,
    /// Sample after the last.
    pub end_sample: u64,
    /// Number, in the rendition, of the first packet the encoder gives.
    pub first_packet: u64,
}

/// What the encoder of a chunk is given.
pub fn encoded_range(chunk: &AudioChunk) -> EncodedRange {
    let pre_roll = chunk.range.map_or(0, |r| r.pre_roll);
    let first_packet = chunk.packets.0.saturating_sub(pre_roll);
    EncodedRange {
        start_sample: first_packet * AAC_FRAME,
        end_sample: ((chunk.packets.1 + POST_ROLL) * AAC_FRAME).min(chunk.total_samples),
        first_packet,
    }
}

/// Sound heard before a range's own samples, after which its meter tells what one of the whole track would: the longest
/// block, 3 s, after one second in which the sound is faded in.
const METER_PRE_ROLL_SECONDS: u64 = 5;

/// Samples in a tenth of a second, with each of which blocks of loudness end.
pub fn tenth(chunk: &AudioChunk) -> u64 {
    u64::from(chunk.settings.sample_rate / 10).max(1)
}

/// Arguments that encode an audio chunk into `output`, an absolute path. When the chunk measures loudness, the
/// numbers are in stdout and stderr: see [`crate::meter`].
///
/// # Errors
/// [`ArgvError`] when the spec contradicts itself.
pub fn encode(chunk: &AudioChunk, input: &Input, output: &str) -> Result<Vec<String>, ArgvError> {
    let s = &chunk.settings;
    let mut a = Argv::ffmpeg(if chunk.measure_loudness { Level::Info } else { Level::Warning });
    let seek = chunk.range.and_then(|r| r.seek).map(|at| seconds_floor(at, chunk.timebase));
    a.input(input, seek.as_deref())
        .pair("-filter_complex_threads", input.threads.max(1))
        .pair("-filter_complex", graph(chunk)?)
        .words(&["-map", "[sound]"]);
    encoder(&mut a, s);
    a.pair("-frag_duration", 10_000_000).transport(output);
    a.finish()
}

/// The encoder, with everything that decides bytes. `bitexact` keeps the build's name out of the first packet.
pub(super) fn encoder(a: &mut Argv, s: &AudioSettings) {
    a.words(&["-c:a", "aac", "-profile:a", "aac_low", "-aac_coder", "twoloop"])
        .pair("-b:a", format!("{}k", s.bit_rate_kbps))
        .words(&["-flags:a", "+bitexact"]);
}

fn graph(chunk: &AudioChunk) -> Result<String, ArgvError> {
    let chain = chain(chunk)?;
    Ok(if chunk.measure_loudness {
        let meter = meter(chunk, encoded_range(chunk))?;
        format!("{chain},asplit[sound][meter];[meter]{},anullsink", meter.join(","))
    } else {
        format!("{chain}[sound]")
    })
}

/// The sound that the encoder is given, from the source on: [`encoded_range`], its first sample at [`OFFSET_SECONDS`], in
/// ticks of a sample.
pub(super) fn chain(chunk: &AudioChunk) -> Result<String, ArgvError> {
    let s = &chunk.settings;
    let rate = NonZeroU32::new(s.sample_rate)
        .ok_or_else(|| ArgvError::FrameMap("the audio rendition has a sample rate of 0".to_owned()))?;
    let range = encoded_range(chunk);
    let zero = chunk.zero.timebase.rescale(chunk.zero.ticks, Timebase::hz(rate)).0;
    let filters = match &chunk.range {
        None => continuous(chunk, range, zero),
        Some(part) => part_of(chunk, part, range, zero, rate),
    };
    Ok(format!("[0:{}]{}", chunk.stream, filters.join(",")))
}

/// Tells blocks in stdout, beside the progress: `direct` writes each line at once and whole. What begins in the middle
/// of sound is faded in, or the peak would be that of the cut.
fn meter(chunk: &AudioChunk, range: EncodedRange) -> Result<Vec<String>, ArgvError> {
    let rate = u64::from(chunk.settings.sample_rate);
    let mut filters = Vec::new();
    if range.start_sample > 0 {
        // blocks begin where those of the whole track do
        let start = range.start_sample.next_multiple_of(tenth(chunk));
        let own = chunk.packets.0 * AAC_FRAME;
        if start + METER_PRE_ROLL_SECONDS * rate > own {
            return Err(ArgvError::FrameMap(format!(
                "the loudness from sample {own} on is measured with {METER_PRE_ROLL_SECONDS} s of sound before it"
            )));
        }
        let from = start - range.start_sample + OFFSET_SECONDS as u64 * rate;
        filters.push(format!("atrim=start_pts={from}"));
        filters.push(format!("afade=type=in:start_sample={from}:nb_samples={rate}"));
    }
    filters.push("ebur128=peak=true:framelog=verbose:metadata=1".to_owned());
    filters
        .extend(["M", "S"].map(|key| format!("ametadata=mode=print:key=lavfi.r128.{key}:file=-:direct=1")));
    Ok(filters)
}

fn continuous(chunk: &AudioChunk, range: EncodedRange, zero: i64) -> Vec<String> {
    let s = &chunk.settings;
    vec![
        pan(s),
        // two steps, because `first_pts` counts samples of the rate that comes in: first resampled, then anchored; the
        // smallest step that is anchored lies below one sample, or sound within a millisecond of zero stays there
        resample(s),
        format!("{}:async=1:min_comp=0.000001:min_hard_comp=0.1:first_pts={zero}", resample(s)),
        format!("apad=whole_len={}", chunk.total_samples),
        format!("atrim=start_sample={}:end_sample={}", range.start_sample, range.end_sample),
        format!("asetpts=expr=N+{}", OFFSET_SECONDS * i64::from(s.sample_rate)),
    ]
}

/// From the first filter on a time is the number of a sample, exact, and every filter keeps it so.
fn part_of(
    chunk: &AudioChunk,
    part: &AudioRange,
    range: EncodedRange,
    zero: i64,
    rate: NonZeroU32,
) -> Vec<String> {
    let s = &chunk.settings;
    let (start, end) = (zero + range.start_sample as i64, zero + range.end_sample as i64);
    let mut filters = vec![format!("asettb=expr=1/{rate}")];
    if part.grid.step > 1 {
        filters.push(on_grid(part.grid));
    }
    filters.push(format!("atrim=start_pts={start}:end_pts={end}"));
    filters.push(pan(s));
    // times are exact, so whatever is off by more than a hundredth of a second is a packet the decoder gave up
    let mut anchored = format!("{}:async=1:min_comp=0.000001:min_hard_comp=0.01", resample(s));
    if part.seek.is_none() {
        // sound that begins late is preceded by silence
        anchored.push_str(&format!(":first_pts={start}"));
    }
    filters.push(anchored);
    if range.end_sample == chunk.total_samples {
        filters.push(format!("apad=whole_len={}", range.end_sample - range.start_sample));
    }
    filters.push(format!("asetpts=expr=PTS-({start})+{}", OFFSET_SECONDS * i64::from(s.sample_rate)));
    filters
}

/// Puts decoded frames where the track's own count of samples says. The first one is placed by its end: a decoder may
/// have skipped samples at its beginning (Opus, RFC 7845 section 4.2).
fn on_grid(SampleGrid { origin, step }: SampleGrid) -> String {
    let place =
        |beside: &str| format!("round((PTS{beside}-({origin}))/{step})*{step}{}", beside.replace('+', "-"));
    let (start, by_end) = (place(""), place("+NB_SAMPLES"));
    format!("asetpts=expr='if(N,{start},{by_end})+({origin})'")
}

fn resample(s: &AudioSettings) -> String {
    format!("aresample={}:osf=fltp:ochl={}", s.sample_rate, layout(s.channels))
}

/// The layout of a number of output channels: what AAC-LC calls channel configuration 1, 2 and 6.
fn layout(channels: u16) -> &'static str {
    match channels {
        1 => "mono",
        6 => "5.1",
        _ => "stereo",
    }
}

/// The mix as a `pan` filter, stated channel by channel: channels that are kept are kept by number, because ffmpeg
/// would mix 5.1(side) into 5.1 by a rule of its own. In floating point, or `pan` would clip a sum at the integer full
/// scale before anybody could turn it down.
pub(super) fn pan(s: &AudioSettings) -> String {
    let mut filter = format!("aformat=sample_fmts=fltp,pan={}", layout(s.channels));
    match &s.mix {
        AudioMix::Keep => (0..s.channels).for_each(|c| filter.push_str(&format!("|c{c}=c{c}"))),
        AudioMix::Matrix(rows) => {
            for (c, row) in rows.iter().enumerate() {
                filter.push_str(&format!("|c{c}={}", terms(row)));
            }
        }
    }
    filter
}

/// A row of gains, in 1/10,000, as `pan` reads it.
fn terms(row: &[i32]) -> String {
    let mut out = String::new();
    for (c, gain) in row.iter().enumerate().filter(|(_, g)| **g != 0) {
        let sign = if *gain < 0 {
            "-"
        } else if out.is_empty() {
            ""
        } else {
            "+"
        };
        let abs = gain.unsigned_abs();
        out.push_str(&format!("{sign}{}.{:04}*c{c}", abs / 10_000, abs % 10_000));
    }
    if out.is_empty() { "0*c0".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gains_are_written_as_pan_reads_them() {
        assert_eq!(terms(&[10_000, 7_071, 0, -500]), "1.0000*c0+0.7071*c1-0.0500*c3");
        assert_eq!(terms(&[-10_000]), "-1.0000*c0");
        assert_eq!(terms(&[0, 0]), "0*c0");
    }
}
