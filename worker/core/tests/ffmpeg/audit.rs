//! Audits with real ffmpeg.

use crate::run::{Film, binaries, bind, command, encode, run, rung, spec};
use crate::{dir, held_film};
use reelmill_common::audit::AuditSpec;
use reelmill_common::index::{Demuxer, Rotation};
use reelmill_common::spec::VideoChunk;
use reelmill_common::{AttemptId, FencingTerm};
use reelmill_worker_core::argv::audit::{Outputs, segment, source};
use reelmill_worker_core::argv::timeline::encoder_timebase;
use reelmill_worker_core::audit::{self, Measured, Pictures, compare, measure};
use reelmill_worker_core::build::BuiltFile;
use std::path::{Path, PathBuf};

/// Both sides of a segment: its small pictures, those of the source, and which it should show.
struct Sides {
    segment: Vec<u8>,
    source: Vec<u8>,
    shows: Vec<usize>,
}

/// The audit of a file, committed as it is.
fn of(film: &Film, chunk: &VideoChunk, file: &BuiltFile) -> AuditSpec {
    AuditSpec {
        chunk: spec(film, chunk),
        attempt: AttemptId { term: FencingTerm(1), sequence: 1 },
        rung: file.report.rung,
        segment: file.report.segment,
        bytes: file.report.bytes,
        sha256: file.report.sha256,
        nearby: None,
    }
}

/// Looks at one file as an auditor does.
fn look(program: &str, dir: &Path, film: &Film, chunk: &VideoChunk, file: &BuiltFile) -> Sides {
    let spec = of(film, chunk, file);
    let checked = audit::check(&spec, &file.bytes).unwrap();
    let shown = checked.segment.unwrap();
    let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (pictures, times, whole) = (path("seen.yuv"), path("seen.txt"), path("seen.mp4"));
    std::fs::write(&whole, &shown.file).unwrap();
    let out = Outputs { pictures: &pictures, times: &times };
    let read = |tb, wanted: &[i64], what: &str| {
        let found = audit::times(&std::fs::read_to_string(&times).unwrap(), tb).unwrap();
        assert_eq!(found, wanted, "{program}: {what} of {}", film.path.display());
        std::fs::read(&pictures).unwrap()
    };
    run(program, &segment(&whole, checked.rung, chunk.out_timebase, out).unwrap());
    let segment = read(chunk.out_timebase, &shown.times, "times of the segment");
    run(program, &source(chunk, checked.rung, shown.source, &film.input(), out).unwrap());
    let source = read(encoder_timebase(chunk.timebase), &shown.source_times, "times of the source");
    Sides { segment, source, shows: shown.shows }
}

impl Sides {
    /// The segment a frame late.
    fn late(&self) -> Self {
        let picture = self.segment.len() / self.shows.len();
        let mut segment = self.segment[..picture].to_vec();
        segment.extend_from_slice(&self.segment[..self.segment.len() - picture]);
        Self { segment, source: self.source.clone(), shows: self.shows.clone() }
    }

    fn measure(&self) -> Measured {
        measure(Pictures::new(&self.segment).unwrap(), Pictures::new(&self.source).unwrap(), &self.shows)
    }
}

/// A film in which everything moves, its own colour and all.
fn moving(dir: &Path, name: &str) -> Film {
    let source = "testsrc2=size=320x180:rate=25:duration=4,rotate=angle=t/2:fillcolor=gray";
    Film::make(dir, name, source, "-c:v libx264 -preset veryfast -crf 12 -threads 1", Demuxer::Mov)
}

/// A rung of very few bits.
fn poor(chunk: &mut VideoChunk) {
    for rung in &mut chunk.rungs {
        (rung.settings.max_rate_kbps, rung.settings.buffer_kbit, rung.settings.crf_tenths) = (60, 120, 400);
    }
}

/// The first segment of a chunk, as an encode of `made` gives it.
fn first(program: &str, dir: &Path, film: &Film, made: &VideoChunk) -> BuiltFile {
    let files = encode(program, dir, made, &film.input()).swap_remove(0);
    files.into_iter().find(|f| f.report.segment.is_some()).unwrap()
}

fn compared(sides: &Sides) -> Result<(), String> {
    let pictures = |bytes| Pictures::new(bytes).unwrap();
    let (segment, source) = (pictures(&sides.segment), pictures(&sides.source));
    compare(segment, source, &sides.shows).map(drop).map_err(|w| w.to_string())
}

