//! From a root URL to the store that serves it, with the settings every store is opened with.

use crate::blobs::Blobs;
use crate::error::{BlobError, BlobErrorKind};
use crate::local;
use crate::policy::Policy;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Wraps every store as it is opened: where tests put faults under everything else.
type Decorate = dyn Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + Send + Sync;

/// Opens object stores by URL and keeps one client per bucket, so that opening a location again costs nothing and
/// `memory://` is shared by everybody who opens it through the same value.
///
/// Credentials and endpoints are the ambient ones of each cloud's own variables (`AWS_*`, `GOOGLE_*`, `AZURE_*`); they
/// never are part of a URL.
#[derive(Clone, Default)]
pub struct Stores {
    policy: Policy,
    /// Variables that win over the environment's.
    variables: BTreeMap<String, String>,
    decorate: Option<Arc<Decorate>>,
    clients: Arc<Mutex<BTreeMap<String, Client>>>,
    /// Performs all signed requests.
    pub(crate) performer: Arc<OnceLock<reqwest::Client>>,
}

/// What serves one bucket: the store, and what signs requests to it where its kind can.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) signer: Option<Arc<dyn Signer>>,
}

impl Client {
    /// A store whose requests cannot be signed.
    pub(crate) fn unsigned(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, signer: None }
    }

    /// A store that also signs.
    fn signing<S: ObjectStore + Signer>(store: S) -> Self {
        let store = Arc::new(store);
        Self { store: Arc::clone(&store) as Arc<dyn ObjectStore>, signer: Some(store) }
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Stores {
    /// Opens stores with `policy`.
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Takes `value` for the environment variable `name` of a cloud (`AWS_ENDPOINT`), whatever the environment says.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same, with every store wrapped by `decorate` before it is used.
    pub fn decorated(
        policy: Policy,
        decorate: impl Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + Send + Sync + 'static,
    ) -> Self {
        Self { policy, decorate: Some(Arc::new(decorate)), ..Self::default() }
    }

    /// The location `url` as the root of names. A local directory is created if it is missing.
    pub fn open(&self, url: &str) -> Result<Blobs, BlobError> {
        match Root::parse(url)? {
            Root::Local(directory) => {
                local::create_directory(&directory)?;
                self.open_directory(&directory)
            }
            Root::Bucket { url, bucket, prefix } => {
                let client = self.client(&bucket, || self.bucket_client(&url))?;
                Ok(Blobs::new(client, prefix, url.to_string(), None, self.policy))
            }
        }
    }

    /// A local directory that must be there already.
    pub(crate) fn open_directory(&self, directory: &std::path::Path) -> Result<Blobs, BlobError> {
        let client = Client::unsigned(self.wrap(Arc::new(local::open(directory)?)));
        let shown = directory.display().to_string();
        let root = directory
            .canonicalize()
            .map_err(|error| BlobError::from_io(error, "open the directory", &shown))?;
        Ok(Blobs::new(client, Path::default(), shown, Some(root), self.policy))
    }

    /// A store that somebody else opened, under the same policy.
    pub(crate) fn over(&self, store: Arc<dyn ObjectStore>, root: &str) -> Blobs {
        let client = Client::unsigned(self.wrap(store));
        Blobs::new(client, Path::default(), root.to_owned(), None, self.policy)
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    fn wrap(&self, store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        match &self.decorate {
            Some(decorate) => decorate(store),
            None => store,
        }
    }

    fn client(
        &self,
        bucket: &str,
        open: impl FnOnce() -> Result<Client, BlobError>,
    ) -> Result<Client, BlobError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(bucket) {
            return Ok(client.clone());
        }
        let Client { store, signer } = open()?;
        let client = Client { store: self.wrap(store), signer };
        clients.insert(bucket.to_owned(), client.clone());
        Ok(client)
    }

    /// The client of one bucket, with the settings that every store is opened with.
    fn bucket_client(&self, url: &Url) -> Result<Client, BlobError> {
        // object_store's own retries would be a second layer under ours, and its 30 s limit is for a whole body
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let client = ClientOptions::new()
            .with_timeout_disabled()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_read_timeout(Duration::from_millis(self.policy.stall_ms));
        let at = url.as_str();
        let failed = |error| BlobError::from_store(error, "open", at);
        Ok(match url.scheme() {
            "s3" => {
                let http = self.variable("AWS_ALLOW_HTTP").is_some_and(|v| v == "true" || v == "1");
                let builder = self.configured("AWS_", AmazonS3Builder::from_env(), |b, key, value| {
                    Ok(b.with_config(key.parse()?, value))
                });
                let builder = builder.map_err(failed)?.with_url(at).with_retry(retry);
                let store = builder.with_client_options(client.with_allow_http(http)).build();
                Client::signing(store.map_err(failed)?)
            }
            "gs" => {
                let from_env = GoogleCloudStorageBuilder::from_env();
                let builder = self
                    .configured("GOOGLE_", from_env, |b, key, value| Ok(b.with_config(key.parse()?, value)));
                let builder = builder.map_err(failed)?.with_url(at).with_retry(retry);
                Client::signing(builder.with_client_options(client).build().map_err(failed)?)
            }
            "az" => {
                let from_env = MicrosoftAzureBuilder::from_env();
                let builder = self
                    .configured("AZURE_", from_env, |b, key, value| Ok(b.with_config(key.parse()?, value)));
                let builder = builder.map_err(failed)?.with_url(at).with_retry(retry);
                Client::signing(builder.with_client_options(client).build().map_err(failed)?)
            }
            _ => Client::unsigned(Arc::new(InMemory::new())),
        })
    }

    /// `builder` with those of our own variables that begin with `prefix`.
    fn configured<B>(
        &self,
        prefix: &str,
        builder: B,
        set: impl Fn(B, &str, &str) -> object_store::Result<B>,
    ) -> object_store::Result<B> {
        let ours = self.variables.iter().filter(|(name, _)| name.starts_with(prefix));
        // which of them speak HTTP without TLS is asked apart
        let mut settings = ours.filter(|(name, _)| !name.ends_with("_ALLOW_HTTP"));
        settings.try_fold(builder, |builder, (name, value)| set(builder, &name.to_ascii_lowercase(), value))
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned().or_else(|| std::env::var(name).ok())
    }
}

/// A root URL, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// A directory (or, for a source, a file) of this machine.
    Local(PathBuf),
    /// A prefix in a bucket (or container, or a named memory store).
    Bucket {
        /// The whole URL.
        url: Url,
        /// Scheme and bucket: what one client serves.
        bucket: String,
        /// The prefix in it.
        prefix: Path,
    },
}

