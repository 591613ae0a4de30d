//! How much one caller may do at a time, whoever else calls: places by caller, each given back when it is dropped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// Calls being answered.
    Calls,
    /// Watches.
    Watches,
    /// Sessions of one worker's credential: the old one and the new while it reconnects.
    Sessions,
}

impl Kind {
    /// The bound, per caller.
    pub(crate) fn most(self) -> usize {
        match self {
            Self::Calls => 64,
            Self::Watches => 128,
            Self::Sessions => 4,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls of this token",
            Self::Watches => "watches of this token",
            Self::Sessions => "sessions of this worker",
        }
    }
}

type Taken = BTreeMap<(Kind, Arc<str>), usize>;

/// Places taken now. There are no more entries than callers that do something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(Arc<Mutex<Taken>>);

/// One place.
#[derive(Debug)]
#[must_use = "a place that is not held is free"]
pub(crate) struct Place {
    places: Places,
    key: (Kind, Arc<str>),
}

impl Places {
    /// A place for a caller; `None`: it has as many as it may.
    pub(crate) fn take(&self, kind: Kind, caller: &Arc<str>) -> Option<Place> {
        let key = (kind, Arc::clone(caller));
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(key.clone()).or_default();
        if *count >= kind.most() {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place { places: self.clone(), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_per_caller_and_given_back() {
        let (places, a, b): (_, Arc<str>, Arc<str>) = (Places::default(), "a".into(), "b".into());
        let mut held: Vec<_> = (0..4).map(|_| places.take(Kind::Sessions, &a).unwrap()).collect();
        assert!(places.take(Kind::Sessions, &a).is_none());
        assert!(places.take(Kind::Sessions, &b).is_some() && places.take(Kind::Calls, &a).is_some());
        held.pop();
        assert!(places.take(Kind::Sessions, &a).is_some());
        held.clear();
        assert!(places.0.lock().unwrap().is_empty());
    }
}
