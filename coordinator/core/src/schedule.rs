//! Who does what next: free slots meet ready chunks.
//!
//! A pass gives every free slot the next chunk by policy, until slots or fitting chunks run out:
//! the tenant by fair queueing, its job by priority and age, the chunk by length, the worker by [`Fit`]. At most
//! [`WINDOW_PER_SLOT`] candidates a slot are looked at, so a pass costs as much as the fleet, not the backlog; work
//! of a kind that no free worker can do is set aside as one, however much of it there is.
//! What a pass leaves is explained by the views, from the same rules.

use crate::attempt::{Attempt, Phase};
use crate::chunks::{Chunks, LIVE_MAX};
use crate::effect::{Count, Effect, LeaseOrder};
use crate::job::Job;
use crate::leader::Leader;
use crate::pace::Horizon;
use crate::turn::{Turn, sabotaged};
use crate::work::{Demand, SpecRef, WorkKind};
use crate::worker::Worker;
use reelmill_common::capability::Needs;
use reelmill_common::outcome::AttemptCost;
use reelmill_common::{AttemptId, JobId, Millis, TenantId, WorkerId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Ready chunks looked at for each slot of the fleet in one pass.
pub(crate) const WINDOW_PER_SLOT: usize = 4;
/// A second attempt is worth its while when it would be done so much sooner than the first, milliseconds.
const LEAST_GAIN_MS: u64 = 250;

/// How well a worker with a free slot suits a chunk: the least is taken. The order of the fields is the policy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Fit {
    /// It has failed on this very spec (nobody else is eligible).
    failed_here: bool,
    /// It would not make the bytes that the job's other chunks are made of.
    other_fingerprint: bool,
    /// Everything else could be done before it: the chunk is left to a faster one.
    late: bool,
    /// Busy slots, in thousandths of its slots.
    busy_permille: u32,
    /// The fastest first.
    takes_ms: u64,
    /// For determinism.
    worker: WorkerId,
}

/// A chunk that could be offered.
struct Candidate {
    job: JobId,
    spec: SpecRef,
    kind: WorkKind,
    ready_since: Millis,
}

/// Workers with free slots.
type Free = BTreeMap<WorkerId, u32>;

/// What is left in a pass; all of it only shrinks, but what is given up, which only grows.
struct Pass {
    free: Free,
    /// Candidates that may still be looked at.
    window: usize,
    /// Needs that none of the free workers meets.
    hopeless: BTreeSet<Needs>,
    /// Demands of jobs with their own idea of who can do what, that none of the free workers meets.
    given_up: BTreeSet<(JobId, Demand)>,
    horizon: Horizon,
}

impl Pass {
    fn is_hopeless(&self, job: &Job, demand: Demand) -> bool {
        let own = || self.given_up.contains(&(job.id().clone(), demand));
        self.hopeless.contains(&demand.needs) || (!job.record.unable.is_empty() && own())
    }

    /// No free worker can do such work of this job.
    fn give_up(&mut self, job: &Job, demand: Demand) {
        if job.record.unable.is_empty() {
            self.hopeless.insert(demand.needs);
        } else {
            self.given_up.insert((job.id().clone(), demand));
        }
    }

    fn given_up(&self) -> usize {
        self.hopeless.len() + self.given_up.len()
    }
}

impl Leader {
    /// One pass.
    pub(crate) fn schedule(&mut self, turn: &mut Turn<'_>) {
        let free = self.workers.iter().map(|(id, w)| (id.clone(), w.free_slots(turn.now, turn.config)));
        let mut pass = Pass {
            free: free.filter(|(_, slots)| *slots > 0).collect(),
            window: WINDOW_PER_SLOT * self.slots() as usize,
            hopeless: BTreeSet::new(),
            given_up: BTreeSet::new(),
            horizon: Horizon::default(),
        };
        if pass.free.is_empty() {
            return;
        }
        pass.horizon = self.horizon(turn.now, turn.config);
        let mut passed_over = BTreeSet::new();
        while !pass.free.is_empty() && pass.window > 0 {
            let Some(tenant) = self.next_tenant(turn, &passed_over) else { break };
            match self.first_fit(turn, &tenant, &mut pass) {
                Some((candidate, worker)) => {
                    let weight = turn.config.weights.get(&tenant).copied().unwrap_or(1);
                    self.fair.charge(&tenant, candidate.spec.cost_ms, weight);
                    self.offer(turn, candidate, &worker, false);
                    self.refresh(turn, &mut pass.free, &worker);
                }
                None => {
                    passed_over.insert(tenant);
                }
            }
        }
        if turn.speculate && pass.window > 0 && !pass.free.is_empty() {
            self.speculate(turn, &mut pass);
        }
    }