#[test]
fn an_honest_segment_is_clean_at_any_rate_turned_and_at_half_the_frames() {
    let dir = dir();
    let film = moving(dir.path(), "a.mp4");
    for program in binaries() {
        for every in [1, 2] {
            let mut rungs = [rung("a", 256, 144, every)];
            let mut chunk = film.chunk(26, 76, 50, &rungs);
            chunk.picture.rotation = Rotation { quarter_turns: 1, mirrored: true };
            poor(&mut chunk);
            rungs.clone_from_slice(&chunk.rungs);
            bind(&program, dir.path(), film.timebase, &mut rungs);
            chunk.rungs = rungs.to_vec().into();
            let file = first(&program, dir.path(), &film, &chunk);
            let sides = look(&program, dir.path(), &film, &chunk, &file);
            assert_eq!(sides.shows.len(), 50 / usize::from(every), "{program}");
            assert_eq!(compared(&sides), Ok(()), "{program}: {:?}", sides.measure());
        }
    }
}

/// What a rung has no pixels for is not asked of it.
#[test]
fn a_rung_smaller_than_the_small_pictures_shows_what_it_can() {
    let dir = dir();
    let source = "testsrc2=size=48x1200:rate=25:duration=2";
    let film =
        Film::make(dir.path(), "thin.mp4", source, "-c:v libx264 -preset veryfast -g 25", Demuxer::Mov);
    for program in binaries() {
        let mut rungs = [rung("thin", 2, 240, 1)];
        bind(&program, dir.path(), film.timebase, &mut rungs);
        let chunk = film.chunk(0, 50, 50, &rungs);
        let file = first(&program, dir.path(), &film, &chunk);
        let sides = look(&program, dir.path(), &film, &chunk, &file);
        assert_eq!(compared(&sides), Ok(()), "{program}: {:?}", sides.measure());
    }
}

#[test]
fn frames_that_are_held_or_left_out_are_looked_for_where_they_are() {
    let dir = dir();
    let (film, mut chunk) = held_film(dir.path());
    for program in binaries() {
        bind(&program, dir.path(), film.timebase, &mut chunk.rungs);
        for files in encode(&program, dir.path(), &chunk, &film.input()) {
            let file = files.iter().find(|f| f.report.segment.is_some()).unwrap();
            let sides = look(&program, dir.path(), &film, &chunk, file);
            assert_eq!(compared(&sides), Ok(()), "{program}: {:?}", sides.measure());
        }
    }
}

/// Whatever is wrong with the pictures, boxes and times are those of the spec: no check before this one finds it.
#[test]
fn other_pictures_are_found() {
    let dir = dir();
    let (film, program) = (moving(dir.path(), "a.mp4"), "ffmpeg");
    let mut chunk = film.chunk(0, 50, 50, &[rung("a", 256, 144, 1)]);
    bind(program, dir.path(), film.timebase, &mut chunk.rungs);
    let other = |name: &str, filter: &str| {
        let mut argv: Vec<String> = ["-nostdin", "-v", "error", "-y", "-i"].map(str::to_owned).to_vec();
        argv.push(film.path.to_string_lossy().into_owned());
        argv.extend(
            ["-vf", filter, "-c:v", "libx264", "-preset", "veryfast", "-crf", "12"].map(str::to_owned),
        );
        argv.extend(["-threads", "1"].map(str::to_owned));
        argv.push(dir.path().join(name).to_string_lossy().into_owned());
        run(program, &argv);
        Film::open(&dir.path().join(name), Demuxer::Mov)
    };
    let cases = [
        ("negated", "negate=components=y", "luma"),
        ("other-colour", "swapuv,hue=h=120", "colour"),
        ("upside-down", "vflip", "luma"),
        ("grey-box", "drawbox=x=120:y=60:w=48:h=36:color=white:t=fill", "a part of the picture"),
        ("late", "tpad=start=1:start_mode=clone", "1 earlier"),
    ];
    for (name, filter, says) in cases {
        let wrong = other(&format!("{name}.mp4"), filter);
        let file = first(program, dir.path(), &wrong, &chunk);
        let sides = look(program, dir.path(), &film, &chunk, &file);
        let found = compared(&sides).expect_err(name);
        assert!(found.contains(says), "{name}: {found}: {:?}", sides.measure());
    }
}

#[test]
fn what_is_not_as_committed_is_found_before_anything_is_decoded() {
    let dir = dir();
    let (film, program) = (moving(dir.path(), "a.mp4"), "ffmpeg");
    let mut chunk = film.chunk(0, 50, 50, &[rung("a", 256, 144, 1)]);
    bind(program, dir.path(), film.timebase, &mut chunk.rungs);
    let files = encode(program, dir.path(), &chunk, &film.input()).swap_remove(0);
    let (init, media) = (&files[0], &files[1]);
    let (of_init, of_media) = (of(&film, &chunk, init), of(&film, &chunk, media));
    assert_eq!(audit::check(&of_init, &init.bytes).map(|c| c.segment), Ok(None));
    assert!(audit::check(&of_media, &media.bytes).is_ok_and(|c| c.segment.is_some()));
    // another object, under the same name
    let swapped = audit::check(&of_media, &init.bytes).unwrap_err().to_string();
    assert!(swapped.contains("were committed") && swapped.contains("lie there"), "{swapped}");
    // one that was committed as it is, and is not what the spec asks for
    let commits = |spec: &AuditSpec, bytes: &[u8]| AuditSpec {
        bytes: bytes.len() as u64,
        sha256: reelmill_common::Sha256::of(bytes),
        ..spec.clone()
    };
    let mut odd = init.bytes.clone();
    let last = odd.len() - 1;
    odd[last] ^= 1;
    assert!(audit::check(&commits(&of_init, &odd), &odd).unwrap_err().to_string().contains("init segment"));
    let short = &media.bytes[..media.bytes.len() - 1];
    assert!(audit::check(&commits(&of_media, short), short).is_err());
}

