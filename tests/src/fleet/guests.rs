//! Jobs that come while a long film is made: short ones, from Submit through all their stages to the last commit.

use super::film::Film;
use super::run::{Fleet, Unfinished};
use super::world::{What, World};
use crate::sim::rng::Rng;
use reelmill_common::capability::Needs;
use reelmill_common::job::{JobOptions, JobRequest};
use reelmill_common::ladder::LadderChoice;
use reelmill_common::plan::{CostClass, RungSet};
use reelmill_common::record::{ObjectRef, PlanRef};
use reelmill_common::{JobId, Millis, Sha256, SpecId, TenantId};
use reelmill_coordinator_core::{
    Call, Event, SpecRef, Submission, Task, TaskId, TaskKind, TaskOutput, TenantRules, Token, WorkKind,
};
use std::collections::BTreeMap;

/// Reading the index of a short film, on a worker of speed 1.
const INDEX_MS: u64 = 500;
/// Finding out what its plan needs.
const ANALYSE_MS: u64 = 2_000;
/// A coordinator's own task: reading an object, planning, writing one.
const TASK_MS: u64 = 100;

/// One that comes.
#[derive(Clone, Copy, Debug)]
pub struct Guest {
    /// Whose job it is; the long film's is `t`.
    pub tenant: &'static str,
    /// The tenant's share; that of `t` is 1.
    pub weight: u32,
    /// The long film's is 0.
    pub priority: i32,
    /// When, from the beginning of the run.
    pub at_ms: u64,
}

/// Those of a run.
#[derive(Debug)]
pub(super) struct Guests {
    film: Film,
    list: Vec<Guest>,
    came: BTreeMap<JobId, Millis>,
    took_ms: BTreeMap<JobId, u64>,
}

/// How long each guest took from Submit to its last commit, milliseconds, while the fleet makes a long film (or nothing
/// else).
pub fn visit(
    long: Option<&Film>,
    fleet: &Fleet,
    short: &Film,
    guests: &[Guest],
    seed: u64,
) -> Result<Vec<u64>, Unfinished> {
    let nothing = Film { specs: vec![], cost_ms: vec![], odd_ms: vec![], work_ms: 0 };
    let mut world = World::new(long.unwrap_or(&nothing), fleet, seed);
    world.expects(short, guests);
    world.begin();
    for (n, guest) in guests.iter().enumerate() {
        world.after(guest.at_ms, What::Arrives(n));
    }
    world.until(|w| {
        let all = w.guests.as_ref().filter(|g| g.took_ms.len() == g.list.len())?;
        Some(all.took_ms.values().copied().collect())
    })
}

/// Arrivals at random, far enough from each other not to meet.
pub fn at_random(count: u64, apart_ms: u64, like: Guest, seed: u64) -> Vec<Guest> {
    let mut rng = Rng::new(seed);
    (1..=count).map(|n| Guest { at_ms: n * apart_ms + rng.range(0, apart_ms / 2), ..like }).collect()
}

impl World<'_> {
    fn expects(&mut self, film: &Film, list: &[Guest]) {
        self.costs(film);
        let (list, film) = (list.to_vec(), film.clone());
        let rules = |g: &Guest| TenantRules { weight: g.weight, ..Default::default() };
        self.config.tenants = list.iter().map(|g| (tenant(g.tenant), rules(g))).collect();
        self.guests = Some(Guests { film, list, came: BTreeMap::new(), took_ms: BTreeMap::new() });
    }

    pub(super) fn arrives(&mut self, n: usize) {
        let (now, Some(guests)) = (self.now, &mut self.guests) else { return };
        let Guest { tenant: whose, priority, .. } = guests.list[n];
        let id = JobId::parse(&format!("guest-{n:04}")).unwrap_or_else(|_| unreachable!("a valid name"));
        guests.came.insert(id.clone(), now);
        let request = JobRequest {
            tenant: tenant(whose),
            source: "/films/short.mp4".to_owned(),
            ladder: LadderChoice::default(),
            options: JobOptions::default(),
            labels: BTreeMap::new(),
            priority,
            idempotency_key: None,
        };
        let submission = Submission {
            id,
            request,
            request_hash: Sha256([1; 32]),
            slots_hint: None,
            unix_ms: now.0,
            placement: Default::default(),
        };
        self.feed(Event::Call { token: Token(2 + n as u64), call: Call::Submit(Box::new(submission)) });
    }

    /// Work of a guest before its plan: how long it takes.
    pub(super) fn early_ms(&self, kind: WorkKind) -> Option<u64> {
        match kind {
            WorkKind::Index => Some(INDEX_MS),
            WorkKind::Analyse => Some(ANALYSE_MS),
            _ => None,
        }
    }

    pub(super) fn guest_task(&mut self, task: &Task) {
        let (now, Some(guests)) = (self.now, &mut self.guests) else { return };
        let Some(came) = guests.came.get(&task.job) else { return };
        match task.kind {
            // the last chunk is committed
            TaskKind::PrepareAudit => drop(guests.took_ms.insert(task.job.clone(), now.since(*came))),
            TaskKind::PrepareAnalyse => self.after(TASK_MS, What::Answers(task.id, false)),
            TaskKind::MakePlan => self.after(TASK_MS, What::Answers(task.id, true)),
            _ => {}
        }
    }

    pub(super) fn answers(&mut self, task: TaskId, planned: bool) {
        let Some(guests) = &self.guests else { return };
        let specs = guests.film.specs.clone();
        let needs = specs.iter().find(|s| s.needs.family.is_some()).map(|s| s.needs);
        let needs = needs.unwrap_or(Needs { family: None, memory_mib: 1 });
        let output = if planned {
            let object = ObjectRef { key: super::world::key("plan"), bytes: 1, sha256: Sha256([2; 32]) };
            let chunks = specs.len() as u32;
            let plan =
                PlanRef { rungs: Vec::new(), why: None, revision: 1, object, chunks, media_ms: 60_000 };
            TaskOutput::Planned { plan, specs }
        } else {
            let id = SpecId(Sha256::of(b"analyse"));
            TaskOutput::AnalyseReady(Some(SpecRef {
                id,
                cost_ms: 1_000,
                needs,
                rungs: RungSet::NONE,
                class: CostClass::NONE,
            }))
        };
        self.feed(Event::TaskEnded { task, result: Ok(output) });
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap_or_else(|_| unreachable!("a valid name"))
}
