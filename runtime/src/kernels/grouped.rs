//! Grouped convolution: which kernel it is, and the one for 4, 8 or 16 channels per group and a window of three columns
//! where neither [`lined`] nor [`woven`] fits.
//!
//! One vector of weights serves several groups: the four bytes of each group's input are spread over the lanes of its
//! output channels. Each spread column meets up to three taps, so a tile of `P` neighbouring pixels needs `P + 2` of
//! them. Other groups of 32 channels and more fill the indirect GEMM's tile and are left to it.

use super::conv::{Body, Source};
use super::epilogue::MAX_LANES;
use super::live::Live;
use super::pack::{Packed, Shelf, panel, panel_bytes};
use super::segment::{MAX_PIXELS, Row, Sums, inside, segments, tiles};
use super::{lined, woven};
use crate::isa::{Isa, Kernel, strided, strided_inside};
use crate::pages::Pages;
use alloc::sync::Arc;
use core::ops::Range;

/// Window columns.
const COLUMNS: usize = 3;

/// Weights of one of the kernels for groups.
pub(super) enum Weights {
    /// Activations stay in their lanes.
    Woven(woven::Weights),
    /// Lines are copied side by side.
    Lined(lined::Weights),
    /// Activations are spread over lanes.
    Spread(Spread),
}

/// Weights, per block of `LANES` output channels: per window row, per four k, per column.
pub(super) struct Spread {
    packed: Packed,
    block_bytes: usize,
    /// Pixels of a tile: 8 or 7, whichever divides the rows better.
    tile: usize,
}

/// Whether one of the kernels takes this convolution.
pub(super) fn fits<I: Isa>(body: &Body, groups: usize) -> bool {
    lined::fits::<I>(body, groups) || is_small(body, groups)
}

/// Whether groups are smaller than a tile of the indirect GEMM.
fn is_small(body: &Body, groups: usize) -> bool {
    let g = &body.geometry;
    matches!(body.depth, 4 | 8 | 16)
        && body.channels_out == groups * body.depth
        && groups > 1
        && g.size[1] == COLUMNS
        && g.dilation[1] == 1
        && g.stride[1] <= 2
}

impl Weights {
    #[inline(always)]
    pub fn pack<I: Isa>(isa: I, body: &Body, source: Source<'_>, shelf: &mut Shelf) -> Self {
        if lined::fits::<I>(body, body.channels_out / body.depth) {
            Self::Lined(lined::Weights::pack(isa, body, source, shelf))
        } else if woven::fits::<I>(body) {
            Self::Woven(woven::Weights::pack(isa, body, source, shelf))
        } else {
            Self::Spread(Spread::pack(isa, body, source, shelf))
        }
    }

    /// Whether products are those of pairs.
    #[cfg(test)]
    pub fn is_in_pairs(&self) -> bool {
        matches!(self, Self::Woven(w) if w.is_in_pairs())
    }

    /// Whether all sums are raised.
    #[cfg(test)]
    pub fn is_raised(&self) -> bool {
        match self {
            Self::Woven(w) => w.is_raised(),
            Self::Lined(w) => w.is_raised(),
            Self::Spread(_) => false,
        }
    }

    /// Whether the kernel wants whole rows of pixels.
    pub fn takes_rows(&self) -> bool {
        matches!(self, Self::Lined(_))
    }

    pub fn attach(&mut self, shelf: &[Arc<Pages>]) {
        match self {
            Self::Woven(w) => w.attach(shelf),
            Self::Lined(w) => w.attach(shelf),
            Self::Spread(w) => w.packed.attach(shelf),
        }
    }
}

impl Spread {
    #[inline(always)]
    fn pack<I: Isa>(_: I, body: &Body, source: Source<'_>, shelf: &mut Shelf) -> Self {
        let rows = body.geometry.size[0];
        let block_bytes = panel_bytes::<I>(rows * COLUMNS, body.depth, 1);
        let blocks = body.channels_out.div_ceil(I::LANES);
        let (packed, out) = shelf.take(blocks * block_bytes);
        for (block, out) in out.chunks_exact_mut(block_bytes).enumerate() {
            let first = block * I::LANES;
            let channels = I::LANES.min(body.channels_out - first);
            // Seen as a panel whose taps are (row, four k) and whose vectors are the columns' weights.
            let quads = body.depth / 4;
            for (tap, out) in out.chunks_exact_mut(COLUMNS * 4 * I::LANES).enumerate() {
                let (row, quad) = (tap / quads, tap % quads);
                for (column, out) in out.chunks_exact_mut(4 * I::LANES).enumerate() {
                    let at = (row * COLUMNS + column) * body.depth + 4 * quad;
                    panel::<I>(out, 1, channels, 1, 4, |n, _| {
                        &source.channel(first + n)[at..][..4]
                    });
                }
            }
        }
        let width = body.geometry.output[1];
        let tile = if width.next_multiple_of(8) <= width.next_multiple_of(7) { 8 } else { 7 };
        Self { packed, block_bytes, tile }
    }
}

