//! Work items and chunk specs. A spec that comes back from the wire hashes to the same `spec_id`.

use super::basic::source_id;
use crate::common::v1 as pb;
use crate::wire::{
    MAX_FEW, MAX_FRAMES, MAX_PARTS, WireEnum as _, WireError, bounded, config, digest, from_deltas, many,
    need, one, present, text, to_deltas,
};
use reelmill_common::audit::AuditSpec;
use reelmill_common::index::{Demuxer, FieldOrder, SampleGrid};
use reelmill_common::rungs::Rungs;
use reelmill_common::spec::{
    AnalyseSpec, AudioChunk, AudioRange, AudioSegment, ChunkMedia, ChunkSpec, FrameTable, IndexSpec,
    PictureRecipe, SegmentSpan, ToneMap, VideoChunk, VideoRung, WorkItem,
};
use reelmill_common::{SegmentNumber, Ticks};

impl From<&WorkItem> for pb::WorkItem {
    fn from(v: &WorkItem) -> Self {
        use pb::work_item::Item;
        let item = match v {
            WorkItem::Index(s) => Item::Index(s.into()),
            WorkItem::Analyse(s) => Item::Analyse(s.into()),
            WorkItem::Encode(s) => Item::Encode(s.into()),
            WorkItem::Audit(s) => Item::Audit(s.as_ref().into()),
        };
        Self { item: Some(item) }
    }
}

impl TryFrom<pb::WorkItem> for WorkItem {
    type Error = WireError;
    fn try_from(v: pb::WorkItem) -> Result<Self, WireError> {
        use pb::work_item::Item;
        Ok(match present(v.item, "item")? {
            Item::Index(s) => Self::Index(one(s, "index")?),
            Item::Analyse(s) => Self::Analyse(one(s, "analyse")?),
            Item::Encode(s) => Self::Encode(one(s, "encode")?),
            Item::Audit(s) => Self::Audit(Box::new(one(s, "audit")?)),
        })
    }
}

impl From<&AuditSpec> for pb::AuditSpec {
    fn from(v: &AuditSpec) -> Self {
        Self {
            chunk: Some((&v.chunk).into()),
            attempt: Some(v.attempt.into()),
            rung: v.rung,
            segment: v.segment.map_or(0, |n| n.0),
            bytes: v.bytes,
            sha256: v.sha256.0.to_vec(),
            nearby: v.nearby.map(Into::into),
        }
    }
}

