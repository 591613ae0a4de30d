//! The one thread that writes: it begins terms and commits batches, as many in one transaction as are waiting.
//!
//! Each batch's guard is checked inside the transaction, and commands are taken in the order they came, so a term that
//! begins comes after every batch that was acknowledged before.

use super::super::{Batch, StateError, StateErrorKind, WriteResult};
use super::{COUNTERS, STATE, Shared, TERM};
use redb::{Durability, ReadableTable as _};
use reelmill_common::{FencingTerm, record::LeaderRecord};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use tokio::sync::oneshot;

/// The most commands taken together.
const MAX_GROUP: usize = 64;

/// What the writer is asked to do.
pub(super) enum Command {
    /// Begin a term, unless somebody leads: then the answer is `None`.
    Begin { address: String, reply: oneshot::Sender<Result<Option<FencingTerm>, StateError>> },
    /// Apply a batch that has passed its checks.
    Write { batch: Batch, reply: oneshot::Sender<WriteResult> },
}

/// The thread and the way to it. Dropping it lets the thread finish what it was sent, and waits for that.
pub(super) struct Writer {
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(shared: Arc<Shared>) -> Result<Self, StateError> {
        let (commands, received) = channel();
        let thread = Builder::new().name("state-writer".to_owned()).spawn(move || run(&shared, &received));
        let thread = thread.map_err(|error| {
            StateError::new(
                StateErrorKind::Unavailable,
                format!("cannot start the state's writer thread: {error}"),
            )
        })?;
        Ok(Self { commands: Some(commands), thread: Some(thread) })
    }

    /// Sends a command. If the thread is gone, the command's reply channel closes, which is the answer.
    pub(super) fn send(&self, command: Command) {
        if let Some(commands) = &self.commands {
            let _ = commands.send(command);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the state's writer thread had panicked");
        }
    }
}

type Waiting = (Batch, oneshot::Sender<WriteResult>);

fn run(shared: &Shared, commands: &Receiver<Command>) {
    let _ended = EndOnPanic(shared);
    while let Ok(first) = commands.recv() {
        let mut group: Vec<Waiting> = Vec::new();
        for command in std::iter::once(first).chain(commands.try_iter().take(MAX_GROUP - 1)) {
            match command {
                Command::Write { batch, reply } => group.push((batch, reply)),
                Command::Begin { address, reply } => {
                    commit(shared, std::mem::take(&mut group));
                    // whoever asked may have gone away; then nobody would ever end the term
                    if let Err(Ok(Some(term))) = reply.send(begin(shared, address)) {
                        shared.end(term, "the contender went away");
                    }
                }
            }
        }
        commit(shared, group);
    }
}

/// A database that panics must not leave a leader behind that believes it can write.
struct EndOnPanic<'a>(&'a Shared);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if let Some(leader) = self.0.election.current().filter(|_| std::thread::panicking()) {
            self.0.end(leader.term, "the state's writer thread panicked");
        }
    }
}

fn begin(shared: &Shared, address: String) -> Result<Option<FencingTerm>, StateError> {
    if shared.election.current().is_some() {
        return Ok(None);
    }
    let database = shared.database()?;
    let next = || -> Result<u64, redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let term = {
            let mut counters = transaction.open_table(COUNTERS)?;
            let last = counters.get(TERM)?.map_or(0, |value| value.value());
            counters.insert(TERM, last + 1)?;
            last + 1
        };
        transaction.commit()?;
        Ok(term)
    };
    let term = next().map(FencingTerm).map_err(|error| {
        shared.forget_database();
        shared.error(error)
    })?;
    // only this thread makes leaders, so the place is still vacant
    shared.election.take(LeaderRecord { term, address });
    Ok(Some(term))
}

fn commit(shared: &Shared, group: Vec<Waiting>) {
    let (led, fenced): (Vec<Waiting>, Vec<Waiting>) =
        group.into_iter().partition(|(batch, _)| shared.election.leads(batch.guard.term()));
    answer(fenced, || WriteResult::GuardFailed);
    let Some(term) = led.first().map(|(batch, _)| batch.guard.term()) else {
        return;
    };
    match apply(shared, term, led.iter().map(|(batch, _)| batch)) {
        Ok(true) => answer(led, || WriteResult::Done),
        Ok(false) => answer(led, || WriteResult::GuardFailed),
        Err(error) => {
            shared.forget_database();
            shared.end(term, &error.to_string());
            answer(led, || WriteResult::Unknown(error.to_string()));
        }
    }
}

fn answer(group: Vec<Waiting>, result: impl Fn() -> WriteResult) {
    for (_, reply) in group {
        // a writer that stopped waiting has to send its batch again, which is safe
        let _ = reply.send(result());
    }
}

/// Applies `batches`, all of `term`, in one durable transaction; false, and nothing, if the stored term is another.
fn apply<'a>(
    shared: &Shared,
    term: FencingTerm,
    batches: impl Iterator<Item = &'a Batch>,
) -> Result<bool, StateError> {
    let database = shared.database()?;
    let applied = || -> Result<bool, redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let stored = transaction.open_table(COUNTERS)?.get(TERM)?.map_or(0, |value| value.value());
        if stored != term.0 {
            transaction.abort()?;
            return Ok(false);
        }
        {
            let mut state = transaction.open_table(STATE)?;
            for batch in batches {
                for (key, value) in &batch.puts {
                    state.insert(key.as_str(), value.as_slice())?;
                }
                for key in &batch.deletes {
                    state.remove(key.as_str())?;
                }
            }
        }
        transaction.commit()?;
        Ok(true)
    };
    applied().map_err(|error| shared.error(error))
}
