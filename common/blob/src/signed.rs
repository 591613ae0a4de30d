//! A store of which its user has no credential, only requests that were signed elsewhere, object by object.
//!
//! [`SignedStore`] performs them and is otherwise a store as any other, so that everything above it (attempts, limits,
//! verified reads, what a create found) is the same as with a credential. A request that is not there yet, has expired or
//! is refused is waited for: whoever brings them is told what is wanted, and the limits above bound the wait. A read is
//! a GET also where only the object's size is asked for, because that is what was signed.
//!
//! URLs are secrets: they appear in no error and no log.

use crate::blobs::Blobs;
use crate::error::BlobError;
use crate::location::Stores;
use crate::sign::SignedRequest;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::signer::Method;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use reelmill_common::Sha256;
use reelmill_common::session::{NamedFile, SignedGrant};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, RANGE};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of an error's body so much is looked at.
const ERROR_BODY: usize = 16 << 10;
const STORE: &str = "signed requests";

/// Told what a write lacks a request for.
type Want = dyn Fn(NamedFile) + Send + Sync;

/// Requests by object name, brought by somebody who has a credential. Clones share them.
#[derive(Clone)]
pub struct SignedRequests {
    held: Arc<Mutex<Held>>,
    /// Counts up with each that is brought.
    brought: watch::Sender<u64>,
    want: Arc<Want>,
}

#[derive(Default)]
struct Held {
    gets: BTreeMap<String, Timed>,
    puts: BTreeMap<String, Timed>,
}

/// A request with its place in the order in which they were brought.
#[derive(Clone)]
struct Timed {
    request: SignedRequest,
    until: Instant,
    number: u64,
}

impl fmt::Debug for SignedRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.held();
        write!(f, "SignedRequests({} to read, {} to write)", held.gets.len(), held.puts.len())
    }
}

impl SignedRequests {
    /// None yet. `want` hears of each write for which there is no request that is valid; it must not wait.
    pub fn new(want: impl Fn(NamedFile) + Send + Sync + 'static) -> Self {
        Self { held: Arc::default(), brought: watch::Sender::new(0), want: Arc::new(want) }
    }

    /// Reads `name` with this request from now on.
    pub fn bring_get(&self, name: &str, grant: &SignedGrant) -> Result<(), BlobError> {
        let timed = self.timed(Method::GET, grant)?;
        self.held().gets.insert(name.to_owned(), timed);
        self.announce();
        Ok(())
    }

    /// Writes `name` with this request from now on.
    pub fn bring_put(&self, name: &str, grant: &SignedGrant) -> Result<(), BlobError> {
        let timed = self.timed(Method::PUT, grant)?;
        self.held().puts.insert(name.to_owned(), timed);
        self.announce();
        Ok(())
    }

    fn timed(&self, method: Method, grant: &SignedGrant) -> Result<Timed, BlobError> {
        let request = SignedRequest::from_grant(method, grant)?;
        // a validity beyond what a clock can say is as good as a day
        let valid_for = Duration::from_millis(grant.valid_ms).min(Duration::from_secs(24 * 3_600));
        Ok(Timed { request, until: Instant::now() + valid_for, number: *self.brought.borrow() + 1 })
    }

