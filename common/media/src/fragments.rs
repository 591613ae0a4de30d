//! Samples of ffmpeg's fragmented MP4 output, read back whole.
//!
//! The container is transport only: the worker takes times and bytes from it and writes its own segments with
//! [`crate::cmaf`]. Strict: what ffmpeg would not write is an error, because it means a truncated or foreign file.
//! Box contents are decoded by mp4-atom; decoder configurations are kept as the raw bytes they are bound by.

use crate::boxes::{Found, children, decode, need};
use mp4_atom::{Mdhd, Tfdt, Tfhd, Tkhd, Trex, Trun};
use std::ops::Range;

/// Why a file is not what ffmpeg writes with `+frag_keyframe+empty_moov+default_base_moof`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fragmented MP4 at byte {offset}: {what}")]
pub struct FragmentError {
    /// Where in the file.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

/// A track's decoder configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Config {
    /// H.264: the payload of `avcC` (ISO/IEC 14496-15, AVCDecoderConfigurationRecord).
    Avc(Vec<u8>),
    /// AAC: the AudioSpecificConfig of `esds` (ISO/IEC 14496-3).
    Aac(Vec<u8>),
}

/// One track.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Track {
    /// Its id in the file.
    pub id: u32,
    /// Ticks a second of every time below.
    pub timescale: u32,
    /// Decoder configuration.
    pub config: Config,
    /// Samples in file order, which is decode order.
    pub samples: Vec<Sample>,
}

/// One sample.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Presentation time: `dts` plus composition offset.
    pub pts: i64,
    /// Decode time: `tfdt` plus the durations before. Signed: ffmpeg writes negative times as two's complement.
    pub dts: i64,
    /// Sync sample?
    pub key: bool,
    /// Where its bytes lie in the file.
    pub range: Range<usize>,
    /// Duration as written.
    pub duration: u32,
}

/// Reads a whole file.
///
/// # Errors
/// [`FragmentError`] at the first byte that is not what ffmpeg writes.
pub fn read(file: &[u8]) -> Result<Vec<Track>, FragmentError> {
    let mut tracks: Option<Vec<(Track, Trex)>> = None;
    let mut open: Option<Vec<Range<usize>>> = None;
    let mut end = 0;
    for found in children(file) {
        let found = found.map_err(|what| FragmentError { offset: end as u64, what })?;
        let at = |what: String| FragmentError { offset: found.start as u64, what };
        end = found.end();
        if open.is_some() && &found.kind != b"mdat" {
            return Err(at(format!("{} where mdat must follow moof", found.name())));
        }
        match (&found.kind, &mut tracks) {
            (b"moov", None) => tracks = Some(movie(found).map_err(at)?),
            (b"moof", Some(tracks)) => open = Some(fragment(found, file.len(), tracks).map_err(at)?),
            (b"mdat", _) => {
                let promised = open.take().ok_or_else(|| at("mdat without moof".to_owned()))?;
                if promised.iter().any(|r| r.start < found.start + found.head || r.end > end) {
                    return Err(at("samples lie outside of their mdat".to_owned()));
                }
            }
            (b"ftyp" | b"styp" | b"sidx" | b"free" | b"mfra", _) => {}
            (b"moov" | b"moof", _) => return Err(at(format!("{} in the wrong place", found.name()))),
            _ => return Err(at(format!("unexpected box {}", found.name()))),
        }
    }
    let whole = |what: &str| FragmentError { offset: end as u64, what: what.to_owned() };
    if open.is_some() || end != file.len() {
        return Err(whole("the file ends in the middle of a fragment"));
    }
    let tracks = tracks.ok_or_else(|| whole("no moov"))?;
    Ok(tracks.into_iter().map(|(track, _)| track).collect())
}

fn movie(moov: Found<'_>) -> Result<Vec<(Track, Trex)>, String> {
    let mvex = need(moov.body, b"mvex")?;
    let mut out = Vec::new();
    for trak in children(moov.body) {
        let trak = trak?;
        if &trak.kind != b"trak" {
            continue;
        }
        let id = decode::<Tkhd>(need(trak.body, b"tkhd")?)?.track_id;
        let mdia = need(trak.body, b"mdia")?;
        let mdhd: Mdhd = decode(need(mdia.body, b"mdhd")?)?;
        let stbl = need(need(mdia.body, b"minf")?.body, b"stbl")?;
        let config = config(need(stbl.body, b"stsd")?.body)?;
        let mut defaults = None;
        for trex in children(mvex.body) {
            let trex = trex?;
            if &trex.kind == b"trex" {
                defaults = Some(decode::<Trex>(trex)?).filter(|t| t.track_id == id).or(defaults);
            }
        }
        let defaults = defaults.ok_or_else(|| format!("track {id} has no trex"))?;
        if mdhd.timescale == 0 {
            return Err(format!("track {id} has timescale 0"));
        }
        out.push((Track { id, timescale: mdhd.timescale, config, samples: Vec::new() }, defaults));
    }
    Ok(out)
}

fn config(stsd: &[u8]) -> Result<Config, String> {
    // version, flags and the entry count come before the entries
    let entries = stsd.get(8..).ok_or("stsd is too short")?;
    let entry = children(entries).next().ok_or("stsd is empty")??;
    let (skip, child) = match &entry.kind {
        b"avc1" => (78, b"avcC"),
        b"mp4a" => (28, b"esds"),
        _ => return Err(format!("sample entry {} is neither avc1 nor mp4a", entry.name())),
    };
    let inner =
        entry.body.get(skip..).ok_or_else(|| format!("sample entry {} is too short", entry.name()))?;
    let found = need(inner, child)?;
    if child == b"avcC" {
        return Ok(Config::Avc(found.body.to_vec()));
    }
    audio_specific_config(found.body)
        .map(|asc| Config::Aac(asc.to_vec()))
        .ok_or_else(|| "esds without AAC".into())
}

