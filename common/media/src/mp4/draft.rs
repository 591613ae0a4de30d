//! The index as far as `moov` tells it, and what a look at some sync samples adds.

use super::entry::{Access, AudioEntry, Entry, VideoEntry};
use super::movie::{Media, Movie, Track};
use super::timeline::{self, Sample};
use crate::error::IndexError;
use crate::limits::{Limits, check};
use crate::nal;
use bytes::Bytes;
use reelmill_common::hash::{Canonical, Sha256};
use reelmill_common::index::{
    AudioTrack, Demuxer, IgnoredTrack, IndexMethod, KeyFrame, KeyKind, SampleGrid, SourceId, SourceIndex,
    VideoTrack,
};
use reelmill_common::time::{TickSeq, Ticks, Timebase};
use std::num::NonZeroU32;
use std::ops::Range;

type Result<T> = std::result::Result<T, IndexError>;

/// Sync samples looked at, at most, and bytes of each.
const PEEKS: usize = 16;
const PEEK_BYTES: u32 = 16 * 1024;

/// An index that waits for a look at sync samples.
#[derive(Debug)]
pub(super) struct Draft {
    index: SourceIndex,
    access: Access,
    /// Per key of the video track: do pictures shown before it follow it in decode order?
    leading: Vec<bool>,
    /// Which keys to look at, and where their samples begin.
    peeks: Vec<(usize, Range<u64>)>,
}

impl Draft {
    /// Makes of a movie what can be made without looking at samples.
    pub(super) fn new(moov: &[u8], movie: &Movie, file: u64, limits: &Limits) -> Result<Self> {
        let mut index = SourceIndex {
            source: SourceId(source_hash(moov, file)),
            bytes: file,
            demuxer: Demuxer::Mov,
            method: IndexMethod::Mp4Tables,
            video: None,
            audio: Vec::new(),
            ignored: Vec::new(),
            notes: Vec::new(),
        };
        let (mut access, mut leading, mut peeks) = (Access::Closed, Vec::new(), Vec::new());
        for (stream, track) in (0u32..).zip(&movie.tracks) {
            let ignored = |what: String, why: &str| IgnoredTrack { stream, what, why: why.to_owned() };
            match track {
                Track::Other(handler) => index.ignored.push(other(stream, handler)),
                Track::Media(media) => match &media.entry {
                    Entry::Video(entry) if index.video.is_none() => {
                        let made = video(stream, media, entry, movie.timescale, file, limits)?;
                        index.video = Some(made.track);
                        (access, leading, peeks) = (entry.access.clone(), made.leading, made.peeks);
                    }
                    Entry::Video(entry) => index.ignored.push(ignored(
                        format!("video {}", entry.codec),
                        "only the first picture track is carried",
                    )),
                    Entry::Audio(entry) => {
                        index.audio.push(audio(stream, media, entry, movie.timescale, file, limits)?);
                    }
                },
            }
        }
        if index.video.is_none() && index.audio.is_empty() {
            return Err(IndexError::no_media("it has no picture track and no sound track"));
        }
        if access == Access::Closed {
            peeks.clear();
        }
        Ok(Self { index, access, leading, peeks })
    }

    /// Byte ranges to look at.
    pub(super) fn ranges(&self) -> Vec<Range<u64>> {
        self.peeks.iter().map(|(_, range)| range.clone()).collect()
    }

