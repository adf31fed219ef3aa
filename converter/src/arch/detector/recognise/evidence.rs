//! What batch norms remember of training: which activation stood in front of a convolution, and how images were
//! normalised.
//!
//! A batch norm's running statistics are mean and variance of what its convolution gave in training. The convolution
//! is linear, so its mean follows from the mean of what it read:
//!
//! ```text
//! running_mean[o] = sum_i (sum_k W[o, i, k]) * mean[i]
//! ```
//!
//! Behind another batch norm and an activation f, `mean[i]` is the expectation of f over a normal distribution with that
//! batch norm's beta and gamma. The f whose prediction fits is the one the network was trained with.

use crate::arch::detector::file::Chain;
use crate::arch::detector::unit::SPELLINGS;
use crate::arch::file::Act;
use crate::arch::modules::Modules;

/// How many times better an activation must fit than the other to be believed.
const DECISIVE: f64 = 3.0;
/// Correlation of neighbouring pixels, and of two colours of one pixel, in photographs.
const NEIGHBOURS: f64 = 0.95;
const COLOURS: f64 = 0.9;

/// Convolution and batch norm of a unit.
fn parts(m: &Modules<'_>, path: &str) -> Option<(String, String)> {
    SPELLINGS.iter().find_map(|(conv, norms)| {
        let conv = format!("{path}.{conv}");
        m.conv(&conv)?;
        let bn = norms.iter().map(|n| format!("{path}.{n}")).find(|p| m.norm(p).is_some())?;
        Some((conv, bn))
    })
}

/// Weights of a convolution summed over its window, `[o][i]`.
fn summed(m: &Modules<'_>, conv: &str) -> Option<Vec<Vec<f64>>> {
    let [o, i, h, w] = m.conv(conv)?;
    let values = m.values(conv, "weight")?;
    let flat: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
    let sums: Vec<f64> = flat.chunks_exact((h * w).max(1)).map(|c| c.iter().sum()).collect();
    (sums.len() == o * i).then(|| sums.chunks_exact(i.max(1)).map(<[f64]>::to_vec).collect())
}

fn vector(m: &Modules<'_>, path: &str, leaf: &str) -> Option<Vec<f64>> {
    Some(m.values(path, leaf)?.iter().map(|v| f64::from(*v)).collect())
}

/// The expectation of `f` over a normal distribution.
fn expectation(f: fn(f64) -> f64, mean: f64, deviation: f64) -> f64 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for step in -60..=60 {
        let t = f64::from(step) / 10.0;
        let weight = (-t * t / 2.0).exp();
        sum += weight * f(mean + deviation.abs() * t);
        weights += weight;
    }
    sum / weights
}

/// How far the prediction for `f` between two units is from what was measured, in variances.
fn misfit(m: &Modules<'_>, first: &str, second: &str, f: fn(f64) -> f64) -> Option<f64> {
    let ((_, before), (conv, after)) = (parts(m, first)?, parts(m, second)?);
    let (gamma, beta) = (vector(m, &before, "weight")?, vector(m, &before, "bias")?);
    let (mean, var) = (vector(m, &after, "running_mean")?, vector(m, &after, "running_var")?);
    let weights = summed(m, &conv)?;
    if weights.len() != mean.len() || weights.iter().any(|row| row.len() != beta.len()) {
        return None;
    }
    let read: Vec<f64> = beta.iter().zip(&gamma).map(|(b, g)| expectation(f, *b, *g)).collect();
    let bias = vector(m, &conv, "bias");
    let error = |(o, row): (usize, &Vec<f64>)| {
        let predicted: f64 = row.iter().zip(&read).map(|(w, x)| w * x).sum();
        let predicted = predicted + bias.as_ref().map_or(0.0, |b| b[o]);
        (predicted - mean[o]).powi(2) / var[o].max(1e-12)
    };
    let sum: f64 = weights.iter().enumerate().map(error).sum();
    sum.is_finite().then_some(sum)
}

/// ReLU or SiLU, whichever stood between the units of these chains, and how many times better it fits than the other.
pub(super) fn activation(m: &Modules<'_>, chains: &[Vec<String>]) -> Option<(Act, f64)> {
    let pairs = || chains.iter().flat_map(|chain| chain.windows(2));
    let total = |f: fn(f64) -> f64| {
        let fits: Vec<f64> = pairs().filter_map(|p| misfit(m, &p[0], &p[1], f)).collect();
        (!fits.is_empty()).then(|| fits.iter().sum::<f64>().max(1e-12))
    };
    let (relu, silu) = (total(|x| x.max(0.0))?, total(|x| x / (1.0 + (-x).exp()))?);
    let (best, ratio) =
        if silu < relu { (Act::Silu, relu / silu) } else { (Act::Relu, silu / relu) };
    (ratio >= DECISIVE).then_some((best, ratio))
}

/// The chains of a list, once or for every level.
pub(super) fn chains(list: &[Chain], levels: usize) -> Vec<Vec<String>> {
    list.iter().flat_map(|chain| (0..levels.max(1)).map(|i| chain.at(i))).collect()
}

