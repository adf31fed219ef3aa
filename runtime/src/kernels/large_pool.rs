//! Maximum pooling over large windows: their rows first, then their columns, so that a window of 13x13 costs 26 comparisons.

use super::Io;
use super::geometry::Geometry;
use super::pool::{PackedPool, larger};
use crate::isa::{Isa, Kernel};
use core::ops::Range;

/// Channels that are compared together.
const BLOCK: usize = 64;
/// Columns of a row whose maxima are kept.
const COLUMNS: usize = 128;

/// Maxima over the rows of a window, column by column.
#[repr(align(64))]
struct Line([[u8; BLOCK]; COLUMNS]);

/// A maximum pooling over large windows.
pub(super) struct LargeMax<'a> {
    pub op: &'a PackedPool,
    pub io: Io<'a>,
}

impl Kernel for LargeMax<'_> {
    type Output = ();

    /// Compares bytes as they are stored; the compiler makes vector instructions of it. The rows of a window first, then
    /// the columns: of neighbouring windows, the rows are the same.
    #[inline(always)]
    fn eval<I: Isa>(self, _: I) {
        let Self { op, io } = self;
        let (g, first) = (&op.geometry, io.range.start);
        let Some(out) = io.store else { return };
        let most = COLUMNS.checked_sub(g.size[1]).map_or(1, |spare| spare / g.stride[1] + 1);
        let mut line = Line([[0; BLOCK]; COLUMNS]);
        let mut pixel = first;
        while pixel < io.range.end {
            let (y, x) = (pixel / g.output[1], pixel % g.output[1]);
            let width = most.min(g.output[1] - x).min(io.range.end - pixel);
            let rows = self::rows(g, y);
            let columns = self::columns(g, x).start..self::columns(g, x + width - 1).end;
            for channel in (0..op.channels).step_by(BLOCK) {
                let len = BLOCK.min(op.channels - channel);
                let at = |row: usize, column: usize| {
                    let start = (row * g.input[1] + column) * op.input.pixel_stride + channel;
                    &io.input[start..start + len]
                };
                let mut done = columns.start;
                for kept in &mut line.0[..columns.len().min(COLUMNS)] {
                    kept[..len].copy_from_slice(at(rows.start, done));
                    (rows.start + 1..rows.end)
                        .for_each(|row| raise::<I>(&mut kept[..len], at(row, done)));
                    done += 1;
                }
                for x in x..x + width {
                    let start = (y * g.output[1] + x - first) * op.output_stride + channel;
                    let out = &mut out[start..start + len];
                    let own = self::columns(g, x);
                    out.copy_from_slice(&line.0[own.start - columns.start][..len]);
                    let kept = own.start + 1..own.end.min(done);
                    kept.for_each(|column| {
                        raise::<I>(out, &line.0[column - columns.start][..len]);
                    });
                    // What a line does not hold of a very wide window.
                    for column in done.max(own.start)..own.end {
                        rows.clone().for_each(|row| raise::<I>(out, at(row, column)));
                    }
                }
            }
            pixel += width;
        }
    }
}

/// Input rows of the windows of an output row.
#[inline(always)]
fn rows(g: &Geometry, y: usize) -> Range<usize> {
    let inside = g.inside(0, y);
    let first = y * g.stride[0] + inside.start - g.padding[0];
    first..first + inside.len()
}

/// Input columns of a window.
#[inline(always)]
fn columns(g: &Geometry, x: usize) -> Range<usize> {
    let inside = g.inside(1, x);
    let first = x * g.stride[1] + inside.start - g.padding[1];
    first..first + inside.len()
}

/// [`larger`], of whole blocks where there are.
#[inline(always)]
fn raise<I: Isa>(kept: &mut [u8], x: &[u8]) {
    if let (Some(kept), Some(x)) = (kept.first_chunk_mut::<BLOCK>(), x.first_chunk::<BLOCK>()) {
        larger::<I>(kept, x);
    } else {
        larger::<I>(kept, x);
    }
}
