//! What a worker finds out at its start, and does not find out twice.

use crate::support::config;
use reelmill_worker::Worker;
use std::path::PathBuf;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_ffmpeg_proves_the_same_fingerprint_and_is_asked_once() {
    let (scratch, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let prove = async || {
        let mut settings = config(vec!["http://127.0.0.1:1".to_owned()], scratch.path());
        settings.cache = Some(cache.path().to_owned());
        Worker::build(settings).await.unwrap().capability().encoders.clone()
    };
    let first = prove().await;
    assert_eq!(first.len(), 1);
    assert!(first[0].kilopixels_per_second > 0);

    // the kept proof is taken as it is, without an encode
    let kept: Vec<PathBuf> = std::fs::read_dir(cache.path()).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    let text = std::fs::read_to_string(&kept[0]).unwrap();
    let speed = first[0].kilopixels_per_second.to_string();
    std::fs::write(&kept[0], text.replace(&speed, "7")).unwrap();
    assert_eq!(prove().await[0].kilopixels_per_second, 7);

    std::fs::remove_file(&kept[0]).unwrap();
    assert_eq!(prove().await[0].fingerprint, first[0].fingerprint);
}
