//! Voices: who was heard on a file that is looked at again, who is asked next, and what so many voices come to. The rules
//! alone; who is here, and how long is waited for somebody, [`crate::audit`] knows.

use reelmill_common::capability::{Capability, Needs};
use reelmill_common::{SpecId, WorkerId};

/// A file that is looked at again. Voices are memory only: a new leader asks again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Audit {
    pub(crate) chunk: SpecId,
    pub(crate) maker: WorkerId,
    pub(crate) name: String,
    /// What it needs of a worker.
    pub(crate) needs: Needs,
    /// Of sound?
    pub(crate) sound: bool,
    /// Who says that it is wrong, and what the first of them said.
    pub(crate) accused_by: Vec<WorkerId>,
    pub(crate) what: String,
    /// Who says that it is well.
    pub(crate) cleared_by: Vec<WorkerId>,
}

/// What so many voices come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Well,
    Wrong,
    /// Somebody has to be asked.
    Ask,
    /// Somebody should be asked, and may yet come.
    Wait,
}

/// `others`: is there somebody who has not been asked, and did not make it? `waits`: if not, may one come?
pub(crate) fn verdict(accused: usize, cleared: usize, others: bool, waits: bool) -> Verdict {
    match (accused, cleared) {
        (0, 0) => Verdict::Ask,
        (0, _) => Verdict::Well,
        _ if others && accused.max(cleared) < 2 => Verdict::Ask,
        (1, 0) if waits => Verdict::Wait,
        _ if accused > cleared => Verdict::Wrong,
        _ => Verdict::Well,
    }
}

/// The rank of whoever has not been heard on a file and did not make it.
pub(crate) const ANOTHER: u8 = 0;

impl Audit {
    /// Is a worker of a version that knows how to do this?
    pub(crate) fn is_known_to(&self, able: &Capability) -> bool {
        able.audits && (able.audits_sound || !self.sound)
    }

    /// Who is asked before whom: the least first, `None` never.
    pub(crate) fn rank(&self, worker: &WorkerId) -> Option<u8> {
        match *worker == self.maker {
            true => self.accused_by.is_empty().then_some(2),
            // what it said is known; asking again would change nothing
            false if self.accused_by.contains(worker) => None,
            // once more, to be committed, where the one who should confirm it has gone
            false if self.cleared_by.contains(worker) => Some(1),
            false => Some(ANOTHER),
        }
    }

    pub(crate) fn is_disputed(&self) -> bool {
        !self.accused_by.is_empty()
    }

    /// Does only its maker say that it is wrong?
    pub(crate) fn is_confessed(&self) -> bool {
        self.accused_by.iter().all(|by| *by == self.maker)
    }

    pub(crate) fn heard(voices: &mut Vec<WorkerId>, worker: &WorkerId) {
        if !voices.contains(worker) {
            voices.push(worker.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_voices_decide_where_there_are_two() {
        use Verdict::{Ask, Wait, Well, Wrong};
        for (accused, cleared, others, alone, waiting) in [
            (0, 0, Ask, Ask, Ask),
            (0, 1, Well, Well, Well),
            (1, 0, Ask, Wrong, Wait),
            // one word against another: what nobody confirms is not believed
            (1, 1, Ask, Well, Well),
            (2, 0, Wrong, Wrong, Wrong),
            (2, 1, Wrong, Wrong, Wrong),
            (1, 2, Well, Well, Well),
            (2, 2, Well, Well, Well),
        ] {
            for (is_other, waits, expected) in
                [(true, true, others), (true, false, others), (false, false, alone), (false, true, waiting)]
            {
                let found = verdict(accused, cleared, is_other, waits);
                assert_eq!(found, expected, "{accused} : {cleared}, {is_other}, {waits}");
            }
        }
    }

    #[test]
    fn the_maker_is_asked_last_and_never_against_an_accuser() {
        let id = |name: &str| WorkerId::parse(name).expect("id");
        let mut audit = Audit {
            chunk: SpecId(reelmill_common::Sha256([0; 32])),
            maker: id("maker"),
            name: String::new(),
            needs: Needs { family: None, memory_mib: 0 },
            sound: false,
            accused_by: vec![],
            what: String::new(),
            cleared_by: vec![],
        };
        let ranks = |audit: &Audit| ["maker", "a", "b"].map(|w| audit.rank(&id(w)));
        assert_eq!(ranks(&audit), [Some(2), Some(0), Some(0)]);
        audit.accused_by.push(id("a"));
        assert_eq!(ranks(&audit), [None, None, Some(0)], "what an accuser said is known");
        audit.cleared_by.push(id("b"));
        assert_eq!(
            ranks(&audit),
            [None, None, Some(1)],
            "its word was for it: a third decides, or b once more"
        );
    }
}
