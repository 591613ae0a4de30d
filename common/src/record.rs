//! What the state store holds, as domain values: one record type per key family. Their stored form is
//! `proto/proto/reelmill/store/v1/store.proto`.
//!
//! Who may write: only the leader. Values are absolute, never increments, so that writing the same batch again
//! changes nothing.

use crate::audit::Audits;
use crate::hash::Sha256;
use crate::ids::{
    AttemptId, FencingTerm, Fingerprint, IdempotencyKey, JobId, RunNo, SpecId, TenantId, WorkerId,
};
use crate::job::{JobRequest, JobState};
use crate::keys::ObjectKey;
use crate::outcome::{AttemptCost, Fault};
use crate::plan::{RungSet, Sizing};
use crate::spec::IndexSpec;

/// An object and the proof of its content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectRef {
    /// Key within the job's private area.
    pub key: ObjectKey,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the content.
    pub sha256: Sha256,
}

/// How the media that attempts make comes to lie in the package.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Placement {
    /// Each file is created at its final name, which the package's store lets happen once.
    #[default]
    Direct,
    /// The store would let a second writer overwrite: every attempt writes below a name of its own in the private area,
    /// and publishing copies what was committed to its final name, within the store.
    Promoted,
}

/// `jobs/<id>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JobRecord {
    /// The job.
    pub id: JobId,
    /// What was asked for.
    pub request: JobRequest,
    /// Slots the cluster had at Submit: fixed, so that replanning gives the same plan.
    pub slots_hint: u32,
    /// What a chunk may cost at most, predicted slot-milliseconds: fixed with the index, just before anything is planned.
    /// `None`: no bound, because no other tenant was there.
    pub chunk_cost_max_ms: Option<u64>,
    /// How attempts' media comes to lie in the package: fixed at Submit, so that every leader and worker does the same.
    pub placement: Placement,
    /// Wall clock at Submit, milliseconds since the Unix epoch: shown and retained by, never decided with.
    pub submitted_unix_ms: u64,
    /// Where in its life.
    pub state: JobState,
    /// Which run.
    pub run: RunNo,
    /// Grows with every write of this record.
    pub version: u64,
    /// What was said of the source when its decoder showed other frames than the index promised, twice. From then on it is
    /// indexed by what the decoder shows.
    pub damage: Option<String>,
    /// The source index, once made.
    pub index: Option<ObjectRef>,
    /// The analysis, once made.
    pub analysis: Option<ObjectRef>,
    /// The current plan revision, once made.
    pub plan: Option<PlanRef>,
    /// The next one, while it is being made.
    pub rebind: Option<Rebind>,
    /// How often that was begun.
    pub rebinds: u32,
    /// For how long nobody who was there has given what its rungs are bound to, milliseconds; counted in whole parts of the
    /// time after which they are bound anew, so that a new leader need not begin at nothing. 0 while somebody does.
    pub unbound_ms: u64,
    /// Encoder builds that do not give what the current revision is bound to, the last found last.
    pub unable: Vec<Unable>,
    /// Manifests and their hashes, from Publishing on.
    pub manifests: Vec<ManifestRef>,
    /// Wall clock when its present run began to encode, milliseconds since the Unix epoch: shown, never decided with.
    pub began_unix_ms: Option<u64>,
    /// Wall clock when it became terminal, milliseconds since the Unix epoch.
    pub ended_unix_ms: Option<u64>,
    /// What was used up besides the chunks that are committed (their reports tell it): index, analysis, attempts that
    /// failed or were lost, of all runs. Of a lost one, as far as was heard; of one that a leader ended and did not
    /// live to write down, nothing.
    pub spent: AttemptCost,
    /// What its audits have come to.
    pub audits: Audits,
}

impl JobRecord {
    /// What its plan is made for.
    pub fn sizing(&self) -> Sizing {
        Sizing { slots_hint: self.slots_hint, chunk_cost_max_ms: self.chunk_cost_max_ms }
    }

    /// Its Index item. Salted with the job: two jobs never share an index by accident.
    pub fn index_spec(&self) -> IndexSpec {
        IndexSpec {
            location: self.request.source.clone(),
            salt: self.id.as_str().to_owned(),
            decode: self.damage.is_some(),
        }
    }

