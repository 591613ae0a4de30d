//! Input that is at fault, tools that are missing, disks that are full: each a sentence a person can act on, its exit
//! code, and nothing half-written. And files that look like films and are scripts for ffmpeg: nothing they name is
//! ever opened.

use reelmill_tests::film::{Film, PLAIN};
use reelmill_tests::package::Package;
use reelmill_tests::tool::{self, Done};
use reelmill_tests::{judge, reelmill};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SHORT: Film = Film { name: "short", frames: 48, ..PLAIN };

/// Every file below a folder, but for the state of a run that can go on (`.reelmill`) where there is one to keep.
fn left_behind(out: &Path, resumable: bool) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(out) else { return Vec::new() };
    let mut all = Vec::new();
    for entry in entries.flatten() {
        if resumable && entry.file_name() == ".reelmill" {
            continue;
        }
        let path = entry.path();
        if path.is_dir() { all.extend(left_behind(&path, resumable)) } else { all.push(path) }
    }
    all
}

/// It ended with this code, said something about these words, and left nothing.
fn assert_refused(done: &Done, out: &Path, code: i32, words: &[&str]) {
    let said = done.stderr.to_lowercase();
    assert_eq!(done.code(), code, "{said}\n{}", done.text());
    assert!(!said.contains("panicked"), "{said}");
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    assert_eq!(left_behind(out, code >= 4), Vec::<PathBuf>::new(), "left behind after: {said}");
}

fn refused(film: &Path, code: i32, words: &[&str], options: &[&str]) {
    let dir = tempfile::tempdir().expect("scratch");
    let out = dir.path().join("out");
    let done = reelmill::transcode(film, &out, options).expect("runs");
    assert_refused(&done, &out, code, words);
}

fn file(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, content).expect("written");
    path
}

#[test]
fn what_is_no_film_is_refused_with_3() {
    let dir = tempfile::tempdir().expect("scratch");
    let noise: Vec<u8> = (0..65_536u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    refused(&file(dir.path(), "empty.mp4", b""), 3, &["empty"], &[]);
    refused(&file(dir.path(), "page.mp4", b"<html><body>404 Not Found</body></html>\n"), 3, &[], &[]);
    refused(&file(dir.path(), "noise.mp4", &noise), 3, &[], &[]);
    refused(&dir.path().join("nowhere.mp4"), 3, &["nowhere.mp4"], &[]);
    refused(dir.path(), 3, &[], &[]);
}

#[test]
fn a_film_cut_before_its_index_is_refused_with_3() {
    let dir = tempfile::tempdir().expect("scratch");
    let made = SHORT.make(dir.path()).expect("film");
    let bytes = std::fs::read(made.path).expect("film");
    // moov lies at the end: cutting the last kilobyte leaves pictures that nothing points at.
    refused(&file(dir.path(), "cut.mp4", &bytes[..bytes.len() - 1000]), 3, &[], &[]);
}

#[test]
fn a_film_that_may_not_be_read_is_refused_with_3() {
    let dir = tempfile::tempdir().expect("scratch");
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("mode")
    };
    open(dir.path(), 0o777);
    let film = SHORT.make(dir.path()).expect("film").path;
    open(&film, 0o000);
    let out = dir.path().join("out");
    let mut command = if std::fs::read(&film).is_ok() {
        // Root reads everything: nobody runs it, from a place that nobody may enter.
        let copy = dir.path().join("reelmill");
        std::fs::copy(reelmill::binary().expect("binary"), &copy).expect("copy");
        let mut command = Command::new(copy);
        command
            .uid(65_534)
            .gid(65_534)
            .env("HOME", dir.path())
            .env("TMPDIR", dir.path())
            .current_dir(dir.path());
        command
    } else {
        reelmill::command(&[]).expect("command")
    };
    command.arg("transcode").arg(&film).arg("--out").arg(&out);
    let done = tool::run(&mut command, Duration::from_secs(60)).expect("runs");
    assert_refused(&done, &out, 3, &["permission"]);
}