impl Root {
    /// A path, or a URL of a known scheme. Everything else is refused with the reason.
    pub(crate) fn parse(text: &str) -> Result<Self, BlobError> {
        let invalid =
            |why: &str| Err(BlobError::new(BlobErrorKind::Invalid, format!("cannot use {text:?}: {why}")));
        if text.is_empty() {
            return invalid("it is empty; give a path or a URL");
        }
        let Some((scheme, _)) = text.split_once("://") else {
            return match std::path::absolute(text) {
                Ok(path) => Ok(Self::Local(path)),
                Err(error) => Err(BlobError::from_io(error, "find", text)),
            };
        };
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return invalid(&format!("it is not a URL ({error})")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return invalid("it carries credentials; set them in the environment");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return invalid(
                "it has a query or fragment; write '?' as %3F and '#' as %23 if they belong to the name",
            );
        }
        match scheme {
            "file" => match url.to_file_path() {
                Ok(path) => Ok(Self::Local(path)),
                Err(()) => invalid("a file URL names no host and an absolute path: file:///films/a.mp4"),
            },
            "s3" | "gs" | "az" | "memory" => {
                let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
                    return invalid("the bucket is missing: s3://bucket/prefix");
                };
                let bucket = format!("{scheme}://{host}");
                match Path::from_url_path(url.path()) {
                    Ok(prefix) => Ok(Self::Bucket { bucket, prefix, url }),
                    Err(error) => invalid(&error.to_string()),
                }
            }
            "http" | "https" => invalid(
                "plain http(s) is not read, because a server could answer each worker differently; \
                 download it or put it in an object store",
            ),
            _ => invalid("the scheme is not known; use a path, file://, s3://, gs:// or az://"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_urls_are_taken_apart() {
        assert_eq!(Root::parse("/films/a b.mp4").unwrap(), Root::Local("/films/a b.mp4".into()));
        assert_eq!(Root::parse("file:///films/a%20b.mp4").unwrap(), Root::Local("/films/a b.mp4".into()));
        let Root::Bucket { bucket, prefix, .. } = Root::parse("s3://films/in/a%20b.mp4").unwrap() else {
            panic!("a bucket");
        };
        assert_eq!((bucket.as_str(), prefix.as_ref()), ("s3://films", "in/a b.mp4"));
    }

    #[test]
    fn what_is_refused_says_why() {
        let cases = [
            ("", "empty"),
            ("http://host/a.mp4", "http(s)"),
            ("https://host/a.mp4", "http(s)"),
            ("ftp://host/a.mp4", "scheme"),
            ("s3:///a.mp4", "bucket"),
            ("s3://key:secret@films/a.mp4", "credentials"),
            ("s3://films/a.mp4?versionId=3", "query"),
            ("file://host/a.mp4", "host"),
        ];
        for (url, why) in cases {
            let error = Root::parse(url).unwrap_err();
            assert_eq!(error.kind(), BlobErrorKind::Invalid, "{url}");
            assert!(error.to_string().contains(why), "{url}: {error}");
        }
    }

    #[test]
    fn a_bucket_has_one_client_and_memory_is_shared() {
        let stores = Stores::default();
        let open = |url| stores.open(url).unwrap();
        assert!(Arc::ptr_eq(open("memory://a/x").store(), open("memory://a/y").store()));
        assert!(!Arc::ptr_eq(open("memory://a").store(), open("memory://b").store()));
    }
}
