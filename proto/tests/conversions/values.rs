//! Strategies for arbitrary domain values, every field varied.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use reelmill_common::audit::AuditSpec;
use reelmill_common::capability::Needs;
use reelmill_common::index::{
    AudioGap, AudioTrack, Colour, Demuxer, FieldOrder, IgnoredTrack, IndexMethod, KeyFrame, KeyKind, Light,
    Rotation, SampleGrid, SourceId, SourceIndex, VideoTrack,
};
use reelmill_common::ladder::{
    AudioMix, AudioSettings, EncoderFamily, OutputColour, VideoSettings, X264Preset,
};
use reelmill_common::plan::{AudioRendition, Plan, PlanReport, PlannedChunk, VideoRendition};
use reelmill_common::spec::{
    AnalyseSpec, AudioChunk, AudioRange, AudioSegment, ChunkMedia, ChunkSpec, ExactTime, FrameTable,
    IndexSpec, PictureRecipe, SegmentSpan, ToneMap, VideoChunk, VideoRung, WorkItem,
};
use reelmill_common::{
    AttemptId, FencingTerm, JobId, ObjectKey, SegmentNumber, Sha256, SpecId, TickRange, TickSeq, Ticks,
    Timebase, WorkerId,
};

pub(crate) fn name() -> impl Strategy<Value = String> {
    "[a-z0-9][a-z0-9_-]{0,20}"
}

pub(crate) fn job_id() -> impl Strategy<Value = JobId> {
    name().prop_map(|n| JobId::parse(&n).expect("a name"))
}

pub(crate) fn worker_id() -> impl Strategy<Value = WorkerId> {
    name().prop_map(|n| WorkerId::parse(&n).expect("a name"))
}

pub(crate) fn sha() -> impl Strategy<Value = Sha256> {
    any::<[u8; 32]>().prop_map(Sha256)
}

pub(crate) fn attempt() -> impl Strategy<Value = AttemptId> {
    (any::<u64>(), any::<u64>()).prop_map(|(t, sequence)| AttemptId { term: FencingTerm(t), sequence })
}

pub(crate) fn key() -> impl Strategy<Value = ObjectKey> {
    "[a-z0-9]{1,8}(/[a-z0-9_.-]{0,4}[a-z0-9]){0,3}".prop_map(|k| ObjectKey::parse(&k).expect("a key"))
}

pub(crate) fn text() -> impl Strategy<Value = String> {
    any::<String>()
}

fn timebase() -> impl Strategy<Value = Timebase> {
    (1..=u32::MAX, 1..=u32::MAX).prop_map(|(n, d)| Timebase::new(n, d).expect("not zero"))
}

fn ticks() -> impl Strategy<Value = Ticks> {
    any::<i64>().prop_map(Ticks)
}

fn range() -> impl Strategy<Value = TickRange> {
    (any::<i64>(), any::<i64>()).prop_map(|(a, b)| TickRange::new(a, b))
}

pub(crate) fn tick_seq() -> impl Strategy<Value = TickSeq> {
    prop_oneof![
        (-1_000_000i64..1_000_000, 1i64..100_000, 0u32..10_000)
            .prop_map(|(first, step, count)| TickSeq::Regular { first, step, count }),
        proptest::collection::btree_set(any::<i64>(), 0..20)
            .prop_map(|s| TickSeq::Listed(s.into_iter().collect())),
    ]
}

pub(crate) fn family() -> impl Strategy<Value = EncoderFamily> {
    prop_oneof![Just(EncoderFamily::X264), Just(EncoderFamily::Nvenc)]
}

fn output_colour() -> impl Strategy<Value = OutputColour> {
    use OutputColour::{Bt601Line525, Bt601Line625, Bt709};
    prop_oneof![Just(Bt709), Just(Bt601Line525), Just(Bt601Line625)]
}

fn demuxer() -> impl Strategy<Value = Demuxer> {
    (0..Demuxer::ALL.len()).prop_map(|i| Demuxer::ALL[i])
}

