//! Made films with every kind of start, edit and reordering: the native index against what ffmpeg shows, and the
//! cases that must be left to the scan.

mod support;

use reelmill_common::index::{FieldOrder, KeyKind, Rotation, SourceIndex};
use reelmill_media::IndexError;
use reelmill_media::scan::Depth;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{native, scan_as_needed, scanned, truth};

fn ffmpeg(dir: &Path, args: &str, name: &str) -> PathBuf {
    let args: Vec<&str> = args.split_whitespace().collect();
    let out = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(args)
        .arg(name)
        .current_dir(dir)
        .output()
        .expect("ffmpeg is on PATH");
    assert!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
    dir.join(name)
}

const PICTURE: &str = "-f lavfi -i testsrc2=size=64x48:rate=25:duration=4";
const SOUND: &str = "-f lavfi -i sine=sample_rate=48000:duration=4";
const H264: &str = "-c:v libx264 -preset veryfast -bf 3 -g 30 -pix_fmt yuv420p -c:a aac -ac 2";

/// The native index, which must be what ffmpeg shows and what the scan says.
fn exact(film: &Path) -> SourceIndex {
    let (index, _) = native(film);
    let index = index.unwrap_or_else(|e| panic!("{}: {e}", film.display()));
    let video = index.video.as_ref().expect("video");
    let times: Vec<i64> = video.frames.iter().collect();
    assert_eq!(times, truth(film, &index, video.stream), "{}", film.display());
    let (scan, _) = scan_as_needed(film, Some(index.demuxer));
    let scan = scan.expect("scan");
    assert_eq!(scan.video.as_ref().expect("video").frames, video.frames);
    for (a, b) in index.audio.iter().zip(&scan.audio) {
        assert_eq!(
            (a.stream, a.first, a.sample_rate),
            (b.stream, b.first, b.sample_rate),
            "{}",
            film.display()
        );
    }
    index
}

fn left_to_the_scan(film: &Path) -> String {
    match native(film).0 {
        Err(IndexError::NotNative { why }) => why,
        other => panic!("{}: {other:?}", film.display()),
    }
}

#[test]
fn plain_films_front_and_back() {
    let dir = tempfile::tempdir().expect("dir");
    let back = ffmpeg(dir.path(), &format!("{PICTURE} {SOUND} {H264}"), "back.mp4");
    let index = exact(&back);
    let video = index.video.expect("video");
    assert_eq!(
        (video.frames.len(), video.frames.first(), video.field_order),
        (100, Some(0), FieldOrder::Progressive)
    );
    assert_eq!(video.keys.iter().map(|k| k.frame).collect::<Vec<_>>(), [0, 30, 60, 90]);
    assert!(video.keys.iter().all(|k| k.kind == KeyKind::Idr));
    assert_eq!(video.end.map(|e| e.0), video.frames.get(99).map(|t| t + 512));
    assert_eq!((index.audio[0].first.0, index.audio[0].end.0, index.audio[0].channels), (0, 192_000, 2));

    let front = ffmpeg(dir.path(), "-i back.mp4 -c copy -movflags +faststart", "front.mp4");
    let again = exact(&front);
    assert_eq!(again.video.expect("video").frames, video.frames);
    assert_ne!(again.source, index.source);
    let large =
        ffmpeg(dir.path(), "-i back.mp4 -c copy -movflags +faststart -video_track_timescale 90000", "t.mov");
    assert_eq!(exact(&large).video.expect("video").frames.get(1), Some(3600));
}

#[test]
fn late_starts_cuts_and_offsets() {
    let dir = tempfile::tempdir().expect("dir");
    ffmpeg(dir.path(), &format!("{PICTURE} {SOUND} {H264}"), "film.mp4");
    // both tracks begin in the middle of a GOP, with frames before the edit that are decoded and not shown
    let cut = exact(&ffmpeg(dir.path(), "-ss 1.5 -i film.mp4 -c copy", "cut.mp4"));
    let video = cut.video.expect("video");
    assert!(video.keys[0].pts.0 < 0, "the first key lies before the first shown frame: {:?}", video.keys[0]);
    assert_eq!((video.keys[0].frame, video.frames.first()), (0, Some(0)));
    // an empty edit before the picture
    let late = "-i film.mp4 -itsoffset 0.7 -i film.mp4 -map 1:v -map 0:a -c copy";
    let late = exact(&ffmpeg(dir.path(), late, "late.mp4"));
    assert_eq!(late.video.expect("video").frames.first(), Some(8960));
    let sound = "-i film.mp4 -itsoffset 0.3 -i film.mp4 -map 0:v -map 1:a -c copy";
    assert!(exact(&ffmpeg(dir.path(), sound, "sound.mp4")).audio[0].first.0 > 0);
    // no edit list at all: B-frame delay shows
    let bare = exact(&ffmpeg(dir.path(), "-i film.mp4 -c copy -use_editlist 0", "bare.mp4"));
    assert_eq!(bare.video.expect("video").frames.len(), 100);
    let negative = "-i film.mp4 -c copy -movflags +negative_cts_offsets";
    exact(&ffmpeg(dir.path(), negative, "negative.mp4"));
    let ended = exact(&ffmpeg(dir.path(), "-i film.mp4 -c copy -t 2.02", "ended.mp4"));
    assert!(ended.video.expect("video").frames.len() < 60);
}