#[inline(always)]
pub(super) fn run<I: Isa>(
    isa: I,
    body: &Body,
    weights: &Weights,
    (input, next): (&[u8], &[i8]),
    mut live: Live<'_, I>,
    range: Range<usize>,
) {
    let weights = match weights {
        // Elsewhere its lines are no part of the stack.
        Weights::Lined(w) if const { lined::has::<I>() } => {
            return lined::run(isa, body, w, (input, next), live, range);
        }
        Weights::Lined(_) => unreachable!("chosen where it is compiled"),
        Weights::Woven(w) => return woven::run(isa, body, w, input, live, range),
        Weights::Spread(w) => w,
    };
    let mut sums = Sums([0; MAX_PIXELS * MAX_LANES]);
    for segment in segments(&body.geometry, range, MAX_PIXELS) {
        for (block, weights_) in weights.packed.chunks_exact(weights.block_bytes).enumerate() {
            let channel = block * I::LANES;
            let (sums, live) = (&mut sums, &mut live);
            let row = Row { body, input, segment, channel, weights: weights_, sums, live };
            run_row(isa, weights.tile, row);
        }
    }
}

/// Runs a row in tiles of `tile` pixels. Every shape is a function of its own, as in `gemm`.
#[inline(always)]
fn run_row<I: Isa>(isa: I, tile: usize, row: Row<'_, '_, i8, I>) {
    // Without registers for them, large tiles are large functions for nothing.
    let tile = if row.segment.width < tile || !I::FINISHES { 1 } else { tile };
    macro_rules! shapes {
        ($(($cpg:literal, $stride:literal, $p:literal))*) => {
            match (row.body.depth, row.body.geometry.stride[1], tile) {
                $(($cpg, $stride, $p) if const { $p == 1 || I::FINISHES } => {
                    const COLS: usize = ($p - 1) * $stride + COLUMNS;
                    isa.enter(Tiled::<I, $cpg, $stride, $p, COLS> { isa, row })
                })*
                _ => unreachable!("`fits` admits 4, 8, 16 channels and strides 1, 2"),
            }
        };
    }
    shapes!((4, 1, 1)(4, 1, 7)(4, 1, 8)(4, 2, 1)(4, 2, 7)(4, 2, 8)(8, 1, 1)(8, 1, 7)(8, 1, 8)(
        8, 2, 1
    )(8, 2, 7)(8, 2, 8)(16, 1, 1)(16, 1, 7)(16, 1, 8)(16, 2, 1)(16, 2, 7)(16, 2, 8));
}

struct Tiled<'a, 'l, I: Isa, const CPG: usize, const S: usize, const P: usize, const COLS: usize> {
    isa: I,
    row: Row<'a, 'l, i8, I>,
}

impl<I: Isa, const CPG: usize, const S: usize, const P: usize, const COLS: usize> Kernel
    for Tiled<'_, '_, I, CPG, S, P, COLS>
{
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, mut row } = self;
        let Row { body, input, segment, channel, weights, .. } = row;
        let g = &body.geometry;
        // With fewer channels in a group than lanes, a block covers several groups.
        let first = if CPG >= I::LANES { channel / CPG * CPG } else { channel };
        let bias = isa.load_i32(&body.bias[channel..]);
        let direct = row.is_direct::<P>();
        let padding = [body.zero; 16];
        for x in tiles::<P>(segment) {
            let left = (x * S).wrapping_sub(g.padding[1]);
            let inside = inside(left, 1, COLS, g.input[1]);
            let mut acc = [bias; P];
            for (ky, w) in weights.chunks_exact(CPG * COLUMNS * I::LANES).enumerate() {
                let columns = match g.tap(0, segment.y, ky) {
                    Some(y) if inside == (0..COLS) => {
                        let at = (y * g.input[1] + left) * g.pixel_stride + first;
                        strided::<COLS, 16>(&input[at..], g.pixel_stride)
                    }
                    Some(y) if !inside.is_empty() => {
                        let left = left.wrapping_add(inside.start);
                        let at = (y * g.input[1] + left) * g.pixel_stride + first;
                        let inside = inside.clone();
                        strided_inside::<COLS, 16>(&input[at..], g.pixel_stride, inside, &padding)
                    }
                    _ => [&padding; COLS],
                };
                let quad = COLUMNS * 4 * I::LANES;
                taps::<I, CPG, 0, S, P, COLS>(isa, &mut acc, &columns, &w[..quad]);
                if CPG >= 8 {
                    taps::<I, CPG, 1, S, P, COLS>(isa, &mut acc, &columns, &w[quad..2 * quad]);
                }
                if CPG >= 16 {
                    taps::<I, CPG, 2, S, P, COLS>(isa, &mut acc, &columns, &w[2 * quad..3 * quad]);
                    taps::<I, CPG, 3, S, P, COLS>(isa, &mut acc, &columns, &w[3 * quad..4 * quad]);
                }
            }
            row.take(isa, direct, x, &acc);
        }
        row.end(isa, direct);
    }
}

/// The three columns of a window row, for four channels of every group.
#[inline(always)]
fn taps<
    I: Isa,
    const CPG: usize,
    const J: usize,
    const S: usize,
    const P: usize,
    const COLS: usize,
>(
    isa: I,
    acc: &mut [I::I; P],
    columns: &[&[u8; 16]; COLS],
    w: &[i8],
) {
    let w: [I::W; COLUMNS] = core::array::from_fn(|kx| isa.weights(&w[kx * 4 * I::LANES..]));
    let x: [I::X; COLS] = core::array::from_fn(|c| isa.group::<CPG, J>(columns[c]));
    for (p, a) in acc.iter_mut().enumerate() {
        for kx in 0..COLUMNS {
            *a = isa.dp(*a, x[p * S + kx], w[kx]);
        }
    }
}
