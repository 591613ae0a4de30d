//! What the picture looks like: turned upright, deinterlaced without a seam, colours converted, every pixel format.

use crate::run::{Film, binaries, bind, encode, outputs, pictures, run, rung, words};
use crate::{BARS, X264, chunks_meet_with, dir};
use reelmill_common::index::{Colour, Demuxer, FieldOrder, Rotation};
use reelmill_common::ladder::OutputColour;
use reelmill_worker_core::argv::video;
use std::path::Path;

/// The first picture of an encoded film as planar 4:2:0.
fn first_picture(
    program: &str,
    dir: &Path,
    film: &Film,
    change: &dyn Fn(&mut reelmill_common::spec::PictureRecipe),
) -> Vec<u8> {
    let mut rungs = [rung("look", 64, 64, 1)];
    rungs[0].settings.crf_tenths = 40;
    rungs[0].settings.max_rate_kbps = 4_000;
    rungs[0].settings.buffer_kbit = 6_000;
    bind(program, dir, film.timebase, &mut rungs);
    let mut chunk = film.chunk(0, film.times.len(), film.times.len(), &rungs);
    change(&mut chunk.picture);
    let made = encode(program, dir, &chunk, &film.input());
    let path = dir.join("look.mp4");
    let bytes: Vec<u8> = made[0].iter().flat_map(|f| f.bytes.clone()).collect();
    std::fs::write(&path, bytes).unwrap();
    let mut argv = words("-nostdin -v error -i");
    argv.push(path.to_string_lossy().into_owned());
    argv.extend(words("-frames:v 1 -f rawvideo -pix_fmt yuv420p -"));
    run("ffmpeg", &argv).stdout
}

#[test]
fn pictures_are_turned_upright() {
    let dir = dir();
    // white in the upper left quarter
    let source = "color=color=black:size=64x64:rate=25:duration=0.2,drawbox=w=32:h=32:color=white:t=fill";
    let film = Film::make(dir.path(), "a.mp4", source, &format!("{X264} keyint=20"), Demuxer::Mov);
    let quarters =
        |y: &[u8]| [(16, 16), (48, 16), (16, 48), (48, 48)].map(|(c, r): (usize, usize)| y[r * 64 + c] > 128);
    let (o, w) = (false, true);
    for program in binaries() {
        for (quarter_turns, mirrored, expected) in [
            (0, false, [w, o, o, o]),
            (1, false, [o, w, o, o]),
            (2, false, [o, o, o, w]),
            (3, false, [o, o, w, o]),
            (0, true, [o, w, o, o]),
            (1, true, [w, o, o, o]),
        ] {
            let turn = |p: &mut reelmill_common::spec::PictureRecipe| {
                p.rotation = Rotation { quarter_turns, mirrored }
            };
            let picture = first_picture(&program, dir.path(), &film, &turn);
            assert_eq!(quarters(&picture), expected, "{program}: {quarter_turns} turns, mirrored {mirrored}");
        }
    }
}

#[test]
fn colours_are_those_of_bt709() {
    let dir = dir();
    let near = |a: u8, b: u8| a.abs_diff(b) <= 3;
    for (matrix, tag) in [(6u8, "smpte170m"), (1, "bt709")] {
        let source = format!(
            "color=color=red:size=64x64:rate=25:duration=0.2,format=gbrp,scale=out_color_matrix={tag}:out_range=tv,\
             format=yuv420p,setparams=colorspace={tag}:range=tv"
        );
        let film = Film::make(dir.path(), "a.mp4", &source, &format!("{X264} keyint=20"), Demuxer::Mov);
        for program in binaries() {
            let colour = |p: &mut reelmill_common::spec::PictureRecipe| p.colour.matrix = Some(matrix);
            let p = first_picture(&program, dir.path(), &film, &colour);
            let (y, u, v) = (p[32 * 64 + 32], p[4096 + 16 * 32 + 16], p[5120 + 16 * 32 + 16]);
            // red in BT.709 limited (ITU-R BT.709, section 3)
            assert!(near(y, 63) && near(u, 102) && near(v, 240), "{program}: {tag}: {y} {u} {v}");
        }
    }
}

