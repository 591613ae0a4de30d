//! What happens to the picture besides scaling: upright, progressive, from a colour description without gaps to the
//! one colour of all rungs. Decided once for the whole film from the index; the worker only carries it out.

use crate::ladder::Size;
use crate::timeline::Timeline;
use reelmill_common::index::{Colour, FieldOrder, Light, VideoTrack};
use reelmill_common::ladder::OutputColour;
use reelmill_common::spec::{PictureRecipe, ToneMap};
use std::cmp::Ordering;

// Code points of ISO/IEC 23091-2.
const BT709: u8 = 1;
const UNSPECIFIED: u8 = 2;
const BT470BG: u8 = 5;
const SMPTE170M: u8 = 6;
const BT2020: u8 = 9;
const BT2020_CONSTANT: u8 = 10;
const PQ: u8 = 16;
const HLG: u8 = 18;

/// Pictures of a shorter side than this are taken for standard definition when they do not say.
const HIGH_DEFINITION: u32 = 720;

/// The recipe, and what to tell a person about it.
pub(crate) fn recipe(video: &VideoTrack, timeline: &Timeline) -> (PictureRecipe, Vec<String>) {
    let mut notes = Vec::new();
    if video.rotation.quarter_turns != 0 || video.rotation.mirrored {
        let mirrored = if video.rotation.mirrored { " and mirrored" } else { "" };
        let degrees = u32::from(video.rotation.quarter_turns % 4) * 90;
        notes.push(format!("picture: turned by {degrees} degrees clockwise{mirrored} to stand upright"));
    }
    let deinterlace = match video.field_order {
        FieldOrder::TopFirst | FieldOrder::BottomFirst => {
            notes.push("picture: interlaced; each frame becomes one progressive frame".to_owned());
            Some(video.field_order)
        }
        FieldOrder::Progressive => None,
        FieldOrder::Unknown => {
            notes.push("picture: field order not told; taken for progressive".to_owned());
            None
        }
    };
    let colour = complete(video, timeline);
    notes.push(colour_note(video.colour, colour, output_colour(video, timeline)));
    let tone_map = tone_map(colour, video.light).map(|(curve, why)| {
        notes.push(format!(
            "picture: high dynamic range, tone-mapped to BT.709 by one curve for the whole film (Hable; white at {} \
             cd/m², peak at {} cd/m²: {why}); the SDR picture is not graded",
            curve.white, curve.peak
        ));
        curve
    });
    (PictureRecipe { rotation: video.rotation, deinterlace, colour, tone_map }, notes)
}

/// Diffuse white of HDR pictures in cd/m² (ITU-R BT.2408).
const HDR_WHITE: u32 = 203;
/// Peak of HLG's reference display (ITU-R BT.2100), and what PQ films are mastered for most often.
const USUAL_PEAK: u32 = 1_000;
/// The most that PQ can say.
const MOST_PEAK: u32 = 10_000;

/// The tone curve of a high dynamic range and where its peak comes from. HLG is relative to the display, so what a file
/// says of absolute light does not apply to it.
fn tone_map(colour: Colour, light: Light) -> Option<(ToneMap, &'static str)> {
    let (peak, why) = match (colour.transfer, light.max_content, light.mastering_peak) {
        (Some(HLG), _, _) => (USUAL_PEAK, "the reference display of HLG"),
        (Some(PQ), Some(content), Some(display)) if display < content => (display, "its mastering display"),
        (Some(PQ), Some(content), _) => (content, "its maximum content light level"),
        (Some(PQ), None, Some(display)) => (display, "its mastering display"),
        (Some(PQ), None, None) => (USUAL_PEAK, "usual, because the file does not say"),
        _ => return None,
    };
    Some((ToneMap { white: HDR_WHITE, peak: peak.clamp(HDR_WHITE, MOST_PEAK) }, why))
}

/// The colour of every rung. A source that does not say its matrix is never converted by a guess: its pixels stay as
/// they are, and the rungs say what they are taken for. Every other source becomes BT.709.
pub(crate) fn output_colour(video: &VideoTrack, timeline: &Timeline) -> OutputColour {
    let used = complete(video, timeline);
    if told(video.colour.matrix).is_some() || is_hdr(used) {
        return OutputColour::Bt709;
    }
    match (used.matrix, used.primaries) {
        (Some(BT470BG | SMPTE170M), Some(BT470BG)) => OutputColour::Bt601Line625,
        (Some(BT470BG | SMPTE170M), _) => OutputColour::Bt601Line525,
        _ => OutputColour::Bt709,
    }
}

fn is_hdr(colour: Colour) -> bool {
    matches!(colour.transfer, Some(PQ | HLG))
}

