//! Rungs that nobody can make any more as they are bound, and the revision of the plan that binds them anew.
//!
//! A rung is bound to the decoder configuration that one encoder build gave. Whether another build gives the same is
//! found out by trying: a worker whose output differs in nothing else says so ([`FaultKind::Binding`]), and its build
//! gets no more work with these rungs of the job. That is written down, so that a new leader need not find it out again;
//! it is nobody's fault and counts for no budget. A build that was not tried counts as one that can.
//!
//! ```text
//! some worker can --the last one goes--> nobody can --`rebind_after_ms`--> rebind written --Analyse--> found written
//!      ^                                     |                                                            |
//!      `------one that may be able comes-----+---------------- next revision written <-----MakePlan-------'
//! ```
//! How long nobody could is written down in parts as it passes, and forgotten in a write when somebody comes: a change of
//! leader neither begins the waiting anew nor needs a clock that two processes share.
//! From the first write on the revision is made, whoever comes meanwhile: every leader then goes the same way. Work that
//! runs goes on; what it commits stands if the next revision still contains it.
//!
//! [`FaultKind::Binding`]: reelmill_common::outcome::FaultKind::Binding

use crate::attempt::{Attempt, Why};
use crate::countdown::Countdown;
use crate::job::Job;
use crate::leader::Leader;
use crate::record::{Op, Record};
use crate::turn::{Turn, sabotaged};
use crate::work::{Demand, SpecRef, WorkKind};
use crate::worker::Worker;
use reelmill_common::JobId;
use reelmill_common::capability::Needs;
use reelmill_common::job::FailReason;
use reelmill_common::outcome::{Fault, FaultKind};
use reelmill_common::plan::RungSet;
use reelmill_common::record::{PlanRef, Rebind, Unable};
use std::collections::BTreeSet;

/// Builds that are remembered not to give what a job is bound to; the oldest are forgotten first.
const UNABLE_MAX: usize = 64;

impl Job {
    /// As far as is known: does the worker's build give what such work of this job is bound to?
    pub(crate) fn is_given_by(&self, worker: &Worker, demand: Demand) -> bool {
        // who was caught makes nothing of it any more
        if self.record.audits.is_caught(&worker.capability.worker) {
            return false;
        }
        let Some(fingerprint) = worker.fingerprint(demand.needs.family) else { return true };
        // who failed at some rungs fails wherever all of them are asked for; at fewer it was not tried
        let failed = |u: &Unable| u.fingerprint == fingerprint && u.rungs.is_within(demand.rungs);
        !self.record.unable.iter().any(failed)
    }

    /// Names of rungs of its plan, for people.
    pub(crate) fn names(&self, rungs: RungSet) -> String {
        let all = self.record.plan.as_ref().map_or(&[][..], |p| &p.rungs);
        let named: Vec<&str> =
            all.iter().enumerate().filter(|(n, _)| rungs.has(*n)).map(|(_, name)| name.as_str()).collect();
        if named.is_empty() { "the picture".to_owned() } else { named.join(", ") }
    }
}

impl Leader {
    /// A worker's build gives another decoder configuration than a rung is bound to: it gets no more such work of the
    /// job. False when that cannot be what is wrong: the spec has no bound rung.
    pub(crate) fn is_unable(&mut self, turn: &mut Turn<'_>, attempt: &Attempt, fault: &Fault) -> bool {
        let rungs = attempt.spec.rungs;
        let Some(fingerprint) = attempt.fingerprint.filter(|_| !rungs.is_empty()) else { return false };
        if sabotaged!(turn.config, OtherBindingCounts) {
            return false;
        }
        let Some(job) = self.jobs.get_mut(&attempt.job) else { return true };
        let unable = Unable { fingerprint, rungs };
        if !job.record.unable.contains(&unable) {
            if job.record.unable.len() == UNABLE_MAX {
                job.record.unable.remove(0);
            }
            job.record.unable.push(unable);
            job.note(format!(
                "{} has another encoder build than the job needs: {}",
                attempt.worker, fault.message
            ));
        }
        // also what the attempt used up
        write(turn, job);
        turn.reschedule = true;
        true
    }

    /// Looks for jobs with rungs that nobody who is here gives; what has lasted for long enough is bound anew.
    pub(crate) fn look_at_bindings(&mut self, turn: &mut Turn<'_>) {
        let odd =
            self.ready.jobs().filter(|id| self.jobs.get(id).is_some_and(|j| !j.record.unable.is_empty()));
        for id in odd.chain(self.unbound.keys()).cloned().collect::<BTreeSet<_>>() {
            let Some(job) = self.jobs.get(&id).filter(|j| j.is_active()) else {
                self.unbound.remove(&id);
                continue;
            };
            if job.hold_until > turn.now {
                continue;
            }
            let lost = self.given_by_nobody(job);
            if lost.is_empty() {
                self.is_given_again(turn, &id);
                continue;
            }
            // who is not there for such work cannot say what it is to be bound to, either
            let there = lost.iter().filter(|d| self.workers.values().any(|w| w.is_there_for(d.needs)));
            let rungs = there.fold(RungSet::NONE, |all, d| all.and(d.rungs));
            let wait = self.unbound.entry(id.clone()).or_default();
            wait.run(turn.now);
            let (for_ms, wait) = (wait.for_ms(turn.now), *wait);
            if for_ms >= turn.config.rebind_after_ms && !rungs.is_empty() {
                self.begin_rebind(turn, &id, rungs);
            } else {
                self.write_down_unbound(turn, &id, wait);
            }
        }
    }