/// The AudioSpecificConfig within the body of an `esds` box (ISO/IEC 14496-1, 7.2.6).
pub(crate) fn audio_specific_config(esds: &[u8]) -> Option<&[u8]> {
    let (tag, es) = descriptor(esds.get(4..)?)?;
    let flags = *es.get(2)?;
    // dependsOn, URL and OCR streams never occur in files; their fields would come here
    if tag != 3 || flags & 0xE0 != 0 {
        return None;
    }
    let (tag, decoder) = descriptor(es.get(3..)?)?;
    if tag != 4 {
        return None;
    }
    let (tag, asc) = descriptor(decoder.get(13..)?)?;
    (tag == 5).then_some(asc)
}

fn descriptor(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let (tag, mut rest) = bytes.split_first()?;
    let mut length = 0usize;
    for _ in 0..4 {
        let (byte, more) = rest.split_first()?;
        rest = more;
        length = length << 7 | usize::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            return Some((*tag, rest.get(..length)?));
        }
    }
    None
}

/// Appends a `moof`'s samples to their tracks; gives the byte ranges its runs promise.
fn fragment(
    moof: Found<'_>,
    file_len: usize,
    tracks: &mut [(Track, Trex)],
) -> Result<Vec<Range<usize>>, String> {
    let mut promised = Vec::new();
    for traf in children(moof.body) {
        let traf = traf?;
        if &traf.kind != b"traf" {
            continue;
        }
        let tfhd: Tfhd = decode(need(traf.body, b"tfhd")?)?;
        let (track, defaults) = tracks
            .iter_mut()
            .find(|(t, _)| t.id == tfhd.track_id)
            .ok_or_else(|| format!("fragment of unknown track {}", tfhd.track_id))?;
        if !tfhd.default_base_is_moof || tfhd.base_data_offset.is_some() {
            return Err("offsets are not counted from moof".to_owned());
        }
        let tfdt: Tfdt = decode(need(traf.body, b"tfdt")?)?;
        let mut run = Run {
            // two's complement: see Sample::dts
            dts: tfdt.base_media_decode_time as i64,
            duration: tfhd.default_sample_duration.unwrap_or(defaults.default_sample_duration),
            size: tfhd.default_sample_size.unwrap_or(defaults.default_sample_size),
            flags: tfhd.default_sample_flags.unwrap_or(defaults.default_sample_flags),
        };
        for trun in children(traf.body) {
            let trun = trun?;
            if &trun.kind == b"trun" {
                promised.push(run.samples(&decode(trun)?, moof.start..file_len, &mut track.samples)?);
            }
        }
    }
    Ok(promised)
}

/// Running values of one `traf`.
struct Run {
    dts: i64,
    duration: u32,
    size: u32,
    flags: u32,
}

impl Run {
    /// Appends a run's samples, which lie within `file`: from the start of the `moof` to the end of the file.
    fn samples(
        &mut self,
        trun: &Trun,
        file: Range<usize>,
        out: &mut Vec<Sample>,
    ) -> Result<Range<usize>, String> {
        const NON_SYNC: u32 = 0x01_0000;
        let offset = trun.data_offset.ok_or("trun without data offset")?;
        let start =
            usize::try_from(offset).ok().and_then(|o| file.start.checked_add(o)).ok_or("bad data offset")?;
        let mut at = start;
        for entry in trun.samples.iter() {
            let size = entry.size.unwrap_or(self.size) as usize;
            if size == 0 {
                // with the end of the file, this bounds a run whose samples take no bytes in the table
                return Err("a sample of 0 bytes".to_owned());
            }
            let range = at..at.checked_add(size).ok_or("sample sizes overflow")?;
            let duration = entry.duration.unwrap_or(self.duration);
            let pts = self.dts.checked_add(entry.cts.unwrap_or(0)).ok_or("presentation time overflows")?;
            let key = entry.flags.unwrap_or(self.flags) & NON_SYNC == 0;
            at = range.end;
            if at > file.end {
                return Err("samples reach over the end of the file".to_owned());
            }
            out.push(Sample { pts, dts: self.dts, key, range, duration });
            self.dts = self.dts.checked_add(i64::from(duration)).ok_or("decode time overflows")?;
        }
        Ok(start..at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_with_long_lengths_are_read() {
        let esds = [
            0, 0, 0, 0, 3, 0x80, 0x80, 0x80, 25, 0, 1, 0, 4, 0x80, 0x80, 0x80, 17, 0x40, 0x15, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 5, 2, 0x11, 0x90, 6, 1, 2,
        ];
        assert_eq!(audio_specific_config(&esds), Some(&[0x11, 0x90][..]));
        assert_eq!(audio_specific_config(&esds[..20]), None);
    }

    #[test]
    fn a_box_of_another_kind_is_named() {
        let err = read(b"\0\0\0\x08junk").unwrap_err();
        assert_eq!(err.to_string(), "fragmented MP4 at byte 0: unexpected box junk");
        assert_eq!(read(b"").unwrap_err().what, "no moov");
    }
}
