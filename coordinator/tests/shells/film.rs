//! A film that does not exist: its index, and files that look right to every check but a decoder's.

use reelmill_common::index::{
    AudioTrack, Colour, Demuxer, FieldOrder, IndexMethod, KeyFrame, KeyKind, Light, Rotation, SourceId,
    SourceIndex, VideoTrack,
};
use reelmill_common::keys::media_name;
use reelmill_common::outcome::{AnalyseReport, AttemptCost, ChunkReport, FileReport, IFrame};
use reelmill_common::spec::{AnalyseSpec, AudioChunk, ChunkMedia, ChunkSpec, VideoChunk};
use reelmill_common::{SegmentNumber, Sha256, TickSeq, Ticks, Timebase};

/// What each attempt costs.
pub(crate) const COST: AttemptCost =
    AttemptCost { wall_ms: 40, cpu_ms: 30, encode_ms: 20, source_bytes: 1_000 };
/// Seconds of the film: five segments of 4 s.
const SECONDS: u32 = 20;

/// 24 frames a second with a keyframe every second, and stereo sound. Its file's name is its identity, so that a film
/// copied elsewhere is the same film.
pub(crate) fn index(location: &str) -> SourceIndex {
    let name = location.rsplit('/').next().unwrap_or_default();
    let timebase = Timebase::new(1, 24_000).expect("a timebase");
    let frames = TickSeq::Regular { first: 0, step: 1_000, count: SECONDS * 24 };
    let key = |second: u32| KeyFrame {
        frame: second * 24,
        pts: Ticks(i64::from(second) * 24_000),
        kind: KeyKind::Idr,
        offset: None,
    };
    let video = VideoTrack {
        stream: 0,
        codec: "h264".to_owned(),
        timebase,
        width: 960,
        height: 540,
        sar: (1, 1),
        rotation: Rotation::default(),
        bit_depth: Some(8),
        colour: Colour::default(),
        light: Light::default(),
        field_order: FieldOrder::Progressive,
        language: None,
        frames,
        keys: (0..SECONDS).map(key).collect(),
        end: Some(Ticks(i64::from(SECONDS) * 24_000)),
    };
    let audio = AudioTrack {
        stream: 1,
        codec: "aac".to_owned(),
        timebase: Timebase::new(1, 48_000).expect("a timebase"),
        sample_rate: 48_000,
        channels: 2,
        layout: Some("stereo".to_owned()),
        language: None,
        title: None,
        is_default: true,
        first: Ticks(0),
        end: Ticks(i64::from(SECONDS) * 48_000),
        gaps: Vec::new(),
        grid: None,
    };
    SourceIndex {
        source: SourceId(Sha256::of(name.as_bytes())),
        bytes: 1_000_000,
        demuxer: Demuxer::Mov,
        method: IndexMethod::Mp4Tables,
        video: Some(video),
        audio: vec![audio],
        ignored: Vec::new(),
        notes: Vec::new(),
    }
}

/// Decoder configurations of the right form, one per rung, and full peaks.
pub(crate) fn analysis(spec: &AnalyseSpec) -> AnalyseReport {
    AnalyseReport {
        avcc: spec.rungs.iter().map(|r| avcc(r.level)).collect(),
        peaks: spec.downmixes.iter().map(|_| 10_000).collect(),
        joins: spec.joins.iter().map(|j| j.segments[0].first_packet).collect(),
    }
}

/// The decoder configuration of a rung of this level.
pub(crate) fn avcc(level: u8) -> Vec<u8> {
    vec![1, 0x64, 0, level, 0xff, 0xe1, 0, 0]
}

/// What is made of a chunk: its files by name, and the report of them.
pub(crate) fn encode(spec: &ChunkSpec) -> (Vec<(String, Vec<u8>)>, ChunkReport) {
    let mut made = Made::default();
    match &spec.media {
        ChunkMedia::Video(v) => made.video(v),
        ChunkMedia::Audio(a) => made.audio(a),
    }
    let cost = COST;
    let report = ChunkReport {
        files: made.reports,
        units: made.units,
        configs: made.configs,
        loudness: None,
        cost,
        encoder: None,
        ffmpeg_build: "ffmpeg version of a test".to_owned(),
        notes: Vec::new(),
    };
    (made.files, report)
}

/// Other bytes than any other attempt's: `stamp` at the end of each file.
pub(crate) fn stamp(files: &mut [(String, Vec<u8>)], report: &mut ChunkReport, stamp: &str) {
    for ((_, content), file) in files.iter_mut().zip(&mut report.files) {
        content.extend_from_slice(stamp.as_bytes());
        (file.bytes, file.sha256) = (content.len() as u64, Sha256::of(content));
    }
}

#[derive(Default)]
struct Made {
    files: Vec<(String, Vec<u8>)>,
    reports: Vec<FileReport>,
    units: Vec<u64>,
    configs: Vec<Vec<u8>>,
}

impl Made {
    fn video(&mut self, v: &VideoChunk) {
        for (rung, r) in v.rungs.iter().enumerate() {
            if v.segments.first().is_some_and(|s| s.number.0 == 1) {
                self.file(&r.folder, rung, None, 100, vec![]);
            }
            // by the rendition alone: plans group rungs by how many slots there are
            let size = 40_000 + r.folder.bytes().map(usize::from).sum::<usize>() % 7;
            for segment in &v.segments {
                let first = IFrame { time: segment.range.start.0, offset: 0, length: 200 };
                self.file(&r.folder, rung, Some(segment.number), size, vec![first]);
            }
            self.units.push(v.rung_frames(r.settings.every).count() as u64);
            self.configs.push(r.avcc.clone());
        }
    }

    fn audio(&mut self, a: &AudioChunk) {
        if a.segments.first().is_some_and(|s| s.number.0 == 1) {
            self.file(&a.folder, 0, None, 80, vec![]);
        }
        for segment in &a.segments {
            self.file(&a.folder, 0, Some(segment.number), 5_000, vec![]);
        }
        self.units.push(a.packets.1 - a.packets.0);
        self.configs.push(a.asc.clone());
    }

    fn file(
        &mut self,
        folder: &str,
        rung: usize,
        segment: Option<SegmentNumber>,
        size: usize,
        iframes: Vec<IFrame>,
    ) {
        let name = media_name(folder, segment);
        let content: Vec<u8> = name.bytes().cycle().take(size).collect();
        self.reports.push(FileReport {
            rung: rung as u32,
            segment,
            bytes: content.len() as u64,
            sha256: Sha256::of(&content),
            iframes,
        });
        self.files.push((name, content));
    }
}
