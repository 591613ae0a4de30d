//! What the shells know of jobs beside the machine: durable records, plans by spec, and the content of work items.
//!
//! Filled by the driver from acknowledged writes only and emptied at the end of a term. Plans are read from object
//! storage when they are needed and kept while they are used; nothing here is a source of truth.

mod plans;
#[cfg(test)]
mod tests;

use crate::places::{JobPlace, Places};
use plans::Plans;
use reelmill_blob::{BlobError, BlobErrorKind, Blobs, SignedRequest};
use reelmill_common::audit::AuditSpec;
use reelmill_common::index::SourceIndex;
use reelmill_common::job::{FailReason, JobState};
use reelmill_common::outcome::{AnalyseReport, FaultKind};
use reelmill_common::plan::{Plan, PlannedChunk};
use reelmill_common::record::{ArchiveRecord, JobRecord, ObjectRef};
use reelmill_common::spec::{AnalyseSpec, AudioRange, WorkItem};
use reelmill_common::{AttemptId, JobId, SegmentNumber, Sha256, SpecId, TenantId};
use reelmill_coordinator_core::TaskError;
use reelmill_plan::revise::rebind_spec;
use reelmill_plan::{PlanError, ladder};
use reelmill_proto::WireError;
use reelmill_proto::stored::{decode_analysis, decode_index, decode_plan};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Plans that are read at a time.
const READ_AT_ONCE: usize = 2;
/// Archived records kept in memory.
const ARCHIVES_MAX: usize = 64;

/// A plan with its chunks by spec.
#[derive(Debug)]
pub(crate) struct LoadedPlan {
    pub(crate) plan: Plan,
    /// The names of its chunks, in plan order: each is a hash over the whole of a chunk.
    ids: Vec<SpecId>,
    /// Places of chunks, ascending by name.
    by_id: Vec<u32>,
}

impl LoadedPlan {
    /// Takes some microseconds a chunk.
    pub(crate) fn new(plan: Plan) -> Self {
        let ids: Vec<SpecId> = plan.chunks.iter().map(|c| c.spec.spec_id()).collect();
        let mut by_id: Vec<u32> = (0u32..).zip(&ids).map(|(n, _)| n).collect();
        by_id.sort_unstable_by_key(|n| ids.get(*n as usize));
        Self { plan, ids, by_id }
    }

    /// The content of one of its chunks.
    pub(crate) fn item(&self, spec: SpecId) -> Option<WorkItem> {
        let at = self.by_id.binary_search_by_key(&Some(&spec), |n| self.ids.get(*n as usize)).ok()?;
        let chunk = self.plan.chunks.get(*self.by_id.get(at)? as usize)?;
        Some(WorkItem::Encode(chunk.spec.clone()))
    }

    /// Its chunks with their names, in plan order.
    pub(crate) fn named(&self) -> impl Iterator<Item = (SpecId, &PlannedChunk)> {
        self.ids.iter().copied().zip(&self.plan.chunks)
    }
}

/// A file that was drawn to be looked at again, as it was committed. Its chunk's spec is the plan's.
#[derive(Clone, Debug)]
pub(crate) struct AuditedFile {
    /// By its place in the plan.
    pub(crate) chunk: usize,
    pub(crate) attempt: AttemptId,
    pub(crate) rung: u32,
    pub(crate) segment: Option<SegmentNumber>,
    pub(crate) bytes: u64,
    pub(crate) sha256: Sha256,
    pub(crate) nearby: Option<AudioRange>,
}

impl AuditedFile {
    /// What a worker is told; `None` when the plan has no such chunk.
    pub(crate) fn spec(&self, plan: &Plan) -> Option<AuditSpec> {
        let chunk = plan.chunks.get(self.chunk)?.spec.clone();
        let Self { attempt, rung, segment, bytes, sha256, nearby, .. } = *self;
        Some(AuditSpec { chunk, attempt, rung, segment, bytes, sha256, nearby })
    }
}

