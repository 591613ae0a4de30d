//! Reads the loudness of a chunk from what ffmpeg prints while it encodes.
//!
//! The argument builder ([`crate::argv::audio`]) puts a meter beside the encoder. It prints the blocks of 400 ms and of
//! 3 s that end with each tenth of a second, and the true peak at its end. Tenths are counted from the track's first
//! sample whatever the chunk, so a range sees the very blocks that one encode of the track would see, and counts those
//! that end within its own packets: each block of the track is counted once.

use crate::argv::audio::{encoded_range, tenth};
use crate::argv::timeline::OFFSET_SECONDS;
use reelmill_common::loudness::Loudness;
use reelmill_common::spec::{AAC_FRAME, AudioChunk};

/// Why there is no loudness of a chunk that should have one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unmeasured {
    /// Blocks are missing.
    #[error("loudness is not measured: ffmpeg told {momentary} and {short_term} blocks of {expected}")]
    Blocks {
        /// Blocks of 400 ms.
        momentary: u64,
        /// Blocks of 3 s.
        short_term: u64,
        /// How many of each there should be.
        expected: u64,
    },
    /// The true peak is missing.
    #[error("loudness is not measured: ffmpeg told no true peak")]
    Peak,
}

/// Takes ffmpeg's lines on stdout.
#[derive(Clone, Debug)]
pub struct Meter {
    tenth: u64,
    /// Sample of the track that has time 0.
    origin: i64,
    /// Blocks that end after the first of these samples, and not after the second, are this chunk's.
    own: (u64, u64),
    /// Is the block that is being told one of them?
    is_own: bool,
    told: (u64, u64),
    loudness: Loudness,
}

impl Meter {
    /// For a chunk that is to be measured.
    pub fn new(chunk: &AudioChunk) -> Option<Self> {
        let rate = i64::from(chunk.settings.sample_rate);
        let end = (chunk.packets.1 * AAC_FRAME).min(chunk.total_samples);
        chunk.measure_loudness.then(|| Self {
            tenth: tenth(chunk),
            origin: encoded_range(chunk).start_sample as i64 - OFFSET_SECONDS * rate,
            own: ((chunk.packets.0 * AAC_FRAME).min(end), end),
            is_own: false,
            told: (0, 0),
            loudness: Loudness::default(),
        })
    }

    /// Takes one line without its line feed; those of others, as of the progress, are skipped.
    pub fn line(&mut self, line: &str) {
        if line.starts_with("frame:") {
            self.is_own = pts(line).is_some_and(|at| self.owns(at));
        } else if let Some(value) = line.strip_prefix("lavfi.r128.M=").filter(|_| self.is_own) {
            if let Some(lufs_x1000) = block(value) {
                self.loudness.momentary.count(lufs_x1000);
                self.told.0 += 1;
            }
        } else if let Some(value) = line.strip_prefix("lavfi.r128.S=").filter(|_| self.is_own)
            && let Some(lufs_x1000) = block(value)
        {
            self.loudness.short_term.count(lufs_x1000);
            self.told.1 += 1;
        }
    }

    /// Does the block that ends with the tenth of a second beginning at this time end in the chunk's own samples?
    fn owns(&self, at: i64) -> bool {
        let end = at.saturating_add(self.origin).saturating_add_unsigned(self.tenth);
        let is_own = |end| self.own.0 < end && end <= self.own.1 && end.is_multiple_of(self.tenth);
        u64::try_from(end).is_ok_and(is_own)
    }

    /// What was measured, with what ffmpeg said on stderr.
    ///
    /// # Errors
    /// [`Unmeasured`] when something is missing: a sum without it would be taken for the whole.
    pub fn finish(mut self, stderr: &str) -> Result<Loudness, Unmeasured> {
        let expected = self.own.1 / self.tenth - self.own.0 / self.tenth;
        let (momentary, short_term) = self.told;
        if (momentary, short_term) != (expected, expected) {
            return Err(Unmeasured::Blocks { momentary, short_term, expected });
        }
        self.loudness.true_peak_dbtp_x100 = true_peak(stderr).ok_or(Unmeasured::Peak)?;
        Ok(self.loudness)
    }
}

/// The time in `frame:12   pts:529690  pts_time:12.0111`.
fn pts(line: &str) -> Option<i64> {
    line.split_ascii_whitespace().find_map(|word| word.strip_prefix("pts:"))?.parse().ok()
}

/// Loudness of a block in thousandths. In silence after sound, ffmpeg's sliding sum may end a rounding below 0, which has
/// no logarithm (5.1 says `nan` there).
fn block(text: &str) -> Option<i32> {
    match text.trim() {
        "nan" | "-nan" | "-inf" => Some(i32::MIN),
        number => decimal(number, 3),
    }
}

/// True peak in hundredths from the summary at the end; `Some(None)` when there was silence only.
fn true_peak(stderr: &str) -> Option<Option<i32>> {
    let summary = &stderr[stderr.rfind("Summary:")?..];
    let told = summary.lines().find_map(|l| l.trim_start().strip_prefix("Peak:"))?;
    match told.split_ascii_whitespace().next()? {
        "-inf" => Some(None),
        number => decimal(number, 2).map(Some),
    }
}

/// A decimal number times 10 to the power of `digits`, further digits cut off.
fn decimal(text: &str, digits: usize) -> Option<i32> {
    let text = text.trim();
    let (sign, number) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let part: String = part.chars().chain(std::iter::repeat('0')).take(digits).collect();
    let scale = 10i32.checked_pow(u32::try_from(digits).ok()?)?;
    let value = whole.parse::<i32>().ok()?.checked_mul(scale)?.checked_add(part.parse().ok()?)?;
    Some(sign * value)
}

#[cfg(test)]
mod tests;
