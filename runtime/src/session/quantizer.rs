//! From real values to the input's quantised ones.

use crate::desc::{DType, TensorDesc};
use crate::quant::requantize;

/// From real values to quantised ones.
pub(super) struct Quantizer {
    pub desc: TensorDesc,
    /// Mean and standard deviation per channel, where the tensor holds pixel values.
    pub normalisation: Option<[[f32; 3]; 2]>,
}

impl Quantizer {
    #[inline(always)]
    pub fn channel(&self, channel: usize) -> Channel {
        let (low, high) = match self.desc.dtype {
            DType::I8 => (-128, 127),
            DType::I16 => (-32767, 32767),
        };
        let [offset, factor] =
            self.normalisation.map_or([0.0, 1.0], |[mean, std]| [mean[channel], std[channel]]);
        let (scale, zero_point) = (self.desc.scale, self.desc.zero_point);
        Channel { factor, offset, scale, zero_point, low, high }
    }
}

/// [`Quantizer`] of one channel: without branches, which keep values from being quantised many at a time.
#[derive(Clone, Copy)]
pub(super) struct Channel {
    /// To pixel values; 1 and 0, which change nothing, where there is no normalisation.
    factor: f32,
    offset: f32,
    scale: f32,
    zero_point: i32,
    low: i32,
    high: i32,
}

impl Channel {
    #[inline(always)]
    pub fn quantize(&self, real: f32) -> i32 {
        let real = if real.is_nan() { 0.0 } else { real };
        let real = real * self.factor + self.offset;
        requantize(real / self.scale, self.zero_point, self.low, self.high)
    }
}
