//! Indirect GEMM (Dukhan 2019, arXiv:1907.02129): convolution as a matrix product whose rows are found where they are,
//! without an im2col copy. With one tap it is the pointwise GEMM, with one pixel the linear layer.
//!
//! Where nothing separates the columns of a window, each of its rows is one run of bytes, whatever the number of
//! channels; at the edges of the map it is copied with padding first. Windows of few bytes, the first layer's above
//! all, are gathered: a tile's windows are copied to one run each. Otherwise every tap is a run.
//! Groups are panels that start at another input channel.

use super::conv::{Body, Source};
use super::gemm::{
    AHEAD, Args, MAX_ROWS, MAX_TILE, ToEpilogue, ToMemory, finished, finishes, most_rows, tile,
};
use super::geometry::Geometry;
use super::live::{Column, FAR, LINE, Live};
use super::pack::{Packed, panel, panel_bytes};
use super::scale::Scale;
use crate::isa::{Isa, Kernel, Room, Runs, copy_strided};
use alloc::vec::Vec;
use core::ops::Range;

/// Runs that are kept for a tile; windows with more are walked in parts.
const MAX_RUNS: usize = 64;
/// Weights that stay in the second cache level while all pixels pass.
const BLOCK_BYTES: usize = 256 << 10;
/// Largest panel of four vectors, so that it stays in the first cache level.
const WIDE_BYTES: usize = 40 << 10;
/// Ranges of channels start at multiples of it: no panel of an ungrouped convolution straddles one.
pub(super) const CHANNEL_GRANULE: usize = 64;
/// Largest window that is read by rows: it may be copied for every pixel at the edge.
const MAX_WINDOW: usize = 1152;
/// Largest window that is gathered, and its largest row: what is copied with one load.
const MAX_GATHERED: usize = 512;
const MAX_GATHERED_ROW: usize = 32;
/// A copy's over-read.
const SPARE: usize = 16;

/// A run of output channels whose weights are packed together.
#[derive(Clone, Copy)]
struct Panel {
    /// Start and length of its weights.
    weights: (usize, usize),
    /// Output channels.
    channels: (usize, usize),
    /// First input channel.
    depth_start: usize,
    /// Vectors of output channels.
    vectors: usize,
}

/// What runs are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    Taps,
    Rows,
    /// Whole windows, copied.
    Windows,
}

/// Packed panels.
pub(super) struct Weights {
    packed: Packed,
    panels: Vec<Panel>,
    /// Runs and bytes of a run, as the micro-kernel sees them.
    runs: usize,
    depth: usize,
    walk: Walk,
    /// A run of zero points, with what the micro-kernel reads behind it.
    padding: Vec<u8>,
}

impl Weights {
    #[inline(always)]
    pub fn pack<I: Isa>(_: I, body: &Body, groups: usize, source: Source<'_>) -> Self {
        let g = &body.geometry;
        let row = g.size[1] * body.depth;
        let joined = groups == 1
            && g.size[1] > 1
            && g.dilation[1] == 1
            && g.pixel_stride == body.depth
            && g.size[0] <= MAX_RUNS;
        let walk = if joined && row <= MAX_GATHERED_ROW && g.size[0] * row <= MAX_GATHERED {
            Walk::Windows
        } else if joined && g.size[0] * (row + SPARE) <= MAX_WINDOW + 3 * SPARE {
            Walk::Rows
        } else {
            Walk::Taps
        };
        let (runs, depth) = match walk {
            Walk::Taps => (g.taps(), body.depth),
            Walk::Rows => (g.size[0], row),
            // Whole steps: no lanes.
            Walk::Windows => (1, (g.size[0] * row).next_multiple_of(16)),
        };

        let wide = I::WIDE > 0
            && depth.div_ceil(4).is_multiple_of(4)
            && body.finishes_in_registers()
            && g.pixels() > 1
            && panel_bytes::<I>(runs, depth, 4) <= WIDE_BYTES;
        let per_group = body.channels_out / groups;
        let mut panels = Vec::new();
        let mut len = 0;
        for group in 0..groups {
            let end = (group + 1) * per_group;
            let mut start = group * per_group;
            while start < end {
                let vectors = if wide && end - start >= 4 * I::LANES {
                    4
                } else if end - start > I::NV / 2 * I::LANES {
                    I::NV
                } else {
                    1
                };
                let next = end.min(start + vectors * I::LANES);
                let bytes = panel_bytes::<I>(runs, depth, vectors);
                let depth_start = group * body.depth;
                panels.push(Panel {
                    weights: (len, bytes),
                    channels: (start, next),
                    depth_start,
                    vectors,
                });
                len += bytes;
                start = next;
            }
        }
        let mut packed = Packed::zeros(len);
        for p in &panels {
            let out = &mut packed.as_mut()[p.weights.0..][..p.weights.1];
            let channels = p.channels.1 - p.channels.0;
            panel::<I>(out, p.vectors, channels, runs, depth, |n, run, k| {
                let taps_before = if walk == Walk::Rows { run * g.size[1] } else { run };
                let (tap, k) = (taps_before + k / body.depth, k % body.depth);
                if tap < g.taps() { source.at(p.channels.0 + n, tap, k) } else { 0 }
            });
        }
        let padding = alloc::vec![body.zero; groups * depth + SPARE];
        Self { packed, panels, runs, depth, walk, padding }
    }

