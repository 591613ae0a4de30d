//! The stored form of a plan.

use super::basic::source_id;
use crate::store::v1 as pb;
use crate::wire::{
    MAX_FEW, MAX_PARTS, WireError, bounded, config, exactly, from_deltas, many, need, one, text, texts,
    to_deltas, version,
};
use reelmill_common::plan::{AudioRendition, PLAN_VERSION, Plan, PlanReport, PlannedChunk, VideoRendition};
use reelmill_common::rungs::RungLists;
use reelmill_common::spec::ChunkMedia;

/// What comes before a plan's chunks, and what comes after them.
pub(crate) fn plan_parts(v: &Plan) -> (pb::Plan, pb::Plan) {
    let head = pb::Plan {
        version: PLAN_VERSION,
        revision: v.revision,
        parent: v.parent,
        source: v.source.0.0.to_vec(),
        zero: Some(v.zero.into()),
        timebase: Some(v.timebase.into()),
        duration: v.duration,
        grid_deltas: to_deltas(v.grid.iter().copied()),
        video: v.video.iter().map(Into::into).collect(),
        audio: v.audio.iter().map(Into::into).collect(),
        ..Default::default()
    };
    (head, pb::Plan { report: Some((&v.report).into()), ..Default::default() })
}

impl TryFrom<pb::Plan> for Plan {
    type Error = WireError;
    fn try_from(v: pb::Plan) -> Result<Self, WireError> {
        version(v.version, PLAN_VERSION, "version")?;
        Ok(Self {
            revision: v.revision,
            parent: v.parent,
            source: source_id(&v.source, "source")?,
            zero: need(v.zero, "zero")?,
            timebase: need(v.timebase, "timebase")?,
            duration: v.duration,
            grid: from_deltas(&v.grid_deltas, MAX_PARTS, "grid_deltas")?,
            video: many(v.video, MAX_FEW, "video")?,
            audio: many(v.audio, MAX_FEW, "audio")?,
            chunks: chunks(v.chunks)?,
            report: need(v.report, "report")?,
        })
    }
}

/// The chunks of a plan, sharing lists of rungs.
fn chunks(stored: Vec<pb::PlannedChunk>) -> Result<Vec<PlannedChunk>, WireError> {
    bounded(stored.len(), MAX_PARTS, "chunks")?;
    let mut lists = RungLists::default();
    let chunk = |chunk| {
        let mut chunk: PlannedChunk = one(chunk, "chunks")?;
        if let ChunkMedia::Video(video) = &mut chunk.spec.media {
            video.rungs = lists.shared(video.rungs.clone());
        }
        Ok(chunk)
    };
    exactly(stored, chunk)
}

impl From<&VideoRendition> for pb::VideoRendition {
    fn from(v: &VideoRendition) -> Self {
        Self {
            name: v.name.clone(),
            folder: v.folder.clone(),
            settings: Some((&v.settings).into()),
            avcc: v.avcc.clone(),
            reorder_delay: v.reorder_delay,
            frames: v.frames,
            rate_frames: v.frame_rate.0,
            rate_seconds: v.frame_rate.1,
        }
    }
}

impl TryFrom<pb::VideoRendition> for VideoRendition {
    type Error = WireError;
    fn try_from(v: pb::VideoRendition) -> Result<Self, WireError> {
        Ok(Self {
            name: text(v.name, "name")?,
            folder: text(v.folder, "folder")?,
            settings: need(v.settings, "settings")?,
            avcc: config(v.avcc, "avcc")?,
            reorder_delay: v.reorder_delay,
            frames: v.frames,
            frame_rate: (v.rate_frames, v.rate_seconds),
        })
    }
}

impl From<&AudioRendition> for pb::AudioRendition {
    fn from(v: &AudioRendition) -> Self {
        Self {
            name: v.name.clone(),
            folder: v.folder.clone(),
            group: v.group.clone(),
            language: v.language.clone(),
            title: v.title.clone(),
            is_default: v.is_default,
            settings: Some((&v.settings).into()),
            asc: v.asc.clone(),
            total_samples: v.total_samples,
            segments: v.segments.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::AudioRendition> for AudioRendition {
    type Error = WireError;
    fn try_from(v: pb::AudioRendition) -> Result<Self, WireError> {
        Ok(Self {
            name: text(v.name, "name")?,
            folder: text(v.folder, "folder")?,
            group: text(v.group, "group")?,
            language: text(v.language, "language")?,
            title: text(v.title, "title")?,
            is_default: v.is_default,
            settings: need(v.settings, "settings")?,
            asc: config(v.asc, "asc")?,
            total_samples: v.total_samples,
            segments: many(v.segments, MAX_PARTS, "segments")?,
        })
    }
}

impl From<&PlannedChunk> for pb::PlannedChunk {
    fn from(v: &PlannedChunk) -> Self {
        Self { spec: Some((&v.spec).into()), cost_ms: v.cost_ms, needs: Some(v.needs.into()) }
    }
}

impl TryFrom<pb::PlannedChunk> for PlannedChunk {
    type Error = WireError;
    fn try_from(v: pb::PlannedChunk) -> Result<Self, WireError> {
        Ok(Self { spec: need(v.spec, "spec")?, cost_ms: v.cost_ms, needs: need(v.needs, "needs")? })
    }
}

impl From<&PlanReport> for pb::PlanReport {
    fn from(v: &PlanReport) -> Self {
        Self {
            decisions: v.decisions.clone(),
            source_frames: v.source_frames,
            source_bytes: v.source_bytes,
            repeated_frames: v.repeated_frames,
            dropped_frames: v.dropped_frames,
        }
    }
}

impl TryFrom<pb::PlanReport> for PlanReport {
    type Error = WireError;
    fn try_from(v: pb::PlanReport) -> Result<Self, WireError> {
        Ok(Self {
            decisions: texts(v.decisions, "decisions")?,
            source_frames: v.source_frames,
            source_bytes: v.source_bytes,
            repeated_frames: v.repeated_frames,
            dropped_frames: v.dropped_frames,
        })
    }
}
