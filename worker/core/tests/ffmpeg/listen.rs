//! Audits of sound with real ffmpeg.

use crate::dir;
use crate::joins::indexed;
use crate::run::{binaries, command, run, words};
use reelmill_common::audit::AuditSpec;
use reelmill_common::index::{AudioTrack, Demuxer, SourceId};
use reelmill_common::ladder::{AudioMix, AudioSettings};
use reelmill_common::spec::{
    AAC_FRAME, AudioChunk, AudioRange, AudioSegment, ChunkMedia, ChunkSpec, ExactTime,
};
use reelmill_common::{AttemptId, FencingTerm, SegmentNumber, Sha256, Ticks, Timebase};

use reelmill_worker_core::argv::audit::{sound_segment, sound_source};
use reelmill_worker_core::argv::{Input, audio};
use reelmill_worker_core::audit::sound::{Heard, Samples, compare, measure};
use reelmill_worker_core::audit::{self, check_sound};
use reelmill_worker_core::build::{self, BuiltFile};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// Packets of a segment: some four seconds.
const SEGMENT: u64 = 188;

/// Both sides of a segment: its samples and those of the source.
struct Sides {
    segment: Vec<u8>,
    source: Vec<u8>,
    channels: u16,
    rate: u32,
}

impl Sides {
    fn samples(bytes: &[u8], channels: u16) -> Samples<'_> {
        Samples::new(bytes, channels).unwrap()
    }

    fn measure(&self) -> Heard {
        let of = |bytes| Self::samples(bytes, self.channels);
        measure(of(&self.segment), of(&self.source), self.rate)
    }

    fn compared(&self) -> Result<(), String> {
        let of = |bytes| Self::samples(bytes, self.channels);
        let compared = compare(of(&self.segment), of(&self.source), self.rate, 1);
        compared.map(drop).map_err(|wrong| wrong.to_string())
    }

    /// The same with another segment.
    fn with(&self, segment: Vec<u8>) -> Self {
        Self { segment, source: self.source.clone(), ..*self }
    }
}

/// A rendition of a whole track, in one encode.
fn whole(track: &AudioTrack, settings: AudioSettings, seconds: u64) -> AudioChunk {
    let rate = u64::from(settings.sample_rate);
    let hz = Timebase::hz(NonZeroU32::new(settings.sample_rate).unwrap());
    let length = track.timebase.rescale(track.end, hz).0 - track.timebase.rescale(track.first, hz).0;
    let total = (length as u64).clamp(1, seconds * rate);
    let packets = (total + AAC_FRAME).div_ceil(AAC_FRAME);
    let segments = (0..packets.div_ceil(SEGMENT)).map(|n| AudioSegment {
        number: SegmentNumber(n as u32 + 1),
        first_packet: n * SEGMENT,
        end_packet: ((n + 1) * SEGMENT).min(packets),
    });
    let frequency = if settings.sample_rate == 44_100 { 4 } else { 3 };
    let head = 2 << 11 | frequency << 7 | settings.channels << 3;
    AudioChunk {
        number: 0,
        stream: track.stream,
        timebase: track.timebase,
        zero: ExactTime { ticks: track.first, timebase: track.timebase },
        folder: "audio-0123456789".to_owned(),
        asc: [&head.to_be_bytes()[..], &[0x56, 0xe5, 0x00]].concat(),
        total_samples: total,
        packets: (0, packets),
        segments: segments.collect(),
        settings,
        measure_loudness: false,
        // as a plan has it
        range: track.grid.filter(|g| g.step > 1).map(|grid| AudioRange { seek: None, grid, pre_roll: 0 }),
    }
}

fn encode(program: &str, dir: &Path, chunk: &AudioChunk, input: &Input) -> Vec<BuiltFile> {
    let path = dir.join("made.mp4").to_string_lossy().into_owned();
    run(program, &audio::encode(chunk, input, &path).unwrap());
    let file = std::fs::read(&path).unwrap();
    let files: Result<Vec<_>, _> = build::audio(chunk, &file).and_then(Iterator::collect);
    files.unwrap_or_else(|e| panic!("{program}: {e}"))
}

