//! State in a directory of this machine: redb under an exclusive lock, for one `serve` without anything beside it.
//!
//! The lock keeps every other process out, so leading is holding it; inside the process contenders take turns. A term
//! is a stored counter plus one, durable before anything is written in it. Every commit is synced before it is
//! acknowledged, and redb's copy-on-write pages mean that a killed process leaves the last commit and nothing of the
//! next. This module must not write in any other thread than its one writer ([`writer`]).
//!
//! When the disk fails a write, the term ends, because what the database then holds in memory cannot be trusted; the
//! next campaign opens it anew.

mod lock;
mod writer;

use super::election::Election;
use super::{
    Batch, Leadership, MAX_PAGE_ENTRIES, Page, Room, StateError, StateErrorKind, StateStore, WriteResult,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use lock::DirectoryLock;
use redb::{Database, ReadableDatabase as _, TableDefinition};
use reelmill_common::{FencingTerm, record::LeaderRecord};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use writer::{Command, Writer};

const STATE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("state");
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");
const TERM: &str = "term";
const DATABASE_FILE: &str = "state.redb";
/// Pages of the file kept in memory: those of the commits of a job or two. What was read once, at the beginning of a term,
/// is not read again, and redb would keep a gigabyte of it.
const CACHE_BYTES: usize = 32 << 20;

/// One contender's handle on the state in a directory. [`EmbeddedState::open`] makes the first one.
pub struct EmbeddedState {
    inner: Arc<Inner>,
    held: Mutex<Option<FencingTerm>>,
}

struct Inner {
    // dropped in this order: the writer thread ends, the database closes, then others may have the directory
    writer: Writer,
    shared: Arc<Shared>,
    _lock: DirectoryLock,
}

/// What the writer thread and the readers share.
struct Shared {
    path: PathBuf,
    database: Mutex<Option<Arc<Database>>>,
    election: Election,
    ended_because: Mutex<Option<String>>,
}

impl EmbeddedState {
    /// Locks `directory`, creating it if it is missing, and opens the state in it. Fails at once, naming the process,
    /// when another one holds it. Blocks while redb checks a file that was not closed properly.
    pub fn open(directory: &Path) -> Result<Self, StateError> {
        let lock = DirectoryLock::take(directory)?;
        let shared = Arc::new(Shared {
            path: directory.join(DATABASE_FILE),
            database: Mutex::default(),
            election: Election::new(),
            ended_because: Mutex::default(),
        });
        shared.database()?;
        let writer = Writer::start(Arc::clone(&shared))?;
        Ok(Self { inner: Arc::new(Inner { writer, shared, _lock: lock }), held: Mutex::default() })
    }

    /// Another contender within this process.
    pub fn contender(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), held: Mutex::default() }
    }

    /// Ends the present term from outside, as an operator's hand or a disk failure does.
    pub fn depose(&self, why: &str) {
        if let Some(leader) = self.inner.shared.election.current() {
            self.inner.shared.end(leader.term, why);
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<FencingTerm>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// The database, opened if it is not.
    fn database(&self) -> Result<Arc<Database>, StateError> {
        let mut slot = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = slot.as_ref() {
            return Ok(Arc::clone(database));
        }
        let database = open_database(&self.path).map_err(|error| self.error(error))?;
        Ok(Arc::clone(slot.insert(Arc::new(database))))
    }

    /// Forgets the database after it failed; the next campaign opens it anew.
    fn forget_database(&self) {
        self.database.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Ends `term`, saying why to whoever waits for its end.
    fn end(&self, term: FencingTerm, why: &str) {
        *self.ended_because.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
        self.election.end(term);
    }

    /// A redb error in the state's own terms.
    fn error(&self, error: redb::Error) -> StateError {
        let path = self.path.display();
        match error {
            redb::Error::Io(error) => io_error(&error, &format!("cannot use the state in {path}")),
            redb::Error::Corrupted(why) => StateError::new(
                StateErrorKind::Corrupt,
                format!(
                    "the state in {path} is damaged ({why}): restore it from a copy, or begin with an empty directory"
                ),
            ),
            redb::Error::UpgradeRequired(version) => StateError::new(
                StateErrorKind::Corrupt,
                format!(
                    "the state in {path} has the old format {version}: open it once with the release that wrote it"
                ),
            ),
            other => StateError::new(
                StateErrorKind::Unavailable,
                format!("cannot use the state in {path}: {other}"),
            ),
        }
    }

    /// What the file takes up of what the disk could give it: its own blocks and all that is free. Its length would say
    /// less (it grows ahead of what it holds, sparse), and pages that deletes freed within it count as used: redb uses
    /// them again, but does not tell how many there are without reading every page.
    fn room(&self) -> Result<Room, StateError> {
        let failed = |error: io::Error| io_error(&error, &format!("cannot look at {}", self.path.display()));
        let used = std::fs::metadata(&self.path).map_err(failed)?.blocks() * 512;
        let disk = nix::sys::statvfs::statvfs(&self.path).map_err(|errno| failed(errno.into()))?;
        Ok(Room { used, most: used + disk.blocks_available() * disk.fragment_size() })
    }

    fn scan(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StateError> {
        let database = self.database()?;
        let page = || -> Result<Page, redb::Error> {
            let table = database.begin_read()?.open_table(STATE)?;
            let from = match after {
                Some(after) if after >= prefix => Bound::Excluded(after),
                _ => Bound::Included(prefix),
            };
            let mut page = Page::default();
            for entry in table.range::<&str>((from, Bound::Unbounded))? {
                let (key, value) = entry?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                if page.entries.len() == limit {
                    page.next = page.entries.last().map(|(key, _)| key.clone());
                    break;
                }
                page.entries.push((key.value().to_owned(), value.value().to_vec()));
            }
            Ok(page)
        };
        page().map_err(|error| self.error(error))
    }
}

fn open_database(path: &Path) -> Result<Database, redb::Error> {
    let database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
    // the tables exist from the first moment on, so that reading never has to tell "none" from "empty"
    let transaction = database.begin_write()?;
    transaction.open_table(STATE)?;
    transaction.open_table(COUNTERS)?;
    transaction.commit()?;
    // the file's own entry must outlast a power cut, too
    if let Some(directory) = path.parent() {
        std::fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(redb::Error::Io)?;
    }
    Ok(database)
}

/// A file system error in the state's own terms.
fn io_error(error: &io::Error, what: &str) -> StateError {
    let (kind, advice) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (StateErrorKind::Full, "no space left there; free some")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            (StateErrorKind::Permission, "permission denied; check who owns it")
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            (StateErrorKind::Invalid, "a file is in its way; name a directory")
        }
        _ => return StateError::new(StateErrorKind::Unavailable, format!("{what}: {error}")),
    };
    StateError::new(kind, format!("{what}: {advice}"))
}

impl StateStore for EmbeddedState {
    fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page, StateError>> {
        let (inner, prefix) = (Arc::clone(&self.inner), prefix.to_owned());
        let limit = limit.clamp(1, MAX_PAGE_ENTRIES);
        async move {
            let scan = move || inner.shared.scan(&prefix, after.as_deref(), limit);
            match tokio::task::spawn_blocking(scan).await {
                Ok(page) => page,
                Err(stopped) => Err(StateError::new(
                    StateErrorKind::Unavailable,
                    format!("a scan of the state ended: {stopped}"),
                )),
            }
        }
        .boxed()
    }

    fn write<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, WriteResult> {
        async move {
            if let Err(error) = batch.check() {
                return WriteResult::Refused(error);
            }
            // another contender's term is not ours to write in, although it would pass the writer's guard
            if *self.held() != Some(batch.guard.term()) {
                return WriteResult::GuardFailed;
            }
            let (reply, answer) = oneshot::channel();
            self.inner.writer.send(Command::Write { batch: batch.clone(), reply });
            match answer.await {
                Ok(result) => result,
                Err(_) => WriteResult::Unknown("the state's writer has stopped".to_owned()),
            }
        }
        .boxed()
    }

    fn room(&self) -> BoxFuture<'_, Result<Option<Room>, StateError>> {
        // two looks at metadata that the kernel has at hand
        std::future::ready(self.inner.shared.room().map(Some)).boxed()
    }
}

