//! What a worker can do, as it advertises it, and what a piece of work needs.

use crate::ids::{Fingerprint, WorkerId};
use crate::ladder::EncoderFamily;

/// What a worker advertises after having proved it by encoding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capability {
    /// The worker's name.
    pub worker: WorkerId,
    /// Concurrent encodes it wants.
    pub slots: u32,
    /// Cores it may use.
    pub cores: u32,
    /// Memory it may use, in MiB.
    pub memory_mib: u64,
    /// Encoders that made the probe clip, each with its fingerprint and speed.
    pub encoders: Vec<EncoderProof>,
    /// First line of `ffmpeg -version`, for reports.
    pub ffmpeg_build: String,
    /// It knows how to audit what others made: workers of before there were audits do not.
    pub audits: bool,
    /// It knows how to audit sound, too: workers of before sound was audited do not.
    pub audits_sound: bool,
}

/// An encoder that works here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncoderProof {
    /// Its family.
    pub family: EncoderFamily,
    /// Hash of the probe clip through the whole recipe.
    pub fingerprint: Fingerprint,
    /// Measured speed on one slot in kilopixels a second (output pixels over all rungs of the probe).
    pub kilopixels_per_second: u64,
}

/// What a piece of work needs of a worker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Needs {
    /// An encoder of this family; `None` for work without an encoder (indexing, audio).
    pub family: Option<EncoderFamily>,
    /// Estimated memory in MiB.
    pub memory_mib: u64,
}

impl Capability {
    /// Could this worker, idle, do work with these needs?
    pub fn meets(&self, needs: Needs) -> bool {
        needs.memory_mib <= self.memory_mib
            && needs.family.is_none_or(|f| self.encoders.iter().any(|e| e.family == f))
    }
}
