//! Workers with free slots, the best first.
//!
//! A pass asks for the best one for each chunk that it looks at. What makes one better than another is the same for all
//! chunks of a kind but for what a chunk may cost, so they are put in order once a pass and kind, and again only where a
//! slot was taken: a pass costs as much as the slots that it fills.

use crate::classes::Build;
use crate::horizon::Horizon;
use crate::job::Job;
use crate::leader::Leader;
use crate::work::Demand;
use reelmill_common::capability::Needs;
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::plan::CostClass;
use reelmill_common::{Fingerprint, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// How well a worker with a free slot suits a kind of work: the least is taken. The order of the fields is the policy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Fit {
    /// It would not make the bytes that the job's other chunks are made of.
    pub(crate) other_fingerprint: bool,
    /// Busy slots, in thousandths of its slots.
    pub(crate) busy_permille: u32,
    /// The fastest at such work first.
    pub(crate) pace_permille: u64,
    /// For determinism.
    pub(crate) worker: WorkerId,
    /// What it makes such work with.
    pub(crate) build: Option<Build>,
}

/// What the order of workers depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Kind {
    pub(crate) family: Option<EncoderFamily>,
    /// What its job is made of.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// What it is like to encode.
    pub(crate) class: CostClass,
}

/// Workers in order, for one kind of work.
#[derive(Debug, Default)]
struct Order {
    fits: BTreeSet<Fit>,
    of: BTreeMap<WorkerId, Fit>,
    /// Nobody who is free may begin with what costs more, because a faster one will be done with it before.
    most_ms: Option<u64>,
}

/// Workers with free slots. Within a pass they only become fewer and busier.
#[derive(Debug, Default)]
pub(crate) struct Free {
    slots: BTreeMap<WorkerId, u32>,
    orders: BTreeMap<Kind, Order>,
}

impl Free {
    pub(crate) fn new(slots: BTreeMap<WorkerId, u32>) -> Self {
        Self { slots, orders: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Everybody in order, for such work. `fit` is asked for those who are not in order yet; `None`: it is not for them.
    pub(crate) fn in_order(
        &mut self,
        kind: Kind,
        fit: impl Fn(&WorkerId) -> Option<Fit>,
    ) -> impl Iterator<Item = &Fit> {
        let slots = &self.slots;
        let order = self.orders.entry(kind).or_insert_with(|| {
            let fits: BTreeSet<Fit> = slots.keys().filter_map(fit).collect();
            Order { of: fits.iter().map(|f| (f.worker.clone(), f.clone())).collect(), fits, most_ms: None }
        });
        order.fits.iter()
    }

    /// A slot of the worker was taken: so many are left. `fit` says how it stands now.
    pub(crate) fn taken(&mut self, worker: &WorkerId, left: u32, fit: impl Fn(Kind) -> Option<Fit>) {
        match left {
            0 => self.slots.remove(worker),
            left => self.slots.insert(worker.clone(), left),
        };
        for (kind, order) in &mut self.orders {
            if let Some(old) = order.of.remove(worker) {
                order.fits.remove(&old);
            }
            if let Some(new) = fit(*kind).filter(|_| left > 0) {
                order.of.insert(worker.clone(), new.clone());
                order.fits.insert(new);
            }
        }
    }

    /// Nobody who is free may begin with such work that costs more.
    pub(crate) fn leave_dearer(&mut self, kind: Kind, most_ms: u64) {
        if let Some(order) = self.orders.get_mut(&kind) {
            order.most_ms = Some(most_ms);
        }
    }

    /// It is looked at anew who may begin with what.
    pub(crate) fn leave_nothing(&mut self) {
        self.orders.values_mut().for_each(|order| order.most_ms = None);
    }

    /// Was it found that nobody who is free may begin with it?
    pub(crate) fn most_ms(&self, kind: Kind) -> u64 {
        self.orders.get(&kind).and_then(|o| o.most_ms).unwrap_or(u64::MAX)
    }
}

impl Leader {
    /// How well a worker suits a kind of work.
    pub(crate) fn fit(&self, horizon: &Horizon, kind: Kind, id: &WorkerId) -> Option<Fit> {
        let worker = self.workers.get(id)?;
        let needs = Needs { family: kind.family, memory_mib: 0 };
        Some(Fit {
            other_fingerprint: kind.fingerprint.is_some_and(|mine| {
                let mut encoders = worker.capability.encoders.iter();
                !encoders.any(|e| Some(e.family) == kind.family && e.fingerprint == mine)
            }),
            busy_permille: worker.held.len() as u32 * 1_000 / worker.capability.slots.max(1),
            pace_permille: self.pace_at(horizon, worker, needs, kind.class),
            build: worker.build(kind.family),
            worker: id.clone(),
        })
    }
}

impl Job {
    /// The kind of such work of this job. Bytes made by another fingerprint are only not preferred: nothing waits for
    /// the one that it has.
    pub(crate) fn kind_of(&self, demand: Demand) -> Kind {
        Kind { family: demand.needs.family, fingerprint: self.fingerprint, class: demand.class }
    }
}
