//! What the rows of a tile read: runs of bytes in the map, or in copies.
//!
//! Where nothing separates the columns of a window, each of its rows is one run, whatever the number of channels; at
//! the left and right edge of the map it is copied with padding, once for all windows that it belongs to. Windows of few
//! bytes, the first layer's above all, are gathered: a tile's windows are copied to one run each. Otherwise every tap is
//! a run.

use super::conv::Body;
use super::gemm::MAX_ROWS;
use super::geometry::Geometry;
use super::live::LINE;
use crate::isa::{Isa, Runs, copy_strided};
use core::ops::Range;

/// Runs that are kept for a tile; windows with more are walked in parts.
pub(super) const MAX_RUNS: usize = 64;
/// Largest window that is gathered, and its largest row: what is copied with one load.
const MAX_GATHERED: usize = 512;
const MAX_GATHERED_ROW: usize = 32;
/// A copy's over-read.
pub(super) const SPARE: usize = 16;
/// Most bytes for copies, on the stack: less than half of the first cache level; less on microcontrollers.
pub(super) const COPIES: usize = if cfg!(target_pointer_width = "64") { 20 << 10 } else { 5 << 10 };

/// What runs are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Walk {
    /// Taps.
    Taps,
    /// Rows of windows; those at the edges of the map, copied.
    Rows,
    /// Whole windows, copied.
    Windows,
}

impl Walk {
    /// The best for this convolution.
    pub fn choose(body: &Body, groups: usize) -> Self {
        let g = &body.geometry;
        let row = g.size[1] * body.depth;
        if groups > 1
            || g.size[1] == 1
            || g.dilation[1] != 1
            || g.pixel_stride != body.depth
            || g.size[0] > MAX_RUNS
        {
            Self::Taps
        } else if row <= MAX_GATHERED_ROW && g.size[0] * row <= MAX_GATHERED {
            Self::Windows
        } else if Edges::new(body).lines >= most_lines(g) {
            Self::Rows
        } else {
            Self::Taps
        }
    }
}

/// The most input lines that the windows of a tile cover.
fn most_lines(g: &Geometry) -> usize {
    let rows = (MAX_ROWS - 1).div_ceil(g.output[1].max(1)) + 1;
    (rows.min(g.output[0]).max(1) - 1) * g.stride[0] + (g.size[0] - 1) * g.dilation[0] + 1
}

/// Where the window rows at the left and right edge of the map are kept: those of the last lines.
struct Edges {
    /// Output columns whose windows are not inside the map: before the first, and from the second on.
    columns: (usize, usize),
    /// How many they are.
    count: usize,
    /// Lines that there is room for.
    lines: usize,
    /// Input lines whose copies are there.
    have: Range<usize>,
}

impl Edges {
    fn new(body: &Body) -> Self {
        let g = &body.geometry;
        let (start, end) = range_of(g, true, 0);
        let columns = (start as usize, end as usize);
        let count = columns.0 + g.output[1] - columns.1;
        let lines = (COPIES / (count * copy_step(body)).max(1)).min(most_lines(g));
        Self { columns, count, lines, have: 0..0 }
    }

    /// Where the copy for output column `x` of input line `y` is.
    #[inline(always)]
    fn place(&self, body: &Body, y: usize, x: usize) -> usize {
        let i = if x < self.columns.0 { x } else { self.columns.0 + x - self.columns.1 };
        (y % self.lines * self.count + i) * copy_step(body)
    }
}

/// How the runs of a tile are found: those of output columns whose taps are inside the map lie at even distances.
pub(super) struct Finder<'a> {
    g: &'a Geometry,
    is_pointwise: bool,
    walk: Walk,
    edges: Edges,
    /// The output columns for which run `i` of a window row is inside the map.
    inside: [(u32, u32); MAX_RUNS],
}

impl<'a> Finder<'a> {
    pub fn new(body: &'a Body, walk: Walk) -> Self {
        let g = &body.geometry;
        let by_rows = walk != Walk::Taps;
        let mut inside = [(0, 0); MAX_RUNS];
        let count = if by_rows { 1 } else { g.size[1] };
        for (kx, inside) in inside.iter_mut().take(count).enumerate() {
            *inside = range_of(g, by_rows, kx);
        }
        Self { g, is_pointwise: g.is_pointwise(), walk, edges: Edges::new(body), inside }
    }

