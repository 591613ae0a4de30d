//! The lock on a data directory: one process at a time, and a message that names the one.
//!
//! The kernel drops the lock with the process, however it ends; the number in the file only serves the message.

use super::super::{StateError, StateErrorKind};
use super::io_error;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

const LOCK_FILE: &str = "lock";

/// Held for as long as it lives.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock of `directory` or says who has it.
    pub(super) fn take(directory: &Path) -> Result<Self, StateError> {
        let failed = |error: std::io::Error| {
            io_error(&error, &format!("cannot use the data directory {}", directory.display()))
        };
        fs::create_dir_all(directory).map_err(failed)?;
        let path = directory.join(LOCK_FILE);
        // not truncated here: until the lock is ours, the number in it belongs to another process
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = open.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked(directory, &mut file)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn locked(directory: &Path, file: &mut File) -> StateError {
    let mut text = String::new();
    // what cannot be read, or is being written just now, only makes the message poorer
    let holder = match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => format!("process {}", text.trim()),
        _ => "another process".to_owned(),
    };
    let message = format!(
        "the data directory {} is in use by {holder}: stop it, or name another directory",
        directory.display()
    );
    StateError::new(StateErrorKind::Locked, message)
}
