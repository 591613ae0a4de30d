//! What people see: jobs and workers. Durable state only, progress excepted. Why something waits is told by `explain`.

use crate::attempt::Phase;
use crate::event::SessionId;
use crate::job::Job;
use crate::leader::Leader;
use crate::machine::Coordinator;
use crate::work::WorkKind;
use crate::worker::{Trust, Worker};
use reelmill_common::capability::Capability;
use reelmill_common::job::{JobState, JobView, Progress};
use reelmill_common::record::{CommitRecord, FaultRecord, JobRecord};
use reelmill_common::{AttemptId, FencingTerm, JobId, Millis, TenantId, WorkerId};

/// Jobs on one page of a list, at most.
pub const LIST_MAX: usize = 500;

/// A worker as `workers list` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerView {
    /// Its name.
    pub id: WorkerId,
    /// What it advertised.
    pub capability: Capability,
    /// Attempts it holds.
    pub running: u32,
    /// Is it connected?
    pub connected: bool,
    /// Does it take nothing new because it is leaving?
    pub draining: bool,
    /// Milliseconds for which it gets no work because it failed too often in a row.
    pub suspended_ms: Option<u64>,
    /// Milliseconds since it was last heard of.
    pub silent_ms: u64,
}

/// How much there is to do, for metrics and autoscaling.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Backlog {
    /// Chunks that nobody works on.
    pub ready: u64,
    /// Chunks being worked on.
    pub taken: u64,
    /// Predicted slot-milliseconds of work that is not committed.
    pub cost_ms: u64,
    /// Slots of connected workers.
    pub slots: u64,
    /// Of those, busy.
    pub busy: u64,
    /// Jobs that have not ended.
    pub jobs: u64,
    /// The least and the most of what is predicted that encoder builds were measured to take for work of some class,
    /// thousandths.
    pub factors: (u64, u64),
}

/// What a tenant waits for and was given in this term.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TenantView {
    /// Who.
    pub tenant: TenantId,
    /// Chunks that could be leased now if a slot were free.
    pub ready: u64,
    /// Work given to it in this term, predicted slot-milliseconds; second attempts of stragglers are not counted.
    pub served_ms: u64,
}

impl Coordinator {
    /// Tenants with work that waits, ascending.
    pub fn tenants(&self, now: Millis) -> Vec<TenantView> {
        let Some(leader) = self.leader() else { return vec![] };
        let ready = |jobs: &crate::ready::Jobs| {
            let jobs = jobs.in_order().filter_map(|(_, id)| leader.jobs.get(id));
            let offered = jobs.filter(|j| j.hold_until <= now).filter_map(|j| j.work.as_ref());
            offered.map(|w| w.ready_len() as u64).sum()
        };
        let view = |(tenant, jobs)| TenantView {
            ready: ready(jobs),
            served_ms: leader.fair.served_ms(tenant),
            tenant: tenant.clone(),
        };
        leader.ready.tenants().map(view).collect()
    }

    /// The term it leads, if it does.
    pub fn term(&self) -> Option<FencingTerm> {
        self.leader().map(|l| l.term)
    }

    /// Of a term that has just begun: how long open work is held back for workers of an earlier one to claim it,
    /// milliseconds.
    pub fn takeover_ms(&self) -> u64 {
        self.leader().map_or(0, |l| self.config().takeover(l.outside.may_be_claimed()))
    }

    /// A job of a tenant, once it is durable.
    pub fn view(&self, now: Millis, tenant: &TenantId, job: &JobId) -> Option<JobView> {
        let leader = self.leader()?;
        let job = leader.jobs.get(job).filter(|j| j.record.request.tenant == *tenant)?;
        leader.view(now, job)
    }

    /// A tenant's jobs in ascending order of id, those after `after` only; at most `limit` and [`LIST_MAX`].
    pub fn list(&self, now: Millis, tenant: &TenantId, after: Option<&JobId>, limit: usize) -> Vec<JobView> {
        let Some(leader) = self.leader() else { return vec![] };
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        leader
            .jobs
            .range::<JobId, _>((from, std::ops::Bound::Unbounded))
            .map(|(_, job)| job)
            .filter(|j| j.record.request.tenant == *tenant)
            .filter_map(|j| leader.view(now, j))
            .take(limit.min(LIST_MAX))
            .collect()
    }

    /// Why a job stands where it stands: one sentence each, the most important first.
    pub fn explain(&self, now: Millis, tenant: &TenantId, job: &JobId) -> Option<Vec<String>> {
        let leader = self.leader()?;
        let job = leader.jobs.get(job).filter(|j| j.record.request.tenant == *tenant)?;
        job.durable.as_ref()?;
        Some(leader.explain(now, self.config(), job))
    }

    /// The durable record of a job, whoever owns it: for the driver's own tasks.
    pub fn record(&self, job: &JobId) -> Option<&JobRecord> {
        self.leader()?.jobs.get(job)?.durable.as_ref()
    }

    /// The commits of a job that are durable, ascending by spec.
    pub fn commits(&self, job: &JobId) -> impl Iterator<Item = &CommitRecord> {
        let job = self.leader().and_then(|l| l.jobs.get(job));
        job.into_iter().flat_map(|j| j.commits.values().filter(|c| !j.undurable.contains(&c.spec)))
    }

