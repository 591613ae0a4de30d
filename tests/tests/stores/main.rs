//! Stores as a user has them: a real S3 server (SeaweedFS) and a real etcd, the product's own client, the real binary.

mod audits;
#[path = "../../../coordinator/src/state/etcd/server.rs"]
#[allow(dead_code, reason = "only a part of it is needed here")]
mod etcd_server;
mod grants;
mod readme;
mod signed;

use bytes::Bytes;
use etcd_server::EtcdServer;
use reelmill_blob::conformance::conformance;
use reelmill_blob::{Blobs, PutOptions, Served, Stores};
use reelmill_tests::film::{Film, PLAIN};
use reelmill_tests::reelmill;
use reelmill_tests::seaweed::{SECRET_KEY, Seaweed};
use reelmill_tests::tool;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

const SHORT: Film = Film { name: "short", frames: 96, ..PLAIN };

fn open(server: &Seaweed, url: &str) -> Blobs {
    let variables = server.variables();
    let stores = variables.iter().fold(Stores::default(), |stores, (n, v)| stores.with_variable(n, v));
    stores.open(url).expect("the bucket opens")
}

fn command(server: &Seaweed, arguments: &[&str]) -> Command {
    let mut command = reelmill::command(arguments).expect("the binary");
    command.envs(server.variables());
    command
}

fn run(command: &mut Command) -> tool::Done {
    tool::run(command, Duration::from_secs(120)).expect("it ends")
}

/// What doctor says of an etcd, each with its verdict, and its exit code.
fn doctor_etcd(urls: &[String]) -> (Vec<(String, String)>, i32) {
    let mut command =
        reelmill::command(&["doctor", "--json", "--etcd", &urls.join(",")]).expect("the binary");
    let done = run(&mut command);
    let lines = done.text();
    // shown where the test fails: what else the doctor found decides the exit code, too
    eprintln!("{lines}");
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let text = |line: &serde_json::Value, field: &str| line[field].as_str().expect("text").to_owned();
    let of_state = lines.filter(|line| line["what"] == "state");
    (of_state.map(|line| (text(&line, "verdict"), text(&line, "text"))).collect(), done.code())
}

#[test]
fn doctor_looks_at_every_member_of_an_etcd() {
    let mut server = EtcdServer::start_with(3, &[]);
    let urls = server.urls();
    let verdicts = |said: &[(String, String)]| said.iter().map(|(v, _)| v.clone()).collect::<Vec<_>>();

    let (said, code) = doctor_etcd(&urls);
    assert_eq!((verdicts(&said), code), (["ok"; 4].map(str::to_owned).to_vec(), 0), "{said:?}");
    for (url, (_, text)) in urls.iter().zip(&said) {
        assert!(text.starts_with(&format!("{url}: etcd 3.")) && text.contains("bytes in use"), "{text}");
    }
    assert!(said[3].1.contains("reelmill/ can be read; nobody leads"), "{}", said[3].1);

    server.kill(1);
    let (said, code) = doctor_etcd(&urls);
    let wanted = ["ok", "warning", "ok", "ok"].map(str::to_owned).to_vec();
    assert_eq!((verdicts(&said), code), (wanted, 0), "a majority serves: {said:?}");
    assert!(said[1].1.contains(&urls[1]), "{}", said[1].1);

    server.kill(2);
    let (said, code) = doctor_etcd(&urls);
    assert_eq!(code, 5, "{said:?}");
    assert_eq!(verdicts(&said)[1..], ["bad"; 3].map(str::to_owned), "{said:?}");
}

#[tokio::test]
async fn a_real_s3_server_passes_the_conformance_suite() {
    let server = Seaweed::start().expect("SeaweedFS");
    // a first write makes the bucket
    let bucket = open(&server, "s3://conformance");
    bucket.put_replace("beside", Bytes::from_static(b"x"), PutOptions::default()).await.expect("written");
    conformance(&bucket.below("below/it").expect("a name")).await.expect("it conforms");
}

