//! A state store without room. Nothing can be made durable, so nobody leads; once its operator has made room, it goes on
//! by itself.
//!
//! The batch that was refused is forgotten with its term, effects and all; the next term begins with what is stored.

use super::{Driver, Role};
use crate::state::{StateError, StateErrorKind};
use std::time::Duration;

/// Between the first refusal and the next try.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Pauses double up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The store was full when it was last written to.
pub(super) struct Full {
    why: String,
    /// Before it is tried again.
    pub(super) pause: Duration,
}

impl Driver {
    /// Can this be waited out? Everything else needs other settings, or another store.
    pub(super) fn outlasts(&self, error: &StateError) -> bool {
        self.parts.outlasts_full && error.kind() == StateErrorKind::Full
    }

    /// The store has refused a write or a term for want of room.
    pub(super) fn is_full(&mut self, error: &StateError) {
        let pause = self.full.as_ref().map_or(FIRST_PAUSE, |full| (full.pause * 2).min(LONGEST_PAUSE));
        let again_s = pause.as_secs();
        tracing::error!(%error, again_s, "the state store is full: nobody leads until there is room");
        self.full = Some(Full { why: error.to_string(), pause });
    }

    /// The store takes writes.
    pub(super) fn is_not_full(&mut self) {
        if self.full.take().is_some() {
            tracing::info!("the state store has room again");
        }
    }

    /// What this process is while it does not lead.
    pub(super) fn standing_by(&self, leader: Option<String>) -> Role {
        match (&self.full, leader) {
            (Some(full), None) => Role::Full { why: full.why.clone() },
            (_, leader) => Role::Standby { leader },
        }
    }
}
