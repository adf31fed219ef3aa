//! Runs of pixels of one output row, as the grouped and the depthwise kernel walk the map.

use super::conv::Body;
use super::epilogue::{Column, Live, MAX_LANES};
use super::geometry::Geometry;
use crate::isa::Isa;
use core::ops::Range;

/// Most pixels of a segment.
pub(super) const MAX_PIXELS: usize = 64;

/// Sums of a segment, one vector per pixel.
#[repr(align(64))]
pub(super) struct Sums(pub [i32; MAX_PIXELS * MAX_LANES]);

/// `width` pixels from `x` on in output row `y`.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub y: usize,
    pub x: usize,
    pub width: usize,
}

/// Cuts a range of output pixels into segments.
pub(super) fn segments(g: &Geometry, pixels: Range<usize>) -> impl Iterator<Item = Segment> {
    let width = g.output[1];
    let mut at = pixels.start;
    core::iter::from_fn(move || {
        let (y, x) = (at / width, at % width);
        let len = (width - x).min(pixels.end - at).min(MAX_PIXELS);
        at += len;
        (len > 0).then_some(Segment { y, x, width: len })
    })
}

/// One row of the input map, or a row of zero points.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    bytes: &'a [u8],
    outside: &'a [u8; 16],
    width: usize,
    pixel_stride: usize,
}

impl<'a> Line<'a> {
    /// The input row of tap `ky` of output row `y`; `channel` is the first channel that will be read.
    #[inline(always)]
    pub fn new(
        g: &Geometry,
        input: &'a [u8],
        outside: &'a [u8; 16],
        (y, ky): (usize, usize),
        channel: usize,
    ) -> Self {
        let (bytes, width) = match g.tap(0, y, ky) {
            Some(y) => (&input[y * g.input[1] * g.pixel_stride + channel..], g.input[1]),
            None => (&outside[..], 0),
        };
        Self { bytes, outside, width, pixel_stride: g.pixel_stride }
    }

    /// Whether this is a row of the map.
    #[inline(always)]
    pub fn is_inside(&self) -> bool {
        self.width > 0
    }

    /// The bytes from column `x` on, if that and the `count - 1` columns behind it are inside the map.
    #[inline(always)]
    pub fn between(&self, x: usize, count: usize) -> Option<&'a [u8]> {
        let inside = x < self.width && x + count <= self.width;
        inside.then(|| &self.bytes[x * self.pixel_stride..])
    }

    /// 16 bytes of each of the columns from `x` on, all of them inside the map.
    #[inline(always)]
    pub fn columns<const N: usize>(&self, x: usize) -> [&'a [u8; 16]; N] {
        let bytes = &self.bytes[x * self.pixel_stride..];
        core::array::from_fn(|c| {
            bytes[c * self.pixel_stride..].first_chunk().expect("slack follows a tensor")
        })
    }

    /// 16 bytes of column `x`, where columns left of the map wrap around to large numbers.
    #[inline(always)]
    pub fn column(&self, x: usize) -> &'a [u8; 16] {
        if x < self.width {
            self.bytes[x * self.pixel_stride..].first_chunk().expect("slack follows a tensor")
        } else {
            self.outside
        }
    }
}

/// Scales the sums of channels `channel..channel + lanes` and passes them to the epilogue.
#[inline(always)]
pub(super) fn finish<I: Isa>(
    isa: I,
    body: &Body,
    sums: &Sums,
    segment: Segment,
    channel: usize,
    live: &mut Live<'_, I>,
) {
    let lanes = I::LANES.min(body.channels_out - channel);
    let scale = body.scale(isa, channel);
    let pixel = segment.y * body.geometry.output[1] + segment.x;
    let column =
        Column { sums: &sums.0, step: I::LANES, pixel, count: segment.width, channel, lanes };
    live.column(isa, &scale, column);
}
