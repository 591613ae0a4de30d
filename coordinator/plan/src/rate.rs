//! Frame rates as exact fractions, the rates that films really have, and the timescale that suits each.

use reelmill_common::time::gcd;
use std::cmp::Ordering;
use std::fmt;

/// Frames a second as the reduced fraction `num / den`; neither is zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate {
    num: u64,
    den: u64,
}

/// Rates that rounded times are snapped to. Where two fit a short film equally well the earlier one is taken.
pub(crate) const STANDARD: [Rate; 19] = [
    Rate { num: 24, den: 1 },
    Rate { num: 25, den: 1 },
    Rate { num: 30, den: 1 },
    Rate { num: 24_000, den: 1001 },
    Rate { num: 30_000, den: 1001 },
    Rate { num: 50, den: 1 },
    Rate { num: 60, den: 1 },
    Rate { num: 60_000, den: 1001 },
    Rate { num: 15, den: 1 },
    Rate { num: 10, den: 1 },
    Rate { num: 12, den: 1 },
    Rate { num: 25, den: 2 },
    Rate { num: 15_000, den: 1001 },
    Rate { num: 20, den: 1 },
    Rate { num: 48, den: 1 },
    Rate { num: 100, den: 1 },
    Rate { num: 120, den: 1 },
    Rate { num: 120_000, den: 1001 },
    Rate { num: 240, den: 1 },
];

/// A timescale has at least this many ticks a second.
const FINE: u64 = 10_000;

impl Rate {
    /// `num / den` frames a second, reduced; a zero on either side becomes one, so that a rate is always a rate.
    pub(crate) fn new(num: u64, den: u64) -> Self {
        let (num, den) = (num.max(1), den.max(1));
        let g = gcd(num, den).max(1);
        Self { num: num / g, den: den / g }
    }

    /// Numerator and denominator.
    pub(crate) fn parts(self) -> (u64, u64) {
        (self.num, self.den)
    }

    /// This rate divided by `n`.
    pub(crate) fn over(self, n: u64) -> Self {
        Self::new(self.num, self.den.saturating_mul(n))
    }

    /// Compares with a whole number of frames a second.
    pub(crate) fn cmp_whole(self, fps: u64) -> Ordering {
        u128::from(self.num).cmp(&(u128::from(fps) * u128::from(self.den)))
    }

    /// `ms` milliseconds in frames, rounded to nearest.
    pub(crate) fn frames_in_ms(self, ms: u64) -> u64 {
        let per = u128::from(self.den) * 1000;
        let n = (u128::from(self.num) * u128::from(ms) + per / 2) / per;
        u64::try_from(n).unwrap_or(u64::MAX)
    }

    /// The smallest multiple of the rate's numerator that is fine enough, the rate being written over 1000 where it
    /// has whole thousandths (24 = 24000/1000) and over 1001 or its own denominator otherwise.
    /// `None` when it does not fit an MP4 timescale.
    pub(crate) fn timescale(self) -> Option<u32> {
        let base =
            if (self.num * 1000).is_multiple_of(self.den) { self.num * 1000 / self.den } else { self.num };
        u32::try_from(base * FINE.div_ceil(base)).ok()
    }

    /// Ticks of one frame at a timescale; `None` when that is no whole number.
    pub(crate) fn step(self, timescale: u32) -> Option<i64> {
        let ticks = u128::from(timescale) * u128::from(self.den);
        (ticks % u128::from(self.num) == 0)
            .then(|| i64::try_from(ticks / u128::from(self.num)).ok())
            .flatten()
    }
}

/// The smallest multiple of a source's ticks a second that is fine enough to place sound and picture by; a source
/// that counts in milliseconds or finer is left as it is.
pub(crate) fn source_timescale(den: u32) -> u32 {
    if den >= 1000 { den } else { den * (FINE as u32).div_ceil(den) }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milli = (u128::from(self.num) * 1000 + u128::from(self.den) / 2) / u128::from(self.den);
        match milli % 1000 {
            0 => write!(f, "{}", milli / 1000),
            rest => write!(f, "{}.{}", milli / 1000, format!("{rest:03}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timescales_are_those_players_know() {
        let of = |n, d| Rate::new(n, d).timescale();
        assert_eq!(of(24, 1), Some(24_000));
        assert_eq!(of(24_000, 1001), Some(24_000));
        assert_eq!(of(25, 1), Some(25_000));
        assert_eq!(of(30_000, 1001), Some(30_000));
        assert_eq!(of(50, 1), Some(50_000));
        assert_eq!(of(60_000, 1001), Some(60_000));
        assert_eq!(of(25, 2), Some(12_500));
        assert_eq!(of(8, 1), Some(16_000));
        assert_eq!(of(12_800, 429), Some(12_800));
    }

    #[test]
    fn every_standard_rate_has_whole_frames() {
        for r in STANDARD {
            let scale = r.timescale().unwrap();
            assert!(r.step(scale).is_some_and(|s| s > 0), "{r}");
        }
    }

    #[test]
    fn rates_read_well() {
        assert_eq!(Rate::new(24_000, 1001).to_string(), "23.976");
        assert_eq!(Rate::new(25, 2).to_string(), "12.5");
        assert_eq!(Rate::new(50, 1).to_string(), "50");
    }
}
