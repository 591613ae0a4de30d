//! What clients ask for. Every answer waits until what it says is durable.

use crate::call::{Answer, Call, Refusal, Submission, Token};
use crate::config::RETAIN_MS;
use crate::effect::Effect;
use crate::job::Job;
use crate::leader::Leader;
use crate::record::{Op, Record};
use crate::turn::{Turn, sabotaged};
use reelmill_common::audit::Audits;
use reelmill_common::job::JobState;
use reelmill_common::outcome::AttemptCost;
use reelmill_common::record::{IdempotencyRecord, JobRecord};
use reelmill_common::{JobId, RunNo, TenantId};

/// How long an idempotency key stands for its request.
pub(crate) const IDEMPOTENCY_MS: u64 = RETAIN_MS;
/// Expired keys deleted in one turn.
const EXPIRED_PER_TURN: usize = 50;

impl Leader {
    /// Obeys or refuses a call; either is answered once it is durable.
    pub(crate) fn call(&mut self, turn: &mut Turn<'_>, token: Token, call: Call) {
        let result = match call {
            Call::Submit(submission) => self.submit(turn, *submission),
            Call::Cancel { tenant, job } => self.owned(&tenant, &job).and_then(|()| self.cancel(turn, job)),
            Call::Retry { tenant, job } => self.owned(&tenant, &job).and_then(|()| self.retry(turn, job)),
            Call::Delete { tenant, job } => self.owned(&tenant, &job).and_then(|()| self.delete(turn, job)),
            Call::DeleteArchived { record } => self.delete_archived(turn, *record),
        };
        turn.then(Effect::Reply { token, result });
    }

    /// Another tenant's job does not exist for this one.
    fn owned(&self, tenant: &TenantId, job: &JobId) -> Result<(), Refusal> {
        match self.jobs.get(job) {
            Some(j) if j.record.request.tenant == *tenant => Ok(()),
            _ => Err(Refusal::NotFound(job.clone())),
        }
    }

    fn submit(&mut self, turn: &mut Turn<'_>, s: Submission) -> Result<Answer, Refusal> {
        let tenant = s.request.tenant.clone();
        let key = s.request.idempotency_key.clone().map(|k| (tenant.clone(), k));
        if let Some(known) = key.as_ref().and_then(|k| self.idempotency.get(k)) {
            let fresh = s.unix_ms.saturating_sub(known.submitted_unix_ms) < IDEMPOTENCY_MS;
            if fresh && !sabotaged!(turn.config, IdempotencyOff) {
                let job = known.job.clone();
                return match self.jobs.get(&job).map(|j| j.state()) {
                    _ if known.request != s.request_hash => Err(Refusal::AlreadyExists { job }),
                    Some(JobState::Collecting | JobState::Collected) => Err(Refusal::Deleted { job }),
                    // of no job: archived, or deleted long ago. The driver's catalog can tell
                    _ => Ok(Answer { job, existed: true }),
                };
            }
        }
        self.admit(turn, &tenant)?;
        if self.jobs.contains_key(&s.id) {
            // ids are made afresh for each call: this is the same call once more
            return Ok(Answer { job: s.id, existed: true });
        }
        let record = JobRecord {
            id: s.id.clone(),
            request: s.request,
            slots_hint: s.slots_hint.unwrap_or_else(|| self.slots()).max(1),
            chunk_cost_max_ms: None,
            placement: s.placement,
            submitted_unix_ms: s.unix_ms,
            state: JobState::Accepted,
            run: RunNo(1),
            version: 1,
            damage: None,
            index: None,
            analysis: None,
            plan: None,
            rebind: None,
            rebinds: 0,
            unbound_ms: 0,
            unable: vec![],
            manifests: vec![],
            began_unix_ms: None,
            ended_unix_ms: None,
            spent: AttemptCost::default(),
            audits: Audits::default(),
        };
        let mut ops = vec![Op::Put(Record::Job(Box::new(record.clone())))];
        if let Some((tenant, key)) = key {
            let record = IdempotencyRecord {
                tenant: tenant.clone(),
                key: key.clone(),
                request: s.request_hash,
                job: s.id.clone(),
                submitted_unix_ms: s.unix_ms,
            };
            ops.push(Op::Put(Record::Idempotency(Box::new(record.clone()))));
            self.idempotency.insert((tenant, key), record);
        }
        turn.write(ops, vec![]);
        self.jobs.insert(s.id.clone(), Job::new(record, turn.now));
        self.advance(turn, &s.id);
        Ok(Answer { job: s.id, existed: false })
    }

    /// Bounds on what a leader takes on.
    fn admit(&self, turn: &Turn<'_>, tenant: &TenantId) -> Result<(), Refusal> {
        if let Some((used, most)) = self.state_room
            && u128::from(used) * 1_000 >= u128::from(most) * u128::from(turn.config.state_full_permille)
        {
            return Err(Refusal::StateFull { used, most });
        }
        let open = || self.jobs.values().filter(|j| !j.state().is_terminal());
        let limit = turn.config.jobs_open_max;
        if open().count() >= limit {
            return Err(Refusal::Exhausted { what: "open jobs", limit });
        }
        let limit = turn.config.queued_ops_max;
        if self.outbox.waiting_ops() >= limit {
            return Err(Refusal::Exhausted { what: "writes waiting for the state store", limit });
        }
        self.may_open(turn, tenant)
    }

