//! The worker's machine: decides, for every event, what to send, start, upload, abort and when to leave.
//!
//! It must not wait, read a clock or touch the world: the shell carries events in and performs the effects in order.
//! Events come from the session (messages of the coordinator), from the processes the shell runs, and from a timer;
//! effects go back to the same places.
//!
//! Life of an attempt on a worker. Only this machine moves it; the arrow says what moves it:
//!
//! ```text
//! Lease ─► Waiting ─► Working ─► Made ─► Uploading ─► Ended ─► (forgotten)
//!           slot       Made       Granted   Uploaded     Settled
//!     Waiting..Uploading ─WorkFailed─► Ended
//!     any ─Revoke | Granted{false} | Settled─► (forgotten), work aborted
//! ```
//!
//! - Everything held survives a lost connection and a change of leader: work goes on, and the outcome is kept until
//!   `Settled`. Every message is repaired by repetition at heartbeat cadence and is idempotent at both ends.
//! - A lease counts from the *sending* of the last acknowledged heartbeat that named the attempt. It bounds waste
//!   only: past it no upload begins, but the work is kept, because the next leader may adopt it.
//! - An upload may need requests signed for further files, or for some again: it asks under the same fence as at first,
//!   and is answered or stopped.
//! - Everything held is bounded: no lease is asked for while `max_unsettled` outcomes wait.

/// Is this bug switched on? Always `false` without the feature.
macro_rules! sabotaged {
    ($agent:expr, $bug:ident) => {{
        #[cfg(feature = "sabotage")]
        let on = $agent.sabotage == Some(Sabotage::$bug);
        #[cfg(not(feature = "sabotage"))]
        let on = false;
        on
    }};
}

mod attempts;
mod link;
mod session;
mod words;
mod work;

#[cfg(test)]
mod tests;

#[cfg(feature = "sabotage")]
pub use self::words::Sabotage;
pub use self::words::{AgentConfig, AgentEffect, AgentEvent};

use self::attempts::{Attempts, Held, Phase};
use self::session::{Session, Stage};
use reelmill_common::outcome::Outcome;
use reelmill_common::{AttemptId, FencingTerm, Millis};

/// How far leaving has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Leaving {
    /// Not leaving.
    No,
    /// Finish what runs, take nothing new.
    Finishing,
    /// Everything was handed back; leave when that is settled, or at this time.
    HandedBack(Millis),
    /// Exit was said.
    Gone,
}

/// The worker's machine.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    session: Session,
    attempts: Attempts,
    highest_term: FencingTerm,
    leaving: Leaving,
    #[cfg(feature = "sabotage")]
    sabotage: Option<Sabotage>,
}

impl Agent {
    /// A worker that holds nothing and is not connected. Give it [`AgentEvent::Disconnected`] first.
    pub fn new(config: AgentConfig) -> Self {
        let session = Session::new(config.greet_ms);
        Self {
            config,
            session,
            attempts: Attempts::default(),
            highest_term: FencingTerm::default(),
            leaving: Leaving::No,
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }

    /// The same worker with a bug in it.
    #[cfg(feature = "sabotage")]
    pub fn sabotaged(config: AgentConfig, bug: Sabotage) -> Self {
        Self { sabotage: Some(bug), ..Self::new(config) }
    }

    /// Decides. Deterministic: equal histories give equal effects.
    pub fn handle(&mut self, now: Millis, event: AgentEvent) -> Vec<AgentEffect> {
        let mut fx = Vec::new();
        if self.leaving == Leaving::Gone {
            return fx;
        }
        match event {
            AgentEvent::Connected => self.greet(now, true, &mut fx),
            AgentEvent::Disconnected => self.lost_connection(&mut fx),
            AgentEvent::Received(message) => self.received(now, message, &mut fx),
            AgentEvent::Tick => self.tick(now, &mut fx),
            AgentEvent::Progress { attempt, done, total, cost } => {
                self.progressed(attempt, done, total, cost);
            }
            AgentEvent::Made { attempt, files } => self.made(now, attempt, files, &mut fx),
            AgentEvent::Wanted { attempt, files } => self.wanted(now, attempt, files, &mut fx),
            AgentEvent::Uploaded { attempt, report } => {
                let uploading =
                    self.attempts.get(attempt).is_some_and(|h| matches!(h.phase, Phase::Uploading { .. }));
                if uploading {
                    fx.push(AgentEffect::Discard { attempt });
                    self.conclude(now, attempt, Box::new(Outcome::Done(*report)), &mut fx);
                }
            }
            AgentEvent::WorkFailed { attempt, fault, cost } => {
                if self.attempts.get(attempt).is_some_and(Held::busy) {
                    fx.push(AgentEffect::Discard { attempt });
                    self.conclude(now, attempt, Box::new(Outcome::Failed { fault, cost }), &mut fx);
                }
            }
            AgentEvent::DrainRequested => self.drain_requested(now, &mut fx),
        }
        self.fill_slots(now, &mut fx);
        self.leave_if_done(now, &mut fx);
        fx
    }

    /// When [`AgentEvent::Tick`] is due at the latest.
    pub fn next_tick(&self) -> Option<Millis> {
        let session = match self.session.stage {
            Stage::Offline => None,
            Stage::Greeting { said, .. } => Some(said.plus(self.session.heartbeat_ms)),
            Stage::Joined { .. } => Some(self.session.next_beat),
        };
        match self.leaving {
            Leaving::HandedBack(until) => Some(session.map_or(until, |s| s.min(until))),
            _ => session,
        }
    }

    /// The highest term heard of.
    pub fn highest_term(&self) -> FencingTerm {
        self.highest_term
    }

    /// Is a leader's Welcome in force?
    pub fn is_joined(&self) -> bool {
        self.session.joined()
    }

    /// Has somebody asked the worker to leave?
    pub fn is_leaving(&self) -> bool {
        self.leaving != Leaving::No
    }

    /// How many attempts wait or are worked on, and how many outcomes wait for their verdict.
    pub fn held(&self) -> (usize, usize) {
        let unsettled = self.attempts.unsettled();
        (self.attempts.iter().count() - unsettled, unsettled)
    }

    /// When the lease of an attempt ends if nothing renews it.
    pub fn lease_end(&self, attempt: AttemptId) -> Option<Millis> {
        self.attempts.get(attempt).map(|h| h.renewed.plus(self.session.lease_ttl_ms))
    }
}