impl Leadership for EmbeddedState {
    fn campaign<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Result<FencingTerm, StateError>> {
        async move {
            loop {
                self.inner.shared.election.vacant().await;
                let (reply, answer) = oneshot::channel();
                self.inner.writer.send(Command::Begin { address: address.to_owned(), reply });
                let stopped = |_| {
                    StateError::new(StateErrorKind::Corrupt, "the state's writer has stopped: start again")
                };
                if let Some(term) = answer.await.map_err(stopped)?? {
                    *self.held() = Some(term);
                    return Ok(term);
                }
            }
        }
        .boxed()
    }

    fn lost(&self, term: FencingTerm) -> BoxFuture<'_, String> {
        async move {
            self.inner.shared.election.ended(term).await;
            let why = self.inner.shared.ended_because.lock().unwrap_or_else(PoisonError::into_inner).clone();
            why.unwrap_or_else(|| format!("term {} has ended", term.0))
        }
        .boxed()
    }

    fn resign(&self) -> BoxFuture<'_, Result<(), StateError>> {
        if let Some(term) = self.held().take() {
            self.inner.shared.end(term, "resigned");
        }
        std::future::ready(Ok(())).boxed()
    }

    fn leader(&self) -> BoxFuture<'_, Result<Option<LeaderRecord>, StateError>> {
        std::future::ready(Ok(self.inner.shared.election.current())).boxed()
    }
}

#[cfg(test)]
mod tests;
