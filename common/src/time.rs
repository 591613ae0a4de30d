//! Integer time: ticks in a rational timebase, and monotonic milliseconds for the control plane.
//!
//! No float seconds anywhere. Durations of media are never added up: a time is always an absolute tick, and a
//! duration is the difference of two of them.

use std::fmt;
use std::num::NonZeroU32;

/// A signed count of ticks; what one tick lasts is said by the [`Timebase`] it travels with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticks(pub i64);

impl fmt::Debug for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}t", self.0)
    }
}

/// The length of one tick in seconds, as the fraction `num / den`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timebase {
    num: NonZeroU32,
    den: NonZeroU32,
}

impl Timebase {
    /// One tick lasts `num / den` seconds. `None` when either is zero. The fraction is kept reduced.
    pub fn new(num: u32, den: u32) -> Option<Self> {
        let g = gcd(u64::from(num), u64::from(den)).max(1) as u32;
        Some(Self { num: NonZeroU32::new(num / g)?, den: NonZeroU32::new(den / g)? })
    }

    /// `1 / hz` seconds a tick, as MP4 timescales and sample rates are given.
    pub const fn hz(hz: NonZeroU32) -> Self {
        Self { num: NonZeroU32::MIN, den: hz }
    }

    /// Numerator of the tick's length in seconds.
    pub fn num(self) -> u32 {
        self.num.get()
    }

    /// Denominator of the tick's length in seconds.
    pub fn den(self) -> u32 {
        self.den.get()
    }

    /// `t` ticks of this timebase in ticks of `to`, rounded to nearest, halves away from zero
    /// (as `av_rescale_q` does). Saturates outside of `i64`.
    pub fn rescale(self, t: Ticks, to: Timebase) -> Ticks {
        Ticks(saturate(div_nearest(self.exact(t, to).0, self.exact(t, to).1)))
    }

    /// As [`Timebase::rescale`], rounded towards negative infinity.
    pub fn rescale_floor(self, t: Ticks, to: Timebase) -> Ticks {
        let (n, d) = self.exact(t, to);
        Ticks(saturate(n.div_euclid(d)))
    }

    /// As [`Timebase::rescale`], but only when the result is a whole number of ticks.
    pub fn rescale_exact(self, t: Ticks, to: Timebase) -> Option<Ticks> {
        let (n, d) = self.exact(t, to);
        (n % d == 0).then(|| Ticks(saturate(n / d)))
    }

    /// Microseconds, rounded to nearest: for showing and for text formats only.
    pub fn micros(self, t: Ticks) -> i64 {
        self.rescale(t, MICROS).0
    }

    /// Compares two times of different timebases exactly.
    pub fn cmp_at(self, a: Ticks, other: Timebase, b: Ticks) -> std::cmp::Ordering {
        let left = i128::from(a.0) * i128::from(self.num()) * i128::from(other.den());
        let right = i128::from(b.0) * i128::from(other.num()) * i128::from(self.den());
        left.cmp(&right)
    }

    fn exact(self, t: Ticks, to: Timebase) -> (i128, i128) {
        (
            i128::from(t.0) * i128::from(self.num()) * i128::from(to.den()),
            i128::from(self.den()) * i128::from(to.num()),
        )
    }
}

const MICROS: Timebase =
    Timebase { num: NonZeroU32::MIN, den: NonZeroU32::new(1_000_000).expect("a million is not zero") };

impl fmt::Debug for Timebase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

impl fmt::Display for Timebase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

fn div_nearest(n: i128, d: i128) -> i128 {
    if n >= 0 { (n + d / 2) / d } else { -((-n + d / 2) / d) }
}