fn field_order() -> impl Strategy<Value = FieldOrder> {
    prop_oneof![
        Just(FieldOrder::Progressive),
        Just(FieldOrder::TopFirst),
        Just(FieldOrder::BottomFirst),
        Just(FieldOrder::Unknown)
    ]
}

prop_compose! {
    fn video_settings()(
        family in family(),
        (width, height, every) in (any::<u32>(), any::<u32>(), any::<u8>()),
        (max_rate_kbps, buffer_kbit, crf_tenths) in (any::<u32>(), any::<u32>(), any::<u32>()),
        preset in 0..X264Preset::ALL.len(),
        (level, refs, bframes) in (any::<u8>(), any::<u8>(), any::<u8>()),
        (lookahead, gop_frames, threads) in (any::<u16>(), any::<u16>(), any::<u8>()),
        cpu_independent in any::<bool>(),
        colour in output_colour(),
    ) -> VideoSettings {
        let preset = X264Preset::ALL[preset];
        VideoSettings {
            family, width, height, every, max_rate_kbps, buffer_kbit, crf_tenths, preset, level, refs, bframes,
            lookahead, gop_frames, threads, cpu_independent, colour,
        }
    }
}

prop_compose! {
    fn audio_settings()(
        sample_rate in any::<u32>(),
        channels in any::<u16>(),
        bit_rate_kbps in any::<u32>(),
        mix in prop_oneof![
            Just(AudioMix::Keep),
            vec(vec(any::<i32>(), 0..7), 0..7).prop_map(AudioMix::Matrix)
        ],
    ) -> AudioSettings {
        AudioSettings { sample_rate, channels, bit_rate_kbps, mix }
    }
}

fn rotation() -> impl Strategy<Value = Rotation> {
    (0u8..4, any::<bool>()).prop_map(|(quarter_turns, mirrored)| Rotation { quarter_turns, mirrored })
}

prop_compose! {
    fn colour()(
        primaries in any::<Option<u8>>(),
        transfer in any::<Option<u8>>(),
        matrix in any::<Option<u8>>(),
        full_range in any::<Option<bool>>(),
    ) -> Colour {
        Colour { primaries, transfer, matrix, full_range }
    }
}

prop_compose! {
    fn video_rung()(
        folder in text(), settings in video_settings(), avcc in any::<Vec<u8>>(), reorder_delay in any::<u32>(),
    ) -> VideoRung {
        VideoRung { folder, settings, avcc, reorder_delay }
    }
}

prop_compose! {
    fn video_chunk()(
        (number, stream, first_output) in (any::<u32>(), any::<u32>(), any::<u64>()),
        (timebase, out_timebase) in (timebase(), timebase()),
        (seek, trim) in (of(ticks()), range()),
        (source, copies, output) in (tick_seq(), any::<Option<Vec<u8>>>(), tick_seq()),
        (rotation, deinterlace, colour) in (rotation(), of(field_order()), colour()),
        tone_map in of(any::<(u32, u32)>()),
        segments in vec((any::<u32>(), range()), 0..4),
        idr in vec(ticks(), 0..5),
        rungs in vec(video_rung(), 0..3),
    ) -> VideoChunk {
        VideoChunk {
            number, stream, timebase, seek, trim,
            frames: FrameTable { source, copies, output },
            first_output, out_timebase,
            picture: PictureRecipe {
                rotation, deinterlace, colour,
                tone_map: tone_map.map(|(white, peak)| ToneMap { white, peak }),
            },
            segments: segments
                .into_iter()
                .map(|(n, range)| SegmentSpan { number: SegmentNumber(n), range })
                .collect(),
            idr, rungs: rungs.into(),
        }
    }
}

fn audio_segments() -> impl Strategy<Value = Vec<AudioSegment>> {
    let segment = (any::<u32>(), any::<u64>(), any::<u64>()).prop_map(|(n, first_packet, end_packet)| {
        AudioSegment { number: SegmentNumber(n), first_packet, end_packet }
    });
    vec(segment, 0..4)
}

