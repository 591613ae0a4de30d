//! The state of the connection to a coordinator: where it stands, which heartbeats are unanswered, when to speak.

use reelmill_common::session::AttemptProgress;
use reelmill_common::{AttemptId, FencingTerm, Millis};
use std::collections::VecDeque;

/// Unanswered heartbeats remembered; older ones cannot renew anything any more.
const OUTSTANDING: usize = 16;

/// How a connection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// None, or being dialled.
    Offline,
    /// Hello was said first at `since`, last at `said`.
    Greeting { since: Millis, said: Millis },
    /// Welcomed by the leader of `term`.
    Joined { term: FencingTerm },
}

/// A heartbeat that was sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Beat {
    sequence: u64,
    pub(super) sent: Millis,
    pub(super) named: Vec<AttemptId>,
}

/// The connection as the agent knows it.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) stage: Stage,
    pub(super) lease_ttl_ms: u64,
    pub(super) heartbeat_ms: u64,
    /// When the next heartbeat is due, while joined.
    pub(super) next_beat: Millis,
    /// When the heartbeat (or Hello) was sent that was answered last.
    pub(super) renewed: Millis,
    /// Never starts again within a boot, so that an answer on an older connection cannot be taken for a newer one.
    sequence: u64,
    beats: VecDeque<Beat>,
    /// When leases were last asked for, and how many.
    pub(super) asked: Option<(Millis, u32)>,
}

impl Session {
    /// Not connected; until a Welcome says otherwise, leases live three greetings long.
    pub(super) fn new(greet_ms: u64) -> Self {
        Self {
            stage: Stage::Offline,
            lease_ttl_ms: greet_ms.saturating_mul(3),
            heartbeat_ms: greet_ms.max(1),
            next_beat: Millis(0),
            renewed: Millis(0),
            sequence: 0,
            beats: VecDeque::new(),
            asked: None,
        }
    }

    pub(super) fn joined(&self) -> bool {
        matches!(self.stage, Stage::Joined { .. })
    }

    /// Forgets the connection, not what was learnt of the cadence.
    pub(super) fn close(&mut self) {
        self.stage = Stage::Offline;
        self.beats.clear();
        self.asked = None;
    }

    /// Numbers a heartbeat and remembers what it names.
    pub(super) fn beat(&mut self, now: Millis, running: &[AttemptProgress]) -> u64 {
        self.sequence += 1;
        self.next_beat = now.plus(self.heartbeat_ms);
        if self.beats.len() == OUTSTANDING {
            self.beats.pop_front();
        }
        let named = running.iter().map(|r| r.attempt).collect();
        self.beats.push_back(Beat { sequence: self.sequence, sent: now, named });
        self.sequence
    }

    /// The heartbeat an acknowledgement names; it and every older one are done with. `None` for a stale one.
    pub(super) fn acknowledged(&mut self, sequence: u64) -> Option<Beat> {
        let at = self.beats.iter().position(|b| b.sequence == sequence)?;
        self.beats.drain(..=at).next_back()
    }
}
