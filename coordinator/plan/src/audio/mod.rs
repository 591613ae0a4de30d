//! Sound: which renditions the tracks become, how they are mixed, and where their segments lie.
//!
//! Sound is planned apart from the picture: each rendition is one continuous encode (or ranges, see `ranges`), cut
//! afterwards on its own packet borders nearest to the picture's segment boundaries. Every track is carried in stereo (or mono, where all
//! are); a 5.1 track once more in 5.1, in a group of its own.

mod downmix;
mod language;
pub(crate) mod ranges;

use reelmill_common::ids::SegmentNumber;
use reelmill_common::index::{AudioTrack, SourceIndex};
use reelmill_common::ladder::{AudioMix, AudioSettings};
use reelmill_common::spec::{AAC_FRAME, AudioSegment};
use std::collections::BTreeSet;

/// HLS group of the renditions everybody can play.
pub(crate) const DEFAULT_GROUP: &str = "audio";
/// HLS group of the 5.1 renditions.
pub(crate) const SURROUND_GROUP: &str = "audio-51";

const STEREO_KBPS: u32 = 128;
const MONO_KBPS: u32 = 64;
const SURROUND_KBPS: u32 = 320;

/// A rendition before its gain and length are known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wish<'a> {
    pub track: &'a AudioTrack,
    pub name: String,
    pub group: &'static str,
    pub language: String,
    pub title: String,
    pub is_default: bool,
    /// Settings with the matrix as it is before gain.
    pub settings: AudioSettings,
    /// Is the peak of its downmix to be measured?
    pub needs_peak: bool,
}

/// Every rendition that the tracks become, default group first, and why.
pub(crate) fn wishes(index: &SourceIndex) -> (Vec<Wish<'_>>, Vec<String>) {
    let tracks = &index.audio;
    let mut notes = Vec::new();
    let sample_rate = sample_rate(tracks);
    let all_mono = tracks.iter().all(|t| t.channels == 1);
    let labels = labels(tracks);
    let default = tracks.iter().position(|t| t.is_default).unwrap_or(0);
    let mut wishes = Vec::new();
    for (n, (track, label)) in tracks.iter().zip(&labels).enumerate() {
        let (mix, needs_peak) = stereo_mix(track, all_mono, &mut notes);
        let (channels, bit_rate_kbps) = if all_mono { (1, MONO_KBPS) } else { (2, STEREO_KBPS) };
        wishes.push(Wish {
            track,
            name: format!("audio{}", label.suffix),
            group: DEFAULT_GROUP,
            language: label.language.clone(),
            title: label.title.clone(),
            is_default: n == default,
            settings: AudioSettings { sample_rate, channels, bit_rate_kbps, mix },
            needs_peak,
        });
    }
    for (n, (track, label)) in tracks.iter().zip(&labels).enumerate().filter(|(_, (t, _))| is_surround(t)) {
        wishes.push(Wish {
            track,
            name: format!("audio-51{}", label.suffix),
            group: SURROUND_GROUP,
            language: label.language.clone(),
            title: label.title.clone(),
            is_default: n == default,
            settings: AudioSettings {
                sample_rate,
                channels: 6,
                bit_rate_kbps: SURROUND_KBPS,
                mix: AudioMix::Keep,
            },
            needs_peak: false,
        });
    }
    for w in &wishes {
        let s = &w.settings;
        notes.push(format!(
            "sound: stream {} ({}, {} channels, {} Hz) becomes {} in AAC, {} kbit/s, {} Hz, language {}",
            w.track.stream,
            w.track.codec,
            w.track.channels,
            w.track.sample_rate,
            match s.channels {
                1 => "mono",
                2 => "stereo",
                _ => "5.1",
            },
            s.bit_rate_kbps,
            s.sample_rate,
            w.language
        ));
    }
    for t in tracks.iter().filter(|t| !t.gaps.is_empty()) {
        notes.push(format!("sound: gaps in stream {}, filled with silence: {}", t.stream, t.gaps.len()));
    }
    (wishes, notes)
}

/// One rate for all, so that switching tracks never changes it: 44.1 kHz where every track has it, else 48 kHz.
fn sample_rate(tracks: &[AudioTrack]) -> u32 {
    if !tracks.is_empty() && tracks.iter().all(|t| t.sample_rate == 44_100) { 44_100 } else { 48_000 }
}

fn is_surround(track: &AudioTrack) -> bool {
    track.channels == 6 && matches!(track.layout.as_deref(), None | Some("5.1" | "5.1(side)"))
}

