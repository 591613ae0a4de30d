//! How much work there is of each size: what decides until when it can be done on slots of which a long chunk fits only
//! some.

use std::collections::BTreeMap;

/// Chunks by size, four classes to the octave.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sizes(BTreeMap<u32, Class>);

/// Chunks of about one size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Class {
    count: u64,
    /// Predicted slot-milliseconds, together.
    cost_ms: u64,
}

/// The class of a cost: its binary exponent and the two bits after its first.
fn class(cost_ms: u64) -> u32 {
    let cost = cost_ms.max(4);
    let exponent = cost.ilog2();
    (exponent << 2) | ((cost >> (exponent - 2)) & 3) as u32
}

impl Sizes {
    pub(crate) fn add(&mut self, cost_ms: u64) {
        let class = self.0.entry(class(cost_ms)).or_default();
        class.count += 1;
        class.cost_ms += cost_ms;
    }

    /// Takes away what was added.
    pub(crate) fn remove(&mut self, cost_ms: u64) {
        let at = class(cost_ms);
        let Some(class) = self.0.get_mut(&at) else { return };
        class.count = class.count.saturating_sub(1);
        class.cost_ms = class.cost_ms.saturating_sub(cost_ms);
        if class.count == 0 {
            self.0.remove(&at);
        }
    }

    /// Adds all of those, too.
    pub(crate) fn add_all(&mut self, other: &Self) {
        for (at, more) in &other.0 {
            let class = self.0.entry(*at).or_default();
            class.count += more.count;
            class.cost_ms += more.cost_ms;
        }
    }

    /// Predicted slot-milliseconds of all.
    pub(crate) fn cost_ms(&self) -> u64 {
        self.0.values().map(|c| c.cost_ms).sum()
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.values().map(|c| c.count).sum()
    }

    /// For each size from the longest on: the size, and how many such chunks everything is worth that is no shorter.
    pub(crate) fn longest_first(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut longer_ms = 0;
        self.0.values().rev().map(move |class| {
            longer_ms += class.cost_ms;
            let size_ms = (class.cost_ms / class.count.max(1)).max(1);
            (size_ms, longer_ms.div_ceil(size_ms))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_longer_counts_for_what_is_shorter() {
        let mut sizes = Sizes::default();
        [8_000, 8_000, 2_000].iter().for_each(|ms| sizes.add(*ms));
        assert_eq!(sizes.longest_first().collect::<Vec<_>>(), [(8_000, 2), (2_000, 9)]);
    }

    proptest! {
        #[test]
        fn what_is_taken_away_is_as_if_it_had_never_been_there(
            stays in prop::collection::vec(0u64..100_000, 0..20),
            goes in prop::collection::vec(0u64..100_000, 0..20),
        ) {
            let mut sizes = Sizes::default();
            goes.iter().chain(&stays).for_each(|ms| sizes.add(*ms));
            goes.iter().for_each(|ms| sizes.remove(*ms));
            let mut others = Sizes::default();
            stays.iter().for_each(|ms| others.add(*ms));
            prop_assert_eq!(&sizes, &others);
            prop_assert_eq!(sizes.count(), stays.len() as u64);
            sizes.add_all(&others);
            prop_assert_eq!(sizes.count(), 2 * stays.len() as u64);
        }

        #[test]
        fn a_class_is_no_wider_than_a_quarter(cost in 4u64..u64::MAX / 2) {
            let wide = cost + cost / 4 + 1;
            prop_assert!(class(cost) < class(wide.saturating_mul(1)) || class(cost) == class(cost + cost / 8));
            prop_assert!(class(cost) <= class(cost + 1));
        }
    }
}