/// The preset that images were normalised with, and mean and deviation of the pixels that the stem saw.
pub(super) fn normalisation(
    m: &Modules<'_>,
    conv: &str,
    bn: &str,
) -> Option<(&'static str, f64, f64)> {
    let [_, channels, height, width] = m.conv(conv)?;
    let weights = summed(m, conv)?;
    let (mean, var) = (vector(m, bn, "running_mean")?, vector(m, bn, "running_var")?);
    if channels != 3 || weights.len() != mean.len() || m.values(conv, "bias").is_some() {
        return None;
    }
    let pixels = least_squares(&weights, &mean)?;
    let predicted = |row: &Vec<f64>| row.iter().zip(&pixels).map(|(w, p)| w * p).sum::<f64>();
    let missed: f64 = weights.iter().zip(&mean).map(|(row, m)| (predicted(row) - m).powi(2)).sum();
    let all: f64 = mean.iter().map(|m| m * m).sum();
    // A tenth of the length: the statistics are of this convolution.
    if missed > 0.01 * all {
        return None;
    }
    let correlation = |a: usize, b: usize| {
        let place = |n: usize| (n / (height * width), n / width % height, n % width);
        let ((ca, ya, xa), (cb, yb, xb)) = (place(a), place(b));
        #[allow(clippy::cast_precision_loss)] // places in a window
        let distance = (ya.abs_diff(yb) as f64).hypot(xa.abs_diff(xb) as f64);
        (if ca == cb { 1.0 } else { COLOURS }) * NEIGHBOURS.powf(distance)
    };
    let flat: Vec<f64> = m.values(conv, "weight")?.iter().map(|v| f64::from(*v)).collect();
    let size = channels * height * width;
    let (mut fit, mut norm) = (0.0, 0.0);
    for (row, var) in flat.chunks_exact(size).zip(&var) {
        let pairs = (0..size).flat_map(|a| (0..size).map(move |b| (a, b)));
        let spread: f64 = pairs.map(|(a, b)| row[a] * row[b] * correlation(a, b)).sum();
        fit += spread * var;
        norm += spread * spread;
    }
    let deviation = (fit / norm).sqrt();
    let average = pixels.iter().sum::<f64>() / 3.0;
    // Photographs deviate by about 0.25 of the range of a pixel, so by 1.1 behind ImageNet's normalisation.
    let preset = match deviation {
        d if (0.03..0.43).contains(&d) => "unit",
        d if (0.43..4.0).contains(&d) => "imagenet",
        d if (8.0..128.0).contains(&d) => "raw",
        _ => return None,
    };
    Some((preset, average, deviation))
}

/// The `x` that minimises `|rows x - right|`, by the normal equations.
fn least_squares(rows: &[Vec<f64>], right: &[f64]) -> Option<Vec<f64>> {
    let n = rows.first()?.len();
    let mut system: Vec<Vec<f64>> = (0..n)
        .map(|i| {
            let product = |j: usize| rows.iter().map(|r| r[i] * r[j]).sum();
            let mut line: Vec<f64> = (0..n).map(product).collect();
            line.push(rows.iter().zip(right).map(|(r, y)| r[i] * y).sum());
            line
        })
        .collect();
    for i in 0..n {
        let pivot = (i..n).max_by(|&a, &b| system[a][i].abs().total_cmp(&system[b][i].abs()))?;
        system.swap(i, pivot);
        let top = system[i].clone();
        if top[i].abs() < 1e-12 {
            return None;
        }
        for line in system.iter_mut().enumerate().filter(|(j, _)| *j != i).map(|(_, line)| line) {
            let factor = line[i] / top[i];
            line.iter_mut().zip(&top).for_each(|(a, b)| *a -= factor * b);
        }
    }
    Some((0..n).map(|i| system[i][n] / system[i][i]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equations_are_solved() {
        let rows =
            [vec![1.0, 2.0, 0.0], vec![0.0, 1.0, -1.0], vec![3.0, 0.0, 1.0], vec![1.0, 1.0, 1.0]];
        let x = [0.5, -2.0, 4.0];
        let right: Vec<f64> =
            rows.iter().map(|r| r.iter().zip(x).map(|(a, b)| a * b).sum()).collect();
        let found = least_squares(&rows, &right).unwrap();
        assert!(found.iter().zip(x).all(|(a, b)| (a - b).abs() < 1e-9), "{found:?}");
        assert!(least_squares(&[vec![1.0, 1.0], vec![2.0, 2.0]], &[1.0, 2.0]).is_none());
    }

    #[test]
    fn expectations_of_a_normal_distribution() {
        let relu = expectation(|x| x.max(0.0), 0.0, 1.0);
        assert!((relu - 0.398_94).abs() < 1e-3, "{relu}");
        assert!((expectation(|x| x, -3.0, 2.0) + 3.0).abs() < 1e-9);
    }
}
