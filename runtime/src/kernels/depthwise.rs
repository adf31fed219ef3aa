//! Depthwise convolution: vectors of channels, any window.

use super::conv::{Body, Source};
use super::epilogue::MAX_LANES;
use super::live::Live;
use super::segment::{MAX_PIXELS, Row, Sums, inside, segments, tiles};
use crate::isa::{Isa, Kernel, strided, strided_inside};
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
    body.depth == 1 && body.channels_out == groups && groups > 1
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
                *w = i32::from(source.channel(channel)[tap] as i8);
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
    for segment in segments(&body.geometry, range, MAX_PIXELS) {
        for (block, weights) in weights.packed.chunks_exact(weights.block).enumerate() {
            let channel = block * I::LANES;
            let (sums, live) = (&mut sums, &mut live);
            let row = Row { body, input, segment, channel, weights, sums, live };
            if segment.width < TILE {
                isa.enter(Tiled::<I, 1> { isa, row });
            } else {
                isa.enter(Tiled::<I, TILE> { isa, row });
            }
        }
    }
}

struct Tiled<'a, 'l, I: Isa, const P: usize> {
    isa: I,
    row: Row<'a, 'l, i32, I>,
}

impl<I: Isa, const P: usize> Kernel for Tiled<'_, '_, I, P> {
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, mut row } = self;
        let Row { body, input, segment, channel, weights, .. } = row;
        let g = &body.geometry;
        let (step, dilation) = (g.stride[1], g.dilation[1]);
        let bias = isa.load_i32(&body.bias[channel..]);
        let direct = row.is_direct::<P>();
        let padding = [body.zero; 16];
        for x in tiles::<P>(segment) {
            let left = (x * step).wrapping_sub(g.padding[1]);
            let mut acc = [bias; P];
            for (ky, w) in weights.chunks_exact(g.size[1] * I::LANES).enumerate() {
                let line = g.tap(0, segment.y, ky).map(|y| y * g.input[1]);
                for (kx, w) in w.chunks_exact(I::LANES).enumerate() {
                    let w = isa.load_i32(w);
                    let left = left.wrapping_add(kx * dilation);
                    let inside = inside(left, step, P, g.input[1]);
                    let pixels = match line {
                        Some(line) if inside == (0..P) => {
                            let at = (line + left) * g.pixel_stride + channel;
                            strided::<P, 16>(&input[at..], step * g.pixel_stride)
                        }
                        Some(line) if !inside.is_empty() => {
                            let left = left.wrapping_add(inside.start * step);
                            let at = (line + left) * g.pixel_stride + channel;
                            let step = step * g.pixel_stride;
                            strided_inside::<P, 16>(&input[at..], step, inside, &padding)
                        }
                        _ => [&padding; P],
                    };
                    for (a, x) in acc.iter_mut().zip(pixels) {
                        *a = isa.mul_add(*a, isa.load_i8(x), w);
                    }
                }
            }
            row.take(isa, direct, x, &acc);
        }
        row.end(isa, direct);
    }
}
