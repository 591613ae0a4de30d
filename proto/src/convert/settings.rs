//! Encoder settings, what they are proved by, and what work needs.

use crate::common::v1 as pb;
use crate::wire::{MAX_FEW, WireEnum as _, WireError, bounded, digest, maybe, narrow};
use reelmill_common::Fingerprint;
use reelmill_common::capability::{EncoderProof, Needs};
use reelmill_common::index::{Colour, Rotation};
use reelmill_common::ladder::{
    AudioMix, AudioSettings, EncoderFamily, OutputColour, VideoSettings, X264Preset,
};

impl From<&VideoSettings> for pb::VideoSettings {
    fn from(v: &VideoSettings) -> Self {
        Self {
            family: pb::EncoderFamily::from(v.family).into(),
            width: v.width,
            height: v.height,
            every: v.every.into(),
            max_rate_kbps: v.max_rate_kbps,
            buffer_kbit: v.buffer_kbit,
            crf_tenths: v.crf_tenths,
            preset: pb::X264Preset::from(v.preset).into(),
            level: v.level.into(),
            refs: v.refs.into(),
            bframes: v.bframes.into(),
            lookahead: v.lookahead.into(),
            gop_frames: v.gop_frames.into(),
            threads: v.threads.into(),
            cpu_independent: v.cpu_independent,
            colour: pb::OutputColour::from(v.colour).into(),
        }
    }
}

impl TryFrom<pb::VideoSettings> for VideoSettings {
    type Error = WireError;
    fn try_from(v: pb::VideoSettings) -> Result<Self, WireError> {
        Ok(Self {
            family: EncoderFamily::from_wire(v.family, "family")?,
            width: v.width,
            height: v.height,
            every: narrow(v.every, "every")?,
            max_rate_kbps: v.max_rate_kbps,
            buffer_kbit: v.buffer_kbit,
            crf_tenths: v.crf_tenths,
            preset: X264Preset::from_wire(v.preset, "preset")?,
            level: narrow(v.level, "level")?,
            refs: narrow(v.refs, "refs")?,
            bframes: narrow(v.bframes, "bframes")?,
            lookahead: narrow(v.lookahead, "lookahead")?,
            gop_frames: narrow(v.gop_frames, "gop_frames")?,
            threads: narrow(v.threads, "threads")?,
            cpu_independent: v.cpu_independent,
            colour: OutputColour::from_wire(v.colour, "colour")?,
        })
    }
}

impl From<&AudioSettings> for pb::AudioSettings {
    fn from(v: &AudioSettings) -> Self {
        let matrix = match &v.mix {
            AudioMix::Keep => None,
            AudioMix::Matrix(rows) => {
                let row = |gains: &Vec<i32>| pb::audio_matrix::Row { gains: gains.clone() };
                Some(pb::AudioMatrix { rows: rows.iter().map(row).collect() })
            }
        };
        Self {
            sample_rate: v.sample_rate,
            channels: v.channels.into(),
            bit_rate_kbps: v.bit_rate_kbps,
            matrix,
        }
    }
}

impl TryFrom<pb::AudioSettings> for AudioSettings {
    type Error = WireError;
    fn try_from(v: pb::AudioSettings) -> Result<Self, WireError> {
        Ok(Self {
            sample_rate: v.sample_rate,
            channels: narrow(v.channels, "channels")?,
            bit_rate_kbps: v.bit_rate_kbps,
            mix: maybe(v.matrix, "matrix")?.unwrap_or(AudioMix::Keep),
        })
    }
}

impl TryFrom<pb::AudioMatrix> for AudioMix {
    type Error = WireError;
    fn try_from(v: pb::AudioMatrix) -> Result<Self, WireError> {
        bounded(v.rows.len(), MAX_FEW, "rows")?;
        let row = |r: pb::audio_matrix::Row| bounded(r.gains.len(), MAX_FEW, "rows.gains").map(|()| r.gains);
        Ok(Self::Matrix(v.rows.into_iter().map(row).collect::<Result<_, _>>()?))
    }
}

impl From<Rotation> for pb::Rotation {
    fn from(v: Rotation) -> Self {
        Self { quarter_turns: v.quarter_turns.into(), mirrored: v.mirrored }
    }
}

impl TryFrom<pb::Rotation> for Rotation {
    type Error = WireError;
    fn try_from(v: pb::Rotation) -> Result<Self, WireError> {
        match v.quarter_turns {
            0..=3 => {
                Ok(Self { quarter_turns: narrow(v.quarter_turns, "quarter_turns")?, mirrored: v.mirrored })
            }
            other => Err(WireError::range("quarter_turns", other)),
        }
    }
}

impl From<Colour> for pb::Colour {
    fn from(v: Colour) -> Self {
        Self {
            primaries: v.primaries.map(u32::from),
            transfer: v.transfer.map(u32::from),
            matrix: v.matrix.map(u32::from),
            full_range: v.full_range,
        }
    }
}

impl TryFrom<pb::Colour> for Colour {
    type Error = WireError;
    fn try_from(v: pb::Colour) -> Result<Self, WireError> {
        let point = |v: Option<u32>, field: &str| v.map(|v| narrow(v, field)).transpose();
        Ok(Self {
            primaries: point(v.primaries, "primaries")?,
            transfer: point(v.transfer, "transfer")?,
            matrix: point(v.matrix, "matrix")?,
            full_range: v.full_range,
        })
    }
}

impl From<&EncoderProof> for pb::EncoderProof {
    fn from(v: &EncoderProof) -> Self {
        Self {
            family: pb::EncoderFamily::from(v.family).into(),
            fingerprint: v.fingerprint.0.0.to_vec(),
            kilopixels_per_second: v.kilopixels_per_second,
        }
    }
}

impl TryFrom<pb::EncoderProof> for EncoderProof {
    type Error = WireError;
    fn try_from(v: pb::EncoderProof) -> Result<Self, WireError> {
        Ok(Self {
            family: EncoderFamily::from_wire(v.family, "family")?,
            fingerprint: Fingerprint(digest(&v.fingerprint, "fingerprint")?),
            kilopixels_per_second: v.kilopixels_per_second,
        })
    }
}

impl From<Needs> for pb::Needs {
    fn from(v: Needs) -> Self {
        let family = v.family.map_or(pb::EncoderFamily::Unspecified, pb::EncoderFamily::from);
        Self { family: family.into(), memory_mib: v.memory_mib }
    }
}

impl TryFrom<pb::Needs> for Needs {
    type Error = WireError;
    fn try_from(v: pb::Needs) -> Result<Self, WireError> {
        let family = match pb::EncoderFamily::try_from(v.family) {
            Ok(pb::EncoderFamily::Unspecified) => None,
            _ => Some(EncoderFamily::from_wire(v.family, "family")?),
        };
        Ok(Self { family, memory_mib: v.memory_mib })
    }
}
