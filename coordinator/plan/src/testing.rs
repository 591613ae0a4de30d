//! Made-up sources for this crate's own tests.

use reelmill_common::Sha256;
use reelmill_common::index::{
    AudioTrack, Colour, Demuxer, FieldOrder, IndexMethod, KeyFrame, KeyKind, Rotation, SourceId, SourceIndex,
    VideoTrack,
};
use reelmill_common::time::{TickSeq, Ticks, Timebase};

/// A progressive BT.709 track of `count` frames, `step` ticks of `1/den` apart, from 0, a keyframe every 48 frames.
pub(crate) fn video(width: u32, height: u32, den: u32, step: i64, count: u32) -> VideoTrack {
    let frames = TickSeq::Regular { first: 0, step, count };
    let keys = (0..count).step_by(48).map(|frame| key(frame, i64::from(frame) * step)).collect();
    VideoTrack {
        stream: 0,
        codec: "h264".to_owned(),
        timebase: Timebase::new(1, den).unwrap(),
        width,
        height,
        sar: (1, 1),
        rotation: Rotation::default(),
        bit_depth: Some(8),
        colour: Colour { primaries: Some(1), transfer: Some(1), matrix: Some(1), full_range: Some(false) },
        field_order: FieldOrder::Progressive,
        language: None,
        frames,
        keys,
        end: Some(Ticks(step * i64::from(count))),
    }
}

/// A proven IDR.
pub(crate) fn key(frame: u32, pts: i64) -> KeyFrame {
    KeyFrame { frame, pts: Ticks(pts), kind: KeyKind::Idr, offset: None }
}

/// A track from 0 to `end` samples.
pub(crate) fn audio(stream: u32, channels: u16, rate: u32, end: i64) -> AudioTrack {
    AudioTrack {
        stream,
        codec: "aac".to_owned(),
        timebase: Timebase::new(1, rate).unwrap(),
        sample_rate: rate,
        channels,
        layout: None,
        language: None,
        title: None,
        is_default: false,
        first: Ticks(0),
        end: Ticks(end),
        gaps: Vec::new(),
    }
}

/// An MP4 of these tracks.
pub(crate) fn index(video: Option<VideoTrack>, audio: Vec<AudioTrack>) -> SourceIndex {
    SourceIndex {
        source: SourceId(Sha256::of(b"a film")),
        bytes: 1_000_000,
        demuxer: Demuxer::Mov,
        method: IndexMethod::Mp4Tables,
        video,
        audio,
        ignored: Vec::new(),
        notes: Vec::new(),
    }
}
