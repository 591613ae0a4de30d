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
//!     `--well--> well  `--nobody for `second_voice_ms`--> wrong  `--nobody else--> well
//! ```
//! Another is somebody who could do this very audit, did not make the file, and has not been heard on it. Who may be
//! asked and whether anybody is left are one question (`Leader::next_rank`): else an accuser would be asked again and
//! again. That nobody is here may be so by chance, so a lone accuser waits; in parts that are written down, and only while
//! nobody is here, so it ends whoever comes and goes. An accuser of itself is believed at once: a laptop has no other.
//! Whoever made the file is asked only where nobody else could be, and never against an accuser. A worker that was found
//! to have committed something wrong is **caught**: nothing that it made of the job counts any more, and it gets no more
//! work of the job, in any run. That is one write of the job's record; the commits, which no leader then loads, go after
//! it. Where others are here the job goes on and makes the chunks again, else it fails; a Retry makes them again, too.
//! First, and as late as nothing of the caught worker can be on its way any more, the names are made free (`Sweep`). If
//! rungs were bound anew before, what is to be made again is planned anew: chunks of before hold rungs in their old
//! binding, too, and nobody may be left who gives that.

use crate::attempt::Attempt;
use crate::config::Rules;
use crate::countdown::Countdown;
use crate::effect::{Count, Effect};
use crate::job::Job;
use crate::leader::Leader;
use crate::outcomes::tell_suspended;
use crate::rebind::write;
use crate::record::Op;
use crate::turn::{Turn, sabotaged};
use crate::voices::{ANOTHER, Audit, Verdict, verdict};
use crate::work::{AuditRef, SpecRef, WorkKind};
use crate::worker::Worker;
use reelmill_common::audit::Caught;
use reelmill_common::capability::Needs;
use reelmill_common::job::FailReason;
use reelmill_common::outcome::FaultKind;
use reelmill_common::plan::RungSet;
use reelmill_common::record::{Rebind, StateKey};
use reelmill_common::{AttemptId, JobId, Millis, SpecId, WorkerId};

/// Characters that are kept of what an accuser says.
const WHAT_MAX: usize = 400;

/// Workers that a job may find wrong before it gives up: then it is the job, or those who accuse.
const CAUGHT_MAX: usize = 8;

impl Job {
    /// Is what was made by somebody who was caught planned anew?
    pub(crate) fn is_replanned(&self) -> bool {
        self.record.rebind.as_ref().is_some_and(|r| r.rungs.is_empty())
    }

    /// No accuser waits for a second voice any more.
    pub(crate) fn forget_dispute(&mut self) {
        self.record.audits.unheard_ms = 0;
        self.unheard = Countdown::default();
    }

    /// The revision in which what is to be made again is planned anew, if the plan was revised before.
    fn replanned(&self) -> Option<Rebind> {
        let revision = self.record.plan.as_ref().map(|p| p.revision).filter(|revision| *revision > 1)?;
        Some(Rebind { revision: revision + 1, rungs: RungSet::NONE, found: None })
    }

    /// How many files were looked at, as the record will tell it.
    pub(crate) fn count_audits(&mut self) {
        let by = |(spec, audit): (&SpecId, &Audit)| {
            let commit = self.commits.get(spec)?;
            Some((commit.worker != audit.maker, audit.sound))
        };
        let looked: Vec<(bool, bool)> = self.audits.iter().filter_map(by).collect();
        self.record.audits.files = looked.len() as u32;
        self.record.audits.sound = looked.iter().filter(|(_, sound)| *sound).count() as u32;
        self.record.audits.by_another = looked.iter().filter(|(another, _)| *another).count() as u32;
    }
}

