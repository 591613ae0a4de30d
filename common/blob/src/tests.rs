//! The verified operations over local directories, memory, S3 where there is one, and all of it under faults.

use crate::chaos::{ChaosFault, ChaosRates, ChaosStore};
use crate::conformance::conformance;
use crate::{BlobErrorKind, Blobs, Policy, PutOptions, PutOutcome, Stores, open_source};
use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt as _};
use reelmill_common::Sha256;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Impatient, for tests in real time.
fn quick() -> Policy {
    Policy { attempts: 3, first_pause_ms: 1, longest_pause_ms: 4, stall_ms: 5_000, ..Policy::default() }
}

#[tokio::test]
async fn memory_conforms() {
    let root = Stores::new(quick()).open("memory://films/below/it").unwrap();
    conformance(&root).await.unwrap();
}

#[tokio::test]
async fn a_local_directory_conforms() {
    let directory = tempfile::tempdir().unwrap();
    for root in ["plain", "with space/and é", "100%/[x]"] {
        let root = directory.path().join(root);
        conformance(&Stores::new(quick()).open(root.to_str().unwrap()).unwrap()).await.unwrap();
    }
    let url = url::Url::from_file_path(directory.path().join("by url")).unwrap();
    conformance(&Stores::new(quick()).open(url.as_str()).unwrap()).await.unwrap();
}

/// The store under test, its faults, and the memory below them.
struct UnderChaos {
    root: Blobs,
    chaos: ChaosStore,
    below: Arc<dyn ObjectStore>,
}

fn under_chaos(seed: u64, rates: ChaosRates) -> UnderChaos {
    let below: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let chaos = ChaosStore::new(Arc::clone(&below), seed, rates);
    let decorating = chaos.clone();
    let stores = Stores::decorated(Policy::default(), move |_| Arc::new(decorating.clone()));
    UnderChaos { root: stores.open("memory://chaos").unwrap(), chaos, below }
}

async fn truth(store: &Arc<dyn ObjectStore>, name: &str) -> Option<Bytes> {
    store.get(&name.into()).await.ok()?.bytes().await.ok()
}

