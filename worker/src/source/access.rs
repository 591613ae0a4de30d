//! May a process of this user read a file without the privileges of root? In a box ffmpeg has none: what only they
//! open is served to it instead.

use nix::unistd::{getegid, geteuid, getgroups};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Root may be able to read what its own user may not; everybody else has opened the file as they are.
pub(super) fn is_plain(path: &Path) -> bool {
    !geteuid().is_root() || is_open(path).unwrap_or(false)
}

/// Do the permissions of the file, and of each folder on the way, let this user in? An access list that says less than
/// the permissions is not seen here: ffmpeg then says that the file may not be read.
fn is_open(path: &Path) -> io::Result<bool> {
    let path = path.canonicalize()?;
    for folder in path.ancestors().skip(1) {
        if !allows(&folder.metadata()?, 0o1)? {
            return Ok(false);
        }
    }
    allows(&path.metadata()?, 0o4)
}

/// Owner, group, others: the first that this process is decides (path_resolution(7)).
fn allows(meta: &Metadata, wanted: u32) -> io::Result<bool> {
    let shift = if meta.uid() == geteuid().as_raw() {
        6
    } else if meta.gid() == getegid().as_raw() || getgroups()?.iter().any(|g| g.as_raw() == meta.gid()) {
        3
    } else {
        0
    };
    Ok(meta.mode() >> shift & wanted == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};

    #[test]
    fn permissions_on_the_whole_way_count() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("films");
        let film = folder.join("film.mp4");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&film, b"film").unwrap();
        let mode = |path: &Path, mode| {
            let permissions: Permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
            set_permissions(path, permissions).unwrap();
        };
        assert!(is_open(&film).unwrap());
        mode(&film, 0o044);
        assert!(!is_open(&film).unwrap(), "the owner's bits count for the owner");
        mode(&film, 0o400);
        assert!(is_open(&film).unwrap());
        if geteuid().is_root() {
            std::os::unix::fs::chown(&film, Some(12_345), Some(12_345)).unwrap();
            assert!(!is_open(&film).unwrap(), "readable for its owner alone");
            mode(&film, 0o404);
            assert!(is_open(&film).unwrap());
            std::os::unix::fs::chown(&folder, Some(12_345), Some(12_345)).unwrap();
            mode(&folder, 0o700);
            assert!(!is_open(&film).unwrap(), "in a folder for its owner alone");
        }
    }
}
