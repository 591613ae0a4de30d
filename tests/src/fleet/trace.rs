//! What every slot did when: to see what a run waited for.

use super::film::Film;
use super::run::{Fleet, Run};
use reelmill_common::{Millis, SpecId};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Of the last chunks so many are told one by one.
const LAST: usize = 12;
/// Idle slots are told for so many parts of a run.
const PARTS: u64 = 20;

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// What it made was committed.
    Won,
    /// With a fault.
    Failed,
    /// With its worker.
    Crashed,
    /// Another one was first.
    Superseded,
}

/// One attempt of the film, from its lease to its end.
#[derive(Clone, Copy, Debug)]
pub struct Try {
    /// Of which chunk.
    pub spec: SpecId,
    /// On which worker.
    pub worker: usize,
    /// When it was leased.
    pub from: Millis,
    /// When it ended.
    pub until: Millis,
    /// How.
    pub ending: Ending,
}

/// A run for people: how many slots idled when, and what was made last, by whom, after what.
pub fn tell(film: &Film, fleet: &Fleet, run: &Run) -> String {
    let mut text = String::new();
    let began = run.tries.iter().map(|t| t.from).min().unwrap_or(Millis(0));
    let part_ms = (run.makespan_ms / PARTS).max(1);
    let slots = fleet.speed.len() as u64;
    let _ = write!(text, "makespan {} ms, ideal {}; idle permille", run.makespan_ms, run.ideal_ms);
    for part in 0..PARTS {
        let (from, until) = (began.plus(part * part_ms), began.plus((part + 1) * part_ms));
        let within = |t: &Try| t.until.min(until).since(t.from.max(from));
        let busy: u64 = run.tries.iter().map(within).sum();
        let _ = write!(text, " {}", 1_000 - (busy * 1_000 / (part_ms * slots)).min(1_000));
    }
    let costs: BTreeMap<SpecId, (u64, u64)> =
        film.specs.iter().zip(&film.cost_ms).map(|(s, c)| (s.id, (s.cost_ms, *c))).collect();
    let mut last: Vec<&Try> = run.tries.iter().filter(|t| t.ending == Ending::Won).collect();
    last.sort_by_key(|t| std::cmp::Reverse(t.until));
    for won in last.into_iter().take(LAST) {
        let (said, cost) = costs.get(&won.spec).copied().unwrap_or_default();
        let _ = write!(text, "\n  said {said} costs {cost}:");
        let mut all: Vec<&Try> = run.tries.iter().filter(|t| t.spec == won.spec).collect();
        all.sort_by_key(|t| t.from);
        for t in all {
            let (from, until) = (t.from.since(began), t.until.since(began));
            let _ = write!(text, " {from}-{until} at {} {:?};", fleet.speed[t.worker], t.ending);
        }
    }
    text
}
