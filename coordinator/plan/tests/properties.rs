//! What holds for every plan of every film: each source frame once in one chunk, whole segments, one grid whatever
//! the chunks, sound without a hole, sums that do not drift, and a bounded effort.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod films;
mod planned;

use proptest::prelude::*;
use reelmill_common::index::{FieldOrder, IndexMethod, KeyFrame, KeyKind, Rotation, SourceIndex};
use reelmill_common::job::{JobOptions, SegmentAlignment};
use reelmill_common::plan::Plan;
use reelmill_common::spec::{AAC_FRAME, AudioChunk, ChunkMedia, VideoChunk};
use reelmill_common::time::{TickSeq, Ticks, Timebase};
use reelmill_plan::{manifest, report};

fn videos(plan: &Plan) -> Vec<&VideoChunk> {
    let mut out = Vec::new();
    for chunk in &plan.chunks {
        if let ChunkMedia::Video(v) = &chunk.spec.media {
            out.push(v);
        }
    }
    out
}

/// The chunks that hold a rendition, in the plan's order.
fn holding<'a>(plan: &'a Plan, folder: &str) -> Vec<&'a VideoChunk> {
    let mut chunks = videos(plan);
    chunks.retain(|c| c.rungs.iter().any(|r| r.folder == folder));
    chunks
}

/// The first rendition's chunks: all of the film once, however chunks are split by rung.
fn film_of(plan: &Plan) -> Vec<&VideoChunk> {
    plan.video.first().map_or_else(Vec::new, |v| holding(plan, &v.folder))
}

fn sounds(plan: &Plan) -> Vec<&AudioChunk> {
    let mut out = Vec::new();
    for chunk in &plan.chunks {
        if let ChunkMedia::Audio(a) = &chunk.spec.media {
            out.push(a);
        }
    }
    out
}

/// Films of all shapes: regular, rounded and wild times, any start, any keyframes, any sound.
fn film() -> impl Strategy<Value = SourceIndex> {
    let times = prop_oneof![
        (1i64..4000, 1u32..1500).prop_map(|(step, count)| TickSeq::Regular { first: 0, step, count }),
        prop::collection::vec(1i64..300, 0..600).prop_map(listed),
        // fast and variable: half-rate rungs, whose frames are the even ones
        prop::collection::vec(8i64..30, 0..1200).prop_map(listed),
        prop::collection::vec(prop_oneof![20 => 1i64..60, 1 => 1000i64..30_000], 0..300).prop_map(listed),
        (1i64..1500).prop_map(|count| films::rounded(0, (24_000, 1001), 1000, count)),
        (1i64..1500).prop_map(|count| films::rounded(0, (60, 1), 1000, count)),
    ];
    let keys = prop::collection::vec((0u32..1600, 0u8..3), 0..40);
    let size = (1u32..4000, 1u32..2400, 0u8..4);
    let sound = prop::collection::vec((1u16..9, -90_000i64..90_000, 0i64..4_000_000), 0..4);
    let clock = prop::sample::select(vec![
        (1i64, 1000i64),
        (1, 1000),
        (1, 1),
        (1, 4),
        (1, 25),
        (7, 90),
        (1001, 30_000),
    ]);
    let told = (any::<bool>(), prop::option::of(0i64..2_000_000));
    (times, -5_000_000i64..5_000_000, keys, size, sound, clock, told).prop_map(
        |(times, first, keys, (width, height, turns), sound, (num, den), (exact, end))| {
            // with a coarse clock a few numbers are a day: an hour at most
            let hour = 3600 * den / num;
            let mut video = films::timed(width, height, 1000, shifted(head(&times, hour), first));
            video.timebase = Timebase::new(num as u32, den as u32).unwrap();
            video.rotation = Rotation { quarter_turns: turns, mirrored: turns == 2 };
            video.field_order = if turns == 3 { FieldOrder::BottomFirst } else { FieldOrder::Unknown };
            video.end = end.map(|e| Ticks(first + e % hour));
            video.keys = keys_of(keys, &video.frames);
            let tracks = sound.iter().enumerate().map(|(n, (channels, start, length))| {
                let zero = first * num * 48_000 / den;
                let mut track = films::audio(n as u32 + 1, *channels, 48_000, zero + start + length);
                track.first = Ticks(zero + start);
                track
            });
            let method = if exact { IndexMethod::Mp4Tables } else { IndexMethod::PacketScan };
            SourceIndex { method, ..films::index(Some(video), tracks.collect()) }
        },
    )
}

