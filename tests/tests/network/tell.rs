//! What the shells say of themselves, counted: how often a run comes into which situation.

use reelmill_tests::sim::tally::Tally;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Situations that an ordinary run must come into, in the shells' own words.
pub(crate) const OFTEN: [&str; 11] = [
    "this coordinator leads",
    "the term ended",
    "a write has an unknown end and is sent again",
    "keep-alive failed, trying again",
    "cannot campaign now, trying again",
    "could not resign; the next leader waits for the lease",
    "the state store is away, asking again",
    "no connection to a coordinator",
    "joined",
    "worker session ended",
    "leaving after the work that runs",
];

/// Situations that one run of ten or less comes into, so that a hundred do.
pub(crate) const SOMETIMES: [&str; 2] =
    ["a write was fenced: another coordinator leads", "the term ended while it was being loaded"];

/// Situations that need more seeds.
const SELDOM: [&str; 5] = [
    "etcd could not be compacted, trying again later",
    "task will be tried again",
    "already there with the same bytes",
    "a lease could not be sent",
    "a plan cannot be read just now, asking again",
];

static COUNTS: Mutex<Option<Tally>> = Mutex::new(None);

/// What was said since the last time somebody asked.
pub(crate) fn take() -> Tally {
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
}

/// Listens from now on; what `filter` lets through is written as well, by the run's own time.
pub(crate) fn listen(filter: Option<String>) {
    let written = filter.map(|filter| {
        let lines = tracing_subscriber::fmt::layer().with_timer(Elapsed).with_ansi(false);
        lines.with_writer(std::io::stderr).with_filter(EnvFilter::new(filter))
    });
    let counted = Count.with_filter(LevelFilter::DEBUG);
    tracing_subscriber::registry().with(counted).with(written).init();
}

struct Count;

impl<S: Subscriber> Layer<S> for Count {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("reelmill") {
            event.record(&mut Words);
        }
    }
}

/// Counts the message of an event.
struct Words;

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let said = format!("{value:?}");
            if let Some(known) = OFTEN.iter().chain(&SOMETIMES).chain(&SELDOM).find(|known| **known == said) {
                let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
                counts.get_or_insert_default().count(known);
            }
        }
    }
}

/// Virtual time; none where somebody is at work on the simulated network itself.
struct Elapsed;

impl FormatTime for Elapsed {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        write!(to, "{:>8}", turmoil::sim_elapsed().unwrap_or_default().as_millis())
    }
}
