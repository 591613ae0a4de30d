//! What a child process gets and what it may use, as data. The shell applies it.

/// The whole environment of ffmpeg and ffprobe: nothing is inherited. `AV_LOG_FORCE_NOCOLOR` keeps escape sequences
/// out of stderr; the locale keeps numbers readable.
pub const ENVIRONMENT: [(&str, &str); 2] = [("LC_ALL", "C"), ("AV_LOG_FORCE_NOCOLOR", "1")];

/// Resource limits of a child (`setrlimit`), hard and soft alike.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResourceLimits {
    /// `RLIMIT_AS`: address space in bytes.
    pub address_space: u64,
    /// `RLIMIT_FSIZE`: largest file in bytes.
    pub file_size: u64,
    /// `RLIMIT_NOFILE`: open descriptors.
    pub open_files: u64,
    /// `RLIMIT_CORE`: core dumps are off; they would hold the film.
    pub core: u64,
}

impl ResourceLimits {
    /// Limits for a run that may use `memory_mib` and write at most `output_bytes` into one file.
    ///
    /// Address space is not memory: threads' stacks and arenas are mapped, hardly touched, and a 4K decoder with its
    /// encoders maps several times what it uses. Four times the memory and two GiB more is far from any good run and
    /// still stops one that grows without end. No limit on CPU time: a run is judged by its progress.
    pub fn for_run(memory_mib: u64, output_bytes: u64) -> Self {
        let gib = 1 << 30;
        Self {
            address_space: memory_mib.saturating_mul(4 << 20).saturating_add(2 * gib),
            file_size: output_bytes,
            open_files: 256,
            core: 0,
        }
    }
}
