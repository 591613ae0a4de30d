//! Sample entries of `stsd`: which codec, and what its configuration says.
//!
//! Only codecs whose samples are one shown picture each, in containers as plain as ffmpeg expects them, are taken.

use crate::boxes::{Found, child, children, fourcc, need};
use crate::error::IndexError;
use crate::fragments::audio_specific_config;
use crate::nal::{Record, UNSPECIFIED, h264, hevc, sei};
use reelmill_common::index::{Colour, FieldOrder, Light};

/// A sample entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Entry {
    Video(VideoEntry),
    Audio(AudioEntry),
}

/// How random access works in a video codec.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// H.264: sync samples must be looked at.
    H264(Record),
    /// HEVC: sync samples must be looked at.
    Hevc(Record),
    /// Every sync sample is closed (VP9 and AV1 keyframes, intra-only codecs).
    Closed,
}

/// A picture's sample entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct VideoEntry {
    /// ffmpeg's name.
    pub(super) codec: &'static str,
    pub(super) access: Access,
    pub(super) width: u32,
    pub(super) height: u32,
    /// From `pasp`, or else from the bitstream.
    pub(super) pasp: Option<(u32, u32)>,
    pub(super) bit_depth: Option<u8>,
    pub(super) colour: Colour,
    /// From `mdcv` and `clli`.
    pub(super) light: Light,
    pub(super) field_order: FieldOrder,
}

/// A sound's sample entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AudioEntry {
    /// ffmpeg's name.
    pub(super) codec: &'static str,
    pub(super) sample_rate: u32,
    pub(super) channels: u16,
}

type Result<T> = std::result::Result<T, IndexError>;

fn odd(why: impl Into<String>) -> IndexError {
    IndexError::not_native(why)
}

fn number(bytes: &[u8], at: usize, len: usize) -> Option<u32> {
    bytes.get(at..at + len).map(|b| b.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
}

/// The one entry of an `stsd`.
fn only(stsd: &[u8]) -> Result<Found<'_>> {
    let mut entries = children(stsd.get(8..).ok_or_else(|| odd("stsd is cut short"))?);
    match (number(stsd, 4, 4), entries.next(), entries.next()) {
        (Some(1), Some(entry), None) => entry.map_err(odd),
        _ => Err(odd("a track has not exactly one sample entry")),
    }
}

/// Reads an `stsd` of a video track.
pub(super) fn video(stsd: &[u8]) -> Result<Entry> {
    const FIXED: usize = 78;
    let entry = only(stsd)?;
    let cut = || odd(format!("sample entry {} is cut short", entry.name()));
    let width = number(entry.body, 24, 2).ok_or_else(cut)?;
    let height = number(entry.body, 26, 2).ok_or_else(cut)?;
    let inner = entry.body.get(FIXED..).ok_or_else(cut)?;
    if child(inner, b"clap").map_err(odd)?.is_some() {
        return Err(odd("the picture has a clean aperture"));
    }
    let (codec, access, bit_depth) = access(entry.kind, inner)?;
    let pasp = child(inner, b"pasp")
        .map_err(odd)?
        .and_then(|p| Some((number(p.body, 0, 4)?, number(p.body, 4, 4)?)).filter(|(w, h)| *w > 0 && *h > 0));
    let mut made = VideoEntry {
        codec,
        access: Access::Closed,
        width,
        height,
        pasp,
        bit_depth,
        colour: container_colour(inner)?,
        light: container_light(inner)?,
        field_order: FieldOrder::Progressive,
    };
    if let Access::H264(record) | Access::Hevc(record) = &access {
        let p = record.picture;
        if (p.width, p.height) != (width, height) {
            return Err(odd("sample entry and parameter set differ in size"));
        }
        if !p.frames_only {
            return Err(odd("the picture may be interlaced"));
        }
        made.pasp = pasp.or(p.sar);
        made.bit_depth = Some(p.bit_depth);
        made.colour = p.colour.over(made.colour);
    } else if codec == "prores" {
        made.field_order = fiel(inner)?;
    }
    made.access = access;
    Ok(Entry::Video(made))
}

trait Over {
    /// What `self` says, and where it says nothing, what `other` says.
    fn over(self, other: Self) -> Self;
}

impl Over for Colour {
    fn over(self, other: Self) -> Self {
        Self {
            primaries: self.primaries.or(other.primaries),
            transfer: self.transfer.or(other.transfer),
            matrix: self.matrix.or(other.matrix),
            full_range: self.full_range.or(other.full_range),
        }
    }
}

