//! Asks the state store how full it is, every few seconds and beside the driver, for as long as this process leads.

use crate::state::{Room, StateStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::task::AbortOnDropHandle;

const EVERY: Duration = Duration::from_secs(2);

/// The answers as they come. Dropping it ends the asking.
pub(super) struct Rooms {
    answers: mpsc::Receiver<Room>,
    _asking: AbortOnDropHandle<()>,
}

impl Rooms {
    /// Begins to ask.
    pub(super) fn watch(store: Arc<dyn StateStore>) -> Self {
        let (sender, answers) = mpsc::channel(1);
        Self { answers, _asking: AbortOnDropHandle::new(tokio::spawn(ask(store, sender))) }
    }

    /// The next answer. Waits for ever where nothing bounds the store.
    pub(super) async fn next(&mut self) -> Room {
        match self.answers.recv().await {
            Some(room) => room,
            None => std::future::pending().await,
        }
    }
}

async fn ask(store: Arc<dyn StateStore>, answers: mpsc::Sender<Room>) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match store.room().await {
            Ok(Some(room)) => {
                if answers.send(room).await.is_err() {
                    return;
                }
            }
            Ok(None) => {}
            // what was said last still holds as far as anybody knows
            Err(error) => tracing::warn!(%error, "the state store does not say how full it is"),
        }
    }
}
