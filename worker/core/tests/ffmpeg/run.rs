//! Runs real ffmpeg binaries on small films: made ones, and those of the corpus.

use reelmill_common::index::{Colour, Demuxer, Rotation, SourceId};
use reelmill_common::ladder::{EncoderFamily, OutputColour, VideoSettings, X264Preset};
use reelmill_common::outcome::{AttemptCost, ChunkReport};
use reelmill_common::spec::{
    ChunkMedia, ChunkSpec, FrameTable, PictureRecipe, SegmentSpan, ToneMap, VideoChunk, VideoRung,
};
use reelmill_common::{SegmentNumber, Sha256, TickRange, TickSeq, Ticks, Timebase};
use reelmill_worker_core::argv::timeline::{OFFSET_SECONDS, encoder_timebase};
use reelmill_worker_core::argv::{Input, Location, analyse, video};
use reelmill_worker_core::sandbox::ENVIRONMENT;
use reelmill_worker_core::{build, verify};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Debian's ffmpeg, and a newer one where `REELMILL_FFMPEG_NEW` names it.
pub(crate) fn binaries() -> Vec<String> {
    let newer = std::env::var("REELMILL_FFMPEG_NEW").ok().filter(|p| !p.is_empty());
    ["ffmpeg".to_owned()].into_iter().chain(newer).collect()
}

/// Runs with the environment of the sandbox, as the worker does. Panics with its complaints when it fails.
pub(crate) fn run(program: &str, argv: &[String]) -> Output {
    let out = command(program, argv);
    assert!(
        out.status.success(),
        "{program} {}\n{}\n{}",
        argv.join(" "),
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    out
}

/// As [`run`], whatever the exit code.
pub(crate) fn command(program: &str, argv: &[String]) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    // PATH is for finding the program only; the worker starts it by its absolute path
    Command::new(program)
        .env_clear()
        .envs(ENVIRONMENT)
        .env("PATH", path)
        .args(argv)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"))
}

/// A film on disk and what demuxing tells of its picture.
pub(crate) struct Film {
    pub(crate) path: PathBuf,
    pub(crate) demuxer: Demuxer,
    pub(crate) stream: u32,
    pub(crate) timebase: Timebase,
    pub(crate) times: Vec<i64>,
    pub(crate) keys: Vec<i64>,
    pub(crate) colour: Colour,
}

impl Film {
    /// Makes a film with Debian's ffmpeg: `options` lie between the input and the file's name.
    pub(crate) fn make(dir: &Path, name: &str, source: &str, options: &str, demuxer: Demuxer) -> Self {
        let path = dir.join(name);
        let mut argv = words("-nostdin -v error -y -f lavfi -i");
        argv.push(source.to_owned());
        argv.extend(words(options));
        argv.push(path.to_string_lossy().into_owned());
        run("ffmpeg", &argv);
        Self::open(&path, demuxer)
    }

    /// Reads times and keyframes of the first video stream with ffprobe, packets that are not shown left out.
    pub(crate) fn open(path: &Path, demuxer: Demuxer) -> Self {
        let mut argv = words("-v error -select_streams v:0 -show_entries");
        argv.push("stream=index,time_base:packet=pts,flags".to_owned());
        argv.extend(words("-of compact=nokey=0"));
        argv.push(path.to_string_lossy().into_owned());
        let out = String::from_utf8(run("ffprobe", &argv).stdout).unwrap();
        let (mut times, mut keys, mut timebase, mut stream) = (Vec::new(), Vec::new(), None, 0);
        for line in out.lines() {
            let field = |key: &str| line.split('|').find_map(|f| f.strip_prefix(key));
            if line.starts_with("stream|") {
                stream = field("index=").unwrap().parse().unwrap();
                let (n, d) = field("time_base=").unwrap().split_once('/').unwrap();
                timebase = Timebase::new(n.parse().unwrap(), d.parse().unwrap());
            } else if let Some(pts) = field("pts=").and_then(|t| t.parse::<i64>().ok()) {
                let flags = field("flags=").unwrap_or_default();
                if flags.contains('K') {
                    keys.push(pts);
                }
                if !flags.contains('D') {
                    times.push(pts);
                }
            }
        }
        times.sort_unstable();
        times.dedup();
        keys.sort_unstable();
        let colour =
            Colour { primaries: Some(1), transfer: Some(1), matrix: Some(1), full_range: Some(false) };
        Self { path: path.to_owned(), demuxer, stream, timebase: timebase.unwrap(), times, keys, colour }
    }

    pub(crate) fn input(&self) -> Input {
        let path = self.path.to_string_lossy().into_owned();
        Input { demuxer: self.demuxer, location: Location::File(path), threads: 1 }
    }