fn listed(gaps: Vec<i64>) -> TickSeq {
    let rest = gaps.iter().scan(0, |at, g| {
        *at += g;
        Some(*at)
    });
    TickSeq::from_sorted(std::iter::once(0).chain(rest).collect())
}

/// The times up to `last`.
fn head(times: &TickSeq, last: i64) -> TickSeq {
    TickSeq::from_sorted(times.iter().take_while(|t| *t <= last).collect())
}

fn shifted(times: TickSeq, by: i64) -> TickSeq {
    TickSeq::from_sorted(times.iter().map(|t| t + by).collect())
}

fn keys_of(wanted: Vec<(u32, u8)>, frames: &TickSeq) -> Vec<KeyFrame> {
    let mut keys: Vec<KeyFrame> = wanted
        .into_iter()
        .filter_map(|(frame, kind)| {
            let kind = [KeyKind::Idr, KeyKind::Open, KeyKind::Unknown][usize::from(kind)];
            Some(KeyFrame { frame, pts: Ticks(frames.get(frame as usize)?), kind, offset: None })
        })
        .collect();
    keys.sort_by_key(|k| k.frame);
    keys.dedup_by_key(|k| k.frame);
    keys
}

fn options() -> impl Strategy<Value = JobOptions> {
    let alignment = prop_oneof![Just(SegmentAlignment::Grid), Just(SegmentAlignment::Source)];
    (1000u32..10_000, prop::option::of(1u32..120_000), alignment).prop_map(
        |(segment_ms, chunk_ms, segments)| JobOptions {
            segment_ms,
            chunk_ms,
            segments,
            ..JobOptions::default()
        },
    )
}

/// What holds of every rendition, and of the chunks as a whole.
fn check_frames(index: &SourceIndex, plan: &Plan) -> Result<(), TestCaseError> {
    for rung in &plan.video {
        let chunks = holding(plan, &rung.folder);
        check_film(index, plan, &chunks)?;
        let own: usize = chunks.iter().map(|c| c.rung_frames(rung.settings.every).count()).sum();
        prop_assert_eq!(own as u64, rung.frames);
    }
    for (n, chunk) in videos(plan).into_iter().enumerate() {
        prop_assert_eq!(chunk.number as usize, n);
        prop_assert!(!chunk.rungs.is_empty());
        for rung in &chunk.rungs {
            let rendition = plan.video.iter().find(|v| v.folder == rung.folder).unwrap();
            prop_assert_eq!(&rendition.settings, &rung.settings);
        }
        check_encodable(chunk)?;
    }
    Ok(())
}

/// Source frames: each in one chunk, in order, inside its trim range; the map's copies count its output frames.
fn check_film(index: &SourceIndex, plan: &Plan, chunks: &[&VideoChunk]) -> Result<(), TestCaseError> {
    let film = &index.video.as_ref().unwrap().frames;
    let source: Vec<i64> = chunks.iter().flat_map(|c| c.frames.source.iter()).collect();
    prop_assert_eq!(source, film.iter().collect::<Vec<_>>());
    let mut number = 0;
    let mut last = -1;
    for chunk in chunks {
        prop_assert_eq!(chunk.first_output, number);
        prop_assert!(chunk.frames.source.iter().all(|t| chunk.trim.contains(Ticks(t))));
        let shown = chunk
            .frames
            .copies
            .as_ref()
            .map_or(chunk.frames.source.len(), |c| c.iter().map(|c| usize::from(*c)).sum());
        prop_assert_eq!(shown, chunk.frames.output.len());
        prop_assert!(chunk.frames.copies.as_ref().is_none_or(|c| c.len() == chunk.frames.source.len()));
        for t in chunk.frames.output.iter() {
            prop_assert!(t > last);
            last = t;
        }
        number += chunk.frames.output.len() as u64;
    }
    prop_assert!(chunks.windows(2).all(|w| w[0].trim.end == w[1].trim.start));
    prop_assert!(chunks.last().unwrap().trim.end.0 > film.last().unwrap());
    prop_assert!(last < plan.duration);
    Ok(())
}

