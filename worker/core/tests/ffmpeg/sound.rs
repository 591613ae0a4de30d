//! Sound: exact packets, sample-exact zero, ranges on the same grid, peak and loudness.

use crate::dir;
use crate::run::{binaries, run, words};
use reelmill_common::index::{Demuxer, SampleGrid};
use reelmill_common::ladder::{AudioMix, AudioSettings};
use reelmill_common::loudness::Loudness;
use reelmill_common::spec::{AAC_FRAME, AudioChunk, AudioRange, AudioSegment, ExactTime};
use reelmill_common::{SegmentNumber, Ticks, Timebase};
use reelmill_worker_core::argv::{Input, Location, analyse, audio};
use reelmill_worker_core::build;
use reelmill_worker_core::meter::Meter;
use std::path::Path;

/// AAC-LC, 48 kHz, stereo (ISO/IEC 14496-3): object type 2, frequency index 3, two channels; then the sync extension
/// with which ffmpeg says that there is no SBR.
pub(crate) const ASC_STEREO_48K: [u8; 5] = [0x11, 0x90, 0x56, 0xe5, 0x00];

pub(crate) fn settings(mix: AudioMix) -> AudioSettings {
    AudioSettings { sample_rate: 48_000, channels: 2, bit_rate_kbps: 128, mix }
}

pub(crate) fn chunk(total: u64, packets: (u64, u64), zero_ms: i64) -> AudioChunk {
    let tb = Timebase::new(1, 1_000).unwrap();
    let segment = AudioSegment { number: SegmentNumber(1), first_packet: packets.0, end_packet: packets.1 };
    AudioChunk {
        number: 0,
        stream: 0,
        timebase: tb,
        zero: ExactTime { ticks: Ticks(zero_ms), timebase: tb },
        folder: "audio-0123456789".to_owned(),
        settings: settings(AudioMix::Keep),
        total_samples: total,
        packets,
        segments: vec![segment],
        asc: ASC_STEREO_48K.to_vec(),
        measure_loudness: false,
        range: None,
    }
}

pub(crate) fn packets(total: u64) -> u64 {
    (total + AAC_FRAME).div_ceil(AAC_FRAME)
}

/// A film of sound: silence, but for one sample at full scale at `click` on its own clock.
fn click(dir: &Path, name: &str, click: u64, options: &str, demuxer: Demuxer) -> Input {
    let path = dir.join(name).to_string_lossy().into_owned();
    let source = format!("aevalsrc=exprs=eq(n\\,{click})|eq(n\\,{click}):sample_rate=48000:duration=3");
    let mut argv = words("-nostdin -v error -y -f lavfi -i");
    argv.push(source);
    argv.extend(words(options));
    argv.push(path.clone());
    run("ffmpeg", &argv);
    Input { demuxer, location: Location::File(path), threads: 1 }
}

fn encode(program: &str, dir: &Path, chunk: &AudioChunk, input: &Input) -> (Vec<build::BuiltFile>, String) {
    let path = dir.join("out.mp4").to_string_lossy().into_owned();
    let out = run(program, &audio::encode(chunk, input, &path).unwrap());
    let file = std::fs::read(&path).unwrap();
    let files: Result<Vec<_>, _> = build::audio(chunk, &file).and_then(Iterator::collect);
    (files.unwrap_or_else(|e| panic!("{program}: {e}")), String::from_utf8_lossy(&out.stderr).into_owned())
}

/// Decodes finished files as a player would and returns where the loudest sample lies, and how many there are.
fn loudest(dir: &Path, files: &[build::BuiltFile]) -> (usize, usize) {
    let path = dir.join("play.mp4");
    let bytes: Vec<u8> = files.iter().flat_map(|f| f.bytes.clone()).collect();
    std::fs::write(&path, bytes).unwrap();
    let mut argv = words("-nostdin -v error -copyts -i");
    argv.push(path.to_string_lossy().into_owned());
    // libavformat gives the encoder delay of a fragmented file before time 0, where a player throws it away
    argv.extend(words("-af aresample=async=1:first_pts=0 -f f32le -c:a pcm_f32le -ac 1 -"));
    let pcm = run("ffmpeg", &argv).stdout;
    let samples: Vec<i64> = pcm
        .chunks_exact(4)
        .map(|b| (f32::from_le_bytes([b[0], b[1], b[2], b[3]]).abs() * 1e6) as i64)
        .collect();
    let at = (0..samples.len()).max_by_key(|i| samples[*i]).unwrap();
    (at, samples.len())
}

