//! Stored objects and records, to bytes and back: the only door to the stored formats.
//!
//! Encoding cannot fail. Decoding refuses what is too large, of another version, or not what its key says.
//! The bytes of equal values are equal (fields in order, maps sorted), so that a hash of them is a hash of the value.

use crate::convert::plan_parts;
use crate::store::v1 as pb;
use crate::wire::{MAX_MESSAGE_BYTES, MAX_PARTS, Problem, WireError, bounded, many, present, version};
use prost::Message;
use reelmill_common::Sha256;
use reelmill_common::audit::AuditReport;
use reelmill_common::index::SourceIndex;
use reelmill_common::job::JobRequest;
use reelmill_common::outcome::{AnalyseReport, ChunkReport};
use reelmill_common::plan::Plan;
use reelmill_common::record::{
    ArchiveRecord, CommitRecord, FaultRecord, IdempotencyRecord, JobRecord, LeaderRecord, OutsideRecord,
    StateKey, WorkerRecord,
};

/// Version of stored analyses, chunk reports, audits and folded commits.
const REPORT_VERSION: u32 = 1;

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, WireError> {
    bounded(bytes.len(), MAX_MESSAGE_BYTES, "message")?;
    M::decode(bytes).map_err(|e| WireError::new("message", Problem::Malformed(e.to_string())))
}

/// A source index as stored.
pub fn encode_index(v: &SourceIndex) -> Vec<u8> {
    pb::SourceIndex::from(v).encode_to_vec()
}

/// A source index from its stored form.
pub fn decode_index(bytes: &[u8]) -> Result<SourceIndex, WireError> {
    decode::<pb::SourceIndex>(bytes)?.try_into()
}

/// A plan as stored.
///
/// Chunk by chunk: fields follow each other in the order of their numbers, so the parts of a message behind each other are
/// the message. As a whole it would be in memory once more, with everything that chunks share as often as there are chunks.
pub fn encode_plan(v: &Plan) -> Vec<u8> {
    let (head, report) = plan_parts(v);
    let mut bytes = head.encode_to_vec();
    for chunk in &v.chunks {
        bytes.extend(pb::Plan { chunks: vec![chunk.into()], ..Default::default() }.encode_to_vec());
    }
    bytes.extend(report.encode_to_vec());
    bytes
}

/// A plan from its stored form.
pub fn decode_plan(bytes: &[u8]) -> Result<Plan, WireError> {
    decode::<pb::Plan>(bytes)?.try_into()
}

/// An analysis as stored.
pub fn encode_analysis(v: &AnalyseReport) -> Vec<u8> {
    pb::AnalyseReport { version: REPORT_VERSION, analysis: Some(v.into()) }.encode_to_vec()
}

/// An analysis from its stored form.
pub fn decode_analysis(bytes: &[u8]) -> Result<AnalyseReport, WireError> {
    let v: pb::AnalyseReport = decode(bytes)?;
    version(v.version, REPORT_VERSION, "version")?;
    present(v.analysis, "analysis")?.try_into()
}

/// An audit's report as stored.
pub fn encode_audit(v: &AuditReport) -> Vec<u8> {
    pb::AuditReport { version: REPORT_VERSION, audit: Some(v.into()) }.encode_to_vec()
}

/// A chunk report as stored.
pub fn encode_chunk_report(v: &ChunkReport) -> Vec<u8> {
    pb::ChunkReport { version: REPORT_VERSION, report: Some(v.into()) }.encode_to_vec()
}

/// A chunk report from its stored form.
pub fn decode_chunk_report(bytes: &[u8]) -> Result<ChunkReport, WireError> {
    let v: pb::ChunkReport = decode(bytes)?;
    version(v.version, REPORT_VERSION, "version")?;
    present(v.report, "report")?.try_into()
}

/// The folded commits of a published job as stored.
pub fn encode_commits(v: &[CommitRecord]) -> Vec<u8> {
    pb::CommitSet { version: REPORT_VERSION, commits: v.iter().map(Into::into).collect() }.encode_to_vec()
}

/// Folded commits from their stored form.
pub fn decode_commits(bytes: &[u8]) -> Result<Vec<CommitRecord>, WireError> {
    let v: pb::CommitSet = decode(bytes)?;
    version(v.version, REPORT_VERSION, "version")?;
    many(v.commits, MAX_PARTS, "commits")
}

