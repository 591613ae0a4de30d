//! What a submitted job may read and where it may write: the floor under paths and URLs that clients name.
//!
//! A path is resolved here, once; from then on the resolved location is the job's source. Nothing is opened but to see
//! that it can be read or, for a package's place, that it can be one.

use crate::config::CoordinatorConfig;
use reelmill_blob::{BlobError, BlobErrorKind, Blobs, Stores, proof, resolve_source};
use reelmill_common::job::JobRequest;
use reelmill_common::record::Placement;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// The rules of this process.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    source_root: Option<PathBuf>,
    stores: Vec<String>,
    is_loopback: bool,
    open: Stores,
    /// Where work files and, unless a job names another place, packages go.
    work: Blobs,
    publish: Blobs,
    /// Workers have no credential: what a job names must be in stores that can be signed for, with this validity.
    signed_for: Option<Duration>,
    /// How media is published to each store that was asked.
    proven: Arc<Mutex<BTreeMap<String, Placement>>>,
}

impl Admission {
    /// `open` is where packages' places are opened.
    pub(crate) fn new(config: &CoordinatorConfig, open: Stores, [work, publish]: [&Blobs; 2]) -> Self {
        Self {
            open,
            work: work.clone(),
            publish: publish.clone(),
            signed_for: config.signed_for(),
            proven: Arc::default(),
            source_root: config.source_root.clone(),
            stores: config.stores.clone(),
            is_loopback: config.is_loopback(),
        }
    }

    /// The request with its source resolved, or why it is refused. Looks at the file system: call it where that may
    /// take time.
    pub(crate) fn admit(&self, mut request: JobRequest) -> Result<JobRequest, BlobError> {
        let location = resolve_source(&request.source, self.source_root.as_deref())?;
        match &location.path {
            Some(_) if self.source_root.is_none() && !self.is_loopback => {
                return Err(denied(
                    "path sources are not read by a coordinator that others can reach: start it with --source-root, \
                     or put the film into an object store",
                ));
            }
            Some(_) if self.signed_for.is_some() => {
                return Err(BlobError::new(
                    BlobErrorKind::Invalid,
                    "path sources cannot be signed for: put the film into an object store, or start the coordinator with \
                     --grants ambient",
                ));
            }
            Some(_) => {}
            None => self.known_store(&location.url)?,
        }
        if let Some(output) = &request.options.output {
            self.output(output)?;
        }
        request.source = location.url;
        Ok(request)
    }

    /// A place that nothing can be written to is told now, not when everything is encoded.
    fn output(&self, output: &str) -> Result<(), BlobError> {
        let is_url = output.contains("://");
        if is_url && !output.starts_with("file://") {
            self.known_store(output)?;
        } else if !self.is_loopback {
            return Err(denied(
                "a directory for the package can only be named to a coordinator on loopback: leave it out",
            ));
        } else if !is_url && !Path::new(output).is_absolute() {
            let text =
                format!("the package's directory {output:?} is not an absolute path: begin it with '/'");
            return Err(BlobError::new(BlobErrorKind::Invalid, text));
        }
        self.open.open(output).map(drop)
    }

    /// How the media of a job comes to lie in its package, or why it cannot. Each store is asked once, by doing it.
    pub(crate) async fn placement(&self, request: &JobRequest) -> Result<Placement, BlobError> {
        match &request.options.output {
            Some(output) => self.placement_in(&self.open.open(output)?).await,
            None => self.default_placement().await,
        }
    }

    /// The same of a job that names no place.
    pub(crate) async fn default_placement(&self) -> Result<Placement, BlobError> {
        self.placement_in(&self.publish).await
    }

