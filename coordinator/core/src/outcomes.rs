//! What becomes of attempts: the commit, faults and losses with their budgets, and the verdict the worker is told.
//!
//! The commit is the one durable write that makes an attempt's output the chunk's output. It needs a live attempt and
//! an open spec; everything else that is reported is settled without touching the truth, as often as it is reported.

use crate::attempt::{Attempt, Why};
use crate::effect::{Count, Effect};
use crate::event::SessionId;
use crate::leader::Leader;
use crate::record::{Op, Record};
use crate::turn::{Turn, sabotaged};
use crate::work::WorkKind;
use reelmill_common::job::{FailReason, JobState};
use reelmill_common::outcome::{Fault, FaultKind, Outcome, Report, ReportBody, Verdict};
use reelmill_common::record::{CommitRecord, FaultRecord, FoundBinding, ObjectRef};
use reelmill_common::session::ToWorker;
use reelmill_common::{AttemptId, JobId, SpecId, WorkerId};

/// An attempt that its worker says has ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) attempt: AttemptId,
    pub(crate) job: JobId,
    pub(crate) spec: SpecId,
    pub(crate) outcome: Outcome,
}

impl Leader {
    /// Settles what a worker reports. May come any number of times; only the first time can change anything.
    pub(crate) fn settle(&mut self, turn: &mut Turn<'_>, session: SessionId, ended: Ended) {
        let Some(worker) = self.sessions.get(&session).cloned() else { return };
        if let Some(w) = self.workers.get_mut(&worker) {
            w.hears(turn.now);
        }
        let attempt = ended.attempt;
        let verdict = self.judge(turn, &worker, ended);
        turn.then(Effect::Send { session, term: self.term, message: ToWorker::Settled { attempt, verdict } });
    }

    fn judge(&mut self, turn: &mut Turn<'_>, worker: &WorkerId, ended: Ended) -> Verdict {
        if let Some(a) = self.attempts.get_mut(&ended.attempt).filter(|a| a.worker == *worker) {
            a.cost = ended.outcome.cost();
        }
        let Some(job) = self.jobs.get(&ended.job) else { return Verdict::Gone };
        if matches!(job.state(), JobState::Published | JobState::Collecting | JobState::Collected) {
            return Verdict::Gone;
        }
        if let Some(commit) =
            job.commits.get(&ended.spec).filter(|_| !sabotaged!(turn.config, WinnerForgotten))
        {
            let won = commit.attempt == ended.attempt;
            self.end_attempt(turn, ended.attempt, Why::NotNeeded);
            return if won { Verdict::Won } else { Verdict::Lost };
        }
        if !job.is_active() {
            return Verdict::Gone;
        }
        let live = self
            .attempts
            .get(&ended.attempt)
            .is_some_and(|a| a.worker == *worker && a.job == ended.job && a.spec.id == ended.spec);
        if !live && !self.obeys_the_dead(turn, worker, &ended) {
            return Verdict::Lost;
        }
        match ended.outcome {
            Outcome::Done(report) => self.done(turn, ended.attempt, report),
            Outcome::Failed { fault, .. } => {
                self.failed(turn, ended.attempt, fault);
                Verdict::Lost
            }
        }
    }

    /// Sabotage: an attempt that is not live is brought back to life by its report. Never so in a true build.
    fn obeys_the_dead(&mut self, turn: &mut Turn<'_>, worker: &WorkerId, ended: &Ended) -> bool {
        if !sabotaged!(turn.config, CommitWithoutLiveness) {
            return false;
        }
        let Some(session) = self.workers.get(worker).and_then(|w| w.session) else { return false };
        self.adopt(turn, session, worker, ended.attempt, &ended.job, ended.spec)
    }

    fn done(&mut self, turn: &mut Turn<'_>, id: AttemptId, report: Report) -> Verdict {
        let Some(attempt) = self.attempts.get(&id).cloned() else { return Verdict::Lost };
        let kind = match report.body {
            ReportBody::Index(_) => WorkKind::Index,
            ReportBody::Analyse(..) => WorkKind::Analyse,
            ReportBody::Encode(_) => WorkKind::Encode,
            ReportBody::Audit(..) => WorkKind::Audit,
        };
        if kind != attempt.kind {
            let message =
                format!("{} reported {} for {} work", attempt.worker, kind.name(), attempt.kind.name());
            self.failed(turn, id, Fault { kind: FaultKind::Output, message, detail: String::new() });
            return Verdict::Lost;
        }
        if kind == WorkKind::Audit && !self.cleared(turn, id, &attempt) {
            return Verdict::Lost;
        }
        self.commit(turn, id, &attempt, report);
        Verdict::Won
    }

