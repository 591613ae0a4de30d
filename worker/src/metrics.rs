//! What a worker counts. Labels come from enums only; ids never become labels.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use reelmill_common::outcome::FaultKind;
use reelmill_worker_core::sandbox::Level;

const ATTEMPTS: &str = "reelmill_worker_attempts_total";
const SPEED: &str = "reelmill_worker_encode_frames_per_second";
const SOURCE_BYTES: &str = "reelmill_worker_source_bytes_total";
const UPLOAD_BYTES: &str = "reelmill_worker_upload_bytes_total";
const SANDBOX: &str = "reelmill_worker_sandbox";

/// Kinds of work, as [`reelmill_common::spec::WorkItem::kind`] names them.
const KINDS: [&str; 4] = ["index", "analyse", "encode", "audit"];

/// Describes every metric and sets every counter to 0, so that a first increment is a rate and not a birth.
pub(crate) fn register() {
    describe_counter!(ATTEMPTS, "attempts ended on this worker, by kind of work and outcome");
    describe_histogram!(SPEED, "source frames encoded per second of ffmpeg, all rungs at once");
    describe_counter!(SOURCE_BYTES, Unit::Bytes, "source bytes read");
    describe_counter!(UPLOAD_BYTES, Unit::Bytes, "bytes put into object storage");
    describe_gauge!(SANDBOX, "1 for the level of the sandbox around ffmpeg, 0 for the others");
    counter!(SOURCE_BYTES).increment(0);
    counter!(UPLOAD_BYTES).increment(0);
    for kind in KINDS {
        for outcome in FaultKind::ALL.map(FaultKind::name).into_iter().chain(["done"]) {
            counter!(ATTEMPTS, "kind" => kind, "outcome" => outcome).increment(0);
        }
    }
}

/// An attempt has ended: `done`, or the name of its fault's kind.
pub(crate) fn attempt_ended(kind: &'static str, outcome: &'static str) {
    counter!(ATTEMPTS, "kind" => kind, "outcome" => outcome).increment(1);
}

/// A video chunk was encoded.
pub(crate) fn encoded(frames: u64, encode_ms: u64) {
    // a gauge of speed for people: the one place where a float is what the exporter wants
    histogram!(SPEED).record(frames as f64 * 1000.0 / encode_ms.max(1) as f64);
}

/// The sandbox that holds on this machine.
pub(crate) fn sandboxed(level: Level) {
    for each in Level::ALL {
        gauge!(SANDBOX, "level" => each.name()).set(if each == level { 1.0 } else { 0.0 });
    }
}

/// Source bytes were read.
pub(crate) fn source_bytes(bytes: u64) {
    counter!(SOURCE_BYTES).increment(bytes);
}

/// Bytes were uploaded.
pub(crate) fn uploaded(bytes: u64) {
    counter!(UPLOAD_BYTES).increment(bytes);
}
