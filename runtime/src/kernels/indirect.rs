//! Indirect GEMM (Dukhan 2019, arXiv:1907.02129): convolution as a matrix product whose rows are found through
//! offsets, without an im2col copy. With one tap it is the pointwise GEMM, with one pixel the linear layer.
//!
//! Where channels are too few to fill a step of 16 bytes, rows are gathered into a small buffer first (`gather`).
//! Groups are panels that start at another input channel.

use super::conv::{Body, Source};
use super::epilogue::{Column, Live};
use super::gemm::{Args, MAX_ROWS, MAX_TILE, OUTSIDE, Tap, tile};
use super::geometry::Geometry;
use super::pack::{Packed, panel, panel_bytes};
use crate::isa::Isa;
use alloc::vec::Vec;
use core::ops::Range;

/// Taps whose offsets are kept for a tile; windows with more are walked in parts.
const MAX_TAPS: usize = 64;
/// Weights that stay in the second cache level while all pixels pass.
const BLOCK_BYTES: usize = 384 << 10;
/// Ranges of channels start at multiples of it: no panel of an ungrouped convolution straddles one.
pub(super) const CHANNEL_GRANULE: usize = 64;
/// Longest row that is gathered.
const MAX_GATHERED: usize = 1024;

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

/// Packed panels.
pub(super) struct Weights {
    packed: Packed,
    panels: Vec<Panel>,
    /// Taps and bytes of a tap, as the micro-kernel sees them.
    taps: usize,
    depth: usize,
    gather: bool,
    /// A row of zero points.
    padding: Vec<u8>,
}

impl Weights {
    #[inline(always)]
    pub fn pack<I: Isa>(_: I, body: &Body, groups: usize, source: Source<'_>) -> Self {
        let real_taps = body.geometry.taps();
        let gather = groups == 1
            && body.depth < 16
            && real_taps > 1
            && real_taps * body.depth <= MAX_GATHERED;
        let (taps, depth) = if gather {
            (1, (real_taps * body.depth).next_multiple_of(16))
        } else {
            (real_taps, body.depth)
        };

        let per_group = body.channels_out / groups;
        let mut panels = Vec::new();
        let mut len = 0;
        for group in 0..groups {
            let end = (group + 1) * per_group;
            let mut start = group * per_group;
            while start < end {
                let vectors = if end - start > I::NV / 2 * I::LANES { I::NV } else { 1 };
                let next = end.min(start + vectors * I::LANES);
                let bytes = panel_bytes::<I>(taps, depth, vectors);
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
            panel::<I>(out, p.vectors, channels, taps, depth, |n, tap, k| {
                let (tap, k) = if gather { (k / body.depth, k % body.depth) } else { (tap, k) };
                if tap < real_taps { source.at(p.channels.0 + n, tap, k) } else { 0 }
            });
        }
        let padding = alloc::vec![body.zero; depth.next_multiple_of(16) + 16];
        Self { packed, panels, taps, depth, gather, padding }
    }

    /// Whether the work is divided by channels: there is one pixel, and panels start at multiples of the granule.
    pub fn is_by_channels(&self, body: &Body) -> bool {
        body.geometry.pixels() == 1 && self.panels.iter().all(|p| p.depth_start == 0)
    }

    pub fn name(&self, body: &Body) -> &'static str {
        match (self.gather, body.geometry.is_pointwise()) {
            (true, _) => "gathered",
            (false, true) => "pointwise",
            (false, false) => "indirect",
        }
    }
}

/// Sums of a tile, on a cache line of their own.
#[repr(align(64))]
struct Sums([i32; MAX_TILE]);

/// Gathered rows, with room for the over-read of the last.
#[repr(align(64))]
struct Rows([u8; MAX_ROWS * MAX_GATHERED + 64]);

