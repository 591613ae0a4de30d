//! Plans as the model of a driver has them: what the control machine sees of a chunk, and what it does not see: which rungs
//! it makes and to what each is bound. And what encoder builds give.

use super::scenario::Film;
use reelmill_common::plan::{CostClass, RungSet};
use reelmill_common::{Fingerprint, Sha256, SpecId};
use reelmill_coordinator_core::SpecRef;
use std::collections::{BTreeMap, BTreeSet};

/// Rungs by their places, and what each is bound to: one of two decoder configurations.
pub(super) type Bindings = BTreeMap<usize, u8>;

/// A chunk of a revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Chunk {
    /// As the machine sees it.
    pub(super) spec: SpecRef,
    /// Which part of the film.
    pub(super) part: usize,
    /// What it makes, as it is bound; nothing for sound.
    pub(super) rungs: Bindings,
    /// Of a plan of what the film's decoder shows.
    pub(super) is_shown: bool,
}

/// A revision of a job's plan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Plan {
    /// Its number.
    pub(super) revision: u32,
    /// What the package's rungs are bound to.
    pub(super) bindings: Bindings,
    /// Its chunks.
    pub(super) chunks: Vec<Chunk>,
}

/// What a build gives for a rung.
pub(super) fn gives(seed: u64, build: u8, place: usize) -> u8 {
    // where all are fair, or were made alike, they give the same
    let alike = seed % 5 == 4 || (build < 10 && !seed.is_multiple_of(3));
    if alike { 0 } else { Sha256::of(format!("{seed} {build} {place}").as_bytes()).0[0] % 2 }
}

/// The build behind a fingerprint.
pub(super) fn build_of(fingerprint: Fingerprint) -> u8 {
    (0..=u8::MAX).find(|b| Fingerprint(Sha256::of(&[*b])) == fingerprint).unwrap_or(0)
}

impl Plan {
    /// The first revision of a film's plan. Some parts are split by rung.
    pub(super) fn first(film: &Film, bindings: Bindings) -> Self {
        let mut chunks = vec![];
        for (part, spec) in film.chunks.iter().enumerate() {
            let all: Bindings =
                bindings.iter().filter(|(p, _)| spec.rungs.has(**p)).map(|(p, b)| (*p, *b)).collect();
            if all.is_empty() {
                chunks.push(Chunk { spec: *spec, part, rungs: all, is_shown: film.is_shown });
            } else if part % 3 == 2 {
                let alone = all.into_iter().map(|(p, b)| Bindings::from([(p, b)]));
                chunks.extend(alone.map(|rungs| chunk(film, &bindings, part, rungs)));
            } else {
                chunks.push(chunk(film, &bindings, part, all));
            }
        }
        Self { revision: 1, bindings, chunks }
    }

    /// The next revision, with some rungs bound to what was found; the same one if that is nothing new.
    pub(super) fn revise(&self, film: &Film, committed: &BTreeSet<SpecId>, found: &Bindings) -> Self {
        let mut bindings = self.bindings.clone();
        bindings.extend(found.iter().map(|(p, b)| (*p, *b)));
        if bindings == self.bindings {
            return self.clone();
        }
        self.next(film, committed, bindings)
    }

    /// The next revision after some of what was committed ceased to count; the same one if its chunks can be made as they
    /// are.
    pub(super) fn replan(&self, film: &Film, committed: &BTreeSet<SpecId>) -> Self {
        let next = self.next(film, committed, self.bindings.clone());
        if next.chunks == self.chunks { self.clone() } else { next }
    }

    fn next(&self, film: &Film, committed: &BTreeSet<SpecId>, bindings: Bindings) -> Self {
        let is_current = |p: &usize, b: &u8| bindings.get(p) == Some(b);
        let done = |c: &&Chunk| committed.contains(&c.spec.id);
        let made = self.chunks.iter().filter(done).flat_map(|c| {
            c.rungs.iter().filter(|(p, b)| is_current(p, b)).map(|(p, _)| (c.part, *p)).collect::<Vec<_>>()
        });
        let mut covered: BTreeSet<(usize, usize)> = made.collect();
        let mut chunks = vec![];
        for old in &self.chunks {
            let stands = old.rungs.iter().any(|(p, b)| is_current(p, b));
            if old.rungs.is_empty() || (done(&old) && stands) {
                chunks.push(again(film, &bindings, old));
            }
            let missing: Bindings = old
                .rungs
                .keys()
                .filter(|p| covered.insert((old.part, **p)))
                .map(|p| (*p, bindings[p]))
                .collect();
            if !missing.is_empty() {
                chunks.push(chunk(film, &bindings, old.part, missing));
            }
        }
        Self { revision: self.revision + 1, bindings, chunks }
    }

    /// As the machine sees its chunks.
    pub(super) fn specs(&self) -> Vec<SpecRef> {
        self.chunks.iter().map(|c| c.spec).collect()
    }
}

/// The rungs of a chunk that are those of the package.
fn current(bindings: &Bindings, rungs: &Bindings) -> RungSet {
    RungSet::of(rungs.iter().filter(|(p, b)| bindings.get(p) == Some(b)).map(|(p, _)| *p))
}

fn chunk(film: &Film, bindings: &Bindings, part: usize, rungs: Bindings) -> Chunk {
    let whole = film.chunks[part];
    let name = format!("{}/chunk/{part}/{rungs:?}", film.name);
    let now = current(bindings, &rungs);
    let spec = SpecRef {
        id: SpecId(Sha256::of(name.as_bytes())),
        cost_ms: (whole.cost_ms * rungs.len() as u64 / whole.rungs.0.count_ones().max(1) as u64).max(1),
        needs: whole.needs,
        rungs: now,
        class: CostClass(now.0 as u32),
    };
    Chunk { spec, part, rungs, is_shown: film.is_shown }
}

/// The same chunk in another revision.
fn again(film: &Film, bindings: &Bindings, old: &Chunk) -> Chunk {
    match old.rungs.is_empty() {
        true => old.clone(),
        false => chunk(film, bindings, old.part, old.rungs.clone()),
    }
}
