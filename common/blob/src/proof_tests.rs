//! The proof finds what stores get wrong: each quirk alone, over memory that does everything right.

use crate::proof::{Proof, Verdict, placement, prove};
use crate::quirky::{Quirk, Quirky};
use crate::{BlobErrorKind, Blobs, Policy, Stores};
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use reelmill_common::record::Placement;
use std::sync::Arc;

fn root(quirk: Quirk) -> Blobs {
    let policy = Policy { attempts: 2, first_pause_ms: 1, longest_pause_ms: 1, ..Policy::default() };
    let decorate = move |_| Arc::new(Quirky::new(Arc::new(InMemory::new()), quirk)) as Arc<dyn ObjectStore>;
    Stores::decorated(policy, decorate).open("memory://proof/below").unwrap()
}

/// The checks that did not end well, by name.
fn not_good(proofs: &[Proof]) -> Vec<(&'static str, Verdict)> {
    proofs.iter().filter(|p| p.verdict != Verdict::Good).map(|p| (p.what, p.verdict)).collect()
}

#[tokio::test]
async fn each_quirk_is_found_by_its_check() {
    let unsigned = ("signed", Verdict::Lacking);
    let cases: [(Quirk, &[(&str, Verdict)]); 9] = [
        (Quirk::None, &[unsigned]),
        (Quirk::CreateOverwrites, &[("create-only", Verdict::Lacking), unsigned]),
        (Quirk::CreateRefused, &[("create-only", Verdict::Lacking), unsigned]),
        (Quirk::NoCopies, &[("create-only", Verdict::Bad), unsigned]),
        (Quirk::BareCopies, &[("create-only", Verdict::Bad), unsigned]),
        (Quirk::HeadersDropped, &[("headers", Verdict::Lacking), unsigned]),
        (Quirk::RangeShifted, &[("range", Verdict::Bad), unsigned]),
        (Quirk::ListStale, &[unsigned, ("list", Verdict::Bad)]),
        (Quirk::NoMultipart, &[("multipart", Verdict::Lacking), unsigned]),
    ];
    for (quirk, expected) in cases {
        let root = root(quirk);
        let proofs = prove(&root, "doctor").await;
        assert_eq!(not_good(&proofs), expected, "{quirk:?}: {proofs:?}");
        if quirk != Quirk::ListStale {
            assert_eq!(root.list("").await.unwrap(), [], "{quirk:?}: something was left behind");
        }
    }
}

#[tokio::test]
async fn a_store_that_overwrites_is_published_to_by_copies_or_refused() {
    for quirk in [Quirk::CreateOverwrites, Quirk::CreateRefused] {
        assert_eq!(placement(&root(quirk), "start").await.unwrap(), Placement::Promoted, "{quirk:?}");
        let proofs = prove(&root(quirk), "doctor").await;
        let text = &proofs.iter().find(|p| p.what == "create-only").unwrap().text;
        assert!(text.contains("works, by promotion at publish") && text.contains("--work"), "{text}");
    }
    for quirk in [Quirk::NoCopies, Quirk::BareCopies] {
        let error = placement(&root(quirk), "start").await.unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.contains("memory://proof/below") && text.contains("AWS_CONDITIONAL_PUT"), "{text}");
    }
    assert_eq!(placement(&root(Quirk::HeadersDropped), "start").await.unwrap(), Placement::Direct);
}

#[tokio::test]
async fn a_copy_replaces_and_is_refused_between_two_stores() {
    let stores = Stores::default();
    let (work, publish) =
        (stores.open("memory://m/work").unwrap(), stores.open("memory://m/publish").unwrap());
    let options = crate::PutOptions { content_type: Some("video/mp4"), cache_control: Some("no-cache") };
    work.put_replace("a/1", Bytes::from_static(b"one"), options).await.unwrap();
    publish.put_replace("b/1", Bytes::from_static(b"other"), crate::PutOptions::default()).await.unwrap();
    for _ in 0..2 {
        publish.copy_from("b/1", &work, "a/1", 3).await.unwrap();
        assert_eq!(publish.get("b/1").await.unwrap().0, "one");
        assert_eq!(publish.served_as("b/1").await.unwrap(), work.served_as("a/1").await.unwrap());
    }
    let gone = publish.copy_from("b/2", &work, "a/2", 3).await.unwrap_err();
    assert_eq!(gone.kind(), BlobErrorKind::NotFound);
    let elsewhere = stores.open("memory://other").unwrap();
    let refused = elsewhere.copy_from("b/1", &work, "a/1", 3).await.unwrap_err();
    assert_eq!(refused.kind(), BlobErrorKind::Invalid, "{refused}");
}

#[tokio::test]
async fn a_directory_is_proven_too_and_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let root = Stores::default().open(directory.path().to_str().unwrap()).unwrap();
    root.put_replace("kept", Bytes::from_static(b"x"), crate::PutOptions::default()).await.unwrap();
    let proofs = prove(&root, "doctor").await;
    assert_eq!(not_good(&proofs), [("signed", Verdict::Lacking)], "{proofs:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}
