//! The judge is judged: a good package made by plain ffmpeg passes, and each kind of damage fails by its name.

use reelmill_tests::film::{Film, PLAIN};
use reelmill_tests::judge::{Check, Judge};
use reelmill_tests::{reference, sabotage};
use std::collections::BTreeSet;
use std::path::Path;

const FILM: Film = Film { name: "sabotage", frames: 288, ..PLAIN };

/// A kind of damage, the names it must be called by, and a name it must not be called by: what is still right.
struct Case {
    name: &'static str,
    damage: fn(&Path) -> anyhow::Result<()>,
    named: &'static [Check],
    not: Option<Check>,
}

const CASES: [Case; 16] = [
    Case { name: "nothing", damage: |_| Ok(()), named: &[], not: None },
    Case {
        name: "a lost frame",
        damage: |p| sabotage::drop_frame(p, "v360"),
        named: &[Check::FrameCount, Check::FrameOrder],
        not: Some(Check::DecodeTimeline),
    },
    Case {
        name: "a lost frame, the gap closed",
        damage: |p| sabotage::drop_frame_and_close_gap(p, "v360"),
        named: &[Check::FrameCount, Check::DecodeTimeline, Check::Extinf],
        not: Some(Check::SegmentStart),
    },
    Case {
        name: "exchanged segments",
        damage: |p| sabotage::swap_segments(p, "v240"),
        named: &[Check::FrameOrder],
        not: Some(Check::FrameCount),
    },
    Case {
        name: "a shifted decode time",
        damage: |p| sabotage::shift_decode_time(p, "v240"),
        named: &[Check::DecodeTimeline, Check::SameBoundaries, Check::FrameTime, Check::MpdTimeline],
        not: Some(Check::EndsTogether),
    },
    Case {
        name: "a wrong EXTINF",
        damage: |p| sabotage::edit(&p.join("v360/playlist.m3u8"), "4.000000", "3.960000"),
        named: &[Check::Extinf],
        not: Some(Check::DecodeTimeline),
    },
    Case {
        name: "a lost audio packet",
        damage: sabotage::drop_audio_packet,
        named: &[Check::AudioLag, Check::DecodeTimeline, Check::Extinf],
        not: Some(Check::FrameCount),
    },
    Case {
        name: "a foreign audio packet",
        damage: sabotage::replace_audio_packet,
        named: &[Check::AudioContinuity],
        not: Some(Check::AudioPackets),
    },
    Case {
        name: "sound 20 ms late",
        damage: sabotage::delay_sound,
        named: &[Check::AudioLag],
        not: Some(Check::DecodeTimeline),
    },
    Case {
        name: "a missing segment",
        damage: |p| sabotage::lose_segment(p, "v360"),
        named: &[Check::SegmentExists],
        not: None,
    },
    Case {
        name: "a segment cut short",
        damage: |p| sabotage::truncate_segment(p, "v360"),
        named: &[Check::SegmentExists],
        not: None,
    },
    Case {
        name: "a wrong BANDWIDTH",
        damage: |p| sabotage::edit_value(&p.join("master.m3u8"), ":BANDWIDTH=", |v| v / 2),
        named: &[Check::Bandwidth],
        not: Some(Check::MasterAttributes),
    },
    Case {
        name: "a segment without its IDR",
        damage: |p| sabotage::drop_idr(p, "v360"),
        named: &[Check::SegmentStart, Check::FrameCount],
        not: None,
    },
    Case {
        name: "a wrong DASH timeline",
        damage: |p| sabotage::edit_value(&p.join("manifest.mpd"), " d=\"", |v| v - 1),
        named: &[Check::MpdTimeline],
        not: Some(Check::Extinf),
    },
    Case {
        name: "an MPD whose duration is a plain number",
        damage: |p| sabotage::edit(&p.join("manifest.mpd"), "minBufferTime=\"PT4S\"", "minBufferTime=\"4\""),
        named: &[Check::MpdForm],
        not: Some(Check::MpdTimeline),
    },
    Case {
        name: "a playlist without an end",
        damage: |p| sabotage::edit(&p.join("audio/playlist.m3u8"), "#EXT-X-ENDLIST\n", ""),
        named: &[Check::PlaylistForm],
        not: Some(Check::Extinf),
    },
];

fn names(judge: &mut Judge, package: &Path) -> BTreeSet<Check> {
    let found = judge.judge(package, &FILM.expected()).expect("judged");
    for finding in &found {
        println!("    {finding}");
    }
    found.into_iter().map(|f| f.check).collect()
}

#[test]
fn each_damage_is_called_by_its_name() {
    let dir = tempfile::tempdir().expect("scratch");
    let made = FILM.make(dir.path()).expect("film");
    let good = dir.path().join("good");
    reference::package(&made, &good, "null").expect("package");
    let mut judge = Judge::default();
    for (i, case) in CASES.iter().enumerate() {
        println!("{}", case.name);
        let damaged = dir.path().join(format!("damaged-{i}"));
        sabotage::copy(&good, &damaged).expect("copy");
        (case.damage)(&damaged).expect(case.name);
        let found = names(&mut judge, &damaged);
        assert_eq!(found.is_empty(), case.named.is_empty(), "{}: {found:?}", case.name);
        for check in case.named {
            assert!(found.contains(check), "{}: {check:?} is not among {found:?}", case.name);
        }
        assert!(case.not.is_none_or(|c| !found.contains(&c)), "{}: {found:?}", case.name);
    }
}

/// Pictures are wrong from the encoder on: nothing else is wrong with these packages, all else adds up.
#[test]
fn wrong_pictures_are_called_by_their_name() {
    let dir = tempfile::tempdir().expect("scratch");
    let made = FILM.make(dir.path()).expect("film");
    let mut judge = Judge::default();
    let wrong_matrix = "scale=in_color_matrix=bt709:out_color_matrix=bt601,setparams=colorspace=bt709";
    // Frame 150 is lost and 149 shown twice, as a rate conversion does.
    let repeated = "select='not(eq(n\\,150))',fps=24";
    for (name, picture, check) in [
        ("exchanged planes", "swapuv", Check::Colours),
        ("the wrong matrix", wrong_matrix, Check::Colours),
        ("a frame shown twice in place of another", repeated, Check::FrameOrder),
    ] {
        println!("{name}");
        let package = dir.path().join(name.replace(' ', "-"));
        reference::package(&made, &package, picture).expect("package");
        assert_eq!(names(&mut judge, &package), BTreeSet::from([check]), "{name}");
    }
}
