//! What `moov` says, track by track, before any of it is turned into times.
//!
//! Boxes are walked by header and their contents decoded singly, so that an odd box in one place (QuickTime has
//! many) does not hide the rest. Anything that would make ffmpeg take another path is an error here.

use super::entry::{self, Entry};
use crate::boxes::{Found, child, children, decode, need};
use crate::error::IndexError;
use crate::limits::{Limits, check};
use crate::orient;
use mp4_atom::{Co64, Ctts, Elst, Hdlr, Mdhd, Mvhd, Stco, Stsc, Stss, Stsz, StszSamples, Stts, Tkhd};
use reelmill_common::index::Rotation;

/// A movie.
#[derive(Debug)]
pub(super) struct Movie {
    /// Ticks a second of edit durations.
    pub(super) timescale: u32,
    /// Every track, in file order: ffmpeg's stream index is the place in this list.
    pub(super) tracks: Vec<Track>,
}

/// A track.
#[derive(Debug)]
pub(super) enum Track {
    /// Picture or sound.
    Media(Box<Media>),
    /// Anything else, with its handler type.
    Other(String),
}

/// A track of picture or sound.
#[derive(Debug)]
pub(super) struct Media {
    pub(super) timescale: u32,
    pub(super) language: Option<String>,
    pub(super) enabled: bool,
    pub(super) rotation: Rotation,
    /// Size for display as the track header has it, in pixels.
    pub(super) size: (u32, u32),
    pub(super) entry: Entry,
    pub(super) edits: Vec<Edit>,
    pub(super) table: Table,
}

/// One entry of the edit list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Edit {
    /// In movie ticks.
    pub(super) duration: u64,
    /// In media ticks; `None` = nothing is shown meanwhile.
    pub(super) media_time: Option<u64>,
}

/// The sample table.
#[derive(Debug)]
pub(super) struct Table {
    /// (samples, duration of each).
    pub(super) durations: Vec<(u32, u32)>,
    /// (samples, composition offset of each); empty = none.
    pub(super) offsets: Option<Vec<(u32, i64)>>,
    /// Sync samples from 1; `None` = all of them.
    pub(super) sync: Option<Vec<u32>>,
    /// (first chunk from 1, samples in each chunk).
    pub(super) chunk_runs: Vec<(u32, u32)>,
    pub(super) sizes: Sizes,
    pub(super) chunks: Chunks,
}

/// Sample sizes.
#[derive(Debug)]
pub(super) enum Sizes {
    Same { size: u32, count: u32 },
    Each(Vec<u32>),
}

impl Sizes {
    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Same { count, .. } => *count,
            // a table of more entries does not fit its box
            Self::Each(v) => v.len() as u32,
        }
    }

    pub(super) fn get(&self, i: u32) -> Option<u32> {
        match self {
            Self::Same { size, count } => (i < *count).then_some(*size),
            Self::Each(v) => v.get(i as usize).copied(),
        }
    }
}

/// Chunk offsets.
#[derive(Debug)]
pub(super) enum Chunks {
    Short(Vec<u32>),
    Long(Vec<u64>),
}

impl Chunks {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Short(v) => v.len(),
            Self::Long(v) => v.len(),
        }
    }

    pub(super) fn get(&self, i: usize) -> Option<u64> {
        match self {
            Self::Short(v) => v.get(i).copied().map(u64::from),
            Self::Long(v) => v.get(i).copied(),
        }
    }
}

type Result<T> = std::result::Result<T, IndexError>;

fn odd<T>(result: std::result::Result<T, String>) -> Result<T> {
    result.map_err(IndexError::not_native)
}

