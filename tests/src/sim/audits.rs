//! Audits as a model: what is drawn, what auditors see, and the laws over both.
//!
//! A scenario may have a rotten worker: now and then what it makes is well formed and wrong, which no check of a report
//! finds. An auditor sees it, unless it is that worker itself: it says that all is well.

use super::laws::Laws;
use super::store::Store;
use super::tally::Tally;
use super::world::World;
use reelmill_common::capability::Needs;
use reelmill_common::outcome::{FaultKind, Outcome};
use reelmill_common::plan::{CostClass, RungSet};
use reelmill_common::record::{CommitRecord, JobRecord};
use reelmill_common::{AttemptId, JobId, Sha256, SpecId, WorkerId};
use reelmill_coordinator_core::{
    AuditRef, Batch, LeaseOrder, Op, Record, SessionId, SpecRef, TaskOutput, WorkKind,
};

/// One chunk of so many is drawn.
const ONE_IN: u8 = 3;
/// Somebody who has been there for so long could have been asked, whenever it was decided, milliseconds.
const STEADY_MS: u64 = 30_000;

/// A commit that is to be looked at again.
#[derive(Clone, Debug)]
pub(super) struct Audited {
    pub(super) spec: SpecRef,
    pub(super) attempt: AttemptId,
    pub(super) maker: WorkerId,
    pub(super) sound: bool,
}

impl World {
    /// Draws from what is committed of the plan.
    pub(super) fn draw(&mut self, record: &JobRecord) -> TaskOutput {
        let chunks = self.laws.plan(record).map_or(vec![], |p| p.specs());
        let made: Vec<CommitRecord> =
            chunks.iter().filter_map(|s| self.store.commit(&record.id, s.id).cloned()).collect();
        let lot = |c: &CommitRecord| Sha256::of(format!("{}{}", c.job, c.attempt).as_bytes()).0;
        let least = made.iter().min_by_key(|c| lot(c)).map(|c| c.attempt);
        let drawn = made.iter().filter(|c| lot(c)[0].is_multiple_of(ONE_IN) || Some(c.attempt) == least);
        let mut refs = vec![];
        // whoever spoke before is asked again
        self.controls.iter_mut().for_each(|c| c.accusers.retain(|(job, ..), _| *job != record.id));
        for commit in drawn {
            let id = SpecId(Sha256::of(format!("audit/{}/{}", commit.job, commit.attempt).as_bytes()));
            // some files are too large for some workers to look at
            let memory_mib = if lot(commit)[1].is_multiple_of(3) { 900 } else { 50 };
            let needs = Needs { family: None, memory_mib };
            let spec = SpecRef { id, cost_ms: 200, needs, rungs: RungSet::NONE, class: CostClass::NONE };
            let (attempt, maker) = (commit.attempt, commit.worker.clone());
            // a film has a picture, and some of that is always drawn
            let sound = lot(commit)[2].is_multiple_of(4) && Some(commit.attempt) != least;
            self.laws.audited.insert((record.id.clone(), id), Audited { spec, attempt, maker, sound });
            refs.push(AuditRef { spec, chunk: commit.spec, name: commit.attempt.to_string(), sound });
        }
        TaskOutput::AuditsReady(refs)
    }

    /// Removes what is not committed.
    pub(super) fn sweep(&mut self, record: &JobRecord) -> TaskOutput {
        let (id, store) = (&record.id, &self.store);
        let stands = |s: &SpecId| store.commit(id, *s).is_some_and(|c| !record.audits.is_caught(&c.worker));
        let planned: Vec<SpecId> =
            self.laws.plan(record).map_or(vec![], |p| p.specs()).into_iter().map(|s| s.id).collect();
        self.objects.outputs.retain(|(job, s)| job != id || !planned.contains(s) || stands(s));
        TaskOutput::Swept
    }

    /// Does this worker, with an audit to do, see that something is wrong?
    pub(super) fn sees_wrong(&mut self, w: usize, job: &JobId, spec: SpecId) -> bool {
        let Some(audited) = self.laws.audited.get(&(job.clone(), spec)) else { return false };
        let wrong = self.laws.rotten.contains(&audited.attempt);
        let (maker, worker) = (audited.maker.clone(), self.scenario.workers[w].worker.clone());
        let own = maker == worker;
        if wrong && own {
            self.tally.count("audit: a rotten maker says that all is well");
        }
        if wrong && !own {
            let accused = self.laws.accused.entry((job.clone(), maker)).or_default();
            accused.entry(worker).or_insert(self.now_ms);
        }
        wrong && !own
    }

    /// Somebody says that a file is wrong, of an attempt that it was given and that is not known to have ended.
    pub(super) fn hears_accuser(
        &mut self,
        c: usize,
        session: SessionId,
        attempt: AttemptId,
        of: (&JobId, SpecId),
        outcome: &Outcome,
    ) {
        let accuses = matches!(outcome, Outcome::Failed { fault, .. } if fault.kind == FaultKind::Media);
        let control = &mut self.controls[c];
        let lives = control.leases.get(&session).is_some_and(|held| held.contains(&attempt));
        let Some(worker) = control.told.get(&session).map(|told| told.worker.clone()) else { return };
        if accuses && lives {
            *control.accusers.entry((of.0.clone(), of.1, worker)).or_default() += 1;
        }
    }

    /// What a worker has made is whole and right, or only looks so.
    pub(super) fn may_be_rotten(&mut self, w: usize, attempt: AttemptId, kind: WorkKind) {
        if kind == WorkKind::Encode && self.scenario.rotten == Some(w) && self.rng.chance(500) {
            self.tally.count("work: made something rotten");
            self.laws.rotten.insert(attempt);
        }
    }