/// A value of the state store, by key family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// Of `jobs/…`.
    Job(Box<JobRecord>),
    /// Of `commits/…`.
    Commit(CommitRecord),
    /// Of `faults/…`.
    Fault(FaultRecord),
    /// Of `idem/…`.
    Idempotency(IdempotencyRecord),
    /// Of `outside`.
    Outside(OutsideRecord),
    /// Of `workers/…`.
    Worker(WorkerRecord),
    /// Of `leader`.
    Leader(LeaderRecord),
}

impl Record {
    /// The key it is stored under.
    pub fn key(&self) -> StateKey {
        match self {
            Self::Job(v) => StateKey::Job(v.id.clone()),
            Self::Commit(v) => StateKey::Commit(v.job.clone(), v.spec),
            Self::Fault(v) => StateKey::Fault(v.job.clone(), v.spec),
            Self::Idempotency(v) => StateKey::Idempotency(v.tenant.clone(), v.key.clone()),
            Self::Outside(_) => StateKey::Outside,
            Self::Worker(v) => StateKey::Worker(v.worker.clone()),
            Self::Leader(_) => StateKey::Leader,
        }
    }
}

/// A record as stored.
pub fn encode_record(v: &Record) -> Vec<u8> {
    match v {
        Record::Job(v) => encode_job(v),
        Record::Commit(v) => encode_commit(v),
        Record::Fault(v) => encode_fault(v),
        Record::Idempotency(v) => encode_idempotency(v),
        Record::Outside(v) => encode_outside(v),
        Record::Worker(v) => encode_worker(v),
        Record::Leader(v) => encode_leader(v),
    }
}

/// The record stored under `key`; refuses one that names another key.
pub fn decode_record(key: &StateKey, bytes: &[u8]) -> Result<Record, WireError> {
    let record = match key {
        StateKey::Job(_) => Record::Job(Box::new(decode_job(bytes)?)),
        StateKey::Commit(..) => Record::Commit(decode_commit(bytes)?),
        StateKey::Fault(..) => Record::Fault(decode_fault(bytes)?),
        StateKey::Idempotency(..) => Record::Idempotency(decode_idempotency(bytes)?),
        StateKey::Outside => Record::Outside(decode_outside(bytes)?),
        StateKey::Worker(_) => Record::Worker(decode_worker(bytes)?),
        StateKey::Leader => Record::Leader(decode_leader(bytes)?),
        StateKey::Term | StateKey::Outbox(_) | StateKey::Upload(_) => {
            return Err(WireError::invalid("key", format_args!("{} holds no record", key.to_text())));
        }
    };
    if record.key() == *key {
        Ok(record)
    } else {
        let (at, says) = (key.to_text(), record.key().to_text());
        Err(WireError::invalid("key", format_args!("the record under {at} says that it is {says}")))
    }
}

/// A job record as stored.
pub fn encode_job(v: &JobRecord) -> Vec<u8> {
    pb::JobRecord::from(v).encode_to_vec()
}

/// A job record from its stored form.
pub fn decode_job(bytes: &[u8]) -> Result<JobRecord, WireError> {
    decode::<pb::JobRecord>(bytes)?.try_into()
}

/// A commit record as stored.
pub fn encode_commit(v: &CommitRecord) -> Vec<u8> {
    pb::CommitRecord::from(v).encode_to_vec()
}

/// A commit record from its stored form.
pub fn decode_commit(bytes: &[u8]) -> Result<CommitRecord, WireError> {
    decode::<pb::CommitRecord>(bytes)?.try_into()
}

/// A fault record as stored.
pub fn encode_fault(v: &FaultRecord) -> Vec<u8> {
    pb::FaultRecord::from(v).encode_to_vec()
}

/// A fault record from its stored form.
pub fn decode_fault(bytes: &[u8]) -> Result<FaultRecord, WireError> {
    decode::<pb::FaultRecord>(bytes)?.try_into()
}

/// An idempotency record as stored.
pub fn encode_idempotency(v: &IdempotencyRecord) -> Vec<u8> {
    pb::IdempotencyRecord::from(v).encode_to_vec()
}

