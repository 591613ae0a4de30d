//! The workers: as fast as they are, they take leases, fail now and then, and report.

use super::trace::{Ending, Try};
use super::world::{What, World};
use reelmill_common::capability::{Capability, EncoderProof};
use reelmill_common::keys::report_key;
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::outcome::{AttemptCost, ChunkReport, Fault, FaultKind, Outcome, Report, ReportBody};
use reelmill_common::session::{AttemptProgress, FromWorker, Hello, ToWorker};
use reelmill_common::{AttemptId, BootId, FencingTerm, Fingerprint, JobId, Millis, Sha256, SpecId, WorkerId};
use reelmill_coordinator_core::{Event, LeaseOrder, SessionId, WorkKind};
use std::collections::BTreeMap;

/// A message on its way.
const LAG_MS: u64 = 10;
/// Putting a chunk's files into storage.
const UPLOAD_MS: u64 = 200;
/// A crashed worker is back.
const REBOOT_MS: u64 = 5_000;
const BEAT_MS: u64 = 5_000;

/// An attempt on a worker.
#[derive(Clone, Debug)]
pub(super) struct Doing {
    pub(super) job: JobId,
    pub(super) spec: SpecId,
    pub(super) kind: WorkKind,
    pub(super) since: Millis,
    pub(super) takes_ms: u64,
    pub(super) stored: bool,
}

pub(super) struct Labourer {
    pub(super) session: SessionId,
    pub(super) life: u64,
    pub(super) doing: BTreeMap<AttemptId, Doing>,
}

