//! Reports and faults.

use super::basic::spec_id;
use crate::common::v1 as pb;
use crate::wire::{
    MAX_FEW, MAX_FRAMES, MAX_PARTS, Problem, WireEnum as _, WireError, bounded, config, digest, many, maybe,
    need, one, parsed, present, text, texts,
};
use crate::worker::v1 as wpb;
use reelmill_common::audit::AuditReport;
use reelmill_common::loudness::{Histogram, LOUDNESS_BINS, Loudness};
use reelmill_common::outcome::{
    AnalyseReport, AttemptCost, ChunkReport, Fault, FaultKind, FileReport, IFrame, Outcome, Report,
    ReportBody,
};
use reelmill_common::{AttemptId, JobId, ObjectKey, SegmentNumber, SpecId};

impl From<&Fault> for pb::Fault {
    fn from(v: &Fault) -> Self {
        let damage = v.kind == FaultKind::Damage;
        let kind = if damage { FaultKind::Output } else { v.kind };
        Self {
            kind: pb::FaultKind::from(kind).into(),
            message: v.message.clone(),
            detail: v.detail.clone(),
            damage,
        }
    }
}

impl TryFrom<pb::Fault> for Fault {
    type Error = WireError;
    fn try_from(v: pb::Fault) -> Result<Self, WireError> {
        Ok(Self {
            kind: if v.damage { FaultKind::Damage } else { FaultKind::from_wire(v.kind, "kind")? },
            message: text(v.message, "message")?,
            detail: text(v.detail, "detail")?,
        })
    }
}

impl From<&AnalyseReport> for pb::Analysis {
    fn from(v: &AnalyseReport) -> Self {
        Self { avcc: v.avcc.clone(), peaks: v.peaks.clone(), joins: v.joins.clone() }
    }
}

impl TryFrom<pb::Analysis> for AnalyseReport {
    type Error = WireError;
    fn try_from(v: pb::Analysis) -> Result<Self, WireError> {
        bounded(v.peaks.len(), MAX_FEW, "peaks")?;
        bounded(v.joins.len(), MAX_PARTS, "joins")?;
        Ok(Self { avcc: configs(v.avcc, "avcc")?, peaks: v.peaks, joins: v.joins })
    }
}

fn configs(values: Vec<Vec<u8>>, field: &str) -> Result<Vec<Vec<u8>>, WireError> {
    bounded(values.len(), MAX_FEW, field)?;
    values.into_iter().map(|v| config(v, field)).collect()
}

impl From<&ChunkReport> for pb::ChunkReport {
    fn from(v: &ChunkReport) -> Self {
        Self {
            files: v.files.iter().map(Into::into).collect(),
            units: v.units.clone(),
            configs: v.configs.clone(),
            loudness: v.loudness.as_deref().map(Into::into),
            cost: Some(v.cost.into()),
            encoder: v.encoder.as_ref().map(Into::into),
            ffmpeg_build: v.ffmpeg_build.clone(),
            notes: v.notes.clone(),
        }
    }
}

impl TryFrom<pb::ChunkReport> for ChunkReport {
    type Error = WireError;
    fn try_from(v: pb::ChunkReport) -> Result<Self, WireError> {
        bounded(v.units.len(), MAX_FEW, "units")?;
        Ok(Self {
            files: many(v.files, MAX_PARTS, "files")?,
            units: v.units,
            configs: configs(v.configs, "configs")?,
            loudness: maybe(v.loudness, "loudness")?.map(Box::new),
            cost: need(v.cost, "cost")?,
            encoder: maybe(v.encoder, "encoder")?,
            ffmpeg_build: text(v.ffmpeg_build, "ffmpeg_build")?,
            notes: texts(v.notes, "notes")?,
        })
    }
}

impl From<&AuditReport> for pb::Audit {
    fn from(v: &AuditReport) -> Self {
        Self { frames: v.frames, worst_x100: v.worst_x100 }
    }
}

impl TryFrom<pb::Audit> for AuditReport {
    type Error = WireError;
    fn try_from(v: pb::Audit) -> Result<Self, WireError> {
        Ok(Self { frames: v.frames, worst_x100: v.worst_x100 })
    }
}

