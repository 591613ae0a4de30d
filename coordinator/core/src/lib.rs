//! The control machine: jobs, attempts, leases, schedule, batching, takeover, publish and collection, as one
//! synchronous state machine.
//!
//! [`Coordinator::handle`] takes the time and an event and returns a [`Step`]: what must be made durable, and what may
//! be done after that. It never waits, reads a clock, touches storage or iterates in hash order; specs are opaque to
//! it (id, cost, needs). Events come from the driver in `reelmill-coordinator`, steps go back to it.

mod advantage;
mod attempt;
mod audit;
mod batch;
mod call;
mod calls;
mod chunks;
mod classes;
mod config;
mod countdown;
mod damage;
mod effect;
mod enrol;
mod event;
mod explain;
mod fair;
mod free;
mod horizon;
mod job;
mod leader;
mod machine;
mod outcomes;
mod outside;
mod pace;
mod ready;
mod rebind;
mod record;
mod retention;
mod room;
#[cfg(feature = "sabotage")]
pub mod sabotage;
mod schedule;
mod sessions;
mod sizes;
mod stages;
mod tenants;
#[cfg(test)]
mod tests;
mod turn;
mod view;
mod voices;
mod work;
mod worker;

pub use call::{Answer, Call, Enrolment, Refusal, Submission, Token, WorkerCall};
pub use config::CoordinatorConfig;
pub use effect::{Count, Effect, GrantOrder, LeaseOrder, Step};
pub use event::{Event, SessionId, TermBegun};
pub use machine::Coordinator;
pub use record::{BATCH_OPS_MAX, Batch, BatchId, Op, Record};
pub use tenants::{TenantRules, Tenants};
pub use view::{Backlog, LIST_MAX, TenantView, WorkerView};
pub use work::{AuditRef, SpecRef, Task, TaskError, TaskId, TaskKind, TaskOutput, WorkKind};
