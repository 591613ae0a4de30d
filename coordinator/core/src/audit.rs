//! Audits: before a job is published, some of its files are looked at again, by workers that did not make them.
//!
//! Which files is drawn beside the machine, when all chunks are committed: nobody who makes one knows whether it will be
//! among them. Each is a work item like any other, with attempts and budgets of its own; a report that all is well is
//! committed. A verdict that something is wrong is no fault of the item, and one worker's word is not enough, or one
//! hostile worker could fail every job:
//!
//! ```text
//!   0 : 0 --wrong--> 1 : 0 --another is here--> asked --wrong--> 2 : 0   wrong
//!     |                |                          `--well---> 1 : 1 --another is here--> asked, the third decides
//!     `--well--> well  `--nobody else--> wrong                 `--nobody else--> well
//! ```
//! Whoever made the file is asked only where nobody else could be, and never against an accuser. A worker that was found
//! to have committed something wrong is **caught**: nothing that it made of the job counts any more, and it gets no more
//! work of the job, in any run. That is one write of the job's record; the commits, which no leader then loads, go after
//! it. Where others are here the job goes on and makes the chunks again, else it fails; a Retry makes them again, too.
//! First, and as late as nothing of the caught worker can be on its way any more, the names are made free (`Sweep`).

use crate::attempt::Attempt;
use crate::effect::{Count, Effect};
use crate::job::Job;
use crate::leader::Leader;
use crate::outcomes::tell_suspended;
use crate::record::{Op, Record};
use crate::turn::{Turn, sabotaged};
use crate::work::{AuditRef, SpecRef, WorkKind};
use crate::worker::Worker;
use reelmill_common::audit::Caught;
use reelmill_common::capability::Needs;
use reelmill_common::job::FailReason;
use reelmill_common::outcome::FaultKind;
use reelmill_common::record::StateKey;
use reelmill_common::{AttemptId, JobId, SpecId, WorkerId};

/// Workers that a job may find wrong before it gives up: then it is the job, or those who accuse.
const CAUGHT_MAX: usize = 8;

/// Characters that are kept of what an accuser says.
const WHAT_MAX: usize = 400;

/// A file that is looked at again. Voices are memory only: a new leader asks again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Audit {
    chunk: SpecId,
    maker: WorkerId,
    name: String,
    /// Who says that it is wrong, and what the first of them said.
    accused_by: Vec<WorkerId>,
    what: String,
    /// Who says that it is well.
    cleared_by: Vec<WorkerId>,
}

/// What so many voices come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Well,
    Wrong,
    /// Somebody has to be asked.
    Ask,
}

/// `others`: is there somebody who has not been asked, and did not make it?
fn verdict(accused: usize, cleared: usize, others: bool) -> Verdict {
    match (accused, cleared) {
        (0, 0) => Verdict::Ask,
        (0, _) => Verdict::Well,
        _ if others && accused.max(cleared) < 2 => Verdict::Ask,
        _ if accused > cleared => Verdict::Wrong,
        _ => Verdict::Well,
    }
}

impl Audit {
    /// Who is asked before whom: the least first, `None` never.
    fn rank(&self, worker: &WorkerId) -> Option<u8> {
        let again = if self.cleared_by.is_empty() { &self.accused_by } else { &self.cleared_by };
        match *worker == self.maker {
            true => self.accused_by.is_empty().then_some(2),
            // somebody who was asked is asked again where the one who should confirm it has gone
            false if again.contains(worker) => Some(1),
            false if self.accused_by.contains(worker) => None,
            false => Some(0),
        }
    }

    fn heard(voices: &mut Vec<WorkerId>, worker: &WorkerId) {
        if !voices.contains(worker) {
            voices.push(worker.clone());
        }
    }
}

impl Job {
    /// Were rungs bound anew? Chunks of before hold rungs in their old binding, too: nobody may be left who gives that.
    pub(crate) fn is_revised(&self) -> bool {
        self.record.plan.as_ref().is_some_and(|p| p.revision > 1)
    }

