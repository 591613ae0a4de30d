//! Signed requests against a real S3 server: what they let through, and what not.

use crate::open;
use bytes::Bytes;
use reelmill_blob::{
    BlobErrorKind, Blobs, PutOptions, PutOutcome, SignedContent, SignedRequest, SignedRequests, Stores,
    open_signed_source,
};
use reelmill_common::Sha256;
use reelmill_tests::seaweed::Seaweed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(600);
const OPTIONS: PutOptions = PutOptions { content_type: Some("video/mp4"), cache_control: Some("no-cache") };

async fn signed_put(root: &Blobs, name: &str, content: &[u8], is_new: bool) -> SignedRequest {
    let content = SignedContent { sha256: Sha256::of(content), is_new, options: OPTIONS };
    root.sign_put(name, &content, LONG).await.expect("signed").expect("S3 signs")
}

async fn signed_get(root: &Blobs, name: &str, valid_for: Duration) -> SignedRequest {
    root.sign_get(name, valid_for).await.expect("signed").expect("S3 signs")
}

/// Requests, and what was wanted of them.
fn requests() -> (SignedRequests, Arc<Mutex<Vec<String>>>) {
    let wanted = Arc::new(Mutex::new(Vec::new()));
    let names = Arc::clone(&wanted);
    let requests = SignedRequests::new(move |file| names.lock().expect("not poisoned").push(file.name));
    (requests, wanted)
}

#[tokio::test]
async fn a_signed_request_lets_through_what_it_was_signed_for() {
    let server = Seaweed::start().expect("SeaweedFS");
    let bucket = open(&server, "s3://films");
    // a first write makes the bucket
    bucket.put_replace("beside", Bytes::from_static(b"x"), PutOptions::default()).await.expect("written");
    signed_writes_create_what_was_signed_and_nothing_else(&bucket).await;
    a_write_without_a_request_asks_for_one_and_goes_on(&bucket).await;
    a_source_is_read_until_its_request_expires_and_after_it_is_renewed(&bucket).await;
}

async fn signed_writes_create_what_was_signed_and_nothing_else(bucket: &Blobs) {
    let (ours, others) = (Bytes::from(vec![7; 300_000]), Bytes::from(vec![8; 300_000]));
    let name = "720p-0123456789/000001.m4s";
    let put = signed_put(bucket, name, &ours, true).await;
    for wrong in [others.clone(), ours.slice(1..)] {
        let refused = put.send(wrong, LONG).await.expect_err("these bytes were not signed for");
        assert!(!refused.to_string().contains("Signature="), "{refused}");
    }
    assert_eq!(bucket.head(name).await.expect_err("nothing was written").kind(), BlobErrorKind::NotFound);

    let (requests, _) = requests();
    let get = signed_get(bucket, name, LONG).await;
    requests.bring_put(name, &put.to_grant(LONG)).expect("a request");
    requests.bring_get(name, &get.to_grant(LONG)).expect("a request");
    let signed = Stores::default().signed("s3://films", requests).expect("opened");
    let created = signed.put_create(name, ours.clone(), PutOptions::default()).await.expect("written");
    assert_eq!(created, PutOutcome::Created);
    let again = signed.put_create(name, ours.clone(), PutOptions::default()).await.expect("looked at");
    assert!(matches!(again, PutOutcome::AlreadyThere(found) if found.same && found.content == ours));
    let served = bucket.served_as(name).await.expect("looked at");
    assert_eq!(
        (served.content_type.as_deref(), served.cache_control.as_deref()),
        (Some("video/mp4"), Some("no-cache"))
    );
    // what was not signed for new names only writes over what is there
    signed_put(bucket, name, &others, false).await.send(others.clone(), LONG).await.expect("written");
    assert_eq!(bucket.get(name).await.expect("read").0, others);
}

async fn a_write_without_a_request_asks_for_one_and_goes_on(bucket: &Blobs) {
    let (requests, wanted) = requests();
    let signed = Stores::default().signed("s3://films", requests.clone()).expect("opened");
    let content = Bytes::from_static(b"report");
    let bringing = async {
        while wanted.lock().expect("not poisoned").is_empty() {
            tokio::task::yield_now().await;
        }
        let put = signed_put(bucket, "report", &content, false).await;
        requests.bring_put("report", &put.to_grant(LONG)).expect("a request");
    };
    let (written, ()) = tokio::join!(signed.put_replace("report", content.clone(), OPTIONS), bringing);
    written.expect("written");
    assert_eq!(*wanted.lock().expect("not poisoned"), ["report"]);
    assert_eq!(bucket.get("report").await.expect("read").0, content);
}

async fn a_source_is_read_until_its_request_expires_and_after_it_is_renewed(bucket: &Blobs) {
    let film: Bytes = (0..700_000_u32).map(|i| (i % 251) as u8).collect();
    let name = "in/a film.mp4";
    bucket.put_replace(name, film.clone(), PutOptions::default()).await.expect("uploaded");
    let (requests, _) = requests();
    let first = signed_get(bucket, name, LONG).await;
    requests.bring_get(name, &first.to_grant(LONG)).expect("a request");
    let url = "s3://films/in/a%20film.mp4";
    let source = open_signed_source(&Stores::default(), url, requests.clone()).await.expect("opened");
    assert_eq!(source.bytes(), 700_000);
    let version = bucket.head(name).await.expect("looked at").version;
    assert_eq!(source.version(), version.as_deref(), "the same identity as with a credential");
    let ranges = [600_000..700_000, 0..1, 100..5_000];
    for (range, got) in ranges.iter().zip(source.read_ranges(&ranges).await.expect("read")) {
        assert_eq!(got, film[range.start as usize..range.end as usize]);
    }

    // one that the store takes no more, although nobody told the reader
    let short = signed_get(bucket, name, Duration::from_secs(1)).await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while short.send(Bytes::new(), LONG).await.is_ok() {
        assert!(Instant::now() < deadline, "a request outlives its time");
    }
    requests.bring_get(name, &short.to_grant(LONG)).expect("a request");
    let (_, read) = tokio::join!(
        async {
            let renewed = signed_get(bucket, name, LONG).await;
            // not before the reader has met with the refusal or is about to: either way it goes on
            requests.bring_get(name, &renewed.to_grant(LONG)).expect("a request");
        },
        source.read(5..50)
    );
    assert_eq!(read.expect("read"), film[5..50]);

    bucket
        .put_replace(name, Bytes::from_static(b"another film"), PutOptions::default())
        .await
        .expect("replaced");
    assert_eq!(source.read(5..10).await.expect_err("replaced").kind(), BlobErrorKind::Changed);
}
