//! `SourceIndex`: what demuxing tells about a source. No pixel is decoded for it.
//!
//! Every time is in the stream's own timebase **as ffmpeg presents it with `-copyts`**: edit lists are already
//! applied (presentation = media time - edit list), so a chunk's trim range and its index agree to the tick.

use crate::hash::Sha256;
use crate::time::{TickSeq, Ticks, Timebase};

/// Identity of a source's bytes: a hash over its parts' sizes, versions and index bytes. Immutable once accepted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SourceId(pub Sha256);

/// The demuxer ffmpeg is forced to (`-f`); never guessed from hostile bytes, and never one that opens other files.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Demuxer {
    /// ISO BMFF and QuickTime.
    Mov,
    /// Matroska and WebM.
    Matroska,
    /// MPEG-2 transport stream.
    MpegTs,
    /// MPEG-2 program stream.
    MpegPs,
    /// Flash video.
    Flv,
    /// AVI.
    Avi,
    /// Ogg.
    Ogg,
    /// ASF / WMV.
    Asf,
    /// MXF.
    Mxf,
    /// RIFF/WAVE.
    Wav,
    /// FLAC.
    Flac,
    /// MPEG audio layer 3.
    Mp3,
    /// ADTS AAC.
    Aac,
}

impl Demuxer {
    /// Every demuxer a source may be read with: the scan's `-format_whitelist`.
    pub const ALL: [Self; 13] = [
        Self::Mov,
        Self::Matroska,
        Self::MpegTs,
        Self::MpegPs,
        Self::Flv,
        Self::Avi,
        Self::Ogg,
        Self::Asf,
        Self::Mxf,
        Self::Wav,
        Self::Flac,
        Self::Mp3,
        Self::Aac,
    ];

    /// The name for `-f`.
    pub fn ffmpeg_name(self) -> &'static str {
        match self {
            Self::Mov => "mov",
            Self::Matroska => "matroska",
            Self::MpegTs => "mpegts",
            Self::MpegPs => "mpeg",
            Self::Flv => "flv",
            Self::Avi => "avi",
            Self::Ogg => "ogg",
            Self::Asf => "asf",
            Self::Mxf => "mxf",
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::Mp3 => "mp3",
            Self::Aac => "aac",
        }
    }

    /// From ffprobe's `format_name`, a comma-separated list of aliases.
    pub fn from_format_name(list: &str) -> Option<Self> {
        list.split(',').find_map(|n| Self::ALL.into_iter().find(|d| d.ffmpeg_name() == n.trim()))
    }
}

/// How the index was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IndexMethod {
    /// Read natively from an MP4's tables by ranged reads.
    Mp4Tables,
    /// A packet scan by ffprobe over the whole source.
    PacketScan,
}

/// All that is known of a source without decoding it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceIndex {
    /// Identity of the bytes.
    pub source: SourceId,
    /// Size of the source in bytes.
    pub bytes: u64,
    /// The demuxer to force.
    pub demuxer: Demuxer,
    /// How it was found out.
    pub method: IndexMethod,
    /// The film's picture; the first real video track (cover art is none).
    pub video: Option<VideoTrack>,
    /// Every audio track that can be decoded, in file order.
    pub audio: Vec<AudioTrack>,
    /// Tracks that will not be carried, each with the reason.
    pub ignored: Vec<IgnoredTrack>,
    /// Things worth telling a person, in plain words.
    pub notes: Vec<String>,
}

/// A video track.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VideoTrack {
    /// ffmpeg's stream index.
    pub stream: u32,
    /// ffmpeg's codec name (`h264`, `hevc`, `vp9`, …).
    pub codec: String,
    /// Unit of every time below.
    pub timebase: Timebase,
    /// Coded picture width in pixels after cropping, before rotation and SAR.
    pub width: u32,
    /// Coded picture height in pixels after cropping, before rotation and SAR.
    pub height: u32,
    /// Sample aspect ratio (width : height of a pixel), `(1, 1)` when unknown.
    pub sar: (u32, u32),
    /// How the picture is turned for display.
    pub rotation: Rotation,
    /// Bits per sample, if known.
    pub bit_depth: Option<u8>,
    /// Colour description.
    pub colour: Colour,
    /// How bright it says it is.
    pub light: Light,
    /// Progressive or interlaced.
    pub field_order: FieldOrder,
    /// BCP-47 or ISO 639-2 language, if declared.
    pub language: Option<String>,
    /// Presentation times of all shown frames, strictly ascending.
    pub frames: TickSeq,
    /// Random-access points, ascending by frame.
    pub keys: Vec<KeyFrame>,
    /// End of the last shown frame as the container tells it (`None`: it does not).
    pub end: Option<Ticks>,
}