    /// How many files were looked at, as the record will tell it.
    pub(crate) fn count_audits(&mut self) {
        let by = |(spec, audit): (&SpecId, &Audit)| {
            let commit = self.commits.get(spec)?;
            Some(commit.worker != audit.maker)
        };
        let looked: Vec<bool> = self.audits.iter().filter_map(by).collect();
        self.record.audits.files = looked.len() as u32;
        self.record.audits.by_another = looked.iter().filter(|another| **another).count() as u32;
    }
}

impl Leader {
    /// The files to be looked at are drawn.
    pub(crate) fn audits_ready(&mut self, turn: &mut Turn<'_>, id: &JobId, drawn: Vec<AuditRef>) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let mut specs = Vec::with_capacity(drawn.len());
        job.audits.clear();
        for AuditRef { spec, chunk, name } in drawn {
            let Some(maker) = job.commits.get(&chunk).map(|c| c.worker.clone()) else { continue };
            let audit =
                Audit { chunk, maker, name, accused_by: vec![], what: String::new(), cleared_by: vec![] };
            job.audits.insert(spec.id, audit);
            specs.push(spec);
        }
        job.begin_work(WorkKind::Audit, &specs, turn.now);
        self.advance(turn, id);
    }

    /// Workers of before there were audits cannot be asked, and their jobs must end, too: where nobody who is here knows
    /// how, what was not looked at is published so. Its report says how much that was.
    pub(crate) fn leave_unaudited(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        let Some(job) = self.jobs.get(id) else { return };
        let Some(work) = job.work.as_ref().filter(|w| w.kind == WorkKind::Audit && w.open() > 0) else {
            return;
        };
        let here = || self.workers.values().filter(|w| w.session.is_some());
        let could = |w: &Worker| w.capability.audits && !job.record.audits.is_caught(&w.capability.worker);
        let is_disputed = job.audits.values().any(|a| !a.accused_by.is_empty());
        let waits = job.hold_until > turn.now || work.taken_len() > 0 || is_disputed;
        if waits || here().next().is_none() || here().any(could) {
            return;
        }
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.note(
            "it is published without an audit: no worker here knows how, they are of an older version".into(),
        );
        job.begin_work(WorkKind::Audit, &[], turn.now);
    }

    /// Somebody who could confirm a verdict, or audit at all, may have gone.
    pub(crate) fn look_at_audits(&mut self, turn: &mut Turn<'_>) {
        let ready = self.ready.values().flatten().map(|(_, id)| id);
        let auditing = |j: &Job| j.work.as_ref().is_some_and(|w| w.kind == WorkKind::Audit);
        let ids: Vec<JobId> = ready.filter(|id| self.jobs.get(id).is_some_and(auditing)).cloned().collect();
        for id in ids {
            let Some(job) = self.jobs.get(&id) else { continue };
            let work = job.work.as_ref();
            let lone = |spec: &SpecId| work.and_then(|w| w.get(*spec)).is_some_and(|c| c.live.is_empty());
            let wrong = job.audits.iter().find(|(spec, audit)| {
                !audit.accused_by.is_empty() && lone(spec) && self.weigh(job, audit) == Verdict::Wrong
            });
            match wrong.map(|(spec, _)| *spec) {
                Some(spec) => self.condemn(turn, &id, spec),
                None => self.advance(turn, &id),
            }
        }
    }

    /// May this worker have this work of the job, as far as audits go?
    pub(crate) fn may_have(&self, turn: &Turn<'_>, job: &Job, worker: &Worker, spec: SpecRef) -> bool {
        if job.record.audits.is_caught(&worker.capability.worker) {
            return false;
        }
        let Some(audit) = job.audits.get(&spec.id) else { return true };
        if sabotaged!(turn.config, MakerAuditsItself) {
            return worker.capability.audits;
        }
        let rank = |w: &Worker| audit.rank(&w.capability.worker).filter(|_| is_auditor(job, w, spec.needs));
        let first = self.workers.values().filter_map(rank).min();
        rank(worker).is_some_and(|own| Some(own) == first)
    }

