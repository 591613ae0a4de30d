//! Watching a job: a snapshot, then every durable change, and progress at most twice a second.
//!
//! Nothing is queued for a watcher but one message: changes it was too slow for are seen as one, by looking at the job
//! again. A chunk more is progress, although it is durable, and waits for its turn. Resuming by version needs no memory
//! of old changes, because a job's view is absolute.

use crate::access::{Guard, Place, Principal};
use crate::archive;
use crate::catalog::Catalog;
use crate::driver::DriverHandle;
use reelmill_common::job::{JobView, Progress};
use reelmill_common::{JobId, TenantId};
use reelmill_proto::jobs::v1 as wire;
use reelmill_proto::jobs::v1::watch_response::Event;
use std::sync::Arc;
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

/// Who watches, for as long as he may.
pub(super) struct Watcher {
    pub(super) principal: Principal,
    pub(super) guard: Guard,
}

/// Watches a job for its tenant until it has ended, or the watcher has gone or may not watch any more.
pub(super) fn updates(
    jobs: (DriverHandle, Arc<Catalog>),
    watcher: Watcher,
    job: JobId,
    after_version: u64,
    places: (OwnedSemaphorePermit, Place),
) -> Updates {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let _places = places;
        let Watcher { principal, guard } = watcher;
        let ended = tokio::select! {
            ended = watch(jobs, principal.tenant.clone(), job, after_version, &sender) => ended,
            withdrawn = guard.ended(&principal) => Err(withdrawn),
        };
        if let Err(status) = ended {
            // the watcher may have gone
            let _ = sender.send(Err(status)).await;
        }
    });
    ReceiverStream::new(receiver)
}

type Sender = mpsc::Sender<Result<wire::WatchResponse, Status>>;

async fn watch(
    (driver, catalog): (DriverHandle, Arc<Catalog>),
    tenant: TenantId,
    job: JobId,
    after_version: u64,
    sender: &Sender,
) -> Result<(), Status> {
    // subscribed before the first look, so that no change falls in between
    let mut changes = driver.changes();
    let look = async || archive::view(&driver, &catalog, &tenant, &job).await;
    let mut shown = look().await?;
    let is_news = shown.version > after_version || after_version == 0;
    if is_news && !send(sender, Event::Snapshot((&shown).into())).await {
        return Ok(());
    }
    let mut tick = interval(PROGRESS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shown.state.is_terminal() {
        let is_turn = tokio::select! {
            () = changed(&mut changes, &job) => false,
            _ = tick.tick() => true,
            () = sender.closed() => return Ok(()),
        };
        let view = look().await?;
        if let Some(event) = news(&shown, &view, is_turn) {
            if !send(sender, event).await {
                return Ok(());
            }
            shown = view;
        }
    }
    Ok(())
}

/// Waits until the job may have changed.
async fn changed(changes: &mut Receiver<JobId>, job: &JobId) {
    loop {
        match changes.recv().await {
            Ok(changed) if changed == *job => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// What a watcher is told of `view` after having been shown `shown`; progress only when it is its turn.
fn news(shown: &JobView, view: &JobView, is_turn: bool) -> Option<Event> {
    let still = |v: &JobView| JobView { version: 0, progress: Progress::default(), ..v.clone() };
    if still(shown) != still(view) || (is_turn && shown.version != view.version) {
        return Some(Event::Change(view.into()));
    }
    (is_turn && shown.progress != view.progress).then(|| Event::Progress(view.progress.into()))
}

async fn send(sender: &Sender, event: Event) -> bool {
    sender.send(Ok(wire::WatchResponse { event: Some(event) })).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::RunNo;
    use reelmill_common::job::JobState;

    fn view(version: u64, chunks_done: u32) -> JobView {
        JobView {
            id: JobId::parse("j1").unwrap(),
            tenant: TenantId::local(),
            source: "file:///film.mp4".to_owned(),
            labels: [].into(),
            priority: 0,
            state: JobState::Running,
            run: RunNo(1),
            submitted_unix_ms: 0,
            progress: Progress { chunks_done, ..Progress::default() },
            version,
            package: None,
            notes: Vec::new(),
        }
    }

    #[test]
    fn a_chunk_more_waits_for_its_turn_and_a_new_state_does_not() {
        let shown = view(4, 1);
        assert_eq!(news(&shown, &view(5, 2), false), None);
        assert!(matches!(news(&shown, &view(5, 2), true), Some(Event::Change(job)) if job.version == 5));
        assert!(matches!(news(&shown, &view(4, 2), true), Some(Event::Progress(p)) if p.chunks_done == 2));
        assert_eq!(news(&shown, &view(4, 1), true), None);
        let published = JobView { state: JobState::Published, ..view(6, 2) };
        assert!(matches!(news(&shown, &published, false), Some(Event::Change(_))));
    }
}