#[test]
fn sound_begins_at_zero_to_the_sample() {
    let dir = dir();
    let total = 100_000;
    for program in binaries() {
        // the film's zero is 250 ms into the sound, then 250 ms before it
        for (zero_ms, expected) in [(250, 60_000 - 12_000), (-250, 60_000 + 12_000), (0, 60_000)] {
            let input = click(dir.path(), "a.wav", 60_000, "-c:a pcm_s16le", Demuxer::Wav);
            let (files, _) =
                encode(&program, dir.path(), &chunk(total, (0, packets(total)), zero_ms), &input);
            let (at, decoded) = loudest(dir.path(), &files);
            assert_eq!((at, decoded >= total as usize), (expected, true), "{program}: zero at {zero_ms} ms");
        }
    }
}

#[test]
fn sound_less_than_a_millisecond_from_zero_is_anchored_too() {
    let dir = dir();
    let total = 100_000;
    for program in binaries() {
        for samples in [24i64, -24, 1] {
            let input = click(dir.path(), "a.wav", 60_000, "-c:a pcm_s16le", Demuxer::Wav);
            let mut chunk = chunk(total, (0, packets(total)), 0);
            let grid = Timebase::new(1, 48_000).unwrap();
            chunk.zero = ExactTime { ticks: Ticks(samples), timebase: grid };
            let (files, _) = encode(&program, dir.path(), &chunk, &input);
            let at = loudest(dir.path(), &files).0 as i64;
            assert_eq!(at, 60_000 - samples, "{program}: zero at sample {samples}");
        }
    }
}

#[test]
fn another_sample_rate_is_anchored_at_zero_as_well() {
    let dir = dir();
    let total = 100_000;
    for program in binaries() {
        // 64,000 samples at 48 kHz are 29,400 at 22.05 kHz
        for (zero_ms, expected) in [(250i64, 64_000 - 12_000), (-250, 64_000 + 12_000)] {
            let input = click(dir.path(), "a.wav", 64_000, "-ar 22050 -c:a pcm_s16le", Demuxer::Wav);
            let (files, _) =
                encode(&program, dir.path(), &chunk(total, (0, packets(total)), zero_ms), &input);
            let at = loudest(dir.path(), &files).0;
            assert!(at.abs_diff(expected) <= 2, "{program}: zero at {zero_ms} ms: {at}, not {expected}");
        }
    }
}

#[test]
fn matroska_milliseconds_do_not_jitter_the_sound() {
    let dir = dir();
    let total = 120_000;
    for program in binaries() {
        let input = click(dir.path(), "a.mka", 90_011, "-c:a flac -f matroska", Demuxer::Matroska);
        let (files, _) = encode(&program, dir.path(), &chunk(total, (0, packets(total)), 0), &input);
        assert_eq!(loudest(dir.path(), &files).0, 90_011, "{program}");
    }
}

#[test]
fn every_rate_and_channel_count_gives_the_configuration_that_is_planned() {
    let dir = dir();
    let total = 30_000;
    for (rate, index, channels) in [(48_000u32, 3u16, 1u16), (44_100, 4, 2), (48_000, 3, 6)] {
        let path = dir.path().join("many.wav").to_string_lossy().into_owned();
        let tones: Vec<String> = (1..=channels).map(|c| format!("0.1*sin({c}*2000*t)")).collect();
        let mut argv = words("-nostdin -v error -y -f lavfi -i");
        argv.push(format!("aevalsrc=exprs={}:sample_rate={rate}:duration=1", tones.join("|")));
        argv.extend(words("-c:a pcm_s16le"));
        argv.push(path.clone());
        run("ffmpeg", &argv);
        let input = Input { demuxer: Demuxer::Wav, location: Location::File(path), threads: 1 };
        let mut chunk = chunk(total, (0, packets(total)), 0);
        (chunk.settings.sample_rate, chunk.settings.channels) = (rate, channels);
        let head = 2 << 11 | index << 7 | channels << 3;
        chunk.asc = [&head.to_be_bytes()[..], &[0x56, 0xe5, 0x00]].concat();
        for program in binaries() {
            assert_eq!(encode(&program, dir.path(), &chunk, &input).0.len(), 2, "{program}");
        }
    }
}

