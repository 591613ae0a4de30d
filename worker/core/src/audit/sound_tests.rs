//! Verdicts on sound that is made up, in integers.

use super::*;
use proptest::prelude::*;

const RATE: u32 = 48_000;

/// Numbers that follow no rule that is heard, -32,768 to 32,767.
fn noise(seed: u32) -> impl FnMut() -> i64 {
    let mut state = u64::from(seed) + 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 48) as i64 - 32_768
    }
}

/// A channel of sound most of which is low, as loud as speech and by turns louder and softer.
fn sound(seed: u32, samples: usize) -> Vec<i64> {
    let (mut next, mut held) = (noise(seed), 0);
    (0..samples)
        .map(|n| {
            held += (next() - held) / 8;
            held * (1 + (n / 3_000 % 3) as i64) / 3
        })
        .collect()
}

fn bytes(channels: &[Vec<i64>]) -> Vec<u8> {
    let of = |n: usize| channels.iter().map(move |c| c.get(n).copied().unwrap_or_default());
    let clipped = |s: i64| (s.clamp(-32_768, 32_767) as i16).to_le_bytes();
    (0..channels[0].len()).flat_map(|n| of(n).flat_map(clipped)).collect()
}

fn verdict(segment: &[Vec<i64>], source: &[Vec<i64>]) -> Result<(), String> {
    let (segment, source, channels) = (bytes(segment), bytes(source), segment.len() as u16);
    let of = |bytes| Samples::new(bytes, channels).unwrap();
    compare(of(&segment), of(&source), RATE, 1).map(drop).map_err(|wrong| wrong.to_string())
}

fn change(channels: &[Vec<i64>], change: impl Fn(usize, i64) -> i64) -> Vec<Vec<i64>> {
    channels.iter().map(|c| c.iter().enumerate().map(|(n, s)| change(n, *s)).collect()).collect()
}

fn film() -> Vec<Vec<i64>> {
    vec![sound(1, 60_000), sound(2, 60_000)]
}

/// An encode of few bits: noise over all of it, a third as strong as the sound.
fn poor(film: &[Vec<i64>]) -> Vec<Vec<i64>> {
    let add = |(seed, c): (u32, &Vec<i64>)| {
        let mut next = noise(seed);
        c.iter().map(|s| s + next() / 10).collect()
    };
    (7..).zip(film).map(add).collect()
}

#[test]
fn sound_may_be_poor_and_nothing_else() {
    let film = film();
    assert_eq!(verdict(&film, &film), Ok(()));
    assert_eq!(verdict(&poor(&film), &film), Ok(()));
    let says = |segment: Vec<Vec<i64>>, what: &str| {
        let wrong = verdict(&poor(&segment), &film).expect_err(what);
        assert!(wrong.contains(what), "{what}: {wrong}");
    };
    let half = film[0].len() / 2;
    says(vec![sound(3, 60_000), sound(4, 60_000)], "its wave");
    says(change(&film, |n, s| if n < half { s } else { 0 }), "below 4 kHz its strength");
    says(change(&film, |_, s| s * 3), "below 4 kHz its strength");
    says(change(&film, |_, s| -s), "on its head");
    says(vec![film[1].clone(), film[0].clone()], "swapped");
    let moved = |c: &Vec<i64>, by: usize| [&vec![0; by][..], &c[..c.len() - by]].concat();
    says(film.iter().map(|c| moved(c, 960)).collect(), "20 ms later");
    let early = |c: &Vec<i64>| [&c[960..], &vec![0; 960]].concat();
    says(film.iter().map(early).collect(), "20 ms earlier");
}

#[test]
fn silence_in_place_of_sound_is_found_in_each_channel() {
    let film = film();
    for channel in 0..2 {
        let mut segment = film.clone();
        segment[channel] = vec![0; film[0].len()];
        let wrong = verdict(&segment, &film).unwrap_err();
        let place = format!("channel {} from 0 ms on", channel + 1);
        assert!(wrong.starts_with(&place) && wrong.contains("is 0 thousandths"), "{wrong}");
    }
}

