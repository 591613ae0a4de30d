//! The memory of one term, and the beginning and end of everything in it.
//!
//! A term begins by loading everything that is stored and ends by being dropped: nothing in here outlives it, and
//! nothing from before it is mixed in. The other modules of this crate add its transitions:
//! `calls` (clients), `enrol` (who may work), `sessions` (workers), `outcomes` (verdicts and budgets), `stages` (a job's way and its tasks),
//! `schedule` (offers), `audit` (second looks).

use crate::attempt::{Attempt, Phase, Why};
use crate::batch::Outbox;
use crate::classes::Classes;
use crate::countdown::Countdown;
use crate::effect::{Count, Effect};
use crate::event::{SessionId, TermBegun};
use crate::fair::Fair;
use crate::horizon::Horizon;
use crate::job::Job;
use crate::outside::Outside;
use crate::pace::Paces;
use crate::ready::Ready;
use crate::record::{Op, Record};
use crate::tenants::InSlots;
use crate::turn::{Turn, sabotaged};
use crate::work::{TaskId, WorkKind};
use crate::worker::Worker;
use reelmill_common::job::{FailReason, JobState};
use reelmill_common::outcome::FaultKind;
use reelmill_common::record::{IdempotencyRecord, WorkerRecord};
use reelmill_common::session::ToWorker;
use reelmill_common::{AttemptId, FencingTerm, IdempotencyKey, JobId, Millis, SpecId, TenantId, WorkerId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Everything a leader knows.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) term: FencingTerm,
    pub(crate) outbox: Outbox,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) idempotency: BTreeMap<(TenantId, IdempotencyKey), IdempotencyRecord>,
    /// Workers with credentials of their own.
    pub(crate) enrolled: BTreeMap<WorkerId, WorkerRecord>,
    /// Live ones only.
    pub(crate) attempts: BTreeMap<AttemptId, Attempt>,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    /// Of those, all that want work, and perhaps some that no longer do.
    pub(crate) asking: BTreeSet<WorkerId>,
    pub(crate) sessions: BTreeMap<SessionId, WorkerId>,
    /// Jobs with work that waits.
    pub(crate) ready: Ready,
    /// Slots that each tenant's attempts take.
    pub(crate) in_slots: InSlots,
    pub(crate) fair: Fair,
    pub(crate) tasks: BTreeMap<TaskId, JobId>,
    /// Attempts of older leaders whose fault this one has counted: a Hello that was sent before and comes after must not
    /// bring them back to be counted again. No more than the workers held when the term began.
    pub(crate) old_faults: BTreeSet<AttemptId>,
    pub(crate) outside: Outside,
    /// Jobs with chunks that nobody who is here can make as they are bound, and for how long.
    pub(crate) unbound: BTreeMap<JobId, Countdown>,
    /// Bytes that the state store has used, and may; `None` until it was told.
    pub(crate) state_room: Option<(u64, u64)>,
    next_attempt: u64,
    next_task: u64,
    /// A time and the wall clock at it.
    wall: (Millis, u64),
    pub(crate) paces: Paces,
    pub(crate) classes: Classes,
    /// Chunks are left to faster ones until then; `None`: none is.
    pub(crate) patience: Option<Millis>,
    /// As the last pass left it.
    pub(crate) horizon: Horizon,
}

