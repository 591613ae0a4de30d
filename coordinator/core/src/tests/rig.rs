//! A machine with a store that always answers, to hold transitions against.

use crate::attempt::Phase;
use crate::tenants::InSlots;
use crate::*;
use reelmill_common::capability::{Capability, EncoderProof, Needs};
use reelmill_common::job::{FailReason, JobOptions, JobRequest, JobState};
use reelmill_common::keys::{ObjectKey, report_key};
use reelmill_common::ladder::{EncoderFamily, LadderChoice};
use reelmill_common::outcome::{
    AttemptCost, ChunkReport, Fault, FaultKind, Outcome, Report, ReportBody, Verdict,
};
use reelmill_common::plan::{CostClass, RungSet};
use reelmill_common::record::{JobRecord, ManifestRef, ObjectRef, Placement, PlanRef, StateKey};
use reelmill_common::session::{AttemptProgress, FromWorker, Hello, ToWorker};
use reelmill_common::*;
use std::collections::BTreeMap;

pub(super) const NEEDS: Needs = Needs { family: Some(EncoderFamily::X264), memory_mib: 100 };

pub(super) struct Rig {
    pub(super) machine: Coordinator,
    pub(super) now: Millis,
    pub(super) store: BTreeMap<StateKey, Record>,
    /// Effects that were let go, oldest first.
    pub(super) done: Vec<Effect>,
    /// Answer writes at once?
    pub(super) answers: bool,
    pub(super) waiting: Option<Step>,
    pub(super) writes: usize,
    last_session: u64,
    last_token: u64,
    pub(super) config: CoordinatorConfig,
}

/// What every attempt costs, and what its heartbeats tell of it.
pub(super) const COST: AttemptCost = AttemptCost { wall_ms: 50, cpu_ms: 40, encode_ms: 30, source_bytes: 20 };
pub(super) const HEARD: AttemptCost = AttemptCost { wall_ms: 5, cpu_ms: 4, encode_ms: 3, source_bytes: 2 };

pub(super) fn job(name: &str) -> JobId {
    JobId::parse(name).expect("job")
}

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect("tenant")
}

/// Tenants by weight.
pub(super) fn shares(of: &[(&str, u32)]) -> Tenants {
    let rules = |weight| TenantRules { weight, ..Default::default() };
    of.iter().map(|(name, weight)| (tenant(name), rules(*weight))).collect()
}

pub(super) fn spec(n: u8, cost_ms: u64) -> SpecRef {
    SpecRef {
        id: SpecId(Sha256([n; 32])),
        cost_ms,
        needs: NEEDS,
        rungs: RungSet::NONE,
        class: CostClass::NONE,
    }
}

pub(super) fn object() -> ObjectRef {
    ObjectRef { key: ObjectKey::parse("o").expect("key"), bytes: 1, sha256: Sha256([9; 32]) }
}

pub(super) fn plan_ref(revision: u32, chunks: usize) -> PlanRef {
    PlanRef {
        revision,
        object: object(),
        chunks: chunks as u32,
        media_ms: 60_000,
        rungs: vec!["720p".to_owned(), "360p".to_owned()],
        why: (revision > 1).then(|| "720p was bound anew".to_owned()),
    }
}

