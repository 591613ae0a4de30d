//! How a film is cut: where chunks begin, how large they are, which are split by rung, and segments at source
//! keyframes for those who want them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod films;
mod planned;

use reelmill_common::index::SourceIndex;
use reelmill_common::job::{JobOptions, SegmentAlignment};
use reelmill_common::plan::{CostClass, Plan};
use reelmill_common::spec::{ChunkMedia, VideoChunk};
use reelmill_plan::PlanError;
use std::collections::{BTreeMap, BTreeSet};

fn chunks(plan: &Plan) -> Vec<VideoChunk> {
    let video = |m: &ChunkMedia| match m {
        ChunkMedia::Video(v) => Some(v.clone()),
        ChunkMedia::Audio(_) => None,
    };
    plan.chunks.iter().filter_map(|c| video(&c.spec.media)).collect()
}

/// Output seconds at which chunks begin; parts of one chunk, split by rung, begin together.
fn starts(plan: &Plan) -> Vec<i64> {
    let mut starts: Vec<_> =
        chunks(plan).iter().map(|c| c.segments[0].range.start.0 / i64::from(plan.timebase.den())).collect();
    starts.dedup();
    starts
}

/// 120 s at 25 fps in a small picture, with keyframes at these seconds.
fn film(keys: &[u32]) -> SourceIndex {
    let mut video = films::video(640, 360, 25_000, 1000, 3000);
    video.keys = keys.iter().map(|s| films::key(s * 25, i64::from(*s) * 25_000)).collect();
    films::index(Some(video), Vec::new())
}

/// An hour and a half of 1080p, with sound.
fn long() -> SourceIndex {
    let (seconds, second) = (5_400, 12_288);
    let picture = films::video(1920, 1080, second, i64::from(second) / 24, seconds * 24);
    films::index(Some(picture), vec![films::audio(1, 2, 48_000, i64::from(seconds) * 48_000)])
}

/// The classes of the picture's chunks, by the widths of their rungs.
fn classes(plan: &Plan) -> BTreeMap<Vec<u32>, BTreeSet<CostClass>> {
    let mut classes = BTreeMap::<_, BTreeSet<_>>::new();
    for chunk in &plan.chunks {
        let ChunkMedia::Video(video) = &chunk.spec.media else { continue };
        let widths = video.rungs.iter().map(|r| r.settings.width).collect();
        classes.entry(widths).or_default().insert(reelmill_plan::cost_class(plan, &chunk.spec));
    }
    classes
}

#[test]
fn chunks_are_alike_whose_rungs_are_whatever_film_they_are_of() {
    let of =
        |index: &SourceIndex, slots| classes(&planned::plan(index, &JobOptions::default(), slots).unwrap());
    let one = of(&long(), 500);
    assert!(one.len() >= 2, "whole ladders and parts of them: {one:?}");
    assert!(one.values().all(|c| c.len() == 1), "{one:?}");
    assert_eq!(one.values().flatten().collect::<BTreeSet<_>>().len(), one.len(), "each has its own");
    assert!(!one.values().flatten().any(|c| *c == CostClass::NONE));
    // another film of that size, cut otherwise
    let mut another = long();
    another.source = films::cinema_24().source;
    another.video.as_mut().unwrap().keys.truncate(1);
    let another = of(&another, 16);
    let common: Vec<_> = another.iter().filter(|(widths, _)| one.contains_key(*widths)).collect();
    assert!(
        !common.is_empty() && common.iter().all(|(widths, class)| one[*widths] == **class),
        "{another:?}"
    );
    // small rungs of a film whose largest is another one, and of one of high dynamic range
    for other in [of(&film(&[0]), 4), of(&films::hdr10_pq(), 4)] {
        assert!(other.values().flatten().all(|c| !one.values().flatten().any(|o| o == c)), "{other:?}");
    }
}

#[test]
fn nothing_is_said_of_what_sound_is_like() {
    let plan = planned::plan(&films::sound_only(), &JobOptions::default(), 4).unwrap();
    assert_eq!(reelmill_plan::cost_class(&plan, &plan.chunks[0].spec), CostClass::NONE);
}

fn asked(chunk_ms: u32) -> JobOptions {
    JobOptions { chunk_ms: Some(chunk_ms), ..JobOptions::default() }
}

