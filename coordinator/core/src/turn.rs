//! One event being handled: its time, the settings, and what it has led to so far.

use crate::batch::Transaction;
use crate::config::Rules;
use crate::effect::Effect;
use crate::record::Op;
use reelmill_common::Millis;
use reelmill_common::record::StateKey;

/// True when the machine runs with the named bug; always false in builds without the feature `sabotage`.
macro_rules! sabotaged {
    ($config:expr, $bug:ident) => {{
        #[cfg(feature = "sabotage")]
        {
            $config.sabotage == Some($crate::sabotage::Sabotage::$bug)
        }
        #[cfg(not(feature = "sabotage"))]
        {
            let _ = &$config;
            false
        }
    }};
}
pub(crate) use sabotaged;

/// What is collected while an event is handled.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) now: Millis,
    pub(crate) config: &'a Rules,
    pub(crate) done: Vec<Transaction>,
    /// Work or slots have become available: the schedule is looked at before the turn ends.
    pub(crate) reschedule: bool,
    /// Idle slots may be given second attempts of stragglers: at ticks only, because all attempts are looked at.
    pub(crate) speculate: bool,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(now: Millis, config: &'a Rules) -> Self {
        Self { now, config, done: Vec::new(), reschedule: false, speculate: false }
    }

    /// These changes belong together; the effects follow when they are durable.
    pub(crate) fn write(&mut self, ops: Vec<Op>, then: Vec<Effect>) {
        self.done.push(Transaction { ops, then, aside: vec![] });
    }

    /// These keys are deleted some time after what was decided so far; nothing may wait for it.
    pub(crate) fn delete_aside(&mut self, keys: Vec<StateKey>) {
        self.done.push(Transaction { aside: keys, ..Transaction::default() });
    }

    /// An effect that follows what was decided so far.
    pub(crate) fn then(&mut self, effect: Effect) {
        match self.done.last_mut() {
            Some(t) => t.then.push(effect),
            None => self.done.push(Transaction { then: vec![effect], ..Transaction::default() }),
        }
    }
}
