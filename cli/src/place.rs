//! Where `reelmill transcode` puts its package, its state and its work files, and what of them stays.

use crate::exit::{Exit, Failure};
use crate::request;
use reelmill_blob::{BlobError, BlobErrorKind, Blobs, Stores, proof};
use reelmill_common::Sha256;
use reelmill_common::record::Placement;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Name of the state directory within the package's directory, and of the work files' folder within a package's URL.
const STATE: &str = ".reelmill";

/// Where the package and the command's own state go.
pub(crate) struct Place {
    /// The package's directory or URL, as the coordinator is told.
    pub(crate) out: String,
    /// State, and work files unless they have a place of their own.
    pub(crate) state: PathBuf,
    /// Work files that publishing copies to their names: beside the package, because only within one store can be
    /// copied.
    work: Option<Blobs>,
    /// The package goes into a directory of this machine.
    pub(crate) is_directory: bool,
    /// The state's directory was not there before this command.
    pub(crate) is_new: bool,
    /// The package's directory, if this command made it: removed again when the input is at fault.
    made: Option<PathBuf>,
}

impl Place {
    /// A directory is made with its state inside; for a URL the state lies in the user's temporary directory, under a
    /// name made of the URL, so that the same command finds it again. The store of a URL is tried by doing.
    pub(crate) async fn prepare(out: &str) -> Result<Self, Failure> {
        if out.contains("://") && !out.starts_with("file://") {
            return Self::prepare_url(out).await;
        }
        let out = request::absolute(out.strip_prefix("file://").unwrap_or(out))?;
        let directory = PathBuf::from(&out);
        let made = (!directory.exists()).then(|| directory.clone());
        let state = directory.join(STATE);
        let is_new = !state.exists();
        std::fs::create_dir_all(&state).map_err(|e| refused(&directory, &e))?;
        Ok(Self { out, state, work: None, is_directory: true, is_new, made })
    }

    async fn prepare_url(out: &str) -> Result<Self, Failure> {
        let work = promoted_from(out).await.map_err(|e| Failure::new(exit_of(&e), e.to_string()))?;
        let name = format!("reelmill-{}", Sha256::of(out.as_bytes()).short(16));
        let state = std::env::temp_dir().join(name);
        let is_new = !state.exists();
        std::fs::create_dir_all(&state).map_err(|e| refused(&state, &e))?;
        Ok(Self { out: out.to_owned(), state, work, is_directory: false, is_new, made: None })
    }

    /// Root of the work files; `None`: in the state's directory.
    pub(crate) fn work_url(&self) -> Option<String> {
        self.work.as_ref().map(|work| work.root().to_owned())
    }

    /// Tidies up after the command: nothing of its own stays after success or when the input is at fault; what a
    /// later run can go on from stays otherwise. State that was there before is not touched after a usage error: the
    /// store's lock may have been refused, because another command is at work in it. `leftovers` of earlier commands are
    /// known to the state alone.
    pub(crate) async fn leave(&self, exit: Exit, leftovers: bool) {
        let keep = matches!(exit, Exit::Encoder | Exit::Unreachable | Exit::Interrupted);
        let foreign = exit == Exit::Usage && !self.is_new;
        if foreign || leftovers || (keep && self.has_work().await) {
            return;
        }
        if let Some(work) = &self.work
            && let Err(error) = empty(work).await
        {
            eprintln!("reelmill: cannot remove the work files: {error}");
        }
        remove(&self.state);
        if exit != Exit::Done
            && let Some(made) = &self.made
        {
            // everything in it is this command's, and no root names it
            remove(made);
        }
    }

    /// Is there a job that could go on? A store that does not say may hold one.
    async fn has_work(&self) -> bool {
        match &self.work {
            Some(work) => work.list("").await.map_or(true, |found| !found.is_empty()),
            None => self.state.join("work").read_dir().is_ok_and(|mut d| d.next().is_some()),
        }
    }
}

/// Where the work files of a package at `out` must lie, if its store lets a second writer overwrite.
async fn promoted_from(out: &str) -> Result<Option<Blobs>, BlobError> {
    let package = Stores::default().open(out)?;
    match proof::placement(&package, &format!("reelmill-proof-{}", Uuid::now_v7())).await? {
        Placement::Direct => Ok(None),
        Placement::Promoted => package.below(STATE).map(Some),
    }
}

async fn empty(work: &Blobs) -> Result<(), BlobError> {
    for entry in work.list("").await? {
        work.delete(&entry.name).await?;
    }
    Ok(())
}

fn refused(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Unreachable, format!("cannot write to {}: {error}", path.display()))
}

fn exit_of(error: &BlobError) -> Exit {
    match error.kind() {
        BlobErrorKind::Invalid => Exit::Usage,
        _ => Exit::Unreachable,
    }
}

fn remove(directory: &Path) {
    if let Err(e) = std::fs::remove_dir_all(directory) {
        eprintln!("reelmill: cannot remove {}: {e}", directory.display());
    }
}
