//! The box around ffmpeg and ffprobe: every child of the worker starts in one, made by the [launcher](intercept) from
//! [orders](reelmill_worker_core::sandbox::orders) and proved at start ([`prove()`]).
//!
//! A child in the full box has a network of its own with one listener in it (or none), sees the files of its program
//! and its one source, writes in its attempt's directory, and has no capability. What is here for a child to use is
//! listed below; everything else is denied.

mod filter;
mod handover;
mod launcher;
mod network;
mod prove;
mod prover;
mod rules;

pub use launcher::intercept;
pub use prove::{Proved, prove};
pub use reelmill_worker_core::sandbox::{Level, Mode};

pub(crate) use handover::{Refusal, take};
pub(crate) use network::READ_AHEAD;

use crate::process::{Launch, Network};
use reelmill_worker_core::sandbox::orders::{Orders, Reach};
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where systems keep libraries and their loader.
const LIBRARIES: [&str; 12] = [
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/nix/store",
    "/gnu/store",
    "/run/opengl-driver/lib",
    "/home/linuxbrew/.linuxbrew",
];

/// What the loader and the C library look at, and the shape of the processor, by which encoders choose their code.
const SYSTEM: [&str; 7] = [
    "/etc/ld.so.cache",
    "/dev/urandom",
    "/dev/random",
    "/dev/zero",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
];

/// Settings of the box.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// The program that is a launcher when it is started as one: `/proc/self/exe`, where `main` calls [`intercept`].
    pub launcher: PathBuf,
    /// What to do about it.
    pub mode: Mode,
    /// More folders and files that ffmpeg may read and execute: a wrapper's, a driver's.
    pub paths: Vec<PathBuf>,
}

impl SandboxConfig {
    /// The usual settings with this launcher.
    pub fn new(launcher: PathBuf) -> Self {
        Self { launcher, mode: Mode::default(), paths: Vec::new() }
    }
}

/// A box, ready for any number of children.
#[derive(Clone, Debug)]
pub struct Sandbox {
    level: Level,
    launcher: Arc<Path>,
    /// What every child may read.
    read: Arc<[PathBuf]>,
    /// What every child may read and execute.
    execute: Arc<[PathBuf]>,
}

impl Sandbox {
    /// The weakest box; a stronger one comes of a proof.
    pub fn basic(config: &SandboxConfig) -> Self {
        let existing =
            |all: &[&str]| all.iter().map(PathBuf::from).filter(|p| p.exists()).collect::<Vec<_>>();
        let mut execute = existing(&LIBRARIES);
        execute.extend(config.paths.iter().cloned());
        Self {
            level: Level::Basic,
            launcher: config.launcher.as_path().into(),
            read: existing(&SYSTEM).into(),
            execute: execute.into(),
        }
    }

    /// The same at another level: how a proof tries one.
    pub fn at(&self, level: Level) -> Self {
        Self { level, ..self.clone() }
    }

    /// How strong it is.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The program that makes it.
    pub(crate) fn launcher(&self) -> &Path {
        &self.launcher
    }

    /// The orders for one child.
    pub(crate) fn orders(&self, launch: &Launch) -> Orders {
        let mut execute = self.execute.to_vec();
        execute.push(launch.program.clone());
        execute.extend(interpreter(&launch.program));
        execute.extend(libraries_beside(&launch.program));
        let mut read = self.read.to_vec();
        read.extend(launch.source.clone());
        Orders {
            parent: std::process::id(),
            level: self.level,
            limits: launch.limits,
            reach: match launch.network {
                Network::Nothing => Reach::Nothing,
                Network::Own(_) => Reach::Own,
                Network::Port(port) => Reach::Port(port),
            },
            read,
            execute,
            write: launch.dir.clone(),
        }
    }
}

/// What a script names in its first line (execve(2)).
fn interpreter(program: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    std::fs::File::open(program).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?.trim_ascii();
    let path = line.split(|b| b.is_ascii_whitespace()).next().filter(|p| !p.is_empty())?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(path.to_vec()));
    path.exists().then_some(path)
}

/// `lib` beside the program's folder: builds that bring their libraries along.
fn libraries_beside(program: &Path) -> Option<PathBuf> {
    let program = program.canonicalize().ok()?;
    let path = program.parent()?.parent()?.join("lib");
    path.is_dir().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_may_run_its_interpreter() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ffmpeg");
        for (text, found) in [
            ("#!/bin/sh\nexec x", Some("/bin/sh")),
            ("#! /bin/sh -e\n", Some("/bin/sh")),
            ("#!/nowhere/sh\n", None),
            ("#!\n", None),
            ("\u{7f}ELF", None),
            ("", None),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(interpreter(&path), found.map(PathBuf::from), "{text:?}");
        }
    }
}
