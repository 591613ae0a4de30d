//! From a stream's packets or frames to its track in the index.

use super::Depth;
use super::stream::Stream;
use crate::error::IndexError;
use crate::limits::{Limits, check};
use reelmill_common::index::{AudioGap, AudioTrack, FieldOrder, KeyFrame, KeyKind, SampleGrid, VideoTrack};
use reelmill_common::time::{TickSeq, Ticks, Timebase};
use std::num::NonZeroU32;

/// A packet or a decoded frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unit {
    pub(super) pts: Option<i64>,
    pub(super) dts: Option<i64>,
    pub(super) duration: Option<i64>,
    pub(super) pos: Option<u64>,
    pub(super) key: bool,
    /// Demuxed for the decoder only: not shown.
    pub(super) discard: bool,
    /// Damaged or empty.
    pub(super) doubtful: bool,
    /// Samples at the end of a packet of sound that are not to be heard.
    pub(super) padding: u32,
    /// Of a decoded frame: interlaced, and if so with the top field first.
    pub(super) fields: Option<bool>,
}

const MILLIS: Timebase = Timebase::hz(NonZeroU32::new(1000).expect("a thousand is not zero"));
const SECONDS: Timebase = Timebase::hz(NonZeroU32::MIN);

type Result<T> = std::result::Result<T, IndexError>;

/// Those frames whose time is after those of all before.
pub(super) fn growing(units: &[Unit]) -> Vec<Unit> {
    let mut latest = None;
    let is_next = |u: &&Unit| {
        u.pts > latest && {
            latest = u.pts;
            true
        }
    };
    units.iter().filter(is_next).copied().collect()
}

/// Makes the video track. `units` are in the order of ffprobe's output: decode order for packets.
pub(super) fn video(stream: &Stream, depth: Depth, units: &[Unit], limits: &Limits) -> Result<VideoTrack> {
    check("pixels a picture", u64::from(stream.width) * u64::from(stream.height), limits.pixels)?;
    if depth == Depth::Packets {
        packets_tell(stream, units)?;
    }
    let mut shown: Vec<&Unit> = units.iter().filter(|u| !u.discard).collect();
    let unknown = shown.iter().filter(|u| u.pts.is_none()).count();
    if unknown > 0 {
        return Err(IndexError::no_media(format!("{unknown} of {} frames have no time", shown.len())));
    }
    if depth == Depth::Packets {
        shown.sort_by_key(|u| u.pts);
    }
    let times: Vec<i64> = shown.iter().filter_map(|u| u.pts).collect();
    if let Some(i) = times.windows(2).position(|w| w[0] >= w[1]) {
        let why = format!("the times of frames {i} and {} do not grow: remux it first", i + 1);
        return Err(match depth {
            Depth::Packets => IndexError::frame_scan(why),
            Depth::Frames => IndexError::no_media(why),
        });
    }
    let timebase = timebase(stream)?;
    let (Some(&first), Some(&last)) = (times.first(), times.last()) else {
        return Err(IndexError::no_media("none of its frames can be shown"));
    };
    check_seconds(first, last, timebase, limits)?;
    let keys = keys(stream, depth, units, &times);
    check("keyframes", keys.len() as u64, limits.keyframes)?;
    let end = shown.last().and_then(|u| u.duration).filter(|d| *d > 0).and_then(|d| last.checked_add(d));
    Ok(VideoTrack {
        stream: stream.index,
        codec: stream.codec.clone().unwrap_or_default(),
        timebase,
        width: stream.width,
        height: stream.height,
        sar: stream.sar,
        rotation: stream.rotation.unwrap_or_default(),
        bit_depth: stream.bit_depth,
        colour: stream.colour,
        light: stream.light,
        field_order: field_order(stream, depth, units),
        language: stream.language.clone(),
        frames: TickSeq::from_sorted(times),
        keys,
        end: end.map(Ticks),
    })
}