#[test]
fn chunks_begin_at_the_lines_that_follow_a_keyframe_most_closely() {
    // 20 s wanted: lines at 16, 20 and 24 s are near; the keyframes at 23 s and 47 s decide
    let plan = planned::plan(&film(&[0, 11, 23, 35, 47]), &asked(20_000), 4).unwrap();
    assert_eq!(starts(&plan)[..3], [0, 24, 48]);
    // a keyframe on every line: the nearest to what was asked for
    let every: Vec<u32> = (0..30).map(|n| n * 4).collect();
    assert_eq!(starts(&planned::plan(&film(&every), &asked(20_000), 4).unwrap()), [0, 20, 40, 60, 80, 100]);
}

#[test]
fn a_film_with_one_keyframe_is_cut_all_the_same() {
    let plan = planned::plan(&film(&[0]), &asked(30_000), 4).unwrap();
    let chunks = chunks(&plan);
    assert!(chunks.len() >= 4 && chunks.iter().all(|c| c.seek.is_none()));
}

#[test]
fn one_chunk_when_one_is_asked_for() {
    for ms in [120_000, u32::MAX] {
        assert_eq!(starts(&planned::plan(&film(&[0, 60]), &asked(ms), 4).unwrap()), [0]);
    }
    let per_segment = planned::plan(&film(&[0]), &asked(1), 4).unwrap();
    assert_eq!(chunks(&per_segment).len(), per_segment.grid.len() - 1);
}

#[test]
fn chunks_shrink_toward_the_end_and_outnumber_the_slots() {
    for slots in [1, 2, 8] {
        let plan = planned::plan(&films::cinema_24(), &JobOptions::default(), slots).unwrap();
        let costs: Vec<u64> = plan.chunks[1..].iter().map(|c| c.cost_ms).collect();
        assert!(costs.len() >= 2 * slots as usize, "{slots} slots: {costs:?}");
        assert!(costs[0] >= costs[costs.len() - 1], "{costs:?}");
        let total: u64 = costs.iter().sum();
        let last = costs[costs.len() - 1];
        assert!(
            last * u64::from(slots) <= total / 2,
            "the last chunk alone would keep {slots} slots waiting"
        );
    }
}

/// One encoder thread always: with more, libx264 gives other bytes at each run where the rate cap bites.
#[test]
fn slots_without_a_chunk_take_rungs_of_another() {
    let rungs = |plan: &Plan| chunks(plan).iter().map(|c| c.rungs.len()).collect::<Vec<_>>();
    let few = planned::plan(&film(&[0]), &asked(120_000), 6).unwrap();
    assert_eq!(few.video.len(), 2);
    assert_eq!(rungs(&few), [1, 1]);
    let whole = planned::plan(&film(&[0]), &asked(120_000), 1).unwrap();
    assert_eq!(rungs(&whole), [2]);
    let many = planned::plan(&film(&[0]), &asked(4000), 6).unwrap();
    assert!(rungs(&many).iter().all(|n| *n == 2), "{:?}", rungs(&many));
    for plan in [few, whole, many] {
        assert!(plan.video.iter().all(|v| v.settings.threads == 1));
    }
}

/// Whoever waits for a slot waits for no more than a chunk.
#[test]
fn where_tenants_share_no_chunk_costs_more_than_it_may() {
    let film = long();
    for (options, slots) in [(JobOptions::default(), 2), (JobOptions::default(), 64), (asked(600_000), 4)] {
        let alone = planned::plan(&film, &options, slots).unwrap();
        let shared = planned::plan_shared(&film, &options, slots, 20_000).unwrap();
        let largest = |plan: &Plan| plan.chunks.iter().map(|c| c.cost_ms).max().unwrap();
        assert!(largest(&alone) > 20_000, "{slots} slots: {}", largest(&alone));
        assert!(largest(&shared) <= 20_000, "{slots} slots: {}", largest(&shared));
        assert!(shared.chunks.len() > alone.chunks.len());
        let told =
            |plan: &Plan| plan.report.decisions.iter().any(|d| d.contains("tenants share the slots, so"));
        assert!(told(&shared) && !told(&alone), "{:#?}", shared.report.decisions);
    }
}

