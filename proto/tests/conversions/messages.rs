//! Strategies for session messages, requests, views and records.

use super::reports::{capability, cost, fault, outcome};
use super::values::{attempt, job_id, key, name, sha, spec_id, work_item, worker_id};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use reelmill_common::audit::{Audits, Caught};
use reelmill_common::job::{
    FailReason, JobOptions, JobRequest, JobState, JobView, Progress, SegmentAlignment,
};
use reelmill_common::ladder::{CustomRung, JobPreset, LadderChoice, X264Preset};
use reelmill_common::outcome::Verdict;
use reelmill_common::plan::RungSet;
use reelmill_common::record::{
    CommitRecord, FaultRecord, FoundBinding, IdempotencyRecord, JobRecord, LeaderRecord, ManifestRef,
    ObjectRef, OutsideRecord, Placement, PlanRef, Rebind, Unable, WorkerRecord,
};
use reelmill_common::session::{
    AttemptProgress, FromWorker, Hello, Lease, NamedFile, ReadGrant, SignedFile, SignedGrant, Termed,
    ToWorker, WriteGrant,
};
use reelmill_common::{
    BootId, FencingTerm, Fingerprint, IdempotencyKey, RunNo, Secret, Sha256, TenantId, WorkerId,
};
use reelmill_proto::stored::Record;

fn text() -> impl Strategy<Value = String> {
    any::<String>()
}

prop_compose! {
    fn hello()(
        worker in worker_id(), boot in name(), term in any::<u64>(), capability in capability(),
        running in vec((attempt(), job_id(), spec_id()), 0..3),
        unsettled in vec((attempt(), job_id(), spec_id(), outcome()), 0..3),
    ) -> Hello {
        let boot = BootId::parse(&boot).expect("a name");
        Hello { worker, boot, highest_term: FencingTerm(term), capability, running, unsettled }
    }
}

pub(crate) fn from_worker() -> impl Strategy<Value = FromWorker> {
    let progress = (attempt(), any::<u64>(), any::<u64>(), cost())
        .prop_map(|(attempt, done, total, cost)| AttemptProgress { attempt, done, total, cost });
    let file =
        (text(), any::<u64>(), sha()).prop_map(|(name, bytes, sha256)| NamedFile { name, bytes, sha256 });
    prop_oneof![
        hello().prop_map(FromWorker::Hello),
        any::<u32>().prop_map(|slots| FromWorker::Lease { slots }),
        (any::<u64>(), vec(progress, 0..3))
            .prop_map(|(sequence, running)| FromWorker::Heartbeat { sequence, running }),
        (attempt(), vec(file, 0..3)).prop_map(|(attempt, files)| FromWorker::Grant { attempt, files }),
        (attempt(), job_id(), spec_id(), outcome()).prop_map(|(attempt, job, spec, outcome)| {
            FromWorker::Outcome { attempt, job, spec, outcome: Box::new(outcome) }
        }),
        Just(FromWorker::Draining),
    ]
}

fn signed() -> impl Strategy<Value = SignedGrant> {
    (text(), vec((text(), text()), 0..3), any::<u64>()).prop_map(|(url, headers, valid_ms)| SignedGrant {
        url: Secret::new(url),
        headers,
        valid_ms,
    })
}

prop_compose! {
    fn lease()(
        attempt in attempt(), spec in spec_id(), job in job_id(), item in work_item(),
        (url, bytes, version, signed_source) in (text(), any::<Option<u64>>(), of(text()), of(signed())),
        (package, work, own, signed) in (text(), text(), any::<bool>(), any::<bool>()),
        decoder_threads in any::<u8>(), alone in any::<bool>(),
        audited in of((text(), of(signed()), any::<Option<u64>>())),
    ) -> Lease {
        let audited = audited.map(|(url, signed, bytes)| ReadGrant { url, signed, bytes, version: None });
        Lease {
            attempt, spec, job, item,
            source: ReadGrant { url, signed: signed_source, bytes, version },
            output: WriteGrant { package, work, own, signed },
            audited, decoder_threads, alone,
        }
    }
}

