//! Signed requests against a server of the test's own that answers as it is told: expiry, refusal, lost answers.

use crate::signed::SignedRequests;
use crate::{BlobErrorKind, Blobs, Policy, PutOptions, PutOutcome, Stores, open_signed_source};
use bytes::Bytes;
use reelmill_common::session::{NamedFile, SignedGrant};
use reelmill_common::{Secret, Sha256};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came: head and body.
type Request = (String, Vec<u8>);

/// Answers each request with what `answer` makes of it, and remembers them.
struct Server {
    address: String,
    seen: Arc<Mutex<Vec<Request>>>,
    _task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(answer: impl Fn(usize, &str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, &kept, &answer).await;
            }
        });
        Self { address, seen, _task: task }
    }

    /// A request to `path`, signed by `signature`, valid for so long.
    fn grant(&self, path: &str, signature: &str, valid_ms: u64) -> SignedGrant {
        let url = Secret::new(format!("http://{}/{path}?X-Amz-Signature={signature}", self.address));
        SignedGrant { url, headers: vec![("x-amz-checksum-sha256".to_owned(), "abc".to_owned())], valid_ms }
    }

    fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &(impl Fn(usize, &str) -> Vec<u8> + Send + Sync),
) {
    let mut all = Vec::new();
    let head = loop {
        if let Some(end) = all.windows(4).position(|w| w == b"\r\n\r\n") {
            break String::from_utf8_lossy(&all[..end]).to_lowercase();
        }
        if stream.read_buf(&mut all).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    let start = head.len() + 4;
    while all.len() < start + length {
        if stream.read_buf(&mut all).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push((head.clone(), all[start..].to_vec()));
        seen.len()
    };
    // who asked may have gone
    let _ = stream.write_all(&answer(number, &head)).await;
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn part(range: std::ops::Range<usize>, of: &[u8]) -> Vec<u8> {
    let headers =
        format!("content-range: bytes {}-{}/{}\r\netag: \"one\"\r\n", range.start, range.end - 1, of.len());
    answer("206 Partial Content", &headers, &of[range])
}

fn impatient() -> Stores {
    Stores::new(Policy { attempts: 2, first_pause_ms: 1, longest_pause_ms: 1, ..Policy::default() })
}

fn writes(wanted: &Arc<Mutex<Vec<NamedFile>>>) -> (SignedRequests, Blobs) {
    let files = Arc::clone(wanted);
    let requests = SignedRequests::new(move |file| files.lock().unwrap().push(file));
    let blobs = impatient().signed("s3://films", requests.clone()).unwrap();
    (requests, blobs)
}

/// Brings `name` a request each time one is wanted, for ever.
async fn bring(requests: SignedRequests, wanted: Arc<Mutex<Vec<NamedFile>>>, name: &str, grant: SignedGrant) {
    let mut brought = 0;
    loop {
        let asked = wanted.lock().unwrap().len();
        if asked > brought {
            brought = asked;
            requests.bring_put(name, &grant).unwrap();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_expired_write_asks_again_and_says_for_what() {
    let server = Server::start(|_, _| answer("200 OK", "", b"")).await;
    let wanted = Arc::default();
    let (requests, blobs) = writes(&wanted);
    requests.bring_put("a/1", &server.grant("a/1", "old", 0)).unwrap();
    let content = Bytes::from_static(b"segment");
    let fresh = bring(requests, Arc::clone(&wanted), "a/1", server.grant("a/1", "fresh", 60_000));
    tokio::select! {
        outcome = blobs.put_create("a/1", content.clone(), PutOptions::default()) => {
            assert_eq!(outcome.unwrap(), PutOutcome::Created);
        }
        () = fresh => {}
    }
    let file = NamedFile { name: "a/1".to_owned(), bytes: 7, sha256: Sha256::of(b"segment") };
    assert_eq!(*wanted.lock().unwrap(), [file]);
    let seen = server.seen();
    assert_eq!((seen.len(), seen[0].1.as_slice()), (1, &b"segment"[..]), "the old one was not tried");
    assert!(seen[0].0.starts_with("put /a/1?x-amz-signature=fresh "), "{}", seen[0].0);
    assert!(seen[0].0.contains("x-amz-checksum-sha256: abc"), "what is under the signature is sent");
}

#[tokio::test]
async fn refusals_are_bounded_and_tell_no_signature() {
    let body = b"<Error><Code>AccessDenied</Code></Error>";
    let server = Server::start(|_, _| answer("403 Forbidden", "", body)).await;
    let wanted = Arc::default();
    let (requests, blobs) = writes(&wanted);
    let again = bring(requests, Arc::clone(&wanted), "a/1", server.grant("a/1", "hush", 60_000));
    let error = tokio::select! {
        written = blobs.put_replace("a/1", Bytes::from_static(b"x"), PutOptions::default()) => written.unwrap_err(),
        () = again => unreachable!("it brings for ever"),
    };
    assert_eq!(error.kind(), BlobErrorKind::Unavailable, "{error}");
    assert!(
        error.to_string().contains("AccessDenied") && !format!("{error:?}").contains("hush"),
        "{error:?}"
    );
    // the first try: one, and its successor; the second: the successor, which is still the newest, and the next
    assert_eq!(server.seen().len(), 4);
}

#[tokio::test]
async fn what_is_there_already_is_read_with_the_other_request() {
    let there = b"theirs";
    let server = Server::start(|_, head| match head.starts_with("put") {
        true => answer("412 Precondition Failed", "", b""),
        false => answer("200 OK", "etag: \"one\"\r\n", there),
    })
    .await;
    let (requests, blobs) = writes(&Arc::default());
    requests.bring_put("a/1", &server.grant("a/1", "put", 60_000)).unwrap();
    requests.bring_get("a/1", &server.grant("a/1", "get", 60_000)).unwrap();
    let outcome = blobs.put_create("a/1", Bytes::from_static(b"ours"), PutOptions::default()).await.unwrap();
    let PutOutcome::AlreadyThere(found) = outcome else { panic!("something is there") };
    assert_eq!((found.content.as_ref(), found.same), (&there[..], false));
}

#[tokio::test]
async fn a_source_goes_on_with_the_request_that_comes_after_a_refusal() {
    let film: Vec<u8> = (0..10_000_u32).map(|i| (i % 251) as u8).collect();
    let served = film.clone();
    let server = Server::start(move |number, head| match (number, head) {
        (_, head) if head.contains("range: bytes=0-0") => part(0..1, &served),
        (_, head) if head.contains("signature=old") => {
            answer("400 Bad Request", "", b"<Error><Code>ExpiredToken</Code></Error>")
        }
        // breaks off once
        (3, _) => {
            let whole = part(100..200, &served);
            whole[..whole.len() - 5].to_vec()
        }
        _ => part(100..200, &served),
    })
    .await;
    let requests = SignedRequests::new(|_| {});
    requests.bring_get("in/a.mp4", &server.grant("in/a.mp4", "old", 60_000)).unwrap();
    let source = open_signed_source(&impatient(), "s3://films/in/a.mp4", requests.clone()).await.unwrap();
    assert_eq!((source.bytes(), source.version()), (10_000, Some("\"one\"")));
    let refused = async {
        while server.seen().len() < 2 {
            tokio::task::yield_now().await;
        }
        requests.bring_get("in/a.mp4", &server.grant("in/a.mp4", "new", 60_000)).unwrap();
    };
    let (read, ()) = tokio::join!(source.read(100..200), refused);
    assert_eq!(read.unwrap(), film[100..200]);
    let last = server.seen().pop().unwrap().0;
    assert!(last.contains("range: bytes=100-199") && last.contains("if-match: \"one\""), "{last}");
}

#[tokio::test]
async fn a_signature_is_for_one_place_and_an_empty_object_is_one() {
    let elsewhere = Server::start(|_, _| answer("200 OK", "", b"not the film")).await;
    let location = format!("location: http://{}/in/b.mp4\r\n", elsewhere.address);
    let server = Server::start(move |_, head| match head.contains("/in/a.mp4") {
        true => answer("307 Temporary Redirect", &location, b""),
        false => answer("416 Range Not Satisfiable", "content-range: bytes */0\r\n", b""),
    })
    .await;
    let requests = SignedRequests::new(|_| {});
    for name in ["in/a.mp4", "in/empty"] {
        requests.bring_get(name, &server.grant(name, "hush", 60_000)).unwrap();
    }
    let moved = open_signed_source(&impatient(), "s3://films/in/a.mp4", requests.clone()).await.unwrap_err();
    assert!(moved.to_string().contains("307"), "{moved}");
    assert_eq!(elsewhere.seen().len(), 0);
    let empty = open_signed_source(&impatient(), "s3://films/in/empty", requests).await.unwrap();
    assert_eq!(empty.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_comes_is_not_waited_for_for_ever() {
    let wanted = Arc::default();
    let (_requests, blobs) = writes(&wanted);
    let error = blobs.put_replace("a/1", Bytes::from_static(b"x"), PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), BlobErrorKind::Unavailable, "{error}");
    assert_eq!(wanted.lock().unwrap().len(), 2, "each try asks");
}
