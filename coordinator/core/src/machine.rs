//! The machine's face: takes events, returns steps. Without a term it refuses every call and ignores the rest.

use crate::call::Refusal;
use crate::config::{CoordinatorConfig, Rules};
use crate::effect::{Effect, Step};
use crate::event::{Event, SessionId, TermBegun};
use crate::leader::Leader;
use crate::outcomes::Ended;
use crate::turn::{Turn, sabotaged};
use reelmill_common::Millis;
use reelmill_common::session::{FromWorker, ToWorker};

/// How often what was kept long enough is looked for, milliseconds.
const SWEEP_MS: u64 = 10_000;

/// The control machine. It leads one term or none.
///
/// ```text
/// follower --TermBegun--> leader --TermLost | BatchFenced | StepDown | a Hello of a higher term--> follower
/// ```
#[derive(Debug)]
pub struct Coordinator {
    config: Rules,
    leader: Option<Box<Leader>>,
    /// This process has led before: its own worker may hold attempts of that term.
    has_led: bool,
    /// When it was last looked for what was kept long enough; not yet in this process.
    swept: Option<Millis>,
}

impl Coordinator {
    /// A machine that leads no term yet.
    pub fn new(config: CoordinatorConfig) -> Self {
        Self { config: Rules::new(config), leader: None, has_led: false, swept: None }
    }

    /// The same machine with a bug in it.
    #[cfg(feature = "sabotage")]
    pub fn sabotaged(config: CoordinatorConfig, bug: crate::sabotage::Sabotage) -> Self {
        let mut this = Self::new(config);
        this.config.sabotage = Some(bug);
        this
    }

    pub(crate) fn config(&self) -> &Rules {
        &self.config
    }

    pub(crate) fn leader(&self) -> Option<&Leader> {
        self.leader.as_deref()
    }

    /// What follows from an event at a time. `now` never decreases within a process.
    pub fn handle(&mut self, now: Millis, event: Event) -> Step {
        let event = match event {
            Event::WorkerSaid { session, message: FromWorker::Hello(hello) } => {
                Event::WorkerConnected { session, hello: Box::new(hello) }
            }
            event => event,
        };
        if let Event::Tenants(tenants) = &event {
            self.config.tenants_are(tenants.clone());
        }
        match event {
            Event::TermBegun(begun) => self.begin(now, *begun),
            event => match self.leader.take() {
                None => follow(event),
                Some(leader) => self.lead(now, leader, event),
            },
        }
    }

    fn begin(&mut self, now: Millis, begun: TermBegun) -> Step {
        let mut turn = Turn::new(now, &self.config);
        let mut leader = Box::new(Leader::begin(&mut turn, begun, self.has_led));
        self.has_led = true;
        let step = finish(turn, &mut leader);
        self.leader = Some(leader);
        step
    }

    fn lead(&mut self, now: Millis, mut leader: Box<Leader>, event: Event) -> Step {
        let now = match &event {
            Event::Tick { unix_ms } if sabotaged!(self.config, LeaseByWallClock) => Millis(*unix_ms),
            _ if sabotaged!(self.config, LeaseByWallClock) => Millis(leader.unix_ms(Millis(0))),
            _ => now,
        };
        let mut turn = Turn::new(now, &self.config);
        match event {
            Event::TermLost => return end(vec![]),
            Event::StepDown => return farewell(&leader),
            Event::BatchFenced(batch) if leader.outbox.is_in_flight(batch) => {
                if !sabotaged!(turn.config, FencedIgnored) {
                    return end(vec![]);
                }
                leader.acknowledged(&mut turn);
            }
            Event::BatchUnknown(batch) if leader.outbox.is_in_flight(batch) => {
                if !sabotaged!(turn.config, UnknownTakenAsFailed) {
                    let step = leader.outbox.again();
                    self.leader = Some(leader);
                    return step;
                }
                let _ = leader.outbox.acknowledged();
            }
            Event::BatchDone(batch) if leader.outbox.is_in_flight(batch) => leader.acknowledged(&mut turn),
            Event::WorkerConnected { ref hello, .. } if leader.is_deposed_by(&turn, hello) => {
                return end(vec![]);
            }
            Event::Tick { unix_ms } => {
                let sweep = self.swept.is_none_or(|swept| now.since(swept) >= SWEEP_MS);
                if sweep {
                    self.swept = Some(now);
                }
                tick(&mut turn, &mut leader, unix_ms, sweep);
            }
            event => carry(&mut turn, &mut leader, event),
        }
        let step = finish(turn, &mut leader);
        self.leader = Some(leader);
        step
    }
}

