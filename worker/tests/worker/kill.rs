//! A worker aborted before and after each of its effects: whatever was lost is made again by the next one, and what
//! was written is the same bytes.

use crate::support::{Coordinator, Said, config, start};
use reelmill_common::outcome::Outcome;
use reelmill_common::spec::{IndexSpec, WorkItem};
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use tokio::process::{Child, Command};

const SIGABRT: i32 = 6;

/// The worker's part is played by this very test program, started again with one test selected.
fn worker(coordinator: &str, scratch: &Path, switch: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::played_worker", "--nocapture"])
        .env("PLAY_COORDINATOR", coordinator)
        .env("PLAY_SCRATCH", scratch)
        .env("REELMILL_ABORT_AT_EFFECT", switch)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn played_worker() {
    let Ok(coordinator) = std::env::var("PLAY_COORDINATOR") else { return };
    let scratch = std::env::var_os("PLAY_SCRATCH").unwrap();
    let worker = start(config(vec![coordinator], Path::new(&scratch))).await;
    worker.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_effect_nothing_is_lost() {
    let (dir, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let out = dir.path().canonicalize().unwrap();
    let film = out.join("film.mp4");
    let args = ["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x64:duration=1", "-pix_fmt", "yuv420p"];
    let made = std::process::Command::new("ffmpeg").args(args).arg(&film).status().unwrap();
    assert!(made.success());
    let spec = IndexSpec { location: "film".to_owned(), salt: "job-1".to_owned(), decode: false };

    let (mut survived, mut told, mut untold) = (None, BTreeSet::new(), 0);
    for point in 0..60 {
        let coordinator = Coordinator::start().await;
        let effect = point / 2 + 1;
        let switch = format!("{effect}{}", if point % 2 == 0 { "" } else { "+" });
        let mut child = worker(&coordinator.url(), scratch.path(), &switch);
        // the attempt's number is the same each time: what a killed one uploaded is found and must be the same
        let attempt = coordinator.lease(WorkItem::Index(spec.clone()), &film, &out);
        let heard = Mutex::new(None);
        let idle = async {
            *heard.lock().unwrap() = Some(coordinator.outcome(attempt).await);
            // a beat later it has done everything there was to do
            for _ in 0..2 {
                coordinator.hear("a heartbeat", |said| matches!(said, Said::Beat(_)).then_some(())).await;
            }
        };
        tokio::select! {
            status = child.wait() => assert_eq!(status.unwrap().signal(), Some(SIGABRT), "{switch}"),
            () = idle => survived = Some(effect),
        }
        match heard.into_inner().unwrap() {
            Some(Outcome::Done(report)) => {
                told.insert(report.sha256);
            }
            Some(Outcome::Failed { fault, .. }) => panic!("{switch}: {fault}"),
            None => untold += 1,
        }
        if survived.is_some() {
            child.kill().await.unwrap();
            break;
        }
    }
    let effects = survived.expect("a worker with a switch beyond its last effect lives");
    assert!(effects >= 8, "{effects} effects");
    assert!(untold >= 8, "{untold} killed before the outcome was out");
    assert_eq!(told.len(), 1, "every index is the same bytes");
}
