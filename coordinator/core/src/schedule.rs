//! Who does what next: free slots meet ready chunks.
//!
//! A pass gives every free slot the next chunk by policy, until slots or fitting chunks run out:
//! the tenant by fair queueing, its job by priority and age (short work first, [`crate::ready`]), the chunk by length, the
//! worker by [`Fit`]. At most
//! [`WINDOW_PER_SLOT`] candidates a slot are looked at; work of a kind that no free worker can do, or should begin with,
//! is set aside as one, however much of it there is. So a pass costs as much as the slots that ask, not the backlog.
//! A tenant that has all the slots it may have is as if nothing of it waited: others have what it leaves.
//! What a pass leaves is explained by the views, from the same rules.

mod speculate;

use crate::attempt::{Attempt, Phase};
use crate::chunks::Chunks;
use crate::config::Rules;
use crate::effect::{Count, Effect, LeaseOrder};
use crate::free::{Fit, Free, Kind};
use crate::horizon::Horizon;
use crate::job::Job;
use crate::leader::Leader;
use crate::room::Kept;
use crate::tenants::SlotsLeft;
use crate::turn::{Turn, sabotaged};
use crate::work::{Demand, SpecRef, WorkKind};
use crate::worker::Worker;
use reelmill_common::capability::Needs;
use reelmill_common::outcome::AttemptCost;
use reelmill_common::plan::CostClass;
use reelmill_common::{AttemptId, JobId, Millis, TenantId, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// Ready chunks looked at for each slot of the fleet in one pass.
pub(crate) const WINDOW_PER_SLOT: usize = 4;
/// Nobody who leaves a chunk to a faster one gives up before, milliseconds.
const LEAST_PATIENCE_MS: u64 = 1_000;

/// A chunk that could be offered.
struct Candidate {
    job: JobId,
    spec: SpecRef,
    kind: WorkKind,
    ready_since: Millis,
}

/// Who could begin with a chunk.
enum Best {
    /// This one, and so long will it take.
    Is { worker: WorkerId, takes_ms: u64 },
    /// Everybody who is free and able leaves it to a faster one.
    Late,
    /// Nobody who is free is able.
    Nobody,
}

/// What is left in a pass; all of it only shrinks, but what is given up, which only grows.
struct Pass {
    free: Free,
    /// What tenants with a bound on their slots may still have.
    bounds: SlotsLeft,
    /// A worker whose memory is kept for a chunk that needs much.
    kept: Option<Kept>,
    /// Candidates that may still be looked at.
    window: usize,
    /// Needs that none of the free workers meets.
    hopeless: BTreeSet<Needs>,
    /// Demands of jobs with their own idea of who can do what, that none of the free workers meets.
    given_up: BTreeSet<(JobId, Demand)>,
    /// What nobody who is free and has the memory may begin with, by class and by needs that faster ones have not the
    /// memory for.
    large: BTreeMap<(Needs, CostClass), u64>,
    /// How often it was found that nobody who is free may begin with what costs more than something.
    left: usize,
    /// A chunk was left to a faster one.
    late: bool,
    /// Builds leave work to others that are better at it.
    picks: bool,
    horizon: Horizon,
}

impl Pass {
    fn is_hopeless(&self, job: &Job, demand: Demand) -> bool {
        let own = || self.given_up.contains(&(job.id().clone(), demand));
        self.hopeless.contains(&demand.needs) || (job.is_choosy() && own())
    }

    /// No free worker can do such work of this job.
    fn give_up(&mut self, job: &Job, demand: Demand) {
        if job.is_choosy() {
            self.given_up.insert((job.id().clone(), demand));
        } else {
            self.hopeless.insert(demand.needs);
        }
    }

    /// Something of a tenant goes to a worker.
    fn takes(&mut self, tenant: &TenantId, worker: &WorkerId, spec: SpecRef) {
        self.bounds.take(tenant);
        if let Some(kept) = &mut self.kept {
            kept.give(worker, spec.needs.memory_mib);
        }
    }

    /// Grows whenever it is found that something is not worth looking at.
    fn learned(&self) -> usize {
        self.hopeless.len() + self.given_up.len() + self.left
    }

    /// What a chunk may cost at most to be worth looking at; `None`: none is.
    fn most_ms(&self, job: &Job, demand: Demand) -> Option<u64> {
        if self.is_hopeless(job, demand) {
            return None;
        }
        // who is able to do what is the job's own affair: somebody faster may not be
        Some(if job.is_choosy() { u64::MAX } else { self.free_most_ms(job.kind_of(demand), demand.needs) })
    }

    /// What such work may cost at most, as far as was found, for somebody who is free to begin with it.
    fn free_most_ms(&self, kind: Kind, needs: Needs) -> u64 {
        match self.horizon.fastest_with_room(needs) {
            Some(_) => self.large.get(&(needs, kind.class)).copied().unwrap_or(u64::MAX),
            None => self.free.most_ms(kind),
        }
    }
}

impl Leader {
    /// One pass.
    pub(crate) fn schedule(&mut self, turn: &mut Turn<'_>) {
        if self.outbox.is_behind() || (self.ready.is_empty() && !turn.speculate) {
            return;
        }
        let workers = &self.workers;
        self.asking.retain(|id| workers.get(id).is_some_and(|w| w.wanted > 0));
        let slots = |id: &WorkerId| workers.get(id).map_or(0, |w| w.free_slots(turn.now, turn.config));
        let free = self.asking.iter().map(|id| (id.clone(), slots(id))).filter(|(_, slots)| *slots > 0);
        let free = Free::new(free.collect());
        if free.is_empty() {
            return;
        }
        let bounds = self.slots_left(turn.config);
        let mut horizon = self.look(turn.now, turn.config, self.is_shared(&bounds));
        if self.patience.is_some_and(|until| turn.now >= until) {
            horizon.forget();
        }
        let window = WINDOW_PER_SLOT * horizon.slots as usize;
        let (hopeless, given_up) = (BTreeSet::new(), BTreeSet::new());
        let (large, left, late, kept, picks) = (BTreeMap::new(), 0, false, None, horizon.is_some_left());
        let mut pass =
            Pass { free, bounds, kept, window, hopeless, given_up, large, left, late, picks, horizon };
        self.hand_out(turn, &mut pass);
        if std::mem::take(&mut pass.picks) {
            // what a build leaves to others comes last: its slots do not idle for that
            pass.late = false;
            pass.free.leave_nothing();
            self.hand_out(turn, &mut pass);
        }
        self.patience = self.patience_after(turn.now, &pass);
        if turn.speculate && pass.window > 0 && !pass.free.is_empty() {
            self.speculate(turn, &mut pass);
        }
        self.horizon = pass.horizon;
    }

    /// Whoever leaves chunks to faster ones does so for no more than twice the time in which they could have done all of
    /// them: paces are estimates, and what a fast worker was taken to do soon it may never do.
    fn patience_after(&self, now: Millis, pass: &Pass) -> Option<Millis> {
        let all_ms = pass.horizon.all_ms(now).filter(|_| pass.late)?;
        self.patience.or(Some(now.plus(all_ms.saturating_mul(2).saturating_add(LEAST_PATIENCE_MS))))
    }

    /// What is ready goes to who is free.
    fn hand_out(&mut self, turn: &mut Turn<'_>, pass: &mut Pass) {
        let mut passed_over = BTreeSet::new();
        while !pass.free.is_empty() && pass.window > 0 {
            let Some(tenant) = self.next_tenant(turn, &passed_over, &pass.bounds) else { break };
            match self.first_fit(turn, &tenant, pass) {
                Some((candidate, worker)) => {
                    let weight = turn.config.tenants.of(&tenant).weight;
                    self.fair.charge(&tenant, candidate.spec.cost_ms, weight);
                    pass.takes(&tenant, &worker, candidate.spec);
                    self.ready.gave(&tenant, candidate.kind);
                    let (job, spec) = (candidate.job.clone(), candidate.spec);
                    self.offer(turn, candidate, &worker, false);
                    self.insure(turn, &pass.horizon, (&job, spec), &worker);
                    self.refresh(turn, pass, &worker);
                }
                None => {
                    passed_over.insert(tenant);
                }
            }
        }
    }

    /// A worker was offered something.
    fn refresh(&self, turn: &Turn<'_>, pass: &mut Pass, worker: &WorkerId) {
        let left = self.workers.get(worker).map_or(0, |w| w.free_slots(turn.now, turn.config));
        pass.free.taken(worker, left, |kind| self.fit(&pass.horizon, kind, worker));
    }

    /// What tenants with a bound on their slots may have beside what they have.
    pub(crate) fn slots_left(&self, rules: &Rules) -> SlotsLeft {
        SlotsLeft::of(&rules.tenants, &self.in_slots)
    }

    /// Do chunks of several tenants wait that may have a slot?
    pub(crate) fn is_shared(&self, bounds: &SlotsLeft) -> bool {
        self.ready.tenants().filter(|(t, _)| bounds.has(t)).count() > 1
    }

    /// The tenant with the least start tag of those that have something ready, may have a slot and were not passed over.
    fn next_tenant(
        &self,
        turn: &Turn<'_>,
        passed_over: &BTreeSet<TenantId>,
        bounds: &SlotsLeft,
    ) -> Option<TenantId> {
        let waiting = self.ready.tenants().map(|(t, _)| t);
        let waiting = waiting.filter(|t| !passed_over.contains(*t) && bounds.has(t));
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
        for (_, id) in self.ready.of(tenant)?.in_order() {
            let job = self.jobs.get(id).filter(|j| j.hold_until <= turn.now);
            let Some((job, work)) = job.and_then(|j| Some((j, j.work.as_ref()?))) else { continue };
            // what turns out not to be worth looking at is left out of a fresh look at the job
            loop {
                let learned = pass.learned();
                if let Some(fit) = self.first_fit_of(turn, job, work, pass) {
                    return Some(fit);
                }
                if pass.learned() == learned {
                    break;
                }
            }
        }
        None
    }

    /// As [`Leader::first_fit`], within a job; stops early when it learns that much of it is not worth looking at. A
    /// chunk that must run alone and finds no idle worker keeps one from new work until it is idle.
    fn first_fit_of(
        &self,
        turn: &Turn<'_>,
        job: &Job,
        work: &Chunks,
        pass: &mut Pass,
    ) -> Option<(Candidate, WorkerId)> {
        let most: BTreeMap<Demand, u64> =
            work.demands().filter_map(|d| Some((d, pass.most_ms(job, d)?))).collect();
        let most_ms = |demand: Demand| most.get(&demand).copied();
        // what has failed is not left to somebody faster on whom it did
        let failed =
            job.faults.keys().filter(|spec| work.is_ready(**spec)).filter_map(|spec| work.get(*spec));
        let failed = failed.filter(|c| most_ms(c.spec.demand()).is_some_and(|most| c.spec.cost_ms > most));
        for chunk in work.ready_of(most_ms).chain(failed) {
            if pass.window == 0 {
                return None;
            }
            pass.window -= 1;
            let worker = match self.best_worker(turn, job, chunk.spec, &chunk.live, pass) {
                Best::Is { worker, .. } => worker,
                Best::Nobody if !chunk.live.is_empty() => continue,
                // who may look at a file depends on who made it: of the next one that may be another
                Best::Nobody if work.kind == WorkKind::Audit => continue,
                Best::Nobody if job.failed_on(chunk.spec.id).is_empty() => {
                    if pass.kept.is_none() {
                        pass.kept = self.keep_room(turn, job, chunk.spec);
                    }
                    pass.give_up(job, chunk.spec.demand());
                    return None;
                }
                Best::Nobody => continue,
                Best::Late => {
                    pass.late = true;
                    if self.leave_dearer(turn, job, chunk.spec, pass) {
                        return None;
                    }
                    continue;
                }
            };
            let idle = self.workers.get(&worker).is_some_and(|w| w.held.is_empty());
            if job.runs_alone(chunk.spec.id) && !idle {
                pass.free.taken(&worker, 0, |_| None);
                continue;
            }
            let (spec, kind, ready_since) = (chunk.spec, work.kind, chunk.ready_since);
            return Some((Candidate { job: job.id().clone(), spec, kind, ready_since }, worker));
        }
        None
    }

    /// Nobody begins with this chunk: is that so for all of its kind that cost as much? It was not known, then.
    fn leave_dearer(&self, turn: &Turn<'_>, job: &Job, spec: SpecRef, pass: &mut Pass) -> bool {
        let kind = job.kind_of(spec.demand());
        let known = pass.free_most_ms(kind, spec.needs);
        let (horizon, picks) = (&pass.horizon, pass.picks);
        let is_large = horizon.fastest_with_room(spec.needs).is_some();
        let has_room = |id| self.workers.get(id).is_some_and(|w| w.is_eligible(spec.needs));
        let all = pass.free.in_order(kind, |id| self.fit(horizon, kind, id));
        let all = all.filter(|f| !is_large || has_room(&f.worker));
        let like = self.like(kind.family, kind.class);
        let most_ms = |f: &Fit| match picks && !is_large && horizon.is_left(like, f.build) {
            true => 0,
            false => horizon.most_ms(turn.now, like, f.pace_permille),
        };
        let most_ms = all.map(most_ms).max().unwrap_or(0);
        if spec.cost_ms <= most_ms || known <= most_ms {
            return false;
        }
        if is_large {
            pass.large.insert((spec.needs, spec.class), most_ms);
        } else {
            pass.free.leave_dearer(kind, most_ms);
        }
        pass.left += 1;
        true
    }

    /// The best of the free workers for a chunk, but for those that hold one of these attempts: they would fail together.
    fn best_worker(
        &self,
        turn: &Turn<'_>,
        job: &Job,
        spec: SpecRef,
        beside: &[AttemptId],
        pass: &mut Pass,
    ) -> Best {
        let any = sabotaged!(turn.config, NeedsIgnored);
        let failed_on = job.failed_on(spec.id);
        let others = !failed_on.is_empty()
            && self.workers.iter().any(|(id, w)| self.is_able(turn, job, w, spec) && !failed_on.contains(id));
        let horizon = &pass.horizon;
        let like = self.like(spec.needs.family, spec.class);
        let may_begin = |f: &Fit| spec.cost_ms <= horizon.most_ms(turn.now, like, f.pace_permille);
        // what some cannot have, or have failed on, is left only to somebody who can
        let picky = !failed_on.is_empty() || job.is_choosy();
        // every worker is looked at, so only for those
        let fastest = || {
            let could = self
                .workers
                .iter()
                .filter(|(id, w)| self.is_able(turn, job, w, spec) && (!others || !failed_on.contains(id)));
            could.map(|(_, w)| self.pace_at(horizon, w, spec.needs, spec.class)).min()
        };
        let fastest = if picky { fastest() } else { None };
        let with_room = horizon.fastest_with_room(spec.needs);
        let no_faster = |w: &Worker, pace: u64| match fastest {
            Some(fastest) => is_near(pace, fastest),
            // among those with the memory, whatever their builds are
            None => with_room.is_some_and(|f| is_near(self.paces.of(w, spec.needs, horizon.pacing), f)),
        };
        // whether those who are better at it are able is not known there
        let picks = pass.picks && !picky && with_room.is_none();
        let is_left = |f: &Fit| picks && horizon.is_left(like, f.build);
        let kind = job.kind_of(spec.demand());
        let mut best = Best::Nobody;
        for fit in pass.free.in_order(kind, |id| self.fit(horizon, kind, id)) {
            let id = &fit.worker;
            let Some(w) = self.workers.get(id) else { continue };
            if beside.iter().any(|a| w.held.contains(a)) || (others && failed_on.contains(id)) {
                continue;
            }
            let room_mib = Kept::room_mib(pass.kept.as_ref(), id, w);
            let able = self.is_able(turn, job, w, spec) && spec.needs.memory_mib <= room_mib;
            if !able && !any {
                continue;
            }
            if !is_left(fit) && (may_begin(fit) || no_faster(w, fit.pace_permille)) {
                let takes_ms = self.takes_ms(horizon, w, spec);
                return Best::Is { worker: id.clone(), takes_ms };
            }
            best = Best::Late;
        }
        best
    }

    /// Could this worker do this work of the job when it has a slot?
    pub(crate) fn is_able(&self, turn: &Turn<'_>, job: &Job, worker: &Worker, spec: SpecRef) -> bool {
        let gives = job.is_given_by(worker, spec.demand()) || sabotaged!(turn.config, UnableForgotten);
        worker.is_eligible(spec.needs) && gives && self.may_have(turn, job, worker, spec)
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
        if kind == WorkKind::Audit {
            // somebody looks: that nobody could is counted from the next tick on, if it is still so
            job.unheard.pause(turn.now);
        }
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
                progress_at: turn.now,
                cost: AttemptCost::default(),
                alone,
            },
        );
        match next {
            Some(state) => self.move_job(turn, &id, state, vec![], then),
            None => turn.write(vec![], then),
        }
    }
}

impl Job {
    /// Has it an idea of its own of who can do what?
    fn is_choosy(&self) -> bool {
        !(self.record.unable.is_empty() && self.record.audits.caught.is_empty() && self.audits.is_empty())
    }
}

/// Is a pace no more than a quarter slower than the fastest?
fn is_near(pace_permille: u64, fastest: u64) -> bool {
    pace_permille <= fastest.saturating_add(fastest / 4)
}