/// The audit of a file, committed as it is.
fn of(chunk: &AudioChunk, input: &Input, file: &BuiltFile) -> AuditSpec {
    let media = ChunkMedia::Audio(chunk.clone());
    AuditSpec {
        chunk: ChunkSpec { source: SourceId(Sha256::of(b"film")), demuxer: input.demuxer, media },
        attempt: AttemptId { term: FencingTerm(1), sequence: 1 },
        rung: file.report.rung,
        segment: file.report.segment,
        bytes: file.bytes.len() as u64,
        sha256: Sha256::of(&file.bytes),
        nearby: None,
    }
}

/// Looks at one segment as an auditor does that begins where the chunk's encoder did.
fn look(program: &str, dir: &Path, chunk: &AudioChunk, input: &Input, file: &BuiltFile) -> Sides {
    look_as_told(program, dir, &of(chunk, input, file), input, file)
}

/// Looks at one segment as an auditor does.
fn look_as_told(program: &str, dir: &Path, spec: &AuditSpec, input: &Input, file: &BuiltFile) -> Sides {
    let (chunk, carried) = check_sound(spec, &file.bytes).unwrap();
    let carried = carried.unwrap();
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (pcm, file) = (path("heard.pcm"), path("heard.mp4"));
    std::fs::write(&file, &carried.file).unwrap();
    run(program, &sound_segment(&file, &pcm).unwrap());
    let (channels, rate) = (chunk.settings.channels, chunk.settings.sample_rate);
    let frame = 2 * usize::from(channels);
    let segment = std::fs::read(&pcm).unwrap();
    assert_eq!(segment.len(), carried.decoded as usize * frame, "{program}: samples of the segment");
    run(program, &sound_source(&spec.listened().unwrap(), carried.samples, input, &pcm).unwrap());
    let source = std::fs::read(&pcm).unwrap();
    let count = (carried.samples.1 - carried.samples.0) as usize;
    assert_eq!(source.len(), count * frame, "{program}: samples of the source");
    let skip = carried.skip as usize * frame;
    Sides { segment: segment[skip..skip + count * frame].to_vec(), source, channels, rate }
}

/// The renditions of a track, as they are published and at half their rate.
fn renditions(track: &AudioTrack) -> Vec<AudioSettings> {
    let sample_rate = if track.sample_rate == 44_100 { 44_100 } else { 48_000 };
    let of = |channels, kbps, mix: AudioMix| {
        [kbps, kbps / 2].map(|bit_rate_kbps| AudioSettings {
            sample_rate,
            channels,
            bit_rate_kbps,
            mix: mix.clone(),
        })
    };
    let down = [[5_000, 0, 3_535, 0, 3_535, 0], [0, 5_000, 3_535, 0, 0, 3_535]].map(|r| r.to_vec());
    match track.channels {
        1 => of(1, 64, AudioMix::Keep).to_vec(),
        6 => [of(2, 128, AudioMix::Matrix(down.to_vec())), of(6, 320, AudioMix::Keep)].concat(),
        _ => of(2, 128, AudioMix::Keep).to_vec(),
    }
}

fn demuxer(name: &str) -> Demuxer {
    match name.rsplit('.').next() {
        Some("ts") => Demuxer::MpegTs,
        Some("mkv" | "webm") => Demuxer::Matroska,
        Some("avi") => Demuxer::Avi,
        Some("flv") => Demuxer::Flv,
        Some("ogg") => Demuxer::Ogg,
        _ => Demuxer::Mov,
    }
}

