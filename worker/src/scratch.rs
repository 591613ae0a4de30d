//! Scratch: the worker's own directory of files that live as long as an attempt.
//!
//! One directory per worker, locked while the worker lives, swept at start (whatever a killed worker left there is
//! worthless: an attempt never outlives its worker), one directory per attempt below it, removed with the last that
//! works in it; a worker that leaves waits for that. Nothing outside of that directory is ever touched.

use reelmill_common::outcome::{Fault, FaultKind};
use reelmill_common::{AttemptId, WorkerId};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Times that a directory is tried to be removed: a child that was killed may still be in the call that makes a file.
const REMOVALS: u32 = 3;
/// Name of the lock file beside the attempts' directories.
const LOCK: &str = "lock";

/// A worker's scratch directory.
#[derive(Debug)]
pub struct Scratch {
    root: PathBuf,
    quota: u64,
    /// Directories that are there.
    dirs: TaskTracker,
    /// Holds the lock: two workers of one name would sweep each other's files.
    _lock: File,
}

/// What can be wrong with scratch space.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// Another worker of that name runs with this directory.
    #[error(
        "scratch directory {0} is in use by another worker of the same name: give this one another --name or --scratch"
    )]
    InUse(PathBuf),
    /// The disk is full.
    #[error("the disk of scratch directory {0} is full: free space or point --scratch elsewhere")]
    Full(PathBuf),
    /// The quota is used up.
    #[error(
        "scratch directory {dir} holds {used} bytes, its quota is {quota}: raise the quota or run fewer slots"
    )]
    OverQuota {
        /// The directory.
        dir: PathBuf,
        /// Bytes in it.
        used: u64,
        /// Bytes allowed.
        quota: u64,
    },
    /// Its path cannot be told to ffmpeg.
    #[error("the path of scratch directory {0} is not UTF-8: choose another with --scratch")]
    NotText(PathBuf),
    /// Anything else.
    #[error("scratch directory {dir}: {error}")]
    Io {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

impl ScratchError {
    fn at(dir: &Path, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(dir.to_owned()),
            _ => Self::Io { dir: dir.to_owned(), error },
        }
    }
}

impl From<ScratchError> for Fault {
    fn from(e: ScratchError) -> Self {
        Fault { kind: FaultKind::Storage, message: e.to_string(), detail: String::new() }
    }
}

