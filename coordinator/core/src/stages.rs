//! A job's way from stage to stage, and the driver's tasks between them.
//!
//! Every stage is found again from the records alone ([`Leader::advance`]), so that a new leader, a Retry and the
//! ordinary way are one piece of code.

use crate::countdown::Countdown;
use crate::effect::Effect;
use crate::job::Running;
use crate::leader::Leader;
use crate::record::Op;
use crate::turn::{Turn, sabotaged};
use crate::work::{SpecRef, Task, TaskError, TaskId, TaskKind, TaskOutput, WorkKind};
use reelmill_common::job::{FailReason, JobState};
use reelmill_common::outcome::FaultKind;
use reelmill_common::record::{ManifestRef, PlanRef, Rebind, StateKey};
use reelmill_common::{JobId, TenantId};

/// Waits before a task that failed for a passing reason is started again: doubling, milliseconds.
const TASK_RETRY_MS: (u64, u64) = (250, 10_000);
/// Keys deleted in one transaction.
pub(crate) const DELETES_PER_TRANSACTION: usize = 50;

impl Leader {
    /// Takes up a loaded job where its records say it stands.
    pub(crate) fn resume(
        &mut self,
        turn: &mut Turn<'_>,
        id: &JobId,
        plan: Option<Result<Vec<SpecRef>, FailReason>>,
    ) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let may_be_claimed = self.outside.may_be_claimed();
        job.hold_until = turn.now.plus(turn.config.takeover(may_be_claimed));
        job.quiet_at = turn.now.plus(turn.config.uploads_outlive(may_be_claimed));
        job.told_until = turn.now.plus(turn.config.tell_collected_ms);
        if job.record.unbound_ms > 0 && job.is_active() {
            self.unbound.insert(id.clone(), Countdown::resumed(job.record.unbound_ms));
        }
        match job.state() {
            // what its chunks need is asked for when their places are free
            JobState::Planned | JobState::Running if job.record.audits.unswept || job.is_replanned() => {}
            JobState::Planned | JobState::Running => {
                match plan.unwrap_or_else(|| Err(Self::plan_missing())) {
                    Ok(specs) => job.begin_work(WorkKind::Encode, &specs, turn.now),
                    Err(reason) => return self.fail_job(turn, id, reason, vec![]),
                }
            }
            JobState::Publishing => {
                if let Some(Ok(specs)) = plan {
                    job.begin_work(WorkKind::Encode, &specs, turn.now);
                }
            }
            JobState::Published | JobState::Collecting | JobState::Collected => self.forget_parts(turn, id),
            _ => {}
        }
        self.advance(turn, id);
    }

    /// Starts whatever comes next for a job, if nothing does yet. Safe to call at any time.
    pub(crate) fn advance(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        self.leave_unaudited(turn, id);
        let Some(job) = self.jobs.get_mut(id) else { return };
        if job.task.is_some() {
            return;
        }
        let open = job.work.as_ref().map(|w| (w.kind, w.open()));
        let slack = usize::from(sabotaged!(turn.config, PublishBeforeLastCommit));
        let task = match job.state() {
            JobState::Accepted | JobState::Indexing => {
                match (&job.record.index, &job.record.analysis, open) {
                    (None, _, None) => {
                        let spec = job.index_spec();
                        job.begin_work(WorkKind::Index, &[spec], turn.now);
                        None
                    }
                    (None, _, Some(_)) => None,
                    (Some(_), None, Some((WorkKind::Analyse, _))) => None,
                    (Some(_), None, _) => Some(TaskKind::PrepareAnalyse),
                    (Some(_), Some(_), _) => Some(TaskKind::MakePlan),
                }
            }
            JobState::Planned | JobState::Running if job.record.audits.unswept => Some(TaskKind::Sweep),
            JobState::Planned | JobState::Running if job.is_replanned() => Some(TaskKind::MakePlan),
            JobState::Planned | JobState::Running => match (&job.record.rebind, open) {
                (Some(Rebind { found: Some(_), .. }), _) => Some(TaskKind::MakePlan),
                // what its chunks need is asked for with what they are to be bound to
                (_, None) => Some(TaskKind::LoadPlan),
                (Some(_), Some((WorkKind::Analyse, _))) => None,
                (Some(_), Some(_)) => Some(TaskKind::PrepareAnalyse),
                (None, Some((WorkKind::Audit, open))) => (open == 0).then_some(TaskKind::BuildManifests),
                (None, Some(_)) if sabotaged!(turn.config, PublishedUnaudited) => {
                    open.is_some_and(|(_, open)| open == 0).then_some(TaskKind::BuildManifests)
                }
                (None, Some((_, open))) => (open <= slack).then_some(TaskKind::PrepareAudit),
            },
            JobState::Publishing => Some(TaskKind::WriteManifests),
            JobState::Collecting => Some(TaskKind::Collect),
            JobState::Published | JobState::Failed(_) | JobState::Cancelled | JobState::Collected => None,
        };
        if let Some(kind) = task {
            // an old attempt's upload may still be on its way: nothing may be written behind the deletion
            let waits = match kind {
                TaskKind::Collect if !sabotaged!(turn.config, CollectAtOnce) => job.quiet_at.since(turn.now),
                TaskKind::Sweep => job.quiet_at.since(turn.now),
                _ => 0,
            };
            self.start(turn, id, kind, waits, 0);
        }
        self.index_ready(id);
        turn.reschedule = true;
    }

    pub(crate) fn start(
        &mut self,
        turn: &mut Turn<'_>,
        id: &JobId,
        kind: TaskKind,
        delay_ms: u64,
        failures: u32,
    ) {
        let task = Task { id: self.new_task_id(), job: id.clone(), kind, delay_ms };
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.task = Some(Running { id: task.id, kind, failures });
        self.tasks.insert(task.id, id.clone());
        turn.then(Effect::Start(task));
    }

    /// A task has ended. One that was forgotten, or is another term's, says nothing.
    pub(crate) fn task_ended(
        &mut self,
        turn: &mut Turn<'_>,
        task: TaskId,
        result: Result<TaskOutput, TaskError>,
    ) {
        let Some(id) = self.tasks.remove(&task) else { return };
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(running) = job.task.take() else { return };
        let failure = match (result, running.kind) {
            (Ok(TaskOutput::AnalyseReady(spec)), TaskKind::PrepareAnalyse) => {
                return self.analyse_ready(turn, &id, spec);
            }
            (Ok(TaskOutput::Planned { plan, specs }), TaskKind::MakePlan) => {
                return self.planned(turn, &id, plan, &specs);
            }
            (Ok(TaskOutput::Revised { plan, specs, rebound }), TaskKind::MakePlan) => {
                return self.revised(turn, &id, plan, &specs, rebound);
            }
            (Ok(TaskOutput::PlanLoaded(specs)), TaskKind::LoadPlan) => {
                job.begin_work(WorkKind::Encode, &specs, turn.now);
                return self.advance(turn, &id);
            }
            (Ok(TaskOutput::AuditsReady(audits)), TaskKind::PrepareAudit) => {
                return self.audits_ready(turn, &id, audits);
            }
            (Ok(TaskOutput::Swept), TaskKind::Sweep) => return self.swept(turn, &id),
            (Ok(TaskOutput::ManifestsReady(manifests)), TaskKind::BuildManifests) => {
                return self.publish(turn, &id, manifests);
            }
            (Ok(TaskOutput::ManifestsWritten), TaskKind::WriteManifests) => {
                job.work = None;
                self.move_job(turn, &id, JobState::Published, vec![], vec![]);
                return self.forget_parts(turn, &id);
            }
            (Ok(TaskOutput::Collected), TaskKind::Collect) => return self.collected(turn, &id),
            (Ok(TaskOutput::Archived), TaskKind::Archive) => return self.archived(turn, &id),
            (Ok(_), kind) => {
                debug_assert!(false, "{} has one kind of answer", kind.name());
                TaskError::Transient { message: format!("{} gave another task's answer", kind.name()) }
            }
            (Err(error), _) => error,
        };
        self.task_failed(turn, &id, running, failure);
    }

    fn task_failed(&mut self, turn: &mut Turn<'_>, id: &JobId, running: Running, failure: TaskError) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        if running.kind == TaskKind::Archive {
            // the next sweep tries again; meanwhile somebody may have deleted the job
            return self.advance(turn, id);
        }
        // past the point of no return, and in deletion, trying again is all that is left
        let committed_to = matches!(running.kind, TaskKind::WriteManifests | TaskKind::Collect);
        let message = match failure {
            TaskError::Fatal(reason) if !committed_to => return self.fail_job(turn, id, reason, vec![]),
            TaskError::Fatal(reason) => reason.message,
            TaskError::Transient { message } => message,
        };
        job.note(format!("{} waits: {message}", running.kind.name()));
        let delay_ms = (TASK_RETRY_MS.0 << running.failures.min(16)).min(TASK_RETRY_MS.1);
        self.start(turn, id, running.kind, delay_ms, running.failures + 1);
    }

    fn analyse_ready(&mut self, turn: &mut Turn<'_>, id: &JobId, spec: Option<SpecRef>) {
        let Some(job) = self.jobs.get(id) else { return };
        let Some(spec) = spec.filter(|s| !job.commits.contains_key(&s.id)) else {
            return self.start(turn, id, TaskKind::MakePlan, 0, 0);
        };
        let spec = self.as_needy_as_its_chunks(job, spec);
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.begin_work(WorkKind::Analyse, &[spec], turn.now);
        self.advance(turn, id);
    }

    fn planned(&mut self, turn: &mut Turn<'_>, id: &JobId, plan: PlanRef, specs: &[SpecRef]) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        if specs.is_empty() {
            let reason = FailReason {
                kind: FaultKind::Source,
                message: "the plan has no chunks: the source has nothing to encode".to_owned(),
                detail: String::new(),
            };
            return self.fail_job(turn, id, reason, vec![]);
        }
        let tenant = &job.record.request.tenant;
        if let Some(most) = turn.config.tenants.of(tenant).max_film_ms.filter(|most| plan.media_ms > *most) {
            let reason = too_long(tenant, plan.media_ms, most);
            return self.fail_job(turn, id, reason, vec![]);
        }
        job.record.plan = Some(plan);
        job.begin_work(WorkKind::Encode, specs, turn.now);
        self.move_job(turn, id, JobState::Planned, vec![], vec![]);
        self.advance(turn, id);
    }

    /// The point of no return: the hashes of all manifests become durable before one of them is written.
    fn publish(&mut self, turn: &mut Turn<'_>, id: &JobId, manifests: Vec<ManifestRef>) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.record.manifests = manifests;
        job.count_audits();
        job.forget_dispute();
        self.move_job(turn, id, JobState::Publishing, vec![], vec![]);
        self.advance(turn, id);
    }

    /// Nobody wants the job any more. What is known of its parts goes now; its objects go when no upload can land any more.
    pub(crate) fn collect(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        self.move_job(turn, id, JobState::Collecting, vec![], vec![]);
        self.forget_parts(turn, id);
        self.advance(turn, id);
    }

    /// The keys of a job's commits and faults go: at Published they are folded into an object, at Collecting of no use. A
    /// large job has ten thousand, and nobody waits for it.
    pub(crate) fn forget_parts(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let commits = std::mem::take(&mut job.commits).into_keys().map(|s| StateKey::Commit(id.clone(), s));
        let faults = std::mem::take(&mut job.faults).into_keys().map(|s| StateKey::Fault(id.clone(), s));
        turn.delete_aside(commits.chain(faults).collect());
    }

    /// Deletes the budgets of a job: a Retry begins with new ones. Before the record that says so, in order.
    pub(crate) fn renew_budgets(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let faults = std::mem::take(&mut job.faults);
        let ops: Vec<Op> = faults.into_keys().map(|s| Op::Delete(StateKey::Fault(id.clone(), s))).collect();
        for some in ops.chunks(DELETES_PER_TRANSACTION) {
            turn.write(some.to_vec(), vec![]);
        }
    }
}

/// The film is longer than its tenant's may be.
fn too_long(tenant: &TenantId, media_ms: u64, most_ms: u64) -> FailReason {
    let lasts = format!("{}:{:02} min", media_ms / 60_000, media_ms / 1_000 % 60);
    let most = most_ms / 60_000;
    FailReason {
        kind: FaultKind::Source,
        message: format!(
            "the film lasts {lasts} and those of tenant {tenant} may last {most} min (max_film_minutes): ask an operator, \
             who sets max_film_minutes in the access file, then run the job again"
        ),
        detail: String::new(),
    }
}