    /// The weights that a run begins with.
    #[inline(always)]
    pub fn head<I: Isa>(&self) -> &[i8] {
        blocks::<I>(self).next().map_or(&[], |block| self.block(block))
    }

    /// The weights of a run of panels.
    #[inline(always)]
    fn block(&self, panels: &[Panel]) -> &[i8] {
        match (panels.first(), panels.last()) {
            (Some(first), Some(last)) => {
                &self.packed[first.weights.0..last.weights.0 + last.weights.1]
            }
            _ => &[],
        }
    }

    /// Whether the work is divided by channels: there is one pixel, and panels start at multiples of the granule.
    pub fn is_by_channels(&self, body: &Body) -> bool {
        body.geometry.pixels() == 1 && self.panels.iter().all(|p| p.depth_start == 0)
    }

    pub fn name(&self, body: &Body) -> &'static str {
        match self.walk {
            Walk::Windows => "gathered",
            Walk::Rows => "window_rows",
            Walk::Taps if body.geometry.is_pointwise() => "pointwise",
            Walk::Taps => "indirect",
        }
    }
}

/// Sums of a tile, on a cache line of their own.
#[repr(align(64))]
struct Sums([i32; MAX_TILE]);

/// Windows, or window rows at the edges of the map.
#[repr(align(64))]
struct Copies([u8; MAX_ROWS * (MAX_WINDOW + 3 * SPARE)]);

#[inline(always)]
pub(super) fn run<I: Isa>(
    isa: I,
    body: &Body,
    weights: &Weights,
    input: &[u8],
    next: &[i8],
    mut live: Live<'_, I>,
    range: Range<usize>,
) {
    let g = &body.geometry;
    let (pixels, channels) =
        if weights.is_by_channels(body) { (0..1, range) } else { (range, 0..body.channels_out) };
    let mut sums = Sums([0; MAX_TILE]);
    // Padding on the right alone has edges too.
    let has_edges = range_of(g, true, 0) != (0, g.output[1] as u32);
    let has_copies = match weights.walk {
        Walk::Taps => false,
        Walk::Rows => has_edges,
        Walk::Windows => true,
    };
    let mut copies =
        if has_copies { Some(Copies([0; MAX_ROWS * (MAX_WINDOW + 3 * SPARE)])) } else { None };
    let mut room = Room::<MAX_ROWS, MAX_RUNS>::new();
    let quads = weights.depth.div_ceil(4);
    let (steps, lanes) = (quads / 4, quads % 4);
    let finder = Finder::new(g, weights.walk);
    let is_far = g.is_pointwise() && input.len() > FAR;

    let mut rest = blocks::<I>(weights).peekable();
    while let Some(block) = rest.next() {
        // While a block is computed, the next one comes from memory.
        let ahead = rest.peek().map_or(next, |block| weights.block(block));
        let mut asked = 0;
        let most = most_rows::<I>(block[0].vectors);
        let mut from = pixels.start;
        while from < pixels.end {
            // Tiles of nearly equal height: 49 rows are 13 + 12 + 12 + 12, not 14 + 14 + 14 + 7.
            let left = pixels.end - from;
            let height = left.div_ceil(left.div_ceil(most));
            let tile_pixels = from..from + height;
            if let Some(copies) = &mut copies {
                finder.copy(body, input, tile_pixels.clone(), &mut copies.0);
            }
            let copies = copies.as_ref().map_or(&[][..], |copies| &copies.0);
            if is_far {
                let start = (from + height) * g.pixel_stride;
                for at in (start..start + height * g.pixel_stride).step_by(LINE) {
                    isa.prefetch_line(input, at);
                }
            }
            let mut first = 0;
            while first < weights.runs {
                let count = (weights.runs - first).min(MAX_RUNS);
                let mut runs = room.begin(height, count, &weights.padding);
                let places = (tile_pixels.clone(), first..first + count);
                finder.find(body, input, copies, places, &mut runs);
                let runs = &runs;
                for p in block {
                    if p.channels.1 <= channels.start || p.channels.0 >= channels.end {
                        continue;
                    }
                    let run_bytes = p.weights.1 / weights.runs;
                    let panel = &weights.packed[p.weights.0 + first * run_bytes..];
                    let (panel, channel) = (&panel[..count * run_bytes], p.depth_start);
                    let ahead = ahead.get(asked..).filter(|a| !a.is_empty()).unwrap_or(&panel[..1]);
                    asked += count * steps * AHEAD;
                    let bias = &body.bias[p.channels.0..];
                    if count == weights.runs
                        && lanes == 0
                        && body.finishes_in_registers()
                        && p.channels.1 - p.channels.0 == p.vectors * I::LANES
                        && finishes::<I>(height, p.vectors)
                    {
                        let multiplier = &body.multiplier[p.channels.0..];
                        let (pixel, first) = (from, p.channels.0);
                        // One tile ahead: a tile of few products ends before its residual has come.
                        let after = from + height..(from + 2 * height).min(pixels.end);
                        live.prefetch(isa, after, first, p.vectors * I::LANES);
                        let live = &mut live;
                        let end = ToEpilogue { bias, multiplier, live, pixel, channel: first };
                        let args = Args { runs, channel, steps, lanes, weights: panel, ahead, end };
                        finished(isa, height, p.vectors, args);
                        continue;
                    }
                    let bias = (first == 0).then_some(bias);
                    let end = ToMemory { bias, sums: &mut sums.0 };
                    tile(
                        isa,
                        height,
                        p.vectors,
                        Args { runs, channel, steps, lanes, weights: panel, ahead, end },
                    );
                    if first + count == weights.runs {
                        finish(isa, body, &sums.0, p, &channels, tile_pixels.clone(), &mut live);
                    }
                }
                first += count;
            }
            from += height;
        }
    }
}

