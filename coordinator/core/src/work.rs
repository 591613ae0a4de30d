//! Work as the control machine sees it: opaque specs for workers, and tasks for the driver beside it.

use reelmill_common::capability::Needs;
use reelmill_common::job::FailReason;
use reelmill_common::plan::{CostClass, RungSet};
use reelmill_common::record::{ManifestRef, PlanRef};
use reelmill_common::{JobId, SpecId};

/// A spec without its content: enough to schedule it, lease it and commit it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpecRef {
    /// The name under which its result is committed.
    pub id: SpecId,
    /// Predicted cost in slot-milliseconds on a reference core, at least 1.
    pub cost_ms: u64,
    /// What it needs of a worker.
    pub needs: Needs,
    /// The plan's rungs that it makes and that are bound to a decoder configuration; none for other work.
    pub rungs: RungSet,
    /// What it is like to encode.
    pub class: CostClass,
}

impl SpecRef {
    pub(crate) fn demand(&self) -> Demand {
        Demand { needs: self.needs, rungs: self.rungs, class: self.class }
    }
}

/// All that decides who can do a piece of work of a job, and how fast.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Demand {
    pub(crate) needs: Needs,
    pub(crate) rungs: RungSet,
    /// Within a job it follows from the rungs.
    pub(crate) class: CostClass,
}

/// Which of a job's work items a lease is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum WorkKind {
    /// Demux the source.
    Index,
    /// Facts needed before planning.
    Analyse,
    /// A chunk of the plan.
    Encode,
    /// A second look at a file of a committed chunk.
    Audit,
}

impl WorkKind {
    /// Stable name for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Analyse => "analyse",
            Self::Encode => "encode",
            Self::Audit => "audit",
        }
    }
}

/// A file of a committed chunk that is to be looked at again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRef {
    /// To schedule it, lease it and commit it.
    pub spec: SpecRef,
    /// The chunk that it belongs to.
    pub chunk: SpecId,
    /// What it is, for people: `720p, segment 7 (chunk 3)`.
    pub name: String,
    /// Of sound? Not every worker that can look at pictures can listen.
    pub sound: bool,
}

/// Names a task within this process's term; answers to any other are ignored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskId(pub u64);

/// Something that needs object storage and pure media code, done by the driver beside the machine. One runs per job
/// at a time. All of them are repeatable: a new leader starts them again and must come to the same result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Task {
    /// Named in the answer.
    pub id: TaskId,
    /// For which job.
    pub job: JobId,
    /// What.
    pub kind: TaskKind,
    /// Wait this long before starting: 0 at first, growing with each transient failure.
    pub delay_ms: u64,
}

/// What a task does.
///
/// ```text
/// index committed -> PrepareAnalyse -> (analyse committed) -> MakePlan -> (all committed) -> PrepareAudit
///     -> (audits committed) -> BuildManifests -> [Publishing durable] -> WriteManifests -> [Published durable]
/// an audit found something wrong, or a Retry after that -> Sweep -> LoadPlan
/// nobody can make what a rung is bound to -> PrepareAnalyse -> (analyse committed) -> MakePlan, the next revision
/// Retry of a planned job -> LoadPlan;   Delete -> Collect;   Published for long -> Archive
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TaskKind {
    /// Read the index, do the ladder step, and say which Analyse item is wanted: for the first plan, or for the revision
    /// that the job's record names.
    PrepareAnalyse,
    /// Plan from index and analysis, or make the next revision from the plan, its commits and what was found for it;
    /// store it create-only.
    MakePlan,
    /// Read the stored plan's specs.
    LoadPlan,
    /// Draw the files that are looked at again before the job is published, and say what is known of them.
    PrepareAudit,
    /// Remove what lies under final names without being committed: it is to be made again.
    Sweep,
    /// Read the reports of all commits, bring their media to its final names where attempts do not write there, check that
    /// every file is present, and make the manifests; write nothing that a player could find.
    BuildManifests,
    /// Write what BuildManifests made and the job record now names: the folded commits and `report.json`, media
    /// playlists, then the two roots.
    WriteManifests,
    /// Delete every object of the job.
    Collect,
    /// Write the job's record into its private area: its key is about to go.
    Archive,
}

impl TaskKind {
    /// Stable name for logs and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::PrepareAnalyse => "prepare_analyse",
            Self::MakePlan => "make_plan",
            Self::LoadPlan => "load_plan",
            Self::PrepareAudit => "prepare_audit",
            Self::Sweep => "sweep",
            Self::BuildManifests => "build_manifests",
            Self::WriteManifests => "write_manifests",
            Self::Collect => "collect",
            Self::Archive => "archive",
        }
    }

    /// Is what was committed, and what failed, of use to it? To those that end a job it is not, and a collection waits for
    /// a minute and more before it begins.
    pub fn reads_commits(self) -> bool {
        match self {
            Self::PrepareAnalyse | Self::MakePlan | Self::LoadPlan | Self::PrepareAudit => true,
            Self::Sweep | Self::BuildManifests | Self::WriteManifests => true,
            Self::Collect | Self::Archive => false,
        }
    }
}

/// What a task came to; each kind has one answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TaskOutput {
    /// PrepareAnalyse: the item workers should do, or `None` if the plan needs nothing more.
    AnalyseReady(Option<SpecRef>),
    /// MakePlan: where the plan is stored, and its chunks in plan order.
    Planned {
        /// For the job record.
        plan: PlanRef,
        /// The chunks.
        specs: Vec<SpecRef>,
    },
    /// MakePlan of a revision: likewise, and which rungs are bound to something new. None are when the rungs in question
    /// turn out to be bound to what was found: the plan is then that of before.
    Revised {
        /// For the job record.
        plan: PlanRef,
        /// The chunks.
        specs: Vec<SpecRef>,
        /// Bound anew.
        rebound: RungSet,
    },
    /// LoadPlan: the chunks in plan order.
    PlanLoaded(Vec<SpecRef>),
    /// PrepareAudit: the files.
    AuditsReady(Vec<AuditRef>),
    /// Sweep: nothing lies there but what is committed.
    Swept,
    /// BuildManifests: every manifest with its hash, roots last.
    ManifestsReady(Vec<ManifestRef>),
    /// WriteManifests: all are readable.
    ManifestsWritten,
    /// Collect: nothing is left.
    Collected,
    /// Archive: the record can be read there.
    Archived,
}

/// Why a task did not come to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TaskError {
    /// Something is away: the machine starts the task again later, for as long as the job lives.
    Transient {
        /// What happened, for a person.
        message: String,
    },
    /// It cannot work: the job fails with this. After Publishing there is no way back, so the machine tries again
    /// whatever the reason.
    Fatal(FailReason),
}
