//! Tests of the loopback reader: ranges, refusals, a source that changes while it is read.

use super::super::Sources;
use super::*;
use crate::sandbox::Level;
use reelmill_blob::quirky::{Quirk, Quirky};
use reelmill_blob::{Policy, PutOptions, PutOutcome, Stores};
use reelmill_common::index::Demuxer;
use reelmill_common::session::ReadGrant;
use reelmill_worker_core::argv::Location;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A box of `length` bytes filled with one value.
fn boxed(kind: &[u8; 4], length: u32, fill: u8) -> Vec<u8> {
    let mut out = length.to_be_bytes().to_vec();
    out.extend_from_slice(kind);
    out.resize(length as usize, fill);
    out
}

/// `ftyp`, `moov`, `mdat`.
fn film() -> Vec<u8> {
    [boxed(b"ftyp", 24, 1), boxed(b"moov", 1000, 2), boxed(b"mdat", 300_000, 3)].concat()
}

async fn put(stores: &Stores, content: &[u8]) -> ReadGrant {
    let root = stores.open("memory://films").unwrap();
    let put = root.put_create("a.mp4", Bytes::copy_from_slice(content), PutOptions::default()).await.unwrap();
    assert_eq!(put, PutOutcome::Created);
    ReadGrant {
        url: "memory://films/a.mp4".into(),
        signed: None,
        bytes: Some(content.len() as u64),
        version: None,
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|l| l.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)))
            .map(|h| h.1)
    }
}

/// Speaks HTTP by hand, so that what ffmpeg would see is what is looked at.
async fn ask(url: &str, method: &str, range: Option<&str>) -> Answer {
    let all = ask_raw(url, method, range).await;
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    Answer { status: head[9..12].parse().unwrap(), body: all[end + 4..].to_vec(), head }
}

/// Every byte that came before the connection was closed.
async fn ask_raw(url: &str, method: &str, range: Option<&str>) -> Vec<u8> {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let range = range.map_or(String::new(), |r| format!("Range: {r}\r\n"));
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{range}\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    socket.read_to_end(&mut all).await.unwrap();
    all
}

fn url(location: &Location) -> String {
    match location {
        Location::Loopback(url) => url.clone(),
        Location::File(path) => panic!("{path} is not served"),
    }
}

#[tokio::test]
async fn ranges_are_answered_as_rfc_9110_says() {
    let (stores, film) = (Stores::default(), film());
    let sources = Sources::new(stores.clone(), Level::Basic);
    let source = sources.open(&put(&stores, &film).await, None).await.unwrap();
    let served = source.for_ffmpeg(Demuxer::Mov, 1).await.unwrap();
    let url = url(&served.input.location);
    let size = film.len();

    let whole = ask(&url, "GET", None).await;
    assert_eq!((whole.status, whole.body.as_slice()), (200, film.as_slice()));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));

    let cases: [(&str, std::ops::Range<usize>); 6] = [
        ("bytes=0-", 0..size),
        ("bytes=0-9", 0..10),
        // into, across and out of the box that comes from memory
        ("bytes=20-29", 20..30),
        ("bytes=1000-1099", 1000..1100),
        ("bytes=10-2000", 10..2001),
        ("bytes=-5", size - 5..size),
    ];
    for (range, want) in cases {
        let part = ask(&url, "GET", Some(range)).await;
        assert_eq!(part.status, 206, "{range}");
        assert_eq!(part.body, film[want.clone()], "{range}");
        let shown = format!("bytes {}-{}/{size}", want.start, want.end - 1);
        assert_eq!(part.header("content-range"), Some(shown.as_str()), "{range}");
    }
    let head = ask(&url, "HEAD", Some("bytes=5-6")).await;
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (206, 0, Some("2")));
}

#[tokio::test]
async fn nothing_but_the_one_source_is_answered() {
    let (stores, film) = (Stores::default(), film());
    let source =
        Sources::new(stores.clone(), Level::Basic).open(&put(&stores, &film).await, None).await.unwrap();
    let served = source.for_ffmpeg(Demuxer::Matroska, 1).await.unwrap();
    let url = url(&served.input.location);
    let (base, token) = url.rsplit_once('/').unwrap();
    assert!(base.starts_with("http://127.0.0.1:"));
    assert_eq!(token.len(), 32, "128 bits");

    for other in [
        format!("{base}/"),
        format!("{base}/{}", "0".repeat(32)),
        format!("{url}/x"),
        format!("{base}/{token}0"),
    ] {
        assert_eq!(ask(&other, "GET", None).await.status, 404, "{other}");
    }
    assert_eq!(ask(&url, "PUT", None).await.status, 405);
    for range in ["bytes=999999999-", "bytes=5-2", "bytes=0-1,5-6", "films=0-1"] {
        let refused = ask(&url, "GET", Some(range)).await;
        assert_eq!(refused.status, 416, "{range}");
        assert_eq!(
            refused.header("content-range"),
            Some(format!("bytes */{}", film.len()).as_str()),
            "{range}"
        );
    }
    let again = source.for_ffmpeg(Demuxer::Matroska, 1).await.unwrap();
    assert_ne!(
        super::tests::url(&again.input.location).rsplit_once('/').unwrap().1,
        token,
        "each has its own secret"
    );
    drop(served);
    let address = base.strip_prefix("http://").unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    while TcpStream::connect(address).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "it must end with the attempt");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_moov_is_read_once_for_all_attempts_on_a_source() {
    let (stores, film) = (Stores::default(), film());
    let grant = put(&stores, &film).await;
    let sources = Sources::new(stores, Level::Basic);
    let first = sources.open(&grant, None).await.unwrap();
    let served = first.for_ffmpeg(Demuxer::Mov, 1).await.unwrap();
    assert_eq!(first.bytes_read(), 16 + 16 + 1000, "two headers and the box");
    ask(&url(&served.input.location), "GET", Some("bytes=24-1023")).await;
    assert_eq!(first.bytes_read(), 1032, "from memory");

    let second = sources.open(&grant, None).await.unwrap();
    let served = second.for_ffmpeg(Demuxer::Mov, 1).await.unwrap();
    let moov = ask(&url(&served.input.location), "GET", Some("bytes=24-1023")).await;
    assert_eq!(moov.body, film[24..1024]);
    assert_eq!(second.bytes_read(), 0);
}

