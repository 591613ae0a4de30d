//! The check of what an encoder made, before anything leaves the worker.

use reelmill_common::outcome::{Fault, FaultKind};

/// What is wrong with an output: says where, what was expected and what was found.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct OutputError {
    /// Rendition folder, and segment or frame.
    pub place: String,
    /// Expected and found.
    pub what: String,
}

impl OutputError {
    /// As the fault of an attempt.
    pub fn into_fault(self) -> Fault {
        Fault { kind: FaultKind::Output, message: self.to_string(), detail: String::new() }
    }
}
