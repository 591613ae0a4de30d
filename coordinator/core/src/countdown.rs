//! A wait that outlives its leader. No clock is shared that could be trusted with its beginning, so parts of it are
//! written down as they pass, but for the last, in which a new leader sees for itself who is here. So a change of leader
//! costs at most one part, and never counts time that has not passed.

use reelmill_common::Millis;

/// A wait is written down in so many parts.
const PARTS: u64 = 10;

/// How long something has lasted, with pauses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Countdown {
    /// It lasts since then; `None` while it pauses.
    since: Option<Millis>,
    /// What had passed before, and what earlier leaders have written down, milliseconds.
    before_ms: u64,
}

impl Countdown {
    /// So much had passed when its leader changed; it pauses.
    pub(crate) fn resumed(before_ms: u64) -> Self {
        Self { since: None, before_ms }
    }

    /// It lasts from now on, unless it does already.
    pub(crate) fn run(&mut self, now: Millis) {
        self.since.get_or_insert(now);
    }

    /// It pauses.
    pub(crate) fn pause(&mut self, now: Millis) {
        *self = Self::resumed(self.for_ms(now));
    }

    /// How long it has lasted, milliseconds.
    pub(crate) fn for_ms(self, now: Millis) -> u64 {
        self.before_ms.saturating_add(self.since.map_or(0, |since| now.since(since)))
    }

    /// What should be written down by now of a wait of `all_ms`, milliseconds.
    pub(crate) fn to_write_ms(self, now: Millis, all_ms: u64) -> u64 {
        let part_ms = all_ms / PARTS;
        match self.for_ms(now).checked_div(part_ms) {
            Some(parts) => parts.min(PARTS - 1) * part_ms,
            None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_do_not_count_and_parts_never_run_ahead() {
        let mut wait = Countdown::resumed(300);
        assert_eq!(wait.for_ms(Millis(9_000)), 300, "it pauses until somebody says that it lasts");
        wait.run(Millis(1_000));
        wait.run(Millis(1_500));
        assert_eq!(wait.for_ms(Millis(1_600)), 900);
        wait.pause(Millis(1_600));
        assert_eq!(wait.for_ms(Millis(5_000)), 900);
        wait.run(Millis(5_000));
        let written = |now| wait.to_write_ms(Millis(now), 5_000);
        assert_eq!([5_000, 5_100, 5_599, 60_000].map(written), [500, 1_000, 1_000, 4_500]);
        assert_eq!(wait.to_write_ms(Millis(60_000), 9), 0, "too short to be written down");
    }
}
