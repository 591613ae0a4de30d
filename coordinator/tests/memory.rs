//! What an open chunk costs a coordinator in memory, counted by the allocator: its part of the plan that leases are made
//! from, and its place in the control machine, as long as it is open and after its commit. A hundred thousand of them have
//! to have room beside two thousand connections.

#![allow(missing_docs, reason = "tests")]

use cap::Cap;
use reelmill_common::capability::{Capability, EncoderProof};
use reelmill_common::index::{
    Colour, Demuxer, FieldOrder, IndexMethod, KeyFrame, KeyKind, Light, Rotation, SourceId, SourceIndex,
    VideoTrack,
};
use reelmill_common::job::{JobOptions, JobRequest, JobState};
use reelmill_common::keys::{plan_key, report_key};
use reelmill_common::ladder::{EncoderFamily, LadderChoice};
use reelmill_common::outcome::{AnalyseReport, AttemptCost, ChunkReport, Outcome, Report, ReportBody};
use reelmill_common::plan::{Plan, RungSet, Sizing};
use reelmill_common::record::{JobRecord, ObjectRef, Placement, PlanRef};
use reelmill_common::session::{FromWorker, Hello};
use reelmill_common::{
    BootId, FencingTerm, Fingerprint, JobId, Millis, RunNo, Sha256, TenantId, TickSeq, Ticks, Timebase,
    WorkerId,
};
use reelmill_coordinator_core::{
    Coordinator, CoordinatorConfig, Effect, Event, LeaseOrder, Record, SessionId, SpecRef, Step, TermBegun,
};
use reelmill_plan::{PlanInput, analyse_spec, ladder};
use reelmill_proto::stored::{decode_plan, encode_plan};
use std::alloc::System;
use std::collections::BTreeMap;
use std::sync::Mutex;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Segments of the film, one a chunk.
const CHUNKS: usize = 10_000;

/// One measurement at a time: the allocator is shared.
static ONE: Mutex<()> = Mutex::new(());

/// What something takes up in memory once it is made, and the thing.
fn weighed<T>(make: impl FnOnce() -> T) -> (usize, T) {
    let before = MEMORY.allocated();
    let made = make();
    (MEMORY.allocated() - before, made)
}

/// 1080p24 without sound, a keyframe every two seconds.
fn index() -> SourceIndex {
    let key = |n: u32| KeyFrame {
        frame: n * 48,
        pts: Ticks(i64::from(n) * 48_000),
        kind: KeyKind::Idr,
        offset: None,
    };
    let video = VideoTrack {
        stream: 0,
        codec: "h264".to_owned(),
        timebase: Timebase::new(1, 24_000).expect("a timebase"),
        width: 1920,
        height: 1080,
        sar: (1, 1),
        rotation: Rotation::default(),
        bit_depth: Some(8),
        colour: Colour::default(),
        light: Light::default(),
        field_order: FieldOrder::Progressive,
        language: None,
        frames: TickSeq::Regular { first: 0, step: 1_000, count: CHUNKS as u32 * 48 },
        keys: (0..CHUNKS as u32).map(key).collect(),
        end: Some(Ticks(CHUNKS as i64 * 48_000)),
    };
    SourceIndex {
        source: SourceId(Sha256::of(b"a film")),
        bytes: 1 << 30,
        demuxer: Demuxer::Mov,
        method: IndexMethod::Mp4Tables,
        video: Some(video),
        audio: Vec::new(),
        ignored: Vec::new(),
        notes: Vec::new(),
    }
}

/// A large fleet that tenants share.
const SIZING: Sizing = Sizing { slots_hint: 2_000, chunk_cost_max_ms: Some(20_000) };

fn plan() -> Plan {
    let options = JobOptions { segment_ms: 2_000, chunk_ms: Some(2_000), ..JobOptions::default() };
    let index = index();
    let ladder = ladder::fit(&index, &LadderChoice::Default, &options).expect("a ladder");
    let spec = analyse_spec(&index, &ladder, &options, SIZING).expect("an analysis");
    // as long as those of x264 are
    let avcc = spec.rungs.iter().map(|r| [vec![1, 100, 0, r.level], vec![0xff; 42]].concat()).collect();
    let analyses = AnalyseReport { avcc, ..AnalyseReport::default() };
    let input =
        PlanInput { index: &index, analyses: &analyses, ladder: &ladder, options: &options, sizing: SIZING };
    let plan = reelmill_plan::plan(&input).expect("a plan");
    assert_eq!(plan.chunks.len(), CHUNKS);
    assert!(plan.video.len() >= 5, "a whole ladder");
    plan
}

#[test]
fn a_chunk_of_a_plan_takes_some_hundred_bytes() {
    let _one = ONE.lock();
    let (made, plan) = weighed(plan);
    let stored = encode_plan(&plan);
    let (read, again) = weighed(|| decode_plan(&stored).expect("a plan"));
    assert!(again == plan);
    println!("a chunk takes {} bytes as made, {} as read", made / CHUNKS, read / CHUNKS);
    for bytes in [made, read] {
        assert!(bytes / CHUNKS <= 450, "{} bytes a chunk", bytes / CHUNKS);
    }
}

/// A machine that leads one job of these chunks, with one worker of as many slots.
struct Rig {
    machine: Coordinator,
    leases: Vec<LeaseOrder>,
}