impl Scratch {
    /// Takes `<base>/<worker>`, creates it if need be, locks it and sweeps what an earlier life left there.
    pub fn open(base: &Path, worker: &WorkerId, quota: u64) -> Result<Self, ScratchError> {
        let made = base.join(worker.as_str());
        fs::create_dir_all(&made).map_err(|e| ScratchError::at(&made, e))?;
        // ffmpeg runs in another directory, so its paths must not depend on ours
        let root = fs::canonicalize(&made).map_err(|e| ScratchError::at(&made, e))?;
        if root.to_str().is_none() {
            return Err(ScratchError::NotText(root));
        }
        let failed = |e| ScratchError::at(&root, e);
        let lock = File::create(root.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ScratchError::InUse(root)),
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        for entry in fs::read_dir(&root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_dir() {
                fs::remove_dir_all(entry.path()).map_err(failed)?;
            }
        }
        Ok(Self { root, quota, dirs: TaskTracker::new(), _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// An empty directory for an attempt, and how many bytes may still be written.
    pub fn attempt(&self, attempt: AttemptId) -> Result<AttemptDir, ScratchError> {
        self.dir(&attempt.to_string())
    }

    /// An empty directory for something that is no attempt (the probe).
    pub(crate) fn dir(&self, name: &str) -> Result<AttemptDir, ScratchError> {
        let used = used_bytes(&self.root).map_err(|e| ScratchError::at(&self.root, e))?;
        let left = self.quota.saturating_sub(used);
        if left == 0 {
            return Err(ScratchError::OverQuota { dir: self.root.clone(), used, quota: self.quota });
        }
        let path = self.root.join(name);
        fs::create_dir(&path).map_err(|e| ScratchError::at(&self.root, e))?;
        Ok(AttemptDir { path, left, _is_there: self.dirs.token() })
    }

    /// Waits until the last directory has been removed. What ends an attempt does not wait for it: its task is dropped
    /// when the runtime comes to it, and a file that is being read back is read to its end.
    pub(crate) async fn emptied(&self) {
        self.dirs.close();
        self.dirs.wait().await;
    }
}

/// An attempt's files; removed when dropped.
#[derive(Debug)]
pub struct AttemptDir {
    path: PathBuf,
    left: u64,
    /// Told to be gone after the directory is.
    _is_there: TaskTrackerToken,
}

impl AttemptDir {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes the quota left for it when it was made.
    pub fn bytes_left(&self) -> u64 {
        self.left
    }

    /// Writes a new file below it, creating directories of `name` as needed.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, ScratchError> {
        let path = self.path.join(name);
        let failed = |e| ScratchError::at(&self.path, e);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        fs::write(&path, content).map_err(failed)?;
        Ok(path)
    }

    /// Removes one of its files, to make room.
    pub fn remove(&self, name: &Path) -> Result<(), ScratchError> {
        let path = self.path.join(name);
        fs::remove_file(&path).map_err(|e| ScratchError::at(&path, e))
    }

    /// Reads one of its files whole.
    pub fn read(&self, name: &Path) -> Result<Vec<u8>, ScratchError> {
        let path = self.path.join(name);
        fs::read(&path).map_err(|e| ScratchError::at(&path, e))
    }
}

impl Drop for AttemptDir {
    fn drop(&mut self) {
        let removed = (1..=REMOVALS).find_map(|n| match fs::remove_dir_all(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty && n < REMOVALS => None,
            ended => Some(ended),
        });
        if let Some(Err(e)) = removed {
            // swept at the next start; until then it counts against the quota, where it is seen
            tracing::warn!(dir = %self.path.display(), error = %e, "could not remove scratch files");
        }
    }
}

pub(crate) fn used_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        let entries = match fs::read_dir(&dir) {
            // an attempt next door ended meanwhile
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(entry.path()),
                Ok(meta) => bytes += meta.len(),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use reelmill_common::FencingTerm;

    fn attempt(sequence: u64) -> AttemptId {
        AttemptId { term: FencingTerm(1), sequence }
    }

    #[test]
    fn what_an_earlier_life_left_is_swept_and_what_lies_beside_is_not() {
        let base = tempfile::tempdir().unwrap();
        let name = WorkerId::parse("w1").unwrap();
        fs::create_dir_all(base.path().join("w1/1-7")).unwrap();
        fs::write(base.path().join("w1/1-7/rung-0.mp4"), b"left over").unwrap();
        fs::write(base.path().join("mine.txt"), b"keep").unwrap();
        let scratch = Scratch::open(base.path(), &name, 1 << 20).unwrap();
        assert!(!scratch.path().join("1-7").exists());
        assert!(base.path().join("mine.txt").exists());

        let dir = scratch.attempt(attempt(7)).unwrap();
        dir.write("a/b.bin", b"123").unwrap();
        assert_eq!(dir.read(Path::new("a/b.bin")).unwrap(), b"123");
        let path = dir.path().to_owned();
        drop(dir);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn who_leaves_waits_for_the_last_that_works_in_a_directory() {
        let base = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(base.path(), &WorkerId::parse("w1").unwrap(), 1 << 20).unwrap();
        let dir = std::sync::Arc::new(scratch.attempt(attempt(7)).unwrap());
        let (path, reader) = (dir.path().to_owned(), std::sync::Arc::clone(&dir));
        drop(dir);
        let mut emptied = std::pin::pin!(scratch.emptied());
        assert!(futures::poll!(&mut emptied).is_pending(), "somebody reads in it");
        drop(reader);
        emptied.await;
        assert!(!path.exists());
    }

    #[test]
    fn two_workers_of_one_name_do_not_share() {
        let base = tempfile::tempdir().unwrap();
        let name = WorkerId::parse("w1").unwrap();
        let first = Scratch::open(base.path(), &name, 1 << 20).unwrap();
        assert!(matches!(Scratch::open(base.path(), &name, 1 << 20), Err(ScratchError::InUse(_))));
        drop(first);
        assert!(Scratch::open(base.path(), &name, 1 << 20).is_ok());
    }

    #[test]
    fn the_quota_is_said_by_name() {
        let base = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(base.path(), &WorkerId::parse("w1").unwrap(), 10).unwrap();
        let first = scratch.attempt(attempt(1)).unwrap();
        first.write("x", &[0; 10]).unwrap();
        let refused = scratch.attempt(attempt(2)).unwrap_err();
        assert!(matches!(refused, ScratchError::OverQuota { used: 10, quota: 10, .. }), "{refused}");
        assert_eq!(Fault::from(refused).kind, FaultKind::Storage);
    }

    #[test]
    fn a_full_disk_is_said_by_name() {
        let full = ScratchError::at(Path::new("/s"), io::Error::from(io::ErrorKind::StorageFull));
        assert!(full.to_string().contains("is full"), "{full}");
    }
}
