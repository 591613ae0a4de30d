//! What workers are given to read sources and to write results with: nothing, where they have a credential of the stores
//! themselves, or requests signed here, each for one object and for no longer than a lease.
//!
//! Whether an attempt may have them was decided by the machine, which sees neither URL nor signature. A request to write is
//! for exactly the bytes that its worker named, under a name that the attempt's spec asks for; all else is refused. A
//! source's request is sent with the lease and again with each heartbeat that renews it, so that the right to read ends
//! with the lease.

use super::{Driver, Outbound};
use crate::catalog::{Catalog, storage};
use crate::content;
use crate::places::{JobPlace, url_of};
use reelmill_blob::{BlobError, BlobErrorKind, Blobs, PutOptions, SignedContent, SignedRequest};
use reelmill_common::audit::AuditSpec;
use reelmill_common::check::chunk_files;
use reelmill_common::keys::{attempt_file, media_name, report_key};
use reelmill_common::record::{JobRecord, Placement};
use reelmill_common::session::{NamedFile, ReadGrant, SignedFile, SignedGrant, Termed, ToWorker};
use reelmill_common::spec::{ChunkMedia, WorkItem};
use reelmill_common::{AttemptId, FencingTerm, JobId};
use reelmill_coordinator_core::{GrantOrder, SessionId, TaskError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl Driver {
    /// Tells a worker that it may upload, with requests where they are signed. One that could not be signed now is asked
    /// for again.
    pub(super) fn grant(&self, order: GrantOrder) {
        let Some(outbound) = self.sessions.get(&order.session).cloned() else { return };
        let Some(valid_for) = self.parts.signed_for else {
            return granted(&outbound, &order, true, Vec::new());
        };
        let catalog = Arc::clone(&self.parts.catalog);
        tokio::spawn(async move {
            match uploads(&catalog, &order, valid_for).await {
                Ok(Some(uploads)) => granted(&outbound, &order, true, uploads),
                Ok(None) => {
                    tracing::warn!(job = %order.job, attempt = %order.attempt, "a worker asked for files that are not its attempt's");
                    granted(&outbound, &order, false, Vec::new());
                }
                Err(why) => {
                    tracing::warn!(job = %order.job, attempt = %order.attempt, %why, "an upload could not be granted");
                }
            }
        });
    }

    /// Renews the right to read the sources of what a worker holds, after its heartbeat was acknowledged.
    pub(super) fn renew(&self, session: SessionId, term: FencingTerm) {
        let Some(valid_for) = self.parts.signed_for else { return };
        let Some(outbound) = self.sessions.get(&session).cloned() else { return };
        let reads = self.machine.reads_of(session);
        if reads.is_empty() {
            return;
        }
        let catalog = Arc::clone(&self.parts.catalog);
        tokio::spawn(async move {
            let sources = sources(&catalog, reads, valid_for).await;
            outbound.send(&Termed { term, message: ToWorker::Renewed { sources } });
        });
    }
}

fn granted(outbound: &Outbound, order: &GrantOrder, allowed: bool, uploads: Vec<SignedFile>) {
    let message = ToWorker::Granted { attempt: order.attempt, allowed, uploads };
    outbound.send(&Termed { term: order.term, message });
}

async fn sources(
    catalog: &Catalog,
    reads: Vec<(AttemptId, JobId)>,
    valid_for: Duration,
) -> Vec<(AttemptId, SignedGrant)> {
    let mut sources = Vec::with_capacity(reads.len());
    for (attempt, job) in reads {
        // the attempt of one that has gone needs no source
        let Some(record) = catalog.record(&job) else { continue };
        match source(catalog, &record, valid_for).await {
            Ok(signed) => sources.push((attempt, signed)),
            // its next heartbeat asks again
            Err(error) => tracing::warn!(%job, %attempt, %error, "a source could not be signed for"),
        }
    }
    sources
}

/// The right to read a job's source.
pub(super) async fn source(
    catalog: &Catalog,
    record: &JobRecord,
    valid_for: Duration,
) -> Result<SignedGrant, BlobError> {
    let url = &record.request.source;
    told(catalog.sign_source(url, valid_for).await?, url, valid_for)
}

/// The right to read the one file that an audit is about, where its attempt wrote it.
pub(super) async fn audited(
    place: &JobPlace,
    placement: Placement,
    spec: &AuditSpec,
    signed_for: Option<Duration>,
) -> Result<ReadGrant, BlobError> {
    let (root, name) = match (placement, media_of(spec)) {
        (Placement::Direct, name) => (&place.package, name),
        (Placement::Promoted, name) => (&place.work, attempt_file(spec.attempt, &name)),
    };
    let signed = match signed_for {
        Some(valid_for) => Some(told(root.sign_get(&name, valid_for).await?, root.root(), valid_for)?),
        None => None,
    };
    // names of media need no escaping in a URL. What its size should be is for the auditor to say
    Ok(ReadGrant { url: format!("{}/{name}", url_of(root)), signed, bytes: None, version: None })
}

/// The name of an audit's file in its package.
fn media_of(spec: &AuditSpec) -> String {
    let folder = match &spec.chunk.media {
        ChunkMedia::Video(v) => v.rungs.get(spec.rung as usize).map_or("", |r| r.folder.as_str()),
        ChunkMedia::Audio(a) => &a.folder,
    };
    media_name(folder, spec.segment)
}

/// The requests for the files that a worker has named, or `None` where it named one that is not its attempt's.
async fn uploads(
    catalog: &Catalog,
    order: &GrantOrder,
    valid_for: Duration,
) -> Result<Option<Vec<SignedFile>>, String> {
    let why = |error: TaskError| match error {
        TaskError::Transient { message } => message,
        TaskError::Fatal(reason) => reason.message,
    };
    let item = catalog.item(&order.job, order.spec).await.map_err(why)?;
    let (Some(item), Some(record)) = (item, catalog.record(&order.job)) else {
        return Err("the job has no such work item any more".to_owned());
    };
    let place = catalog.place(&record).map_err(why)?;
    let media: BTreeSet<String> = match &item {
        WorkItem::Encode(spec) => chunk_files(spec).into_iter().collect(),
        WorkItem::Index(_) | WorkItem::Analyse(_) | WorkItem::Audit(_) => BTreeSet::new(),
    };
    if order.files.len() > media.len() + 1 {
        return Ok(None);
    }
    let options = content::of_media(&item);
    let mut uploads = Vec::with_capacity(order.files.len());
    for file in &order.files {
        let Some(target) = target(&media, options, record.placement, order, file) else { return Ok(None) };
        let root = if target.is_public { &place.package } else { &place.work };
        uploads.push(sign(root, &target, file, valid_for).await.map_err(|error| why(storage(error)))?);
    }
    Ok(Some(uploads))
}

/// Where a file of an attempt is written, and how.
#[derive(PartialEq, Eq, Debug)]
struct Target {
    /// In the package, or in the private area.
    is_public: bool,
    name: String,
    /// It must not be there yet: others may write it, too.
    is_new: bool,
    options: PutOptions,
}

/// `None`: the attempt has no such file.
fn target(
    media: &BTreeSet<String>,
    options: PutOptions,
    placement: Placement,
    order: &GrantOrder,
    file: &NamedFile,
) -> Option<Target> {
    if file.name == report_key(order.spec, order.attempt).as_str() {
        let (name, options) = (file.name.clone(), PutOptions::default());
        return Some(Target { is_public: false, name, is_new: false, options });
    }
    media.contains(&file.name).then(|| match placement {
        Placement::Direct => Target { is_public: true, name: file.name.clone(), is_new: true, options },
        Placement::Promoted => {
            let name = attempt_file(order.attempt, &file.name);
            Target { is_public: false, name, is_new: false, options }
        }
    })
}

async fn sign(
    root: &Blobs,
    target: &Target,
    file: &NamedFile,
    valid_for: Duration,
) -> Result<SignedFile, BlobError> {
    let content = SignedContent { sha256: file.sha256, is_new: target.is_new, options: target.options };
    let put = told(root.sign_put(&target.name, &content, valid_for).await?, root.root(), valid_for)?;
    let get = told(root.sign_get(&target.name, valid_for).await?, root.root(), valid_for)?;
    Ok(SignedFile { name: file.name.clone(), put, get })
}

fn told(request: Option<SignedRequest>, place: &str, valid_for: Duration) -> Result<SignedGrant, BlobError> {
    let unsigned = || {
        let message = format!("requests to {place} cannot be signed: start with --grants ambient");
        BlobError::new(BlobErrorKind::Invalid, message)
    };
    Ok(request.ok_or_else(unsigned)?.to_grant(valid_for))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::{Sha256, SpecId};

    const ATTEMPT: AttemptId = AttemptId { term: FencingTerm(3), sequence: 41 };

    fn order() -> GrantOrder {
        let (job, spec) = (JobId::parse("j1").unwrap(), SpecId(Sha256::of(b"chunk")));
        GrantOrder { session: SessionId(1), term: FencingTerm(3), attempt: ATTEMPT, job, spec, files: vec![] }
    }

    fn of(placement: Placement, name: &str) -> Option<(bool, String, bool, Option<&'static str>)> {
        let media = ["720p-0123456789/000007.m4s".to_owned()].into();
        let options = PutOptions { content_type: Some("video/mp4"), cache_control: None };
        let file = NamedFile { name: name.to_owned(), bytes: 1, sha256: Sha256::of(b"a") };
        let target = target(&media, options, placement, &order(), &file)?;
        Some((target.is_public, target.name, target.is_new, target.options.content_type))
    }

    #[test]
    fn media_is_created_in_the_package_or_written_below_its_attempt() {
        let name = "720p-0123456789/000007.m4s";
        assert_eq!(of(Placement::Direct, name), Some((true, name.to_owned(), true, Some("video/mp4"))));
        let own = format!("attempts/3-41/{name}");
        assert_eq!(of(Placement::Promoted, name), Some((false, own, false, Some("video/mp4"))));
    }

    #[test]
    fn nothing_is_signed_but_what_the_attempt_makes() {
        let report = report_key(order().spec, ATTEMPT).to_string();
        let others = report_key(order().spec, AttemptId { sequence: 42, ..ATTEMPT }).to_string();
        let names = ["master.m3u8", "720p-0123456789/000008.m4s", "plan-0001.pb", "../x", "", &others];
        for placement in [Placement::Direct, Placement::Promoted] {
            assert_eq!(of(placement, &report), Some((false, report.clone(), false, None)));
            for name in names {
                assert_eq!(of(placement, name), None, "{name}");
            }
        }
    }
}