/// What somebody might commit instead of a segment: `next` is the sound that follows, as long.
fn sabotages(sides: &Sides, next: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let frame = 2 * usize::from(sides.channels);
    let honest = &sides.segment;
    let late = |ms: u32| {
        let by = (sides.rate / 1_000 * ms) as usize * frame;
        [&vec![0; by][..], &honest[..honest.len().saturating_sub(by)]].concat()[..honest.len()].to_vec()
    };
    let early = |ms: u32| {
        let by = ((sides.rate / 1_000 * ms) as usize * frame).min(honest.len());
        [&honest[by..], &vec![0; by]].concat()
    };
    let map = |change: &dyn Fn(usize, i64) -> i64| -> Vec<u8> {
        let samples = honest.chunks_exact(2).enumerate();
        let changed = samples.map(|(i, b)| change(i, i64::from(i16::from_le_bytes([b[0], b[1]]))));
        changed.flat_map(|s| (s.clamp(-32_768, 32_767) as i16).to_le_bytes()).collect()
    };
    let channels = usize::from(sides.channels);
    let all = honest.len() / 2;
    let mean = honest.chunks_exact(2).map(|b| i64::from(i16::from_le_bytes([b[0], b[1]])).abs()).sum::<i64>()
        / all.max(1) as i64;
    let noise = |i: usize| {
        let hash = Sha256::of(&i.to_le_bytes()).0;
        (i64::from(u16::from_le_bytes([hash[0], hash[1]])) - 32_768) * mean.max(1) / 16_384
    };
    let mut made = vec![
        ("silent", vec![0; honest.len()]),
        ("half-silent", map(&|i, s| if i < all / 2 { s } else { 0 })),
        ("half-volume", map(&|_, s| s / 2)),
        ("twice-volume", map(&|_, s| s * 2)),
        ("noise", map(&|i, _| noise(i))),
        ("on-its-head", map(&|_, s| -s)),
        ("late-20", late(20)),
        ("early-20", early(20)),
        ("late-45", late(45)),
    ];
    if next.len() >= honest.len() {
        made.push(("other", next[..honest.len()].to_vec()));
    }
    if channels > 1 {
        made.push(("no-left", map(&|i, s| if i % channels == 0 { 0 } else { s })));
        let swapped = honest.chunks_exact(frame).flat_map(|f| [&f[2..4], &f[..2], &f[4..]].concat());
        made.push(("swapped", swapped.collect()));
    }
    made
}

/// Seconds of the films that are made here.
const SECONDS: u32 = 5;

/// A film of sound that never repeats itself, the two sides of it unlike each other.
fn film(dir: &Path) -> (Input, AudioTrack) {
    let side =
        |base: u32| format!("(0.2+0.15*sin({base}*t/90))*sin({base}*t+9*sin(3*t)*sin(t*t))+0.02*random(0)");
    let source =
        format!("aevalsrc=exprs={}|{}:sample_rate=48000:duration={SECONDS}", side(1_900), side(3_100));
    written(dir, "film.wav", &["-f", "lavfi", "-i", &source])
}

/// The film, changed by a filter.
fn changed(dir: &Path, name: &str, filter: &str) -> Input {
    let film = dir.join("film.wav").to_string_lossy().into_owned();
    written(dir, &format!("{name}.wav"), &["-i", &film, "-af", filter]).0
}

fn written(dir: &Path, name: &str, how: &[&str]) -> (Input, AudioTrack) {
    let path = dir.join(name);
    let mut argv = words("-nostdin -v error -y");
    argv.extend(how.iter().map(|word| (*word).to_owned()));
    argv.extend(words("-c:a pcm_s16le"));
    argv.push(path.to_string_lossy().into_owned());
    run("ffmpeg", &argv);
    indexed(&path, Demuxer::Wav)
}

/// Stereo at half the rate that is published.
fn poor(track: &AudioTrack) -> AudioChunk {
    whole(track, renditions(track)[1].clone(), SECONDS.into())
}

fn segments(files: &[BuiltFile]) -> Vec<&BuiltFile> {
    files.iter().filter(|f| f.report.segment.is_some()).collect()
}

#[test]
fn every_segment_of_a_poor_encode_sounds_like_its_film() {
    let dir = dir();
    let (input, track) = film(dir.path());
    let chunk = poor(&track);
    for program in binaries() {
        let files = encode(&program, dir.path(), &chunk, &input);
        let carried: Vec<(u64, u64)> = segments(&files)
            .into_iter()
            .map(|file| {
                let sides = look(&program, dir.path(), &chunk, &input, file);
                assert_eq!(sides.compared(), Ok(()), "{program}: {:?}", sides.measure());
                check_sound(&of(&chunk, &input, file), &file.bytes).unwrap().1.unwrap().samples
            })
            .collect();
        let ends = carried.last().unwrap().1;
        assert_eq!((carried[0], ends), ((0, (SEGMENT - 1) * AAC_FRAME), chunk.total_samples), "{program}");
    }
}

/// Of a range its encoder was given no more than that: the auditor hears the same, wherever decoding begins.
#[test]
fn a_segment_of_a_range_sounds_like_its_film() {
    let dir = dir();
    let (input, track) = film(dir.path());
    let mut chunk = poor(&track);
    let first = chunk.segments[1];
    (chunk.packets, chunk.segments) = ((first.first_packet, chunk.packets.1), chunk.segments.split_off(1));
    let seek = Timebase::hz(NonZeroU32::MIN).rescale(Ticks(2), track.timebase);
    chunk.range = Some(AudioRange { seek: Some(seek), grid: track.grid.unwrap(), pre_roll: 16 });
    for program in binaries() {
        let files = encode(&program, dir.path(), &chunk, &input);
        for file in segments(&files) {
            let sides = look(&program, dir.path(), &chunk, &input, file);
            assert_eq!(sides.compared(), Ok(()), "{program}: {:?}", sides.measure());
        }
    }
}