    /// The commit, and what follows from it for the job.
    fn commit(&mut self, turn: &mut Turn<'_>, id: AttemptId, attempt: &Attempt, report: Report) {
        let is_index = attempt.kind == WorkKind::Index;
        let bound_ms = is_index.then(|| self.chunk_cost_max_ms(turn.config, &attempt.job)).flatten();
        let Some(job) = self.jobs.get_mut(&attempt.job) else { return };
        let report = ObjectRef { key: report.key, bytes: report.bytes, sha256: report.sha256 };
        let commit = CommitRecord {
            job: attempt.job.clone(),
            spec: attempt.spec.id,
            attempt: id,
            worker: attempt.worker.clone(),
            report: report.clone(),
        };
        job.commits.insert(commit.spec, commit.clone());
        let rivals = job.work.as_mut().map(|w| w.commit(attempt.spec.id)).unwrap_or_default();
        let took_ms = turn.now.since(attempt.offered_at);
        let mut ops = vec![Op::Put(Record::Commit(Box::new(commit)))];
        if attempt.kind == WorkKind::Encode {
            job.undurable.insert(attempt.spec.id);
            if !attempt.spec.rungs.is_empty() {
                job.last_maker = Some((attempt.worker.clone(), turn.now));
            }
        } else {
            match (attempt.kind, &mut job.record.rebind) {
                // that there is such a commit is all of it
                (WorkKind::Audit, _) => {}
                (WorkKind::Index, _) => {
                    job.record.index = Some(report);
                    job.record.chunk_cost_max_ms = bound_ms;
                }
                (_, None) => job.record.analysis = Some(report),
                (_, Some(rebind)) => {
                    let worker = self.workers.get(&attempt.worker);
                    rebind.found = Some(FoundBinding {
                        analysis: report,
                        fingerprint: attempt.fingerprint,
                        ffmpeg_build: worker.map_or(String::new(), |w| w.capability.ffmpeg_build.clone()),
                    });
                }
            }
            job.record.spent += attempt.cost;
            job.record.version += 1;
            ops.push(Op::Put(Record::Job(Box::new(job.record.clone()))));
        }
        let count = Count::Committed {
            kind: attempt.kind,
            worker: attempt.worker.clone(),
            took_ms,
            cost_ms: attempt.spec.cost_ms,
            spent: attempt.cost,
        };
        turn.write(ops, vec![Effect::Count(count)]);
        if let Some(w) = self.workers.get_mut(&attempt.worker) {
            w.succeeded();
        }
        if attempt.spec.needs.family.is_some() && attempt.kind == WorkKind::Encode {
            self.learns(attempt, took_ms);
        }
        self.end_attempt(turn, id, Why::Won);
        for rival in rivals.into_iter().filter(|r| *r != id) {
            self.revoke(turn, rival, Why::NotNeeded);
        }
        self.advance(turn, &attempt.job);
    }

    /// An attempt ended with a fault.
    fn failed(&mut self, turn: &mut Turn<'_>, id: AttemptId, fault: Fault) {
        let why = match fault.kind {
            FaultKind::Abandoned => Why::HandedBack,
            FaultKind::Binding => Why::OtherBinding,
            _ => Why::Faulted,
        };
        let Some(attempt) = self.end_attempt(turn, id, why) else { return };
        if id.term < self.term {
            self.old_faults.insert(id);
        }
        turn.then(Effect::Count(Count::Faulted {
            kind: attempt.kind,
            fault: fault.kind,
            worker: attempt.worker.clone(),
            spent: attempt.cost,
        }));
        match fault.kind {
            FaultKind::Abandoned if !sabotaged!(turn.config, AbandonedCounts) => {}
            // at an audit all of it was decoded before
            FaultKind::Source if attempt.kind != WorkKind::Audit => {
                let reason =
                    FailReason { kind: FaultKind::Source, message: fault.message, detail: fault.detail };
                self.fail_job(turn, &attempt.job, reason, vec![]);
            }
            FaultKind::Binding if self.is_unable(turn, &attempt, &fault) => {}
            FaultKind::Damage if attempt.kind == WorkKind::Encode => self.damaged(turn, &attempt, fault),
            FaultKind::Media if attempt.kind == WorkKind::Audit => {
                self.accused(turn, &attempt, &fault.message)
            }
            FaultKind::Encoder
            | FaultKind::Output
            | FaultKind::Binding
            | FaultKind::Damage
            | FaultKind::Storage
            | FaultKind::Worker
            | FaultKind::Source
            | FaultKind::Media
            | FaultKind::Abandoned => {
                // a verdict is for audits only, and damage is found by encodes only: neither is stored of other work
                let is_odd = matches!(fault.kind, FaultKind::Media | FaultKind::Damage);
                let kind = if is_odd { FaultKind::Output } else { fault.kind };
                let fault = Fault { kind, ..fault };
                let suspended =
                    self.workers.get_mut(&attempt.worker).and_then(|w| w.failed(turn.now, turn.config));
                tell_suspended(turn, &attempt.worker, suspended);
                self.charge_fault(turn, &attempt, fault);
            }
        }
    }