/// Is every packet one frame that is shown at the packet's time?
fn packets_tell(stream: &Stream, units: &[Unit]) -> Result<()> {
    let codec = stream.codec.as_deref().unwrap_or_default();
    let refuse = |why: &str| Err(IndexError::frame_scan(why));
    match codec {
        "vp8" => return refuse("VP8 hides reference frames among its packets"),
        // DivX packs a B-frame into the packet before it
        "mpeg4" | "msmpeg4v3" if stream.reorders => return refuse("MPEG-4 with B-frames may be packed"),
        "h264" | "hevc" | "mpeg2video" | "mpeg1video" | "vc1"
            if matches!(stream.field_order, FieldOrder::TopFirst | FieldOrder::BottomFirst) =>
        {
            return refuse("an interlaced picture may take two packets");
        }
        _ => {}
    }
    let Some(first) = units.first() else { return refuse("there are no packets") };
    if units.iter().any(|u| u.pts.is_none()) {
        return refuse("packets lack presentation times");
    }
    match units.iter().filter(|u| u.doubtful).count() {
        0 => {}
        some => return refuse(&format!("damaged or empty packets: {some} of {}", units.len())),
    }
    if !first.key {
        return refuse("the film does not begin with a keyframe");
    }
    if units.iter().any(|u| !u.discard && u.pts < first.pts) {
        return refuse("frames are shown before the first keyframe");
    }
    let decoded: Vec<i64> = units.iter().filter_map(|u| u.dts).collect();
    if decoded.windows(2).any(|w| w[0] > w[1]) {
        return refuse("decode times run backwards");
    }
    Ok(())
}

fn keys(stream: &Stream, depth: Depth, units: &[Unit], times: &[i64]) -> Vec<KeyFrame> {
    let mut keys: Vec<KeyFrame> = Vec::new();
    for (i, unit) in units.iter().enumerate().filter(|(_, u)| u.key) {
        let Some(pts) = unit.pts else { continue };
        let frame = times.partition_point(|t| *t < pts);
        if frame == times.len() {
            continue;
        }
        let kind = match depth {
            Depth::Packets => {
                kind(stream, units[i + 1..].iter().take_while(|u| !u.key).any(|u| u.pts < unit.pts))
            }
            // decoded frames come in presentation order: what was decoded when is no longer to be seen
            Depth::Frames => {
                if always_closed(stream) {
                    KeyKind::Idr
                } else {
                    KeyKind::Unknown
                }
            }
        };
        keys.push(KeyFrame { frame: frame as u32, pts: Ticks(pts), kind, offset: unit.pos });
    }
    keys.sort_by_key(|k| k.pts);
    keys
}

fn kind(stream: &Stream, leading: bool) -> KeyKind {
    match (stream.codec.as_deref().unwrap_or_default(), leading) {
        _ if always_closed(stream) => KeyKind::Idr,
        // a random access point of these without leading pictures is closed by its codec's rules
        ("hevc" | "mpeg2video" | "mpeg1video" | "mpeg4", false) => KeyKind::Idr,
        ("mpeg2video" | "mpeg1video", true) => KeyKind::Open,
        _ => KeyKind::Unknown,
    }
}

/// Codecs whose every keyframe starts anew.
fn always_closed(stream: &Stream) -> bool {
    const CLOSED: [&str; 12] = [
        "vp8", "vp9", "av1", "prores", "dnxhd", "mjpeg", "ffv1", "rawvideo", "dvvideo", "huffyuv", "cinepak",
        "theora",
    ];
    stream.codec.as_deref().is_some_and(|c| CLOSED.contains(&c))
}

fn field_order(stream: &Stream, depth: Depth, units: &[Unit]) -> FieldOrder {
    if depth == Depth::Packets {
        return stream.field_order;
    }
    match units.iter().find_map(|u| u.fields) {
        Some(true) => FieldOrder::TopFirst,
        Some(false) => FieldOrder::BottomFirst,
        None => FieldOrder::Progressive,
    }
}