/// The index of a job with what follows from it before the plan.
#[derive(Debug)]
pub(crate) struct Indexed {
    pub(crate) index: SourceIndex,
    pub(crate) ladder: ladder::FittedLadder,
    pub(crate) analyse: AnalyseSpec,
}

/// Shared by the driver, the sessions and the HTTP edge.
#[derive(Debug)]
pub(crate) struct Catalog {
    places: Places,
    known: Mutex<Known>,
    reading: Semaphore,
}

#[derive(Debug, Default)]
struct Known {
    records: BTreeMap<JobId, Arc<JobRecord>>,
    /// Each with the index that it was made from: a damaged film gets another one.
    analyses: BTreeMap<JobId, (ObjectRef, Arc<AnalyseSpec>)>,
    audits: BTreeMap<JobId, BTreeMap<SpecId, AuditedFile>>,
    plans: Plans,
    archives: VecDeque<Arc<ArchiveRecord>>,
    /// Records that have gone: what was read before the last of them went may be of a job that was deleted since.
    forgotten: u64,
}

impl Catalog {
    pub(crate) fn new(places: Places) -> Self {
        Self { places, known: Mutex::default(), reading: Semaphore::new(READ_AT_ONCE) }
    }

    /// Forgets everything: a term has ended.
    pub(crate) fn clear(&self) {
        let mut known = self.known();
        *known = Known { forgotten: known.forgotten + 1, ..Known::default() };
    }

    /// A job's record has become durable.
    pub(crate) fn put(&self, record: JobRecord) {
        let mut known = self.known();
        if record.state.is_terminal() {
            known.analyses.remove(&record.id);
            known.audits.remove(&record.id);
            known.plans.forget(&record.id);
        }
        known.archives.retain(|a| a.job.id != record.id);
        known.records.insert(record.id.clone(), Arc::new(record));
    }

    /// A job's record has gone.
    pub(crate) fn forget(&self, job: &JobId) {
        let mut known = self.known();
        known.records.remove(job);
        known.forgotten += 1;
    }

    /// How many records have gone.
    pub(crate) fn forgotten(&self) -> u64 {
        self.known().forgotten
    }

    /// An archived record that was read before.
    pub(crate) fn kept_archive(&self, job: &JobId) -> Option<Arc<ArchiveRecord>> {
        self.known().archives.iter().find(|a| a.job.id == *job).cloned()
    }

    /// Keeps an archived record, unless its job may have been deleted since so many records had gone.
    pub(crate) fn keep_archive(&self, archive: Arc<ArchiveRecord>, forgotten: u64) {
        let mut known = self.known();
        let is_old = known.forgotten != forgotten || known.records.contains_key(&archive.job.id);
        if is_old || known.archives.iter().any(|a| a.job.id == archive.job.id) {
            return;
        }
        known.archives.push_back(archive);
        if known.archives.len() > ARCHIVES_MAX {
            known.archives.pop_front();
        }
    }

    /// A job's durable record.
    pub(crate) fn record(&self, job: &JobId) -> Option<Arc<JobRecord>> {
        self.known().records.get(job).cloned()
    }

    /// Has another job that was not deleted named the same place for its package? To a job that never published, what
    /// is published there is told by its roots.
    pub(crate) fn is_output_of_another(&self, record: &JobRecord) -> bool {
        let lives = |r: &JobRecord| match r.state {
            JobState::Collecting | JobState::Collected => false,
            JobState::Published => !record.manifests.is_empty(),
            _ => true,
        };
        let output = &record.request.options.output;
        let known = self.known();
        let mut others = known.records.values().filter(|r| r.id != record.id && lives(r));
        output.is_some() && others.any(|r| r.request.options.output == *output)
    }

