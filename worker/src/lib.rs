//! The worker's shells: session, capability probe, loopback source reader, ffmpeg processes, uploads.
//!
//! They carry events into the pure machine of `reelmill-worker-core` and perform the effects it answers with; they
//! decide nothing about attempts, leases or media. No state-store client and no manifest lives here. Leases come in
//! over the session; files go out to object storage, reports with them, and outcomes back over the session.
//!
//! [`run`] is a worker from its settings to its end; [`doctor::check`] says whether this machine can be one.

pub mod abort;
mod app;
pub mod clock;
mod config;
pub mod doctor;
pub mod enrol;
mod fault;
mod machine;
mod metrics;
mod probe;
pub mod process;
pub mod sandbox;
pub mod scratch;
pub mod security;
mod session;
pub mod source;
pub mod tools;
mod upload;
pub mod work;

pub use app::{App, Components, Worker, boot_id, run};
pub use config::{WorkerConfig, WorkerError};
#[cfg(feature = "sabotage")]
pub use session::Sabotage;
pub use session::{Dial, Stop};