/// A code point that says something: 2 is "unspecified", 3 reserved.
fn told(code: Option<u8>) -> Option<u8> {
    code.filter(|code| *code != UNSPECIFIED && *code != 3)
}

/// Fills the gaps of the colour description. What the file says stays; the rest follows from what it says of the
/// others, else from the picture's size.
fn complete(video: &VideoTrack, timeline: &Timeline) -> Colour {
    // 0 is reserved for primaries and transfer, but means RGB as a matrix
    let primaries = told(video.colour.primaries).filter(|c| *c != 0);
    let transfer = told(video.colour.transfer).filter(|c| *c != 0);
    let matrix = told(video.colour.matrix);
    let family = match (matrix, primaries) {
        (Some(BT470BG | SMPTE170M), _) | (None | Some(0), Some(BT470BG | SMPTE170M | 7)) => {
            standard_definition(video, timeline)
        }
        (Some(BT2020 | BT2020_CONSTANT), _) | (None, Some(BT2020)) => (BT2020, BT709, BT2020),
        (Some(BT709), _) | (_, Some(BT709)) => (BT709, BT709, BT709),
        _ if matches!(transfer, Some(PQ | HLG)) => (BT2020, BT709, BT2020),
        _ if Size::shown(video).short() < HIGH_DEFINITION => standard_definition(video, timeline),
        _ => (BT709, BT709, BT709),
    };
    Colour {
        primaries: Some(primaries.unwrap_or(family.0)),
        transfer: Some(transfer.unwrap_or(family.1)),
        matrix: Some(matrix.unwrap_or(family.2)),
        full_range: Some(video.colour.full_range.unwrap_or(false)),
    }
}

/// BT.601 of the picture's line system: 625 lines by a height of 288 or 576 or a rate of 25 or 50, else 525.
fn standard_definition(video: &VideoTrack, timeline: &Timeline) -> (u8, u8, u8) {
    let rate = timeline.rate;
    let is_625 = match video.height {
        288 | 576 => true,
        240 | 480 | 486 => false,
        _ => rate.cmp_whole(25) == Ordering::Equal || rate.cmp_whole(50) == Ordering::Equal,
    };
    if is_625 { (BT470BG, SMPTE170M, BT470BG) } else { (SMPTE170M, SMPTE170M, SMPTE170M) }
}

