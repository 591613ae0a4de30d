//! Made-up sources for the tests of this crate: one per kind of film that the plan treats in its own way.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test takes the films it needs; a test that cannot go on panics"
)]

use reelmill_common::Sha256;
use reelmill_common::index::{
    AudioGap, AudioTrack, Colour, Demuxer, FieldOrder, IndexMethod, KeyFrame, KeyKind, Light, Rotation,
    SampleGrid, SourceId, SourceIndex, VideoTrack,
};
use reelmill_common::time::{TickSeq, Ticks, Timebase};

/// A progressive BT.709 track of `count` frames, `step` ticks of `1/den` apart, from 0, a keyframe every 48 frames.
pub(crate) fn video(width: u32, height: u32, den: u32, step: i64, count: u32) -> VideoTrack {
    timed(width, height, den, TickSeq::Regular { first: 0, step, count })
}

/// The same with given times; the container says that the last frame lasts as long as the one before it.
pub(crate) fn timed(width: u32, height: u32, den: u32, frames: TickSeq) -> VideoTrack {
    let keys = (0..frames.len()).step_by(48).filter_map(|n| Some(key(n as u32, frames.get(n)?))).collect();
    let gap =
        frames.last().unwrap_or(0) - frames.len().checked_sub(2).and_then(|n| frames.get(n)).unwrap_or(0);
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
        light: Light::default(),
        field_order: FieldOrder::Progressive,
        language: None,
        end: frames.last().map(|last| Ticks(last + gap)),
        frames,
        keys,
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
        grid: Some(SampleGrid { origin: 0, step: 1 }),
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

/// Times of `count` frames at `fps.0 / fps.1` a second, rounded to `1/den`, from `first`.
pub(crate) fn rounded(first: i64, fps: (i64, i64), den: i64, count: i64) -> TickSeq {
    let time = |n: i64| first + (2 * n * fps.1 * den + fps.0) / (2 * fps.0);
    TickSeq::from_sorted((0..count).map(time).collect())
}

/// 24 fps, 1080p, sound that ends 20 ms after the picture.
pub(crate) fn cinema_24() -> SourceIndex {
    index(Some(video(1920, 1080, 12_288, 512, 2108)), vec![audio(1, 2, 48_000, 4_216_960)])
}

/// 23.976 fps in an MP4.
pub(crate) fn ntsc_film() -> SourceIndex {
    index(Some(video(1280, 534, 24_000, 1001, 720)), vec![audio(1, 2, 48_000, 1_441_440)])
}

/// 59.94 fps in a transport stream that starts at 95,443 s; open GOPs as far as anybody knows.
pub(crate) fn broadcast_59_94() -> SourceIndex {
    let first = 95_443 * 90_000;
    let mut video = timed(1920, 1080, 90_000, rounded(first, (60_000, 1001), 90_000, 900));
    video.field_order = FieldOrder::TopFirst;
    video.colour = Colour::default();
    video.keys.iter_mut().for_each(|k| k.kind = KeyKind::Unknown);
    let mut sound = audio(1, 2, 48_000, 0);
    sound.timebase = Timebase::new(1, 90_000).unwrap();
    (sound.first, sound.end) = (Ticks(first - 1800), Ticks(first + 1_200_000));
    sound.gaps = vec![AudioGap { at: Ticks(first + 90_000), until: Ticks(first + 95_000) }];
    SourceIndex {
        demuxer: Demuxer::MpegTs,
        method: IndexMethod::PacketScan,
        ..index(Some(video), vec![sound])
    }
}

/// A screen recording: variable rate, one hold of 12 s, sound that lasts 9 s longer than the picture.
pub(crate) fn screen_vfr() -> SourceIndex {
    let mut times = Vec::new();
    let mut at = 0;
    for n in 0..200 {
        times.push(at);
        at += if n == 90 { 12_000 } else { 33 + (n * 7919) % 50 };
    }
    let end = at;
    let mut video = timed(3026, 1386, 1000, TickSeq::Listed(times));
    video.keys = vec![key(0, 0)];
    index(Some(video), vec![audio(1, 1, 44_100, (end + 9_000) * 441 / 10)])
}

/// HEVC with leading pictures: every keyframe but the first is open.
pub(crate) fn open_gop() -> SourceIndex {
    let mut video = video(1280, 720, 24_000, 1001, 960);
    video.codec = "hevc".to_owned();
    video.keys.iter_mut().skip(1).for_each(|k| k.kind = KeyKind::Open);
    index(Some(video), Vec::new())
}

/// Two tracks of sound, no picture; the second one starts 256 ms late.
pub(crate) fn sound_only() -> SourceIndex {
    let mut english = audio(0, 1, 22_050, 490_000);
    english.language = Some("eng".to_owned());
    let mut german = audio(1, 1, 22_050, 480_000);
    german.language = Some("ger".to_owned());
    german.title = Some("Hörfassung \"lang\"".to_owned());
    german.first = Ticks(5645);
    index(None, vec![english, german])
}

/// 5.1 in English, stereo in German.
pub(crate) fn surround() -> SourceIndex {
    let mut english = audio(1, 6, 48_000, 1_440_000);
    english.layout = Some("5.1(side)".to_owned());
    english.language = Some("eng".to_owned());
    let mut german = audio(2, 2, 48_000, 1_440_000);
    german.language = Some("deu".to_owned());
    german.is_default = true;
    index(Some(video(854, 480, 12_288, 512, 720)), vec![english, german])
}

/// A phone's portrait film: 4K at 60 fps, turned, with an edit list that starts at -1 s.
pub(crate) fn phone_portrait() -> SourceIndex {
    let frames = TickSeq::Regular { first: -90_000, step: 1500, count: 600 };
    let mut video = timed(3840, 2160, 90_000, frames);
    video.rotation = Rotation { quarter_turns: 1, mirrored: false };
    video.colour.full_range = Some(true);
    let mut sound = audio(1, 2, 48_000, 0);
    (sound.first, sound.end) = (Ticks(-48_000), Ticks(432_000));
    index(Some(video), vec![sound])
}

/// Matroska, whose times are rounded to milliseconds.
pub(crate) fn matroska_ms() -> SourceIndex {
    let video = timed(640, 428, 1000, rounded(0, (30_000, 1001), 1000, 450));
    SourceIndex {
        demuxer: Demuxer::Matroska,
        method: IndexMethod::PacketScan,
        ..index(Some(video), vec![audio(1, 8, 48_000, 720_720)])
    }
}

/// 120 fps, silent, with an HDR picture.
pub(crate) fn slow_motion() -> SourceIndex {
    let mut video = video(1024, 768, 120_000, 1000, 1200);
    video.colour = Colour { primaries: Some(9), transfer: Some(18), matrix: Some(9), full_range: None };
    video.bit_depth = Some(10);
    index(Some(video), Vec::new())
}

/// HDR10: PQ in BT.2020, mastered for 1,000 cd/m² and never brighter than 600.
pub(crate) fn hdr10_pq() -> SourceIndex {
    let mut video = video(3840, 2160, 24_000, 1001, 480);
    video.codec = "hevc".to_owned();
    video.bit_depth = Some(10);
    video.colour =
        Colour { primaries: Some(9), transfer: Some(16), matrix: Some(9), full_range: Some(false) };
    video.light = Light { max_content: Some(600), mastering_peak: Some(1_000) };
    index(Some(video), vec![audio(1, 2, 48_000, 960_960)])
}

/// HLG at 50 fps, as broadcasters send it: it says nothing of its light, and its peak is the display's.
pub(crate) fn hlg_50() -> SourceIndex {
    let mut video = video(1920, 1080, 12_800, 256, 1000);
    video.codec = "hevc".to_owned();
    video.bit_depth = Some(10);
    video.colour =
        Colour { primaries: Some(9), transfer: Some(18), matrix: Some(9), full_range: Some(false) };
    index(Some(video), vec![audio(1, 2, 48_000, 960_000)])
}

/// One picture under a minute of sound.
pub(crate) fn still_with_sound() -> SourceIndex {
    let frames = TickSeq::from_sorted(vec![0]);
    index(Some(timed(600, 600, 25, frames)), vec![audio(1, 2, 44_100, 60 * 44_100)])
}

/// Every film with its name.
pub(crate) fn all() -> Vec<(&'static str, SourceIndex)> {
    vec![
        ("cinema_24", cinema_24()),
        ("ntsc_film", ntsc_film()),
        ("broadcast_59_94", broadcast_59_94()),
        ("screen_vfr", screen_vfr()),
        ("open_gop", open_gop()),
        ("sound_only", sound_only()),
        ("surround", surround()),
        ("phone_portrait", phone_portrait()),
        ("matroska_ms", matroska_ms()),
        ("slow_motion", slow_motion()),
        ("hdr10_pq", hdr10_pq()),
        ("hlg_50", hlg_50()),
        ("still_with_sound", still_with_sound()),
    ]
}
