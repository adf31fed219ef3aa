//! Analytic bias correction.
//!
//! Rounding the weights of an output channel by `dw` shifts the mean of its sum by `sum(dw * E[x])`. The means of what
//! each weight meets are known from calibration, padding included, so the shift is taken off the bias before it is
//! quantised.

use super::patches::Patches;
use super::weights::QuantizedWeights;

/// The shift of each row's mean that rounding its weights causes: `sum_i (w_q - w) * mean_i`.
///
/// `weights` is a matrix with the rows of `quantized`.
#[must_use]
pub fn mean_shift(weights: &[f32], quantized: &QuantizedWeights, patches: &Patches) -> Vec<f64> {
    let columns = patches.columns();
    let rows = quantized.scales.len();
    let means: Vec<Vec<f64>> = (0..patches.groups()).map(|g| patches.mean(g)).collect();
    (0..rows)
        .map(|row| {
            let mean = &means[row * patches.groups() / rows];
            let error =
                |i: usize| quantized.dequantize(row, i) - f64::from(weights[row * columns + i]);
            (0..columns).map(|i| error(i) * mean[i]).sum()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::patches::Geometry;
    use super::super::weights::{Rounding, WeightMethod, quantize};
    use super::*;
    use ndarray::array;

    #[test]
    fn restores_the_mean() {
        let weights = [0.301, -0.117, 0.0041, 0.9];
        let mut patches = Patches::new(&Geometry::linear(4));
        patches.add(&array![[2.5f32, 1.0, 0.0, 3.0], [1.5, 1.0, 1.0, 3.0]].view());
        let means = [2.0, 1.0, 0.5, 3.0];
        let q = quantize(&weights, None, &[1e-9], WeightMethod::AbsMax, Rounding::Nearest);
        let exact: f64 = weights.iter().zip(&means).map(|(&w, m)| f64::from(w) * m).sum();
        let rounded: f64 = (0..4).map(|i| q.dequantize(0, i) * means[i]).sum();
        let shift = mean_shift(&weights, &q, &patches)[0];
        assert!(shift.abs() > 1e-5);
        assert!((rounded - shift - exact).abs() < 1e-6);
    }
}
