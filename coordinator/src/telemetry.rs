//! Metrics: every name, label and bucket of the coordinator, in one place. Labels come from enumerations, never ids.
//!
//! The recorder is the process's one: a worker in the same process (`serve`) counts into it, too.

use crate::access::Failure;
use crate::door::Handshake;
use crate::state::Room;
use crate::watched::Watching;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use reelmill_common::outcome::{AttemptCost, ChunkReport, FaultKind};
use reelmill_common::spec::{ChunkMedia, ChunkSpec};
use reelmill_common::{Ticks, Timebase};
use reelmill_coordinator_core::{Backlog, Count, WorkKind, WorkerView};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

const CHUNKS: &str = "reelmill_work_items_total";
const OFFERS: &str = "reelmill_offers_total";
const QUEUE_SECONDS: &str = "reelmill_queue_seconds";
const ITEM_SECONDS: &str = "reelmill_work_item_seconds";
const COST_RATIO: &str = "reelmill_cost_ratio";
const SPEED: &str = "reelmill_encode_speed_ratio";
const OUTPUT_SECONDS: &str = "reelmill_output_seconds_total";
const OUTPUT_BYTES: &str = "reelmill_output_bytes_total";
const SOURCE_BYTES: &str = "reelmill_source_read_bytes_total";
const SUSPENSIONS: &str = "reelmill_worker_suspensions_total";
const CAUGHT: &str = "reelmill_workers_caught_total";
const JOBS: &str = "reelmill_jobs";
const WORKERS: &str = "reelmill_workers";
const SLOTS: &str = "reelmill_slots";
const READY: &str = "reelmill_work_items_waiting";
const TAKEN: &str = "reelmill_work_items_running";
const BACKLOG: &str = "reelmill_backlog_seconds";
const COST_FACTOR: &str = "reelmill_cost_factor";
const STATE_BYTES: &str = "reelmill_state_bytes";
const COMPACTIONS: &str = "reelmill_state_compactions_total";
const RELOADS: &str = "reelmill_file_reloads_total";
const HANDSHAKES: &str = "reelmill_handshakes_total";
const NOT_LET_IN: &str = "reelmill_access_failures_total";

/// Waiting and working: from a tenth of a second to an hour.
const SECONDS: [f64; 14] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0];
/// Times realtime, all rungs together.
const SPEEDS: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0, 64.0];
/// Measured over predicted.
const RATIOS: [f64; 11] = [0.1, 0.25, 0.5, 0.75, 0.9, 1.1, 1.33, 2.0, 4.0, 10.0, 100.0];

const WORK_KINDS: [WorkKind; 4] = [WorkKind::Index, WorkKind::Analyse, WorkKind::Encode, WorkKind::Audit];
const JOB_STATES: [&str; 10] = [
    "accepted",
    "indexing",
    "planned",
    "running",
    "publishing",
    "published",
    "failed",
    "cancelled",
    "collecting",
    "collected",
];
const MILLIS: Timebase = Timebase::hz(NonZeroU32::new(1_000).expect("a thousand is not zero"));

/// The process's recorder, installed at first use; `None` when the process has another one.
pub fn recorder() -> Option<PrometheusHandle> {
    // the `metrics` crate has one recorder a process by design; this is its handle
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut handle = HANDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if handle.is_none() {
        match install() {
            Ok(installed) => *handle = Some(installed),
            Err(error) => tracing::warn!(%error, "metrics are not served"),
        }
    }
    handle.clone()
}

