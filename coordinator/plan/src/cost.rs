//! Predicted cost: slot-milliseconds on a reference core and memory, from pixels alone. Only proportions matter for
//! cutting; the scheduler corrects the scale by what it measures.

use reelmill_common::hash::Canonical;
use reelmill_common::index::VideoTrack;
use reelmill_common::ladder::{VideoSettings, X264Preset};
use reelmill_common::plan::{CostClass, Plan};
use reelmill_common::spec::{ChunkMedia, ChunkSpec};

/// Starting ffmpeg, opening the source, reading back and storing what was made.
pub(crate) const CHUNK_OVERHEAD_MS: u64 = 300;

/// Realtime factor of AAC on one core, measured.
const AAC_SPEED: u64 = 45;

/// Kilopixels a millisecond that one core decodes.
const DECODE_SPEED: u64 = 250;

/// Kilopixels a millisecond that one core encodes.
fn encode_speed(preset: X264Preset) -> u64 {
    match preset {
        X264Preset::Ultrafast => 180,
        X264Preset::Superfast => 120,
        X264Preset::Veryfast => 80,
        X264Preset::Faster => 50,
        X264Preset::Fast => 35,
        X264Preset::Medium => 25,
        X264Preset::Slow => 14,
        X264Preset::Slower => 7,
        X264Preset::Veryslow => 4,
    }
}

/// Nanoseconds of one slot for one output frame at every rung (half-rate rungs count half).
pub(crate) fn encode_frame_ns<'a>(rungs: impl Iterator<Item = &'a VideoSettings>) -> u64 {
    rungs
        .map(|r| {
            let pixels = u64::from(r.width) * u64::from(r.height);
            // pixels / (kilopixels a ms) = microseconds
            pixels * 1000 / encode_speed(r.preset) / u64::from(r.every.max(1))
        })
        .sum()
}

/// Nanoseconds of one slot to decode one source frame.
pub(crate) fn decode_frame_ns(video: &VideoTrack) -> u64 {
    u64::from(video.width) * u64::from(video.height) * 1000 / DECODE_SPEED
}

/// What a chunk of the plan is like to encode: the same for those of all films whose pictures come out as large and are
/// made in the same way, whatever they show. Of the source it takes what the plan tells, the size of the largest rung; that
/// a still larger one takes longer to decode is in the predicted cost.
pub fn cost_class(plan: &Plan, spec: &ChunkSpec) -> CostClass {
    let ChunkMedia::Video(chunk) = &spec.media else { return CostClass::NONE };
    let mut canonical = Canonical::new("cost-class/1");
    let largest = plan.video.iter().map(|v| (v.settings.width, v.settings.height)).max().unwrap_or_default();
    canonical.num(largest.0.into()).num(largest.1.into());
    canonical.num(chunk.picture.deinterlace.is_some().into()).num(chunk.picture.tone_map.is_some().into());
    for VideoSettings { family, width, height, every, preset, refs, bframes, lookahead, threads, .. } in
        chunk.rungs.iter().map(|r| &r.settings)
    {
        canonical.text(family.name()).num((*width).into()).num((*height).into()).num((*every).into());
        canonical.text(preset.name()).num((*refs).into()).num((*bframes).into());
        canonical.num((*lookahead).into()).num((*threads).into());
    }
    let [a, b, c, d, ..] = canonical.digest().0;
    CostClass(u32::from_be_bytes([a, b, c, d]).max(1))
}

/// Slot-milliseconds of an audio chunk.
pub(crate) fn audio_ms(samples: u64, sample_rate: u32) -> u64 {
    CHUNK_OVERHEAD_MS + samples.saturating_mul(1000) / (u64::from(sample_rate.max(1)) * AAC_SPEED)
}

/// MiB an audio chunk needs.
pub(crate) const AUDIO_MEMORY_MIB: u64 = 96;

/// MiB a video chunk needs: the decoder's pictures and, per rung, the encoder's lookahead, references and threads,
/// each picture with its half-size planes and side data.
pub(crate) fn video_memory_mib<'a>(
    video: &VideoTrack,
    rungs: impl Iterator<Item = &'a VideoSettings>,
) -> u64 {
    let encoders: u64 = rungs
        .map(|r| {
            let pictures = u64::from(r.lookahead)
                + u64::from(r.refs)
                + u64::from(r.bframes)
                + 2 * u64::from(r.threads)
                + 8;
            picture(r.width, r.height) * pictures * 5 / 2
        })
        .sum();
    BASE_MIB + (source_decoder(video) + encoders).div_ceil(1 << 20)
}