/// Reads the content of `moov`.
pub(super) fn read(moov: &[u8], limits: &Limits) -> Result<Movie> {
    for kind in [b"mvex", b"cmov"] {
        if odd(child(moov, kind))?.is_some() {
            return Err(IndexError::not_native("the movie is fragmented or compressed"));
        }
    }
    let mvhd: Mvhd = odd(need(moov, b"mvhd").and_then(decode))?;
    if mvhd.timescale == 0 || turn(&mvhd.matrix) != Some(Rotation::default()) {
        return Err(IndexError::not_native("the movie header has no timescale, or turns the picture"));
    }
    let (mut tracks, mut chapters) = (Vec::new(), false);
    for trak in children(moov) {
        let trak = odd(trak)?;
        if &trak.kind == b"trak" {
            check("tracks", tracks.len() as u64 + 1, limits.tracks)?;
            tracks.push(track(trak, limits)?);
            let tref = odd(child(trak.body, b"tref"))?;
            chapters |= tref.is_some_and(|t| children(t.body).flatten().any(|c| &c.kind == b"chap"));
        }
    }
    let pictures =
        tracks.iter().filter(|t| matches!(t, Track::Media(m) if matches!(m.entry, Entry::Video(_)))).count();
    if chapters && pictures > 1 {
        return Err(IndexError::not_native("a video track may hold chapter pictures"));
    }
    Ok(Movie { timescale: mvhd.timescale, tracks })
}

fn track(trak: Found<'_>, limits: &Limits) -> Result<Track> {
    let mdia = odd(need(trak.body, b"mdia"))?;
    let hdlr: Hdlr = odd(need(mdia.body, b"hdlr").and_then(decode))?;
    let kind: &[u8] = hdlr.handler.as_ref();
    let picture = match kind {
        b"vide" => true,
        b"soun" => false,
        other => return Ok(Track::Other(String::from_utf8_lossy(other).into_owned())),
    };
    let tkhd: Tkhd = odd(need(trak.body, b"tkhd").and_then(decode))?;
    let mdhd: Mdhd = odd(need(mdia.body, b"mdhd").and_then(decode))?;
    if mdhd.timescale == 0 {
        return Err(IndexError::not_native("a track has timescale 0"));
    }
    let minf = odd(need(mdia.body, b"minf"))?;
    self_contained(minf)?;
    let stbl = odd(need(minf.body, b"stbl"))?;
    let stsd = odd(need(stbl.body, b"stsd"))?;
    let entry = if picture { entry::video(stsd.body)? } else { entry::audio(stsd.body)? };
    let rotation = if picture {
        turn(&tkhd.matrix)
            .ok_or_else(|| IndexError::not_native("a track is turned by no quarter turn, or scaled"))?
    } else {
        Rotation::default()
    };
    Ok(Track::Media(Box::new(Media {
        timescale: mdhd.timescale,
        language: language(odd(need(mdia.body, b"mdhd"))?.body),
        enabled: tkhd.enabled,
        rotation,
        size: (u32::from(tkhd.width.integer()), u32::from(tkhd.height.integer())),
        entry,
        edits: edits(trak, limits)?,
        table: table(stbl, limits)?,
    })))
}

/// Refuses tracks whose samples lie in other files.
fn self_contained(minf: Found<'_>) -> Result<()> {
    const SAME_FILE: u8 = 1;
    let dinf = odd(need(minf.body, b"dinf"))?;
    let dref = odd(need(dinf.body, b"dref"))?;
    let entries = dref.body.get(8..).unwrap_or_default();
    for entry in children(entries) {
        let flags = odd(entry)?.body.get(3).copied().unwrap_or_default();
        if flags & SAME_FILE == 0 {
            return Err(IndexError::not_native("samples lie in another file"));
        }
    }
    Ok(())
}

fn edits(trak: Found<'_>, limits: &Limits) -> Result<Vec<Edit>> {
    let Some(edts) = odd(child(trak.body, b"edts"))? else { return Ok(Vec::new()) };
    let Some(elst) = odd(child(edts.body, b"elst"))? else { return Ok(Vec::new()) };
    // the count is checked before anything is made of it
    if let Some(count) = elst.body.get(4..8) {
        check("edits", count.iter().fold(0, |n, b| n << 8 | u64::from(*b)), limits.edits)?;
    }
    let elst: Elst = odd(decode(elst))?;
    elst.entries
        .into_iter()
        .map(|e| {
            if e.media_rate.integer() != 1 || e.media_rate.decimal() != 0 {
                return Err(IndexError::not_native("an edit plays at another rate than 1"));
            }
            Ok(Edit { duration: e.segment_duration, media_time: e.media_time })
        })
        .collect()
}