/// Bytes of pictures that are not what an encoder wrote: boxes and times stay right, a decoder complains, or gives other
/// pictures.
#[test]
fn damaged_pictures_are_found() {
    let dir = dir();
    let film = moving(dir.path(), "a.mp4");
    for program in binaries() {
        let mut chunk = film.chunk(0, 50, 50, &[rung("a", 256, 144, 1)]);
        bind(&program, dir.path(), film.timebase, &mut chunk.rungs);
        let file = first(&program, dir.path(), &film, &chunk);
        let bytes = file.bytes.len();
        for at in [bytes / 4, bytes / 2, bytes * 3 / 4] {
            let mut damaged = file.clone();
            damaged.bytes[at..at + 400].fill(0xa5);
            damaged.report.sha256 = reelmill_common::Sha256::of(&damaged.bytes);
            let spec = of(&film, &chunk, &damaged);
            // a length of a unit may have been hit: then the boxes tell
            let Ok(checked) = audit::check(&spec, &damaged.bytes) else { continue };
            let shown = checked.segment.unwrap();
            let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
            let (pictures, times, whole) = (path("d.yuv"), path("d.txt"), path("d.mp4"));
            std::fs::write(&whole, &shown.file).unwrap();
            let out = Outputs { pictures: &pictures, times: &times };
            let argv = segment(&whole, checked.rung, chunk.out_timebase, out).unwrap();
            let ran = command(&program, &argv);
            let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
            if audit::complaint(&stderr).is_none() {
                assert!(ran.status.success(), "{program}: it does not say why it ended: {stderr}");
                let sides = look(&program, dir.path(), &film, &chunk, &damaged);
                let found = compared(&sides);
                assert!(found.is_err(), "{program}: at {at} of {bytes}: {:?}", sides.measure());
            }
        }
    }
}

/// Films of people, at rates that nobody would publish as well: none is called wrong. What an honest segment and one that
/// is late by a frame measure is printed; `REELMILL_AUDIT_FILMS` names other films than these, by commas.
#[test]
fn real_films_at_few_kilobits_are_not_called_wrong() {
    let Some(corpus) = std::env::var_os("REELMILL_CORPUS") else { return };
    let some = "live_1080p30_16s_baseline.ts,hevc_cra_rasl_foreman_720p.mp4";
    let named = std::env::var("REELMILL_AUDIT_FILMS").ok();
    let rates = if named.is_some() { &RATES[..] } else { &RATES[..1] };
    let dir = dir();
    for name in named.as_deref().unwrap_or(some).split(',').map(str::trim) {
        let demuxer = match name.rsplit('.').next() {
            Some("ts") => Demuxer::MpegTs,
            Some("mkv" | "webm") => Demuxer::Matroska,
            Some("avi") => Demuxer::Avi,
            _ => Demuxer::Mov,
        };
        let film = Film::open(&PathBuf::from(&corpus).join(name), demuxer);
        for (width, height, kbps, crf_tenths) in rates {
            let mut rungs = [rung("a", *width, *height, 1)];
            let s = &mut rungs[0].settings;
            (s.max_rate_kbps, s.buffer_kbit, s.crf_tenths) = (*kbps, kbps * 2, *crf_tenths);
            bind("ffmpeg", dir.path(), film.timebase, &mut rungs);
            let chunk = film.chunk(0, film.times.len().min(100), 100, &rungs);
            let file = first("ffmpeg", dir.path(), &film, &chunk);
            let sides = look("ffmpeg", dir.path(), &film, &chunk, &file);
            println!("{name} {kbps} kb/s honest {:?}", sides.measure());
            println!("{name} {kbps} kb/s late {:?}", sides.late().measure());
            assert_eq!(compared(&sides), Ok(()), "{name}: {:?}", sides.measure());
        }
    }
}

/// Width, height, kb/s at most, and CRF in tenths.
const RATES: [(u32, u32, u32, u32); 3] = [(256, 144, 40, 400), (426, 240, 250, 300), (640, 360, 800, 230)];