#[tokio::test]
async fn what_several_attempts_want_is_read_once() {
    let stores = Stores::default();
    let content: Vec<u8> = (0..1_300_000_u32).map(|i| (i % 251) as u8).collect();
    let grant = put(&stores, &content).await;
    let sources = Sources::new(stores, Level::Basic);
    let (mut read, mut moved) = (0, 0);
    // across one border of blocks, across two, to the end, the same again, and one that wants a part of all of them
    for (from, to) in
        [(500_000, 600_000), (10, 1_200_000), (1_048_570, 1_300_000), (500_000, 600_000), (7, 1_299_999)]
    {
        let source = sources.open(&grant, None).await.unwrap();
        let served = source.for_ffmpeg(Demuxer::Matroska, 1).await.unwrap();
        let range = format!("bytes={from}-{}", to - 1);
        let part = ask(&url(&served.input.location), "GET", Some(&range)).await;
        assert!(part.body == content[from..to], "{range}");
        assert!(source.bytes_moved() >= (to - from) as u64, "a run that gets bytes is not stuck");
        (read, moved) = (read + source.bytes_read(), moved + to - from);
    }
    assert_eq!(read, 1_300_000, "for {moved} bytes that were asked for");
}

#[tokio::test]
async fn what_is_forgotten_is_read_from_the_store_again() {
    let (content, made) = (film(), Arc::new(Mutex::new(None)));
    let keeping = Arc::clone(&made);
    let stores = Stores::decorated(Policy::default(), move |inner| {
        let quirky = Quirky::new(inner, Quirk::None);
        *keeping.lock().unwrap() = Some(quirky.clone());
        Arc::new(quirky)
    });
    let grant = put(&stores, &content).await;
    let quirky = made.lock().unwrap().clone().unwrap();
    let sources = Sources::new(stores, Level::Basic);
    let source = sources.open(&grant, None).await.unwrap();
    let read = async || {
        let source = sources.open(&grant, None).await.unwrap();
        let served = source.for_ffmpeg(Demuxer::Matroska, 1).await.unwrap();
        ask(&url(&served.input.location), "GET", None).await.body
    };
    quirky.damage_bodies(1);
    let damaged = read().await;
    assert!(damaged != content && read().await == damaged, "what came damaged is kept");
    source.forget_kept();
    assert!(read().await == content, "and is read anew before somebody is called wrong");
}

#[tokio::test]
async fn a_source_that_changed_is_refused() {
    use reelmill_common::outcome::FaultKind;
    let (stores, film) = (Stores::default(), film());
    let grant = put(&stores, &film).await;
    let sources = Sources::new(stores.clone(), Level::Basic);
    let source = sources.open(&grant, None).await.unwrap();
    source.still_good().await.unwrap();

    let root = stores.open("memory://films").unwrap();
    root.put_replace("a.mp4", Bytes::from_static(b"something else"), PutOptions::default()).await.unwrap();
    assert_eq!(source.still_good().await.unwrap_err().kind, FaultKind::Source, "replaced while it was read");
    let refused = sources.open(&grant, None).await.unwrap_err();
    assert_eq!(refused.kind, FaultKind::Source, "{refused}");
    assert!(refused.message.contains("replaced"), "{refused}");

    let served = source.for_ffmpeg(Demuxer::Matroska, 1).await.unwrap();
    let broken = ask_raw(&url(&served.input.location), "GET", None).await;
    assert!(!broken.windows(9).any(|w| w == b"something"), "no byte of another film");
    let told = source.still_good().await.unwrap_err();
    assert_eq!(told.kind, FaultKind::Source, "{told}");
}

#[tokio::test]
async fn a_local_file_is_not_served_but_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("a film: 1.mp4");
    std::fs::write(&path, film()).unwrap();
    let located = reelmill_blob::resolve_source(path.to_str().unwrap(), None).unwrap();
    let grant = ReadGrant { url: located.url, signed: None, bytes: located.bytes, version: None };
    let source = Sources::new(Stores::default(), Level::Full).open(&grant, None).await.unwrap();
    let served = source.for_ffmpeg(Demuxer::Mov, 1).await.unwrap();
    assert_eq!(served.input.location, Location::File(path.to_str().unwrap().to_owned()));
}
