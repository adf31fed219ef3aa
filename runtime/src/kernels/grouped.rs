//! Grouped convolution with 4, 8 or 16 channels per group and a window of three columns.
//!
//! One vector of weights serves several groups: the four bytes of each group's input are spread over the lanes of its
//! output channels. Each spread column meets up to three taps, so a tile of `P` neighbouring pixels needs `P + 2` of
//! them. Groups of 32 channels and more fill the indirect GEMM's tile and are left to it.

use super::conv::{Body, Source};
use super::epilogue::{Live, MAX_LANES};
use super::pack::{Packed, panel, panel_bytes};
use super::segment::{Edge, MAX_PATCH, MAX_PIXELS, Patch, Segment, Sums, finish, segments};
use crate::isa::{Isa, Kernel, strided};
use core::ops::Range;

/// Window columns.
const COLUMNS: usize = 3;

/// Weights, per block of `LANES` output channels: per window row, per four k, per column.
pub(super) struct Weights {
    packed: Packed,
    block_bytes: usize,
    /// Pixels of a tile: 8 or 7, whichever divides the rows better.
    tile: usize,
}

/// Whether the kernel takes this convolution.
pub(super) fn fits(body: &Body, groups: usize) -> bool {
    let g = &body.geometry;
    matches!(body.depth, 4 | 8 | 16)
        && body.channels_out == groups * body.depth
        && groups > 1
        && g.size[1] == COLUMNS
        && g.dilation[1] == 1
        && g.stride[1] <= 2
        && g.size[0] * (7 * g.stride[1] + COLUMNS) <= MAX_PATCH
}

impl Weights {
    #[inline(always)]
    pub fn pack<I: Isa>(_: I, body: &Body, source: Source<'_>) -> Self {
        let rows = body.geometry.size[0];
        let block_bytes = panel_bytes::<I>(rows * COLUMNS, body.depth, 1);
        let blocks = body.channels_out.div_ceil(I::LANES);
        let mut packed = Packed::zeros(blocks * block_bytes);
        for (block, out) in packed.as_mut().chunks_exact_mut(block_bytes).enumerate() {
            let first = block * I::LANES;
            let channels = I::LANES.min(body.channels_out - first);
            // Seen as a panel whose taps are (row, four k) and whose vectors are the columns' weights.
            let quads = body.depth / 4;
            for (tap, out) in out.chunks_exact_mut(COLUMNS * 4 * I::LANES).enumerate() {
                let (row, quad) = (tap / quads, tap % quads);
                for (column, out) in out.chunks_exact_mut(4 * I::LANES).enumerate() {
                    panel::<I>(out, 1, channels, 1, 4, |n, _, k| {
                        source.at(first + n, row * COLUMNS + column, 4 * quad + k)
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
    input: &[u8],
    mut live: Live<'_, I>,
    range: Range<usize>,
) {
    let mut sums = Sums([0; MAX_PIXELS * MAX_LANES]);
    let mut edge = [[0; 16]; MAX_PATCH];
    for segment in segments(&body.geometry, range) {
        for (block, w) in weights.packed.chunks_exact(weights.block_bytes).enumerate() {
            let channel = block * I::LANES;
            row(
                isa,
                weights.tile,
                Row {
                    body,
                    input,
                    segment,
                    channel,
                    weights: w,
                    edge: &mut edge,
                    sums: &mut sums.0,
                },
            );
            finish(isa, body, &sums, segment, channel, &mut live);
        }
    }
}

/// One block of output channels of a segment.
struct Row<'a> {
    body: &'a Body,
    input: &'a [u8],
    segment: Segment,
    channel: usize,
    weights: &'a [i8],
    edge: &'a mut Edge,
    sums: &'a mut [i32],
}

/// Runs a row in tiles of `tile` pixels. Every shape is a function of its own, as in `gemm`.
#[inline(always)]
fn row<I: Isa>(isa: I, tile: usize, row: Row<'_>) {
    let tile = if row.segment.width < tile { 1 } else { tile };
    macro_rules! shapes {
        ($(($cpg:literal, $stride:literal, $p:literal))*) => {
            match (row.body.depth, row.body.geometry.stride[1], tile) {
                $(($cpg, $stride, $p) => {
                    isa.enter(Tiled::<$cpg, $stride, $p, { ($p - 1) * $stride + COLUMNS }>(row))
                })*
                _ => unreachable!("`fits` admits 4, 8, 16 channels and strides 1, 2"),
            }
        };
    }
    shapes!((4, 1, 1)(4, 1, 7)(4, 1, 8)(4, 2, 1)(4, 2, 7)(4, 2, 8)(8, 1, 1)(8, 1, 7)(8, 1, 8)(
        8, 2, 1
    )(8, 2, 7)(8, 2, 8)(16, 1, 1)(16, 1, 7)(16, 1, 8)(16, 2, 1)(16, 2, 7)(16, 2, 8));
}

struct Tiled<'a, const CPG: usize, const S: usize, const P: usize, const COLS: usize>(Row<'a>);

impl<const CPG: usize, const S: usize, const P: usize, const COLS: usize> Kernel
    for Tiled<'_, CPG, S, P, COLS>
{
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Row { body, input, segment, channel, weights, edge, sums } = self.0;
        // With fewer channels in a group than lanes, a block covers several groups.
        let first = if CPG >= I::LANES { channel / CPG * CPG } else { channel };
        let bias = isa.load_i32(&body.bias[channel..]);
        let mut at = 0;
        while at < segment.width {
            // The last tile moves back to stay inside the segment and computes some pixels again.
            let tile = at.min(segment.width - P);
            let place = (segment.y, segment.x + tile);
            let patch = Patch::new(body, input, place, COLS, first, edge);
            let mut acc = [bias; P];
            for (ky, w) in weights.chunks_exact(CPG * COLUMNS * I::LANES).enumerate() {
                let columns = strided::<COLS>(patch.row(ky), patch.column_step);
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
            for (p, a) in acc.iter().enumerate() {
                isa.store_i32(*a, &mut sums[(tile + p) * I::LANES..]);
            }
            at += P;
        }
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