/// Panels in runs whose weights fit the second cache level, and whose tiles have the same number of rows. Sums that are
/// collected in parts are those of one panel.
fn blocks<I: Isa>(weights: &Weights) -> impl Iterator<Item = &[Panel]> {
    let mut rest = &weights.panels[..];
    let most = if weights.runs > MAX_RUNS { 1 } else { usize::MAX };
    core::iter::from_fn(move || {
        let first = rest.first()?;
        let fits = |p: &&Panel| {
            p.weights.0 + p.weights.1 - first.weights.0 <= BLOCK_BYTES
                && (p.vectors == first.vectors || p.vectors.max(first.vectors) <= I::NV)
        };
        let n = rest.iter().take(most).take_while(fits).count();
        let (block, after) = rest.split_at(n.max(1));
        rest = after;
        Some(block)
    })
}
/// How the runs of a tile are found: those of output columns whose taps are inside the map lie at even distances.
struct Finder<'a> {
    g: &'a Geometry,
    walk: Walk,
    /// The output columns for which run `i` of a window row is inside the map.
    inside: [(u32, u32); MAX_RUNS],
}

impl<'a> Finder<'a> {
    fn new(g: &'a Geometry, walk: Walk) -> Self {
        let by_rows = walk != Walk::Taps;
        let mut inside = [(0, 0); MAX_RUNS];
        let count = if by_rows { 1 } else { g.size[1] };
        for (kx, inside) in inside.iter_mut().take(count).enumerate() {
            *inside = range_of(g, by_rows, kx);
        }
        Self { g, walk, inside }
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
    /// window rows at the left and right edge, which are copied.
    #[inline(always)]
    fn find<'r>(
        &self,
        body: &Body,
        input: &'r [u8],
        copies: &'r [u8],
        (pixels, taps): (Range<usize>, Range<usize>),
        runs: &mut Runs<'r, MAX_ROWS>,
    ) {
        let g = self.g;
        if g.is_pointwise() {
            let from = &input[pixels.start * g.pixel_stride..];
            return runs.set(0, 0..pixels.len(), from, g.pixel_stride);
        }
        if self.walk == Walk::Windows {
            return runs.set(0, 0..pixels.len(), copies, window_step(body));
        }
        let step = g.stride[1] * g.pixel_stride;
        lines(g, pixels, |r, y, xs| {
            if self.walk == Walk::Rows {
                let inside = self.inside(0, &xs);
                let x = (inside.start * g.stride[1]).saturating_sub(g.padding[1]);
                let rows = r + inside.start - xs.start..r + inside.end - xs.start;
                for ky in 0..g.size[0] {
                    let Some(y) = g.tap(0, y, ky) else { continue };
                    if !rows.is_empty() {
                        let from = (y * g.input[1] + x) * g.pixel_stride;
                        runs.set(ky, rows.clone(), &input[from..], step);
                    }
                    for x in (xs.start..inside.start).chain(inside.end..xs.end) {
                        let r = r + x - xs.start;
                        let copy = &copies[(r * g.size[0] + ky) * copy_step(body)..];
                        runs.set(ky, r..r + 1, copy, 0);
                    }
                }
                return;
            }
            let (mut ky, mut kx) = (taps.start / g.size[1], taps.start % g.size[1]);
            let mut line = g.tap(0, y, ky).map(|y| y * g.input[1]);
            for run in 0..taps.len() {
                let inside = self.inside(kx, &xs);
                if let Some(line) = line.filter(|_| !inside.is_empty()) {
                    let x = inside.start * g.stride[1] + kx * g.dilation[1] - g.padding[1];
                    let rows = r + inside.start - xs.start..r + inside.end - xs.start;
                    runs.set(run, rows, &input[(line + x) * g.pixel_stride..], step);
                }
                kx += 1;
                if kx == g.size[1] {
                    (ky, kx) = (ky + 1, 0);
                    line = g.tap(0, y, ky).map(|y| y * g.input[1]);
                }
            }
        });
    }

