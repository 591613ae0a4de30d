//! The laws: what must be true at every step of every run. The first breach ends the run and is its result.
//!
//! They see what the machines cannot: what is durable, what every process has really done, and what was told to whom.

mod course;

use super::audits::Audited;
use super::plans::{Chunk, Plan, gives};
use super::scenario::{Film, Scenario};
use super::store::Store;
use super::tally::Tally;
use course::{job_in, lives_in, may_follow, place};
use reelmill_common::capability::Needs;
use reelmill_common::job::JobState;
use reelmill_common::plan::{CostClass, RungSet};
use reelmill_common::record::{CommitRecord, FaultRecord, JobRecord, StateKey};
use reelmill_common::spec::IndexSpec;
use reelmill_common::{AttemptId, FencingTerm, JobId, RunNo, Sha256, SpecId, TenantId, WorkerId};
use reelmill_coordinator_core::{Batch, BatchId, Op, Record, SpecRef, WorkKind};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a job from outside.
#[derive(Debug)]
pub(super) struct Known {
    /// Its film.
    pub(super) film: usize,
    /// Its Index items: by packets, and by what is shown.
    pub(super) index: [SpecId; 2],
}

/// What really happened to a spec's attempts, over all runs of its job.
#[derive(Debug, Default)]
struct Trials {
    /// Attempts that truly ended with a fault of encoder, output or storage.
    faulted: BTreeSet<AttemptId>,
    /// Leases given.
    leased: BTreeSet<AttemptId>,
}

/// Everything the laws remember.
#[derive(Debug, Default)]
pub(super) struct Laws {
    /// The first breach.
    pub(super) broken: Option<String>,
    /// Durable changes that bring some job on, or use up what it has only so much of.
    pub(super) steps: u64,
    /// Films by name.
    pub(super) films: Vec<Film>,
    /// The same by what their decoders show.
    pub(super) shown: Vec<Film>,
    /// Jobs that were ever submitted.
    pub(super) known: BTreeMap<JobId, Known>,
    /// The seed: what builds give follows from it.
    seed: u64,
    /// Revisions of the plans of jobs, as they are stored, by their content: leaders may come to different ones.
    pub(super) plans: BTreeMap<(JobId, Sha256), Plan>,
    /// The batch with which a job's record last changed what builds do not give.
    pub(super) learned: BTreeMap<JobId, (FencingTerm, BatchId)>,
    /// The batch with which a job went back to be indexed by what its decoder shows.
    pub(super) indexed_anew: BTreeMap<JobId, (FencingTerm, BatchId)>,
    /// What was asked for revisions.
    pub(super) asked: BTreeMap<(JobId, SpecId), SpecRef>,
    /// With which encoder build of the film's family each output was made.
    pub(super) builds: BTreeMap<AttemptId, u8>,
    /// The commit of each spec, for ever.
    pub(super) commits: BTreeMap<(JobId, SpecId), CommitRecord>,
    winners: BTreeSet<AttemptId>,
    trials: BTreeMap<(JobId, SpecId), Trials>,
    /// Run that each budget was counted in.
    budgets: BTreeMap<(JobId, SpecId), (RunNo, FaultRecord)>,
    /// Attempts that a leader of their term has told that they are over.
    ended: BTreeSet<AttemptId>,
    /// Attempts whose output is whole and right.
    pub(super) made: BTreeSet<AttemptId>,
    /// Attempts whose output is wrong in a way that the check of the report finds.
    pub(super) wrong: BTreeSet<AttemptId>,
    /// Attempts whose output is wrong in a way that only an audit finds.
    pub(super) rotten: BTreeSet<AttemptId>,
    /// What is to be looked at again.
    pub(super) audited: BTreeMap<(JobId, SpecId), Audited>,
    /// Winners that do not count any more.
    pub(super) void: BTreeSet<AttemptId>,
    /// Commits whose keys go because their workers were caught.
    pub(super) withdrawn: BTreeSet<(JobId, SpecId)>,
    /// Who saw since when that a worker's files of a job are wrong.
    pub(super) accused: BTreeMap<(JobId, WorkerId), BTreeMap<WorkerId, u64>>,
    /// How long an accuser waits for a second voice, milliseconds.
    pub(super) second_voice_ms: u64,
    /// Virtual milliseconds.
    pub(super) now_ms: u64,
    /// All workers know how to.
    pub(super) all_audit: bool,
    /// Submits that were acknowledged: request hash and job, by tenant and key.
    keys: BTreeMap<(TenantId, String), (Sha256, JobId)>,
    acknowledged: BTreeSet<JobId>,
    /// Jobs whose record was deleted, with their last state.
    pub(super) gone: BTreeMap<JobId, JobState>,
    /// Attempts whose worker had vanished, or could be thought to have by the leader of a term (the next one may
    /// adopt the attempt and lose it again): for losses.
    vanished: BTreeSet<(AttemptId, Option<FencingTerm>)>,
}