    pub(crate) fn charge_fault(&mut self, turn: &mut Turn<'_>, attempt: &Attempt, fault: Fault) {
        let Some(job) = self.jobs.get_mut(&attempt.job) else { return };
        let mut record = job.fault_record(attempt.spec.id);
        record.faults += 1;
        if !record.workers.contains(&attempt.worker) {
            record.workers.push(attempt.worker.clone());
        }
        record.failed = record.faults >= turn.config.faults_max;
        job.note(format!("{} work failed on {}: {}", attempt.kind.name(), attempt.worker, fault.message));
        let reason = record.failed.then(|| FailReason {
            kind: fault.kind,
            message: format!(
                "{} work failed {} times, last on {}: {}",
                attempt.kind.name(),
                record.faults,
                attempt.worker,
                fault.message
            ),
            detail: fault.detail.clone(),
        });
        record.last = Some(fault);
        self.write_budget(turn, record, reason);
    }

    /// The worker vanished while it ran the attempt.
    pub(crate) fn vanished(&mut self, turn: &mut Turn<'_>, id: AttemptId) {
        let Some(attempt) = self.end_attempt(turn, id, Why::Vanished) else { return };
        // if it lives after all, it should stop: the chunk goes to somebody else
        self.tell(turn, &attempt.worker, ToWorker::Revoke { attempt: id });
        turn.then(Effect::Count(Count::Vanished {
            kind: attempt.kind,
            worker: attempt.worker.clone(),
            spent: attempt.cost,
        }));
        self.distrust_of_loss(turn, &attempt.worker);
        let Some(job) = self.jobs.get_mut(&attempt.job) else { return };
        let mut record = job.fault_record(attempt.spec.id);
        record.losses += 1;
        record.failed = record.losses >= turn.config.losses_max;
        job.note(format!("{} vanished while it did {} work", attempt.worker, attempt.kind.name()));
        let reason = record.failed.then(|| FailReason {
            kind: FaultKind::Encoder,
            message: format!(
                "{} workers vanished while running the same {} work, last {}: look at their logs and memory",
                record.losses,
                attempt.kind.name(),
                attempt.worker
            ),
            detail: String::new(),
        });
        self.write_budget(turn, record, reason);
    }

    /// A budget was used; with a reason, used up.
    fn write_budget(&mut self, turn: &mut Turn<'_>, record: FaultRecord, used_up: Option<FailReason>) {
        let Some(job) = self.jobs.get_mut(&record.job) else { return };
        let id = record.job.clone();
        job.faults.insert(record.spec, record.clone());
        let op = Op::Put(Record::Fault(Box::new(record)));
        match used_up {
            Some(reason) => self.fail_job(turn, &id, reason, vec![op]),
            None => {
                // the job's record tells what the attempt used up
                job.record.version += 1;
                turn.write(vec![op, Op::Put(Record::Job(Box::new(job.record.clone())))], vec![]);
            }
        }
    }

    /// A loss counts against its worker, too: once for all that it lost together.
    pub(crate) fn distrust_of_loss(&mut self, turn: &mut Turn<'_>, id: &WorkerId) {
        let suspended = self.workers.get_mut(id).and_then(|w| w.lost(turn.now, turn.config));
        tell_suspended(turn, id, suspended);
    }
}

pub(crate) fn tell_suspended(turn: &mut Turn<'_>, worker: &WorkerId, suspended: Option<u64>) {
    if let Some(for_ms) = suspended {
        turn.then(Effect::Count(Count::Suspended { worker: worker.clone(), for_ms }));
    }
}
