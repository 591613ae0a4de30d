//! The crash switch of kill tests: `REELMILL_ABORT_AT_EFFECT=k` aborts the process before the worker's `k`-th effect
//! (counted from 1 over everything the worker performs but heartbeats), `k+` right after it. In a process that holds a
//! coordinator, too, each side counts its own effects: `worker:k` means this one, `coordinator:k` the other, and a bare
//! `k` both, whichever comes there first. Off in normal use.
//!
//! Each effect is told at level debug under the target `reelmill_effects`, with its number and kind, so that a test
//! can first see what there is and then kill at every one, or at one of each kind.

use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable.
pub const VARIABLE: &str = "REELMILL_ABORT_AT_EFFECT";

/// Counts effects and aborts at the chosen one.
#[derive(Debug, Default)]
pub struct AbortSwitch {
    at: Option<Point>,
    effects: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Point {
    effect: u64,
    after: bool,
}

/// A value of the variable that means nothing.
#[derive(Debug, thiserror::Error)]
#[error("{VARIABLE}={0:?} is not understood: use k, k+, worker:k or worker:k+ with k from 1")]
pub struct BadSwitch(String);

impl AbortSwitch {
    /// From the environment.
    pub fn from_env() -> Result<Self, BadSwitch> {
        match std::env::var(VARIABLE) {
            Ok(text) => Ok(Self { at: parse(&text)?, effects: AtomicU64::new(0) }),
            Err(_) => Ok(Self::default()),
        }
    }

    /// Performs one effect between its two possible ends.
    pub async fn around<T>(&self, kind: &'static str, effect: impl Future<Output = T>) -> T {
        let number = self.effects.fetch_add(1, Ordering::SeqCst) + 1;
        tracing::debug!(target: "reelmill_effects", side = "worker", number, kind, "effect");
        self.abort_if(Point { effect: number, after: false });
        let result = effect.await;
        self.abort_if(Point { effect: number, after: true });
        result
    }

    fn abort_if(&self, here: Point) {
        if self.at == Some(here) {
            // no destructor, no flush: as a power cut would
            std::process::abort();
        }
    }
}

fn parse(text: &str) -> Result<Option<Point>, BadSwitch> {
    if text.is_empty() || text.starts_with("coordinator:") {
        return Ok(None);
    }
    let mine = text.strip_prefix("worker:").unwrap_or(text);
    let (digits, after) = mine.strip_suffix('+').map_or((mine, false), |d| (d, true));
    match digits.parse() {
        Ok(effect) if effect > 0 => Ok(Some(Point { effect, after })),
        _ => Err(BadSwitch(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_read_exactly() {
        assert_eq!(parse("3").unwrap(), Some(Point { effect: 3, after: false }));
        assert_eq!(parse("worker:12+").unwrap(), Some(Point { effect: 12, after: true }));
        assert_eq!(parse("coordinator:4").unwrap(), None);
        assert_eq!(parse("").unwrap(), None);
        for bad in ["0", "x", "-1", "worker:", "3++"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
