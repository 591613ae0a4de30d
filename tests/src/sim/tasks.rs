//! The tasks a driver does beside the machine: object storage and pure media code, as a model.

use super::plans::{Bindings, Plan};
use super::scenario::Film;
use super::world::{What, World};
use reelmill_common::capability::Needs;
use reelmill_common::job::FailReason;
use reelmill_common::outcome::FaultKind;
use reelmill_common::plan::{CostClass, RungSet};
use reelmill_common::record::{JobRecord, ManifestRef, ObjectRef, PlanRef, Rebind};
use reelmill_common::{Sha256, SpecId, keys};
use reelmill_coordinator_core::{Event, SpecRef, Task, TaskError, TaskId, TaskKind, TaskOutput};
use std::collections::BTreeSet;

/// A task with what was durable when it was started.
#[derive(Clone, Debug)]
pub(super) struct Order {
    task: Task,
    record: Option<JobRecord>,
    committed: BTreeSet<SpecId>,
}

impl World {
    pub(super) fn start_task(&mut self, c: usize, task: Task) {
        self.law_of_task(c, &task);
        let life = self.controls[c].life;
        self.tally.count(match task.kind {
            TaskKind::PrepareAnalyse => "task: prepare analyse",
            TaskKind::MakePlan => "task: make plan",
            TaskKind::LoadPlan => "task: load plan",
            TaskKind::PrepareAudit => "task: prepare audit",
            TaskKind::Sweep => "task: sweep",
            TaskKind::BuildManifests => "task: build manifests",
            TaskKind::WriteManifests => "task: write manifests",
            TaskKind::Collect => "task: collect",
            TaskKind::Archive => "task: archive",
        });
        let took = task.delay_ms + self.rng.range(5, 400);
        self.after(took, What::TaskOver(c, life, task.id));
        let record = self.store.job(&task.job).cloned();
        let committed = record.iter().flat_map(|r| self.store.commits(&r.id)).map(|c| c.spec).collect();
        self.controls[c].tasks.insert(task.id, Order { task, record, committed });
    }

    pub(super) fn task_over(&mut self, c: usize, id: TaskId) {
        let Some(order) = self.controls[c].tasks.remove(&id) else { return };
        let result = if self.rng.chance(self.chances.objects) {
            self.tally.count("task: transient error");
            Err(TaskError::Transient { message: "object storage is away".to_owned() })
        } else {
            if !self.is_true_leader(c) {
                self.tally.count("task: by a deposed leader");
                self.objects.late.insert(order.task.job.clone());
            }
            self.task_result(&order)
        };
        self.feed(c, Event::TaskEnded { task: id, result });
    }

    fn task_result(&mut self, order: &Order) -> Result<TaskOutput, TaskError> {
        let Order { task, record, .. } = order;
        let known = record.as_ref().and_then(|r| Some((self.laws.film_of(r)?.clone(), r)));
        let Some((film, record)) = known else {
            let message = "nobody submitted this job".to_owned();
            return Err(TaskError::Transient { message });
        };
        Ok(match task.kind {
            TaskKind::PrepareAnalyse => TaskOutput::AnalyseReady(match &record.rebind {
                None => film.analyse,
                Some(rebind) => Some(self.ask_for(&film, record, rebind)),
            }),
            TaskKind::MakePlan if film.unplannable => {
                let message = "no track can be shown".to_owned();
                let reason = FailReason { kind: FaultKind::Source, message, detail: String::new() };
                return Err(TaskError::Fatal(reason));
            }
            TaskKind::MakePlan => self.make_plan(&film, order, record),
            TaskKind::LoadPlan => TaskOutput::PlanLoaded(self.laws.plan(record).map_or(vec![], Plan::specs)),
            TaskKind::PrepareAudit => self.draw(record),
            TaskKind::Sweep => self.sweep(record),
            TaskKind::BuildManifests => {
                let sha256 = Sha256::of(film.name.as_bytes());
                TaskOutput::ManifestsReady(vec![ManifestRef {
                    name: "master.m3u8".to_owned(),
                    bytes: 1,
                    sha256,
                }])
            }
            TaskKind::WriteManifests => {
                self.objects.roots.insert(task.job.clone());
                TaskOutput::ManifestsWritten
            }
            TaskKind::Collect => {
                self.objects.delete(&task.job);
                TaskOutput::Collected
            }
            TaskKind::Archive => {
                self.objects.archived.insert(task.job.clone());
                TaskOutput::Archived
            }
        })
    }

    /// The item that finds what rungs are bound to next.
    fn ask_for(&mut self, film: &Film, record: &JobRecord, rebind: &Rebind) -> SpecRef {
        let round = record.rebinds;
        let name = format!("{}/rebind/{round}/{:?}", film.name, rebind.rungs);
        let needs = Needs { family: Some(film.family), memory_mib: 100 };
        let spec = SpecRef {
            id: SpecId(Sha256::of(name.as_bytes())),
            cost_ms: 500,
            needs,
            rungs: RungSet::NONE,
            class: CostClass::NONE,
        };
        self.laws.asked.insert((record.id.clone(), spec.id), spec);
        spec
    }

    /// The first plan, or the next revision: stored create-only, so what an earlier leader stored stands.
    fn make_plan(&mut self, film: &Film, order: &Order, record: &JobRecord) -> TaskOutput {
        let job = record.id.clone();
        let ladder = film.chunks.iter().fold(RungSet::NONE, |all, c| all.and(c.rungs));
        let found = |world: &Self, analysis: Option<&ObjectRef>, rungs: RungSet| -> Bindings {
            let key = analysis.map(|a| a.key.as_str());
            let maker =
                world.laws.builds.iter().find(|(a, _)| key.is_some_and(|k| k.ends_with(&format!("-{a}.pb"))));
            let build = maker.map_or(0, |(_, build)| *build);
            (0..3).filter(|p| rungs.has(*p)).map(|p| (p, world.laws.gives(build, p))).collect()
        };
        let current = self.laws.plan(record).cloned();
        let (before, made) = match (&record.rebind, current) {
            (Some(rebind), Some(current)) if rebind.rungs.is_empty() => {
                self.tally.count("plan: made anew without a caught worker's chunks");
                let next = current.replan(film, &order.committed);
                (Some(current), next)
            }
            (Some(rebind), Some(current)) => {
                let analysis = rebind.found.as_ref().map(|f| &f.analysis);
                let next = current.revise(film, &order.committed, &found(self, analysis, rebind.rungs));
                (Some(current), next)
            }
            _ => (None, Plan::first(film, found(self, record.analysis.as_ref(), ladder))),
        };
        self.objects.plans.insert(job.clone());
        let sha256 = Sha256::of(format!("{made:?}").as_bytes());
        let plan = self.laws.plans.entry((job, sha256)).or_insert(made).clone();
        let reference = PlanRef {
            revision: plan.revision,
            object: ObjectRef { key: keys::plan_key(plan.revision, sha256), bytes: 1, sha256 },
            chunks: plan.chunks.len() as u32,
            media_ms: 60_000,
            rungs: plan.bindings.keys().map(|p| format!("rung {p}")).collect(),
            why: (plan.revision > 1).then(|| "a model".to_owned()),
        };
        match before {
            None => TaskOutput::Planned { plan: reference, specs: plan.specs() },
            Some(before) => {
                let new = plan.bindings.iter().filter(|(p, b)| before.bindings.get(p) != Some(b));
                let rebound = RungSet::of(new.map(|(p, _)| *p));
                TaskOutput::Revised { plan: reference, specs: plan.specs(), rebound }
            }
        }
    }
}