#[inline(always)]
pub(super) fn run<I: Isa>(
    isa: I,
    body: &Body,
    weights: &Weights,
    input: &[u8],
    mut live: Live<'_, I>,
    range: Range<usize>,
) {
    let g = &body.geometry;
    let (pixels, channels) =
        if weights.is_by_channels(body) { (0..1, range) } else { (range, 0..body.channels_out) };
    let mut sums = Sums([0; MAX_TILE]);
    let mut rows =
        if weights.gather { Some(Rows([0; MAX_ROWS * MAX_GATHERED + 64])) } else { None };
    let mut taps = [[0; MAX_ROWS]; MAX_TAPS];
    let kept = weights.taps <= MAX_TAPS;
    let quads = weights.depth.div_ceil(4);
    let (steps, lanes) = (quads / 4, quads % 4);

    for block in blocks(&weights.panels) {
        let mut from = pixels.start;
        while from < pixels.end {
            // Tiles of nearly equal height: 49 rows are 13 + 12 + 12 + 12, not 14 + 14 + 14 + 7.
            let left = pixels.end - from;
            let height = left.div_ceil(left.div_ceil(I::MR));
            let source = match &mut rows {
                Some(rows) => {
                    gather(body, input, from, height, &mut rows.0, &mut taps[0]);
                    &rows.0[..]
                }
                None => {
                    if kept {
                        offsets(g, from, height, 0, &mut taps[..weights.taps]);
                    }
                    input
                }
            };
            for p in block {
                if p.channels.1 <= channels.start || p.channels.0 >= channels.end {
                    continue;
                }
                let tap_bytes = p.weights.1 / weights.taps;
                let mut tap = 0;
                while tap < weights.taps {
                    let part = (weights.taps - tap).min(MAX_TAPS);
                    if !kept {
                        offsets(g, from, height, tap, &mut taps[..part]);
                    }
                    let args = Args {
                        input: source,
                        padding: &weights.padding,
                        taps: &taps[..part],
                        channel: p.depth_start,
                        steps,
                        lanes,
                        weights: &weights.packed[p.weights.0 + tap * tap_bytes..]
                            [..part * tap_bytes],
                        bias: (tap == 0).then(|| &body.bias[p.channels.0..]),
                        acc: &mut sums.0,
                    };
                    tile(isa, height, p.vectors, args);
                    tap += part;
                }
                finish(isa, body, &sums.0, p, &channels, from..from + height, &mut live);
            }
            from += height;
        }
    }
}

/// Panels in runs whose weights fit the second cache level.
fn blocks(panels: &[Panel]) -> impl Iterator<Item = &[Panel]> {
    let mut rest = panels;
    core::iter::from_fn(move || {
        let start = rest.first()?.weights.0;
        let n =
            rest.iter().take_while(|p| p.weights.0 + p.weights.1 - start <= BLOCK_BYTES).count();
        let (block, after) = rest.split_at(n.max(1));
        rest = after;
        Some(block)
    })
}

/// Offsets of the pixels that taps `first..` read for output pixels `from..from + height`.
#[inline(always)]
fn offsets(g: &Geometry, from: usize, height: usize, first: usize, taps: &mut [Tap]) {
    if g.is_pointwise() {
        for (r, offset) in taps[0].iter_mut().take(height).enumerate() {
            *offset = ((from + r) * g.pixel_stride) as u32;
        }
        return;
    }
    let (mut y, mut x) = (from / g.output[1], from % g.output[1]);
    let (first_row, first_column) = (first / g.size[1], first % g.size[1]);
    for r in 0..height {
        let (mut ky, mut kx) = (first_row, first_column);
        let mut line = g.tap(0, y, ky).map(|y| y * g.input[1]);
        for tap in taps.iter_mut() {
            tap[r] = match (line, g.tap(1, x, kx)) {
                (Some(line), Some(x)) => ((line + x) * g.pixel_stride) as u32,
                _ => OUTSIDE,
            };
            kx += 1;
            if kx == g.size[1] {
                (ky, kx) = (ky + 1, 0);
                line = g.tap(0, y, ky).map(|y| y * g.input[1]);
            }
        }
        x += 1;
        if x == g.output[1] {
            (y, x) = (y + 1, 0);
        }
    }
}

/// Copies the windows of output pixels `from..from + height` into rows.
#[inline(always)]
fn gather(body: &Body, input: &[u8], from: usize, height: usize, rows: &mut [u8], tap: &mut Tap) {
    let g = &body.geometry;
    let depth = body.depth;
    let stride = (g.taps() * depth).next_multiple_of(16);
    let line = g.size[1] * depth;
    let joined = g.dilation[1] == 1 && g.pixel_stride == depth;
    let (mut y, mut x) = (from / g.output[1], from % g.output[1]);
    for r in 0..height {
        let row = &mut rows[r * stride..];
        tap[r] = (r * stride) as u32;
        let inside = g.inside(1, x);
        let left = (x * g.stride[1]).wrapping_sub(g.padding[1]);
        for ky in 0..g.size[0] {
            let row = &mut row[ky * line..];
            match g.tap(0, y, ky).filter(|_| !inside.is_empty()) {
                Some(y) if joined && inside == (0..g.size[1]) => {
                    // Copies of constant length are two instructions. What is written too much is overwritten by the
                    // next line, or meets zero weights.
                    let from = &input[(y * g.input[1] + left) * depth..];
                    match line {
                        ..=16 => row[..16].copy_from_slice(&from[..16]),
                        17..=32 => row[..32].copy_from_slice(&from[..32]),
                        _ => row[..line].copy_from_slice(&from[..line]),
                    }
                }
                Some(y) => {
                    row[..inside.start * depth].fill(body.zero);
                    row[inside.end * depth..line].fill(body.zero);
                    for kx in inside.clone() {
                        let x = left.wrapping_add(kx * g.dilation[1]);
                        let from = &input[(y * g.input[1] + x) * g.pixel_stride..][..depth];
                        row[kx * depth..][..depth].copy_from_slice(from);
                    }
                }
                None => row[..line].fill(body.zero),
            }
        }
        x += 1;
        if x == g.output[1] {
            (y, x) = (y + 1, 0);
        }
    }
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