    /// May this tenant have one more open job?
    fn may_open(&self, turn: &Turn<'_>, tenant: &TenantId) -> Result<(), Refusal> {
        let own = turn.config.tenants.of(tenant).max_open_jobs;
        let limit = own.unwrap_or(turn.config.jobs_open_per_tenant_max);
        let open = |j: &&Job| j.record.request.tenant == *tenant && !j.state().is_terminal();
        match self.jobs.values().filter(open).count() {
            used if used >= limit => {
                let (tenant, quota, what) = (tenant.clone(), "max_open_jobs", "open jobs");
                Err(Refusal::Quota { tenant, quota, what, limit, used })
            }
            _ => Ok(()),
        }
    }

    /// Slots of the workers connected now.
    pub(crate) fn slots(&self) -> u32 {
        self.workers.values().filter(|w| w.session.is_some()).map(|w| w.capability.slots).sum()
    }

    fn cancel(&mut self, turn: &mut Turn<'_>, id: JobId) -> Result<Answer, Refusal> {
        let state = self.state_of(&id)?;
        match state {
            JobState::Cancelled => return Ok(Answer { job: id, existed: true }),
            s if self.jobs.get(&id).is_some_and(|j| !j.is_active()) => {
                return Err(Refusal::WrongState {
                    job: id,
                    state: s.name(),
                    advice: "only a job that is not being published yet can be cancelled",
                });
            }
            _ => {}
        }
        self.move_job(turn, &id, JobState::Cancelled, vec![], vec![]);
        self.stop_work(turn, &id);
        Ok(Answer { job: id, existed: false })
    }

    /// Runs a job again: commits are kept, budgets are new.
    fn retry(&mut self, turn: &mut Turn<'_>, id: JobId) -> Result<Answer, Refusal> {
        let state = self.state_of(&id)?;
        if !matches!(state, JobState::Failed(_) | JobState::Cancelled) {
            return Err(Refusal::WrongState {
                job: id,
                state: state.name(),
                advice: "only a failed or cancelled job can be run again",
            });
        }
        if let Some(job) = self.jobs.get(&id) {
            self.may_open(turn, &job.record.request.tenant)?;
        }
        let Some(job) = self.jobs.get_mut(&id) else { return Err(Refusal::NotFound(id)) };
        job.record.run = RunNo(job.record.run.0 + 1);
        job.notes.clear();
        // builds get another chance, as workers do
        job.record.unable.clear();
        job.record.unbound_ms = 0;
        job.forget_dispute();
        if sabotaged!(turn.config, RetryForgetsCommits) {
            job.commits.clear();
        }
        let state = match (&job.record.plan, &job.record.index) {
            (Some(_), _) => JobState::Running,
            (None, Some(_)) => JobState::Indexing,
            (None, None) => JobState::Accepted,
        };
        self.renew_budgets(turn, &id);
        self.move_job(turn, &id, state, vec![], vec![]);
        self.advance(turn, &id);
        Ok(Answer { job: id, existed: false })
    }

    fn delete(&mut self, turn: &mut Turn<'_>, id: JobId) -> Result<Answer, Refusal> {
        let state = self.state_of(&id)?;
        match state {
            JobState::Collecting | JobState::Collected => Ok(Answer { job: id, existed: true }),
            JobState::Published | JobState::Failed(_) | JobState::Cancelled => {
                self.collect(turn, &id);
                Ok(Answer { job: id, existed: false })
            }
            s => Err(Refusal::WrongState { job: id, state: s.name(), advice: "cancel it first" }),
        }
    }

    /// An archived job lives again in order to be collected, and is forgotten after that: its end is long ago.
    fn delete_archived(&mut self, turn: &mut Turn<'_>, record: JobRecord) -> Result<Answer, Refusal> {
        let (id, tenant) = (record.id.clone(), record.request.tenant.clone());
        if self.jobs.contains_key(&id) {
            return self.owned(&tenant, &id).and_then(|()| self.delete(turn, id));
        }
        if record.state != JobState::Published {
            return Err(Refusal::NotFound(id));
        }
        let mut job = Job::new(record, turn.now);
        // a leader before this one may still be archiving it
        job.quiet_at = turn.now.plus(turn.config.uploads_outlive(true));
        self.jobs.insert(id.clone(), job);
        self.delete(turn, id)
    }

    fn state_of(&self, id: &JobId) -> Result<JobState, Refusal> {
        self.jobs.get(id).map(|j| j.state().clone()).ok_or_else(|| Refusal::NotFound(id.clone()))
    }

    /// Idempotency keys that have stood long enough.
    pub(crate) fn expire_keys(&mut self, turn: &mut Turn<'_>, unix_ms: u64) {
        let old: Vec<_> = self
            .idempotency
            .iter()
            .filter(|(_, r)| unix_ms.saturating_sub(r.submitted_unix_ms) >= IDEMPOTENCY_MS)
            .map(|(key, _)| key.clone())
            .take(EXPIRED_PER_TURN)
            .collect();
        let delete = |(tenant, key)| {
            self.idempotency
                .remove(&(TenantId::clone(&tenant), reelmill_common::IdempotencyKey::clone(&key)));
            Op::Delete(reelmill_common::record::StateKey::Idempotency(tenant, key))
        };
        let ops: Vec<Op> = old.into_iter().map(delete).collect();
        if !ops.is_empty() {
            turn.write(ops, vec![]);
        }
    }
}
