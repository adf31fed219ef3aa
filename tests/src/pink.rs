//! Images with the spectrum of photographs: amplitudes fall with one over frequency.

use ndarray::{ArrayD, IxDyn};

use crate::random::Random;

/// `count` images `[count, 3, size, size]`, each channel of zero mean and unit variance.
#[must_use]
pub fn images(count: usize, size: usize, seed: u64) -> ArrayD<f32> {
    let mut random = Random::new(seed);
    let area = size * size;
    let mut data = Vec::with_capacity(count * 3 * area);
    for _ in 0..count {
        let fields: Vec<Vec<f32>> = (0..3).map(|_| field(&mut random, size)).collect();
        let grey: Vec<f32> =
            (0..area).map(|i| fields.iter().map(|f| f[i]).sum::<f32>() / 3.0).collect();
        for f in &fields {
            let mixed: Vec<f32> = f.iter().zip(&grey).map(|(x, g)| x + 0.6 * g).collect();
            let mean = mixed.iter().sum::<f32>() / area as f32;
            let variance = mixed.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / area as f32;
            data.extend(mixed.iter().map(|x| (x - mean) / variance.sqrt()));
        }
    }
    ArrayD::from_shape_vec(IxDyn(&[count, 3, size, size]), data).expect("three fields per image")
}

/// A sum of waves of random phase, rows and columns transformed one after the other.
fn field(random: &mut Random, size: usize) -> Vec<f32> {
    let waves = size / 2;
    let wave: Vec<(f32, f32)> = (0..size)
        .map(|i| (std::f32::consts::TAU * i as f32 / size as f32).sin_cos())
        .map(|(sin, cos)| (cos, sin))
        .collect();
    // rows[y][fx], from frequencies fy in -waves..=waves and fx in 0..=waves.
    let mut rows = vec![(0.0f32, 0.0f32); size * (waves + 1)];
    for fx in 0..=waves {
        for k in 0..=2 * waves {
            let fy = k as f32 - waves as f32;
            let amplitude = 1.0 / (fy.hypot(fx as f32)).max(1.0);
            let [re, im] = [normal(random) * amplitude, normal(random) * amplitude];
            for y in 0..size {
                let (cos, sin) = wave[((k + size * waves - waves) * y) % size];
                let at = &mut rows[y * (waves + 1) + fx];
                *at = (at.0 + re * cos - im * sin, at.1 + re * sin + im * cos);
            }
        }
    }
    let mut out = vec![0.0; size * size];
    for (out, row) in out.chunks_exact_mut(size).zip(rows.chunks_exact(waves + 1)) {
        for (x, out) in out.iter_mut().enumerate() {
            let terms = row.iter().enumerate().map(|(fx, (re, im))| {
                let (cos, sin) = wave[(fx * x) % size];
                re * cos - im * sin
            });
            *out = terms.sum();
        }
    }
    out
}

fn normal(random: &mut Random) -> f32 {
    (0..6).map(|_| random.unit()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_alike_and_channels_are_normalised() {
        let x = images(2, 16, 3);
        for plane in x.as_slice().unwrap().chunks_exact(256) {
            let mean = plane.iter().sum::<f32>() / 256.0;
            let variance = plane.iter().map(|v| v * v).sum::<f32>() / 256.0;
            assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-3);
            let alike = plane.windows(2).map(|w| w[0] * w[1]).sum::<f32>() / 255.0;
            assert!(alike > 0.5, "{alike}");
        }
    }
}
