//! How long work takes on whom.
//!
//! A worker's pace is what its attempts took over what was predicted; before its first commit, what the fleet's pace
//! and its proven speed say. Of work of some class its build may take more or less than that ([`crate::classes`]).
//! Estimates only choose between slots: nothing depends on their being right.

use crate::attempt::Attempt;
use crate::classes::{AS_PREDICTED, Build, Classes};
use crate::horizon::Horizon;
use crate::leader::Leader;
use crate::work::SpecRef;
use crate::worker::Worker;
use reelmill_common::capability::Needs;
use reelmill_common::plan::CostClass;

/// The pace that is believed before anything was measured, thousandths.
const UNKNOWN: u64 = 1_000;

/// From so many commits on a worker's pace is its own: two thirds of it are what was measured.
const SETTLED: u32 = 4;

/// What paces are told by besides what was measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Pacing {
    /// Before anything was measured, speeds are held against their mean; 0: it is not known.
    pub(crate) mean_speed: u64,
}

/// Measured paces of the fleet, smoothed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paces {
    /// Durations over predictions, thousandths.
    pace_permille: Option<u64>,
    /// The same, times the worker's proven speed: what divided by a speed gives the pace of a worker not measured yet.
    reach: Option<u64>,
}

impl Paces {
    /// An attempt of an encoder took this many thousandths of its prediction, on a worker of this speed.
    pub(crate) fn measured(&mut self, pace_permille: u64, speed: u64) {
        let pace = pace_permille.clamp(10, 1_000_000);
        let smoothed = |old: Option<u64>, new: u64| Some(old.map_or(new, |old| (old * 7 + new) / 8));
        self.pace_permille = smoothed(self.pace_permille, pace);
        self.reach = smoothed(self.reach, pace.saturating_mul(speed));
    }

    /// What a worker's pace is taken to be, thousandths.
    pub(crate) fn of(self, worker: &Worker, needs: Needs, pacing: Pacing) -> u64 {
        let speed = worker.speed(needs);
        let by_speed = || match (self.reach, pacing.mean_speed) {
            (Some(reach), _) if speed > 0 => Some(reach / speed),
            (None, mean) if speed > 0 && mean > 0 => Some(UNKNOWN * mean / speed),
            _ => self.pace_permille,
        };
        worker.pace_permille.or_else(by_speed).unwrap_or(UNKNOWN).max(1)
    }
}

impl Leader {
    /// What a worker's pace is taken to be at work of a class, thousandths.
    pub(crate) fn pace_at(&self, horizon: &Horizon, worker: &Worker, needs: Needs, class: CostClass) -> u64 {
        let pace = self.paces.of(worker, needs, horizon.pacing);
        let factor = self.classes.factor(worker.build(needs.family), class);
        (pace.saturating_mul(factor) / AS_PREDICTED).max(1)
    }

    /// How long a worker will take for a chunk, milliseconds.
    pub(crate) fn takes_ms(&self, horizon: &Horizon, worker: &Worker, spec: SpecRef) -> u64 {
        let pace = self.pace_at(horizon, worker, spec.needs, spec.class);
        (spec.cost_ms.saturating_mul(pace) / 1_000).max(1)
    }

    /// An encoder's attempt was committed after so long: its worker, the fleet and its build learn from it. A worker with
    /// few commits says nothing of its build: how much of it is its own pace is not known.
    pub(crate) fn learns(&mut self, attempt: &Attempt, took_ms: u64) {
        let Some(worker) = self.workers.get_mut(&attempt.worker) else { return };
        let mut learner = Learner { worker, paces: &mut self.paces, classes: &mut self.classes };
        learner.learns(attempt.spec, attempt.fingerprint.map(Build::from), took_ms);
    }
}

/// All that learns from a commit.
struct Learner<'a> {
    worker: &'a mut Worker,
    paces: &'a mut Paces,
    classes: &'a mut Classes,
}

