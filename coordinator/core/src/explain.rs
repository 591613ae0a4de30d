//! Why a job stands where it stands: one sentence each, the most important first, from the rules that the schedule goes
//! by. Nothing is decided here.

use crate::config::Rules;
use crate::job::Job;
use crate::leader::Leader;
use crate::work::{Demand, SpecRef, WorkKind};
use crate::worker::{Trust, Worker};
use reelmill_common::capability::Needs;
use reelmill_common::job::JobState;
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::plan::RungSet;
use reelmill_common::{Millis, TenantId, WorkerId};

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
        if let Some(damage) = &job.record.damage {
            why.push(format!(
                "the film is damaged, so what its decoder shows is taken for the film: {damage}"
            ));
        }
        if let Some(rebind) = job.record.rebind.as_ref().filter(|_| job.is_active()) {
            let what = match job.is_replanned() {
                true => "what a worker made that was caught is planned anew, as the rungs are bound now"
                    .to_owned(),
                false => format!(
                    "{} will be bound to what a worker that is here gives, and all of it is encoded again",
                    job.names(rebind.rungs)
                ),
            };
            why.push(format!("revision {} of the plan is being made: {what}", rebind.revision));
        }
        for c in &job.record.audits.caught {
            why.push(format!("{} gets no work of this job: it committed {}", c.worker, c.what));
        }
        let audits = &job.record.audits;
        if audits.files > 0 {
            why.push(format!(
                "{} of its files were looked at again, {} of them of sound; {} by another worker than made them",
                audits.files, audits.sound, audits.by_another
            ));
        }
        if let Some(task) = job.task.filter(|_| !job.state().is_terminal()) {
            why.push(format!("the coordinator does {} for it", task.kind.name()));
        }
        if job.hold_until > now && job.is_active() {
            let s = job.hold_until.since(now).div_ceil(1_000);
            why.push(format!("a new leader waits {s} s for workers to claim what they already run"));
        }
        let dispute = self.explain_dispute(now, config, job);
        let is_disputed = dispute.is_some();
        why.extend(dispute);
        if let Some(work) = job.work.as_ref().filter(|_| job.is_active()) {
            if work.taken_len() > 0 {
                why.push(format!("{} {} work items run", work.taken_len(), work.kind.name()));
            }
            if let Some(next) = work.ready().next() {
                why.push(format!("{} {} work items wait", work.ready_len(), work.kind.name()));
                self.explain_binding(now, config, job, &mut why);
                if !is_disputed {
                    self.explain_wait(now, config, job, next.spec, &mut why);
                }
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
    fn explain_wait(&self, now: Millis, config: &Rules, job: &Job, next: SpecRef, why: &mut Vec<String>) {
        let demand = next.demand();
        if let Some(nobody) = self.nobody_could(demand.needs) {
            return why.push(nobody);
        }
        self.explain_workers(now, why);
        let is_able = |w: &Worker| w.is_eligible(demand.needs) && job.is_given_by(w, demand);
        let able: Vec<(&WorkerId, &Worker)> = self.workers.iter().filter(|(_, w)| is_able(w)).collect();
        if able.is_empty() {
            return why.push("no worker that could do it takes work now".to_owned());
        }
        let tenant = &job.record.request.tenant;
        if !self.slots_left(config).has(tenant) {
            let most = config.tenants.of(tenant).max_slots.unwrap_or_default();
            return why.push(format!(
                "tenant {tenant} has the {most} slots that it may have at a time (max_slots): an operator sets that in \
                 the access file"
            ));
        }
        if self.outbox.is_behind() {
            why.push(format!(
                "the state store has {} changes to write: nothing more is given out until it has caught up",
                self.outbox.waiting_ops()
            ));
        }
        why.extend(self.before(job));
        why.extend(self.shared(config, tenant));
        if able.iter().all(|(_, w)| w.free_memory_mib() < demand.needs.memory_mib) {
            return why.push(format!(
                "the memory of the {} that could do it is taken: it needs {} MiB",
                count(able.len(), "worker"),
                demand.needs.memory_mib
            ));
        }
        if job.runs_alone(next.id) {
            return why.push(
                "workers vanished while they ran its next chunk, which therefore runs alone: it waits for a worker that \
                 runs nothing else"
                    .to_owned(),
            );
        }
        why.push(self.busy(now, config, next, &able));
    }

    /// No worker here could ever do such work.
    fn nobody_could(&self, needs: Needs) -> Option<String> {
        let connected: Vec<_> = self.workers.values().filter(|w| w.session.is_some()).collect();
        if connected.is_empty() {
            return Some("no worker is connected: start one".to_owned());
        }
        let family = needs.family.map_or("no encoder", EncoderFamily::name);
        let has =
            |w: &&&Worker| needs.family.is_none_or(|f| w.capability.encoders.iter().any(|e| e.family == f));
        let with_encoder: Vec<_> = connected.iter().filter(has).collect();
        let Some(most) = with_encoder.iter().map(|w| w.capability.memory_mib).max() else {
            let workers = connected.len();
            return Some(format!(
                "it needs the encoder {family}: no worker here has it ({workers} connected)"
            ));
        };
        let wanted = needs.memory_mib;
        (most < wanted).then(|| {
            format!(
                "it needs {wanted} MiB of memory: no worker here with what it needs ({family}) has that, the largest \
                 has {most} MiB"
            )
        })
    }

    /// Workers that get nothing now.
    fn explain_workers(&self, now: Millis, why: &mut Vec<String>) {
        let draining = self.workers.values().filter(|w| w.session.is_some() && w.draining).count();
        if draining > 0 {
            let are = if draining == 1 { "is draining and gets" } else { "are draining and get" };
            why.push(format!("{} {are} nothing new", count(draining, "worker")));
        }
        for (id, w) in &self.workers {
            if let Trust::Suspended { until, .. } = w.trust {
                let s = until.since(now).div_ceil(1_000);
                why.push(format!("worker {id} failed too often in a row and gets no work for {s} s"));
            }
        }
    }

    /// Jobs of the same tenant that are served first.
    fn before(&self, job: &Job) -> Option<String> {
        let place = (std::cmp::Reverse(job.record.request.priority), job.id().clone());
        let tenant = &job.record.request.tenant;
        let (before, short) = self.ready.of(tenant)?.before(&place);
        let (priority, first) = before.first()?;
        let is_chunks = job.work.as_ref().is_some_and(|w| !w.kind.is_short());
        let why = match short {
            0 => String::new(),
            _ if !is_chunks => String::new(),
            n => format!(
                "; {} short work (index, analysis, audits), which goes before chunks of its priority every second time",
                if n == 1 { "1 has".to_owned() } else { format!("{n} have") }
            ),
        };
        Some(format!(
            "{} of tenant {tenant} {} before it, by priority, then age; first {first}, of priority {}{why}",
            count(before.len(), "job"),
            if before.len() == 1 { "goes" } else { "go" },
            priority.0
        ))
    }

    /// What a tenant has of what it shares with others.
    fn shared(&self, config: &Rules, tenant: &TenantId) -> Option<String> {
        let weights = self.ready.tenants().map(|(t, _)| u64::from(config.tenants.of(t).weight));
        let (tenants, all) = weights.fold((0, 0), |(n, sum), w| (n + 1, sum + w));
        (tenants > 1).then(|| {
            format!(
                "{tenants} tenants share the slots by weight: tenant {tenant} has {} of {all}, and {} of {} slots now",
                config.tenants.of(tenant).weight,
                self.in_slots.of(tenant),
                self.slots(),
            )
        })
    }

    /// Whoever could do it is busy, or too slow.
    fn busy(&self, now: Millis, config: &Rules, next: SpecRef, able: &[(&WorkerId, &Worker)]) -> String {
        let is_shared = self.is_shared(&self.slots_left(config));
        let horizon = self.horizon(now, config, is_shared);
        let like = self.like(next.needs.family, next.class);
        let most_ms = |w| horizon.most_ms(now, like, self.pace_at(&horizon, w, next.needs, next.class));
        let slow = able.iter().filter(|(_, w)| {
            w.free_slots(now, config) > 0
                && w.free_memory_mib() >= next.needs.memory_mib
                && next.cost_ms > most_ms(w)
        });
        let names: Vec<String> = slow.map(|(id, _)| id.to_string()).take(NAMED).collect();
        if !names.is_empty() {
            return format!(
                "slots are free, but so slow ({}) that faster ones will be done with it before",
                names.join(", ")
            );
        }
        let left = able.iter().flat_map(|(_, w)| w.held.iter().map(move |a| (w, a)));
        let left = left.filter_map(|(w, a)| Some(self.left_ms(now, &horizon, w, self.attempts.get(a)?)));
        let workers = count(able.len(), "worker");
        match left.min() {
            Some(ms) => format!(
                "all slots of the {workers} that could do it are taken: the next is free in about {} s",
                ms.div_ceil(1_000)
            ),
            None => format!("the {workers} that could do it did not ask for work yet"),
        }
    }
}

/// So many, as one says it.
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
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
