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

/// Window rows times columns that a tile may read.
pub(super) const MAX_PATCH: usize = 512;

/// Room for a patch at the edge of the map.
pub(super) type Edge = [[u8; 16]; MAX_PATCH];

/// The input that a tile reads, 16 channels wide.
#[derive(Clone, Copy)]
pub(super) struct Patch<'a> {
    pub bytes: &'a [u8],
    /// Bytes from one window row to the next.
    pub row_step: usize,
    /// Bytes from one input column to the next.
    pub column_step: usize,
}

impl<'a> Patch<'a> {
    /// The rows of output row `y` and the `columns` columns from that of output column `x` on; `channel` is the first
    /// channel. Inside the map these are the input's own bytes, at its edge a copy with padding.
    #[inline(always)]
    pub fn new(
        body: &Body,
        input: &'a [u8],
        (y, x): (usize, usize),
        columns: usize,
        channel: usize,
        edge: &'a mut Edge,
    ) -> Self {
        let g = &body.geometry;
        let top = (y * g.stride[0]).wrapping_sub(g.padding[0]);
        let left = (x * g.stride[1]).wrapping_sub(g.padding[1]);
        let height = (g.size[0] - 1) * g.dilation[0] + 1;
        // Coordinates above or left of the map have wrapped around to large numbers.
        if top < g.input[0]
            && top + height <= g.input[0]
            && left < g.input[1]
            && left + columns <= g.input[1]
        {
            let line = g.input[1] * g.pixel_stride;
            let bytes = &input[top * line + left * g.pixel_stride + channel..];
            return Self { bytes, row_step: g.dilation[0] * line, column_step: g.pixel_stride };
        }
        copy_edge(body, input, (y, left), columns, channel, edge);
        Self { bytes: edge.as_flattened(), row_step: 16 * columns, column_step: 16 }
    }

    /// The first byte of a row.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &'a [u8] {
        &self.bytes[row * self.row_step..]
    }
}

/// A function of its own: inlined, its address arithmetic crowded the tiles' inner loops.
#[cold]
#[inline(never)]
fn copy_edge(
    body: &Body,
    input: &[u8],
    (y, left): (usize, usize),
    columns: usize,
    channel: usize,
    edge: &mut Edge,
) {
    let g = &body.geometry;
    let zero = [body.zero; 16];
    // Columns that are inside the map; those left of it have wrapped around to large numbers.
    let start = left.wrapping_neg().min(columns);
    let start = if left < g.input[1] { 0 } else { start };
    let end = g.input[1].wrapping_sub(left).min(columns).max(start);
    for (ky, row) in edge.chunks_exact_mut(columns).take(g.size[0]).enumerate() {
        let Some(y) = g.tap(0, y, ky).filter(|_| start < end) else {
            row.fill(zero);
            continue;
        };
        row[..start].fill(zero);
        row[end..].fill(zero);
        let from = left.wrapping_add(start);
        let mut bytes = &input[(y * g.input[1] + from) * g.pixel_stride + channel..];
        for out in &mut row[start..end] {
            *out = *bytes.first_chunk().expect("slack follows a tensor");
            bytes = bytes.get(g.pixel_stride..).unwrap_or_default();
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
