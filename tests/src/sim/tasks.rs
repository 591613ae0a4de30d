//! The tasks a driver does beside the machine: object storage and pure media code, as a model.

use super::world::{What, World};
use reelmill_common::job::FailReason;
use reelmill_common::outcome::FaultKind;
use reelmill_common::record::{ManifestRef, ObjectRef, PlanRef};
use reelmill_common::{Sha256, keys};
use reelmill_coordinator_core::{Event, Task, TaskError, TaskId, TaskKind, TaskOutput};

impl World {
    pub(super) fn start_task(&mut self, c: usize, task: Task) {
        self.law_of_task(c, &task);
        let life = self.controls[c].life;
        self.tally.count(match task.kind {
            TaskKind::PrepareAnalyse => "task: prepare analyse",
            TaskKind::MakePlan => "task: make plan",
            TaskKind::LoadPlan => "task: load plan",
            TaskKind::BuildManifests => "task: build manifests",
            TaskKind::WriteManifests => "task: write manifests",
            TaskKind::Collect => "task: collect",
            TaskKind::Archive => "task: archive",
        });
        let took = task.delay_ms + self.rng.range(5, 400);
        self.after(took, What::TaskOver(c, life, task.id));
        self.controls[c].tasks.insert(task.id, task);
    }

    pub(super) fn task_over(&mut self, c: usize, id: TaskId) {
        let Some(task) = self.controls[c].tasks.remove(&id) else { return };
        let result = if self.rng.chance(self.chances.objects) {
            self.tally.count("task: transient error");
            Err(TaskError::Transient { message: "object storage is away".to_owned() })
        } else {
            self.task_result(&task)
        };
        self.feed(c, Event::TaskEnded { task: id, result });
    }

    fn task_result(&mut self, task: &Task) -> Result<TaskOutput, TaskError> {
        let Some(film) = self.laws.film(&task.job).cloned() else {
            let message = "nobody submitted this job".to_owned();
            return Err(TaskError::Transient { message });
        };
        Ok(match task.kind {
            TaskKind::PrepareAnalyse => TaskOutput::AnalyseReady(film.analyse),
            TaskKind::MakePlan if film.unplannable => {
                let message = "no track can be shown".to_owned();
                let reason = FailReason { kind: FaultKind::Source, message, detail: String::new() };
                return Err(TaskError::Fatal(reason));
            }
            TaskKind::MakePlan => {
                self.objects.plans.insert(task.job.clone());
                let content = Sha256::of(film.name.as_bytes());
                let object = ObjectRef { key: keys::plan_key(1, content), bytes: 1, sha256: content };
                let plan =
                    PlanRef { revision: 1, object, chunks: film.chunks.len() as u32, media_ms: 60_000 };
                TaskOutput::Planned { plan, specs: film.chunks }
            }
            TaskKind::LoadPlan => TaskOutput::PlanLoaded(film.chunks),
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
}