/// Makes an audio track; `None` when it holds no sound.
pub(super) fn audio(stream: &Stream, units: &[Unit], limits: &Limits) -> Result<Option<AudioTrack>> {
    let timebase = timebase(stream)?;
    let longest_gap = MILLIS.rescale(Ticks(100), timebase).0.max(1);
    let mut gaps = Vec::new();
    let mut span: Option<(i64, i64)> = None;
    let mut longest = 0;
    for unit in units.iter().filter(|u| !u.discard) {
        let duration = heard(unit, longest, timebase, stream.sample_rate);
        longest = longest.max(duration);
        span = match (span, unit.pts) {
            (None, None) => None,
            (None, Some(pts)) => Some((pts, pts.saturating_add(duration))),
            (Some((first, end)), None) => Some((first, end.saturating_add(duration))),
            (Some((first, end)), Some(pts)) => {
                if pts.saturating_sub(end) > longest_gap {
                    gaps.push(AudioGap { at: Ticks(end), until: Ticks(pts) });
                }
                // not `end + duration`: rounded times would add up to a drift
                Some((first, end.max(pts.saturating_add(duration))))
            }
        };
    }
    let Some((packet, end)) = span else { return Ok(None) };
    // the stream's start knows of samples that the decoder will skip; the first packet does not
    let first = stream.start.filter(|s| *s >= packet && *s < end).unwrap_or(packet);
    check_seconds(first, end, timebase, limits)?;
    check("gaps in one audio track", gaps.len() as u64, limits.edits)?;
    Ok(Some(AudioTrack {
        stream: stream.index,
        codec: stream.codec.clone().unwrap_or_default(),
        timebase,
        sample_rate: stream.sample_rate,
        channels: stream.channels,
        layout: stream.layout.clone(),
        language: stream.language.clone(),
        title: stream.title.clone(),
        is_default: stream.is_default,
        first: Ticks(first),
        end: Ticks(end),
        grid: grid(units, timebase, stream.sample_rate).filter(|_| gaps.is_empty()),
        gaps,
    }))
}

/// How long a packet is heard for. Some containers say how long it is and that its end is padding (Matroska), others say
/// how long it is without that (Ogg): the `longest` packet before tells them apart, and of a track's only one its clock,
/// which counts samples where packets last for a number of samples.
fn heard(unit: &Unit, longest: i64, timebase: Timebase, sample_rate: u32) -> i64 {
    let duration = unit.duration.unwrap_or(0).max(0);
    let Some(samples) = NonZeroU32::new(sample_rate).map(Timebase::hz).filter(|_| unit.padding > 0) else {
        return duration;
    };
    let padding = samples.rescale(Ticks(unit.padding.into()), timebase).0;
    match longest {
        0 if timebase == samples => duration,
        0 => (duration - padding).max(0),
        _ => duration.min((longest - padding).max(0)),
    }
}

/// Packets of equal length whose times are their count, exactly or rounded to less than a quarter of one.
///
/// The length is taken from the whole track, so that times which run away from the count are seen.
fn grid(units: &[Unit], timebase: Timebase, sample_rate: u32) -> Option<SampleGrid> {
    let shown = units.iter().filter(|u| !u.discard);
    let times: Vec<i128> = shown.map(|u| u.pts.map(i128::from)).collect::<Option<_>>()?;
    let (first, last) = (*times.first()?, *times.last()?);
    let count = i128::try_from(times.len()).ok()? - 1;
    // a tick is `tick / unit` samples
    let (tick, unit) = (i128::from(timebase.num()) * i128::from(sample_rate), i128::from(timebase.den()));
    if count < 1 || sample_rate == 0 || last <= first {
        return None;
    }
    let step = ((last - first) * tick + count * unit / 2) / (count * unit);
    // how far each is from the count, in samples times `unit`
    let off = |(n, t): (usize, &i128)| t * tick - n as i128 * step * unit;
    let (least, most) = times
        .iter()
        .enumerate()
        .map(off)
        .fold((i128::MAX, i128::MIN), |(least, most), o| (least.min(o), most.max(o)));
    // rounded to nearest, up or down: never more than a tick apart
    let even = step > 1 && most - least <= tick.max(unit) && (most - least) * 2 < step * unit;
    let origin = (least + most + unit).div_euclid(2 * unit);
    // times that count samples need no grid; and a demuxer of plain samples makes its packets anew at each seek
    let step = if tick == unit && most == least { 1 } else { step };
    let (origin, step) = (i64::try_from(origin).ok()?, u32::try_from(step).ok()?);
    even.then_some(SampleGrid { origin, step })
}

fn check_seconds(first: i64, last: i64, timebase: Timebase, limits: &Limits) -> Result<()> {
    let span = timebase.rescale_floor(Ticks(first.saturating_sub(last)), SECONDS);
    check("seconds", span.0.unsigned_abs(), limits.seconds)
}

fn timebase(stream: &Stream) -> Result<Timebase> {
    stream.timebase.ok_or_else(|| IndexError::protocol(format!("stream {} has no timebase", stream.index)))
}
