//! What all runs of a test share: a film, a ladder, a wrapper `ffmpeg`, and rooms to run in.

use anyhow::{Context, Result};
use reelmill_tests::{reelmill, tool};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The wrapper notes its arguments in the room it runs in (it has no environment to be told by, but a scratch directory
/// to stand in) and becomes the real program.
const WRAPPER: &str = r#"#!/bin/sh
rest=${PWD#@BENCH@/rooms/}
log=@BENCH@/rooms/${rest%%/*}/encodes
if [ "$rest" != "$PWD" ] && [ -d "$log" ]; then
  read -r id </proc/sys/kernel/random/uuid
  printf '%s\n' "$*" >"$log/$id"
fi
exec @FFMPEG@ "$@"
"#;

const LADDER: &str =
    "[[rung]]\nname = \"small\"\nbox = [160, 90]\n[[rung]]\nname = \"tiny\"\nbox = [80, 45]\n";

/// The shared things. Dropped with everything in it.
pub(crate) struct Bench {
    dir: TempDir,
    root: PathBuf,
    /// Twelve seconds, a keyframe each.
    pub(crate) film: PathBuf,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::make().expect("film, ladder and wrapper")
    }

    fn make() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        // the wrapper compares it with the directory it stands in, which has no links in it
        let root = dir.path().canonicalize()?;
        for folder in ["bin", "rooms", "cache"] {
            std::fs::create_dir(root.join(folder))?;
        }
        std::fs::write(root.join("ladder.toml"), LADDER)?;
        let real = tool::quick_ffmpeg()?;
        let wrapper = WRAPPER
            .replace("@BENCH@", root.to_str().context("UTF-8")?)
            .replace("@FFMPEG@", real.to_str().context("UTF-8")?);
        executable(&root.join("bin/ffmpeg"), &wrapper)?;
        let film = root.join("film.mp4");
        let mut make = tool::ffmpeg();
        make.args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=24:duration=12"]);
        make.args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=12"]);
        make.args(["-c:v", "libx264", "-preset", "veryfast", "-g", "24", "-bf", "2", "-pix_fmt", "yuv420p"]);
        make.args(["-c:a", "aac", "-b:a", "96k"]).arg(&film);
        tool::run(&mut make, Duration::from_secs(60))?.success()?;
        Ok(Self { dir, root, film })
    }

    /// The binary, with the wrapper first on PATH and a cache of its own.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = reelmill::command(arguments)?;
        let path = std::env::var_os("PATH").context("PATH")?;
        let paths = std::iter::once(self.root.join("bin")).chain(std::env::split_paths(&path));
        command
            .env("PATH", std::env::join_paths(paths)?)
            .env("XDG_CACHE_HOME", self.dir.path().join("cache"))
            // the wrapper writes where no ffmpeg in a sandbox may
            .env("REELMILL_SANDBOX", "off")
            .env_remove("REELMILL_ABORT_AT_EFFECT");
        Ok(command)
    }

    /// Options that make twelve chunks of the film.
    pub(crate) fn encoding(&self, preset: &str) -> Vec<String> {
        let ladder = self.root.join("ladder.toml").display().to_string();
        let options = ["--preset", preset, "--chunk", "1s", "--segment", "1s", "--ladder", &ladder];
        options.map(str::to_owned).to_vec()
    }

    /// A directory for one run's data, and the one in which the wrapper notes that run's encodes.
    pub(crate) fn room(&self, name: &str) -> Result<(PathBuf, PathBuf)> {
        let room = self.root.join("rooms").join(name);
        let (data, log) = (room.join("data"), room.join("encodes"));
        std::fs::create_dir_all(&log)?;
        Ok((data, log))
    }
}

fn executable(path: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text)?;
    Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?)
}
