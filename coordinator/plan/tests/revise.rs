//! Revisions of a plan: one decoder configuration over each rung, each segment of each rung made once, nothing made again
//! that need not be.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod films;
mod planned;

use proptest::prelude::*;
use reelmill_common::SpecId;
use reelmill_common::job::JobOptions;
use reelmill_common::outcome::AnalyseReport;
use reelmill_common::plan::{Plan, RungSet, Sizing};
use reelmill_common::spec::{AnalyseSpec, ChunkMedia, VideoChunk};
use reelmill_plan::revise::{Revised, RevisionInput, rebind_spec, replan, revise, rungs_of};
use reelmill_plan::{PlanError, analyse_spec, ladder};
use std::collections::{BTreeMap, BTreeSet};

/// Slots so many that some chunks are split by rung.
const SLOTS: u32 = 4;

fn plan() -> Plan {
    planned::plan(&films::cinema_24(), &JobOptions::default(), SLOTS).unwrap()
}

fn ids(plan: &Plan) -> Vec<SpecId> {
    plan.chunks.iter().map(|c| c.spec.spec_id()).collect()
}

fn video(plan: &Plan) -> impl Iterator<Item = (SpecId, &VideoChunk)> {
    plan.chunks.iter().filter_map(|c| match &c.spec.media {
        ChunkMedia::Video(v) => Some((c.spec.spec_id(), v)),
        ChunkMedia::Audio(_) => None,
    })
}

/// What a build gives for a rung of the film.
fn avcc(build: u8, place: usize) -> Vec<u8> {
    vec![1, 100, build, 40, 0xFF, 0xE1, 0, 1, 0x67, 1, 0, 1, place as u8]
}

/// Rungs at these places bound to what a build gives.
fn bind(plan: &Plan, committed: &BTreeSet<SpecId>, places: &[usize], build: u8) -> Revised {
    let film = films::cinema_24();
    let found =
        AnalyseReport { avcc: places.iter().map(|p| avcc(build, *p)).collect(), ..AnalyseReport::default() };
    revise(&RevisionInput {
        plan,
        video: film.video.as_ref().unwrap(),
        committed,
        rungs: RungSet::of(places.iter().copied()),
        found: &found,
        by: "ffmpeg 9",
    })
    .unwrap()
}

/// What must hold of every plan: by rendition and segment, the one chunk that makes it, as the rendition is bound.
fn holds(plan: &Plan) -> BTreeMap<(usize, u32), SpecId> {
    let mut makers = BTreeMap::new();
    let mut numbers = BTreeSet::new();
    for (id, chunk) in video(plan) {
        assert!(numbers.insert(chunk.number), "number {} twice", chunk.number);
        for rung in &chunk.rungs {
            let Some(place) = plan.video.iter().position(|v| v.folder == rung.folder) else { continue };
            assert_eq!((&rung.avcc, &rung.settings), (&plan.video[place].avcc, &plan.video[place].settings));
            for segment in &chunk.segments {
                let twice = makers.insert((place, segment.number.0), id);
                assert_eq!(twice, None, "segment {} of rung {place} is made twice", segment.number);
            }
        }
    }
    assert_eq!(makers.len(), plan.video.len() * (plan.grid.len() - 1), "a segment is not made");
    makers
}