#[test]
fn what_is_soft_may_be_left_out_and_not_be_loud() {
    let soft = change(&film(), |_, s| s / 400);
    let silence = change(&soft, |_, _| 0);
    assert_eq!(verdict(&silence, &soft), Ok(()));
    assert_eq!(verdict(&soft, &silence), Ok(()));
    let wrong = verdict(&film(), &silence).unwrap_err();
    assert!(wrong.contains("below 4 kHz its strength"), "{wrong}");
    // what is loud, and too high to be looked at as a wave
    let shrill = change(&silence, |n, _| if n % 2 == 0 { 9_000 } else { -9_000 });
    let wrong = verdict(&shrill, &silence).unwrap_err();
    assert!(wrong.contains("as a whole its strength"), "{wrong}");
}

#[test]
fn low_effects_may_be_left_out_and_no_other_channel() {
    let film: Vec<Vec<i64>> = (1..7).map(|seed| sound(seed, 30_000)).collect();
    let without = |channel: usize| {
        let mut segment = film.clone();
        segment[channel] = vec![0; 30_000];
        verdict(&segment, &film)
    };
    assert_eq!(without(3), Ok(()));
    assert!([0, 1, 2, 4, 5].into_iter().all(|channel| without(channel).is_err()));
    let mut silence = film.clone();
    silence[3] = vec![0; 30_000];
    assert!(verdict(&film, &silence).unwrap_err().starts_with("channel 4"), "nor may they be loud");
}

#[test]
fn what_leaves_the_scale_is_not_judged() {
    let loud = change(&film(), |_, s| s * 20);
    assert_eq!(verdict(&change(&film(), |_, s| s / 4), &loud), Ok(()));
}

#[test]
fn less_than_half_a_second_says_too_little() {
    let (film, other) = (vec![sound(1, 24_000)], vec![sound(2, 24_000)]);
    assert!(verdict(&other, &film).is_err());
    let short = |c: &[Vec<i64>]| vec![c[0][..23_999].to_vec()];
    assert_eq!(verdict(&short(&other), &short(&film)), Ok(()));
}

#[test]
fn a_little_may_be_heard_before_what_is_sudden() {
    let film = change(&film(), |n, s| if n < 48_000 { 0 } else { s });
    let mut segment = film.clone();
    for c in &mut segment {
        (46_000..48_000).for_each(|n| c[n] = c[n + 2_000] / 2);
    }
    assert_eq!(verdict(&segment, &film), Ok(()));
}

#[test]
fn a_tone_is_where_it_is_however_often_it_repeats() {
    // 100 Hz: 20 ms are two periods
    let tone: Vec<i64> = (0..96_000).map(|n: i64| ((n % 480 - 240).abs() - 120) * 60).collect();
    let film = vec![tone];
    assert_eq!(verdict(&poor(&film), &film), Ok(()));
}

#[test]
fn a_part_is_what_was_asked_for() {
    let bytes = bytes(&[vec![1, 2, 3, 4], vec![5, 6, 7, 8]]);
    let all = Samples::new(&bytes, 2).unwrap();
    let part = all.part(1, 2).unwrap();
    assert_eq!((all.len(), part.len(), part.is_empty()), (4, 2, false));
    assert_eq!(part.channel(1).collect::<Vec<_>>(), [6, 7]);
    assert!(all.part(3, 2).is_none() && all.part(usize::MAX, 2).is_none());
    assert!(Samples::new(&bytes[1..], 2).is_none(), "the last is not whole");
    assert!(Samples::new(&bytes, 0).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever the sound is, a copy of it, a little louder or softer and on another level, is that sound.
    #[test]
    fn a_copy_is_never_called_wrong(
        samples in prop::collection::vec(any::<i16>(), 0..30_000),
        (channels, percent, level) in (1u16..3, 90i64..110, -200i64..200),
        shift in 0u32..15,
    ) {
        let whole = samples.len() - samples.len() % usize::from(channels);
        let source: Vec<i64> = samples[..whole].iter().map(|s| i64::from(*s) >> shift).collect();
        let near = |s: i64| (s * percent / 100 + level).clamp(-32_768, 32_767) as i16;
        let segment: Vec<u8> = source.iter().flat_map(|s| near(*s).to_le_bytes()).collect();
        let source: Vec<u8> = source.iter().flat_map(|s| (*s as i16).to_le_bytes()).collect();
        let of = |bytes| Samples::new(bytes, channels).unwrap();
        let found = compare(of(&segment), of(&source), RATE, 1);
        prop_assert!(found.is_ok(), "{found:?}");
    }
}