    /// Bytes that there have to be for copies, [`COPIES`] at most; none if there is nothing to copy.
    pub fn copies(&self, body: &Body) -> usize {
        match self.walk {
            Walk::Taps => 0,
            Walk::Rows => self.edges.lines * self.edges.count * copy_step(body),
            Walk::Windows => MAX_ROWS * window_step(body),
        }
    }

    /// The part of `columns` for which run `kx` of a window row is inside the map.
    #[inline(always)]
    fn inside(&self, kx: usize, columns: &Range<usize>) -> Range<usize> {
        let range = self.inside.get(kx).copied();
        let (start, end) = range.unwrap_or_else(|| range_of(self.g, self.walk != Walk::Taps, kx));
        let start = (start as usize).clamp(columns.start, columns.end);
        start..(end as usize).clamp(start, columns.end)
    }

    /// Finds `runs` of the window for a tile of pixels. What is not inside the map stays as it is, padding, but for
    /// what [`Finder::copy`] copied.
    #[inline(always)]
    pub fn find<'r>(
        &self,
        body: &Body,
        input: &'r [u8],
        copies: &'r [u8],
        (pixels, taps): (Range<usize>, Range<usize>),
        runs: &mut Runs<'r, MAX_ROWS>,
    ) {
        let g = self.g;
        if self.is_pointwise {
            let from = &input[pixels.start * g.pixel_stride..];
            return runs.set(0, 0..pixels.len(), from, g.pixel_stride);
        }
        match self.walk {
            Walk::Windows => runs.set(0, 0..pixels.len(), copies, window_step(body)),
            Walk::Rows => {
                lines(g, pixels, |r, y, xs| {
                    self.find_rows(body, (input, copies), (r, y, xs), runs)
                });
            }
            Walk::Taps => {
                lines(g, pixels, |r, y, xs| self.find_taps(input, taps.clone(), (r, y, xs), runs));
            }
        }
    }

    /// Asks for what the windows of these pixels read if they have one tap.
    #[inline(always)]
    pub fn prefetch<I: Isa>(&self, isa: I, input: &[u8], pixels: Range<usize>) {
        let g = self.g;
        let ask = |pixels: Range<usize>| {
            for at in (pixels.start * g.pixel_stride..pixels.end * g.pixel_stride).step_by(LINE) {
                isa.prefetch_line(input.as_ptr().wrapping_add(at));
            }
        };
        if self.is_pointwise {
            return ask(pixels);
        }
        lines(g, pixels, |_, y, xs| {
            let Some(line) = g.tap(0, y, 0).map(|y| y * g.input[1]) else { return };
            for x in xs.filter_map(|x| g.tap(1, x, 0)) {
                ask(line + x..line + x + 1);
            }
        });
    }

    /// As [`Finder::find`], window rows of the tile's rows from `r` on, output columns `xs` of output row `y`.
    #[inline(always)]
    fn find_rows<'r>(
        &self,
        body: &Body,
        (input, copies): (&'r [u8], &'r [u8]),
        (r, y, xs): (usize, usize, Range<usize>),
        runs: &mut Runs<'r, MAX_ROWS>,
    ) {
        let g = self.g;
        let inside = self.inside(0, &xs);
        let x = (inside.start * g.stride[1]).saturating_sub(g.padding[1]);
        let rows = r + inside.start - xs.start..r + inside.end - xs.start;
        for ky in 0..g.size[0] {
            let Some(y) = g.tap(0, y, ky) else { continue };
            if !rows.is_empty() {
                let from = &input[(y * g.input[1] + x) * g.pixel_stride..];
                runs.set(ky, rows.clone(), from, g.stride[1] * g.pixel_stride);
            }
            for x in (xs.start..inside.start).chain(inside.end..xs.end) {
                let r = r + x - xs.start;
                runs.set(ky, r..r + 1, &copies[self.edges.place(body, y, x)..], 0);
            }
        }
    }

    /// As [`Finder::find_rows`], the taps of a window from `taps.start` on.
    #[inline(always)]
    fn find_taps<'r>(
        &self,
        input: &'r [u8],
        taps: Range<usize>,
        (r, y, xs): (usize, usize, Range<usize>),
        runs: &mut Runs<'r, MAX_ROWS>,
    ) {
        let g = self.g;
        let (mut ky, mut kx) = (taps.start / g.size[1], taps.start % g.size[1]);
        let mut line = g.tap(0, y, ky).map(|y| y * g.input[1]);
        for run in 0..taps.len() {
            let inside = self.inside(kx, &xs);
            if let Some(line) = line.filter(|_| !inside.is_empty()) {
                let x = inside.start * g.stride[1] + kx * g.dilation[1] - g.padding[1];
                let rows = r + inside.start - xs.start..r + inside.end - xs.start;
                let from = &input[(line + x) * g.pixel_stride..];
                runs.set(run, rows, from, g.stride[1] * g.pixel_stride);
            }
            kx += 1;
            if kx == g.size[1] {
                (ky, kx) = (ky + 1, 0);
                line = g.tap(0, y, ky).map(|y| y * g.input[1]);
            }
        }
    }

    /// Copies what is not found in the map: window rows at its left and right edge, or windows.
    #[inline(always)]
    pub fn copy(&mut self, body: &Body, input: &[u8], pixels: Range<usize>, copies: &mut [u8]) {
        if self.walk == Walk::Rows {
            return self.copy_edges(body, input, pixels, copies);
        }
        match self.g.size[1] * body.depth {
            ..=16 => self.gather::<16>(body, input, pixels, copies),
            _ => self.gather::<MAX_GATHERED_ROW>(body, input, pixels, copies),
        }
    }

    /// Copies the window rows at the left and right edge of the map, with padding, in the lines of these pixels.
    #[inline(always)]
    fn copy_edges(&mut self, body: &Body, input: &[u8], pixels: Range<usize>, copies: &mut [u8]) {
        let g = self.g;
        let (top, bottom) = (pixels.start / g.output[1], (pixels.end - 1) / g.output[1]);
        let first = (top * g.stride[0]).saturating_sub(g.padding[0]);
        let end = bottom * g.stride[0] + (g.size[0] - 1) * g.dilation[0] + 1;
        let end = end.saturating_sub(g.padding[0]).min(g.input[0]);
        if first < self.edges.have.start || first > self.edges.have.end {
            self.edges.have = first..first;
        }
        if end > self.edges.have.end {
            self.copy_lines(body, input, self.edges.have.end..end, copies);
            self.edges.have = self.edges.have.start.max(end.saturating_sub(self.edges.lines))..end;
        }
    }

    #[inline(never)]
    fn copy_lines(&self, body: &Body, input: &[u8], lines: Range<usize>, copies: &mut [u8]) {
        let (g, (start, end)) = (self.g, self.edges.columns);
        for y in lines {
            for x in (0..start).chain(end..g.output[1]) {
                let out = &mut copies[self.edges.place(body, y, x)..];
                copy_row(body, input, (y, x), g.inside(1, x), out);
            }
        }
    }

    /// Copies windows, rows of at most `N` bytes one behind the other.
    #[inline(always)]
    fn gather<const N: usize>(
        &self,
        body: &Body,
        input: &[u8],
        pixels: Range<usize>,
        copies: &mut [u8],
    ) {
        let (g, row) = (self.g, self.g.size[1] * body.depth);
        let (step, line) = (window_step(body), g.dilation[0] * g.input[1] * body.depth);
        lines(g, pixels, |r, y, xs| {
            let rows = g.inside(0, y);
            // Where the map's upper or lower edge cuts windows, all of them are copied row by row.
            let whole = if rows.len() == g.size[0] { self.inside(0, &xs) } else { xs.end..xs.end };
            if !whole.is_empty() {
                let first = (y * g.stride[0] - g.padding[0]) * g.input[1];
                let first = (first + whole.start * g.stride[1] - g.padding[1]) * body.depth;
                let to = &mut copies[(r + whole.start - xs.start) * step..];
                for ky in 0..g.size[0] {
                    // More than the row, in one move: what is too much is overwritten or does not count.
                    let (to, from) = (&mut to[ky * row..], &input[first + ky * line..]);
                    copy_strided::<N>(to, step, from, g.stride[1] * body.depth, whole.len());
                }
            }
            for x in (xs.start..whole.start).chain(whole.end..xs.end) {
                let out = &mut copies[(r + x - xs.start) * step..];
                out[..g.size[0] * row].fill(body.zero);
                let inside = g.inside(1, x);
                for ky in rows.clone() {
                    let y = y * g.stride[0] + ky * g.dilation[0] - g.padding[0];
                    copy_row(body, input, (y, x), inside.clone(), &mut out[ky * row..]);
                }
            }
        });
    }
}