impl Leader {
    /// Loads everything. `has_led`: this process has led before.
    pub(crate) fn begin(turn: &mut Turn<'_>, begun: TermBegun, has_led: bool) -> Self {
        let mut this = Self {
            term: begun.term,
            outbox: Outbox::new(begun.term),
            jobs: BTreeMap::new(),
            idempotency: BTreeMap::new(),
            enrolled: BTreeMap::new(),
            attempts: BTreeMap::new(),
            workers: BTreeMap::new(),
            asking: BTreeSet::new(),
            sessions: BTreeMap::new(),
            ready: Ready::default(),
            in_slots: InSlots::default(),
            fair: Fair::default(),
            tasks: BTreeMap::new(),
            old_faults: BTreeSet::new(),
            outside: Outside::begin(turn.now, has_led),
            unbound: BTreeMap::new(),
            state_room: None,
            next_attempt: 0,
            next_task: 0,
            wall: (turn.now, begun.unix_ms),
            paces: Paces::default(),
            classes: Classes::default(),
            patience: None,
            horizon: Horizon::default(),
        };
        let mut parts = vec![];
        for record in begun.records {
            match record {
                Record::Job(r) => {
                    let mut job = Job::new(*r, turn.now);
                    job.durable = Some(job.record.clone());
                    this.jobs.insert(job.id().clone(), job);
                }
                Record::Idempotency(r) => {
                    this.idempotency.insert((r.tenant.clone(), r.key.clone()), *r);
                }
                Record::Outside(_) => this.outside.is_recorded(),
                Record::Worker(r) => drop(this.enrolled.insert(r.worker.clone(), *r)),
                Record::Commit(_) | Record::Fault(_) => parts.push(record),
            }
        }
        for part in parts {
            this.load_part(turn, part);
        }
        let mut plans = begun.plans;
        for id in this.jobs.keys().cloned().collect::<Vec<_>>() {
            this.resume(turn, &id, plans.remove(&id));
        }
        turn.reschedule = true;
        this
    }

    /// A commit or fault record of a job that is there.
    fn load_part(&mut self, turn: &mut Turn<'_>, record: Record) {
        let key = record.key();
        let job = match &record {
            Record::Commit(r) => self.jobs.get_mut(&r.job),
            Record::Fault(r) => self.jobs.get_mut(&r.job),
            Record::Job(_) | Record::Idempotency(_) | Record::Outside(_) | Record::Worker(_) => return,
        };
        match (job, record) {
            // what a worker made that was caught does not count, whether or not it is gone yet
            (Some(job), Record::Commit(r)) if !job.record.audits.is_caught(&r.worker) => {
                job.commits.insert(r.spec, *r);
            }
            (Some(job), Record::Fault(r)) => {
                if !sabotaged!(turn.config, BudgetNotDurable) {
                    job.faults.insert(r.spec, *r);
                }
            }
            // a job is written before its parts and is never deleted: else this is a stray
            _ => turn.write(vec![Op::Delete(key)], vec![]),
        }
    }

    /// The changes of a batch are durable.
    pub(crate) fn acknowledged(&mut self, turn: &mut Turn<'_>) {
        let mut changed = BTreeSet::new();
        let was_behind = self.outbox.is_behind();
        let (ops, performed) = self.outbox.acknowledged();
        turn.reschedule |= was_behind && !self.outbox.is_behind();
        self.performed(turn.now, &performed);
        for op in ops {
            let Op::Put(record) = op else { continue };
            match record {
                Record::Job(r) => {
                    changed.insert(r.id.clone());
                    if let Some(job) = self.jobs.get_mut(&r.id) {
                        job.durable = Some(*r);
                    }
                }
                Record::Commit(r) => {
                    changed.insert(r.job.clone());
                    self.commit_is_durable(&r.job, r.spec);
                }
                Record::Fault(r) => {
                    changed.insert(r.job.clone());
                }
                Record::Idempotency(_) | Record::Outside(_) | Record::Worker(_) => {}
            }
        }
        for job in changed {
            turn.then(Effect::JobChanged(job));
        }
    }

