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

/// Energy in 24 bands, about as wide as those of the ear: linear up to 500 Hz, then each a fifth wider.
pub(crate) fn energy_in_bands(block: &[f64]) -> Vec<f64> {
    let lines = magnitudes(block);
    let mut edges = vec![1, 5, 9, 13, 17, 21];
    while edges.len() < 25 {
        let last = edges[edges.len() - 1];
        edges.push((last * 6 / 5).min(N / 2 - 25 + edges.len()));
    }
    edges.windows(2).map(|w| lines[w[0]..w[1]].iter().map(|m| m * m).sum()).collect()
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
