//! Conversions between generated types and the vocabulary, one file per subject: `From<&Domain>` towards the wire,
//! which cannot fail, and `TryFrom<Wire>` towards the domain, which names the field that is wrong.

mod basic;
mod index;
mod job;
mod outcome;
mod plan;
mod record;
mod session;
mod settings;
mod spec;

pub use job::job_request;
pub(crate) use plan::plan_parts;