impl From<&FileReport> for pb::FileReport {
    fn from(v: &FileReport) -> Self {
        Self {
            rung: v.rung,
            segment: v.segment.map_or(0, |n| n.0),
            bytes: v.bytes,
            sha256: v.sha256.0.to_vec(),
            iframes: v.iframes.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::FileReport> for FileReport {
    type Error = WireError;
    fn try_from(v: pb::FileReport) -> Result<Self, WireError> {
        Ok(Self {
            rung: v.rung,
            segment: (v.segment != 0).then_some(SegmentNumber(v.segment)),
            bytes: v.bytes,
            sha256: digest(&v.sha256, "sha256")?,
            iframes: many(v.iframes, MAX_FRAMES, "iframes")?,
        })
    }
}

impl From<&IFrame> for pb::IFrame {
    fn from(v: &IFrame) -> Self {
        Self { time: v.time, offset: v.offset, length: v.length }
    }
}

impl TryFrom<pb::IFrame> for IFrame {
    type Error = WireError;
    fn try_from(v: pb::IFrame) -> Result<Self, WireError> {
        Ok(Self { time: v.time, offset: v.offset, length: v.length })
    }
}

impl From<&Loudness> for pb::Loudness {
    fn from(v: &Loudness) -> Self {
        Self {
            true_peak_dbtp_x100: v.true_peak_dbtp_x100,
            momentary: v.momentary.counts().to_vec(),
            short_term: v.short_term.counts().to_vec(),
        }
    }
}

impl TryFrom<pb::Loudness> for Loudness {
    type Error = WireError;
    fn try_from(v: pb::Loudness) -> Result<Self, WireError> {
        Ok(Self {
            momentary: histogram(v.momentary, "momentary")?,
            short_term: histogram(v.short_term, "short_term")?,
            true_peak_dbtp_x100: v.true_peak_dbtp_x100,
        })
    }
}

fn histogram(counts: Vec<u64>, field: &str) -> Result<Histogram, WireError> {
    let got = counts.len();
    let refused = || WireError::new(field, Problem::TooMany { got, max: LOUDNESS_BINS });
    Histogram::from_counts(counts).ok_or_else(refused)
}

impl From<AttemptCost> for pb::AttemptCost {
    fn from(v: AttemptCost) -> Self {
        Self { wall_ms: v.wall_ms, cpu_ms: v.cpu_ms, encode_ms: v.encode_ms, source_bytes: v.source_bytes }
    }
}

impl TryFrom<pb::AttemptCost> for AttemptCost {
    type Error = WireError;
    fn try_from(v: pb::AttemptCost) -> Result<Self, WireError> {
        Ok(Self {
            wall_ms: v.wall_ms,
            cpu_ms: v.cpu_ms,
            encode_ms: v.encode_ms,
            source_bytes: v.source_bytes,
        })
    }
}

impl From<&Report> for wpb::Report {
    fn from(v: &Report) -> Self {
        use wpb::report::Body;
        let body = match &v.body {
            ReportBody::Index(cost) => Body::Index(wpb::IndexDone { cost: Some((*cost).into()) }),
            ReportBody::Analyse(r, cost) => {
                Body::Analyse(wpb::AnalyseDone { analysis: Some(r.into()), cost: Some((*cost).into()) })
            }
            ReportBody::Encode(r) => Body::Encode(r.into()),
            ReportBody::Audit(r, cost) => {
                Body::Audit(wpb::AuditDone { audit: Some(r.into()), cost: Some((*cost).into()) })
            }
        };
        Self { key: v.key.to_string(), sha256: v.sha256.0.to_vec(), bytes: v.bytes, body: Some(body) }
    }
}

impl TryFrom<wpb::Report> for Report {
    type Error = WireError;
    fn try_from(v: wpb::Report) -> Result<Self, WireError> {
        use wpb::report::Body;
        Ok(Self {
            key: ObjectKey::parse(&v.key).map_err(|e| WireError::invalid("key", e))?,
            sha256: digest(&v.sha256, "sha256")?,
            bytes: v.bytes,
            body: match present(v.body, "body")? {
                Body::Index(done) => ReportBody::Index(need(done.cost, "index.cost")?),
                Body::Analyse(done) => ReportBody::Analyse(
                    need(done.analysis, "analyse.analysis")?,
                    need(done.cost, "analyse.cost")?,
                ),
                Body::Encode(r) => ReportBody::Encode(one(r, "encode")?),
                Body::Audit(done) => {
                    ReportBody::Audit(need(done.audit, "audit.audit")?, need(done.cost, "audit.cost")?)
                }
            },
        })
    }
}

/// An attempt's end with its names, as it travels in `OutcomeReport` messages.
pub(crate) type NamedOutcome = (AttemptId, JobId, SpecId, Outcome);

pub(crate) fn outcome_report(
    attempt: AttemptId,
    job: &JobId,
    spec: SpecId,
    outcome: &Outcome,
) -> wpb::OutcomeReport {
    use wpb::outcome_report::Outcome as Wire;
    let outcome = match outcome {
        Outcome::Done(report) => Wire::Done(report.into()),
        Outcome::Failed { fault, cost } => {
            Wire::Failed(wpb::Failure { fault: Some(fault.into()), cost: Some((*cost).into()) })
        }
    };
    wpb::OutcomeReport {
        attempt: Some(attempt.into()),
        job: job.to_string(),
        spec: spec.0.0.to_vec(),
        outcome: Some(outcome),
    }
}

impl TryFrom<wpb::OutcomeReport> for NamedOutcome {
    type Error = WireError;
    fn try_from(v: wpb::OutcomeReport) -> Result<Self, WireError> {
        use wpb::outcome_report::Outcome as Wire;
        let outcome = match present(v.outcome, "outcome")? {
            Wire::Done(r) => Outcome::Done(one(r, "done")?),
            Wire::Failed(f) => {
                Outcome::Failed { fault: need(f.fault, "failed.fault")?, cost: need(f.cost, "failed.cost")? }
            }
        };
        Ok((need(v.attempt, "attempt")?, parsed(&v.job, "job")?, spec_id(&v.spec, "spec")?, outcome))
    }
}
