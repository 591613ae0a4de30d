//! Loudness of parts against a direct computation over all blocks.

use super::*;

/// BS.1770-5 and Tech 3342 as they are written, over all blocks at once, LUFS.
fn direct(momentary: &[f64], short_term: &[f64]) -> Option<(f64, f64)> {
    let mean = |blocks: &[f64]| {
        let sum: f64 = blocks.iter().map(|l| 10f64.powf(l / 10.0)).sum();
        (!blocks.is_empty()).then(|| 10.0 * (sum / blocks.len() as f64).log10())
    };
    let gated = |blocks: &[f64], below: f64| {
        let loud: Vec<f64> = blocks.iter().copied().filter(|l| *l > -70.0).collect();
        let gate = mean(&loud)? - below;
        Some(loud.into_iter().filter(|l| *l > gate).collect::<Vec<f64>>())
    };
    let mut spread = gated(short_term, 20.0).unwrap_or_default();
    spread.sort_by(f64::total_cmp);
    let at = |percent: f64| spread[((spread.len() - 1) as f64 * percent / 100.0).round() as usize];
    let range = if spread.is_empty() { 0.0 } else { at(95.0) - at(10.0) };
    Some((mean(&gated(momentary, 10.0)?)?, range))
}

fn part(momentary: &[i32], short_term: &[i32], peak: Option<i32>) -> Loudness {
    let mut part = Loudness { true_peak_dbtp_x100: peak, ..Loudness::default() };
    momentary.iter().for_each(|l| part.momentary.count(*l));
    short_term.iter().for_each(|l| part.short_term.count(*l));
    part
}

fn lufs(blocks: &[i32]) -> Vec<f64> {
    blocks.iter().map(|l| f64::from(*l) / 1000.0).collect()
}

#[test]
fn power_and_loudness_are_each_others_inverse_to_a_billionth() {
    for level in ABSOLUTE_GATE..=1_000 {
        let exact = 10f64.powf(f64::from(level - ABSOLUTE_GATE) / 1000.0) * 1e9;
        let off = power(level) as f64 / exact - 1.0;
        assert!(off.abs() < 5e-9, "{level}: off by {off}");
        assert_eq!(loudness(power(level)), level);
    }
}

#[test]
fn the_relative_gate_is_the_whole_tracks() {
    // ten seconds loud, then ten that the gate leaves out, then ten that it keeps
    let (loud, left_out, kept) = ([-20_000; 100], [-40_000; 100], [-26_000; 100]);
    let mut whole = part(&loud, &[], Some(-300));
    whole.merge(&part(&left_out, &[], None));
    whole.merge(&part(&kept, &[], Some(-900)));
    // 10 lg((10^-2 + 10^-2.6) / 2) = -22.04
    let summary = whole.summary().unwrap();
    assert_eq!((summary.integrated_lufs_x100, summary.true_peak_dbtp_x100), (-2_204, -300));
    // by itself the quiet part would count
    assert_eq!(part(&left_out, &[], Some(0)).summary().unwrap().integrated_lufs_x100, -4_000);
}

#[test]
fn silence_has_no_loudness_and_adds_none() {
    let silence = part(&[-120_691; 50], &[-70_000; 20], None);
    assert_eq!((&silence, silence.summary()), (&Loudness::default(), None));
    let mut whole = part(&[-23_000; 50], &[-23_000; 20], Some(-600));
    let before = whole.clone();
    whole.merge(&silence);
    assert_eq!(whole, before);
}

#[test]
fn blocks_beyond_the_scale_are_at_its_ends() {
    let loudest = part(&[i32::MAX, 10_000], &[], None).momentary;
    assert_eq!((loudest.counts().len(), loudest.counts().last()), (LOUDNESS_BINS, Some(&2)));
    assert_eq!(part(&[i32::MIN, -70_000], &[], None).momentary.counts(), [0u64; 0]);
    assert_eq!(part(&[-69_999], &[], None).momentary.counts(), [1]);
}

#[test]
fn more_bins_than_there_are_is_refused_and_empty_ones_at_the_end_are_dropped() {
    assert_eq!(Histogram::from_counts(vec![0; LOUDNESS_BINS + 1]), None);
    assert_eq!(Histogram::from_counts(vec![0; LOUDNESS_BINS]), Some(Histogram::default()));
    assert_eq!(Histogram::from_counts(vec![0, 3, 0, 0]).unwrap().counts(), [0, 3]);
}

/// Numbers for a test that are the same in every run: a linear congruential generator (Knuth's MMIX).
struct Numbers(u64);

impl Numbers {
    fn within(&mut self, from: i32, to: i32) -> i32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        from + ((self.0 >> 33) % (to - from) as u64) as i32
    }

    fn blocks(&mut self, from: i32, to: i32) -> Vec<i32> {
        let count = self.within(1, 200);
        (0..count).map(|_| self.within(from, to)).collect()
    }
}

/// Wherever a track is cut, its parts give what the whole gives: half a step off at most, and the range a step, both
/// ends of which move. A block beside a gate may fall on its other side, so these films have none there: loud ones that
/// are within 4 LU of each other, and others far below.
#[test]
fn parts_give_what_a_direct_computation_over_the_whole_gives() {
    let mut numbers = Numbers(1);
    for case in 0..300 {
        let mut momentary = numbers.blocks(-16_000, -12_000);
        momentary.extend(numbers.blocks(-80_000, -60_000));
        let short_term = numbers.blocks(-22_000, -10_000);
        let parts = momentary.split_at(numbers.within(0, momentary.len() as i32) as usize);
        let short = short_term.split_at(numbers.within(0, short_term.len() as i32) as usize);
        let mut whole = part(parts.0, short.0, Some(-1));
        whole.merge(&part(parts.1, short.1, Some(-1)));
        assert_eq!(whole, part(&momentary, &short_term, Some(-1)), "case {case}");
        let (integrated, range) = direct(&lufs(&momentary), &lufs(&short_term)).unwrap();
        let summary = whole.summary().unwrap();
        let off = f64::from(summary.integrated_lufs_x100) / 100.0 - integrated;
        assert!(off.abs() < 0.056, "case {case}: integrated: off by {off} from {integrated}");
        let off = f64::from(summary.range_lu_x100) / 100.0 - range;
        assert!(off.abs() < 0.101, "case {case}: range: off by {off} from {range}");
    }
}
