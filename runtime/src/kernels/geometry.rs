//! Where a window's taps lie in the input map.

use crate::desc::{TensorDesc, Window};
use core::ops::Range;

/// Sizes of a windowed operator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    /// Height, width of the input.
    pub input: [usize; 2],
    /// Height, width of the output.
    pub output: [usize; 2],
    /// Elements from one input pixel to the next.
    pub pixel_stride: usize,
    pub size: [usize; 2],
    pub stride: [usize; 2],
    /// Top, left.
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
}

impl Geometry {
    pub fn new(window: &Window, input: &TensorDesc, output: &TensorDesc) -> Self {
        let pair = |p: [u32; 2]| p.map(|x| x as usize);
        Self {
            input: pair([input.height, input.width]),
            output: pair([output.height, output.width]),
            pixel_stride: input.pixel_stride as usize,
            size: pair(window.size),
            stride: pair(window.stride),
            padding: pair([window.padding[0], window.padding[1]]),
            dilation: pair(window.dilation),
        }
    }

    pub fn taps(&self) -> usize {
        self.size[0] * self.size[1]
    }

    pub fn pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Whether output pixel `p` reads input pixel `p` and nothing else.
    pub fn is_pointwise(&self) -> bool {
        self.taps() == 1
            && self.stride == [1, 1]
            && self.padding == [0, 0]
            && self.input == self.output
    }

    /// Input coordinate on `axis` of tap `tap` of output coordinate `out`, if it is inside the map.
    #[inline(always)]
    pub fn tap(&self, axis: usize, out: usize, tap: usize) -> Option<usize> {
        let x = (out * self.stride[axis] + tap * self.dilation[axis])
            .checked_sub(self.padding[axis])?;
        (x < self.input[axis]).then_some(x)
    }

    /// The taps on `axis` that are inside the map.
    #[inline(always)]
    pub fn inside(&self, axis: usize, out: usize) -> Range<usize> {
        let (at, d) = (out * self.stride[axis], self.dilation[axis]);
        let start = self.padding[axis].saturating_sub(at).div_ceil(d);
        let end = (self.input[axis] + self.padding[axis]).saturating_sub(at).div_ceil(d);
        let end = end.min(self.size[axis]);
        start.min(end)..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_is_where_taps_are() {
        for size in 1..5 {
            for stride in 1..4 {
                for padding in 0..5 {
                    for dilation in 1..4 {
                        let g = Geometry {
                            input: [6, 1],
                            output: [6, 1],
                            pixel_stride: 1,
                            size: [size, 1],
                            stride: [stride, 1],
                            padding: [padding, 0],
                            dilation: [dilation, 1],
                        };
                        for out in 0..6 {
                            let inside = g.inside(0, out);
                            for tap in 0..size {
                                assert_eq!(
                                    inside.contains(&tap),
                                    g.tap(0, out, tap).is_some(),
                                    "{g:?} {out} {tap}"
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}
