//! The stored forms of state records.

use super::basic::spec_id;
use super::job::{job_request, state_from_wire, state_to_wire};
use crate::store::v1 as pb;
use crate::wire::{
    MAX_FEW, MAX_PARTS, WireError, bounded, digest, many, maybe, need, parsed, present, text, texts, version,
};
use reelmill_common::audit::{Audits, Caught};
use reelmill_common::plan::RungSet;
use reelmill_common::record::{
    ArchiveRecord, CommitRecord, FaultRecord, FoundBinding, IdempotencyRecord, JobRecord, LeaderRecord,
    ManifestRef, ObjectRef, OutsideRecord, Placement, PlanRef, Rebind, Unable, WorkerRecord,
};
use reelmill_common::{FencingTerm, Fingerprint, ObjectKey, RunNo, TenantId};

/// Version of every record's stored form.
const VERSION: u32 = 1;

impl From<&ObjectRef> for pb::ObjectRef {
    fn from(v: &ObjectRef) -> Self {
        Self { key: v.key.to_string(), bytes: v.bytes, sha256: v.sha256.0.to_vec() }
    }
}

impl TryFrom<pb::ObjectRef> for ObjectRef {
    type Error = WireError;
    fn try_from(v: pb::ObjectRef) -> Result<Self, WireError> {
        Ok(Self {
            key: ObjectKey::parse(&v.key).map_err(|e| WireError::invalid("key", e))?,
            bytes: v.bytes,
            sha256: digest(&v.sha256, "sha256")?,
        })
    }
}

impl From<&JobRecord> for pb::JobRecord {
    fn from(v: &JobRecord) -> Self {
        let (state, failure) = state_to_wire(&v.state);
        Self {
            record_version: VERSION,
            id: v.id.to_string(),
            tenant: v.request.tenant.to_string(),
            request: Some((&v.request).into()),
            slots_hint: v.slots_hint,
            submitted_unix_ms: v.submitted_unix_ms,
            state: state.into(),
            failure,
            run: v.run.0,
            version: v.version,
            index: v.index.as_ref().map(Into::into),
            analysis: v.analysis.as_ref().map(Into::into),
            plan: v.plan.as_ref().map(Into::into),
            rebind: v.rebind.as_ref().map(Into::into),
            rebinds: v.rebinds,
            unbound_ms: v.unbound_ms,
            unable: v.unable.iter().map(Into::into).collect(),
            manifests: v.manifests.iter().map(Into::into).collect(),
            ended_unix_ms: v.ended_unix_ms,
            began_unix_ms: v.began_unix_ms,
            spent: Some(v.spent.into()),
            promoted: v.placement == Placement::Promoted,
            audits: Some((&v.audits).into()),
            chunk_cost_max_ms: v.chunk_cost_max_ms,
            damage: v.damage.clone(),
        }
    }
}

impl TryFrom<pb::JobRecord> for JobRecord {
    type Error = WireError;
    fn try_from(v: pb::JobRecord) -> Result<Self, WireError> {
        version(v.record_version, VERSION, "record_version")?;
        let tenant: TenantId = parsed(&v.tenant, "tenant")?;
        Ok(Self {
            id: parsed(&v.id, "id")?,
            request: job_request(tenant, present(v.request, "request")?)?,
            slots_hint: v.slots_hint,
            // one of before there was a bound was planned without
            chunk_cost_max_ms: v.chunk_cost_max_ms,
            placement: if v.promoted { Placement::Promoted } else { Placement::Direct },
            submitted_unix_ms: v.submitted_unix_ms,
            state: state_from_wire(v.state, v.failure)?,
            run: RunNo(v.run),
            version: v.version,
            damage: v.damage.map(|d| text(d, "damage")).transpose()?,
            index: maybe(v.index, "index")?,
            analysis: maybe(v.analysis, "analysis")?,
            plan: maybe(v.plan, "plan")?,
            rebind: maybe(v.rebind, "rebind")?,
            rebinds: v.rebinds,
            unbound_ms: v.unbound_ms,
            unable: many(v.unable, MAX_FEW, "unable")?,
            manifests: many(v.manifests, MAX_PARTS, "manifests")?,
            ended_unix_ms: v.ended_unix_ms,
            began_unix_ms: v.began_unix_ms,
            // a record of before this was counted has none
            spent: maybe(v.spent, "spent")?.unwrap_or_default(),
            // nor has one of before there were audits these
            audits: maybe(v.audits, "audits")?.unwrap_or_default(),
        })
    }
}

impl From<&Audits> for pb::Audits {
    fn from(v: &Audits) -> Self {
        Self {
            files: v.files,
            by_another: v.by_another,
            caught: v.caught.iter().map(Into::into).collect(),
            unswept: v.unswept,
            unheard_ms: v.unheard_ms,
            sound: v.sound,
        }
    }
}

