//! Why a coordinator did not start, or stopped by itself: by what an operator can do about it.

use crate::state::StateError;
use reelmill_blob::BlobError;
use std::net::SocketAddr;

/// A coordinator that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// A setting that cannot be used.
    #[error("{0}")]
    Config(String),
    /// The state store: locked, damaged, full, or written by a newer version.
    #[error("state: {0}")]
    State(#[from] StateError),
    /// A stored record that cannot be read.
    #[error("state: the record {key} cannot be read: {why}")]
    Record {
        /// Its key.
        key: String,
        /// What is wrong.
        why: reelmill_proto::WireError,
    },
    /// The work or publish root cannot be used.
    #[error("storage: {0}")]
    Storage(#[from] BlobError),
    /// An address that cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another coordinator running there?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A server that ended by itself.
    #[error("the {server} server ended: {message}")]
    Server {
        /// `gRPC` or `HTTP`.
        server: &'static str,
        /// Why.
        message: String,
    },
}

/// What an operator can do about a [`CoordinatorError`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CoordinatorErrorKind {
    /// Change a setting or an argument.
    Usage,
    /// Look after the state store or the object store: space, permissions, another process.
    Storage,
    /// A fault of the program or the machine.
    Internal,
}

impl CoordinatorError {
    /// What an operator can do about it.
    pub fn kind(&self) -> CoordinatorErrorKind {
        match self {
            Self::Config(_) | Self::Bind { .. } => CoordinatorErrorKind::Usage,
            Self::State(_) | Self::Record { .. } | Self::Storage(_) => CoordinatorErrorKind::Storage,
            Self::Server { .. } => CoordinatorErrorKind::Internal,
        }
    }
}
