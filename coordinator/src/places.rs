//! Where a job's objects lie: its private area below the work root, and its package below the publish root or where the
//! job itself said.
//!
//! Only locations are made here, nothing is read or written. Workers get them as grants and never build one.

use reelmill_blob::{BlobError, Blobs, SignedRequest, Stores};
use reelmill_common::job::JobRequest;
use reelmill_common::keys::{attempt_folder, job_prefix};
use reelmill_common::record::Placement;
use reelmill_common::session::WriteGrant;
use reelmill_common::{AttemptId, JobId, TenantId};
use std::time::Duration;
use url::Url;

/// The roots of this cluster.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    stores: Stores,
    work: Blobs,
    publish: Blobs,
}

/// The two areas of one job.
#[derive(Clone, Debug)]
pub(crate) struct JobPlace {
    /// Index, plan and reports.
    pub(crate) work: Blobs,
    /// The package, and nothing else when it is ours.
    pub(crate) package: Blobs,
    /// The package's directory was named by the submitter: others may keep files there.
    pub(crate) is_shared: bool,
}

impl Places {
    /// Opens both roots.
    pub(crate) fn open(stores: Stores, work: &str, publish: &str) -> Result<Self, BlobError> {
        let (work, publish) = (stores.open(work)?, stores.open(publish)?);
        Ok(Self { stores, work, publish })
    }

    /// The roots, for sweeping at start.
    pub(crate) fn roots(&self) -> [&Blobs; 2] {
        [&self.work, &self.publish]
    }

    /// The right to read the object that a job's source is; `None` where nobody can sign for it.
    pub(crate) async fn sign_source(
        &self,
        url: &str,
        valid_for: Duration,
    ) -> Result<Option<SignedRequest>, BlobError> {
        reelmill_blob::sign_source(&self.stores, url, valid_for).await
    }

    /// The private area of a job.
    pub(crate) fn work_of(&self, tenant: &TenantId, job: &JobId) -> Result<Blobs, BlobError> {
        self.work.below(job_prefix(tenant, job).as_str())
    }

    /// The areas of a job.
    pub(crate) fn of(&self, job: &JobId, request: &JobRequest) -> Result<JobPlace, BlobError> {
        let prefix = job_prefix(&request.tenant, job);
        let work = self.work.below(prefix.as_str())?;
        let (package, is_shared) = match &request.options.output {
            Some(url) => (self.stores.open(url)?, true),
            None => (self.publish.below(prefix.as_str())?, false),
        };
        Ok(JobPlace { work, package, is_shared })
    }
}

impl JobPlace {
    /// What the worker of an attempt is told.
    pub(crate) fn grant(&self, placement: Placement, attempt: AttemptId, signed: bool) -> WriteGrant {
        let work = url_of(&self.work);
        match placement {
            Placement::Direct => WriteGrant { package: url_of(&self.package), work, own: false, signed },
            Placement::Promoted => {
                // names of attempts need no escaping in a URL
                WriteGrant { package: format!("{work}/{}", attempt_folder(attempt)), work, own: true, signed }
            }
        }
    }
}

/// A location as a URL that any process of this machine (or, for a bucket, of the cluster) can open.
pub(crate) fn url_of(blobs: &Blobs) -> String {
    let local = blobs.directory().and_then(|d| Url::from_file_path(d).ok());
    local.map_or_else(|| blobs.root().to_owned(), |url| url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::job::JobOptions;
    use reelmill_common::ladder::LadderChoice;

    const ATTEMPT: AttemptId = AttemptId { term: reelmill_common::FencingTerm(3), sequence: 41 };

    fn request(output: Option<String>) -> JobRequest {
        JobRequest {
            tenant: TenantId::local(),
            source: "file:///film.mp4".to_owned(),
            ladder: LadderChoice::Default,
            options: JobOptions { output, ..JobOptions::default() },
            labels: [].into(),
            priority: 0,
            idempotency_key: None,
        }
    }

    #[test]
    fn a_job_has_a_prefix_of_its_own_unless_it_names_a_place() {
        let stores = Stores::default();
        let places = Places::open(stores, "memory://m/work", "memory://m/publish").unwrap();
        let job = JobId::parse("j1").unwrap();
        let own = places.of(&job, &request(None)).unwrap();
        let grant = own.grant(Placement::Direct, ATTEMPT, false);
        assert_eq!(grant.package, "memory://m/publish/local/j1");
        assert_eq!(
            (grant.work.as_str(), own.is_shared, grant.own),
            ("memory://m/work/local/j1", false, false)
        );
        let named = places.of(&job, &request(Some("memory://m/film".to_owned()))).unwrap();
        let grant = named.grant(Placement::Direct, ATTEMPT, false);
        assert_eq!((grant.package.as_str(), named.is_shared), ("memory://m/film", true));
        for place in [own, named] {
            let WriteGrant { package, work, own, signed } = place.grant(Placement::Promoted, ATTEMPT, true);
            assert!(signed);
            assert_eq!((package.as_str(), own), ("memory://m/work/local/j1/attempts/3-41", true));
            assert_eq!(work, "memory://m/work/local/j1");
        }
    }

    #[test]
    fn local_places_are_file_urls() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("a b");
        let places = Places::open(Stores::default(), root.to_str().unwrap(), root.to_str().unwrap()).unwrap();
        let grant = places.of(&JobId::parse("j").unwrap(), &request(None)).unwrap();
        let grant = grant.grant(Placement::Direct, ATTEMPT, false);
        assert!(
            grant.work.starts_with("file:///") && grant.work.ends_with("/a%20b/local/j"),
            "{}",
            grant.work
        );
    }
}
