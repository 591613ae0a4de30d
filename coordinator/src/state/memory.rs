//! State in memory, shared by every contender made from one [`MemoryState`]: for tests, and for runs that need not
//! survive their process.
//!
//! Its writes can be made to end as unknown, applied or not, which is what a driver has to be proved against.

use super::election::Election;
use super::{
    Batch, Leadership, MAX_PAGE_ENTRIES, Page, Room, StateError, StateErrorKind, StateStore, WriteResult,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use reelmill_common::{FencingTerm, record::LeaderRecord};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What becomes of one of the next writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Injection {
    /// Nothing special.
    Normal,
    /// Unknown, and not applied.
    UnknownBefore,
    /// Unknown, but applied.
    UnknownAfter,
}

/// One contender's handle on a state that it may share with others.
#[derive(Clone)]
pub struct MemoryState {
    world: Arc<World>,
    held: Arc<Mutex<Option<FencingTerm>>>,
}

struct World {
    election: Election,
    data: Mutex<Data>,
}

#[derive(Default)]
struct Data {
    entries: BTreeMap<String, Vec<u8>>,
    last_term: u64,
    injections: VecDeque<Injection>,
    room: Option<Room>,
    full: bool,
}

impl Default for MemoryState {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryState {
    /// An empty state with one contender.
    pub fn new() -> Self {
        let world = World { election: Election::new(), data: Mutex::default() };
        Self { world: Arc::new(world), held: Arc::default() }
    }

    /// Another contender for the same state.
    pub fn contender(&self) -> Self {
        Self { world: Arc::clone(&self.world), held: Arc::default() }
    }

    /// Decides about the next write that has none decided yet.
    pub fn inject(&self, injection: Injection) {
        self.data().injections.push_back(injection);
    }

    /// Decides how full it is from now on; nothing bounds it unless somebody says so.
    pub fn set_room(&self, room: Option<Room>) {
        self.data().room = room;
    }

    /// From now on it takes no writes and begins no terms, as a store without room, or does again.
    pub fn set_full(&self, full: bool) {
        self.data().full = full;
    }

    /// Takes the leadership away from whoever holds it, as a partition does.
    pub fn depose(&self) {
        if let Some(leader) = self.world.election.current() {
            self.world.election.end(leader.term);
        }
    }

    fn data(&self) -> MutexGuard<'_, Data> {
        // a panic elsewhere while holding the lock leaves whole values: every change is one call
        self.world.data.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Option<FencingTerm>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_now(&self, batch: &Batch) -> WriteResult {
        if let Err(error) = batch.check() {
            return WriteResult::Refused(error);
        }
        let mut data = self.data();
        let injection = data.injections.pop_front().unwrap_or(Injection::Normal);
        if injection == Injection::UnknownBefore {
            return WriteResult::Unknown("injected: lost before it arrived".to_owned());
        }
        let term = batch.guard.term();
        if *self.held() != Some(term) || !self.world.election.leads(term) {
            return WriteResult::GuardFailed;
        }
        if data.full {
            return WriteResult::Refused(full());
        }
        data.entries.extend(batch.puts.iter().cloned());
        for key in &batch.deletes {
            data.entries.remove(key);
        }
        match injection {
            Injection::UnknownAfter => WriteResult::Unknown("injected: the answer was lost".to_owned()),
            _ => WriteResult::Done,
        }
    }
}

fn full() -> StateError {
    StateError::new(StateErrorKind::Full, "injected: there is no room left")
}

impl StateStore for MemoryState {
    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StateError>> {
        let limit = limit.clamp(1, MAX_PAGE_ENTRIES);
        let data = self.data();
        let from = match &after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        let mut found = data
            .entries
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()));
        let entries: Vec<_> = found.by_ref().take(limit).collect();
        let next = found.next().and_then(|_| entries.last().map(|(key, _)| key.clone()));
        std::future::ready(Ok(Page { entries, next })).boxed()
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, WriteResult> {
        std::future::ready(self.write_now(batch)).boxed()
    }

    fn room(&self) -> BoxFuture<'_, Result<Option<Room>, StateError>> {
        std::future::ready(Ok(self.data().room)).boxed()
    }
}

impl Leadership for MemoryState {
    fn campaign<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<FencingTerm, StateError>> {
        async move {
            loop {
                self.world.election.vacant().await;
                let mut data = self.data();
                if data.full {
                    return Err(full());
                }
                let term = FencingTerm(data.last_term + 1);
                if self.world.election.take(LeaderRecord { term, address: address.to_owned() }) {
                    data.last_term = term.0;
                    *self.held() = Some(term);
                    return Ok(term);
                }
            }
        }
        .boxed()
    }

    fn lost(&self, term: FencingTerm) -> BoxFuture<'_, String> {
        async move {
            self.world.election.ended(term).await;
            format!("term {} has ended", term.0)
        }
        .boxed()
    }

    fn resign(&self) -> BoxFuture<'_, Result<(), StateError>> {
        if let Some(term) = self.held().take() {
            self.world.election.end(term);
        }
        std::future::ready(Ok(())).boxed()
    }

    fn leader(&self) -> BoxFuture<'_, Result<Option<LeaderRecord>, StateError>> {
        std::future::ready(Ok(self.world.election.current())).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{self, Contender, Factory, TestState};
    use super::*;

    struct Memory;

    impl Factory for Memory {
        fn state(&self) -> BoxFuture<'_, Result<Box<dyn TestState>, StateError>> {
            std::future::ready(Ok(Box::new(MemoryState::new()) as Box<dyn TestState>)).boxed()
        }
    }

    impl TestState for MemoryState {
        fn contender(&self) -> BoxFuture<'_, Result<Box<dyn Contender>, StateError>> {
            std::future::ready(Ok(Box::new(MemoryState::contender(self)) as Box<dyn Contender>)).boxed()
        }

        fn depose(&self) -> BoxFuture<'_, Result<(), StateError>> {
            MemoryState::depose(self);
            std::future::ready(Ok(())).boxed()
        }

        fn restart(self: Box<Self>) -> BoxFuture<'static, Result<Option<Box<dyn TestState>>, StateError>> {
            std::future::ready(Ok(None)).boxed()
        }
    }

    #[tokio::test]
    async fn memory_conforms() {
        conformance::run(&Memory).await.unwrap();
    }

    #[tokio::test]
    async fn injected_writes_end_as_unknown_and_can_be_sent_again() {
        let state = MemoryState::new();
        let term = state.campaign("a:1").await.unwrap();
        let batch = Batch::leading(term).put("a", "1");
        state.inject(Injection::UnknownBefore);
        state.inject(Injection::UnknownAfter);
        for present in [0, 1] {
            assert!(matches!(state.write(&batch).await, WriteResult::Unknown(_)));
            assert_eq!(state.scan("", None, 10).await.unwrap().entries.len(), present);
        }
        assert!(state.write(&batch).await.is_done());
        assert_eq!(state.scan("", None, 10).await.unwrap().entries, [("a".to_owned(), b"1".to_vec())]);
    }
}
