//! The worker's clock: the one place where a machine's `now` comes from. Monotonic; tests may pause it.

use reelmill_common::Millis;
use tokio::time::Instant;

/// Milliseconds since it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts at 0.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub fn now(self) -> Millis {
        Millis(self.0.elapsed().as_millis() as u64)
    }

    /// The instant at which it will show `at`.
    pub fn instant(self, at: Millis) -> Instant {
        self.0 + std::time::Duration::from_millis(at.0)
    }
}