/// The encoder counts in `1/den` of the source's timebase: there, too, no two frames fall together. A first showing
/// lies at its source time, a further one as much later as on the output timeline.
fn check_encodable(chunk: &VideoChunk) -> Result<(), TestCaseError> {
    let den = std::num::NonZeroU32::new(chunk.timebase.den()).unwrap();
    let (encoder, num) = (Timebase::hz(den), i64::from(chunk.timebase.num()));
    let mut output = chunk.frames.output.iter();
    let mut last = None;
    for (n, source) in chunk.frames.source.iter().enumerate() {
        let mut first = None;
        for _ in 0..chunk.frames.copies.as_ref().map_or(1, |c| c[n]) {
            let shown = output.next().unwrap();
            let later = shown - *first.get_or_insert(shown);
            let time = source * num + chunk.out_timebase.rescale(Ticks(later), encoder).0;
            prop_assert!(last.is_none_or(|l| l < time), "two frames in one tick of the encoder");
            last = Some(time);
        }
    }
    Ok(())
}

/// Segments: whole, contiguous, each beginning with a frame of every rung that is an IDR.
fn check_segments(plan: &Plan) -> Result<(), TestCaseError> {
    let chunks = film_of(plan);
    let bounds: Vec<i64> = chunks
        .iter()
        .flat_map(|c| c.segments.iter().map(|s| s.range.start.0))
        .chain(std::iter::once(plan.duration))
        .collect();
    prop_assert_eq!(&bounds, &plan.grid);
    prop_assert_eq!(bounds[0], 0);
    let numbers: Vec<u32> = chunks.iter().flat_map(|c| c.segments.iter().map(|s| s.number.0)).collect();
    prop_assert_eq!(numbers, (1..plan.grid.len() as u32).collect::<Vec<_>>());
    let second = i64::from(plan.timebase.den());
    if plan.grid.len() > 2 {
        prop_assert!(plan.duration - plan.grid[plan.grid.len() - 2] >= second, "a sliver at the end");
    }
    let widest = plan.video.iter().map(|v| v.settings.every).max().unwrap();
    for chunk in chunks {
        let output: Vec<i64> = chunk.frames.output.iter().collect();
        prop_assert!(chunk.idr.iter().is_sorted());
        for segment in &chunk.segments {
            prop_assert!(chunk.idr.contains(&segment.range.start));
        }
        for idr in &chunk.idr {
            let at = output.binary_search(&idr.0);
            prop_assert!(at.is_ok(), "an IDR without a frame");
            let number = chunk.first_output + at.unwrap() as u64;
            prop_assert_eq!(number % u64::from(widest), 0, "an IDR that a half-rate rung does not have");
        }
        check_gops(chunk, &output)?;
    }
    Ok(())
}

/// No rung's encoder is ever asked for a longer GOP than it was told, so it inserts no keyframe of its own; and DTS
/// never exceeds CTS for a pyramid within three B-frames.
fn check_gops(chunk: &VideoChunk, output: &[i64]) -> Result<(), TestCaseError> {
    for rung in &chunk.rungs {
        let own: Vec<i64> = chunk.rung_frames(rung.settings.every).map(|n| output[n]).collect();
        let mut starts: Vec<usize> = chunk.idr.iter().map(|i| own.partition_point(|t| *t < i.0)).collect();
        starts.push(own.len());
        for gop in starts.windows(2) {
            prop_assert!(gop[1] - gop[0] <= usize::from(rung.settings.gop_frames));
            let delays = own[gop[0]..gop[1]].windows(3).map(|w| w[2] - w[0]);
            let longest = delays.max().unwrap_or(0);
            prop_assert!(rung.reorder_delay == 0 || longest <= rung.reorder_delay.into());
        }
    }
    Ok(())
}

/// Sound: every packet of every rendition in one segment of one chunk, ending with the picture.
fn check_sound(plan: &Plan) -> Result<(), TestCaseError> {
    let scale = i128::from(plan.timebase.den());
    for rendition in &plan.audio {
        let rate = i128::from(rendition.settings.sample_rate);
        let off = i128::from(rendition.total_samples) * scale - i128::from(plan.duration) * rate;
        prop_assert!(off.abs() * 2 <= scale || rendition.total_samples == 1, "not the nearest sample");
        let packets = (rendition.total_samples + AAC_FRAME).div_ceil(AAC_FRAME);
        let chunks: Vec<_> = sounds(plan).into_iter().filter(|c| c.folder == rendition.folder).collect();
        let ends: Vec<u64> = chunks.iter().map(|c| c.packets.1).collect();
        prop_assert_eq!(chunks[0].packets.0, 0);
        prop_assert_eq!(*ends.last().unwrap(), packets);
        prop_assert!(chunks.windows(2).all(|w| w[0].packets.1 == w[1].packets.0));
        let segments: Vec<_> = chunks.iter().flat_map(|c| c.segments.clone()).collect();
        prop_assert_eq!(&segments, &rendition.segments);
        for chunk in chunks {
            prop_assert_eq!(chunk.segments[0].first_packet, chunk.packets.0);
            prop_assert_eq!(chunk.segments.last().unwrap().end_packet, chunk.packets.1);
        }
    }
    Ok(())
}