    fn refresh(&self, turn: &Turn<'_>, free: &mut Free, worker: &WorkerId) {
        match self.workers.get(worker).map_or(0, |w| w.free_slots(turn.now, turn.config)) {
            0 => free.remove(worker),
            slots => free.insert(worker.clone(), slots),
        };
    }

    /// The tenant with the least start tag of those that have something ready and were not passed over.
    fn next_tenant(&self, turn: &Turn<'_>, passed_over: &BTreeSet<TenantId>) -> Option<TenantId> {
        let waiting = self.ready.keys().filter(|t| !passed_over.contains(*t));
        if sabotaged!(turn.config, FairnessOff) {
            return waiting.min().cloned();
        }
        waiting.min_by_key(|t| (self.fair.start_tag(t), *t)).cloned()
    }

    /// The first of a tenant's ready chunks for which a worker is free.
    fn first_fit(
        &self,
        turn: &Turn<'_>,
        tenant: &TenantId,
        pass: &mut Pass,
    ) -> Option<(Candidate, WorkerId)> {
        for (_, id) in self.ready.get(tenant)? {
            let job = self.jobs.get(id).filter(|j| j.hold_until <= turn.now);
            let Some((job, work)) = job.and_then(|j| Some((j, j.work.as_ref()?))) else { continue };
            // a kind of work that turns out hopeless is left out of a fresh look at the job
            loop {
                let given_up = pass.given_up();
                if let Some(fit) = self.first_fit_of(turn, job, work, pass) {
                    return Some(fit);
                }
                if pass.given_up() == given_up {
                    break;
                }
            }
        }
        None
    }

    /// As [`Leader::first_fit`], within a job; stops early when it learns that a kind of work is hopeless. A chunk
    /// that must run alone and finds no idle worker keeps one from new work until it is idle.
    fn first_fit_of(
        &self,
        turn: &Turn<'_>,
        job: &Job,
        work: &Chunks,
        pass: &mut Pass,
    ) -> Option<(Candidate, WorkerId)> {
        let hopeless: BTreeSet<Demand> = work.demands().filter(|d| pass.is_hopeless(job, *d)).collect();
        for chunk in work.ready_of(|demand| !hopeless.contains(&demand)) {
            if pass.window == 0 {
                return None;
            }
            pass.window -= 1;
            let Some(fit) = self.best_worker(turn, job, chunk.spec, &[], pass) else {
                if job.failed_on(chunk.spec.id).is_empty() {
                    pass.give_up(job, chunk.spec.demand());
                    return None;
                }
                continue;
            };
            if fit.late {
                continue;
            }
            let worker = fit.worker;
            let idle = self.workers.get(&worker).is_some_and(|w| w.held.is_empty());
            if job.runs_alone(chunk.spec.id) && !idle {
                pass.free.remove(&worker);
                continue;
            }
            let (spec, kind, ready_since) = (chunk.spec, work.kind, chunk.ready_since);
            return Some((Candidate { job: job.id().clone(), spec, kind, ready_since }, worker));
        }
        None
    }

    /// The best of the free workers for a chunk, `except` some.
    fn best_worker(
        &self,
        turn: &Turn<'_>,
        job: &Job,
        spec: SpecRef,
        except: &[WorkerId],
        pass: &Pass,
    ) -> Option<Fit> {
        let any = sabotaged!(turn.config, NeedsIgnored);
        let failed_on = job.failed_on(spec.id);
        let others = !failed_on.is_empty()
            && self.workers.iter().any(|(id, w)| self.is_able(turn, job, w, spec) && !failed_on.contains(id));
        let horizon = &pass.horizon;
        // what some cannot have, or have failed on, is left only to somebody who can
        let picky = !failed_on.is_empty() || !job.record.unable.is_empty();
        let hold = !picky
            || self.workers.iter().any(|(id, w)| {
                self.is_able(turn, job, w, spec)
                    && !failed_on.contains(id)
                    && self.is_timely(horizon, w, spec)
            });
        pass.free
            .keys()
            .filter(|id| !except.contains(id))
            .filter(|id| !others || !failed_on.contains(id))
            .filter_map(|id| self.workers.get(id).map(|w| (id, w)))
            .filter(|(_, w)| {
                any || (self.is_able(turn, job, w, spec) && spec.needs.memory_mib <= w.free_memory_mib())
            })
            .map(|(id, w)| Fit {
                failed_here: failed_on.contains(id),
                other_fingerprint: job.prefers_other(w, spec.needs),
                late: hold && !self.is_timely(horizon, w, spec),
                busy_permille: w.held.len() as u32 * 1_000 / w.capability.slots.max(1),
                takes_ms: self.takes_ms(horizon, w, spec),
                worker: id.clone(),
            })
            .min()
    }

