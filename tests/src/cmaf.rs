//! A reader and writer of CMAF files for judging packages and damaging them. It shares no line with the container
//! code under test: what that code writes is read here from the specification again (ISO/IEC 14496-12, -15, -14).

use anyhow::{Context, Result, bail, ensure};

/// The content of a box, and where it lies in the file.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Its four letters.
    pub kind: [u8; 4],
    /// What it holds.
    pub body: &'a [u8],
    /// Offset of its header in the slice that was walked.
    pub offset: usize,
}

/// The boxes of a file or of a box's content, in order.
pub fn boxes(bytes: &[u8]) -> Result<Vec<Found<'_>>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let head = bytes.get(at..at + 8).context("a box header is cut short")?;
        let size = u32::from_be_bytes(head[..4].try_into()?) as usize;
        let kind = head[4..8].try_into()?;
        ensure!(size >= 8 && at + size <= bytes.len(), "box {} of {size} bytes at {at}", name(kind));
        found.push(Found { kind, body: &bytes[at + 8..at + size], offset: at });
        at += size;
    }
    Ok(found)
}

fn name(kind: [u8; 4]) -> String {
    String::from_utf8_lossy(&kind).into_owned()
}

/// The first box at a path below `bytes`.
pub fn find<'a>(bytes: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    let (first, rest) = path.split_first()?;
    let body = boxes(bytes).ok()?.into_iter().find(|b| &b.kind == *first)?.body;
    if rest.is_empty() { Some(body) } else { find(body, rest) }
}

fn u16_at(b: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_be_bytes(b.get(at..at + 2).context("cut short")?.try_into()?))
}

fn u32_at(b: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_be_bytes(b.get(at..at + 4).context("cut short")?.try_into()?))
}

fn u64_at(b: &[u8], at: usize) -> Result<u64> {
    Ok(u64::from_be_bytes(b.get(at..at + 8).context("cut short")?.try_into()?))
}

/// What an init segment says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Init {
    /// Ticks a second of the track.
    pub timescale: u32,
    /// `vide` or `soun`.
    pub handler: String,
    /// The sample entry's kind (`avc1`, `mp4a`).
    pub entry: String,
    /// Coded width and height of a video track.
    pub size: (u16, u16),
    /// The decoder configuration of a video track (avcC payload).
    pub avcc: Vec<u8>,
    /// The AudioSpecificConfig of an audio track.
    pub asc: Vec<u8>,
    /// `media_time` of the only edit; 0 without an edit list.
    pub edit_media_time: i64,
    /// Number of edits.
    pub edits: usize,
    /// `samples a second` and channels of an audio track's sample entry.
    pub audio: (u32, u16),
    /// Defaults of the track's fragments: duration, size, flags.
    pub defaults: (u32, u32, u32),
}

/// Reads an init segment of one track.
pub fn read_init(bytes: &[u8]) -> Result<Init> {
    let moov = find(bytes, &[b"moov"]).context("no moov")?;
    let traks = boxes(moov)?.into_iter().filter(|b| &b.kind == b"trak").count();
    ensure!(traks == 1, "{traks} tracks in an init segment");
    let mdhd = find(moov, &[b"trak", b"mdia", b"mdhd"]).context("no mdhd")?;
    let timescale = u32_at(mdhd, if mdhd.first() == Some(&1) { 20 } else { 12 })?;
    let hdlr = find(moov, &[b"trak", b"mdia", b"hdlr"]).context("no hdlr")?;
    let handler = String::from_utf8_lossy(hdlr.get(8..12).context("hdlr")?).into_owned();
    let stsd = find(moov, &[b"trak", b"mdia", b"minf", b"stbl", b"stsd"]).context("no stsd")?;
    let entries = boxes(stsd.get(8..).context("stsd")?)?;
    ensure!(entries.len() == 1, "{} sample entries", entries.len());
    let entry = entries[0];
    let (edits, edit_media_time) = match find(moov, &[b"trak", b"edts", b"elst"]) {
        None => (0, 0),
        Some(elst) => {
            let wide = elst.first() == Some(&1);
            let time = if wide { u64_at(elst, 16)? as i64 } else { i64::from(u32_at(elst, 12)? as i32) };
            (u32_at(elst, 4)? as usize, time)
        }
    };
    let trex = find(moov, &[b"mvex", b"trex"]).context("no trex")?;
    let mut init = Init {
        timescale,
        handler,
        entry: name(entry.kind),
        size: (0, 0),
        avcc: Vec::new(),
        asc: Vec::new(),
        edit_media_time,
        edits,
        audio: (0, 0),
        defaults: (u32_at(trex, 12)?, u32_at(trex, 16)?, u32_at(trex, 20)?),
    };
    match init.handler.as_str() {
        "vide" => {
            init.size = (u16_at(entry.body, 24)?, u16_at(entry.body, 26)?);
            init.avcc = find(&entry.body[78..], &[b"avcC"]).context("no avcC")?.to_vec();
        }
        "soun" => {
            init.audio = (u32_at(entry.body, 24)? >> 16, u16_at(entry.body, 16)?);
            init.asc = specific_config(find(&entry.body[28..], &[b"esds"]).context("no esds")?)?;
        }
        other => bail!("handler {other}"),
    }
    Ok(init)
}