prop_compose! {
    fn exact_time()(ticks in ticks(), timebase in timebase()) -> ExactTime {
        ExactTime { ticks, timebase }
    }
}

fn sample_grid() -> impl Strategy<Value = SampleGrid> {
    any::<(i64, u32)>().prop_map(|(origin, step)| SampleGrid { origin, step })
}

prop_compose! {
    fn audio_range()(seek in of(ticks()), grid in sample_grid(), pre_roll in any::<u64>()) -> AudioRange {
        AudioRange { seek, grid, pre_roll }
    }
}

prop_compose! {
    fn audio_chunk()(
        (number, stream, timebase, zero) in (any::<u32>(), any::<u32>(), timebase(), exact_time()),
        folder in text(),
        settings in audio_settings(),
        (total_samples, packets) in (any::<u64>(), any::<(u64, u64)>()),
        segments in audio_segments(),
        asc in any::<Vec<u8>>(),
        measure_loudness in any::<bool>(),
        range in of(audio_range()),
    ) -> AudioChunk {
        AudioChunk {
            number, stream, timebase, zero, folder, settings, total_samples, packets, segments, asc, measure_loudness,
            range,
        }
    }
}

pub(crate) fn chunk_spec() -> impl Strategy<Value = ChunkSpec> {
    let media =
        prop_oneof![video_chunk().prop_map(ChunkMedia::Video), audio_chunk().prop_map(ChunkMedia::Audio)];
    (sha(), demuxer(), media).prop_map(|(s, demuxer, media)| ChunkSpec {
        source: SourceId(s),
        demuxer,
        media,
    })
}

prop_compose! {
    fn analyse_spec()(
        source in sha(), demuxer in demuxer(), encode_timebase in timebase(),
        rungs in vec(video_settings(), 0..3),
        downmixes in vec((any::<u32>(), audio_settings()), 0..3),
        joins in vec(audio_chunk(), 0..3), round in 1u32..,
    ) -> AnalyseSpec {
        AnalyseSpec { source: SourceId(source), demuxer, encode_timebase, rungs, downmixes, joins, round }
    }
}

prop_compose! {
    fn audit_spec()(
        chunk in chunk_spec(), attempt in attempt(), rung in any::<u32>(),
        segment in of((1..=u32::MAX).prop_map(SegmentNumber)),
        (bytes, sha256) in (any::<u64>(), sha()),
        nearby in of(audio_range()),
    ) -> AuditSpec {
        AuditSpec { chunk, attempt, rung, segment, bytes, sha256, nearby }
    }
}

/// Boxed, for its size: unboxed it is too much for a test's stack.
pub(crate) fn work_item() -> impl Strategy<Value = WorkItem> {
    prop_oneof![
        (text(), text(), any::<bool>()).prop_map(|(location, salt, decode)| WorkItem::Index(IndexSpec {
            location,
            salt,
            decode
        })),
        analyse_spec().prop_map(WorkItem::Analyse).boxed(),
        chunk_spec().prop_map(WorkItem::Encode).boxed(),
        audit_spec().prop_map(|spec| WorkItem::Audit(Box::new(spec))).boxed(),
    ]
    .boxed()
}

prop_compose! {
    fn video_rendition()(
        (name, folder) in (text(), text()),
        settings in video_settings(),
        avcc in any::<Vec<u8>>(),
        reorder_delay in any::<u32>(),
        (frames, frame_rate) in (any::<u64>(), any::<(u64, u64)>()),
    ) -> VideoRendition {
        VideoRendition { name, folder, settings, avcc, reorder_delay, frames, frame_rate }
    }
}

prop_compose! {
    fn audio_rendition()(
        (name, folder, group, language, title) in (text(), text(), text(), text(), text()),
        is_default in any::<bool>(),
        settings in audio_settings(),
        asc in any::<Vec<u8>>(),
        total_samples in any::<u64>(),
        segments in audio_segments(),
    ) -> AudioRendition {
        AudioRendition {
            name, folder, group, language, title, is_default, settings, asc, total_samples, segments,
        }
    }
}

