//! From sums to accumulators, and on to the epilogue.

use super::super::conv::Body;
use super::super::epilogue::MAX_LANES;
use super::super::live::{Column, Live};
use super::super::quads::Pixels;
use super::super::scale::Scale;
use super::{IN, OUT, Tiling};
use crate::isa::{Isa, Kernel};
use core::ops::Range;

/// `A m` of six sums: 24, 12, 6 and 6 times the outputs. The second and the third sum have the other sign.
#[inline(always)]
pub(super) fn back<I: Isa>(isa: I, m: [I::I; IN]) -> [I::I; OUT] {
    let (a, b) = (isa.add(m[1], m[2]), isa.sub(m[1], m[2]));
    let (c, d) = (isa.add(m[3], m[4]), isa.sub(m[3], m[4]));
    [
        isa.sub(isa.add(m[0], c), isa.four(a)),
        isa.sub(d, isa.add(b, b)),
        isa.sub(c, a),
        isa.add(isa.sub(m[5], b), isa.add(d, d)),
    ]
}

/// Makes accumulators of the sums of some tiles for `vectors` vectors of channels and passes them to the epilogue.
#[expect(clippy::too_many_arguments)]
#[inline(always)]
pub(super) fn finish<I: Isa>(
    isa: I,
    body: &Body,
    tiling: Tiling,
    tiles: Range<usize>,
    sums: &[i32],
    channels: (usize, usize),
    vectors: usize,
    live: &mut Live<'_, I>,
) {
    let is_whole = channels.1 - channels.0 == vectors * I::LANES;
    if !(body.finishes_in_quads() && is_whole) {
        isa.enter(OneByOne { isa, body, tiling, tiles, sums, channels, vectors, live });
        return;
    }
    match vectors {
        1 => isa.enter(Back::<I, 1> { isa, body, tiling, tiles, sums, channels, live }),
        2 => isa.enter(Back::<I, 2> { isa, body, tiling, tiles, sums, channels, live }),
        _ => isa.enter(Back::<I, 4> { isa, body, tiling, tiles, sums, channels, live }),
    }
}

/// Makes accumulators of the sums of some tiles and passes them to the epilogue, four vectors at a time.
struct Back<'a, 'l, I: Isa, const NV: usize> {
    pub isa: I,
    pub body: &'l Body,
    pub tiling: Tiling,
    pub tiles: Range<usize>,
    /// What [`back`] made of the columns of points: per tile, per row, per column, per vector of channels.
    pub sums: &'l [i32],
    /// First output channel, and the one behind the last.
    pub channels: (usize, usize),
    pub live: &'l mut Live<'a, I>,
}

impl<I: Isa, const NV: usize> Kernel for Back<'_, '_, I, NV> {
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, body, tiling, tiles, sums, channels, live } = self;
        let bias: [I::I; NV] =
            core::array::from_fn(|n| isa.load_i32(&body.bias[channels.0 + n * I::LANES..]));
        let scale: [Scale<I>; NV] =
            core::array::from_fn(|n| body.scale(isa, channels.0 + n * I::LANES));
        let mut rows = Rows { isa, bias, scale, channel: channels.0, live };
        for (tile, sums) in tiles.zip(sums.chunks_exact(OUT * IN * NV * I::LANES)) {
            let (y, x) = tiling.place(tile);
            let (width, left) = (tiling.width, tiling.rows.1 - y);
            let pixel = y * width + x;
            // What comes out of `back` twice is 36 times as much, and twice or four times that in the first rows and
            // columns.
            rows.finish::<6, 5, 4>(row::<I>(sums, NV, 0), pixel);
            if left > 1 {
                rows.finish::<5, 4, 3>(row::<I>(sums, NV, 1), pixel + width);
            }
            if left > 2 {
                rows.finish::<4, 3, 2>(row::<I>(sums, NV, 2), pixel + 2 * width);
            }
            if left > 3 {
                rows.finish::<4, 3, 2>(row::<I>(sums, NV, 3), pixel + 3 * width);
            }
        }
    }
}

/// For epilogues that are not finished four vectors at a time, vector by vector. Such layers are few and small; beside
/// [`Back`], whose rows are written out, this code would be repeated in each of them.
struct OneByOne<'a, 'l, I: Isa> {
    isa: I,
    body: &'l Body,
    tiling: Tiling,
    tiles: Range<usize>,
    /// As in [`Back`].
    sums: &'l [i32],
    channels: (usize, usize),
    vectors: usize,
    live: &'l mut Live<'a, I>,
}

impl<I: Isa> Kernel for OneByOne<'_, '_, I> {
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, body, tiling, tiles, sums, channels, vectors, live } = self;
        let step = vectors * I::LANES;
        for (tile, sums) in tiles.zip(sums.chunks_exact(OUT * IN * step)) {
            let (y, x) = tiling.place(tile);
            for i in 0..OUT.min(tiling.rows.1 - y) {
                let row = row::<I>(sums, vectors, i);
                for (n, channel) in (channels.0..channels.1).step_by(I::LANES).enumerate() {
                    let outputs = back(isa, load::<I>(isa, &row[n * I::LANES..], step));
                    let bias = isa.load_i32(&body.bias[channel..]);
                    let acc = match i {
                        0 => exact::<I, 6, 5, 4>(isa, outputs, bias),
                        1 => exact::<I, 5, 4, 3>(isa, outputs, bias),
                        _ => exact::<I, 4, 3, 2>(isa, outputs, bias),
                    };
                    let mut sums = [0; OUT * MAX_LANES];
                    for (sums, acc) in sums.chunks_exact_mut(I::LANES).zip(acc) {
                        isa.store_i32(acc, sums);
                    }
                    let lanes = I::LANES.min(channels.1 - channel);
                    let (sums, step, pixel) = (&sums[..], I::LANES, (y + i) * tiling.width + x);
                    let column = Column { sums, step, pixel, count: OUT, channel, lanes };
                    live.column(isa, &body.scale(isa, channel), column);
                }
            }
        }
    }
}

