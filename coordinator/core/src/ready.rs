//! Jobs with work that waits, tenant by tenant, in the order in which they are served.
//!
//! Within a tenant: priority, then age. But **short work**, which jobs begin and end with (index, analysis, audits), goes
//! before chunks of the same priority, however much older their jobs are: a film that was handed in is soon known, and
//! refused if it has to be, and one that is encoded soon published, without a wait for hours of another's chunks. It does so
//! every second time at most: between two, priority and age decide alone, so chunks go on however many jobs come.

use crate::work::WorkKind;
use reelmill_common::{JobId, TenantId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Where a job stands among those of its tenant: priority, then age.
pub(crate) type Place = (Reverse<i32>, JobId);

/// Jobs with ready work, by tenant; none of a tenant without.
#[derive(Debug, Default)]
pub(crate) struct Ready(BTreeMap<TenantId, Jobs>);

/// Those of a tenant.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    short: BTreeSet<Place>,
    chunks: BTreeSet<Place>,
    /// What was given out last was short.
    rests: bool,
}

impl WorkKind {
    /// Is it small beside a chunk, and do others wait for it?
    pub(crate) fn is_short(self) -> bool {
        self != Self::Encode
    }
}

impl Jobs {
    /// In the order in which they are served now.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = &Place> {
        self.merged(!self.rests)
    }

    /// Those that are before one while short work goes first; how many of them have some.
    pub(crate) fn before(&self, place: &Place) -> (Vec<&Place>, usize) {
        let before: Vec<&Place> = self.merged(true).take_while(|p| *p != place).collect();
        let short = before.iter().filter(|p| self.short.contains(**p)).count();
        (before, short)
    }

    fn merged(&self, short_first: bool) -> impl Iterator<Item = &Place> {
        let (mut short, mut chunks) = (self.short.iter().peekable(), self.chunks.iter().peekable());
        std::iter::from_fn(move || {
            let is_short = match (short.peek(), chunks.peek()) {
                (Some(s), Some(c)) if short_first => s.0 <= c.0,
                (Some(s), Some(c)) => s < c,
                (s, _) => s.is_some(),
            };
            if is_short { short.next() } else { chunks.next() }
        })
    }
}

impl Ready {
    /// Does nothing of anybody wait?
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tenants of which something waits, ascending.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = (&TenantId, &Jobs)> {
        self.0.iter()
    }

    /// The jobs of a tenant.
    pub(crate) fn of(&self, tenant: &TenantId) -> Option<&Jobs> {
        self.0.get(tenant)
    }

    /// All of them.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = &JobId> {
        self.0.values().flat_map(|jobs| jobs.short.iter().chain(&jobs.chunks)).map(|(_, id)| id)
    }

    /// Such work of a job waits; `None`: none does.
    pub(crate) fn set(&mut self, tenant: &TenantId, place: Place, waits: Option<WorkKind>) {
        match waits {
            Some(kind) => {
                let jobs = self.0.entry(tenant.clone()).or_default();
                let (its, other) = match kind.is_short() {
                    true => (&mut jobs.short, &mut jobs.chunks),
                    false => (&mut jobs.chunks, &mut jobs.short),
                };
                other.remove(&place);
                its.insert(place);
            }
            None => {
                let Some(jobs) = self.0.get_mut(tenant) else { return };
                jobs.short.remove(&place);
                jobs.chunks.remove(&place);
                if jobs.short.is_empty() && jobs.chunks.is_empty() {
                    self.0.remove(tenant);
                }
            }
        }
    }

    /// Something of a tenant was given out.
    pub(crate) fn gave(&mut self, tenant: &TenantId, kind: WorkKind) {
        if let Some(jobs) = self.0.get_mut(tenant) {
            jobs.rests = kind.is_short();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> TenantId {
        TenantId::parse("t").expect("tenant")
    }

    fn place(priority: i32, name: &str) -> Place {
        (Reverse(priority), JobId::parse(name).expect("job"))
    }

    fn order(ready: &Ready) -> Vec<&str> {
        ready.of(&tenant()).map_or(vec![], |jobs| jobs.in_order().map(|(_, id)| id.as_str()).collect())
    }

    #[test]
    fn short_work_goes_before_chunks_of_its_priority_every_second_time() {
        let mut ready = Ready::default();
        ready.set(&tenant(), place(0, "a"), Some(WorkKind::Encode));
        ready.set(&tenant(), place(0, "b"), Some(WorkKind::Index));
        ready.set(&tenant(), place(0, "c"), Some(WorkKind::Audit));
        ready.set(&tenant(), place(5, "urgent"), Some(WorkKind::Encode));
        ready.set(&tenant(), place(-5, "idle"), Some(WorkKind::Analyse));
        assert_eq!(order(&ready), ["urgent", "b", "c", "a", "idle"]);
        ready.gave(&tenant(), WorkKind::Index);
        assert_eq!(order(&ready), ["urgent", "a", "b", "c", "idle"], "by priority and age alone");
        ready.gave(&tenant(), WorkKind::Encode);
        assert_eq!(order(&ready)[1], "b");
        let (before, short) = ready.of(&tenant()).expect("jobs").before(&place(0, "a"));
        assert_eq!((before.len(), short), (3, 2));
    }

    #[test]
    fn a_job_stands_where_its_work_is_and_nowhere_without() {
        let mut ready = Ready::default();
        ready.set(&tenant(), place(0, "a"), Some(WorkKind::Index));
        ready.set(&tenant(), place(0, "a"), Some(WorkKind::Encode));
        assert_eq!((order(&ready), ready.jobs().count()), (vec!["a"], 1));
        ready.set(&tenant(), place(0, "a"), None);
        assert!(ready.is_empty() && ready.of(&tenant()).is_none());
    }
}
