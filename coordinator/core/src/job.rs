//! A job in the leader's memory: its record as decided, its record as durable, its open work.
//!
//! Who writes what: the record is written by the leader only, at each arrow of
//! [`JobState`](reelmill_common::job::JobState); a chunk's fate is its commit or its fault record.
//!
//! ```text
//!                offer           MakePlan       offer          all committed        manifests written
//! Accepted ---> Indexing ------------> Planned -----> Running --------------> Publishing ---------> Published
//!     |             |                     |              |
//!     `-------------+----------+----------+--------------'  Cancel | a budget used up | a fatal task
//!                              v
//!                     Cancelled | Failed --Retry--> Running (Accepted or Indexing when no plan was made)
//!   Published | Cancelled | Failed --Delete--> Collecting --nothing left--> Collected
//!   Planned | Running --twice: the decoder shows other frames than the index promised--> Indexing, once a job (`damage`)
//! ```

use crate::chunks::Chunks;
use crate::countdown::Countdown;
use crate::voices::Audit;
use crate::work::{SpecRef, TaskId, TaskKind, WorkKind};
use reelmill_common::capability::Needs;
use reelmill_common::job::JobState;
use reelmill_common::plan::{CostClass, RungSet};
use reelmill_common::record::{CommitRecord, FaultRecord, JobRecord};
use reelmill_common::{AttemptId, Fingerprint, JobId, Millis, SpecId, WorkerId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Predicted cost of indexing, slot-milliseconds: index bytes only, for nearly every film.
const INDEX_COST_MS: u64 = 2_000;
/// Memory admitted for indexing, MiB: the sample tables of a ten-hour film.
const INDEX_MEMORY_MIB: u64 = 256;
/// Notes kept for `explain`.
const NOTES_MAX: usize = 8;

/// A task that runs for a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Running {
    pub(crate) id: TaskId,
    pub(crate) kind: TaskKind,
    /// Transient failures so far.
    pub(crate) failures: u32,
}

/// A job in memory.
#[derive(Debug)]
pub(crate) struct Job {
    /// As decided.
    pub(crate) record: JobRecord,
    /// As acknowledged by the store; `None` until the first write is.
    pub(crate) durable: Option<JobRecord>,
    /// Commits that are acknowledged, of the plan's chunks.
    pub(crate) durable_chunks: u32,
    /// Predicted cost of those.
    pub(crate) durable_cost_ms: u64,
    /// Predicted cost of all of the plan's chunks.
    pub(crate) plan_cost_ms: u64,
    /// Commits that are decided and not acknowledged.
    pub(crate) undurable: BTreeSet<SpecId>,
    /// Work for workers in the present stage.
    pub(crate) work: Option<Chunks>,
    pub(crate) commits: BTreeMap<SpecId, CommitRecord>,
    pub(crate) faults: BTreeMap<SpecId, FaultRecord>,
    pub(crate) live: BTreeSet<AttemptId>,
    pub(crate) task: Option<Running>,
    /// Nothing is offered before: a new leader waits for claims of what already runs.
    pub(crate) hold_until: Millis,
    /// From then on no upload of its attempts can land any more, unless it is worked on.
    pub(crate) quiet_at: Millis,
    /// A collected job is told of until then.
    pub(crate) told_until: Millis,
    /// An attempt of it lived in this term.
    pub(crate) was_worked_on: bool,
    /// When the present stage began in this term, and what was done of it then: for the estimate of its end.
    pub(crate) stage_began: (Millis, u64),
    pub(crate) notes: VecDeque<String>,
    /// Fingerprint of the first worker that was offered one of its chunks: the job stays on it while it can.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Who committed a bound chunk last, and when.
    pub(crate) last_maker: Option<(WorkerId, Millis)>,
    /// What was drawn to be looked at again, in this term.
    pub(crate) audits: BTreeMap<SpecId, Audit>,
    /// For how long nobody was there to say whether an accuser is right.
    pub(crate) unheard: Countdown,
}

