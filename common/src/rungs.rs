//! The rungs of a chunk, as a list that chunks share.
//!
//! A plan has ten thousand chunks and a handful of different lists of rungs, each with names and decoder configurations
//! that are far larger than the rest of a chunk. So a list is kept once, and every chunk that has it points to it. Equal
//! lists are equal whether or not they are shared: nothing but memory depends on it.

use crate::spec::VideoRung;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Different lists that are remembered while a plan is made or read: more than it has ways to split a ladder.
const LISTS_MAX: usize = 64;

/// The renditions that a chunk makes. A clone shares them; a change of one does not reach the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rungs(Arc<[VideoRung]>);

impl From<Vec<VideoRung>> for Rungs {
    fn from(rungs: Vec<VideoRung>) -> Self {
        Self(rungs.into())
    }
}

impl FromIterator<VideoRung> for Rungs {
    fn from_iter<I: IntoIterator<Item = VideoRung>>(rungs: I) -> Self {
        Self(rungs.into_iter().collect())
    }
}

impl Deref for Rungs {
    type Target = [VideoRung];

    fn deref(&self) -> &[VideoRung] {
        &self.0
    }
}

impl DerefMut for Rungs {
    fn deref_mut(&mut self) -> &mut [VideoRung] {
        Arc::make_mut(&mut self.0)
    }
}

impl<'a> IntoIterator for &'a Rungs {
    type Item = &'a VideoRung;
    type IntoIter = std::slice::Iter<'a, VideoRung>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Rungs {
    type Item = &'a mut VideoRung;
    type IntoIter = std::slice::IterMut<'a, VideoRung>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

/// Lists that were met, the last ones of them.
#[derive(Debug, Default)]
pub struct RungLists(Vec<Rungs>);

impl RungLists {
    /// The same list, and where it was met before, that very one.
    pub fn shared(&mut self, rungs: Rungs) -> Rungs {
        if let Some(met) = self.0.iter().rev().find(|met| **met == rungs) {
            return met.clone();
        }
        if self.0.len() == LISTS_MAX {
            self.0.remove(0);
        }
        self.0.push(rungs.clone());
        rungs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ladder::{EncoderFamily, OutputColour, VideoSettings, X264Preset};

    fn list(folder: &str) -> Rungs {
        let settings = VideoSettings {
            family: EncoderFamily::X264,
            width: 640,
            height: 360,
            every: 1,
            max_rate_kbps: 800,
            buffer_kbit: 800,
            crf_tenths: 230,
            preset: X264Preset::Fast,
            level: 30,
            refs: 3,
            bframes: 3,
            lookahead: 40,
            gop_frames: 48,
            threads: 1,
            cpu_independent: false,
            colour: OutputColour::Bt709,
        };
        vec![VideoRung { folder: folder.to_owned(), settings, avcc: vec![1, 2], reorder_delay: 2 }].into()
    }

    #[test]
    fn equal_lists_are_kept_once_and_a_change_of_one_stays_there() {
        let mut lists = RungLists::default();
        let (first, mut second) = (lists.shared(list("a")), lists.shared(list("a")));
        assert!(Arc::ptr_eq(&first.0, &second.0));
        second[0].reorder_delay = 3;
        assert_eq!((first[0].reorder_delay, second[0].reorder_delay), (2, 3));
        assert_ne!(lists.shared(list("b")), first);
    }

    #[test]
    fn no_more_lists_are_remembered_than_there_are_ways_to_split_a_ladder() {
        let mut lists = RungLists::default();
        let first = lists.shared(list("first"));
        (0..LISTS_MAX).for_each(|n| drop(lists.shared(list(&n.to_string()))));
        assert_eq!(lists.0.len(), LISTS_MAX);
        assert!(!Arc::ptr_eq(&lists.shared(list("first")).0, &first.0), "it was forgotten, and is kept anew");
    }
}
