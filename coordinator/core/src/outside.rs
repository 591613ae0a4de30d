//! Whether a worker can have outlived the leader before, so that a new leader has to wait for claims.
//!
//! A worker that shares the leader's process dies with it. The first other one of a term is written down before it is
//! given anything (its lease is decided after that write and leaves behind it), once: no write a heartbeat. The record
//! goes when a term has lasted as long as a lease and none has come: what any of them held has run out by then, because a
//! worker counts from its last acknowledged heartbeat.
//!
//! ```text
//! absent --an outside worker comes: write first, then leases--> recorded --a lease's time into a term without any--> absent
//! ```
//! Killed at any moment, the record says too much or the truth, never too little: the next leader waits for nothing, or
//! rightly.

use crate::leader::Leader;
use crate::record::{Op, Record};
use crate::turn::{Turn, sabotaged};
use reelmill_common::record::{OutsideRecord, StateKey};
use reelmill_common::{BootId, Millis};

/// What a leader knows of workers outside of its process.
#[derive(Debug)]
pub(crate) struct Outside {
    began: Millis,
    /// The record is there, or is being written.
    recorded: bool,
    /// One came in this term.
    came: bool,
    has_led: bool,
}

impl Outside {
    /// At the beginning of a term; `has_led`: not the first one of this process.
    pub(crate) fn begin(now: Millis, has_led: bool) -> Self {
        Self { began: now, recorded: false, came: false, has_led }
    }

    /// The record was found.
    pub(crate) fn is_recorded(&mut self) {
        self.recorded = true;
    }

    /// May somebody still hold attempts of an earlier term? The own worker may, if this process led that term.
    pub(crate) fn may_be_claimed(&self) -> bool {
        self.recorded || self.has_led
    }
}

impl Leader {
    /// A worker has come. The first from outside is written down.
    pub(crate) fn came(&mut self, turn: &mut Turn<'_>, boot: &BootId) {
        if turn.config.own_worker.as_ref() == Some(boot) {
            return;
        }
        self.outside.came = true;
        if !self.outside.recorded && !sabotaged!(turn.config, OutsideNotRecorded) {
            self.outside.recorded = true;
            let record = Record::Outside(OutsideRecord { term: self.term });
            turn.write(vec![Op::Put(record)], vec![]);
        }
    }

    /// Nobody from outside has come for as long as a lease lasts: none holds anything.
    pub(crate) fn forget_outside(&mut self, turn: &mut Turn<'_>) {
        let is_long = turn.now.since(self.outside.began) > turn.config.lease_ttl_ms;
        if self.outside.recorded && !self.outside.came && is_long {
            self.outside.recorded = false;
            turn.write(vec![Op::Delete(StateKey::Outside)], vec![]);
        }
    }
}
