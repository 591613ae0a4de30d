//! Which chunks are split by rung: those that are expected to run while slots idle, which is at the end of a film and
//! in films of few chunks. Each part decodes the chunk's pictures again and encodes some of its rungs.
//!
//! More threads for the encoders of such a chunk would use the idle slots, too, but libx264 with more than one thread
//! gives other bytes at each run where the rate cap bites (measured on 5.1 and 9.0), and the same spec must give the
//! same bytes. So encoders have one thread, and rungs are what is shared out. Settled here, from predicted costs and
//! the slots hint alone.

use crate::chunks::{Cut, are_unlike};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A part is no smaller than this in predicted slot-milliseconds: starting one costs, and so does decoding twice.
const LEAST_MS: u64 = 1_000;
/// Nor than this where no slot idles: every part decodes again.
const LEAST_SHARED_MS: u64 = 4_000;
/// A chunk of more shares than this is split into small parts.
const SMALL_SHARES: u64 = 3;

/// Into how many parts each of the chunks with these predicted costs is to be split, in their order.
///
/// The chunks are dealt to the slots as the scheduler deals them: the longest first, in plan order among equals, each
/// to the slot that is free first. A chunk gets an equal share of the slots at the middle of its run.
///
/// On slots of unlike speed that is not enough: a chunk cannot be cut below a segment, and where a segment is more than
/// a slot's share of what is left the slow slots would hold up the end with one, or have none. Those are split in two,
/// the costliest rung against the others; where it is more than [`SMALL_SHARES`] shares, in four: what comes last must
/// be small, because a part that fails in the last seconds begins anew. (Simulated, `tests/tests/fleet.rs`: parts of
/// exactly a share each cost more in decoding than they gain.)
pub(crate) fn parts(cuts: &[Cut], slots: u64) -> Vec<u64> {
    let costs: Vec<u64> = cuts.iter().map(|c| c.cost_ms).collect();
    let shares = cuts.iter().map(|c| match c.share_ms {
        Some(share) if are_unlike(slots) => shared_out(c.cost_ms, share),
        _ => 1,
    });
    beside_idle_slots(&costs, slots).into_iter().zip(shares).map(|(idle, shared)| idle.max(shared)).collect()
}

/// Into how many parts a chunk is split where a slot's share of what is left is this.
fn shared_out(cost_ms: u64, share_ms: u64) -> u64 {
    let parts = match share_ms {
        _ if cost_ms <= share_ms => 1,
        _ if cost_ms <= share_ms.saturating_mul(SMALL_SHARES) => 2,
        _ => 4,
    };
    parts.min(cost_ms / LEAST_SHARED_MS).max(1)
}

fn beside_idle_slots(costs: &[u64], slots: u64) -> Vec<u64> {
    let runs = dealt(costs, slots);
    let sorted = |mut times: Vec<u64>| {
        times.sort_unstable();
        times
    };
    let starts = sorted(runs.iter().map(|(start, _)| *start).collect());
    let ends = sorted(runs.iter().map(|(_, end)| *end).collect());
    let share = |(&(start, end), cost): (&(u64, u64), &u64)| {
        let middle = start + (end - start) / 2;
        let until = |times: &[u64]| times.partition_point(|t| *t <= middle) as u64;
        let running = until(&starts) - until(&ends);
        (slots / running.max(1)).min(cost / LEAST_MS).max(1)
    };
    runs.iter().zip(costs).map(share).collect()
}

/// When each chunk begins and ends.
fn dealt(costs: &[u64], slots: u64) -> Vec<(u64, u64)> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by_key(|i| (Reverse(costs[*i]), *i));
    let slots = usize::try_from(slots).unwrap_or(usize::MAX).clamp(1, costs.len().max(1));
    let mut free: BinaryHeap<Reverse<u64>> = vec![Reverse(0); slots].into();
    let mut runs = vec![(0, 0); costs.len()];
    for i in order {
        let Some(Reverse(start)) = free.pop() else { break };
        let end = start.saturating_add(costs[i].max(1));
        runs[i] = (start, end);
        free.push(Reverse(end));
    }
    runs
}

/// Shares rungs with these costs out over `parts` parts (no more than there are rungs) of about equal cost: the
/// costliest first, each to the part that has least. Gives the rungs of each part in their own order.
pub(crate) fn shared(costs: &[u64], parts: u64) -> Vec<Vec<usize>> {
    let parts = usize::try_from(parts).unwrap_or(usize::MAX).clamp(1, costs.len().max(1));
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by_key(|i| (Reverse(costs[*i]), *i));
    let mut shares = vec![(0u64, Vec::new()); parts];
    for i in order {
        let least = shares.iter_mut().min_by_key(|(sum, rungs)| (*sum, rungs.len()));
        if let Some((sum, rungs)) = least {
            *sum = sum.saturating_add(costs[i]);
            rungs.push(i);
        }
    }
    for (_, rungs) in &mut shares {
        rungs.sort_unstable();
    }
    shares.into_iter().map(|(_, rungs)| rungs).collect()
}

