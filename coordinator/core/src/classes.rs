//! How much longer work of a class takes with one encoder build than the paces of its workers say.
//!
//! A prediction is a chunk's cost from pixels ([`crate::work::SpecRef::cost_ms`]), times the pace of the worker
//! ([`crate::pace`]), times what is learned here. Builds and hardware differ from one size to another: one that takes
//! twice the prediction at the largest rung may take less at the smallest.
//!
//! What a commit took is split so that the two do not chase each other. A pace is told what is left when the factor is
//! taken out; a class is told what was expected by the pace that the worker was taken to have before. And a factor is
//! held against the mean over all that its build did: what all of it shares is the paces' affair. So a build with one
//! class has the factor 1, exactly, and where chunks are alike nothing here has a say.

use reelmill_common::Fingerprint;
use reelmill_common::plan::CostClass;
use std::collections::BTreeMap;

/// What is learned of nothing: as predicted, thousandths.
pub(crate) const AS_PREDICTED: u64 = 1_000;
/// Classes that are remembered, over all builds; the one that was measured least recently is forgotten first.
const CLASSES_MAX: usize = 256;
/// A class is what its last commits were: about so many.
const COMMITS: u64 = 256;
/// That a class is as predicted weighs as much as so many commits: content varies, and one commit says little.
const PRIOR: u64 = 3;
/// No factor is taken to be further from 1, thousandths; nor does one commit say that it is.
const LEAST: u64 = 100;
const MOST: u64 = 10_000;
/// No commit counts for more, milliseconds: sums stay far from where numbers end.
const LONGEST_MS: u64 = 24 * 3_600_000;

/// What an encoder build is called here: the first bytes of its fingerprint. Factors are looked up for every slot, and two
/// builds that began alike would only learn from each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Build(u64);

impl From<Fingerprint> for Build {
    fn from(fingerprint: Fingerprint) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = fingerprint.0.0;
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

/// What was measured, by build and class. Memory of one leader: a new one learns anew.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    builds: BTreeMap<Build, Done>,
    /// Of all builds together.
    count: usize,
    /// Commits that were measured.
    clock: u64,
}

/// All that one build did; never empty.
#[derive(Debug, Default)]
struct Done {
    classes: BTreeMap<CostClass, Sums>,
    /// Of all its classes together.
    took_ms: u64,
    expected_ms: u64,
    /// These, thousandths.
    ratio_permille: u64,
}

/// What commits of one class took, and what was expected of them.
#[derive(Debug, Default)]
struct Sums {
    took_ms: u64,
    expected_ms: u64,
    commits: u64,
    /// When the last one was measured.
    last: u64,
}

impl Sums {
    /// What it has so far becomes less by a commit's part, once there are enough of them.
    fn fade(&mut self) {
        if self.commits < COMMITS {
            self.commits += 1;
        } else {
            self.took_ms -= self.took_ms / COMMITS;
            self.expected_ms -= self.expected_ms / COMMITS;
        }
    }
}

/// In thousandths.
fn ratio(took_ms: u64, expected_ms: u64) -> u64 {
    (took_ms * AS_PREDICTED / expected_ms.max(1)).max(1)
}

impl Done {
    /// Something was done of a class.
    fn add(&mut self, class: CostClass, (took_ms, expected_ms): (u64, u64), now: u64) {
        let sums = self.classes.entry(class).or_default();
        let before = (sums.took_ms, sums.expected_ms);
        sums.fade();
        sums.took_ms += took_ms;
        sums.expected_ms += expected_ms;
        sums.last = now;
        self.took_ms = self.took_ms - before.0 + sums.took_ms;
        self.expected_ms = self.expected_ms - before.1 + sums.expected_ms;
        self.ratio_permille = ratio(self.took_ms, self.expected_ms);
    }

    /// A class is forgotten.
    fn remove(&mut self, class: CostClass) {
        let Some(sums) = self.classes.remove(&class) else { return };
        self.took_ms -= sums.took_ms;
        self.expected_ms -= sums.expected_ms;
        self.ratio_permille = ratio(self.took_ms, self.expected_ms);
    }
}

impl Classes {
    /// What work of a class is predicted to take is to be taken times this, thousandths.
    pub(crate) fn factor(&self, build: Option<Build>, class: CostClass) -> u64 {
        let known = build.and_then(|b| self.builds.get(&b)).and_then(|b| Some((b, b.classes.get(&class)?)));
        let Some((build, sums)) = known else { return AS_PREDICTED };
        let seen = ratio(sums.took_ms, sums.expected_ms) * AS_PREDICTED / build.ratio_permille.max(1);
        let believed = (seen * sums.commits + AS_PREDICTED * PRIOR) / (sums.commits + PRIOR);
        believed.clamp(LEAST, MOST)
    }

    /// The least and the greatest factor.
    pub(crate) fn extremes(&self) -> (u64, u64) {
        let of_build = |(build, of): (&Build, &Done)| {
            of.classes.keys().map(|class| self.factor(Some(*build), *class)).collect::<Vec<_>>()
        };
        let all = self.builds.iter().flat_map(of_build);
        all.fold((AS_PREDICTED, AS_PREDICTED), |(least, most), f| (least.min(f), most.max(f)))
    }

