//! Durations counted in buckets a thirty-second part of their size apart: percentiles within 3 %, in a fixed amount of
//! memory, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets a doubling.
const PARTS: u64 = 32;
/// Doublings from 32 microseconds on: up to more than a day.
const DOUBLINGS: u64 = 32;

/// Durations.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Vec<AtomicU64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..PARTS * (DOUBLINGS + 1)).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Histogram {
    /// Counts one.
    pub(crate) fn add(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket(micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.buckets.iter().for_each(|b| b.store(0, Ordering::Relaxed));
    }

    /// How many were counted.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).sum()
    }

    /// That so many thousandths of all did not exceed, milliseconds; 0 without any.
    pub(crate) fn permille_ms(&self, permille: u64) -> f64 {
        let wanted = (self.count() * permille).div_ceil(1_000);
        let mut seen = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Ordering::Relaxed);
            if seen >= wanted && seen > 0 {
                return upper(at) as f64 / 1_000.0;
            }
        }
        0.0
    }
}

fn bucket(micros: u64) -> usize {
    if micros < PARTS {
        return micros as usize;
    }
    let doubling = u64::from(micros.ilog2() - PARTS.ilog2());
    let part = (micros >> doubling) - PARTS;
    (((doubling + 1).min(DOUBLINGS)) * PARTS + part) as usize
}

/// The largest that is counted in a bucket.
fn upper(at: usize) -> u64 {
    let at = at as u64;
    if at < PARTS {
        return at;
    }
    let doubling = at / PARTS - 1;
    ((PARTS + at % PARTS + 1) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_in_its_bucket_and_buckets_are_narrow() {
        for micros in (0..5_000).chain((0..1_000).map(|n| n * 97_001)) {
            let at = bucket(micros);
            assert!(upper(at) >= micros, "{micros}");
            assert!(at == 0 || upper(at - 1) < micros, "{micros}");
            assert!(upper(at) - micros <= micros / 30 + 1, "{micros}");
        }
    }

    #[test]
    fn percentiles_are_those_of_what_was_counted() {
        let h = Histogram::default();
        assert_eq!(h.permille_ms(990), 0.0);
        (1..=1_000).for_each(|ms| h.add(Duration::from_millis(ms)));
        for (permille, ms) in [(500, 500.0), (990, 990.0), (1_000, 1_000.0)] {
            let found = h.permille_ms(permille);
            assert!((ms..ms * 1.04).contains(&found), "{permille}: {found}");
        }
        h.clear();
        assert_eq!(h.count(), 0);
    }
}