    fn weigh(&self, job: &Job, audit: &Audit) -> Verdict {
        let others = self
            .workers
            .values()
            .any(|w| audit.rank(&w.capability.worker) == Some(0) && is_auditor(job, w, ANY));
        verdict(audit.accused_by.len(), audit.cleared_by.len(), others)
    }

    /// A worker saw nothing wrong. True: that is the verdict, and may be committed.
    pub(crate) fn cleared(&mut self, turn: &mut Turn<'_>, id: AttemptId, attempt: &Attempt) -> bool {
        let audit = self.jobs.get_mut(&attempt.job).and_then(|j| j.audits.get_mut(&attempt.spec.id));
        let Some(audit) = audit else { return false };
        Audit::heard(&mut audit.cleared_by, &attempt.worker);
        let audit = audit.clone();
        let Some(job) = self.jobs.get(&attempt.job) else { return false };
        match self.weigh(job, &audit) {
            Verdict::Well => {
                for accuser in &audit.accused_by {
                    let suspended =
                        self.workers.get_mut(accuser).and_then(|w| w.failed(turn.now, turn.config));
                    tell_suspended(turn, accuser, suspended);
                }
                true
            }
            Verdict::Ask => {
                self.end_attempt(turn, id, crate::attempt::Why::NotNeeded);
                false
            }
            Verdict::Wrong => {
                self.end_attempt(turn, id, crate::attempt::Why::NotNeeded);
                self.condemn(turn, &attempt.job, attempt.spec.id);
                false
            }
        }
    }

    /// A worker says that a file is wrong. Its attempt has ended.
    pub(crate) fn accused(&mut self, turn: &mut Turn<'_>, attempt: &Attempt, what: &str) {
        let Some(job) = self.jobs.get_mut(&attempt.job) else { return };
        let Some(audit) = job.audits.get_mut(&attempt.spec.id) else { return };
        Audit::heard(&mut audit.accused_by, &attempt.worker);
        if audit.what.is_empty() {
            audit.what = what.chars().take(WHAT_MAX).collect();
        }
        let audit = audit.clone();
        job.note(format!("{} says that {} of {} is wrong: {what}", attempt.worker, audit.name, audit.maker));
        let verdict = match self.jobs.get(&attempt.job) {
            Some(job) => self.weigh(job, &audit),
            None => return,
        };
        if verdict == Verdict::Wrong {
            self.condemn(turn, &attempt.job, attempt.spec.id);
        }
    }

    /// A file is wrong: its maker is caught, and all that it made of the job is made again.
    fn condemn(&mut self, turn: &mut Turn<'_>, id: &JobId, spec: SpecId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let Some(audit) = job.audits.get(&spec).cloned() else { return };
        let by = audit.accused_by.iter().map(WorkerId::as_str).collect::<Vec<_>>().join(", ");
        let what = format!("{}, which is wrong: {} (found by {by})", audit.name, audit.what);
        job.note(format!("{} is caught: it committed {what}", audit.maker));
        job.record.audits.caught.push(Caught { worker: audit.maker.clone(), what: what.clone() });
        turn.then(Effect::Count(Count::Caught { worker: audit.maker.clone() }));
        let suspended = self.workers.get_mut(&audit.maker).map(|w| w.caught(turn.now, turn.config));
        tell_suspended(turn, &audit.maker, suspended);
        let Some(job) = self.jobs.get_mut(id) else { return };
        if sabotaged!(turn.config, WrongStaysCommitted) {
            job.begin_work(WorkKind::Audit, &[], turn.now);
            return self.advance(turn, id);
        }
        job.record.audits.unswept = true;
        job.audits.clear();
        let of_maker = |c: &&reelmill_common::record::CommitRecord| c.worker == audit.maker;
        let withdrawn: Vec<SpecId> = job.commits.values().filter(of_maker).map(|c| c.spec).collect();
        job.commits.retain(|_, c| c.worker != audit.maker);
        job.undurable.retain(|s| !withdrawn.contains(s));
        let caught = job.record.audits.caught.len();
        let trusted = |w: &Worker| self.jobs.get(id).is_some_and(|job| is_trusted_by(job, w));
        let others = self.workers.values().any(|w| w.is_there_for(ANY) && trusted(w));
        let revised = self.jobs.get(id).is_some_and(Job::is_revised);
        if others && caught < CAUGHT_MAX && !revised {
            self.make_again(turn, id);
        } else {
            let reason = no_other(id, &audit, &what, revised);
            self.fail_job(turn, id, reason, vec![]);
        }
        // after the record that makes them void
        for some in withdrawn.chunks(crate::stages::DELETES_PER_TRANSACTION) {
            let ops = some.iter().map(|s| Op::Delete(StateKey::Commit(id.clone(), *s))).collect();
            turn.write(ops, vec![]);
        }
    }

