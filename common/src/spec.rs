//! Work items and chunk specs: everything a worker needs to know, and the hash under which its work is committed.
//!
//! A spec is immutable. Its [`SpecId`] is the hash of its canonical form, which includes the source's identity and
//! the binding: a commit stays valid for every later plan revision that contains the same spec.

use crate::audit::AuditSpec;
use crate::hash::Canonical;
use crate::ids::{SegmentNumber, SpecId};
use crate::index::{Colour, Demuxer, FieldOrder, Rotation, SampleGrid, SourceId};
use crate::ladder::{AudioSettings, VideoSettings};
use crate::rungs::Rungs;
use crate::time::{TickRange, TickSeq, Ticks, Timebase};

/// Version of the argv builder and of the segment writer: raised whenever the same spec would give other bytes.
pub const RECIPE: u32 = 2;

/// What a worker can be leased.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WorkItem {
    /// Demux a source into a `SourceIndex`.
    Index(IndexSpec),
    /// Whole-film facts that need an encoder or a decoder, before planning.
    Analyse(AnalyseSpec),
    /// Encode one chunk at all its rungs.
    Encode(ChunkSpec),
    /// Look at one file that another attempt made.
    Audit(Box<AuditSpec>),
}

impl WorkItem {
    /// The name under which the result is committed.
    pub fn spec_id(&self) -> SpecId {
        match self {
            Self::Index(s) => s.spec_id(),
            Self::Analyse(s) => s.spec_id(),
            Self::Encode(s) => s.spec_id(),
            Self::Audit(s) => s.spec_id(),
        }
    }

    /// What the files it makes for a package are served as (RFC 4337).
    pub fn media_type(&self) -> &'static str {
        match self {
            Self::Encode(spec) if matches!(spec.media, ChunkMedia::Audio(_)) => "audio/mp4",
            _ => "video/mp4",
        }
    }

    /// `index`, `analyse`, `encode` or `audit`: for logs and metric labels.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Index(_) => "index",
            Self::Analyse(_) => "analyse",
            Self::Encode(_) => "encode",
            Self::Audit(_) => "audit",
        }
    }
}

/// Index a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexSpec {
    /// Where the source was said to be; part of the identity because it is not known better yet.
    pub location: String,
    /// A value that differs between jobs, so that two jobs never share an index by accident.
    pub salt: String,
    /// Decode the picture: the frames that the decoder shows, at their times, are the film's. For films whose packets
    /// promise others.
    pub decode: bool,
}

impl IndexSpec {
    /// Hash of the canonical form.
    pub fn spec_id(&self) -> SpecId {
        let mut c = Canonical::new("index-spec/1");
        c.text(&self.location).text(&self.salt);
        if self.decode {
            c.text("decode");
        }
        SpecId(c.digest())
    }
}

/// Find the decoder configuration (avcC) each rung's settings give, and the peak of each downmix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnalyseSpec {
    /// The source.
    pub source: SourceId,
    /// Its demuxer.
    pub demuxer: Demuxer,
    /// Timebase the rungs will be encoded in (it is written into the SPS).
    pub encode_timebase: Timebase,
    /// Settings whose avcC is wanted, in ladder order.
    pub rungs: Vec<VideoSettings>,
    /// Audio streams with their mix, whose peak is wanted.
    pub downmixes: Vec<(u32, AudioSettings)>,
    /// Short ranges of sound, each with segments whose first packets are where two ranges of the rendition might
    /// meet: wanted is the first at which they can.
    pub joins: Vec<AudioChunk>,
    /// The how manieth time it is asked, from 1: another worker may find another thing.
    pub round: u32,
}

impl AnalyseSpec {
    /// Hash of the canonical form.
    pub fn spec_id(&self) -> SpecId {
        let mut c = Canonical::new("analyse-spec/1");
        c.num(RECIPE.into()).blob(&self.source.0.0).text(self.demuxer.ffmpeg_name());
        c.num(self.encode_timebase.num().into()).num(self.encode_timebase.den().into());
        c.num(self.rungs.len() as u64);
        self.rungs.iter().for_each(|r| r.canonical(&mut c));
        c.num(self.downmixes.len() as u64);
        for (stream, settings) in &self.downmixes {
            c.num((*stream).into());
            settings.canonical(&mut c);
        }
        c.num(self.joins.len() as u64);
        self.joins.iter().for_each(|j| j.canonical(&mut c));
        if self.round > 1 {
            c.text("round").num(self.round.into());
        }
        SpecId(c.digest())
    }
}

/// One chunk: a range of a source, at a set of renditions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkSpec {
    /// The source's identity.
    pub source: SourceId,
    /// The demuxer to force.
    pub demuxer: Demuxer,
    /// Picture or sound.
    pub media: ChunkMedia,
}

/// Picture or sound: planned apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChunkMedia {
    /// Frames of the picture.
    Video(VideoChunk),
    /// Samples of one audio rendition.
    Audio(AudioChunk),
}