fn needs() -> impl Strategy<Value = Needs> {
    (of(family()), any::<u64>()).prop_map(|(family, memory_mib)| Needs { family, memory_mib })
}

prop_compose! {
    pub(crate) fn plan()(
        (revision, parent) in (any::<u32>(), any::<Option<u32>>()),
        source in sha(),
        (zero, timebase) in (exact_time(), timebase()),
        (duration, grid) in (any::<i64>(), any::<Vec<i64>>()),
        video in vec(video_rendition(), 0..3),
        audio in vec(audio_rendition(), 0..3),
        chunks in vec((chunk_spec(), any::<u64>(), needs()), 0..3),
        decisions in vec(text(), 0..3),
        (source_frames, source_bytes, repeated_frames, dropped_frames) in any::<(u64, u64, u64, u64)>(),
    ) -> Plan {
        Plan {
            revision, parent, source: SourceId(source), zero, timebase, duration, grid, video, audio,
            chunks: chunks
                .into_iter()
                .map(|(spec, cost_ms, needs)| PlannedChunk { spec, cost_ms, needs })
                .collect(),
            report: PlanReport { decisions, source_frames, source_bytes, repeated_frames, dropped_frames },
        }
    }
}

fn key_frame() -> impl Strategy<Value = KeyFrame> {
    let kind = prop_oneof![Just(KeyKind::Idr), Just(KeyKind::Open), Just(KeyKind::Unknown)];
    (any::<u32>(), ticks(), kind, of(0..u64::MAX / 2)).prop_map(|(frame, pts, kind, offset)| KeyFrame {
        frame,
        pts,
        kind,
        offset,
    })
}

prop_compose! {
    fn video_track()(
        (stream, codec, timebase) in (any::<u32>(), text(), timebase()),
        (width, height, sar) in (any::<u32>(), any::<u32>(), any::<(u32, u32)>()),
        (rotation, bit_depth, colour, field_order) in (rotation(), any::<Option<u8>>(), colour(), field_order()),
        language in of(text()),
        frames in tick_seq(),
        keys in vec(key_frame(), 0..6),
        end in of(ticks()),
        (max_content, mastering_peak) in any::<(Option<u32>, Option<u32>)>(),
    ) -> VideoTrack {
        VideoTrack {
            stream, codec, timebase, width, height, sar, rotation, bit_depth, colour, field_order, language, frames,
            keys, end,
            light: Light { max_content, mastering_peak },
        }
    }
}

prop_compose! {
    fn audio_track()(
        (stream, codec, timebase) in (any::<u32>(), text(), timebase()),
        (sample_rate, channels) in any::<(u32, u16)>(),
        (layout, language, title) in (of(text()), of(text()), of(text())),
        is_default in any::<bool>(),
        (first, end) in (ticks(), ticks()),
        gaps in vec((ticks(), ticks()).prop_map(|(at, until)| AudioGap { at, until }), 0..3),
        grid in of(sample_grid()),
    ) -> AudioTrack {
        AudioTrack {
            stream, codec, timebase, sample_rate, channels, layout, language, title, is_default, first, end, gaps,
            grid,
        }
    }
}

prop_compose! {
    pub(crate) fn source_index()(
        (source, bytes, demuxer) in (sha(), any::<u64>(), demuxer()),
        method in prop_oneof![Just(IndexMethod::Mp4Tables), Just(IndexMethod::PacketScan)],
        video in of(video_track()),
        audio in vec(audio_track(), 0..3),
        ignored in vec(
            (any::<u32>(), text(), text()).prop_map(|(stream, what, why)| IgnoredTrack { stream, what, why }),
            0..3,
        ),
        notes in vec(text(), 0..3),
    ) -> SourceIndex {
        SourceIndex { source: SourceId(source), bytes, demuxer, method, video, audio, ignored, notes }
    }
}

pub(crate) fn spec_id() -> impl Strategy<Value = SpecId> {
    sha().prop_map(SpecId)
}
