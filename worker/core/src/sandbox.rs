//! The box around ffmpeg, as data: what a child process gets, what it may use and reach, and what a proof of the box
//! must have shown. The worker's launcher carries it out ([`orders`]); the worker tries it at start ([`proof`]).

pub mod orders;
pub mod proof;

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
    /// `RLIMIT_NPROC`: processes and threads. Counted within the box's own user namespace, so it is set only there; the
    /// kernel exempts root.
    pub processes: u64,
}

/// What a worker does about the box.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// The strongest box that works here.
    #[default]
    Auto,
    /// The full box, or no worker.
    Require,
    /// Limits only.
    Off,
}

/// How much of the box stands around a child. Each has limits, no new privileges, an empty environment and the
/// parent-death signal; all but the first have no capabilities and a filter of system calls as well.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Level {
    /// Nothing more.
    #[default]
    Basic,
    /// A network of its own; files as the worker's user.
    Namespace,
    /// Only the files it needs (Landlock); TCP as far as the kernel's Landlock knows it.
    Landlock,
    /// Both.
    Full,
}

impl Level {
    /// All, the strongest first: the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::Full, Self::Landlock, Self::Namespace, Self::Basic];

    /// Stable name for orders, logs and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Namespace => "namespace",
            Self::Landlock => "landlock",
            Self::Full => "full",
        }
    }

    /// Has the child a network of its own?
    pub fn has_network(self) -> bool {
        matches!(self, Self::Full | Self::Namespace)
    }

    /// Is the child held to the files it needs?
    pub fn has_files(self) -> bool {
        matches!(self, Self::Full | Self::Landlock)
    }
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
            processes: 2_048,
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
