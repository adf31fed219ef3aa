//! Pixels as they are: an image has 256 levels, and so has i8.
//!
//! Normalised values rounded to i8 are the largest single source of noise of a small network: their steps do not meet
//! the pixels' levels, because the channels have different means and one tensor has one zero. Where the levels can be kept
//! they are:
//!
//! - no mean, one standard deviation: the step of the tensor is that of the pixels;
//! - else the normalisation moves into the first convolution. `(p - mean) / std` is linear in `p`, but around the map it
//!   is zero, and `-mean / std` is not. A fourth channel tells inside from outside: the mask is 1 on the image and 0 in the
//!   padding, and its weights `-sum(w * mean / std)` take the mean off where there is an image, and only there.

use std::sync::Arc;

use kenar::desc::DType;
use kenar::format::write::InputSpec;

use super::prepare::{Conv, Network};
use super::step::{Step, Work};
use crate::quantize::{Calibration, Patches, QParams};

/// Calibration images may leave the range of pixels by so much of it: they were resized.
const TOLERANCE: f32 = 0.002;
/// Taps of a window whose patches are kept in one block.
const LARGEST: usize = 256;

/// How the input tensor holds pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pixels {
    /// Of the tensor.
    pub params: QParams,
    /// Mean and standard deviation that the first convolutions take over with the mask, in the order of the channels.
    pub normalisation: Option<[[f32; 3]; 2]>,
}

/// Keeps the pixels' levels where that can be done; moves the normalisation into the convolutions that read them.
pub(crate) fn keep(
    network: &Network<'_>,
    steps: &mut [Step],
    calibration: &Calibration,
    spec: &InputSpec,
) -> Option<Pixels> {
    spec.order.channels().filter(|&c| c == 3)?;
    let input = network.graph.input;
    let (mean, std) = (spec.mean, spec.std);
    let ends = |level: f32| (0..3).map(move |c| (level - mean[c]) / std[c]);
    let lowest = ends(0.0).fold(0.0, f32::min);
    let highest = ends(1.0).fold(0.0, f32::max);
    let slack = TOLERANCE * (highest - lowest);
    let seen = calibration.histogram(input);
    if seen.min() < lowest - slack || seen.max() > highest + slack {
        return None;
    }
    let params = |step: f32| QParams { scale: step / 255.0, zero_point: -128, dtype: DType::I8 };
    if mean == [0.0; 3] && std == [std[0]; 3] {
        return Some(Pixels { params: params(1.0 / std[0]), normalisation: None });
    }
    let maskable = |step: &Step| {
        let as_input = match &step.work {
            Work::Conv(c) => {
                let [_, channels, h, w] = c.shape;
                c.groups == 1 && channels == 3 && h * w <= LARGEST && step.input == input
            }
            _ => false,
        };
        step.reads().into_iter().skip(usize::from(as_input)).all(|(v, _)| v != input)
    };
    if network.is_output(input) || !steps.iter().all(maskable) {
        return None;
    }
    for step in steps.iter_mut().filter(|s| s.input == input) {
        if let Work::Conv(c) = &mut step.work {
            *c = masked(c, mean, std);
        }
    }
    Some(Pixels { params: params(1.0), normalisation: Some([mean, std]) })
}

/// A convolution over normalised pixels as one over pixels and their mask.
fn masked(conv: &Conv, mean: [f32; 3], std: [f32; 3]) -> Conv {
    let [o, _, h, w] = conv.shape;
    let taps = h * w;
    let mut weight = Vec::with_capacity(o * 4 * taps);
    for row in conv.weight.chunks_exact(3 * taps) {
        let of_channel = |c: usize, tap: usize| f64::from(row[c * taps + tap]) / f64::from(std[c]);
        weight.extend((0..3 * taps).map(|i| of_channel(i / taps, i % taps) as f32));
        weight.extend((0..taps).map(|tap| {
            -(0..3).map(|c| of_channel(c, tap) * f64::from(mean[c])).sum::<f64>() as f32
        }));
    }
    Conv { weight: Arc::new(weight), shape: [o, 4, h, w], ..conv.clone() }
}

impl Pixels {
    /// What the windows of a convolution saw, in pixels.
    pub fn patches(&self, patches: &Patches) -> Option<Patches> {
        self.normalisation.map(|[mean, std]| patches.masked(mean, std))
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::Window;
    use super::*;

    #[test]
    fn the_mask_takes_the_mean_off() {
        let window = Window { size: [1, 2], stride: [1, 1], padding: [0; 4], dilation: [1, 1] };
        let weight = Arc::new(vec![0.5, -1.0, 2.0, 0.25, -0.75, 1.5]);
        let shape = [1, 3, 1, 2];
        let conv = Conv { source: None, weight, shape, bias: vec![0.0], window, groups: 1 };
        let (mean, std) = ([0.5, 0.4, 0.3], [0.25, 0.2, 0.5]);
        let m = masked(&conv, mean, std);
        assert_eq!(m.shape, [1, 4, 1, 2]);
        // The second tap lies outside: nothing of it may be left.
        let pixels = [0.9f32, 0.1, 0.6];
        let normalised: f32 =
            (0..3).map(|c| conv.weight[2 * c] * (pixels[c] - mean[c]) / std[c]).sum();
        let direct: f32 = (0..3).map(|c| m.weight[2 * c] * pixels[c]).sum::<f32>() + m.weight[6];
        assert!((normalised - direct).abs() < 1e-5, "{normalised} {direct}");
    }
}
