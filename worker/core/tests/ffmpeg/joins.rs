//! Ranges of sound: cut to the sample wherever decoding begins, and joined without a trace.
//!
//! Numbers are printed, so that a person sees how near the limits they are. How good the sound behind a join is, is
//! measured in `noise.rs`.

use crate::dir;
use crate::run::{binaries, run, words};
use crate::sound::{ASC_STEREO_48K, packets, settings};
use crate::spectrum::magnitudes;
use reelmill_common::index::{AudioTrack, Demuxer};
use reelmill_common::ladder::AudioMix;
use reelmill_common::spec::{AAC_FRAME, AudioChunk, AudioRange, AudioSegment, ExactTime};
use reelmill_common::{SegmentNumber, Ticks, Timebase};
use reelmill_media::Limits;
use reelmill_media::aac::window;
use reelmill_media::fragments;
use reelmill_media::scan::{Depth, Scan};
use reelmill_worker_core::argv::scan::scan;
use reelmill_worker_core::argv::{Input, Location, audio};
use reelmill_worker_core::{build, verify};
use std::path::Path;

/// A film of sound from a lavfi expression.
fn film(dir: &Path, name: &str, source: &str, options: &str, demuxer: Demuxer) -> (Input, AudioTrack) {
    let path = dir.join(name);
    let mut argv = words("-nostdin -v error -y -f lavfi -i");
    argv.push(source.to_owned());
    argv.extend(words(options));
    argv.push(path.to_string_lossy().into_owned());
    run("ffmpeg", &argv);
    indexed(&path, demuxer)
}

/// A file of sound, and its track as the packet scan tells it.
pub(crate) fn indexed(path: &Path, demuxer: Demuxer) -> (Input, AudioTrack) {
    let path = path.to_string_lossy().into_owned();
    let location = Location::File(path);
    let lines =
        String::from_utf8(run("ffprobe", &scan(&location, Some(demuxer), Depth::Packets, None)).stdout)
            .unwrap();
    let mut index = Scan::new(Depth::Packets, Limits::default());
    lines.lines().for_each(|l| index.line(l).unwrap());
    let track = index.finish(0, "").unwrap().audio.remove(0);
    (Input { demuxer, location, threads: 1 }, track)
}

/// Enough for the window decision: how these films are cut and joined does not depend on it.
const SHORT: u64 = 64;

/// Packets `[from, to)` of the rendition; `seek`: how many samples before its pre-roll decoding begins.
pub(crate) fn range(track: &AudioTrack, total: u64, from: u64, to: u64, seek: Option<i64>) -> AudioChunk {
    let zero = ExactTime { ticks: track.first, timebase: track.timebase };
    let hz = Timebase::new(1, 48_000).unwrap();
    let start = track.timebase.rescale(track.first, hz).0 + (from.saturating_sub(SHORT) * AAC_FRAME) as i64;
    let number = SegmentNumber(if from == 0 { 1 } else { 2 });
    AudioChunk {
        number: 0,
        stream: track.stream,
        timebase: track.timebase,
        zero,
        folder: "audio-0123456789".to_owned(),
        settings: settings(AudioMix::Keep),
        total_samples: total,
        packets: (from, to),
        segments: vec![AudioSegment { number, first_packet: from, end_packet: to }],
        asc: ASC_STEREO_48K.to_vec(),
        measure_loudness: false,
        range: Some(AudioRange {
            seek: seek.map(|s| hz.rescale(Ticks(start - s), track.timebase)),
            grid: track.grid.unwrap(),
            pre_roll: SHORT,
        }),
    }
}

/// ffmpeg's file of a chunk, checked.
pub(crate) fn encode(program: &str, dir: &Path, chunk: &AudioChunk, input: &Input) -> Vec<u8> {
    let path = dir.join("range.mp4").to_string_lossy().into_owned();
    run(program, &audio::encode(chunk, input, &path).unwrap());
    std::fs::read(&path).unwrap()
}

/// The chunk's own packets, in order.
pub(crate) fn kept<'a>(program: &str, chunk: &AudioChunk, file: &'a [u8]) -> Vec<&'a [u8]> {
    let plans = verify::packets(chunk, file).unwrap_or_else(|e| panic!("{program}: {e}"));
    plans.into_iter().flat_map(|p| p.samples).map(|s| &file[s.range]).collect()
}