    /// How many jobs are in each state.
    pub(crate) fn states(&self) -> BTreeMap<&'static str, u64> {
        let mut states = BTreeMap::new();
        for record in self.known().records.values() {
            *states.entry(record.state.name()).or_default() += 1;
        }
        states
    }

    /// Where a job's objects lie.
    pub(crate) fn place(&self, record: &JobRecord) -> Result<JobPlace, TaskError> {
        self.places.of(&record.id, &record.request).map_err(storage)
    }

    /// The right to read a job's source; `None` where nobody can sign for it.
    pub(crate) async fn sign_source(
        &self,
        url: &str,
        valid_for: Duration,
    ) -> Result<Option<SignedRequest>, BlobError> {
        self.places.sign_source(url, valid_for).await
    }

    /// The private area of a job of which no more is known.
    pub(crate) fn work_of(&self, tenant: &TenantId, job: &JobId) -> Result<Blobs, TaskError> {
        self.places.work_of(tenant, job).map_err(storage)
    }

    /// The content of a job's work item; `None` when the job (in its present state) has none of that name.
    pub(crate) async fn item(&self, job: &JobId, spec: SpecId) -> Result<Option<WorkItem>, TaskError> {
        let Some(record) = self.record(job) else { return Ok(None) };
        if record.plan.is_some() {
            let plan = self.plan(&record).await?;
            if let Some(item) = plan.item(spec).or_else(|| self.audit(&record.id, spec, &plan.plan)) {
                return Ok(Some(item));
            }
        }
        let index = record.index_spec();
        if index.spec_id() == spec {
            return Ok(Some(WorkItem::Index(index)));
        }
        if record.index.is_none() {
            return Ok(None);
        }
        let analyse = self.analyse_now(&record).await?;
        Ok((analyse.spec_id() == spec).then_some(WorkItem::Analyse(analyse)))
    }

    /// The files of a job that were drawn.
    pub(crate) fn keep_audits(&self, job: JobId, files: BTreeMap<SpecId, AuditedFile>) {
        self.known().audits.insert(job, files);
    }

    fn audit(&self, job: &JobId, spec: SpecId, plan: &Plan) -> Option<WorkItem> {
        let file = self.known().audits.get(job)?.get(&spec)?.clone();
        // a revision may have come since: then it names another thing
        file.spec(plan).filter(|s| s.spec_id() == spec).map(|s| WorkItem::Audit(Box::new(s)))
    }

    /// The Analyse item that a job with an index has now: for its first plan, or for the revision on its way.
    pub(crate) async fn analyse_now(&self, record: &JobRecord) -> Result<AnalyseSpec, TaskError> {
        let first = self.analyse(record).await?;
        Ok(match &record.rebind {
            Some(rebind) => rebind_spec(&first, rebind.rungs, record.rebinds.saturating_add(1)),
            None => first.as_ref().clone(),
        })
    }

    /// The Analyse item for the first plan.
    async fn analyse(&self, record: &JobRecord) -> Result<Arc<AnalyseSpec>, TaskError> {
        if let Some((index, spec)) = self.known().analyses.get(&record.id)
            && Some(index) == record.index.as_ref()
        {
            return Ok(Arc::clone(spec));
        }
        let spec = Arc::new(self.indexed(record).await?.analyse);
        if let Some(index) = record.index.clone() {
            self.known().analyses.insert(record.id.clone(), (index, Arc::clone(&spec)));
        }
        Ok(spec)
    }

    /// The index of a job, read, and the ladder fitted to it.
    pub(crate) async fn indexed(&self, record: &JobRecord) -> Result<Indexed, TaskError> {
        let bytes = self.object(record, record.index.as_ref(), "source index").await?;
        let (request, sizing) = (record.request.clone(), record.sizing());
        blocking(move || {
            let index = decode_index(&bytes).map_err(|e| unreadable("source index", &e))?;
            let ladder = ladder::fit(&index, &request.ladder, &request.options).map_err(|e| refused(&e))?;
            let analyse = reelmill_plan::analyse_spec(&index, &ladder, &request.options, sizing)
                .map_err(|e| refused(&e))?;
            Ok(Indexed { index, ladder, analyse })
        })
        .await
    }

    /// The analysis of a job, read; empty when none was needed.
    pub(crate) async fn analysis(&self, record: &JobRecord) -> Result<AnalyseReport, TaskError> {
        if record.analysis.is_none() {
            return Ok(AnalyseReport::default());
        }
        let bytes = self.object(record, record.analysis.as_ref(), "analysis").await?;
        decode_analysis(&bytes).map_err(|e| unreadable("analysis", &e))
    }

    /// What was found for a revision.
    pub(crate) async fn found(
        &self,
        record: &JobRecord,
        analysis: &ObjectRef,
    ) -> Result<AnalyseReport, TaskError> {
        let bytes = self.object(record, Some(analysis), "analysis of a revision").await?;
        decode_analysis(&bytes).map_err(|e| unreadable("analysis of a revision", &e))
    }

    /// The plan of a job, from memory or storage.
    pub(crate) async fn plan(&self, record: &JobRecord) -> Result<Arc<LoadedPlan>, TaskError> {
        let object = record.plan.as_ref().map(|p| &p.object);
        if let Some(object) = object
            && let Some(plan) = self.known().plans.get(&record.id, object)
        {
            return Ok(plan);
        }
        // many may ask for it together: after the first read it is there for the others
        let Ok(_place) = self.reading.acquire().await else {
            return Err(internal("plans are read no more".to_owned()));
        };
        if let Some(plan) = object.and_then(|object| self.known().plans.get(&record.id, object)) {
            return Ok(plan);
        }
        let bytes = self.object(record, object, "plan").await?;
        let plan = blocking(move || {
            let plan = decode_plan(&bytes).map_err(|e| unreadable("plan", &e))?;
            Ok(Arc::new(LoadedPlan::new(plan)))
        })
        .await?;
        if let Some(object) = object {
            self.keep(record.id.clone(), object.clone(), Arc::clone(&plan));
        }
        Ok(plan)
    }

    /// Keeps a plan that was just made or read, unless its job has ended: what is still asked about that (a late report, what
    /// is to be deleted) is asked once.
    pub(crate) fn keep(&self, job: JobId, object: ObjectRef, plan: Arc<LoadedPlan>) {
        let mut known = self.known();
        if known.records.get(&job).is_some_and(|record| !record.state.is_terminal()) {
            known.plans.keep(job, object, plan);
        }
    }

    async fn object(
        &self,
        record: &JobRecord,
        object: Option<&ObjectRef>,
        what: &str,
    ) -> Result<bytes::Bytes, TaskError> {
        let object = object.ok_or_else(|| internal(format!("job {} has no {what} yet", record.id)))?;
        let work = self.place(record)?.work;
        work.get_verified(object.key.as_str(), object.bytes, object.sha256).await.map_err(storage)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what would hold up the other tasks of this thread: planning, decoding of large objects.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TaskError> + Send + 'static,
) -> Result<T, TaskError> {
    match reelmill_blob::blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(internal(format!("a planning step ended unexpectedly: {error}"))),
    }
}

/// An object store that failed: worth another try, or not.
pub(crate) fn storage(error: BlobError) -> TaskError {
    match error.kind() {
        BlobErrorKind::Unavailable => TaskError::Transient { message: error.to_string() },
        _ if error.retryable() => TaskError::Transient { message: error.to_string() },
        _ => fatal(FaultKind::Storage, error.to_string()),
    }
}

/// A stored object that is not what it should be.
pub(crate) fn unreadable(what: &str, error: &WireError) -> TaskError {
    fatal(FaultKind::Storage, format!("the stored {what} cannot be read ({error}): submit the job again"))
}

/// A source or a request that cannot be planned.
pub(crate) fn refused(error: &PlanError) -> TaskError {
    fatal(error.kind(), error.to_string())
}

/// Something that cannot happen, told instead of hidden.
pub(crate) fn internal(message: String) -> TaskError {
    fatal(FaultKind::Output, message)
}

pub(crate) fn fatal(kind: FaultKind, message: String) -> TaskError {
    TaskError::Fatal(FailReason { kind, message, detail: String::new() })
}