    /// The waiting outlives its leader.
    fn write_down_unbound(&mut self, turn: &mut Turn<'_>, id: &JobId, wait: Countdown) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let passed_ms = wait.to_write_ms(turn.now, turn.config.rebind_after_ms);
        if passed_ms > job.record.unbound_ms {
            job.record.unbound_ms = passed_ms;
            write(turn, job);
        }
    }

    /// Somebody may give what a job is bound to, or nothing waits for that.
    fn is_given_again(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        self.unbound.remove(id);
        if let Some(job) = self.jobs.get_mut(id).filter(|j| j.record.unbound_ms > 0) {
            job.record.unbound_ms = 0;
            write(turn, job);
        }
    }

    /// Demands of chunks that nobody works on, of those that no worker who is here gives as they are bound.
    fn given_by_nobody(&self, job: &Job) -> Vec<Demand> {
        let work = job.work.as_ref().filter(|w| w.kind == WorkKind::Encode && job.record.rebind.is_none());
        let Some(work) = work else { return vec![] };
        work.demands().filter(|d| !d.rungs.is_empty() && !self.is_given(job, *d)).collect()
    }

    /// Is there a worker for such work that may give what it is bound to?
    pub(crate) fn is_given(&self, job: &Job, demand: Demand) -> bool {
        self.workers.values().any(|w| w.is_there_for(demand.needs) && job.is_given_by(w, demand))
    }

    /// Who says what rungs are to be bound to must be able to make them: the item needs as much as the neediest chunk of
    /// these rungs that anybody here could make. Else rungs would be bound to what a small worker gives, whom the chunks
    /// do not fit. One that is committed counts, too, because it must be made anew: else a small worker and a large one
    /// would take turns, each with what the other had committed.
    pub(crate) fn as_needy_as_its_chunks(&self, job: &Job, item: SpecRef) -> SpecRef {
        let Some((rebind, work)) = job.record.rebind.as_ref().zip(job.work.as_ref()) else { return item };
        let demands = work.all_demands().filter(|d| d.rungs.meets(rebind.rungs));
        let there = demands.filter(|d| self.workers.values().any(|w| w.is_there_for(d.needs)));
        let memory_mib = there.map(|d| d.needs.memory_mib).fold(item.needs.memory_mib, u64::max);
        SpecRef { needs: Needs { memory_mib, ..item.needs }, ..item }
    }

    fn begin_rebind(&mut self, turn: &mut Turn<'_>, id: &JobId, rungs: RungSet) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let Some(revision) = job.record.plan.as_ref().map(|p| p.revision + 1) else { return };
        job.record.rebind = Some(Rebind { revision, rungs, found: None });
        job.record.rebinds += 1;
        job.record.unbound_ms = 0;
        self.unbound.remove(id);
        write(turn, job);
        self.advance(turn, id);
    }

    /// The next revision is made: one write switches to it.
    pub(crate) fn revised(
        &mut self,
        turn: &mut Turn<'_>,
        id: &JobId,
        plan: PlanRef,
        specs: &[SpecRef],
        rebound: RungSet,
    ) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let Some(rebind) = job.record.rebind.take() else { return };
        if rebound.is_empty() {
            if let Some(reason) = contradicts_itself(job, &rebind) {
                return self.fail_job(turn, id, reason, vec![]);
            }
        } else {
            // what was found out about the others still holds
            job.record.unable.retain(|u| !u.rungs.meets(rebound));
            job.fingerprint = None;
        }
        job.record.plan = Some(plan);
        if !sabotaged!(turn.config, RebindKeepsCommits) {
            job.begin_work(WorkKind::Encode, specs, turn.now);
        }
        let state = job.state().clone();
        self.keep_live(turn, id);
        self.move_job(turn, id, state, vec![], vec![]);
        self.advance(turn, id);
    }

    /// What runs goes on if the plan still has it.
    fn keep_live(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        let Some(job) = self.jobs.get(id) else { return };
        for attempt in job.live.clone() {
            let Some(spec) = self.attempts.get(&attempt).map(|a| a.spec.id) else { continue };
            let work = self.jobs.get_mut(id).and_then(|j| j.work.as_mut());
            match work.filter(|w| w.may_take(spec)) {
                Some(work) => work.take(spec, attempt),
                None => self.revoke(turn, attempt, Why::NotNeeded),
            }
        }
    }
}

/// The build that was asked what it gives names what the rungs are bound to already; did the same build give something
/// else in chunks? Then to bind them anew would never help.
fn contradicts_itself(job: &Job, rebind: &Rebind) -> Option<FailReason> {
    let found = rebind.found.as_ref()?;
    // one that missed with others beside these rungs may well give these
    let failed = |u: &&Unable| Some(u.fingerprint) == found.fingerprint && u.rungs.is_within(rebind.rungs);
    job.record.unable.iter().find(failed)?;
    Some(FailReason {
        kind: FaultKind::Output,
        message: format!(
            "{} gives another decoder configuration for a chunk of {} than for a single frame with the same settings: \
             use another build, and run the job again",
            if found.ffmpeg_build.is_empty() { "an encoder build" } else { &found.ffmpeg_build },
            job.names(rebind.rungs),
        ),
        detail: String::new(),
    })
}

/// The job's record, in the state it has.
pub(crate) fn write(turn: &mut Turn<'_>, job: &mut Job) {
    job.record.version += 1;
    turn.write(vec![Op::Put(Record::Job(Box::new(job.record.clone())))], vec![]);
}
