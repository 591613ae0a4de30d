//! The rule on its own: what is a window, when is it too large, what comes next.

use super::*;
use reelmill_common::index::{Colour, Rotation};
use reelmill_common::ladder::{EncoderFamily, OutputColour, X264Preset};
use reelmill_common::spec::{FrameTable, PictureRecipe, SegmentSpan};
use reelmill_common::{SegmentNumber, Sha256, TickRange, TickSeq, Timebase};

fn settings(max_rate_kbps: u32) -> VideoSettings {
    VideoSettings {
        family: EncoderFamily::X264,
        width: 640,
        height: 360,
        every: 1,
        max_rate_kbps,
        buffer_kbit: max_rate_kbps * 3 / 2,
        crf_tenths: 210,
        preset: X264Preset::Medium,
        level: 30,
        refs: 3,
        bframes: 3,
        lookahead: 48,
        gop_frames: 48,
        threads: 1,
        cpu_independent: false,
        colour: OutputColour::Bt709,
    }
}

/// A chunk whose segments begin at these milliseconds; its last one ends at the last of them.
fn chunk(bounds: &[i64]) -> VideoChunk {
    let span = |(n, w): (usize, &[i64])| SegmentSpan {
        number: SegmentNumber(n as u32 + 1),
        range: TickRange::new(w[0], w[1]),
    };
    let none = TickSeq::Listed(Vec::new());
    let rung = |name: &str, cap| VideoRung {
        folder: name.to_owned(),
        settings: settings(cap),
        avcc: vec![1],
        reorder_delay: 0,
    };
    VideoChunk {
        number: 0,
        stream: 0,
        timebase: Timebase::new(1, 1_000).unwrap(),
        seek: None,
        trim: TickRange::new(0, 1),
        frames: FrameTable { source: none.clone(), copies: None, output: none },
        first_output: 0,
        out_timebase: Timebase::new(1, 1_000).unwrap(),
        picture: PictureRecipe {
            rotation: Rotation::default(),
            deinterlace: None,
            colour: Colour::default(),
            tone_map: None,
        },
        segments: bounds.windows(2).enumerate().map(span).collect(),
        idr: Vec::new(),
        rungs: vec![rung("a", 800), rung("b", 350), rung("c", 100)].into(),
    }
}

/// The measurement of segments of these sizes in kilobytes, the init segment before them.
fn peak(bounds: &[i64], kilobytes: &[u64]) -> u64 {
    let file =
        |segment, bytes| FileReport { rung: 0, segment, bytes, sha256: Sha256([0; 32]), iframes: vec![] };
    let mut files = vec![file(None, 1_000_000)];
    files.extend((1u32..).zip(kilobytes).map(|(n, kb)| file(Some(SegmentNumber(n)), kb * 1_000)));
    measure(&chunk(bounds), files.iter()).peak_bps
}

#[test]
fn a_window_is_a_run_of_about_the_longest_segment() {
    // 4 s of 200 kB
    assert_eq!(peak(&[0, 4_000], &[200]), 400_000);
    // of two equal ones each is a window, both together are too long
    assert_eq!(peak(&[0, 4_000, 8_000], &[200, 400]), 800_000);
    // a tail of a second is no window by itself: 4 + 1 s of 500 kB
    assert_eq!(peak(&[0, 4_000, 5_000], &[300, 200]), 800_000);
    // two seconds are one
    assert_eq!(peak(&[0, 4_000, 6_000], &[300, 200]), 800_000);
    // a chunk of a tail alone
    assert_eq!(peak(&[8_000, 9_000], &[200]), 1_600_000);
    assert_eq!(peak(&[0], &[]), 0);
}

#[test]
fn one_and_a_half_times_the_cap_holds_and_a_bit_more_does_not() {
    assert!(Measured { peak_bps: 1_200_000 }.holds(800));
    assert!(!Measured { peak_bps: 1_200_001 }.holds(800));
    let wanted = settings(800);
    assert_eq!(Measured { peak_bps: 1_200_000 }.next(&wanted, &wanted), None);
}

#[test]
fn the_next_cap_is_lower_by_as_much_as_the_window_was_too_large() {
    let wanted = settings(800);
    let next = Measured { peak_bps: 2_400_000 }.next(&wanted, &wanted).unwrap();
    assert_eq!((next.max_rate_kbps, next.buffer_kbit), (380, 570));
    assert_eq!(next, VideoSettings { max_rate_kbps: 380, buffer_kbit: 570, ..wanted.clone() });
    // not yet enough: from what was used, towards what is wanted
    let after = Measured { peak_bps: 1_500_000 }.next(&wanted, &next).unwrap();
    assert_eq!((after.max_rate_kbps, after.buffer_kbit), (288, 432));
    // the same again
    assert_eq!(Measured { peak_bps: 2_400_000 }.next(&wanted, &wanted), Some(next));
}

#[test]
fn a_cap_never_reaches_zero_and_never_grows() {
    let wanted = settings(10);
    let next = Measured { peak_bps: u64::MAX }.next(&wanted, &wanted).unwrap();
    assert_eq!(next.max_rate_kbps, LEAST_KBPS);
    assert!(next.buffer_kbit > 0);
    assert_eq!(Measured { peak_bps: u64::MAX }.next(&wanted, &next), None);
    // just over the bound, the aim below it still lowers the cap
    let wanted = settings(800);
    let next = Measured { peak_bps: 1_200_001 }.next(&wanted, &wanted).unwrap();
    assert!(next.max_rate_kbps < 800);
}

#[test]
fn only_the_rungs_that_overshot_are_encoded_again() {
    let all = chunk(&[0, 4_000]);
    let some = with_only(&all, &[(2, settings(50)), (0, settings(400))]);
    let rungs: Vec<_> = some.rungs.iter().map(|r| (r.folder.as_str(), r.settings.max_rate_kbps)).collect();
    assert_eq!(rungs, [("c", 50), ("a", 400)]);
    assert_eq!(VideoChunk { rungs: all.rungs.clone(), ..some }, all);
}

#[test]
fn the_note_tells_every_encode() {
    let at = |kbps: u64| Measured { peak_bps: kbps * 1_000 };
    assert_eq!(note("a", &settings(200), &[(200, at(300))]), None);
    assert_eq!(
        note("a", &settings(200), &[(200, at(352)), (161, at(280))]).unwrap(),
        "a: a window of 352 kbit/s exceeds one and a half times the cap of 200 kbit/s; encoded again with a cap of 161 \
         kbit/s, which gave 280"
    );
    let stuck = note("a", &settings(200), &[(200, at(600)), (95, at(590)), (45, at(589))]).unwrap();
    assert!(stuck.ends_with("589; taken as it is, because a lower cap makes it no smaller"), "{stuck}");
}