impl World<'_> {
    pub(super) fn connects(&mut self, w: usize) {
        let worker = worker(w);
        let life = self.labourers[w].life;
        let capability = Capability {
            worker: worker.clone(),
            slots: 1,
            cores: 1,
            memory_mib: 64_000,
            encoders: vec![EncoderProof {
                family: EncoderFamily::X264,
                fingerprint: Fingerprint(Sha256([1 + u8::from(self.fleet.is_odd(w)); 32])),
                kilopixels_per_second: self.fleet.said[w] * 20,
            }],
            ffmpeg_build: String::new(),
            audits: false,
            audits_sound: false,
        };
        let hello = Hello {
            worker,
            boot: BootId::parse(&format!("b{life}")).unwrap_or_else(|_| unreachable!("a valid name")),
            highest_term: FencingTerm(0),
            capability,
            running: vec![],
            unsettled: vec![],
        };
        let session = self.labourers[w].session;
        self.feed(Event::WorkerConnected { session, hello: Box::new(hello) });
        let beat = self.rng.range(1, BEAT_MS);
        self.after(beat, What::Beat(w, life));
        self.after(LAG_MS, What::Asks(w, life));
    }

    fn of(&self, session: SessionId) -> Option<usize> {
        // sessions are few and the newest ones of each worker only
        self.labourers.iter().position(|l| l.session == session)
    }

    pub(super) fn leased(&mut self, order: &LeaseOrder) {
        let Some(w) = self.of(order.session) else { return };
        self.attempts += 1;
        let whole = self.early_ms(order.kind).or_else(|| self.encode_ms(w, order.spec));
        let takes_ms = whole.unwrap_or(1) * 1_000 / self.fleet.speed[w];
        let doing = Doing {
            job: order.job.clone(),
            spec: order.spec,
            kind: order.kind,
            since: self.now,
            takes_ms,
            stored: false,
        };
        let life = self.labourers[w].life;
        self.labourers[w].doing.insert(order.attempt, doing);
        if self.rng.chance(self.fleet.fails_permille) {
            self.failed += 1;
            let (at, crash) = (self.rng.range(1, takes_ms), self.rng.chance(500));
            self.after(LAG_MS + at, What::Breaks(w, life, order.attempt, crash));
        } else {
            self.after(LAG_MS + takes_ms, What::Made(w, life, order.attempt));
        }
    }

    /// What a chunk costs a worker of its build.
    fn encode_ms(&self, w: usize, spec: SpecId) -> Option<u64> {
        let (usual, odd) = self.cost_ms.get(&spec)?;
        Some(if self.fleet.is_odd(w) { *odd } else { *usual })
    }

    pub(super) fn granted(&mut self, session: SessionId, attempt: AttemptId) {
        let Some(w) = self.of(session) else { return };
        let life = self.labourers[w].life;
        self.after(LAG_MS + UPLOAD_MS, What::Stored(w, life, attempt));
        self.after(LAG_MS, What::Asks(w, life));
    }

    pub(super) fn told(&mut self, session: SessionId, message: ToWorker) {
        let Some(w) = self.of(session) else { return };
        let life = self.labourers[w].life;
        match message {
            ToWorker::Granted { attempt, allowed: false, .. } | ToWorker::Revoke { attempt } => {
                if let Some(doing) = self.labourers[w].doing.remove(&attempt) {
                    self.doubled_ms += self.now.since(doing.since).min(doing.takes_ms);
                    self.tried(w, &doing, Ending::Superseded);
                }
                self.after(LAG_MS, What::Asks(w, life));
            }
            _ => {}
        }
    }

    fn says(&mut self, w: usize, message: FromWorker) {
        let session = self.labourers[w].session;
        self.feed(Event::WorkerSaid { session, message });
    }

    pub(super) fn asks(&mut self, w: usize) {
        if self.labourers[w].doing.values().all(|d| d.stored) {
            self.says(w, FromWorker::Lease { slots: 1 });
        }
    }

    pub(super) fn beats(&mut self, w: usize) {
        let now = self.now;
        let progress = |(attempt, d): (&AttemptId, &Doing)| AttemptProgress {
            attempt: *attempt,
            done: now.since(d.since).min(d.takes_ms),
            total: d.takes_ms,
            cost: AttemptCost::default(),
        };
        let running = self.labourers[w].doing.iter().map(progress).collect();
        self.says(w, FromWorker::Heartbeat { sequence: 1, running });
        let life = self.labourers[w].life;
        self.after(BEAT_MS, What::Beat(w, life));
    }

    pub(super) fn breaks(&mut self, w: usize, attempt: AttemptId, crash: bool) {
        let Some(doing) = self.labourers[w].doing.remove(&attempt) else { return };
        self.lost_ms += self.now.since(doing.since);
        self.tried(w, &doing, if crash { Ending::Crashed } else { Ending::Failed });
        let life = self.labourers[w].life;
        if crash {
            let session = self.labourers[w].session;
            self.labourers[w].doing.clear();
            self.labourers[w].life += 1;
            self.feed(Event::WorkerDisconnected { session });
            self.after(REBOOT_MS, What::Returns(w));
        } else {
            let fault =
                Fault { kind: FaultKind::Encoder, message: "it broke".to_owned(), detail: String::new() };
            self.concludes(w, attempt, doing, Outcome::Failed { fault, cost: AttemptCost::default() });
            self.after(LAG_MS, What::Asks(w, life));
        }
    }

    fn tried(&mut self, worker: usize, doing: &Doing, ending: Ending) {
        let (spec, from, until) = (doing.spec, doing.since, self.now);
        self.tries.push(Try { spec, worker, from, until, ending });
    }

    fn concludes(&mut self, w: usize, attempt: AttemptId, doing: Doing, outcome: Outcome) {
        let session = self.labourers[w].session;
        let (job, spec) = (doing.job, doing.spec);
        self.feed(Event::OutcomeChecked { session, attempt, job, spec, outcome: Box::new(outcome) });
    }

    /// Its attempt is encoded.
    pub(super) fn made(&mut self, w: usize, attempt: AttemptId) {
        if let Some(doing) = self.labourers[w].doing.get_mut(&attempt) {
            doing.stored = true;
            self.says(w, FromWorker::Grant { attempt, files: vec![] });
        }
    }

    /// Its files are in storage.
    pub(super) fn stored(&mut self, w: usize, attempt: AttemptId) {
        if let Some(doing) = self.labourers[w].doing.remove(&attempt) {
            self.won_ms += doing.takes_ms;
            self.tried(w, &doing, Ending::Won);
            self.concludes(w, attempt, doing.clone(), Outcome::Done(report(&doing, attempt)));
        }
    }
}

fn report(doing: &Doing, attempt: AttemptId) -> Report {
    let chunk = ChunkReport {
        files: vec![],
        units: vec![],
        configs: vec![],
        loudness: None,
        cost: AttemptCost::default(),
        encoder: None,
        ffmpeg_build: String::new(),
        notes: vec![],
    };
    Report {
        key: report_key(doing.spec, attempt),
        sha256: Sha256([3; 32]),
        bytes: 3,
        body: match doing.kind {
            WorkKind::Index => ReportBody::Index(AttemptCost::default()),
            WorkKind::Analyse => ReportBody::Analyse(Default::default(), AttemptCost::default()),
            _ => ReportBody::Encode(chunk),
        },
    }
}

fn worker(w: usize) -> WorkerId {
    WorkerId::parse(&format!("w{w:04}")).unwrap_or_else(|_| unreachable!("a valid name"))
}