/// MiB an audit of a file of `bytes` bytes needs: a decoder of the rung, then one of the source, each by itself, which
/// make small pictures; and beside them the file as it was read, behind its init segment and as the child reads it.
pub(crate) fn audit_memory_mib(video: &VideoTrack, rung: &VideoSettings, bytes: u64) -> u64 {
    let decoder = source_decoder(video).max(picture(rung.width, rung.height) * DECODER_PICTURES);
    BASE_MIB + (decoder + bytes.min(LARGEST_FILE) * COPIES).div_ceil(1 << 20)
}

/// Times that an audit holds the file.
const COPIES: u64 = 3;
/// Whatever was committed: more is not read into memory.
const LARGEST_FILE: u64 = 256 << 20;

/// MiB an audit of a segment of sound needs: the decoders are small; its samples of 16 bits are held twice, and once more as
/// twice as much while they are compared.
pub(crate) fn sound_audit_memory_mib(samples: u64, channels: u16, bytes: u64) -> u64 {
    let pcm = samples.saturating_mul(2 * u64::from(channels)).min(LARGEST_FILE);
    BASE_MIB + (pcm * 4 + bytes.min(LARGEST_FILE) * COPIES).div_ceil(1 << 20)
}

/// A process with its libraries, MiB.
const BASE_MIB: u64 = 96;
/// Pictures that a decoder is taken to hold: those of a film with 16 references.
const DECODER_PICTURES: u64 = 24;

/// Bytes of a 4:2:0 picture of 8 bits: one and a half a pixel.
fn picture(width: u32, height: u32) -> u64 {
    u64::from(width) * u64::from(height) * 3 / 2
}

