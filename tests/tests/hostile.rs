//! Films made to harm: files that name other files and other machines, and files that are larger than any film. Each is
//! refused by name or harmless, and nothing they name is ever reached.

use reelmill_tests::film::{Film, PLAIN};
use reelmill_tests::reelmill;
use reelmill_tests::tool::{self, Done};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SHORT: Film = Film { name: "short", frames: 48, ..PLAIN };

/// A listener of each kind at each of two loopback addresses: none may ever hear of anybody.
struct Listeners {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

impl Listeners {
    fn new() -> Self {
        let tcp = ["127.0.0.1:0", "127.0.0.2:0"].map(|a| TcpListener::bind(a).expect("listens"));
        let udp = ["127.0.0.1:0", "127.0.0.2:0"].map(|a| UdpSocket::bind(a).expect("listens"));
        tcp.iter().for_each(|l| l.set_nonblocking(true).expect("non-blocking"));
        udp.iter().for_each(|s| s.set_nonblocking(true).expect("non-blocking"));
        Self { tcp: tcp.into(), udp: udp.into() }
    }

    /// Places that a film can name.
    fn urls(&self) -> Vec<String> {
        let tcp = self.tcp.iter().map(|l| l.local_addr().expect("address"));
        let udp = self.udp.iter().map(|s| s.local_addr().expect("address"));
        let mut all: Vec<String> =
            tcp.flat_map(|a| [format!("http://{a}/x"), format!("tcp://{a}")]).collect();
        all.extend(udp.map(|a| format!("udp://{a}")));
        all
    }

