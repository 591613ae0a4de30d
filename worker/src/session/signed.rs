//! Signed requests on their way between the coordinator and the attempts that use them. Which attempt may have any is for
//! the coordinator to say, when to ask for the agent.

use super::{Driver, Event};
use reelmill_blob::{BlobError, SignedRequests};
use reelmill_common::AttemptId;
use reelmill_common::session::{SignedFile, SignedGrant};

impl Driver {
    /// A place for an attempt's requests to write. What it lacks becomes an event; one that finds no room there is told
    /// again, with the next try of its write.
    pub(super) fn requests(&self, attempt: AttemptId) -> SignedRequests {
        let events = self.events.clone();
        SignedRequests::new(move |file| {
            if events.try_send(Event::Wanted(attempt, file)).is_err() {
                tracing::debug!(%attempt, "too much to do to ask for a request now");
            }
        })
    }

    /// An attempt's files may be written with these.
    pub(super) fn signed(&self, attempt: AttemptId, uploads: &[SignedFile]) {
        let Some(writes) = self.attempts.get(&attempt).and_then(|held| held.writes.as_ref()) else { return };
        for file in uploads {
            let brought = writes.bring_get(&file.name, &file.get);
            said(attempt, brought.and_then(|()| writes.bring_put(&file.name, &file.put)));
        }
    }

    /// Sources are read with these from now on. Attempts that wait for a slot are told with the next heartbeat.
    pub(super) fn renewed(&self, sources: &[(AttemptId, SignedGrant)]) {
        for (attempt, request) in sources {
            if let Some(reads) = self.attempts.get(attempt).and_then(|held| held.reads.as_ref()) {
                said(*attempt, reads.renew(request));
            }
        }
    }
}

/// A request that cannot be made is as good as none: whatever waits for it says so in the end.
fn said(attempt: AttemptId, brought: Result<(), BlobError>) {
    if let Err(error) = brought {
        tracing::error!(%attempt, "the coordinator signed nonsense: {error}");
    }
}
