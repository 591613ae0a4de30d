//! Decisions about the picture that only whole encodes show, through the real binary: segments that begin where the
//! source's keyframes are, a rate that is held even where the encoder does not, one tone curve from the first frame of
//! an HDR film to its last.

use anyhow::{Context as _, Result, ensure};
use reelmill_tests::film::{Film, Made, PLAIN};
use reelmill_tests::judge::judge;
use reelmill_tests::marks::Pictures;
use reelmill_tests::package::Package;
use reelmill_tests::{reelmill, tool};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Runs ffmpeg with these words, each an argument; the last one is the file to be made.
fn make(words: &[&str], to: &Path) -> Result<()> {
    let mut command = tool::ffmpeg();
    command.args(["-v", "error", "-y"]).args(words).arg(to);
    tool::run(&mut command, Duration::from_secs(60))?.success()?;
    Ok(())
}

/// A package of `film`, and its `report.json`.
fn transcode(film: &Path, out: &Path, options: &[&str]) -> Result<Value> {
    let done = reelmill::transcode(film, out, options)?;
    ensure!(done.code() == 0, "exit {}:\n{}{}", done.code(), done.text(), done.stderr);
    Ok(serde_json::from_slice(&std::fs::read(out.join("report.json"))?)?)
}

/// Seconds at which the source has keyframes, and those of them at which segments of about 4 s begin.
const KEYS: [&str; 6] = ["1.5", "2.75", "5", "9.125", "10", "14"];
const BEGINS_MS: [i64; 4] = [0, 5_000, 9_125, 14_000];

#[test]
fn segments_begin_at_source_keyframes_where_that_is_wanted() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let even = Film { name: "even", frames: 384, gop: 1_000, ..PLAIN }.make(dir.path())?;
    let film = dir.path().join("irregular.mp4");
    let source = even.path.to_string_lossy();
    let keys = KEYS.join(",");
    let again = [
        "-i",
        &*source,
        "-c:a",
        "copy",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-crf",
        "18",
        "-bf",
        "2",
        "-g",
        "1000",
        "-sc_threshold",
        "0",
        "-force_key_frames",
        &*keys,
        "-movie_timescale",
        "48000",
    ];
    make(&again, &film)?;
    let out = dir.path().join("out");
    transcode(
        &film,
        &out,
        &["--preset", "ultrafast", "--segments", "source", "--chunk", "4s", "--ladder", "360p,240p"],
    )?;
    let made = Made { path: film, film: even.film };
    let found = judge(&out, &made.film.expected())?;
    ensure!(found.is_empty(), "{found:?}");
    let package = Package::load(&out)?;
    ensure!(package.video().count() == 2);
    for r in package.video() {
        let begins: Vec<i64> =
            r.segments.iter().map(|s| s.tfdt * 1_000 / i64::from(r.init.timescale)).collect();
        ensure!(begins == BEGINS_MS, "{}: segments begin at {begins:?} ms", r.uri);
    }
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/check-package");
    tool::run(Command::new(check).arg(&out), Duration::from_secs(60))?.success()?;
    Ok(())
}

/// One rung that noise does not fit into within a second, and one that it does.
const LADDER: &str = "[[rung]]\nname = \"tight\"\nbox = [320, 180]\nmax_rate_kbps = 200\n\
                      [[rung]]\nname = \"wide\"\nbox = [160, 90]\nmax_rate_kbps = 2000\n";

/// Every media file of a package with its bytes, by its path below the package.
fn media(out: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut all = Vec::new();
    for r in Package::load(out)?.renditions {
        for path in std::iter::once(&r.init_path).chain(r.segments.iter().map(|s| &s.path)) {
            all.push((path.strip_prefix(out)?.to_owned(), std::fs::read(path)?));
        }
    }
    Ok(all)
}

