//! One batch at a time from the machine to the state store, and what its end means.

use super::Driver;
use crate::error::CoordinatorError;
use crate::state::{self, StateError, StateErrorKind, WriteResult};
use reelmill_common::record::StateKey;
use reelmill_coordinator_core::{Batch, BatchId, Effect, Event, Op, Record};
use reelmill_proto::stored;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// The batch in flight.
pub(super) struct Writing {
    batch: Batch,
    then: Vec<Effect>,
    number: u64,
    result: AbortOnDropHandle<WriteResult>,
}

/// The end of the batch in flight. Waits for ever while there is none.
pub(super) async fn ended(writing: &mut Option<Writing>) -> WriteResult {
    match writing {
        None => std::future::pending().await,
        Some(w) => (&mut w.result).await.unwrap_or_else(|error| {
            // nothing is known of what it did
            WriteResult::Unknown(format!("the write ended unexpectedly: {error}"))
        }),
    }
}

impl Writing {
    /// Gives up on it: nothing is known of what it does, but it holds on to the store no longer.
    pub(super) async fn abandoned(self) {
        self.result.abort();
        // it was told to end, or has ended
        let _ = self.result.await;
    }
}

impl Driver {
    /// Begins to write a batch; `then` waits for it.
    pub(super) fn begin_write(&mut self, batch: Batch, then: Vec<Effect>) {
        let stored = to_stored(&batch);
        let (store, delay_ms) = (Arc::clone(&self.parts.store), batch.delay_ms);
        let number = self.parts.switch.before("state_write");
        let result = tokio::spawn(async move {
            if delay_ms > 0 {
                tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            }
            store.write(&stored).await
        });
        // a batch that follows an unknown one is the very same: what waited for the first is forgotten
        self.writing = Some(Writing { batch, then, number, result: AbortOnDropHandle::new(result) });
    }

    /// The batch in flight has ended.
    pub(super) async fn written(&mut self, result: WriteResult) -> Result<(), CoordinatorError> {
        let Some(Writing { batch, then, number, .. }) = self.writing.take() else { return Ok(()) };
        let id: BatchId = batch.id;
        match result {
            WriteResult::Done => {
                self.parts.switch.after(number);
                self.is_not_full();
                for op in batch.ops {
                    match op {
                        Op::Put(Record::Job(record)) => self.parts.catalog.put(*record),
                        Op::Delete(StateKey::Job(job)) => self.parts.catalog.forget(&job),
                        Op::Put(Record::Worker(record)) => self.parts.enrolled.put(*record),
                        Op::Delete(StateKey::Worker(worker)) => self.parts.enrolled.remove(&worker),
                        _ => {}
                    }
                }
                // the machine's views show durable state only, and these effects look at them: it has to know first
                let next = self.machine.handle(self.clock.now(), Event::BatchDone(id));
                self.perform(then).await;
                self.follow(next).await
            }
            WriteResult::GuardFailed => {
                tracing::warn!("a write was fenced: another coordinator leads");
                self.feed(Event::BatchFenced(id)).await
            }
            WriteResult::Unknown(why) => {
                tracing::warn!(%why, "a write has an unknown end and is sent again");
                self.feed(Event::BatchUnknown(id)).await
            }
            WriteResult::Refused(error) if self.outlasts(&error) => {
                self.is_full(&error);
                self.feed(Event::TermLost).await
            }
            WriteResult::Refused(error) => Err(refused(error)),
        }
    }
}

/// Nothing can be made durable any more: an operator has to act, and no effect may leave meanwhile.
fn refused(error: StateError) -> CoordinatorError {
    match error.kind() {
        StateErrorKind::Invalid => {
            tracing::error!(%error, "the state store refused a batch that the machine made");
        }
        _ => tracing::error!(%error, "the state store lets nothing be written"),
    }
    CoordinatorError::State(error)
}

/// The machine's batch in the store's words.
fn to_stored(batch: &Batch) -> state::Batch {
    batch.ops.iter().fold(state::Batch::leading(batch.term), |stored, op| match op {
        Op::Put(record) => stored.put(op.key().to_text(), encode(record)),
        Op::Delete(key) => stored.delete(key.to_text()),
    })
}

fn encode(record: &Record) -> Vec<u8> {
    match record {
        Record::Job(r) => stored::encode_job(r),
        Record::Commit(r) => stored::encode_commit(r),
        Record::Fault(r) => stored::encode_fault(r),
        Record::Idempotency(r) => stored::encode_idempotency(r),
        Record::Outside(r) => stored::encode_outside(r),
        Record::Worker(r) => stored::encode_worker(r),
    }
}
