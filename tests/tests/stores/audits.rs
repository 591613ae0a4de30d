//! Audits by workers without a credential: what they look at is read with a request that is signed for that one file. A
//! body that comes damaged is read again, and what cannot be read says nothing of who made it.

use crate::grants::Cluster;
use crate::{SHORT, open};
use bytes::Bytes;
use reelmill_blob::{BlobErrorKind, Policy, PutOptions, SignedRequests, Stores, witness};
use reelmill_common::session::SignedGrant;
use reelmill_common::{Secret, Sha256};
use reelmill_tests::seaweed::Seaweed;
use reelmill_tests::store_faults::{FaultyStore, StoreFault};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_signed_file_that_comes_damaged_once_is_read_again_and_the_job_is_published() {
    let directory = tempfile::tempdir().expect("scratch");
    let film = SHORT.make(directory.path()).expect("a film").path;
    let server = Seaweed::start().expect("SeaweedFS");
    let films = open(&server, "s3://films");
    let content = Bytes::from(std::fs::read(&film).expect("read"));
    films.put_replace("in/a film.mp4", content, PutOptions::default()).await.expect("uploaded");
    let bucket = open(&server, "s3://vod");
    bucket.put_replace("beside", Bytes::from_static(b"x"), PutOptions::default()).await.expect("written");

    let upstream = server.variables()[0].1.trim_start_matches("http://").to_owned();
    let faulty = FaultyStore::start("127.0.0.1", &upstream).expect("a proxy");
    // nobody but an auditor reads a segment
    faulty.order_at(".m4s", StoreFault::Damaged, 1);
    let endpoint = format!("http://127.0.0.1:{}", faulty.port);
    let cluster = Cluster {
        server: &server,
        directory: &directory.path().join("cluster"),
        publish: "s3://vod/audited",
        options: &[],
        variables: &[("AWS_ENDPOINT", &endpoint)],
    };
    std::fs::create_dir(cluster.directory).expect("a directory");
    let job = cluster.publishes().expect("published");
    assert_eq!(faulty.end(), 1, "a segment was read, and came damaged");
    let package = open(&server, &format!("s3://vod/audited/local/{job}"));
    let report = package.get("report.json").await.expect("read").0;
    let audit = &serde_json::from_slice::<serde_json::Value>(&report).expect("JSON")["audit"];
    assert!(audit["segments"].as_u64().is_some_and(|n| n > 0), "{audit}");
    assert!(audit["by_another_worker"] == 0 && audit["caught"].is_null(), "{audit}");
    what_is_not_granted_cannot_be_read_and_says_nothing_of_its_maker(&server, &job).await;
}

/// A request for one file opens no other: that is no finding about the other.
async fn what_is_not_granted_cannot_be_read_and_says_nothing_of_its_maker(server: &Seaweed, job: &str) {
    let root = format!("s3://vod/audited/local/{job}");
    let package = open(server, &root);
    let files = package.list("").await.expect("listed");
    let mut segments = files.into_iter().filter(|e| e.name.ends_with(".m4s")).map(|e| e.name);
    let (first, second) = (segments.next().expect("a segment"), segments.next().expect("another"));
    let stores = Stores::new(Policy { attempts: 1, stall_ms: 300, first_pause_ms: 1, ..Policy::default() });
    let signed = package.sign_get(&first, LONG).await.expect("signed").expect("S3 signs").to_grant(LONG);
    let look = async |name: &str, of: &str| {
        let content = package.get(of).await.expect("read").0;
        let requests = SignedRequests::new(|_| {});
        let url = signed.url.reveal().replace(&first, name);
        let grant = SignedGrant { url: Secret::new(url), ..signed.clone() };
        requests.bring_get(&format!("audited/local/{job}/{name}"), &grant).expect("a request");
        let (bytes, sha256) = (content.len() as u64, Sha256::of(&content));
        witness(&stores, &format!("{root}/{name}"), Some(requests), bytes, sha256)
            .await
            .map(|seen| (seen, content))
    };
    let (seen, content) = look(&first, &first).await.expect("it is granted");
    assert_eq!(seen, Ok(content));
    let refused = look(&second, &second).await.expect_err("nobody signed for it");
    assert!(refused.retryable() && refused.kind() == BlobErrorKind::Unavailable, "{refused}");
    assert!(!refused.to_string().contains("Signature="), "{refused}");
}
