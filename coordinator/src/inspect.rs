//! Holds what a worker reports against what it was asked for, before the machine hears of it.
//!
//! A report that does not fit becomes a fault on its way. Pure checks live in `reelmill_common::check`; this adds what
//! needs the plan and the stored object: that the object named is the report told.

use crate::catalog::{Catalog, blocking};
use crate::telemetry;
use reelmill_common::audit::{AuditReport, AuditSpec};
use reelmill_common::check::check_report;
use reelmill_common::outcome::{Fault, FaultKind, Outcome, Report, ReportBody};
use reelmill_common::spec::{AnalyseSpec, WorkItem};
use reelmill_common::{JobId, Sha256, SpecId};
use reelmill_coordinator_core::TaskError;
use reelmill_proto::stored::{decode_index, encode_analysis, encode_audit, encode_chunk_report};
use tonic::Status;

/// Checks an outcome in place. An error means that it could not be checked now: the worker keeps the outcome and says
/// it again on its next session.
pub(crate) async fn outcome(
    catalog: &Catalog,
    job: &JobId,
    spec: SpecId,
    outcome: &mut Outcome,
) -> Result<(), Status> {
    let Outcome::Done(report) = &*outcome else { return Ok(()) };
    let item = match catalog.item(job, spec).await {
        Ok(Some(item)) => item,
        // not a spec of this job any more: the machine knows and will say so
        Ok(None) => return Ok(()),
        Err(error) => return Err(not_now(error)),
    };
    let checked = match (&item, &report.body) {
        (WorkItem::Index(_), ReportBody::Index(_)) => index(catalog, job, report).await?,
        (WorkItem::Analyse(spec), ReportBody::Analyse(body, _)) => {
            analysis(spec, body).and_then(|()| same_object(report, &encode_analysis(body)))
        }
        (WorkItem::Encode(spec), ReportBody::Encode(body)) => {
            let checked =
                check_report(spec, body).and_then(|()| same_object(report, &encode_chunk_report(body)));
            if checked.is_ok() {
                telemetry::reported(spec, body);
            }
            checked
        }
        (WorkItem::Audit(spec), ReportBody::Audit(body, _)) => {
            audit(spec, body).and_then(|()| same_object(report, &encode_audit(body)))
        }
        _ => Err(wrong(format!("it was asked for {} work and reported something else", item.kind()))),
    };
    if let Err(fault) = checked {
        tracing::warn!(%job, %spec, message = %fault.message, "a report does not fit its spec");
        *outcome = Outcome::Failed { fault, cost: outcome.cost() };
    }
    Ok(())
}

fn not_now(error: TaskError) -> Status {
    match error {
        TaskError::Transient { message } => Status::unavailable(message),
        TaskError::Fatal(reason) => Status::internal(reason.message),
    }
}

/// An index is too large to travel in the report, so its object is read.
async fn index(catalog: &Catalog, job: &JobId, report: &Report) -> Result<Result<(), Fault>, Status> {
    let Some(record) = catalog.record(job) else { return Ok(Ok(())) };
    let place = catalog.place(&record).map_err(not_now)?;
    match place.work.get_verified(report.key.as_str(), report.bytes, report.sha256).await {
        Ok(bytes) => {
            // that of a long film has a million frames
            let read = blocking(move || Ok(decode_index(&bytes).map(drop))).await.map_err(not_now)?;
            Ok(read.map_err(|e| wrong(format!("its index cannot be read: {e}"))))
        }
        Err(error) if error.retryable() => Err(Status::unavailable(error.to_string())),
        Err(error) => Ok(Err(wrong(format!("its index cannot be read: {error}")))),
    }
}

fn analysis(spec: &AnalyseSpec, body: &reelmill_common::outcome::AnalyseReport) -> Result<(), Fault> {
    let (rungs, downmixes) = (spec.rungs.len(), spec.downmixes.len());
    if (body.avcc.len(), body.peaks.len()) != (rungs, downmixes) || body.avcc.iter().any(Vec::is_empty) {
        return Err(wrong(format!(
            "it was asked for {rungs} decoder configurations and {downmixes} peaks and reported {} and {}",
            body.avcc.len(),
            body.peaks.len()
        )));
    }
    Ok(())
}

/// An auditor has looked at every frame that there should be.
fn audit(spec: &AuditSpec, body: &AuditReport) -> Result<(), Fault> {
    let frames = spec.frames();
    if body.frames != frames {
        return Err(wrong(format!("it was asked to look at {frames} frames and looked at {}", body.frames)));
    }
    Ok(())
}

/// Is the stored object, by size and hash, the report that was told?
fn same_object(report: &Report, stored: &[u8]) -> Result<(), Fault> {
    if report.bytes == stored.len() as u64 && report.sha256 == Sha256::of(stored) {
        return Ok(());
    }
    Err(wrong(format!("the object {} it names is not the report it told", report.key)))
}

fn wrong(what: String) -> Fault {
    Fault {
        kind: FaultKind::Output,
        message: format!("the worker's report is wrong: {what}"),
        detail: String::new(),
    }
}