/// The DecoderSpecificInfo of an `esds` box (ISO/IEC 14496-1 8.3).
fn specific_config(esds: &[u8]) -> Result<Vec<u8>> {
    let mut at = 4;
    loop {
        let tag = *esds.get(at).context("esds is cut short")?;
        at += 1;
        let mut length = 0usize;
        loop {
            let byte = *esds.get(at).context("esds is cut short")?;
            at += 1;
            length = length << 7 | usize::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                break;
            }
        }
        match tag {
            3 => at += 3,
            4 => at += 13,
            5 => return Ok(esds.get(at..at + length).context("esds is cut short")?.to_vec()),
            other => bail!("descriptor {other} in esds"),
        }
    }
}

/// One sample of a media segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Decode time in the track's ticks.
    pub dts: i64,
    /// Composition offset.
    pub offset: i64,
    /// Duration.
    pub duration: u32,
    /// Is it marked as a sync sample?
    pub sync: bool,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl Sample {
    /// The slice types of its NAL units: 5 for IDR, 1 for others (length-prefixed with 4 bytes).
    pub fn is_idr(&self) -> bool {
        let mut at = 0;
        while let Some(head) = self.data.get(at..at + 5) {
            let kind = head[4] & 31;
            if kind == 1 || kind == 5 {
                return kind == 5;
            }
            at += 4 + u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        }
        false
    }
}

/// Reads every fragment of a media segment: the decode time it begins at and its samples.
pub fn read_segment(bytes: &[u8], init: &Init) -> Result<(i64, Vec<Sample>)> {
    let mut begin = None;
    let mut samples = Vec::new();
    for part in boxes(bytes)?.into_iter().filter(|b| &b.kind == b"moof") {
        let traf = find(part.body, &[b"traf"]).context("no traf")?;
        let tfdt = find(traf, &[b"tfdt"]).context("no tfdt")?;
        let time = if tfdt[0] == 1 { u64_at(tfdt, 4)? as i64 } else { i64::from(u32_at(tfdt, 4)?) };
        begin.get_or_insert(time);
        let defaults = fragment_defaults(find(traf, &[b"tfhd"]).context("no tfhd")?, init.defaults)?;
        let mut dts = time;
        for trun in boxes(traf)?.into_iter().filter(|b| &b.kind == b"trun") {
            read_run(bytes, part.offset, trun.body, defaults, &mut dts, &mut samples)?;
        }
    }
    Ok((begin.context("no moof")?, samples))
}

fn fragment_defaults(tfhd: &[u8], track: (u32, u32, u32)) -> Result<(u32, u32, u32)> {
    let flags = u32_at(tfhd, 0)? & 0x00ff_ffff;
    ensure!(flags & 0x02_0000 != 0, "tfhd without default-base-is-moof");
    let mut at = 8;
    let mut next = |present: bool, otherwise: u32| -> Result<u32> {
        if !present {
            return Ok(otherwise);
        }
        at += 4;
        u32_at(tfhd, at - 4)
    };
    ensure!(flags & 1 == 0, "tfhd with a base data offset");
    next(flags & 2 != 0, 0)?;
    let duration = next(flags & 8 != 0, track.0)?;
    let size = next(flags & 0x10 != 0, track.1)?;
    Ok((duration, size, next(flags & 0x20 != 0, track.2)?))
}

