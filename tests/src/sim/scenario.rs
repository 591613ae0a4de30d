//! What a seed stands for: films with their specs, workers, tenants, and how often what goes wrong.

use super::rng::Rng;
use reelmill_common::capability::{Capability, EncoderProof, Needs};
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::plan::{CostClass, RungSet};
use reelmill_common::{Fingerprint, Sha256, SpecId, WorkerId};
use reelmill_coordinator_core::{CoordinatorConfig, SpecRef, TenantRules};

/// Coordinator processes.
pub(super) const CONTROLS: usize = 2;
/// An upload that has begun is over after this, milliseconds.
pub(super) const UPLOAD_MAX_MS: u64 = 3_000;

/// A rung that nobody gives is bound anew after this, milliseconds.
pub(super) const REBIND_AFTER_MS: u64 = 8_000;

/// One who calls a file wrong is believed after so long without another, milliseconds.
pub(super) const SECOND_VOICE_MS: u64 = 5_000;

/// Those who forget soon tell for so long that a job was deleted, milliseconds: for longer than anybody is paused.
pub(super) const TELL_COLLECTED_MS: u64 = 40_000;

/// Chances of faults, in thousandths of the occasions named.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chances {
    /// Of a message: lost, said twice, overtaken by the next.
    pub(super) drop: u64,
    /// See `drop`.
    pub(super) duplicate: u64,
    /// See `drop`.
    pub(super) reorder: u64,
    /// Not a chance: how long a message takes at most, milliseconds.
    pub(super) latency_ms: u64,
    /// Of a message: held up for seconds, past its connection's end.
    pub(super) late: u64,
    /// Of a write: not done and not known, done and not known, done much later and not known.
    pub(super) error_before: u64,
    /// See `error_before`.
    pub(super) error_after: u64,
    /// See `error_before`.
    pub(super) stall: u64,
    /// Of an encode: it fails, hangs, makes something wrong, kills its worker.
    pub(super) fault: u64,
    /// See `fault`.
    pub(super) hang: u64,
    /// See `fault`.
    pub(super) wrong: u64,
    /// See `fault`.
    pub(super) kill: u64,
    /// Of an upload or task: object storage fails.
    pub(super) objects: u64,
    /// Milliseconds between two larger faults (crash, pause, partition, drain, upgrade), on average.
    pub(super) havoc_ms: u64,
}

impl Chances {
    /// Nothing goes wrong.
    pub(super) const NONE: Self = Self {
        drop: 0,
        duplicate: 0,
        reorder: 0,
        latency_ms: 30,
        late: 0,
        error_before: 0,
        error_after: 0,
        stall: 0,
        fault: 0,
        hang: 0,
        wrong: 0,
        kill: 0,
        objects: 0,
        havoc_ms: u64::MAX,
    };
}

/// A film that clients submit.
#[derive(Clone, Debug)]
pub(super) struct Film {
    /// Its name, and its source.
    pub(super) name: String,
    /// It cannot be read: indexing tells so.
    pub(super) broken: bool,
    /// It cannot be planned: the task tells so.
    pub(super) unplannable: bool,
    /// What must be known before planning, if anything.
    pub(super) analyse: Option<SpecRef>,
    /// The encoder of its picture.
    pub(super) family: EncoderFamily,
    /// Its parts, each at all of its rungs. Two jobs of one film have equal specs.
    pub(super) chunks: Vec<SpecRef>,
    /// A part that kills its worker, while faults last.
    pub(super) poison: Option<usize>,
    /// A part of which its decoder shows other frames than the index promises.
    pub(super) damaged: Option<usize>,
    /// It does so of an index by what is shown, too.
    pub(super) hopeless: bool,
    /// This is the film by what its decoder shows.
    pub(super) is_shown: bool,
}

