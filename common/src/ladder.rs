//! Renditions and the settings that make them. The table of the default ladder and every choice made from it live
//! in `reelmill-plan`; these are the words.

use crate::hash::{Canonical, Sha256};
use crate::index::SourceId;

/// An encoder family: renditions of one rung never mix two of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EncoderFamily {
    /// libx264, in software.
    X264,
    /// NVIDIA NVENC H.264.
    Nvenc,
}

impl EncoderFamily {
    /// Stable name, used in canonical forms, reports and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::X264 => "x264",
            Self::Nvenc => "nvenc",
        }
    }
}

/// x264's speed presets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs, reason = "the names are x264's own")]
pub enum X264Preset {
    Ultrafast,
    Superfast,
    Veryfast,
    Faster,
    Fast,
    Medium,
    Slow,
    Slower,
    Veryslow,
}

impl X264Preset {
    /// All of them, fastest first.
    pub const ALL: [Self; 9] = [
        Self::Ultrafast,
        Self::Superfast,
        Self::Veryfast,
        Self::Faster,
        Self::Fast,
        Self::Medium,
        Self::Slow,
        Self::Slower,
        Self::Veryslow,
    ];

    /// x264's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ultrafast => "ultrafast",
            Self::Superfast => "superfast",
            Self::Veryfast => "veryfast",
            Self::Faster => "faster",
            Self::Fast => "fast",
            Self::Medium => "medium",
            Self::Slow => "slow",
            Self::Slower => "slower",
            Self::Veryslow => "veryslow",
        }
    }

    /// From x264's name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == text)
    }
}

/// The colour that a job's pictures are delivered in, limited range: what the SPS and `colr` of its every rung say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum OutputColour {
    /// BT.709: sources that say their colour are converted to it.
    Bt709,
    /// BT.601 of 525 lines: a source that does not say its colour and is taken for this keeps its pixels.
    Bt601Line525,
    /// BT.601 of 625 lines, likewise.
    Bt601Line625,
}

impl OutputColour {
    /// Stable name, used in canonical forms and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bt709 => "BT.709",
            Self::Bt601Line525 => "BT.601 of 525 lines",
            Self::Bt601Line625 => "BT.601 of 625 lines",
        }
    }

    /// Primaries, transfer and matrix as code points of ISO/IEC 23091-2.
    pub fn code_points(self) -> [u8; 3] {
        match self {
            Self::Bt709 => [1, 1, 1],
            Self::Bt601Line525 => [6, 6, 6],
            Self::Bt601Line625 => [5, 6, 5],
        }
    }
}

/// One video rung's encoder settings, complete: equal settings and equal binding give interchangeable segments.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct VideoSettings {
    /// Encoder family.
    pub family: EncoderFamily,
    /// Output width in pixels, even.
    pub width: u32,
    /// Output height in pixels, even.
    pub height: u32,
    /// Every `every`-th output frame of the frame map: 1, or 2 for half-rate rungs.
    pub every: u8,
    /// Cap of the rate in kbit/s.
    pub max_rate_kbps: u32,
    /// VBV buffer in kbit.
    pub buffer_kbit: u32,
    /// CRF times ten.
    pub crf_tenths: u32,
    /// Speed preset.
    pub preset: X264Preset,
    /// H.264 level times ten (31 = 3.1).
    pub level: u8,
    /// Reference frames.
    pub refs: u8,
    /// Consecutive B-frames.
    pub bframes: u8,
    /// Rate-control lookahead in frames.
    pub lookahead: u16,
    /// Longest distance of IDRs in frames (forced ones come first).
    pub gop_frames: u16,
    /// Encoder threads. Part of the settings: another count gives other bytes.
    pub threads: u8,
    /// Bytes equal over CPU classes (5-6 % slower).
    pub cpu_independent: bool,
    /// What the pictures are converted to or, where the source's colour is a guess, only tagged with.
    pub colour: OutputColour,
}