    /// How long its present run has encoded for at this wall clock, or did until the job ended, milliseconds; 0 before.
    pub fn elapsed_ms(&self, unix_ms: u64) -> u64 {
        let until = self.ended_unix_ms.unwrap_or(unix_ms);
        self.began_unix_ms.map_or(0, |began| until.saturating_sub(began))
    }
}

/// What is left of a job that was published long ago: an object in its private area, instead of `jobs/<id>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArchiveRecord {
    /// The job as it was; Published.
    pub job: JobRecord,
    /// Wall clock when it was archived, milliseconds since the Unix epoch: shown, never decided with.
    pub archived_unix_ms: u64,
}

/// The current plan of a job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanRef {
    /// Its revision.
    pub revision: u32,
    /// The stored plan.
    pub object: ObjectRef,
    /// How many chunks it has.
    pub chunks: u32,
    /// Duration of the film in milliseconds, for showing.
    pub media_ms: u64,
    /// Names of its video renditions, in their order: for people.
    pub rungs: Vec<String>,
    /// Why it is not the first: for people.
    pub why: Option<String>,
}

/// A revision of the plan on its way: nobody could make what some rungs are bound to, so they are bound anew. Or, without
/// rungs, what somebody made of a revised plan, who was caught, is planned anew: chunks of before a revision hold rungs as
/// they were bound then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rebind {
    /// The revision to come.
    pub revision: u32,
    /// The rungs that are bound anew; none where only chunks are planned anew.
    pub rungs: RungSet,
    /// What a worker finds for them, once it is found.
    pub found: Option<FoundBinding>,
}

/// An analysis for a revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundBinding {
    /// What was found.
    pub analysis: ObjectRef,
    /// By which encoder build.
    pub fingerprint: Option<Fingerprint>,
    /// First line of its `ffmpeg -version`: for people.
    pub ffmpeg_build: String,
}

/// An encoder build that was given a spec with these rungs and made another decoder configuration than one of them is
/// bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unable {
    /// The build.
    pub fingerprint: Fingerprint,
    /// The spec's rungs: it gives at least one of them otherwise.
    pub rungs: RungSet,
}

/// A manifest as it will be, or was, written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ManifestRef {
    /// Path within the package.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the content.
    pub sha256: Sha256,
}

/// `commits/<job>/<spec>`: an attempt's output is the chunk's output. Absent = open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitRecord {
    /// The job.
    pub job: JobId,
    /// The spec.
    pub spec: SpecId,
    /// The attempt that won.
    pub attempt: AttemptId,
    /// Its worker.
    pub worker: WorkerId,
    /// Its report.
    pub report: ObjectRef,
}

/// `faults/<job>/<spec>`: budgets used, and the verdict when they are used up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FaultRecord {
    /// The job.
    pub job: JobId,
    /// The spec.
    pub spec: SpecId,
    /// Encoder failures and wrong outputs so far, over all runs since the last Retry.
    pub faults: u32,
    /// Workers that vanished while running it.
    pub losses: u32,
    /// Workers it failed on.
    pub workers: Vec<WorkerId>,
    /// The last fault.
    pub last: Option<Fault>,
    /// Its budget is used up: the chunk is `Failed`.
    pub failed: bool,
}

/// `idem/<tenant>/<key>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotencyRecord {
    /// Scope.
    pub tenant: TenantId,
    /// The client's key.
    pub key: IdempotencyKey,
    /// Hash of the request it stands for.
    pub request: Sha256,
    /// The job it made.
    pub job: JobId,
    /// Wall clock at Submit, for the 30 days it is kept.
    pub submitted_unix_ms: u64,
}

/// `workers/<name>`: a worker that joined with a credential of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerRecord {
    /// Whose.
    pub worker: WorkerId,
    /// Hash of its credential.
    pub secret: Sha256,
    /// Wall clock when it joined or last renewed, milliseconds since the Unix epoch.
    pub enrolled_unix_ms: u64,
    /// Wall clock when the credential ends.
    pub expires_unix_ms: u64,
}

