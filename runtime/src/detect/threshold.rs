//! The sigmoid, and which values of a map pass a threshold without computing it.

use super::maps::{Map, dequantize};
use crate::desc::DType;

/// `1 / (1 + exp(-x))`.
#[inline]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

/// What a value of a map has to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Threshold {
    /// Quantised values from this one on pass, and no others.
    Quantized(i32),
    /// Real values below this one do not pass.
    Real(f32),
}

impl Threshold {
    /// The threshold of a map of logits: `sigmoid(x) > confidence`.
    pub(super) fn new(map: &Map<'_>, confidence: f32) -> Self {
        let passes = |x: f32| sigmoid(x) > confidence;
        match map {
            Map::Quantized { map, scale } => {
                let (low, high) = match map.dtype {
                    DType::I8 => (-128, 127),
                    DType::I16 => (-32768, 32767),
                };
                let passes = |q: i32| passes(dequantize(q, map.zero_point, *scale));
                Self::Quantized(first(low, high, passes))
            }
            Map::Real { .. } => {
                // Far out every sigmoid is 0 or 1. A little slack, because exp may not be monotone in its last bit.
                let steps = first(-1 << 20, 1 << 20, |step| passes(step as f32 / 8192.0));
                Self::Real((steps - 1) as f32 / 8192.0)
            }
        }
    }
}

/// The first integer of `low..=high` that passes, given that all behind it do; `high + 1` if none does.
fn first(low: i32, high: i32, passes: impl Fn(i32) -> bool) -> i32 {
    let (mut low, mut high) = (low, high + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if passes(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desc::{Span, TensorDesc};

    #[test]
    fn the_quantised_threshold_is_the_first_value_whose_score_passes() {
        for dtype in [DType::I8, DType::I16] {
            for (scale, zero_point) in [(0.05, 30), (0.1, -128), (1e-6, 0), (3.0, 127), (1e30, 0)] {
                let desc = TensorDesc {
                    name: Span::default(),
                    height: 1,
                    width: 1,
                    channels: 1,
                    pixel_stride: 1,
                    dtype,
                    scale,
                    zero_point,
                    arena_offset: 0,
                    first_op: 0,
                    last_op: 0,
                };
                let map = Map::Quantized { map: crate::ops::Map::new(&[], &desc, 0), scale };
                for confidence in [-1.0, 0.0, 0.01, 0.25, 0.5, 0.73, 0.999, 1.0, f32::NAN] {
                    let (low, high) = match dtype {
                        DType::I8 => (-128, 127),
                        DType::I16 => (-32768, 32767),
                    };
                    let passes = |q| sigmoid(dequantize(q, zero_point, scale)) > confidence;
                    let expected = (low..=high).find(|&q| passes(q)).unwrap_or(high + 1);
                    let found = Threshold::new(&map, confidence);
                    assert_eq!(found, Threshold::Quantized(expected), "{scale} {confidence}");
                    assert!((expected..=high).all(passes));
                }
            }
        }
    }

    #[test]
    fn the_real_threshold_lets_everything_through_that_passes() {
        let map = Map::Real { values: &[], height: 0, width: 0 };
        for confidence in [0.0, 0.01, 0.25, 0.5, 0.9999] {
            let Threshold::Real(least) = Threshold::new(&map, confidence) else { panic!() };
            for step in -200_000..200_000 {
                let x = step as f32 / 1000.0;
                assert!(x >= least || sigmoid(x) <= confidence, "{x}");
            }
            assert!(sigmoid(least) <= confidence);
        }
    }
}
