//! Which blocks a chunk counts, and what it makes of missing ones.

use super::*;
use reelmill_common::ladder::{AudioMix, AudioSettings};
use reelmill_common::spec::{AudioRange, ExactTime};
use reelmill_common::{Ticks, Timebase, index::SampleGrid};

const RATE: u32 = 48_000;
const PEAK: &str = "[Parsed_ebur128_3 @ 0x1] [info] Summary:\n\n  Integrated loudness:\n    I:         -17.3 LUFS\n\n  \
                    True peak:\n    Peak:       -0.5 dBFS\n[out#0/mp4 @ 0x2] [info] video:0KiB\n";

/// Packets of a track of 60 s, or all of it.
fn chunk(packets: (u64, u64), pre_roll: Option<u64>) -> AudioChunk {
    let timebase = Timebase::new(1, RATE).unwrap();
    let grid = SampleGrid { origin: 0, step: 1 };
    AudioChunk {
        number: 0,
        stream: 0,
        timebase,
        zero: ExactTime { ticks: Ticks(0), timebase },
        folder: "audio-0123456789".to_owned(),
        settings: AudioSettings { sample_rate: RATE, channels: 2, bit_rate_kbps: 128, mix: AudioMix::Keep },
        total_samples: 60 * u64::from(RATE),
        packets,
        segments: Vec::new(),
        asc: Vec::new(),
        measure_loudness: true,
        range: pre_roll.map(|pre_roll| AudioRange { seek: None, grid, pre_roll }),
    }
}

/// What ffmpeg prints for a chunk: the loudness of a block is its number in the track, from 1, below -1 LUFS.
fn told(chunk: &AudioChunk, meter: &mut Meter) {
    let encoded = encoded_range(chunk);
    let first = encoded.start_sample.div_ceil(4_800);
    for (frame, tenth) in (first..encoded.end_sample / 4_800).enumerate() {
        let pts = tenth * 4_800 - encoded.start_sample + 480_000;
        let at = format!("frame:{frame:<4} pts:{pts:<7} pts_time:{}", pts / 48_000);
        // the progress is told between any two lines
        for line in [&at, &format!("lavfi.r128.M=-1.{:03}", tenth + 1), "frame=0", "progress=continue"] {
            meter.line(line);
        }
        meter.line(&at);
        meter.line(&format!("lavfi.r128.S=-2.{:03}", tenth + 1));
    }
}

fn measured(chunk: &AudioChunk) -> Loudness {
    let mut meter = Meter::new(chunk).unwrap();
    told(chunk, &mut meter);
    meter.finish(PEAK).unwrap()
}

#[test]
fn each_block_of_the_track_is_counted_once_wherever_it_is_cut() {
    let all = 2_814;
    let whole = measured(&chunk((0, all), None));
    assert_eq!(whole.momentary.counts().iter().sum::<u64>(), 600);
    assert_eq!(whole.short_term.counts().iter().sum::<u64>(), 600);
    // packet 1,125 begins with a tenth of a second, the others within one; the last range has one packet
    for cuts in [vec![1_125], vec![700, 1_124], vec![469, 1_126, 2_000], vec![all - 1]] {
        let mut parts = Loudness::default();
        let borders = [vec![0], cuts.clone(), vec![all]].concat();
        for range in borders.windows(2) {
            parts.merge(&measured(&chunk((range[0], range[1]), Some(256))));
        }
        assert_eq!(parts, whole, "cut at {cuts:?}");
    }
}

#[test]
fn a_missing_block_leaves_no_loudness() {
    let chunk = chunk((0, 2_814), None);
    let mut meter = Meter::new(&chunk).unwrap();
    meter.line("frame:0    pts:480000  pts_time:10");
    meter.line("lavfi.r128.M=-20.000");
    let missing = Unmeasured::Blocks { momentary: 1, short_term: 0, expected: 600 };
    assert_eq!(meter.finish(PEAK), Err(missing));
    let mut meter = Meter::new(&chunk).unwrap();
    told(&chunk, &mut meter);
    assert_eq!(meter.finish("no summary"), Err(Unmeasured::Peak));
}

#[test]
fn what_is_not_a_number_or_not_on_the_grid_is_no_block() {
    let mut meter = Meter::new(&chunk((0, 2_814), None)).unwrap();
    for line in ["frame:0    pts:480000", "lavfi.r128.M=", "lavfi.r128.S=loud", "frame:1    pts:484801"] {
        meter.line(line);
    }
    meter.line("lavfi.r128.M=-20.000");
    meter.line("frame:2    pts:NOPTS");
    meter.line("lavfi.r128.S=-20.000");
    assert_eq!(meter.told, (0, 0));
}

#[test]
fn a_block_of_nothing_is_told_and_does_not_count() {
    let short = AudioChunk { total_samples: 4_800, ..chunk((0, 6), None) };
    for nothing in ["nan", "-nan", "-inf", "-120.691"] {
        let mut meter = Meter::new(&short).unwrap();
        let told = [format!("lavfi.r128.M={nothing}"), format!("lavfi.r128.S={nothing}")];
        meter.line("frame:0    pts:480000  pts_time:10");
        told.iter().for_each(|line| meter.line(line));
        assert_eq!(meter.finish(&PEAK.replace("-0.5", "-inf")), Ok(Loudness::default()), "{nothing}");
    }
}

#[test]
fn a_chunk_that_is_not_to_be_measured_has_no_meter() {
    assert!(Meter::new(&AudioChunk { measure_loudness: false, ..chunk((0, 2_814), None) }).is_none());
}

#[test]
fn the_peak_is_read_from_the_last_summary() {
    assert_eq!(true_peak(PEAK), Some(Some(-50)));
    assert_eq!(true_peak(&PEAK.replace("-0.5", "1.2")), Some(Some(120)));
    assert_eq!(true_peak(&PEAK.replace("-0.5", "-inf")), Some(None));
    assert_eq!(true_peak(&PEAK.replace("-0.5", "nan")), None);
    assert_eq!(true_peak("Peak: -0.5"), None);
}

#[test]
fn decimals_are_read_to_the_digit() {
    assert_eq!(decimal("-120.691", 3), Some(-120_691));
    assert_eq!(decimal("-0.5", 2), Some(-50));
    assert_eq!(decimal("7", 3), Some(7_000));
    assert_eq!(decimal(" -6.01799 ", 3), Some(-6_017));
    assert_eq!((decimal("", 3), decimal("-.5", 1), decimal("9999999999", 3)), (None, None, None));
}
