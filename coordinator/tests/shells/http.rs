//! The HTTP edge over a real socket.

use crate::cluster::World;
use crate::fake_worker::Manner;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }
}

/// One request on a connection of its own, as plain as HTTP allows.
pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str, extra: &str) -> Answer {
    ask_with(address, method, path, extra, "").await
}

/// The same with a body.
pub(crate) async fn ask_with(
    address: SocketAddr,
    method: &str,
    path: &str,
    extra: &str,
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{extra}\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("an answer");
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("a head of text");
    let mut lines = head.lines();
    let status =
        lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok()).expect("a status");
    let headers = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Answer { status, headers, body: bytes[end + 4..].to_vec() }
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_package_plays_over_http() {
    let world = World::new();
    let cluster = world.start().await;
    cluster.worker("w1", Manner::Good);
    let id = cluster.submit(world.request("")).await.unwrap().0.id.to_string();
    let base = format!("/packages/local/{id}");
    assert_eq!(
        get(cluster.http(), &format!("{base}/master.m3u8")).await.status,
        404,
        "not before it is published"
    );
    cluster.ended(&id).await;

    let master = get(cluster.http(), &format!("{base}/master.m3u8")).await;
    assert_eq!((master.status, master.header("content-type")), (200, "application/vnd.apple.mpegurl"));
    assert_eq!(master.header("access-control-allow-origin"), "*");
    assert_eq!(master.header("cache-control"), "no-cache");
    let text = master.text();
    let playlist = text.lines().find(|l| !l.starts_with('#') && l.ends_with(".m3u8")).expect("a variant");
    let folder = playlist.split('/').next().unwrap();
    assert_eq!(get(cluster.http(), &format!("{base}/{playlist}")).await.status, 200);

    let tag = format!("If-None-Match: {}\r\n", master.header("etag"));
    assert_eq!(ask(cluster.http(), "GET", &format!("{base}/master.m3u8"), &tag).await.status, 304);

    let segment = format!("{base}/{folder}/000002.m4s");
    let whole = get(cluster.http(), &segment).await;
    assert_eq!((whole.status, whole.header("accept-ranges")), (200, "bytes"));
    assert!(whole.header("cache-control").contains("immutable"));
    let part = ask(cluster.http(), "GET", &segment, "Range: bytes=10-19\r\n").await;
    assert_eq!((part.status, part.body.as_slice()), (206, &whole.body[10..20]));
    assert_eq!(part.header("content-range"), format!("bytes 10-19/{}", whole.body.len()));
    let beyond = ask(cluster.http(), "GET", &segment, "Range: bytes=9999999-\r\n").await;
    assert_eq!(
        (beyond.status, beyond.header("content-range")),
        (416, format!("bytes */{}", whole.body.len()).as_str())
    );
    let head = ask(cluster.http(), "HEAD", &segment, "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), whole.body.len().to_string());
    assert_eq!(ask(cluster.http(), "OPTIONS", &segment, "").await.status, 204);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_names_of_the_published_list_are_served() {
    let world = World::new();
    let cluster = world.start().await;
    cluster.worker("w1", Manner::Good);
    let id = cluster.submit(world.request("")).await.unwrap().0.id.to_string();
    let ended = cluster.ended(&id).await;
    let package = world.fleet.stores.open(ended.package.as_deref().unwrap()).unwrap();
    let name =
        package.list("").await.unwrap().into_iter().find(|e| e.name.ends_with("000001.m4s")).unwrap().name;
    let folder = name.split('/').next().unwrap();
    let secret = bytes::Bytes::from_static(b"secret");
    for stray in ["stray.txt".to_owned(), format!("{folder}/000099.m4s")] {
        package.put_replace(&stray, secret.clone(), reelmill_blob::PutOptions::default()).await.unwrap();
    }
    let base = format!("/packages/local/{id}");
    for path in [
        format!("{base}/stray.txt"),
        format!("{base}/report.json"),
        format!("{base}/{folder}/000099.m4s"),
        format!("{base}/{folder}/1.m4s"),
        format!("{base}/{folder}/000000.m4s"),
        format!("{base}/{folder}/../master.m3u8"),
        format!("{base}/{folder}/..%2Fmaster.m3u8"),
        format!("/packages/other/{id}/master.m3u8"),
        "/packages/local/nobody/master.m3u8".to_owned(),
    ] {
        let answer = get(cluster.http(), &path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_names_the_film_and_its_addresses() {
    let world = World::new();
    let cluster = world.start().await;
    let id = cluster.submit(world.request("")).await.unwrap().0.id.to_string();
    let page = get(cluster.http(), &format!("/play/{id}")).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.header("content-security-policy").contains("default-src 'self'"));
    let text = page.text();
    for says in
        ["film.mp4", &format!("/packages/local/{id}/master.m3u8"), "manifest.mpd", "data-state=\"accepted\""]
    {
        assert!(text.contains(says), "{says}");
    }
    assert!(!text.contains("{{"), "a placeholder is left");
    assert_eq!(get(cluster.http(), "/play/nobody").await.status, 404);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_and_jobs_are_shown() {
    let world = World::new();
    let cluster = world.start().await;
    assert_eq!(get(cluster.http(), "/healthz").await.text(), "ok\n");
    assert_eq!(get(cluster.http(), "/readyz").await.text(), "leading\n");
    cluster.worker("w1", Manner::Good);
    let id = cluster.submit(world.request("")).await.unwrap().0.id.to_string();
    cluster.ended(&id).await;
    let metrics = get(cluster.http(), "/metrics").await.text();
    for series in [
        "reelmill_work_items_total{kind=\"encode\",outcome=\"committed\"}",
        "reelmill_work_items_total{kind=\"encode\",outcome=\"encoder_fault\"} 0",
        "reelmill_queue_seconds_bucket{kind=\"encode\",le=\"0.1\"}",
        "reelmill_encode_speed_ratio_bucket",
        "reelmill_output_bytes_total{media=\"video\"}",
    ] {
        assert!(metrics.contains(series), "{series} in\n{metrics}");
    }
    assert!(!metrics.contains(&id), "no label is made of an id");
    let one = get(cluster.http(), &format!("/api/jobs/{id}")).await;
    let one: serde_json::Value = serde_json::from_slice(&one.body).unwrap();
    assert_eq!(
        (one["state"].as_str(), one["play"].as_str()),
        (Some("published"), Some(format!("/play/{id}").as_str()))
    );
    let all = get(cluster.http(), "/api/jobs").await;
    let all: serde_json::Value = serde_json::from_slice(&all.body).unwrap();
    assert_eq!(all["jobs"].as_array().map(Vec::len), Some(1));
    assert_eq!(get(cluster.http(), "/api/jobs/nobody").await.status, 404);
    cluster.stop().await.unwrap();
}
