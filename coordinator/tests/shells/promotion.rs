//! Packages in a store where a second writer overwrites: attempts write below names of their own, and what was committed
//! is copied to its final names, by whoever leads and as often as it takes.

use crate::cluster::{Cluster, PATIENCE, World};
use crate::fake_worker::Manner;
use reelmill_blob::chaos::{ChaosRates, ChaosStore};
use reelmill_blob::quirky::{Quirk, Quirky};
use reelmill_blob::{Blobs, Policy, Stores};
use reelmill_common::job::{JobState, JobView};
use reelmill_common::keys::{ATTEMPTS, media_name, parse_attempt_file};
use reelmill_common::outcome::FaultKind;
use reelmill_common::spec::ChunkMedia;
use reelmill_common::{AttemptId, Sha256};
use reelmill_coordinator::state::memory::MemoryState;
use reelmill_coordinator::{Components, start_on};
use reelmill_proto::jobs::v1 as wire;
use reelmill_proto::stored::{decode_chunk_report, decode_commits, decode_plan};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// A world whose one bucket has a quirk, and a handle on it.
fn quirky(quirk: Quirk) -> (World, Arc<OnceLock<Quirky>>) {
    let handle = Arc::new(OnceLock::new());
    let kept = Arc::clone(&handle);
    let stores = Stores::decorated(Policy::default(), move |store| {
        Arc::new(kept.get_or_init(|| Quirky::new(store, quirk)).clone())
    });
    (World::over(stores), handle)
}

async fn files(root: &Blobs) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in root.list("").await.expect("listed") {
        files.insert(entry.name.clone(), root.get(&entry.name).await.expect("read").0.to_vec());
    }
    files
}

fn package(world: &World, job: &JobView) -> Blobs {
    world.fleet.stores.open(job.package.as_deref().expect("published")).expect("it opens")
}

fn work(world: &World, id: &str) -> Blobs {
    world.fleet.stores.open(&format!("memory://reelmill/work/local/{id}")).expect("it opens")
}

/// Until it holds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Every media file of a published job by name, with the attempt whose commit names it, and its content's hash.
async fn committed(world: &World, id: &str) -> BTreeMap<String, (AttemptId, Sha256)> {
    let work = work(world, id);
    let names: Vec<String> = work.list("").await.expect("listed").into_iter().map(|e| e.name).collect();
    let plan = names.iter().find(|n| n.starts_with("plan-")).expect("a plan");
    let plan = decode_plan(&work.get(plan).await.expect("read").0).expect("a plan");
    let commits = decode_commits(&work.get("commits.pb").await.expect("read").0).expect("commits");
    let mut named = BTreeMap::new();
    for (chunk, commit) in plan.chunks.iter().zip(&commits) {
        let stored = work.get(commit.report.key.as_str()).await.expect("read").0;
        for file in decode_chunk_report(&stored).expect("a report").files {
            let folder = match &chunk.spec.media {
                ChunkMedia::Video(v) => &v.rungs[file.rung as usize].folder,
                ChunkMedia::Audio(a) => &a.folder,
            };
            named.insert(media_name(folder, file.segment), (commit.attempt, file.sha256));
        }
    }
    named
}

/// Every media file of a published job is what its commit names; how many there are.
async fn is_what_was_committed(world: &World, id: &str, ended: &JobView) -> usize {
    let (named, there) = (committed(world, id).await, files(&package(world, ended)).await);
    for (name, (_, sha256)) in &named {
        assert_eq!(Sha256::of(&there[name]), *sha256, "{name}");
    }
    named.len()
}

/// A job whose leader has three copies under way that the store does not end.
async fn held_in_its_promotion(world: &World, store: &OnceLock<Quirky>) -> (Cluster, Quirky, String) {
    let leader = world.start().await;
    let store = store.get().expect("proved at the start").clone();
    store.hold(3);
    let id = leader.submit(world.request("")).await.expect("submitted").0.id.to_string();
    leader.worker("w1", Manner::Stamps);
    until("three copies are on their way", || store.held() == 3).await;
    (leader, store, id)
}