#[test]
fn a_chunk_that_overshoots_its_cap_is_encoded_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (film, ladder) = (dir.path().join("noise.mkv"), dir.path().join("ladder.toml"));
    let noise = "nullsrc=size=320x180:rate=24:duration=1,geq=lum='random(1)*255':cb=128:cr=128";
    make(&["-f", "lavfi", "-i", noise, "-c:v", "ffv1"], &film)?;
    std::fs::write(&ladder, LADDER)?;
    let ladder = ladder.to_string_lossy();
    let options = ["--preset", "ultrafast", "--ladder", &*ladder, "--workers", "1"];
    let (out, again) = (dir.path().join("out"), dir.path().join("again"));
    let report = transcode(&film, &out, &options)?;
    let notes = report["chunks"][0]["notes"].as_array().context("notes")?;
    let told: Vec<&str> =
        notes.iter().filter_map(Value::as_str).filter(|n| n.contains("encoded again")).collect();
    // without the second encode this film's only segment has more than 400 kbit/s
    ensure!(told.len() == 1 && told[0].starts_with("tight-"), "{told:?}");
    let peak = |rung: usize| report["video"][rung]["peak_segment_kbps"].as_u64().context("a peak");
    ensure!(peak(0)? <= 300, "{} kbit/s in a rung of 200", peak(0)?);
    ensure!(peak(1)? > 300, "the other rung was not to be touched");
    // the rule is part of the recipe: the same spec gives the same bytes
    transcode(&film, &again, &options)?;
    for (a, b) in media(&out)?.iter().zip(&media(&again)?) {
        ensure!(a.0 == b.0, "{} and {}", a.0.display(), b.0.display());
        ensure!(a.1 == b.1, "{} differs", a.0.display());
    }
    Ok(())
}

/// Mean luma, in hundredths of a level, of columns `from..to` of the reduced pictures.
fn luma(frame: &[u8], from: usize, to: usize) -> u32 {
    let side = Pictures::SAMPLES.isqrt();
    let rows = frame[..Pictures::SAMPLES].chunks(side);
    let sum: u32 = rows.flat_map(|row| &row[from..to]).map(|l| u32::from(*l)).sum();
    sum * 100 / (side * (to - from)) as u32
}

#[test]
fn an_hdr_film_has_no_step_where_chunks_meet() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let film = dir.path().join("hdr.mkv");
    // the left half never changes; the right half is dark in the first chunk and as bright as PQ can be in the second
    let source = "nullsrc=size=320x180:rate=24:duration=8,format=yuv420p10le,\
                  geq=lum='if(lt(X,160),440,if(lt(T,4),80,900))':cb=512:cr=512";
    let tags = [
        "-color_primaries",
        "bt2020",
        "-color_trc",
        "smpte2084",
        "-colorspace",
        "bt2020nc",
        "-color_range",
        "tv",
    ];
    let encode = [&["-f", "lavfi", "-i", source][..], &tags, &["-c:v", "ffv1", "-g", "24"]].concat();
    make(&encode, &film)?;
    let out = dir.path().join("out");
    let options = ["--preset", "ultrafast", "--ladder", "240p", "--chunk", "4s"];
    let report = transcode(&film, &out, &options)?;
    ensure!(report["chunks"].as_array().map(Vec::len) == Some(2), "{}", report["chunks"]);
    let said = report["plan"]["decisions"].to_string();
    ensure!(said.contains("one curve for the whole film"), "{said}");
    let joined = dir.path().join("joined.mp4");
    let package = Package::load(&out)?;
    package.video().next().context("a rung")?.join(&joined)?;
    let shown = Pictures::decode(&joined)?;
    ensure!(shown.frames.len() == 192);
    let left: Vec<u32> = shown.frames.iter().map(|f| luma(f, 2, 14)).collect();
    let (low, high) = left.iter().fold((u32::MAX, 0), |(low, high), l| (low.min(*l), high.max(*l)));
    ensure!(high - low <= 100, "the half that never changes goes from {low} to {high} hundredths of a level");
    // and the other half does change: the curve was tried at both ends
    let right: Vec<u32> = shown.frames.iter().map(|f| luma(f, 18, 30)).collect();
    ensure!(right[90] < 2_500 && right[100] > 20_000, "{} and {}", right[90], right[100]);
    Ok(())
}
