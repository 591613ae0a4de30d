//! What the local file system needs beyond object_store: durable directories, and a sweep of what a crash left.
//!
//! A file is staged as `name#N` beside its place, synced, and then linked (create-only) or renamed (replace) into it,
//! so a reader never sees half of one. A crash in between leaves the staged file, which no listing shows.

use crate::error::{BlobError, BlobErrorKind};
use object_store::local::LocalFileSystem;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A store rooted at a directory that is there. Written files and the directories they are in are synced.
pub(crate) fn open(directory: &Path) -> Result<LocalFileSystem, BlobError> {
    let store = LocalFileSystem::new_with_prefix(directory).map_err(|error| {
        BlobError::from_store(error, "open the directory", &directory.display().to_string())
    })?;
    Ok(store.with_fsync(true).with_automatic_cleanup(true))
}

/// Creates a directory with its parents, durably.
pub(crate) fn create_directory(directory: &Path) -> Result<(), BlobError> {
    let shown = directory.display().to_string();
    let failed = |error| BlobError::from_io(error, "create the directory", &shown);
    if directory.exists() && !directory.is_dir() {
        return Err(BlobError::new(
            BlobErrorKind::Invalid,
            format!("{shown} is a file; a directory is needed"),
        ));
    }
    let missing: Vec<PathBuf> =
        directory.ancestors().take_while(|d| !d.exists()).map(Path::to_path_buf).collect();
    fs::create_dir_all(directory).map_err(failed)?;
    for made in missing {
        // an entry is durable once the directory that lists it is synced
        if let Some(parent) = made.parent().filter(|p| !p.as_os_str().is_empty()) {
            File::open(parent).and_then(|d| d.sync_all()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Removes staging files below `directory` that nobody has written to for `idle`, and returns how many there were. One
/// that is being written looks the same but for its age.
pub(crate) fn sweep(directory: &Path, idle: Duration) -> Result<u64, BlobError> {
    let mut removed = 0;
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        let shown = directory.display().to_string();
        let failed = |error: io::Error| BlobError::from_io(error, "sweep", &shown);
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // not followed: a link out of the root is not ours to clean
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && is_staging(&entry.file_name().to_string_lossy()) {
                removed += u64::from(remove_idle(&entry.path(), idle).map_err(failed)?);
            }
        }
    }
    Ok(removed)
}

/// Removes a file that nobody has written to for `idle` (if that is zero: whenever it was); one that is gone was somebody
/// else's to remove.
fn remove_idle(path: &Path, idle: Duration) -> io::Result<bool> {
    let gone =
        |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(false) } else { Err(error) };
    let written = match fs::symlink_metadata(path).and_then(|meta| meta.modified()) {
        Ok(written) => written,
        Err(error) => return gone(error),
    };
    if !idle.is_zero() && !written.elapsed().is_ok_and(|age| age >= idle) {
        return Ok(false);
    }
    fs::remove_file(path).map(|()| true).or_else(gone)
}

/// Removes the staging files of `names` (relative to `directory`), whatever their age, and returns how many there were. A
/// folder that held nothing else goes with them.
pub(crate) fn sweep_names(directory: &Path, names: &BTreeSet<String>) -> Result<u64, BlobError> {
    let folders: BTreeSet<PathBuf> =
        names.iter().filter_map(|name| Some(directory.join(name).parent()?.to_path_buf())).collect();
    let mut removed = 0;
    for folder in folders {
        let before = removed;
        let shown = folder.display().to_string();
        let failed = |error: io::Error| BlobError::from_io(error, "sweep", &shown);
        let entries = match fs::read_dir(&folder) {
            // nothing was ever written there
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(failed)?,
        };
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let name = path.strip_prefix(directory).ok().and_then(Path::to_str).unwrap_or_default();
            let is_theirs = is_staging(name) && name.split_once('#').is_some_and(|(n, _)| names.contains(n));
            if is_theirs {
                removed += u64::from(remove_idle(&path, Duration::ZERO).map_err(failed)?);
            }
        }
        if removed > before && folder != directory {
            remove_empty(&folder).map_err(failed)?;
        }
    }
    Ok(removed)
}

/// Removes a directory in which nothing is left.
fn remove_empty(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Err(e) if !matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound) => Err(e),
        _ => Ok(()),
    }
}

/// Is `name` one that a file is staged under (`name#N`)?
pub(crate) fn is_staging(name: &str) -> bool {
    name.split_once('#').is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Does a listing leave out this relative name? Staged files, anything under a hidden directory (a run keeps its state
/// in `OUT/.reelmill`) and `.tmp` files of others are not part of a package.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.ends_with(".tmp") || name.split('/').any(|part| part.starts_with('.') || is_staging(part))
}