    /// A directory keeps create-only puts by its file system's links, which the first write tells.
    async fn placement_in(&self, place: &Blobs) -> Result<Placement, BlobError> {
        if place.directory().is_some() && self.signed_for.is_none() {
            return Ok(Placement::Direct);
        }
        let store = store_of(place.root());
        let known = self.proven().get(store).copied();
        let placement = match known {
            Some(placement) => placement,
            None => self.prove(place).await?,
        };
        self.proven().insert(store.to_owned(), placement);
        if placement == Placement::Promoted && !place.is_in_one_store_with(&self.work) {
            let text = format!(
                "cannot publish to {}: this store lets a second writer overwrite, so that packages are copied from the \
                 work files, and those are in another store ({}): keep both in one (--work), or let the server keep \
                 If-None-Match on PUT (S3: AWS_CONDITIONAL_PUT=etag)",
                place.root(),
                self.work.root()
            );
            return Err(BlobError::new(BlobErrorKind::Invalid, text));
        }
        Ok(placement)
    }

    /// By doing it. Reports are written beside the work files, and are signed for, too.
    async fn prove(&self, place: &Blobs) -> Result<Placement, BlobError> {
        let name = || format!("reelmill-proof-{}", Uuid::now_v7());
        let placement = proof::placement(place, &name()).await?;
        if let Some(valid_for) = self.signed_for {
            proof::signs(place, &name(), placement, valid_for).await?;
            proof::signs(&self.work, &name(), Placement::Promoted, valid_for).await?;
        }
        Ok(placement)
    }

