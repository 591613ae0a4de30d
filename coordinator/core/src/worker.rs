//! Workers as the leader sees them: what they can do, how many slots are free, whether they may be trusted with work.
//!
//! ```text
//! trusted --`suspend_after` faults in a row--> suspended --time--> canary (one attempt) --a commit--> trusted
//!                                                  ^---------------------a fault---'
//! ```
//! Trust belongs to the worker's name and survives its connections; it is memory only, so a new leader trusts anew.
//! A fault counts once an attempt; a crash counts once, however many attempts it took along and whenever their leases
//! run out: between two signs of life a worker can have crashed only once.

use crate::classes::Build;
use crate::config::Rules;
use crate::event::SessionId;
use crate::turn::sabotaged;
use reelmill_common::capability::{Capability, Needs};
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::{AttemptId, BootId, Fingerprint, Millis, WorkerId};
use std::collections::BTreeSet;

/// How long the faults of a worker that is gone are remembered, milliseconds.
const REMEMBERED_MS: u64 = 3_600_000;

/// The longest suspension, in first ones.
const SUSPENSIONS_MAX: u64 = 10;

/// Whether a worker gets work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trust {
    /// As much as it has slots.
    Full {
        /// Faults in a row.
        streak: u32,
    },
    /// None until then.
    Suspended {
        /// When it may try again.
        until: Millis,
        /// Suspensions in a row, this one included.
        count: u32,
    },
    /// One attempt, to see.
    Canary {
        /// Suspensions in a row before it.
        count: u32,
    },
}

/// A worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) session: Option<SessionId>,
    pub(crate) boot: BootId,
    pub(crate) capability: Capability,
    pub(crate) heard: Millis,
    /// That it lost attempts was counted against it since it was last heard of.
    loss_counted: bool,
    /// Slots it last said are free, less what it was offered since.
    pub(crate) wanted: u32,
    pub(crate) draining: bool,
    pub(crate) trust: Trust,
    /// Attempts it holds.
    pub(crate) held: BTreeSet<AttemptId>,
    /// Of those, the ones that were allowed to upload: their slots are free again.
    pub(crate) uploading: BTreeSet<AttemptId>,
    /// Memory admitted for those it holds, MiB.
    pub(crate) memory_mib: u64,
    /// One of those runs alone.
    pub(crate) alone: bool,
    /// What its attempts took over what was predicted, thousandths, smoothed; `None` before the first commit.
    pub(crate) pace_permille: Option<u64>,
    /// Commits that it was learned from.
    pub(crate) paced: u32,
}

impl Worker {
    pub(crate) fn new(id: &WorkerId, boot: BootId, capability: Capability, now: Millis) -> Self {
        Self {
            session: None,
            boot,
            capability: Capability { worker: id.clone(), ..capability },
            heard: now,
            loss_counted: false,
            wanted: 0,
            draining: false,
            trust: Trust::Full { streak: 0 },
            held: BTreeSet::new(),
            uploading: BTreeSet::new(),
            memory_mib: 0,
            alone: false,
            pace_permille: None,
            paced: 0,
        }
    }

    /// An attempt of an encoder took this many thousandths of its prediction; `expected` was believed so far. Content
    /// varies: one chunk says little.
    pub(crate) fn measured(&mut self, pace_permille: u64, expected: u64) {
        self.paced = self.paced.saturating_add(1);
        self.pace_permille = Some((expected * 3 + pace_permille.clamp(10, 1_000_000)) / 4);
    }

    /// Is it here, staying, trusted and able: could it take such work when it has a slot?
    pub(crate) fn is_eligible(&self, needs: Needs) -> bool {
        self.is_there_for(needs) && !matches!(self.trust, Trust::Suspended { .. })
    }

    /// Leases it may be offered now. Never more than its slots, whatever it asks for.
    pub(crate) fn free_slots(&self, now: Millis, config: &Rules) -> u32 {
        if sabotaged!(config, SlotsIgnored) && self.takes_work(now, config) {
            return self.wanted;
        }
        self.wanted.min(self.idle_slots(now, config))
    }

    /// Slots that do not encode: they are asked for or, in a moment, will be.
    pub(crate) fn idle_slots(&self, now: Millis, config: &Rules) -> u32 {
        if !self.takes_work(now, config) {
            return 0;
        }
        let slots = match self.trust {
            Trust::Full { .. } => self.capability.slots,
            Trust::Canary { .. } => 1,
            Trust::Suspended { .. } => 0,
        };
        let encoding = self.held.len() - self.uploading.len();
        // one upload beside each encode: a worker whose storage is slow does not pile work up
        let room = (2 * slots).saturating_sub(self.held.len() as u32);
        slots.saturating_sub(encoding as u32).min(room)
    }

    fn takes_work(&self, now: Millis, config: &Rules) -> bool {
        let silent = now.since(self.heard) > config.lease_ttl_ms;
        self.session.is_some() && !self.draining && !self.alone && !silent
    }

    /// Memory not admitted yet, MiB.
    pub(crate) fn free_memory_mib(&self) -> u64 {
        self.capability.memory_mib.saturating_sub(self.memory_mib)
    }

    /// Its work was committed.
    pub(crate) fn succeeded(&mut self) {
        self.trust = Trust::Full { streak: 0 };
    }

    /// A sign of life.
    pub(crate) fn hears(&mut self, now: Millis) {
        self.heard = now;
        self.loss_counted = false;
    }

