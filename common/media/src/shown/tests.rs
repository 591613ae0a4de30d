//! Packets that promise a hundred frames, and decoders that show others.

use super::*;
use reelmill_common::hash::Sha256;
use reelmill_common::index::{Colour, Demuxer, FieldOrder, IndexMethod, KeyKind, Light, Rotation};

fn track(times: &[i64], keys: &[i64]) -> VideoTrack {
    let at = |pts: i64| times.partition_point(|t| *t < pts) as u32;
    let key = |pts: &i64| KeyFrame { frame: at(*pts), pts: Ticks(*pts), kind: KeyKind::Idr, offset: Some(7) };
    VideoTrack {
        stream: 0,
        codec: "h264".to_owned(),
        timebase: Timebase::new(1, 25).expect("timebase"),
        width: 64,
        height: 48,
        sar: (1, 1),
        rotation: Rotation::default(),
        bit_depth: Some(8),
        colour: Colour::default(),
        light: Light::default(),
        field_order: FieldOrder::Progressive,
        language: None,
        frames: TickSeq::from_sorted(times.to_vec()),
        keys: keys.iter().map(key).collect(),
        end: Some(Ticks(100)),
    }
}

fn index(video: VideoTrack) -> SourceIndex {
    SourceIndex {
        source: SourceId(Sha256([1; 32])),
        bytes: 9,
        demuxer: Demuxer::Mov,
        method: IndexMethod::Mp4Tables,
        video: Some(video),
        audio: Vec::new(),
        ignored: Vec::new(),
        notes: vec!["as it was".to_owned()],
    }
}

fn shown(promised: VideoTrack, decoded: &VideoTrack) -> (VideoTrack, Vec<String>) {
    let index = by_decoder(index(promised), decoded);
    (index.video.expect("a picture"), index.notes)
}

fn hundred(without: &[i64]) -> Vec<i64> {
    (0..100).filter(|t| !without.contains(t)).collect()
}

#[test]
fn what_is_shown_is_the_film_and_what_is_missing_is_said() {
    let promised = track(&hundred(&[]), &[0, 50]);
    let (video, notes) = shown(promised, &track(&hundred(&[26, 80, 81]), &[0, 50]));
    assert_eq!(video.frames.iter().collect::<Vec<_>>(), hundred(&[26, 80, 81]));
    assert_eq!(video.keys.iter().map(|k| (k.frame, k.pts.0)).collect::<Vec<_>>(), [(0, 0), (49, 50)]);
    assert_eq!((video.keys[1].kind, video.keys[1].offset), (KeyKind::Idr, Some(7)), "as the container says");
    assert_eq!(
        notes,
        [
            "the film is damaged: its decoder shows 97 of the 100 pictures that are in it; missing are 1 from 0:01.040 on, \
             2 from 0:03.200 on",
            "as it was"
        ]
    );
}

#[test]
fn decoding_begins_at_no_keyframe_that_is_not_shown() {
    let promised = track(&hundred(&[]), &[0, 30, 60, 90]);
    let lost: Vec<i64> = (90..100).chain([30]).collect();
    // at 60 something is shown, but the decoder does not call it a keyframe
    let (video, _) = shown(promised, &track(&hundred(&lost), &[0]));
    assert_eq!(video.keys.iter().map(|k| k.pts.0).collect::<Vec<_>>(), [0]);
    // one that lies before the first frame never is shown
    let edited = track(&hundred(&[0, 1, 2, 3]), &[0, 50]);
    let (video, _) = shown(edited, &track(&hundred(&[0, 1, 2, 3, 70]), &[50]));
    assert_eq!(video.keys.iter().map(|k| (k.frame, k.pts.0)).collect::<Vec<_>>(), [(0, 0), (46, 50)]);
}

#[test]
fn a_beginning_that_is_lost_is_told() {
    let lost: Vec<i64> = (0..50).collect();
    let (video, notes) = shown(track(&hundred(&[]), &[0, 50]), &track(&hundred(&lost), &[50]));
    assert_eq!((video.frames.first(), video.keys[0].frame), (Some(50), 0));
    assert!(
        notes[0].ends_with("50 from 0:00.000 on: it begins with the first that is shown"),
        "{}",
        notes[0]
    );
}

#[test]
fn places_that_would_be_made_up_are_not_named() {
    let promised = track(&hundred(&[]), &[0]);
    let elsewhere: Vec<i64> = (0..99).map(|n| if n > 3 { n + 2 } else { n }).collect();
    let (_, notes) = shown(promised.clone(), &track(&elsewhere, &[0]));
    assert!(
        notes[0].ends_with("99 of the 100 pictures that are in it, some of them at other times than it says")
    );
    let every_other: Vec<i64> = (0..50).map(|n| 2 * n).collect();
    let (_, notes) = shown(promised, &track(&every_other, &[0]));
    assert!(notes[0].ends_with("1 from 0:00.360 on, and 45 more places"), "{}", notes[0]);
}

#[test]
fn another_film_has_another_identity() {
    let promised = track(&hundred(&[]), &[0]);
    let of = |without: &[i64]| by_decoder(index(promised.clone()), &track(&hundred(without), &[0])).source;
    let all = [index(promised.clone()).source, of(&[]), of(&[3]), of(&[4])];
    for (n, one) in all.iter().enumerate() {
        assert!(!all[..n].contains(one), "{n}");
    }
    assert_eq!(of(&[3]), of(&[3]));
    let silent = SourceIndex { video: None, ..index(promised.clone()) };
    assert_eq!(by_decoder(silent.clone(), &promised), silent, "no picture, nothing to show");
}
