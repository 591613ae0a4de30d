//! Watching a job: a snapshot, then every durable change, and progress at most twice a second.
//!
//! Nothing is queued for a watcher but one message: changes it was too slow for are seen as one, by looking at the job
//! again. Resuming by version needs no memory of old changes, because a job's view is absolute.

use crate::driver::DriverHandle;
use crate::status;
use reelmill_common::job::{JobView, Progress};
use reelmill_common::{JobId, TenantId};
use reelmill_proto::jobs::v1 as wire;
use reelmill_proto::jobs::v1::watch_response::Event;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// At most this often.
const PROGRESS: Duration = Duration::from_millis(500);

/// What a watcher receives.
pub(super) type Updates = ReceiverStream<Result<wire::WatchResponse, Status>>;

/// Watches a job for its tenant until it has ended or the watcher has gone.
pub(super) fn updates(
    driver: DriverHandle,
    tenant: TenantId,
    job: JobId,
    after_version: u64,
    permit: OwnedSemaphorePermit,
) -> Updates {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let _permit = permit;
        // subscribed before the first look, so that no change falls in between
        let changes = driver.changes();
        let mut watcher = Watcher { driver, tenant, job, sender, changes, shown: None };
        if let Err(status) = watcher.run(after_version).await {
            // the watcher may have gone
            let _ = watcher.sender.send(Err(status)).await;
        }
    });
    ReceiverStream::new(receiver)
}

struct Watcher {
    driver: DriverHandle,
    tenant: TenantId,
    job: JobId,
    sender: mpsc::Sender<Result<wire::WatchResponse, Status>>,
    changes: Receiver<JobId>,
    shown: Option<(u64, Progress)>,
}

impl Watcher {
    async fn run(&mut self, after_version: u64) -> Result<(), Status> {
        let view = self.look().await?;
        let is_news = view.version > after_version || after_version == 0;
        self.shown = Some((view.version, view.progress));
        let mut is_over = view.state.is_terminal();
        if is_news && !self.send(Event::Snapshot((&view).into())).await {
            return Ok(());
        }
        let sender = self.sender.clone();
        let mut tick = interval(PROGRESS);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !is_over {
            let is_change = tokio::select! {
                changed = self.changed() => changed,
                _ = tick.tick() => false,
                () = sender.closed() => return Ok(()),
            };
            let view = self.look().await?;
            is_over = view.state.is_terminal();
            if !self.show(&view, is_change).await {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits for a change of the job; `false` when changes may have been missed, or there will be no more.
    async fn changed(&mut self) -> bool {
        loop {
            match self.changes.recv().await {
                Ok(job) if job == self.job => return true,
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => return false,
                Err(RecvError::Closed) => return std::future::pending().await,
            }
        }
    }

    async fn look(&self) -> Result<JobView, Status> {
        let view = self.driver.view(self.tenant.clone(), self.job.clone()).await;
        view.map_err(|refusal| status::of_refusal(&refusal, &self.driver.role()))
    }

    /// Sends what is new in a view; `false` when the watcher has gone.
    async fn show(&mut self, view: &JobView, is_change: bool) -> bool {
        let (version, progress) = self.shown.unwrap_or_default();
        self.shown = Some((view.version, view.progress));
        if view.version != version {
            return self.send(Event::Change(view.into())).await;
        }
        // a change of the same version was seen already; progress waits for its turn
        if is_change || view.progress == progress {
            self.shown = Some((version, progress));
            return true;
        }
        self.send(Event::Progress(view.progress.into())).await
    }

    async fn send(&self, event: Event) -> bool {
        self.sender.send(Ok(wire::WatchResponse { event: Some(event) })).await.is_ok()
    }
}