    /// The attempts whose worker, the one of this session, may read their source now, with their jobs.
    pub fn reads_of(&self, session: SessionId) -> Vec<(AttemptId, JobId)> {
        let Some(leader) = self.leader() else { return vec![] };
        let held = leader.sessions.get(&session).and_then(|id| leader.workers.get(id)).map(|w| &w.held);
        let live = held.into_iter().flatten().filter_map(|id| Some((id, leader.attempts.get(id)?)));
        live.filter(|(_, a)| a.phase != Phase::Uploading).map(|(id, a)| (*id, a.job.clone())).collect()
    }

    /// The budgets of a job's specs that were touched, ascending by spec.
    pub fn faults(&self, job: &JobId) -> impl Iterator<Item = &FaultRecord> {
        self.leader().and_then(|l| l.jobs.get(job)).into_iter().flat_map(|j| j.faults.values())
    }

    /// All workers that are connected or about which something is remembered.
    pub fn workers(&self, now: Millis) -> Vec<WorkerView> {
        let Some(leader) = self.leader() else { return vec![] };
        leader.workers.iter().map(|(id, w)| w.view(id, now)).collect()
    }

    /// How much there is to do.
    pub fn backlog(&self) -> Backlog {
        let Some(leader) = self.leader() else { return Backlog::default() };
        let mut b = Backlog { slots: leader.slots().into(), ..Backlog::default() };
        b.busy = leader.attempts.len() as u64;
        b.factors = leader.classes.extremes();
        for job in leader.jobs.values() {
            b.jobs += u64::from(!job.state().is_terminal());
            if let Some(work) = job.work.as_ref().filter(|_| job.is_active()) {
                b.ready += work.ready_len() as u64;
                b.taken += work.taken_len() as u64;
                b.cost_ms += work.cost_ms - work.committed_cost_ms;
            }
        }
        b
    }
}

impl Worker {
    fn view(&self, id: &WorkerId, now: Millis) -> WorkerView {
        WorkerView {
            id: id.clone(),
            capability: self.capability.clone(),
            running: self.held.len() as u32,
            connected: self.session.is_some(),
            draining: self.draining,
            suspended_ms: match self.trust {
                Trust::Suspended { until, .. } => Some(until.since(now)),
                Trust::Full { .. } | Trust::Canary { .. } => None,
            },
            silent_ms: now.since(self.heard),
        }
    }
}

impl Leader {
    fn view(&self, now: Millis, job: &Job) -> Option<JobView> {
        let record = job.durable.as_ref()?;
        let request = &record.request;
        let running = if record.state == JobState::Running { u64::from(job.durable_chunks) } else { 0 };
        let published = record.state == JobState::Published;
        Some(JobView {
            id: record.id.clone(),
            tenant: request.tenant.clone(),
            source: request.source.clone(),
            labels: request.labels.clone(),
            priority: request.priority,
            state: record.state.clone(),
            run: record.run,
            submitted_unix_ms: record.submitted_unix_ms,
            progress: self.progress(now, job, record),
            version: record.version + running,
            package: request.options.output.clone().filter(|_| published),
            notes: job.notes.iter().cloned().collect(),
        })
    }

    fn progress(&self, now: Millis, job: &Job, record: &JobRecord) -> Progress {
        let plan = record.plan.as_ref();
        let chunks_total = plan.map_or(0, |p| p.chunks);
        let encode = job.work.as_ref().filter(|w| w.kind == WorkKind::Encode);
        let finished = matches!(record.state, JobState::Publishing | JobState::Published);
        let running: u64 = job.live.iter().filter_map(|a| self.attempts.get(a)).map(|a| a.done_ms()).sum();
        // while rungs are bound anew, or files are looked at again, the plan's work rests
        let audits = job.work.as_ref().is_some_and(|w| w.kind == WorkKind::Audit);
        let resting = job.work.is_some() && (record.rebind.is_some() || audits);
        let total = encode.map_or(if resting { job.plan_cost_ms } else { 0 }, |w| w.cost_ms);
        let done = if finished { total } else { (job.durable_cost_ms + running).min(total) };
        let (since, done_then) = job.stage_began;
        let gained = done.saturating_sub(done_then);
        let eta_ms = encode.filter(|_| gained > 0 && record.state == JobState::Running).map(|_| {
            let left = u128::from(total - done) * u128::from(now.since(since)) / u128::from(gained);
            u64::try_from(left).unwrap_or(u64::MAX)
        });
        Progress {
            chunks_done: if finished { chunks_total } else { job.durable_chunks },
            chunks_total,
            chunks_running: encode.map_or(0, |w| w.taken_len() as u32),
            work_total_ms: total,
            work_done_ms: done,
            eta_ms,
            elapsed_ms: record.elapsed_ms(self.unix_ms(now)),
            media_ms: plan.map_or(0, |p| p.media_ms),
            retries: job.faults.values().map(|f| f.faults + f.losses).sum(),
        }
    }
}
