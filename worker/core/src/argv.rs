//! ffmpeg's and ffprobe's arguments, as lists of strings: every choice of a spec made explicit, nothing inherited.
//!
//! The settled recipe, once for all builders:
//!
//! - No shell, no stdin, no configuration file: the shell starts the program with [`crate::sandbox`]'s environment.
//! - The demuxer is forced and the protocols are listed: a manifest saved as a film opens nothing.
//! - `-copyts -seek_timestamp 1 -noaccurate_seek`: times are the source's own, and the part of a chunk is cut by
//!   `trim` in the stream's own timebase. Accurate seeking is off because it cuts in microseconds.
//! - Times given to the encoder are positive (see [`timeline`]), in a timebase of `1/D`, and pass through.
//! - Nothing of the source is copied to the output but the picture or the sound: no metadata, chapters, captions.
//! - The output is fragmented MP4 and only carries samples to [`crate::build`].
//!
//! A spec gives one list of arguments, whatever the worker; [`reelmill_common::spec::RECIPE`] is raised when the same
//! spec would give other bytes.

pub mod analyse;
pub mod audio;
pub mod audit;
mod framemap;
pub mod picture;
pub mod probe;
pub mod scan;
pub mod timeline;
pub mod video;
mod x264;

#[cfg(test)]
mod tests;

use reelmill_common::index::Demuxer;

/// Most pixels of one decoded picture: 8192 x 4320 and a little.
pub const MAX_PIXELS: u64 = 8192 * 4352;

/// Linux refuses a single argument of 128 KiB and more (`MAX_ARG_STRLEN`).
const MAX_ARGUMENT: usize = 128 * 1024 - 1;

/// Where ffmpeg reads from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Location {
    /// The loopback reader: `http://127.0.0.1:<port>/<token>`. The token is a secret.
    Loopback(String),
    /// A local file, as an absolute path.
    File(String),
}

/// A source as ffmpeg is to open it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// The demuxer to force.
    pub demuxer: Demuxer,
    /// Where it is.
    pub location: Location,
    /// Threads of decoder and filters; does not change bytes.
    pub threads: u8,
}

/// Why a spec cannot be put into arguments. Each is a mistake of the plan, not of the film.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ArgvError {
    /// A list of output paths does not fit the spec.
    #[error("the spec has {rungs} rungs but {outputs} output paths were given")]
    Outputs {
        /// Rungs in the spec.
        rungs: usize,
        /// Paths given.
        outputs: usize,
    },
    /// The frame map contradicts itself.
    #[error("the chunk's frame map is not consistent: {0}")]
    FrameMap(String),
    /// An argument would be longer than the kernel takes.
    #[error("argument {argument} would be {bytes} bytes long; cut the film into smaller chunks")]
    TooLong {
        /// Which.
        argument: String,
        /// How long.
        bytes: usize,
    },
    /// No builder for this family yet.
    #[error("no recipe for encoder family {0}; use a worker build that has one")]
    Family(&'static str),
}

/// How much is said on stderr.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    /// Complaints.
    Warning,
    /// Results of filters as well.
    Info,
}

/// A growing list of arguments.
#[derive(Clone, Debug, Default)]
struct Argv(Vec<String>);

impl Argv {
    /// What every ffmpeg run starts with. Complaints go to stderr with their level, and progress to stdout twice a
    /// second. A run whose result is told on stderr wants `Level::Info`: filters tell results at that level.
    fn ffmpeg(level: Level) -> Self {
        let mut a = Self::default();
        let level = match level {
            Level::Warning => "repeat+level+warning",
            Level::Info => "repeat+level+info",
        };
        a.words(&["-nostdin", "-hide_banner", "-nostats", "-y", "-loglevel", level]);
        a.words(&["-progress", "pipe:1", "-stats_period", "0.5"]);
        a
    }

    fn words(&mut self, words: &[&str]) -> &mut Self {
        self.0.extend(words.iter().map(|w| (*w).to_owned()));
        self
    }

    fn pair(&mut self, option: &str, value: impl ToString) -> &mut Self {
        self.0.push(option.to_owned());
        self.0.push(value.to_string());
        self
    }

    /// Opens the source; `seek` is the exact text of `-ss`.
    fn input(&mut self, input: &Input, seek: Option<&str>) -> &mut Self {
        self.words(&["-copyts"]);
        let (protocols, url) = match &input.location {
            Location::Loopback(url) => ("http,tcp", url.as_str()),
            Location::File(path) => ("file", path.as_str()),
        };
        self.pair("-protocol_whitelist", protocols)
            .pair("-f", input.demuxer.ffmpeg_name())
            .pair("-max_pixels", MAX_PIXELS)
            .pair("-threads", input.threads.max(1))
            .words(&["-noautorotate"]);
        if let Some(text) = seek {
            self.words(&["-seek_timestamp", "1", "-noaccurate_seek"]).pair("-ss", text);
        }
        match &input.location {
            Location::Loopback(_) => self.pair("-i", url),
            // a path with a colon must not be taken for a protocol
            Location::File(_) => self.pair("-i", format!("file:{url}")),
        }
    }

    /// The container that carries samples back.
    fn transport(&mut self, path: &str) -> &mut Self {
        self.words(&["-map_metadata", "-1", "-map_chapters", "-1", "-fflags", "+bitexact"])
            .words(&["-avoid_negative_ts", "disabled", "-use_editlist", "0"])
            .words(&["-movflags", "+frag_keyframe+empty_moov+default_base_moof+frag_discont"])
            .words(&["-f", "mp4"]);
        self.0.push(format!("file:{path}"));
        self
    }

    fn finish(self) -> Result<Vec<String>, ArgvError> {
        match self.0.iter().position(|a| a.len() > MAX_ARGUMENT) {
            None => Ok(self.0),
            Some(i) => {
                let argument = self.0[i.saturating_sub(1)].clone();
                Err(ArgvError::TooLong { argument, bytes: self.0[i].len() })
            }
        }
    }
}
