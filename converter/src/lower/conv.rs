//! The constants of one convolution: weights in the runtime's order, biases, multipliers.

use std::borrow::Cow;

use kenar::quant::{MULTIPLIER_BITS, significant};

use super::prepare::Conv;
use super::report::Guard;
use crate::quantize::{Patches, Rounding, WeightMethod, bias, bias_correction, weights};

/// Quantised constants.
#[derive(Clone, Debug)]
pub(crate) struct Constants {
    /// `[O, H_w, W_w, I/g]`.
    pub weights: Vec<i8>,
    pub bias: Vec<i32>,
    pub multiplier: Vec<f32>,
    /// Channels whose scale was raised.
    pub guards: Vec<Guard>,
}

/// What [`quantize`] can be asked to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    pub weights: WeightMethod,
    pub rounding: Rounding,
    pub bias_correction: bool,
}

/// Quantises a convolution that reads a tensor of scale `input_scale` and counts its result in units of `unit`.
pub(crate) fn quantize(
    conv: &Conv,
    input_scale: f32,
    unit: f32,
    factors: [Option<&[f32]>; 2],
    patches: Option<&Patches>,
    how: How,
) -> Constants {
    let [o, per_group, h, w] = conv.shape;
    let taps = per_group * h * w;
    let [read, written] = factors;
    let weight: Cow<'_, [f32]> = match read {
        Some(read) => balance_weights(conv, read).into(),
        None => conv.weight[..].into(),
    };
    let balanced = read.zip(patches).map(|(read, p)| p.divided(read));
    let patches = balanced.as_ref().or(patches);
    let mut guards = Vec::new();
    let mut least = Vec::with_capacity(o);
    for row in 0..o {
        let weights = &weight[row * taps..(row + 1) * taps];
        let by_bias = bias::least_scale(weights, conv.bias[row], input_scale);
        let by_multiplier = (f64::from(unit) / f64::from(input_scale) * 1e-15) as f32;
        let largest = weights.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        let scale = by_bias.scale.max(by_multiplier);
        if by_bias.dead || scale > largest / 127.0 {
            guards.push(Guard { channel: row, dead: by_bias.dead, largest_weight: largest, scale });
        }
        least.push(scale);
    }
    let q = weights::quantize(&weight, patches, &least, how.weights, how.rounding);
    let shift = match patches {
        Some(p) if how.bias_correction => bias_correction::mean_shift(&weight, &q, p),
        _ => vec![0.0; o],
    };
    let bias = (0..o)
        .map(|row| {
            bias::quantize(f64::from(conv.bias[row]) - shift[row], input_scale, q.scales[row], taps)
        })
        .collect();
    let multiplier = q
        .scales
        .iter()
        .enumerate()
        .map(|(row, &s)| {
            let unit = f64::from(unit) * written.map_or(1.0, |f| f64::from(f[row]));
            significant((f64::from(input_scale) * f64::from(s) / unit) as f32, MULTIPLIER_BITS)
        })
        .collect();
    Constants { weights: channels_last(&q.values, conv.shape), bias, multiplier, guards }
}

/// The convolution for an input to whose channels `offsets` were added.
pub(crate) fn without(conv: &Conv, offsets: &[f32]) -> Conv {
    let taps = conv.weight.len() / conv.shape[0];
    let mut bias: Vec<f64> = conv.bias.iter().map(|&b| f64::from(b)).collect();
    for (i, &w) in conv.weight.iter().enumerate() {
        bias[i / taps] -= f64::from(w) * f64::from(offsets[channel(conv, i)]);
    }
    Conv { bias: bias.into_iter().map(|b| b as f32).collect(), ..conv.clone() }
}

/// Weights for an input whose channels are divided by `factors`.
fn balance_weights(conv: &Conv, factors: &[f32]) -> Vec<f32> {
    conv.weight.iter().enumerate().map(|(i, x)| x * factors[channel(conv, i)]).collect()
}

/// The input channel that a weight is for.
fn channel(conv: &Conv, i: usize) -> usize {
    let [o, per_group, h, w] = conv.shape;
    let taps = per_group * h * w;
    let group = i / taps * conv.groups / o;
    group * per_group + i % taps / (h * w)
}

/// `[O, I, H, W]` to `[O, H, W, I]`.
fn channels_last(weight: &[i8], [o, i, h, w]: [usize; 4]) -> Vec<i8> {
    let mut out = Vec::with_capacity(weight.len());
    for row in 0..o {
        for at in 0..h * w {
            out.extend((0..i).map(|c| weight[(row * i + c) * h * w + at]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::shape::Window;
    use super::*;
    use std::sync::Arc;

    fn conv(weight: Vec<f32>, shape: [usize; 4], bias: Vec<f32>) -> Conv {
        let window = Window {
            size: [shape[2], shape[3]],
            stride: [1, 1],
            padding: [0; 4],
            dilation: [1, 1],
        };
        Conv { source: None, weight: Arc::new(weight), shape, bias, window, groups: 1 }
    }

    const HOW: How =
        How { weights: WeightMethod::Mse, rounding: Rounding::Adaptive, bias_correction: true };

    #[test]
    fn weights_are_reordered() {
        assert_eq!(
            channels_last(&[0, 1, 2, 3, 4, 5, 6, 7], [1, 2, 2, 2]),
            [0, 4, 1, 5, 2, 6, 3, 7]
        );
    }

    #[test]
    fn offsets_of_the_input_leave_the_bias() {
        // Two groups: each row reads two channels of its own.
        let mut c = conv(vec![0.5, -2.0, 1.0, 4.0], [2, 2, 1, 1], vec![0.25, -1.0]);
        c.groups = 2;
        let bias = without(&c, &[1.0, 0.125, -0.5, 2.0]).bias;
        assert_eq!(bias, [0.25 - (0.5 - 0.25), -1.0 - (-0.5 + 8.0)]);
    }

    #[test]
    fn tiny_and_dead_channels_are_guarded_and_reported() {
        // Channel 0 is ordinary, 1 is dead, 2 has weights next to nothing beside a large bias.
        let c = conv(vec![0.5, -0.25, 0.0, 0.0, 1e-14, 1e-15], [3, 2, 1, 1], vec![0.1, 0.7, 5.0]);
        let k = quantize(&c, 0.05, 0.04, [None; 2], None, HOW);
        let guarded: Vec<_> = k.guards.iter().map(|g| (g.channel, g.dead)).collect();
        assert_eq!(guarded, [(1, true), (2, false)]);
        for (row, real) in [(1, 0.7f64), (2, 5.0)] {
            assert!(k.multiplier[row].is_normal() && k.multiplier[row] > 0.0);
            let steps = f64::from(k.bias[row]) * f64::from(k.multiplier[row]);
            assert!((steps - real / 0.04).abs() < 1e-3, "{row}: {steps}");
        }
        assert_eq!(k.weights[2..], [0; 4]);
    }

    #[test]
    fn multipliers_stay_normal_for_weights_of_any_size() {
        for size in [1e-30f32, 1e-12, 1.0, 1e12] {
            let k = quantize(
                &conv(vec![size, -size], [1, 2, 1, 1], vec![0.0]),
                0.05,
                0.04,
                [None; 2],
                None,
                HOW,
            );
            assert!(k.multiplier[0] > 1e-17 && k.multiplier[0].is_finite(), "{size}");
            assert!(k.weights.iter().all(|&q| q != -128));
        }
    }
}