/// A range of frames, encoded at every rung from one decode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VideoChunk {
    /// Its number in the plan, from 0: for people and for ordering.
    pub number: u32,
    /// ffmpeg's stream index.
    pub stream: u32,
    /// Timebase of the source stream.
    pub timebase: Timebase,
    /// Where to begin decoding: `-ss` to this presentation time, or from the start of the source.
    pub seek: Option<Ticks>,
    /// Frames with `trim.start <= pts < trim.end` (source ticks) belong to the chunk. The first chunk starts at
    /// the first shown frame; the last one ends after the last.
    pub trim: TickRange,
    /// The part of the frame map that falls into the chunk.
    pub frames: FrameTable,
    /// Number, in the whole film, of the chunk's first output frame (full rate). Half-rate rungs take even numbers.
    pub first_output: u64,
    /// Timebase of output times: `1 / timescale`.
    pub out_timebase: Timebase,
    /// What happens to the picture before it is scaled.
    pub picture: PictureRecipe,
    /// The chunk's segments, ascending and contiguous, in output ticks.
    pub segments: Vec<SegmentSpan>,
    /// Output times of all forced IDRs, the first of every segment among them.
    pub idr: Vec<Ticks>,
    /// The renditions.
    pub rungs: Rungs,
}

/// Source frames of a chunk and when each is shown.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct FrameTable {
    /// Presentation times of every source frame inside `trim`, ascending, source ticks.
    pub source: TickSeq,
    /// How often each is shown: `None` = once each (identity); else one count per source frame (0 = dropped).
    pub copies: Option<Vec<u8>>,
    /// Output time of every output frame (sum of copies), ascending, output ticks.
    pub output: TickSeq,
}

/// One segment on the grid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct SegmentSpan {
    /// Number, from 1.
    pub number: SegmentNumber,
    /// `[start, end)` in output ticks.
    pub range: TickRange,
}

/// Decisions on the picture, made once for the whole film.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct PictureRecipe {
    /// Turn upright.
    pub rotation: Rotation,
    /// Deinterlace (frames with one output frame each) by this field order.
    pub deinterlace: Option<FieldOrder>,
    /// The source's colour as decided by rule (no `None` that matters left); what becomes of it
    /// is each rung's [`VideoSettings::colour`].
    pub colour: Colour,
    /// How a high dynamic range becomes a standard one; `None` for a source that has a standard one.
    pub tone_map: Option<ToneMap>,
}

/// Parameters of the tone curve, the same for every chunk: nothing is measured on the way, so chunks meet without a
/// step. Luminances in cd/m².
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct ToneMap {
    /// What is diffuse white in the source (ITU-R BT.2408: 203).
    pub white: u32,
    /// The brightest there is in the film: it becomes full white. Not less than `white`.
    pub peak: u32,
}

/// One rendition within a video chunk.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct VideoRung {
    /// The rendition's folder in the package: `<rendition>-<settings hash>`.
    pub folder: String,
    /// Encoder settings.
    pub settings: VideoSettings,
    /// The exact decoder configuration record (ISO/IEC 14496-15 `avcC` payload) the rung is bound to.
    pub avcc: Vec<u8>,
    /// Composition delay in output ticks, undone by the init segment's edit list; 0 = negative offsets instead.
    pub reorder_delay: u32,
}

/// A run of AAC packets of one audio rendition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AudioChunk {
    /// Its number in the plan, from 0, counted apart from video.
    pub number: u32,
    /// ffmpeg's stream index.
    pub stream: u32,
    /// Timebase of the source stream.
    pub timebase: Timebase,
    /// The film's zero (t0) on the source timeline, exact; usually in the video track's timebase.
    pub zero: ExactTime,
    /// The rendition's folder in the package.
    pub folder: String,
    /// Encoder settings.
    pub settings: AudioSettings,
    /// Samples presented, at the output rate: sample 0 plays at t0.
    pub total_samples: u64,
    /// Packets of the rendition that this chunk makes: `[first, end)`, each 1,024 samples.
    /// Packet p carries encoder input samples `[1024 p - 1024, 1024 p)` (one packet of encoder delay).
    pub packets: (u64, u64),
    /// The chunk's segments.
    pub segments: Vec<AudioSegment>,
    /// AudioSpecificConfig (ISO/IEC 14496-3) the rendition is bound to.
    pub asc: Vec<u8>,
    /// Measure EBU R128 loudness on the way.
    pub measure_loudness: bool,
    /// How a range of the rendition finds its samples, or one continuous encode those of a track whose times are rounded;
    /// `None`: it is decoded from the source's start and anchored by its times.
    pub range: Option<AudioRange>,
}

/// How samples are found by a track's own count of them, without decoding all sound before a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct AudioRange {
    /// Where to begin decoding: `-ss` to this presentation time, or from the start of the source.
    pub seek: Option<Ticks>,
    /// Where decoded samples lie. The track has the sample rate of the rendition.
    pub grid: SampleGrid,
    /// Packets encoded before the first one and thrown away, as far as there are so many: the encoder is then where
    /// it would be had it encoded everything before.
    pub pre_roll: u64,
}