/// Decodes packets as a player would that plays them from the first; the encoder's delay is taken off.
pub(crate) fn decode(dir: &Path, packets: &[&[u8]]) -> Vec<f64> {
    let path = dir.join("play.aac");
    let mut bytes = Vec::new();
    for p in packets {
        // ADTS (ISO/IEC 14496-3, 1.A.2): AAC-LC, 48 kHz, two channels, no CRC
        let length = p.len() as u32 + 7;
        let head = 0xFFF1u64 << 40 | 1 << 38 | 3 << 34 | 2 << 30 | u64::from(length) << 13 | 0x7FF << 2;
        bytes.extend_from_slice(&head.to_be_bytes()[1..]);
        bytes.extend_from_slice(p);
    }
    std::fs::write(&path, bytes).unwrap();
    let mut argv = words("-nostdin -v error -f aac -i");
    argv.push(path.to_string_lossy().into_owned());
    argv.extend(words("-f f32le -c:a pcm_f32le -ac 1 -"));
    mono(&run("ffmpeg", &argv).stdout).split_off(AAC_FRAME as usize)
}

fn mono(pcm: &[u8]) -> Vec<f64> {
    pcm.chunks_exact(4).map(|b| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))).collect()
}

/// The source's samples, mixed to one channel as the decoded ones are.
pub(crate) fn original(input: &Input) -> Vec<f64> {
    let Location::File(path) = &input.location else { panic!("a file") };
    let mut argv = words("-nostdin -v error -i");
    argv.push(path.clone());
    argv.extend(words("-f f32le -c:a pcm_f32le -ac 1 -"));
    mono(&run("ffmpeg", &argv).stdout)
}

/// Where `b` lies in `a`, in samples: the lag at which their product is greatest.
fn lag(a: &[f64], b: &[f64]) -> i64 {
    let at = |lag: i64| -> f64 {
        let i = (4_000i64..a.len().min(b.len()) as i64 - 4_000).step_by(7);
        i.map(|i| a[i as usize] * b[(i + lag) as usize]).sum()
    };
    (-60..=60).max_by(|x, y| at(*x).total_cmp(&at(*y))).unwrap()
}

const CLICKS: &str = "aevalsrc=exprs=eq(n\\,60000)+eq(n\\,400001)|eq(n\\,60000)+eq(n\\,400001):sample_rate=48000:\
                      duration=12";

#[test]
fn a_range_is_cut_to_the_sample_wherever_its_decoding_begins() {
    let dir = dir();
    let total = 12 * 48_000;
    let films = [
        ("a.mka", "-c:a flac -f matroska", Demuxer::Matroska),
        ("b.mka", "-c:a aac -aac_pns 0 -f matroska", Demuxer::Matroska),
        // its decoder leaves out the first samples of the first packet
        ("c.mka", "-c:a libopus -b:a 256k -f matroska", Demuxer::Matroska),
        ("d.mka", "-c:a libopus -b:a 256k -frame_duration 60 -f matroska", Demuxer::Matroska),
        ("a.m4a", "-c:a aac -aac_pns 0", Demuxer::Mov),
        ("a.ts", "-c:a mp2 -output_ts_offset 26000 -f mpegts", Demuxer::MpegTs),
        ("a.wav", "-c:a pcm_s16le", Demuxer::Wav),
    ];
    for (name, options, demuxer) in films {
        let (input, track) = film(dir.path(), name, CLICKS, options, demuxer);
        println!("{name}: {:?} from {:?}", track.grid, track.first);
        for program in binaries() {
            let mut places = Vec::new();
            // from the start, and from two places before the range
            for seek in [None, Some(2 * 48_000), Some(48_000 + 777)] {
                let chunk = range(&track, total, 370, packets(total), seek);
                let file = encode(&program, dir.path(), &chunk, &input);
                let heard = decode(dir.path(), &kept(&program, &chunk, &file));
                let at = (0..heard.len()).max_by(|a, b| heard[*a].abs().total_cmp(&heard[*b].abs())).unwrap();
                places.push(at as u64 + 370 * AAC_FRAME);
            }
            let first = range(&track, total, 0, 370, None);
            let file = encode(&program, dir.path(), &first, &input);
            let heard = decode(dir.path(), &kept(&program, &first, &file));
            let early = (0..heard.len()).max_by(|a, b| heard[*a].abs().total_cmp(&heard[*b].abs())).unwrap();
            println!("{program}: {name}: clicks of the first range at {early}, of the second at {places:?}");
            // to the sample from one to the other, whatever the codec's own delay
            let between: Vec<u64> = places.iter().map(|p| p - early as u64).collect();
            assert_eq!(between, [340_001; 3], "{program}: {name}");
        }
    }
}

