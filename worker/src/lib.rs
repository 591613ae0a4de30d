//! The worker's shells: session, capability probe, loopback source reader, ffmpeg processes, uploads.
//!
//! They carry events into the pure machine of `reelmill-worker-core` and perform the effects it answers with; they
//! decide nothing about attempts, leases or media. No state-store client and no manifest lives here.

pub mod abort;
pub mod clock;
pub mod process;
pub mod scratch;
