//! Loudness by ITU-R BS.1770-5 and its range by EBU Tech 3342, of a track that several workers measured in parts.
//!
//! Both are gated: a block of sound counts or not by what all of the track measures, so a part cannot be summed up by
//! itself. What a part tells is how many blocks it has of each loudness, in steps of 0.1 LU. Such counts are small
//! whatever the length of the sound, parts are merged by adding, and the gates are applied once, to the whole. A step
//! moves a block by 0.05 LU at most, and so the mean of all.
//!
//! Numbers are LUFS or LU times 100 where nothing else is said, and power is an integer, so that every machine gives
//! the same result.

/// Nothing as quiet as this counts: BS.1770's absolute gate, LUFS times 100.
const ABSOLUTE_GATE: i32 = -7_000;
/// Nor what lies further than this below the mean of the rest, LU times 100 (BS.1770).
const INTEGRATED_GATE: i32 = 1_000;
/// The same for the range (Tech 3342).
const RANGE_GATE: i32 = 2_000;
/// Of the blocks by loudness, the range leaves out so many percent of the quietest...
const RANGE_FROM: u64 = 10;
/// ...and goes up to here.
const RANGE_TO: u64 = 95;
/// Width of a bin, LU times 100.
const STEP: i32 = 10;
/// Bins of a histogram: from the absolute gate to +10 LUFS. What is louder still is in the last one.
pub const LOUDNESS_BINS: usize = 801;

/// What was measured of a track, or of a part of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Loudness {
    /// Blocks of 400 ms, ten a second.
    pub momentary: Histogram,
    /// Blocks of 3 s, ten a second.
    pub short_term: Histogram,
    /// True peak, dBTP times 100; `None` for silence.
    pub true_peak_dbtp_x100: Option<i32>,
}

/// The numbers of a whole track, in hundredths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoudnessSummary {
    /// Integrated loudness, LUFS times 100.
    pub integrated_lufs_x100: i32,
    /// Loudness range, LU times 100; 0 where the track is shorter than 3 s.
    pub range_lu_x100: i32,
    /// True peak, dBTP times 100.
    pub true_peak_dbtp_x100: i32,
}

impl Loudness {
    /// Adds another part of the same track.
    pub fn merge(&mut self, other: &Self) {
        self.momentary.merge(&other.momentary);
        self.short_term.merge(&other.short_term);
        self.true_peak_dbtp_x100 = self.true_peak_dbtp_x100.max(other.true_peak_dbtp_x100);
    }

    /// The numbers of the whole; `None` where no block is above the absolute gate, as in silence.
    pub fn summary(&self) -> Option<LoudnessSummary> {
        let mean = self.momentary.mean_above(ABSOLUTE_GATE)?;
        Some(LoudnessSummary {
            integrated_lufs_x100: self.momentary.mean_above(mean - INTEGRATED_GATE)?,
            range_lu_x100: self.short_term.range().unwrap_or(0),
            true_peak_dbtp_x100: self.true_peak_dbtp_x100?,
        })
    }
}

/// How many blocks have which loudness, above the absolute gate.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Histogram {
    /// By bin, the first one at the absolute gate; the last is not 0, so that equal histograms are equal.
    counts: Vec<u64>,
}

impl Histogram {
    /// From counts by bin; `None` if there are more than [`LOUDNESS_BINS`].
    pub fn from_counts(mut counts: Vec<u64>) -> Option<Self> {
        if counts.len() > LOUDNESS_BINS {
            return None;
        }
        counts.truncate(counts.iter().rposition(|n| *n != 0).map_or(0, |last| last + 1));
        Some(Self { counts })
    }

    /// Counts by bin, without those after the last block's.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Counts a block, its loudness in LUFS times 1,000. One that is not above the absolute gate is left out.
    pub fn count(&mut self, lufs_x1000: i32) {
        let above = lufs_x1000.saturating_sub(ABSOLUTE_GATE * 10);
        if above <= 0 {
            return;
        }
        // to the nearest step
        let bin = (above.saturating_add(STEP * 5) / (STEP * 10)) as usize;
        let bin = bin.min(LOUDNESS_BINS - 1);
        if self.counts.len() <= bin {
            self.counts.resize(bin + 1, 0);
        }
        self.counts[bin] = self.counts[bin].saturating_add(1);
    }

    fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, more) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*more);
        }
    }

    /// Bins with their loudness, those above a gate; all of them above the absolute one, whose own bin holds what is
    /// less than half a step above it.
    fn above(&self, gate: i32) -> impl Iterator<Item = (i32, u64)> {
        let levels = (0..).map(|bin: i32| ABSOLUTE_GATE + bin * STEP);
        levels
            .zip(self.counts.iter().copied())
            .filter(move |(level, _)| gate <= ABSOLUTE_GATE || *level > gate)
    }

    /// Loudness of the mean power of the blocks above a gate; `None` if there are none.
    fn mean_above(&self, gate: i32) -> Option<i32> {
        let (mut sum, mut blocks) = (0u128, 0u128);
        for (level, count) in self.above(gate) {
            sum = sum.saturating_add(power(level).saturating_mul(count.into()));
            blocks += u128::from(count);
        }
        sum.checked_div(blocks).map(loudness)
    }

    /// From the 10th to the 95th of a hundred of the blocks above the relative gate; `None` if there are none.
    fn range(&self) -> Option<i32> {
        let gate = self.mean_above(ABSOLUTE_GATE)? - RANGE_GATE;
        let last = self.above(gate).fold(0u64, |sum, (_, count)| sum.saturating_add(count)).checked_sub(1)?;
        let level_at = |percent: u64| {
            let rank = (u128::from(last) * u128::from(percent) + 50) / 100;
            let mut before = 0u128;
            self.above(gate).find_map(|(level, count)| {
                before += u128::from(count);
                (before > rank).then_some(level)
            })
        };
        Some(level_at(RANGE_TO)? - level_at(RANGE_FROM)?)
    }
}

/// One, in the tables below.
const ONE: u128 = 1_000_000_000;
/// 10^(n/10), 10^(n/100) and 10^(n/1000) for n from 0 to 9.
const POWERS: [[u128; 10]; 3] = [
    [
        1_000_000_000,
        1_258_925_412,
        1_584_893_192,
        1_995_262_315,
        2_511_886_432,
        3_162_277_660,
        3_981_071_706,
        5_011_872_336,
        6_309_573_445,
        7_943_282_347,
    ],
    [
        1_000_000_000,
        1_023_292_992,
        1_047_128_548,
        1_071_519_305,
        1_096_478_196,
        1_122_018_454,
        1_148_153_621,
        1_174_897_555,
        1_202_264_435,
        1_230_268_771,
    ],
    [
        1_000_000_000,
        1_002_305_238,
        1_004_615_790,
        1_006_931_669,
        1_009_252_886,
        1_011_579_454,
        1_013_911_386,
        1_016_248_693,
        1_018_591_388,
        1_020_939_484,
    ],
];

/// Power of a loudness, in billionths of that at the absolute gate; what is quieter has that much.
fn power(lufs_x100: i32) -> u128 {
    // 100 hundredths of a decibel are a tenth of a decade
    let above = lufs_x100.saturating_sub(ABSOLUTE_GATE).max(0) as u32;
    let digit = |n: usize, unit: u32| POWERS[n][(above / unit % 10) as usize];
    digit(0, 100) * digit(1, 10) / ONE * digit(2, 1) / ONE * 10u128.pow(above / 1_000)
}

/// The nearest loudness of a power, to a hundredth.
fn loudness(of: u128) -> i32 {
    let (mut low, mut high) = (ABSOLUTE_GATE, ABSOLUTE_GATE + LOUDNESS_BINS as i32 * STEP);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if power(middle) <= of { low = middle } else { high = middle }
    }
    // nearer on a scale of decibels: against the geometric mean of both
    if of * of < power(low) * power(high) { low } else { high }
}

#[cfg(test)]
mod tests;