    fn announce(&self) {
        self.brought.send_modify(|brought| *brought += 1);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request of `name` that is valid and was brought after number `after`, waited for if need be. `wanted` is told
    /// once per wait.
    async fn get(
        &self,
        of: impl Fn(&Held) -> Option<Timed>,
        after: u64,
        wanted: impl FnOnce(),
    ) -> Result<Timed> {
        let mut brought = self.brought.subscribe();
        let mut wanted = Some(wanted);
        loop {
            brought.mark_unchanged();
            let found = of(&self.held());
            if let Some(found) = found.filter(|t| t.number > after && t.until > Instant::now()) {
                return Ok(found);
            }
            if let Some(wanted) = wanted.take() {
                wanted();
            }
            // the sender lives as long as this value
            brought.changed().await.map_err(|error| generic(error.to_string()))?;
        }
    }
}

impl Stores {
    /// What `requests` give access to, told as `root`. Names are theirs.
    pub fn signed(&self, root: &str, requests: SignedRequests) -> std::result::Result<Blobs, BlobError> {
        let client = match self.performer.get() {
            Some(client) => client.clone(),
            None => {
                let made = client(Duration::from_millis(self.policy().stall_ms))
                    .map_err(|error| BlobError::from_store(error, "open", root))?;
                // of two that are made at the same time one stays
                self.performer.get_or_init(|| made).clone()
            }
        };
        Ok(self.over(Arc::new(SignedStore { requests, client }), root))
    }
}

/// Performs signed requests.
#[derive(Debug)]
struct SignedStore {
    requests: SignedRequests,
    client: Client,
}

impl fmt::Display for SignedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

impl SignedStore {
    /// Performs the request of `at`; a refusal may mean that it expired a little earlier than thought, so the next one
    /// that is brought is tried, too, and no third. That both were refused may be cured by those that come after them:
    /// another try of the operation uses them, and the limits above bound how many there are.
    async fn perform(
        &self,
        at: &Path,
        of: impl Fn(&Held) -> Option<Timed>,
        want: impl Fn(),
        prepare: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        let first = self.requests.get(&of, 0, &want).await?;
        match self.try_once(at, &first.request, &prepare).await {
            Err(Error::PermissionDenied { .. }) => {
                let second = self.requests.get(&of, first.number, &want).await?;
                match self.try_once(at, &second.request, &prepare).await {
                    Err(Error::PermissionDenied { source, .. }) => {
                        Err(generic(format!("the store refuses what was signed ({source})")))
                    }
                    ended => ended,
                }
            }
            ended => ended,
        }
    }