    /// Who has been connected to a leader, and could audit, since when.
    pub(super) fn watch_auditors(&mut self, c: usize) {
        let control = &mut self.controls[c];
        let now = control.clock.read(self.now_ms);
        let views = control.machine.as_ref().map_or(vec![], |m| m.workers(now));
        let there = views.into_iter().filter(|v| v.connected && !v.draining && v.capability.audits);
        let there: Vec<WorkerId> = there.map(|v| v.id).collect();
        control.auditors.retain(|id, _| there.contains(id));
        for id in there {
            control.auditors.entry(id).or_insert(self.now_ms);
        }
    }

    /// Whoever made something does not look at it where somebody else could; and nobody is asked again and again for what
    /// it has said. (Once more may be: what it said may have come too late to be heard.)
    pub(super) fn law_of_audit(&mut self, c: usize, order: &LeaseOrder, worker: &WorkerId) {
        self.watch_auditors(c);
        let accuser = (order.job.clone(), order.spec, worker.clone());
        let said = self.controls[c].accusers.get(&accuser).copied().unwrap_or(0);
        if said > 1 {
            self.laws.breach(format!("{worker} is asked once more, and said {said} times what it saw"));
        }
        let Some(audited) = self.laws.audited.get(&(order.job.clone(), order.spec)) else { return };
        let audited = audited.clone();
        let of = |id: &WorkerId| self.scenario.workers.iter().find(|w| w.worker == *id);
        let knows = |id: &WorkerId| of(id).is_some_and(|w| w.audits && (w.audits_sound || !audited.sound));
        if !knows(worker) {
            self.laws.breach(format!("{worker} is asked to audit what it does not know how to"));
        }
        if audited.sound {
            self.tally.count("audit: of sound");
        }
        if audited.maker != *worker {
            return;
        }
        self.tally.count("audit: by its maker");
        let record = self.store.job(&order.job);
        let could = |id: &WorkerId| knows(id) && of(id).is_some_and(|w| w.meets(audited.spec.needs));
        let other = self.controls[c].auditors.iter().find(|(id, since)| {
            *id != worker
                && could(id)
                && self.now_ms - **since > STEADY_MS
                && record.is_some_and(|r| !r.audits.is_caught(id))
        });
        if let Some((other, _)) = other {
            self.laws.breach(format!("{worker} audits {} of its own, and {other} is there", audited.attempt));
        }
    }
}

impl Laws {
    /// A commit's key is about to go: because its worker was caught, or with the job.
    pub(super) fn commit_goes(
        &mut self,
        store: &Store,
        batch: &Batch,
        job: &JobId,
        spec: SpecId,
        tally: &mut Tally,
    ) {
        tally.count("record: deleted");
        let Some(commit) = store.commit(job, spec) else {
            // the same batch once more, or another leader that found it, too
            self.withdrawn.insert((job.clone(), spec));
            return;
        };
        let says = |j: &JobRecord| j.id == *job && j.audits.is_caught(&commit.worker);
        // the record that says so may come in this very batch
        let in_batch = batch.ops.iter().any(|op| matches!(op, Op::Put(Record::Job(j)) if says(j)));
        if in_batch || store.job(job).is_some_and(says) {
            tally.count("record: commit withdrawn");
            self.withdrawn.insert((job.clone(), spec));
        }
    }

    /// A record says that workers were caught.
    pub(super) fn caught(&mut self, store: &Store, old: &JobRecord, new: &JobRecord, tally: &mut Tally) {
        if new.audits.caught.len() > old.audits.caught.len() {
            tally.count("job: a worker is caught");
        }
        for c in &new.audits.caught {
            if old.audits.is_caught(&c.worker) {
                continue;
            }
            let of: Vec<CommitRecord> =
                store.commits(&new.id).filter(|r| r.worker == c.worker).cloned().collect();
            let rotten = of.iter().any(|r| self.rotten.contains(&r.attempt));
            self.hold(rotten, || format!("{} is caught over {} and is innocent", c.worker, new.id));
            let by = self.accused.remove(&(new.id.clone(), c.worker.clone())).unwrap_or_default();
            if by.len() == 1 {
                tally.count("job: a lone accuser is believed");
                // clocks run a little fast
                let (now_ms, wait_ms) = (self.now_ms, self.second_voice_ms - self.second_voice_ms / 100);
                let waited = by.values().all(|since| now_ms - since >= wait_ms);
                self.hold(waited, || format!("one worker alone was believed at once: {by:?} at {now_ms}"));
            }
            for commit in of {
                // what is told of its attempt from now on is told of one that did not win
                self.void.insert(commit.attempt);
                self.commits.remove(&(commit.job.clone(), commit.spec));
            }
        }
    }

    /// A job that is being published was looked at, and holds nothing of a worker that was caught.
    pub(super) fn is_audited(&mut self, store: &Store, job: &JobRecord, specs: &[SpecRef]) {
        let looked = job.audits.files > 0 || !self.all_audit;
        self.hold(looked, || format!("{} is being published and nobody looked at any of it", job.id));
        for spec in specs {
            let commit = store.commit(&job.id, spec.id);
            let bad = commit.filter(|c| job.audits.is_caught(&c.worker)).map(|c| c.worker.clone());
            self.hold(bad.is_none(), || format!("{} is published with a chunk of {bad:?}", job.id));
        }
    }
}
