//! Why a job stands where it stands: one sentence each, the most important first, from the rules that the schedule goes
//! by. Nothing is decided here.

use crate::config::Rules;
use crate::job::Job;
use crate::leader::Leader;
use crate::work::{Demand, WorkKind};
use crate::worker::{Trust, Worker};
use reelmill_common::job::JobState;
use reelmill_common::plan::RungSet;
use reelmill_common::{Millis, WorkerId};

/// Workers that are named one by one.
const NAMED: usize = 3;

impl Leader {
    pub(crate) fn explain(&self, now: Millis, config: &Rules, job: &Job) -> Vec<String> {
        let mut why = vec![];
        match job.state() {
            JobState::Failed(reason) => why.push(format!("failed: {}", reason.message)),
            state if state.is_terminal() => why.push(format!("the job is {}", state.name())),
            JobState::Publishing => why.push("manifests are being written".to_owned()),
            _ => {}
        }
        if let Some(rebind) = job.record.rebind.as_ref().filter(|_| job.is_active()) {
            why.push(format!(
                "revision {} of the plan is being made: {} will be bound to what a worker that is here gives, and all \
                 of it is encoded again",
                rebind.revision,
                job.names(rebind.rungs)
            ));
        }
        if let Some(task) = job.task.filter(|_| !job.state().is_terminal()) {
            why.push(format!("the coordinator does {} for it", task.kind.name()));
        }
        if job.hold_until > now && job.is_active() {
            let ms = job.hold_until.since(now);
            why.push(format!("a new leader waits {ms} ms for workers to claim what they already run"));
        }
        if let Some(work) = job.work.as_ref().filter(|_| job.is_active()) {
            if work.taken_len() > 0 {
                why.push(format!("{} {} work items run", work.taken_len(), work.kind.name()));
            }
            if let Some(next) = work.ready().next() {
                why.push(format!("{} {} work items wait", work.ready_len(), work.kind.name()));
                self.explain_binding(now, config, job, &mut why);
                self.explain_wait(now, job, next.spec.demand(), &mut why);
            }
        }
        let revised = job.record.plan.as_ref().and_then(|p| Some((p.revision, p.why.as_ref()?)));
        if let Some((revision, reason)) = revised {
            why.push(format!("revision {revision} of the plan: {reason}"));
        }
        why.extend(job.notes.iter().rev().cloned());
        why
    }

    /// Who gives what the job's rungs are bound to, and what becomes of it if nobody does.
    fn explain_binding(&self, now: Millis, config: &Rules, job: &Job, why: &mut Vec<String>) {
        let Some(work) = job.work.as_ref().filter(|w| w.kind == WorkKind::Encode) else { return };
        let others = |demand: &Demand| {
            let there = self.workers.iter().filter(|(_, w)| w.is_there_for(demand.needs));
            there.filter(|(_, w)| !job.is_given_by(w, *demand)).collect::<Vec<_>>()
        };
        let odd: Vec<Demand> = work.demands().filter(|d| !others(d).is_empty()).collect();
        let Some(first) = odd.first() else { return };
        let (lost, given): (Vec<Demand>, Vec<Demand>) = odd.iter().partition(|d| !self.is_given(job, **d));
        let all = |of: &[Demand]| job.names(of.iter().fold(RungSet::NONE, |all, d| all.and(d.rungs)));
        if !given.is_empty() {
            why.push(format!(
                "{} wait for workers whose encoder build gives what the rungs are bound to: {} have another",
                all(&given),
                named(&others(&given[0])),
            ));
        }
        if lost.is_empty() {
            return;
        }
        let last = job.last_maker.as_ref().map_or(String::new(), |(worker, at)| {
            format!("; {worker} was the last to commit a chunk, {} s ago", now.since(*at) / 1_000)
        });
        let since = self.unbound.get(job.id()).map_or(0, |u| u.for_ms(now));
        why.push(format!(
            "nobody here gives the decoder configuration that {} is bound to, for {} s now: {} have another encoder \
             build{last}; in {} s it will be bound anew, unless a worker comes that may give it",
            all(&lost),
            since / 1_000,
            named(&others(lost.first().unwrap_or(first))),
            config.rebind_after_ms.saturating_sub(since).div_ceil(1_000),
        ));
    }

    /// Why the next chunk of a job is not leased.
    fn explain_wait(&self, now: Millis, job: &Job, demand: Demand, why: &mut Vec<String>) {
        let needs = demand.needs;
        let connected: Vec<_> = self.workers.values().filter(|w| w.session.is_some()).collect();
        if connected.is_empty() {
            why.push("no worker is connected: start one".to_owned());
            return;
        }
        let has =
            |w: &&Worker| needs.family.is_none_or(|f| w.capability.encoders.iter().any(|e| e.family == f));
        let family = needs.family.map_or("no encoder".to_owned(), |f| f.name().to_owned());
        let with_encoder: Vec<&Worker> = connected.iter().copied().filter(has).collect();
        if with_encoder.is_empty() {
            let workers = connected.len();
            why.push(format!("none of {workers} workers has the encoder it needs: {family}"));
            return;
        }
        let most = with_encoder.iter().map(|w| w.capability.memory_mib).max().unwrap_or(0);
        if most < needs.memory_mib {
            let wanted = needs.memory_mib;
            why.push(format!(
                "none of {} workers with what it needs ({family}) may use {wanted} MiB of memory: the largest has \
                 {most} MiB",
                with_encoder.len()
            ));
            return;
        }
        if connected.iter().any(|w| w.draining) {
            why.push("some workers are draining and take nothing new".to_owned());
        }
        for (id, w) in &self.workers {
            if let Trust::Suspended { until, .. } = w.trust {
                let ms = until.since(now);
                why.push(format!("worker {id} failed too often in a row and gets no work for {ms} ms"));
            }
        }
        let able: Vec<&Worker> =
            with_encoder.into_iter().filter(|w| w.is_eligible(needs) && job.is_given_by(w, demand)).collect();
        if able.is_empty() {
            why.push("no worker that could do it takes work now".to_owned());
            return;
        }
        let before = self.ahead_of(job);
        if before > 0 {
            why.push(format!("{before} jobs of this tenant go before it by priority and age"));
        }
        let tenants = self.ready.len();
        if tenants > 1 {
            why.push(format!("{tenants} tenants share the workers"));
        }
        if able.iter().all(|w| w.free_memory_mib() < needs.memory_mib) {
            why.push(format!(
                "the memory of the {} workers that could do it is taken: it needs {} MiB",
                able.len(),
                needs.memory_mib
            ));
            return;
        }
        why.push(format!(
            "all slots of the {} workers that could do it are taken, or so slow that a faster one will be done before",
            able.len()
        ));
    }

    fn ahead_of(&self, job: &Job) -> usize {
        let place = (std::cmp::Reverse(job.record.request.priority), job.id().clone());
        self.ready.get(&job.record.request.tenant).map_or(0, |jobs| jobs.range(..place).count())
    }
}

/// Some workers by name, each with its build.
fn named(workers: &[(&WorkerId, &Worker)]) -> String {
    let some = workers.iter().take(NAMED).map(|(id, w)| match w.capability.ffmpeg_build.as_str() {
        "" => id.to_string(),
        build => format!("{id} ({build})"),
    });
    let mut text = some.collect::<Vec<_>>().join(", ");
    if workers.len() > NAMED {
        text += &format!(" and {} more", workers.len() - NAMED);
    }
    text
}
