//! From a film on disk or in an object store to a package that ffprobe and ffmpeg read.

use crate::given::*;
use crate::support::{Coordinator, Said, config, start, start_with};
use reelmill_common::Sha256;
use reelmill_common::check::check_report;
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::outcome::{ChunkReport, FaultKind, Report, ReportBody};
use reelmill_common::spec::{AnalyseSpec, ChunkMedia, IndexSpec, WorkItem};
use reelmill_proto::stored;
use std::path::{Path, PathBuf};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_film_in_two_chunks_comes_out_whole() {
    // the ffmpeg on PATH, and a newer one where the variable names it
    let newer = std::env::var_os("REELMILL_FFMPEG_NEW").filter(|p| !p.is_empty()).map(PathBuf::from);
    for ffmpeg in [None].into_iter().chain(newer.map(Some)) {
        two_chunks(ffmpeg).await;
    }
}

async fn two_chunks(ffmpeg: Option<PathBuf>) {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (film, out) = (film(dir.path()), dir.path().canonicalize().unwrap());
    let coordinator = Coordinator::start().await;
    let mut with = config(vec![coordinator.url()], scratch.path());
    with.ffmpeg = ffmpeg;
    with.ffprobe = Some(which("ffprobe").into());
    let worker = start(with).await;
    let hello = coordinator.hello().await;
    assert_eq!((hello.capability.slots, hello.capability.encoders.len()), (2, 1));

    let report = done(index(&coordinator, &film, &out).await);
    let index = stored::decode_index(&object(&report, &out)).unwrap();

    let video = index.video.as_ref().unwrap();
    let rungs = vec![settings(320, 180, 1), settings(160, 90, 2)];
    let analyse = AnalyseSpec {
        source: index.source,
        demuxer: index.demuxer,
        encode_timebase: video.timebase,
        rungs,
        downmixes: vec![(index.audio[0].stream, sound())],
        joins: Vec::new(),
        round: 1,
    };
    let attempt = coordinator.lease(WorkItem::Analyse(analyse), &film, &out);
    let report = done(coordinator.outcome(attempt).await);
    let analysis = stored::decode_analysis(&object(&report, &out)).unwrap();
    assert_eq!((analysis.avcc.len(), analysis.peaks.len()), (2, 1));
    // lavfi's sine has an amplitude of one eighth, mono to stereo takes 3 dB off, AAC overshoots a little
    assert!((860..1_000).contains(&analysis.peaks[0]), "{:?}", analysis.peaks);

    let items = [half(&index, &analysis.avcc, 0), half(&index, &analysis.avcc, 1), whole_sound(&index)];
    for item in &items {
        let attempt = coordinator.lease(item.clone(), &film, &out);
        let report = done(coordinator.outcome(attempt).await);
        let made = stored::decode_chunk_report(&object(&report, &out)).unwrap();
        assert_eq!(report.body, ReportBody::Encode(made.clone()));
        holds(item, &made, &film);
    }
    worker.leave().await;
    assert_eq!(left_in(scratch.path()), Vec::<String>::new(), "scratch is empty after the work");
    plays(&out);
}

