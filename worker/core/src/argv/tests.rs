//! Golden arguments, one option a line, for a person to review. Change them with `UPDATE_EXPECT=1`, and raise
//! `reelmill_common::spec::RECIPE` when the same spec would give other bytes.

mod looks;
mod pictures;
mod rules;
mod sounds;

use super::*;
use crate::argv::timeline::{encoder_times, seconds_floor};
use expect_test::{Expect, expect};
use reelmill_common::index::{Colour, FieldOrder, Rotation, SampleGrid};
use reelmill_common::ladder::{
    AudioMix, AudioSettings, EncoderFamily, OutputColour, VideoSettings, X264Preset,
};
use reelmill_common::spec::*;
use reelmill_common::{SegmentNumber, TickRange, TickSeq, Ticks, Timebase};
use reelmill_media::scan::Depth;

/// Options with their values, one a line.
fn lines(argv: &[String]) -> String {
    let mut out = String::new();
    for (i, a) in argv.iter().enumerate() {
        let option =
            |a: &str| a.starts_with('-') && a.len() > 1 && !a[1..].starts_with(|c: char| c.is_ascii_digit());
        out.push_str(if i == 0 {
            ""
        } else if option(a) {
            "\n"
        } else {
            " "
        });
        out.push_str(&a.replace(';', ";\n  ").replace(",", ", "));
    }
    out.push('\n');
    out
}

fn check(argv: Result<Vec<String>, ArgvError>, expected: Expect) {
    expected.assert_eq(&lines(&argv.unwrap()));
}

fn settings(width: u32, height: u32, every: u8) -> VideoSettings {
    VideoSettings {
        family: EncoderFamily::X264,
        width,
        height,
        every,
        max_rate_kbps: 3_200,
        buffer_kbit: 4_800,
        crf_tenths: 225,
        preset: X264Preset::Medium,
        level: 31,
        refs: 3,
        bframes: 3,
        lookahead: 48,
        gop_frames: 48 / u16::from(every),
        threads: 1,
        cpu_independent: false,
        colour: OutputColour::Bt709,
    }
}

fn rung(width: u32, height: u32, every: u8) -> VideoRung {
    let folder = format!("{height}p-0123456789");
    VideoRung { folder, settings: settings(width, height, every), avcc: vec![1], reorder_delay: 2_002 }
}

fn local() -> Input {
    Input { demuxer: Demuxer::Mov, location: Location::File("/films/a.mp4".to_owned()), threads: 2 }
}

fn loopback() -> Input {
    let url = "http://127.0.0.1:4242/0123456789abcdef".to_owned();
    Input { demuxer: Demuxer::MpegTs, location: Location::Loopback(url), threads: 1 }
}

fn paths(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("/scratch/{i}.mp4")).collect()
}
