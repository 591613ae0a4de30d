//! The two clocks of the coordinator: monotonic milliseconds for decisions, the wall clock for showing.

use reelmill_common::Millis;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Monotonic time since this process's coordinator began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// Begins now.
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Now, for the machine.
    pub(crate) fn now(self) -> Millis {
        Millis(u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

/// Wall clock in milliseconds since the Unix epoch: shown and retained by, never decided with.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