pub(super) fn fault(kind: FaultKind) -> Outcome {
    let fault = Fault { kind, message: "it broke".to_owned(), detail: String::new() };
    Outcome::Failed { fault, cost: COST }
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(CoordinatorConfig::default())
    }

    pub(super) fn with(config: CoordinatorConfig) -> Self {
        let mut rig = Self {
            machine: Coordinator::new(config.clone()),
            now: Millis(1_000),
            store: BTreeMap::new(),
            done: vec![],
            answers: true,
            waiting: None,
            writes: 0,
            last_session: 0,
            last_token: 0,
            config,
        };
        rig.term(1);
        rig
    }

    /// A new term begins: in this process, with everything that is stored. Every stored plan is that of `running`.
    pub(super) fn term(&mut self, term: u64) {
        let plans = self.store.values().filter_map(|r| match r {
            Record::Job(j) if j.plan.is_some() => Some((j.id.clone(), Ok(vec![spec(1, 900), spec(2, 500)]))),
            _ => None,
        });
        self.begin(term, plans.collect());
    }

    pub(super) fn begin(&mut self, term: u64, plans: BTreeMap<JobId, Result<Vec<SpecRef>, FailReason>>) {
        self.machine = Coordinator::new(self.config.clone());
        self.waiting = None;
        let records = self.store.values().cloned().collect();
        let begun = TermBegun { term: FencingTerm(term), records, plans, unix_ms: 5_000 };
        self.feed(Event::TermBegun(Box::new(begun)));
    }

    /// Jobs that a new leader finds planned: id, owner, priority, chunks. Nobody is connected; nobody is waited for.
    pub(super) fn planned(&mut self, jobs: &[(&str, &str, i32, &[SpecRef])]) {
        let mut plans = BTreeMap::new();
        for (id, owner, priority, chunks) in jobs {
            assert!(matches!(self.submit_as(id, owner, None, 1, *priority), Some(Ok(_))));
            let plan = plan_ref(1, chunks.len());
            let record = JobRecord { state: JobState::Planned, plan: Some(plan), ..self.record(id).clone() };
            self.store.insert(StateKey::Job(job(id)), Record::Job(Box::new(record)));
            plans.insert(job(id), Ok(chunks.to_vec()));
        }
        self.begin(2, plans);
        self.tick(5_001);
        self.done.clear();
    }

    pub(super) fn feed(&mut self, event: Event) {
        let step = self.machine.handle(self.now, event);
        self.counts_slots();
        self.perform(step);
    }

    /// The slots that each tenant takes are counted as they are taken and left: after every event of every test they are
    /// what a look at all attempts would find.
    fn counts_slots(&self) {
        let Some(leader) = self.machine.leader() else { return };
        let mut found = InSlots::default();
        let in_slots = leader.attempts.values().filter(|a| a.phase != Phase::Uploading);
        in_slots.for_each(|a| found.takes(&leader.jobs[&a.job].record.request.tenant));
        assert_eq!(leader.in_slots, found);
    }

    fn perform(&mut self, step: Step) {
        self.done.extend(step.now.clone());
        if step.writes.is_empty() {
            return;
        }
        assert!(self.waiting.is_none(), "one batch in flight");
        self.waiting = Some(step);
        if self.answers {
            self.answer();
        }
    }

    /// The store acknowledges what is in flight.
    pub(super) fn answer(&mut self) {
        let Some(step) = self.waiting.take() else { return };
        self.writes += step.writes.ops.len();
        for op in step.writes.ops {
            match op {
                Op::Put(r) => self.store.insert(r.key(), r),
                Op::Delete(key) => self.store.remove(&key),
            };
        }
        self.done.extend(step.then);
        self.feed(Event::BatchDone(step.writes.id));
    }

    pub(super) fn tick(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        self.feed(Event::Tick { unix_ms: 5_000 + self.now.0 });
    }

    pub(super) fn request(&self, owner: &str, key: Option<&str>) -> JobRequest {
        JobRequest {
            tenant: tenant(owner),
            source: "/films/a.mp4".to_owned(),
            ladder: LadderChoice::default(),
            options: JobOptions::default(),
            labels: BTreeMap::new(),
            priority: 0,
            idempotency_key: key.map(|k| IdempotencyKey::parse(k).expect("key")),
        }
    }

    pub(super) fn call(&mut self, call: Call) -> Option<Result<Answer, Refusal>> {
        self.last_token += 1;
        let token = Token(self.last_token);
        self.feed(Event::Call { token, call });
        self.reply(token)
    }

    pub(super) fn reply(&self, token: Token) -> Option<Result<Answer, Refusal>> {
        self.done.iter().find_map(|e| match e {
            Effect::Reply { token: t, result } if *t == token => Some(result.clone()),
            _ => None,
        })
    }

    pub(super) fn submit_as(
        &mut self,
        id: &str,
        owner: &str,
        key: Option<&str>,
        hash: u8,
        priority: i32,
    ) -> Option<Result<Answer, Refusal>> {
        let request = JobRequest { priority, ..self.request(owner, key) };
        let request_hash = Sha256([hash; 32]);
        let s = Submission {
            id: job(id),
            request,
            request_hash,
            slots_hint: None,
            placement: Placement::Direct,
            unix_ms: 5_000,
        };
        self.call(Call::Submit(Box::new(s)))
    }

    pub(super) fn submit(&mut self, id: &str) {
        let answer = self.submit_as(id, "t", None, 1, 0);
        assert_eq!(answer, Some(Ok(Answer { job: job(id), existed: false })));
    }

    pub(super) fn hello(&self, name: &str, boot: &str, slots: u32) -> Hello {
        let worker = WorkerId::parse(name).expect("worker");
        Hello {
            worker: worker.clone(),
            boot: BootId::parse(boot).expect("boot"),
            highest_term: FencingTerm(0),
            capability: Capability {
                worker,
                slots,
                cores: slots,
                memory_mib: 4_000,
                encoders: vec![EncoderProof {
                    family: EncoderFamily::X264,
                    fingerprint: Fingerprint(Sha256([1; 32])),
                    kilopixels_per_second: 1_000,
                }],
                ffmpeg_build: String::new(),
                audits: false,
                audits_sound: false,
            },
            running: vec![],
            unsettled: vec![],
        }
    }

    /// A worker connects, and asks for as many leases as it has slots.
    pub(super) fn worker(&mut self, name: &str, slots: u32) -> SessionId {
        let session = self.connect(self.hello(name, "b1", slots));
        self.ask(session, slots);
        session
    }

    pub(super) fn connect(&mut self, hello: Hello) -> SessionId {
        self.last_session += 1;
        let session = SessionId(self.last_session);
        self.feed(Event::WorkerConnected { session, hello: Box::new(hello) });
        session
    }

    pub(super) fn ask(&mut self, session: SessionId, slots: u32) {
        self.said(session, FromWorker::Lease { slots });
    }

    pub(super) fn said(&mut self, session: SessionId, message: FromWorker) {
        self.feed(Event::WorkerSaid { session, message });
    }

    pub(super) fn beat(&mut self, session: SessionId, named: &[AttemptId]) {
        let running =
            named.iter().map(|a| AttemptProgress { attempt: *a, done: 0, total: 10, cost: HEARD }).collect();
        self.said(session, FromWorker::Heartbeat { sequence: 1, running });
    }

    /// Leases let go since the last call, in the order in which they were decided: the first of a job leaves after its
    /// record.
    pub(super) fn leases(&mut self) -> Vec<LeaseOrder> {
        let (leases, rest) =
            std::mem::take(&mut self.done).into_iter().partition(|e| matches!(e, Effect::Lease(_)));
        self.done = rest;
        let order = |e: Effect| match e {
            Effect::Lease(order) => *order,
            _ => unreachable!("partitioned"),
        };
        let mut leases: Vec<LeaseOrder> = Vec::into_iter(leases).map(order).collect();
        leases.sort_by_key(|order| order.attempt);
        leases
    }

    /// Tasks let go since the last call.
    pub(super) fn task(&mut self) -> Option<Task> {
        let at = self.done.iter().position(|e| matches!(e, Effect::Start(_)))?;
        match self.done.remove(at) {
            Effect::Start(task) => Some(task),
            _ => None,
        }
    }

    /// The next task is of this kind and comes to this.
    pub(super) fn task_ends(&mut self, kind: TaskKind, result: Result<TaskOutput, TaskError>) {
        let task = self.task().expect("a task was started");
        assert_eq!(task.kind, kind);
        self.feed(Event::TaskEnded { task: task.id, result });
    }

    pub(super) fn report(&self, order: &LeaseOrder) -> Outcome {
        let body = match order.kind {
            WorkKind::Index => ReportBody::Index(COST),
            WorkKind::Analyse => ReportBody::Analyse(Default::default(), COST),
            WorkKind::Audit => ReportBody::Audit(Default::default(), COST),
            WorkKind::Encode => ReportBody::Encode(ChunkReport {
                files: vec![],
                units: vec![],
                configs: vec![],
                loudness: None,
                cost: COST,
                encoder: None,
                ffmpeg_build: String::new(),
                notes: vec![],
            }),
        };
        Outcome::Done(Report {
            key: report_key(order.spec, order.attempt),
            sha256: Sha256([3; 32]),
            bytes: 3,
            body,
        })
    }

    pub(super) fn ends(&mut self, order: &LeaseOrder, outcome: Outcome) -> Option<Verdict> {
        self.ends_on(order.session, order, outcome)
    }

    pub(super) fn ends_on(
        &mut self,
        session: SessionId,
        order: &LeaseOrder,
        outcome: Outcome,
    ) -> Option<Verdict> {
        self.done.clear();
        let (attempt, job, spec) = (order.attempt, order.job.clone(), order.spec);
        self.feed(Event::OutcomeChecked { session, attempt, job, spec, outcome: Box::new(outcome) });
        self.verdict(attempt)
    }

    pub(super) fn verdict(&self, of: AttemptId) -> Option<Verdict> {
        self.sent().find_map(|m| match m {
            ToWorker::Settled { attempt, verdict } if *attempt == of => Some(*verdict),
            _ => None,
        })
    }

    pub(super) fn sent(&self) -> impl Iterator<Item = &ToWorker> {
        self.done.iter().filter_map(|e| match e {
            Effect::Send { message, .. } => Some(message),
            _ => None,
        })
    }

    pub(super) fn was_revoked(&self, of: AttemptId) -> bool {
        self.sent().any(|m| matches!(m, ToWorker::Revoke { attempt } if *attempt == of))
    }

    pub(super) fn wins(&mut self, order: &LeaseOrder) {
        let report = self.report(order);
        assert_eq!(self.ends(order, report), Some(Verdict::Won));
    }

    pub(super) fn state(&self, id: &str) -> JobState {
        self.record(id).state.clone()
    }

    /// The stored record of a job.
    pub(super) fn record(&self, id: &str) -> &JobRecord {
        match self.store.get(&StateKey::Job(job(id))) {
            Some(Record::Job(r)) => r,
            other => panic!("{id} is not stored: {other:?}"),
        }
    }

    pub(super) fn budget(&self, id: &str, spec: SpecId) -> Option<(u32, u32, bool)> {
        match self.store.get(&StateKey::Fault(job(id), spec)) {
            Some(Record::Fault(f)) => Some((f.faults, f.losses, f.failed)),
            _ => None,
        }
    }

    /// Brings a submitted job through indexing to a plan of these chunks; `session` does the work.
    pub(super) fn plan(&mut self, id: &str, session: SessionId, chunks: &[SpecRef]) {
        let index = self.leases().into_iter().find(|l| l.kind == WorkKind::Index).expect("an Index lease");
        assert_eq!((index.session, index.job.as_str()), (session, id));
        self.wins(&index);
        self.task_ends(TaskKind::PrepareAnalyse, Ok(TaskOutput::AnalyseReady(None)));
        let plan = plan_ref(1, chunks.len());
        self.task_ends(TaskKind::MakePlan, Ok(TaskOutput::Planned { plan, specs: chunks.to_vec() }));
    }

    /// A job with two chunks, leased to worker `w` of two slots.
    pub(super) fn running(&mut self) -> (SessionId, Vec<LeaseOrder>) {
        let w = self.worker("w", 2);
        self.submit("j");
        self.plan("j", w, &[spec(1, 900), spec(2, 500)]);
        self.ask(w, 2);
        let leases = self.leases();
        assert_eq!(leases.len(), 2);
        (w, leases)
    }

    /// The manifests are made. Where files are still to be drawn for a second look, none is.
    pub(super) fn publish(&mut self) {
        let draws = |e: &Effect| matches!(e, Effect::Start(task) if task.kind == TaskKind::PrepareAudit);
        if self.done.iter().any(draws) {
            self.task_ends(TaskKind::PrepareAudit, Ok(TaskOutput::AuditsReady(vec![])));
        }
        let manifest = ManifestRef { name: "master.m3u8".to_owned(), bytes: 1, sha256: Sha256([4; 32]) };
        self.task_ends(TaskKind::BuildManifests, Ok(TaskOutput::ManifestsReady(vec![manifest])));
    }
}