impl Laws {
    /// The laws for a scenario.
    pub(super) fn new(scenario: &Scenario) -> Self {
        let all_audit = scenario.workers.iter().all(|w| w.audits);
        let second_voice_ms = scenario.config.second_voice_ms;
        let (films, seed) = (scenario.films.clone(), scenario.seed);
        let shown = films.iter().map(Film::shown).collect();
        Self { films, shown, seed, all_audit, second_voice_ms, ..Self::default() }
    }

    /// A law is broken.
    pub(super) fn breach(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    pub(super) fn hold(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.breach(what());
        }
    }

    /// A client makes up a job.
    pub(super) fn job_made_up(&mut self, id: &JobId, film: usize, source: &str) {
        let index = |decode| {
            IndexSpec { location: source.to_owned(), salt: id.as_str().to_owned(), decode }.spec_id()
        };
        self.known.insert(id.clone(), Known { film, index: [index(false), index(true)] });
    }

    /// The film of a job.
    pub(super) fn film(&self, job: &JobId) -> Option<&Film> {
        self.known.get(job).and_then(|k| self.films.get(k.film))
    }

    /// The film of a job as its index has it.
    pub(super) fn film_of(&self, job: &JobRecord) -> Option<&Film> {
        let known = self.known.get(&job.id)?;
        if job.damage.is_some() { self.shown.get(known.film) } else { self.films.get(known.film) }
    }

    /// What a spec of a job is.
    pub(super) fn spec(&self, job: &JobId, spec: SpecId) -> Option<(WorkKind, SpecRef)> {
        let known = self.known.get(job)?;
        let film = self.films.get(known.film)?;
        if known.index.contains(&spec) {
            let needs = Needs { family: None, memory_mib: 0 };
            let rungs = RungSet::NONE;
            return Some((
                WorkKind::Index,
                SpecRef { id: spec, cost_ms: 300, needs, rungs, class: CostClass::NONE },
            ));
        }
        let shown = self.shown.get(known.film)?;
        if let Some(analyse) = film.analyse.into_iter().chain(shown.analyse).find(|a| a.id == spec) {
            return Some((WorkKind::Analyse, analyse));
        }
        if let Some(analyse) = self.asked.get(&(job.clone(), spec)) {
            return Some((WorkKind::Analyse, *analyse));
        }
        if let Some(audited) = self.audited.get(&(job.clone(), spec)) {
            return Some((WorkKind::Audit, audited.spec));
        }
        self.chunk(job, spec).map(|c| (WorkKind::Encode, c.spec))
    }

    /// A chunk of any revision of a job's plan.
    pub(super) fn chunk(&self, job: &JobId, spec: SpecId) -> Option<&Chunk> {
        let all = (job.clone(), Sha256([0; 32]))..=(job.clone(), Sha256([u8::MAX; 32]));
        let mut plans = self.plans.range(all);
        plans.find_map(|(_, plan)| plan.chunks.iter().find(|c| c.spec.id == spec))
    }

    /// The current plan of a job.
    pub(super) fn plan(&self, job: &JobRecord) -> Option<&Plan> {
        self.plans.get(&(job.id.clone(), job.plan.as_ref()?.object.sha256))
    }

    /// What a build gives for a rung.
    pub(super) fn gives(&self, build: u8, place: usize) -> u8 {
        gives(self.seed, build, place)
    }