/// A follower's answer to anything.
fn follow(event: Event) -> Step {
    let now = match event {
        Event::Call { token, .. } => vec![Effect::Reply { token, result: Err(Refusal::NotLeader) }],
        Event::WorkerCall { token, .. } => {
            vec![Effect::ReplyWorker { token, result: Err(Refusal::NotLeader) }]
        }
        Event::WorkerConnected { session, .. } => vec![Effect::CloseSession { session }],
        _ => vec![],
    };
    Step { now, ..Step::default() }
}

/// The term ends: what was not durable is gone with it.
fn end(mut now: Vec<Effect>) -> Step {
    now.push(Effect::EndTerm);
    Step { now, ..Step::default() }
}

/// The term ends on purpose: workers keep what they run and look for the next leader.
fn farewell(leader: &Leader) -> Step {
    let drain = |session: &SessionId| Effect::Send {
        session: *session,
        term: leader.term,
        message: ToWorker::Drain { reconnect: true },
    };
    end(leader.sessions.keys().map(drain).collect())
}

/// Events that only move the leader's memory.
fn carry(turn: &mut Turn<'_>, leader: &mut Leader, event: Event) {
    match event {
        Event::Call { token, call } => leader.call(turn, token, call),
        Event::WorkerCall { token, call } => leader.worker_call(turn, token, call),
        Event::WorkerConnected { session, hello } => leader.greet(turn, session, *hello),
        Event::WorkerSaid { session, message } => leader.said(turn, session, message),
        Event::OutcomeChecked { session, attempt, job, spec, outcome } => {
            leader.settle(turn, session, Ended { attempt, job, spec, outcome: *outcome });
        }
        Event::WorkerDisconnected { session } => leader.disconnected(turn.now, session),
        Event::TaskEnded { task, result } => leader.task_ended(turn, task, result),
        Event::StateRoom { used, most } => leader.state_room = Some((used, most)),
        Event::Tenants(_) => turn.reschedule = true,
        // answers about batches that are not in flight; the rest is handled before it comes here
        Event::BatchDone(_)
        | Event::BatchFenced(_)
        | Event::BatchUnknown(_)
        | Event::TermBegun(_)
        | Event::TermLost
        | Event::StepDown
        | Event::Tick { .. } => {}
    }
}

fn tick(turn: &mut Turn<'_>, leader: &mut Leader, unix_ms: u64, sweep: bool) {
    leader.set_wall(turn.now, unix_ms);
    leader.expire_leases(turn);
    leader.forget_outside(turn);
    leader.look_at_bindings(turn);
    leader.doubt_the_lost(turn);
    leader.look_at_audits(turn);
    for worker in leader.workers.values_mut() {
        worker.release(turn.now);
    }
    if sweep {
        leader.forget_workers(turn.now);
        leader.expire_keys(turn, unix_ms);
        leader.expire_enrolled(turn, unix_ms);
        leader.expire_jobs(turn, unix_ms);
    }
    turn.reschedule = true;
    turn.speculate = true;
}

/// Schedules if something became available, and hands the turn to the outbox.
fn finish(mut turn: Turn<'_>, leader: &mut Leader) -> Step {
    if turn.reschedule {
        leader.schedule(&mut turn);
    }
    let early = sabotaged!(turn.config, EffectBeforeWrite);
    let step = leader.outbox.step(turn.done, early);
    leader.performed(turn.now, &step.now);
    step
}