fn stereo_mix(track: &AudioTrack, all_mono: bool, notes: &mut Vec<String>) -> (AudioMix, bool) {
    match track.channels {
        1 if !all_mono => {
            notes.push(format!(
                "sound: stream {} is mono beside others that are not: put on both sides",
                track.stream
            ));
            (AudioMix::Matrix(downmix::mono_to_stereo()), false)
        }
        1 | 2 => (AudioMix::Keep, false),
        channels => {
            let (matrix, known) = downmix::to_stereo(track.layout.as_deref(), channels);
            if !known {
                let stream = track.stream;
                notes.push(format!(
                    "sound: stream {stream} has an unknown channel layout: its first two are taken"
                ));
            }
            (AudioMix::Matrix(matrix), true)
        }
    }
}

/// The mix with its gain.
pub(crate) fn with_gain(settings: &AudioSettings, peak: u32) -> AudioSettings {
    match &settings.mix {
        AudioMix::Matrix(rows) => AudioSettings {
            mix: AudioMix::Matrix(downmix::with_gain(rows.clone(), peak)),
            ..settings.clone()
        },
        AudioMix::Keep => settings.clone(),
    }
}

/// How a track is told apart: unique over the film.
struct Label {
    language: String,
    title: String,
    /// For the rendition's name: empty when there is but one track.
    suffix: String,
}

fn labels(tracks: &[AudioTrack]) -> Vec<Label> {
    let mut titles = BTreeSet::new();
    let mut suffixes = BTreeSet::new();
    tracks
        .iter()
        .map(|track| {
            let language = language::tag(track.language.as_deref());
            let own = track.title.as_deref().map(printable).filter(|t| !t.is_empty());
            let named = own.or_else(|| language::name(&language).map(str::to_owned));
            let title = unique(&mut titles, &named.unwrap_or_else(|| "Audio".to_owned()), " ");
            let suffix = if tracks.len() == 1 {
                String::new()
            } else {
                // a rendition's folder is a name of at most 63 characters
                let short: String = language.to_ascii_lowercase().chars().take(16).collect();
                unique(&mut suffixes, &format!("-{short}"), "-")
            };
            Label { language, title, suffix }
        })
        .collect()
}

/// A title as a manifest can hold it in quotes: no quotes, no control characters, at most 80 characters.
fn printable(title: &str) -> String {
    let clean: String =
        title.chars().map(|c| if c.is_control() || c == '"' { ' ' } else { c }).take(80).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unique(taken: &mut BTreeSet<String>, wanted: &str, joint: &str) -> String {
    let numbered = (2..).map(|n: u64| format!("{wanted}{joint}{n}"));
    let name = std::iter::once(wanted.to_owned()).chain(numbered).find(|n| !taken.contains(n));
    let name = name.unwrap_or_else(|| wanted.to_owned());
    taken.insert(name.clone());
    name
}

/// Packets that carry `samples`: one more frame for the encoder's delay, the last one padded.
pub(crate) fn packets(samples: u64) -> u64 {
    (samples + AAC_FRAME).div_ceil(AAC_FRAME)
}

/// Segments of a rendition: cut on the packet borders nearest to `bounds` (`n + 1` times from 0 to the end, in ticks
/// of `1 / timescale`). A border that would leave a segment without packets is left out.
pub(crate) fn segments(bounds: &[i64], timescale: u32, sample_rate: u32, samples: u64) -> Vec<AudioSegment> {
    let all = packets(samples);
    let mut borders = vec![0];
    for bound in bounds.get(1..bounds.len().saturating_sub(1)).unwrap_or_default() {
        let sample = rescale(*bound, timescale, sample_rate);
        // packet p begins to sound at sample 1024 p - 1024
        let border = (sample + AAC_FRAME + AAC_FRAME / 2) / AAC_FRAME;
        if borders.last().is_some_and(|last| *last < border) && border < all {
            borders.push(border);
        }
    }
    borders.push(all);
    let spans = borders.windows(2).enumerate();
    spans
        .map(|(n, w)| AudioSegment {
            number: SegmentNumber(n as u32 + 1),
            first_packet: w[0],
            end_packet: w[1],
        })
        .collect()
}

/// Ticks of `1 / timescale` in samples, rounded to nearest.
pub(crate) fn rescale(ticks: i64, timescale: u32, sample_rate: u32) -> u64 {
    let n = u128::from(ticks.max(0) as u64) * u128::from(sample_rate);
    let d = u128::from(timescale.max(1));
    u64::try_from((n + d / 2) / d).unwrap_or(u64::MAX)
}

/// The AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2.1) of AAC-LC as ffmpeg's encoder writes it, with the extension
/// that says there is no SBR.
pub(crate) fn audio_specific_config(settings: &AudioSettings) -> Vec<u8> {
    const AAC_LC: u16 = 2;
    let frequency: u16 = if settings.sample_rate == 44_100 { 4 } else { 3 };
    let head = AAC_LC << 11 | frequency << 7 | (settings.channels & 0xF) << 3;
    [&head.to_be_bytes()[..], &[0x56, 0xE5, 0x00]].concat()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
