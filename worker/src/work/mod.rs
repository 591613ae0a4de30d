//! One attempt's work: from a lease to files in scratch and a report, or to a fault.
//!
//! Nothing is uploaded here and nothing is sent; what was made is handed back. What to do is in the lease, how to do
//! it is in `reelmill-worker-core`; here the processes run and the bytes move.

mod analyse;
mod audit;
mod encode;
mod ffmpeg;
mod index;
mod listen;
mod spent;

pub use spent::Spent;

use crate::clock::Clock;
use crate::scratch::AttemptDir;
use crate::source::{SignedSource, Sources};
use crate::tools::Tools;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reelmill_common::Sha256;
use reelmill_common::capability::{Capability, EncoderProof};
use reelmill_common::keys::report_key;
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::outcome::{AttemptCost, Fault, FileReport, Report, ReportBody};
use reelmill_common::session::{Lease, NamedFile};
use reelmill_common::spec::{ChunkMedia, ChunkSpec, WorkItem};
use reelmill_worker_core::sandbox::ResourceLimits;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What all attempts of a worker share.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The programs.
    pub tools: Tools,
    /// The sources.
    pub sources: Sources,
    /// What this worker advertised.
    pub capability: Capability,
    /// A run without progress for this long is killed.
    pub stall_ms: u64,
    /// The worker's clock.
    pub clock: Clock,
}

/// Who does the work of leases: the programs of a [`Shop`], or what stands in for them where only the shells are judged.
pub trait Craft: Send + Sync {
    /// Does what is ordered. Dropping the future ends it.
    fn perform(&self, order: Order) -> BoxFuture<'_, Result<Made, Fault>>;
}

impl Craft for Shop {
    fn perform(&self, order: Order) -> BoxFuture<'_, Result<Made, Fault>> {
        let Order { lease, source, dir, stop, progress, spent } = order;
        Work { shop: self.clone(), lease, source, dir, stop, progress, spent }.perform().boxed()
    }
}

/// One attempt to be worked at.
pub struct Order {
    /// What to do.
    pub lease: Lease,
    /// What its source is read with, if not with a credential of the worker's.
    pub source: Option<SignedSource>,
    /// Its scratch directory.
    pub dir: Arc<AttemptDir>,
    /// Ends it early.
    pub stop: CancellationToken,
    /// Hears how far it is.
    pub progress: Box<Progress>,
    /// What it uses up; read by others while it goes on.
    pub spent: Arc<Spent>,
}

/// Hears how far an attempt is: units done, of how many.
pub type Progress = dyn Fn(u64, u64) + Send + Sync;

impl Made {
    /// The chunk that file `i` belongs to, and what was reported of it.
    pub(crate) fn asked_for(&self, i: usize) -> Option<(&ChunkSpec, &FileReport)> {
        match (&self.item, &self.report.body) {
            (WorkItem::Encode(spec), ReportBody::Encode(report)) => Some((spec, report.files.get(i)?)),
            _ => None,
        }
    }

    /// The report and its object, with `adopted` files of earlier attempts (by their place in the report) named instead
    /// of the ones made.
    pub(crate) fn naming(&self, adopted: Vec<(usize, FileReport)>) -> (Report, Bytes) {
        let ReportBody::Encode(made) = &self.report.body else {
            return (self.report.clone(), self.object.clone());
        };
        if adopted.is_empty() {
            return (self.report.clone(), self.object.clone());
        }
        let mut named = made.clone();
        named.notes.push(format!(
            "{} of {} files were there already, with other bytes that hold what the chunk asks for: they were adopted",
            adopted.len(),
            named.files.len()
        ));
        for (i, file) in adopted {
            named.files[i] = file;
        }
        let object = Bytes::from(reelmill_proto::stored::encode_chunk_report(&named));
        let (sha256, bytes) = (Sha256::of(&object), object.len() as u64);
        (Report { key: self.report.key.clone(), sha256, bytes, body: ReportBody::Encode(named) }, object)
    }
}

/// One attempt at work.
pub struct Work {
    /// What all attempts share.
    pub shop: Shop,
    /// What to do.
    pub lease: Lease,
    /// What its source is read with, if not with a credential of the worker's.
    pub source: Option<SignedSource>,
    /// Its scratch directory.
    pub dir: Arc<AttemptDir>,
    /// Ends it early.
    pub stop: CancellationToken,
    /// Hears how far it is.
    pub progress: Box<Progress>,
    /// What it uses up; read by others while it goes on.
    pub spent: Arc<Spent>,
}

/// What an attempt made: files in scratch, and the report's object.
#[derive(Debug)]
pub struct Made {
    /// What it was asked for.
    pub item: WorkItem,
    /// Package files: name, and where the content lies. In the order of the report's files.
    pub files: Vec<(NamedFile, PathBuf)>,
    /// The report's object.
    pub object: Bytes,
    /// The report that names it.
    pub report: Report,
}

impl Work {
    /// Does the work.
    pub async fn perform(self) -> Result<Made, Fault> {
        let source = self.shop.sources.open(&self.lease.source, self.source.as_ref()).await?;
        self.spent.reads(&source);
        let (body, object, files) = match &self.lease.item {
            WorkItem::Index(spec) => {
                let index = index::index(&self, spec, &source).await?;
                let object = reelmill_proto::stored::encode_index(&index);
                (ReportBody::Index(self.cost()), object, Vec::new())
            }
            WorkItem::Analyse(spec) => {
                let report = analyse::analyse(&self, spec, &source).await?;
                let object = reelmill_proto::stored::encode_analysis(&report);
                (ReportBody::Analyse(report, self.cost()), object, Vec::new())
            }
            WorkItem::Audit(spec) => {
                let report = audit::audit(&self, spec, &source).await?;
                let object = reelmill_proto::stored::encode_audit(&report);
                (ReportBody::Audit(report, self.cost()), object, Vec::new())
            }
            WorkItem::Encode(spec) => {
                let (mut report, files) = match &spec.media {
                    ChunkMedia::Video(chunk) => encode::video(&self, spec.demuxer, chunk, &source).await?,
                    ChunkMedia::Audio(chunk) => encode::audio(&self, spec.demuxer, chunk, &source).await?,
                };
                report.cost = self.cost();
                let object = reelmill_proto::stored::encode_chunk_report(&report);
                (ReportBody::Encode(report), object, files)
            }
        };
        let (key, object) = (report_key(self.lease.spec, self.lease.attempt), Bytes::from(object));
        let report = Report { key, sha256: Sha256::of(&object), bytes: object.len() as u64, body };
        Ok(Made { item: self.lease.item, files, object, report })
    }

    /// What it used up so far.
    fn cost(&self) -> AttemptCost {
        self.spent.so_far(self.shop.clock.now())
    }

    /// What every child of this attempt may use up.
    fn limits(&self) -> ResourceLimits {
        ResourceLimits::for_run(self.shop.capability.memory_mib, self.dir.bytes_left())
    }

    /// The proof this worker advertised for an encoder family.
    fn proof(&self, family: EncoderFamily) -> Option<EncoderProof> {
        self.shop.capability.encoders.iter().find(|e| e.family == family).cloned()
    }
}
