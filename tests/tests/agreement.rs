//! Every reader has the film at the same times: ffprobe and GStreamer over HLS and over DASH, hls.js, dash.js and Shaka
//! Player. First picture, first sound, number of pictures and the end of both tracks are told from the film's
//! description alone and must come out of each of them, to one tick of the picture's clock or less than one packet of
//! sound.

use reelmill_tests::film::{Film, PLAIN, Rate, Wrap};
use reelmill_tests::judge;
use reelmill_tests::package::{Package, Rendition};
use reelmill_tests::players::{PLAYERS, play};
use reelmill_tests::readers::{self, Times, Track};
use reelmill_tests::reelmill;
use std::path::Path;

/// Samples of one AAC packet.
const PACKET: i64 = 1024;
/// Of one rung, so that no player can choose another one while it starts.
const SMALL: (usize, usize) = (426, 240);
const SECOND: i64 = 1_000_000_000;
/// Ticks a second of the picture's clock: 24,000 and 25,000 for these films.
const TIMESCALE: i64 = 25_000;

fn nanos(ticks: i64, scale: i64) -> i64 {
    ticks * SECOND / scale
}

/// What every reader must find: all pictures, from zero to the film's end; sound in packets from zero to the first
/// border of packets at or after that end. And one tick of the picture's clock, in which the browsers' rounding lies too.
fn expected(film: &Film, step: i64) -> (Times, i64) {
    let told = film.expected();
    let (count, rate) = (told.frames.len(), i64::from(film.sound_rate));
    let end = nanos(told.frames.last().expect("pictures").1 + step, told.scale);
    let packets = (end * rate).div_euclid(PACKET * SECOND) + i64::from((end * rate) % (PACKET * SECOND) > 0);
    let video = Track { first: 0, end, count };
    let audio = Track { first: 0, end: nanos(packets * PACKET, rate), count: packets as usize };
    (Times { video, audio }, SECOND / TIMESCALE)
}

fn assert_near(who: &str, found: Times, told: Times, tick: i64) {
    for (track, found, told) in [("picture", found.video, told.video), ("sound", found.audio, told.audio)] {
        assert_eq!(found.count, told.count, "{who}: {track}");
        assert!((found.first - told.first).abs() <= tick, "{who}: {track} begins: {found:?}, not {told:?}");
        assert!((found.end - told.end).abs() <= tick, "{who}: {track} ends: {found:?}, not {told:?}");
    }
}

/// The media time that a rendition's edit list begins at.
fn edit(rendition: &Rendition) -> i64 {
    nanos(rendition.init.edit_media_time, i64::from(rendition.init.timescale))
}

fn readers_agree(out: &Path, told: Times, tick: i64) {
    let package = Package::load(out).expect("package");
    assert_eq!(judge::structure(&package).expect("judged"), []);
    let video = package.video().next().expect("video");
    let audio = package.audio().next().expect("audio");
    let edits = (edit(video), edit(audio));
    assert!(edits.0 > 0 && edits.1 > 0, "without delays this would prove nothing: {edits:?}");
    for root in ["master.m3u8", "manifest.mpd"] {
        let root = out.join(root);
        let who = root.display();
        assert_near(&format!("ffprobe {who}"), readers::ffprobe(&root).expect("ffprobe"), told, tick);
        let found = readers::gstreamer(&root, edits).expect("gstreamer");
        assert_near(&format!("GStreamer {who}"), found, told, tick);
    }
    let joined = |rendition: &Rendition, name: &str| {
        let file = out.with_extension(name);
        rendition.join(&file).expect("joined");
        readers::gstreamer_file(&file).expect("gstreamer")
    };
    let found = Times { video: joined(video, "video.mp4"), audio: joined(audio, "audio.mp4") };
    assert_near("GStreamer, file", found, told, tick);
}

fn players_agree(out: &Path, told: Times, tick: i64) {
    let near = |seconds: f64, nanos: i64| (seconds * SECOND as f64 - nanos as f64).abs() <= tick as f64;
    for player in PLAYERS {
        let seen = play(player, out, "play").expect("plays");
        assert_eq!(seen.errors, Vec::<String>::new(), "{player}");
        assert!(seen.ended, "{player}: {seen:?}");
        assert_eq!(seen.frames as usize, told.video.count, "{player}");
        assert!(near(seen.first, told.video.first), "{player}: first picture: {seen:?}");
        assert!(near(seen.duration, told.video.end), "{player}: {seen:?}");
        let (&[video], &[audio]) = (&seen.video[..], &seen.audio[..]) else {
            panic!("{player}: holes: {seen:?}")
        };
        assert!(near(video.0, told.video.first) && near(video.1, told.video.end), "{player}: {seen:?}");
        // the browser cuts the last packet where the film ends
        let cut = near(audio.1, told.video.end) || near(audio.1, told.audio.end);
        assert!(near(audio.0, told.audio.first) && cut, "{player}: {seen:?}");
    }
}

fn agrees(film: &Film, step: i64) {
    let dir = tempfile::tempdir().expect("scratch");
    let made = film.make(dir.path()).expect("film");
    let out = dir.path().join("out");
    let done = reelmill::transcode(&made.path, &out, &["--preset", "speed", "--chunk", "4s"]).expect("runs");
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let (told, tick) = expected(film, step);
    readers_agree(&out, told, tick);
    players_agree(&out, told, tick);
}

/// 23.976 frames a second and a B-pyramid.
#[test]
fn ntsc_film() {
    let rate = Rate::Constant(24_000, 1001);
    agrees(&Film { name: "ntsc", size: SMALL, rate, frames: 144, ..PLAIN }, 1001);
}

/// An edit list hides the first second of the picture, and the sound, at 44.1 kHz, begins 0.3 s before all that.
#[test]
fn edited_start_and_early_sound() {
    let film = Film {
        name: "edited",
        size: SMALL,
        rate: Rate::Constant(25, 1),
        frames: 150,
        start_ms: -1000,
        sound_rate: 44_100,
        sound_late_ms: -300,
        wrap: Wrap::Mov,
        ..PLAIN
    };
    agrees(&film, 1);
}
