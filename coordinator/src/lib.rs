//! The coordinator's shells: they carry events to the control machine and perform its effects, and decide nothing.
//!
//! ```text
//!  gRPC (jobs, workers) ─┐                    ┌─► state store (memory, embedded, etcd)
//!  HTTP (play, metrics) ─┼─► driver ⇄ machine ┼─► worker sessions
//!                        │   (one task)       └─► tasks: index, plan, manifests ⇄ object store
//!                        └── reads: views of the machine, published packages
//! ```
//!
//! What a job needs is decided in `reelmill-coordinator-core` (when) and `reelmill-plan` (what). Media bytes never pass
//! through here, except when the built-in HTTP server plays a finished package.

pub mod access;
pub mod config;
pub mod error;
pub mod ladder_file;
pub mod state;

mod abort;
mod admission;
mod app;
mod archive;
mod catalog;
mod clock;
mod content;
mod door;
mod driver;
mod grpc;
mod http;
mod inspect;
mod places;
mod status;
mod tasks;
mod telemetry;
mod watched;

pub use app::{Components, Door, Running, serve_on, start, start_on};
pub use config::{CoordinatorConfig, Grants, StateLocation, TlsFiles};
pub use error::{CoordinatorError, CoordinatorErrorKind};
/// What the coordinator refuses at Submit whatever the source is, for clients that want to say so before they ask.
pub use reelmill_plan::wish::check as check_wish;
pub use telemetry::recorder;
