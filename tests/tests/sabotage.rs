//! The judge is judged: a good package made by plain ffmpeg passes, and each kind of damage fails by its name.

use reelmill_tests::film::{Film, PLAIN};
use reelmill_tests::judge::{Check, judge};
use reelmill_tests::{reference, sabotage};
use std::collections::BTreeSet;
use std::path::Path;

const FILM: Film = Film { name: "sabotage", frames: 288, ..PLAIN };

/// Makes a good package, damages it, and says by which names the judge calls the damage.
fn named(picture: &str, damage: impl FnOnce(&Path) -> anyhow::Result<()>) -> BTreeSet<Check> {
    let dir = tempfile::tempdir().expect("scratch");
    let made = FILM.make(dir.path()).expect("film");
    let package = dir.path().join("package");
    reference::package(&made, &package, picture).expect("package");
    damage(&package).expect("damage");
    let found = judge(&package, &FILM.expected()).expect("judged");
    for finding in &found {
        println!("{finding}");
    }
    found.into_iter().map(|f| f.check).collect()
}

fn assert_named(found: &BTreeSet<Check>, wanted: &[Check]) {
    for check in wanted {
        assert!(found.contains(check), "{check:?} is not among {found:?}");
    }
}

#[test]
fn a_good_package_has_no_fault() {
    assert_eq!(named("null", |_| Ok(())), BTreeSet::new());
}

#[test]
fn a_lost_frame() {
    let found = named("null", |p| sabotage::drop_frame(p, "v360"));
    assert_named(&found, &[Check::FrameCount, Check::FrameOrder]);
    assert!(!found.contains(&Check::DecodeTimeline), "the times still add up: {found:?}");
}

#[test]
fn a_lost_frame_with_the_gap_closed() {
    let found = named("null", |p| sabotage::drop_frame_and_close_gap(p, "v360"));
    assert_named(&found, &[Check::FrameCount, Check::DecodeTimeline, Check::Extinf]);
}

#[test]
fn a_frame_shown_twice_in_place_of_another() {
    let found = named("null", |p| sabotage::repeat_frame(p, "v360"));
    assert_named(&found, &[Check::FrameOrder]);
    assert!(!found.contains(&Check::FrameCount), "the count is still right: {found:?}");
}

#[test]
fn exchanged_segments() {
    assert_named(&named("null", |p| sabotage::swap_segments(p, "v240")), &[Check::FrameOrder]);
}

#[test]
fn a_shifted_decode_time() {
    let found = named("null", |p| sabotage::shift_decode_time(p, "v240"));
    assert_named(
        &found,
        &[Check::DecodeTimeline, Check::SameBoundaries, Check::FrameTime, Check::MpdTimeline],
    );
}

#[test]
fn a_wrong_extinf() {
    let found = named("null", |p| sabotage::edit(&p.join("v360/playlist.m3u8"), "4.000000", "3.960000"));
    assert_named(&found, &[Check::Extinf]);
}

#[test]
fn a_lost_audio_packet() {
    let found = named("null", sabotage::drop_audio_packet);
    assert_named(&found, &[Check::AudioLag, Check::DecodeTimeline, Check::Extinf]);
}

#[test]
fn a_foreign_audio_packet() {
    let found = named("null", sabotage::replace_audio_packet);
    assert_eq!(found, BTreeSet::from([Check::AudioContinuity]));
}

#[test]
fn sound_twenty_milliseconds_late() {
    assert_named(&named("null", sabotage::delay_sound), &[Check::AudioLag]);
}

#[test]
fn exchanged_colour_planes() {
    assert_eq!(named("swapuv", |_| Ok(())), BTreeSet::from([Check::Colours]));
}

#[test]
fn colours_of_the_wrong_matrix() {
    let wrong = "scale=in_color_matrix=bt709:out_color_matrix=bt601,setparams=colorspace=bt709";
    assert_named(&named(wrong, |_| Ok(())), &[Check::Colours]);
}

#[test]
fn a_missing_segment() {
    assert_named(&named("null", |p| sabotage::lose_segment(p, "v360")), &[Check::SegmentExists]);
}

#[test]
fn a_segment_cut_short() {
    assert_named(&named("null", |p| sabotage::truncate_segment(p, "v360")), &[Check::SegmentExists]);
}

#[test]
fn a_wrong_bandwidth() {
    let halve = |p: &Path| sabotage::edit_value(&p.join("master.m3u8"), ":BANDWIDTH=", |v| v / 2);
    assert_eq!(named("null", halve), BTreeSet::from([Check::Bandwidth]));
}

#[test]
fn a_segment_without_its_idr() {
    assert_named(
        &named("null", |p| sabotage::drop_idr(p, "v360")),
        &[Check::SegmentStart, Check::FrameCount],
    );
}

#[test]
fn a_wrong_dash_timeline() {
    let found = named("null", |p| sabotage::edit_value(&p.join("manifest.mpd"), " d=\"", |v| v - 1));
    assert_eq!(found, BTreeSet::from([Check::MpdTimeline]));
}

#[test]
fn a_playlist_without_an_end() {
    let found = named("null", |p| sabotage::edit(&p.join("audio/playlist.m3u8"), "#EXT-X-ENDLIST\n", ""));
    assert_eq!(found, BTreeSet::from([Check::PlaylistForm]));
}