/// Hashes of a film's pictures, scaled as a rung is and not touched otherwise.
fn scaled(program: &str, film: &Film, width: u32, height: u32) -> Vec<String> {
    let mut argv = words("-nostdin -v error -i");
    argv.push(film.path.to_string_lossy().into_owned());
    argv.extend(words("-map 0:v:0 -fps_mode passthrough -f framemd5 -vf"));
    argv.push(format!("scale=w={width}:h={height}:flags=bicubic,format=yuv420p"));
    argv.push("-".to_owned());
    let out = String::from_utf8(run(program, &argv).stdout).unwrap();
    let hash = |l: &str| l.rsplit(',').next().unwrap().trim().to_owned();
    out.lines().filter(|l| !l.starts_with('#')).map(hash).collect()
}

/// Matrix, transfer and primaries by the SPS alone: the stream is taken out of its container.
fn sps_colour(dir: &Path, path: &Path) -> String {
    let bare = dir.join("bare.h264");
    let mut argv = words("-nostdin -v error -y -i");
    argv.push(path.to_string_lossy().into_owned());
    argv.extend(words("-c copy -f h264"));
    argv.push(bare.to_string_lossy().into_owned());
    run("ffmpeg", &argv);
    let mut argv =
        words("-v error -of csv=p=0 -show_entries stream=color_space,color_transfer,color_primaries");
    argv.push(bare.to_string_lossy().into_owned());
    String::from_utf8(run("ffprobe", &argv).stdout).unwrap().trim().to_owned()
}

#[test]
fn a_guessed_colour_is_tagged_and_its_pixels_are_kept() {
    let dir = dir();
    let source = "testsrc2=size=854x480:rate=25:duration=0.4,format=yuv420p";
    let mut film = Film::make(dir.path(), "a.mp4", source, &format!("{X264} keyint=20"), Demuxer::Mov);
    let kinds = [
        ([6, 6, 6], OutputColour::Bt601Line525, true),
        ([5, 6, 5], OutputColour::Bt601Line625, true),
        // the same pixels from a film that says so
        ([6, 6, 6], OutputColour::Bt709, false),
    ];
    for program in binaries() {
        for (taken_for, colour, kept) in kinds {
            let [primaries, transfer, matrix] = taken_for.map(Some);
            film.colour = Colour { primaries, transfer, matrix, full_range: Some(false) };
            let mut rungs = [rung("look", 640, 360, 1)];
            rungs[0].settings.colour = colour;
            bind(&program, dir.path(), film.timebase, &mut rungs);
            let chunk = film.chunk(0, 10, 10, &rungs);
            let argv = video::encode(&chunk, &film.input(), &outputs(dir.path(), "argv", 1)).unwrap();
            assert_eq!(argv.iter().all(|a| !a.contains("colorspace=ispace")), kept, "{argv:?}");
            let made = encode(&program, dir.path(), &chunk, &film.input());
            let bytes: Vec<u8> = made[0].iter().flat_map(|f| f.bytes.clone()).collect();
            let codes = colour.code_points();
            let colr = [b"colrnclx".as_slice(), &codes.map(|c| [0, c]).concat(), &[0]].concat();
            assert!(bytes.windows(colr.len()).any(|w| w == colr), "{program}: colr of {colour:?}");
            let path = dir.path().join("rung.mp4");
            std::fs::write(&path, bytes).unwrap();
            let said = match colour {
                OutputColour::Bt709 => "bt709,bt709,bt709",
                OutputColour::Bt601Line525 => "smpte170m,smpte170m,smpte170m",
                OutputColour::Bt601Line625 => "bt470bg,smpte170m,bt470bg",
            };
            assert_eq!(sps_colour(dir.path(), &path), said, "{program}: SPS of {colour:?}");
            let shown = pictures(&program, &chunk, &film.input(), 0);
            let hashes: Vec<String> = shown.into_iter().map(|(_, hash)| hash).collect();
            let plain = scaled(&program, &film, 640, 360);
            assert_eq!(plain.len(), 10);
            assert_eq!(hashes == plain, kept, "{program}: {colour:?} from {taken_for:?}");
        }
    }
}

