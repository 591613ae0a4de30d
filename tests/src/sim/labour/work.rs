//! What a worker's shell does for an attempt: it pretends to encode, and to upload what came of it.

use crate::sim::plans::build_of;
use crate::sim::scenario::UPLOAD_MAX_MS;
use crate::sim::world::{What, World};
use reelmill_common::audit::AuditReport;
use reelmill_common::outcome::{
    AnalyseReport, AttemptCost, ChunkReport, Fault, FaultKind, Report, ReportBody,
};
use reelmill_common::session::{Lease, NamedFile};
use reelmill_common::{AttemptId, JobId, Millis, Sha256, SpecId, keys};
use reelmill_coordinator_core::WorkKind;
use reelmill_worker_core::agent::AgentEvent;

/// A child process that makes no progress is killed after this.
const STALLED_MS: u64 = 9_000;
/// What an attempt costs from start to end.
const COST: AttemptCost = AttemptCost { wall_ms: 0, cpu_ms: 3, encode_ms: 0, source_bytes: 1 };

/// What the shell does for an attempt.
#[derive(Clone, Debug)]
pub(super) struct Work {
    job: JobId,
    spec: SpecId,
    kind: WorkKind,
    /// Milliseconds of a third of it.
    third_ms: u64,
}

impl World {
    /// The shell starts a child process.
    pub(super) fn start_work(&mut self, w: usize, lease: Lease) {
        let attempt = lease.attempt;
        self.note("work: started", w, attempt.sequence);
        if !self.workers[w].started.insert(attempt) {
            self.laws.breach(format!("worker {w} starts {attempt} a second time"));
        }
        let Some((kind, spec)) = self.laws.spec(&lease.job, lease.spec) else { return };
        let life = self.workers[w].life;
        let third_ms = (spec.cost_ms * self.workers[w].slow_permille / 3_000).max(1);
        let work = Work { job: lease.job.clone(), spec: lease.spec, kind, third_ms };
        self.workers[w].work.insert(attempt, work);
        let part = self.laws.chunk(&lease.job, lease.spec).map(|c| c.part);
        let (broken, poisoned) = self
            .laws
            .film(&lease.job)
            .map_or((false, false), |f| (f.broken, part.is_some() && f.poison == part));
        let chances = self.chances;
        let fails = What::WorkFails { worker: w, life, attempt, kind: FaultKind::Encoder };
        if kind == WorkKind::Index && broken {
            self.after(third_ms, fails);
        } else if self.rng.chance(chances.kill) || (poisoned && self.rng.chance(500)) {
            self.worker_dies(w, "worker: killed by its work");
        } else if self.rng.chance(chances.hang) {
            self.note("work: hangs", w, attempt.sequence);
            self.after(STALLED_MS, fails);
        } else if self.rng.chance(chances.fault) {
            self.after(third_ms, fails);
        } else {
            self.after(third_ms, What::Work { worker: w, life, attempt, done: 1 });
        }
    }

    pub(super) fn work_goes_on(&mut self, w: usize, attempt: AttemptId, done: u64) {
        let Some(work) = self.workers[w].work.get(&attempt).cloned() else { return };
        let life = self.workers[w].life;
        if done < 3 {
            let cost = AttemptCost { cpu_ms: done, ..AttemptCost::default() };
            self.tell_agent(w, AgentEvent::Progress { attempt, done: done * 100, total: 300, cost });
            return self.after(work.third_ms, What::Work { worker: w, life, attempt, done: done + 1 });
        }
        if self.is_shown_otherwise(&work) {
            return self.work_fails(w, attempt, FaultKind::Damage);
        }
        if self.has_other_binding(w, &work) {
            return self.work_fails(w, attempt, FaultKind::Binding);
        }
        let name = format!("rung/{attempt}.m4s");
        let files = match work.kind {
            WorkKind::Encode => vec![NamedFile { name, bytes: 1, sha256: work.spec.0 }],
            WorkKind::Index | WorkKind::Analyse | WorkKind::Audit => vec![],
        };
        if work.kind == WorkKind::Audit && self.sees_wrong(w, &work.job, work.spec) {
            return self.work_fails(w, attempt, FaultKind::Media);
        }
        self.tell_agent(w, AgentEvent::Made { attempt, files });
    }

    /// The build with which a worker encodes a film's picture.
    fn build(&self, w: usize, job: &JobId) -> Option<u8> {
        let family = self.laws.film(job)?.family;
        let proof = self.capability(w).encoders.iter().find(|e| e.family == family)?;
        Some(build_of(proof.fingerprint))
    }

    /// Does the film's decoder show other frames of the chunk than its index promised?
    fn is_shown_otherwise(&self, work: &Work) -> bool {
        let (film, chunk) = (self.laws.film(&work.job), self.laws.chunk(&work.job, work.spec));
        film.zip(chunk).is_some_and(|(f, c)| f.damaged == Some(c.part) && (f.hopeless || !c.is_shown))
    }

