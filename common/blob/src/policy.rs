//! How patient an operation is: the one place where attempts, pauses and time limits are decided.
//!
//! The stores' own retries are switched off ([`crate::location`]), and nothing above this crate retries an operation.

use crate::error::{BlobError, BlobErrorKind};
use rand::Rng as _;
use std::future::Future;
use std::time::Duration;

/// Attempts, pauses and limits of every operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Attempts of one operation, the first included.
    pub attempts: u32,
    /// Longest pause before the second attempt, in milliseconds; it doubles with each one.
    pub first_pause_ms: u64,
    /// Longest pause of all, in milliseconds.
    pub longest_pause_ms: u64,
    /// An attempt in which nothing moves for this long has failed, in milliseconds.
    pub stall_ms: u64,
    /// An upload is given one more second for each of these many bytes.
    pub upload_bytes_per_second: u64,
    /// The largest object that is read into memory, in bytes.
    pub object_bytes: u64,
    /// The most entries one listing may have.
    pub list_entries: usize,
}

impl Default for Policy {
    /// Six attempts over at most some ten seconds of pauses: what outlives that is for the scheduler, which knows
    /// other workers. 30 s without a byte is far beyond any healthy store.
    fn default() -> Self {
        Self {
            attempts: 6,
            first_pause_ms: 100,
            longest_pause_ms: 5_000,
            stall_ms: 30_000,
            upload_bytes_per_second: 128 * 1024,
            object_bytes: 256 << 20,
            list_entries: 1_000_000,
        }
    }
}

impl Policy {
    /// Runs `attempt` (its argument counts from 1) until it succeeds, fails for good or the attempts are used up.
    pub(crate) async fn retry<T, F, Fut>(&self, mut attempt: F) -> Result<T, BlobError>
    where
        F: FnMut(u32) -> Fut,
        Fut: Future<Output = Result<T, BlobError>>,
    {
        let mut number = 1;
        loop {
            match attempt(number).await {
                Err(error) if error.retryable() && number < self.attempts => {
                    tracing::debug!(attempt = number, error = %error, "object store operation failed, trying again");
                    self.pause(number).await;
                    number += 1;
                }
                ended => return ended,
            }
        }
    }

    /// Waits before another attempt after `failed` ones: full jitter, so that many clients thrown out together do not
    /// come back together.
    pub(crate) async fn pause(&self, failed: u32) {
        let doubled = self.first_pause_ms.saturating_mul(1 << (failed - 1).min(20));
        let longest = doubled.min(self.longest_pause_ms);
        let pause_ms = rand::rng().random_range(longest / 4..=longest);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }

    /// Fails `operation` when it does not end within `stall_ms` and what `upload_bytes` take besides.
    pub(crate) async fn limit<T>(
        &self,
        upload_bytes: u64,
        doing: &str,
        what: &str,
        operation: impl Future<Output = Result<T, BlobError>>,
    ) -> Result<T, BlobError> {
        let upload_ms = upload_bytes.saturating_mul(1_000) / self.upload_bytes_per_second.max(1);
        let limit_ms = self.stall_ms.saturating_add(upload_ms);
        match tokio::time::timeout(Duration::from_millis(limit_ms), operation).await {
            Ok(ended) => ended,
            Err(_) => Err(BlobError::new(
                BlobErrorKind::Unavailable,
                format!("cannot {doing} {what}: no answer within {limit_ms} ms"),
            )),
        }
    }
}