    /// Finishes with the bytes of [`Draft::ranges`].
    pub(super) fn finish(mut self, looked: &[Bytes]) -> Result<SourceIndex> {
        let Some(video) = &mut self.index.video else { return Ok(self.index) };
        let (record, hevc) = match &self.access {
            Access::Closed => return Ok(self.index),
            Access::H264(record) => (record, false),
            Access::Hevc(record) => (record, true),
        };
        // the messages of the first are the film's: a later one would only repeat them
        if let Some(first) = looked.first() {
            video.light = video.light.or(nal::sei::light(first, record.length_size, hevc));
        }
        let seen: Vec<(usize, Option<KeyKind>)> = self
            .peeks
            .iter()
            .zip(looked)
            .map(|((key, _), bytes)| (*key, nal::key_kind(bytes, record.length_size, hevc)))
            .collect();
        let all_idr = seen.iter().all(|(_, kind)| *kind == Some(KeyKind::Idr));
        if !hevc && seen.first().and_then(|(_, kind)| *kind) != Some(KeyKind::Idr) {
            return Err(IndexError::not_native("the first sync sample is no IDR picture"));
        }
        let random_access = seen.iter().all(|(_, kind)| *kind != Some(KeyKind::Unknown));
        for (i, (key, leading)) in video.keys.iter_mut().zip(&self.leading).enumerate() {
            let looked_at = seen.iter().find(|(k, _)| *k == i).and_then(|(_, kind)| *kind);
            key.kind = match (looked_at, leading) {
                (Some(KeyKind::Idr), _) => KeyKind::Idr,
                // what follows an HEVC random access point in both orders never needs what came before it (H.265,
                // 3.1): without leading pictures it is as closed as an IDR
                (_, false) if hevc && random_access => KeyKind::Idr,
                (Some(kind), _) => kind,
                // ISO/IEC 14496-15 lets only IDR pictures be sync samples; files that break this rule do so
                // throughout, and show leading pictures
                (None, false) if all_idr => KeyKind::Idr,
                (None, _) => KeyKind::Unknown,
            };
        }
        Ok(self.index)
    }
}

fn source_hash(moov: &[u8], file: u64) -> Sha256 {
    Canonical::new("source-mp4/1").num(file).blob(&Sha256::of(moov).0).digest()
}

fn other(stream: u32, handler: &str) -> IgnoredTrack {
    let (what, why) = match handler {
        "text" | "sbtl" | "subt" | "subp" | "clcp" => ("subtitles", "subtitles and captions are not carried"),
        "tmcd" => ("time code", "time code is not carried"),
        "hint" => ("hint track", "it only helps servers"),
        _ => ("data", "it is neither picture nor sound"),
    };
    IgnoredTrack { stream, what: format!("{what} ({handler})"), why: why.to_owned() }
}

fn timebase(timescale: u32) -> Result<Timebase> {
    NonZeroU32::new(timescale).map(Timebase::hz).ok_or_else(|| IndexError::not_native("a timescale is 0"))
}

struct Made {
    track: VideoTrack,
    leading: Vec<bool>,
    peeks: Vec<(usize, Range<u64>)>,
}

fn video(
    stream: u32,
    media: &Media,
    entry: &VideoEntry,
    movie: u32,
    file: u64,
    limits: &Limits,
) -> Result<Made> {
    check("pixels a picture", u64::from(entry.width) * u64::from(entry.height), limits.pixels)?;
    if entry.width == 0 || entry.height == 0 {
        return Err(IndexError::not_native("the picture has no size"));
    }
    let samples = timeline::samples(media, file, limits)?;
    let window = timeline::window(&media.edits, movie, media.timescale)?;
    let shown = timeline::present(&samples, window, media.table.offsets.is_some())?;
    let demuxed = &samples[shown.demuxed.clone()];
    let mut times: Vec<i64> =
        demuxed.iter().filter(|s| shown.is_shown(s)).map(|s| s.cts + shown.shift).collect();
    times.sort_unstable();
    if times.windows(2).any(|w| w[0] == w[1]) {
        return Err(IndexError::not_native("two frames have the same presentation time"));
    }
    let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
        return Err(IndexError::not_native("no frame is shown"));
    };
    check_seconds(last - first, media.timescale, limits)?;
    let start = demuxed.first().filter(|s| s.sync && s.cts + shown.shift <= first);
    if start.is_none() {
        return Err(IndexError::not_native("frames are shown before the first sync sample"));
    }
    let end = demuxed.iter().find(|s| s.cts + shown.shift == last).map(|s| {
        let end = s.cts + i64::from(s.duration);
        Ticks(shown.window.map_or(end, |w| end.min(w.until)) + shown.shift)
    });
    let (keys, leading, peeks) = keys(demuxed, shown.shift, &times);
    check("keyframes", keys.len() as u64, limits.keyframes)?;
    let track = VideoTrack {
        stream,
        codec: entry.codec.to_owned(),
        timebase: timebase(media.timescale)?,
        width: entry.width,
        height: entry.height,
        sar: entry.pasp.unwrap_or_else(|| header_sar(media.size, (entry.width, entry.height))),
        rotation: media.rotation,
        bit_depth: entry.bit_depth,
        colour: entry.colour,
        light: entry.light,
        field_order: entry.field_order,
        language: media.language.clone(),
        frames: TickSeq::from_sorted(times),
        keys,
        end,
    };
    Ok(Made { track, leading, peeks })
}

