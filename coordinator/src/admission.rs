//! What a submitted job may read and where it may write: the floor under paths and URLs that clients name.
//!
//! A path is resolved here, once; from then on the resolved location is the job's source. Nothing is opened but to see
//! that it can be read or, for a package's place, that it can be one.

use crate::config::CoordinatorConfig;
use reelmill_blob::{BlobError, BlobErrorKind, Blobs, Stores, proof, resolve_source};
use reelmill_common::TenantId;
use reelmill_common::job::JobRequest;
use reelmill_common::record::Placement;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use url::Url;
use uuid::Uuid;

/// What a caller may name beyond, or instead of, what this process lets everybody name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    /// It may name what its tenant may, and nothing else.
    pub(crate) is_confined: bool,
    /// URL prefixes of its tenant.
    pub(crate) stores: Vec<String>,
}

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
    pub(crate) fn admit(&self, mut request: JobRequest, bounds: &Bounds) -> Result<JobRequest, BlobError> {
        let root = match (local_path(&request.source), bounds.is_confined) {
            (Some(path), true) => Some(self.root_of(&request.tenant, &path)?),
            _ => self.source_root.clone(),
        };
        let location = resolve_source(&request.source, root.as_deref())?;
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
            None => self.known_store(&location.url, &request.tenant, bounds)?,
        }
        if let Some(output) = &request.options.output {
            self.output(output, &request.tenant, bounds)?;
        }
        request.source = location.url;
        Ok(request)
    }

    /// Where a tenant's films lie. What lies elsewhere is refused before the file system is asked, whose answer would
    /// tell what is there.
    fn root_of(&self, tenant: &TenantId, path: &Path) -> Result<PathBuf, BlobError> {
        let elsewhere =
            || denied("path sources of a tenant lie below --source-root, in a directory of its name");
        let root = self.source_root.as_ref().ok_or_else(elsewhere)?.join(tenant.as_str());
        let goes_up = path.components().any(|c| c == Component::ParentDir);
        if path.starts_with(&root) && !goes_up { Ok(root) } else { Err(elsewhere()) }
    }

    /// A place that nothing can be written to is told now, not when everything is encoded.
    fn output(&self, output: &str, tenant: &TenantId, bounds: &Bounds) -> Result<(), BlobError> {
        let is_url = output.contains("://");
        if is_url && !output.starts_with("file://") {
            // as it will be opened: `s3://films/a/../b` is not below `s3://films/a`
            let url = Url::parse(output).map_or_else(|_| output.to_owned(), |url| url.to_string());
            self.known_store(&url, tenant, bounds)?;
        } else if !self.is_loopback || bounds.is_confined {
            return Err(denied(
                "a directory for the package can only be named by the operator of a coordinator on loopback: leave it out",
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

    /// `url` as it will be opened.
    fn known_store(&self, url: &str, tenant: &TenantId, bounds: &Bounds) -> Result<(), BlobError> {
        let (own, all) = (bounds.stores.as_slice(), self.stores.as_slice());
        let known = match (bounds.is_confined, own.is_empty()) {
            (true, false) => own.to_vec(),
            (true, true) => all.to_vec(),
            (false, _) => [all, own].concat(),
        };
        let is_free = all.is_empty() && self.is_loopback && !bounds.is_confined;
        let is_known = is_free || known.iter().any(|prefix| is_below(url, prefix));
        if is_known && !(bounds.is_confined && self.is_of_others(url, tenant)) {
            return Ok(());
        }
        let known = if known.is_empty() { "none is configured".to_owned() } else { known.join(", ") };
        Err(denied(&format!("{url} is not in a configured store ({known})")))
    }

    /// Do work files lie there, or packages that are not this tenant's?
    fn is_of_others(&self, url: &str, tenant: &TenantId) -> bool {
        let (work, publish) = (self.work.root(), self.publish.root());
        let own = format!("{}/{tenant}", publish.trim_end_matches('/'));
        is_below(url, work) || (is_below(url, publish) && !is_below(url, &own))
    }
}

/// The path that a source names, if it names one.
fn local_path(source: &str) -> Option<PathBuf> {
    match source.split_once("://") {
        None => Some(PathBuf::from(source)),
        Some(("file", _)) => Url::parse(source).ok().and_then(|url| url.to_file_path().ok()),
        Some(_) => None,
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
        let (work, publish) = (open.open("memory://work/w").unwrap(), open.open("memory://vod").unwrap());
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
        rules.admit(request(source, output), &Bounds::default()).err().map(|e| e.kind())
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
        let admitted = rooted.admit(request(film, None), &Bounds::default()).unwrap();
        assert!(admitted.source.starts_with("file:///"), "{}", admitted.source);
    }

    #[test]
    fn paths_are_refused_where_sources_are_signed_for() {
        let signs = Admission { signed_for: Some(Duration::from_secs(15)), ..rules(true, None, &[]) };
        let film = tempfile::NamedTempFile::new().unwrap();
        let refused =
            signs.admit(request(film.path().to_str().unwrap(), None), &Bounds::default()).unwrap_err();
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
    fn an_output_is_looked_at_as_it_will_be_opened() {
        let open = rules(false, None, &["s3://films/in"]);
        for out in ["s3://films/in/../secret", "s3://films/in/%2e%2e/secret", "s3://films/in/a/../../secret"]
        {
            let found = kind(&open, "s3://films/in/a.mp4", Some(out));
            assert_eq!(found, Some(BlobErrorKind::Permission), "{out}");
        }
    }

    /// What a tenant called `studio`, with these stores, is told.
    fn of_tenant(
        rules: &Admission,
        stores: &[&str],
        source: &str,
        output: Option<&str>,
    ) -> Option<BlobErrorKind> {
        let stores = stores.iter().map(|s| (*s).to_owned()).collect();
        let request = JobRequest { tenant: TenantId::parse("studio").unwrap(), ..request(source, output) };
        rules.admit(request, &Bounds { is_confined: true, stores }).err().map(|e| e.kind())
    }

    #[test]
    fn a_tenant_names_what_is_its_own_and_nothing_else() {
        let denied = Some(BlobErrorKind::Permission);
        let rules = rules(true, None, &["s3://films"]);
        let own = &["s3://studio/in/"][..];
        let asks = |source, output| of_tenant(&rules, own, source, output);
        assert_eq!(asks("s3://studio/in/a.mp4", None), None);
        assert_eq!(asks("s3://studio/in/a.mp4", Some("s3://studio/in/out")), None);
        for source in
            ["s3://films/a.mp4", "s3://studio/a.mp4", "s3://studio/in/../a.mp4", "s3://studio/inside/a"]
        {
            assert_eq!(asks(source, None), denied, "{source}");
            assert_eq!(asks("s3://studio/in/a.mp4", Some(source)), denied, "{source}");
        }
        assert_eq!(of_tenant(&rules, &[], "s3://films/a.mp4", None), None, "as everybody, where it has none");
        assert_eq!(of_tenant(&super::tests::rules(true, None, &[]), &[], "s3://films/a.mp4", None), denied);
    }

    #[test]
    fn a_tenant_reaches_neither_work_files_nor_packages_of_others() {
        let denied = Some(BlobErrorKind::Permission);
        let rules = rules(true, None, &["memory://work", "memory://vod"]);
        for source in
            ["memory://work/w/other/j/plan.pb", "memory://vod/other/j/master.m3u8", "memory://vod/a.mp4"]
        {
            assert_eq!(of_tenant(&rules, &[], source, None), denied, "{source}");
            assert_eq!(
                of_tenant(&rules, &["memory://work", "memory://vod"], source, None),
                denied,
                "{source}"
            );
        }
        assert_eq!(of_tenant(&rules, &[], "memory://vod/studio/j/720p/000001.m4s", None), None, "its own");
        assert_eq!(of_tenant(&rules, &[], "memory://work/films/a.mp4", None), None, "beside the work files");
    }

    #[test]
    fn a_tenants_films_lie_in_the_directory_of_its_name_and_no_other_path_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for tenant in ["studio", "other"] {
            std::fs::create_dir(root.join(tenant)).unwrap();
            std::fs::write(root.join(tenant).join("film.mp4"), b"x").unwrap();
        }
        std::os::unix::fs::symlink(root.join("other/film.mp4"), root.join("studio/link.mp4")).unwrap();
        let rooted = rules(true, Some(root.clone()), &[]);
        let at = |path: &str| root.join(path).display().to_string();
        assert_eq!(of_tenant(&rooted, &[], &at("studio/film.mp4"), None), None);
        let url = Url::from_file_path(root.join("other/film.mp4")).unwrap().to_string();
        let denied = Some(BlobErrorKind::Permission);
        // what is there and what is not are refused alike
        for path in [
            at("other/film.mp4"),
            at("other/nowhere.mp4"),
            at("studio/../other/film.mp4"),
            at("studio/link.mp4"),
            "/etc/passwd".to_owned(),
            "/etc/nowhere".to_owned(),
            url,
        ] {
            assert_eq!(of_tenant(&rooted, &[], &path, None), denied, "{path}");
        }
        assert_eq!(of_tenant(&rules(true, None, &[]), &[], &at("studio/film.mp4"), None), denied, "no root");
        let output = at("studio/out");
        let film = at("studio/film.mp4");
        assert_eq!(of_tenant(&rooted, &[], &film, Some(&output)), denied, "packages lie where we say");
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
