//! Depthwise convolution: vectors of channels, any window.

use super::conv::{Body, Source};
use super::epilogue::{Live, MAX_LANES};
use super::geometry::Geometry;
use super::segment::{Edge, MAX_PATCH, MAX_PIXELS, Patch, Segment, Sums, finish, segments};
use crate::isa::{Isa, Kernel, strided};
use alloc::vec::Vec;
use core::ops::Range;

/// Pixels of a tile.
const TILE: usize = 8;

/// Weights as i32, per block of `LANES` channels, per tap.
pub(super) struct Weights {
    packed: Vec<i32>,
    block: usize,
}

/// Whether the kernel takes this convolution.
pub(super) fn fits(body: &Body, groups: usize) -> bool {
    let rows = body.geometry.size[0];
    body.depth == 1
        && body.channels_out == groups
        && groups > 1
        && rows * columns(&body.geometry, TILE) <= MAX_PATCH
}

/// Input columns that a tile of `pixels` output pixels reads.
#[inline(always)]
fn columns(g: &Geometry, pixels: usize) -> usize {
    (pixels - 1) * g.stride[1] + (g.size[1] - 1) * g.dilation[1] + 1
}

impl Weights {
    #[inline(always)]
    pub fn pack<I: Isa>(_: I, body: &Body, source: Source<'_>) -> Self {
        let taps = body.geometry.taps();
        let block = taps * I::LANES;
        let mut packed = alloc::vec![0; body.channels_out.div_ceil(I::LANES) * block];
        for (i, w) in packed.iter_mut().enumerate() {
            let (channel, tap) = (i / block * I::LANES + i % I::LANES, i % block / I::LANES);
            if channel < body.channels_out {
                *w = i32::from(source.at(channel, tap, 0));
            }
        }
        Self { packed, block }
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
        for (block, w) in weights.packed.chunks_exact(weights.block).enumerate() {
            let channel = block * I::LANES;
            let row = Row {
                body,
                input,
                segment,
                channel,
                weights: w,
                edge: &mut edge,
                sums: &mut sums.0,
            };
            if segment.width < TILE {
                isa.enter(Tiled::<1>(row));
            } else {
                isa.enter(Tiled::<TILE>(row));
            }
            finish(isa, body, &sums, segment, channel, &mut live);
        }
    }
}

/// One block of channels of a segment.
struct Row<'a> {
    body: &'a Body,
    input: &'a [u8],
    segment: Segment,
    channel: usize,
    weights: &'a [i32],
    edge: &'a mut Edge,
    sums: &'a mut [i32],
}

struct Tiled<'a, const P: usize>(Row<'a>);

impl<const P: usize> Kernel for Tiled<'_, P> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let Row { body, input, segment, channel, weights, edge, sums } = self.0;
        let g = &body.geometry;
        let columns = columns(g, P);
        let (step, dilation) = (g.stride[1], g.dilation[1]);
        let bias = isa.load_i32(&body.bias[channel..]);
        let mut at = 0;
        while at < segment.width {
            // The last tile moves back to stay inside the segment and computes some pixels again.
            let tile = at.min(segment.width - P);
            let place = (segment.y, segment.x + tile);
            let patch = Patch::new(body, input, place, columns, channel, edge);
            let (tap, pixel) = (dilation * patch.column_step, step * patch.column_step);
            let mut acc = [bias; P];
            for (ky, w) in weights.chunks_exact(g.size[1] * I::LANES).enumerate() {
                let row = patch.row(ky);
                for (kx, w) in w.chunks_exact(I::LANES).enumerate() {
                    let w = isa.load_i32(w);
                    let pixels = strided::<P>(&row[kx * tap..], pixel);
                    for (a, x) in acc.iter_mut().zip(pixels) {
                        *a = isa.mul_add(*a, isa.load_i8(x), w);
                    }
                }
            }
            for (p, a) in acc.iter().enumerate() {
                isa.store_i32(*a, &mut sums[(tile + p) * I::LANES..]);
            }
            at += P;
        }
    }
}