    /// Copies what is not found in the map: window rows at its left and right edge, or windows.
    #[inline(always)]
    fn copy(&self, body: &Body, input: &[u8], pixels: Range<usize>, copies: &mut [u8]) {
        if self.walk == Walk::Rows {
            return self.copy_edges(body, input, pixels, copies);
        }
        match self.g.size[1] * body.depth {
            ..=16 => self.gather::<16>(body, input, pixels, copies),
            _ => self.gather::<MAX_GATHERED_ROW>(body, input, pixels, copies),
        }
    }

    /// Copies the window rows of the pixels at the left and right edge of the map, with padding.
    #[inline(always)]
    fn copy_edges(&self, body: &Body, input: &[u8], pixels: Range<usize>, copies: &mut [u8]) {
        let g = self.g;
        lines(g, pixels, |r, y, xs| {
            let whole = self.inside(0, &xs);
            for x in (xs.start..whole.start).chain(whole.end..xs.end) {
                let r = r + x - xs.start;
                let inside = g.inside(1, x);
                for ky in 0..g.size[0] {
                    let Some(y) = g.tap(0, y, ky) else { continue };
                    let out = &mut copies[(r * g.size[0] + ky) * copy_step(body)..];
                    copy_row(body, input, (y, x), inside.clone(), out);
                }
            }
        });
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

/// Scales the sums of a tile and passes them to the epilogue.
#[inline(always)]
fn finish<I: Isa>(
    isa: I,
    body: &Body,
    sums: &[i32],
    p: &Panel,
    channels: &Range<usize>,
    pixels: Range<usize>,
    live: &mut Live<'_, I>,
) {
    let whole = p.channels.1 - p.channels.0 == p.vectors * I::LANES && p.channels.1 <= channels.end;
    if whole && body.finishes_in_quads() && pixels.len() * p.vectors >= 4 {
        match p.vectors {
            1 => return isa.enter(Quads::<I, 1> { isa, body, sums, p, pixels, live }),
            2 => return isa.enter(Quads::<I, 2> { isa, body, sums, p, pixels, live }),
            _ => {}
        }
    }
    for v in 0..p.vectors {
        let channel = p.channels.0 + v * I::LANES;
        if channel >= p.channels.1.min(channels.end) {
            break;
        }
        let lanes = I::LANES.min(p.channels.1 - channel);
        let scale = body.scale(isa, channel);
        let column = Column {
            sums: &sums[v * I::LANES..],
            step: p.vectors * I::LANES,
            pixel: pixels.start,
            count: pixels.len(),
            channel,
            lanes,
        };
        live.column(isa, &scale, column);
    }
}

/// Finishes a whole tile of `NV` vectors, four sums at a time. A function of its own, so that the constants of SiLU stay
/// in registers.
struct Quads<'a, 'l, I: Isa, const NV: usize> {
    isa: I,
    body: &'l Body,
    sums: &'l [i32],
    p: &'l Panel,
    pixels: Range<usize>,
    live: &'l mut Live<'a, I>,
}

impl<I: Isa, const NV: usize> Kernel for Quads<'_, '_, I, NV> {
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, body, sums, p, pixels, live } = self;
        let channel = p.channels.0;
        let scale: [Scale<I>; NV] =
            core::array::from_fn(|n| body.scale(isa, channel + n * I::LANES));
        let per_quad = const { 4 / NV };
        for at in (0..pixels.len()).step_by(per_quad) {
            // The last quad moves back and finishes some rows again.
            let first = at.min(pixels.len() - per_quad);
            let sums = &sums[first * NV * I::LANES..][..4 * I::LANES];
            let value = [
                scale[0].value(isa, isa.load_i32(sums)),
                scale[1 % NV].value(isa, isa.load_i32(&sums[I::LANES..])),
                scale[2 % NV].value(isa, isa.load_i32(&sums[2 * I::LANES..])),
                scale[3 % NV].value(isa, isa.load_i32(&sums[3 * I::LANES..])),
            ];
            live.quad::<NV>(isa, value, pixels.start + first, channel);
        }
        live.after_quads(isa, pixels, channel, NV * I::LANES);
    }
}
