//! Tests of the ladder: the table, what fits a source, and what is refused.

use super::*;
use crate::testing;
use reelmill_common::index::Rotation;

fn sizes(index: &SourceIndex, choice: &LadderChoice) -> Vec<String> {
    let ladder = fit(index, choice, &JobOptions::default()).unwrap();
    let show = |r: &FittedRung| {
        format!("{} {}x{}/{}", r.name, r.settings.width, r.settings.height, r.settings.every)
    };
    ladder.rungs.iter().map(show).collect()
}

fn source(width: u32, height: u32, fps: i64) -> SourceIndex {
    testing::index(Some(testing::video(width, height, 12_000, 12_000 / fps, 600)), Vec::new())
}

fn named(names: &[&str]) -> LadderChoice {
    LadderChoice::Named(names.iter().map(|n| (*n).to_owned()).collect())
}

#[test]
fn a_wide_film_keeps_its_1080_rung() {
    let want = ["1080p 1920x800/1", "720p 1280x534/1", "540p 960x400/1", "360p 640x266/1", "240p 426x178/1"];
    assert_eq!(sizes(&source(1920, 800, 24), &LadderChoice::Default), want);
}

#[test]
fn small_rungs_of_fast_films_halve_the_rate() {
    let want = ["720p 1280x720/1", "540p 960x540/1", "360p 640x360/2", "240p 426x240/2"];
    assert_eq!(sizes(&source(1280, 720, 50), &LadderChoice::Default), want);
    let ladder = fit(&source(1280, 720, 50), &LadderChoice::Default, &JobOptions::default()).unwrap();
    let gops: Vec<_> =
        ladder.rungs.iter().map(|r| (r.settings.gop_frames, r.settings.max_rate_kbps)).collect();
    assert_eq!(gops, [(100, 4800), (100, 2800), (50, 800), (50, 350)]);
}

#[test]
fn a_source_between_two_boxes_gets_a_rung_of_its_own() {
    assert_eq!(sizes(&source(640, 428, 30), &LadderChoice::Default)[0], "428p 640x428/1");
    // its own short side is a smaller box's name
    let wide = sizes(&source(1100, 240, 30), &LadderChoice::Default);
    assert_eq!(wide[0], "1100x240 1100x240/1");
    assert!(wide.contains(&"240p 426x92/1".to_owned()), "{wide:?}");
}

#[test]
fn rates_never_grow_down_the_ladder() {
    for (w, h) in [(600, 600), (3026, 1386), (2200, 1400), (640, 428), (1100, 240), (7680, 4320), (720, 576)]
    {
        let ladder = fit(&source(w, h, 60), &LadderChoice::Default, &JobOptions::default()).unwrap();
        let rates: Vec<_> = ladder.rungs.iter().map(|r| r.settings.max_rate_kbps).collect();
        assert!(rates.is_sorted_by(|a, b| a >= b), "{w}x{h}: {rates:?}");
    }
}

#[test]
fn a_tiny_source_gets_one_even_rung_of_its_own_size() {
    assert_eq!(sizes(&source(177, 145, 30), &LadderChoice::Default), ["144p 176x144/1"]);
    assert_eq!(sizes(&source(1, 1, 30), &LadderChoice::Default), ["2p 2x2/1"]);
}

#[test]
fn portrait_films_are_fitted_by_their_short_side() {
    let mut index = source(3840, 2160, 30);
    index.video.as_mut().unwrap().rotation = Rotation { quarter_turns: 3, mirrored: true };
    assert_eq!(sizes(&index, &named(&["720p"])), ["720p 720x1280/1"]);
    assert_eq!(sizes(&source(576, 1024, 30), &LadderChoice::Default)[0], "540p 540x960/1");
}

#[test]
fn pixels_that_are_not_square_change_the_width() {
    let mut index = source(1440, 1080, 25);
    index.video.as_mut().unwrap().sar = (4, 3);
    assert_eq!(sizes(&index, &named(&["1080p"])), ["1080p 1920x1080/1"]);
}