#[test]
fn a_wrong_ladder_is_refused_with_2() {
    let dir = tempfile::tempdir().expect("scratch");
    let film = SHORT.make(dir.path()).expect("film").path;
    let wrong = [
        ("syntax.toml", "[[rung]\nname ="),
        ("unknown.toml", "[[rung]]\nname = \"a\"\nbox = [640, 360]\ncolour = \"red\"\n"),
        ("negative.toml", "[[rung]]\nname = \"a\"\nbox = [-640, 360]\n"),
        ("nothing.toml", ""),
    ];
    for (name, text) in wrong {
        let ladder = file(dir.path(), name, text.as_bytes());
        refused(&film, 2, &["ladder"], &["--ladder", ladder.to_str().expect("utf-8")]);
    }
    refused(&film, 2, &["no-such.toml"], &["--ladder", "no-such.toml"]);
    refused(&film, 2, &["1081p"], &["--ladder", "1081p"]);
    refused(&film, 2, &["preset"], &["--preset", "warp"]);
}

/// A folder for PATH that holds these programs alone, as scripts or links.
fn path_with(dir: &Path, programs: &[(&str, &str)]) -> PathBuf {
    let folder = dir.join("bin");
    std::fs::create_dir_all(&folder).expect("folder");
    for (name, script) in programs {
        let path = file(&folder, name, format!("#!/bin/sh\n{script}\n").as_bytes());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("mode");
    }
    folder
}

fn transcode_with_path(path: &Path, film: &Path, out: &Path) -> Done {
    let mut command = reelmill::command(&["transcode"]).expect("command");
    command.arg(film).arg("--out").arg(out).env("PATH", path);
    tool::run(&mut command, Duration::from_secs(120)).expect("runs")
}

#[test]
fn a_missing_or_old_ffmpeg_is_said_with_4() {
    let dir = tempfile::tempdir().expect("scratch");
    let film = SHORT.make(dir.path()).expect("film").path;
    let out = dir.path().join("out");
    let done = transcode_with_path(&path_with(dir.path(), &[]), &film, &out);
    assert_refused(&done, &out, 4, &["ffmpeg"]);
    let old = "echo 'ffmpeg version 3.4.2-2 Copyright (c) 2000-2018 the FFmpeg developers'";
    let path = path_with(dir.path(), &[("ffmpeg", old), ("ffprobe", old)]);
    let done = transcode_with_path(&path, &film, &out);
    assert_refused(&done, &out, 4, &["ffmpeg"]);
}

#[test]
fn a_sandbox_that_is_required_and_cannot_be_made_is_said_with_4() {
    let dir = tempfile::tempdir().expect("scratch");
    let out = dir.path().join("out");
    let film = SHORT.make(dir.path()).expect("film").path;
    // A namespace in which nobody can make another one.
    let run = |script: &str, mode: &str| {
        let script = format!(
            "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all -- {script}"
        );
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", &script, "sh"]);
        command.arg(reelmill::binary().expect("binary"));
        command.args(["transcode", "--sandbox", mode, "--ladder", "360p"]).arg(&film).arg("--out").arg(&out);
        tool::run(&mut command, Duration::from_secs(120)).expect("runs")
    };
    if run("true", "auto").code() != 0 {
        eprintln!("this system makes no user namespaces: a sandbox without them is not tried");
        return;
    }
    let done = run("\"$@\"", "require");
    assert_refused(&done, &out, 4, &["sandbox", "not full", "user.max_user_namespaces", "--sandbox auto"]);
    let done = run("\"$@\"", "auto");
    assert_eq!(done.code(), 0, "what there is will do: {}", done.stderr);
}

#[test]
fn a_full_disk_is_said_with_5() {
    let dir = tempfile::tempdir().expect("scratch");
    let film = Film { frames: 240, ..SHORT }.make(dir.path()).expect("film").path;
    let out = dir.path().join("out");
    std::fs::create_dir(&out).expect("folder");
    // A file system of 200 kB of its own, in a namespace of its own: needs no cleaning up.
    let script = "mount -t tmpfs -o size=200k none \"$1\" && \"$2\" --log warn transcode \"$3\" --preset ultrafast --out \"$1\"; code=$?; \
                  test ! -e \"$1/master.m3u8\" && test ! -e \"$1/manifest.mpd\" || code=99; exit $code";
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.arg(&out).arg(reelmill::binary().expect("binary")).arg(&film);
        tool::run(&mut command, Duration::from_secs(120)).expect("runs")
    };
    if unshare("mount -t tmpfs none \"$1\"").code() != 0 {
        eprintln!("this system mounts nothing for its users: a full disk is not tried");
        return;
    }
    let done = unshare(script);
    assert_eq!(done.code(), 5, "{}", done.stderr);
    let said = done.stderr.to_lowercase();
    assert!(said.contains("space") || said.contains("full") || said.contains("storage"), "{said}");
    assert!(
        said.contains("an attempt failed") && !said.contains("suspended"),
        "nobody is there to wait for: {said}"
    );
}

