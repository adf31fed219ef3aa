//! Convolution, see [`crate::desc::Conv2d`].

use super::Context;
use super::epilogue::End;
use super::map::Part;
use crate::arena::Inputs;
use crate::desc::Conv2d;
use crate::quant::{scale_accumulator, silu};

/// Computes a part of a convolution.
pub(super) fn run(
    context: Context<'_, '_>,
    conv: &Conv2d,
    inputs: Inputs<'_>,
    mut end: End<'_, '_>,
    part: &Part,
) {
    let x = context.map(inputs, conv.input);
    let weights = context.model.data(conv.weights);
    let bias = context.model.i32s(conv.bias);
    let multiplier = context.model.f32s(conv.multiplier);
    let slope = conv.slope.map(|slope| context.model.f32s(slope));
    let factor = conv.silu.map(|factor| context.model.f32s(factor));
    let window =
        Taps::new(conv.window.size, conv.window.stride, conv.window.padding, conv.window.dilation);
    let channels_in = x.channels / conv.groups as usize;
    let channels_out = conv.channels_out as usize / conv.groups as usize;
    let width = end.size()[1];

    part.for_each(|pixel, o| {
        let filter = &weights[o * window.count() * channels_in..][..window.count() * channels_in];
        let first_channel = o / channels_out * channels_in;
        let mut acc = bias.get(o);
        window.for_each([pixel / width, pixel % width], [x.height, x.width], |tap, position| {
            let weights = &filter[tap * channels_in..][..channels_in];
            acc += x.dot(position, first_channel, weights);
        });
        let mut t = scale_accumulator(acc, multiplier.get(o));
        if let Some(slope) = &slope
            && t < 0.0
        {
            t *= slope.get(o);
        }
        if let Some(factor) = &factor {
            t = silu(t) * factor.get(o);
        }
        end.put(pixel, o, t);
    });
}

/// A window's taps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taps {
    size: [usize; 2],
    stride: [usize; 2],
    /// Top, left.
    padding: [usize; 2],
    dilation: [usize; 2],
}

impl Taps {
    pub(super) fn new(
        size: [u32; 2],
        stride: [u32; 2],
        padding: [u32; 4],
        dilation: [u32; 2],
    ) -> Self {
        let pair = |pair: [u32; 2]| pair.map(|value| value as usize);
        Self {
            size: pair(size),
            stride: pair(stride),
            padding: pair([padding[0], padding[1]]),
            dilation: pair(dilation),
        }
    }

    /// Number of taps.
    pub(super) const fn count(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Calls `f(tap, input pixel)` for the taps of an output position that are inside the map.
    #[inline]
    pub(super) fn for_each(
        &self,
        output: [usize; 2],
        map: [usize; 2],
        mut f: impl FnMut(usize, usize),
    ) {
        let inside = |axis: usize, tap: usize| {
            let position = output[axis] * self.stride[axis] + tap * self.dilation[axis];
            position.checked_sub(self.padding[axis]).filter(|&position| position < map[axis])
        };
        for i in 0..self.size[0] {
            let Some(y) = inside(0, i) else { continue };
            for j in 0..self.size[1] {
                let Some(x) = inside(1, j) else { continue };
                f(i * self.size[1] + j, y * map[1] + x);
            }
        }
    }
}