impl Leader {
    /// The files to be looked at are drawn.
    pub(crate) fn audits_ready(&mut self, turn: &mut Turn<'_>, id: &JobId, drawn: Vec<AuditRef>) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let mut specs = Vec::with_capacity(drawn.len());
        job.audits.clear();
        for AuditRef { spec, chunk, name, sound } in drawn {
            let Some(maker) = job.commits.get(&chunk).map(|c| c.worker.clone()) else { continue };
            let (accused_by, cleared_by, what) = (vec![], vec![], String::new());
            let needs = spec.needs;
            let audit = Audit { chunk, maker, name, needs, sound, accused_by, what, cleared_by };
            job.audits.insert(spec.id, audit);
            specs.push(spec);
        }
        job.begin_work(WorkKind::Audit, &specs, turn.now);
        self.advance(turn, id);
    }

    /// Workers of before there were audits, or audits of sound, cannot be asked, and their jobs must end, too: where nobody
    /// who is here knows how, what was not looked at is published so. Its report says how much that was.
    pub(crate) fn leave_unaudited(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        let Some(job) = self.jobs.get(id) else { return };
        let Some(work) = job.work.as_ref().filter(|w| w.kind == WorkKind::Audit && w.open() > 0) else {
            return;
        };
        // whoever was caught is not asked, and says nothing of those who are away just now
        let caught = &job.record.audits;
        let may = |w: &&Worker| w.session.is_some() && !caught.is_caught(&w.capability.worker);
        let here = || self.workers.values().filter(may);
        let is_disputed = job.audits.values().any(Audit::is_disputed);
        let waits = job.hold_until > turn.now || work.taken_len() > 0 || is_disputed;
        let knows = |audit: &Audit| here().any(|w| audit.is_known_to(&w.capability));
        let left = job.audits.iter().filter(|(spec, _)| !job.commits.contains_key(spec));
        let left: Vec<&Audit> = left.map(|(_, audit)| audit).collect();
        if waits || here().next().is_none() || left.iter().any(|audit| knows(audit)) {
            return;
        }
        // pictures come to nobody here only where sound does, too
        let what = if left.iter().all(|audit| audit.sound) { "an audit of its sound" } else { "an audit" };
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.note(format!(
            "it is published without {what}: no worker here knows how, they are of an older version"
        ));
        job.begin_work(WorkKind::Audit, &[], turn.now);
    }

    /// Somebody who could confirm a verdict, or audit at all, may have gone.
    pub(crate) fn look_at_audits(&mut self, turn: &mut Turn<'_>) {
        let auditing = |j: &Job| j.work.as_ref().is_some_and(|w| w.kind == WorkKind::Audit);
        let ids: Vec<JobId> =
            self.ready.jobs().filter(|id| self.jobs.get(id).is_some_and(auditing)).cloned().collect();
        for id in ids {
            let Some(job) = self.jobs.get(&id) else { continue };
            let rests = |spec: SpecId| job.work.as_ref().is_some_and(|w| w.is_ready(spec));
            let disputes = job.audits.iter().filter(|(spec, audit)| audit.is_disputed() && rests(**spec));
            let disputes: Vec<(SpecId, Verdict)> = disputes
                .map(|(spec, audit)| (*spec, self.weigh(turn.now, turn.config, job, audit)))
                .collect();
            let waits = disputes.iter().any(|(spec, verdict)| match verdict {
                Verdict::Wait => true,
                // somebody has to say so once more
                Verdict::Well => job.audits.get(spec).is_some_and(|a| self.next_rank(job, a).is_none()),
                Verdict::Ask | Verdict::Wrong => false,
            });
            self.count_unheard(turn, &id, waits);
            match disputes.into_iter().find(|(_, verdict)| *verdict == Verdict::Wrong) {
                Some((spec, _)) => self.condemn(turn, &id, spec),
                None => {
                    self.leave_undecided(turn, &id);
                    self.advance(turn, &id);
                }
            }
        }
    }

