//! One try by one worker, while it lives. An attempt is the leader's memory only: what it comes to is durable, that
//! it ran is not.
//!
//! ```text
//! Decided --the lease leaves--> Offered
//! Offered --named in Hello or Heartbeat--> Running --Grant--> Uploading --Outcome--> (Reported) --> Won
//!    |                                        |                   |                       `--> Lost(Why)
//!    `----------------------------------------+-------------------'------------------------> Lost(Why)
//! ```
//! A lease that waits for a write is `Decided`; any live phase may end as `Lost`. `Won` is the commit. `Reported` is a moment: the verdict is decided in the same step, and told when it is durable.

use crate::event::SessionId;
use crate::work::{SpecRef, WorkKind};
use reelmill_common::outcome::AttemptCost;
use reelmill_common::{Fingerprint, JobId, Millis, WorkerId};

/// How far a live attempt is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The lease waits for what must be durable before it.
    Decided,
    /// The lease was sent; nothing was heard of it.
    Offered,
    /// Its worker has named it.
    Running,
    /// Its files may be uploaded: it takes no slot any more.
    Uploading,
}

/// Why an attempt has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// Its worker vanished while running it: a loss.
    Vanished,
    /// Its worker lives and does not know of it: the lease was lost on the way. Counts for nothing.
    NeverArrived,
    /// Its worker lives, ran it once and does not name it any more. Counts for nothing, but against the worker.
    Forgotten,
    /// Its worker handed it back. Counts for nothing.
    HandedBack,
    /// The encoder failed or the output is wrong: a fault.
    Faulted,
    /// Its build gives another decoder configuration than a rung is bound to. Counts for nothing; the build gets no more
    /// such work of the job.
    OtherBinding,
    /// Its output was committed.
    Won,
    /// Another attempt was first, or the job does not want it any more. Counts for nothing.
    NotNeeded,
}

/// A live attempt.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) job: JobId,
    pub(crate) spec: SpecRef,
    pub(crate) kind: WorkKind,
    pub(crate) worker: WorkerId,
    /// What its worker makes with the encoders it needs, by its hash.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// The session that holds its lease: the one that was offered it, or its worker's next one that named it.
    pub(crate) session: SessionId,
    pub(crate) phase: Phase,
    pub(crate) offered_at: Millis,
    /// The lease runs from here.
    pub(crate) renewed_at: Millis,
    /// Units done, and of how many, as was heard last.
    pub(crate) progress: (u64, u64),
    /// When that was heard.
    pub(crate) progress_at: Millis,
    /// What it used up, as far as was heard.
    pub(crate) cost: AttemptCost,
    /// Nothing else runs on its worker.
    pub(crate) alone: bool,
}

impl Attempt {
    /// Has its lease run out?
    pub(crate) fn is_expired(&self, now: Millis, ttl_ms: u64) -> bool {
        self.phase != Phase::Decided && now.since(self.renewed_at) > ttl_ms
    }

    /// Its worker has named it.
    pub(crate) fn is_known(&mut self) {
        if matches!(self.phase, Phase::Decided | Phase::Offered) {
            self.phase = Phase::Running;
        }
    }

    /// Its lease has left.
    pub(crate) fn is_offered(&mut self, now: Millis) {
        if self.phase == Phase::Decided {
            self.phase = Phase::Offered;
            self.offered_at = now;
            self.renewed_at = now;
        }
    }

    /// Slot-milliseconds done, by its progress.
    pub(crate) fn done_ms(&self) -> u64 {
        let (done, total) = self.progress;
        if total == 0 {
            return 0;
        }
        let part = u128::from(self.spec.cost_ms) * u128::from(done.min(total)) / u128::from(total);
        part as u64
    }
}
