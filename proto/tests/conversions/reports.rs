//! Strategies for what workers say: what they can do, what came of an attempt and what it cost.

use crate::values::{family, key, sha, text, worker_id};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use reelmill_common::audit::AuditReport;
use reelmill_common::capability::{Capability, EncoderProof};
use reelmill_common::loudness::{Histogram, LOUDNESS_BINS, Loudness};
use reelmill_common::outcome::{
    AnalyseReport, AttemptCost, ChunkReport, Fault, FaultKind, FileReport, IFrame, Outcome, Report,
    ReportBody,
};
use reelmill_common::{Fingerprint, SegmentNumber};

fn encoder() -> impl Strategy<Value = EncoderProof> {
    (family(), sha(), any::<u64>()).prop_map(|(family, f, kilopixels_per_second)| EncoderProof {
        family,
        fingerprint: Fingerprint(f),
        kilopixels_per_second,
    })
}

prop_compose! {
    pub(crate) fn capability()(
        worker in worker_id(),
        (slots, cores, memory_mib) in any::<(u32, u32, u64)>(),
        encoders in vec(encoder(), 0..3),
        ffmpeg_build in text(),
        (audits, audits_sound) in any::<(bool, bool)>(),
    ) -> Capability {
        Capability { worker, slots, cores, memory_mib, encoders, ffmpeg_build, audits, audits_sound }
    }
}

prop_compose! {
    fn file_report()(
        rung in any::<u32>(),
        segment in of((1..=u32::MAX).prop_map(SegmentNumber)),
        bytes in any::<u64>(),
        sha256 in sha(),
        iframes in vec(
            any::<(i64, u64, u64)>().prop_map(|(time, offset, length)| IFrame { time, offset, length }),
            0..3,
        ),
    ) -> FileReport {
        FileReport { rung, segment, bytes, sha256, iframes }
    }
}

fn histogram() -> impl Strategy<Value = Histogram> {
    vec(any::<u64>(), 0..LOUDNESS_BINS).prop_filter_map("too many bins", Histogram::from_counts)
}

fn loudness() -> impl Strategy<Value = Loudness> {
    (histogram(), histogram(), any::<Option<i32>>()).prop_map(|(momentary, short_term, peak)| Loudness {
        momentary,
        short_term,
        true_peak_dbtp_x100: peak,
    })
}

prop_compose! {
    pub(crate) fn chunk_report()(
        files in vec(file_report(), 0..4),
        units in any::<Vec<u64>>(),
        configs in any::<Vec<Vec<u8>>>(),
        loudness in of(loudness().prop_map(Box::new)),
        cost in cost(),
        encoder in of(encoder()),
        ffmpeg_build in text(),
        notes in vec(text(), 0..3),
    ) -> ChunkReport {
        ChunkReport {
            files, units, configs, loudness,
            cost, encoder, ffmpeg_build, notes,
        }
    }
}

pub(crate) fn cost() -> impl Strategy<Value = AttemptCost> {
    any::<(u64, u64, u64, u64)>().prop_map(|(wall_ms, cpu_ms, encode_ms, source_bytes)| AttemptCost {
        wall_ms,
        cpu_ms,
        encode_ms,
        source_bytes,
    })
}

pub(crate) fn analysis() -> impl Strategy<Value = AnalyseReport> {
    (any::<Vec<Vec<u8>>>(), any::<Vec<u32>>(), any::<Vec<u64>>())
        .prop_map(|(avcc, peaks, joins)| AnalyseReport { avcc, peaks, joins })
}

pub(crate) fn fault() -> impl Strategy<Value = Fault> {
    let kind = prop_oneof![
        Just(FaultKind::Source),
        Just(FaultKind::Encoder),
        Just(FaultKind::Output),
        Just(FaultKind::Storage),
        Just(FaultKind::Abandoned),
        Just(FaultKind::Worker),
        Just(FaultKind::Binding),
        Just(FaultKind::Media),
        Just(FaultKind::Damage)
    ];
    (kind, text(), text()).prop_map(|(kind, message, detail)| Fault { kind, message, detail })
}

pub(crate) fn outcome() -> impl Strategy<Value = Outcome> {
    let body = prop_oneof![
        cost().prop_map(ReportBody::Index),
        (analysis(), cost()).prop_map(|(report, cost)| ReportBody::Analyse(report, cost)),
        chunk_report().prop_map(ReportBody::Encode),
        (any::<(u64, u32)>(), cost()).prop_map(|((frames, worst_x100), cost)| {
            ReportBody::Audit(AuditReport { frames, worst_x100 }, cost)
        }),
    ];
    let report = (key(), sha(), any::<u64>(), body)
        .prop_map(|(key, sha256, bytes, body)| Outcome::Done(Report { key, sha256, bytes, body }));
    let failed = (fault(), cost()).prop_map(|(fault, cost)| Outcome::Failed { fault, cost });
    prop_oneof![report, failed]
}