/// The ffmpegs to try: the one on PATH, and the newer one that `REELMILL_FFMPEG_NEW` names.
fn ffmpegs(dir: &Path) -> Vec<(String, std::ffi::OsString)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = vec![("the system's".to_owned(), path.clone())];
    if let Some(new) = std::env::var("REELMILL_FFMPEG_NEW").ok().filter(|p| !p.is_empty()) {
        // a link, not a script that becomes it: the sandbox knows what a link leads to
        let folder = path_with(dir, &[]);
        std::os::unix::fs::symlink(&new, folder.join("ffmpeg")).expect("a link");
        let mut joined = folder.into_os_string();
        joined.push(":");
        joined.push(path);
        all.push((new, joined));
    }
    all
}

#[test]
fn a_script_that_looks_like_a_film_reaches_nobody() {
    let dir = tempfile::tempdir().expect("scratch");
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    listener.set_nonblocking(true).expect("non-blocking");
    let url = format!("http://{}/secret", listener.local_addr().expect("address"));
    let scripts = [
        (
            "mpd",
            format!(
                "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
             mediaPresentationDuration=\"PT9S\"><Period><AdaptationSet mimeType=\"video/mp4\">\
             <Representation id=\"1\" bandwidth=\"1\"><BaseURL>{url}.mp4</BaseURL></Representation>\
             </AdaptationSet></Period></MPD>"
            ),
        ),
        ("m3u8", format!("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}.ts\n#EXT-X-ENDLIST\n")),
        ("ffconcat", format!("ffconcat version 1.0\nfile '{url}.mp4'\n")),
        (
            "svg",
            format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\">\
             <image xlink:href=\"{url}.png\" width=\"9\" height=\"9\"/></svg>"
            ),
        ),
        ("sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n".to_owned()),
    ];
    for (which, path) in ffmpegs(dir.path()) {
        for (kind, text) in &scripts {
            let folder = dir.path().join(kind);
            std::fs::create_dir_all(&folder).expect("folder");
            let film = file(&folder, "film.mp4", text.as_bytes());
            let out = folder.join("out");
            let done = transcode_with_path(Path::new(&path), &film, &out);
            assert_refused(&done, &out, 3, &[]);
            let reached = listener.accept().map(|(_, from)| from);
            assert!(reached.is_err(), "{kind} with {which}: {reached:?} reached the listener");
        }
    }
    // The listener listens: the test could have failed.
    let mut probe = tool::ffmpeg();
    probe.args(["-v", "quiet", "-rw_timeout", "2000000", "-i", &url]);
    assert!(tool::run(&mut probe, Duration::from_secs(20)).is_ok());
    assert!(listener.accept().is_ok(), "ffmpeg by itself does reach the listener");
}

#[test]
fn sound_alone_is_a_film_too() {
    let dir = tempfile::tempdir().expect("scratch");
    let film = dir.path().join("sound.wav");
    let mut make = tool::ffmpeg();
    make.args(["-v", "error", "-f", "lavfi", "-i", "sine=frequency=500:sample_rate=48000:duration=9"]);
    tool::run(make.arg(&film), Duration::from_secs(30)).expect("runs").success().expect("made");
    let out = dir.path().join("out");
    let done = reelmill::transcode(&film, &out, &[]).expect("runs");
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let package = Package::load(&out).expect("a package");
    assert_eq!((package.video().count(), package.audio().count()), (0, 1));
    assert_eq!(judge::structure(&package).expect("judged"), Vec::new());
    let heard = judge::decode(package.audio().next().expect("sound")).expect("decodes");
    assert_eq!(heard.len(), 9 * 48_000);
}