fn read_run(
    file: &[u8],
    moof: usize,
    trun: &[u8],
    (duration, size, plain): (u32, u32, u32),
    dts: &mut i64,
    samples: &mut Vec<Sample>,
) -> Result<()> {
    let (version, flags) = (trun[0], u32_at(trun, 0)? & 0x00ff_ffff);
    let count = u32_at(trun, 4)?;
    ensure!(flags & 1 != 0, "trun without a data offset");
    let mut data = moof as i64 + i64::from(u32_at(trun, 8)? as i32);
    let mut at = 12;
    let first = if flags & 4 != 0 {
        at += 4;
        Some(u32_at(trun, at - 4)?)
    } else {
        None
    };
    for index in 0..count {
        let mut next = |bit: u32, otherwise: u32| -> Result<u32> {
            if flags & bit == 0 {
                return Ok(otherwise);
            }
            at += 4;
            u32_at(trun, at - 4)
        };
        let lasts = next(0x100, duration)?;
        let bytes = next(0x200, size)? as usize;
        let default_flags = if index == 0 { first.unwrap_or(plain) } else { plain };
        let sample_flags = next(0x400, default_flags)?;
        let raw = next(0x800, 0)?;
        let offset = if version == 0 { i64::from(raw) } else { i64::from(raw as i32) };
        let start = usize::try_from(data).context("data offset")?;
        samples.push(Sample {
            dts: *dts,
            offset,
            duration: lasts,
            sync: sample_flags & 0x0001_0000 == 0,
            data: file.get(start..start + bytes).context("a sample lies outside of the file")?.to_vec(),
        });
        *dts += i64::from(lasts);
        data += bytes as i64;
    }
    Ok(())
}

fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut out = (8 + body.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(kind);
    out.extend_from_slice(body);
    out
}

/// Writes a media segment of one fragment; `begin` is its decode time.
pub fn write_segment(sequence: u32, begin: i64, samples: &[Sample]) -> Vec<u8> {
    let mut run = Vec::new();
    for s in samples {
        run.extend_from_slice(&s.duration.to_be_bytes());
        run.extend_from_slice(&(s.data.len() as u32).to_be_bytes());
        run.extend_from_slice(&(if s.sync { 0x0200_0000u32 } else { 0x0101_0000 }).to_be_bytes());
        run.extend_from_slice(&(s.offset as i32).to_be_bytes());
    }
    let fragment = |data_offset: u32| {
        let mut trun = vec![1, 0, 0x0f, 1];
        trun.extend_from_slice(&(samples.len() as u32).to_be_bytes());
        trun.extend_from_slice(&data_offset.to_be_bytes());
        trun.extend_from_slice(&run);
        let mut traf = boxed(b"tfhd", &[0, 2, 0, 0, 0, 0, 0, 1]);
        traf.extend(boxed(b"tfdt", &[&[1, 0, 0, 0][..], &(begin as u64).to_be_bytes()].concat()));
        traf.extend(boxed(b"trun", &trun));
        let mut moof = boxed(b"mfhd", &[&[0; 4][..], &sequence.to_be_bytes()].concat());
        moof.extend(boxed(b"traf", &traf));
        boxed(b"moof", &moof)
    };
    let header = fragment(0).len() as u32 + 8;
    let mut out = boxed(b"styp", b"msdh\0\0\0\0msdhmsix");
    out.extend(fragment(header));
    let data: Vec<u8> = samples.iter().flat_map(|s| s.data.iter().copied()).collect();
    out.extend(boxed(b"mdat", &data));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_segment_reads_back() {
        let sample = |dts, offset, sync, fill: u8| Sample {
            dts,
            offset,
            duration: 1001,
            sync,
            data: vec![0, 0, 0, 2, if sync { 0x65 } else { 0x41 }, fill],
        };
        let samples =
            vec![sample(96_096, 2002, true, 1), sample(97_097, -7, false, 2), sample(98_098, 0, false, 3)];
        let bytes = write_segment(7, 96_096, &samples);
        let init = Init {
            timescale: 24_000,
            handler: "vide".into(),
            entry: "avc1".into(),
            size: (0, 0),
            avcc: vec![],
            asc: vec![],
            edit_media_time: 0,
            edits: 0,
            audio: (0, 0),
            defaults: (0, 0, 0),
        };
        assert_eq!(read_segment(&bytes, &init).expect("reads"), (96_096, samples.clone()));
        assert!(samples[0].is_idr() && !samples[1].is_idr());
        assert!(read_segment(&bytes[..bytes.len() - 1], &init).is_err(), "a cut file is refused");
    }
}