    /// Effects have left: the leases among them begin to run.
    pub(crate) fn performed(&mut self, now: Millis, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Lease(order) = effect
                && let Some(attempt) = self.attempts.get_mut(&order.attempt)
            {
                attempt.is_offered(now);
            }
        }
    }

    fn commit_is_durable(&mut self, job: &JobId, spec: SpecId) {
        let Some(job) = self.jobs.get_mut(job) else { return };
        job.undurable.remove(&spec);
        let chunk = job.work.as_ref().filter(|w| w.kind == WorkKind::Encode).and_then(|w| w.get(spec));
        if let Some(cost_ms) = chunk.map(|c| c.spec.cost_ms) {
            job.durable_chunks += 1;
            job.durable_cost_ms += cost_ms;
        }
    }

    /// Wall clock, for showing and retention.
    pub(crate) fn unix_ms(&self, now: Millis) -> u64 {
        self.wall.1.saturating_add(now.since(self.wall.0))
    }

    pub(crate) fn set_wall(&mut self, now: Millis, unix_ms: u64) {
        self.wall = (now, unix_ms);
    }

    pub(crate) fn new_attempt_id(&mut self) -> AttemptId {
        self.next_attempt += 1;
        AttemptId { term: self.term, sequence: self.next_attempt }
    }

    pub(crate) fn new_task_id(&mut self) -> TaskId {
        self.next_task += 1;
        TaskId(self.next_task)
    }

    /// Keeps the index of jobs with ready chunks true. Called after every change of a job's work or state.
    pub(crate) fn index_ready(&mut self, id: &JobId) {
        let Some(job) = self.jobs.get(id) else { return };
        let tenant = &job.record.request.tenant;
        let place = (Reverse(job.record.request.priority), id.clone());
        let work = job.work.as_ref().filter(|w| job.is_active() && w.ready_len() > 0);
        self.ready.set(tenant, place, work.map(|w| w.kind));
    }

    /// An attempt begins to live: offered, or claimed by its worker under an older leader.
    pub(crate) fn begin_attempt(&mut self, id: AttemptId, attempt: Attempt) {
        if let Some(w) = self.workers.get_mut(&attempt.worker) {
            w.held.insert(id);
            w.memory_mib += attempt.spec.needs.memory_mib;
            w.alone |= attempt.alone;
        }
        if let Some(job) = self.jobs.get_mut(&attempt.job) {
            self.in_slots.takes(&job.record.request.tenant);
            job.live.insert(id);
            job.was_worked_on = true;
            if let Some(work) = &mut job.work {
                work.take(attempt.spec.id, id);
            }
        }
        let job = attempt.job.clone();
        self.attempts.insert(id, attempt);
        self.index_ready(&job);
    }

    /// An attempt ends. Its worker is not told.
    pub(crate) fn end_attempt(&mut self, turn: &mut Turn<'_>, id: AttemptId, why: Why) -> Option<Attempt> {
        let attempt = self.attempts.remove(&id)?;
        if let Some(w) = self.workers.get_mut(&attempt.worker) {
            w.held.remove(&id);
            w.uploading.remove(&id);
            w.memory_mib = w.memory_mib.saturating_sub(attempt.spec.needs.memory_mib);
            w.alone &= !attempt.alone;
        }
        if let Some(job) = self.jobs.get_mut(&attempt.job) {
            if attempt.phase != Phase::Uploading {
                self.in_slots.leaves(&job.record.request.tenant);
            }
            job.live.remove(&id);
            // what won has told its cost where its output is recorded
            if why != Why::Won {
                job.record.spent += attempt.cost;
            }
            if let Some(work) = &mut job.work {
                work.release(attempt.spec.id, id, turn.now);
            }
        }
        if why == Why::NotNeeded {
            turn.then(Effect::Count(Count::Superseded { kind: attempt.kind, spent: attempt.cost }));
        }
        self.index_ready(&attempt.job);
        turn.reschedule = true;
        Some(attempt)
    }

    /// Ends an attempt and tells its worker to stop.
    pub(crate) fn revoke(&mut self, turn: &mut Turn<'_>, id: AttemptId, why: Why) {
        if let Some(attempt) = self.end_attempt(turn, id, why) {
            self.tell(turn, &attempt.worker, ToWorker::Revoke { attempt: id });
        }
    }

    /// Sends to a worker, if it is connected.
    pub(crate) fn tell(&self, turn: &mut Turn<'_>, worker: &WorkerId, message: ToWorker) {
        if let Some(session) = self.workers.get(worker).and_then(|w| w.session) {
            turn.then(Effect::Send { session, term: self.term, message });
        }
    }

    /// The job ends here: nobody works for it any more.
    pub(crate) fn stop_work(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let live = std::mem::take(&mut job.live);
        job.work = None;
        if let Some(task) = job.task.take() {
            self.tasks.remove(&task.id);
            turn.then(Effect::Forget(task.id));
        }
        for attempt in live {
            self.revoke(turn, attempt, Why::NotNeeded);
        }
        self.index_ready(id);
    }

    /// Writes the job's record in its new state. `ops` go with it in one transaction, `then` follows.
    pub(crate) fn move_job(
        &mut self,
        turn: &mut Turn<'_>,
        id: &JobId,
        state: JobState,
        mut ops: Vec<Op>,
        then: Vec<Effect>,
    ) {
        let unix_ms = self.unix_ms(turn.now);
        let Some(job) = self.jobs.get_mut(id) else { return };
        if job.is_active() && job.was_worked_on {
            job.quiet_at = turn.now.plus(turn.config.uploads_outlive(true));
        }
        job.record.ended_unix_ms = match (&state, job.record.ended_unix_ms) {
            (s, None) if s.is_terminal() => Some(unix_ms),
            (s, ended) if s.is_terminal() => ended,
            _ => None,
        };
        job.record.began_unix_ms = match &state {
            // from Planned, or by Retry: once a run
            JobState::Running => Some(unix_ms),
            s if s.is_terminal() || *s == JobState::Publishing => job.record.began_unix_ms,
            _ => None,
        };
        job.set_state(state);
        ops.push(Op::Put(Record::Job(Box::new(job.record.clone()))));
        turn.write(ops, then);
        self.index_ready(id);
    }

    /// The job fails, with the changes that made it fail.
    pub(crate) fn fail_job(&mut self, turn: &mut Turn<'_>, id: &JobId, reason: FailReason, ops: Vec<Op>) {
        self.move_job(turn, id, JobState::Failed(reason), ops, vec![]);
        self.stop_work(turn, id);
    }

    /// Leases that ran out. A worker that was heard of since does not know of the attempt (any more); one that was not
    /// has vanished.
    pub(crate) fn expire_leases(&mut self, turn: &mut Turn<'_>) {
        let ttl_ms = match sabotaged!(turn.config, LeaseNeverExpires) {
            false => turn.config.lease_ttl_ms,
            true => u64::MAX,
        };
        let expired: Vec<AttemptId> =
            self.attempts.iter().filter(|(_, a)| a.is_expired(turn.now, ttl_ms)).map(|(id, _)| *id).collect();
        for id in expired {
            let Some(attempt) = self.attempts.get(&id) else { continue };
            let worker = attempt.worker.clone();
            let phase = attempt.phase;
            let alive = self.workers.get(&worker).is_some_and(|w| turn.now.since(w.heard) <= ttl_ms);
            match (alive, phase) {
                (_, Phase::Decided) => {}
                (true, Phase::Offered) => self.revoke(turn, id, Why::NeverArrived),
                (true, Phase::Running | Phase::Uploading) => {
                    self.revoke(turn, id, Why::Forgotten);
                    self.distrust_of_loss(turn, &worker);
                }
                (false, _) => self.vanished(turn, id),
            }
        }
    }

    /// Fails a job whose plan the new leader cannot have.
    pub(crate) fn plan_missing() -> FailReason {
        FailReason {
            kind: FaultKind::Storage,
            message: "the stored plan of this job cannot be read: run it again".to_owned(),
            detail: String::new(),
        }
    }
}