    /// It lost an attempt, perhaps together with others: as one failure for all of them. Says for how long it is
    /// suspended, if it now is.
    pub(crate) fn lost(&mut self, now: Millis, config: &Rules) -> Option<u64> {
        if std::mem::replace(&mut self.loss_counted, true) {
            return None;
        }
        self.failed(now, config)
    }

    /// Its work failed. Says for how long it is suspended, if it now is.
    pub(crate) fn failed(&mut self, now: Millis, config: &Rules) -> Option<u64> {
        let count = match &mut self.trust {
            Trust::Full { streak } => {
                *streak += 1;
                if *streak < config.suspend_after {
                    return None;
                }
                1
            }
            Trust::Canary { count } => *count + 1,
            Trust::Suspended { .. } => return None,
        };
        let ms = config
            .suspend_ms
            .saturating_mul(1 << (count - 1).min(6))
            .min(config.suspend_ms * SUSPENSIONS_MAX);
        self.trust = Trust::Suspended { until: now.plus(ms), count };
        Some(ms)
    }

    /// It committed something wrong: suspended at once, for as long as there is. Says for how long.
    pub(crate) fn caught(&mut self, now: Millis, config: &Rules) -> u64 {
        let ms = config.suspend_ms * SUSPENSIONS_MAX;
        self.trust = Trust::Suspended { until: now.plus(ms), count: SUSPENSIONS_MAX as u32 };
        ms
    }

    /// Ends a suspension that has run its time. Says whether it did.
    pub(crate) fn release(&mut self, now: Millis) -> bool {
        match self.trust {
            Trust::Suspended { until, count } if now >= until => {
                self.trust = Trust::Canary { count };
                true
            }
            _ => false,
        }
    }

    /// Is there nothing about it that must be remembered?
    pub(crate) fn is_forgettable(&self, now: Millis) -> bool {
        let clean = self.trust == (Trust::Full { streak: 0 });
        self.session.is_none() && self.held.is_empty() && (clean || now.since(self.heard) > REMEMBERED_MS)
    }

    /// What it makes with encoders of a family, by its hash.
    pub(crate) fn fingerprint(&self, family: Option<EncoderFamily>) -> Option<Fingerprint> {
        self.capability.encoders.iter().find(|e| Some(e.family) == family).map(|e| e.fingerprint)
    }

    /// What it makes that with, for predictions.
    pub(crate) fn build(&self, family: Option<EncoderFamily>) -> Option<Build> {
        self.fingerprint(family).map(Build::from)
    }

    /// Is it here and staying, and has it what such work needs? It need not be trusted just now.
    pub(crate) fn is_there_for(&self, needs: Needs) -> bool {
        self.session.is_some() && !self.draining && self.capability.meets(needs)
    }

    /// Best measured speed, kilopixels a second.
    pub(crate) fn speed(&self, needs: Needs) -> u64 {
        let speeds = self.capability.encoders.iter().filter(|e| needs.family.is_none_or(|f| e.family == f));
        speeds.map(|e| e.kilopixels_per_second).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CoordinatorConfig;

    fn worker() -> Worker {
        let id = WorkerId::parse("w").expect("id");
        let capability = Capability {
            worker: id.clone(),
            slots: 2,
            cores: 2,
            memory_mib: 1_000,
            encoders: vec![],
            ffmpeg_build: String::new(),
            audits: true,
            audits_sound: true,
        };
        Worker::new(&id, BootId::parse("b").expect("boot"), capability, Millis(0))
    }

    #[test]
    fn slots_are_never_offered_twice() {
        let config = Rules::new(CoordinatorConfig::default());
        let mut w = worker();
        w.wanted = 9;
        assert_eq!(w.free_slots(Millis(0), &config), 0, "nobody is connected");
        w.session = Some(SessionId(1));
        assert_eq!(w.free_slots(Millis(0), &config), 2);
        assert_eq!(w.free_slots(Millis(15_001), &config), 0, "silent for longer than a lease");
        w.held.insert(AttemptId { term: reelmill_common::FencingTerm(1), sequence: 1 });
        assert_eq!(w.free_slots(Millis(0), &config), 1);
        w.uploading.clone_from(&w.held);
        assert_eq!(w.free_slots(Millis(0), &config), 2, "an upload takes no slot");
        w.uploading.clear();
        w.alone = true;
        assert_eq!(w.free_slots(Millis(0), &config), 0);
    }

    #[test]
    fn a_worker_that_fails_in_a_row_is_suspended_then_tried() {
        let config = Rules::new(CoordinatorConfig::default());
        let mut w = worker();
        w.session = Some(SessionId(1));
        w.wanted = 2;
        assert_eq!((w.failed(Millis(0), &config), w.failed(Millis(0), &config)), (None, None));
        w.succeeded();
        assert_eq!((w.failed(Millis(0), &config), w.failed(Millis(0), &config)), (None, None));
        assert_eq!(w.failed(Millis(0), &config), Some(30_000));
        assert_eq!((w.free_slots(Millis(1), &config), w.release(Millis(29_999))), (0, false));
        assert!(w.release(Millis(30_000)));
        w.heard = Millis(30_000);
        assert_eq!(w.free_slots(Millis(30_000), &config), 1, "one canary");
        assert_eq!(w.failed(Millis(30_000), &config), Some(60_000), "twice as long");
        for _ in 0..12 {
            w.release(Millis(u64::MAX));
            assert!(w.failed(Millis(0), &config).is_some_and(|ms| ms <= 300_000));
        }
        w.release(Millis(u64::MAX));
        w.succeeded();
        assert_eq!(w.free_slots(Millis(30_000), &config), 2);
    }
}
