//! Election among the contenders of one process: what the memory and the embedded store lead by.
//!
//! The embedded store's lock has already kept every other process out, so inside one process an election is a value
//! that changes hands. Terms are numbered by the store, which knows the last one.

use reelmill_common::{FencingTerm, record::LeaderRecord};
use tokio::sync::watch;

/// Who leads within this process.
#[derive(Debug)]
pub(super) struct Election {
    leader: watch::Sender<Option<LeaderRecord>>,
}

impl Election {
    /// Nobody leads yet.
    pub(super) fn new() -> Self {
        Self { leader: watch::Sender::new(None) }
    }

    /// Resolves when nobody leads. Another contender may be faster: [`Self::take`] decides.
    pub(super) async fn vacant(&self) {
        // the sender lives in `self`, so waiting cannot fail while we are borrowed
        let _ = self.leader.subscribe().wait_for(Option::is_none).await;
    }

    /// Makes `leader` the leader if nobody leads.
    pub(super) fn take(&self, leader: LeaderRecord) -> bool {
        self.leader.send_if_modified(|now| {
            let vacant = now.is_none();
            if vacant {
                *now = Some(leader);
            }
            vacant
        })
    }

    /// Ends `term`, if it is the one that leads.
    pub(super) fn end(&self, term: FencingTerm) {
        self.leader.send_if_modified(|now| {
            let ends = now.as_ref().is_some_and(|leader| leader.term == term);
            if ends {
                *now = None;
            }
            ends
        });
    }

    /// Resolves when `term` does not lead.
    pub(super) async fn ended(&self, term: FencingTerm) {
        let other = |now: &Option<LeaderRecord>| now.as_ref().is_none_or(|leader| leader.term != term);
        let _ = self.leader.subscribe().wait_for(other).await;
    }

    /// Does `term` lead?
    pub(super) fn leads(&self, term: FencingTerm) -> bool {
        self.leader.borrow().as_ref().is_some_and(|leader| leader.term == term)
    }

    /// Who leads.
    pub(super) fn current(&self) -> Option<LeaderRecord> {
        self.leader.borrow().clone()
    }
}