/// EXTINF sums to the duration to a microsecond, and every `d` of the MPD to a tick.
fn check_sums(plan: &Plan) -> Result<(), TestCaseError> {
    let files = manifest::write(plan, &planned::facts(plan)).unwrap();
    for file in files.iter().filter(|f| f.name.ends_with("playlist.m3u8")) {
        let text = std::str::from_utf8(&file.bytes).unwrap();
        let micros: i64 = text.lines().filter_map(|l| l.strip_prefix("#EXTINF:")).map(planned::micros).sum();
        let want = match plan.audio.iter().find(|a| file.name.starts_with(&a.folder)) {
            None => plan.timebase.micros(Ticks(plan.duration)),
            Some(a) => planned::rate(a).micros(Ticks(a.total_samples as i64)),
        };
        prop_assert_eq!(micros, want, "{}", file.name);
    }
    let mpd = String::from_utf8(files.last().unwrap().bytes.clone()).unwrap();
    let sums = planned::timeline_sums(&mpd);
    let mut want: Vec<i64> = plan.video.first().map(|_| plan.duration).into_iter().collect();
    want.extend(plan.audio.iter().map(|a| a.total_samples as i64));
    prop_assert_eq!(sums, want);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_plan_is_whole(index in film(), options in options(), slots in 0u32..40) {
        let plan = planned::plan(&index, &options, slots).unwrap();
        check_frames(&index, &plan)?;
        check_segments(&plan)?;
        check_sound(&plan)?;
        check_sums(&plan)?;
        // everything a person or a player reads can be made of it
        prop_assert!(!report::explain(&plan).is_empty());
        prop_assert_eq!(planned::plan(&index, &options, slots).unwrap(), plan);
    }

    /// A bound on what a chunk may cost holds wherever there is a smaller chunk, and the plan is whole with it.
    #[test]
    fn chunks_cost_no_more_than_they_may(
        index in film(),
        options in options(),
        slots in 0u32..40,
        most_ms in 250u64..30_000,
    ) {
        let plan = planned::plan_shared(&index, &options, slots, most_ms).unwrap();
        check_frames(&index, &plan)?;
        check_segments(&plan)?;
        check_sound(&plan)?;
        for chunk in &plan.chunks {
            let ChunkMedia::Video(video) = &chunk.spec.media else { continue };
            let smallest = video.segments.len() == 1 && video.rungs.len() == 1;
            let held = video.frames.copies.as_ref().is_some_and(|c| c.iter().any(|copies| *copies > 1));
            prop_assert!(chunk.cost_ms <= most_ms || smallest || held, "{} > {most_ms}", chunk.cost_ms);
        }
        let alone = planned::plan(&index, &options, slots).unwrap();
        prop_assert_eq!((&plan.grid, &plan.video, &plan.audio), (&alone.grid, &alone.video, &alone.audio));
    }

    /// `--chunk` and the fleet change who encodes what, and nothing that a player sees.
    #[test]
    fn chunks_change_nothing_that_is_seen(
        index in film(),
        options in options(),
        other in prop::option::of(1u32..120_000),
        slots in (0u32..40, 0u32..40),
    ) {
        let a = planned::plan(&index, &options, slots.0).unwrap();
        let b = planned::plan(&index, &JobOptions { chunk_ms: other, ..options }, slots.1).unwrap();
        prop_assert_eq!(&a.grid, &b.grid);
        prop_assert_eq!(&a.video, &b.video);
        prop_assert_eq!(&a.audio, &b.audio);
        let times = |p: &Plan| film_of(p).iter().flat_map(|c| c.frames.output.iter()).collect::<Vec<_>>();
        prop_assert_eq!(times(&a), times(&b));
        let idrs = |p: &Plan| film_of(p).iter().flat_map(|c| c.idr.clone()).collect::<Vec<_>>();
        prop_assert_eq!(idrs(&a), idrs(&b));
        let facts = planned::facts(&a);
        prop_assert_eq!(manifest::write(&a, &facts).unwrap(), manifest::write(&b, &facts).unwrap());
    }

    /// Decoding begins at a keyframe not after the chunk, and one earlier where that one is not proven closed.
    #[test]
    fn decoding_begins_early_enough(index in film(), options in options()) {
        let plan = planned::plan(&index, &options, 4).unwrap();
        let video = index.video.as_ref().unwrap();
        for chunk in videos(&plan) {
            let first = chunk.frames.source.first().unwrap();
            let Some(seek) = chunk.seek else { continue };
            let before: Vec<_> = video.keys.iter().filter(|k| k.pts.0 <= first).collect();
            let key = before.iter().position(|k| k.pts == seek);
            prop_assert!(key.is_some(), "seeks to no keyframe");
            let skipped = before.len() - 1 - key.unwrap();
            let closed = index.method == IndexMethod::Mp4Tables && before.last().unwrap().kind == KeyKind::Idr;
            prop_assert_eq!(skipped, usize::from(!closed));
        }
    }

    /// No index, however wrong, makes the planner panic; what cannot be planned is refused with words.
    #[test]
    fn a_lying_index_is_refused_or_planned(
        times in prop_oneof![
            prop::collection::vec(any::<i64>(), 0..50),
            prop::collection::btree_set(0i64..2_000_000, 1..400).prop_map(|s| s.into_iter().collect::<Vec<_>>()),
        ],
        regular in prop::option::weighted(0.2, (any::<i64>(), any::<i64>(), any::<u32>())),
        size in (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>()),
        keys in prop::collection::vec(
            (prop_oneof![any::<u32>(), 0u32..500], prop_oneof![any::<i64>(), 0i64..2_000_000]),
            0..20,
        ),
        end in any::<Option<i64>>(),
        sound in prop::collection::vec((any::<u16>(), any::<u32>(), any::<i64>(), any::<i64>()), 0..3),
        den in prop_oneof![1u32.., Just(1000)],
        segment_ms in prop_oneof![any::<u32>(), 1000u32..20_000],
        chunk_ms in any::<Option<u32>>(),
    ) {
        let frames = match regular {
            Some((first, step, count)) => TickSeq::Regular { first, step, count: count % 3_000_000 },
            None => TickSeq::Listed(times),
        };
        let mut video = films::timed(size.0 % 10_000, size.1 % 10_000, den, TickSeq::Listed(vec![0]));
        video.frames = frames;
        video.sar = (size.2, size.3);
        video.end = end.map(Ticks);
        video.keys = keys
            .into_iter()
            .map(|(frame, pts)| KeyFrame { frame, pts: Ticks(pts), kind: KeyKind::Idr, offset: None })
            .collect();
        let tracks = sound.into_iter().map(|(channels, rate, first, end)| {
            let mut track = films::audio(1, channels, 48_000, end);
            track.sample_rate = rate;
            track.first = Ticks(first);
            track
        });
        let index = films::index(Some(video), tracks.collect());
        for segments in [SegmentAlignment::Grid, SegmentAlignment::Source] {
            let options = JobOptions { segment_ms, chunk_ms, segments, ..JobOptions::default() };
            match planned::plan(&index, &options, u32::MAX) {
                Ok(plan) => prop_assert!(!report::dump(&plan).is_empty()),
                Err(refusal) => prop_assert!(!refusal.to_string().is_empty()),
            }
        }
    }
}

/// 10 hours at 60 frames a second, rounded to milliseconds: over two million listed times, and 9,000 segments.
#[test]
fn a_ten_hour_film_is_planned_and_published_in_bounded_effort() {
    let times = films::rounded(0, (60, 1), 1000, 10 * 3600 * 60);
    let index = films::index(
        Some(films::timed(1920, 1080, 1000, times)),
        vec![films::audio(1, 2, 48_000, 36_000 * 48_000)],
    );
    let plan = planned::plan(&index, &JobOptions::default(), 64).unwrap();
    assert_eq!(plan.grid.len(), 9001);
    assert_eq!(plan.audio[0].segments.len(), 9000);
    let cost: u64 = plan.chunks.iter().map(|c| c.cost_ms).sum();
    assert!(plan.chunks.len() < 9001 && cost > 0);
    let files = manifest::write(&plan, &planned::facts(&plan)).unwrap();
    let largest = files.iter().map(|f| f.bytes.len()).max().unwrap();
    assert!(largest < 9000 * 100, "a playlist of {largest} bytes");
}