pub(crate) fn to_worker() -> impl Strategy<Value = Termed<ToWorker>> {
    let verdict = prop_oneof![Just(Verdict::Won), Just(Verdict::Lost), Just(Verdict::Gone)];
    let message = prop_oneof![
        any::<(u64, u64)>()
            .prop_map(|(lease_ttl_ms, heartbeat_ms)| ToWorker::Welcome { lease_ttl_ms, heartbeat_ms }),
        lease().prop_map(|l| ToWorker::Lease(Box::new(l))),
        any::<u64>().prop_map(|sequence| ToWorker::HeartbeatAck { sequence }),
        (attempt(), any::<bool>(), vec((text(), signed(), signed()), 0..3)).prop_map(
            |(attempt, allowed, files)| {
                let uploads =
                    files.into_iter().map(|(name, put, get)| SignedFile { name, put, get }).collect();
                ToWorker::Granted { attempt, allowed, uploads }
            }
        ),
        vec((attempt(), signed()), 0..3).prop_map(|sources| ToWorker::Renewed { sources }),
        (attempt(), verdict).prop_map(|(attempt, verdict)| ToWorker::Settled { attempt, verdict }),
        attempt().prop_map(|attempt| ToWorker::Revoke { attempt }),
        any::<bool>().prop_map(|reconnect| ToWorker::Drain { reconnect }),
    ];
    (any::<u64>(), message).prop_map(|(term, message)| Termed { term: FencingTerm(term), message })
}

fn x264_preset() -> impl Strategy<Value = X264Preset> {
    (0..X264Preset::ALL.len()).prop_map(|i| X264Preset::ALL[i])
}

fn ladder() -> impl Strategy<Value = LadderChoice> {
    let rung =
        (text(), any::<(u32, u32, Option<u32>, Option<u32>)>(), of(x264_preset()), any::<Option<bool>>())
            .prop_map(|(name, (long, short, max_rate_kbps, crf_tenths), preset, half_rate)| CustomRung {
                name,
                long,
                short,
                max_rate_kbps,
                crf_tenths,
                preset,
                half_rate,
            });
    prop_oneof![
        Just(LadderChoice::Default),
        vec(text(), 0..4).prop_map(LadderChoice::Named),
        vec(rung, 0..4).prop_map(LadderChoice::Custom),
    ]
}

prop_compose! {
    fn options()(
        preset in prop_oneof![
            Just(JobPreset::Speed), Just(JobPreset::Balanced), Just(JobPreset::Quality),
            x264_preset().prop_map(JobPreset::X264),
        ],
        segment_ms in 1..=u32::MAX,
        chunk_ms in any::<Option<u32>>(),
        segments in prop_oneof![Just(SegmentAlignment::Grid), Just(SegmentAlignment::Source)],
        output in of(text()),
        cpu_independent in any::<bool>(),
        sound_range_ms in 1..=u32::MAX,
    ) -> JobOptions {
        JobOptions { preset, segment_ms, chunk_ms, segments, output, cpu_independent, sound_range_ms }
    }
}

prop_compose! {
    pub(crate) fn job_request()(
        tenant in name(), source in "[^\u{0}]{1,40}", ladder in ladder(), options in options(),
        labels in btree_map(name(), name(), 0..4),
        priority in any::<i32>(),
        key in of(name()),
    ) -> JobRequest {
        JobRequest {
            tenant: TenantId::parse(&tenant).expect("a name"),
            source, ladder, options, labels, priority,
            idempotency_key: key.map(|k| IdempotencyKey::parse(&k).expect("a name")),
        }
    }
}

fn job_state() -> impl Strategy<Value = JobState> {
    let failed = fault()
        .prop_map(|f| JobState::Failed(FailReason { kind: f.kind, message: f.message, detail: f.detail }));
    prop_oneof![
        Just(JobState::Accepted),
        Just(JobState::Indexing),
        Just(JobState::Planned),
        Just(JobState::Running),
        Just(JobState::Publishing),
        Just(JobState::Published),
        failed,
        Just(JobState::Cancelled),
        Just(JobState::Collecting),
        Just(JobState::Collected),
    ]
}

prop_compose! {
    pub(crate) fn progress()(
        (chunks_done, chunks_total, chunks_running, retries) in any::<(u32, u32, u32, u32)>(),
        (work_total_ms, work_done_ms, eta_ms) in any::<(u64, u64, Option<u64>)>(),
        (elapsed_ms, media_ms) in any::<(u64, u64)>(),
    ) -> Progress {
        Progress {
            chunks_done, chunks_total, chunks_running, work_total_ms, work_done_ms, eta_ms, elapsed_ms, media_ms,
            retries,
        }
    }
}

prop_compose! {
    pub(crate) fn job_view()(
        id in job_id(), request in job_request(), state in job_state(), run in any::<u32>(),
        (submitted_unix_ms, version) in any::<(u64, u64)>(),
        progress in progress(),
        package in of(text()),
        notes in vec(text(), 0..3),
    ) -> JobView {
        JobView {
            id, tenant: request.tenant, source: request.source, labels: request.labels, priority: request.priority,
            state, run: RunNo(run), submitted_unix_ms, progress, version, package, notes,
        }
    }
}