/// `leader`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeaderRecord {
    /// The term.
    pub term: FencingTerm,
    /// Where clients and workers reach the leader.
    pub address: String,
}

/// `outside`: a worker that does not share the leader's process was given work, and may outlive that process. Absent: no
/// worker can have outlived an earlier leader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutsideRecord {
    /// The term in which it first came.
    pub term: FencingTerm,
}

/// The key families of the state store; keys are built and parsed here only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum StateKey {
    /// `leader`
    Leader,
    /// `term`: the embedded store's counter.
    Term,
    /// `outside`
    Outside,
    /// `jobs/<id>`
    Job(JobId),
    /// `commits/<id>/<spec>`
    Commit(JobId, SpecId),
    /// `faults/<id>/<spec>`
    Fault(JobId, SpecId),
    /// `idem/<tenant>/<key>`
    Idempotency(TenantId, IdempotencyKey),
    /// `outbox/<id>`
    Outbox(JobId),
    /// `uploads/<id>`
    Upload(JobId),
    /// `workers/<name>`
    Worker(WorkerId),
}

impl StateKey {
    /// The key as stored.
    pub fn to_text(&self) -> String {
        match self {
            Self::Leader => "leader".to_owned(),
            Self::Term => "term".to_owned(),
            Self::Outside => "outside".to_owned(),
            Self::Job(j) => format!("jobs/{j}"),
            Self::Commit(j, s) => format!("commits/{j}/{s}"),
            Self::Fault(j, s) => format!("faults/{j}/{s}"),
            Self::Idempotency(t, k) => format!("idem/{t}/{k}"),
            Self::Outbox(j) => format!("outbox/{j}"),
            Self::Upload(j) => format!("uploads/{j}"),
            Self::Worker(w) => format!("workers/{w}"),
        }
    }

    /// A stored key; `None` for a family this version does not know.
    pub fn parse(text: &str) -> Option<Self> {
        let spec = |s: &str| Some(SpecId(Sha256::from_hex(s)?));
        let mut parts = text.split('/');
        let (family, a, b, end) = (parts.next()?, parts.next(), parts.next(), parts.next());
        if end.is_some() {
            return None;
        }
        Some(match (family, a, b) {
            ("leader", None, None) => Self::Leader,
            ("term", None, None) => Self::Term,
            ("outside", None, None) => Self::Outside,
            ("jobs", Some(j), None) => Self::Job(JobId::parse(j).ok()?),
            ("commits", Some(j), Some(s)) => Self::Commit(JobId::parse(j).ok()?, spec(s)?),
            ("faults", Some(j), Some(s)) => Self::Fault(JobId::parse(j).ok()?, spec(s)?),
            ("idem", Some(t), Some(k)) => {
                Self::Idempotency(TenantId::parse(t).ok()?, IdempotencyKey::parse(k).ok()?)
            }
            ("outbox", Some(j), None) => Self::Outbox(JobId::parse(j).ok()?),
            ("uploads", Some(j), None) => Self::Upload(JobId::parse(j).ok()?),
            ("workers", Some(w), None) => Self::Worker(WorkerId::parse(w).ok()?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_keys_round_trip() {
        let job = JobId::parse("0192f0c1-aa").expect("id");
        let spec = SpecId(Sha256::of(b"x"));
        for key in [
            StateKey::Leader,
            StateKey::Term,
            StateKey::Outside,
            StateKey::Job(job.clone()),
            StateKey::Commit(job.clone(), spec),
            StateKey::Fault(job.clone(), spec),
            StateKey::Idempotency(TenantId::local(), IdempotencyKey::parse("k").expect("key")),
            StateKey::Outbox(job.clone()),
            StateKey::Upload(job),
            StateKey::Worker(WorkerId::parse("gpu-1").expect("name")),
        ] {
            assert_eq!(StateKey::parse(&key.to_text()), Some(key));
        }
        assert_eq!(StateKey::parse("jobs/../x"), None);
        assert_eq!(StateKey::parse("jobs/a/b/c"), None);
    }
}