/// Copies the row of a window in line `y` of the map, at output column `x`: its columns `inside` the map, with padding
/// around them.
#[inline(always)]
fn copy_row(
    body: &Body,
    input: &[u8],
    (y, x): (usize, usize),
    inside: Range<usize>,
    out: &mut [u8],
) {
    let (g, depth) = (&body.geometry, body.depth);
    out[..inside.start * depth].fill(body.zero);
    out[inside.end * depth..g.size[1] * depth].fill(body.zero);
    if !inside.is_empty() {
        let left = x * g.stride[1] + inside.start - g.padding[1];
        let from = &input[(y * g.input[1] + left) * depth..][..inside.len() * depth];
        out[inside.start * depth..inside.end * depth].copy_from_slice(from);
    }
}

/// The output columns for which run `kx` of a window row is inside the map.
fn range_of(g: &Geometry, by_rows: bool, kx: usize) -> (u32, u32) {
    let span = if by_rows { g.size[1] } else { 1 };
    let (left, step, width) = (kx * g.dilation[1], g.stride[1], g.output[1]);
    let start = g.padding[1].saturating_sub(left).div_ceil(step).min(width);
    // The last column at which `x * step + left + span <= input + padding`.
    let room = (g.input[1] + g.padding[1]).checked_sub(left + span);
    let end = room.map_or(0, |room| room / step + 1).clamp(start, width);
    (start as u32, end as u32)
}