fn object(name: &str) -> ObjectRef {
    let sha256 = Sha256::of(name.as_bytes());
    ObjectRef { key: plan_key(1, sha256), bytes: 1, sha256 }
}

fn job() -> JobRecord {
    let request = JobRequest {
        tenant: TenantId::local(),
        source: "/films/a.mp4".to_owned(),
        ladder: LadderChoice::Default,
        options: JobOptions::default(),
        labels: BTreeMap::new(),
        priority: 0,
        idempotency_key: None,
    };
    JobRecord {
        id: JobId::parse("0192f0c1-aaaa-7bbb-8ccc-0123456789ab").expect("a job"),
        request,
        slots_hint: SIZING.slots_hint,
        chunk_cost_max_ms: SIZING.chunk_cost_max_ms,
        placement: Placement::Direct,
        submitted_unix_ms: 1,
        state: JobState::Running,
        run: RunNo(1),
        version: 1,
        index: Some(object("index")),
        analysis: Some(object("analysis")),
        plan: Some(PlanRef {
            revision: 1,
            object: object("plan"),
            chunks: CHUNKS as u32,
            media_ms: 1,
            rungs: vec!["1080p".to_owned()],
            why: None,
        }),
        rebind: None,
        damage: None,
        rebinds: 0,
        unbound_ms: 0,
        unable: vec![],
        manifests: vec![],
        began_unix_ms: Some(1),
        ended_unix_ms: None,
        spent: AttemptCost::default(),
        audits: Default::default(),
    }
}

impl Rig {
    fn begin(specs: Vec<SpecRef>) -> Self {
        let record = job();
        let plans = BTreeMap::from([(record.id.clone(), Ok(specs))]);
        let records = vec![Record::Job(Box::new(record))];
        let begun = TermBegun { term: FencingTerm(1), records, plans, unix_ms: 1 };
        let mut rig = Self { machine: Coordinator::new(CoordinatorConfig::default()), leases: Vec::new() };
        rig.feed(Event::TermBegun(Box::new(begun)));
        rig
    }

    /// Everything is durable at once.
    fn feed(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let Step { now, writes, then } = self.machine.handle(Millis(60_000), event);
            let leases = now.into_iter().chain(then).filter_map(|effect| match effect {
                Effect::Lease(order) => Some(*order),
                _ => None,
            });
            self.leases.extend(leases);
            next = (!writes.is_empty()).then_some(Event::BatchDone(writes.id));
        }
    }

    /// A worker comes and does all of it.
    fn does_all(&mut self) {
        let worker = WorkerId::parse("worker-0001").expect("a worker");
        let encoder = EncoderProof {
            family: EncoderFamily::X264,
            fingerprint: Fingerprint(Sha256::of(b"clip")),
            kilopixels_per_second: 50_000,
        };
        let slots = CHUNKS as u32;
        let capability = Capability {
            worker: worker.clone(),
            slots,
            cores: slots,
            memory_mib: u64::MAX / 2,
            encoders: vec![encoder],
            ffmpeg_build: "5.1".to_owned(),
            audits: false,
            audits_sound: false,
        };
        let boot = BootId::parse("boot").expect("a boot");
        let highest_term = FencingTerm(1);
        let hello = Hello { worker, boot, highest_term, capability, running: vec![], unsettled: vec![] };
        let session = SessionId(1);
        self.feed(Event::WorkerConnected { session, hello: Box::new(hello) });
        self.feed(Event::WorkerSaid { session, message: FromWorker::Lease { slots } });
        let leases = std::mem::take(&mut self.leases);
        assert_eq!(leases.len(), CHUNKS);
        for LeaseOrder { attempt, job, spec, .. } in leases {
            let report = Report {
                key: report_key(spec, attempt),
                sha256: spec.0,
                bytes: 1_000,
                body: ReportBody::Encode(ChunkReport {
                    files: vec![],
                    units: vec![],
                    configs: vec![],
                    loudness: None,
                    cost: AttemptCost::default(),
                    encoder: None,
                    ffmpeg_build: String::new(),
                    notes: vec![],
                }),
            };
            let outcome = Box::new(Outcome::Done(report));
            self.feed(Event::OutcomeChecked { session, attempt, job, spec, outcome });
        }
    }
}

#[test]
fn a_chunk_takes_some_hundred_bytes_of_the_machine() {
    let _one = ONE.lock();
    let plan = plan();
    let needs = plan.chunks[0].needs;
    let one = |chunk: &reelmill_common::plan::PlannedChunk| SpecRef {
        id: chunk.spec.spec_id(),
        cost_ms: chunk.cost_ms,
        needs,
        rungs: RungSet::of(0..5),
        class: reelmill_plan::cost_class(&plan, &chunk.spec),
    };
    let specs: Vec<SpecRef> = plan.chunks.iter().map(one).collect();
    drop(plan);
    let (open, mut rig) = weighed(|| Rig::begin(specs.clone()));
    let before = MEMORY.allocated();
    rig.does_all();
    let committed = open + MEMORY.allocated() - before;
    println!("a chunk takes {} bytes open, {} committed", open / CHUNKS, committed / CHUNKS);
    assert!(open / CHUNKS <= 360, "{} bytes an open chunk", open / CHUNKS);
    assert!(committed / CHUNKS <= 650, "{} bytes a committed chunk", committed / CHUNKS);
}
