//! hls.js, dash.js and Shaka Player play a package to its end, show every frame, seek, and switch through every rung,
//! without an error, a gap or a stall. No player reports a lost frame by itself: the frames are counted.

use reelmill_tests::film::{Film, PLAIN};
use reelmill_tests::players::{Seen, play, playlists};
use reelmill_tests::reelmill;
use std::path::{Path, PathBuf};

const FILM: Film = Film { name: "players", size: (854, 480), frames: 240, ..PLAIN };

/// A package of the film with three rungs.
fn package(dir: &Path) -> PathBuf {
    let made = FILM.make(dir).expect("film");
    let out = dir.join("out");
    let done = reelmill::transcode(&made.path, &out, &["--preset", "speed", "--chunk", "4s"]).expect("runs");
    assert_eq!(done.code(), 0, "{}", done.stderr);
    out
}

/// What every scenario owes: it ended, nothing went wrong, the buffer has no hole, the film is as long as it is.
fn assert_whole(player: &str, seen: &Seen) {
    assert_eq!(seen.errors, Vec::<String>::new(), "{player}");
    assert!(seen.ended, "{player}: {seen:?}");
    assert_eq!(seen.buffered.len(), 1, "{player}: one buffered range: {:?}", seen.buffered);
    assert!((seen.duration - 10.0).abs() < 0.05, "{player}: lasts {} s", seen.duration);
    assert_eq!(seen.corrupted, 0, "{player}");
    let mut rungs = seen.rungs.clone();
    rungs.sort_unstable();
    assert_eq!(rungs, [240, 360, 480], "{player}");
}

fn plays(player: &str) {
    let dir = tempfile::tempdir().expect("scratch");
    let package = package(dir.path());
    let seen = play(player, &package, "play").expect("plays");
    assert_whole(player, &seen);
    let (from, to) = seen.buffered[0];
    assert!(from < 0.001 && (to - 10.0).abs() < 0.05, "{player}: buffered {from} to {to}");
    assert_eq!(seen.frames, u64::from(FILM.frames), "{player}: {seen:?}");

    let seen = play(player, &package, "tour").expect("tours");
    assert_whole_tour(player, &seen);
}

fn assert_whole_tour(player: &str, seen: &Seen) {
    assert_whole(player, seen);
    assert_eq!(seen.heights, [240, 360, 480, 480], "{player}");
    assert_eq!(seen.seeks, 12, "{player}");
}

#[test]
fn hls_js() {
    plays("hlsjs");
}

#[test]
fn dash_js() {
    plays("dashjs");
}

#[test]
fn shaka_player() {
    plays("shaka");
}

/// A parser that is not ours and not a player's, in its strict mode, has nothing against any playlist; and it can have:
/// a playlist without its target duration is refused.
#[test]
fn every_playlist_passes_a_strict_parser() {
    let dir = tempfile::tempdir().expect("scratch");
    let package = package(dir.path());
    let seen = playlists(&package).expect("parses");
    assert_eq!(seen.errors, Vec::<String>::new());
    // three rungs and sound; ten seconds are segments of 4, 4 and 2 s
    assert_eq!(seen.media.values().copied().collect::<Vec<_>>(), [3, 3, 3, 3], "{seen:?}");
    assert_eq!(seen.iframes.values().copied().collect::<Vec<_>>(), [3, 3, 3], "{seen:?}");

    let damaged = package.join(seen.media.keys().next().expect("a playlist"));
    let text = std::fs::read_to_string(&damaged).expect("reads");
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("#EXT-X-TARGETDURATION")).collect();
    std::fs::write(&damaged, kept.join("\n")).expect("writes");
    let seen = playlists(&package).expect("parses");
    assert!(seen.errors.iter().any(|e| e.contains("TARGETDURATION")), "{seen:?}");
}