    /// The chunk of frames `[from, to)`, decoding from the keyframe before the one wanted, every frame shown once,
    /// with a segment every `segment` frames.
    pub(crate) fn chunk(&self, from: usize, to: usize, segment: usize, rungs: &[VideoRung]) -> VideoChunk {
        let times = &self.times[from..to];
        let end = self.times.get(to).copied().unwrap_or(times[times.len() - 1] + 1);
        let n = i64::from(self.timebase.num());
        let shown: Vec<i64> = times.iter().map(|t| (t - self.times[0]) * n).collect();
        let wanted = self.keys.partition_point(|k| *k <= times[0]);
        let cuts: Vec<usize> = (0..times.len()).step_by(segment).collect();
        let start = |i: usize| shown.get(cuts.get(i).copied().unwrap_or(usize::MAX)).copied();
        let close = (end - self.times[0]) * n;
        let spans = (0..cuts.len()).map(|i| SegmentSpan {
            number: SegmentNumber((from / segment + i + 1) as u32),
            range: TickRange::new(start(i).unwrap(), start(i + 1).unwrap_or(close)),
        });
        VideoChunk {
            number: (from / segment) as u32,
            stream: self.stream,
            timebase: self.timebase,
            seek: (wanted >= 2).then(|| Ticks(self.keys[wanted - 2])),
            trim: TickRange::new(times[0], end),
            frames: FrameTable {
                source: TickSeq::from_sorted(times.to_vec()),
                copies: None,
                output: TickSeq::from_sorted(shown.clone()),
            },
            first_output: from as u64,
            out_timebase: encoder_timebase(self.timebase),
            picture: PictureRecipe {
                rotation: Rotation::default(),
                deinterlace: None,
                colour: self.colour,
                tone_map: matches!(self.colour.transfer, Some(16 | 18))
                    .then_some(ToneMap { white: 203, peak: 1_000 }),
            },
            segments: spans.collect(),
            idr: cuts.iter().map(|i| Ticks(shown[*i])).collect(),
            rungs: rungs.to_vec().into(),
        }
    }
}

pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A small rung without its binding.
pub(crate) fn rung(name: &str, width: u32, height: u32, every: u8) -> VideoRung {
    let settings = VideoSettings {
        family: EncoderFamily::X264,
        width,
        height,
        every,
        max_rate_kbps: 400,
        buffer_kbit: 600,
        crf_tenths: 230,
        preset: X264Preset::Veryfast,
        level: 30,
        refs: 3,
        bframes: 3,
        lookahead: 20,
        gop_frames: 50,
        threads: 1,
        cpu_independent: false,
        colour: OutputColour::Bt709,
    };
    VideoRung { folder: format!("{name}-0123456789"), settings, avcc: Vec::new(), reorder_delay: 0 }
}

/// Binds rungs to what an analysis with `program` finds.
pub(crate) fn bind(program: &str, dir: &Path, timebase: Timebase, rungs: &mut [VideoRung]) {
    let settings: Vec<VideoSettings> = rungs.iter().map(|r| r.settings.clone()).collect();
    let outputs = outputs(dir, "bind", rungs.len());
    run(program, &analyse::configs(timebase, &settings, &outputs).unwrap());
    for (rung, path) in rungs.iter_mut().zip(outputs) {
        rung.avcc = build::avcc(&std::fs::read(path).unwrap()).unwrap();
    }
}

/// Paths of a run's outputs.
pub(crate) fn outputs(dir: &Path, name: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| dir.join(format!("{name}-{i}.mp4")).to_string_lossy().into_owned()).collect()
}

/// Encodes a chunk and verifies every rung; returns, per rung, the segments as (name, bytes).
pub(crate) fn encode(
    program: &str,
    dir: &Path,
    chunk: &VideoChunk,
    input: &Input,
) -> Vec<Vec<build::BuiltFile>> {
    let paths = outputs(dir, &format!("chunk{}", chunk.number), chunk.rungs.len());
    run(program, &video::encode(chunk, input, &paths).unwrap());
    let rung = |(i, path): (usize, &String)| {
        let file = std::fs::read(path).unwrap();
        let files: Result<Vec<_>, verify::OutputError> =
            build::video(chunk, i, &file).and_then(Iterator::collect);
        files.unwrap_or_else(|e| panic!("{program}: {e}"))
    };
    paths.iter().enumerate().map(rung).collect()
}

/// Times (from the chunk's first frame) and hashes of the pictures that reach a rung's encoder, in order.
pub(crate) fn pictures(program: &str, chunk: &VideoChunk, input: &Input, rung: usize) -> Vec<(i64, String)> {
    let mut one = chunk.clone();
    one.rungs = vec![chunk.rungs[rung].clone()].into();
    let argv = video::encode(&one, input, &["unused".to_owned()]).unwrap();
    let graph = argv.iter().position(|a| a == "-map").unwrap();
    let mut argv = argv[..graph].to_vec();
    argv.retain(|a| a != "-progress" && a != "pipe:1");
    argv.extend(words("-map [rung0] -fps_mode passthrough -enc_time_base"));
    let tb = encoder_timebase(chunk.timebase);
    argv.push(tb.to_string());
    argv.extend(words("-f framemd5 -"));
    let out = String::from_utf8(run(program, &argv).stdout).unwrap();
    let offset = OFFSET_SECONDS * i64::from(tb.den());
    let line = |l: &str| {
        let mut fields = l.split(',').map(str::trim);
        let pts: i64 = fields.nth(2).unwrap().parse().unwrap();
        (pts - offset, fields.nth(2).unwrap().to_owned())
    };
    out.lines().filter(|l| !l.starts_with('#')).map(line).collect()
}

/// The spec around a chunk, as a coordinator holds it.
pub(crate) fn spec(film: &Film, chunk: &VideoChunk) -> ChunkSpec {
    let media = ChunkMedia::Video(chunk.clone());
    ChunkSpec { source: SourceId(Sha256::of(b"film")), demuxer: film.demuxer, media }
}

/// What an attempt would report of the files it made.
pub(crate) fn report(chunk: &VideoChunk, made: &[Vec<build::BuiltFile>]) -> ChunkReport {
    ChunkReport {
        files: made.iter().flatten().map(|f| f.report.clone()).collect(),
        units: chunk.rungs.iter().map(|r| chunk.rung_frames(r.settings.every).count() as u64).collect(),
        configs: chunk.rungs.iter().map(|r| r.avcc.clone()).collect(),
        loudness: None,
        cost: AttemptCost::default(),
        encoder: None,
        ffmpeg_build: String::new(),
        notes: Vec::new(),
    }
}