#[test]
fn committed_chunks_stand_for_their_other_rungs_and_open_ones_are_replaced() {
    let plan = plan();
    let before = holds(&plan);
    let whole: Vec<SpecId> =
        video(&plan).filter(|(_, v)| v.rungs.len() == plan.video.len()).map(|(id, _)| id).collect();
    let (done, open) = (whole[0], whole[1]);
    let revised = bind(&plan, &BTreeSet::from([done]), &[1], 9);
    assert_eq!((revised.plan.revision, revised.plan.parent), (2, Some(1)));
    assert_eq!(revised.rebound, RungSet::of([1]));
    let after = holds(&revised.plan);
    for ((place, segment), maker) in &before {
        let now = after[&(*place, *segment)];
        match (*maker == done, *place == 1) {
            (true, false) => assert_eq!(now, done, "rung {place} of what is committed is not made again"),
            (_, true) => assert_ne!(now, *maker),
            (false, false) => {}
        }
    }
    assert!(!ids(&revised.plan).contains(&open));
    let beside = video(&revised.plan).find(|(id, _)| after.get(&(1, 1)) == Some(id)).unwrap().1;
    assert_eq!(beside.rungs.len(), 1, "only the rung is encoded again");
    let kept = revised.plan.chunks.iter().find(|c| c.spec.spec_id() == done).unwrap();
    assert!(!rungs_of(&revised.plan, &kept.spec).has(1));
    let small = revised.plan.chunks.iter().find(|c| c.spec.spec_id() == after[&(1, 1)]).unwrap();
    assert!(small.cost_ms < kept.cost_ms && small.needs.memory_mib < kept.needs.memory_mib);
    let others =
        |p: &Plan| p.video.iter().map(|v| v.folder.clone()).enumerate().filter(|(n, _)| *n != 1).collect();
    let (old, new): (Vec<_>, Vec<_>) = (others(&plan), others(&revised.plan));
    assert_eq!(old, new);
    assert_ne!(plan.video[1].folder, revised.plan.video[1].folder, "a new binding is a new folder");
    assert_eq!(plan.audio, revised.plan.audio);
    let why = revised.plan.report.decisions.last().unwrap();
    assert!(
        why.contains("bound anew, to what ffmpeg 9 gives") && why.contains("1 committed chunks stand"),
        "{why}"
    );
}

#[test]
fn what_is_bound_to_what_was_found_stays_as_it_is() {
    let plan = bind(&plan(), &BTreeSet::new(), &[0, 1], 9).plan;
    let again = bind(&plan, &BTreeSet::new(), &[0, 1], 9);
    assert_eq!((again.rebound, again.plan), (RungSet::NONE, plan));
}

/// Of every committed chunk of a revised plan in turn, and of all: what it made does not count any more.
#[test]
fn what_does_not_count_any_more_is_planned_anew_as_the_rungs_are_bound_now() {
    let (first, film) = (plan(), films::cinema_24());
    let track = film.video.as_ref().unwrap();
    let all: BTreeSet<SpecId> = video(&first).map(|(id, _)| id).collect();
    let revised = bind(&first, &all, &[1], 9).plan;
    let made: BTreeSet<SpecId> = ids(&revised).into_iter().collect();
    let old: BTreeSet<SpecId> = made.intersection(&all).copied().collect();
    assert!(!old.is_empty() && made.len() > old.len(), "chunks of before stand, with others beside them");
    let lost = made.iter().map(|id| BTreeSet::from([*id])).chain([old.clone(), made.clone()]);
    let mut changed = 0;
    for lost in lost {
        let stands: BTreeSet<SpecId> = made.difference(&lost).copied().collect();
        let next = replan(&revised, track, &stands, "w was caught");
        holds(&next);
        let after: BTreeSet<SpecId> = ids(&next).into_iter().collect();
        for chunk in next.chunks.iter().filter(|c| !stands.contains(&c.spec.spec_id())) {
            let ChunkMedia::Video(chunk) = &chunk.spec.media else { continue };
            for rung in &chunk.rungs {
                assert!(
                    next.video.iter().any(|v| v.folder == rung.folder),
                    "an open chunk as it was bound before"
                );
            }
        }
        assert!(next.video == revised.video, "nothing is bound anew");
        for id in &stands {
            assert!(after.contains(id), "what stands is not made again");
        }
        if next == revised {
            continue;
        }
        changed += 1;
        assert_eq!((next.revision, next.parent), (3, Some(2)));
        let why = next.report.decisions.last().unwrap();
        assert!(why.contains("planned anew") && why.contains("w was caught"), "{why}");
        assert!(replan(&next, track, &stands, "again") == next, "once is enough");
    }
    assert!(changed > 0);
    let small = made.difference(&old).next().copied().unwrap();
    let stands = made.iter().copied().filter(|id| *id != small).collect();
    assert!(replan(&revised, track, &stands, "") == revised, "what was made beside is made again as it is");
    assert!(replan(&first, track, &BTreeSet::new(), "") == first, "a first plan is made again as it is");
}

