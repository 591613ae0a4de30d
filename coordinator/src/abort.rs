//! The crash switch of kill tests: `REELMILL_ABORT_AT_EFFECT=k` aborts the process before the coordinator's `k`-th
//! effect (counted from 1 over state writes, effects of the machine and object writes of its tasks), `k+` right after
//! it. In a process that holds a worker, too, each side counts its own effects: `coordinator:k` means this one,
//! `worker:k` the other, and a bare `k` both, whichever comes there first. Two runs differ by a few effects, so that
//! `coordinator:put_root` names a kind and means the first effect of it, `coordinator:copy_media:3` the third of its
//! kind, and with `+` right after it. Off in normal use.
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
    /// Effects so far of the kind that is waited for.
    of_kind: AtomicU64,
    /// The number of the effect after which to abort, once it has begun; they count from 1.
    last: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct At {
    effect: Which,
    after: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    /// This one of all.
    Number(u64),
    /// This one of a kind.
    OfKind(String, u64),
}

impl AbortSwitch {
    /// From the environment.
    pub(crate) fn from_env() -> Result<Self, CoordinatorError> {
        match std::env::var(VARIABLE) {
            Ok(text) => Ok(Self { at: parse(&text)?, ..Self::default() }),
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
        match &self.at {
            Some(at) if self.is_it(&at.effect, number, kind) => match at.after {
                false => abort(),
                true => self.last.store(number, Ordering::SeqCst),
            },
            _ => {}
        }
        number
    }

    /// The effect of that number has been performed.
    pub(crate) fn after(&self, number: u64) {
        if self.last.load(Ordering::SeqCst) == number {
            abort();
        }
    }

    /// Is the effect that begins the chosen one?
    fn is_it(&self, chosen: &Which, number: u64, kind: &str) -> bool {
        match chosen {
            Which::Number(n) => *n == number,
            Which::OfKind(k, nth) => k == kind && self.of_kind.fetch_add(1, Ordering::SeqCst) + 1 == *nth,
        }
    }
}

/// No destructor, no flush: as a power cut would.
fn abort() {
    std::process::abort();
}

fn parse(text: &str) -> Result<Option<At>, CoordinatorError> {
    if text.is_empty() || text.starts_with("worker:") {
        return Ok(None);
    }
    let mine = text.strip_prefix("coordinator:").unwrap_or(text);
    let (mine, after) = mine.strip_suffix('+').map_or((mine, false), |m| (m, true));
    let (kind, nth) = mine.split_once(':').unwrap_or((mine, "1"));
    let is_kind = kind.contains('_') && kind.bytes().all(|b| b == b'_' || b.is_ascii_lowercase());
    let number = |digits: &str| digits.parse().ok().filter(|n: &u64| *n > 0);
    let effect = match text.starts_with("coordinator:") && is_kind {
        true => number(nth).map(|nth| Which::OfKind(kind.to_owned(), nth)),
        false => number(mine).map(Which::Number),
    };
    let wrong = || {
        CoordinatorError::Config(format!(
            "{VARIABLE}={text:?} is not understood: use k, coordinator:k, coordinator:KIND or coordinator:KIND:k with k \
             from 1, each with + or without"
        ))
    };
    effect.map(|effect| Some(At { effect, after })).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_is_read_exactly() {
        let number = |effect, after| Some(At { effect: Which::Number(effect), after });
        let kind = |kind: &str, nth, after| Some(At { effect: Which::OfKind(kind.to_owned(), nth), after });
        assert_eq!(parse("3").unwrap(), number(3, false));
        assert_eq!(parse("coordinator:12+").unwrap(), number(12, true));
        assert_eq!(parse("coordinator:put_root").unwrap(), kind("put_root", 1, false));
        assert_eq!(parse("coordinator:copy_media:3+").unwrap(), kind("copy_media", 3, true));
        assert_eq!(parse("worker:4").unwrap(), None);
        assert_eq!(parse("").unwrap(), None);
        for bad in ["0", "x", "-1", "coordinator:", "3++", "put_root", "3:1", "coordinator:put_root:0"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn effects_of_a_kind_are_counted_apart() {
        let switch =
            AbortSwitch { at: parse("coordinator:copy_media:2+").unwrap(), ..AbortSwitch::default() };
        let chosen = |kind| {
            switch.before(kind);
            switch.last.load(Ordering::SeqCst)
        };
        assert_eq!(["copy_media", "put_root", "copy_media", "copy_media"].map(chosen), [0, 0, 3, 3]);
    }
}
