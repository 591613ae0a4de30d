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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_told_at_its_end() {
        let mut p = ProgressParser::default();
        let block = "frame=12\nfps=0.00\nstream_0_0_q=28.0\nbitrate=N/A\ntotal_size=4096\nout_time_us=N/A\n\
                     out_time=N/A\ndup_frames=0\nspeed=   0x\nno equals sign\n";
        assert!(block.lines().all(|l| p.line(l).is_none()));
        let expected = Update { frames: 12, out_time_us: None, bytes: 4_096, ended: false };
        assert_eq!(p.line("progress=continue"), Some(expected));
        for line in ["frame=  40", "out_time_us=10500000", "total_size=N/A"] {
            assert_eq!(p.line(line), None);
        }
        let expected = Update { frames: 40, out_time_us: Some(10_500_000), bytes: 4_096, ended: true };
        assert_eq!(p.line("progress=end"), Some(expected));
    }

    #[test]
    fn only_a_lack_of_progress_is_a_stall() {
        let mut w = StallWatch::new(Millis(0), 30_000);
        // a day of slow work is no stall
        for minute in 1..1_440u64 {
            let now = Millis(minute * 29_000);
            assert!(!w.stalled(now));
            w.seen(now, minute / 3, minute / 2, minute);
        }
        let last = Millis(1_439 * 29_000);
        assert_eq!(w.deadline(), last.plus(30_000));
        w.seen(last.plus(20_000), 479, 719, 1_439);
        assert!(!w.stalled(last.plus(29_999)));
        assert!(w.stalled(last.plus(30_000)));
    }
}