#[test]
fn a_late_transport_stream_keeps_its_place() {
    let dir = dir();
    let total = 100_000;
    for program in binaries() {
        let options = "-c:a s302m -strict -2 -output_ts_offset 26000 -f mpegts";
        let input = click(dir.path(), "a.ts", 60_000, options, Demuxer::MpegTs);
        // the muxer adds 1.4 s of its own; zero a tenth of a second before the first sample
        let zero_ms = 26_000_000 + 1_400 - 100;
        let (files, _) = encode(&program, dir.path(), &chunk(total, (0, packets(total)), zero_ms), &input);
        assert_eq!(loudest(dir.path(), &files).0, 60_000 + 4_800, "{program}");
    }
}

#[test]
fn a_hole_in_the_sound_is_silence() {
    let dir = dir();
    let total = 140_000;
    for program in binaries() {
        let options = "-af aselect=expr='not(between(t\\,0.5\\,1.2))' -c:a pcm_s16le -f matroska";
        let input = click(dir.path(), "a.mka", 90_011, options, Demuxer::Matroska);
        let (files, _) = encode(&program, dir.path(), &chunk(total, (0, packets(total)), 0), &input);
        let (at, _) = loudest(dir.path(), &files);
        // found again by a timestamp in milliseconds
        assert!(at.abs_diff(90_011) <= 48, "{program}: {at}");
    }
}

#[test]
fn short_sound_is_filled_with_silence_and_long_sound_is_cut() {
    let dir = dir();
    for total in [200_000u64, 50_000, 1, 1_024, 1_025] {
        for program in binaries() {
            let input = click(dir.path(), "a.wav", 0, "-c:a pcm_s16le", Demuxer::Wav);
            let (files, _) = encode(&program, dir.path(), &chunk(total, (0, packets(total)), 0), &input);
            assert_eq!(files.len(), 2, "{program}: init and one segment of {total} samples");
        }
    }
}

#[test]
fn a_range_has_its_packets_where_a_continuous_encode_has_them() {
    let dir = dir();
    let total = 144_000;
    for program in binaries() {
        let input = click(dir.path(), "a.wav", 90_011, "-c:a pcm_s16le", Demuxer::Wav);
        let middle = 40;
        let (mut files, _) = encode(&program, dir.path(), &chunk(total, (0, middle), 0), &input);
        let mut second = chunk(total, (middle, packets(total)), 0);
        second.segments[0].number = SegmentNumber(2);
        let grid = SampleGrid { origin: 0, step: 1 };
        second.range = Some(AudioRange { seek: None, grid, pre_roll: 16 });
        files.extend(encode(&program, dir.path(), &second, &input).0);
        assert_eq!(files.len(), 3);
        assert_eq!(loudest(dir.path(), &files).0, 90_011, "{program}");
    }
}

#[test]
fn peak_and_loudness_are_read_from_what_ffmpeg_says() {
    let dir = dir();
    let path = dir.path().join("sine.wav").to_string_lossy().into_owned();
    let mut argv = words("-nostdin -v error -y -f lavfi -i");
    argv.push(
        "aevalsrc=exprs=0.5*sin(2*PI*997*t)|0.5*sin(2*PI*997*t):sample_rate=48000:duration=3".to_owned(),
    );
    argv.extend(words("-c:a pcm_s16le"));
    argv.push(path.clone());
    run("ffmpeg", &argv);
    let input = Input { demuxer: Demuxer::Wav, location: Location::File(path), threads: 1 };
    for program in binaries() {
        let sum = settings(AudioMix::Matrix(vec![vec![10_000, 20_000], vec![10_000, 0]]));
        let out = run(&program, &analyse::peak(&input, 0, &sum).unwrap());
        let peak = analyse::parse_peak(&String::from_utf8_lossy(&out.stderr)).unwrap();
        assert!((14_900..=15_100).contains(&peak), "{program}: {peak}");

        let mut loud = chunk(144_000, (0, packets(144_000)), 0);
        loud.measure_loudness = true;
        let loudness = measure(&program, dir.path(), &loud, &input).1.summary().unwrap();
        // a 997 Hz sine at -6.02 dBFS in two channels is -6 LUFS (ITU-R BS.1770: -3.01 in one at full scale)
        assert!((-605..=-595).contains(&loudness.integrated_lufs_x100), "{program}: {loudness:?}");
        assert!((-620..=-590).contains(&loudness.true_peak_dbtp_x100), "{program}: {loudness:?}");
    }
}

