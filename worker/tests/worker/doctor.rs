//! What `doctor` says of this machine, and of one without ffmpeg.

use crate::support::config;
use reelmill_worker::doctor::{Verdict, check};
use std::path::PathBuf;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_tells_a_fit_machine_from_one_without_ffmpeg() {
    let scratch = tempfile::tempdir().unwrap();
    let mut settings = config(vec![], scratch.path());
    settings.cache = None;
    let lines = check(&settings).await;
    // a sandbox weaker than the full one is a drawback of the machine that the tests run on
    assert!(lines.iter().all(|l| l.verdict == Verdict::Good || l.what == "sandbox"), "{lines:#?}");
    for what in ["ffmpeg", "ffprobe", "scratch", "sandbox", "encoder", "machine"] {
        assert!(lines.iter().any(|l| l.what == what), "{what}: {lines:#?}");
    }
    settings.ffmpeg = Some(PathBuf::from("/nowhere/ffmpeg"));
    let lines = check(&settings).await;
    let bad: Vec<_> = lines.iter().filter(|l| l.verdict == Verdict::Bad).map(|l| l.to_string()).collect();
    assert_eq!(bad.len(), 1, "{lines:#?}");
    assert!(bad[0].contains("/nowhere/ffmpeg") && bad[0].contains("install FFmpeg 5.1"), "{bad:?}");
}