    /// Work of a class took so long; by its worker's pace alone, so long was expected.
    pub(crate) fn measured(&mut self, build: Build, class: CostClass, took_ms: u64, expected_ms: u64) {
        if class == CostClass::NONE {
            return;
        }
        self.clock += 1;
        let expected_ms = expected_ms.clamp(1, LONGEST_MS);
        let took_ms = took_ms.clamp(expected_ms * LEAST / AS_PREDICTED, expected_ms * MOST / AS_PREDICTED);
        let of = self.builds.entry(build).or_default();
        let known = of.classes.len();
        of.add(class, (took_ms, expected_ms), self.clock);
        self.count += of.classes.len() - known;
        self.forget();
    }

    /// Forgets the class that was measured least recently, if there are too many.
    fn forget(&mut self) {
        if self.count <= CLASSES_MAX {
            return;
        }
        let all = self.builds.iter().flat_map(|(b, of)| of.classes.iter().map(|(c, s)| (s.last, *b, *c)));
        let Some((_, build, class)) = all.min() else { return };
        if let Some(of) = self.builds.get_mut(&build) {
            of.remove(class);
            self.count -= 1;
            if of.classes.is_empty() {
                self.builds.remove(&build);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reelmill_common::Sha256;

    fn build(n: u8) -> Build {
        Fingerprint(Sha256([n; 32])).into()
    }

    /// The factors of a build's classes, from 1 on.
    fn factors(classes: &Classes, n: u8, count: u32) -> Vec<u64> {
        (1..=count).map(|c| classes.factor(Some(build(n)), CostClass(c))).collect()
    }

    #[test]
    fn nothing_is_known_of_what_was_not_measured() {
        let mut classes = Classes::default();
        classes.measured(build(1), CostClass(1), 9_000, 1_000);
        classes.measured(build(1), CostClass(2), 1_000, 1_000);
        assert_eq!(factors(&classes, 1, 3)[2], AS_PREDICTED, "another class");
        assert_eq!(factors(&classes, 2, 2), [AS_PREDICTED; 2], "another build");
        assert_eq!(classes.factor(None, CostClass(1)), AS_PREDICTED, "no build");
        assert_eq!(classes.extremes(), (factors(&classes, 1, 2)[1], factors(&classes, 1, 1)[0]));
        classes.measured(build(1), CostClass::NONE, 90_000, 1_000);
        assert_eq!(classes.factor(Some(build(1)), CostClass::NONE), AS_PREDICTED);
    }

    #[test]
    fn one_commit_says_little_and_many_say_all() {
        let mut classes = Classes::default();
        let mut after = |commits: u32| {
            for _ in 0..commits {
                classes.measured(build(1), CostClass(1), 1_500, 1_000);
                classes.measured(build(1), CostClass(2), 500, 1_000);
            }
            factors(&classes, 1, 2)
        };
        assert_eq!(after(1), [1_125, 875]);
        assert_eq!(after(9), [1_384, 615]);
        assert_eq!(after(190), [1_492, 507]);
    }

    #[test]
    fn what_was_long_ago_fades() {
        let mut classes = Classes::default();
        let mut after = |took_ms: u64| {
            for _ in 0..1_500 {
                classes.measured(build(1), CostClass(1), took_ms, 1_000);
                classes.measured(build(1), CostClass(2), 1_000, 1_000);
            }
            factors(&classes, 1, 2)
        };
        assert_eq!(after(3_000), [1_494, 505]);
        assert_eq!(after(1_000), [1_001, 997]);
    }

    #[test]
    fn nothing_that_is_measured_leads_anywhere_else() {
        let mut classes = Classes::default();
        for (took, expected) in [(0, 0), (u64::MAX, 0), (0, u64::MAX), (u64::MAX, u64::MAX)].repeat(200) {
            classes.measured(build(1), CostClass(1), took, expected);
            classes.measured(build(1), CostClass(2), expected, took);
            assert!(factors(&classes, 1, 2).iter().all(|f| (LEAST..=MOST).contains(f)));
        }
    }

    #[test]
    fn what_was_measured_least_recently_is_forgotten() {
        let mut classes = Classes::default();
        for n in 1..=2 {
            for class in 1..=100 {
                classes.measured(build(n), CostClass(class), 1_000, 1_000);
            }
        }
        for _ in 0..20 {
            classes.measured(build(1), CostClass(1), 2_000, 1_000);
        }
        for class in 101..=200 {
            classes.measured(build(2), CostClass(class), 1_000, 1_000);
        }
        let known = |n| classes.builds.get(&build(n)).map_or(0, |b| b.classes.len());
        assert_eq!(
            (known(1), known(2)),
            (56, 200),
            "the oldest of the first build, but for the one measured anew"
        );
        assert!(factors(&classes, 1, 1)[0] > 1_400);
        assert_eq!(classes.builds[&build(1)].classes.keys().nth(1), Some(&CostClass(46)));
    }

    proptest! {
        #[test]
        fn a_build_with_one_class_is_as_its_paces_say(all in prop::collection::vec((1u64..1_000_000, 1u64..1_000_000), 1..300)) {
            let mut classes = Classes::default();
            for (took, expected) in all {
                classes.measured(build(1), CostClass(1), took, expected);
                prop_assert_eq!(classes.factor(Some(build(1)), CostClass(1)), AS_PREDICTED);
            }
        }
    }
}