#[test]
fn a_seek_that_lands_too_late_is_found_out() {
    let dir = dir();
    let (input, track) = film(dir.path(), "a.wav", CLICKS, "-c:a pcm_s16le", Demuxer::Wav);
    for program in binaries() {
        let chunk = range(&track, 576_000, 300, 400, Some(-48_000));
        let file = encode(&program, dir.path(), &chunk, &input);
        let found = verify::packets(&chunk, &file).map(|p| p.len()).map_err(|e| e.to_string());
        assert!(found.as_ref().is_err_and(|e| e.contains("packet")), "{program}: {found:?}");
    }
}

/// Tones, hum and soft noise, with a drum in the middle of every second.
const MUSIC: &str = "aevalsrc=exprs='0.2*sin(2*PI*220*t)+0.1*sin(2*PI*1170*t+sin(9*t))+0.05*sin(2*PI*5300*t)\
                     +0.01*(random(0)-0.5)+0.5*(random(1)-0.5)*exp(-60*mod(t+0.5\\,1))':sample_rate=48000:duration=12,\
                     aformat=channel_layouts=stereo";

/// A rendition joined of two ranges at `border`, and the continuous encode of it.
fn both(program: &str, dir: &Path, input: &Input, track: &AudioTrack, border: u64) -> [Vec<Vec<u8>>; 2] {
    let total = 12 * 48_000;
    let mut joined: Vec<Vec<u8>> = Vec::new();
    for (from, to, seek) in [(0, border, None), (border, packets(total), Some(2 * 48_000))] {
        let chunk = range(track, total, from, to, seek);
        let file = encode(program, dir, &chunk, input);
        joined.extend(kept(program, &chunk, &file).into_iter().map(<[u8]>::to_vec));
        assert!(build::audio(&chunk, &file).unwrap().all(|f| f.is_ok()), "{program}");
    }
    let mut whole = range(track, total, 0, packets(total), None);
    whole.range = None;
    let file = encode(program, dir, &whole, input);
    [joined, kept(program, &whole, &file).into_iter().map(<[u8]>::to_vec).collect()]
}

fn slices(packets: &[Vec<u8>]) -> Vec<&[u8]> {
    packets.iter().map(Vec::as_slice).collect()
}

#[test]
fn two_ranges_meet_like_one_encode() {
    let dir = dir();
    let (input, track) = film(dir.path(), "a.wav", MUSIC, "-c:a pcm_s16le", Demuxer::Wav);
    let sound = original(&input);
    for program in binaries() {
        for border in [370, 450] {
            let [joined, whole] = both(&program, dir.path(), &input, &track, border);
            let count = packets(12 * 48_000);
            assert_eq!((joined.len() as u64, whole.len() as u64), (count, count), "{program}");
            let steps: Vec<_> = joined.iter().map(|p| window(p).unwrap()).collect();
            let illegal = steps.windows(2).filter(|w| !w[0].sequence.may_precede(w[1].sequence)).count();
            let changes = steps.windows(2).filter(|w| w[0].sequence != w[1].sequence).count();
            let [heard, plain] = [&joined, &whole].map(|p| decode(dir.path(), &slices(p)));
            let lags = [
                lag(&sound, &heard),
                lag(&sound[border as usize * 1024..], &heard[border as usize * 1024..]),
            ];
            println!(
                "{program}: join at packet {border}: {count} packets, {} samples decoded, lag {lags:?}, {changes} \
                 window changes, {illegal} illegal",
                heard.len()
            );
            assert_eq!((illegal, lags), (0, [0, 0]), "{program}");
            assert!(changes > 0 && heard.len() == plain.len(), "{program}: {changes} window changes");
        }
    }
}

