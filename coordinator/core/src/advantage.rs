//! What a build leaves to others because they are better at it than at what else waits.
//!
//! Of two encoder builds one may be slow at the largest rung and another one not ([`crate::classes`]). Both are of most use
//! where each does what it is least bad at: the one leaves the largest rung alone while there is other work, if the others
//! can do all of it by the time by which everything can be done. Near the end, when nothing else waits, everybody does what
//! there is, as far as the horizon lets him.

use crate::classes::{AS_PREDICTED, Build, Classes};
use reelmill_common::plan::CostClass;
use std::collections::{BTreeMap, BTreeSet};

/// Builds are unlike at a class from here on, thousandths: below, it is not worth the longest chunk's waiting.
const UNLIKE: u64 = 1_100;

/// Some builds, and what of the work that waits each of them leaves to the others.
pub(crate) type Leaves = BTreeSet<(Option<Build>, CostClass)>;

/// Which work of the classes that wait (predicted slot-milliseconds) each build leaves to others. `reach_ms`: how much of
/// what is predicted each build can do in the time in which everything can be done.
pub(crate) fn leaves(
    classes: &Classes,
    reach_ms: &BTreeMap<Option<Build>, u64>,
    waiting: &BTreeMap<CostClass, u64>,
) -> Leaves {
    let mut leaves = Leaves::new();
    if reach_ms.len() < 2 {
        return leaves;
    }
    let relative: BTreeMap<CostClass, BTreeMap<Option<Build>, u64>> =
        waiting.keys().map(|class| (*class, against_the_best(classes, reach_ms.keys(), *class))).collect();
    for (class, builds) in &relative {
        for (build, mine) in builds {
            let is_better = |other: u64| other.saturating_mul(UNLIKE) <= mine.saturating_mul(1_000);
            let others = builds.iter().filter(|(_, other)| is_better(**other));
            let reach = |(b, _): (&Option<Build>, &u64)| {
                let reach_ms = reach_ms.get(b).copied().unwrap_or_default();
                reach_ms.saturating_mul(AS_PREDICTED) / classes.factor(*b, *class)
            };
            let enough =
                others.map(reach).fold(0, u64::saturating_add) >= waiting.get(class).copied().unwrap_or(0);
            let has_other_work =
                || relative.values().filter_map(|of| of.get(build)).any(|other| is_better(*other));
            if enough && has_other_work() {
                leaves.insert((*build, *class));
            }
        }
    }
    leaves
}

/// How much longer each build takes for a class than the one that is best at it, thousandths.
fn against_the_best<'a>(
    classes: &Classes,
    builds: impl Iterator<Item = &'a Option<Build>>,
    class: CostClass,
) -> BTreeMap<Option<Build>, u64> {
    let factors: BTreeMap<_, _> = builds.map(|b| (*b, classes.factor(*b, class))).collect();
    let best = factors.values().copied().min().unwrap_or(AS_PREDICTED).max(1);
    factors.into_iter().map(|(build, factor)| (build, factor * 1_000 / best)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reelmill_common::{Fingerprint, Sha256};

    const LARGE: CostClass = CostClass(1);
    const SMALL: CostClass = CostClass(2);

    fn build(n: u8) -> Option<Build> {
        Some(Fingerprint(Sha256([n; 32])).into())
    }

    /// Build 2 takes three times as long for the large class as for the small one; build 1 takes what is predicted.
    fn learned() -> Classes {
        let mut classes = Classes::default();
        for _ in 0..100 {
            for (n, class, took_ms) in
                [(1, LARGE, 1_000), (1, SMALL, 1_000), (2, LARGE, 1_500), (2, SMALL, 500)]
            {
                classes.measured(build(n).expect("a build"), class, took_ms, 1_000);
            }
        }
        classes
    }

    fn left(reach: &[u64], large_ms: u64, small_ms: u64) -> Vec<(Option<Build>, CostClass)> {
        let reach = (1u8..).zip(reach).map(|(n, ms)| (build(n), *ms)).collect();
        let waiting = [(LARGE, large_ms), (SMALL, small_ms)].into_iter().filter(|(_, ms)| *ms > 0).collect();
        leaves(&learned(), &reach, &waiting).into_iter().collect()
    }

    #[test]
    fn each_does_what_it_is_least_bad_at() {
        let (one, two) = (build(1), build(2));
        assert_eq!(left(&[10_000, 10_000], 8_000, 9_000), [(one, SMALL), (two, LARGE)]);
        assert_eq!(
            left(&[7_000, 10_000], 8_000, 9_000),
            [(one, SMALL)],
            "the first cannot do all that is large"
        );
        assert_eq!(left(&[10_000, 4_000], 8_000, 9_000), [(two, LARGE)], "nor the second all that is small");
        assert_eq!(left(&[10_000, 10_000], 8_000, 0), [], "nothing else waits");
        assert_eq!(left(&[10_000], 8_000, 9_000), [], "nobody else is there");
    }

    #[test]
    fn builds_that_are_alike_leave_nothing() {
        let reach = [(build(1), 10_000), (build(2), 10_000)].into();
        let waiting = [(LARGE, 1), (SMALL, 1)].into();
        assert_eq!(leaves(&Classes::default(), &reach, &waiting), Leaves::new());
    }

    proptest! {
        #[test]
        fn nothing_is_left_by_everybody_and_nobody_leaves_everything(
            measured in prop::collection::vec((1u8..5, 1u32..6, 100u64..10_000), 0..200),
            reach in prop::collection::vec(0u64..10_000, 1..5),
            waiting in prop::collection::btree_map(1u32..6, 1u64..10_000, 1..6),
        ) {
            let mut classes = Classes::default();
            for (n, class, took_ms) in measured {
                classes.measured(build(n).expect("a build"), CostClass(class), took_ms, 1_000);
            }
            let reach: BTreeMap<_, _> = (1u8..).zip(reach).map(|(n, ms)| (build(n), ms)).collect();
            let waiting: BTreeMap<_, _> = waiting.into_iter().map(|(c, ms)| (CostClass(c), ms)).collect();
            let leaves = leaves(&classes, &reach, &waiting);
            for class in waiting.keys() {
                prop_assert!(reach.keys().any(|b| !leaves.contains(&(*b, *class))), "{class:?}");
            }
            for build in reach.keys() {
                prop_assert!(waiting.keys().any(|c| !leaves.contains(&(*build, *c))), "{build:?}");
            }
        }
    }
}