/// An auditor of one long encode need not hear all of it: of a lossless film it gets the same samples from a little before
/// the segment on, of a lossy one what sounds the same.
#[test]
fn a_segment_is_found_without_the_sound_before_it() {
    let dir = dir();
    let lossless = film(dir.path());
    let lossy = [
        ("film.m4a", "-c:a aac -b:a 96k", Demuxer::Mov),
        // times in milliseconds
        ("film.mka", "-c:a aac -b:a 96k", Demuxer::Matroska),
        ("opus.mka", "-c:a libopus -b:a 128k -frame_duration 40", Demuxer::Matroska),
        ("film.ts", "-c:a aac -b:a 96k -f mpegts", Demuxer::MpegTs),
    ]
    .map(|(name, options, demuxer)| {
        let path = dir.path().join(name);
        let mut argv = words("-nostdin -v error -y -i");
        argv.push(dir.path().join("film.wav").to_string_lossy().into_owned());
        argv.extend(words(options));
        argv.push(path.to_string_lossy().into_owned());
        run("ffmpeg", &argv);
        indexed(&path, demuxer)
    });
    for (input, track) in std::iter::once(lossless).chain(lossy) {
        let chunk = poor(&track);
        let hz = Timebase::hz(NonZeroU32::new(track.sample_rate).unwrap());
        for program in binaries() {
            let files = encode(&program, dir.path(), &chunk, &input);
            let file = segments(&files)[1];
            let whole = look(&program, dir.path(), &chunk, &input, file);
            // from half a second before, and from the beginning as far as seeking goes
            for seek in [Some(hz.rescale(Ticks(3 * 48_000), track.timebase)), None] {
                let nearby = Some(AudioRange { seek, grid: track.grid.unwrap(), pre_roll: 16 });
                let spec = AuditSpec { nearby, ..of(&chunk, &input, file) };
                let part = look_as_told(&program, dir.path(), &spec, &input, file);
                assert!(part.source == whole.source || input.demuxer != Demuxer::Wav, "{program}, {seek:?}");
                assert_eq!(part.compared(), Ok(()), "{program}, {seek:?}: {:?}", part.measure());
            }
        }
    }
}

/// Whatever is wrong with the sound, boxes and times are those of the spec: no check before this one finds it.
#[test]
fn other_sound_is_found() {
    let dir = dir();
    let (film_input, track) = film(dir.path());
    let (chunk, program) = (poor(&track), "ffmpeg");
    let cases = [
        ("silent", "volume=0", "its strength is 0"),
        ("half", "volume=0:enable='gte(t\\,2)'", "its strength is"),
        ("soft", "volume=0.5", "its strength is"),
        ("loud", "volume=2", "its strength is"),
        ("late", "adelay=20|20", "20 ms later"),
        ("early", "atrim=start=0.02,asetpts=N/SR/TB", "20 ms earlier"),
        ("swapped", "channelmap=1|0", "swapped"),
        ("one-sided", "pan=stereo|c0=c0", "channel 2 from 0 ms on"),
        ("elsewhere", "atrim=start=2,asetpts=N/SR/TB", "does not sound like the film"),
        ("backwards", "areverse", "does not sound like the film"),
    ];
    for (name, filter, says) in cases {
        let wrong = changed(dir.path(), name, filter);
        let files = encode(program, dir.path(), &chunk, &wrong);
        let sides = look(program, dir.path(), &chunk, &film_input, segments(&files)[0]);
        let found = sides.compared().expect_err(name);
        assert!(found.contains(says), "{name}: {found}: {:?}", sides.measure());
    }
}