    /// Does the worker's build give something else than a rung of the chunk is bound to?
    fn has_other_binding(&self, w: usize, work: &Work) -> bool {
        let build = self.build(w, &work.job).unwrap_or(0);
        let chunk = self.laws.chunk(&work.job, work.spec);
        chunk.is_some_and(|c| c.rungs.iter().any(|(place, bound)| self.laws.gives(build, *place) != *bound))
    }

    pub(super) fn work_fails(&mut self, w: usize, attempt: AttemptId, kind: FaultKind) {
        let Some(work) = self.workers[w].work.get(&attempt).cloned() else { return };
        let broken = work.kind == WorkKind::Index && self.laws.film(&work.job).is_some_and(|f| f.broken);
        let kind = if broken { FaultKind::Source } else { kind };
        self.note("work: failed", w, attempt.sequence);
        if kind == FaultKind::Binding {
            self.tally.count("work: another binding");
        } else if kind == FaultKind::Media {
            self.tally.count("work: an audit found something");
        } else if !broken {
            if kind == FaultKind::Damage {
                self.tally.count("work: other frames are shown");
            }
            self.laws.faulted(&work.job, work.spec, attempt);
        }
        let fault = Fault { kind, message: "the model says so".to_owned(), detail: String::new() };
        self.conclude(w, attempt, AgentEvent::WorkFailed { attempt, fault, cost: COST });
    }

    /// An end that the agent must keep until it is settled.
    fn conclude(&mut self, w: usize, attempt: AttemptId, event: AgentEvent) {
        if self.workers[w].work.remove(&attempt).is_some() {
            self.workers[w].concluded.insert(attempt);
            self.tell_agent(w, event);
        }
    }

    pub(super) fn upload(&mut self, w: usize, attempt: AttemptId) {
        self.note("work: upload begins", w, attempt.sequence);
        let worker = &self.workers[w];
        let ttl_ms = self.scenario.config.lease_ttl_ms;
        let now = worker.clock.read(self.now_ms);
        let renewed = worker.renewed.get(&attempt).copied().unwrap_or(Millis(0));
        if !worker.allowed.contains(&attempt) {
            self.laws.breach(format!("worker {w} uploads {attempt} without a grant"));
        }
        if now.since(renewed) > ttl_ms {
            self.laws.breach(format!("worker {w} begins to upload {attempt} past its lease"));
        }
        let (life, whole) = (self.workers[w].life, !self.rng.chance(self.chances.objects));
        let took = self.rng.range(5, if self.rng.clone().chance(100) { UPLOAD_MAX_MS } else { 300 });
        let Some(work) = self.workers[w].work.get(&attempt) else { return };
        let of = Box::new((work.job.clone(), work.spec));
        self.after(took, What::Uploaded { worker: w, life, attempt, whole, of });
    }

    /// Files have arrived in storage, whether or not their worker still lives, or still works on this.
    pub(super) fn uploaded(&mut self, w: usize, life: u64, attempt: AttemptId, whole: bool) {
        if self.workers[w].life != life {
            return;
        }
        let Some(work) = self.workers[w].work.get(&attempt).cloned() else { return };
        if !whole {
            return self.after(0, What::WorkFails { worker: w, life, attempt, kind: FaultKind::Storage });
        }
        self.workers[w].uploads.insert(attempt, (work.job.clone(), work.spec));
        if self.rng.chance(self.chances.wrong) {
            self.note("work: made something wrong", w, attempt.sequence);
            self.laws.wrong.insert(attempt);
            self.laws.faulted(&work.job, work.spec, attempt);
        } else {
            self.laws.made.insert(attempt);
            self.may_be_rotten(w, attempt, work.kind);
            if let Some(build) = self.build(w, &work.job) {
                self.laws.builds.insert(attempt, build);
            }
        }
        let report = Box::new(report(&work, attempt));
        self.conclude(w, attempt, AgentEvent::Uploaded { attempt, report });
    }
}

fn report(work: &Work, attempt: AttemptId) -> Report {
    let body = match work.kind {
        WorkKind::Index => ReportBody::Index(COST),
        WorkKind::Analyse => ReportBody::Analyse(AnalyseReport::default(), COST),
        WorkKind::Audit => ReportBody::Audit(AuditReport::default(), COST),
        WorkKind::Encode => ReportBody::Encode(ChunkReport {
            files: vec![],
            units: vec![],
            configs: vec![],
            loudness: None,
            cost: COST,
            encoder: None,
            ffmpeg_build: String::new(),
            notes: vec![],
        }),
    };
    Report { key: keys::report_key(work.spec, attempt), sha256: Sha256::of(b"report"), bytes: 6, body }
}
