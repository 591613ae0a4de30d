//! Made films: every frame and every second of sound carries a mark that only it can have ([`crate::marks`],
//! [`crate::sound`]), in the shapes that break transcoders: NTSC rates, variable rates, B-pyramids, open GOPs,
//! edit lists, late and negative starts, a transport stream whose clock runs over.

mod kept;

use crate::sound::Marked;
use crate::tool;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The sound that a film is made with, as the command finds it.
const RAW_SOUND: &str = "sound.s16";

/// When frames are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rate {
    /// So many frames in so many seconds.
    Constant(i64, i64),
    /// Distances of neighbouring frames in 1/90,000 s, over and over.
    Variable(&'static [i64]),
}

/// The container, with the sound's codec that goes into it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrap {
    /// MP4 with AAC.
    Mp4,
    /// QuickTime with PCM.
    Mov,
    /// Matroska with FLAC; times rounded to milliseconds.
    Mkv,
    /// The same with Opus: decoders leave out the first of its samples.
    MkvOpus,
    /// Transport stream with AAC; a clock of 33 bits.
    Ts,
}

impl Wrap {
    fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::Mkv | Self::MkvOpus => "mkv",
            Self::Ts => "ts",
        }
    }

    fn sound_codec(self) -> &'static [&'static str] {
        match self {
            Self::Mp4 | Self::Ts => &["-c:a", "aac", "-b:a", "128k"],
            Self::Mov => &["-c:a", "pcm_s16le"],
            Self::Mkv => &["-c:a", "flac"],
            Self::MkvOpus => &["-c:a", "libopus", "-b:a", "128k"],
        }
    }
}

/// A film to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Film {
    /// Names the file and the test.
    pub name: &'static str,
    /// Width and height.
    pub size: (usize, usize),
    /// When frames are shown.
    pub rate: Rate,
    /// Frames in the file.
    pub frames: u32,
    /// Milliseconds added to every time. Negative: an edit list hides what comes before zero.
    pub start_ms: i64,
    /// Samples a second of the sound; 0 for a silent film.
    pub sound_rate: u32,
    /// Milliseconds the sound comes after the picture.
    pub sound_late_ms: i64,
    /// Container.
    pub wrap: Wrap,
    /// Longest GOP in frames.
    pub gop: u32,
    /// May frames refer across the next keyframe?
    pub open_gop: bool,
}

/// A film as most of them are; the others say in what they differ.
pub const PLAIN: Film = Film {
    name: "plain",
    size: (640, 360),
    rate: Rate::Constant(24, 1),
    frames: 240,
    start_ms: 0,
    sound_rate: 48_000,
    sound_late_ms: 0,
    wrap: Wrap::Mp4,
    gop: 48,
    open_gop: false,
};

/// A film that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The file.
    pub path: PathBuf,
    /// What it is.
    pub film: Film,
}

/// What a player must show and sound, told from the film's description alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    /// (counter, time) of every frame, in order; the first at time 0.
    pub frames: Vec<(u32, i64)>,
    /// Ticks a second of those times.
    pub scale: i64,
    /// Is the source faster than 32 frames a second (then small rungs show every second frame)?
    pub fast: bool,
    /// The sound.
    pub sound: Option<ExpectedSound>,
}

/// The sound a player must make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExpectedSound {
    /// The marked sound.
    pub marked: Marked,
    /// Its sample that is heard at time 0 (negative: silence comes first).
    pub from: i64,
    /// Samples the container's clock may move it.
    pub slack: i64,
}

impl Film {
    /// Time of frame `n` before any start, in ticks of [`Film::scale`].
    fn time(&self, n: u32) -> i64 {
        match self.rate {
            Rate::Constant(_, den) => i64::from(n) * den,
            Rate::Variable(steps) => {
                let round: i64 = steps.iter().sum();
                let (full, rest) = (n as usize / steps.len(), n as usize % steps.len());
                full as i64 * round + steps[..rest].iter().sum::<i64>()
            }
        }
    }

    fn scale(&self) -> i64 {
        match self.rate {
            Rate::Constant(num, _) => num,
            Rate::Variable(_) => 90_000,
        }
    }

    fn sound(&self) -> Option<Marked> {
        let samples = self.time(self.frames) * i64::from(self.sound_rate) / self.scale();
        (self.sound_rate > 0).then_some(Marked { rate: self.sound_rate, samples: samples as usize })
    }

    /// What a player must show.
    pub fn expected(&self) -> Expected {
        let hidden = (-self.start_ms).max(0);
        let first = (0..self.frames).find(|n| self.time(*n) * 1000 >= hidden * self.scale()).unwrap_or(0);
        let zero = self.time(first);
        let frames = (first..self.frames).map(|n| (n, self.time(n) - zero)).collect();
        let mean = self.time(self.frames) / i64::from(self.frames.max(1));
        let rate = i64::from(self.sound_rate);
        let sound = self.sound().map(|marked| ExpectedSound {
            marked,
            from: zero * rate / self.scale() - self.sound_late_ms * rate / 1000,
            slack: match self.wrap {
                Wrap::Mp4 | Wrap::Mov => 0,
                // 90 kHz and 1 ms clocks.
                Wrap::Ts => 1,
                Wrap::Mkv | Wrap::MkvOpus => rate / 1000 / 2 + 1,
            },
        });
        Expected { frames, scale: self.scale(), fast: self.scale() > 32 * mean, sound }
    }

