//! A fake worker: the real agent of a real worker over a TCP connection of its own, with nothing behind it. Where ffmpeg
//! would run a drawn time passes, and files are neither made nor uploaded; only an index and an analysis are written,
//! because the coordinator reads them.

mod link;

use crate::film::{self, COST, Film};
use crate::histogram::Histogram;
use crate::ledger::Ledger;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use link::{Heard, Link};
use reelmill_blob::{PutOptions, Stores};
use reelmill_common::capability::Capability;
use reelmill_common::keys::report_key;
use reelmill_common::outcome::{Report, ReportBody, Verdict};
use reelmill_common::session::{FromWorker, Lease, Termed, ToWorker};
use reelmill_common::spec::WorkItem;
use reelmill_common::{AttemptId, BootId, JobId, Millis, Sha256, SpecId, WorkerId};
use reelmill_proto::stored::{encode_analysis, encode_chunk_report, encode_index};
use reelmill_worker_core::agent::{Agent, AgentConfig, AgentEffect, AgentEvent};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// A timer without anything to wait for.
const FAR: Duration = Duration::from_secs(86_400);

/// What all workers share.
pub(crate) struct Shared {
    /// Of the coordinator's gRPC.
    pub(crate) address: String,
    pub(crate) film: Film,
    pub(crate) slots: u32,
    /// Work takes half to one and a half times as long.
    pub(crate) work: Duration,
    pub(crate) stores: Stores,
    pub(crate) ledger: Ledger,
    /// From asking for a lease with a free slot until it is there.
    pub(crate) leases: Histogram,
    /// From telling an outcome until its verdict is there.
    pub(crate) acks: Histogram,
    /// How often a worker was welcomed.
    pub(crate) welcomes: AtomicU64,
    pub(crate) begun: Instant,
    /// Finish what runs, then leave; asked once more, hand back what runs.
    pub(crate) drain: CancellationToken,
    pub(crate) hand_back: CancellationToken,
}

/// An attempt that is held.
struct Held {
    lease: Box<Lease>,
    /// Nobody finishes it, so that its job stays open.
    is_endless: bool,
    /// What will be reported, once it is made.
    made: Option<Box<Report>>,
}

struct Worker {
    shared: Arc<Shared>,
    agent: Agent,
    link: Link,
    held: BTreeMap<AttemptId, Held>,
    /// When work ends.
    due: BTreeSet<(Instant, AttemptId)>,
    /// Since when free slots ask for a lease, oldest first.
    asked: VecDeque<Instant>,
    /// Outcomes told: of what, and when first.
    told: BTreeMap<AttemptId, (JobId, SpecId, Instant)>,
    random: u64,
    is_gone: bool,
}

/// Works until it is drained.
pub(crate) async fn work(shared: Arc<Shared>, number: usize) -> Result<()> {
    let id = WorkerId::parse(&format!("fake-{number:04}"))?;
    let capability = Capability {
        worker: id.clone(),
        slots: shared.slots,
        cores: shared.slots,
        memory_mib: 1 << 20,
        encoders: vec![film::encoder()],
        ffmpeg_build: "no ffmpeg: a measurement".to_owned(),
        // it makes no media that could be looked at
        audits: false,
        audits_sound: false,
    };
    let mut worker = Worker {
        agent: Agent::new(AgentConfig::new(id, BootId::parse("boot")?, capability)),
        link: Link::new(&shared.address),
        held: BTreeMap::new(),
        due: BTreeSet::new(),
        asked: VecDeque::new(),
        told: BTreeMap::new(),
        random: 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d),
        is_gone: false,
        shared,
    };
    worker.run().await
}

impl Worker {
    async fn run(&mut self) -> Result<()> {
        self.tell(AgentEvent::Disconnected).await?;
        let (drain, hand_back) = (self.shared.drain.clone(), self.shared.hand_back.clone());
        let (mut draining, mut handing_back) = (false, false);
        let mut timer = std::pin::pin!(sleep_until(Instant::now()));
        while !self.is_gone {
            let next = self.next();
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            tokio::select! {
                heard = self.link.hear() => self.hear(heard).await?,
                () = &mut timer => self.passed().await?,
                () = drain.cancelled(), if !draining => {
                    draining = true;
                    self.tell(AgentEvent::DrainRequested).await?;
                }
                // not before: who is asked twice leaves a lease's time later, told or not told what became of its work
                () = hand_back.cancelled(), if !handing_back && self.holds_only_endless() => {
                    handing_back = true;
                    self.tell(AgentEvent::DrainRequested).await?;
                }
            }
        }
        Ok(())
    }

    /// Was every end of work told and answered, so that nothing is held but what never ends?
    fn holds_only_endless(&self) -> bool {
        let (_, unsettled) = self.agent.held();
        unsettled == 0 && self.held.values().all(|held| held.is_endless)
    }

    /// When something is due without anybody saying anything.
    fn next(&self) -> Instant {
        let beat = self.agent.next_tick().map(|at| self.shared.begun + Duration::from_millis(at.0));
        let done = self.due.first().map(|(at, _)| *at);
        beat.into_iter().chain(done).min().unwrap_or_else(|| self.shared.begun + FAR)
    }