#[test]
fn an_analysis_that_does_not_answer_is_refused() {
    let (plan, film) = (plan(), films::cinema_24());
    for avcc in [vec![], vec![vec![1; 7], vec![1; 7]], vec![vec![2; 7]]] {
        let found = AnalyseReport { avcc, ..AnalyseReport::default() };
        let input = RevisionInput {
            plan: &plan,
            video: film.video.as_ref().unwrap(),
            committed: &BTreeSet::new(),
            rungs: RungSet::of([0]),
            found: &found,
            by: "",
        };
        assert!(matches!(revise(&input), Err(PlanError::BadReport { .. })));
    }
}

#[test]
fn a_revision_asks_for_its_rungs_only_and_under_a_name_of_its_own() {
    let (film, options) = (films::cinema_24(), JobOptions::default());
    let ladder = ladder::fit(&film, &Default::default(), &options).unwrap();
    let first = analyse_spec(&film, &ladder, &options, Sizing::alone(SLOTS)).unwrap();
    let all = RungSet::of(0..first.rungs.len());
    let plain = AnalyseSpec { downmixes: vec![], joins: vec![], ..first.clone() };
    let names: BTreeSet<SpecId> = [plain, rebind_spec(&first, all, 2), rebind_spec(&first, all, 3)]
        .iter()
        .map(AnalyseSpec::spec_id)
        .collect();
    assert_eq!(names.len(), 3, "what another revision found is not taken for it");
    assert_eq!(rebind_spec(&first, RungSet::of([1]), 2).rungs, [first.rungs[1].clone()]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Revision after revision, back and forth, with more and more committed.
    #[test]
    fn every_revision_makes_every_segment_once_and_keeps_what_it_can(
        steps in prop::collection::vec((1u64..16, 7u8..10, prop::collection::vec(any::<bool>(), 40)), 1..5),
    ) {
        let mut plan = plan();
        let mut committed = BTreeSet::new();
        for (rungs, build, done) in steps {
            let some = ids(&plan).into_iter().zip(done.iter().cycle()).filter(|(_, done)| **done);
            committed.extend(some.map(|(id, _)| id));
            let places: Vec<usize> = (0..plan.video.len()).filter(|p| RungSet(rungs).has(*p)).collect();
            if places.is_empty() {
                continue;
            }
            let before = holds(&plan);
            let Revised { plan: next, rebound } = bind(&plan, &committed, &places, build);
            let after = holds(&next);
            for ((place, segment), maker) in before {
                if !rebound.has(place) && committed.contains(&maker) {
                    prop_assert_eq!(after[&(place, segment)], maker, "it was made and is made again");
                }
            }
            for chunk in next.chunks.iter().filter(|c| !committed.contains(&c.spec.spec_id())) {
                if let ChunkMedia::Video(v) = &chunk.spec.media {
                    let all = RungSet::of(0..v.rungs.len());
                    let known = rungs_of(&next, &chunk.spec);
                    prop_assert_eq!(known.0.count_ones(), all.0.count_ones(), "open work for what is not published");
                }
            }
            plan = next;
        }
        // and all of it there and back again
        committed.extend(ids(&plan));
        let places: Vec<usize> = (0..plan.video.len()).collect();
        let there = bind(&plan, &committed, &places, 20).plan;
        let all: BTreeSet<SpecId> = committed.iter().copied().chain(ids(&there)).collect();
        let bindings: Vec<Vec<u8>> = plan.video.iter().map(|v| v.avcc.clone()).collect();
        let film = films::cinema_24();
        let back = revise(&RevisionInput {
            plan: &there,
            video: film.video.as_ref().unwrap(),
            committed: &all,
            rungs: RungSet::of(places),
            found: &AnalyseReport { avcc: bindings, ..AnalyseReport::default() },
            by: "",
        }).unwrap().plan;
        holds(&back);
        prop_assert_eq!(&back.video, &plan.video);
    }
}