#[test]
fn a_swept_sine_has_no_spur_where_ranges_meet() {
    let dir = dir();
    let sweep = "aevalsrc=exprs=0.5*sin(2*PI*(300*t+40*t*t)):sample_rate=48000:duration=12,aformat=channel_layouts=stereo";
    let (input, track) = film(dir.path(), "a.wav", sweep, "-c:a pcm_s16le", Demuxer::Wav);
    for program in binaries() {
        let border = 400;
        let [joined, _] = both(&program, dir.path(), &input, &track, border);
        let heard = decode(dir.path(), &slices(&joined));
        // packet p begins to sound at sample 1024 p - 1024, and overlaps the one before for as long
        let worst = (0..8).map(|n| spur(&heard[(border as usize - 3) * 1024 + n * 512..][..2048]));
        let worst = worst.max_by(f64::total_cmp).unwrap();
        println!("{program}: the greatest spur within {} packets of the join is at {worst:.1} dB", 3);
        assert!(worst < -60.0, "{program}: {worst:.1} dB");
    }
}

/// The greatest line away from the sine's own, against it, in decibels.
fn spur(block: &[f64]) -> f64 {
    let lines = magnitudes(block);
    let top = (0..lines.len()).max_by(|a, b| lines[*a].total_cmp(&lines[*b])).unwrap();
    let away = (0..lines.len()).filter(|i| i.abs_diff(top) > 24).map(|i| lines[i]);
    20.0 * (away.max_by(f64::total_cmp).unwrap() / lines[top]).log10()
}

#[test]
fn a_join_is_looked_for_where_the_sound_is_even() {
    let dir = dir();
    // one drum, at the first place asked for
    let source = "aevalsrc=exprs='0.05*sin(2*PI*440*t)+0.6*(random(1)-0.5)*gte(t\\,6.4)*exp(-40*max(t-6.4\\,0))':\
                  sample_rate=48000:duration=12,aformat=channel_layouts=stereo";
    let (input, track) = film(dir.path(), "a.wav", source, "-c:a pcm_s16le", Demuxer::Wav);
    let drum = 64 * 480 * 10 / 1024;
    for program in binaries() {
        let mut probe = range(&track, 576_000, drum, drum + 101, Some(48_000));
        probe.segments = [(1, drum, drum + 100), (2, drum + 100, drum + 101)]
            .map(|(n, first_packet, end_packet)| AudioSegment {
                number: SegmentNumber(n),
                first_packet,
                end_packet,
            })
            .to_vec();
        let file = encode(&program, dir.path(), &probe, &input);
        assert_eq!(verify::join(&probe, &file), Ok(Some(drum + 100)), "{program}");
        // the attack lies next to the place asked for: some range that ends or begins there is refused
        let refused = (drum - 1..drum + 4).filter(|border| {
            let chunk = range(&track, 576_000, *border, packets(576_000), Some(48_000));
            let file = encode(&program, dir.path(), &chunk, &input);
            verify::packets(&chunk, &file).is_err_and(|e| e.to_string().contains("cannot meet"))
        });
        assert!(refused.count() >= 1, "{program}");
    }
}

#[test]
fn one_encode_is_byte_for_byte_that_of_plain_ffmpeg() {
    let dir = dir();
    let (input, track) = film(dir.path(), "a.wav", MUSIC, "-c:a pcm_s16le", Demuxer::Wav);
    let Location::File(path) = &input.location else { panic!("a file") };
    for program in binaries() {
        let mut whole = range(&track, 576_000, 0, packets(576_000), None);
        whole.range = None;
        let file = encode(&program, dir.path(), &whole, &input);
        let plain = dir.path().join("plain.mp4").to_string_lossy().into_owned();
        let mut argv = words("-nostdin -v error -y -i");
        argv.push(path.clone());
        argv.extend(words(
            "-c:a aac -b:a 128k -flags:a +bitexact -movflags +frag_keyframe+empty_moov+default_base_moof",
        ));
        argv.push(plain.clone());
        run(&program, &argv);
        let theirs = std::fs::read(&plain).unwrap();
        let track = fragments::read(&theirs).unwrap().remove(0);
        let theirs: Vec<&[u8]> = track.samples.iter().map(|s| &theirs[s.range.clone()]).collect();
        let ours = kept(&program, &whole, &file);
        let differ = ours.iter().zip(&theirs).filter(|(a, b)| a != b).count();
        println!(
            "{program}: {} packets against {} of plain ffmpeg, {differ} differ",
            ours.len(),
            theirs.len()
        );
        assert_eq!((ours.len(), differ), (theirs.len(), 0), "{program}");
    }
}
