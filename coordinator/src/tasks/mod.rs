//! Tasks of the machine that need object storage and pure media code: planning, building and writing manifests,
//! deleting. Each is repeatable: a new leader starts it again and comes to the same result.
//!
//! Nothing is decided here: the machine says which task runs when, `reelmill-plan` what comes out.

mod archive;
mod audit;
mod collect;
mod package;
mod planning;
mod promote;
mod publish;
mod report;

use crate::abort::AbortSwitch;
use crate::catalog::Catalog;
use package::Package;
pub(crate) use planning::specs;
use reelmill_common::JobId;
use reelmill_common::record::{CommitRecord, FaultRecord, JobRecord};
use reelmill_coordinator_core::{Task, TaskError, TaskId, TaskKind, TaskOutput};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

/// Plans that are made at a time: of a hundred jobs that are submitted together, one after the other.
const PLANNED_AT_ONCE: usize = 2;

/// A task with what the machine knew when it was started.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) task: Task,
    pub(crate) record: JobRecord,
    /// Empty where the task does not read them, as are the faults.
    pub(crate) commits: Vec<CommitRecord>,
    pub(crate) faults: Vec<FaultRecord>,
}

/// What all tasks share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) switch: Arc<AbortSwitch>,
    /// Packages between BuildManifests and WriteManifests: spares reading every report twice.
    built: Mutex<BTreeMap<JobId, Arc<Package>>>,
    /// Places for those that plan: each takes a processor, and memory for an index, its chunks and their stored form.
    planning: Semaphore,
    /// Held by the one that promotes into a place that was named by a submitter.
    shared_place: tokio::sync::Mutex<()>,
}

impl Context {
    pub(crate) fn new(catalog: Arc<Catalog>, switch: Arc<AbortSwitch>) -> Self {
        Self {
            catalog,
            switch,
            built: Mutex::default(),
            planning: Semaphore::new(PLANNED_AT_ONCE),
            shared_place: tokio::sync::Mutex::default(),
        }
    }

    fn put_built(&self, job: &JobId, package: Arc<Package>) {
        self.built.lock().unwrap_or_else(PoisonError::into_inner).insert(job.clone(), package);
    }

    fn take_built(&self, job: &JobId) -> Option<Arc<Package>> {
        self.built.lock().unwrap_or_else(PoisonError::into_inner).remove(job)
    }
}

async fn perform(context: Arc<Context>, order: Order) -> Result<TaskOutput, TaskError> {
    if order.task.delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(order.task.delay_ms)).await;
    }
    let (kind, job) = (order.task.kind.name(), order.task.job.clone());
    tracing::debug!(%job, task = kind, "task started");
    let result = match order.task.kind {
        TaskKind::PrepareAnalyse => planning::prepare_analyse(&context, &order).await,
        TaskKind::MakePlan => planning::make_plan(&context, &order).await,
        TaskKind::LoadPlan => planning::load_plan(&context, &order).await,
        TaskKind::PrepareAudit => audit::prepare(&context, &order).await,
        TaskKind::Sweep => audit::sweep(&context, &order).await,
        TaskKind::BuildManifests => package::build_manifests(&context, &order).await,
        TaskKind::WriteManifests => publish::write_manifests(&context, &order).await,
        TaskKind::Collect => collect::collect(&context, &order).await,
        TaskKind::Archive => archive::archive(&context, &order).await,
    };
    match &result {
        Ok(_) => tracing::debug!(%job, task = kind, "task ended"),
        Err(TaskError::Transient { message }) => {
            tracing::warn!(%job, task = kind, %message, "task will be tried again")
        }
        Err(TaskError::Fatal(reason)) => {
            tracing::warn!(%job, task = kind, message = %reason.message, "task failed")
        }
    }
    result
}

/// The tasks that run now.
#[derive(Debug)]
pub(crate) struct Tasks {
    context: Arc<Context>,
    running: JoinSet<Result<TaskOutput, TaskError>>,
    names: BTreeMap<TaskId, AbortHandle>,
}

impl Tasks {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, running: JoinSet::new(), names: BTreeMap::new() }
    }

    /// Starts a task beside the driver.
    pub(crate) fn start(&mut self, order: Order) {
        let id = order.task.id;
        let handle = self.running.spawn(perform(Arc::clone(&self.context), order));
        self.names.insert(id, handle);
    }

    /// Stops a task; it will not end with an answer.
    pub(crate) fn forget(&mut self, id: TaskId) {
        if let Some(handle) = self.names.remove(&id) {
            handle.abort();
        }
    }

    /// Stops all of them: the term has ended.
    pub(crate) fn clear(&mut self) {
        self.names.clear();
        self.running.abort_all();
    }

    /// The next task that ends. Waits for ever while none runs.
    pub(crate) async fn next(&mut self) -> (TaskId, Result<TaskOutput, TaskError>) {
        loop {
            let Some(ended) = self.running.join_next_with_id().await else {
                return std::future::pending().await;
            };
            let (id, result) = match ended {
                Ok((id, result)) => (id, result),
                Err(error) => {
                    let message = format!("a task of the coordinator ended unexpectedly: {error}");
                    (error.id(), Err(crate::catalog::internal(message)))
                }
            };
            // a forgotten task ends, too, and nobody wants to know
            let name = self.names.iter().find(|(_, handle)| handle.id() == id).map(|(name, _)| *name);
            if let Some(name) = name {
                self.names.remove(&name);
                return (name, result);
            }
        }
    }
}
