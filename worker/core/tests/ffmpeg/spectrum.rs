//! The spectrum of a block of 2,048 samples under a Hann window: enough to measure noise and spurs with.

use std::f64::consts::PI;

const N: usize = 2048;

/// Magnitudes of the lines from 0 Hz to half the sample rate.
pub(crate) fn magnitudes(block: &[f64]) -> Vec<f64> {
    let mut re: Vec<f64> =
        (0..N).map(|i| block[i] * (0.5 - 0.5 * (2.0 * PI * i as f64 / N as f64).cos())).collect();
    let mut im = vec![0.0; N];
    transform(&mut re, &mut im);
    (0..N / 2).map(|k| re[k].hypot(im[k])).collect()
}

/// Lines at which 24 bands begin and end, about as wide as those of the ear: linear up to 500 Hz, then each a fifth
/// wider.
fn edges() -> Vec<usize> {
    let mut edges = vec![1, 5, 9, 13, 17, 21];
    while edges.len() < 25 {
        let last = edges[edges.len() - 1];
        edges.push((last * 6 / 5).min(N / 2 - 25 + edges.len()));
    }
    edges
}

/// Energy in the bands.
pub(crate) fn energy_in_bands(block: &[f64]) -> Vec<f64> {
    let lines = magnitudes(block);
    edges().windows(2).map(|w| lines[w[0]..w[1]].iter().map(|m| m * m).sum()).collect()
}

/// What the ear does not hear beside sound of these energies: 6 dB below it, falling by 25 dB a Bark towards lower
/// bands and 10 towards higher ones, and nowhere less than the threshold in quiet with full scale at 96 dB (bands and
/// threshold after Zwicker, Terhardt 1979; the slopes are those of ISO/IEC 11172-3's first model, rounded).
pub(crate) fn masks(energies: &[f64]) -> Vec<f64> {
    let centres: Vec<f64> =
        edges().windows(2).map(|w| (w[0] + w[1] - 1) as f64 / 2.0 * 48_000.0 / N as f64).collect();
    let bark = |f: f64| 13.0 * (0.000_76 * f).atan() + 3.5 * (f / 7500.0).powi(2).atan();
    let quiet = |f: f64| {
        let k = f / 1000.0;
        let decibels = 3.64 * k.powf(-0.8) - 6.5 * (-0.6 * (k - 3.3).powi(2)).exp() + 0.001 * k.powi(4);
        // a sine at full scale puts 3/2 (N/4)^2 into its lines
        1.5 * (N as f64 / 4.0).powi(2) * 10f64.powf((decibels.min(90.0) - 96.0) / 10.0)
    };
    let masked_by = |at: f64, from: f64| {
        let up = bark(at) - bark(from);
        10f64.powf((if up < 0.0 { 25.0 * up } else { -10.0 * up } - 6.0) / 10.0)
    };
    let mask = |at: &f64| {
        let spread: f64 = centres.iter().zip(energies).map(|(from, e)| e * masked_by(*at, *from)).sum();
        spread.max(quiet(*at))
    };
    centres.iter().map(mask).collect()
}

/// The discrete Fourier transform in place (Cooley and Tukey, 1965: bits reversed, then butterflies).
fn transform(re: &mut [f64], im: &mut [f64]) {
    let bits = N.trailing_zeros();
    for i in 0..N {
        let j = (i as u32).reverse_bits() as usize >> (32 - bits);
        if i < j {
            re.swap(i, j);
            im.swap(i, j);
        }
    }
    let mut half = 1;
    while half < N {
        for start in (0..N).step_by(2 * half) {
            for k in 0..half {
                let (sin, cos) = (-PI * k as f64 / half as f64).sin_cos();
                let (a, b) = (start + k, start + k + half);
                let (r, i) = (re[b] * cos - im[b] * sin, re[b] * sin + im[b] * cos);
                (re[b], im[b]) = (re[a] - r, im[a] - i);
                (re[a], im[a]) = (re[a] + r, im[a] + i);
            }
        }
        half *= 2;
    }
}
