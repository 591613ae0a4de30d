//! Sound in ranges: when, where, and that nobody can tell it from the package.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod films;
mod planned;

use reelmill_common::index::{SampleGrid, SourceIndex};
use reelmill_common::job::JobOptions;
use reelmill_common::ladder::LadderChoice;
use reelmill_common::outcome::AnalyseReport;
use reelmill_common::plan::{Plan, Sizing};
use reelmill_common::spec::{AAC_FRAME, AnalyseSpec, AudioChunk, AudioRange, ChunkMedia};
use reelmill_common::{Ticks, Timebase};
use reelmill_plan::{PlanError, PlanInput, analyse_spec, ladder};

const SECONDS: u32 = 3600;

/// An hour of picture and sound.
fn film() -> SourceIndex {
    let video = films::video(1280, 720, 24_000, 1000, SECONDS * 24);
    films::index(Some(video), vec![films::audio(1, 2, 48_000, i64::from(SECONDS) * 48_000)])
}

fn sounds(plan: &Plan) -> Vec<AudioChunk> {
    let audio = |m: &ChunkMedia| match m {
        ChunkMedia::Audio(a) => Some(a.clone()),
        ChunkMedia::Video(_) => None,
    };
    plan.chunks.iter().filter_map(|c| audio(&c.spec.media)).collect()
}

fn planned(index: &SourceIndex, slots: u32) -> Plan {
    planned::plan(index, &JobOptions::default(), slots).unwrap()
}

/// A plan whose analysis finds these joins.
fn found(
    index: &SourceIndex,
    slots: u32,
    joins: impl Fn(&AnalyseSpec) -> Vec<u64>,
) -> Result<Plan, PlanError> {
    let options = &JobOptions::default();
    let ladder = ladder::fit(index, &LadderChoice::Default, options)?;
    let sizing = Sizing::alone(slots);
    let spec = analyse_spec(index, &ladder, options, sizing)?;
    let avcc = spec.rungs.iter().map(|r| vec![1, 100, 0, r.level, 0xFF, 0xE1, 0]).collect();
    let peaks = vec![10_000; spec.downmixes.len()];
    let analyses = &AnalyseReport { avcc, peaks, joins: joins(&spec) };
    reelmill_plan::plan(&PlanInput { index, analyses, ladder: &ladder, options, sizing })
}

#[test]
fn sound_is_one_encode_until_it_would_hold_up_the_job() {
    let film = film();
    for (slots, ranges) in [(0, 1), (1, 1), (8, 1), (40, 1), (400, 10)] {
        let sounds = sounds(&planned(&film, slots));
        println!("{slots} slots: {} chunks of sound", sounds.len());
        assert_eq!(sounds.len() > 1, ranges > 1, "{slots} slots");
        assert_eq!(sounds.len() == 1, sounds[0].range.is_none());
        assert!(sounds.iter().all(|s| s.measure_loudness));
    }
}

#[test]
fn where_tenants_share_sound_is_cut_as_small_as_chunks_are() {
    let film = film();
    for (most_ms, ranges) in [(90_000, 1), (60_000, 2), (20_000, 5)] {
        let plan = planned::plan_shared(&film, &JobOptions::default(), 1, most_ms).unwrap();
        assert_eq!(sounds(&plan).len(), ranges);
        let sound = plan.chunks.iter().filter(|c| matches!(c.spec.media, ChunkMedia::Audio(_)));
        assert!(sound.clone().all(|c| c.cost_ms <= most_ms), "{:?}", sound.map(|c| c.cost_ms).max());
        let told = plan.report.decisions.iter().any(|d| d.contains("tenants share the slots: a chunk may"));
        assert_eq!(told, ranges > 1, "{:#?}", plan.report.decisions);
    }
}

#[test]
fn ranges_are_long_whole_segments_and_make_all_packets_once() {
    let plan = planned(&film(), 400);
    let sounds = sounds(&plan);
    let rendition = &plan.audio[0];
    assert!(sounds.len() > 5, "{}", sounds.len());
    let segments: Vec<_> = sounds.iter().flat_map(|s| s.segments.clone()).collect();
    assert_eq!(segments, rendition.segments);
    assert!(sounds.windows(2).all(|w| w[0].packets.1 == w[1].packets.0));
    for (n, sound) in sounds.iter().enumerate() {
        let (first, last) = (sound.segments[0], sound.segments[sound.segments.len() - 1]);
        assert_eq!((sound.number as usize, sound.packets), (n, (first.first_packet, last.end_packet)));
        let samples = (sound.packets.1 - sound.packets.0) * AAC_FRAME;
        assert!(samples >= 120 * 48_000 - AAC_FRAME, "range {n} has {samples} samples");
        // decoding begins some seconds before what is encoded
        let range = sound.range.unwrap();
        assert_eq!(range.pre_roll, 2048);
        let ahead = range.seek.map(|s| ((sound.packets.0 - range.pre_roll) * AAC_FRAME) as i64 - s.0);
        assert_eq!(ahead, (n > 0).then_some(5 * 48_000), "range {n}");
    }
    let told = plan.report.decisions.iter().filter(|d| d.contains("ranges")).count();
    assert_eq!(told, 2, "{:#?}", plan.report.decisions);
}