    /// A batch is about to take effect.
    pub(super) fn writing(&mut self, store: &Store, batch: &Batch, tally: &mut Tally) {
        self.hold(batch.ops.len() <= 100, || format!("a batch of {} operations", batch.ops.len()));
        let sorted = batch.ops.windows(2).all(|w| w[0].key() < w[1].key());
        self.hold(sorted, || "a batch holds a key twice or out of order".to_owned());
        for op in &batch.ops {
            if let Op::Put(Record::Job(new)) = op
                && let Some(old) = store.job(&new.id)
            {
                let now = (batch.term, batch.id);
                if old.unable != new.unable {
                    self.learned.insert(new.id.clone(), now);
                }
                if old.damage.is_none() && new.damage.is_some() {
                    self.indexed_anew.insert(new.id.clone(), now);
                }
            }
            match op {
                Op::Put(Record::Job(new)) => self.job_changes(store, new, tally),
                Op::Put(Record::Commit(new)) => self.commits(store, batch, new, tally),
                Op::Put(Record::Fault(new)) => self.budget_used(store, batch, new, tally),
                Op::Put(Record::Idempotency(_)) => tally.count("record: idempotency"),
                Op::Put(Record::Worker(_)) | Op::Delete(StateKey::Worker(_)) => tally.count("record: worker"),
                Op::Put(Record::Outside(_)) => tally.count("record: outside"),
                Op::Delete(StateKey::Outside) => tally.count("record: outside gone"),
                Op::Delete(StateKey::Commit(job, spec)) => {
                    self.commit_goes(store, batch, job, *spec, tally);
                }
                Op::Delete(StateKey::Fault(..)) => tally.count("record: deleted"),
                Op::Delete(StateKey::Job(job)) => self.job_goes(store, job, tally),
                Op::Delete(key) => self.breach(format!("{} is deleted", key.to_text())),
            }
        }
    }

    /// A batch has taken effect: laws over the whole.
    pub(super) fn written(&mut self, store: &Store, batch: &Batch) {
        for op in &batch.ops {
            match op {
                Op::Put(Record::Job(job)) => self.whole(store, job),
                Op::Delete(StateKey::Commit(job, spec)) => {
                    let gone = store.job(job).map_or(self.gone.contains_key(job), |j| {
                        matches!(j.state, JobState::Published | JobState::Collecting | JobState::Collected)
                    });
                    let withdrawn = self.withdrawn.remove(&(job.clone(), *spec));
                    self.hold(gone || withdrawn, || {
                        format!("commit of {spec:?} of {job} is deleted while the job may live")
                    });
                }
                _ => {}
            }
        }
    }

    fn job_changes(&mut self, store: &Store, new: &JobRecord, tally: &mut Tally) {
        let old = store.job(&new.id);
        if old == Some(new) {
            return; // the same batch once more
        }
        tally.count(match new.state {
            JobState::Accepted => "job: accepted",
            JobState::Indexing => "job: indexing",
            JobState::Planned => "job: planned",
            JobState::Running => "job: running",
            JobState::Publishing => "job: publishing",
            JobState::Published => "job: published",
            JobState::Failed(_) => "job: failed",
            JobState::Cancelled => "job: cancelled",
            JobState::Collecting => "job: collecting",
            JobState::Collected => "job: collected",
        });
        self.steps += u64::from(old.is_none_or(|old| place(old) != place(new)));
        let Some(old) = old else { return };
        if new.run > old.run {
            tally.count("job: run again");
        }
        self.revisions(old, new, tally);
        self.caught(store, old, new, tally);
        if old.damage != new.damage {
            tally.count("job: indexed by what is shown");
        }
        let legal = may_follow(old, new);
        let (from, to) = (old.state.name(), new.state.name());
        self.hold(legal, || format!("job {} went from {from} to {to}", new.id));
        let grows = new.version > old.version;
        self.hold(grows, || format!("version of job {} went back or stood still", new.id));
    }

    /// A record goes when nothing is left that it knows of, or when it can be read as an object.
    fn job_goes(&mut self, store: &Store, job: &JobId, tally: &mut Tally) {
        let Some(record) = store.job(job) else { return }; // the same batch once more
        tally.count("record: job forgotten");
        self.steps += 1;
        let state = record.state.clone();
        // Collected and gone may fall together in one batch
        let right = matches!(state, JobState::Published | JobState::Collecting | JobState::Collected);
        self.hold(right, || format!("the record of {job} goes while it is {}", state.name()));
        self.gone.insert(job.clone(), state);
    }

