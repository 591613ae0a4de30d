//! Laws over what a coordinator lets go: leases, messages, tasks, and how it shares the fleet between tenants.

use super::plans::Plan;
use super::world::World;
use reelmill_common::job::JobState;
use reelmill_common::outcome::Verdict;
use reelmill_common::session::ToWorker;
use reelmill_common::{FencingTerm, TenantId};
use reelmill_coordinator_core::{LeaseOrder, Task, TaskKind, WorkKind};
use std::collections::BTreeSet;

impl World {
    pub(super) fn is_true_leader(&self, c: usize) -> bool {
        let control = &self.controls[c];
        control.term.is_some_and(|t| self.store.leads(c, control.life, t))
    }

    pub(super) fn law_of_lease(&mut self, c: usize, order: &LeaseOrder) {
        let record = self.store.job(&order.job).map(|j| (j.state.clone(), j.plan.is_some()));
        if self.is_true_leader(c) {
            let encode = order.kind == WorkKind::Encode;
            // decided while there was a plan, it leaves with the very batch that gives the plan up, and is revoked
            let indexed_anew = self.laws.indexed_anew.get(&order.job).copied();
            let had_a_plan = indexed_anew.is_some() && indexed_anew == self.performing;
            let right = match &record {
                None => false,
                Some((JobState::Accepted, _)) => false,
                Some((_, planned)) => !encode || *planned || had_a_plan,
            };
            if !right {
                self.laws.breach(format!("{} is leased while {} is {record:?}", order.attempt, order.job));
            }
            if !self.store.knows_of_workers() {
                self.laws
                    .breach(format!("{} is leased and the next leader would not wait for it", order.attempt));
            }
        }
        let Some((_, spec)) = self.laws.spec(&order.job, order.spec) else {
            return self.laws.breach(format!("a lease of an unknown spec of {}", order.job));
        };
        // a lease goes to who said Hello on its session; the machine that it ran on may be up with another build since
        let Some(capability) = self.controls[c].told.get(&order.session).cloned() else { return };
        if !capability.meets(spec.needs) {
            let worker = &capability.worker;
            self.laws.breach(format!("{worker} was leased what it cannot do: {:?}", spec.needs));
        }
        self.law_of_audit(c, order, &capability.worker);
        let unable = self.store.job(&order.job).is_some_and(|j| {
            let proofs = capability.encoders.iter().filter(|e| Some(e.family) == spec.needs.family);
            let mut known = proofs.flat_map(|e| j.unable.iter().filter(|u| u.fingerprint == e.fingerprint));
            known.any(|u| u.rungs.is_within(spec.rungs))
        });
        // a lease that was decided before leaves with the very batch that tells of it
        let learned = self.laws.learned.get(&order.job).copied();
        let is_new = learned.is_some() && learned == self.performing;
        if unable && !is_new && self.is_true_leader(c) {
            let worker = &capability.worker;
            self.laws
                .breach(format!("{worker} was leased what its build was seen not to give: {:?}", spec.rungs));
        }
        let held = self.controls[c].leases.get(&order.session).map_or(0, BTreeSet::len);
        if held >= capability.slots as usize {
            let worker = &capability.worker;
            self.laws.breach(format!("{worker} has {} slots and was leased {}", capability.slots, held + 1));
        }
    }

    pub(super) fn law_of_message(&mut self, c: usize, term: FencingTerm, message: &ToWorker) {
        match message {
            ToWorker::Settled { attempt, verdict } => {
                self.tally.count(match verdict {
                    Verdict::Won => "settled: won",
                    Verdict::Lost => "settled: lost",
                    Verdict::Gone => "settled: gone",
                });
                let won = self.laws.is_winner(*attempt);
                // what it committed may go with what it is told of it: it was caught meanwhile
                let disputed = |job| self.store.job(job).is_some_and(|j| !j.audits.caught.is_empty());
                if *verdict == Verdict::Won && !won && !self.laws.job_of(*attempt).is_some_and(disputed) {
                    self.laws.breach(format!("{attempt} was told that it won and is not committed"));
                }
                let stands = won && !self.laws.void.contains(attempt);
                if *verdict == Verdict::Lost && stands && self.is_true_leader(c) {
                    self.laws.breach(format!("{attempt} is committed and was told that it lost"));
                }
                if *verdict != Verdict::Won {
                    self.laws.told_over(term, *attempt);
                }
            }
            ToWorker::Revoke { attempt } => {
                self.tally.count("revoked");
                self.laws.told_over(term, *attempt);
            }
            ToWorker::Granted { attempt, allowed, .. } => {
                self.tally.count(if *allowed { "grant: allowed" } else { "grant: refused" });
                if *allowed && self.laws.was_told_over(term, *attempt) {
                    self.laws.breach(format!("{attempt} may upload after it was told that it is over"));
                }
            }
            _ => {}
        }
    }