/// Time is paused: a stall of 30 s costs nothing.
#[tokio::test(start_paused = true)]
async fn under_faults_an_operation_ends_rightly_or_fails_but_never_lies() {
    let mut struck: BTreeMap<ChaosFault, u64> = BTreeMap::new();
    let (mut right, mut failed) = (0, 0);
    for seed in 0..300 {
        let UnderChaos { root, chaos, below } = under_chaos(seed, ChaosRates::each(80));
        let content = Bytes::from(vec![seed as u8; 1_000 + seed as usize]);
        let sha256 = Sha256::of(&content);

        match root.put_create("mine", content.clone(), PutOptions::default()).await {
            // nobody else writes here: whatever was lost on the way, the object is ours and must be known as such
            Ok(outcome) => assert_eq!(outcome, PutOutcome::Created, "seed {seed}"),
            Err(error) => assert!(error.retryable(), "seed {seed}: {error}"),
        }
        if let Some(there) = truth(&below, "mine").await {
            assert_eq!(there, content, "seed {seed}: half an object was written");
        }

        below.put(&"others".into(), "theirs".into()).await.unwrap();
        match root.put_create("others", content.clone(), PutOptions::default()).await {
            Ok(PutOutcome::Created) => panic!("seed {seed}: another's object was taken for ours"),
            Ok(PutOutcome::AlreadyThere(found)) => {
                assert_eq!((found.content.as_ref(), found.same), (&b"theirs"[..], false))
            }
            Err(error) => assert!(error.retryable(), "seed {seed}: {error}"),
        }
        assert_eq!(truth(&below, "others").await.unwrap(), "theirs", "seed {seed}: it was overwritten");

        below.put(&"film".into(), content.clone().into()).await.unwrap();
        let whole = root.get_verified("film", content.len() as u64, sha256).await;
        let part = root.get_range("film", 100..900).await;
        let parts = root.get_ranges("film", &[0..10, 990..1_000]).await.map(|parts| parts.concat());
        let expected = [content.clone(), content.slice(100..900), content.slice(0..20)];
        for (got, expected) in [whole, part, parts.map(Bytes::from)].into_iter().zip(expected) {
            match got {
                Ok(got) => {
                    assert_eq!(got, expected, "seed {seed}: wrong bytes");
                    right += 1;
                }
                Err(error) => {
                    assert!(error.retryable(), "seed {seed}: {error}");
                    failed += 1;
                }
            }
        }
        if let Ok(listed) = root.list("").await {
            let there = below.list(None).try_collect::<Vec<_>>().await.unwrap().len();
            assert_eq!(listed.len(), there, "seed {seed}: a listing is not whole");
        }
        for (fault, count) in chaos.struck() {
            *struck.entry(fault).or_default() += count;
        }
    }
    println!("{right} right, {failed} failed, faults: {struck:?}");
    assert!(ChaosFault::ALL.iter().all(|fault| struck.get(fault).is_some_and(|&n| n >= 100)), "{struck:?}");
    assert!(
        failed > 0 && right > failed * 20,
        "{right} right, {failed} failed: the attempts should get most through"
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_faults() {
    let run = async |seed| {
        let UnderChaos { root, chaos, .. } = under_chaos(seed, ChaosRates::each(100));
        let mut ends = Vec::new();
        for i in 0..50 {
            let put =
                root.put_create(&format!("n/{i}"), Bytes::from(vec![0; i]), PutOptions::default()).await;
            ends.push(put.is_ok());
        }
        (ends, chaos.struck())
    };
    assert_eq!(run(7).await, run(7).await);
    assert_ne!(run(7).await.1, run(8).await.1);
}

#[tokio::test(start_paused = true)]
async fn attempts_and_time_are_bounded() {
    let policy = Policy::default();
    for rates in [
        ChaosRates { slow_down: 1_000, ..ChaosRates::default() },
        ChaosRates { stall: 1_000, ..ChaosRates::default() },
    ] {
        let UnderChaos { root, chaos, .. } = under_chaos(1, rates);
        let began = tokio::time::Instant::now();
        let error = root.head("a").await.unwrap_err();
        assert_eq!((error.kind(), error.retryable()), (BlobErrorKind::Unavailable, true));
        assert_eq!(chaos.struck().values().sum::<u64>(), u64::from(policy.attempts));
        let longest_ms = u64::from(policy.attempts) * (policy.stall_ms + policy.longest_pause_ms);
        assert!(began.elapsed().as_millis() <= u128::from(longest_ms), "{:?}", began.elapsed());
        chaos.set_rates(ChaosRates::default());
        assert_eq!(root.head("a").await.unwrap_err().kind(), BlobErrorKind::NotFound);
    }
}

#[tokio::test(start_paused = true)]
async fn a_streamed_source_goes_on_where_a_body_broke_off() {
    let content: Bytes = (0..200_000_u32).map(|i| (i % 241) as u8).collect();
    let mut whole = 0;
    for seed in 0..40 {
        let below: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        below.put(&"film.mp4".into(), content.clone().into()).await.unwrap();
        let chaos =
            ChaosStore::new(below, seed, ChaosRates { truncated: 600, stall: 50, ..ChaosRates::default() });
        let stores = Stores::decorated(Policy::default(), move |_| Arc::new(chaos.clone()));
        let Ok(source) = open_source(&stores, "memory://films/film.mp4").await else {
            continue;
        };
        // every piece handed out is right, also before a failure
        let got = Mutex::new(Vec::new());
        let read = source.stream(1_000..200_000).try_for_each(|piece| {
            got.lock().unwrap().extend_from_slice(&piece);
            std::future::ready(Ok(()))
        });
        let ended = read.await;
        let got = got.into_inner().unwrap();
        assert_eq!(got, content[1_000..1_000 + got.len()], "seed {seed}");
        if ended.is_ok() {
            assert_eq!(got.len(), 199_000, "seed {seed}: it ended early without an error");
            whole += 1;
        }
    }
    assert!(whole >= 35, "only {whole} of 40 came through");
}

#[tokio::test]
async fn what_a_crash_left_is_swept_and_was_never_listed() {
    let directory = tempfile::tempdir().unwrap();
    let root = Stores::new(quick()).open(directory.path().to_str().unwrap()).unwrap();
    for name in ["v/000001.m4s", "v/kept#x"] {
        assert_eq!(
            root.put_create(name, Bytes::from("x"), PutOptions::default()).await.unwrap(),
            PutOutcome::Created
        );
    }
    std::fs::create_dir_all(directory.path().join(".reelmill")).unwrap();
    std::fs::create_dir(directory.path().join("w")).unwrap();
    std::fs::write(directory.path().join("w/000001.m4s#1"), "half").unwrap();
    for left in ["v/000002.m4s#1", "v/000001.m4s#12", "master.m3u8#0", ".reelmill/state", "half.tmp"] {
        std::fs::write(directory.path().join(left), "half").unwrap();
    }
    let names = async || root.list("").await.unwrap().into_iter().map(|e| e.name).collect::<Vec<_>>();
    assert_eq!(names().await, ["v/000001.m4s", "v/kept#x"]);
    // somebody may still be writing them
    assert_eq!(root.sweep(Duration::from_secs(600)).await.unwrap(), 0);
    let of = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    assert_eq!(root.sweep_names(of(&["v/000002.m4s", "v/kept", "w/none", "half.tmp"])).await.unwrap(), 1);
    assert_eq!(root.sweep_names(of(&["w/000001.m4s"])).await.unwrap(), 1);
    assert!(!directory.path().join("w").exists(), "nothing else was in it");
    assert_eq!(root.sweep(Duration::ZERO).await.unwrap(), 2);
    assert_eq!(root.sweep(Duration::ZERO).await.unwrap(), 0);
    assert_eq!(names().await, ["v/000001.m4s", "v/kept#x"]);
    assert!(directory.path().join(".reelmill/state").exists() && directory.path().join("half.tmp").exists());
}

#[tokio::test]
async fn deleting_the_last_object_removes_its_directory_but_not_the_root() {
    let directory = tempfile::tempdir().unwrap();
    let root = Stores::new(quick()).open(directory.path().join("out").to_str().unwrap()).unwrap();
    root.put_replace("a/b/c", Bytes::from("x"), PutOptions::default()).await.unwrap();
    root.delete("a/b/c").await.unwrap();
    assert!(!directory.path().join("out/a").exists());
    assert!(directory.path().join("out").exists());
    root.put_replace("a/b/c", Bytes::from("y"), PutOptions::default()).await.unwrap();
}

#[tokio::test]
async fn a_place_that_cannot_be_written_says_so_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let stores = Stores::new(Policy { first_pause_ms: 60_000, ..Policy::default() });
    let error = stores.open(file.to_str().unwrap()).unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::Invalid, "{error}");
    // a file where a directory is needed: no attempt can cure that, so there is no pause
    let root = stores.open(directory.path().to_str().unwrap()).unwrap();
    let error = root.put_replace("file/below", Bytes::from("x"), PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn how_an_object_is_served_is_kept_where_the_store_can() {
    let stores = Stores::new(quick());
    let root = stores.open("memory://served").unwrap();
    let options = PutOptions { content_type: Some("application/dash+xml"), cache_control: Some("no-cache") };
    root.put_replace("manifest.mpd", Bytes::from("x"), options).await.unwrap();
    let attributes = root.store().get(&"manifest.mpd".into()).await.unwrap().attributes;
    let get = |attribute| attributes.get(&attribute).map(|value| value.to_string());
    assert_eq!(get(object_store::Attribute::ContentType).as_deref(), Some("application/dash+xml"));
    assert_eq!(get(object_store::Attribute::CacheControl).as_deref(), Some("no-cache"));
}

#[tokio::test]
async fn operations_run_in_tasks_of_their_own_and_names_stay_below_the_root() {
    let directory = tempfile::tempdir().unwrap();
    let root = Stores::new(quick()).open(directory.path().to_str().unwrap()).unwrap();
    assert_eq!(root.local_path("a/b"), Some(directory.path().canonicalize().unwrap().join("a/b")));
    assert_eq!(root.local_path("../a"), None);
    let below = root.below("v").unwrap();
    // compiles only while every future is Send
    let task = tokio::spawn(async move {
        assert_eq!(
            below.put_create("a", Bytes::from("abc"), PutOptions::default()).await?,
            PutOutcome::Created
        );
        below.get_verified("a", 3, Sha256::of(b"abc")).await?;
        let parts = below.get_ranges("a", &[0..1, 2..3]).await?;
        let source =
            open_source(&Stores::default(), below.local_path("a").unwrap().to_str().unwrap()).await?;
        let whole: Vec<Bytes> = source.stream(0..3).try_collect().await?;
        Ok::<_, crate::BlobError>((parts.concat(), whole.concat(), below.list("").await?.len()))
    });
    assert_eq!(task.await.unwrap().unwrap(), (b"ac".to_vec(), b"abc".to_vec(), 1));
    assert_eq!(root.list("").await.unwrap()[0].name, "v/a");
}
