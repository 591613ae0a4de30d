//! What happened: counts over all runs, a hash of each run's course, and the course itself when somebody wants to
//! read it.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// How often what happened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// It happened once more.
    pub fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Self) {
        for (what, n) in &other.0 {
            *self.0.entry(what).or_default() += n;
        }
    }

    /// How often did it happen?
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Everything that happened, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(what, n)| (*what, *n))
    }
}

/// A run's course.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    print: bool,
}

impl Trace {
    /// Begins a course; one that is printed goes to standard error.
    pub fn new(print: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, print }
    }

    /// FNV-1a over everything that happened, in order: equal courses, equal hashes.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Something happened.
    pub fn step(&mut self, now_ms: u64, what: &'static str, who: u64, value: u64) {
        let bytes = [now_ms, who, value].into_iter().flat_map(u64::to_le_bytes);
        for byte in what.bytes().chain(bytes) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Tells a reader more about it.
    pub fn tell(&self, now_ms: u64, who: impl Debug, what: impl FnOnce() -> String) {
        if self.print {
            eprintln!("{now_ms:>8} {who:?} {}", what());
        }
    }
}