    fn proven(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Placement>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_store(&self, url: &str) -> Result<(), BlobError> {
        let is_known = self.stores.iter().any(|prefix| is_below(url, prefix));
        if is_known || (self.stores.is_empty() && self.is_loopback) {
            return Ok(());
        }
        let known =
            if self.stores.is_empty() { "none is configured".to_owned() } else { self.stores.join(", ") };
        Err(denied(&format!("{url} is not in a configured store ({known})")))
    }
}

/// Scheme and bucket of a location.
fn store_of(url: &str) -> &str {
    let bucket = url.find("://").map_or(0, |scheme| scheme + 3);
    url[bucket..].find('/').map_or(url, |end| &url[..bucket + end])
}

/// Is `url` the prefix itself or below it? `s3://films-secret/a` is not below `s3://films`.
fn is_below(url: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    url.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn denied(why: &str) -> BlobError {
    BlobError::new(BlobErrorKind::Permission, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_blob::Policy;
    use reelmill_blob::chaos::{ChaosRates, ChaosStore};
    use reelmill_common::TenantId;
    use reelmill_common::job::JobOptions;
    use reelmill_common::ladder::LadderChoice;

    fn request(source: &str, output: Option<&str>) -> JobRequest {
        JobRequest {
            tenant: TenantId::local(),
            source: source.to_owned(),
            ladder: LadderChoice::Default,
            options: JobOptions { output: output.map(str::to_owned), ..JobOptions::default() },
            labels: [].into(),
            priority: 0,
            idempotency_key: None,
        }
    }

    fn rules(is_loopback: bool, root: Option<PathBuf>, stores: &[&str]) -> Admission {
        let stores = stores.iter().map(|s| (*s).to_owned()).collect();
        let open = Stores::default();
        let (work, publish) =
            (open.open("memory://films/work").unwrap(), open.open("memory://films/publish").unwrap());
        Admission {
            source_root: root,
            stores,
            is_loopback,
            open,
            work,
            publish,
            signed_for: None,
            proven: Arc::default(),
        }
    }

    fn kind(rules: &Admission, source: &str, output: Option<&str>) -> Option<BlobErrorKind> {
        rules.admit(request(source, output)).err().map(|e| e.kind())
    }

    #[test]
    fn paths_are_free_on_loopback_and_need_a_root_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("film.mp4"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(&outside, b"x").unwrap();
        std::fs::write(inside.join("film.mp4"), b"x").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link.mp4")).unwrap();
        let (film, link) = (inside.join("film.mp4"), inside.join("link.mp4"));
        let (film, link) = (film.to_str().unwrap(), link.to_str().unwrap());
        assert_eq!(kind(&rules(true, None, &[]), film, None), None);
        assert_eq!(kind(&rules(false, None, &[]), film, None), Some(BlobErrorKind::Permission));
        let rooted = rules(false, Some(inside.clone()), &[]);
        assert_eq!(kind(&rooted, film, None), None);
        assert_eq!(kind(&rooted, link, None), Some(BlobErrorKind::Permission));
        assert_eq!(kind(&rooted, "/nowhere.mp4", None), Some(BlobErrorKind::NotFound));
        let admitted = rooted.admit(request(film, None)).unwrap();
        assert!(admitted.source.starts_with("file:///"), "{}", admitted.source);
    }

    #[test]
    fn paths_are_refused_where_sources_are_signed_for() {
        let signs = Admission { signed_for: Some(Duration::from_secs(15)), ..rules(true, None, &[]) };
        let film = tempfile::NamedTempFile::new().unwrap();
        let refused = signs.admit(request(film.path().to_str().unwrap(), None)).unwrap_err();
        assert!(refused.to_string().contains("--grants ambient"), "{refused}");
        assert_eq!(kind(&signs, "s3://films/a.mp4", None), None);
    }

    #[test]
    fn object_urls_lie_in_configured_stores() {
        let open = rules(false, None, &["s3://films/in/"]);
        assert_eq!(kind(&open, "s3://films/in/a.mp4", None), None);
        assert_eq!(kind(&open, "s3://films/inside/a.mp4", None), Some(BlobErrorKind::Permission));
        assert_eq!(kind(&open, "s3://other/a.mp4", None), Some(BlobErrorKind::Permission));
        assert_eq!(kind(&open, "http://host/a.mp4", None), Some(BlobErrorKind::Invalid));
        assert_eq!(kind(&rules(true, None, &[]), "s3://films/a.mp4", None), None);
    }

    #[test]
    fn outputs_keep_the_same_rules() {
        let open = rules(false, None, &["s3://films"]);
        assert_eq!(kind(&open, "s3://films/a.mp4", Some("s3://films/out")), None);
        assert_eq!(kind(&open, "s3://films/a.mp4", Some("s3://other/out")), Some(BlobErrorKind::Permission));
        assert_eq!(kind(&open, "s3://films/a.mp4", Some("/var/www")), Some(BlobErrorKind::Permission));
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("package");
        assert_eq!(kind(&rules(true, None, &[]), "s3://films/a.mp4", inside.to_str()), None);
    }

    #[test]
    fn outputs_that_cannot_be_written_to_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, b"x").unwrap();
        let below = file.join("package");
        let local = rules(true, None, &[]);
        let output = |o: &str| kind(&local, "s3://films/a.mp4", Some(o));
        assert!(output(below.to_str().unwrap()).is_some());
        for bad in ["out/film", "", "warp://films/out", "http://host/out"] {
            assert_eq!(output(bad), Some(BlobErrorKind::Invalid), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_store_is_proven_once() {
        let rates = Arc::new(Mutex::new(ChaosRates::default()));
        let chaos = Arc::new(Mutex::new(None::<ChaosStore>));
        let (set, keep) = (Arc::clone(&rates), Arc::clone(&chaos));
        let impatient = Policy { attempts: 1, ..Policy::default() };
        let stores = Stores::decorated(impatient, move |store| {
            let store = ChaosStore::new(store, 1, *set.lock().unwrap());
            *keep.lock().unwrap() = Some(store.clone());
            Arc::new(store)
        });
        let admission = Admission { open: stores, ..rules(true, None, &[]) };
        let prove = async |output| admission.placement(&request("/a.mp4", output)).await;
        assert_eq!(prove(Some("memory://films/a")).await.unwrap(), Placement::Direct);
        // from here on every question fails: a store that is known is not asked
        *rates.lock().unwrap() = ChaosRates { slow_down: 1_000, ..ChaosRates::default() };
        chaos.lock().unwrap().as_ref().unwrap().set_rates(*rates.lock().unwrap());
        prove(Some("memory://films/b")).await.unwrap();
        prove(None).await.unwrap();
        let error = prove(Some("memory://other/a")).await.unwrap_err();
        assert_eq!(error.kind(), BlobErrorKind::Unavailable, "{error}");
    }
}