    fn make_again(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        self.stop_work(turn, id);
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.quiet_at = turn.now.plus(turn.config.uploads_outlive(true));
        job.record.version += 1;
        turn.write(vec![Op::Put(Record::Job(Box::new(job.record.clone())))], vec![]);
        self.advance(turn, id);
    }

    /// Nothing lies in the way of what is made again.
    pub(crate) fn swept(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.record.audits.unswept = false;
        job.record.version += 1;
        turn.write(vec![Op::Put(Record::Job(Box::new(job.record.clone())))], vec![]);
        self.advance(turn, id);
    }
}

/// Any worker that is here.
const ANY: Needs = Needs { family: None, memory_mib: 0 };

fn is_auditor(job: &Job, worker: &Worker, needs: Needs) -> bool {
    worker.is_there_for(needs) && worker.capability.audits && is_trusted_by(job, worker)
}

fn is_trusted_by(job: &Job, worker: &Worker) -> bool {
    !job.record.audits.is_caught(&worker.capability.worker)
}

fn no_other(id: &JobId, audit: &Audit, what: &str, revised: bool) -> FailReason {
    let advice = match revised {
        true => "its plan was revised, so it cannot be made again as it was: look at that worker, and submit the job again"
            .to_owned(),
        false => format!(
            "nobody else is here to make it again: look at that worker, start another, and run `reelmill jobs retry {id}`"
        ),
    };
    FailReason {
        kind: FaultKind::Output,
        message: format!(
            "{} committed {what}. Nothing that it made of this job is used, and {advice}",
            audit.maker
        ),
        detail: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_voices_decide_where_there_are_two() {
        use Verdict::{Ask, Well, Wrong};
        for (accused, cleared, others, expected) in [
            (0, 0, true, Ask),
            (0, 0, false, Ask),
            (0, 1, true, Well),
            (0, 1, false, Well),
            (1, 0, true, Ask),
            (1, 0, false, Wrong),
            (1, 1, true, Ask),
            // one word against another: what nobody confirms is not believed
            (1, 1, false, Well),
            (2, 0, true, Wrong),
            (2, 1, true, Wrong),
            (1, 2, true, Well),
            (2, 2, false, Well),
        ] {
            assert_eq!(verdict(accused, cleared, others), expected, "{accused} : {cleared}, {others}");
        }
    }

    #[test]
    fn the_maker_is_asked_last_and_never_against_an_accuser() {
        let id = |name: &str| WorkerId::parse(name).expect("id");
        let mut audit = Audit {
            chunk: SpecId(reelmill_common::Sha256([0; 32])),
            maker: id("maker"),
            name: String::new(),
            accused_by: vec![],
            what: String::new(),
            cleared_by: vec![],
        };
        let ranks = |audit: &Audit| ["maker", "a", "b"].map(|w| audit.rank(&id(w)));
        assert_eq!(ranks(&audit), [Some(2), Some(0), Some(0)]);
        audit.accused_by.push(id("a"));
        assert_eq!(ranks(&audit), [None, Some(1), Some(0)]);
        audit.cleared_by.push(id("b"));
        assert_eq!(
            ranks(&audit),
            [None, None, Some(1)],
            "its word was for it: a third decides, or b once more"
        );
    }
}
