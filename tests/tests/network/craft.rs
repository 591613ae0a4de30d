//! What stands in for ffmpeg: it reads the source through the worker's own shell, takes its time, fails now and then, and
//! leaves files that are a function of what was asked for.

use crate::film::{self, COST};
use crate::scenario::source_of;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reelmill_common::audit::AuditReport;
use reelmill_common::keys::report_key;
use reelmill_common::outcome::{Fault, FaultKind, Report, ReportBody};
use reelmill_common::session::NamedFile;
use reelmill_common::spec::WorkItem;
use reelmill_common::{Sha256, SpecId};
use reelmill_proto::stored::{encode_analysis, encode_audit, encode_chunk_report, encode_index};
use reelmill_tests::sim::rng::Rng;
use reelmill_worker::source::Sources;
use reelmill_worker::work::{Craft, Made, Order};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How the work of all workers goes.
#[derive(Debug)]
pub(crate) struct Labour {
    rng: Rng,
    /// Of a thousand specs, how many fail at their first attempt.
    pub(crate) faults: u64,
    failed: BTreeSet<SpecId>,
}

/// One worker's craft.
#[derive(Clone)]
pub(crate) struct Encoder {
    pub(crate) sources: Sources,
    pub(crate) labour: Arc<Mutex<Labour>>,
}

impl Labour {
    pub(crate) fn new(rng: Rng, faults: u64) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { rng, faults, failed: BTreeSet::new() }))
    }

    /// How long a step of it takes, and whether it fails in the end. A spec fails once: its budget is not the matter
    /// here.
    fn roll(&mut self, spec: SpecId) -> (Duration, bool) {
        let step = Duration::from_millis(self.rng.range(20, 1_500));
        let fails = self.rng.chance(self.faults) && self.failed.insert(spec);
        (step, fails)
    }
}

fn fault(kind: FaultKind, message: impl Into<String>) -> Fault {
    Fault { kind, message: message.into(), detail: String::new() }
}

impl Craft for Encoder {
    fn perform(&self, order: Order) -> BoxFuture<'_, Result<Made, Fault>> {
        self.clone().work(order).boxed()
    }
}

impl Encoder {
    async fn work(self, order: Order) -> Result<Made, Fault> {
        let source = self.sources.open(&order.lease.source, order.source.as_ref()).await?;
        let all = 0..source.reader().bytes();
        let read = source.reader().read(all).await.map_err(|e| fault(FaultKind::Storage, e.to_string()))?;
        assert_eq!(read, source_of(&order.lease.source.url), "the source shell gave other bytes");
        let (step, fails) = self.labour.lock().unwrap_or_else(PoisonError::into_inner).roll(order.lease.spec);
        for done in 1..=4 {
            tokio::select! {
                () = tokio::time::sleep(step) => (order.progress)(done, 4),
                () = order.stop.cancelled() => return Err(fault(FaultKind::Abandoned, "stopped")),
            }
        }
        source.still_good().await?;
        if fails {
            return Err(fault(FaultKind::Encoder, "it failed, as it was told to"));
        }
        make(&order)
    }
}

fn make(order: &Order) -> Result<Made, Fault> {
    let lease = &order.lease;
    let mut files = Vec::new();
    let (body, object) = match &lease.item {
        WorkItem::Index(spec) => (ReportBody::Index(COST), encode_index(&film::index(&spec.location))),
        WorkItem::Analyse(spec) => {
            let report = film::analysis(spec);
            let object = encode_analysis(&report);
            (ReportBody::Analyse(report, COST), object)
        }
        WorkItem::Audit(spec) => {
            let report = AuditReport { frames: spec.frames(), worst_x100: 0 };
            (ReportBody::Audit(report, COST), encode_audit(&report))
        }
        WorkItem::Encode(spec) => {
            let (made, report) = film::encode(spec);
            for (name, content) in made {
                let path = order.dir.write(&format!("package/{name}"), &content)?;
                let (bytes, sha256) = (content.len() as u64, Sha256::of(&content));
                files.push((NamedFile { name, bytes, sha256 }, path));
            }
            let object = encode_chunk_report(&report);
            (ReportBody::Encode(report), object)
        }
    };
    let (key, object) = (report_key(lease.spec, lease.attempt), Bytes::from(object));
    let report = Report { key, sha256: Sha256::of(&object), bytes: object.len() as u64, body };
    Ok(Made { item: lease.item.clone(), files, object, report })
}
