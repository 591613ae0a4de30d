//! Segments that an earlier attempt left: taken over where they hold what the chunk asks for, in the way where not.

use crate::given::{done, failed, film, half, index, object, plays, settings, whole_sound};
use crate::support::{Coordinator, config, start};
use reelmill_common::check::check_report;
use reelmill_common::index::SourceIndex;
use reelmill_common::keys::media_name;
use reelmill_common::outcome::{ChunkReport, FaultKind, Report, ReportBody};
use reelmill_common::spec::{AnalyseSpec, ChunkMedia, ChunkSpec, VideoChunk, WorkItem};
use reelmill_common::{Sha256, TickSeq};
use reelmill_proto::stored;
use std::path::Path;

/// Indexes the film and binds the two rungs.
pub(crate) async fn bound(coordinator: &Coordinator, film: &Path, out: &Path) -> (SourceIndex, Vec<Vec<u8>>) {
    let report = done(index(coordinator, film, out).await);
    let index = stored::decode_index(&object(&report, out)).unwrap();
    let analyse = AnalyseSpec {
        source: index.source,
        demuxer: index.demuxer,
        encode_timebase: index.video.as_ref().unwrap().timebase,
        rungs: vec![settings(320, 180, 1), settings(160, 90, 2)],
        downmixes: Vec::new(),
        joins: Vec::new(),
        round: 1,
    };
    let attempt = coordinator.lease(WorkItem::Analyse(analyse), film, out);
    let report = done(coordinator.outcome(attempt).await);
    let avcc = stored::decode_analysis(&object(&report, out)).unwrap().avcc;
    (index, avcc)
}

fn chunk(item: WorkItem) -> (ChunkSpec, VideoChunk) {
    match item {
        WorkItem::Encode(spec) => match spec.media.clone() {
            ChunkMedia::Video(chunk) => (spec, chunk),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// The whole film as one chunk, encoded with two threads: the same segments, made of other bytes.
fn at_once(index: &SourceIndex, avcc: &[Vec<u8>]) -> WorkItem {
    let ((spec, mut first), (_, second)) = (chunk(half(index, avcc, 0)), chunk(half(index, avcc, 1)));
    let both = |a: &TickSeq, b: &TickSeq| TickSeq::from_sorted(a.iter().chain(b.iter()).collect());
    first.trim.end = second.trim.end;
    first.frames.source = both(&first.frames.source, &second.frames.source);
    first.frames.output = both(&first.frames.output, &second.frames.output);
    first.segments.extend(second.segments);
    first.idr.extend(second.idr);
    first.rungs.iter_mut().for_each(|r| r.settings.threads = 2);
    WorkItem::Encode(ChunkSpec { media: ChunkMedia::Video(first), ..spec })
}

fn encoded(report: &Report) -> &ChunkReport {
    match &report.body {
        ReportBody::Encode(made) => made,
        other => panic!("{other:?}"),
    }
}

/// Every file of the report is what lies in the package.
fn tells_the_truth(item: &WorkItem, report: &Report, out: &Path) {
    let made = stored::decode_chunk_report(&object(report, out)).unwrap();
    assert_eq!(&made, encoded(report));
    let (spec, chunk) = chunk(item.clone());
    check_report(&spec, &made).unwrap();
    for file in &made.files {
        let folder = &chunk.rungs[file.rung as usize].folder;
        let there = std::fs::read(out.join("package").join(media_name(folder, file.segment))).unwrap();
        assert_eq!((there.len() as u64, Sha256::of(&there)), (file.bytes, file.sha256));
        // the I-frame's range begins with its box and holds a whole picture
        for i in &file.iframes {
            let range = &there[i.offset as usize..(i.offset + i.length) as usize];
            assert_eq!(&range[4..8], b"moof");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_of_another_cut_are_taken_over_and_the_film_is_whole() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (film, out) = (film(dir.path()), dir.path().canonicalize().unwrap());
    let coordinator = Coordinator::start().await;
    let worker = start(config(vec![coordinator.url()], scratch.path())).await;
    let (index, avcc) = bound(&coordinator, &film, &out).await;
    let run = async |item: &WorkItem| {
        let attempt = coordinator.lease(item.clone(), &film, &out);
        coordinator.outcome(attempt).await
    };

    let earlier = at_once(&index, &avcc);
    let first = done(run(&earlier).await);
    tells_the_truth(&earlier, &first, &out);
    assert_eq!(encoded(&first).files.len(), 6, "two rungs with an init segment and two segments each");
    // of one rung the first segment is lost again, so that the joined film mixes both
    let lost = out.join("package/180p-0/000001.m4s");
    let before = std::fs::read(&lost).unwrap();
    std::fs::remove_file(&lost).unwrap();

    for number in 0..2 {
        let item = half(&index, &avcc, number);
        let report = done(run(&item).await);
        tells_the_truth(&item, &report, &out);
        let adopted = encoded(&report).files.iter().filter(|f| encoded(&first).files.contains(f)).count();
        // chunk 0: both init segments and one of two segments; chunk 1: both segments
        assert_eq!(adopted, [3, 2][number as usize], "{:?}", encoded(&report).files);
        assert!(encoded(&report).notes.iter().any(|n| n.contains("adopted")), "{:?}", encoded(&report).notes);
    }
    assert_ne!(std::fs::read(&lost).unwrap(), before, "one thread and two make other bytes");
    done(run(&whole_sound(&index)).await);
    plays(&out);

    // a good segment in another one's place is in the way, and stays there
    let (from, to) = (out.join("package/90p-0/000001.m4s"), out.join("package/90p-0/000002.m4s"));
    std::fs::copy(&from, &to).unwrap();
    let fault = failed(run(&half(&index, &avcc, 1)).await);
    assert_eq!(fault.kind, FaultKind::Output, "{fault}");
    for words in ["90p-0/000002.m4s", "expected a frame at", "never overwritten"] {
        assert!(fault.message.contains(words), "{words}: {fault}");
    }
    assert_eq!(std::fs::read(&from).unwrap(), std::fs::read(&to).unwrap());
    worker.leave().await;
}