prop_compose! {
    fn object()(key in key(), bytes in any::<u64>(), sha256 in sha()) -> ObjectRef {
        ObjectRef { key, bytes, sha256 }
    }
}

prop_compose! {
    fn plan_ref()(
        revision in any::<u32>(), object in object(), (chunks, media_ms) in any::<(u32, u64)>(),
        rungs in vec(text(), 0..4), why in of(text()),
    ) -> PlanRef {
        PlanRef { revision, object, chunks, media_ms, rungs, why }
    }
}

prop_compose! {
    fn rebind()(
        (revision, rungs) in any::<(u32, u64)>(),
        found in of((object(), of(sha()), text()).prop_map(|(analysis, sha256, ffmpeg_build)| FoundBinding {
            analysis,
            fingerprint: sha256.map(Fingerprint),
            ffmpeg_build,
        })),
    ) -> Rebind {
        Rebind { revision, rungs: RungSet(rungs), found }
    }
}

fn unable() -> impl Strategy<Value = Unable> {
    (sha(), any::<u64>())
        .prop_map(|(sha256, rungs)| Unable { fingerprint: Fingerprint(sha256), rungs: RungSet(rungs) })
}

prop_compose! {
    fn audits()(
        (files, sound, by_another, unswept, unheard_ms) in any::<(u32, u32, u32, bool, u64)>(),
        caught in vec((worker_id(), text()).prop_map(|(worker, what)| Caught { worker, what }), 0..3),
    ) -> Audits {
        Audits { files, sound, by_another, caught, unswept, unheard_ms }
    }
}

prop_compose! {
    fn job_record()(
        id in job_id(), request in job_request(), state in job_state(),
        (slots_hint, chunk_cost_max_ms, run, version) in any::<(u32, Option<u64>, u32, u64)>(),
        (submitted_unix_ms, began_unix_ms, ended_unix_ms) in any::<(u64, Option<u64>, Option<u64>)>(),
        (index, analysis) in (of(object()), of(object())),
        spent in cost(),
        audits in audits(),
        placement in prop_oneof![Just(Placement::Direct), Just(Placement::Promoted)],
        (plan, rebind, rebinds, unable) in (of(plan_ref()), of(rebind()), any::<u32>(), vec(unable(), 0..3)),
        (unbound_ms, damage) in (any::<u64>(), of(text())),
        manifests in vec(
            (text(), any::<u64>(), sha()).prop_map(|(name, bytes, sha256)| ManifestRef { name, bytes, sha256 }),
            0..3,
        ),
    ) -> JobRecord {
        JobRecord {
            id, request, slots_hint, chunk_cost_max_ms, placement, submitted_unix_ms, state, run: RunNo(run), version, damage, index, analysis, plan,
            rebind, rebinds, unbound_ms, unable, manifests, began_unix_ms, ended_unix_ms, spent, audits,
        }
    }
}

pub(crate) fn record() -> impl Strategy<Value = Record> {
    let commit = (job_id(), spec_id(), attempt(), worker_id(), object())
        .prop_map(|(job, spec, attempt, worker, report)| CommitRecord { job, spec, attempt, worker, report });
    let fault = ((job_id(), spec_id()), any::<(u32, u32, bool)>(), vec(worker_id(), 0..4), of(fault()))
        .prop_map(|((job, spec), (faults, losses, failed), workers, last)| FaultRecord {
            job,
            spec,
            faults,
            losses,
            workers,
            last,
            failed,
        });
    let idempotency = (name(), name(), sha(), job_id(), any::<u64>()).prop_map(
        |(tenant, key, request, job, submitted_unix_ms)| IdempotencyRecord {
            tenant: TenantId::parse(&tenant).expect("a name"),
            key: IdempotencyKey::parse(&key).expect("a name"),
            request,
            job,
            submitted_unix_ms,
        },
    );
    let leader =
        (any::<u64>(), text()).prop_map(|(term, address)| LeaderRecord { term: FencingTerm(term), address });
    prop_oneof![
        job_record().prop_map(|r| Record::Job(Box::new(r))),
        commit.prop_map(Record::Commit),
        fault.prop_map(Record::Fault),
        idempotency.prop_map(Record::Idempotency),
        any::<u64>().prop_map(|term| Record::Outside(OutsideRecord { term: FencingTerm(term) })),
        (any::<[u8; 32]>(), any::<u64>(), any::<u64>()).prop_map(|(secret, from, until)| {
            Record::Worker(WorkerRecord {
                worker: WorkerId::parse("gpu-1").expect("a name"),
                secret: Sha256(secret),
                enrolled_unix_ms: from,
                expires_unix_ms: until,
            })
        }),
        leader.prop_map(Record::Leader),
    ]
}