#[test]
fn a_player_cannot_tell_ranges_from_one_encode() {
    let film = film();
    let (one, many) = (planned(&film, 4), planned(&film, 400));
    assert_ne!(sounds(&one).len(), sounds(&many).len());
    assert_eq!((&one.audio, &one.grid, &one.duration), (&many.audio, &many.grid, &many.duration));
}

#[test]
fn a_join_that_cannot_be_is_left_out() {
    let film = film();
    let all = sounds(&planned(&film, 400)).len();
    let without = found(&film, 400, |s| {
        let mut joins: Vec<u64> = s.joins.iter().map(|j| j.segments[1].first_packet).collect();
        joins[2] = 0;
        joins
    });
    assert_eq!(sounds(&without.unwrap()).len(), all - 1);
    let none = found(&film, 400, |s| vec![0; s.joins.len()]).unwrap();
    assert_eq!(sounds(&none), sounds(&planned(&film, 4)));
}

#[test]
fn an_answer_that_was_not_asked_for_is_refused() {
    let film = film();
    let shifted = |s: &AnalyseSpec| s.joins.iter().map(|j| j.segments[0].first_packet + 1).collect();
    for bad in [found(&film, 400, shifted), found(&film, 400, |_| vec![]), found(&film, 4, |_| vec![200])] {
        assert!(matches!(bad, Err(PlanError::BadReport { .. })), "{bad:?}");
    }
}

#[test]
fn sound_that_cannot_be_cut_to_the_sample_stays_whole_and_the_report_says_why() {
    type Change = fn(&mut SourceIndex);
    let cases: [(Change, &str); 3] = [
        (|i| i.audio[0].grid = None, "do not tell where samples lie"),
        (|i| i.audio[0].sample_rate = 96_000, "its sample rate is converted"),
        (|i| i.audio[0].end.0 = 200 * 48_000, ""),
    ];
    for (change, why) in cases {
        let mut film = film();
        change(&mut film);
        let plan = planned(&film, 400);
        assert_eq!(sounds(&plan).len(), 1, "{why}");
        assert!(plan.report.decisions.iter().any(|d| d.contains(why)), "{:#?}", plan.report.decisions);
    }
}

/// Times in milliseconds tell where the first sample lies to half of one only; all of them together tell it.
#[test]
fn one_encode_of_rounded_times_is_placed_on_the_count_of_samples() {
    let mut film = film();
    let grid = SampleGrid { origin: -16, step: 1024 };
    film.audio[0].timebase = Timebase::new(1, 1_000).unwrap();
    film.audio[0].end = Ticks(i64::from(SECONDS) * 1_000);
    let range = |film: &SourceIndex| sounds(&planned(film, 1))[0].range;
    film.audio[0].grid = Some(grid);
    assert_eq!(range(&film), Some(AudioRange { seek: None, grid, pre_roll: 0 }));
    film.audio[0].grid = None;
    assert_eq!(range(&film), None);
    // samples of another rate are counted anew, behind the conversion
    (film.audio[0].grid, film.audio[0].sample_rate) = (Some(grid), 32_000);
    assert_eq!(range(&film), None);
}

#[test]
fn sound_that_begins_late_is_decoded_from_the_start_where_there_is_nothing_to_land_on() {
    let mut film = film();
    // joins lie 15 s inside of the sound, so the first pre-roll begins before it
    film.audio[0].first = Ticks(330 * 48_000);
    let seeks: Vec<bool> =
        sounds(&planned(&film, 400)).iter().map(|s| s.range.unwrap().seek.is_some()).collect();
    assert_eq!((seeks[0], seeks[1], seeks[2]), (false, false, true), "{seeks:?}");
}

#[test]
fn sound_alone_is_cut_for_the_slots_there_are() {
    let film = films::index(None, vec![films::audio(0, 2, 48_000, i64::from(SECONDS) * 48_000)]);
    let counts: Vec<usize> =
        [1, 2, 6, 1000].into_iter().map(|slots| sounds(&planned(&film, slots)).len()).collect();
    assert_eq!(counts[..3], [1, 2, 6]);
    assert!((24..=30).contains(&counts[3]), "{counts:?}");
}
