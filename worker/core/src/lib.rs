//! Pure worker logic: the agent's machine, ffmpeg's arguments, its progress and complaints, and the check of what it
//! made.
//!
//! Nothing here waits, reads a clock, starts a process or opens a file: time, bytes and events are arguments, and what
//! is to be done is a value. The shells are in `reelmill-worker`.

pub mod adopt;
pub mod agent;
pub mod argv;
pub mod audit;
pub mod build;
pub mod meter;
pub mod progress;
pub mod rate;
pub mod sandbox;
pub mod stderr;
pub mod verify;
