//! A tenant's client: submits films, asks again when nobody answers, changes its mind.

use super::rng::Rng;
use super::scenario::{CONTROLS, Scenario, tenant};
use super::world::{What, World};
use reelmill_common::job::{FailReason, JobOptions, JobRequest, JobState};
use reelmill_common::ladder::LadderChoice;
use reelmill_common::outcome::FaultKind;
use reelmill_common::record::Placement;
use reelmill_common::{IdempotencyKey, JobId, Sha256};
use reelmill_coordinator_core::{Answer, Call, Refusal, Submission, Token};
use std::collections::BTreeMap;

/// How often a client looks around, milliseconds.
const TURN_MS: u64 = 1_500;
/// Times a client runs a failed or cancelled job again.
const RETRIES: u32 = 2;

/// What a client wants to have answered.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Wish {
    Submit { film: usize, key: String, other: bool, priority: i32 },
    Cancel(JobId),
    Retry(JobId),
    Delete(JobId),
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    calls: u64,
    /// What is to come, latest first.
    plans: Vec<(u64, Wish)>,
    /// Asked and not answered, by the number of the call.
    open: BTreeMap<u64, Wish>,
    retried: BTreeMap<JobId, u32>,
    deleted: Vec<JobId>,
    /// It changes its mind so often, in thousandths.
    fickle: u64,
}

impl Client {
    /// The client of one tenant, with everything it is going to do.
    pub(super) fn new(scenario: &Scenario, rng: &mut Rng) -> Self {
        let mut plans = vec![];
        for n in 0..scenario.jobs {
            let at = if scenario.fair { rng.range(0, 5_000) } else { rng.range(0, scenario.heal_ms) };
            let film = rng.range(0, scenario.films.len() as u64 - 1) as usize;
            let priority = rng.range(0, 2) as i32;
            let wish = |other| Wish::Submit { film, key: format!("key-{n}"), other, priority };
            plans.push((at, wish(false)));
            if !scenario.fair && rng.chance(450) {
                plans.push((at + rng.range(0, 30_000), wish(false)));
            }
            if !scenario.fair && rng.chance(300) {
                plans.push((at + rng.range(1, 20_000), wish(true)));
            }
        }
        plans.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Self {
            calls: 0,
            plans,
            open: BTreeMap::new(),
            retried: BTreeMap::new(),
            deleted: vec![],
            fickle: if scenario.fair { 0 } else { 60 },
        }
    }

    /// Does it want nothing more?
    pub(super) fn is_done(&self) -> bool {
        self.plans.is_empty() && self.open.is_empty()
    }
}

impl World {
    /// Something of a client's.
    pub(super) fn client_event(&mut self, what: What) {
        match what {
            What::ClientTurn(n) => self.client_turn(n),
            What::Call { control, token, call } => self.control_called(control, token, *call),
            What::Answer { token, result } => self.client_hears(token, result),
            _ => {}
        }
    }

    fn client_turn(&mut self, n: usize) {
        self.after(TURN_MS, What::ClientTurn(n));
        let now_ms = self.now_ms;
        while let Some((_, wish)) = self.clients[n].plans.pop_if(|(at, _)| *at <= now_ms) {
            self.wish(n, wish);
        }
        self.change_of_mind(n);
        let again: Vec<(u64, Wish)> =
            self.clients[n].open.iter().map(|(call, w)| (*call, w.clone())).collect();
        for (call, wish) in again {
            self.ask(n, call, &wish);
        }
    }

    fn wish(&mut self, n: usize, wish: Wish) {
        let client = &mut self.clients[n];
        client.calls += 1;
        let call = client.calls;
        client.open.insert(call, wish.clone());
    }

    /// Cancels what runs, runs again what failed, deletes what ended; the more the earlier.
    fn change_of_mind(&mut self, n: usize) {
        let mine: Vec<(JobId, JobState)> = self
            .store
            .jobs()
            .filter(|j| j.request.tenant == tenant(n))
            .map(|j| (j.id.clone(), j.state.clone()))
            .collect();
        let healing = self.now_ms > self.scenario.heal_ms;
        let fickle = if healing { 0 } else { self.clients[n].fickle };
        for (job, state) in mine {
            let asked = self.clients[n]
                .open
                .values()
                .any(|w| matches!(w, Wish::Cancel(j) | Wish::Retry(j) | Wish::Delete(j) if *j == job));
            if asked || self.clients[n].deleted.contains(&job) {
                continue;
            }
            let retried = self.clients[n].retried.get(&job).copied().unwrap_or(0);
            let hopeless = matches!(&state, JobState::Failed(FailReason { kind: FaultKind::Source, .. }));
            let failed = matches!(state, JobState::Failed(_) | JobState::Cancelled);
            match state {
                _ if failed && !hopeless && retried < RETRIES && fickle > 0 && self.rng.chance(400) => {
                    self.clients[n].retried.insert(job.clone(), retried + 1);
                    self.wish(n, Wish::Retry(job));
                }
                s if s.is_terminal() && self.rng.chance(fickle * 2) => {
                    self.clients[n].deleted.push(job.clone());
                    self.wish(n, Wish::Delete(job));
                }
                s if !s.is_terminal() && self.rng.chance(fickle / 2) => self.wish(n, Wish::Cancel(job)),
                _ => {}
            }
        }
    }

