//! A film whose packets do not tell its frames: indexed by decoding it, and cut as any other.

use crate::adopt::bound;
use crate::given::{done, half, joined, plays, tool, whole_sound};
use crate::support::{Coordinator, config, start};
use reelmill_common::index::{Demuxer, KeyKind};
use std::path::Path;
use std::process::Command;

const SIZE: (usize, usize) = (320, 180);

/// The pictures of a film, one byte a pixel.
fn pictures(film: &Path) -> Vec<Vec<u8>> {
    let args = ["-v", "error", "-i", film.to_str().unwrap(), "-map", "0:v", "-fps_mode", "passthrough"];
    let raw = ["-f", "rawvideo", "-pix_fmt", "gray", "-"];
    let out = Command::new("ffmpeg").args(args).args(raw).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    out.stdout.chunks_exact(SIZE.0 * SIZE.1).map(<[u8]>::to_vec).collect()
}

/// How far two pictures are apart, by every 13th pixel: enough to tell any two of them.
fn apart(a: &[u8], b: &[u8]) -> u64 {
    a.iter().zip(b).step_by(13).map(|(a, b)| u64::from(a.abs_diff(*b))).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_film_with_hidden_frames_is_decoded_to_be_indexed_and_comes_out_whole() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let out = dir.path().canonicalize().unwrap();
    let film = out.join("film.webm");
    // VP8 with reference frames that are never shown, each a packet of its own: made in two passes only
    let log = out.join("passes");
    let picture = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30:duration=4"];
    let sound = ["-f", "lavfi", "-i", "sine=frequency=997:sample_rate=48000:duration=4"];
    let coded = ["-c:v", "libvpx", "-b:v", "600k", "-deadline", "good", "-cpu-used", "3", "-g", "30"];
    let hidden =
        ["-lag-in-frames", "25", "-auto-alt-ref", "1", "-passlogfile", log.to_str().unwrap(), "-pass"];
    tool("ffmpeg", &[&picture[..], &coded, &hidden, &["1", "-f", "null", "-"]].concat());
    let last = ["2", "-ac", "2", "-c:a", "libopus", film.to_str().unwrap()];
    tool("ffmpeg", &[&picture[..], &sound, &coded, &hidden, &last].concat());
    let packets = ["-v", "error", "-select_streams", "v", "-show_entries", "packet=flags", "-of", "csv=p=0"];
    let packets = tool("ffprobe", &[&packets[..], &[film.to_str().unwrap()]].concat()).lines().count();
    assert!(packets > 120, "{packets} packets for 120 frames");

    let coordinator = Coordinator::start().await;
    let worker = start(config(vec![coordinator.url()], scratch.path())).await;
    let (index, avcc) = bound(&coordinator, &film, &out).await;
    let video = index.video.as_ref().unwrap();
    assert_eq!((index.demuxer, video.frames.len()), (Demuxer::Matroska, 120));
    assert!(video.keys.len() >= 4 && video.keys.iter().all(|k| k.kind == KeyKind::Idr), "{:?}", video.keys);

    for item in [half(&index, &avcc, 0), half(&index, &avcc, 1), whole_sound(&index)] {
        let attempt = coordinator.lease(item, &film, &out);
        done(coordinator.outcome(attempt).await);
    }
    worker.leave().await;
    plays(&out);
    let (source, made) = (pictures(&film), pictures(&joined(&out, "180p-0", 2)));
    assert_eq!((source.len(), made.len()), (120, 120));
    for (i, picture) in made.iter().enumerate() {
        let nearest = (0..120).min_by_key(|n| apart(picture, &source[*n]));
        assert_eq!(nearest, Some(i), "each picture in its place");
    }
}
