//! The stored form of a source index.

use super::basic::source_id;
use crate::common::v1 as cpb;
use crate::store::v1 as pb;
use crate::wire::{
    MAX_FEW, MAX_FRAMES, Problem, WireEnum as _, WireError, bounded, from_deltas, many, maybe, narrow, need,
    text, texts, to_deltas, version, wire_enum,
};
use reelmill_common::Ticks;
use reelmill_common::index::{
    AudioGap, AudioTrack, Demuxer, FieldOrder, IgnoredTrack, IndexMethod, KeyFrame, KeyKind, Light,
    SourceIndex, VideoTrack,
};

/// Version of the stored form.
const VERSION: u32 = 1;

wire_enum!(pb::IndexMethod, IndexMethod, { Mp4Tables, PacketScan });

impl From<&SourceIndex> for pb::SourceIndex {
    fn from(v: &SourceIndex) -> Self {
        Self {
            version: VERSION,
            source: v.source.0.0.to_vec(),
            bytes: v.bytes,
            demuxer: cpb::Demuxer::from(v.demuxer).into(),
            method: pb::IndexMethod::from(v.method).into(),
            video: v.video.as_ref().map(Into::into),
            audio: v.audio.iter().map(Into::into).collect(),
            ignored: v.ignored.iter().map(Into::into).collect(),
            notes: v.notes.clone(),
        }
    }
}

impl TryFrom<pb::SourceIndex> for SourceIndex {
    type Error = WireError;
    fn try_from(v: pb::SourceIndex) -> Result<Self, WireError> {
        version(v.version, VERSION, "version")?;
        Ok(Self {
            source: source_id(&v.source, "source")?,
            bytes: v.bytes,
            demuxer: Demuxer::from_wire(v.demuxer, "demuxer")?,
            method: IndexMethod::from_wire(v.method, "method")?,
            video: maybe(v.video, "video")?,
            audio: many(v.audio, MAX_FEW, "audio")?,
            ignored: many(v.ignored, MAX_FEW, "ignored")?,
            notes: texts(v.notes, "notes")?,
        })
    }
}

impl From<&VideoTrack> for pb::VideoTrack {
    fn from(v: &VideoTrack) -> Self {
        Self {
            stream: v.stream,
            codec: v.codec.clone(),
            timebase: Some(v.timebase.into()),
            width: v.width,
            height: v.height,
            sar_width: v.sar.0,
            sar_height: v.sar.1,
            rotation: Some(v.rotation.into()),
            bit_depth: v.bit_depth.map(u32::from),
            colour: Some(v.colour.into()),
            field_order: cpb::FieldOrder::from(v.field_order).into(),
            language: v.language.clone(),
            frames: Some((&v.frames).into()),
            keys: Some(v.keys.as_slice().into()),
            end: v.end.map(|t| t.0),
            max_content_light: v.light.max_content,
            mastering_peak: v.light.mastering_peak,
        }
    }
}

impl TryFrom<pb::VideoTrack> for VideoTrack {
    type Error = WireError;
    fn try_from(v: pb::VideoTrack) -> Result<Self, WireError> {
        Ok(Self {
            stream: v.stream,
            codec: text(v.codec, "codec")?,
            timebase: need(v.timebase, "timebase")?,
            width: v.width,
            height: v.height,
            sar: (v.sar_width, v.sar_height),
            rotation: need(v.rotation, "rotation")?,
            bit_depth: v.bit_depth.map(|d| narrow(d, "bit_depth")).transpose()?,
            colour: need(v.colour, "colour")?,
            light: Light { max_content: v.max_content_light, mastering_peak: v.mastering_peak },
            field_order: FieldOrder::from_wire(v.field_order, "field_order")?,
            language: v.language.map(|t| text(t, "language")).transpose()?,
            frames: need(v.frames, "frames")?,
            keys: need(v.keys, "keys")?,
            end: v.end.map(Ticks),
        })
    }
}