fn check_seconds(ticks: i64, timescale: u32, limits: &Limits) -> Result<()> {
    check("seconds", (ticks.max(0) as u64).div_ceil(timescale.max(1).into()), limits.seconds)
}

/// Pixels that are not square because the track header says another size than the sample entry.
fn header_sar(header: (u32, u32), coded: (u32, u32)) -> (u32, u32) {
    let (w, h) = (u64::from(coded.1) * u64::from(header.0), u64::from(coded.0) * u64::from(header.1));
    let g = reelmill_common::time::gcd(w, h).max(1);
    match (u32::try_from(w / g), u32::try_from(h / g)) {
        (Ok(w), Ok(h)) if w > 0 && h > 0 => (w, h),
        _ => (1, 1),
    }
}

type Keys = (Vec<KeyFrame>, Vec<bool>, Vec<(usize, Range<u64>)>);

/// Random-access points of the demuxed samples that shown frames can be reached from.
fn keys(demuxed: &[Sample], shift: i64, times: &[i64]) -> Keys {
    let mut found: Vec<(KeyFrame, bool, Range<u64>)> = Vec::new();
    for (i, s) in demuxed.iter().enumerate().filter(|(_, s)| s.sync) {
        let pts = s.cts + shift;
        let frame = times.partition_point(|t| *t < pts);
        if frame == times.len() {
            continue;
        }
        let leading = demuxed[i + 1..].iter().take_while(|n| !n.sync).any(|n| n.cts < s.cts);
        let bytes = s.offset..s.offset + u64::from(s.size.min(PEEK_BYTES));
        let key =
            KeyFrame { frame: frame as u32, pts: Ticks(pts), kind: KeyKind::Idr, offset: Some(s.offset) };
        found.push((key, leading, bytes));
    }
    found.sort_by_key(|(key, ..)| key.pts);
    let step = found.len().div_ceil(PEEKS).max(1);
    let peeks = found.iter().enumerate().step_by(step).map(|(i, (.., bytes))| (i, bytes.clone())).collect();
    let (keys, leading) = found.iter().map(|(key, leading, _)| (*key, *leading)).unzip();
    (keys, leading, peeks)
}

fn audio(
    stream: u32,
    media: &Media,
    entry: &AudioEntry,
    movie: u32,
    file: u64,
    limits: &Limits,
) -> Result<AudioTrack> {
    let (_, duration) = timeline::extent(&media.table, file)?;
    if media.table.offsets.is_some() {
        return Err(IndexError::not_native("an audio track has composition offsets"));
    }
    let longest = u64::from(media.timescale) / 10;
    let typical = media.table.durations.iter().max_by_key(|(n, _)| *n).map_or(0, |(_, d)| u64::from(*d));
    if media.table.durations.iter().any(|(_, d)| u64::from(*d) > typical + longest) {
        return Err(IndexError::not_native("an audio track has gaps"));
    }
    let duration =
        i64::try_from(duration).map_err(|_| IndexError::not_native("an audio track without end"))?;
    let (first, end) = match timeline::window(&media.edits, movie, media.timescale)? {
        None => (0, duration),
        Some(w) if w.from >= duration => return Err(IndexError::not_native("an edit shows no sound")),
        Some(w) => (w.lead, w.lead + w.until.min(duration) - w.from),
    };
    check_seconds(end - first, media.timescale, limits)?;
    Ok(AudioTrack {
        stream,
        codec: entry.codec.to_owned(),
        timebase: timebase(media.timescale)?,
        sample_rate: entry.sample_rate,
        channels: entry.channels,
        layout: None,
        language: media.language.clone(),
        title: None,
        is_default: media.enabled,
        first: Ticks(first),
        end: Ticks(end),
        gaps: Vec::new(),
        grid: grid(media, entry, first),
    })
}

/// Times count samples when the timescale is the sample rate and all packets but the last are equally long: then it
/// is the codec's frame, and no muxer rounded them.
fn grid(media: &Media, entry: &AudioEntry, first: i64) -> Option<SampleGrid> {
    let runs: Vec<(u32, u32)> = media.table.durations.iter().copied().filter(|(n, _)| *n > 0).collect();
    let even = match runs.as_slice() {
        [_] => true,
        [(_, usual), (1, last)] => last <= usual,
        _ => false,
    };
    (media.timescale == entry.sample_rate && even).then_some(SampleGrid { origin: first, step: 1 })
}
