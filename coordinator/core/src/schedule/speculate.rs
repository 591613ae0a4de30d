//! Second attempts: of what is slow where slots are idle, of what a lost worker may never bring back, and of what has
//! failed before and must not fail again.

use super::{Best, Candidate, Pass};
use crate::attempt::Attempt;
use crate::horizon::Horizon;
use crate::job::Job;
use crate::leader::Leader;
use crate::turn::Turn;
use crate::work::{SpecRef, WorkKind};
use reelmill_common::{AttemptId, JobId, Millis, WorkerId};
use std::cmp::Reverse;

/// A second attempt is worth its while when it would be done so much sooner than the first, milliseconds.
const LEAST_GAIN_MS: u64 = 250;
/// Live attempts that a straggler may have.
const STRAGGLERS_MAX: usize = 2;
/// What failed is tried by several at once from when everything could be done in so many times what it takes.
const INSURED_TIMES: u64 = 2;

impl Leader {
    /// Workers whose connection is gone may come back with what they run, and until their leases run out they are waited
    /// for; but not near the end, where everything else would be done before.
    pub(crate) fn doubt_the_lost(&mut self, turn: &Turn<'_>) {
        if !self.horizon.is_near(turn.now, 2 * turn.config.lease_ttl_ms) {
            return;
        }
        let is_lost = |a: &Attempt| {
            a.kind == WorkKind::Encode && self.workers.get(&a.worker).is_none_or(|w| w.session.is_none())
        };
        let lost = self.attempts.values().filter(|a| is_lost(a)).map(|a| (a.job.clone(), a.spec.id));
        for (id, spec) in lost.collect::<Vec<_>>() {
            let Some(job) = self.jobs.get_mut(&id).filter(|j| !j.runs_alone(spec)) else { continue };
            if let Some(work) = &mut job.work {
                work.doubt(spec, turn.now);
            }
            self.index_ready(&id);
        }
    }

    /// What failed before, and begins anew so near the end that everything would wait for one more try, is tried by several
    /// workers at once: it waits for a further slot as if its worker were lost. Few chunks are, and it is they that a film
    /// ends with.
    pub(super) fn insure(
        &mut self,
        turn: &Turn<'_>,
        horizon: &Horizon,
        (id, spec): (&JobId, SpecRef),
        on: &WorkerId,
    ) {
        let Some(worker) = self.workers.get(on) else { return };
        let again_ms = self.takes_ms(horizon, worker, spec).saturating_mul(INSURED_TIMES);
        let is_late =
            !horizon.is_shared() && horizon.all_ms(turn.now).is_some_and(|all_ms| all_ms <= again_ms);
        let failed = |j: &&mut Job| j.faults.contains_key(&spec.id) && !j.runs_alone(spec.id);
        let Some(job) = self.jobs.get_mut(id).filter(|_| is_late).filter(failed) else { return };
        if let Some(work) = job.work.as_mut().filter(|w| w.kind == WorkKind::Encode) {
            work.doubt(spec.id, turn.now);
        }
        self.index_ready(id);
    }

    /// Slots idle and nothing ready fits them: a second attempt of what will run longest, where it would be overtaken.
    pub(super) fn speculate(&mut self, turn: &mut Turn<'_>, pass: &mut Pass) {
        let mut stragglers: Vec<(Reverse<u64>, AttemptId)> = self
            .attempts
            .iter()
            .filter_map(|(id, a)| Some((Reverse(self.left_alone_ms(turn.now, &pass.horizon, a)?), *id)))
            .collect();
        stragglers.sort();
        for (Reverse(left_ms), id) in stragglers {
            let Some(slow) = self.attempts.get(&id) else { continue };
            let Some(job) = self.jobs.get(&slow.job) else { continue };
            let tenant = job.record.request.tenant.clone();
            let dear = pass.most_ms(job, slow.spec.demand()).is_none_or(|most| slow.spec.cost_ms > most);
            if dear || !pass.bounds.has(&tenant) {
                continue;
            }
            let best = self.best_worker(turn, job, slow.spec, &[id], pass);
            let Best::Is { worker, takes_ms } = best else {
                self.leave_dearer(turn, job, slow.spec, pass);
                continue;
            };
            let like = self.like(slow.spec.needs.family, slow.spec.class);
            let soonest = pass.horizon.soonest_ms(turn.now, like, slow.spec.cost_ms).unwrap_or(u64::MAX);
            if takes_ms > soonest.saturating_add(soonest / 50) {
                // a slot that is busy now would be done with it before
                continue;
            }
            if takes_ms.saturating_add(LEAST_GAIN_MS) >= left_ms {
                continue;
            }
            let candidate = Candidate {
                job: slow.job.clone(),
                spec: slow.spec,
                kind: slow.kind,
                ready_since: slow.offered_at,
            };
            pass.takes(&tenant, &worker, slow.spec);
            self.offer(turn, candidate, &worker, true);
            self.refresh(turn, pass, &worker);
            if pass.free.is_empty() {
                break;
            }
        }
    }

    /// For how long an attempt will still run, if it is one of an encoder's that a second one may be set beside.
    fn left_alone_ms(&self, now: Millis, horizon: &Horizon, a: &Attempt) -> Option<u64> {
        let job = self.jobs.get(&a.job)?;
        let chunk = job.work.as_ref()?.get(a.spec.id)?;
        if a.kind != WorkKind::Encode || chunk.live.len() >= STRAGGLERS_MAX || job.runs_alone(a.spec.id) {
            return None;
        }
        // one whose connection is gone may never come back
        let worker = self.workers.get(&a.worker).filter(|w| w.session.is_some());
        Some(worker.map_or(u64::MAX, |w| self.left_ms(now, horizon, w, a)))
    }
}
