//! Analytic bias correction.
//!
//! Rounding the weights of an output channel by `dw` shifts the mean of its sum by `sum(dw * E[x])`. The means of the
//! input channels are known from calibration, so the shift is taken off the bias before it is quantised. At the border
//! of a padded map some taps meet zeros; that is left out of account.

use super::weights::QuantizedWeights;

/// The shift of each row's mean that rounding its weights causes: `sum_i (w_q - w) * mean_i`.
///
/// `weights` and `means` are matrices with the rows of `quantized`; `means` holds the mean of the input channel that
/// meets each weight.
#[must_use]
pub fn mean_shift(weights: &[f32], quantized: &QuantizedWeights, means: &[f32]) -> Vec<f64> {
    let columns = weights.len() / quantized.scales.len().max(1);
    (0..quantized.scales.len())
        .map(|row| {
            (0..columns)
                .map(|i| {
                    let at = row * columns + i;
                    (quantized.dequantize(row, i) - f64::from(weights[at])) * f64::from(means[at])
                })
                .sum()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::weights::{WeightMethod, quantize};
    use super::*;

    #[test]
    fn restores_the_mean_of_a_constant_input() {
        let weights = [0.301, -0.117, 0.0041, 0.9];
        let means = [2.0, 1.0, 0.5, 3.0];
        let q = quantize(&weights, &[1.0; 4], &[1e-9], WeightMethod::AbsMax);
        let exact: f64 =
            weights.iter().zip(&means).map(|(w, m)| f64::from(*w) * f64::from(*m)).sum();
        let rounded: f64 = (0..4).map(|i| q.dequantize(0, i) * f64::from(means[i])).sum();
        let shift = mean_shift(&weights, &q, &means)[0];
        assert!(shift.abs() > 1e-5);
        assert!((rounded - shift - exact).abs() < 1e-9);
    }
}