    /// Asks one of the coordinators; which one is chance.
    fn ask(&mut self, n: usize, call: u64, wish: &Wish) {
        let token = Token(n as u64 * 1_000_000 + call);
        let tenant = tenant(n);
        let call = match wish {
            Wish::Submit { .. } => self.submission(n, call, wish),
            Wish::Cancel(job) => Call::Cancel { tenant, job: job.clone() },
            Wish::Retry(job) => Call::Retry { tenant, job: job.clone() },
            Wish::Delete(job) => Call::Delete { tenant, job: job.clone() },
        };
        let control = self.rng.range(0, CONTROLS as u64 - 1) as usize;
        self.soon(30, What::Call { control, token, call: Box::new(call) });
    }

    fn submission(&mut self, n: usize, call: u64, wish: &Wish) -> Call {
        let Wish::Submit { film, key, other, priority } = wish else {
            unreachable!("asked for submits only")
        };
        let tries = self.rng.number() % 1_000_000;
        let id = JobId::parse(&format!("{:08}-{n}-{call}-{tries}", self.now_ms)).expect("a name");
        let source = format!("model:///{}", self.scenario.films[*film].name);
        self.laws.job_made_up(&id, *film, &source);
        let request = JobRequest {
            tenant: tenant(n),
            source,
            ladder: LadderChoice::default(),
            options: JobOptions::default(),
            labels: BTreeMap::new(),
            priority: *priority,
            idempotency_key: IdempotencyKey::parse(key).ok(),
        };
        let request_hash = hash(*film, *other);
        Call::Submit(Box::new(Submission {
            id,
            request,
            request_hash,
            slots_hint: None,
            placement: Placement::Direct,
            unix_ms: 1_790_000_000_000,
        }))
    }

    /// An answer arrives. `NotLeader` is none.
    fn client_hears(&mut self, token: Token, result: Result<Answer, Refusal>) {
        let (n, call) = ((token.0 / 1_000_000) as usize, token.0 % 1_000_000);
        if matches!(result, Err(Refusal::NotLeader)) {
            return self.tally.count("client: asked a standby");
        }
        let Some(wish) = self.clients[n].open.remove(&call) else { return };
        self.trace.tell(self.now_ms, token, || format!("{wish:?} -> {result:?}"));
        self.tally.count(match (&wish, &result) {
            (Wish::Submit { .. }, Ok(Answer { existed: false, .. })) => "client: submitted",
            (Wish::Submit { .. }, Ok(_)) => "client: submitted before",
            (Wish::Submit { .. }, Err(Refusal::Deleted { .. })) => "client: key of a deleted job",
            (Wish::Submit { .. }, Err(_)) => "client: key taken",
            (Wish::Cancel(_), Ok(_)) => "client: cancelled",
            (Wish::Retry(_), Ok(_)) => "client: ran again",
            (Wish::Delete(_), Ok(_)) => "client: deleted",
            (_, Err(_)) => "client: refused",
        });
        if let (Wish::Cancel(job), Ok(_)) = (&wish, &result)
            && self.rng.chance(400)
        {
            // at once, while its workers may still upload
            self.clients[n].deleted.push(job.clone());
            self.wish(n, Wish::Delete(job.clone()));
        }
        let Wish::Submit { film, key, other, .. } = wish else { return };
        match result {
            Ok(answer) => self.laws.submit_acknowledged(&tenant(n), &key, hash(film, other), &answer.job),
            Err(Refusal::AlreadyExists { job }) => {
                self.laws.submit_refused(&tenant(n), &key, hash(film, other), &job);
            }
            Err(Refusal::Deleted { job }) => {
                self.laws.submit_of_deleted(&tenant(n), &key, hash(film, other), &job);
            }
            Err(refusal) => self.laws.breach(format!("a submit was refused: {refusal}")),
        }
    }

    /// What a reply says must be durable when it leaves.
    pub(super) fn law_of_reply(&mut self, token: Token, result: &Result<Answer, Refusal>) {
        let (n, call) = ((token.0 / 1_000_000) as usize, token.0 % 1_000_000);
        if let Err(Refusal::Deleted { job }) = result {
            let state = self.store.job(job).map(|record| record.state.clone());
            if !matches!(state, None | Some(JobState::Collecting | JobState::Collected)) {
                self.laws.breach(format!("{job} was said to be deleted and is {state:?}"));
            }
        }
        let Ok(answer) = result else { return };
        let Some(record) = self.store.job(&answer.job) else {
            // what was asked before is answered, although its record has gone since
            if self.laws.gone.contains_key(&answer.job) {
                return;
            }
            return self.laws.breach(format!("{} was acknowledged and is not stored", answer.job));
        };
        let state = record.state.clone();
        let right = match self.clients[n].open.get(&call) {
            Some(Wish::Delete(_)) => matches!(state, JobState::Collecting | JobState::Collected),
            // a Cancel may have been followed by more since; but then not by nothing
            Some(Wish::Cancel(_)) => state != JobState::Accepted || record.run.0 > 1,
            Some(Wish::Retry(_)) => record.run.0 > 1,
            Some(Wish::Submit { .. }) | None => true,
        };
        if !right {
            self.laws.breach(format!("{} is {} and more was acknowledged", answer.job, state.name()));
        }
    }
}

fn hash(film: usize, other: bool) -> Sha256 {
    Sha256::of(format!("{film} {other}").as_bytes())
}