impl Job {
    pub(crate) fn new(record: JobRecord, now: Millis) -> Self {
        Self {
            unheard: Countdown::resumed(record.audits.unheard_ms),
            record,
            durable: None,
            durable_chunks: 0,
            durable_cost_ms: 0,
            plan_cost_ms: 0,
            undurable: BTreeSet::new(),
            work: None,
            commits: BTreeMap::new(),
            faults: BTreeMap::new(),
            live: BTreeSet::new(),
            task: None,
            hold_until: Millis(0),
            quiet_at: now,
            told_until: now,
            was_worked_on: false,
            stage_began: (now, 0),
            notes: VecDeque::new(),
            fingerprint: None,
            last_maker: None,
            audits: BTreeMap::new(),
        }
    }

    pub(crate) fn id(&self) -> &JobId {
        &self.record.id
    }

    pub(crate) fn state(&self) -> &JobState {
        &self.record.state
    }

    /// May workers still work for it?
    pub(crate) fn is_active(&self) -> bool {
        matches!(
            self.record.state,
            JobState::Accepted | JobState::Indexing | JobState::Planned | JobState::Running
        )
    }

    /// The Index item.
    pub(crate) fn index_spec(&self) -> SpecRef {
        SpecRef {
            id: self.record.index_spec().spec_id(),
            cost_ms: INDEX_COST_MS,
            needs: Needs { family: None, memory_mib: INDEX_MEMORY_MIB },
            rungs: RungSet::NONE,
            class: CostClass::NONE,
        }
    }

    /// Begins a stage of work for workers; what is committed already is left out.
    pub(crate) fn begin_work(&mut self, kind: WorkKind, specs: &[SpecRef], now: Millis) {
        let mut work = Chunks::new(kind, specs, now);
        let (mut durable_chunks, mut durable_cost_ms) = (0, 0);
        for spec in specs {
            if self.commits.contains_key(&spec.id) {
                work.commit(spec.id);
                if !self.undurable.contains(&spec.id) {
                    durable_chunks += 1;
                    durable_cost_ms += spec.cost_ms;
                }
            }
        }
        self.stage_began = (now, work.committed_cost_ms);
        if kind == WorkKind::Encode {
            self.durable_cost_ms = durable_cost_ms;
            self.durable_chunks = durable_chunks;
            self.plan_cost_ms = work.cost_ms;
        }
        self.work = Some(work);
    }

    /// The state that the first attempt of such work brings the job to, if that is another.
    pub(crate) fn begun_by(&self, kind: WorkKind) -> Option<JobState> {
        match (&self.record.state, kind) {
            (JobState::Accepted, _) => Some(JobState::Indexing),
            (JobState::Planned, WorkKind::Encode) => Some(JobState::Running),
            _ => None,
        }
    }

    /// Moves the record on. The version outruns what views added to it while chunks were committed.
    pub(crate) fn set_state(&mut self, state: JobState) {
        let shown = if self.record.state == JobState::Running { self.commits.len() as u64 } else { 0 };
        self.record.version += 1 + shown;
        self.record.state = state;
    }

    /// Workers a spec has failed on since the last Retry.
    pub(crate) fn failed_on(&self, spec: SpecId) -> &[WorkerId] {
        self.faults.get(&spec).map_or(&[], |f| &f.workers)
    }

    /// From the second loss on a spec runs alone on its worker: it may be the one that kills them.
    pub(crate) fn runs_alone(&self, spec: SpecId) -> bool {
        self.faults.get(&spec).is_some_and(|f| f.losses >= 2)
    }

    /// The budget record of a spec, fresh if nothing went wrong yet.
    pub(crate) fn fault_record(&self, spec: SpecId) -> FaultRecord {
        self.faults.get(&spec).cloned().unwrap_or(FaultRecord {
            job: self.record.id.clone(),
            spec,
            faults: 0,
            losses: 0,
            workers: vec![],
            last: None,
            failed: false,
        })
    }

    /// Remembers why something happened, for `explain`.
    pub(crate) fn note(&mut self, text: String) {
        if self.notes.len() == NOTES_MAX {
            self.notes.pop_front();
        }
        self.notes.push_back(text);
    }
}