    /// A job that is published has everything; one that is being published, too.
    fn whole(&mut self, store: &Store, job: &JobRecord) {
        if job.state != JobState::Publishing {
            return;
        }
        let Some(plan) = self.plan(job).cloned() else { return };
        let open = plan.chunks.iter().filter(|c| store.commit(&job.id, c.spec.id).is_none()).count();
        self.hold(open == 0, || format!("job {} is being published with {open} chunks open", job.id));
        self.one_binding(store, job, &plan);
        self.is_audited(store, job, &plan.specs());
        self.hold(!job.manifests.is_empty(), || format!("job {} is being published without hashes", job.id));
    }

    fn commits(&mut self, store: &Store, batch: &Batch, new: &CommitRecord, tally: &mut Tally) {
        let key = (new.job.clone(), new.spec);
        if store.commit(&new.job, new.spec) == Some(new) {
            return; // the same batch once more
        }
        tally.count("record: commit");
        self.steps += 1;
        let before = self.commits.get(&key).map(|c| c.attempt);
        self.hold(before.is_none_or(|b| b == new.attempt), || {
            format!("{:?} of {} was committed by {before:?} and again by {}", new.spec, new.job, new.attempt)
        });
        let over = self.was_told_over(batch.term, new.attempt);
        self.hold(!over, || format!("{} is committed after it was told that it is over", new.attempt));
        let made = self.made.contains(&new.attempt);
        self.hold(made, || format!("{} is committed and never made its output", new.attempt));
        let caught = store.job(&new.job).is_some_and(|j| j.audits.is_caught(&new.worker));
        self.hold(!caught, || format!("{} is committed to {}, where it was caught", new.worker, new.job));
        self.hold(lives_in(store, batch, &new.job), || {
            format!("{:?} is committed to job {}, which has ended", new.spec, new.job)
        });
        self.winners.insert(new.attempt);
        self.commits.insert(key, new.clone());
    }

    fn budget_used(&mut self, store: &Store, batch: &Batch, new: &FaultRecord, tally: &mut Tally) {
        if store.fault(&new.job, new.spec) == Some(new) {
            return; // the same batch once more
        }
        tally.count("record: fault");
        self.steps += 1;
        let run = job_in(batch, &new.job).or(store.job(&new.job)).map(|j| j.run).unwrap_or_default();
        let key = (new.job.clone(), new.spec);
        let (faults, losses) = match self.budgets.get(&key) {
            Some((r, old)) if *r == run => (old.faults, old.losses),
            _ => (0, 0),
        };
        let who = || format!("budget of {:?} of {} in run {}", new.spec, new.job, run.0);
        let grew = new.faults >= faults && new.losses >= losses && new.faults + new.losses > faults + losses;
        self.hold(grew, || format!("{} did not grow from {faults}+{losses}", who()));
        self.hold(new.faults <= 3 && new.losses <= 6, || format!("{} was exceeded", who()));
        let trials = self.trials.entry(key.clone()).or_default();
        let truly = trials.faulted.len() as u32;
        let lost = self.vanished.iter().filter(|(a, _)| trials.leased.contains(a)).count() as u32;
        self.hold(new.faults <= truly, || format!("{}: {} faults, truly {truly}", who(), new.faults));
        self.hold(new.losses <= lost, || format!("{}: {} losses, truly {lost}", who(), new.losses));
        self.budgets.insert(key, (run, new.clone()));
    }

    /// A worker starts to hold an attempt.
    pub(super) fn leased(&mut self, job: &JobId, spec: SpecId, attempt: AttemptId) {
        self.trials.entry((job.clone(), spec)).or_default().leased.insert(attempt);
    }

    /// An attempt truly failed.
    pub(super) fn faulted(&mut self, job: &JobId, spec: SpecId, attempt: AttemptId) {
        self.trials.entry((job.clone(), spec)).or_default().faulted.insert(attempt);
    }

