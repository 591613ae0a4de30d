//! What needs no ffmpeg: times, complaints, and verdicts on pictures that are made up.

use super::compare::{BARS, judge};
use super::*;
use crate::argv::audit::{HEIGHT, WIDTH};

fn hz(rate: u32) -> Timebase {
    Timebase::new(1, rate).unwrap()
}

#[test]
fn times_are_read_exactly_and_from_the_first_on() {
    let text = "#software: Lavf\n#tb 0: 1/25\n#media_type 0: video\n\
                0,         50,         50,        1,     3456, 0x1\n0, 51, 51, 1, 3456, 0x2\n";
    assert_eq!(times(text, hz(100)), Some(vec![0, 4]));
    assert_eq!(times(text, hz(10)), None, "a fifth of a tick is no time");
    assert_eq!(times("", hz(10)), Some(vec![]));
    assert_eq!(times("0, 1, 1, 1, 1, 0x1\n", hz(10)), None, "nobody said of what length a tick is");
    assert_eq!(times("#tb 0: 0/0\n", hz(10)), None);
    assert_eq!(times("#tb 0: 1/10\nnonsense\n", hz(10)), None);
}

#[test]
fn a_decoder_s_complaint_is_seen_beside_others() {
    let said = "[swscaler @ 0x1] [warning] deprecated\n[h264 @ 0x2] [error] error while decoding MB 3 4\n";
    assert_eq!(complaint(said).as_deref(), Some("[h264 @ 0x2] [error] error while decoding MB 3 4"));
    assert_eq!(complaint("[swscaler @ 0x1] [error] odd\n[h264 @ 0x2] [warning] fine\n"), None);
}

#[test]
fn a_decoder_that_lacks_memory_says_nothing_of_the_file() {
    let said = "[h264 @ 0x2] [error] get_buffer() failed\n[h264 @ 0x2] [error] decode_slice_header error\n";
    assert_eq!(lacking(said).as_deref(), Some("[h264 @ 0x2] [error] get_buffer() failed"));
    assert!(lacking("[error] Error while decoding stream #0:0: Cannot allocate memory").is_some());
    assert!(lacking("[error] pthread_create failed: Resource temporarily unavailable").is_some());
    assert_eq!(lacking("[h264 @ 0x2] [error] error while decoding MB 3 4\n"), None);
}

#[test]
fn a_source_is_damaged_where_a_decoder_says_so() {
    assert!(is_damaged("[aac @ 0x2] [error] channel element 3.5 is not allocated\n"));
    assert!(is_damaged("[mpegts @ 0x2] [warning] Packet corrupt (stream = 1, dts = 900).\n"));
    assert!(!is_damaged("[mov @ 0x2] [warning] stream 1, timescale not set\n"));
}

/// Pictures of bars that walk, `from` where they stand first.
fn walk(from: usize, frames: usize, noise: u8) -> Vec<u8> {
    let (width, height) = (WIDTH as usize, HEIGHT as usize);
    let mut all = Vec::new();
    for frame in from..from + frames {
        let bar = |x: usize| if ((x + 1_600 - 3 * frame) / 8).is_multiple_of(2) { 90 } else { 60 };
        for y in 0..height {
            all.extend((0..width).map(|x| bar(x) + (x * 7 + y * 3 + frame) as u8 % (noise + 1)));
        }
        all.extend(std::iter::repeat_n(128, width * height / 2));
    }
    all
}

fn verdict(segment: &[u8], source: &[u8], shows: &[usize]) -> Result<(), Wrong> {
    judge(&measure(Pictures::new(segment).unwrap(), Pictures::new(source).unwrap(), shows), &BARS)
}

#[test]
fn what_should_be_shown_may_be_soft_and_nothing_else() {
    let source = walk(0, 20, 0);
    let once: Vec<usize> = (0..20).collect();
    assert_eq!(verdict(&walk(0, 20, 9), &source, &once), Ok(()));
    let says = |segment: &[u8], what: &str| {
        let wrong = verdict(segment, &source, &once).expect_err(what).to_string();
        assert!(wrong.contains(what), "{wrong}");
    };
    says(&walk(1, 20, 9), "1 later");
    says(&walk(18, 20, 9), "luma");
    let picture = walk(0, 1, 0).len();
    let mut stray = walk(0, 20, 2);
    stray.copy_within(7 * picture..8 * picture, 8 * picture);
    says(&stray, "frame 8 shows another moment");
    let mut colour = walk(0, 20, 9);
    colour[picture - 900..picture].fill(170);
    says(&colour, "colour");
    let mut damaged = walk(0, 20, 9);
    for row in 0..6 {
        let at = 5 * picture + row * WIDTH as usize;
        damaged[at + 40..at + 48].fill(255);
    }
    says(&damaged, "a part of the picture");
}

#[test]
fn held_frames_are_shown_more_than_once() {
    let source = walk(0, 3, 0);
    let (picture, shows) = (source.len() / 3, [0, 1, 1, 1, 2]);
    let shown: Vec<u8> = shows.iter().flat_map(|i| source[i * picture..(i + 1) * picture].to_vec()).collect();
    assert_eq!(verdict(&shown, &source, &shows), Ok(()));
    assert!(Pictures::new(&shown[1..]).is_none(), "the last is not whole");
}
