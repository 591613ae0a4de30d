//! What must end, and by when, once nothing goes wrong any more.
//!
//! Nobody is stranded, which is two laws. While a job is open, something durable comes of one within the longest wait there
//! can be; what that is follows from leases, backoffs and the longest attempt, not from how much there is to do. And
//! everything has ended when the slowest worker could have done all of it twice, one after the other. Progress alone could
//! go round in circles: hence the second, and the bound on how often a job may be bound anew.

use super::scenario::{TELL_COLLECTED_MS, UPLOAD_MAX_MS};
use super::world::World;
use reelmill_common::record::JobRecord;
use reelmill_common::{JobId, Millis};
use std::collections::BTreeMap;

/// What was under way when faults stopped (pauses, messages held up, processes that start again) is over after this.
const SETTLES_MS: u64 = 12_000;
/// The last thing a client had in mind comes so long after the heal, milliseconds.
const LAST_WISH_MS: u64 = 32_000;
/// A worker's suspension is at most so many times its first one.
const SUSPENSIONS: u64 = 10;
/// So often does a leader look for what may be forgotten, milliseconds.
const SWEEP_MS: u64 = 10_000;
/// Timers, ways and tasks between two waits: each far below a second.
const GLUE_MS: u64 = 2_000;

/// The course since the heal.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// What [`super::laws::Laws::steps`] was when it last grew, and when that was.
    seen: (u64, Millis),
    /// The longest that was waited for a step, milliseconds.
    pub(super) longest_ms: u64,
    /// Jobs that were open, and how often they had been bound anew.
    open: BTreeMap<JobId, u32>,
    /// Work of those, milliseconds of the slowest worker.
    work_ms: u64,
}

impl World {
    /// Looks at the course since the heal.
    pub(super) fn law_of_rest(&mut self) {
        let settled = Millis(self.scenario.heal_ms + SETTLES_MS);
        let now = Millis(self.now_ms);
        let (steps, since) = self.rest.seen;
        if steps != self.laws.steps || since < settled || self.store.is_at_rest() {
            self.rest.seen = (self.laws.steps, now.max(settled));
            self.look_at_open();
        }
        let waited_ms = now.since(self.rest.seen.1);
        self.rest.longest_ms = self.rest.longest_ms.max(waited_ms);
        let longest_ms = self.longest_wait_ms();
        if waited_ms > longest_ms {
            let stuck = self.stuck();
            return self.laws.breach(format!("nothing has come of any job for {waited_ms} ms: {stuck:?}"));
        }
        let forgets_ms = if self.scenario.forgets() { TELL_COLLECTED_MS + SWEEP_MS } else { 0 };
        let most_ms = LAST_WISH_MS + forgets_ms + 2 * longest_ms + 2 * self.rest.work_ms;
        if now.since(Millis(self.scenario.heal_ms)) > most_ms {
            let stuck = self.stuck();
            self.laws.breach(format!("not at rest when all could have been done twice: {stuck:?}"));
        }
    }

    fn look_at_open(&mut self) {
        let open: Vec<(JobId, u32)> =
            self.store.jobs().filter(|j| !j.state.is_terminal()).map(|j| (j.id.clone(), j.rebinds)).collect();
        for (id, rebinds) in open {
            let Some(film) = self.laws.film(&id) else { continue };
            let rungs = film.chunks.iter().map(|c| c.rungs.0.count_ones()).max().unwrap_or(0);
            let costs = film.chunks.iter().chain(&film.analyse).map(|s| s.cost_ms);
            // a damaged film is made of what its packets promise, and again of what is shown
            let plans = 1 + u32::from(film.damaged.is_some());
            let work_ms = costs.sum::<u64>() * u64::from(plans) * self.slowest_permille() / 1_000;
            let first = *self.rest.open.entry(id.clone()).or_insert_with(|| {
                self.rest.work_ms += work_ms;
                rebinds
            });
            // each revision binds a rung to what somebody gives who stays; the first may have been on its way
            if rebinds > first + plans * (rungs + 1) {
                self.laws.breach(format!("{id} was bound anew {} times after the heal", rebinds - first));
            }
        }
    }

    /// How long it can take until something comes of some job: the only worker that can do the work is suspended at the
    /// most; or what it held must expire; or nobody gives what is bound, or a second voice; then it takes as long as it takes.
    fn longest_wait_ms(&self) -> u64 {
        let config = &self.scenario.config;
        let longest = self.scenario.films.iter().flat_map(|f| &f.chunks).map(|c| c.cost_ms).max();
        let attempt_ms = longest.unwrap_or(0) * self.slowest_permille() / 1_000 + UPLOAD_MAX_MS;
        let waits_ms = SUSPENSIONS * config.suspend_ms + config.lease_ttl_ms + config.rebind_after_ms;
        waits_ms + config.second_voice_ms + attempt_ms + GLUE_MS
    }

    fn slowest_permille(&self) -> u64 {
        self.workers.iter().map(|w| w.slow_permille).max().unwrap_or(0)
    }

    /// What has not ended, and what the leader says of it.
    fn stuck(&self) -> Vec<String> {
        let open = self.store.jobs().filter(|j| !j.state.is_terminal());
        open.map(|j| format!("{} {:?}: {:?}", j.id, j.state, self.explained(j))).collect()
    }

    fn explained(&self, job: &JobRecord) -> Vec<String> {
        let leader = self.controls.iter().find(|c| c.term.is_some());
        let told = leader.and_then(|c| {
            c.machine.as_ref()?.explain(c.clock.read(self.now_ms), &job.request.tenant, &job.id)
        });
        told.unwrap_or_default()
    }
}
