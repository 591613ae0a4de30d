//! A leader that lost its state store cannot resign either, and goes on all the same.

use crate::cluster::{PATIENCE, World};
use crate::fake_worker::Manner;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reelmill_common::FencingTerm;
use reelmill_common::job::JobState;
use reelmill_common::record::LeaderRecord;
use reelmill_coordinator::state::memory::MemoryState;
use reelmill_coordinator::state::{
    Batch, Leadership, Page, Room, StateError, StateErrorKind, StateStore, WriteResult,
};
use std::sync::Arc;

/// A state store that nobody answers at when a term is given up, as in a partition.
struct CannotResign(MemoryState);

impl StateStore for CannotResign {
    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StateError>> {
        self.0.scan(prefix, after, limit)
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, WriteResult> {
        self.0.write(batch)
    }

    fn room(&self) -> BoxFuture<'_, Result<Option<Room>, StateError>> {
        self.0.room()
    }
}

impl Leadership for CannotResign {
    fn campaign<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<FencingTerm, StateError>> {
        self.0.campaign(address)
    }

    fn lost(&self, term: FencingTerm) -> BoxFuture<'_, String> {
        self.0.lost(term)
    }

    fn resign(&self) -> BoxFuture<'_, Result<(), StateError>> {
        let silent = StateError::new(StateErrorKind::Unavailable, "cannot resign: no answer in time");
        async move { self.0.resign().await.and(Err(silent)) }.boxed()
    }

    fn leader(&self) -> BoxFuture<'_, Result<Option<LeaderRecord>, StateError>> {
        self.0.leader()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_resign_campaigns_again() {
    let world = World::new();
    let state = Arc::new(CannotResign(world.state.contender()));
    let cluster = world.start_over(world.config(), state).await;
    cluster.leads().await;
    let id = cluster.submit(world.request("")).await.unwrap().0.id.to_string();
    world.state.depose();
    let back = async {
        while cluster.submit(world.request("")).await.is_err() {
            assert!(!cluster.running.join.is_finished(), "the coordinator has ended");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, back).await.expect("it leads again");
    cluster.worker("w1", Manner::Good);
    assert_eq!(cluster.ended(&id).await.state, JobState::Published);
    cluster.stop().await.unwrap();
}
