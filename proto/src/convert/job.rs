//! Jobs as submitted and shown.
//!
//! The tenant of a request is not on the wire: [`job_request`] takes it from the caller's identity.

use crate::jobs::v1 as pb;
use crate::wire::{
    MAX_FEW, Problem, WireEnum as _, WireError, bounded, many, one, parsed, present, text, texts, wire_enum,
};
use reelmill_common::ids::Label;
use reelmill_common::job::{
    FailReason, JobOptions, JobRequest, JobState, JobView, Progress, SegmentAlignment,
};
use reelmill_common::ladder::{CustomRung, JobPreset, LadderChoice, X264Preset};
use reelmill_common::outcome::FaultKind;
use reelmill_common::{RunNo, TenantId};
use std::collections::BTreeMap;

wire_enum!(pb::SegmentAlignment, SegmentAlignment, { Grid, Source });

impl From<&JobRequest> for pb::JobRequest {
    fn from(v: &JobRequest) -> Self {
        Self {
            source: v.source.clone(),
            ladder: Some((&v.ladder).into()),
            options: Some((&v.options).into()),
            labels: v.labels.clone(),
            priority: v.priority,
            idempotency_key: v.idempotency_key.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}

/// A client's request, as `tenant`'s.
pub fn job_request(tenant: TenantId, v: pb::JobRequest) -> Result<JobRequest, WireError> {
    if v.source.is_empty() {
        return Err(WireError::new("source", Problem::Missing));
    }
    let key = (!v.idempotency_key.is_empty()).then_some(v.idempotency_key);
    Ok(JobRequest {
        tenant,
        source: text(v.source, "source")?,
        ladder: v.ladder.map_or(Ok(LadderChoice::Default), |l| one(l, "ladder"))?,
        options: v.options.map_or(Ok(JobOptions::default()), |o| one(o, "options"))?,
        labels: labels(v.labels)?,
        priority: v.priority,
        idempotency_key: key.map(|k| parsed(&k, "idempotency_key")).transpose()?,
    })
}

fn labels(v: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, WireError> {
    bounded(v.len(), MAX_FEW, "labels")?;
    for name in v.iter().flat_map(|(key, value)| [key, value]) {
        parsed::<Label>(name, "labels")?;
    }
    Ok(v)
}

impl From<&LadderChoice> for pb::Ladder {
    fn from(v: &LadderChoice) -> Self {
        use pb::ladder::{Choice, Custom, Default, Named};
        let choice = match v {
            LadderChoice::Default => Choice::Default(Default {}),
            LadderChoice::Named(names) => Choice::Named(Named { names: names.clone() }),
            LadderChoice::Custom(rungs) => {
                Choice::Custom(Custom { rungs: rungs.iter().map(Into::into).collect() })
            }
        };
        Self { choice: Some(choice) }
    }
}

impl TryFrom<pb::Ladder> for LadderChoice {
    type Error = WireError;
    fn try_from(v: pb::Ladder) -> Result<Self, WireError> {
        use pb::ladder::{Choice, Default};
        Ok(match v.choice {
            None | Some(Choice::Default(Default {})) => Self::Default,
            Some(Choice::Named(n)) => Self::Named(texts(n.names, "named")?),
            Some(Choice::Custom(c)) => Self::Custom(many(c.rungs, MAX_FEW, "custom.rungs")?),
        })
    }
}

impl From<&CustomRung> for pb::CustomRung {
    fn from(v: &CustomRung) -> Self {
        use crate::common::v1::X264Preset as Wire;
        Self {
            name: v.name.clone(),
            long_side: v.long,
            short_side: v.short,
            max_rate_kbps: v.max_rate_kbps,
            crf_tenths: v.crf_tenths,
            preset: v.preset.map_or(Wire::Unspecified, Wire::from).into(),
            half_rate: v.half_rate,
        }
    }
}

impl TryFrom<pb::CustomRung> for CustomRung {
    type Error = WireError;
    fn try_from(v: pb::CustomRung) -> Result<Self, WireError> {
        let preset = (v.preset != 0).then(|| X264Preset::from_wire(v.preset, "preset")).transpose()?;
        Ok(Self {
            name: text(v.name, "name")?,
            long: v.long_side,
            short: v.short_side,
            max_rate_kbps: v.max_rate_kbps,
            crf_tenths: v.crf_tenths,
            preset,
            half_rate: v.half_rate,
        })
    }
}

impl From<&JobOptions> for pb::JobOptions {
    fn from(v: &JobOptions) -> Self {
        Self {
            preset: v.preset.name().to_owned(),
            segment_ms: v.segment_ms,
            chunk_ms: v.chunk_ms,
            segments: pb::SegmentAlignment::from(v.segments).into(),
            output: v.output.clone(),
            cpu_independent: v.cpu_independent,
            sound_range_ms: v.sound_range_ms,
        }
    }
}

impl TryFrom<pb::JobOptions> for JobOptions {
    type Error = WireError;
    fn try_from(v: pb::JobOptions) -> Result<Self, WireError> {
        let unset = Self::default();
        let preset = match v.preset.as_str() {
            "" => unset.preset,
            name => JobPreset::parse(name).ok_or_else(|| {
                WireError::invalid("preset", "use speed, balanced, quality or an x264 preset name")
            })?,
        };
        let segments = match v.segments {
            0 => unset.segments,
            n => SegmentAlignment::from_wire(n, "segments")?,
        };
        Ok(Self {
            preset,
            segment_ms: if v.segment_ms == 0 { unset.segment_ms } else { v.segment_ms },
            chunk_ms: v.chunk_ms,
            segments,
            output: v.output.map(|t| text(t, "output")).transpose()?,
            cpu_independent: v.cpu_independent,
            sound_range_ms: if v.sound_range_ms == 0 { unset.sound_range_ms } else { v.sound_range_ms },
        })
    }
}

/// A job's state as the wire has it: the number, and the reason where there is one.
pub(crate) fn state_to_wire(v: &JobState) -> (pb::JobState, Option<pb::FailReason>) {
    let state = match v {
        JobState::Accepted => pb::JobState::Accepted,
        JobState::Indexing => pb::JobState::Indexing,
        JobState::Planned => pb::JobState::Planned,
        JobState::Running => pb::JobState::Running,
        JobState::Publishing => pb::JobState::Publishing,
        JobState::Published => pb::JobState::Published,
        JobState::Failed(reason) => return (pb::JobState::Failed, Some(reason.into())),
        JobState::Cancelled => pb::JobState::Cancelled,
        JobState::Collecting => pb::JobState::Collecting,
        JobState::Collected => pb::JobState::Collected,
    };
    (state, None)
}

/// The state of [`state_to_wire`].
pub(crate) fn state_from_wire(v: i32, failure: Option<pb::FailReason>) -> Result<JobState, WireError> {
    Ok(match pb::JobState::try_from(v) {
        Ok(pb::JobState::Accepted) => JobState::Accepted,
        Ok(pb::JobState::Indexing) => JobState::Indexing,
        Ok(pb::JobState::Planned) => JobState::Planned,
        Ok(pb::JobState::Running) => JobState::Running,
        Ok(pb::JobState::Publishing) => JobState::Publishing,
        Ok(pb::JobState::Published) => JobState::Published,
        Ok(pb::JobState::Failed) => JobState::Failed(one(present(failure, "failure")?, "failure")?),
        Ok(pb::JobState::Cancelled) => JobState::Cancelled,
        Ok(pb::JobState::Collecting) => JobState::Collecting,
        Ok(pb::JobState::Collected) => JobState::Collected,
        Ok(pb::JobState::Unspecified) | Err(_) => return Err(WireError::new("state", Problem::Unknown(v))),
    })
}

impl From<&FailReason> for pb::FailReason {
    fn from(v: &FailReason) -> Self {
        Self {
            kind: crate::common::v1::FaultKind::from(v.kind).into(),
            message: v.message.clone(),
            detail: v.detail.clone(),
        }
    }
}

impl TryFrom<pb::FailReason> for FailReason {
    type Error = WireError;
    fn try_from(v: pb::FailReason) -> Result<Self, WireError> {
        Ok(Self {
            kind: FaultKind::from_wire(v.kind, "kind")?,
            message: text(v.message, "message")?,
            detail: text(v.detail, "detail")?,
        })
    }
}

impl From<&JobView> for pb::Job {
    fn from(v: &JobView) -> Self {
        let (state, failure) = state_to_wire(&v.state);
        Self {
            id: v.id.to_string(),
            tenant: v.tenant.to_string(),
            source: v.source.clone(),
            labels: v.labels.clone(),
            priority: v.priority,
            state: state.into(),
            failure,
            run: v.run.0,
            submitted_unix_ms: v.submitted_unix_ms,
            progress: Some(v.progress.into()),
            version: v.version,
            package: v.package.clone(),
            notes: v.notes.clone(),
        }
    }
}

impl TryFrom<pb::Job> for JobView {
    type Error = WireError;
    fn try_from(v: pb::Job) -> Result<Self, WireError> {
        Ok(Self {
            id: parsed(&v.id, "id")?,
            tenant: parsed(&v.tenant, "tenant")?,
            source: text(v.source, "source")?,
            labels: labels(v.labels)?,
            priority: v.priority,
            state: state_from_wire(v.state, v.failure)?,
            run: RunNo(v.run),
            submitted_unix_ms: v.submitted_unix_ms,
            progress: v.progress.map(Progress::from).unwrap_or_default(),
            version: v.version,
            package: v.package.map(|t| text(t, "package")).transpose()?,
            notes: texts(v.notes, "notes")?,
        })
    }
}

impl From<Progress> for pb::Progress {
    fn from(v: Progress) -> Self {
        Self {
            chunks_done: v.chunks_done,
            chunks_total: v.chunks_total,
            chunks_running: v.chunks_running,
            work_total_ms: v.work_total_ms,
            work_done_ms: v.work_done_ms,
            eta_ms: v.eta_ms,
            elapsed_ms: v.elapsed_ms,
            media_ms: v.media_ms,
            retries: v.retries,
        }
    }
}

impl From<pb::Progress> for Progress {
    fn from(v: pb::Progress) -> Self {
        Self {
            chunks_done: v.chunks_done,
            chunks_total: v.chunks_total,
            chunks_running: v.chunks_running,
            work_total_ms: v.work_total_ms,
            work_done_ms: v.work_done_ms,
            eta_ms: v.eta_ms,
            elapsed_ms: v.elapsed_ms,
            media_ms: v.media_ms,
            retries: v.retries,
        }
    }
}
