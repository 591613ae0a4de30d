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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_grow_with_the_work_and_never_overflow() {
        let small = ResourceLimits::for_run(512, 1 << 20);
        assert_eq!((small.address_space, small.file_size, small.core), (4 << 30, 1 << 20, 0));
        assert_eq!(ResourceLimits::for_run(u64::MAX, 0).address_space, u64::MAX);
    }

    #[test]
    fn the_environment_names_no_path_of_the_worker() {
        for never in ["PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "http_proxy", "FFREPORT"] {
            assert!(ENVIRONMENT.iter().all(|(name, _)| *name != never), "{never}");
        }
    }
}