    /// Is a dispute waiting for a voice, and nobody here who could give it?
    fn count_unheard(&mut self, turn: &mut Turn<'_>, id: &JobId, waits: bool) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        if !waits {
            return job.unheard.pause(turn.now);
        }
        job.unheard.run(turn.now);
        let passed_ms = job.unheard.to_write_ms(turn.now, turn.config.second_voice_ms);
        if passed_ms > job.record.audits.unheard_ms {
            job.record.audits.unheard_ms = passed_ms;
            write(turn, job);
        }
    }

    /// What one calls wrong and another well, who has gone, is not believed to be wrong; and nobody is left who would say
    /// so once more, to be committed. As late as an accuser would be believed, and when nothing else of the job is to be
    /// done, it is published without.
    fn leave_undecided(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        let is_over = |j: &&Job| j.unheard.for_ms(turn.now) >= turn.config.second_voice_ms;
        let Some(job) = self.jobs.get(id).filter(is_over) else { return };
        let Some(work) = job.work.as_ref().filter(|w| w.open() > 0 && w.taken_len() == 0) else { return };
        let nobody = |audit: &Audit| {
            audit.is_disputed()
                && self.weigh(turn.now, turn.config, job, audit) == Verdict::Well
                && self.next_rank(job, audit).is_none()
        };
        if !work.ready().all(|c| job.audits.get(&c.spec.id).is_some_and(nobody)) {
            return;
        }
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.note(
            "it is published with an audit undecided: one says wrong, one says well, and nobody else came"
                .into(),
        );
        job.forget_dispute();
        job.begin_work(WorkKind::Audit, &[], turn.now);
    }

    /// May this worker have this work of the job, as far as audits go?
    pub(crate) fn may_have(&self, turn: &Turn<'_>, job: &Job, worker: &Worker, spec: SpecRef) -> bool {
        if job.record.audits.is_caught(&worker.capability.worker) {
            return false;
        }
        let Some(audit) = job.audits.get(&spec.id) else { return true };
        if sabotaged!(turn.config, MakerAuditsItself) {
            return audit.is_known_to(&worker.capability);
        }
        if sabotaged!(turn.config, AccuserAskedAgain) && audit.accused_by.contains(&worker.capability.worker)
        {
            return true;
        }
        let rank = rank_of(job, audit, worker);
        rank.is_some()
            && rank == self.next_rank(job, audit)
            && self.weigh(turn.now, turn.config, job, audit) != Verdict::Wait
    }

    /// The rank of who is to be asked next, of those who are here; `None`: nobody is.
    fn next_rank(&self, job: &Job, audit: &Audit) -> Option<u8> {
        self.workers.values().filter_map(|w| rank_of(job, audit, w)).min()
    }

    fn weigh(&self, now: Millis, config: &Rules, job: &Job, audit: &Audit) -> Verdict {
        let others = self.next_rank(job, audit) == Some(ANOTHER);
        let waits = !audit.is_confessed()
            && job.unheard.for_ms(now) < config.second_voice_ms
            && !sabotaged!(config, LoneAccuserBelieved);
        verdict(audit.accused_by.len(), audit.cleared_by.len(), others, waits)
    }

    /// A worker saw nothing wrong. True: that is the verdict, and may be committed.
    pub(crate) fn cleared(&mut self, turn: &mut Turn<'_>, id: AttemptId, attempt: &Attempt) -> bool {
        let audit = self.jobs.get_mut(&attempt.job).and_then(|j| j.audits.get_mut(&attempt.spec.id));
        let Some(audit) = audit else { return false };
        Audit::heard(&mut audit.cleared_by, &attempt.worker);
        let audit = audit.clone();
        let Some(job) = self.jobs.get(&attempt.job) else { return false };
        match self.weigh(turn.now, turn.config, job, &audit) {
            Verdict::Well => {
                for accuser in &audit.accused_by {
                    let suspended =
                        self.workers.get_mut(accuser).and_then(|w| w.failed(turn.now, turn.config));
                    tell_suspended(turn, accuser, suspended);
                }
                self.is_decided(&attempt.job, attempt.spec.id);
                true
            }
            Verdict::Ask | Verdict::Wait => {
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

    /// A file is well. If it was the last that was disputed, nobody waits for a second voice any more; the commit says so.
    /// (Of what was disputed under an earlier leader nothing is known until the accuser was asked again.)
    fn is_decided(&mut self, id: &JobId, spec: SpecId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let mut disputed = job.audits.iter().filter(|(_, audit)| audit.is_disputed()).map(|(spec, _)| *spec);
        if disputed.next() == Some(spec) && disputed.next().is_none() {
            job.forget_dispute();
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
        let Some(job) = self.jobs.get(&attempt.job) else { return };
        match self.weigh(turn.now, turn.config, job, &audit) {
            Verdict::Wrong => self.condemn(turn, &attempt.job, attempt.spec.id),
            Verdict::Wait => self.count_unheard(turn, &attempt.job, true),
            Verdict::Ask | Verdict::Well => {}
        }
    }

    /// An accuser that waits for a second voice.
    pub(crate) fn explain_dispute(&self, now: Millis, config: &Rules, job: &Job) -> Option<String> {
        let waits = |a: &&Audit| a.is_disputed() && self.weigh(now, config, job, a) == Verdict::Wait;
        let audit = job.audits.values().find(waits)?;
        let by = audit.accused_by.first()?;
        let left_ms = config.second_voice_ms.saturating_sub(job.unheard.for_ms(now));
        let (name, maker, s) = (&audit.name, &audit.maker, left_ms.div_ceil(1_000));
        Some(format!(
            "{by} says that {name} of {maker} is wrong, and nobody else is here to look at it: in {s} s it is \
             believed, unless a worker comes that can"
        ))
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
        job.forget_dispute();
        job.audits.clear();
        let of_maker = |c: &&reelmill_common::record::CommitRecord| c.worker == audit.maker;
        let withdrawn: Vec<SpecId> = job.commits.values().filter(of_maker).map(|c| c.spec).collect();
        job.commits.retain(|_, c| c.worker != audit.maker);
        job.undurable.retain(|s| !withdrawn.contains(s));
        let caught = job.record.audits.caught.len();
        let trusted = |w: &Worker| self.jobs.get(id).is_some_and(|job| is_trusted_by(job, w));
        let others = self.workers.values().any(|w| w.is_there_for(ANY) && trusted(w));
        if others && caught < CAUGHT_MAX {
            self.make_again(turn, id);
        } else {
            let reason = given_up(id, &audit, &what, others);
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
        write(turn, job);
        self.advance(turn, id);
    }

    /// Nothing lies in the way of what is made again.
    pub(crate) fn swept(&mut self, turn: &mut Turn<'_>, id: &JobId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.record.audits.unswept = false;
        job.record.rebind = job.replanned();
        write(turn, job);
        self.advance(turn, id);
    }
}

/// Any worker that is here.
const ANY: Needs = Needs { family: None, memory_mib: 0 };

/// The rank of a worker that is here and could do this audit.
fn rank_of(job: &Job, audit: &Audit, worker: &Worker) -> Option<u8> {
    let knows = audit.is_known_to(&worker.capability);
    let is_able = worker.is_there_for(audit.needs) && knows && is_trusted_by(job, worker);
    audit.rank(&worker.capability.worker).filter(|_| is_able)
}

fn is_trusted_by(job: &Job, worker: &Worker) -> bool {
    !job.record.audits.is_caught(&worker.capability.worker)
}

/// Nobody is here to make it again, or too many were caught.
fn given_up(id: &JobId, audit: &Audit, what: &str, others: bool) -> FailReason {
    let advice = match others {
        true => format!(
            "{CAUGHT_MAX} workers were caught by now: either the job is at fault, or those who accuse. Look at them, and \
             run `reelmill jobs retry {id}`"
        ),
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
