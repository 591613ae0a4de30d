//! Memory that is kept free for a chunk that needs much of it.
//!
//! A chunk that fits no worker beside what runs there would wait for ever where smaller ones take the memory as it gets
//! free. So the first such chunk of a pass, in the order in which tenants, jobs and chunks are served, has one worker kept
//! for it: others get there only what will still be free once enough of what runs now has ended for it to begin (that is
//! backfilling with one reservation: Lifka, JSSPP 1995). What is kept follows from what runs, so each pass finds it anew;
//! what is let in is younger than what is waited for, and puts nothing off.

use crate::job::Job;
use crate::leader::Leader;
use crate::turn::Turn;
use crate::work::SpecRef;
use crate::worker::Worker;
use reelmill_common::WorkerId;

/// A worker that is kept for a chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Kept {
    worker: WorkerId,
    /// What others may still have there, MiB.
    spare_mib: u64,
}

impl Kept {
    /// Memory that work other than what it is kept for may have of a worker, MiB.
    pub(crate) fn room_mib(kept: Option<&Self>, id: &WorkerId, worker: &Worker) -> u64 {
        let free = worker.free_memory_mib();
        kept.filter(|k| k.worker == *id).map_or(free, |k| k.spare_mib.min(free))
    }

    /// Something else was let in.
    pub(crate) fn give(&mut self, to: &WorkerId, memory_mib: u64) {
        if self.worker == *to {
            self.spare_mib = self.spare_mib.saturating_sub(memory_mib);
        }
    }
}

impl Leader {
    /// The worker to keep for a chunk that nobody has the memory for now: the one where the fewest attempts, from the
    /// oldest on, have to end before. `None`: nobody ever has it, or somebody has and lacks a slot only.
    pub(crate) fn keep_room(&self, turn: &Turn<'_>, job: &Job, spec: SpecRef) -> Option<Kept> {
        let needed = spec.needs.memory_mib;
        let able = || self.workers.iter().filter(|(_, w)| self.is_able(turn, job, w, spec));
        if able().any(|(_, w)| w.free_memory_mib() >= needed) {
            return None;
        }
        let until = able().filter_map(|(id, w)| {
            let mut free = w.free_memory_mib();
            for (ended, attempt) in (1u32..).zip(&w.held) {
                free += self.attempts.get(attempt).map_or(0, |a| a.spec.needs.memory_mib);
                if free >= needed {
                    return Some((ended, id, free - needed));
                }
            }
            None
        });
        until.min().map(|(_, worker, spare_mib)| Kept { worker: worker.clone(), spare_mib })
    }
}