/// The files of a chunk, its loudness, and what ffmpeg's own summary says.
fn measure(
    program: &str,
    dir: &Path,
    chunk: &AudioChunk,
    input: &Input,
) -> (Vec<build::BuiltFile>, Loudness, String) {
    let path = dir.join("out.mp4").to_string_lossy().into_owned();
    let out = run(program, &audio::encode(chunk, input, &path).unwrap());
    let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
    let mut meter = Meter::new(chunk).unwrap();
    String::from_utf8(out.stdout).unwrap().lines().for_each(|line| meter.line(line));
    let loudness = meter.finish(&stderr).unwrap_or_else(|e| panic!("{program}: {e}: {stderr}"));
    let files: Result<Vec<_>, _> =
        build::audio(chunk, &std::fs::read(&path).unwrap()).and_then(Iterator::collect);
    (files.unwrap_or_else(|e| panic!("{program}: {e}")), loudness, stderr)
}

/// Numbers of ffmpeg's summary in hundredths: integrated, range, true peak.
fn summary(stderr: &str) -> [i32; 3] {
    let told = &stderr[stderr.rfind("Summary:").unwrap()..];
    [" I:", " LRA:", " Peak:"].map(|label| {
        let rest = told.split_once(label).unwrap().1;
        let tenths = rest.split_whitespace().next().unwrap().replace('.', "");
        tenths.parse::<i32>().unwrap() * 10
    })
}

/// Loud and soft by turns, some so soft that only the gate of the whole leaves it out; then silence.
#[test]
fn ranges_measure_the_loudness_that_one_encode_measures() {
    let dir = dir();
    let path = dir.path().join("turns.wav").to_string_lossy().into_owned();
    let mut argv = words("-nostdin -v error -y -f lavfi -i");
    let level = "if(lt(t\\,9)\\,0.4\\,if(lt(t\\,16)\\,0.02\\,if(lt(t\\,25)\\,0.2+0.02*t\\,0)))";
    let tone = format!("{level}*sin(2*PI*(300+20*t)*t)");
    argv.push(format!("aevalsrc=exprs={tone}|{tone}:sample_rate=44100:duration=27.03"));
    argv.extend(words("-c:a pcm_s16le"));
    argv.push(path.clone());
    run("ffmpeg", &argv);
    let input = Input { demuxer: Demuxer::Wav, location: Location::File(path), threads: 1 };
    let total = 44_100 * 27 + 1_323;
    let mut whole = chunk(total, (0, packets(total)), 0);
    whole.settings.sample_rate = 44_100;
    whole.asc = vec![0x12, 0x10, 0x56, 0xe5, 0x00];
    whole.measure_loudness = true;
    ranges_measure_what_one_encode_does(dir.path(), &whole, &input, [399, 731]);
}

/// Encodes a track at once and in three ranges.
pub(crate) fn ranges_measure_what_one_encode_does(
    dir: &Path,
    whole: &AudioChunk,
    input: &Input,
    joins: [u64; 2],
) {
    let cuts = [0, joins[0], joins[1], whole.packets.1];
    for program in binaries() {
        let (_, one, stderr) = measure(&program, dir, whole, input);
        let mut ranges = Loudness::default();
        for cut in cuts.windows(2) {
            let mut range = whole.clone();
            range.packets = (cut[0], cut[1]);
            (range.segments[0].first_packet, range.segments[0].end_packet) = range.packets;
            range.segments[0].number = SegmentNumber(if cut[0] == 0 { 1 } else { 2 });
            let grid = SampleGrid { origin: 0, step: 1 };
            range.range = Some(AudioRange { seek: None, grid, pre_roll: 256 });
            let (files, loudness, _) = measure(&program, dir, &range, input);
            ranges.merge(&loudness);
            if cut[0] == cuts[1] {
                range.measure_loudness = false;
                let bare = encode(&program, dir, &range, input).0;
                let same = files.iter().map(|f| &f.bytes).eq(bare.iter().map(|f| &f.bytes));
                assert!(same, "{program}: the meter changes the sound");
            }
        }
        println!("{program}: one {:?}, ranges {:?}", one.summary(), ranges.summary());
        let blocks = |l: &Loudness| l.momentary.counts().iter().sum::<u64>();
        assert_eq!(blocks(&ranges), blocks(&one), "{program}: a block is counted twice or never");
        for loudness in [&one, &ranges] {
            let made = loudness.summary().unwrap();
            let made = [made.integrated_lufs_x100, made.range_lu_x100, made.true_peak_dbtp_x100];
            let near = made.iter().zip(summary(&stderr)).all(|(a, b)| a.abs_diff(b) <= 10);
            assert!(near, "{program}: {made:?}, ffmpeg {:?}", summary(&stderr));
        }
    }
}