#[test]
fn variable_rates_and_odd_rates() {
    let dir = tempfile::tempdir().expect("dir");
    let vfr = format!("{PICTURE} -vf select='not(eq(mod(n\\,7)\\,3))' -fps_mode vfr {H264}");
    exact(&ffmpeg(dir.path(), &vfr, "vfr.mp4"));
    let ntsc = format!("-f lavfi -i testsrc2=size=64x48:rate=24000/1001:duration=2 {H264}");
    assert_eq!(exact(&ffmpeg(dir.path(), &ntsc, "ntsc.mp4")).video.expect("video").frames.get(1), Some(1001));
}

#[test]
fn open_gops_are_known_as_such() {
    let dir = tempfile::tempdir().expect("dir");
    let open = format!("{PICTURE} {H264} -x264-params open-gop=1:scenecut=0:keyint=20:bframes=3:b-adapt=0");
    let video = exact(&ffmpeg(dir.path(), &open, "open.mp4")).video.expect("video");
    assert_eq!(video.keys[0].kind, KeyKind::Idr);
    assert!(video.keys[1..].iter().all(|k| k.kind == KeyKind::Open), "{:?}", video.keys);
    let hevc = "-c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -tag:v hvc1 -x265-params";
    let hevc = format!("{PICTURE} {hevc} open-gop=1:scenecut=0:keyint=20:bframes=3:b-adapt=0:log-level=none");
    let video = exact(&ffmpeg(dir.path(), &hevc, "hevc.mp4")).video.expect("video");
    assert_eq!((video.bit_depth, video.keys[0].kind), (Some(10), KeyKind::Idr));
    assert!(video.keys[1..].iter().all(|k| k.kind == KeyKind::Open), "{:?}", video.keys);
}

/// Hash of the first picture as ffmpeg shows it with these options before and after the input.
fn first_picture(film: &Path, before: &[&str], after: &[&str]) -> String {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error"]).args(before).arg("-i").arg(film).args(after);
    let out = command.args(["-frames:v", "1", "-f", "rawvideo", "-f", "md5", "-"]).output().expect("ffmpeg");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// All quarter turns and mirrors, as `a b / c d` of the track header's matrix.
const MATRICES: [[i32; 4]; 8] = [
    [1, 0, 0, 1],
    [0, 1, -1, 0],
    [-1, 0, 0, -1],
    [0, -1, 1, 0],
    [-1, 0, 0, 1],
    [0, 1, 1, 0],
    [1, 0, 0, -1],
    [0, -1, -1, 0],
];

#[test]
fn turned_pictures_are_turned_back_as_ffmpeg_does() {
    let dir = tempfile::tempdir().expect("dir");
    let flat = std::fs::read(ffmpeg(dir.path(), &format!("{PICTURE} {H264}"), "flat.mp4")).expect("film");
    // version 0: 40 bytes of other fields come before the matrix
    let matrix = flat.windows(4).position(|w| w == b"tkhd").expect("tkhd") + 4 + 40;
    let turned = dir.path().join("turned.mp4");
    let mut seen = Vec::new();
    for [a, b, c, d] in MATRICES {
        let mut file = flat.clone();
        for (place, value) in [(0, a), (4, b), (12, c), (16, d)] {
            file[matrix + place..matrix + place + 4].copy_from_slice(&(value << 16).to_be_bytes());
        }
        std::fs::write(&turned, &file).expect("write");
        let (index, _) = native(&turned);
        let rotation = index.expect("index").video.expect("video").rotation;
        let turn = ["null", "transpose=clock", "hflip,vflip", "transpose=cclock"];
        let mirror = if rotation.mirrored { "hflip" } else { "null" };
        let filter = format!("{},{mirror}", turn[usize::from(rotation.quarter_turns)]);
        let ours = first_picture(&turned, &["-noautorotate"], &["-vf", &filter]);
        assert_eq!(ours, first_picture(&turned, &[], &[]), "{a} {b} {c} {d}: {rotation:?}");
        let scan = scan_as_needed(&turned, None).0.expect("scan").video.expect("video");
        assert_eq!(rotation, scan.rotation);
        assert!(!seen.contains(&rotation));
        seen.push(rotation);
    }
}

#[test]
fn wide_pixels_and_colour() {
    let dir = tempfile::tempdir().expect("dir");
    let colour = "-color_primaries bt709 -color_trc bt709 -colorspace bt709 -color_range tv";
    let film = ffmpeg(dir.path(), &format!("{PICTURE} -vf setsar=4/3 {H264} {colour}"), "wide.mp4");
    let video = exact(&film).video.expect("video");
    let scan = scan_as_needed(&film, None).0.expect("scan").video.expect("video");
    assert_eq!((video.sar, scan.sar, video.colour), ((4, 3), (4, 3), scan.colour));
    assert_eq!((video.rotation, video.colour.matrix), (Rotation::default(), Some(1)));
}

#[test]
fn what_the_tables_do_not_tell_is_left_to_the_scan() {
    let dir = tempfile::tempdir().expect("dir");
    let film = ffmpeg(dir.path(), &format!("{PICTURE} {SOUND} {H264}"), "film.mp4");
    let fragments = ffmpeg(dir.path(), "-i film.mp4 -c copy -movflags +frag_keyframe+empty_moov", "frag.mp4");
    assert!(left_to_the_scan(&fragments).contains("fragmented"));
    let fields = format!("{PICTURE} {H264} -flags +ilme+ildct -x264-params tff=1");
    assert!(left_to_the_scan(&ffmpeg(dir.path(), &fields, "fields.mp4")).contains("interlaced"));

    let bytes = std::fs::read(&film).expect("film");
    let cut = dir.path().join("cut.mp4");
    std::fs::write(&cut, &bytes[..bytes.len() * 2 / 3]).expect("write");
    assert!(left_to_the_scan(&cut).contains("mdat reaches over the end"), "{}", left_to_the_scan(&cut));
    let front = ffmpeg(dir.path(), "-i film.mp4 -c copy -movflags +faststart", "front.mp4");
    let mut bytes = std::fs::read(&front).expect("film");
    let mdat = bytes.windows(4).position(|w| w == b"mdat").expect("mdat");
    // a size of 0 reaches to the end of the file
    bytes[mdat - 4..mdat].fill(0);
    std::fs::write(&cut, &bytes).expect("write");
    exact(&cut);
    bytes.truncate(bytes.len() - 100);
    std::fs::write(&cut, &bytes).expect("write");
    assert!(left_to_the_scan(&cut).contains("beyond the end"));
}

/// Where the last sample lies that ffmpeg decodes, in samples.
fn heard_until(film: &Path) -> i64 {
    let out = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "info", "-copyts", "-i"])
        .arg(film)
        .args(["-af", "ashowinfo", "-f", "null", "-"])
        .output()
        .expect("ffmpeg is on PATH");
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    let last = text.lines().rfind(|l| l.contains("Parsed_ashowinfo") && l.contains(" pts:")).expect("sound");
    let number = |key: &str| -> i64 {
        let rest = last.split_once(key).expect(key).1;
        rest.split_whitespace().next().expect(key).parse().expect(key)
    };
    number(" pts:") + number(" nb_samples:")
}