/// An idempotency record from its stored form.
pub fn decode_idempotency(bytes: &[u8]) -> Result<IdempotencyRecord, WireError> {
    decode::<pb::IdempotencyRecord>(bytes)?.try_into()
}

/// An archived record as stored.
pub fn encode_archive(v: &ArchiveRecord) -> Vec<u8> {
    pb::ArchiveRecord::from(v).encode_to_vec()
}

/// An archived record from its stored form.
pub fn decode_archive(bytes: &[u8]) -> Result<ArchiveRecord, WireError> {
    decode::<pb::ArchiveRecord>(bytes)?.try_into()
}

/// An outside record as stored.
pub fn encode_outside(v: &OutsideRecord) -> Vec<u8> {
    pb::OutsideRecord::from(v).encode_to_vec()
}

/// An outside record from its stored form.
pub fn decode_outside(bytes: &[u8]) -> Result<OutsideRecord, WireError> {
    decode::<pb::OutsideRecord>(bytes)?.try_into()
}

/// A worker record as stored.
pub fn encode_worker(v: &WorkerRecord) -> Vec<u8> {
    pb::WorkerRecord::from(v).encode_to_vec()
}

/// A worker record from its stored form.
pub fn decode_worker(bytes: &[u8]) -> Result<WorkerRecord, WireError> {
    decode::<pb::WorkerRecord>(bytes)?.try_into()
}

/// A leader record as stored.
pub fn encode_leader(v: &LeaderRecord) -> Vec<u8> {
    pb::LeaderRecord::from(v).encode_to_vec()
}

/// A leader record from its stored form.
pub fn decode_leader(bytes: &[u8]) -> Result<LeaderRecord, WireError> {
    decode::<pb::LeaderRecord>(bytes)?.try_into()
}

/// What an idempotency key stands for: the hash of everything asked for under it, but the key itself.
pub fn request_hash(v: &JobRequest) -> Sha256 {
    let keyless = JobRequest { idempotency_key: None, ..v.clone() };
    Sha256::of(&crate::jobs::v1::JobRequest::from(&keyless).encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::capability::Needs;
    use reelmill_common::index::{Demuxer, SourceId};
    use reelmill_common::ladder::{AudioMix, AudioSettings};
    use reelmill_common::plan::{PlanReport, PlannedChunk};
    use reelmill_common::spec::{AudioChunk, ChunkMedia, ChunkSpec, ExactTime};
    use reelmill_common::{Ticks, Timebase};

    #[test]
    fn the_parts_of_a_plan_behind_each_other_are_its_stored_form() {
        let timebase = Timebase::new(1, 48_000).expect("a timebase");
        let (zero, source) = (ExactTime { ticks: Ticks(-7), timebase }, SourceId(Sha256::of(b"film")));
        let settings =
            AudioSettings { sample_rate: 48_000, channels: 2, bit_rate_kbps: 128, mix: AudioMix::Keep };
        let chunk = |number| {
            let chunk = AudioChunk {
                number,
                stream: number,
                timebase,
                zero,
                folder: "sound".to_owned(),
                settings: settings.clone(),
                total_samples: 1_024,
                packets: (0, 1),
                segments: Vec::new(),
                asc: vec![1],
                measure_loudness: false,
                range: None,
            };
            let spec = ChunkSpec { source, demuxer: Demuxer::Mov, media: ChunkMedia::Audio(chunk) };
            PlannedChunk { spec, cost_ms: 1, needs: Needs { family: None, memory_mib: 1 } }
        };
        let report = PlanReport { decisions: vec!["cut by cost".to_owned()], ..PlanReport::default() };
        let plan = Plan {
            revision: 2,
            parent: Some(1),
            source,
            zero,
            timebase,
            duration: 1_024,
            grid: vec![0, 1_024],
            video: Vec::new(),
            audio: Vec::new(),
            chunks: (0..3).map(chunk).collect(),
            report,
        };
        let stored = encode_plan(&plan);
        let message: pb::Plan = decode(&stored).expect("a message");
        assert_eq!(message.encode_to_vec(), stored, "as if it had been written as a whole");
        assert_eq!(Plan::try_from(message), Ok(plan));
    }
}