/// Bytes of the pictures that a source's decoder holds.
fn source_decoder(video: &VideoTrack) -> u64 {
    let deep = if video.bit_depth.is_some_and(|b| b > 8) { 2 } else { 1 };
    picture(video.width, video.height) * deep * DECODER_PICTURES
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::index::{Colour, FieldOrder, Light, Rotation};
    use reelmill_common::ladder::{EncoderFamily, OutputColour};
    use reelmill_common::time::{TickSeq, Timebase};
    use std::num::NonZeroU32;
    use std::ops::Range;

    type Size = (u32, u32);
    type Row = (Size, u8, Range<usize>, (u8, u16), u64);

    fn source(width: u32, height: u32, bit_depth: u8) -> VideoTrack {
        VideoTrack {
            stream: 0,
            codec: "h264".to_owned(),
            timebase: Timebase::hz(NonZeroU32::MIN),
            width,
            height,
            sar: (1, 1),
            rotation: Rotation::default(),
            bit_depth: Some(bit_depth),
            colour: Colour::default(),
            light: Light::default(),
            field_order: FieldOrder::Progressive,
            language: None,
            end: None,
            frames: TickSeq::Regular { first: 0, step: 1, count: 96 },
            keys: Vec::new(),
        }
    }

    fn rung((width, height): Size, (refs, lookahead): (u8, u16)) -> VideoSettings {
        VideoSettings {
            family: EncoderFamily::X264,
            width,
            height,
            every: 1,
            max_rate_kbps: 1,
            buffer_kbit: 1,
            crf_tenths: 210,
            preset: X264Preset::Medium,
            level: 40,
            refs,
            bframes: 3,
            lookahead,
            gop_frames: 48,
            threads: 1,
            cpu_independent: false,
            colour: OutputColour::Bt709,
        }
    }

    const SIZES: [Size; 7] =
        [(3840, 2160), (1920, 1080), (1280, 720), (960, 540), (640, 360), (426, 240), (160, 90)];

    /// The largest resident size of ffmpeg 5.1 (GNU time) while it encoded 60 to 96 frames of moving noise: source, bit
    /// depth, rungs (of [`SIZES`]), (refs, lookahead), KiB.
    const MEASURED: &[Row] = &[
        ((160, 90), 8, 6..7, (3, 40), 90_876),
        ((640, 360), 8, 4..6, (3, 40), 138_212),
        ((1280, 720), 8, 2..6, (3, 40), 426_656),
        ((1920, 1080), 8, 1..6, (3, 40), 805_628),
        ((1920, 1080), 8, 1..2, (3, 40), 429_580),
        ((1920, 1080), 10, 1..6, (3, 40), 833_976),
        ((1920, 1080), 8, 1..6, (5, 48), 927_392),
        ((1920, 1080), 8, 1..6, (1, 10), 385_932),
        ((3840, 2160), 8, 0..6, (3, 40), 2_175_312),
        ((3840, 2160), 10, 0..6, (3, 40), 2_319_012),
        // a film with 16 references, and one with a single one
        ((1920, 1080), 8, 4..6, (3, 40), 215_068),
        ((1920, 1080), 8, 4..6, (3, 40), 154_944),
    ];

    /// The decoder is taken to hold as many pictures as one of a film with 16 references does. Small rungs of a large film
    /// with fewer are said to need more than twice what they do: (the same), and the most times that.
    const FEW_REFERENCES: (Row, u64) = (((3840, 2160), 10, 4..6, (3, 40), 324_424), 3);

    /// The largest resident size of ffmpeg 5.1 (GNU time) while it made small pictures of 36 frames of a 4K film of moving
    /// noise: bit depth, KiB, and the most times that which is said. 16 references with one thread and with two; one
    /// reference.
    const AUDITED: &[(u8, u64, u64)] =
        &[(8, 256_832, 2), (8, 290_460, 2), (10, 391_848, 2), (10, 437_600, 2), (10, 249_872, 3)];

    #[test]
    fn an_audit_needs_what_its_larger_decoder_does_and_the_file() {
        let said = |(width, height), depth, bytes| {
            audit_memory_mib(&source(width, height, depth), &rung((width, height), (3, 40)), bytes)
        };
        for (depth, kib, times) in AUDITED {
            let said_kib = said(SIZES[0], *depth, 0) * 1_024;
            assert!(said_kib >= *kib && said_kib <= times * kib, "{depth} bits: {said_kib} for {kib} KiB");
        }
        let all = SIZES.map(|size| (said(size, 8, 0), said(size, 10, 0)));
        let golden = [(381, 666), (168, 239), (128, 160), (114, 132), (104, 112), (100, 104), (97, 97)];
        assert_eq!(all, golden);
        // 16 s at 16 Mbit/s, three times
        assert_eq!(said(SIZES[0], 8, 32 << 20), 381 + 96);
        assert_eq!(said(SIZES[6], 8, u64::MAX), 96 + 768 + 1, "nobody stops an audit by what a report says");
        let large = audit_memory_mib(&source(160, 90, 8), &rung(SIZES[0], (3, 40)), 0);
        assert_eq!(large, 381, "a rung may be larger than its source");
    }

    /// The largest resident size of ffmpeg 5.1 while it decoded 16 s of 5.1 sound of a segment, and of its source: 59,096 and
    /// 60,656 KiB.
    #[test]
    fn an_audit_of_sound_needs_what_its_samples_do() {
        let said = |seconds: u64, channels, bytes| sound_audit_memory_mib(seconds * 48_000, channels, bytes);
        assert_eq!(said(4, 2, 64_000), 96 + 4);
        assert_eq!(said(16, 6, 640_000), 96 + 37);
        assert_eq!(
            said(u64::MAX / 48_000, 6, u64::MAX),
            96 + 4 * 256 + 3 * 256,
            "nobody stops an audit by what a report says"
        );
    }

    #[test]
    fn memory_is_never_less_than_measured_nor_twice_as_much() {
        let (few, times) = FEW_REFERENCES;
        let all = MEASURED.iter().map(|row| (row, 2)).chain([(&few, times)]);
        for (((width, height), depth, rungs, how, kib), times) in all {
            let rungs: Vec<VideoSettings> =
                SIZES[rungs.clone()].iter().map(|size| rung(*size, *how)).collect();
            let said_kib = video_memory_mib(&source(*width, *height, *depth), rungs.iter()) * 1_024;
            assert!(
                said_kib >= *kib && said_kib <= times * kib,
                "{width}x{height}: {said_kib} for {kib} KiB"
            );
        }
    }
}
