//! What tests hand to a worker and look at afterwards: a film, its work items, outcomes, files.

use crate::support::Coordinator;
use reelmill_common::index::SourceIndex;
use reelmill_common::ladder::{
    AudioMix, AudioSettings, EncoderFamily, OutputColour, VideoSettings, X264Preset,
};
use reelmill_common::outcome::{Fault, Outcome, Report};
use reelmill_common::spec::{
    AudioChunk, AudioSegment, ChunkMedia, ChunkSpec, ExactTime, FrameTable, IndexSpec, PictureRecipe,
    SegmentSpan, VideoChunk, VideoRung, WorkItem,
};
use reelmill_common::{SegmentNumber, Sha256, TickRange, TickSeq, Ticks, Timebase};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn tool(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Four seconds of moving bars at 30 frames a second with a tone, a keyframe each second.
pub(crate) fn film(dir: &Path) -> PathBuf {
    let path = dir.canonicalize().unwrap().join("film.mp4");
    let text = path.to_str().unwrap();
    let video = "testsrc2=size=320x180:rate=30:duration=4";
    let audio = "sine=frequency=997:sample_rate=48000:duration=4";
    let head = ["-v", "error", "-f", "lavfi", "-i", video, "-f", "lavfi", "-i", audio, "-g", "30"];
    let tail =
        ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-ac", "2", text];
    tool("ffmpeg", &[head.as_slice(), tail.as_slice()].concat());
    path
}

pub(crate) fn settings(width: u32, height: u32, every: u8) -> VideoSettings {
    VideoSettings {
        family: EncoderFamily::X264,
        width,
        height,
        every,
        max_rate_kbps: 800,
        buffer_kbit: 1_200,
        crf_tenths: 230,
        preset: X264Preset::Veryfast,
        level: 30,
        refs: 3,
        bframes: 3,
        lookahead: 30,
        gop_frames: 60,
        threads: 1,
        cpu_independent: false,
        colour: OutputColour::Bt709,
    }
}

pub(crate) fn sound() -> AudioSettings {
    AudioSettings { sample_rate: 48_000, channels: 2, bit_rate_kbps: 128, mix: AudioMix::Keep }
}

/// AudioSpecificConfig of AAC-LC, 48 kHz, stereo, and the mark that no SBR follows (ISO/IEC 14496-3, 1.6.2.1 and 1.6.5).
pub(crate) const ASC: [u8; 5] = [0x11, 0x90, 0x56, 0xe5, 0x00];

/// The second half or the first: one segment of two seconds, decoded from the keyframe before it.
pub(crate) fn half(index: &SourceIndex, avcc: &[Vec<u8>], number: u32) -> WorkItem {
    let video = index.video.as_ref().unwrap();
    let times: Vec<i64> = video.frames.iter().collect();
    assert_eq!(times.len(), 120);
    let (from, to) = (number as usize * 60, number as usize * 60 + 60);
    let start = i64::from(number) * 60_000;
    let end = times.get(to).copied().unwrap_or(i64::MAX);
    let segment =
        SegmentSpan { number: SegmentNumber(number + 1), range: TickRange::new(start, start + 60_000) };
    let rung = |i: usize, folder: &str, settings: VideoSettings| VideoRung {
        folder: folder.to_owned(),
        reorder_delay: 2_000 * u32::from(settings.every),
        settings,
        avcc: avcc[i].clone(),
    };
    let key = |frame: usize| video.keys.iter().rev().find(|k| (k.frame as usize) < frame).map(|k| k.pts);
    let chunk = VideoChunk {
        number,
        stream: video.stream,
        timebase: video.timebase,
        seek: key(from),
        trim: TickRange::new(times[from], end),
        frames: FrameTable {
            source: TickSeq::from_sorted(times[from..to].to_vec()),
            copies: None,
            output: TickSeq::from_sorted((0..60).map(|i| start + i * 1_000).collect()),
        },
        first_output: from as u64,
        out_timebase: Timebase::new(1, 30_000).unwrap(),
        picture: PictureRecipe {
            rotation: video.rotation,
            deinterlace: None,
            colour: video.colour,
            tone_map: None,
        },
        segments: vec![segment],
        idr: vec![Ticks(start)],
        rungs: vec![rung(0, "180p-0", settings(320, 180, 1)), rung(1, "90p-0", settings(160, 90, 2))].into(),
    };
    WorkItem::Encode(ChunkSpec {
        source: index.source,
        demuxer: index.demuxer,
        media: ChunkMedia::Video(chunk),
    })
}

pub(crate) fn whole_sound(index: &SourceIndex) -> WorkItem {
    let (audio, video) = (&index.audio[0], index.video.as_ref().unwrap());
    let total = 4 * 48_000u64;
    let packets = (total + 1024).div_ceil(1024);
    let chunk = AudioChunk {
        number: 0,
        stream: audio.stream,
        timebase: audio.timebase,
        zero: ExactTime { ticks: Ticks(video.frames.first().unwrap()), timebase: video.timebase },
        folder: "audio-0".to_owned(),
        settings: sound(),
        total_samples: total,
        packets: (0, packets),
        segments: vec![
            AudioSegment { number: SegmentNumber(1), first_packet: 0, end_packet: 94 },
            AudioSegment { number: SegmentNumber(2), first_packet: 94, end_packet: packets },
        ],
        asc: ASC.to_vec(),
        measure_loudness: true,
        range: None,
    };
    WorkItem::Encode(ChunkSpec {
        source: index.source,
        demuxer: index.demuxer,
        media: ChunkMedia::Audio(chunk),
    })
}

pub(crate) fn done(outcome: Outcome) -> Report {
    match outcome {
        Outcome::Done(report) => report,
        Outcome::Failed { fault, .. } => panic!("{:?}: {fault}\n{}", fault.kind, fault.detail),
    }
}

pub(crate) fn failed(outcome: Outcome) -> Fault {
    match outcome {
        Outcome::Failed { fault, .. } => fault,
        Outcome::Done(report) => panic!("{:?} was accepted", report.key),
    }
}

/// The report's object, which must be what the report says it is.
pub(crate) fn object(report: &Report, out: &Path) -> Vec<u8> {
    let bytes = std::fs::read(out.join("work").join(report.key.as_str())).unwrap();
    assert_eq!((bytes.len() as u64, Sha256::of(&bytes)), (report.bytes, report.sha256));
    bytes
}

pub(crate) async fn index(coordinator: &Coordinator, film: &Path, out: &Path) -> Outcome {
    let spec = IndexSpec { location: film.display().to_string(), salt: "job-1".to_owned(), decode: false };
    let attempt = coordinator.lease(WorkItem::Index(spec), film, out);
    coordinator.outcome(attempt).await
}

/// The files of a rendition as one film.
pub(crate) fn joined(out: &Path, folder: &str, segments: u32) -> PathBuf {
    let names = (1..=segments).map(|n| format!("{n:06}.m4s"));
    let parts = std::iter::once("init.mp4".to_owned()).chain(names);
    let read = |name: String| std::fs::read(out.join("package").join(folder).join(name)).unwrap();
    let path = out.join(format!("{folder}.mp4"));
    std::fs::write(&path, parts.flat_map(read).collect::<Vec<u8>>()).unwrap();
    path
}

pub(crate) fn plays(out: &Path) {
    let times = |folder: &str| -> Vec<i64> {
        let path = joined(out, folder, 2);
        let args = ["-v", "error", "-select_streams", "v", "-show_entries", "frame=pts", "-of", "csv=p=0"];
        let said = tool("ffprobe", &[args.as_slice(), &[path.to_str().unwrap()]].concat());
        // ffprobe ends the line of a frame with side data twice
        let lines = said.lines().filter(|l| !l.is_empty());
        lines.map(|l| l.trim_end_matches(',').parse().unwrap()).collect()
    };
    assert_eq!(
        times("180p-0"),
        (0..120).map(|i| i * 1_000).collect::<Vec<_>>(),
        "each frame once, at its time"
    );
    assert_eq!(times("90p-0"), (0..60).map(|i| i * 2_000).collect::<Vec<_>>(), "every second frame");
    let sound = joined(out, "audio-0", 2);
    let args = ["-v", "error", "-show_entries", "stream=codec_name,sample_rate,channels", "-of", "csv=p=0"];
    let said = tool("ffprobe", &[args.as_slice(), &[sound.to_str().unwrap()]].concat());
    assert_eq!(said.trim(), "aac,48000,2");
}

pub(crate) fn left_in(scratch: &Path) -> Vec<String> {
    let dir = scratch.join("w1");
    let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|n| n != "lock").collect()
}

pub(crate) fn which(program: &str) -> String {
    tool("/bin/sh", &["-c", &format!("command -v {program}")]).trim().to_owned()
}

pub(crate) fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
