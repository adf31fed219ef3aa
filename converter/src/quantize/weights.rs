//! Weights: i8, symmetric, one scale per output channel, values in -127..=127.

use rayon::prelude::*;

use super::patches::Patches;
use super::rounding;

/// How the scale of a channel is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightMethod {
    /// The largest weight becomes 127.
    AbsMax,
    /// The scale with the smallest squared error, each weight counting with the variance of its input.
    #[default]
    Mse,
}

/// How weights become multiples of their scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rounding {
    /// Each to the nearest.
    Nearest,
    /// Against each other, see [`super::rounding`].
    #[default]
    Adaptive,
}

/// Quantised weights of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedWeights {
    /// Row after row, as the float weights.
    pub values: Vec<i8>,
    /// One per row.
    pub scales: Vec<f32>,
}

impl QuantizedWeights {
    /// The real value that weight `i` of row `row` stands for.
    #[must_use]
    pub fn dequantize(&self, row: usize, i: usize) -> f64 {
        let columns = self.values.len() / self.scales.len();
        f64::from(self.scales[row]) * f64::from(self.values[row * columns + i])
    }
}

/// Quantises the output channels of a layer, one per row of finite weights.
///
/// `patches` says what the layer's windows saw; without it all columns count the same. `least` is the smallest scale
/// that each row may have (see [`super::bias`]), greater than zero.
#[must_use]
pub fn quantize(
    weights: &[f32],
    patches: Option<&Patches>,
    least: &[f32],
    method: WeightMethod,
    rounding: Rounding,
) -> QuantizedWeights {
    let rows = least.len().max(1);
    let columns = weights.len() / rows;
    let groups = patches.map_or(1, Patches::groups);
    let importance: Vec<Vec<f64>> = (0..groups)
        .map(|g| patches.map_or_else(|| vec![1.0; columns], |p| importance(&p.variance(g))))
        .collect();
    let mut scales: Vec<f32> = least
        .par_iter()
        .enumerate()
        .map(|(row, &least)| {
            let w = &weights[row * columns..(row + 1) * columns];
            let full = w.iter().fold(0.0f32, |m, x| m.max(x.abs())) / 127.0;
            let scale = match method {
                WeightMethod::AbsMax => full,
                WeightMethod::Mse => best_scale(w, &importance[row * groups / rows], full),
            };
            scale.max(least)
        })
        .collect();
    let values = match (patches, rounding) {
        (Some(patches), Rounding::Adaptive) => {
            rounding::round(weights, &mut scales, least, patches)
        }
        _ => {
            weights.iter().enumerate().map(|(i, &x)| round(x, scales[i / columns]) as i8).collect()
        }
    };
    QuantizedWeights { values, scales }
}

/// Variances with a floor: an input that was never alive still counts a little, so that its weights do not grow wild.
fn importance(variance: &[f64]) -> Vec<f64> {
    let floor = variance.iter().sum::<f64>() / variance.len().max(1) as f64 * 1e-3 + 1e-30;
    variance.iter().map(|v| v + floor).collect()
}

fn round(x: f32, scale: f32) -> f32 {
    (x / scale).round_ties_even().clamp(-127.0, 127.0)
}

fn best_scale(w: &[f32], importance: &[f64], full: f32) -> f32 {
    if full <= 0.0 {
        return full;
    }
    let cost = |scale: f32| -> f64 {
        w.iter()
            .zip(importance)
            .map(|(&x, &n)| {
                let d = f64::from(x - round(x, scale) * scale);
                d * d * n
            })
            .sum()
    };
    let candidates = (0..=60).map(|i| full * (1.02 - 0.01 * i as f32));
    let (_, best) = candidates.fold((cost(full), full), |(least, best), s| {
        let c = cost(s);
        if c < least { (c, s) } else { (least, best) }
    });
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_in_range_and_rows_have_their_own_scale() {
        let w = [1.0, -1.0, 0.5, 100.0, -50.0, 0.0];
        let q = quantize(&w, None, &[1e-9; 2], WeightMethod::AbsMax, Rounding::Nearest);
        assert_eq!(q.values, vec![127, -127, 64, 127, -64, 0]);
        assert_eq!(q.scales, vec![1.0 / 127.0, 100.0 / 127.0]);
    }

    #[test]
    fn mse_is_never_worse_than_absmax() {
        let w: Vec<f32> = (0..300).map(|i| ((i * 37 % 101) as f32 - 50.0).powi(3) * 1e-4).collect();
        let error = |q: &QuantizedWeights| -> f64 {
            (0..3)
                .flat_map(|r| (0..100).map(move |i| (r, i)))
                .map(|(r, i)| (f64::from(w[r * 100 + i]) - q.dequantize(r, i)).powi(2))
                .sum()
        };
        let plain = quantize(&w, None, &[1e-9; 3], WeightMethod::AbsMax, Rounding::Nearest);
        let best = quantize(&w, None, &[1e-9; 3], WeightMethod::Mse, Rounding::Nearest);
        assert!(error(&best) <= error(&plain));
        assert!(best.values.iter().all(|&q| q != -128));
    }

    #[test]
    fn dead_rows_take_the_least_scale() {
        let q = quantize(&[0.0, 0.0], None, &[0.25], WeightMethod::Mse, Rounding::Nearest);
        assert_eq!((q.values, q.scales), (vec![0, 0], vec![0.25]));
    }
}
