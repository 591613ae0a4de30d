//! How many threads the encoders of each chunk get: one while there are chunks for every slot, more for those that are
//! expected to run while slots idle, which is at the end of a film and in films of few chunks.
//!
//! Threads belong to the spec and never to an attempt: another number gives other bytes. So they are settled here, from
//! predicted costs and the slots hint alone, and hold wherever and whenever the chunk runs.

use std::cmp::Reverse;

/// More threads than this gain little at the sizes of the ladder, and cost memory.
const MOST: u64 = 8;

/// Threads per encoder for chunks of these predicted costs, in their order.
///
/// The chunks are dealt to the slots as the scheduler deals them: the longest first, in plan order among equals, each
/// to the slot that is free first. A chunk gets an equal share of the slots at the middle of its run.
pub(crate) fn threads(costs: &[u64], slots: u64) -> Vec<u8> {
    let runs = dealt(costs, slots);
    let share = |&(start, end): &(u64, u64)| {
        let middle = start + (end - start) / 2;
        let running = runs.iter().filter(|(s, e)| (*s..*e).contains(&middle)).count() as u64;
        (slots / running.max(1)).clamp(1, MOST) as u8
    };
    runs.iter().map(share).collect()
}

/// When each chunk begins and ends.
fn dealt(costs: &[u64], slots: u64) -> Vec<(u64, u64)> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by_key(|i| (Reverse(costs[*i]), *i));
    let mut free = vec![0u64; usize::try_from(slots).unwrap_or(usize::MAX).clamp(1, costs.len().max(1))];
    let mut runs = vec![(0, 0); costs.len()];
    for i in order {
        let Some(slot) = free.iter_mut().min() else { break };
        let end = slot.saturating_add(costs[i].max(1));
        runs[i] = (*slot, end);
        *slot = end;
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_one_that_runs_alone_gets_the_idle_slots() {
        assert_eq!(threads(&[4, 4, 4], 2), [1, 1, 2]);
        assert_eq!(threads(&[4, 4, 2], 2), [1, 1, 2]);
        assert_eq!(threads(&[2, 4, 4], 2), [2, 1, 1], "the shortest comes last, wherever it lies");
        assert_eq!(threads(&[8, 2], 2), [2, 1], "most of the long one's run is alone");
    }

    #[test]
    fn few_chunks_share_all_slots() {
        assert_eq!(threads(&[5], 6), [6]);
        assert_eq!(threads(&[5, 5], 16), [8, 8]);
        assert_eq!(threads(&[5; 3], 8), [2; 3]);
        assert_eq!(threads(&[5], 1000), [8], "no more than encoders can use");
        assert_eq!(threads(&[], 4), [0u8; 0]);
    }

    #[test]
    fn many_chunks_have_one_thread_each() {
        assert!(threads(&[7; 64], 4).iter().all(|t| *t == 1));
    }

    proptest! {
        #[test]
        fn a_chunk_takes_no_more_than_its_share_of_the_slots(
            costs in prop::collection::vec(0u64..100_000, 1..60),
            slots in 1u64..64,
        ) {
            let (given, runs) = (threads(&costs, slots), dealt(&costs, slots));
            prop_assert_eq!(given.len(), costs.len());
            for ((start, end), threads) in runs.iter().zip(&given) {
                let middle = start + (end - start) / 2;
                let running = runs.iter().filter(|(s, e)| (*s..*e).contains(&middle)).count() as u64;
                prop_assert!((1..=slots).contains(&running), "{running} chunks on {slots} slots");
                prop_assert!((1..=8).contains(threads) && u64::from(*threads) * running <= slots.max(running));
            }
        }
    }
}
