//! Asks the state store how full it is, every few seconds, for as long as this process leads.

use crate::state::{Room, StateError, StateStore};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval};

const EVERY: Duration = Duration::from_secs(2);

/// The answers as they come. No task of its own asks: one that was told to end could hold on to the store, and an
/// embedded one's directory with it, for longer than the driver.
pub(super) struct Rooms {
    store: Arc<dyn StateStore>,
    tick: Interval,
    asking: Option<BoxFuture<'static, Result<Option<Room>, StateError>>>,
}

impl Rooms {
    /// Begins to ask.
    pub(super) fn watch(store: Arc<dyn StateStore>) -> Self {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { store, tick, asking: None }
    }

    /// The next answer. Waits for ever where nothing bounds the store. Dropping what it returns loses nothing: a question
    /// that was asked is waited for the next time.
    pub(super) async fn next(&mut self) -> Room {
        loop {
            let asking = match &mut self.asking {
                Some(asking) => asking,
                None => {
                    self.tick.tick().await;
                    let store = Arc::clone(&self.store);
                    self.asking.insert(async move { store.room().await }.boxed())
                }
            };
            let answer = asking.await;
            self.asking = None;
            match answer {
                Ok(Some(room)) => return room,
                Ok(None) => {}
                // what was said last still holds as far as anybody knows
                Err(error) => tracing::warn!(%error, "the state store does not say how full it is"),
            }
        }
    }
}
