//! Plans that are kept in memory: as many as hold a number of chunks together, the last used of them.
//!
//! Every lease and every report looks at its job's plan. One that is not here costs a read of the whole of it, so what is
//! kept is bounded by what it takes up, not by how many jobs there are: a few long films, or thousands of short ones.

use super::LoadedPlan;
use reelmill_common::JobId;
use reelmill_common::record::ObjectRef;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Chunks of all plans that are kept: more than twice as many as one coordinator is made for. `tests/memory.rs` says what
/// each takes.
const CHUNKS_MAX: usize = 250_000;
/// What a plan takes up besides, in chunks.
const BESIDES: usize = 16;

/// The plan of each job, where it is kept.
#[derive(Debug, Default)]
pub(super) struct Plans {
    by_job: BTreeMap<JobId, Kept>,
    chunks: usize,
    /// Counts the looks.
    looks: u64,
}

#[derive(Debug)]
struct Kept {
    object: ObjectRef,
    plan: Arc<LoadedPlan>,
    /// The last look at it.
    looked: u64,
}

impl Kept {
    fn chunks(&self) -> usize {
        self.plan.plan.chunks.len() + BESIDES
    }
}

impl Plans {
    /// A job's plan, if it is this one that is kept.
    pub(super) fn get(&mut self, job: &JobId, object: &ObjectRef) -> Option<Arc<LoadedPlan>> {
        let kept = self.by_job.get_mut(job).filter(|kept| kept.object == *object)?;
        self.looks += 1;
        kept.looked = self.looks;
        Some(Arc::clone(&kept.plan))
    }

    /// Keeps a job's plan instead of the one it had, and as many of the others as there is room for.
    pub(super) fn keep(&mut self, job: JobId, object: ObjectRef, plan: Arc<LoadedPlan>) {
        self.forget(&job);
        self.looks += 1;
        let kept = Kept { object, plan, looked: self.looks };
        self.chunks += kept.chunks();
        self.by_job.insert(job, kept);
        while self.chunks > CHUNKS_MAX && self.by_job.len() > 1 {
            let oldest = self.by_job.iter().min_by_key(|(_, kept)| kept.looked).map(|(job, _)| job.clone());
            let Some(oldest) = oldest else { break };
            self.forget(&oldest);
        }
    }

    /// The job needs it no more.
    pub(super) fn forget(&mut self, job: &JobId) {
        if let Some(kept) = self.by_job.remove(job) {
            self.chunks -= kept.chunks();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::tests::{object, plan};

    fn job(n: usize) -> JobId {
        JobId::parse(&format!("j{n}")).unwrap()
    }

    #[test]
    fn the_last_used_are_kept_as_far_as_their_chunks_have_room() {
        let mut plans = Plans::default();
        let large = Arc::new(LoadedPlan::new(plan(1, 100)));
        let most = CHUNKS_MAX / (100 + BESIDES);
        (0..most).for_each(|n| plans.keep(job(n), object(1), Arc::clone(&large)));
        assert!(plans.get(&job(0), &object(1)).is_some(), "all of them have room; this one is used last now");
        plans.keep(job(most), object(1), Arc::clone(&large));
        assert!(plans.get(&job(1), &object(1)).is_none(), "it was not used for longest");
        assert!(plans.get(&job(0), &object(1)).is_some() && plans.get(&job(most), &object(1)).is_some());
        assert!(plans.chunks <= CHUNKS_MAX);
    }

    #[test]
    fn a_revision_takes_the_place_of_the_plan_before() {
        let mut plans = Plans::default();
        let of = |chunks| Arc::new(LoadedPlan::new(plan(1, chunks)));
        plans.keep(job(1), object(1), of(3));
        plans.keep(job(1), object(2), of(5));
        assert!(plans.get(&job(1), &object(1)).is_none());
        assert_eq!(plans.get(&job(1), &object(2)).map(|p| p.plan.chunks.len()), Some(5));
        plans.forget(&job(1));
        assert_eq!((plans.chunks, plans.by_job.len()), (0, 0));
    }
}
