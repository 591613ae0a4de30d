//! One-line bugs of the shells that the simulated network must find. Compiled only with the feature `sabotage`.

/// A bug of the worker's driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// When a connection ends, what it worked at is forgotten by the shells, and not by the agent.
    AttemptsForgotten,
    /// The end of a connection is taken for that of an earlier one.
    EndNotHeard,
    /// An upload counts as done when it begins.
    UploadedAtOnce,
}