/// Calls `f(first row of the tile, output row, output columns)` for the pieces of a tile in one output row each.
#[inline(always)]
fn lines(g: &Geometry, pixels: Range<usize>, mut f: impl FnMut(usize, usize, Range<usize>)) {
    let (mut y, mut x) = (pixels.start / g.output[1], pixels.start % g.output[1]);
    let mut r = 0;
    while r < pixels.len() {
        let end = g.output[1].min(x + pixels.len() - r);
        f(r, y, x..end);
        r += end - x;
        (y, x) = (y + 1, 0);
    }
}

/// Bytes from one copied window row to the next.
#[inline(always)]
fn copy_step(body: &Body) -> usize {
    body.geometry.size[1] * body.depth + SPARE
}

/// Bytes from one copied window to the next: the rows, and what is copied and read behind them.
#[inline(always)]
fn window_step(body: &Body) -> usize {
    (body.geometry.taps() * body.depth).next_multiple_of(SPARE) + MAX_GATHERED_ROW + SPARE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_need_no_more_lines_than_there_is_room_for() {
        for width in 1..18 {
            for height in [1, 2, 5, 40] {
                for (size, stride, dilation) in [(1, 1, 1), (3, 1, 1), (3, 2, 1), (5, 3, 2)] {
                    let g = Geometry {
                        input: [height * stride, width],
                        output: [height, width],
                        pixel_stride: 16,
                        size: [size, 3],
                        stride: [stride, 1],
                        padding: [size / 2 * dilation, 1],
                        dilation: [dilation, 1],
                    };
                    for first in 0..g.pixels() {
                        let last = (first + MAX_ROWS).min(g.pixels()) - 1;
                        let rows = last / width - first / width;
                        let lines = rows * stride + (size - 1) * dilation + 1;
                        assert!(lines <= most_lines(&g), "{g:?} {first}");
                    }
                }
            }
        }
    }
}
