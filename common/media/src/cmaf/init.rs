//! Init segments (CMAF headers, ISO/IEC 23000-19 section 7.3.1): `ftyp` and `moov` with empty sample tables.

use super::CmafError;
use crate::boxes::{put_box, put_full, put_zeros, put16, put32, put64};

/// What an H.264 init segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VideoInit<'a> {
    /// Picture width in (square) pixels.
    pub width: u32,
    /// Picture height in pixels.
    pub height: u32,
    /// Ticks a second.
    pub timescale: u32,
    /// Payload of `avcC`.
    pub avcc: &'a [u8],
    /// Primaries, transfer and matrix as code points of ISO/IEC 23091-2, limited range; as the SPS says them.
    pub colour: [u8; 3],
    /// Composition delay in ticks, undone by the edit list; 0 = negative composition offsets, no edit list.
    pub reorder_delay: u32,
}

/// What an AAC-LC init segment says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AudioInit<'a> {
    /// Samples a second, which is the timescale.
    pub timescale: u32,
    /// Channels.
    pub channels: u16,
    /// AudioSpecificConfig.
    pub asc: &'a [u8],
    /// Average bits a second.
    pub bit_rate: u32,
    /// Samples of encoder delay, undone by the edit list.
    pub encoder_delay: u32,
}

const TRACK: u32 = 1;
const UNITY_MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// Writes a video init segment (limited range, square pixels).
///
/// # Errors
/// [`CmafError::Range`] when a value does not fit.
pub fn init_video(init: &VideoInit<'_>) -> Result<Vec<u8>, CmafError> {
    let width = fit16("width", init.width)?;
    let height = fit16("height", init.height)?;
    let track = Track {
        timescale: positive("timescale", init.timescale)?,
        skip: init.reorder_delay,
        handler: b"vide",
        name: "video",
        volume: 0,
        size: (u32::from(width) << 16, u32::from(height) << 16),
    };
    Ok(track.write(
        |out| put_full(out, b"vmhd", 0, 1, |out| put_zeros(out, 8)),
        |out| avc1(out, (width, height), init),
    ))
}

/// Writes an audio init segment.
///
/// # Errors
/// [`CmafError::Range`] when a value does not fit.
pub fn init_audio(init: &AudioInit<'_>) -> Result<Vec<u8>, CmafError> {
    // the sample entry's rate is 16.16 fixed point; the descriptor lengths below are one byte each
    let rate = fit16("sample rate", init.timescale)?;
    if init.asc.is_empty() || init.asc.len() > 64 {
        return Err(CmafError::Range { what: "AudioSpecificConfig length", value: init.asc.len() as i64 });
    }
    let track = Track {
        timescale: positive("timescale", init.timescale)?,
        skip: init.encoder_delay,
        handler: b"soun",
        name: "audio",
        volume: 0x0100,
        size: (0, 0),
    };
    Ok(track.write(
        |out| put_full(out, b"smhd", 0, 0, |out| put_zeros(out, 4)),
        |out| mp4a(out, init.channels, rate, init.asc, init.bit_rate),
    ))
}

fn fit16(what: &'static str, value: u32) -> Result<u16, CmafError> {
    u16::try_from(value).ok().filter(|v| *v > 0).ok_or(CmafError::Range { what, value: i64::from(value) })
}

fn positive(what: &'static str, value: u32) -> Result<u32, CmafError> {
    if value > 0 { Ok(value) } else { Err(CmafError::Range { what, value: 0 }) }
}

/// What differs between the two kinds of track outside of their sample entries.
struct Track {
    timescale: u32,
    /// `media_time` of the edit list; 0 = none.
    skip: u32,
    handler: &'static [u8; 4],
    name: &'static str,
    volume: u16,
    size: (u32, u32),
}

impl Track {
    fn write(&self, media_header: impl Fn(&mut Vec<u8>), entry: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        put_box(&mut out, b"ftyp", |out| {
            out.extend_from_slice(b"iso6");
            put32(out, 0);
            out.extend_from_slice(b"iso6cmfc");
        });
        put_box(&mut out, b"moov", |out| {
            self.mvhd(out);
            put_box(out, b"trak", |out| {
                self.tkhd(out);
                self.edts(out);
                put_box(out, b"mdia", |out| self.mdia(out, &media_header, &entry));
            });
            put_box(out, b"mvex", |out| {
                put_full(out, b"trex", 0, 0, |out| {
                    [TRACK, 1, 0, 0, 0].into_iter().for_each(|v| put32(out, v));
                });
            });
        });
        out
    }

    fn mvhd(&self, out: &mut Vec<u8>) {
        put_full(out, b"mvhd", 0, 0, |out| {
            // creation, modification, timescale, duration (unknown: it is in the fragments), rate 1.0, volume 1.0
            [0, 0, self.timescale, 0, 0x1_0000].into_iter().for_each(|v| put32(out, v));
            put16(out, 0x0100);
            put_zeros(out, 10);
            UNITY_MATRIX.into_iter().for_each(|v| put32(out, v));
            put_zeros(out, 24);
            put32(out, TRACK + 1);
        });
    }

