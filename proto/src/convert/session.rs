//! The worker session's messages.

use super::basic::spec_id;
use super::outcome::{NamedOutcome, outcome_report};
use crate::wire::{
    MAX_FEW, MAX_PARTS, WireEnum as _, WireError, bounded, digest, many, maybe, narrow, need, one, parsed,
    present, text, wire_enum,
};
use crate::worker::v1 as pb;
use reelmill_common::capability::Capability;
use reelmill_common::outcome::Verdict;
use reelmill_common::session::{
    AttemptProgress, FromWorker, Hello, Lease, NamedFile, ReadGrant, SignedFile, SignedGrant, Termed,
    ToWorker, WriteGrant,
};
use reelmill_common::{AttemptId, FencingTerm, JobId, Secret, SpecId};
use std::fmt;

/// Most headers of a signed request.
const MAX_HEADERS: usize = 32;

wire_enum!(pb::Verdict, Verdict, { Won, Lost, Gone });

impl From<&FromWorker> for pb::FromWorker {
    fn from(v: &FromWorker) -> Self {
        use pb::from_worker::Message;
        let message = match v {
            FromWorker::Hello(hello) => Message::Hello(Box::new(hello.into())),
            FromWorker::Lease { slots } => Message::Lease(pb::LeaseRequest { slots: *slots }),
            FromWorker::Heartbeat { sequence, running } => Message::Heartbeat(pb::Heartbeat {
                sequence: *sequence,
                running: running.iter().map(Into::into).collect(),
            }),
            FromWorker::Grant { attempt, files } => Message::Grant(pb::GrantRequest {
                attempt: Some((*attempt).into()),
                files: files.iter().map(Into::into).collect(),
            }),
            FromWorker::Outcome { attempt, job, spec, outcome } => {
                Message::Outcome(Box::new(outcome_report(*attempt, job, *spec, outcome)))
            }
            FromWorker::Draining => Message::Draining(pb::Draining {}),
        };
        Self { message: Some(message) }
    }
}

impl TryFrom<pb::FromWorker> for FromWorker {
    type Error = WireError;
    fn try_from(v: pb::FromWorker) -> Result<Self, WireError> {
        use pb::from_worker::Message;
        Ok(match present(v.message, "message")? {
            Message::Hello(m) => Self::Hello(one(*m, "hello")?),
            Message::Lease(m) => Self::Lease { slots: m.slots },
            Message::Heartbeat(m) => Self::Heartbeat {
                sequence: m.sequence,
                running: many(m.running, MAX_FEW, "heartbeat.running")?,
            },
            Message::Grant(m) => Self::Grant {
                attempt: need(m.attempt, "grant.attempt")?,
                files: many(m.files, MAX_PARTS, "grant.files")?,
            },
            Message::Outcome(m) => {
                let (attempt, job, spec, outcome): NamedOutcome = one(*m, "outcome")?;
                Self::Outcome { attempt, job, spec, outcome: Box::new(outcome) }
            }
            Message::Draining(pb::Draining {}) => Self::Draining,
        })
    }
}

impl From<&Hello> for pb::Hello {
    fn from(v: &Hello) -> Self {
        let held = |(attempt, job, spec): &(AttemptId, JobId, SpecId)| pb::HeldAttempt {
            attempt: Some((*attempt).into()),
            job: job.to_string(),
            spec: spec.0.0.to_vec(),
        };
        Self {
            worker: v.worker.to_string(),
            boot: v.boot.to_string(),
            highest_term: v.highest_term.0,
            capability: Some((&v.capability).into()),
            running: v.running.iter().map(held).collect(),
            unsettled: v.unsettled.iter().map(|(a, j, s, o)| outcome_report(*a, j, *s, o)).collect(),
        }
    }
}

impl TryFrom<pb::Hello> for Hello {
    type Error = WireError;
    fn try_from(v: pb::Hello) -> Result<Self, WireError> {
        Ok(Self {
            worker: parsed(&v.worker, "worker")?,
            boot: parsed(&v.boot, "boot")?,
            highest_term: FencingTerm(v.highest_term),
            capability: need(v.capability, "capability")?,
            running: many(v.running, MAX_FEW, "running")?,
            unsettled: many(v.unsettled, MAX_FEW, "unsettled")?,
        })
    }
}

impl TryFrom<pb::HeldAttempt> for (AttemptId, JobId, SpecId) {
    type Error = WireError;
    fn try_from(v: pb::HeldAttempt) -> Result<Self, WireError> {
        Ok((need(v.attempt, "attempt")?, parsed(&v.job, "job")?, spec_id(&v.spec, "spec")?))
    }
}