fn table(stbl: Found<'_>, limits: &Limits) -> Result<Table> {
    for kind in [b"stps", b"stz2"] {
        if odd(child(stbl.body, kind))?.is_some() {
            return Err(IndexError::not_native("the sample table has partial sync samples or packed sizes"));
        }
    }
    for found in children(stbl.body) {
        let found = odd(found)?;
        if &found.kind == b"sbgp" && found.body.get(4..8) == Some(b"rap ") {
            return Err(IndexError::not_native("random access points are given by sample groups"));
        }
    }
    let sizes = match odd(need(stbl.body, b"stsz").and_then(decode::<Stsz>))?.samples {
        StszSamples::Identical { count, size } => Sizes::Same { size, count },
        StszSamples::Different { sizes } => Sizes::Each(sizes),
    };
    let stts: Stts = odd(need(stbl.body, b"stts").and_then(decode))?;
    let stsc: Stsc = odd(need(stbl.body, b"stsc").and_then(decode))?;
    if stsc.entries.iter().any(|e| e.sample_description_index != 1) {
        return Err(IndexError::not_native("a track changes its decoder configuration"));
    }
    let chunks = match (odd(child(stbl.body, b"stco"))?, odd(child(stbl.body, b"co64"))?) {
        (Some(stco), None) => Chunks::Short(odd(decode::<Stco>(stco))?.entries),
        (None, Some(co64)) => Chunks::Long(odd(decode::<Co64>(co64))?.entries),
        _ => return Err(IndexError::not_native("a track has no chunk offsets, or two kinds of them")),
    };
    let offsets = odd(child(stbl.body, b"ctts"))?.map(decode::<Ctts>).transpose();
    let sync = odd(odd(child(stbl.body, b"stss"))?.map(decode::<Stss>).transpose())?.map(|s| s.entries);
    check("keyframes", sync.as_ref().map_or(0, |s| s.len() as u64), limits.keyframes)?;
    Ok(Table {
        durations: stts.entries.into_iter().map(|e| (e.sample_count, e.sample_delta)).collect(),
        offsets: odd(offsets)?
            .map(|c| c.entries.into_iter().map(|e| (e.sample_count, e.sample_offset)).collect()),
        sync,
        chunk_runs: stsc.entries.into_iter().map(|e| (e.first_chunk, e.samples_per_chunk)).collect(),
        sizes,
        chunks,
    })
}

/// The quarter turns and mirror a transformation matrix does; `None` for any other transformation.
fn turn(m: &mp4_atom::Matrix) -> Option<Rotation> {
    orient::turn(m.a, m.b, m.c, m.d).filter(|_| m.u == 0 && m.v == 0)
}

/// The language of `mdhd`: three letters of five bits, or an old Macintosh number.
fn language(mdhd: &[u8]) -> Option<String> {
    const MACINTOSH: [&str; 14] =
        ["eng", "fra", "ger", "ita", "dut", "swe", "spa", "dan", "por", "nor", "heb", "jpn", "ara", "fin"];
    let at = if mdhd.first() == Some(&1) { 32 } else { 20 };
    let code = mdhd.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))?;
    if code < 0x400 {
        return MACINTOSH.get(usize::from(code)).map(|l| (*l).to_owned());
    }
    let letters = [10, 5, 0].map(|shift| (code >> shift & 31) as u8 + 0x60);
    let text = std::str::from_utf8(&letters).ok()?;
    (letters.iter().all(u8::is_ascii_lowercase) && text != "und").then(|| text.to_owned())
}
