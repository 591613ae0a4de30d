//! Settings that lie in files and change while the process runs: certificates, keys, the access file.
//!
//! The files are read every second. Content that has changed and then stood still for one look is tried; what is
//! wrong with it is logged and counted, and the content that was right before stays in force. Nothing here knows what the
//! files mean.

use crate::telemetry;
use reelmill_common::Sha256;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);
/// No such file is longer.
const FILE_MAX: u64 = 4 << 20;

/// What a group of files is for, as metrics and logs name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Watching {
    /// Certificate, key and client CA.
    Tls,
    /// Tokens and tenants.
    Access,
}

impl Watching {
    pub(crate) const ALL: [Self; 2] = [Self::Tls, Self::Access];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Access => "access",
        }
    }
}

/// What a look at the files came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    /// As before.
    Same,
    /// They change just now: the next look tells.
    Moving,
    /// The new content is in force.
    Taken,
    /// The new content is wrong; the old one stays.
    Refused,
}

/// Makes a value of the files' contents, in the order of their paths; or says what is wrong.
type Make<T> = dyn Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync;

/// A value made of files.
pub(crate) struct Watched<T> {
    what: Watching,
    paths: Vec<PathBuf>,
    make: Box<Make<T>>,
    value: watch::Sender<Arc<T>>,
    /// Content at the last look, and content that was last tried.
    seen: Sha256,
    tried: Sha256,
}

impl<T> Watched<T> {
    /// Reads the files for the first time: what is wrong with them now is an error.
    pub(crate) async fn open(
        what: Watching,
        paths: Vec<PathBuf>,
        make: impl Fn(&[Vec<u8>]) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let contents = read(&paths).await?;
        let value = Arc::new(make(&contents)?);
        let seen = digest(&contents);
        let (value, _) = watch::channel(value);
        Ok(Self { what, paths, make: Box::new(make), value, seen, tried: seen })
    }

    /// The value, and what it becomes.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<T>> {
        self.value.subscribe()
    }

    /// Looks once.
    pub(crate) async fn look(&mut self) -> Look {
        let contents = read(&self.paths).await;
        // a file that is away is a content, too: it is told once
        let now = match &contents {
            Ok(contents) => digest(contents),
            Err(why) => Sha256::of(why.as_bytes()),
        };
        let stands_still = std::mem::replace(&mut self.seen, now) == now;
        if now == self.tried {
            return Look::Same;
        }
        if !stands_still {
            return Look::Moving;
        }
        self.tried = now;
        let made = contents.and_then(|contents| (self.make)(&contents));
        let what = self.what.name();
        match made {
            Ok(value) => {
                self.value.send_replace(Arc::new(value));
                tracing::info!(what, "files have changed and are in force");
                telemetry::reloaded(self.what, true);
                Look::Taken
            }
            Err(why) => {
                tracing::error!(what, %why, "files have changed and are wrong: what was in force before stays");
                telemetry::reloaded(self.what, false);
                Look::Refused
            }
        }
    }

    /// Looks until shutdown.
    pub(crate) async fn keep(mut self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = tick.tick() => drop(self.look().await),
                () = shutdown.cancelled() => return,
            }
        }
    }
}

async fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let mut contents = Vec::with_capacity(paths.len());
    for path in paths {
        contents.push(read_one(path).await.map_err(|e| format!("cannot read {}: {e}", path.display()))?);
    }
    Ok(contents)
}

async fn read_one(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = tokio::fs::File::open(path).await?.take(FILE_MAX + 1).read_to_end(&mut bytes).await?;
    if read as u64 > FILE_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_MAX} bytes")));
    }
    Ok(bytes)
}

/// Of contents and their borders.
fn digest(contents: &[Vec<u8>]) -> Sha256 {
    let each: Vec<u8> = contents.iter().flat_map(|c| Sha256::of(c).0).collect();
    Sha256::of(&each)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(contents: &[Vec<u8>]) -> Result<u32, String> {
        let text = String::from_utf8_lossy(&contents[0]).into_owned();
        text.trim().parse().map_err(|_| format!("{text:?} is no number"))
    }

    #[tokio::test]
    async fn new_content_is_in_force_once_it_stands_still_and_wrong_content_never() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        std::fs::write(&path, "1").unwrap();
        let mut watched = Watched::open(Watching::Tls, vec![path.clone()], number).await.unwrap();
        let value = watched.follow();
        assert_eq!((watched.look().await, **value.borrow()), (Look::Same, 1));
        std::fs::write(&path, "2").unwrap();
        assert_eq!((watched.look().await, **value.borrow()), (Look::Moving, 1));
        assert_eq!((watched.look().await, **value.borrow()), (Look::Taken, 2));
        std::fs::write(&path, "three").unwrap();
        assert_eq!(watched.look().await, Look::Moving);
        assert_eq!((watched.look().await, **value.borrow()), (Look::Refused, 2));
        assert_eq!(watched.look().await, Look::Same, "it is told once");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(watched.look().await, Look::Moving);
        assert_eq!((watched.look().await, **value.borrow()), (Look::Refused, 2));
        std::fs::write(&path, "4").unwrap();
        assert_eq!(watched.look().await, Look::Moving);
        assert_eq!((watched.look().await, **value.borrow()), (Look::Taken, 4));
    }

    #[tokio::test]
    async fn what_is_wrong_at_start_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        let error = Watched::open(Watching::Tls, vec![path.clone()], number).await.err().unwrap();
        assert!(error.contains("cannot read"), "{error}");
        std::fs::write(&path, "one").unwrap();
        let error = Watched::open(Watching::Tls, vec![path], number).await.err().unwrap();
        assert!(error.contains("no number"), "{error}");
    }
}