async fn published(cluster: &Cluster, id: &str) -> JobView {
    let ended = cluster.ended(id).await;
    assert_eq!(ended.state, JobState::Published, "{ended:?}");
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_attempts_with_other_bytes_the_committed_one_is_published() {
    for quirk in [Quirk::CreateOverwrites, Quirk::CreateRefused] {
        let (world, store) = quirky(quirk);
        let cluster = world.start().await;
        let id = cluster.submit(world.request("")).await.unwrap().0.id.to_string();
        // uploads a chunk and is never heard of again; its next start tells so
        world.fleet.work(cluster.grpc(), None, "w1", Manner::Vanishes).await.unwrap();
        let (lost, late) = world.fleet.vanished.lock().unwrap().take().expect("it had uploaded a chunk");
        cluster.worker("w1", Manner::Stamps);
        let ended = published(&cluster, &id).await;

        let (named, package) = (committed(&world, &id).await, package(&world, &ended));
        assert!(late.keys().all(|name| named.contains_key(name)), "the same chunk was made twice");
        for (name, (attempt, sha256)) in &named {
            let (content, _) = package.get(name).await.unwrap();
            assert_ne!(*attempt, lost);
            assert_eq!(Sha256::of(&content), *sha256, "{quirk:?}: {name}");
            assert!(content.ends_with(attempt.to_string().as_bytes()), "{name}");
            let served = package.served_as(name).await.unwrap();
            assert_eq!(
                (served.content_type.as_deref(), served.cache_control.as_deref()),
                (Some("video/mp4"), Some("immutable"))
            );
        }
        assert_eq!(
            store.get().unwrap().copies() as usize,
            named.len() + 2,
            "each once, and two of the proof"
        );
        assert_eq!(
            work(&world, &id).list(ATTEMPTS).await.unwrap(),
            [],
            "{quirk:?}: attempts' files are left"
        );

        // an upload that was allowed long ago lands at last: it changes nothing that plays, and goes with the job
        let before = files(&package).await;
        let work = work(&world, &id);
        for (name, content) in late {
            let key = reelmill_common::keys::attempt_file(lost, &name);
            assert_eq!(parse_attempt_file(&key), Some((lost, name.as_str())));
            work.put_replace(&key, content.into(), crate::fake_worker::MEDIA).await.unwrap();
        }
        assert_eq!(files(&package).await, before);
        if quirk == Quirk::CreateRefused {
            cluster.delete(&id).await;
            assert_eq!((work.list("").await.unwrap(), package.list("").await.unwrap()), (vec![], vec![]));
        }
        cluster.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_deposed_while_it_promotes_does_no_harm() {
    let (world, store) = quirky(Quirk::CreateRefused);
    let (first, store, id) = held_in_its_promotion(&world, &store).await;
    let second = world.start_any(world.config()).await;
    first.stop().await.unwrap();
    // whatever this one would find out about the store: how the job is published is in its record
    store.set(Quirk::None);
    second.leads().await;
    let ended = published(&second, &id).await;
    is_what_was_committed(&world, &id, &ended).await;
    let package = package(&world, &ended);
    store.release();
    let copies = store.copies();
    second.delete(&id).await;
    assert_eq!(store.copies(), copies, "nothing is copied any more");
    assert_eq!((files(&package).await.len(), files(&work(&world, &id)).await.len()), (0, 0));
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_land_late_write_what_is_there() {
    let (world, store) = quirky(Quirk::CreateOverwrites);
    let (first, store, id) = held_in_its_promotion(&world, &store).await;
    let second = world.start_any(world.config()).await;
    // those of the second leader are held, too: nothing is removed before all of them are done
    store.hold(3);
    first.stop().await.unwrap();
    second.leads().await;
    until("the second leader promotes", || store.held() == 3).await;
    store.release();
    let ended = published(&second, &id).await;
    is_what_was_committed(&world, &id, &ended).await;
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn promotion_gets_through_a_store_that_fails() {
    let handle = Arc::new(OnceLock::new());
    let kept = Arc::clone(&handle);
    let policy = Policy { first_pause_ms: 1, longest_pause_ms: 4, ..Policy::default() };
    let stores = Stores::decorated(policy, move |store| {
        let quirky = Arc::new(Quirky::new(store, Quirk::CreateRefused));
        Arc::new(kept.get_or_init(|| ChaosStore::new(quirky, 7, ChaosRates::default())).clone())
    });
    let world = World::over(stores);
    let cluster = world.start().await;
    let chaos: ChaosStore = handle.get().expect("proved at the start").clone();
    chaos.set_rates(ChaosRates { error_before: 60, error_after: 60, truncated: 30, stall: 0, slow_down: 60 });
    let id = cluster.submit(world.request("")).await.unwrap().0.id.to_string();
    cluster.worker("w1", Manner::Stamps);
    let ended = published(&cluster, &id).await;
    chaos.set_rates(ChaosRates::default());
    assert!(is_what_was_committed(&world, &id, &ended).await > 0);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_a_named_place_is_never_overwritten() {
    let (world, store) = quirky(Quirk::CreateOverwrites);
    let cluster = world.start().await;
    let request = || wire::JobRequest {
        options: Some(wire::JobOptions {
            output: Some("memory://reelmill/out".to_owned()),
            ..Default::default()
        }),
        ..world.request("")
    };
    let out = world.fleet.stores.open("memory://reelmill/out").unwrap();
    cluster.worker("w1", Manner::Good);
    let first = cluster.submit(request()).await.unwrap().0.id.to_string();
    published(&cluster, &first).await;
    let copies = store.get().unwrap().copies();
    // the same bytes are as good
    let second = cluster.submit(request()).await.unwrap().0.id.to_string();
    published(&cluster, &second).await;
    assert_eq!(store.get().unwrap().copies(), copies, "nothing was copied over what is there");
    cluster.stop().await.unwrap();

    let cluster = world.start().await;
    let before = files(&out).await;
    cluster.worker("w2", Manner::Stamps);
    let third = cluster.submit(request()).await.unwrap().0.id.to_string();
    let JobState::Failed(reason) = cluster.ended(&third).await.state else { panic!("other bytes lie there") };
    assert_eq!(reason.kind, FaultKind::Storage);
    assert!(
        reason.message.contains("memory://reelmill/out/") && reason.message.contains("never overwritten"),
        "{reason:?}"
    );
    assert!(files(&out).await == before);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn work_files_in_another_store_are_refused_by_name() {
    let (world, _) = quirky(Quirk::CreateOverwrites);
    let mut config = world.config();
    config.work = Some("memory://elsewhere/work".to_owned());
    let state = Arc::new(MemoryState::new());
    let stores =
        Stores::decorated(Policy::default(), |store| Arc::new(Quirky::new(store, Quirk::CreateOverwrites)));
    let components = Components { stores, store: state.clone(), leadership: state };
    let refused = start_on(config, components, CancellationToken::new()).await.expect_err("refused");
    let text = refused.to_string();
    for word in ["memory://reelmill/publish", "memory://elsewhere/work", "--work", "AWS_CONDITIONAL_PUT"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}