impl From<&[KeyFrame]> for pb::KeyFrames {
    fn from(v: &[KeyFrame]) -> Self {
        let kind = |k: &KeyFrame| match k.kind {
            KeyKind::Idr => 1,
            KeyKind::Open => 2,
            KeyKind::Unknown => 3,
        };
        // an offset is a position in a file that exists: far below the top bit, so that plus one cannot wrap into 0
        let offset = |k: &KeyFrame| k.offset.map_or(0, |o| o.wrapping_add(1) as i64);
        Self {
            frame_deltas: to_deltas(v.iter().map(|k| i64::from(k.frame))),
            pts_deltas: to_deltas(v.iter().map(|k| k.pts.0)),
            kinds: v.iter().map(kind).collect(),
            offset_deltas: to_deltas(v.iter().map(offset)),
        }
    }
}

impl TryFrom<pb::KeyFrames> for Vec<KeyFrame> {
    type Error = WireError;
    fn try_from(v: pb::KeyFrames) -> Result<Self, WireError> {
        let frames = from_deltas(&v.frame_deltas, MAX_FRAMES, "frame_deltas")?;
        let pts = from_deltas(&v.pts_deltas, MAX_FRAMES, "pts_deltas")?;
        let offsets = from_deltas(&v.offset_deltas, MAX_FRAMES, "offset_deltas")?;
        bounded(v.kinds.len(), MAX_FRAMES, "kinds")?;
        if [pts.len(), v.kinds.len(), offsets.len()] != [frames.len(); 3] {
            return Err(WireError::invalid("frame_deltas", "the columns have different lengths"));
        }
        let columns = frames.into_iter().zip(pts).zip(v.kinds).zip(offsets);
        columns
            .map(|(((frame, pts), kind), offset)| {
                Ok(KeyFrame {
                    frame: narrow(frame, "frame_deltas")?,
                    pts: Ticks(pts),
                    kind: match kind {
                        1 => KeyKind::Idr,
                        2 => KeyKind::Open,
                        3 => KeyKind::Unknown,
                        other => return Err(WireError::new("kinds", Problem::Unknown(other.into()))),
                    },
                    offset: (offset as u64).checked_sub(1),
                })
            })
            .collect()
    }
}

impl From<&AudioTrack> for pb::AudioTrack {
    fn from(v: &AudioTrack) -> Self {
        Self {
            stream: v.stream,
            codec: v.codec.clone(),
            timebase: Some(v.timebase.into()),
            sample_rate: v.sample_rate,
            channels: v.channels.into(),
            layout: v.layout.clone(),
            language: v.language.clone(),
            title: v.title.clone(),
            is_default: v.is_default,
            first: v.first.0,
            end: v.end.0,
            gaps: v.gaps.iter().map(|g| pb::AudioGap { at: g.at.0, until: g.until.0 }).collect(),
            grid: v.grid.map(Into::into),
        }
    }
}

impl TryFrom<pb::AudioTrack> for AudioTrack {
    type Error = WireError;
    fn try_from(v: pb::AudioTrack) -> Result<Self, WireError> {
        let optional = |t: Option<String>, field: &str| t.map(|t| text(t, field)).transpose();
        Ok(Self {
            stream: v.stream,
            codec: text(v.codec, "codec")?,
            timebase: need(v.timebase, "timebase")?,
            sample_rate: v.sample_rate,
            channels: narrow(v.channels, "channels")?,
            layout: optional(v.layout, "layout")?,
            language: optional(v.language, "language")?,
            title: optional(v.title, "title")?,
            is_default: v.is_default,
            first: Ticks(v.first),
            end: Ticks(v.end),
            gaps: many(v.gaps, MAX_FRAMES, "gaps")?,
            grid: v.grid.map(TryInto::try_into).transpose()?,
        })
    }
}

impl TryFrom<pb::AudioGap> for AudioGap {
    type Error = WireError;
    fn try_from(v: pb::AudioGap) -> Result<Self, WireError> {
        Ok(Self { at: Ticks(v.at), until: Ticks(v.until) })
    }
}

impl From<&IgnoredTrack> for pb::IgnoredTrack {
    fn from(v: &IgnoredTrack) -> Self {
        Self { stream: v.stream, what: v.what.clone(), why: v.why.clone() }
    }
}

impl TryFrom<pb::IgnoredTrack> for IgnoredTrack {
    type Error = WireError;
    fn try_from(v: pb::IgnoredTrack) -> Result<Self, WireError> {
        Ok(Self { stream: v.stream, what: text(v.what, "what")?, why: text(v.why, "why")? })
    }
}
