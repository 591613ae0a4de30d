//! "From a laptop to a fleet": the README's lines, word for word, in a network of their own (they name fixed ports).

use reelmill_blob::Stores;
use reelmill_tests::film::{Film, PLAIN};
use reelmill_tests::hosts::{self, Network};
use reelmill_tests::judge::judge;
use reelmill_tests::process::Process;
use reelmill_tests::seaweed::Seaweed;
use reelmill_tests::{reelmill, tool};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const FILM: Film = Film { name: "film", frames: 96, ..PLAIN };
const README: &str = include_str!("../../../README.md");
/// Of the reader's own, the README says: these are what its lines name.
const KEYS: (&str, &str) = ("reelmill", "secret");

/// The lines of the section's block.
fn lines() -> Vec<&'static str> {
    let section = README.split("\n## From a laptop to a fleet\n").nth(1).expect("the section");
    let block =
        section.split("```console\n").nth(1).and_then(|b| b.split("\n```").next()).expect("its block");
    block.lines().collect()
}

/// The lines as one script that stops at the first failure, and ends what they started.
fn script() -> String {
    let end = "trap 'jobs=$(jobs -p); [ -z \"$jobs\" ] || kill $jobs; wait' EXIT";
    format!("set -euo pipefail\n{end}\n{}\n", lines().join("\n"))
}

#[test]
fn ten_lines_lead_from_a_laptop_to_a_fleet() {
    let name = "readme::ten_lines_lead_from_a_laptop_to_a_fleet";
    if let Some(status) = hosts::enter(name).expect("a network of its own") {
        assert!(status.success(), "{status}");
        return;
    }
    assert_eq!(lines().len(), 10, "ten lines");
    let _network = Network::new().expect("loopback");
    let dir = tempfile::tempdir().expect("scratch");
    let at = |name: &str| dir.path().join(name);
    FILM.make(dir.path()).and_then(|film| Ok(std::fs::rename(film.path, at("film.mp4"))?)).expect("the film");
    std::fs::create_dir(at("bin")).expect("bin");
    std::os::unix::fs::symlink(reelmill::binary().expect("the binary"), at("bin/reelmill")).expect("a link");
    let mut etcd = Command::new("etcd");
    etcd.arg("--data-dir").arg(at("etcd"));
    let etcd = Process::start(etcd, &at("etcd.log")).expect("etcd");
    let store = Seaweed::start_alone(KEYS).expect("SeaweedFS");
    make_bucket(&store, "vod");

    let path = std::env::var("PATH").expect("PATH");
    let mut bash = Command::new("bash");
    bash.args(["-c", &script()]).current_dir(dir.path());
    bash.env("PATH", format!("{}:{path}", at("bin").display())).env_remove("REELMILL_COORDINATOR");
    let done = tool::run(&mut bash, Duration::from_secs(280)).expect("the lines end");
    assert_eq!(done.code(), 0, "{}{}\netcd: {}", done.text(), done.stderr, etcd.said());

    judged(&at("out"));
    let packages = fetch(&store, "s3://vod/packages", &at("fleet"));
    let [package] = packages.as_slice() else { panic!("one package: {packages:?}") };
    judged(package);
}

fn judged(package: &Path) {
    let found = judge(package, &FILM.expected()).expect("judged");
    assert!(found.is_empty(), "{}", found.iter().map(|f| format!("{f}\n")).collect::<String>());
}

/// With the program that the lines use.
fn make_bucket(store: &Seaweed, bucket: &str) {
    let mut curl = Command::new("curl");
    curl.args(["-sSf", "-X", "PUT", "--aws-sigv4", "aws:amz:us-east-1:s3"]);
    curl.args(["-u", &format!("{}:{}", KEYS.0, KEYS.1), &format!("http://{}/{bucket}", store.address())]);
    tool::run(&mut curl, Duration::from_secs(30)).and_then(tool::Done::success).expect("a bucket");
}

/// Everything below `url`, as files. Gives the folders with a master playlist.
fn fetch(store: &Seaweed, url: &str, into: &Path) -> Vec<PathBuf> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let variables = store.variables();
        let stores = variables.iter().fold(Stores::default(), |stores, (n, v)| stores.with_variable(n, v));
        let blobs = stores.open(url).expect("the bucket opens");
        let mut packages = vec![];
        for entry in blobs.list("").await.expect("lists") {
            let (content, _) = blobs.get(&entry.name).await.expect("read");
            let file = into.join(&entry.name);
            let folder = file.parent().expect("a folder");
            std::fs::create_dir_all(folder).expect("a folder");
            if file.ends_with("master.m3u8") {
                packages.push(folder.to_owned());
            }
            std::fs::write(&file, content).expect("written");
        }
        packages
    })
}
