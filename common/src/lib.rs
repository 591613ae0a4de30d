//! The vocabulary every other crate speaks: ids, ticks, specs, outcomes, capabilities, object keys.
//!
//! Plain data with its invariants and nothing else: no I/O, no clock, no randomness, no serde, no protobuf.
//! Wire and stored formats live in `reelmill-proto`; decisions live in `reelmill-plan`,
//! `reelmill-coordinator-core` and `reelmill-worker-core`.

pub mod audit;
pub mod capability;
pub mod check;
pub mod credential;
pub mod hash;
pub mod ids;
pub mod index;
pub mod job;
pub mod keys;
pub mod ladder;
pub mod loudness;
pub mod outcome;
pub mod plan;
pub mod record;
pub mod rungs;
pub mod secret;
pub mod session;
pub mod spec;
pub mod time;

pub use hash::Sha256;
pub use ids::{
    AttemptId, BootId, FencingTerm, Fingerprint, IdempotencyKey, InvalidName, JobId, RunNo, SegmentNumber,
    SpecId, TenantId, WorkerId,
};
pub use keys::ObjectKey;
pub use secret::Secret;
pub use time::{Millis, TickRange, TickSeq, Ticks, Timebase};
