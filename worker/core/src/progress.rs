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

/// No film is this long (142 years). Before its first packet a run may tell a time that is none: ffmpeg 9.0 does so where
/// it gets its turn late.
const NEVER_US: i64 = 1 << 52;

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
            "out_time_us" => {
                let told = value.parse().ok().filter(|us| (-NEVER_US..NEVER_US).contains(us));
                self.block.out_time_us = told.or(self.block.out_time_us);
            }
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

/// A run without progress waits for something, and not for its turn, if it used less than this part of the time.
const IDLE_PART: u64 = 100;
/// A run without progress is hung after so many times the limit, whatever it uses.
const PATIENCE: u64 = 10;

/// Watches a run for lack of progress. Progress is a change of anything that only grows while work is done: frames,
/// bytes written, source bytes read.
///
/// A machine with more to do than it can gives a run its turn now and then, and a large picture at many rungs takes more
/// turns than one. So a run that uses the CPU is hung when it has used as much of it as the limit says, or after ten times
/// the limit; one that does not, after the limit.
#[derive(Clone, Debug)]
pub struct StallWatch {
    limit_ms: u64,
    last: Millis,
    marks: (u64, u64, u64),
    /// CPU time at the last progress, and now.
    cpu_ms: (u64, u64),
}

impl StallWatch {
    /// Watches from `now` on; hung after `limit_ms` without progress.
    pub fn new(now: Millis, limit_ms: u64) -> Self {
        Self { limit_ms, last: now, marks: (0, 0, 0), cpu_ms: (0, 0) }
    }

    /// Tells how far the run is, and what CPU time it has used. A run that reads its way to the first frame makes
    /// progress, too.
    pub fn seen(&mut self, now: Millis, marks: (u64, u64, u64), cpu_ms: u64) {
        self.cpu_ms.1 = cpu_ms;
        if marks != self.marks {
            self.marks = marks;
            self.last = now;
            self.cpu_ms.0 = cpu_ms;
        }
    }

    /// Is it hung?
    pub fn stalled(&self, now: Millis) -> bool {
        let since = now.since(self.last);
        let used_ms = self.cpu_ms.1.saturating_sub(self.cpu_ms.0);
        since >= self.limit_ms
            && (used_ms >= self.limit_ms
                || used_ms.saturating_mul(IDLE_PART) < since
                || since >= self.limit_ms.saturating_mul(PATIENCE))
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
    fn a_time_that_no_film_has_is_none() {
        let mut p = ProgressParser::default();
        for wrong in
            ["9223372036854775807", "-9223372036854775808", "4503599627370496", "18446744073709551615"]
        {
            assert_eq!(p.line(&format!("out_time_us={wrong}")), None);
            assert_eq!(p.line("progress=continue").map(|u| u.out_time_us), Some(None), "{wrong}");
        }
        assert_eq!(p.line("out_time_us=-21333"), None);
        assert_eq!(p.line("progress=continue").map(|u| u.out_time_us), Some(Some(-21_333)));
    }

    #[test]
    fn only_a_lack_of_progress_is_a_stall() {
        let mut w = StallWatch::new(Millis(0), 30_000);
        // a day of slow work is no stall
        for minute in 1..1_440u64 {
            let now = Millis(minute * 29_000);
            assert!(!w.stalled(now));
            w.seen(now, (minute / 3, minute / 2, minute), 0);
        }
        let last = Millis(1_439 * 29_000);
        w.seen(last.plus(20_000), (479, 719, 1_439), 0);
        assert!(!w.stalled(last.plus(29_999)));
        assert!(w.stalled(last.plus(30_000)));
    }

    #[test]
    fn who_seldom_gets_a_turn_is_not_hung() {
        let mut w = StallWatch::new(Millis(0), 60_000);
        w.seen(Millis(1_000), (1, 0, 0), 5_000);
        let at = |w: &mut StallWatch, s: u64, cpu_ms: u64| {
            w.seen(Millis(s * 1_000), (1, 0, 0), 5_000 + cpu_ms);
            w.stalled(Millis(s * 1_000))
        };
        assert!(!at(&mut w, 90, 2_000), "a fiftieth of a core");
        assert!(!at(&mut w, 300, 59_999));
        assert!(at(&mut w, 301, 60_000), "a minute of work without a frame");
        assert!(at(&mut w, 601, 50_000), "ten minutes");
        assert!(at(&mut w, 90, 880), "it waits for what does not come");
    }
}
