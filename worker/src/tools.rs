//! ffmpeg and ffprobe: where they are, which build they are, and whether it is new enough.
//!
//! Found once at start, by configured path or on PATH; what they can do is for the probe to prove.

use crate::process::{self, ChildError, Collect, Launch, Network};
use crate::sandbox::Sandbox;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// libavutil of FFmpeg 5.1. The library's version is compared, because builds from a development tree call
/// themselves by a commit ("N-112233-gabcdef") and not by a release.
const OLDEST_LIBAVUTIL: (u32, u32) = (57, 28);
/// What a person calls it.
const OLDEST_RELEASE: &str = "5.1";

/// The two programs, checked.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Absolute path of ffmpeg.
    pub ffmpeg: PathBuf,
    /// Absolute path of ffprobe.
    pub ffprobe: PathBuf,
    /// First line of `ffmpeg -version`.
    pub build: String,
    /// The box they start in.
    pub sandbox: Sandbox,
}

/// Why ffmpeg cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is nowhere.
    #[error(
        "{name} was not found {place}: install FFmpeg {OLDEST_RELEASE} or newer, or give its path with --{name}"
    )]
    Missing {
        /// `ffmpeg` or `ffprobe`.
        name: &'static str,
        /// Where it was looked for.
        place: String,
    },
    /// It does not even tell its version.
    #[error("{path} does not run: {error}{}", tail(.error))]
    Broken {
        /// The program.
        path: PathBuf,
        /// What happened.
        error: ChildError,
    },
    /// It is too old, or no ffmpeg.
    #[error("{path} is too old ({found}): Reelmill needs FFmpeg {OLDEST_RELEASE} or newer")]
    TooOld {
        /// The program.
        path: PathBuf,
        /// Its own words.
        found: String,
    },
}

fn tail(error: &ChildError) -> String {
    error.stderr.lines().last().map_or_else(String::new, |line| format!(": {line}"))
}

impl Tools {
    /// Finds both programs and asks ffmpeg for its version, in this box. Without a configured ffprobe the one beside ffmpeg is
    /// taken, or else the first on PATH.
    pub async fn find(
        ffmpeg: Option<&Path>,
        ffprobe: Option<&Path>,
        sandbox: Sandbox,
    ) -> Result<Self, ToolError> {
        let ffmpeg = locate("ffmpeg", ffmpeg, None)?;
        let ffprobe = locate("ffprobe", ffprobe, ffmpeg.parent())?;
        let (build, _) = tokio::try_join!(version(&ffmpeg, &sandbox), version(&ffprobe, &sandbox))?;
        Ok(Self { ffmpeg, ffprobe, build, sandbox })
    }
}

/// Finds a program by its configured path, in `beside`, or on PATH.
fn locate(
    name: &'static str,
    configured: Option<&Path>,
    beside: Option<&Path>,
) -> Result<PathBuf, ToolError> {
    let missing = |place: String| ToolError::Missing { name, place };
    // absolute, but with links kept: a wrapper script may find its parts by its own name
    let absolute = |path: &Path| std::path::absolute(path).ok().filter(|p| p.is_file());
    if let Some(path) = configured {
        return absolute(path).ok_or_else(|| missing(format!("at {}", path.display())));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = beside.map(Path::to_owned).into_iter().chain(std::env::split_paths(&path));
    places.filter_map(|dir| absolute(&dir.join(name))).next().ok_or_else(|| missing("on PATH".to_owned()))
}

/// The first line of `-version`, if the libraries are new enough.
async fn version(program: &Path, sandbox: &Sandbox) -> Result<String, ToolError> {
    let launch = Launch {
        program: program.to_owned(),
        args: vec!["-version".into()],
        dir: std::env::temp_dir(),
        limits: process::small_limits(),
        network: Network::Nothing,
        source: None,
        quota: None,
        sandbox: sandbox.clone(),
    };
    // as long as for the probe: the first start of a program on a busy machine has to read it from the disk
    let mut said = Collect::new(64 * 1024, 60_000);
    process::run(&launch, &mut said, &CancellationToken::new())
        .await
        .map_err(|error| ToolError::Broken { path: program.to_owned(), error })?;
    let lines = said.into_lines();
    let first = lines.first().cloned().unwrap_or_default();
    match libavutil(&lines) {
        Some(version) if version >= OLDEST_LIBAVUTIL => Ok(first),
        _ => Err(ToolError::TooOld { path: program.to_owned(), found: first }),
    }
}

/// Major and minor of the line `libavutil      57. 28.100 / 57. 28.100`; the second is what is really loaded.
fn libavutil(lines: &[String]) -> Option<(u32, u32)> {
    let line = lines.iter().find_map(|l| l.strip_prefix("libavutil"))?;
    let mut numbers = line.rsplit('/').next()?.split('.').map(|n| n.trim().parse());
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(libavutil_line: &str) -> Vec<String> {
        vec!["ffmpeg version N-1-gabc".to_owned(), libavutil_line.to_owned()]
    }

    #[test]
    fn the_loaded_library_decides() {
        assert_eq!(libavutil(&said("libavutil      57. 28.100 / 57. 28.100")), Some((57, 28)));
        assert_eq!(libavutil(&said("libavutil      60.  8.100 / 59.  1.100")), Some((59, 1)));
        assert_eq!(libavutil(&said("libavcodec 57. 28.100")), None);
    }
}