    fn tkhd(&self, out: &mut Vec<u8>) {
        const ENABLED_IN_MOVIE: u32 = 3;
        put_full(out, b"tkhd", 0, ENABLED_IN_MOVIE, |out| {
            [0, 0, TRACK, 0, 0].into_iter().for_each(|v| put32(out, v));
            put_zeros(out, 12);
            put16(out, self.volume);
            put_zeros(out, 2);
            UNITY_MATRIX.into_iter().for_each(|v| put32(out, v));
            put32(out, self.size.0);
            put32(out, self.size.1);
        });
    }

    /// One edit from `skip` on. `segment_duration` 0 = to the end of the fragments (ISO/IEC 14496-12, 8.6.6.1).
    fn edts(&self, out: &mut Vec<u8>) {
        if self.skip == 0 {
            return;
        }
        put_box(out, b"edts", |out| {
            // version 0 has a signed 32-bit media_time
            let version = u8::from(i32::try_from(self.skip).is_err());
            put_full(out, b"elst", version, 0, |out| {
                put32(out, 1);
                if version == 0 {
                    put32(out, 0);
                    put32(out, self.skip);
                } else {
                    put64(out, 0);
                    put64(out, u64::from(self.skip));
                }
                put32(out, 0x1_0000);
            });
        });
    }

    fn mdia(&self, out: &mut Vec<u8>, media_header: &impl Fn(&mut Vec<u8>), entry: &impl Fn(&mut Vec<u8>)) {
        const UNDETERMINED: u16 = 0x55C4; // "und", five bits a letter; languages are said by the manifests
        put_full(out, b"mdhd", 0, 0, |out| {
            [0, 0, self.timescale, 0].into_iter().for_each(|v| put32(out, v));
            put16(out, UNDETERMINED);
            put16(out, 0);
        });
        put_full(out, b"hdlr", 0, 0, |out| {
            put32(out, 0);
            out.extend_from_slice(self.handler);
            put_zeros(out, 12);
            out.extend_from_slice(self.name.as_bytes());
            out.push(0);
        });
        put_box(out, b"minf", |out| {
            media_header(out);
            put_box(out, b"dinf", |out| {
                put_full(out, b"dref", 0, 0, |out| {
                    put32(out, 1);
                    put_full(out, b"url ", 0, 1, |_| {});
                });
            });
            put_box(out, b"stbl", |out| {
                put_full(out, b"stsd", 0, 0, |out| {
                    put32(out, 1);
                    entry(out);
                });
                put_full(out, b"stts", 0, 0, |out| put32(out, 0));
                put_full(out, b"stsc", 0, 0, |out| put32(out, 0));
                put_full(out, b"stsz", 0, 0, |out| put_zeros(out, 8));
                put_full(out, b"stco", 0, 0, |out| put32(out, 0));
            });
        });
    }
}

/// AVCSampleEntry (ISO/IEC 14496-15, 5.4.2).
fn avc1(out: &mut Vec<u8>, (width, height): (u16, u16), init: &VideoInit<'_>) {
    put_box(out, b"avc1", |out| {
        put_zeros(out, 6);
        put16(out, 1); // data reference
        put_zeros(out, 16);
        put16(out, width);
        put16(out, height);
        put32(out, 0x48_0000); // 72 dpi, both ways
        put32(out, 0x48_0000);
        put32(out, 0);
        put16(out, 1); // frames a sample
        put_zeros(out, 32); // compressor name
        put16(out, 0x18);
        put16(out, 0xFFFF);
        put_box(out, b"avcC", |out| out.extend_from_slice(init.avcc));
        put_box(out, b"pasp", |out| {
            put32(out, 1);
            put32(out, 1);
        });
        put_box(out, b"colr", |out| {
            out.extend_from_slice(b"nclx");
            init.colour.into_iter().for_each(|v| put16(out, v.into()));
            out.push(0); // limited range
        });
    });
}

/// MP4AudioSampleEntry (ISO/IEC 14496-14, 6.7) with its elementary stream descriptor (ISO/IEC 14496-1, 7.2.6).
fn mp4a(out: &mut Vec<u8>, channels: u16, rate: u16, asc: &[u8], bit_rate: u32) {
    const AAC: u8 = 0x40;
    const AUDIO_STREAM: u8 = 0x15;
    let config = 13 + 2 + asc.len();
    put_box(out, b"mp4a", |out| {
        put_zeros(out, 6);
        put16(out, 1); // data reference
        put_zeros(out, 8);
        put16(out, channels);
        put16(out, 16); // sample size, fixed by the specification
        put_zeros(out, 4);
        put32(out, u32::from(rate) << 16);
        put_full(out, b"esds", 0, 0, |out| {
            out.extend_from_slice(&[3, (3 + 2 + config + 3) as u8, 0, 0, 0]); // ES_Descriptor, ES_ID 0
            out.extend_from_slice(&[4, config as u8, AAC, AUDIO_STREAM, 0, 0, 0]); // DecoderConfig, buffer unknown
            put32(out, 0); // peak unknown
            put32(out, bit_rate);
            out.extend_from_slice(&[5, asc.len() as u8]);
            out.extend_from_slice(asc);
            out.extend_from_slice(&[6, 1, 2]); // SLConfig, as MP4 files have it
        });
    });
}
