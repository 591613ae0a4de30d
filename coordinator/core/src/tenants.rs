//! What each tenant may have of the cluster: its share of it, and bounds on what it takes.
//!
//! A share is of what others want, too: what one leaves unused, the others have. Bounds hold whatever is free. One on
//! slots delays work and refuses none; one on open jobs refuses a submit; one on a film's length fails the job as soon as
//! the length is known, before anything is encoded. There is none on work a day: it would have to count what was deleted.

use crate::config::Rules;
use crate::job::Job;
use crate::leader::Leader;
use reelmill_common::{JobId, TenantId};
use std::collections::BTreeMap;

/// One tenant's share and bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TenantRules {
    /// Share of the fleet against others that want it, at least 1.
    pub weight: u32,
    /// Slots that its work may take at a time; 0 lets it rest.
    pub max_slots: Option<u32>,
    /// Jobs of it that have not ended; `None`: the bound that holds for everybody.
    pub max_open_jobs: Option<usize>,
    /// Length of a film, milliseconds.
    pub max_film_ms: Option<u64>,
}

impl Default for TenantRules {
    fn default() -> Self {
        Self { weight: 1, max_slots: None, max_open_jobs: None, max_film_ms: None }
    }
}

/// The rules of all tenants that are known by name; the default ones are for the others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tenants(BTreeMap<TenantId, TenantRules>);

impl Tenants {
    /// The rules of a tenant.
    pub fn of(&self, tenant: &TenantId) -> TenantRules {
        self.0.get(tenant).copied().unwrap_or_default()
    }

    /// Is another tenant named than this one?
    pub(crate) fn has_others(&self, tenant: &TenantId) -> bool {
        self.0.keys().any(|other| other != tenant)
    }

    /// The slots that tenants with a bound on them may take.
    pub(crate) fn max_slots(&self) -> impl Iterator<Item = (&TenantId, u32)> {
        self.0.iter().filter_map(|(tenant, rules)| Some((tenant, rules.max_slots?)))
    }
}

impl FromIterator<(TenantId, TenantRules)> for Tenants {
    fn from_iter<I: IntoIterator<Item = (TenantId, TenantRules)>>(all: I) -> Self {
        Self(all.into_iter().collect())
    }
}

/// Slots that attempts take, by whose they are; those that upload take none.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct InSlots(BTreeMap<TenantId, u32>);

impl InSlots {
    /// How many of a tenant's are taken.
    pub(crate) fn of(&self, tenant: &TenantId) -> u32 {
        self.0.get(tenant).copied().unwrap_or(0)
    }

    /// An attempt of the tenant begins.
    pub(crate) fn takes(&mut self, tenant: &TenantId) {
        *self.0.entry(tenant.clone()).or_default() += 1;
    }

    /// An attempt of the tenant ends, or begins to upload.
    pub(crate) fn leaves(&mut self, tenant: &TenantId) {
        match self.0.get_mut(tenant) {
            Some(taken) if *taken > 1 => *taken -= 1,
            _ => drop(self.0.remove(tenant)),
        }
    }
}

/// Slots that tenants with a bound on them may still take; one that is not there may take all.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlotsLeft(BTreeMap<TenantId, u32>);

impl SlotsLeft {
    /// Beside what is taken.
    pub(crate) fn of(tenants: &Tenants, taken: &InSlots) -> Self {
        let left = |(tenant, most): (&TenantId, u32)| (tenant.clone(), most.saturating_sub(taken.of(tenant)));
        Self(tenants.max_slots().map(left).collect())
    }

    /// The tenant has taken one.
    pub(crate) fn take(&mut self, tenant: &TenantId) {
        if let Some(left) = self.0.get_mut(tenant) {
            *left = left.saturating_sub(1);
        }
    }

    /// May the tenant take one more?
    pub(crate) fn has(&self, tenant: &TenantId) -> bool {
        self.0.get(tenant) != Some(&0)
    }
}

impl Leader {
    /// What a chunk of a job that is about to be planned may cost at most: there is a bound where somebody else is known
    /// by name, or has a job that has not ended. Whoever comes later meets the chunks as they are.
    pub(crate) fn chunk_cost_max_ms(&self, rules: &Rules, job: &JobId) -> Option<u64> {
        let tenant = &self.jobs.get(job)?.record.request.tenant;
        let others = |j: &Job| j.record.request.tenant != *tenant && !j.state().is_terminal();
        let is_shared = rules.tenants.has_others(tenant) || self.jobs.values().any(others);
        is_shared.then_some(rules.chunk_cost_max_ms)
    }
}