#[test]
fn doctor_proves_a_store_by_using_it() {
    let server = Seaweed::start().expect("SeaweedFS");
    let done = run(&mut command(&server, &["doctor", "--store", "s3://films/vod", "--json"]));
    let lines: Vec<serde_json::Value> =
        done.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let stores: Vec<(&str, &str)> = lines
        .iter()
        .filter(|line| line["what"] == "store")
        .map(|line| (line["verdict"].as_str().expect("text"), line["text"].as_str().expect("text")))
        .collect();
    let checks = ["round trip", "range", "create-only", "headers", "multipart", "signed", "list", "speed"];
    assert_eq!(stores.len(), checks.len(), "{stores:?}");
    for ((verdict, text), check) in stores.iter().zip(checks) {
        assert_eq!(*verdict, "ok", "{text}");
        assert!(text.starts_with(&format!("{check}: ")), "{text}");
    }
    assert_eq!(done.code(), 0);

    let mut without = command(&server, &["doctor", "--store", "s3://films/vod"]);
    let done = run(without.env("AWS_CONDITIONAL_PUT", "disabled"));
    assert_eq!(done.code(), 0, "{}", done.text());
    let line = done.text().lines().find(|l| l.contains("create-only: ")).map(str::to_owned).expect("a line");
    assert!(line.starts_with("warn") && line.contains("works, by promotion at publish"), "{line}");

    let mut wrong = command(&server, &["doctor", "--store", "s3://films/vod"]);
    let done = run(wrong.env("AWS_SECRET_ACCESS_KEY", "not the secret"));
    assert_eq!(done.code(), 5, "{}", done.text());
    assert!(done.text().contains("BAD   store     round trip: cannot write"), "{}", done.text());
    assert!(done.text().contains("credentials"), "{}", done.text());

    let mut gone = command(&server, &["doctor", "--store", "s3://films/vod"]);
    let done = run(gone.env("AWS_ENDPOINT", "http://127.0.0.1:1"));
    assert_eq!(done.code(), 5, "{}", done.text());
    for said in [done.text(), done.stderr] {
        assert!(!said.contains(SECRET_KEY), "{said}");
    }
}

/// Every file of a package by name, the report aside: it tells times and places.
async fn files(package: &Blobs) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in package.list("").await.expect("lists") {
        let (content, _) = package.get(&entry.name).await.expect("read");
        files.insert(entry.name, content.to_vec());
    }
    assert!(files.remove("report.json").is_some(), "a report");
    files
}

const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// `Content-Type` and `Cache-Control` of a published object: RFC 8216 section 4, ISO/IEC 23009-1 annex C, RFC 4337;
/// what never changes is cached for a year.
fn expected_headers(name: &str) -> Served {
    let (content_type, cache_control) = match name.rsplit_once('.').expect("an extension").1 {
        "m3u8" => ("application/vnd.apple.mpegurl", "no-cache"),
        "mpd" => ("application/dash+xml", "no-cache"),
        "m4s" | "mp4" if name.starts_with("audio-") => ("audio/mp4", IMMUTABLE),
        "m4s" | "mp4" => ("video/mp4", IMMUTABLE),
        "json" => ("application/json", "no-cache"),
        other => panic!("{other}: what is it?"),
    };
    Served { content_type: Some(content_type.to_owned()), cache_control: Some(cache_control.to_owned()) }
}

#[tokio::test]
async fn a_film_goes_from_bucket_to_bucket_as_it_does_between_files() {
    let directory = tempfile::tempdir().expect("scratch");
    let film = SHORT.make(directory.path()).expect("a film").path;
    let server = Seaweed::start().expect("SeaweedFS");
    let bucket = open(&server, "s3://films");
    let content = Bytes::from(std::fs::read(&film).expect("read"));
    bucket.put_replace("in/a film.mp4", content, PutOptions::default()).await.expect("uploaded");

    let more = ["--ladder", "240p", "--preset", "speed", "--chunk", "4s"];
    let out = directory.path().join("out");
    reelmill::transcode(&film, &out, &more).expect("ends").success().expect("transcoded");
    let mut remote = command(&server, &["transcode", "s3://films/in/a%20film.mp4", "--out", "s3://vod/a"]);
    run(remote.args(more)).success().expect("transcoded");

    let local = files(&Stores::default().open(out.to_str().expect("UTF-8")).expect("opens")).await;
    let package = open(&server, "s3://vod/a");
    let found = files(&package).await;
    for name in found.keys().map(String::as_str).chain(["report.json"]) {
        assert_eq!(package.served_as(name).await.expect("looked at"), expected_headers(name), "{name}");
    }
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    // folders are named by the source's identity too, which a bucket tells otherwise than a directory
    let shape = |names: Vec<String>| -> Vec<String> {
        let rung = |n: &str| n.split_once('-').map_or(n.to_owned(), |(rung, _)| rung.to_owned());
        names
            .iter()
            .map(|n| n.split_once('/').map_or(n.clone(), |(d, f)| format!("{}/{f}", rung(d))))
            .collect()
    };
    assert_eq!(shape(names(&found)), shape(names(&local)));
    let media = |files: &BTreeMap<String, Vec<u8>>| -> Vec<Vec<u8>> {
        files
            .iter()
            .filter(|(n, _)| n.ends_with(".m4s") || n.ends_with(".mp4"))
            .map(|f| f.1.clone())
            .collect()
    };
    assert!(media(&found) == media(&local), "the same film gives other bytes in a bucket");

    // where a second writer could overwrite, work files lie beside the package while it is made, and nothing of them after
    let mut promoted = command(&server, &["transcode", "s3://films/in/a%20film.mp4", "--out", "s3://vod/b"]);
    run(promoted.args(more).env("AWS_CONDITIONAL_PUT", "disabled")).success().expect("transcoded");
    assert!(files(&open(&server, "s3://vod/b")).await == found, "another package in a store that overwrites");
}