    async fn passed(&mut self) -> Result<()> {
        let now = Instant::now();
        while let Some((at, attempt)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, attempt));
            if let Some(event) = self.made(attempt) {
                self.tell(event).await?;
            }
        }
        self.tell(AgentEvent::Tick).await
    }

    async fn hear(&mut self, heard: Heard) -> Result<()> {
        match heard {
            Heard::Connected => self.tell(AgentEvent::Connected).await,
            Heard::Gone => {
                self.asked.clear();
                self.tell(AgentEvent::Disconnected).await
            }
            Heard::Said(message) => {
                self.note(&message);
                self.tell(AgentEvent::Received(*message)).await
            }
        }
    }

    /// Measures what the coordinator says.
    fn note(&mut self, message: &Termed<ToWorker>) {
        match &message.message {
            ToWorker::Welcome { .. } => {
                self.link.is_welcome();
                self.shared.welcomes.fetch_add(1, Ordering::Relaxed);
            }
            ToWorker::Lease(_) => {
                if let Some(asked) = self.asked.pop_front() {
                    self.shared.leases.add(asked.elapsed());
                }
            }
            ToWorker::Settled { attempt, verdict } => {
                if let Some((job, spec, told)) = self.told.remove(attempt) {
                    self.shared.acks.add(told.elapsed());
                    if *verdict == Verdict::Won {
                        self.shared.ledger.acked(&job, spec, *attempt);
                    }
                }
            }
            _ => {}
        }
    }

    fn now(&self) -> Millis {
        Millis(self.shared.begun.elapsed().as_millis() as u64)
    }

    /// One event into the agent, and everything that comes of it.
    async fn tell(&mut self, event: AgentEvent) -> Result<()> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.agent.handle(self.now(), event) {
                events.extend(self.perform(effect).await?);
            }
        }
        Ok(())
    }

    async fn perform(&mut self, effect: AgentEffect) -> Result<Option<AgentEvent>> {
        match effect {
            AgentEffect::Send(message) => {
                self.about_to_say(&message);
                if !self.link.say(&message) {
                    return Ok(Some(AgentEvent::Disconnected));
                }
            }
            AgentEffect::Start(lease) => {
                let attempt = lease.attempt;
                let is_endless =
                    matches!(&lease.item, WorkItem::Encode(chunk) if self.shared.film.is_last(chunk));
                self.held.insert(attempt, Held { lease, is_endless, made: None });
                let takes = self.draw();
                if takes.is_zero() && !is_endless {
                    return Ok(self.made(attempt));
                }
                if !is_endless {
                    self.due.insert((Instant::now() + takes, attempt));
                }
            }
            AgentEffect::Upload { attempt } => return self.upload(attempt).await,
            AgentEffect::Abort { attempt } | AgentEffect::Discard { attempt } => {
                self.held.remove(&attempt);
                self.due.retain(|(_, a)| *a != attempt);
            }
            AgentEffect::Reconnect => self.link.dial(),
            AgentEffect::Exit => self.is_gone = true,
            // nothing is read and nothing is written, so nothing needs a signature
            AgentEffect::Signed { .. } | AgentEffect::Renewed { .. } => {}
        }
        Ok(None)
    }

    /// Notes since when an answer is waited for.
    fn about_to_say(&mut self, message: &FromWorker) {
        let now = Instant::now();
        match message {
            FromWorker::Lease { slots } => self.asked.resize(*slots as usize, now),
            FromWorker::Outcome { attempt, job, spec, .. } => {
                self.told.entry(*attempt).or_insert_with(|| (job.clone(), *spec, now));
            }
            _ => {}
        }
    }

    /// The work of an attempt is over.
    fn made(&mut self, attempt: AttemptId) -> Option<AgentEvent> {
        let held = self.held.get_mut(&attempt)?;
        let (spec, key) = (held.lease.spec, report_key(held.lease.spec, attempt));
        let mut files = Vec::new();
        if let WorkItem::Encode(chunk) = &held.lease.item {
            let report = film::report(spec, chunk);
            files = film::files(chunk, &report);
            let stored = encode_chunk_report(&report);
            held.made = Some(Box::new(Report {
                key,
                sha256: Sha256::of(&stored),
                bytes: stored.len() as u64,
                body: ReportBody::Encode(report),
            }));
        }
        Some(AgentEvent::Made { attempt, files })
    }

    async fn upload(&mut self, attempt: AttemptId) -> Result<Option<AgentEvent>> {
        let Some(held) = self.held.get_mut(&attempt) else { return Ok(None) };
        let report = match held.made.take() {
            Some(report) => report,
            None => Box::new(put(&self.shared, &held.lease).await?),
        };
        Ok(Some(AgentEvent::Uploaded { attempt, report }))
    }

    /// From half to one and a half times the mean.
    fn draw(&mut self) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.shared.work.mul_f64(0.5 + (self.random >> 11) as f64 / (1u64 << 53) as f64)
    }
}

/// Writes what the coordinator will read: the index, or the analysis.
async fn put(shared: &Shared, lease: &Lease) -> Result<Report> {
    let (stored, body) = match &lease.item {
        WorkItem::Index(_) => (encode_index(&shared.film.index()?), ReportBody::Index(COST)),
        WorkItem::Analyse(spec) => {
            let report = film::analysis(spec);
            (encode_analysis(&report), ReportBody::Analyse(report, COST))
        }
        WorkItem::Encode(_) => bail!("a chunk was to be uploaded before it was made"),
        WorkItem::Audit(_) => bail!("an audit was leased to a worker that does none"),
    };
    let key = report_key(lease.spec, lease.attempt);
    let (bytes, sha256) = (stored.len() as u64, Sha256::of(&stored));
    let work = shared.stores.open(&lease.output.work).context("the private area")?;
    work.put_replace(key.as_str(), Bytes::from(stored), PutOptions::default()).await?;
    Ok(Report { key, sha256, bytes, body })
}