fn colour_note(told: Colour, used: Colour, output: OutputColour) -> String {
    let code = |v: Option<u8>| v.map_or("-".to_owned(), |c| c.to_string());
    let three = |c: Colour| format!("{}/{}/{}", code(c.primaries), code(c.transfer), code(c.matrix));
    let range = if used.full_range == Some(true) { "full" } else { "limited" };
    let source = if three(told) == three(used) {
        format!("{} ({range} range) as the file says", three(used))
    } else {
        format!(
            "the file says {}; taken for {} ({range} range) by its size and rate",
            three(told),
            three(used)
        )
    };
    let kept = output != OutputColour::Bt709 || (used.matrix == Some(BT709) && !is_hdr(used));
    match (kept, used.full_range) {
        (false, _) => format!("colour: {source}, converted to BT.709 limited"),
        (true, Some(true)) => {
            format!("colour: {source}, made limited, otherwise kept as it is and tagged {}", output.name())
        }
        (true, _) => format!("colour: {source}, kept as it is and tagged {}", output.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn colour(width: u32, height: u32, fps: i64, told: Colour) -> (Option<u8>, Option<u8>, Option<u8>) {
        let mut video = testing::video(width, height, 1000, 1000 / fps, 50);
        video.colour = told;
        let c = recipe(&video, &Timeline::of(&video)).0.colour;
        (c.primaries, c.transfer, c.matrix)
    }

    #[test]
    fn an_unspecified_picture_is_decided_by_its_size() {
        let none = Colour::default();
        let two = Colour { primaries: Some(2), transfer: Some(2), matrix: Some(2), full_range: None };
        for told in [none, two] {
            assert_eq!(colour(1920, 1080, 25, told), (Some(1), Some(1), Some(1)));
            assert_eq!(colour(720, 1280, 25, told), (Some(1), Some(1), Some(1)));
            assert_eq!(colour(720, 576, 25, told), (Some(5), Some(6), Some(5)));
            assert_eq!(colour(720, 480, 25, told), (Some(6), Some(6), Some(6)));
            assert_eq!(colour(640, 360, 25, told), (Some(5), Some(6), Some(5)));
            assert_eq!(colour(640, 360, 10, told), (Some(6), Some(6), Some(6)));
        }
    }

    /// The colour of the rungs and the sentence about it.
    fn output(width: u32, height: u32, told: Colour) -> (OutputColour, String) {
        let mut video = testing::video(width, height, 1000, 40, 50);
        video.colour = told;
        let timeline = Timeline::of(&video);
        let notes = recipe(&video, &timeline).1;
        let note = notes.into_iter().find(|n| n.starts_with("colour: ")).unwrap();
        (output_colour(&video, &timeline), note)
    }

    #[test]
    fn a_guess_is_tagged_and_never_converted() {
        use OutputColour::{Bt601Line525, Bt601Line625, Bt709};
        let says = |primaries, transfer, matrix| Colour { primaries, transfer, matrix, full_range: None };
        let none = Colour::default();
        for (width, height, told, expected) in [
            (720, 480, none, Bt601Line525),
            (720, 576, none, Bt601Line625),
            (1280, 720, none, Bt709),
            (720, 576, says(Some(2), Some(2), Some(2)), Bt601Line625),
            // primaries without a matrix: the matrix is still a guess, the line system is not
            (720, 576, says(Some(6), None, None), Bt601Line525),
            (720, 480, says(Some(5), None, None), Bt601Line625),
            (720, 480, says(Some(1), None, None), Bt709),
        ] {
            let (colour, note) = output(width, height, told);
            assert_eq!(colour, expected, "{width}x{height} {told:?}");
            let kept = format!("kept as it is and tagged {}", colour.name());
            assert!(note.ends_with(&kept), "{note}");
        }
        let full = Colour { full_range: Some(true), ..none };
        let (colour, note) = output(720, 480, full);
        assert_eq!(colour, Bt601Line525);
        assert!(note.contains("made limited, otherwise kept as it is"), "{note}");
    }

    #[test]
    fn what_says_its_colour_is_converted() {
        let says = |primaries, transfer, matrix| Colour { primaries, transfer, matrix, full_range: None };
        for told in [
            says(Some(6), Some(6), Some(6)),
            says(None, None, Some(5)),
            says(None, Some(16), None),
            says(Some(9), Some(18), Some(9)),
            says(Some(9), None, None),
        ] {
            let (colour, note) = output(720, 576, told);
            assert_eq!(colour, OutputColour::Bt709, "{told:?}");
            assert!(note.ends_with("converted to BT.709 limited"), "{note}");
        }
        let (colour, note) = output(720, 576, says(Some(1), Some(1), Some(1)));
        assert_eq!(colour, OutputColour::Bt709);
        assert!(note.ends_with("as the file says, kept as it is and tagged BT.709"), "{note}");
    }

    #[test]
    fn the_tone_curve_is_that_of_the_film() {
        let curve = |transfer, max_content, mastering_peak| {
            let mut video = testing::video(1920, 1080, 1000, 40, 50);
            video.colour = Colour { transfer: Some(transfer), ..Colour::default() };
            video.light = Light { max_content, mastering_peak };
            let (recipe, notes) = recipe(&video, &Timeline::of(&video));
            let note = notes.into_iter().find(|n| n.starts_with("picture: high")).unwrap_or_default();
            (recipe.tone_map.map(|t| (t.white, t.peak)), note)
        };
        for (transfer, content, display, peak, why) in [
            (PQ, None, None, 1_000, "the file does not say"),
            (PQ, Some(640), Some(1_000), 640, "its maximum content light level"),
            (PQ, None, Some(4_000), 4_000, "its mastering display"),
            (PQ, Some(9_999), Some(4_000), 4_000, "its mastering display"),
            (PQ, Some(120), None, 203, "its maximum content light level"),
            (PQ, Some(60_000), None, 10_000, "its maximum content light level"),
            (HLG, Some(640), Some(4_000), 1_000, "the reference display of HLG"),
        ] {
            let (found, note) = curve(transfer, content, display);
            assert_eq!(found, Some((203, peak)), "{transfer} {content:?} {display:?}");
            assert!(note.contains(why) && note.contains(&format!("peak at {peak} cd/m²")), "{note}");
        }
        assert_eq!(curve(BT709, Some(640), Some(1_000)), (None, String::new()));
    }

    #[test]
    fn what_the_file_says_stays() {
        let pq = Colour { transfer: Some(16), ..Colour::default() };
        assert_eq!(colour(640, 360, 25, pq), (Some(9), Some(16), Some(9)));
        let matrix_only = Colour { matrix: Some(1), ..Colour::default() };
        assert_eq!(colour(640, 360, 25, matrix_only), (Some(1), Some(1), Some(1)));
        let rgb = Colour { matrix: Some(0), primaries: Some(1), transfer: Some(13), full_range: Some(true) };
        assert_eq!(colour(640, 360, 25, rgb), (Some(1), Some(13), Some(0)));
    }
}
