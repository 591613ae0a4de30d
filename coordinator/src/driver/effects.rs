//! Performs the machine's effects in their order.

use super::handle::Caller;
use super::{Driver, Outbound, grants};
use crate::catalog::Catalog;
use crate::tasks::Order;
use crate::telemetry;
use reelmill_common::session::{Lease, ReadGrant, Termed, ToWorker};
use reelmill_common::spec::WorkItem;
use reelmill_coordinator_core::{Effect, LeaseOrder, Task, TaskError};
use std::sync::Arc;
use std::time::Duration;

impl Driver {
    /// Performs effects whose writes are durable.
    pub(super) async fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            // how many acknowledgements there are depends on time, so they would make kill tests count differently
            if matches!(&effect, Effect::Send { message: ToWorker::HeartbeatAck { .. }, .. }) {
                self.perform_one(effect).await;
                continue;
            }
            let number = self.parts.switch.before(name(&effect));
            self.perform_one(effect).await;
            self.parts.switch.after(number);
        }
    }

    async fn perform_one(&mut self, effect: Effect) {
        match effect {
            Effect::Lease(order) => self.lease(*order),
            Effect::Send { session, term, message } => {
                if let ToWorker::Settled { attempt, verdict } = &message {
                    tracing::debug!(session = session.0, %attempt, ?verdict, "settled");
                }
                let renews = matches!(message, ToWorker::HeartbeatAck { .. });
                if let Some(outbound) = self.sessions.get(&session) {
                    outbound.send(&Termed { term, message });
                }
                if renews {
                    self.renew(session, term);
                }
            }
            Effect::Grant(order) => self.grant(*order),
            Effect::CloseSession { session } => {
                if let Some(outbound) = self.sessions.remove(&session) {
                    outbound.close();
                }
            }
            Effect::Reply { token, result } => {
                // a caller that gave up waiting finds the answer when it asks again
                if let Some(Caller::Job(caller)) = self.callers.remove(&token)
                    && caller.send(result).is_ok()
                {
                    return;
                }
                tracing::debug!(token = token.0, "a caller did not wait for its answer");
            }
            Effect::ReplyWorker { token, result } => {
                if let Some(Caller::Worker(caller)) = self.callers.remove(&token) {
                    // as above
                    let _ = caller.send(result);
                }
            }
            Effect::Start(task) => self.start(task),
            Effect::Forget(task) => self.tasks.forget(task),
            Effect::JobChanged(job) => {
                // nobody may be watching
                let _ = self.changes.send(job);
            }
            Effect::Count(count) => telemetry::count(&count),
            Effect::EndTerm => self.end_term().await,
        }
    }

    fn start(&mut self, task: Task) {
        // the catalog's record, because it is as new as the write this task waited for; the machine hears of that write
        // after its effects
        let Some(record) = self.parts.catalog.record(&task.job) else {
            // the machine starts tasks of durable jobs only
            tracing::error!(job = %task.job, task = task.kind.name(), "a task of an unknown job is not started");
            return;
        };
        let reads = task.kind.reads_commits();
        let commits = self.machine.commits(&task.job).filter(|_| reads);
        let faults = self.machine.faults(&task.job).filter(|_| reads);
        let order = Order {
            record: record.as_ref().clone(),
            commits: commits.cloned().collect(),
            faults: faults.cloned().collect(),
            task,
        };
        self.tasks.start(order);
    }

    /// Sends a lease with its content. The plan may have to be read first, so it is done beside the driver; a lease
    /// that cannot be made is one that never arrived, and the machine offers the work again.
    fn lease(&self, order: LeaseOrder) {
        let Some(outbound) = self.sessions.get(&order.session).cloned() else { return };
        let catalog = Arc::clone(&self.parts.catalog);
        let (threads, signed_for) = (self.parts.decoder_threads, self.parts.signed_for);
        tokio::spawn(async move {
            if let Err(why) = send_lease(&catalog, &order, &outbound, threads, signed_for).await {
                tracing::warn!(job = %order.job, attempt = %order.attempt, kind = order.kind.name(), %why, "a lease could not be sent");
            }
        });
    }
}

/// What an effect is, for kill tests.
fn name(effect: &Effect) -> &'static str {
    match effect {
        Effect::Lease(_) => "lease",
        Effect::Send { message, .. } => match message {
            ToWorker::Welcome { .. } => "send_welcome",
            ToWorker::Granted { .. } => "send_granted",
            ToWorker::Settled { .. } => "send_settled",
            ToWorker::HeartbeatAck { .. } => "send_heartbeat_ack",
            ToWorker::Revoke { .. } => "send_revoke",
            ToWorker::Lease(_) => "send_lease",
            ToWorker::Renewed { .. } => "send_renewed",
            ToWorker::Drain { .. } => "send_drain",
        },
        Effect::Grant(_) => "send_granted",
        Effect::CloseSession { .. } => "close_session",
        Effect::Reply { .. } => "reply",
        Effect::ReplyWorker { .. } => "reply_worker",
        Effect::Start(task) => task.kind.name(),
        Effect::Forget(_) => "forget",
        Effect::JobChanged(_) => "job_changed",
        Effect::Count(_) => "count",
        Effect::EndTerm => "end_term",
    }
}

async fn send_lease(
    catalog: &Catalog,
    order: &LeaseOrder,
    outbound: &Outbound,
    decoder_threads: u8,
    signed_for: Option<Duration>,
) -> Result<(), String> {
    let why = |error: TaskError| match error {
        TaskError::Transient { message } => message,
        TaskError::Fatal(reason) => reason.message,
    };
    let item = catalog.item(&order.job, order.spec).await.map_err(why)?;
    let item = item.ok_or_else(|| "the job has no such work item any more".to_owned())?;
    let record = catalog.record(&order.job).ok_or_else(|| "the job is not known any more".to_owned())?;
    let place = catalog.place(&record).map_err(why)?;
    let signed = match signed_for {
        Some(valid_for) => {
            Some(grants::source(catalog, &record, valid_for).await.map_err(|e| e.to_string())?)
        }
        None => None,
    };
    let audited = match &item {
        WorkItem::Audit(spec) => Some(
            grants::audited(&place, record.placement, spec, signed_for).await.map_err(|e| e.to_string())?,
        ),
        WorkItem::Index(_) | WorkItem::Analyse(_) | WorkItem::Encode(_) => None,
    };
    let lease = Lease {
        attempt: order.attempt,
        spec: order.spec,
        job: order.job.clone(),
        item,
        source: ReadGrant { url: record.request.source.clone(), signed, bytes: None, version: None },
        output: place.grant(record.placement, order.attempt, signed_for.is_some()),
        audited,
        decoder_threads,
        alone: order.alone,
    };
    outbound.send(&Termed { term: order.term, message: ToWorker::Lease(Box::new(lease)) });
    let (kind, session) = (order.kind.name(), order.session.0);
    tracing::debug!(job = %order.job, chunk = %order.spec, attempt = %order.attempt, session, kind, "leased");
    Ok(())
}
