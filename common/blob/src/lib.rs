//! Object stores by URL, with operations that are checked, bounded and retried in one place: here.
//!
//! [`Stores`] turns a root URL (`/path`, `file://`, `s3://`, `gs://`, `az://`, `memory://`) into [`Blobs`]: names
//! relative to that root and verified operations on them. [`source`] resolves what a user named as a film and reads
//! ranges of it while it stays the same object; [`witness`](mod@witness) says whether an object is what was written.
//! [`SignedRequest`] hands one operation to somebody without a credential.
//! [`chaos`] injects faults under all of this and [`quirky`] gives a store a habit, [`conformance`] is what every store
//! must pass, and [`proof`] tells a person what a store of theirs does.
//!
//! This crate must not know what an object holds, and nothing above it may retry an operation of its own: when an
//! error leaves here, the attempts are used up. Bytes come from and go to object stores only.

pub mod blobs;
mod blocking;
pub mod chaos;
pub mod conformance;
mod copy;
mod error;
mod local;
mod location;
mod policy;
pub mod proof;
pub mod quirky;
mod sign;
pub mod signed;
pub mod source;
mod transfer;
pub mod witness;

pub use blobs::{Blobs, Entry, Existing, Head, PutOptions, PutOutcome, Served};
pub use blocking::blocking;
pub use error::{BlobError, BlobErrorKind};
pub use location::Stores;
pub use policy::Policy;
pub use sign::{SignedContent, SignedRequest, sign_source};
pub use signed::SignedRequests;
pub use source::{SourceLocation, SourceReader, open_signed_source, open_source, resolve_source};
pub use witness::{Finding, witness};

#[cfg(test)]
mod proof_tests;
#[cfg(test)]
mod signed_tests;
#[cfg(test)]
mod tests;