#[test]
fn every_kind_of_picture_gives_the_bound_configuration() {
    let dir = dir();
    let c = |primaries, transfer, matrix, full| Colour {
        primaries: Some(primaries),
        transfer: Some(transfer),
        matrix: Some(matrix),
        full_range: Some(full),
    };
    let kinds = [
        ("sd", "yuv420p", "128x72", c(5, 1, 5, false)),
        ("ntsc", "yuv422p", "128x72", c(6, 6, 6, false)),
        ("full", "yuvj420p", "128x72", c(1, 1, 1, true)),
        ("odd", "yuv444p", "127x71", c(6, 6, 6, false)),
        ("rgb", "gbrp", "128x72", c(1, 1, 0, true)),
        ("pq", "yuv420p10le", "128x72", c(9, 16, 9, false)),
        ("hlg", "yuv422p10le", "128x72", c(9, 18, 9, true)),
    ];
    for program in binaries() {
        for (name, format, size, colour) in kinds {
            let source = format!("testsrc2=size={size}:rate=25:duration=0.4");
            let options = format!("-pix_fmt {format} -c:v ffv1");
            let mut film =
                Film::make(dir.path(), &format!("{name}.mkv"), &source, &options, Demuxer::Matroska);
            film.colour = colour;
            let mut rungs = [rung("look", 64, 36, 1)];
            bind(&program, dir.path(), film.timebase, &mut rungs);
            encode(&program, dir.path(), &film.chunk(0, 10, 10, &rungs), &film.input());
        }
    }
}

#[test]
fn deinterlaced_chunks_meet_without_a_seam() {
    let dir = dir();
    let source = format!("{BARS},tinterlace=mode=interleave_top,setfield=tff");
    let options = "-c:v mpeg2video -flags +ildct+ilme -g 12 -bf 2 -q:v 4 -f mpegts";
    let film = Film::make(dir.path(), "a.ts", &source, options, Demuxer::MpegTs);
    let deinterlace =
        |c: &mut reelmill_common::spec::VideoChunk| c.picture.deinterlace = Some(FieldOrder::TopFirst);
    chunks_meet_with(dir.path(), &film, &[0, 26, 52], 26, &deinterlace);
}

#[test]
fn one_thread_more_in_the_decoder_changes_nothing() {
    let dir = dir();
    let film = Film::make(dir.path(), "a.mp4", BARS, &format!("{X264} keyint=20"), Demuxer::Mov);
    for program in binaries() {
        let mut rungs = [rung("big", 128, 72, 1)];
        bind(&program, dir.path(), film.timebase, &mut rungs);
        let chunk = film.chunk(50, 100, 50, &rungs);
        let bytes = |threads| {
            let mut input = film.input();
            input.threads = threads;
            let paths = outputs(dir.path(), "threads", 1);
            run(&program, &video::encode(&chunk, &input, &paths).unwrap());
            std::fs::read(&paths[0]).unwrap()
        };
        assert!(bytes(1) == bytes(3), "{program}");
    }
}

#[test]
fn the_self_test_is_repeatable_and_has_its_frames() {
    use reelmill_common::ladder::EncoderFamily;
    use reelmill_media::fragments::read;
    use reelmill_worker_core::argv::probe;
    let dir = dir();
    for program in binaries() {
        let make = || {
            let paths = outputs(dir.path(), "probe", 2);
            run(&program, &probe::clip(EncoderFamily::X264, &paths[0], &paths[1]).unwrap());
            paths.iter().map(|p| std::fs::read(p).unwrap()).collect::<Vec<_>>()
        };
        let (first, again) = (make(), make());
        assert!(first == again, "{program}: the same clip gave other bytes");
        let frames = read(&first[0]).unwrap()[0].samples.len();
        assert_eq!(frames as u32, probe::FRAMES, "{program}");
        // one second at 48 kHz, and the encoder's delay
        assert_eq!(read(&first[1]).unwrap()[0].samples.len(), 48, "{program}");
    }
}
