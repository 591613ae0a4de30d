//! Marks in the sound: a quiet tone with a burst of pseudo-random noise once a second, at samples and of a shape that
//! belong to that second alone. The reader finds each burst to the sample by correlation and compares everything
//! between the bursts with the tone that must be there, so that a shift, a drift, a lost packet or a click has
//! nowhere to hide.

use std::f64::consts::TAU;

/// Samples of a burst.
pub const BURST: usize = 1024;
/// Samples of either sign within which a burst is looked for.
pub const REACH: i64 = 1500;
const TONE_HZ: f64 = 300.0;
const TONE: f64 = 1500.0;
const LOUD: f64 = 9000.0;

/// The marked sound as a function of the sample number; the same for every channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Marked {
    /// Samples a second.
    pub rate: u32,
    /// Samples in all.
    pub samples: usize,
}

/// Where a burst was found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Found {
    /// Which one: it begins in second `number` of the sound.
    pub number: usize,
    /// Samples it came late (negative: early).
    pub lag: i64,
    /// Correlation with the drawn burst, 0 to 1.
    pub likeness: f64,
}

/// First sample of burst `number`: not at the same place of each second.
fn burst_start(rate: u32, number: usize) -> usize {
    number * rate as usize + 4000 + number * 7919 % 9973
}

/// The noise of burst `number`, values about -1 to 1, low-passed so that no codec discards it.
fn burst(number: usize) -> Vec<f64> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64.wrapping_mul(number as u64 + 1) | 1;
    let mut raw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f64 / f64::from(1 << 23) - 1.0
    };
    let white: Vec<f64> = (0..BURST + 4).map(|_| raw()).collect();
    white.windows(5).map(|w| w.iter().sum::<f64>() / 2.5).take(BURST).collect()
}

impl Marked {
    fn bursts(self) -> impl Iterator<Item = usize> {
        let Self { rate, samples } = self;
        (0..).take_while(move |n| burst_start(rate, *n) + BURST <= samples)
    }

    fn tone(self, i: usize) -> f64 {
        TONE * (TAU * TONE_HZ * i as f64 / f64::from(self.rate)).sin()
    }

    /// All samples.
    pub fn draw(self) -> Vec<i16> {
        let mut wave: Vec<f64> = (0..self.samples).map(|i| self.tone(i)).collect();
        for number in self.bursts() {
            let start = burst_start(self.rate, number);
            for (sample, noise) in wave[start..].iter_mut().zip(burst(number)) {
                *sample += LOUD * noise;
            }
        }
        wave.into_iter().map(|v| v.clamp(-32_000.0, 32_000.0) as i16).collect()
    }

    /// Looks for every burst in `heard`, whose sample 0 should be this sound's sample `from`.
    pub fn find(self, heard: &[i16], from: i64) -> Vec<Found> {
        self.bursts()
            .filter_map(|number| {
                let due = burst_start(self.rate, number) as i64 - from;
                let (low, high) = (due - REACH, due + REACH + BURST as i64);
                if low < 0 || high > heard.len() as i64 {
                    return None;
                }
                let pattern = burst(number);
                let window = &heard[low as usize..high as usize];
                Some(best_match(&pattern, window).map_or(
                    Found { number, lag: REACH, likeness: 0.0 },
                    |(at, likeness)| Found { number, lag: at as i64 - REACH, likeness },
                ))
            })
            .collect()
    }

    /// The blocks of 1024 samples, far from any burst, whose difference from the tone is loud: (sample, RMS).
    /// Levels may differ by a constant gain; the tone's own phase and amplitude may not change on the way.
    pub fn disturbances(self, heard: &[i16], from: i64) -> Vec<(i64, f64)> {
        let near: Vec<(i64, i64)> = self
            .bursts()
            .map(|n| burst_start(self.rate, n) as i64)
            .map(|s| (s - 3072, s + BURST as i64 + 3072))
            .collect();
        let mut found = Vec::new();
        // The first and last packets fade in and out of a codec's own windows.
        let mut at = 4096;
        while at + 1024 + 4096 <= heard.len() {
            let first = from + at as i64;
            let inside = first >= 0 && first + 1024 <= self.samples as i64;
            if inside && !near.iter().any(|(a, b)| first < *b && first + 1024 > *a) {
                let error: f64 = (0..1024)
                    .map(|i| f64::from(heard[at + i]) - self.tone((first + i as i64) as usize))
                    .map(|e| e * e)
                    .sum();
                let rms = (error / 1024.0).sqrt();
                if rms > TONE / 4.0 {
                    found.push((first, rms));
                }
            }
            at += 1024;
        }
        found
    }
}

/// Where in `window` the pattern fits best, and how well (normalised correlation).
fn best_match(pattern: &[f64], window: &[i16]) -> Option<(usize, f64)> {
    let window: Vec<f64> = window.iter().map(|s| f64::from(*s)).collect();
    let power: f64 = pattern.iter().map(|p| p * p).sum();
    let mut energies = vec![0.0];
    energies.extend(window.iter().scan(0.0, |sum, s| {
        *sum += s * s;
        Some(*sum)
    }));
    let at_each = window.windows(pattern.len()).enumerate().map(|(at, part)| {
        let dot: f64 = part.iter().zip(pattern).map(|(a, b)| a * b).sum();
        let energy = energies[at + pattern.len()] - energies[at];
        (at, dot / (power * energy).sqrt().max(1.0))
    });
    at_each.max_by(|a, b| a.1.total_cmp(&b.1))
}

/// The lag of `b` behind `a` around sample `at` (up to `reach` either way), and how alike they are there. `None` where
/// `a` is silent or too short.
pub fn lag_between(a: &[i16], b: &[i16], at: usize, length: usize, reach: usize) -> Option<(i64, f64)> {
    let low = at.checked_sub(reach)?;
    if at + length > a.len() || at + length + reach > b.len() {
        return None;
    }
    let mut pattern: Vec<f64> = a[at..at + length].iter().map(|s| f64::from(*s)).collect();
    let mean = pattern.iter().sum::<f64>() / length as f64;
    pattern.iter_mut().for_each(|p| *p -= mean);
    let rms = (pattern.iter().map(|p| p * p).sum::<f64>() / length as f64).sqrt();
    if rms < 100.0 {
        return None;
    }
    best_match(&pattern, &b[low..at + length + reach]).map(|(i, like)| (i as i64 - reach as i64, like))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Marked = Marked { rate: 44_100, samples: 44_100 * 3 };

    #[test]
    fn bursts_are_found_to_the_sample() {
        let drawn = SOUND.draw();
        for shift in [0i64, 1, -1, 960, -1024] {
            let heard: Vec<i16> = (0..drawn.len() as i64)
                .map(|i| drawn.get((i - shift) as usize).copied().unwrap_or(0))
                .collect();
            let found = SOUND.find(&heard, 0);
            assert_eq!(found.len(), 3);
            assert!(found.iter().all(|f| f.lag == shift && f.likeness > 0.9), "{shift}: {found:?}");
        }
    }

    #[test]
    fn a_click_between_bursts_is_heard() {
        let mut heard = SOUND.draw();
        assert_eq!(SOUND.disturbances(&heard, 0), Vec::new());
        let quiet = burst_start(SOUND.rate, 0) + BURST + 9000;
        heard[quiet..quiet + 300].fill(6000);
        assert!(!SOUND.disturbances(&heard, 0).is_empty());
    }
}