fn saturate(v: i128) -> i64 {
    v.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

/// Greatest common divisor; `gcd(0, n) == n`.
pub fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The half-open range `[start, end)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct TickRange {
    /// First tick inside.
    pub start: Ticks,
    /// First tick after.
    pub end: Ticks,
}

impl TickRange {
    /// `[start, end)` in ticks.
    pub fn new(start: i64, end: i64) -> Self {
        Self { start: Ticks(start), end: Ticks(end) }
    }

    /// Is `t` inside?
    pub fn contains(self, t: Ticks) -> bool {
        self.start <= t && t < self.end
    }

    /// Ticks from start to end; 0 when the range is empty or turned around.
    pub fn len(self) -> u64 {
        (self.end.0.saturating_sub(self.start.0)).max(0) as u64
    }

    /// No tick inside?
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// A strictly increasing list of times, kept short where it is regular.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub enum TickSeq {
    /// `first, first + step, …`, `count` of them; `step > 0`.
    Regular {
        /// The first time.
        first: i64,
        /// Distance of neighbours.
        step: i64,
        /// How many.
        count: u32,
    },
    /// Every time, ascending.
    Listed(Vec<i64>),
}

impl TickSeq {
    /// The shortest form of an ascending list.
    pub fn from_sorted(times: Vec<i64>) -> Self {
        if times.len() >= 3 {
            let step = times[1] - times[0];
            if step > 0 && times.windows(2).all(|w| w[1] - w[0] == step) {
                return Self::Regular { first: times[0], step, count: times.len() as u32 };
            }
        }
        Self::Listed(times)
    }

    /// How many times.
    pub fn len(&self) -> usize {
        match self {
            Self::Regular { count, .. } => *count as usize,
            Self::Listed(v) => v.len(),
        }
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `i`-th time.
    pub fn get(&self, i: usize) -> Option<i64> {
        match self {
            Self::Regular { first, step, count } => (i < *count as usize).then(|| first + step * i as i64),
            Self::Listed(v) => v.get(i).copied(),
        }
    }

    /// All times in order.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    /// The first time.
    pub fn first(&self) -> Option<i64> {
        self.get(0)
    }

    /// The last time.
    pub fn last(&self) -> Option<i64> {
        self.len().checked_sub(1).and_then(|i| self.get(i))
    }
}

/// Monotonic control-plane time in milliseconds since an arbitrary origin of this process or simulation.
///
/// Never a wall clock: leases and timers count with it, nothing durable depends on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millis(pub u64);

impl Millis {
    /// This instant plus `ms` milliseconds.
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`; 0 if it is not earlier.
    pub fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tb(n: u32, d: u32) -> Timebase {
        Timebase::new(n, d).expect("timebase")
    }

    #[test]
    fn rescale_rounds_to_nearest_away_from_zero() {
        assert_eq!(tb(1, 90_000).rescale(Ticks(45), tb(1, 1000)), Ticks(1));
        assert_eq!(tb(1, 90_000).rescale(Ticks(-45), tb(1, 1000)), Ticks(-1));
        assert_eq!(tb(1, 90_000).rescale_floor(Ticks(-1), tb(1, 1000)), Ticks(-1));
        assert_eq!(tb(1001, 24_000).rescale_exact(Ticks(2), tb(1, 24_000)), Some(Ticks(2002)));
        assert_eq!(tb(1, 1000).rescale_exact(Ticks(1), tb(1, 24_000)), Some(Ticks(24)));
        assert_eq!(tb(1, 24_000).rescale_exact(Ticks(1), tb(1, 1000)), None);
    }

    #[test]
    fn timebase_is_reduced_and_never_zero() {
        assert_eq!(tb(2, 48_000), tb(1, 24_000));
        assert!(Timebase::new(0, 5).is_none() && Timebase::new(5, 0).is_none());
    }

    #[test]
    fn a_regular_list_is_kept_short_and_reads_the_same() {
        let listed: Vec<i64> = (0..50).map(|i| 7 + 1001 * i).collect();
        let seq = TickSeq::from_sorted(listed.clone());
        assert!(matches!(seq, TickSeq::Regular { step: 1001, .. }));
        assert_eq!(seq.iter().collect::<Vec<_>>(), listed);
        assert!(matches!(TickSeq::from_sorted(vec![0, 1, 3]), TickSeq::Listed(_)));
    }
}