    /// Could this worker do this work of the job when it has a slot?
    fn is_able(&self, turn: &Turn<'_>, job: &Job, worker: &Worker, spec: SpecRef) -> bool {
        let gives = job.is_given_by(worker, spec.demand()) || sabotaged!(turn.config, UnableForgotten);
        worker.is_eligible(spec.needs) && gives
    }

    /// Leases a chunk to a worker. The job's record moves on in the same write, if this is its first.
    fn offer(&mut self, turn: &mut Turn<'_>, candidate: Candidate, to: &WorkerId, speculative: bool) {
        let Candidate { job: id, spec, kind, ready_since } = candidate;
        let attempt = self.new_attempt_id();
        let Some(worker) = self.workers.get_mut(to) else { return };
        let Some(session) = worker.session else { return };
        worker.wanted = worker.wanted.saturating_sub(1);
        let needs = spec.needs;
        let fingerprint = worker.fingerprint(needs.family);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.fingerprint = job.fingerprint.or(fingerprint);
        let alone = job.runs_alone(spec.id);
        let order =
            LeaseOrder { session, term: self.term, attempt, job: id.clone(), spec: spec.id, kind, alone };
        let queued_ms = turn.now.since(ready_since);
        let then = vec![
            Effect::Lease(Box::new(order)),
            Effect::Count(Count::Offered { kind, queued_ms, speculative }),
        ];
        let next = job.begun_by(kind);
        self.begin_attempt(
            attempt,
            Attempt {
                job: id.clone(),
                spec,
                kind,
                worker: to.clone(),
                fingerprint,
                session,
                phase: Phase::Decided,
                offered_at: turn.now,
                renewed_at: turn.now,
                progress: (0, 0),
                cost: AttemptCost::default(),
                alone,
            },
        );
        match next {
            Some(state) => self.move_job(turn, &id, state, vec![], then),
            None => turn.write(vec![], then),
        }
    }

    /// Slots idle and nothing ready fits them: a second attempt of what will run longest, where it would be overtaken.
    fn speculate(&mut self, turn: &mut Turn<'_>, pass: &mut Pass) {
        let mut stragglers: Vec<(Reverse<u64>, AttemptId)> = self
            .attempts
            .iter()
            .filter_map(|(id, a)| Some((Reverse(self.left_alone_ms(turn.now, &pass.horizon, a)?), *id)))
            .collect();
        stragglers.sort();
        for (Reverse(left_ms), id) in stragglers {
            let Some(slow) = self.attempts.get(&id) else { continue };
            let Some(job) = self.jobs.get(&slow.job) else { continue };
            let except = std::slice::from_ref(&slow.worker);
            let Some(fit) = self.best_worker(turn, job, slow.spec, except, pass) else { continue };
            let soonest = pass.horizon.soonest_ms(slow.spec).unwrap_or(u64::MAX);
            if fit.takes_ms > soonest.saturating_add(soonest / 50) {
                // a slot that is busy now would be done with it before
                continue;
            }
            if fit.takes_ms.saturating_add(LEAST_GAIN_MS) >= left_ms {
                continue;
            }
            let worker = fit.worker;
            let candidate = Candidate {
                job: slow.job.clone(),
                spec: slow.spec,
                kind: slow.kind,
                ready_since: slow.offered_at,
            };
            self.offer(turn, candidate, &worker, true);
            self.refresh(turn, &mut pass.free, &worker);
            if pass.free.is_empty() {
                break;
            }
        }
    }

    /// For how long an attempt will still run, if it is one of an encoder's that a second one may be set beside.
    fn left_alone_ms(&self, now: Millis, horizon: &Horizon, a: &Attempt) -> Option<u64> {
        let job = self.jobs.get(&a.job)?;
        let chunk = job.work.as_ref()?.get(a.spec.id)?;
        if a.kind != WorkKind::Encode || chunk.live.len() >= LIVE_MAX || job.runs_alone(a.spec.id) {
            return None;
        }
        // one whose connection is gone may never come back
        let worker = self.workers.get(&a.worker).filter(|w| w.session.is_some());
        Some(worker.map_or(u64::MAX, |w| self.left_ms(now, horizon, w, a)))
    }
}

impl Job {
    /// Would this worker make other bytes than those the job has so far? A preference only: nothing waits for it.
    fn prefers_other(&self, worker: &Worker, needs: Needs) -> bool {
        self.fingerprint.is_some_and(|mine| {
            !worker
                .capability
                .encoders
                .iter()
                .any(|e| Some(e.family) == needs.family && e.fingerprint == mine)
        })
    }
}