#[test]
fn sound_ends_where_its_last_packet_is_cut() {
    let dir = tempfile::tempdir().expect("dir");
    let tone = "-f lavfi -i sine=sample_rate=48000:duration=5.0137 -c:a";
    for (name, codec) in [
        ("opus.mka", "libopus -frame_duration 60"),
        ("opus.webm", "libopus -frame_duration 60"),
        ("opus.ogg", "libopus -frame_duration 60"),
        ("one.mka", "libopus -frame_duration 60 -t 0.05"),
        ("plain.mka", "flac"),
        ("film.mp3", "libmp3lame"),
    ] {
        let film = ffmpeg(dir.path(), &format!("{tone} {codec}"), name);
        let index = scanned(&film, None, Depth::Packets).expect("index");
        let track = &index.audio[0];
        // in 1 / (48,000 * den) seconds
        let (num, den) = (i64::from(track.timebase.num()), i64::from(track.timebase.den()));
        let off = (track.end.0 * num * 48_000 - heard_until(&film) * den).abs();
        assert!(off <= (num * 48_000).max(den), "{name}: ends {off} / {den} samples away");
    }
}

#[test]
fn a_long_film_costs_little_more_than_its_moov() {
    let dir = tempfile::tempdir().expect("dir");
    ffmpeg(dir.path(), &format!("{PICTURE} {SOUND} {H264}"), "film.mp4");
    let long = ffmpeg(dir.path(), "-stream_loop 449 -i film.mp4 -c copy", "long.mp4");
    let bytes = std::fs::read(&long).expect("film");
    let at = bytes.windows(4).rposition(|w| w == b"moov").expect("moov");
    let moov = u64::from(u32::from_be_bytes(bytes[at - 4..at].try_into().expect("four")));
    let (index, read) = native(&long);
    let video = index.expect("index").video.expect("video");
    assert!(video.frames.len() >= 44_900, "{} frames", video.frames.len());
    assert!(read < moov + (2 << 20), "read {read} bytes for a moov of {moov}");
    println!("half an hour: read {read} bytes, moov {moov}");
}

#[test]
fn each_track_of_a_program_is_read_once() {
    let dir = tempfile::tempdir().expect("dir");
    let sounds = "-f lavfi -i sine=frequency=300:duration=4 -map 0 -map 1 -map 2";
    let film = ffmpeg(dir.path(), &format!("{PICTURE} {SOUND} {sounds} {H264}"), "program.ts");
    let index = scanned(&film, None, Depth::Packets).expect("index");
    let streams: Vec<u32> = index.audio.iter().map(|a| a.stream).collect();
    assert_eq!((index.video.expect("video").stream, streams), (0, vec![1, 2]));
    assert_eq!(index.ignored, vec![]);
}