impl Film {
    /// The film as an index by what its decoder shows has it: another one.
    pub(super) fn shown(&self) -> Self {
        let other = |spec: &SpecRef| SpecRef {
            id: SpecId(Sha256::of(&[&spec.id.0.0[..], b"shown"].concat())),
            ..*spec
        };
        Self {
            name: format!("{}/shown", self.name),
            analyse: self.analyse.as_ref().map(other),
            chunks: self.chunks.iter().map(other).collect(),
            is_shown: true,
            ..self.clone()
        }
    }
}

/// One run's circumstances.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    /// The seed.
    pub(super) seed: u64,
    /// Only what leaves the fairness formula valid goes wrong, and it is checked.
    pub(super) fair: bool,
    /// Faults stop here.
    pub(super) heal_ms: u64,
    /// What goes wrong until then.
    pub(super) chances: Chances,
    /// Films to submit.
    pub(super) films: Vec<Film>,
    /// Workers.
    pub(super) workers: Vec<Capability>,
    /// Tenants with their weights.
    pub(super) tenants: Vec<u32>,
    /// The settings of every coordinator.
    pub(super) config: CoordinatorConfig,
    /// Jobs each tenant submits.
    pub(super) jobs: usize,
    /// A worker that makes what is wrong and looks right, while others are there.
    pub(super) rotten: Option<usize>,
}

impl Scenario {
    /// The circumstances of a seed.
    pub(super) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let fair = seed % 5 == 4;
        let families: &[EncoderFamily] =
            if fair { &[EncoderFamily::X264] } else { &[EncoderFamily::X264, EncoderFamily::Nvenc] };
        // of its own, so that what came later changed nothing else that a seed stands for
        let mut odds = Rng::new(seed ^ 0x0da3_a9ed);
        let films = (0..rng.range(2, 4)).map(|n| film(&mut rng, &mut odds, n, fair, families)).collect();
        let mut workers: Vec<_> = (0..rng.range(2, 4)).map(|n| worker(&mut rng, n, fair)).collect();
        let tenants: Vec<_> =
            (0..rng.range(1, 3) + u64::from(fair)).map(|_| rng.range(1, 4) as u32).collect();
        let config = config(seed, &tenants);
        let jobs = if fair { 4 } else { rng.range(2, 4) as usize };
        let heal_ms = rng.range(40_000, 90_000);
        let chances = chances(&mut rng, fair);
        // what is audited beside the films would count in the formula; and some fleets are old, some partly
        let old = if fair || rng.chance(100) { workers.len() } else { rng.range(0, 1) as usize };
        // those of before sound was audited stand last, too
        let deaf = old.max(usize::from(seed % 3 == 1));
        workers.iter_mut().rev().take(old).for_each(|w| w.audits = false);
        workers.iter_mut().rev().take(deaf).for_each(|w| w.audits_sound = false);
        let rotten = (!fair && rng.chance(500)).then(|| rng.range(1, workers.len() as u64 - 1) as usize);
        Self { seed, fair, heal_ms, chances, films, workers, tenants, config, jobs, rotten }
    }

    /// Some forget soon.
    pub(super) fn forgets(&self) -> bool {
        forgets(self.seed)
    }
}

fn forgets(seed: u64) -> bool {
    seed % 4 == 2
}

/// The settings of every coordinator, for tenants with these weights.
fn config(seed: u64, weights: &[u32]) -> CoordinatorConfig {
    let default = CoordinatorConfig::default();
    let rules = |weight| TenantRules { weight, ..TenantRules::default() };
    CoordinatorConfig {
        lease_ttl_ms: 6_000,
        heartbeat_ms: 2_000,
        store_timeout_ms: UPLOAD_MAX_MS + 1_000,
        suspend_after: 2,
        // some have no patience
        rebind_after_ms: if seed % 4 == 1 { 0 } else { REBIND_AFTER_MS },
        second_voice_ms: SECOND_VOICE_MS,
        suspend_ms: 3_000,
        retain_ms: if forgets(seed) { 15_000 } else { default.retain_ms },
        tell_collected_ms: if forgets(seed) { TELL_COLLECTED_MS } else { default.tell_collected_ms },
        tenants: weights.iter().enumerate().map(|(n, w)| (tenant(n), rules(*w))).collect(),
        ..default
    }
}