#[test]
fn sound_that_is_not_as_committed_is_found_before_anything_is_decoded() {
    let dir = dir();
    let (input, track) = film(dir.path());
    let chunk = poor(&track);
    let files = encode("ffmpeg", dir.path(), &chunk, &input);
    let (init, media, other) = (&files[0], &files[1], &files[2]);
    assert_eq!(check_sound(&of(&chunk, &input, init), &init.bytes).map(|(_, carried)| carried), Ok(None));
    let refused = |spec: &AuditSpec, bytes: &[u8]| check_sound(spec, bytes).unwrap_err().to_string();
    let swapped = refused(&of(&chunk, &input, media), &init.bytes);
    assert!(swapped.contains("were committed") && swapped.contains("lie there"), "{swapped}");
    // another segment, committed as this one
    let in_place_of = BuiltFile { report: media.report.clone(), ..other.clone() };
    assert!(refused(&of(&chunk, &input, &in_place_of), &other.bytes).contains("segment 000001"));
    let mut odd = init.clone();
    let last = odd.bytes.len() - 1;
    odd.bytes[last] ^= 1;
    assert!(refused(&of(&chunk, &input, &odd), &odd.bytes).contains("init segment"));
}

/// Bytes of packets that are not what an encoder wrote: a decoder complains, or gives other sound.
#[test]
fn damaged_packets_are_found() {
    let dir = dir();
    let (input, track) = film(dir.path());
    let chunk = poor(&track);
    for program in binaries() {
        let files = encode(&program, dir.path(), &chunk, &input);
        let mut damaged = segments(&files)[0].clone();
        let middle = damaged.bytes.len() / 2;
        damaged.bytes[middle..middle + 9_000].fill(0xa5);
        let spec = of(&chunk, &input, &damaged);
        let carried = check_sound(&spec, &damaged.bytes).unwrap().1.unwrap();
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        std::fs::write(path("d.mp4"), &carried.file).unwrap();
        let ran = command(&program, &sound_segment(&path("d.mp4"), &path("d.pcm")).unwrap());
        let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
        if audit::complaint(&stderr).is_none() {
            assert!(ran.status.success(), "{program}: it does not say why it ended: {stderr}");
            let sides = look(&program, dir.path(), &chunk, &input, &damaged);
            assert!(sides.compared().is_err(), "{program}: {:?}", sides.measure());
        }
    }
}

/// None is called wrong. What honest segments and others measure is printed; `REELMILL_AUDIT_SOUNDS` names other films than
/// this one, by commas, and then the rates are the published ones, and half of them, and every ffmpeg listens to every
/// other's.
#[test]
fn sound_of_real_films_at_few_kilobits_is_not_called_wrong() {
    let Some(corpus) = std::env::var_os("REELMILL_CORPUS") else { return };
    let named = std::env::var("REELMILL_AUDIT_SOUNDS").ok();
    let dir = dir();
    for name in named.as_deref().unwrap_or("hevc_51_singlekey.ts").split(',').map(str::trim) {
        let (input, track) = indexed(&PathBuf::from(&corpus).join(name), demuxer(name));
        let half = |i: usize| named.is_some() || i % 2 == 1;
        let renditions = renditions(&track).into_iter().enumerate().filter(|(i, _)| half(*i));
        for (_, settings) in renditions {
            let kbps = format!("{}x{}", settings.channels, settings.bit_rate_kbps);
            let chunk = whole(&track, settings, 30);
            for (m, maker) in binaries().iter().enumerate() {
                let files = encode(maker, dir.path(), &chunk, &input);
                let media: Vec<&BuiltFile> = files.iter().filter(|f| f.report.segment.is_some()).collect();
                for (a, auditor) in binaries().iter().enumerate() {
                    let every = if named.is_none() { 4 } else { 2 };
                    for file in media.iter().step_by(every) {
                        let sides = look(auditor, dir.path(), &chunk, &input, file);
                        let place = format!("{name} {kbps} {m}{a} {}", file.report.segment.unwrap());
                        println!("{place} honest {:?} {:?}", sides.measure(), sides.compared());
                        assert!(named.is_some() || sides.compared() == Ok(()), "{place}");
                        if named.is_none() || m + a > 0 {
                            continue;
                        }
                        let next = media.iter().find(|f| f.report.segment > file.report.segment);
                        let next = next.map(|f| look(auditor, dir.path(), &chunk, &input, f).segment);
                        for (case, segment) in sabotages(&sides, &next.unwrap_or_default()) {
                            let sides = sides.with(segment);
                            println!("{place} {case} {:?} {:?}", sides.measure(), sides.compared());
                        }
                    }
                }
            }
        }
    }
}