#[test]
fn named_rungs_are_made_as_named_and_no_others() {
    assert_eq!(
        sizes(&source(1920, 1080, 24), &named(&["480p", "720p"])),
        ["720p 1280x720/1", "480p 854x480/1"]
    );
    assert_eq!(sizes(&source(640, 360, 24), &named(&["1080p", "720p"])), ["360p 640x360/1"]);
}

#[test]
fn wrong_ladders_are_refused_with_what_to_do() {
    let index = source(1920, 1080, 24);
    let refuse = |choice| fit(&index, &choice, &JobOptions::default()).unwrap_err();
    let unknown = refuse(named(&["1081p"])).to_string();
    assert!(unknown.contains("1081p") && unknown.contains("720p"), "{unknown}");
    assert_eq!(refuse(named(&["720p", "720p"])), PlanError::DuplicateRung { name: "720p".to_owned() });
    assert_eq!(refuse(named(&[])), PlanError::EmptyLadder);
    // the same without a source
    assert_eq!(check(&named(&[])), Err(PlanError::EmptyLadder));
    assert_eq!(check(&LadderChoice::Default), Ok(()));
    let rung =
        |name: &str, long, short| CustomRung { name: name.to_owned(), long, short, ..CustomRung::default() };
    for bad in [
        rung("A", 640, 360),
        rung("", 640, 360),
        rung("../x", 640, 360),
        rung("a", 100, 200),
        rung("audio", 2, 2),
    ] {
        assert!(matches!(refuse(LadderChoice::Custom(vec![bad])), PlanError::BadRung { .. }));
    }
    let huge = CustomRung { max_rate_kbps: Some(u32::MAX), ..rung("a", 640, 360) };
    assert!(matches!(refuse(LadderChoice::Custom(vec![huge])), PlanError::BadRung { .. }));
}

#[test]
fn a_ladder_file_wins_over_the_preset_which_wins_over_the_table() {
    let rung = CustomRung {
        name: "high".to_owned(),
        long: 1280,
        short: 720,
        crf_tenths: Some(180),
        half_rate: Some(true),
        ..CustomRung::default()
    };
    let options = JobOptions { preset: JobPreset::Quality, ..JobOptions::default() };
    let ladder = fit(&source(1920, 1080, 60), &LadderChoice::Custom(vec![rung]), &options).unwrap();
    let s = &ladder.rungs[0].settings;
    assert_eq!((s.crf_tenths, s.preset, s.every, s.max_rate_kbps), (180, X264Preset::Slow, 2, 3200));
    let default = fit(&source(1920, 1080, 24), &LadderChoice::Default, &options).unwrap();
    assert!(default.rungs.iter().all(|r| r.settings.preset == X264Preset::Slow));
    assert_eq!(default.rungs[0].settings.crf_tenths, 220);
}

#[test]
fn buffer_and_lookahead_keep_to_their_rules() {
    for fps in [10, 24, 60] {
        for rung in
            fit(&source(1920, 1080, fps), &LadderChoice::Default, &JobOptions::default()).unwrap().rungs
        {
            let s = rung.settings;
            assert_eq!(s.buffer_kbit, s.max_rate_kbps * 3 / 2);
            assert!(i64::from(s.lookahead) * i64::from(s.every) <= 2 * fps, "{fps}");
        }
    }
}

#[test]
fn a_size_beyond_every_level_is_refused_not_encoded() {
    let index = source(8192, 4320, 60);
    assert_eq!(
        fit(&index, &LadderChoice::Default, &JobOptions::default()).unwrap().rungs[0].settings.level,
        61
    );
    assert!(fit(&source(9000, 9000, 60), &LadderChoice::Default, &JobOptions::default()).is_err());
    assert!(fit(&source(0, 1080, 24), &LadderChoice::Default, &JobOptions::default()).is_err());
}