    pub(super) fn law_of_task(&mut self, c: usize, task: &Task) {
        if !self.is_true_leader(c) {
            return;
        }
        let state = self.store.job(&task.job).map(|j| j.state.clone());
        // a job that was stopped in the same write forgets its task next
        let stopped = matches!(state, Some(JobState::Cancelled | JobState::Failed(_)));
        let right = match task.kind {
            TaskKind::WriteManifests => state == Some(JobState::Publishing),
            // once more before its record goes
            TaskKind::Collect => matches!(state, Some(JobState::Collecting | JobState::Collected)),
            // deleted in the same write: its collection waits for the task's end
            TaskKind::Archive => matches!(state, Some(JobState::Published | JobState::Collecting)),
            TaskKind::BuildManifests | TaskKind::PrepareAudit | TaskKind::Sweep => {
                stopped || matches!(state, Some(JobState::Planned | JobState::Running))
            }
            TaskKind::LoadPlan => stopped || state == Some(JobState::Running),
            TaskKind::PrepareAnalyse | TaskKind::MakePlan => {
                let revises = self.store.job(&task.job).is_some_and(|j| j.rebind.is_some());
                let planned = matches!(state, Some(JobState::Planned | JobState::Running));
                stopped || state == Some(JobState::Indexing) || (planned && revises)
            }
        };
        if !right {
            self.laws.breach(format!("{:?} of {} begins while it is {state:?}", task.kind, task.job));
        }
        if task.kind == TaskKind::BuildManifests {
            let chunks =
                self.store.job(&task.job).and_then(|j| self.laws.plan(j)).map_or(vec![], Plan::specs);
            let open = chunks.iter().filter(|s| self.store.commit(&task.job, s.id).is_none()).count();
            if open > 0 {
                self.laws.breach(format!("manifests of {} are built with {open} chunks open", task.job));
            }
        }
    }

    /// Start-time fair queueing's bound on what is given, over every interval in which two tenants have work that waits.
    /// (On what is done it is wider by what can be in the slots; `coordinator/core` holds both.)
    pub(super) fn check_fairness(&mut self, c: usize) {
        if !self.scenario.fair {
            return;
        }
        let now = self.controls[c].clock.read(self.now_ms);
        let Some(machine) = &self.controls[c].machine else { return };
        let waiting: Vec<_> = machine.tenants(now).into_iter().filter(|t| t.ready > 0).collect();
        let config = &self.scenario.config;
        let largest =
            self.scenario.films.iter().flat_map(|f| &f.chunks).map(|s| s.cost_ms).max().unwrap_or(0);
        let largest = largest.max(2_000); // the Index item
        let apart = &mut self.controls[c].fair_apart;
        apart.retain(|(a, b), _| [a, b].iter().all(|t| waiting.iter().any(|w| w.tenant == **t)));
        for (n, a) in waiting.iter().enumerate() {
            for b in &waiting[n + 1..] {
                let weight = |t: &TenantId| u64::from(config.tenants.of(t).weight);
                let (wa, wb) = (weight(&a.tenant), weight(&b.tenant));
                // both sides times wa * wb; the least and the most since both wait bound every interval between
                let now = i128::from(a.served_ms * wb) - i128::from(b.served_ms * wa);
                let seen = apart.entry((a.tenant.clone(), b.tenant.clone())).or_insert((now, now));
                *seen = (seen.0.min(now), seen.1.max(now));
                let (least, most) = *seen;
                if most - least > i128::from(largest * (wa + wb)) {
                    let what = format!("{} and {}, with weights {wa} and {wb}", a.tenant, b.tenant);
                    return self.laws.breach(format!("unfair: {what}, came {} apart", most - least));
                }
            }
        }
        if waiting.len() > 1 {
            self.tally.count("fairness: checked");
        }
    }
}