#[test]
fn a_segment_that_costs_more_than_it_may_is_split_by_rung() {
    let film = films::cinema_24();
    let rungs = |most_ms: u64| {
        let plan = planned::plan_shared(&film, &asked(4_000), 1, most_ms).unwrap();
        let told = plan.report.decisions.iter().find(|d| d.starts_with("chunks: ")).unwrap().clone();
        (chunks(&plan)[0].rungs.len(), plan.chunks[1].cost_ms, told)
    };
    let (all, whole_ms, told) = rungs(60_000);
    assert!(all > 2 && !told.contains("tenants"), "nothing was changed: {told}");
    let (one, costliest_ms, told) = rungs(whole_ms * 2 / 3);
    assert!(one < all && costliest_ms <= whole_ms * 2 / 3, "{told}");
    assert!(told.contains("tenants share the slots, so a chunk may cost"), "{told}");
    // a segment at one rung is the least there is
    let (one, least_ms, told) = rungs(300);
    assert_eq!((one, least_ms), (1, costliest_ms));
    assert!(told.contains("exceed all the same"), "{told}");
}

#[test]
fn sound_comes_first() {
    let plan = planned::plan(&films::surround(), &JobOptions::default(), 4).unwrap();
    let is_sound: Vec<bool> =
        plan.chunks.iter().map(|c| matches!(c.spec.media, ChunkMedia::Audio(_))).collect();
    assert_eq!(is_sound.iter().rposition(|s| *s), Some(2));
    assert_eq!(
        plan.chunks.iter().map(|c| c.spec.spec_id()).collect::<std::collections::BTreeSet<_>>().len(),
        is_sound.len()
    );
}

#[test]
fn segments_align_to_source_keyframes_when_asked() {
    let options = JobOptions { segments: SegmentAlignment::Source, ..JobOptions::default() };
    let plan = planned::plan(&film(&[0, 3, 5, 9, 10, 40, 45]), &options, 4).unwrap();
    let seconds: Vec<i64> = plan.grid.iter().map(|t| t / 25_000).collect();
    // of 3 and 5, equally near to 4, the earlier; from 9 on the next keyframe is too far, so the grid goes on without
    assert_eq!(seconds[..6], [0, 3, 5, 9, 13, 17]);
    assert!(seconds.contains(&40) && seconds.contains(&45));
}

#[test]
fn many_held_pictures_do_not_meet_in_one_chunk() {
    // a slide show: a picture every 5 s for two hours
    let times = (0..1440).map(|n| n * 5000 + n % 7).collect();
    let slides = films::timed(320, 240, 1000, reelmill_common::TickSeq::Listed(times));
    let plan = planned::plan(&films::index(Some(slides), Vec::new()), &asked(u32::MAX), 1).unwrap();
    for chunk in chunks(&plan) {
        let held = chunk.frames.copies.iter().flatten().filter(|c| **c > 1).count();
        assert!(held <= 500, "{held} pictures are held");
    }
}

#[test]
fn options_and_limits_are_refused_with_their_numbers() {
    let refuse =
        |index: &SourceIndex, options: &JobOptions| planned::plan(index, options, 1).unwrap_err().to_string();
    let short = refuse(&film(&[0]), &JobOptions { segment_ms: 10, ..JobOptions::default() });
    assert!(short.contains("10") && short.contains("1000 to 20000"), "{short}");
    assert!(refuse(&film(&[0]), &asked(0)).contains("chunk"));
    let mut day = films::audio(0, 2, 48_000, 48_000 * 90_000);
    assert!(
        refuse(&films::index(None, vec![day.clone()]), &JobOptions::default()).contains("limit is 86400")
    );
    // a track that ends days after the picture
    day.end.0 = 9_000_000_000_000;
    day.first.0 = day.end.0 - 5;
    let far = films::index(films::cinema_24().video, vec![day]);
    assert!(refuse(&far, &JobOptions::default()).contains("seconds"));
    let nothing = planned::plan(&films::index(None, Vec::new()), &JobOptions::default(), 1).unwrap_err();
    assert!(matches!(nothing, PlanError::NothingToEncode { .. }));
    assert_eq!(nothing.kind(), reelmill_common::outcome::FaultKind::Source);
}