impl VideoSettings {
    /// Writes every field that decides the output's bytes.
    pub fn canonical(&self, c: &mut Canonical) {
        c.text(self.family.name())
            .num(self.width.into())
            .num(self.height.into())
            .num(self.every.into())
            .num(self.max_rate_kbps.into())
            .num(self.buffer_kbit.into())
            .num(self.crf_tenths.into())
            .text(self.preset.name())
            .num(self.level.into())
            .num(self.refs.into())
            .num(self.bframes.into())
            .num(self.lookahead.into())
            .num(self.gop_frames.into())
            .num(self.threads.into())
            .num(self.cpu_independent.into())
            .text(self.colour.name());
    }
}

/// How source channels become output channels.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum AudioMix {
    /// As they are (mono, stereo, 5.1 to 5.1).
    Keep,
    /// By an explicit matrix: one row of gains in 1/10,000 per output channel, one column per input channel.
    /// Stated by the plan; never ffmpeg's own rule, which varies.
    Matrix(Vec<Vec<i32>>),
}

/// One audio rendition's settings, complete.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct AudioSettings {
    /// Output samples a second: 48,000 or 44,100.
    pub sample_rate: u32,
    /// Output channels: 1, 2 or 6.
    pub channels: u16,
    /// AAC-LC bit rate in kbit/s.
    pub bit_rate_kbps: u32,
    /// Channel mapping.
    pub mix: AudioMix,
}

impl AudioSettings {
    /// Writes every field that decides the output's bytes.
    pub fn canonical(&self, c: &mut Canonical) {
        c.num(self.sample_rate.into()).num(self.channels.into()).num(self.bit_rate_kbps.into());
        match &self.mix {
            AudioMix::Keep => {
                c.num(0);
            }
            AudioMix::Matrix(rows) => {
                c.num(1 + rows.len() as u64);
                for row in rows {
                    c.num(row.len() as u64);
                    for g in row {
                        c.int((*g).into());
                    }
                }
            }
        }
    }
}

/// Ten hex digits naming settings, binding and source: the suffix of a rendition's folder, so that a CDN may keep a
/// folder's files for ever, and so that two films written over each other into one directory never share a name.
pub fn settings_hash(write: impl FnOnce(&mut Canonical), binding: &[u8], source: SourceId) -> String {
    let mut c = Canonical::new("rendition-settings/1");
    write(&mut c);
    c.blob(binding).blob(&source.0.0);
    let digest: Sha256 = c.digest();
    digest.short(10)
}

/// What the caller asked for, before the source is known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum LadderChoice {
    /// The default ladder, fitted to the source.
    #[default]
    Default,
    /// Named boxes of the default table (`1080p`, `720p`, …), fitted to the source.
    Named(Vec<String>),
    /// Boxes with their own settings (from a TOML file), fitted to the source.
    Custom(Vec<CustomRung>),
}

/// One rung of a ladder file. Unset values come from the nearest box of the default table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CustomRung {
    /// Its name; unique within the ladder; names the rendition's folder.
    pub name: String,
    /// Long side of the box in pixels.
    pub long: u32,
    /// Short side of the box in pixels.
    pub short: u32,
    /// Cap of the rate in kbit/s.
    pub max_rate_kbps: Option<u32>,
    /// CRF times ten.
    pub crf_tenths: Option<u32>,
    /// Speed preset.
    pub preset: Option<X264Preset>,
    /// Half the frame rate above 32 fps?
    pub half_rate: Option<bool>,
}

/// The named speed/quality presets of a job.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum JobPreset {
    /// x264 veryfast on every rung.
    Speed,
    /// The table's presets.
    #[default]
    Balanced,
    /// x264 slow, CRF one lower.
    Quality,
    /// An x264 preset on every rung.
    X264(X264Preset),
}

impl JobPreset {
    /// `speed`, `balanced`, `quality` or an x264 preset name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "speed" => Some(Self::Speed),
            "balanced" => Some(Self::Balanced),
            "quality" => Some(Self::Quality),
            other => X264Preset::parse(other).map(Self::X264),
        }
    }

    /// The name [`JobPreset::parse`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Speed => "speed",
            Self::Balanced => "balanced",
            Self::Quality => "quality",
            Self::X264(p) => p.name(),
        }
    }
}
