//! What a writer is told about the input.

use alloc::vec::Vec;

use crate::desc::TensorDesc;
use crate::format::{ChannelOrder, Placement};

/// How images become the input tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InputSpec {
    /// Meaning of the tensor's channels.
    pub order: ChannelOrder,
    /// Value that pads images of another shape, if their aspect ratio is to be kept.
    pub letterbox: Option<u8>,
    /// Where such an image is put.
    pub placement: Placement,
    /// Mean per channel of the tensor, of values in 0..=1.
    pub mean: [f32; 3],
    /// Standard deviation per channel of the tensor, positive.
    pub std: [f32; 3],
}

impl InputSpec {
    /// An input that is no image.
    #[must_use]
    pub const fn features() -> Self {
        Self {
            order: ChannelOrder::Features,
            letterbox: None,
            placement: Placement::TopLeft,
            mean: [0.0; 3],
            std: [1.0; 3],
        }
    }

    /// The image table: for each channel and pixel value `p` it is `q = p - 128` beside a mask, else
    /// `q = clamp(round_ties_even(((p / 255 - mean) / std) / scale) + zero_point)`, in f64 up to the rounding.
    pub(super) fn table(&self, tensor: &TensorDesc) -> Vec<i8> {
        let channels = self.order.channels().unwrap_or(0) as usize;
        let mut table = Vec::with_capacity(256 * channels);
        if tensor.channels as usize > channels {
            (0..channels).for_each(|_| table.extend(i8::MIN..=i8::MAX));
            return table;
        }
        for (&mean, &std) in self.mean.iter().zip(&self.std).take(channels) {
            for pixel in 0..=255u8 {
                let real = (f64::from(pixel) / 255.0 - f64::from(mean)) / f64::from(std);
                let steps = real / f64::from(tensor.scale);
                // `core` has no rounding to even for f64 on every target; 2^52 does it.
                const MAGIC: f64 = 6_755_399_441_055_744.0;
                let steps = (steps.clamp(-1e6, 1e6) + MAGIC) - MAGIC;
                table.push((steps as i32 + tensor.zero_point).clamp(-128, 127) as i8);
            }
        }
        table
    }
}
