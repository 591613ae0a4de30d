//! Wire and stored formats, and their conversions to and from the vocabulary of `reelmill-common`.
//!
//! Protobuf stops here: services and clients take generated request types from [`jobs`] and [`worker`] only to turn
//! them into domain values at once, and stored objects and records are read and written through [`stored`], which
//! shows no generated type at all. Nothing here decides anything. Decoding is bounded: by size before, and by counts
//! while converting; a refused message names the field that is wrong.

mod convert;
pub mod status;
pub mod stored;
mod wire;

use std::collections::BTreeSet;

pub use convert::job_request;
pub use wire::{MAX_MESSAGE_BYTES, Problem, WireError};

/// Shared messages (`reelmill.common.v1`).
pub mod common {
    /// Version 1.
    #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("reelmill.common.v1");
    }
}

/// The jobs service (`reelmill.jobs.v1`).
pub mod jobs {
    /// Version 1.
    #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("reelmill.jobs.v1");
    }
}

/// The worker session (`reelmill.worker.v1`).
pub mod worker {
    /// Version 1.
    #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    pub mod v1 {
        tonic::include_proto!("reelmill.worker.v1");
    }
}

/// Stored formats (`reelmill.store.v1`): seen from outside through [`stored`] only.
pub(crate) mod store {
    #[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    pub(crate) mod v1 {
        tonic::include_proto!("reelmill.store.v1");
    }
}

/// Every method of every service, as HTTP/2 paths: `/reelmill.jobs.v1.Jobs/Submit`.
pub fn methods() -> BTreeSet<String> {
    use prost::Message as _;
    let files = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default().file;
    let of_service = |package: String, service: prost_types::ServiceDescriptorProto| {
        let name = format!("/{package}.{}", service.name());
        let methods = service.method.into_iter();
        methods.map(|method| format!("{name}/{}", method.name())).collect::<Vec<_>>()
    };
    let of_file = |file: prost_types::FileDescriptorProto| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| of_service(package.clone(), service))
    };
    files.into_iter().flat_map(of_file).collect()
}

/// The compiled `.proto` files, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("reelmill");
