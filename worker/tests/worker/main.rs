//! A whole worker against a scripted coordinator.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod adopt;
mod doctor;
mod enrol;
mod film;
mod given;
mod kill;
mod proofs;
mod scan;
mod support;