    fn assert_unreached(&self, what: &str) {
        for listener in &self.tcp {
            assert!(listener.accept().is_err(), "{what} reached {listener:?}");
        }
        for socket in &self.udp {
            assert!(socket.recv(&mut [0; 9]).is_err(), "{what} reached {socket:?}");
        }
    }
}

fn transcode(film: &Path) -> Done {
    let dir = tempfile::tempdir().expect("scratch");
    let quick = ["--ladder", "240p", "--preset", "ultrafast"];
    let done = reelmill::transcode(film, &dir.path().join("out"), &quick).expect("runs");
    assert!(!done.stderr.to_lowercase().contains("panicked"), "{}", done.stderr);
    done
}

/// Refused as a source at fault, for this reason.
fn assert_refused(done: &Done, what: &str, words: &[&str]) {
    assert_eq!(done.code(), 3, "{what}: {}", done.stderr);
    for word in words {
        assert!(done.stderr.contains(word), "{what}: `{word}` is not in: {}", done.stderr);
    }
}

#[test]
fn a_playlist_reaches_nobody_by_any_name() {
    let (dir, listeners) = (tempfile::tempdir().expect("scratch"), Listeners::new());
    let secret = dir.path().join("secret.mp4");
    std::fs::copy(SHORT.make(dir.path()).expect("film").path, &secret).expect("copy");
    let mut named = listeners.urls();
    named.extend([format!("file:{}", secret.display()), format!("concat:{0}|{0}", secret.display())]);
    let list = |line: &str, before: &str| {
        named.iter().fold(before.to_owned(), |text, name| text + &line.replace('@', name))
    };
    let scripts = [
        ("film.m3u8", list("#EXTINF:9,\n@\n", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n") + "#EXT-X-ENDLIST\n"),
        ("film.mp4", list("file '@'\n", "ffconcat version 1.0\n")),
        ("film.ass", list("Fontname: @\n", "[Script Info]\nScriptType: v4.00+\n[Fonts]\n")),
        ("film.vtt", list("STYLE\n@import url('@');\n\n", "WEBVTT\n\n") + "00:00.000 --> 00:09.000\nx\n"),
        ("frame%03d.png", list("@\n", "")),
    ];
    for (name, text) in &scripts {
        let film = dir.path().join(name);
        std::fs::write(&film, text).expect("written");
        assert_refused(&transcode(&film), name, &[]);
        listeners.assert_unreached(name);
    }
    for url in listeners.urls() {
        let done = transcode(Path::new(&url));
        assert!([2, 3].contains(&done.code()), "{url}: {}", done.stderr);
        listeners.assert_unreached(&url);
    }
    // The listeners listen: the test could have failed.
    let mut probe = tool::ffmpeg();
    probe.args(["-v", "quiet", "-rw_timeout", "1000000", "-i", &listeners.urls()[0]]);
    assert!(tool::run(&mut probe, Duration::from_secs(20)).is_ok());
    assert!(listeners.tcp[0].accept().is_ok(), "ffmpeg by itself does reach a listener");
}

/// A box of an MP4.
fn a_box(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len() + 8).expect("a small box");
    [&size.to_be_bytes()[..], kind, content].concat()
}

/// The same content with the box at the end of `path` changed, the first of its name at each step. Sizes follow.
fn changed(content: &[u8], path: &[&[u8; 4]], change: &dyn Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let Some((wanted, rest)) = path.split_first() else { return change(content) };
    let (mut out, mut at, mut is_done) = (Vec::new(), 0, false);
    while at + 8 <= content.len() {
        let size = u32::from_be_bytes(content[at..at + 4].try_into().expect("four bytes")) as usize;
        let (kind, body) = (&content[at + 4..at + 8], &content[at + 8..at + size]);
        if kind == *wanted && !is_done {
            is_done = true;
            out.extend(a_box(wanted, &changed(body, rest, change)));
        } else {
            out.extend_from_slice(&content[at..at + size]);
        }
        at += size;
    }
    assert!(is_done, "{} is in the film", String::from_utf8_lossy(*wanted));
    out
}

const STBL: [&[u8; 4]; 5] = [b"moov", b"trak", b"mdia", b"minf", b"stbl"];

/// A film whose index (which lies behind its media) was changed.
fn film_with(dir: &Path, path: &[&[u8; 4]], change: &dyn Fn(&[u8]) -> Vec<u8>) -> PathBuf {
    let good = std::fs::read(SHORT.make(dir).expect("film").path).expect("film");
    let film = dir.join("changed.mp4");
    std::fs::write(&film, changed(&good, path, change)).expect("written");
    film
}

#[test]
fn samples_in_another_file_are_not_fetched() {
    let (dir, listeners) = (tempfile::tempdir().expect("scratch"), Listeners::new());
    let dref = [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"];
    for url in listeners.urls() {
        // not in the same file, but there
        let entry = a_box(b"url ", &[&[0; 4], url.as_bytes(), &[0]].concat());
        let film = film_with(dir.path(), &dref, &|_| [&[0, 0, 0, 0, 0, 0, 0, 1], &entry[..]].concat());
        let done = transcode(&film);
        assert!([0, 3].contains(&done.code()), "{url}: {}", done.stderr);
        listeners.assert_unreached(&url);
    }
}

#[test]
fn what_a_container_carries_beside_the_film_stays_there() {
    let (dir, listeners) = (tempfile::tempdir().expect("scratch"), Listeners::new());
    let film = SHORT.make(dir.path()).expect("film").path;
    let playlist = dir.path().join("font.ttf");
    let subtitles = dir.path().join("s.srt");
    let url = &listeners.urls()[0];
    std::fs::write(&playlist, format!("#EXTM3U\n#EXTINF:9,\n{url}\n")).expect("written");
    std::fs::write(&subtitles, format!("1\n00:00:00,000 --> 00:00:01,000\n<font face=\"{url}\">x\n"))
        .expect("written");
    let carrier = dir.path().join("carrier.mkv");
    let mut make = tool::ffmpeg();
    make.args(["-v", "error", "-i"]).arg(&film).arg("-i").arg(&subtitles);
    make.args(["-map", "0", "-map", "1", "-c", "copy", "-c:s", "srt", "-attach"]).arg(&playlist);
    make.args(["-metadata:s:t", "mimetype=application/x-truetype-font"]).arg(&carrier);
    tool::run(&mut make, Duration::from_secs(30)).expect("runs").success().expect("made");
    let done = transcode(&carrier);
    assert_eq!(done.code(), 0, "{}", done.stderr);
    listeners.assert_unreached("an attachment");
}

#[test]
fn each_limit_is_met_on_the_real_path_and_named() {
    let dir = tempfile::tempdir().expect("scratch");
    let refused = |what: &str, film: &Path| assert_refused(&transcode(film), what, &[what, "limit of"]);
    let with = |path: &[&[u8; 4]], change: &dyn Fn(&[u8]) -> Vec<u8>| film_with(dir.path(), path, change);
    let table = |kind: &'static [u8; 4]| [&STBL[..], &[kind]].concat();
    let number = |n: u32| n.to_be_bytes();

    // what the sample entry says is not believed where the pictures say another size: these are as large as they say
    let wide = dir.path().join("wide.mp4");
    let mut make = tool::ffmpeg();
    make.args(["-v", "error", "-f", "lavfi", "-i", "color=size=9000x4400:rate=1:duration=1"]);
    make.args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]).arg(&wide);
    tool::run(&mut make, Duration::from_secs(60)).expect("runs").success().expect("made");
    refused("pixels a picture", &wide);

    let tracks = with(&[b"moov"], &|moov| {
        let trak = moov.windows(4).position(|w| w == b"trak").expect("a track") - 4;
        let size = u32::from_be_bytes(moov[trak..trak + 4].try_into().expect("four bytes")) as usize;
        [moov, &moov[trak..trak + size].repeat(63)].concat()
    });
    refused("tracks", &tracks);

    let edits = with(&[b"moov", b"trak", b"edts", b"elst"], &|_| {
        let edit = [number(1), number(0), number(0x0001_0000)].concat();
        [&number(0)[..], &number(1_001), &edit.repeat(1_001)].concat()
    });
    refused("edits", &edits);

    let frames = with(&table(b"stsz"), &|_| [number(0), number(1), number(8_000_001)].concat());
    refused("frames", &frames);

    let keyframes = with(&table(b"stss"), &|_| {
        let entries: Vec<u8> = (1..=4_400_001_u32).flat_map(u32::to_be_bytes).collect();
        [&number(0)[..], &number(4_400_001), &entries].concat()
    });
    refused("keyframes", &keyframes);

    // a thousand million ticks each: 48 of them are long in any timescale, where no edit list cuts them
    let long = with(&STBL[..2], &|trak| {
        let times = [number(0), number(1), number(48), number(1_000_000_000)].concat();
        let mut trak = changed(trak, &[b"mdia", b"minf", b"stbl", b"stts"], &|_| times.clone());
        let edts = trak.windows(4).position(|w| w == b"edts").expect("an edit list");
        trak[edts..edts + 4].copy_from_slice(b"free");
        trak
    });
    refused("seconds", &long);

    // a file that is mostly a hole
    let huge = dir.path().join("huge.mp4");
    let head = [a_box(b"ftyp", b"isom\0\0\0\0isom"), [&number(300 << 20)[..], b"moov"].concat()].concat();
    std::fs::write(&huge, &head).expect("written");
    let file = std::fs::OpenOptions::new().write(true).open(&huge).expect("opened");
    file.set_len(head.len() as u64 + (300 << 20)).expect("a hole");
    refused("bytes of moov", &huge);
}