/// As [`shared`], but into more parts where one would cost more than `most_ms`: as few as will do. Only a part of a single
/// rung may cost more all the same.
pub(crate) fn bounded(
    costs: &[u64],
    parts: u64,
    most_ms: Option<u64>,
    cost_ms: impl Fn(&[usize]) -> u64,
) -> Vec<Vec<usize>> {
    let most_ms = most_ms.unwrap_or(u64::MAX);
    let over = |shares: &Vec<Vec<usize>>| {
        let mut over: Vec<u64> = shares.iter().map(|part| cost_ms(part).saturating_sub(most_ms)).collect();
        over.sort_unstable_by_key(|ms| Reverse(*ms));
        over
    };
    // by the costliest part, then the next one; of equals the fewest
    let all = (parts..=parts.max(costs.len() as u64)).map(|parts| shared(costs, parts));
    all.min_by_key(over).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1_000;

    #[test]
    fn the_one_that_runs_alone_is_split() {
        assert_eq!(beside_idle_slots(&[4 * S, 4 * S, 4 * S], 2), [1, 1, 2]);
        assert_eq!(beside_idle_slots(&[4 * S, 4 * S, 2 * S], 2), [1, 1, 2]);
        assert_eq!(
            beside_idle_slots(&[2 * S, 4 * S, 4 * S], 2),
            [2, 1, 1],
            "the shortest comes last, wherever it lies"
        );
        assert_eq!(beside_idle_slots(&[8 * S, 2 * S], 2), [2, 1], "most of the long one's run is alone");
    }

    #[test]
    fn few_chunks_share_all_slots_down_to_a_second_each() {
        assert_eq!(beside_idle_slots(&[50 * S], 6), [6]);
        assert_eq!(beside_idle_slots(&[5 * S, 5 * S], 16), [5, 5]);
        assert_eq!(beside_idle_slots(&[S / 2], 16), [1]);
        assert_eq!(beside_idle_slots(&[], 4), [0u64; 0]);
    }

    #[test]
    fn many_chunks_stay_whole() {
        assert!(beside_idle_slots(&[7 * S; 64], 4).iter().all(|p| *p == 1));
    }

    #[test]
    fn what_is_more_than_a_share_is_split_and_the_last_is_split_small() {
        let of = |cost_s: u64, share_s: u64| shared_out(cost_s * S, share_s * S);
        assert_eq!([of(16, 40), of(16, 16), of(16, 15), of(16, 6), of(16, 5), of(16, 0)], [1, 1, 2, 2, 4, 4]);
        assert_eq!([of(9, 1), of(3, 1)], [2, 1], "no part is smaller than decoding it twice is worth");
    }

    #[test]
    fn what_costs_more_than_it_may_is_split_by_rung() {
        let costs = [207, 92, 52, 23, 10];
        let of = |most_ms: Option<u64>, parts: u64| {
            bounded(&costs, parts, most_ms, |part| part.iter().map(|i| costs[*i]).sum()).len()
        };
        assert_eq!([of(None, 1), of(Some(384), 1), of(Some(383), 1), of(Some(207), 1)], [1, 1, 2, 2]);
        assert_eq!(
            [of(Some(1_000), 3), of(Some(100), 3)],
            [3, 3],
            "more would make nothing cheaper that is too dear"
        );
        assert_eq!([of(Some(100), 1), of(Some(0), 1)], [3, 5]);
    }

    #[test]
    fn rungs_are_shared_out_by_cost_and_keep_their_order() {
        assert_eq!(shared(&[207, 92, 52, 23, 10], 2), [vec![0], vec![1, 2, 3, 4]]);
        assert_eq!(shared(&[207, 92, 52, 23, 10], 1), [vec![0, 1, 2, 3, 4]]);
        assert_eq!(shared(&[5, 5], 8), [vec![0], vec![1]]);
        assert_eq!(shared(&[0, 0, 0], 3), [vec![0], vec![1], vec![2]]);
    }

    proptest! {
        #[test]
        fn a_chunk_takes_no_more_than_its_share_of_the_slots(
            costs in prop::collection::vec(0u64..100_000, 1..60),
            slots in 1u64..64,
        ) {
            let (given, runs) = (beside_idle_slots(&costs, slots), dealt(&costs, slots));
            prop_assert_eq!(given.len(), costs.len());
            for ((start, end), parts) in runs.iter().zip(&given) {
                let middle = start + (end - start) / 2;
                let running = runs.iter().filter(|(s, e)| (*s..*e).contains(&middle)).count() as u64;
                prop_assert!((1..=slots).contains(&running), "{running} chunks on {slots} slots");
                prop_assert!(*parts >= 1 && parts * running <= slots.max(running));
            }
        }

        #[test]
        fn every_rung_is_in_one_part_and_no_part_is_empty(
            costs in prop::collection::vec(0u64..100_000, 1..12),
            parts in 1u64..20,
        ) {
            let shares = shared(&costs, parts);
            prop_assert_eq!(shares.len() as u64, parts.min(costs.len() as u64));
            prop_assert!(shares.iter().all(|s| !s.is_empty() && s.is_sorted()));
            let mut all = shares.concat();
            all.sort_unstable();
            prop_assert!(all.iter().copied().eq(0..costs.len()));
        }
    }
}
