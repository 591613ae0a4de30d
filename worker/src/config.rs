//! A worker's settings, and why it cannot start with them. Data only; read once by whoever composes the worker.

use crate::abort::BadSwitch;
use crate::sandbox::SandboxConfig;
use crate::scratch::ScratchError;
use crate::security::{Security, SecurityError};
use crate::tools::ToolError;
use reelmill_common::{BootId, WorkerId};
use std::path::PathBuf;

/// Settings of a worker.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Its stable name.
    pub worker: WorkerId,
    /// This start of it. `None`: a new name.
    pub boot: Option<BootId>,
    /// Coordinators to try in turn, as `http://host:port` or `https://…`.
    pub coordinators: Vec<String>,
    /// How connections are secured.
    pub security: Security,
    /// Directory below which the worker keeps its scratch files, in a directory of its own.
    pub scratch: PathBuf,
    /// Bytes it may use there.
    pub scratch_quota: u64,
    /// Directory in which proofs of encoders are kept between starts. `None`: beside the scratch files.
    pub cache: Option<PathBuf>,
    /// ffmpeg, if not the one on PATH.
    pub ffmpeg: Option<PathBuf>,
    /// ffprobe, if not the one beside ffmpeg or on PATH.
    pub ffprobe: Option<PathBuf>,
    /// Concurrent work items. `None`: one per core.
    pub slots: Option<u32>,
    /// Cores to advertise. `None`: those this process may use.
    pub cores: Option<u32>,
    /// Memory to advertise, in MiB. `None`: what this process may use.
    pub memory_mib: Option<u64>,
    /// An ffmpeg that makes no progress for this long is killed.
    pub stall_ms: u64,
    /// The box around ffmpeg.
    pub sandbox: SandboxConfig,
}

impl WorkerConfig {
    /// The usual settings; `launcher` makes the box around ffmpeg ([`SandboxConfig::launcher`]).
    pub fn new(worker: WorkerId, coordinators: Vec<String>, scratch: PathBuf, launcher: PathBuf) -> Self {
        Self {
            worker,
            boot: None,
            coordinators,
            security: Security::default(),
            scratch,
            scratch_quota: 64 << 30,
            cache: None,
            ffmpeg: None,
            ffprobe: None,
            slots: None,
            cores: None,
            memory_mib: None,
            stall_ms: 60_000,
            sandbox: SandboxConfig::new(launcher),
        }
    }
}

/// Why a worker did not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// ffmpeg or ffprobe cannot be used.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The full box is required and does not hold.
    #[error("the sandbox around ffmpeg is {0}; start with --sandbox auto to work with what there is")]
    Sandbox(String),
    /// No encoder works.
    #[error("no encoder works with this ffmpeg: {0}")]
    NoEncoder(String),
    /// Scratch space cannot be used.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// Nobody to work for.
    #[error("no coordinator address was given: use --coordinator http://host:port")]
    NoCoordinator,
    /// Connections cannot be secured as they should be.
    #[error(transparent)]
    Security(#[from] SecurityError),
    /// The crash switch is set wrongly.
    #[error(transparent)]
    Switch(#[from] BadSwitch),
}
