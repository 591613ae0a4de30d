//! The crash switch of kill tests: `REELMILL_ABORT_AT_EFFECT=k` aborts the process before the coordinator's `k`-th
//! effect (counted from 1 over state writes, effects of the machine and object writes of its tasks), `k+` right after
//! it. In a process that holds a worker, too, each side counts its own effects: `coordinator:k` means this one,
//! `worker:k` the other, and a bare `k` both, whichever comes there first. Two runs differ by a few effects, so that
//! `coordinator:put_root` names a kind and means the first effect of it. Off in normal use.
//!
//! Each effect is told at level debug under the target `reelmill_effects`, with its number and kind, so that a test
//! can first see what there is and then kill at every one, or at one of each kind.

use crate::error::CoordinatorError;
use std::sync::atomic::{AtomicU64, Ordering};

/// The environment variable.
const VARIABLE: &str = "REELMILL_ABORT_AT_EFFECT";

/// Counts effects and aborts at the chosen one.
#[derive(Debug, Default)]
pub(crate) struct AbortSwitch {
    at: Option<At>,
    effects: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    /// Before or after one effect.
    Number(Point),
    /// Before the first effect of this kind.
    Kind(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Point {
    effect: u64,
    after: bool,
}

impl AbortSwitch {
    /// From the environment.
    pub(crate) fn from_env() -> Result<Self, CoordinatorError> {
        match std::env::var(VARIABLE) {
            Ok(text) => Ok(Self { at: parse(&text)?, effects: AtomicU64::new(0) }),
            Err(_) => Ok(Self::default()),
        }
    }

    /// Performs one effect between its two possible ends.
    pub(crate) async fn around<T>(&self, kind: &'static str, effect: impl Future<Output = T>) -> T {
        let number = self.before(kind);
        let result = effect.await;
        self.after(number);
        result
    }

    /// An effect is about to be performed; its number.
    pub(crate) fn before(&self, kind: &'static str) -> u64 {
        let number = self.effects.fetch_add(1, Ordering::SeqCst) + 1;
        tracing::debug!(target: "reelmill_effects", side = "coordinator", number, kind, "effect");
        let is_kind = matches!(&self.at, Some(At::Kind(wanted)) if wanted == kind);
        self.abort_if(is_kind || self.at == Some(At::Number(Point { effect: number, after: false })));
        number
    }

    /// The effect of that number has been performed.
    pub(crate) fn after(&self, number: u64) {
        self.abort_if(self.at == Some(At::Number(Point { effect: number, after: true })));
    }

    fn abort_if(&self, here: bool) {
        if here {
            // no destructor, no flush: as a power cut would
            std::process::abort();
        }
    }
}

fn parse(text: &str) -> Result<Option<At>, CoordinatorError> {
    if text.is_empty() || text.starts_with("worker:") {
        return Ok(None);
    }
    let mine = text.strip_prefix("coordinator:").unwrap_or(text);
    let is_kind = |t: &str| t.contains('_') && t.bytes().all(|b| b == b'_' || b.is_ascii_lowercase());
    if text.starts_with("coordinator:") && is_kind(mine) {
        return Ok(Some(At::Kind(mine.to_owned())));
    }
    let (digits, after) = mine.strip_suffix('+').map_or((mine, false), |d| (d, true));
    match digits.parse() {
        Ok(effect) if effect > 0 => Ok(Some(At::Number(Point { effect, after }))),
        _ => Err(CoordinatorError::Config(format!(
            "{VARIABLE}={text:?} is not understood: use k, k+, coordinator:k or coordinator:k+ with k from 1, or \
             coordinator:KIND"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_read_exactly() {
        assert_eq!(parse("3").unwrap(), Some(At::Number(Point { effect: 3, after: false })));
        let twelfth = At::Number(Point { effect: 12, after: true });
        assert_eq!(parse("coordinator:12+").unwrap(), Some(twelfth));
        assert_eq!(parse("coordinator:put_root").unwrap(), Some(At::Kind("put_root".to_owned())));
        assert_eq!(parse("worker:4").unwrap(), None);
        assert_eq!(parse("").unwrap(), None);
        for bad in ["0", "x", "-1", "coordinator:", "3++", "put_root"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