impl From<&Capability> for pb::Capability {
    fn from(v: &Capability) -> Self {
        Self {
            worker: v.worker.to_string(),
            slots: v.slots,
            cores: v.cores,
            memory_mib: v.memory_mib,
            encoders: v.encoders.iter().map(Into::into).collect(),
            ffmpeg_build: v.ffmpeg_build.clone(),
            audits: v.audits,
            audits_sound: v.audits_sound,
        }
    }
}

impl TryFrom<pb::Capability> for Capability {
    type Error = WireError;
    fn try_from(v: pb::Capability) -> Result<Self, WireError> {
        Ok(Self {
            worker: parsed(&v.worker, "worker")?,
            slots: v.slots,
            cores: v.cores,
            memory_mib: v.memory_mib,
            encoders: many(v.encoders, MAX_FEW, "encoders")?,
            ffmpeg_build: text(v.ffmpeg_build, "ffmpeg_build")?,
            audits: v.audits,
            audits_sound: v.audits_sound,
        })
    }
}

impl From<&AttemptProgress> for pb::AttemptProgress {
    fn from(v: &AttemptProgress) -> Self {
        Self { attempt: Some(v.attempt.into()), done: v.done, total: v.total, cost: Some(v.cost.into()) }
    }
}

impl TryFrom<pb::AttemptProgress> for AttemptProgress {
    type Error = WireError;
    fn try_from(v: pb::AttemptProgress) -> Result<Self, WireError> {
        Ok(Self {
            attempt: need(v.attempt, "attempt")?,
            done: v.done,
            total: v.total,
            cost: need(v.cost, "cost")?,
        })
    }
}

impl From<&NamedFile> for pb::NamedFile {
    fn from(v: &NamedFile) -> Self {
        Self { name: v.name.clone(), bytes: v.bytes, sha256: v.sha256.0.to_vec() }
    }
}

impl TryFrom<pb::NamedFile> for NamedFile {
    type Error = WireError;
    fn try_from(v: pb::NamedFile) -> Result<Self, WireError> {
        Ok(Self { name: text(v.name, "name")?, bytes: v.bytes, sha256: digest(&v.sha256, "sha256")? })
    }
}

impl From<&Termed<ToWorker>> for pb::ToWorker {
    fn from(v: &Termed<ToWorker>) -> Self {
        use pb::to_worker::Message;
        let message = match &v.message {
            ToWorker::Welcome { lease_ttl_ms, heartbeat_ms } => {
                Message::Welcome(pb::Welcome { lease_ttl_ms: *lease_ttl_ms, heartbeat_ms: *heartbeat_ms })
            }
            ToWorker::Lease(lease) => Message::Lease(Box::new(lease.as_ref().into())),
            ToWorker::HeartbeatAck { sequence } => {
                Message::HeartbeatAck(pb::HeartbeatAck { sequence: *sequence })
            }
            ToWorker::Granted { attempt, allowed, uploads } => Message::Granted(pb::Granted {
                attempt: Some((*attempt).into()),
                allowed: *allowed,
                uploads: uploads.iter().map(Into::into).collect(),
            }),
            ToWorker::Renewed { sources } => {
                let one = |(attempt, source): &(AttemptId, SignedGrant)| pb::RenewedSource {
                    attempt: Some((*attempt).into()),
                    source: Some(source.into()),
                };
                Message::Renewed(pb::Renewed { sources: sources.iter().map(one).collect() })
            }
            ToWorker::Settled { attempt, verdict } => Message::Settled(pb::Settled {
                attempt: Some((*attempt).into()),
                verdict: pb::Verdict::from(*verdict).into(),
            }),
            ToWorker::Revoke { attempt } => Message::Revoke(pb::Revoke { attempt: Some((*attempt).into()) }),
            ToWorker::Drain { reconnect } => Message::Drain(pb::Drain { reconnect: *reconnect }),
        };
        Self { term: v.term.0, message: Some(message) }
    }
}

impl TryFrom<pb::ToWorker> for Termed<ToWorker> {
    type Error = WireError;
    fn try_from(v: pb::ToWorker) -> Result<Self, WireError> {
        use pb::to_worker::Message;
        let message = match present(v.message, "message")? {
            Message::Welcome(m) => {
                ToWorker::Welcome { lease_ttl_ms: m.lease_ttl_ms, heartbeat_ms: m.heartbeat_ms }
            }
            Message::Lease(m) => ToWorker::Lease(Box::new(one(*m, "lease")?)),
            Message::HeartbeatAck(m) => ToWorker::HeartbeatAck { sequence: m.sequence },
            Message::Granted(m) => ToWorker::Granted {
                attempt: need(m.attempt, "granted.attempt")?,
                allowed: m.allowed,
                uploads: many(m.uploads, MAX_PARTS, "granted.uploads")?,
            },
            Message::Renewed(m) => {
                ToWorker::Renewed { sources: many(m.sources, MAX_FEW, "renewed.sources")? }
            }
            Message::Settled(m) => ToWorker::Settled {
                attempt: need(m.attempt, "settled.attempt")?,
                verdict: Verdict::from_wire(m.verdict, "settled.verdict")?,
            },
            Message::Revoke(m) => ToWorker::Revoke { attempt: need(m.attempt, "revoke.attempt")? },
            Message::Drain(m) => ToWorker::Drain { reconnect: m.reconnect },
        };
        Ok(Self { term: FencingTerm(v.term), message })
    }
}

