//! The laws of bindings: what a rung is bound to, and how a record goes from one revision of its plan to the next.

use super::laws::Laws;
use super::plans::Plan;
use super::store::Store;
use super::tally::Tally;
use reelmill_common::job::JobState;
use reelmill_common::record::{JobRecord, Rebind};

impl Laws {
    /// One decoder configuration over each rung: each part of it is made once, by a build that gives what it is bound to.
    pub(super) fn one_binding(&mut self, store: &Store, job: &JobRecord, plan: &Plan) {
        let film = self.film(&job.id).cloned();
        for (part, whole) in film.iter().flat_map(|f| &f.chunks).enumerate() {
            for (place, bound) in plan.bindings.iter().filter(|(p, _)| whole.rungs.has(**p)) {
                let of_part = plan.chunks.iter().filter(|c| c.part == part);
                let makers: Vec<_> = of_part
                    .filter(|c| c.rungs.get(place) == Some(bound))
                    .filter_map(|c| store.commit(&job.id, c.spec.id))
                    .collect();
                let once = makers.len() == 1;
                let count = makers.len();
                self.hold(once, || {
                    format!("rung {place} of part {part} of {} is made {count} times", job.id)
                });
                let given =
                    makers.first().and_then(|c| self.builds.get(&c.attempt)).map(|b| self.gives(*b, *place));
                self.hold(given == Some(*bound), || {
                    format!(
                        "rung {place} of part {part} of {} is bound to {bound} and was made as {given:?}",
                        job.id
                    )
                });
            }
        }
    }

    /// What a record says of revisions.
    pub(super) fn revisions(&mut self, old: &JobRecord, new: &JobRecord, tally: &mut Tally) {
        if new.rebinds > old.rebinds {
            tally.count("job: to be bound anew");
        }
        if new.unable.len() > old.unable.len() {
            tally.count("job: a build is unable");
        }
        if revision(new) > revision(old).max(1) && !old.rebind.as_ref().is_some_and(is_replan) {
            tally.count("job: bound anew");
        }
        // of an index by what is shown comes a first plan, and nothing is left of what was bound before
        if old.damage != new.damage {
            return;
        }
        let right = if new.rebinds == old.rebinds { goes_on(old, new) } else { begins(old, new) };
        self.hold(right, || {
            let side = |r: &JobRecord| format!("{} of revision {}: {:?}", r.rebinds, revision(r), r.rebind);
            format!("{} was bound anew as {} became {}", new.id, side(old), side(new))
        });
        if let JobState::Failed(reason) = &new.state {
            let odd = reason.message.contains("another decoder configuration for a chunk");
            self.hold(!odd, || format!("{}: {}", new.id, reason.message));
        }
    }
}

fn revision(record: &JobRecord) -> u32 {
    record.plan.as_ref().map_or(0, |p| p.revision)
}

/// Rebinding that is on its way stays what it is: what is found for it comes once. From then on it may be done: the record
/// has the revision that it named, or the one it had, if its rungs turned out to be bound to what was found. A revision
/// is made of nothing else: what it is made from is durable before.
fn goes_on(old: &JobRecord, new: &JobRecord) -> bool {
    match (&old.rebind, &new.rebind) {
        (None, None) => revision(new) == revision(old) || revision(old) == 0,
        // of a plan that was revised, after what a caught worker made has gone
        (None, Some(now)) => {
            is_replan(now)
                && old.audits.unswept
                && !new.audits.unswept
                && revision(old) > 1
                && now.revision == revision(new) + 1
        }
        (Some(before), Some(now)) => {
            let found = before.found.is_none() || before.found == now.found;
            found
                && (before.revision, before.rungs) == (now.revision, now.rungs)
                && revision(new) == revision(old)
        }
        (Some(before), None) => is_done(before, old, new),
    }
}

/// Rebinding begins, one at a time. While an earlier write is on its way, the end of the one before and the beginning of the
/// next fall into one batch: two rungs can be lost one after the other, and some have no patience.
fn begins(old: &JobRecord, new: &JobRecord) -> bool {
    let one = new.rebinds == old.rebinds + 1;
    let before = match &old.rebind {
        None => revision(new) == revision(old),
        Some(before) => is_done(before, old, new),
    };
    let next = |r: &Rebind| r.revision == revision(new) + 1 && !r.rungs.is_empty() && r.found.is_none();
    one && before && new.rebind.as_ref().is_some_and(next)
}

/// Is nothing bound anew, and only planned so?
fn is_replan(rebind: &Rebind) -> bool {
    rebind.rungs.is_empty()
}

/// Does the record say that a rebinding is done?
fn is_done(rebind: &Rebind, old: &JobRecord, new: &JobRecord) -> bool {
    (rebind.found.is_some() || is_replan(rebind)) && [revision(old), rebind.revision].contains(&revision(new))
}