/// Row `i` of a tile.
#[inline(always)]
fn row<I: Isa>(sums: &[i32], vectors: usize, i: usize) -> &[i32] {
    let row = IN * vectors * I::LANES;
    &sums[i * row..][..row]
}

/// What all rows of four pixels have in common.
struct Rows<'a, 'l, I: Isa, const NV: usize> {
    isa: I,
    bias: [I::I; NV],
    scale: [Scale<I>; NV],
    /// First output channel.
    channel: usize,
    live: &'l mut Live<'a, I>,
}

impl<I: Isa, const NV: usize> Rows<'_, '_, I, NV> {
    /// Finishes four pixels from six sums for each vector of channels: the accumulators are multiplied by nine and
    /// shifted by `A`, `B`, `C` and `C` bits.
    #[inline(always)]
    fn finish<const A: u32, const B: u32, const C: u32>(&mut self, sums: &[i32], pixel: usize) {
        let (isa, channel) = (self.isa, self.channel);
        // No closures: compilers leave them as functions, and what is in registers is lost around a call.
        let a = self.sums::<A, B, C>(sums, 0);
        let b = if NV > 1 { self.sums::<A, B, C>(sums, 1 % NV) } else { a };
        let (c, d) = if NV > 2 {
            (self.sums::<A, B, C>(sums, 2 % NV), self.sums::<A, B, C>(sums, 3 % NV))
        } else {
            (a, b)
        };
        let a = values(isa, &self.scale[0], a);
        let b = if NV > 1 { values(isa, &self.scale[1 % NV], b) } else { a };
        let mut pixels = Pixels::new(isa, self.live, (pixel, OUT), channel, NV * I::LANES);
        match NV {
            1 => pixels.quad::<1>(isa, a, 0, 3),
            2 => {
                pixels.quad::<2>(isa, [a[0], b[0], a[1], b[1]], 0, 1);
                pixels.quad::<2>(isa, [a[2], b[2], a[3], b[3]], 2, 3);
            }
            _ => {
                let (c, d) =
                    (values(isa, &self.scale[2 % NV], c), values(isa, &self.scale[3 % NV], d));
                pixels.quad::<4>(isa, [a[0], b[0], c[0], d[0]], 0, 0);
                pixels.quad::<4>(isa, [a[1], b[1], c[1], d[1]], 1, 1);
                pixels.quad::<4>(isa, [a[2], b[2], c[2], d[2]], 2, 2);
                pixels.quad::<4>(isa, [a[3], b[3], c[3], d[3]], 3, 3);
            }
        }
        self.live.after_quads(isa, pixel..pixel + OUT, channel, NV * I::LANES);
    }

    /// The accumulators of vector `n` of channels.
    #[inline(always)]
    fn sums<const A: u32, const B: u32, const C: u32>(
        &self,
        sums: &[i32],
        n: usize,
    ) -> [I::I; OUT] {
        let isa = self.isa;
        exact::<I, A, B, C>(
            isa,
            back(isa, load::<I>(isa, &sums[n * I::LANES..], NV * I::LANES)),
            self.bias[n],
        )
    }
}

/// Scaled accumulators.
#[inline(always)]
fn values<I: Isa>(isa: I, scale: &Scale<I>, acc: [I::I; OUT]) -> [I::F; OUT] {
    [
        scale.value(isa, acc[0]),
        scale.value(isa, acc[1]),
        scale.value(isa, acc[2]),
        scale.value(isa, acc[3]),
    ]
}

/// Six sums of a vector of channels, `step` values apart.
#[inline(always)]
fn load<I: Isa>(isa: I, sums: &[i32], step: usize) -> [I::I; IN] {
    [
        isa.load_i32(sums),
        isa.load_i32(&sums[step..]),
        isa.load_i32(&sums[2 * step..]),
        isa.load_i32(&sums[3 * step..]),
        isa.load_i32(&sums[4 * step..]),
        isa.load_i32(&sums[5 * step..]),
    ]
}

/// The inverse of 9 modulo 2^32.
const NINTH: i32 = 954_437_177;

/// Accumulators from `9 << A`, `9 << B`, `9 << C` and `9 << C` times the sums.
#[inline(always)]
fn exact<I: Isa, const A: u32, const B: u32, const C: u32>(
    isa: I,
    y: [I::I; OUT],
    bias: I::I,
) -> [I::I; OUT] {
    let ninth = isa.splat(NINTH);
    [
        isa.add(isa.shr::<A>(isa.mul(y[0], ninth)), bias),
        isa.add(isa.shr::<B>(isa.mul(y[1], ninth)), bias),
        isa.add(isa.shr::<C>(isa.mul(y[2], ninth)), bias),
        isa.add(isa.shr::<C>(isa.mul(y[3], ninth)), bias),
    ]
}
