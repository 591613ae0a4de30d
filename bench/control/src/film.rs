//! A film that does not exist: its index, what an analysis of it says, and the report of each chunk of it. All of it passes
//! the checks of a real coordinator; no media byte is behind it.

use anyhow::{Context as _, Result};
use reelmill_common::capability::EncoderProof;
use reelmill_common::check::chunk_files;
use reelmill_common::index::{
    Colour, Demuxer, FieldOrder, IndexMethod, KeyFrame, KeyKind, Light, Rotation, SourceId, SourceIndex,
    VideoTrack,
};
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::outcome::{AnalyseReport, AttemptCost, ChunkReport, FileReport, IFrame};
use reelmill_common::session::NamedFile;
use reelmill_common::spec::{AnalyseSpec, ChunkMedia, ChunkSpec};
use reelmill_common::{Fingerprint, SegmentNumber, Sha256, SpecId, TickSeq, Ticks, Timebase};

/// What each attempt says that it cost.
pub(crate) const COST: AttemptCost =
    AttemptCost { wall_ms: 400, cpu_ms: 300, encode_ms: 200, source_bytes: 100_000 };
/// Length of a segment, and of a chunk, milliseconds.
pub(crate) const CHUNK_MS: u32 = 2_000;
/// Frames a second, and ticks a second.
const FPS: u32 = 24;
const TICKS: i64 = 24_000;

/// How many chunks the film is to be cut into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Film(pub(crate) u32);

impl Film {
    /// 1080p24 without sound, a keyframe a second.
    pub(crate) fn index(self) -> Result<SourceIndex> {
        let seconds = self.0 * (CHUNK_MS / 1_000);
        let key = |second: u32| KeyFrame {
            frame: second * FPS,
            pts: Ticks(i64::from(second) * TICKS),
            kind: KeyKind::Idr,
            offset: None,
        };
        let video = VideoTrack {
            stream: 0,
            codec: "h264".to_owned(),
            timebase: Timebase::new(1, TICKS as u32).context("a timebase")?,
            width: 1920,
            height: 1080,
            sar: (1, 1),
            rotation: Rotation::default(),
            bit_depth: Some(8),
            colour: Colour::default(),
            light: Light::default(),
            field_order: FieldOrder::Progressive,
            language: None,
            frames: TickSeq::Regular { first: 0, step: TICKS / i64::from(FPS), count: seconds * FPS },
            keys: (0..seconds).map(key).collect(),
            end: Some(Ticks(i64::from(seconds) * TICKS)),
        };
        Ok(SourceIndex {
            source: SourceId(Sha256::of(b"a film that does not exist")),
            bytes: 1 << 30,
            demuxer: Demuxer::Mov,
            method: IndexMethod::Mp4Tables,
            video: Some(video),
            audio: Vec::new(),
            ignored: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// Is this the film's last chunk? The fakes never finish it, so that no job comes to its end by itself.
    pub(crate) fn is_last(self, chunk: &ChunkSpec) -> bool {
        match &chunk.media {
            ChunkMedia::Video(v) => v.segments.iter().any(|s| s.number.0 >= self.0),
            ChunkMedia::Audio(_) => false,
        }
    }
}

/// Decoder configurations of the right form, one a rung.
pub(crate) fn analysis(spec: &AnalyseSpec) -> AnalyseReport {
    AnalyseReport {
        avcc: spec.rungs.iter().map(|r| vec![1, 0x64, 0, r.level, 0xff, 0xe1, 0, 0]).collect(),
        peaks: spec.downmixes.iter().map(|_| 10_000).collect(),
        joins: spec.joins.iter().map(|j| j.segments.first().map_or(0, |s| s.first_packet)).collect(),
    }
}

/// The encoder that every fake worker says it has.
pub(crate) fn encoder() -> EncoderProof {
    EncoderProof {
        family: EncoderFamily::X264,
        fingerprint: Fingerprint(Sha256::of(b"clip")),
        kilopixels_per_second: 50_000,
    }
}

/// What would be reported of a chunk.
pub(crate) fn report(id: SpecId, spec: &ChunkSpec) -> ChunkReport {
    let mut report = ChunkReport {
        files: Vec::new(),
        units: Vec::new(),
        configs: Vec::new(),
        loudness: None,
        cost: COST,
        encoder: Some(encoder()),
        ffmpeg_build: "no ffmpeg: a measurement".to_owned(),
        notes: Vec::new(),
    };
    // not hashed, because there are no bytes: different for each chunk, as real ones are
    let sha256 = id.0;
    let mut file = |rung: usize, segment: Option<SegmentNumber>, bytes: u64, iframes: Vec<IFrame>| {
        report.files.push(FileReport { rung: rung as u32, segment, bytes, sha256, iframes });
    };
    match &spec.media {
        ChunkMedia::Video(v) => {
            for (rung, r) in v.rungs.iter().enumerate() {
                if v.segments.first().is_some_and(|s| s.number.0 == 1) {
                    file(rung, None, 700, Vec::new());
                }
                for s in &v.segments {
                    file(
                        rung,
                        Some(s.number),
                        400_000,
                        vec![IFrame { time: s.range.start.0, offset: 600, length: 40_000 }],
                    );
                }
                report.units.push(v.rung_frames(r.settings.every).count() as u64);
                report.configs.push(r.avcc.clone());
            }
        }
        // the film has no sound
        ChunkMedia::Audio(_) => {}
    }
    report
}

/// The files of a chunk as they are named before they are uploaded.
pub(crate) fn files(spec: &ChunkSpec, report: &ChunkReport) -> Vec<NamedFile> {
    let named = chunk_files(spec).into_iter().zip(&report.files);
    named.map(|(name, f)| NamedFile { name, bytes: f.bytes, sha256: f.sha256 }).collect()
}