impl From<&Lease> for pb::Lease {
    fn from(v: &Lease) -> Self {
        Self {
            attempt: Some(v.attempt.into()),
            spec: v.spec.0.0.to_vec(),
            job: v.job.to_string(),
            item: Some((&v.item).into()),
            source: Some((&v.source).into()),
            output: Some((&v.output).into()),
            audited: v.audited.as_ref().map(Into::into),
            decoder_threads: v.decoder_threads.into(),
            alone: v.alone,
        }
    }
}

impl TryFrom<pb::Lease> for Lease {
    type Error = WireError;
    fn try_from(v: pb::Lease) -> Result<Self, WireError> {
        Ok(Self {
            attempt: need(v.attempt, "attempt")?,
            spec: spec_id(&v.spec, "spec")?,
            job: parsed(&v.job, "job")?,
            item: need(v.item, "item")?,
            source: need(v.source, "source")?,
            output: need(v.output, "output")?,
            audited: maybe(v.audited, "audited")?,
            decoder_threads: narrow(v.decoder_threads, "decoder_threads")?,
            alone: v.alone,
        })
    }
}

impl From<&ReadGrant> for pb::ReadGrant {
    fn from(v: &ReadGrant) -> Self {
        Self {
            url: v.url.clone(),
            signed: v.signed.as_ref().map(Into::into),
            bytes: v.bytes,
            version: v.version.clone(),
        }
    }
}

impl TryFrom<pb::ReadGrant> for ReadGrant {
    type Error = WireError;
    fn try_from(v: pb::ReadGrant) -> Result<Self, WireError> {
        Ok(Self {
            url: text(v.url, "url")?,
            signed: maybe(v.signed, "signed")?,
            bytes: v.bytes,
            version: v.version.map(|t| text(t, "version")).transpose()?,
        })
    }
}

impl From<&WriteGrant> for pb::WriteGrant {
    fn from(v: &WriteGrant) -> Self {
        Self { package: v.package.clone(), work: v.work.clone(), own: v.own, signed: v.signed }
    }
}

impl TryFrom<pb::WriteGrant> for WriteGrant {
    type Error = WireError;
    fn try_from(v: pb::WriteGrant) -> Result<Self, WireError> {
        Ok(Self {
            package: text(v.package, "package")?,
            work: text(v.work, "work")?,
            own: v.own,
            signed: v.signed,
        })
    }
}

impl fmt::Debug for pb::SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignedRequest(secret)")
    }
}

impl From<&SignedGrant> for pb::SignedRequest {
    fn from(v: &SignedGrant) -> Self {
        let header =
            |(name, value): &(String, String)| pb::Header { name: name.clone(), value: value.clone() };
        Self {
            url: v.url.reveal().to_owned(),
            headers: v.headers.iter().map(header).collect(),
            valid_ms: v.valid_ms,
        }
    }
}

impl TryFrom<pb::SignedRequest> for SignedGrant {
    type Error = WireError;
    fn try_from(v: pb::SignedRequest) -> Result<Self, WireError> {
        bounded(v.headers.len(), MAX_HEADERS, "headers")?;
        let header = |h: pb::Header| Ok((text(h.name, "headers.name")?, text(h.value, "headers.value")?));
        Ok(Self {
            url: Secret::new(text(v.url, "url")?),
            headers: v.headers.into_iter().map(header).collect::<Result<_, WireError>>()?,
            valid_ms: v.valid_ms,
        })
    }
}

impl From<&SignedFile> for pb::SignedFile {
    fn from(v: &SignedFile) -> Self {
        Self { name: v.name.clone(), put: Some((&v.put).into()), get: Some((&v.get).into()) }
    }
}

impl TryFrom<pb::SignedFile> for SignedFile {
    type Error = WireError;
    fn try_from(v: pb::SignedFile) -> Result<Self, WireError> {
        Ok(Self { name: text(v.name, "name")?, put: need(v.put, "put")?, get: need(v.get, "get")? })
    }
}

impl TryFrom<pb::RenewedSource> for (AttemptId, SignedGrant) {
    type Error = WireError;
    fn try_from(v: pb::RenewedSource) -> Result<Self, WireError> {
        Ok((need(v.attempt, "attempt")?, need(v.source, "source")?))
    }
}
