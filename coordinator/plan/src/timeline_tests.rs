//! Tests of the timeline: snapping to a standard rate, the film's zero and its end.

use super::*;
use crate::framemap::{FrameMap, MapNeeds};
use crate::grid::line_ticks;
use crate::testing::{rounded, timed};
use proptest::prelude::*;
use reelmill_common::index::VideoTrack;

fn film(den: u32, frames: TickSeq) -> VideoTrack {
    timed(640, 360, den, frames)
}

#[test]
fn rounded_times_are_put_back() {
    for (den, fps, want) in [
        (1000, (24_000, 1001), "23.976"),
        (1000, (24, 1), "24"),
        (1000, (25, 1), "25"),
        (1000, (30_000, 1001), "29.97"),
        (1000, (60_000, 1001), "59.94"),
        (90_000, (24_000, 1001), "23.976"),
        (90_000, (60, 1), "60"),
        (1000, (25, 2), "12.5"),
        (1000, (15, 1), "15"),
    ] {
        let t = Timeline::of(&film(den, rounded(7, fps, den.into(), 1000)));
        assert!(t.is_constant(), "{want} in 1/{den}");
        assert_eq!(t.rate.to_string(), want);
    }
}

#[test]
fn an_exact_rate_that_no_standard_knows_is_constant_too() {
    let t = Timeline::of(&film(12_800, TickSeq::Regular { first: 0, step: 429, count: 1000 }));
    assert_eq!((t.pace, t.out.den(), t.found), (Pace::Constant { step: 429 }, 12_800, Found::Exact));
}

#[test]
fn one_late_frame_makes_a_film_variable() {
    let mut times: Vec<i64> = rounded(0, (25, 1), 1000, 100).iter().collect();
    times[50] += 2;
    let t = Timeline::of(&film(1000, TickSeq::Listed(times)));
    assert_eq!((t.found, t.pace, t.out.den()), (Found::Variable, Pace::Variable { scale: 1 }, 1000));
}

/// AVI counts frames: one that is missing is a frame shown for longer, not 24 frames a second rounded.
#[test]
fn times_that_count_frames_are_not_put_back() {
    let t = Timeline::of(&film(24, TickSeq::Listed(std::iter::once(0).chain(2..=288).collect())));
    assert_eq!(t.found, Found::Variable);
    let t = Timeline::of(&film(24, TickSeq::Regular { first: 0, step: 1, count: 288 }));
    assert_eq!((t.found, t.rate.to_string()), (Found::Exact, "24".to_owned()));
}

#[test]
fn fast_films_are_thinned_and_sixty_is_not() {
    let keep =
        |den, step| Timeline::of(&film(den, TickSeq::Regular { first: 0, step, count: 500 })).keep_every;
    assert_eq!(keep(60_000, 1000), 1);
    assert_eq!(keep(60_000, 999), 1);
    assert_eq!(keep(60_000, 1001), 1);
    assert_eq!(keep(120_000, 1000), 2);
    assert_eq!(keep(120_000, 1001), 2);
    assert_eq!(keep(100_000, 1000), 2);
    assert_eq!(keep(240_000, 1000), 4);
    assert_eq!(keep(1000, 1), 16);
}

#[test]
fn a_coarse_clock_is_made_finer_by_whole_ticks() {
    let t = Timeline::of(&film(15, TickSeq::Listed(vec![0, 1, 5, 7, 8, 30])));
    assert_eq!((t.out.den(), t.pace), (10_005, Pace::Variable { scale: 667 }));
}

/// The end of a film of 1/25 s frames for a container's word on it.
fn end_with(told: Option<i64>) -> i64 {
    let mut video = film(25_000, TickSeq::Regular { first: 5000, step: 1000, count: 50 });
    video.end = told.map(Ticks);
    let t = Timeline::of(&video);
    FrameMap::of(&video, &t, MapNeeds { line: line_ticks(&t, 4000), audio_end: None, even: false }).end
}

#[test]
fn the_last_frame_lasts_as_told_if_that_is_plausible() {
    assert_eq!(end_with(None), 50_000);
    assert_eq!(end_with(Some(55_000)), 50_000);
    assert_eq!(end_with(Some(55_001)), 50_000, "a tick of rounding is none");
    assert_eq!(end_with(Some(54_600)), 49_600);
    assert_eq!(end_with(Some(56_000)), 51_000);
    assert_eq!(end_with(Some(54_300)), 50_000, "under half");
    assert_eq!(end_with(Some(90_000)), 50_000, "over twice");
    assert_eq!(end_with(Some(0)), 50_000, "before the film");
}

#[test]
fn a_single_frame_lasts_as_told_or_a_twenty_fifth() {
    for (told, want) in [(None, 400), (Some(10), 4000), (Some(0), 400)] {
        let mut video = film(25, TickSeq::from_sorted(vec![0]));
        video.end = told.map(Ticks);
        let t = Timeline::of(&video);
        let map = FrameMap::of(&video, &t, MapNeeds { line: 40_000, audio_end: None, even: false });
        assert_eq!((map.end, map.times.len()), (want, 1), "{told:?}");
    }
}

#[test]
fn places_of_other_tracks_are_rounded_once() {
    let t = Timeline::of(&film(90_000, TickSeq::Regular { first: -90_000, step: 3003, count: 100 }));
    let sound = Timebase::new(1, 44_100).unwrap();
    assert_eq!(t.place(0, sound), 30_000);
    assert_eq!(t.place(-44_100, sound), 0);
    assert_eq!(t.place(1, sound), 30_001, "0.68 of a tick");
    assert_eq!(t.place(i64::MAX, Timebase::new(1, 1).unwrap()), i64::MAX, "saturates");
}

proptest! {
    /// Whatever the times, the map starts at 0, ascends, names every kept frame and ends after the last.
    #[test]
    fn every_map_is_a_map(
        gaps in prop::collection::vec(1i64..20_000, 0..200),
        first in -100_000i64..100_000,
        den in prop::sample::select(vec![25u32, 1000, 12_800, 90_000]),
        audio in prop::option::of(0i64..50_000_000),
        even in any::<bool>(),
    ) {
        let times: Vec<i64> = std::iter::once(first)
            .chain(gaps.iter().scan(first, |at, g| { *at += g; Some(*at) }))
            .collect();
        let video = film(den, TickSeq::from_sorted(times.clone()));
        let t = Timeline::of(&video);
        let line = line_ticks(&t, 4000);
        let map = FrameMap::of(&video, &t, MapNeeds { line, audio_end: audio, even });
        prop_assert_eq!(map.times[0], 0);
        prop_assert!(map.times.is_sorted_by(|a, b| a < b));
        prop_assert!(map.source.is_sorted());
        prop_assert!(map.end > *map.times.last().unwrap());
        prop_assert!(map.end >= audio.unwrap_or(0));
        let mut shown = map.source.clone();
        shown.dedup();
        let kept: Vec<u32> = (0..times.len() as u32).step_by(t.keep_every as usize).collect();
        prop_assert_eq!(&shown, &kept);
        prop_assert_eq!(map.dropped as usize, times.len() - kept.len());
        prop_assert_eq!(map.repeated as usize, map.times.len() - kept.len());
    }
}
