//! What is done to the cluster, to whom, and how long it lasts. The choice is a seed's; whether a victim was busy is
//! looked at, not assumed.

use crate::cluster::{Cluster, Role};
use anyhow::{Context, Result};
use reelmill_tests::store_faults::StoreFault;
use reelmill_tests::tool;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What happens to a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Blow {
    /// SIGKILL, then it is started again.
    Kill,
    /// SIGSTOP for a while.
    Pause,
    /// Its host is off the network for a while.
    Partition,
    /// SIGTERM, then it is started again.
    Leave,
}

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Process(Role, Blow),
    Store(StoreFault),
}

/// Every kind. Whoever leads is struck among the coordinators.
pub(crate) const KINDS: [Kind; 15] = [
    Kind::Process(Role::Worker, Blow::Kill),
    Kind::Process(Role::Worker, Blow::Pause),
    Kind::Process(Role::Worker, Blow::Partition),
    Kind::Process(Role::Worker, Blow::Leave),
    Kind::Process(Role::Coordinator, Blow::Kill),
    Kind::Process(Role::Coordinator, Blow::Pause),
    Kind::Process(Role::Coordinator, Blow::Partition),
    Kind::Process(Role::Coordinator, Blow::Leave),
    Kind::Process(Role::Etcd, Blow::Kill),
    Kind::Process(Role::Etcd, Blow::Pause),
    Kind::Process(Role::Etcd, Blow::Partition),
    Kind::Store(StoreFault::SlowDown),
    Kind::Store(StoreFault::Stall),
    Kind::Store(StoreFault::Truncated),
    Kind::Store(StoreFault::ErrorAfter),
];

/// A small generator: the seed is printed and gives the same choices again.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// A number below `bound`. Xorshift (Marsaglia, 2003).
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}

/// A fault as it happened.
#[derive(Debug)]
pub(crate) struct Struck {
    pub(crate) kind: Kind,
    /// By name.
    pub(crate) victim: String,
    /// Was it at work: a worker with an encode, the leader of running jobs, a member while jobs run, a request?
    pub(crate) busy: bool,
    /// Milliseconds since the Unix epoch.
    pub(crate) unix_ms: u64,
}

/// How long pauses and partitions last, in milliseconds: some shorter than a lease, some longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasts {
    pub(crate) least_ms: u64,
    pub(crate) most_ms: u64,
}

impl Lasts {
    fn roll(self, dice: &mut Dice) -> Duration {
        Duration::from_millis(self.least_ms + dice.below(self.most_ms - self.least_ms))
    }
}

/// Does one fault of `kind` from beginning to end; `None` when it found nothing to strike.
pub(crate) fn strike(
    cluster: &mut Cluster,
    kind: Kind,
    dice: &mut Dice,
    lasts: Lasts,
) -> Result<Option<Struck>> {
    match kind {
        Kind::Store(fault) => strike_store(cluster, fault, dice, lasts),
        Kind::Process(role, blow) => strike_process(cluster, role, blow, dice, lasts),
    }
}

fn strike_store(
    cluster: &Cluster,
    fault: StoreFault,
    dice: &mut Dice,
    lasts: Lasts,
) -> Result<Option<Struck>> {
    let unix_ms = unix_ms();
    cluster.store.order(fault, 1 + u32::try_from(dice.below(6))?);
    // until one request is struck, and then a while longer
    let hit = tool::wait_until("a request comes", Duration::from_secs(20), || {
        (cluster.store.struck() > 0).then_some(())
    });
    if hit.is_ok() {
        rest(lasts.roll(dice));
    }
    let struck = cluster.store.end();
    Ok((struck > 0).then(|| Struck {
        kind: Kind::Store(fault),
        victim: format!("{struck} requests"),
        busy: true,
        unix_ms,
    }))
}

fn strike_process(
    cluster: &mut Cluster,
    role: Role,
    blow: Blow,
    dice: &mut Dice,
    lasts: Lasts,
) -> Result<Option<Struck>> {
    let running = cluster.jobs()?.is_some_and(|jobs| jobs.iter().any(|(_, state)| state != "published"));
    let Some(at) = victim(cluster, role, dice) else { return Ok(None) };
    let node = &mut cluster.nodes[at];
    let busy = if role == Role::Worker { node.process.runs("ffmpeg") } else { running };
    let struck =
        Struck { kind: Kind::Process(role, blow), victim: node.name.clone(), busy, unix_ms: unix_ms() };
    match blow {
        Blow::Kill => {
            node.process.cut()?;
            rest(lasts.roll(dice));
            node.restart()?;
        }
        Blow::Pause => {
            node.process.stop()?;
            rest(lasts.roll(dice));
            node.process.go_on()?;
        }
        Blow::Partition => {
            node.host.plug(false)?;
            rest(lasts.roll(dice));
            node.host.plug(true)?;
        }
        Blow::Leave => {
            let status = node.process.leave()?;
            anyhow::ensure!(status.success(), "{} left with {status}: {}", node.name, node.process.said());
            node.restart()?;
        }
    }
    Ok(Some(struck))
}

/// Whom it strikes: a worker that encodes if there is one within a moment, the coordinator that leads, any member.
fn victim(cluster: &Cluster, role: Role, dice: &mut Dice) -> Option<usize> {
    let moment = Duration::from_secs(10);
    match role {
        Role::Coordinator => tool::wait_until("somebody leads", moment, || cluster.leader()).ok(),
        Role::Worker => {
            let busy = |i: &usize| cluster.nodes[*i].process.runs("ffmpeg");
            let some = tool::wait_until("a worker encodes", moment, || {
                let all: Vec<usize> = of(cluster, role).filter(busy).collect();
                (!all.is_empty()).then_some(all)
            });
            let all = some.unwrap_or_else(|_| of(cluster, role).collect());
            all.get(usize::try_from(dice.below(all.len() as u64)).ok()?).copied()
        }
        Role::Etcd => {
            let all: Vec<usize> = of(cluster, role).collect();
            all.get(usize::try_from(dice.below(all.len() as u64)).ok()?).copied()
        }
    }
}

fn of(cluster: &Cluster, role: Role) -> impl Iterator<Item = usize> + '_ {
    (0..cluster.nodes.len()).filter(move |i| cluster.nodes[*i].role == role)
}

/// A fault lasts by the clock: that is what it is.
pub(crate) fn rest(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// Milliseconds since the Unix epoch, as logs tell time.
pub(crate) fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// How often each kind struck, and how often a busy victim.
pub(crate) fn counts(struck: &[Struck]) -> BTreeMap<Kind, (u32, u32)> {
    let mut counts = BTreeMap::new();
    for one in struck {
        let (all, busy) = counts.entry(one.kind).or_insert((0, 0));
        *all += 1;
        *busy += u32::from(one.busy);
    }
    counts
}

/// The next kind: the one that has struck a busy victim least often, a seed's choice among equals.
pub(crate) fn next_kind(struck: &[Struck], dice: &mut Dice) -> Result<Kind> {
    let counts = counts(struck);
    let busy = |kind: &Kind| counts.get(kind).map_or(0, |c| c.1);
    let least = KINDS.iter().map(busy).min().context("kinds")?;
    let all: Vec<&Kind> = KINDS.iter().filter(|kind| busy(kind) == least).collect();
    Ok(*all[usize::try_from(dice.below(all.len() as u64))?])
}