    /// `setpts` of a variable rate: the time of frame N as an expression.
    fn setpts(&self) -> Option<String> {
        let Rate::Variable(steps) = self.rate else { return None };
        let round: i64 = steps.iter().sum();
        let count = steps.len();
        let mut at = 0;
        let mut expression = format!("floor(N/{count})*{round}");
        for (i, step) in steps.iter().enumerate() {
            expression.push_str(&format!("+eq(mod(N,{count}),{i})*{at}"));
            at += step;
        }
        Some(format!("settb=1/90000,setpts='{expression}'"))
    }

    /// The command that makes the film, with the sound it reads from [`RAW_SOUND`] and the file it writes, both in the
    /// folder that it runs in; the pictures come through its standard input.
    fn command(&self) -> Command {
        let mut command = tool::ffmpeg();
        let (width, height) = self.size;
        let rate = match self.rate {
            Rate::Constant(num, den) => format!("{num}/{den}"),
            Rate::Variable(_) => "90".to_owned(),
        };
        let size = format!("{width}x{height}");
        command.args(["-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", &size, "-r", &rate]);
        command.args(["-i", "pipe:0"]);
        if self.sound_rate > 0 {
            let late = format!("{}ms", self.sound_late_ms);
            command.args(["-itsoffset", &late, "-f", "s16le", "-ar", &self.sound_rate.to_string()]);
            command.args(["-ac", "2", "-i", RAW_SOUND]);
            command.args(["-map", "0:v", "-map", "1:a"]).args(self.wrap.sound_codec());
        }
        if let Some(times) = self.setpts() {
            command.args(["-vf", &times, "-enc_time_base", "1:90000", "-fps_mode", "passthrough"]);
        }
        let x264 = format!(
            "keyint={}:min-keyint=1:scenecut=0:bframes=3:b-pyramid=normal:open-gop={}",
            self.gop,
            u8::from(self.open_gop)
        );
        command.args(["-c:v", "libx264", "-preset", "superfast", "-crf", "18", "-threads", "2"]);
        command.args(["-x264-params", &x264, "-pix_fmt", "yuv420p"]);
        command.args(["-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709"]);
        command.args(["-color_range", "tv", "-video_track_timescale", "90000"]);
        let offset = format!("{}ms", self.start_ms);
        command.args(["-output_ts_offset", &offset, "-avoid_negative_ts", "disabled"]);
        if matches!(self.wrap, Wrap::Mp4 | Wrap::Mov) {
            // Edit lists count in this: milliseconds, the default, would move the sound by up to half of one.
            command.args(["-movie_timescale", "48000"]);
        }
        command.args(["-muxdelay", "0", "-muxpreload", "0"]).arg(self.file());
        command
    }

    /// Name of its file.
    fn file(&self) -> String {
        format!("{}.{}", self.name, self.wrap.extension())
    }

    /// The film in `dir`: made, or copied from what an earlier test made of the same description.
    pub fn make(&self, dir: &Path) -> Result<Made> {
        let path = dir.join(self.file());
        kept::film(self, &path).with_context(|| format!("making {}", self.name))?;
        Ok(Made { path, film: *self })
    }
}

/// Five seconds are three segments of two: with a seam at a segment that is whole on both sides, and one before a short
/// one.
const BRIEF: Film = Film { frames: 120, ..PLAIN };

/// The films every package is judged on, made for segments of two seconds.
pub const FILMS: [Film; 12] = [
    BRIEF,
    Film { name: "ntsc-film", rate: Rate::Constant(24_000, 1001), sound_rate: 44_100, ..BRIEF },
    Film { name: "pal-open-gop", rate: Rate::Constant(25, 1), open_gop: true, gop: 60, ..BRIEF },
    Film { name: "ntsc-mkv", rate: Rate::Constant(30_000, 1001), frames: 135, wrap: Wrap::Mkv, ..BRIEF },
    Film { name: "pal-fast", rate: Rate::Constant(50, 1), frames: 225, size: (854, 480), ..BRIEF },
    Film { name: "ntsc-fast", rate: Rate::Constant(60_000, 1001), frames: 270, gop: 600, ..BRIEF },
    Film {
        name: "variable",
        rate: Rate::Variable(&[3003, 3003, 4500, 1500, 9009, 2997, 3600]),
        wrap: Wrap::Mov,
        frames: 105,
        ..BRIEF
    },
    Film { name: "edited-start", start_ms: -1000, frames: 144, ..BRIEF },
    Film { name: "late-start", start_ms: 700, rate: Rate::Constant(30, 1), frames: 135, ..BRIEF },
    Film {
        name: "clock-runs-over",
        start_ms: 95_443_000,
        rate: Rate::Constant(25, 1),
        wrap: Wrap::Ts,
        ..BRIEF
    },
    Film { name: "late-sound", sound_late_ms: 300, wrap: Wrap::Mov, sound_rate: 44_100, ..BRIEF },
    Film { name: "silent", sound_rate: 0, gop: 1000, rate: Rate::Constant(30, 1), frames: 135, ..BRIEF },
];