impl Learner<'_> {
    fn learns(&mut self, spec: SpecRef, build: Option<Build>, took_ms: u64) {
        let SpecRef { cost_ms, needs, class, .. } = spec;
        let believed = self.paces.of(self.worker, needs, Pacing::default());
        let factor = self.classes.factor(build, class);
        if let Some(build) = build.filter(|_| self.worker.paced >= SETTLED) {
            self.classes.measured(build, class, took_ms, cost_ms.saturating_mul(believed) / UNKNOWN);
        }
        let pace = took_ms.saturating_mul(UNKNOWN * AS_PREDICTED) / cost_ms.saturating_mul(factor).max(1);
        self.worker.measured(pace, believed);
        self.paces.measured(pace, self.worker.speed(needs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reelmill_common::capability::{Capability, EncoderProof};
    use reelmill_common::ladder::EncoderFamily;
    use reelmill_common::plan::RungSet;
    use reelmill_common::{BootId, Fingerprint, Millis, Sha256, SpecId, WorkerId};

    const NEEDS: Needs = Needs { family: Some(EncoderFamily::X264), memory_mib: 1 };

    /// A fleet that learns.
    struct Fleet {
        workers: Vec<Worker>,
        paces: Paces,
        classes: Classes,
    }

    fn build(odd: bool) -> Fingerprint {
        Fingerprint(Sha256([u8::from(odd); 32]))
    }

    /// A worker that says that it is as fast as all others.
    fn worker(n: usize) -> Worker {
        let id = WorkerId::parse(&format!("w{n}")).expect("an id");
        let capability = Capability {
            worker: id.clone(),
            slots: 1,
            cores: 1,
            memory_mib: 1_000,
            encoders: vec![EncoderProof {
                family: EncoderFamily::X264,
                fingerprint: build(n % 2 == 1),
                kilopixels_per_second: 20_000,
            }],
            ffmpeg_build: String::new(),
            audits: false,
            audits_sound: false,
        };
        Worker::new(&id, BootId::parse("b").expect("a boot"), capability, Millis(0))
    }

    impl Fleet {
        fn of(workers: usize) -> Self {
            let workers = (0..workers).map(worker).collect();
            Self { workers, paces: Paces::default(), classes: Classes::default() }
        }

        fn commits(&mut self, worker: usize, class: u32, cost_ms: u64, took_ms: u64) {
            let id = SpecId(Sha256([0; 32]));
            let spec = SpecRef { id, cost_ms, needs: NEEDS, rungs: RungSet::NONE, class: CostClass(class) };
            let worker = &mut self.workers[worker];
            let build = worker.build(NEEDS.family);
            let mut learner = Learner { worker, paces: &mut self.paces, classes: &mut self.classes };
            learner.learns(spec, build, took_ms);
        }

        /// What it is taken to take for work of a class, thousandths of what is predicted.
        fn says(&self, worker: usize, class: u32) -> u64 {
            let w = &self.workers[worker];
            let factor = self.classes.factor(w.build(NEEDS.family), CostClass(class));
            self.paces.of(w, NEEDS, Pacing::default()) * factor / AS_PREDICTED
        }
    }

    proptest! {
        #[test]
        fn paces_and_factors_together_find_what_is_true(
            paces in prop::collection::vec(250u64..4_000, 2..8),
            factors in prop::collection::vec((300u64..3_000, 300u64..3_000), 1..5),
            work in prop::collection::vec((0usize..100, 0usize..100, 1_000u64..20_000), 4_000),
        ) {
            let mut fleet = Fleet::of(paces.len());
            let truth = |w: usize, c: usize| {
                let (usual, odd) = factors[c];
                paces[w] * if w % 2 == 1 { odd } else { usual } / 1_000
            };
            for (w, c, cost_ms) in work {
                let (w, c) = (w % paces.len(), c % factors.len());
                fleet.commits(w, c as u32 + 1, cost_ms, cost_ms * truth(w, c) / 1_000);
            }
            for w in 0..paces.len() {
                for c in 0..factors.len() {
                    let (says, truth) = (fleet.says(w, c as u32 + 1), truth(w, c));
                    prop_assert!(says.abs_diff(truth) * 10 <= truth, "{w} at {c}: {says} for {truth}");
                }
            }
        }

        /// Where all work is of one class, everything is as if there were no classes.
        #[test]
        fn one_class_is_as_none(
            work in prop::collection::vec((0usize..6, 1u64..20_000, 1u64..200_000), 1..300),
        ) {
            let (mut one, mut none) = (Fleet::of(6), Fleet::of(6));
            for (w, cost_ms, took_ms) in work {
                one.commits(w, 1, cost_ms, took_ms);
                none.commits(w, 0, cost_ms, took_ms);
                prop_assert_eq!(one.says(w, 1), none.says(w, 0));
            }
        }
    }
}