/// A random-access point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyFrame {
    /// Its place in [`VideoTrack::frames`], in presentation order.
    pub frame: u32,
    /// Its presentation time (also when it lies before the first shown frame).
    pub pts: Ticks,
    /// What is known of it.
    pub kind: KeyKind,
    /// Byte offset of its sample in the source, if known.
    pub offset: Option<u64>,
}

/// How safe it is to begin decoding at a keyframe.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyKind {
    /// Proven IDR (or a codec whose keyframes always are closed): no frame after it needs one before it.
    Idr,
    /// Leading pictures may reference frames before it (HEVC CRA, H.264 recovery point, MPEG-2 open GOP).
    Open,
    /// Not known: treated as open.
    Unknown,
}

/// Display rotation in steps of a quarter turn, then an optional mirror.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Rotation {
    /// Clockwise quarter turns to show the picture upright, 0 to 3.
    pub quarter_turns: u8,
    /// Mirrored left to right after turning.
    pub mirrored: bool,
}

impl Rotation {
    /// Do width and height change places?
    pub fn swaps_sides(self) -> bool {
        self.quarter_turns % 2 == 1
    }
}

/// Colour description by the code points of ISO/IEC 23091-2 (as in H.264 VUI and `colr nclx`); `None` when unspecified.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Colour {
    /// ColourPrimaries.
    pub primaries: Option<u8>,
    /// TransferCharacteristics.
    pub transfer: Option<u8>,
    /// MatrixCoefficients.
    pub matrix: Option<u8>,
    /// Full (PC) range?
    pub full_range: Option<bool>,
}

/// How bright a film says it is, in cd/m² rounded down (CTA-861.3, SMPTE ST 2086); `None` when unsaid.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Light {
    /// Maximum content light level: the brightest pixel of the film.
    pub max_content: Option<u32>,
    /// The brightest that the display it was mastered on can show.
    pub mastering_peak: Option<u32>,
}

impl Light {
    /// What `self` says, and where it says nothing, what `other` says.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            max_content: self.max_content.or(other.max_content),
            mastering_peak: self.mastering_peak.or(other.mastering_peak),
        }
    }
}

/// Field order of the coded pictures.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FieldOrder {
    /// Frames.
    Progressive,
    /// Interlaced, top field first.
    TopFirst,
    /// Interlaced, bottom field first.
    BottomFirst,
    /// The container does not tell.
    Unknown,
}

/// An audio track.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AudioTrack {
    /// ffmpeg's stream index.
    pub stream: u32,
    /// ffmpeg's codec name.
    pub codec: String,
    /// Unit of the times below.
    pub timebase: Timebase,
    /// Samples a second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u16,
    /// ffmpeg's layout name (`5.1(side)`), if known.
    pub layout: Option<String>,
    /// Language as declared, if any and not `und`.
    pub language: Option<String>,
    /// Title, if any.
    pub title: Option<String>,
    /// Marked as default in the file.
    pub is_default: bool,
    /// Presentation time of the first sample (after edit list and declared encoder delay).
    pub first: Ticks,
    /// End of the last sample.
    pub end: Ticks,
    /// Real gaps: missing packets, to be filled with silence once, in the plan.
    pub gaps: Vec<AudioGap>,
    /// Where packets lie on the track's own count of samples; `None` when that cannot be told from their times.
    pub grid: Option<SampleGrid>,
}

/// Where samples lie in a track whose packets follow each other without a hole: every packet begins a multiple of
/// `step` samples after `origin`, as its time says to less than a quarter step (with a step of 1: exactly). So the
/// place of a sample is known from its packet's time, wherever decoding began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct SampleGrid {
    /// Presentation time of the first packet, in samples: the middle of what all rounded times allow.
    pub origin: i64,
    /// Samples in a packet; 1 where times count samples.
    pub step: u32,
}

/// A hole in an audio track.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AudioGap {
    /// Where sound stops.
    pub at: Ticks,
    /// Where it goes on.
    pub until: Ticks,
}

/// A track that is not carried into the package.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IgnoredTrack {
    /// ffmpeg's stream index.
    pub stream: u32,
    /// What it is (`subtitle hdmv_pgs_subtitle`).
    pub what: String,
    /// Why it is not carried.
    pub why: String,
}
