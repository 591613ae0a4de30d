//! ffmpeg's `-progress` stream, and when a run counts as hung: for lack of progress, never for its total time.

use reelmill_common::Millis;

/// What one block of the stream says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Update {
    /// Frames given to the muxer of the first output so far (0 for sound).
    pub frames: u64,
    /// Time of the last packet on the output's timeline in microseconds, if any was written.
    pub out_time_us: Option<i64>,
    /// Bytes written so far.
    pub bytes: u64,
    /// ffmpeg says that it is done.
    pub ended: bool,
}

/// Reads the stream line by line.
#[derive(Clone, Debug, Default)]
pub struct ProgressParser {
    block: Update,
}

impl ProgressParser {
    /// Takes one line without its line feed; gives an update at the end of each block. Unknown keys and values that
    /// are not numbers (`N/A`) are skipped: each version says other things.
    pub fn line(&mut self, line: &str) -> Option<Update> {
        let (key, value) = line.split_once('=')?;
        let value = value.trim();
        match key.trim() {
            "frame" => self.block.frames = value.parse().unwrap_or(self.block.frames),
            "out_time_us" => self.block.out_time_us = value.parse().ok().or(self.block.out_time_us),
            "total_size" => self.block.bytes = value.parse().unwrap_or(self.block.bytes),
            "progress" => {
                self.block.ended = value == "end";
                return Some(self.block);
            }
            _ => {}
        }
        None
    }
}

/// Watches a run for lack of progress. Progress is a change of anything that only grows while work is done: frames,
/// bytes written, source bytes read.
#[derive(Clone, Debug)]
pub struct StallWatch {
    limit_ms: u64,
    last: Millis,
    marks: (u64, u64, u64),
}

impl StallWatch {
    /// Watches from `now` on; hung after `limit_ms` without progress.
    pub fn new(now: Millis, limit_ms: u64) -> Self {
        Self { limit_ms, last: now, marks: (0, 0, 0) }
    }

    /// Tells how far the run is. A run that reads its way to the first frame makes progress, too.
    pub fn seen(&mut self, now: Millis, frames: u64, bytes_written: u64, bytes_read: u64) {
        let marks = (frames, bytes_written, bytes_read);
        if marks != self.marks {
            self.marks = marks;
            self.last = now;
        }
    }

    /// Is it hung?
    pub fn stalled(&self, now: Millis) -> bool {
        now.since(self.last) >= self.limit_ms
    }

    /// When it will count as hung if nothing changes.
    pub fn deadline(&self) -> Millis {
        self.last.plus(self.limit_ms)
    }
}