impl TryFrom<pb::AuditSpec> for AuditSpec {
    type Error = WireError;
    fn try_from(v: pb::AuditSpec) -> Result<Self, WireError> {
        Ok(Self {
            chunk: need(v.chunk, "chunk")?,
            attempt: need(v.attempt, "attempt")?,
            rung: v.rung,
            segment: (v.segment != 0).then_some(SegmentNumber(v.segment)),
            bytes: v.bytes,
            sha256: digest(&v.sha256, "sha256")?,
            nearby: v.nearby.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<&IndexSpec> for pb::IndexSpec {
    fn from(v: &IndexSpec) -> Self {
        Self { location: v.location.clone(), salt: v.salt.clone(), decode: v.decode }
    }
}

impl TryFrom<pb::IndexSpec> for IndexSpec {
    type Error = WireError;
    fn try_from(v: pb::IndexSpec) -> Result<Self, WireError> {
        Ok(Self { location: text(v.location, "location")?, salt: text(v.salt, "salt")?, decode: v.decode })
    }
}

impl From<&AnalyseSpec> for pb::AnalyseSpec {
    fn from(v: &AnalyseSpec) -> Self {
        use pb::analyse_spec::Downmix;
        Self {
            source: v.source.0.0.to_vec(),
            demuxer: pb::Demuxer::from(v.demuxer).into(),
            encode_timebase: Some(v.encode_timebase.into()),
            rungs: v.rungs.iter().map(Into::into).collect(),
            downmixes: v
                .downmixes
                .iter()
                .map(|(stream, settings)| Downmix { stream: *stream, settings: Some(settings.into()) })
                .collect(),
            joins: v.joins.iter().map(Into::into).collect(),
            round: v.round,
        }
    }
}

impl TryFrom<pb::AnalyseSpec> for AnalyseSpec {
    type Error = WireError;
    fn try_from(v: pb::AnalyseSpec) -> Result<Self, WireError> {
        bounded(v.downmixes.len(), MAX_FEW, "downmixes")?;
        let downmix = |d: pb::analyse_spec::Downmix| Ok((d.stream, need(d.settings, "downmixes.settings")?));
        Ok(Self {
            source: source_id(&v.source, "source")?,
            demuxer: Demuxer::from_wire(v.demuxer, "demuxer")?,
            encode_timebase: need(v.encode_timebase, "encode_timebase")?,
            rungs: many(v.rungs, MAX_FEW, "rungs")?,
            downmixes: v.downmixes.into_iter().map(downmix).collect::<Result<_, WireError>>()?,
            joins: many(v.joins, MAX_PARTS, "joins")?,
            // an item of before there were rounds has none
            round: v.round.max(1),
        })
    }
}

impl From<&ChunkSpec> for pb::ChunkSpec {
    fn from(v: &ChunkSpec) -> Self {
        use pb::chunk_spec::Media;
        let media = match &v.media {
            ChunkMedia::Video(c) => Media::Video(c.into()),
            ChunkMedia::Audio(c) => Media::Audio(c.into()),
        };
        Self {
            source: v.source.0.0.to_vec(),
            demuxer: pb::Demuxer::from(v.demuxer).into(),
            media: Some(media),
        }
    }
}

impl TryFrom<pb::ChunkSpec> for ChunkSpec {
    type Error = WireError;
    fn try_from(v: pb::ChunkSpec) -> Result<Self, WireError> {
        use pb::chunk_spec::Media;
        Ok(Self {
            source: source_id(&v.source, "source")?,
            demuxer: Demuxer::from_wire(v.demuxer, "demuxer")?,
            media: match present(v.media, "media")? {
                Media::Video(c) => ChunkMedia::Video(one(c, "video")?),
                Media::Audio(c) => ChunkMedia::Audio(one(c, "audio")?),
            },
        })
    }
}

impl From<&VideoChunk> for pb::VideoChunk {
    fn from(v: &VideoChunk) -> Self {
        Self {
            number: v.number,
            stream: v.stream,
            timebase: Some(v.timebase.into()),
            seek: v.seek.map(|t| t.0),
            trim: Some(v.trim.into()),
            frames: Some((&v.frames).into()),
            first_output: v.first_output,
            out_timebase: Some(v.out_timebase.into()),
            picture: Some((&v.picture).into()),
            segments: v.segments.iter().map(Into::into).collect(),
            idr_deltas: to_deltas(v.idr.iter().map(|t| t.0)),
            rungs: v.rungs.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::VideoChunk> for VideoChunk {
    type Error = WireError;
    fn try_from(v: pb::VideoChunk) -> Result<Self, WireError> {
        Ok(Self {
            number: v.number,
            stream: v.stream,
            timebase: need(v.timebase, "timebase")?,
            seek: v.seek.map(Ticks),
            trim: need(v.trim, "trim")?,
            frames: need(v.frames, "frames")?,
            first_output: v.first_output,
            out_timebase: need(v.out_timebase, "out_timebase")?,
            picture: need(v.picture, "picture")?,
            segments: many(v.segments, MAX_PARTS, "segments")?,
            idr: from_deltas(&v.idr_deltas, MAX_FRAMES, "idr_deltas")?.into_iter().map(Ticks).collect(),
            rungs: Rungs::from(many::<_, VideoRung>(v.rungs, MAX_FEW, "rungs")?),
        })
    }
}

impl From<&FrameTable> for pb::FrameTable {
    fn from(v: &FrameTable) -> Self {
        Self { source: Some((&v.source).into()), copies: v.copies.clone(), output: Some((&v.output).into()) }
    }
}

impl TryFrom<pb::FrameTable> for FrameTable {
    type Error = WireError;
    fn try_from(v: pb::FrameTable) -> Result<Self, WireError> {
        bounded(v.copies.as_ref().map_or(0, Vec::len), MAX_FRAMES, "copies")?;
        Ok(Self { source: need(v.source, "source")?, copies: v.copies, output: need(v.output, "output")? })
    }
}

impl From<&SegmentSpan> for pb::SegmentSpan {
    fn from(v: &SegmentSpan) -> Self {
        Self { number: v.number.0, range: Some(v.range.into()) }
    }
}

impl TryFrom<pb::SegmentSpan> for SegmentSpan {
    type Error = WireError;
    fn try_from(v: pb::SegmentSpan) -> Result<Self, WireError> {
        Ok(Self { number: SegmentNumber(v.number), range: need(v.range, "range")? })
    }
}

impl From<&PictureRecipe> for pb::PictureRecipe {
    fn from(v: &PictureRecipe) -> Self {
        let deinterlace = v.deinterlace.map_or(pb::FieldOrder::Unspecified, pb::FieldOrder::from);
        Self {
            rotation: Some(v.rotation.into()),
            deinterlace: deinterlace.into(),
            colour: Some(v.colour.into()),
            tone_map: v.tone_map.map(|t| pb::ToneMap { white: t.white, peak: t.peak }),
        }
    }
}

impl TryFrom<pb::PictureRecipe> for PictureRecipe {
    type Error = WireError;
    fn try_from(v: pb::PictureRecipe) -> Result<Self, WireError> {
        let deinterlace = match pb::FieldOrder::try_from(v.deinterlace) {
            Ok(pb::FieldOrder::Unspecified) => None,
            _ => Some(FieldOrder::from_wire(v.deinterlace, "deinterlace")?),
        };
        Ok(Self {
            rotation: need(v.rotation, "rotation")?,
            deinterlace,
            colour: need(v.colour, "colour")?,
            tone_map: v.tone_map.map(|t| ToneMap { white: t.white, peak: t.peak }),
        })
    }
}

impl From<&VideoRung> for pb::VideoRung {
    fn from(v: &VideoRung) -> Self {
        Self {
            folder: v.folder.clone(),
            settings: Some((&v.settings).into()),
            avcc: v.avcc.clone(),
            reorder_delay: v.reorder_delay,
        }
    }
}

impl TryFrom<pb::VideoRung> for VideoRung {
    type Error = WireError;
    fn try_from(v: pb::VideoRung) -> Result<Self, WireError> {
        Ok(Self {
            folder: text(v.folder, "folder")?,
            settings: need(v.settings, "settings")?,
            avcc: config(v.avcc, "avcc")?,
            reorder_delay: v.reorder_delay,
        })
    }
}

impl From<&AudioChunk> for pb::AudioChunk {
    fn from(v: &AudioChunk) -> Self {
        Self {
            number: v.number,
            stream: v.stream,
            timebase: Some(v.timebase.into()),
            zero: Some(v.zero.into()),
            folder: v.folder.clone(),
            settings: Some((&v.settings).into()),
            total_samples: v.total_samples,
            first_packet: v.packets.0,
            end_packet: v.packets.1,
            segments: v.segments.iter().map(Into::into).collect(),
            asc: v.asc.clone(),
            measure_loudness: v.measure_loudness,
            range: v.range.map(Into::into),
        }
    }
}

impl TryFrom<pb::AudioChunk> for AudioChunk {
    type Error = WireError;
    fn try_from(v: pb::AudioChunk) -> Result<Self, WireError> {
        Ok(Self {
            number: v.number,
            stream: v.stream,
            timebase: need(v.timebase, "timebase")?,
            zero: need(v.zero, "zero")?,
            folder: text(v.folder, "folder")?,
            settings: need(v.settings, "settings")?,
            total_samples: v.total_samples,
            packets: (v.first_packet, v.end_packet),
            segments: many(v.segments, MAX_PARTS, "segments")?,
            asc: config(v.asc, "asc")?,
            measure_loudness: v.measure_loudness,
            range: v.range.map(TryInto::try_into).transpose()?,
        })
    }
}

impl From<AudioRange> for pb::AudioRange {
    fn from(v: AudioRange) -> Self {
        Self { seek: v.seek.map(|t| t.0), grid: Some(v.grid.into()), pre_roll: v.pre_roll }
    }
}

impl TryFrom<pb::AudioRange> for AudioRange {
    type Error = WireError;
    fn try_from(v: pb::AudioRange) -> Result<Self, WireError> {
        Ok(Self { seek: v.seek.map(Ticks), grid: need(v.grid, "grid")?, pre_roll: v.pre_roll })
    }
}

impl From<SampleGrid> for pb::SampleGrid {
    fn from(v: SampleGrid) -> Self {
        Self { origin: v.origin, step: v.step }
    }
}

impl TryFrom<pb::SampleGrid> for SampleGrid {
    type Error = WireError;
    fn try_from(v: pb::SampleGrid) -> Result<Self, WireError> {
        Ok(Self { origin: v.origin, step: v.step })
    }
}

impl From<&AudioSegment> for pb::AudioSegment {
    fn from(v: &AudioSegment) -> Self {
        Self { number: v.number.0, first_packet: v.first_packet, end_packet: v.end_packet }
    }
}

impl TryFrom<pb::AudioSegment> for AudioSegment {
    type Error = WireError;
    fn try_from(v: pb::AudioSegment) -> Result<Self, WireError> {
        Ok(Self { number: SegmentNumber(v.number), first_packet: v.first_packet, end_packet: v.end_packet })
    }
}