/// The report is what the spec asks for, and its costs are believable.
fn holds(item: &WorkItem, made: &ChunkReport, film: &Path) {
    let WorkItem::Encode(spec) = item else { unreachable!() };
    check_report(spec, made).unwrap();
    let film_bytes = film.metadata().unwrap().len();
    assert!(made.cost.encode_ms > 0 && made.cost.wall_ms >= made.cost.encode_ms, "{:?}", made.cost);
    assert!(made.cost.cpu_ms > 0, "{:?}", made.cost);
    assert!(
        (1..film_bytes * 2 + 500_000).contains(&made.cost.source_bytes),
        "{:?} of {film_bytes}",
        made.cost
    );
    match &spec.media {
        ChunkMedia::Video(_) => {
            assert_eq!(made.encoder.as_ref().map(|e| e.family), Some(EncoderFamily::X264))
        }
        // a 997 Hz sine is as loud as its level says (ITU-R BS.1770): 20 log10(0.0884) = -21.07
        ChunkMedia::Audio(_) => {
            let loudness = made.loudness.as_ref().unwrap().summary().unwrap();
            assert!((-2_150..-2_060).contains(&loudness.integrated_lufs_x100), "{loudness:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_film_is_refused_in_plain_words() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let out = dir.path().canonicalize().unwrap();
    let coordinator = Coordinator::start().await;
    let worker = start(config(vec![coordinator.url()], scratch.path())).await;
    let cases: [(&str, Option<&[u8]>, &str); 6] = [
        ("missing.mp4", None, "does not exist"),
        ("empty.mp4", Some(b""), "empty"),
        ("list.mp4", Some(b"#EXTM3U\n#EXTINF:4,\nhttp://127.0.0.1:9/a.ts\n"), "HLS playlist"),
        (
            "mpd.mp4",
            Some(b"<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"/>"),
            "DASH manifest",
        ),
        ("concat.mp4", Some(b"ffconcat version 1.0\nfile /etc/passwd\n"), "ffconcat"),
        ("page.mp4", Some(b"<!DOCTYPE html><html>404</html>"), "HTML"),
    ];
    for (name, content, words) in cases {
        let path = out.join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let fault = failed(index(&coordinator, &path, &out).await);
        assert_eq!(fault.kind, FaultKind::Source, "{name}: {fault}");
        assert!(fault.message.contains(words), "{name}: {fault}");
    }
    let noise: Vec<u8> = (0..65_536u64).flat_map(|i| Sha256::of(&i.to_be_bytes()).0[..1].to_vec()).collect();
    let path = out.join("noise.mp4");
    std::fs::write(&path, noise).unwrap();
    let fault = failed(index(&coordinator, &path, &out).await);
    assert_eq!(fault.kind, FaultKind::Source, "{fault}");
    let fault = failed(index(&coordinator, &out, &out).await);
    assert_eq!(fault.kind, FaultKind::Source, "a directory: {fault}");
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn films_of_the_corpus_are_indexed() {
    let Some(corpus) = std::env::var_os("REELMILL_CORPUS").map(PathBuf::from) else { return };
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let out = dir.path().canonicalize().unwrap();
    let coordinator = Coordinator::start().await;
    let worker = start(config(vec![coordinator.url()], scratch.path())).await;
    // frames as the corpus's own catalogue counts them
    for (name, frames) in
        [("bbb_30s_faststart.mp4", 720), ("avi_mpeg4_mp3_960x400.avi", 96), ("mkv_av1_360p_5s.mkv", 125)]
    {
        let report = done(index(&coordinator, &corpus.join(name).canonicalize().unwrap(), &out).await);
        let index = stored::decode_index(&object(&report, &out)).unwrap();
        assert_eq!(index.video.unwrap().frames.len(), frames, "{name}");
    }
    for name in
        ["html_error_page.mp4", "random_64k.mp4", "zero_bytes.mp4", "mp4_moov_at_end_truncated_no_moov.mp4"]
    {
        let fault = failed(index(&coordinator, &corpus.join(name).canonicalize().unwrap(), &out).await);
        assert_eq!(fault.kind, FaultKind::Source, "{name}: {fault}");
    }
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_finds_the_leader_and_comes_back_with_what_it_holds() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (film, out) = (film(dir.path()), dir.path().canonicalize().unwrap());
    let (standby, leader) = (Coordinator::start().await, Coordinator::start().await);
    standby.redirect_to(&leader.url());
    // nobody listens at the first address
    let nobody = "http://127.0.0.1:1".to_owned();
    let worker = start(config(vec![nobody, standby.url(), leader.url()], scratch.path())).await;
    let first = leader.hello().await;
    assert!(first.running.is_empty() && first.unsettled.is_empty());

    // the connection goes while the worker waits for its grant: the same boot comes back and still holds the attempt
    leader.refuse_grants();
    let spec = IndexSpec { location: "film".to_owned(), salt: "job-1".to_owned(), decode: false };
    let attempt = leader.lease(WorkItem::Index(spec), &film, &out);
    leader.hear("grant", |said| matches!(said, Said::Grant(a) if a == attempt).then_some(())).await;
    leader.hang_up();
    let second = leader.hello().await;
    assert_eq!(second.boot, first.boot);
    worker.leave().await;
    assert_eq!(left_in(scratch.path()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_ones_bytes_are_never_overwritten() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (film, out) = (film(dir.path()), dir.path().canonicalize().unwrap());
    let coordinator = Coordinator::start().await;
    let worker = start(config(vec![coordinator.url()], scratch.path())).await;
    let report = done(index(&coordinator, &film, &out).await);
    let index = stored::decode_index(&object(&report, &out)).unwrap();
    let item = whole_sound(&index);
    let first = done({
        let attempt = coordinator.lease(item.clone(), &film, &out);
        coordinator.outcome(attempt).await
    });
    // a second attempt makes the same bytes and takes those that are there
    let again = done({
        let attempt = coordinator.lease(item.clone(), &film, &out);
        coordinator.outcome(attempt).await
    });
    let files = |r: &Report| match &r.body {
        ReportBody::Encode(made) => made.files.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(files(&first), files(&again));

    let segment = out.join("package/audio-0/000002.m4s");
    std::fs::write(&segment, b"not ours").unwrap();
    let attempt = coordinator.lease(item, &film, &out);
    let fault = failed(coordinator.outcome(attempt).await);
    assert_eq!(fault.kind, FaultKind::Output, "{fault}");
    assert!(fault.message.contains("000002.m4s"), "{fault}");
    assert_eq!(std::fs::read(&segment).unwrap(), b"not ours");
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_film_in_an_object_store_is_read_by_ranges_and_by_loopback() {
    use reelmill_blob::{PutOptions, PutOutcome, Stores};
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let out = dir.path().canonicalize().unwrap();
    let film = out.join("noisy.mp4");
    // large enough for what is read ahead in vain to be small against it
    let inputs = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30:duration=4,noise=alls=80:allf=t"];
    let sound = ["-f", "lavfi", "-i", "sine=frequency=997:sample_rate=48000:duration=4", "-ac", "2"];
    let coded =
        ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "10", "-pix_fmt", "yuv420p", "-v", "error"];
    tool("ffmpeg", &[&inputs[..], &sound, &coded, &["-g", "30", film.to_str().unwrap()]].concat());
    let stores = Stores::default();
    let content = std::fs::read(&film).unwrap();
    let size = content.len() as u64;
    assert!(size > 10_000_000, "{size}");
    let films = stores.open("memory://films").unwrap();
    let put = films.put_create("a/film.mp4", content.into(), PutOptions::default()).await.unwrap();
    assert_eq!(put, PutOutcome::Created);
    let url = "memory://films/a/film.mp4";

    let coordinator = Coordinator::start().await;
    let worker = start_with(config(vec![coordinator.url()], scratch.path()), stores).await;
    let spec = IndexSpec { location: url.to_owned(), salt: "job-1".to_owned(), decode: false };
    let attempt = coordinator.lease_url(WorkItem::Index(spec), url, &out);
    let report = done(coordinator.outcome(attempt).await);
    let index = stored::decode_index(&object(&report, &out)).unwrap();
    assert_eq!(index.bytes, size);
    let mut read = report.cost().source_bytes;
    assert!(read < size / 10, "{read} bytes read for the index of {size}");

    let video = index.video.as_ref().unwrap();
    let analyse = AnalyseSpec {
        source: index.source,
        demuxer: index.demuxer,
        encode_timebase: video.timebase,
        rungs: vec![settings(320, 180, 1), settings(160, 90, 2)],
        downmixes: Vec::new(),
        joins: Vec::new(),
        round: 1,
    };
    let attempt = coordinator.lease_url(WorkItem::Analyse(analyse), url, &out);
    let report = done(coordinator.outcome(attempt).await);
    assert_eq!(report.cost().source_bytes, 0, "it only encodes a frame of its own");
    assert!(report.cost().cpu_ms > 0);
    let avcc = stored::decode_analysis(&object(&report, &out)).unwrap().avcc;

    // sound lies between pictures, the second half is decoded from before its start: each byte is wanted by several
    for item in [whole_sound(&index), half(&index, &avcc, 0), half(&index, &avcc, 1)] {
        let attempt = coordinator.lease_url(item.clone(), url, &out);
        let report = done(coordinator.outcome(attempt).await);
        let ReportBody::Encode(made) = &report.body else { panic!("{:?}", report.body) };
        let WorkItem::Encode(spec) = &item else { unreachable!() };
        check_report(spec, made).unwrap();
        read += report.cost().source_bytes;
    }
    println!("{read} bytes read of {size}");
    assert!(read >= size && read * 10 <= size * 13, "{read} bytes read of {size}");
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scratch_quota_that_is_too_small_is_a_storage_fault() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (film, out) = (film(dir.path()), dir.path().canonicalize().unwrap());
    let coordinator = Coordinator::start().await;
    let mut small = config(vec![coordinator.url()], scratch.path());
    small.scratch_quota = 20_000;
    let worker = start(small).await;
    let report = done(index(&coordinator, &film, &out).await);
    let index = stored::decode_index(&object(&report, &out)).unwrap();
    let attempt = coordinator.lease(whole_sound(&index), &film, &out);
    let fault = failed(coordinator.outcome(attempt).await);
    assert_eq!(fault.kind, FaultKind::Storage, "{fault}");
    assert!(fault.message.contains("quota"), "{fault}");
    assert!(!out.join("package").exists(), "nothing half-written is left behind");
    worker.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_twice_to_leave_the_worker_hands_back_what_runs() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (film, out) = (film(dir.path()), dir.path().canonicalize().unwrap());
    let hang = out.join("ffprobe");
    // an ffprobe that tells its version and then does nothing for ever
    let script =
        "#!/bin/sh\n[ \"$1\" = -version ] && exec /usr/bin/env ffprobe -version\nexec tail -f /dev/null\n";
    std::fs::write(&hang, script.replace("/usr/bin/env ffprobe", &which("ffprobe"))).unwrap();
    make_executable(&hang);
    // not MP4, so that it is scanned
    let avi = out.join("film.avi");
    tool(
        "ffmpeg",
        &["-v", "error", "-i", film.to_str().unwrap(), "-c", "copy", "-t", "1", avi.to_str().unwrap()],
    );

    let coordinator = Coordinator::start().await;
    let mut hanging = config(vec![coordinator.url()], scratch.path());
    hanging.ffprobe = Some(hang);
    // the script becomes other programs
    hanging.sandbox.paths.push("/usr/bin".into());
    let worker = start(hanging).await;
    let spec = IndexSpec { location: "avi".to_owned(), salt: "job-1".to_owned(), decode: false };
    let attempt = coordinator.lease(WorkItem::Index(spec), &avi, &out);
    let runs = |said| matches!(said, Said::Beat(running) if running.contains(&attempt)).then_some(());
    coordinator.hear("a heartbeat of the running attempt", runs).await;
    worker.stop.drain.cancel();
    coordinator.hear("draining", |said| matches!(said, Said::Draining).then_some(())).await;
    worker.stop.hand_back.cancel();
    let fault = failed(coordinator.outcome(attempt).await);
    assert_eq!(fault.kind, FaultKind::Abandoned, "{fault}");
    worker.leave().await;
    assert_eq!(left_in(scratch.path()), Vec::<String>::new());
}
