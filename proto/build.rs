//! Generates the protobuf types, the gRPC services and the descriptor set that server reflection serves.

use std::path::PathBuf;

const PROTOS: [&str; 4] = [
    "proto/reelmill/common/v1/common.proto",
    "proto/reelmill/worker/v1/worker.proto",
    "proto/reelmill/jobs/v1/jobs.proto",
    "proto/reelmill/store/v1/store.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    tonic_prost_build::configure()
        .file_descriptor_set_path(out.join("reelmill.bin"))
        // labels are shown and stored in a fixed order
        .btree_map(".")
        // queues hold room for messages of the largest kind: these are rare, or far larger than the others
        .boxed(".reelmill.worker.v1.ToWorker.message.lease")
        .boxed(".reelmill.worker.v1.FromWorker.message.hello")
        .boxed(".reelmill.worker.v1.FromWorker.message.outcome")
        // its URL is a secret
        .skip_debug([".reelmill.worker.v1.SignedRequest"])
        .compile_protos(&PROTOS, &["proto"])?;
    Ok(())
}
