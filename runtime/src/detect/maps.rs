//! The maps of a head, quantised or real, by pixel and channel.

use crate::Error;
use crate::ops::Map as Quantized;
use crate::session::TensorView;

/// A map of logits or box codes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Map<'s> {
    /// Of a session.
    Quantized { map: Quantized<'s>, scale: f32 },
    /// Channel by channel, each row by row.
    Real { values: &'s [f32], height: usize, width: usize },
}

impl<'s> Map<'s> {
    pub(super) fn quantized(view: &TensorView<'s>) -> Self {
        Self::Quantized { map: view.map(), scale: view.scale() }
    }

    /// `values` of `channels` planes of this size.
    pub(super) fn real(
        values: &'s [f32],
        channels: u32,
        [height, width]: [usize; 2],
    ) -> Result<Self, Error> {
        let expected = (channels as usize).checked_mul(height).and_then(|n| n.checked_mul(width));
        if expected != Some(values.len()) {
            let expected = expected.and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX);
            return Err(Error::BufferSize { expected });
        }
        Ok(Self::Real { values, height, width })
    }

    /// Rows and columns.
    pub(super) const fn size(&self) -> [usize; 2] {
        match self {
            Self::Quantized { map, .. } => [map.height, map.width],
            Self::Real { height, width, .. } => [*height, *width],
        }
    }

    /// The real value.
    #[inline]
    pub(super) fn get(&self, pixel: usize, channel: usize) -> f32 {
        match self {
            Self::Quantized { map, scale } => {
                dequantize(map.get(pixel, channel), map.zero_point, *scale)
            }
            Self::Real { values, height, width } => values[channel * height * width + pixel],
        }
    }
}

/// As [`TensorView::real`] has it.
#[inline]
pub(super) fn dequantize(q: i32, zero_point: i32, scale: f32) -> f32 {
    (q - zero_point) as f32 * scale
}

/// The maps of one level.
#[derive(Clone, Copy, Debug)]
pub(super) struct LevelMaps<'s> {
    pub(super) boxes: Map<'s>,
    pub(super) objectness: Option<Map<'s>>,
    pub(super) scores: Map<'s>,
    pub(super) points: Option<Map<'s>>,
}