/// A tenant's name.
pub(super) fn tenant(n: usize) -> reelmill_common::TenantId {
    reelmill_common::TenantId::parse(&format!("tenant-{n}")).expect("a name")
}

/// A film as the seed has it.
fn film(rng: &mut Rng, odds: &mut Rng, n: u64, fair: bool, families: &[EncoderFamily]) -> Film {
    let name = format!("film-{n}");
    let (family, ladder) = (rng.pick(families), RungSet::of(0..rng.range(1, 3) as usize));
    let spec = |what: &str, i: u64, cost_ms: u64, needs: Needs| {
        let rungs = if what == "chunk" && needs.family.is_some() { ladder } else { RungSet::NONE };
        let id = SpecId(Sha256::of(format!("{name}/{what}/{i}").as_bytes()));
        SpecRef { id, cost_ms, needs, rungs, class: CostClass(rungs.0 as u32) }
    };
    // some of every film's work needs an encoder, audio does not; some needs most of a worker's memory
    let needs = |rng: &mut Rng| Needs {
        family: if fair || rng.chance(700) { Some(family) } else { None },
        memory_mib: if fair { 100 } else { rng.pick(&[100, 400, 900]) },
    };
    let count = if fair { 24 } else { rng.range(1, 9) };
    let chunks: Vec<SpecRef> = (0..count)
        .map(|i| {
            let cost_ms = rng.range(300, 5_000);
            spec("chunk", i, cost_ms, needs(rng))
        })
        .collect();
    let analyse = rng.chance(700).then(|| {
        let needs = Needs { family: Some(family), ..needs(rng) };
        spec("analyse", 0, 500, needs)
    });
    Film {
        broken: !fair && rng.chance(80),
        unplannable: !fair && rng.chance(80),
        poison: (!fair && rng.chance(250)).then_some(0),
        damaged: (!fair && odds.chance(200)).then(|| odds.range(0, count - 1) as usize),
        hopeless: odds.chance(300),
        is_shown: false,
        analyse,
        family,
        chunks,
        name,
    }
}

fn worker(rng: &mut Rng, n: u64, fair: bool) -> Capability {
    let proof = |family: EncoderFamily, build: u64| EncoderProof {
        family,
        fingerprint: Fingerprint(Sha256::of(&[build as u8])),
        kilopixels_per_second: 1_000 + build,
    };
    // the first worker can do everything, so that every job can end
    let mut encoders = vec![proof(EncoderFamily::X264, rng.range(1, 2))];
    if n == 0 || rng.chance(400) {
        encoders.push(proof(EncoderFamily::Nvenc, 3));
    }
    if n > 0 && !fair && rng.chance(150) {
        encoders.remove(0);
    }
    Capability {
        worker: WorkerId::parse(&format!("worker-{n}")).expect("a name"),
        slots: rng.range(1, 3) as u32,
        cores: 2,
        memory_mib: if n == 0 || fair { 2_000 } else { rng.pick(&[500, 1_000, 2_000]) },
        encoders,
        ffmpeg_build: "a model".to_owned(),
        audits: true,
        audits_sound: true,
    }
}

fn chances(rng: &mut Rng, fair: bool) -> Chances {
    if fair {
        return Chances { error_before: 5, error_after: 5, stall: 5, ..Chances::NONE };
    }
    // some networks are slow, some are rotten
    let latency_ms = if rng.chance(400) { 1_800 } else { 30 };
    let net = if rng.chance(150) { 12 } else { 1 };
    let mut some = |high: u64| if rng.chance(250) { 0 } else { rng.range(1, high) };
    Chances {
        drop: some(20) * net,
        duplicate: some(30) * net,
        reorder: some(30),
        latency_ms,
        late: some(25) * net,
        error_before: some(60),
        error_after: some(60),
        stall: some(40),
        fault: some(80),
        hang: some(30),
        wrong: some(50),
        kill: some(15),
        objects: some(80),
        havoc_ms: rng.range(2_500, 10_000),
    }
}