fn install() -> Result<PrometheusHandle, BuildError> {
    let suffix = |s: &str| Matcher::Suffix(s.to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(suffix("_seconds"), &SECONDS)?
        .set_buckets_for_metric(suffix("_speed_ratio"), &SPEEDS)?
        .set_buckets_for_metric(suffix("cost_ratio"), &RATIOS)?
        .install_recorder()?;
    describe();
    register();
    Ok(handle)
}

fn describe() {
    describe_counter!(CHUNKS, "Work items by kind and outcome");
    describe_counter!(
        OFFERS,
        "Attempts offered to workers; speculative ones are second attempts of stragglers"
    );
    describe_histogram!(QUEUE_SECONDS, Unit::Seconds, "From ready to offered");
    describe_histogram!(ITEM_SECONDS, Unit::Seconds, "From offered to committed");
    describe_histogram!(COST_RATIO, "Duration over prediction of committed work");
    describe_histogram!(SPEED, "Output seconds of all rungs per second of ffmpeg, of one chunk");
    describe_counter!(OUTPUT_SECONDS, Unit::Seconds, "Seconds of output made, each rung counted");
    describe_counter!(OUTPUT_BYTES, Unit::Bytes, "Bytes of output made");
    describe_counter!(SOURCE_BYTES, Unit::Bytes, "Source bytes read by workers");
    describe_counter!(SUSPENSIONS, "Workers suspended for failing too often in a row");
    describe_counter!(CAUGHT, "Workers that were found to have committed something wrong to a job");
    describe_gauge!(JOBS, "Jobs by state");
    describe_gauge!(WORKERS, "Workers by state");
    describe_gauge!(SLOTS, "Slots of connected workers, busy and free");
    describe_gauge!(READY, "Work items that nobody works on");
    describe_gauge!(TAKEN, "Work items being worked on");
    describe_gauge!(
        COST_FACTOR,
        Unit::Count,
        "The least and the most of its prediction that some encoder build was measured to take for some class of work, \
         beside its workers' paces"
    );
    describe_gauge!(BACKLOG, Unit::Seconds, "Predicted slot-seconds of work that is not committed");
    describe_gauge!(
        STATE_BYTES,
        Unit::Bytes,
        "Room in the state store: used, and the most that may be; told by the leader, where there is a bound"
    );
    describe_counter!(COMPACTIONS, "Compactions of etcd by this coordinator, while it led");
    describe_counter!(RELOADS, "Changed certificate and access files, taken or refused");
    describe_counter!(HANDSHAKES, "TLS handshakes by how they ended");
    describe_counter!(NOT_LET_IN, "Requests that were not let in, by why");
}

/// Every series begins at 0, so that the first event counts in `rate()`.
fn register() {
    for kind in WORK_KINDS.map(WorkKind::name) {
        for outcome in ["committed", "vanished", "superseded"] {
            counter!(CHUNKS, "kind" => kind, "outcome" => outcome).absolute(0);
        }
        counter!(SOURCE_BYTES, "kind" => kind).absolute(0);
        for fault in FaultKind::ALL {
            counter!(CHUNKS, "kind" => kind, "outcome" => fault_outcome(fault)).absolute(0);
        }
        for speculative in ["false", "true"] {
            counter!(OFFERS, "kind" => kind, "speculative" => speculative).absolute(0);
        }
    }
    for media in ["video", "audio"] {
        counter!(OUTPUT_SECONDS, "media" => media).absolute(0);
        counter!(OUTPUT_BYTES, "media" => media).absolute(0);
    }
    counter!(SUSPENSIONS).absolute(0);
    counter!(CAUGHT).absolute(0);
    for outcome in ["done", "failed"] {
        counter!(COMPACTIONS, "outcome" => outcome).absolute(0);
    }
    for what in Watching::ALL.map(Watching::name) {
        for outcome in ["done", "failed"] {
            counter!(RELOADS, "files" => what, "outcome" => outcome).absolute(0);
        }
    }
    for outcome in Handshake::ALL.map(Handshake::name) {
        counter!(HANDSHAKES, "outcome" => outcome).absolute(0);
    }
    for why in Failure::ALL.map(Failure::name) {
        counter!(NOT_LET_IN, "why" => why).absolute(0);
    }
}

fn fault_outcome(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Source => "source_fault",
        FaultKind::Encoder => "encoder_fault",
        FaultKind::Output => "output_fault",
        FaultKind::Binding => "other_binding",
        FaultKind::Damage => "damaged_source",
        FaultKind::Storage => "storage_fault",
        FaultKind::Abandoned => "abandoned",
        FaultKind::Worker => "worker_fault",
        FaultKind::Media => "found_wrong",
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// Counts what the machine says happened.
pub(crate) fn count(what: &Count) {
    let ended = |kind: &WorkKind, outcome: &'static str| {
        counter!(CHUNKS, "kind" => kind.name(), "outcome" => outcome).increment(1);
    };
    let read = |kind: &WorkKind, spent: &AttemptCost| {
        counter!(SOURCE_BYTES, "kind" => kind.name()).increment(spent.source_bytes);
    };
    match what {
        Count::Offered { kind, queued_ms, speculative } => {
            let speculative = if *speculative { "true" } else { "false" };
            counter!(OFFERS, "kind" => kind.name(), "speculative" => speculative).increment(1);
            histogram!(QUEUE_SECONDS, "kind" => kind.name()).record(seconds(*queued_ms));
        }
        Count::Committed { kind, took_ms, cost_ms, spent, .. } => {
            ended(kind, "committed");
            read(kind, spent);
            histogram!(ITEM_SECONDS, "kind" => kind.name()).record(seconds(*took_ms));
            histogram!(COST_RATIO, "kind" => kind.name())
                .record(seconds(*took_ms) / seconds((*cost_ms).max(1)));
        }
        Count::Faulted { kind, fault, worker, spent } => {
            tracing::warn!(%worker, kind = kind.name(), fault = fault.name(), "an attempt failed");
            ended(kind, fault_outcome(*fault));
            read(kind, spent);
        }
        Count::Vanished { kind, worker, spent } => {
            tracing::warn!(%worker, kind = kind.name(), "a worker vanished while it worked");
            ended(kind, "vanished");
            read(kind, spent);
        }
        Count::Superseded { kind, spent } => {
            ended(kind, "superseded");
            read(kind, spent);
        }
        Count::Caught { worker } => {
            tracing::warn!(%worker, "a worker was found to have committed something wrong");
            counter!(CAUGHT).increment(1);
        }
        Count::Suspended { worker, for_ms } => {
            tracing::warn!(%worker, for_ms, "a worker failed too often in a row and is suspended");
            counter!(SUSPENSIONS).increment(1);
        }
    }
}

/// Counts the output of a chunk whose report passed its check.
pub(crate) fn reported(spec: &ChunkSpec, report: &ChunkReport) {
    let (media, output_ms) = match &spec.media {
        ChunkMedia::Video(v) => {
            let ticks: u64 = v.segments.iter().map(|s| s.range.len()).sum();
            let ms = v.out_timebase.rescale(Ticks(ticks as i64), MILLIS).0.max(0) as u64;
            ("video", ms * v.rungs.len() as u64)
        }
        ChunkMedia::Audio(a) => {
            let samples = (a.packets.1 - a.packets.0) * reelmill_common::spec::AAC_FRAME;
            ("audio", samples * 1_000 / u64::from(a.settings.sample_rate.max(1)))
        }
    };
    counter!(OUTPUT_SECONDS, "media" => media).increment((output_ms + 500) / 1_000);
    counter!(OUTPUT_BYTES, "media" => media).increment(report.files.iter().map(|f| f.bytes).sum());
    histogram!(SPEED, "media" => media).record(seconds(output_ms) / seconds(report.cost.encode_ms.max(1)));
}

/// Shows how full the state store is.
pub(crate) fn room(room: Room) {
    gauge!(STATE_BYTES, "kind" => "used").set(room.used as f64);
    gauge!(STATE_BYTES, "kind" => "most").set(room.most as f64);
}

/// Counts a compaction of etcd.
pub(crate) fn compacted(done: bool) {
    counter!(COMPACTIONS, "outcome" => if done { "done" } else { "failed" }).increment(1);
}

/// Counts files that have changed.
pub(crate) fn reloaded(what: Watching, done: bool) {
    let outcome = if done { "done" } else { "failed" };
    counter!(RELOADS, "files" => what.name(), "outcome" => outcome).increment(1);
}

/// Counts a request that was not let in.
pub(crate) fn not_let_in(why: Failure) {
    counter!(NOT_LET_IN, "why" => why.name()).increment(1);
}

/// Counts a TLS handshake.
pub(crate) fn shook(end: Handshake) {
    counter!(HANDSHAKES, "outcome" => end.name()).increment(1);
}

/// Shows how things stand.
pub(crate) fn observe(backlog: Backlog, workers: &[WorkerView], jobs: &BTreeMap<&'static str, u64>) {
    for state in JOB_STATES {
        gauge!(JOBS, "state" => state).set(jobs.get(state).copied().unwrap_or(0) as f64);
    }
    let number = |which: fn(&WorkerView) -> bool| workers.iter().filter(|w| which(w)).count() as f64;
    gauge!(WORKERS, "state" => "connected").set(number(|w| w.connected));
    gauge!(WORKERS, "state" => "draining").set(number(|w| w.draining));
    gauge!(WORKERS, "state" => "suspended").set(number(|w| w.suspended_ms.is_some()));
    gauge!(SLOTS, "state" => "busy").set(backlog.busy as f64);
    gauge!(SLOTS, "state" => "free").set(backlog.slots.saturating_sub(backlog.busy) as f64);
    gauge!(READY).set(backlog.ready as f64);
    gauge!(TAKEN).set(backlog.taken as f64);
    gauge!(BACKLOG).set(seconds(backlog.cost_ms));
    let (least, most) = backlog.factors;
    gauge!(COST_FACTOR, "bound" => "least").set(least as f64 / 1_000.0);
    gauge!(COST_FACTOR, "bound" => "most").set(most as f64 / 1_000.0);
}