fn access(kind: [u8; 4], inner: &[u8]) -> Result<(&'static str, Access, Option<u8>)> {
    let config = |name: &[u8; 4]| need(inner, name).map(|f| f.body).map_err(odd);
    let unread = |what: &str| odd(format!("{what} cannot be read"));
    Ok(match &kind {
        b"avc1" | b"avc3" => {
            let record = h264::record(config(b"avcC")?).ok_or_else(|| unread("avcC"))?;
            ("h264", Access::H264(record), None)
        }
        b"hvc1" | b"hev1" => {
            let record = hevc::record(config(b"hvcC")?).ok_or_else(|| unread("hvcC"))?;
            ("hevc", Access::Hevc(record), None)
        }
        b"vp09" => {
            let depth = config(b"vpcC")?.get(6).map(|b| b >> 4).ok_or_else(|| unread("vpcC"))?;
            ("vp9", Access::Closed, Some(depth))
        }
        b"av01" => {
            let flags = *config(b"av1C")?.get(2).ok_or_else(|| unread("av1C"))?;
            let depth = match (flags & 0x40 != 0, flags & 0x20 != 0) {
                (false, _) => 8,
                (true, false) => 10,
                (true, true) => 12,
            };
            ("av1", Access::Closed, Some(depth))
        }
        b"apch" | b"apcn" | b"apcs" | b"apco" => ("prores", Access::Closed, Some(10)),
        b"ap4h" | b"ap4x" => ("prores", Access::Closed, Some(12)),
        _ => return Err(odd(format!("video codec {}", fourcc(kind)))),
    })
}

fn container_colour(inner: &[u8]) -> Result<Colour> {
    let mut colour = Colour::default();
    for found in children(inner) {
        let found = found.map_err(odd)?;
        if &found.kind != b"colr" || !matches!(found.body.get(..4), Some(b"nclx" | b"nclc")) {
            continue;
        }
        let code =
            |at| number(found.body, at, 2).and_then(|v| u8::try_from(v).ok()).filter(|v| *v != UNSPECIFIED);
        colour.primaries = code(4);
        colour.transfer = code(6);
        colour.matrix = code(8);
        if found.body.starts_with(b"nclx") {
            colour.full_range = found.body.get(10).map(|b| b & 0x80 != 0);
        }
    }
    Ok(colour)
}

fn container_light(inner: &[u8]) -> Result<Light> {
    let display = child(inner, b"mdcv").map_err(odd)?.map(|f| sei::mastering_display(f.body));
    let content = child(inner, b"clli").map_err(odd)?.map(|f| sei::content_light(f.body));
    Ok(content.unwrap_or_default().or(display.unwrap_or_default()))
}

/// QuickTime's `fiel`: number of fields and their order.
fn fiel(inner: &[u8]) -> Result<FieldOrder> {
    let found = child(inner, b"fiel").map_err(odd)?;
    Ok(match found.map(|f| f.body) {
        Some([1, ..]) => FieldOrder::Progressive,
        Some([2, 1 | 9, ..]) => FieldOrder::TopFirst,
        Some([2, 6 | 14, ..]) => FieldOrder::BottomFirst,
        _ => FieldOrder::Unknown,
    })
}

/// Reads an `stsd` of an audio track.
pub(super) fn audio(stsd: &[u8]) -> Result<Entry> {
    let entry = only(stsd)?;
    let cut = || odd(format!("sample entry {} is cut short", entry.name()));
    // QuickTime's versions 1 and 2 have more fields before the boxes
    let skip = match number(entry.body, 8, 2).ok_or_else(cut)? {
        0 => 28,
        1 => 44,
        _ => return Err(odd("a sound description of version 2")),
    };
    let channels = number(entry.body, 16, 2).ok_or_else(cut)? as u16;
    let sample_rate = number(entry.body, 24, 4).ok_or_else(cut)? >> 16;
    let inner = entry.body.get(skip..).ok_or_else(cut)?;
    let plain = |codec| AudioEntry { codec, sample_rate, channels };
    let made = match &entry.kind {
        b"mp4a" => aac(inner)?,
        b"sowt" if number(entry.body, 18, 2) == Some(16) => plain("pcm_s16le"),
        b"twos" if number(entry.body, 18, 2) == Some(16) => plain("pcm_s16be"),
        b"Opus" => AudioEntry { codec: "opus", sample_rate: 48_000, channels },
        b"fLaC" => plain("flac"),
        _ => return Err(odd(format!("audio codec {}", entry.name()))),
    };
    if made.sample_rate == 0 || made.channels == 0 {
        return Err(odd("an audio track without rate or channels"));
    }
    Ok(Entry::Audio(made))
}

/// AAC-LC that cannot hide a doubled rate or a second channel (SBR and PS may be implicit at low rates).
fn aac(inner: &[u8]) -> Result<AudioEntry> {
    const RATES: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
    ];
    // QuickTime wraps it
    let wave = child(inner, b"wave").map_err(odd)?;
    let esds = need(wave.map_or(inner, |w| w.body), b"esds").map_err(odd)?;
    let asc = audio_specific_config(esds.body).ok_or_else(|| odd("esds cannot be read"))?;
    let (Some(first), Some(second)) = (asc.first(), asc.get(1)) else {
        return Err(odd("no AudioSpecificConfig"));
    };
    let (object, rate, channels) = (first >> 3, (first & 7) << 1 | second >> 7, second >> 3 & 15);
    let rate = RATES.get(usize::from(rate)).copied().unwrap_or_default();
    if object != 2 || rate < 32_000 || !matches!(channels, 1..=7) {
        return Err(odd("AAC of a kind that only decoding tells"));
    }
    let channels = if channels == 7 { 8 } else { u16::from(channels) };
    Ok(AudioEntry { codec: "aac", sample_rate: rate, channels })
}