    /// An attempt's worker has vanished; or the leader of a term has reason to think so.
    pub(super) fn may_be_lost(&mut self, attempt: AttemptId, by: Option<FencingTerm>) {
        self.vanished.insert((attempt, by));
    }

    /// A leader told a worker that an attempt is over, and not won.
    pub(super) fn told_over(&mut self, term: FencingTerm, attempt: AttemptId) {
        if attempt.term == term {
            self.ended.insert(attempt);
        }
    }

    /// Has this leader told its own attempt that it is over? (The next one may adopt it all the same, if its worker
    /// never heard.)
    pub(super) fn was_told_over(&self, term: FencingTerm, attempt: AttemptId) -> bool {
        attempt.term == term && self.ended.contains(&attempt)
    }

    /// The job that an attempt was leased for.
    pub(super) fn job_of(&self, attempt: AttemptId) -> Option<&JobId> {
        self.trials.iter().find(|(_, t)| t.leased.contains(&attempt)).map(|((job, _), _)| job)
    }

    /// Was an attempt ever committed?
    pub(super) fn is_winner(&self, attempt: AttemptId) -> bool {
        self.winners.contains(&attempt)
    }

    /// A client was told that its submit made this job.
    pub(super) fn submit_acknowledged(&mut self, tenant: &TenantId, key: &str, hash: Sha256, job: &JobId) {
        self.acknowledged.insert(job.clone());
        let before = self.keys.entry((tenant.clone(), key.to_owned())).or_insert((hash, job.clone())).clone();
        self.hold(before.1 == *job, || format!("key {key} made {} and {job}", before.1));
        self.hold(before.0 == hash, || format!("key {key} was accepted for two requests"));
    }

    /// A client was told that its key stands for another request of this job.
    pub(super) fn submit_refused(&mut self, tenant: &TenantId, key: &str, hash: Sha256, job: &JobId) {
        let known = self.keys.get(&(tenant.clone(), key.to_owned())).cloned();
        let right = known.is_none_or(|(h, j)| h != hash && j == *job);
        self.hold(right, || format!("key {key} was refused in favour of {job}"));
    }

    /// A client was told that its key stands for a job that was deleted.
    pub(super) fn submit_of_deleted(&mut self, tenant: &TenantId, key: &str, hash: Sha256, job: &JobId) {
        let known = self.keys.get(&(tenant.clone(), key.to_owned())).cloned();
        let right = known.is_none_or(|known| known == (hash, job.clone()));
        self.hold(right, || format!("key {key} was refused as that of the deleted {job}"));
    }

    /// The run is over: nothing was lost.
    pub(super) fn at_the_end(&mut self, store: &Store, objects: &super::store::Objects) {
        for id in self.acknowledged.clone() {
            let is_known = store.job(&id).is_some() || self.gone.contains_key(&id);
            self.hold(is_known, || format!("job {id} was acknowledged and is gone"));
        }
        for (id, state) in self.gone.clone() {
            let archived = objects.archived.contains(&id) && objects.roots.contains(&id);
            let left = objects.left(&id);
            let right = if state == JobState::Published { archived } else { left.is_empty() };
            self.hold(right, || format!("{id} went as {}, archived {archived}, left {left:?}", state.name()));
        }
        for job in store.jobs() {
            let id = &job.id;
            match job.state {
                JobState::Published => {
                    self.hold(objects.roots.contains(id), || format!("job {id} is published without roots"));
                    for chunk in self.plan(job).map_or(vec![], Plan::specs) {
                        let there = objects.outputs.contains(&(id.clone(), chunk.id));
                        self.hold(there, || format!("job {id} is published without {:?}", chunk.id));
                    }
                }
                JobState::Collected => {
                    // what a deposed leader stored late goes with the record
                    let late = objects.late.contains(id);
                    let left: Vec<_> =
                        objects.left(id).into_iter().filter(|kind| !late || *kind == "outputs").collect();
                    self.hold(left.is_empty(), || format!("job {id} is collected and {left:?} are left"));
                }
                _ => {
                    let roots = objects.roots.contains(id);
                    self.hold(!roots, || format!("job {id} is {} and has roots", job.state.name()));
                }
            }
        }
    }
}