    async fn try_once(
        &self,
        at: &Path,
        signed: &SignedRequest,
        prepare: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response> {
        perform(prepare(request(&self.client, signed)), &signed.method, at.as_ref()).await
    }
}

#[async_trait]
impl ObjectStore for SignedStore {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if matches!(options.mode, PutMode::Update(_)) {
            return Err(unsupported("an update in place"));
        }
        // whether it may overwrite, and how it is served, was decided by who signed
        let content = Bytes::from(payload);
        let name = to.as_ref();
        let of = |held: &Held| held.puts.get(name).cloned();
        let file =
            || NamedFile { name: name.to_owned(), bytes: content.len() as u64, sha256: Sha256::of(&content) };
        let want = || (self.requests.want)(file());
        let answer = self.perform(to, of, want, |request| request.body(content.clone())).await?;
        Ok(PutResult { e_tag: text(&answer, ETAG), version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(unsupported("an upload in parts"))
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        let of = |held: &Held| held.gets.get(from.as_ref()).cloned();
        let prepare = |mut request: RequestBuilder| {
            if options.head {
                request = request.header(RANGE, "bytes=0-0");
            } else if let Some(range) = &options.range {
                request = request.header(RANGE, range.to_string());
            }
            match &options.if_match {
                Some(tag) => request.header(IF_MATCH, tag),
                None => request,
            }
        };
        // those to read are brought without being asked for
        match self.perform(from, of, || {}, prepare).await {
            Ok(answer) => found(from, answer, options.head),
            Err(error) => Err(error),
        }
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(async { Err(unsupported("a deletion")) }).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(async { Err(unsupported("a listing")) }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(unsupported("a listing"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(unsupported("a copy"))
    }
}

/// What an answer to a read says, and its body as it comes.
fn found(at: &Path, answer: Response, head: bool) -> Result<GetResult> {
    let (range, size) = match answer.status() {
        StatusCode::RANGE_NOT_SATISFIABLE => (0..0, 0),
        StatusCode::PARTIAL_CONTENT => {
            let told = text(&answer, CONTENT_RANGE).unwrap_or_default();
            content_range(&told).ok_or_else(|| generic(format!("the range {told:?} was answered")))?
        }
        _ => {
            let length = text(&answer, CONTENT_LENGTH).and_then(|l| l.parse().ok());
            let size = length.ok_or_else(|| generic("no size was answered".to_owned()))?;
            (0..size, size)
        }
    };
    let meta = ObjectMeta {
        location: at.clone(),
        // nothing here looks at it
        last_modified: Default::default(),
        size,
        e_tag: text(&answer, ETAG),
        version: None,
    };
    let body = if head || size == 0 {
        stream::empty().boxed()
    } else {
        let next = |mut answer: Response| async move {
            let piece = answer.chunk().await.map_err(broken)?;
            Ok(piece.map(|piece| (piece, answer)))
        };
        stream::try_unfold(answer, next).boxed()
    };
    let (attributes, extensions) = (Attributes::default(), Default::default());
    Ok(GetResult { payload: GetResultPayload::Stream(body), meta, range, attributes, extensions })
}

/// `bytes 5-9/10` (RFC 9110, 14.4): the range and the size of the whole.
fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then_some((first..last + 1, size))
}

fn text(answer: &Response, name: reqwest::header::HeaderName) -> Option<String> {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// A client for signed requests. It follows nothing: a signature is for one place.
pub(crate) fn client(stall: Duration) -> Result<Client> {
    let builder = Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(stall);
    builder.redirect(reqwest::redirect::Policy::none()).build().map_err(broken)
}

/// The request as it was signed.
pub(crate) fn request(client: &Client, signed: &SignedRequest) -> RequestBuilder {
    let request = client.request(signed.method.clone(), signed.url.clone());
    signed.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

/// Makes it, and turns what is no success into an error by what a caller can do about it.
pub(crate) async fn perform(request: RequestBuilder, method: &Method, path: &str) -> Result<Response> {
    let mut answer = request.send().await.map_err(broken)?;
    let status = answer.status();
    let is_empty = method == Method::GET && status == StatusCode::RANGE_NOT_SATISFIABLE;
    if status.is_success() || (is_empty && is_of_nothing(&answer)) {
        return Ok(answer);
    }
    let mut body = Vec::new();
    while let (true, Ok(Some(piece))) = (body.len() < ERROR_BODY, answer.chunk().await) {
        body.extend_from_slice(&piece);
    }
    Err(refused(status, &code(&String::from_utf8_lossy(&body)), method, path))
}

/// A range of an empty object is never satisfiable.
fn is_of_nothing(answer: &Response) -> bool {
    text(answer, CONTENT_RANGE).is_some_and(|range| range == "bytes */0")
}

/// The code that S3 and its like name in an error's body, or nothing.
fn code(body: &str) -> String {
    let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    code.map_or_else(String::new, |(code, _)| code.chars().take(60).collect())
}

fn refused(status: StatusCode, code: &str, method: &Method, path: &str) -> Error {
    let source = format!("answered with {status} {code}").trim_end().to_owned().into();
    let path = path.to_owned();
    match (status.as_u16(), code) {
        // an expired credential of the signer's, too
        (401 | 403, _) | (400, "ExpiredToken") => Error::PermissionDenied { path, source },
        (404, _) => Error::NotFound { path, source },
        (409 | 412, _) if method == Method::PUT => Error::AlreadyExists { path, source },
        (412, _) => Error::Precondition { path, source },
        (400, "RequestTimeout" | "IncompleteBody") => Error::Generic { store: STORE, source },
        (400 | 405 | 411 | 416 | 501, _) => Error::NotSupported { source },
        (507, _) => {
            let full = std::io::Error::new(std::io::ErrorKind::StorageFull, source);
            Error::Generic { store: STORE, source: full.into() }
        }
        _ => Error::Generic { store: STORE, source },
    }
}

/// The URL is a secret: it stays out of the message.
pub(crate) fn broken(error: reqwest::Error) -> Error {
    Error::Generic { store: STORE, source: error.without_url().into() }
}

fn generic(what: String) -> Error {
    Error::Generic { store: STORE, source: what.into() }
}

fn unsupported(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: STORE.to_owned() }
}