impl TryFrom<pb::Audits> for Audits {
    type Error = WireError;
    fn try_from(v: pb::Audits) -> Result<Self, WireError> {
        Ok(Self {
            files: v.files,
            by_another: v.by_another,
            caught: many(v.caught, MAX_FEW, "caught")?,
            unswept: v.unswept,
            unheard_ms: v.unheard_ms,
            sound: v.sound,
        })
    }
}

impl From<&Caught> for pb::Caught {
    fn from(v: &Caught) -> Self {
        Self { worker: v.worker.to_string(), what: v.what.clone() }
    }
}

impl TryFrom<pb::Caught> for Caught {
    type Error = WireError;
    fn try_from(v: pb::Caught) -> Result<Self, WireError> {
        Ok(Self { worker: parsed(&v.worker, "worker")?, what: text(v.what, "what")? })
    }
}

impl From<&PlanRef> for pb::PlanRef {
    fn from(v: &PlanRef) -> Self {
        Self {
            revision: v.revision,
            object: Some((&v.object).into()),
            chunks: v.chunks,
            media_ms: v.media_ms,
            rungs: v.rungs.clone(),
            why: v.why.clone(),
        }
    }
}

impl TryFrom<pb::PlanRef> for PlanRef {
    type Error = WireError;
    fn try_from(v: pb::PlanRef) -> Result<Self, WireError> {
        Ok(Self {
            revision: v.revision,
            object: need(v.object, "object")?,
            chunks: v.chunks,
            media_ms: v.media_ms,
            rungs: texts(v.rungs, "rungs")?,
            why: v.why.map(|w| text(w, "why")).transpose()?,
        })
    }
}

impl From<&Rebind> for pb::Rebind {
    fn from(v: &Rebind) -> Self {
        Self { revision: v.revision, rungs: v.rungs.0, found: v.found.as_ref().map(Into::into) }
    }
}

impl TryFrom<pb::Rebind> for Rebind {
    type Error = WireError;
    fn try_from(v: pb::Rebind) -> Result<Self, WireError> {
        Ok(Self { revision: v.revision, rungs: RungSet(v.rungs), found: maybe(v.found, "found")? })
    }
}

impl From<&FoundBinding> for pb::FoundBinding {
    fn from(v: &FoundBinding) -> Self {
        Self {
            analysis: Some((&v.analysis).into()),
            fingerprint: v.fingerprint.map(|f| f.0.0.to_vec()),
            ffmpeg_build: v.ffmpeg_build.clone(),
        }
    }
}

impl TryFrom<pb::FoundBinding> for FoundBinding {
    type Error = WireError;
    fn try_from(v: pb::FoundBinding) -> Result<Self, WireError> {
        Ok(Self {
            analysis: need(v.analysis, "analysis")?,
            fingerprint: v.fingerprint.map(|f| digest(&f, "fingerprint").map(Fingerprint)).transpose()?,
            ffmpeg_build: text(v.ffmpeg_build, "ffmpeg_build")?,
        })
    }
}

impl From<&Unable> for pb::Unable {
    fn from(v: &Unable) -> Self {
        Self { fingerprint: v.fingerprint.0.0.to_vec(), rungs: v.rungs.0 }
    }
}

impl TryFrom<pb::Unable> for Unable {
    type Error = WireError;
    fn try_from(v: pb::Unable) -> Result<Self, WireError> {
        let fingerprint = Fingerprint(digest(&v.fingerprint, "fingerprint")?);
        Ok(Self { fingerprint, rungs: RungSet(v.rungs) })
    }
}

impl From<&ManifestRef> for pb::ManifestRef {
    fn from(v: &ManifestRef) -> Self {
        Self { name: v.name.clone(), bytes: v.bytes, sha256: v.sha256.0.to_vec() }
    }
}

impl TryFrom<pb::ManifestRef> for ManifestRef {
    type Error = WireError;
    fn try_from(v: pb::ManifestRef) -> Result<Self, WireError> {
        Ok(Self { name: text(v.name, "name")?, bytes: v.bytes, sha256: digest(&v.sha256, "sha256")? })
    }
}

impl From<&CommitRecord> for pb::CommitRecord {
    fn from(v: &CommitRecord) -> Self {
        Self {
            record_version: VERSION,
            job: v.job.to_string(),
            spec: v.spec.0.0.to_vec(),
            attempt: Some(v.attempt.into()),
            worker: v.worker.to_string(),
            report: Some((&v.report).into()),
        }
    }
}

impl TryFrom<pb::CommitRecord> for CommitRecord {
    type Error = WireError;
    fn try_from(v: pb::CommitRecord) -> Result<Self, WireError> {
        version(v.record_version, VERSION, "record_version")?;
        Ok(Self {
            job: parsed(&v.job, "job")?,
            spec: spec_id(&v.spec, "spec")?,
            attempt: need(v.attempt, "attempt")?,
            worker: parsed(&v.worker, "worker")?,
            report: need(v.report, "report")?,
        })
    }
}

