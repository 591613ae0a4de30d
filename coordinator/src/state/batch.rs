//! A batch of writes as a value, with the limits that every store must be able to keep.
//!
//! The limits are etcd's (128 operations and 1.5 MiB a transaction), less what the adapters add; the other stores
//! refuse the same batches, so that nothing works on a laptop and breaks in a cluster.

use super::{StateError, StateErrorKind};
use reelmill_common::FencingTerm;
use std::collections::BTreeSet;

/// The most puts and deletes in one batch.
pub const MAX_BATCH_OPERATIONS: usize = 100;
/// The most bytes of keys and values in one batch.
pub const MAX_BATCH_BYTES: usize = 1 << 20;
/// The longest key in bytes.
pub const MAX_KEY_BYTES: usize = 512;

/// Keys the ports keep for themselves: who leads, and the embedded store's counter of terms.
pub(super) const RESERVED: [&str; 2] = ["leader", "term"];

/// What must hold for a batch to be applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Guard {
    /// The writer still leads, and its leadership is this term.
    Leading(FencingTerm),
}

impl Guard {
    /// The term it names.
    pub fn term(self) -> FencingTerm {
        let Self::Leading(term) = self;
        term
    }
}

/// Puts and deletes that take effect together or not at all. Values are absolute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Every batch carries the term's guard: without one there is no batch.
    pub guard: Guard,
    /// Keys and their new values.
    pub puts: Vec<(String, Vec<u8>)>,
    /// Keys to remove; removing what is not there is no error.
    pub deletes: Vec<String>,
}

impl Batch {
    /// An empty batch of a term.
    pub fn leading(term: FencingTerm) -> Self {
        Self { guard: Guard::Leading(term), puts: Vec::new(), deletes: Vec::new() }
    }

    /// Adds a put.
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.puts.push((key.into(), value.into()));
        self
    }

    /// Adds a delete.
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.deletes.push(key.into());
        self
    }

    /// Every key it touches.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.puts.iter().map(|(key, _)| key.as_str()).chain(self.deletes.iter().map(String::as_str))
    }

    /// Checks the limits and that no key is named twice (etcd refuses that, and its meaning would depend on order).
    pub fn check(&self) -> Result<(), StateError> {
        let invalid = |message: String| Err(StateError::new(StateErrorKind::Invalid, message));
        let operations = self.puts.len() + self.deletes.len();
        if operations > MAX_BATCH_OPERATIONS {
            return invalid(format!(
                "a batch of {operations} operations exceeds {MAX_BATCH_OPERATIONS}: split it"
            ));
        }
        let values: usize = self.puts.iter().map(|(_, value)| value.len()).sum();
        let bytes = values + self.keys().map(str::len).sum::<usize>();
        if bytes > MAX_BATCH_BYTES {
            return invalid(format!(
                "a batch of {bytes} bytes exceeds {MAX_BATCH_BYTES}: split it, or store an object"
            ));
        }
        let mut seen = BTreeSet::new();
        for key in self.keys() {
            if key.is_empty() || key.len() > MAX_KEY_BYTES || RESERVED.contains(&key) {
                return invalid(format!("{key:?} cannot be written: empty, too long or reserved"));
            }
            if !seen.insert(key) {
                return invalid(format!("a batch names the key {key:?} twice"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_at_their_edges() {
        let full =
            (0..MAX_BATCH_OPERATIONS).fold(Batch::leading(FencingTerm(1)), |b, i| b.put(format!("k{i}"), ""));
        assert_eq!(full.check(), Ok(()));
        assert!(full.delete("one-more").check().is_err());
        let large = |bytes| Batch::leading(FencingTerm(1)).put("k", vec![0; bytes]);
        assert_eq!(large(MAX_BATCH_BYTES - 1).check(), Ok(()));
        assert!(large(MAX_BATCH_BYTES).check().is_err());
    }

    #[test]
    fn keys_are_checked() {
        let put = |key: &str| Batch::leading(FencingTerm(1)).put(key, "v").check();
        assert!(put("jobs/a").is_ok());
        for key in ["", "leader", "term", &"x".repeat(MAX_KEY_BYTES + 1)] {
            assert!(put(key).is_err(), "{key}");
        }
        assert!(Batch::leading(FencingTerm(1)).put("a", "1").delete("a").check().is_err());
    }
}
