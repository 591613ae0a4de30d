//! Start-time fair queueing over tenants (Goyal, Vin, Cheng, SIGCOMM 1996; on several servers: Jin, Chase, Kaur,
//! SIGMETRICS 2004).
//!
//! Each tenant has a finish tag; the next chunk goes to the backlogged tenant whose start tag is least. For tenants i
//! and j backlogged over any interval on D slots, the predicted work S they were given differs by
//! `|S_i/w_i - S_j/w_j| <= (D+1)(c_i/w_i + c_j/w_j)`, c being the largest chunk. Tags are virtual time: predicted
//! slot-milliseconds over weight, scaled; no clock is involved.

use reelmill_common::TenantId;
use std::collections::BTreeMap;

/// Virtual time of one slot-millisecond at weight 1: leaves room to divide by weights without losing order.
const SCALE: u128 = 1 << 20;

/// Virtual time.
#[derive(Debug, Default)]
pub(crate) struct Fair {
    /// Start tag of the chunk dispatched last.
    virtual_now: u128,
    /// Finish tag of each tenant's last chunk; those at or behind `virtual_now` say nothing and are dropped.
    finish: BTreeMap<TenantId, u128>,
    /// Predicted slot-milliseconds given to each tenant in this term: for showing.
    served_ms: BTreeMap<TenantId, u64>,
}

impl Fair {
    /// The start tag a tenant's next chunk would get: the least goes first.
    pub(crate) fn start_tag(&self, tenant: &TenantId) -> u128 {
        self.finish.get(tenant).copied().unwrap_or(0).max(self.virtual_now)
    }

    /// What the tenant was given in this term, predicted slot-milliseconds.
    pub(crate) fn served_ms(&self, tenant: &TenantId) -> u64 {
        self.served_ms.get(tenant).copied().unwrap_or(0)
    }

    /// A chunk of the tenant was dispatched.
    pub(crate) fn charge(&mut self, tenant: &TenantId, cost_ms: u64, weight: u32) {
        let start = self.start_tag(tenant);
        let finish = start + u128::from(cost_ms) * SCALE / u128::from(weight.max(1));
        self.virtual_now = start;
        *self.served_ms.entry(tenant.clone()).or_default() += cost_ms;
        self.finish.insert(tenant.clone(), finish);
        self.finish.retain(|_, f| *f > start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tenant(n: usize) -> TenantId {
        TenantId::parse(&format!("t{n}")).expect("tenant")
    }

    proptest! {
        /// On one slot, always backlogged: the formula holds over every prefix, with D = 1.
        #[test]
        fn backlogged_tenants_share_by_weight(
            weights in prop::collection::vec(1u32..8, 2..5),
            costs in prop::collection::vec(1u64..20_000, 200),
        ) {
            let mut fair = Fair::default();
            let mut served = vec![0u64; weights.len()];
            let mut largest = vec![1u64; weights.len()];
            for cost in costs {
                let i = (0..weights.len()).min_by_key(|i| (fair.start_tag(&tenant(*i)), *i)).expect("some");
                fair.charge(&tenant(i), cost, weights[i]);
                served[i] += cost;
                largest[i] = largest[i].max(cost);
                for a in 0..weights.len() {
                    for b in 0..a {
                        let (wa, wb) = (u64::from(weights[a]), u64::from(weights[b]));
                        // both sides times wa * wb
                        let apart = (served[a] * wb).abs_diff(served[b] * wa);
                        prop_assert!(apart <= 2 * (largest[a] * wb + largest[b] * wa));
                    }
                }
            }
        }
    }

    #[test]
    fn an_idle_tenant_saves_nothing_up() {
        let mut fair = Fair::default();
        (0..100).for_each(|_| fair.charge(&tenant(0), 1_000, 1));
        fair.charge(&tenant(1), 1_000, 1);
        assert!(fair.start_tag(&tenant(1)) > fair.start_tag(&tenant(0)) - 2_000 * SCALE);
        fair.charge(&tenant(0), 1_000, 1);
        fair.charge(&tenant(1), 1_000, 1);
        assert!(fair.start_tag(&tenant(1)).abs_diff(fair.start_tag(&tenant(0))) <= 1_000 * SCALE);
    }
}