impl From<&FaultRecord> for pb::FaultRecord {
    fn from(v: &FaultRecord) -> Self {
        Self {
            record_version: VERSION,
            job: v.job.to_string(),
            spec: v.spec.0.0.to_vec(),
            faults: v.faults,
            losses: v.losses,
            workers: v.workers.iter().map(ToString::to_string).collect(),
            last: v.last.as_ref().map(Into::into),
            failed: v.failed,
        }
    }
}

impl TryFrom<pb::FaultRecord> for FaultRecord {
    type Error = WireError;
    fn try_from(v: pb::FaultRecord) -> Result<Self, WireError> {
        version(v.record_version, VERSION, "record_version")?;
        bounded(v.workers.len(), MAX_FEW, "workers")?;
        Ok(Self {
            job: parsed(&v.job, "job")?,
            spec: spec_id(&v.spec, "spec")?,
            faults: v.faults,
            losses: v.losses,
            workers: v.workers.iter().map(|w| parsed(w, "workers")).collect::<Result<_, _>>()?,
            last: maybe(v.last, "last")?,
            failed: v.failed,
        })
    }
}

impl From<&IdempotencyRecord> for pb::IdempotencyRecord {
    fn from(v: &IdempotencyRecord) -> Self {
        Self {
            record_version: VERSION,
            tenant: v.tenant.to_string(),
            key: v.key.to_string(),
            request: v.request.0.to_vec(),
            job: v.job.to_string(),
            submitted_unix_ms: v.submitted_unix_ms,
        }
    }
}

impl TryFrom<pb::IdempotencyRecord> for IdempotencyRecord {
    type Error = WireError;
    fn try_from(v: pb::IdempotencyRecord) -> Result<Self, WireError> {
        version(v.record_version, VERSION, "record_version")?;
        Ok(Self {
            tenant: parsed(&v.tenant, "tenant")?,
            key: parsed(&v.key, "key")?,
            request: digest(&v.request, "request")?,
            job: parsed(&v.job, "job")?,
            submitted_unix_ms: v.submitted_unix_ms,
        })
    }
}

impl From<&ArchiveRecord> for pb::ArchiveRecord {
    fn from(v: &ArchiveRecord) -> Self {
        Self { record_version: VERSION, job: Some((&v.job).into()), archived_unix_ms: v.archived_unix_ms }
    }
}

impl TryFrom<pb::ArchiveRecord> for ArchiveRecord {
    type Error = WireError;
    fn try_from(v: pb::ArchiveRecord) -> Result<Self, WireError> {
        version(v.record_version, VERSION, "record_version")?;
        Ok(Self { job: need(v.job, "job")?, archived_unix_ms: v.archived_unix_ms })
    }
}

impl From<&OutsideRecord> for pb::OutsideRecord {
    fn from(v: &OutsideRecord) -> Self {
        Self { record_version: VERSION, term: v.term.0 }
    }
}

impl TryFrom<pb::OutsideRecord> for OutsideRecord {
    type Error = WireError;
    fn try_from(v: pb::OutsideRecord) -> Result<Self, WireError> {
        version(v.record_version, VERSION, "record_version")?;
        Ok(Self { term: FencingTerm(v.term) })
    }
}

impl From<&WorkerRecord> for pb::WorkerRecord {
    fn from(v: &WorkerRecord) -> Self {
        Self {
            record_version: VERSION,
            worker: v.worker.to_string(),
            secret: v.secret.0.to_vec(),
            enrolled_unix_ms: v.enrolled_unix_ms,
            expires_unix_ms: v.expires_unix_ms,
        }
    }
}

impl TryFrom<pb::WorkerRecord> for WorkerRecord {
    type Error = WireError;
    fn try_from(v: pb::WorkerRecord) -> Result<Self, WireError> {
        version(v.record_version, VERSION, "record_version")?;
        Ok(Self {
            worker: parsed(&v.worker, "worker")?,
            secret: digest(&v.secret, "secret")?,
            enrolled_unix_ms: v.enrolled_unix_ms,
            expires_unix_ms: v.expires_unix_ms,
        })
    }
}

impl From<&LeaderRecord> for pb::LeaderRecord {
    fn from(v: &LeaderRecord) -> Self {
        Self { record_version: VERSION, term: v.term.0, address: v.address.clone() }
    }
}

impl TryFrom<pb::LeaderRecord> for LeaderRecord {
    type Error = WireError;
    fn try_from(v: pb::LeaderRecord) -> Result<Self, WireError> {
        version(v.record_version, VERSION, "record_version")?;
        Ok(Self { term: FencingTerm(v.term), address: text(v.address, "address")? })
    }
}