impl AudioRange {
    pub(crate) fn canonical(&self, c: &mut Canonical) {
        c.text("range").num(self.seek.is_some().into()).int(self.seek.unwrap_or_default().0);
        c.int(self.grid.origin).num(self.grid.step.into()).num(self.pre_roll);
    }
}

/// An exact time: `ticks` of `timebase`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct ExactTime {
    /// How many ticks.
    pub ticks: Ticks,
    /// Of what length.
    pub timebase: Timebase,
}

/// One audio segment, in packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct AudioSegment {
    /// Number, from 1.
    pub number: SegmentNumber,
    /// First packet.
    pub first_packet: u64,
    /// Packet after the last.
    pub end_packet: u64,
}

/// Samples in one AAC-LC packet, and the encoder delay signalled by the edit list (ISO/IEC 14496-3; media.md 4).
pub const AAC_FRAME: u64 = 1024;

impl ChunkSpec {
    /// Hash of the canonical form.
    pub fn spec_id(&self) -> SpecId {
        let mut c = Canonical::new("chunk-spec/1");
        c.num(RECIPE.into()).blob(&self.source.0.0).text(self.demuxer.ffmpeg_name());
        match &self.media {
            ChunkMedia::Video(v) => v.canonical(c.text("video")),
            ChunkMedia::Audio(a) => a.canonical(c.text("audio")),
        }
        SpecId(c.digest())
    }
}

fn timebase(c: &mut Canonical, t: Timebase) {
    c.num(t.num().into()).num(t.den().into());
}

fn ticks(c: &mut Canonical, seq: &TickSeq) {
    c.num(seq.len() as u64);
    seq.iter().for_each(|t| {
        c.int(t);
    });
}

impl VideoChunk {
    /// Which output frames of the chunk a rung takes, as indices into the frame table at full rate: those whose number
    /// in the whole film is a multiple of `every` ([`VideoSettings::every`]).
    pub fn rung_frames(&self, every: u8) -> impl Iterator<Item = usize> + use<> {
        let step = u64::from(every.max(1));
        let skip = (step - self.first_output % step) % step;
        (0..self.frames.output.len()).skip(skip as usize).step_by(step as usize)
    }

    fn canonical(&self, c: &mut Canonical) {
        c.num(self.stream.into());
        timebase(c, self.timebase);
        c.num(self.seek.is_some().into()).int(self.seek.unwrap_or_default().0);
        c.int(self.trim.start.0).int(self.trim.end.0);
        ticks(c, &self.frames.source);
        c.blob(self.frames.copies.as_deref().unwrap_or_default());
        ticks(c, &self.frames.output);
        c.num(self.first_output);
        timebase(c, self.out_timebase);
        self.picture.canonical(c);
        c.num(self.segments.len() as u64);
        for s in &self.segments {
            c.num(s.number.0.into()).int(s.range.start.0).int(s.range.end.0);
        }
        c.num(self.idr.len() as u64);
        self.idr.iter().for_each(|t| {
            c.int(t.0);
        });
        c.num(self.rungs.len() as u64);
        for r in &self.rungs {
            c.text(&r.folder).blob(&r.avcc).num(r.reorder_delay.into());
            r.settings.canonical(c);
        }
    }
}

impl PictureRecipe {
    fn canonical(&self, c: &mut Canonical) {
        let code = |v: Option<u8>| v.map_or(u64::MAX, u64::from);
        c.num(self.rotation.quarter_turns.into()).num(self.rotation.mirrored.into());
        c.num(match self.deinterlace {
            None => 0,
            Some(FieldOrder::TopFirst) => 1,
            Some(FieldOrder::BottomFirst) => 2,
            Some(FieldOrder::Progressive) => 3,
            Some(FieldOrder::Unknown) => 4,
        });
        c.num(code(self.colour.primaries)).num(code(self.colour.transfer)).num(code(self.colour.matrix));
        c.num(self.colour.full_range.map_or(u64::MAX, u64::from));
        c.num(self.tone_map.is_some().into());
        if let Some(ToneMap { white, peak }) = self.tone_map {
            c.num(white.into()).num(peak.into());
        }
    }
}

impl AudioChunk {
    fn canonical(&self, c: &mut Canonical) {
        c.num(self.stream.into());
        timebase(c, self.timebase);
        c.int(self.zero.ticks.0);
        timebase(c, self.zero.timebase);
        c.text(&self.folder);
        self.settings.canonical(c);
        c.num(self.total_samples).num(self.packets.0).num(self.packets.1);
        c.num(self.segments.len() as u64);
        for s in &self.segments {
            c.num(s.number.0.into()).num(s.first_packet).num(s.end_packet);
        }
        c.blob(&self.asc).num(self.measure_loudness.into());
        if let Some(range) = &self.range {
            range.canonical(c);
        }
    }
}
