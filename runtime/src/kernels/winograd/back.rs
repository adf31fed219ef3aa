//! From sums to accumulators, and on to the epilogue.

use super::super::conv::Body;
use super::super::epilogue::MAX_LANES;
use super::super::form::Form;
use super::super::live::{Column, Live};
use super::super::quads::Pixels;
use super::super::scale::Scale;
use super::{IN, OUT, Panel, Tiling};
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

/// Stores what [`back`] makes of a column of points: four rows of a tile. `row` values are all vectors of
/// one column in a row.
#[inline(always)]
pub(super) fn put<I: Isa>(isa: I, m: [I::I; IN], out: &mut [i32], row: usize) {
    let y = back(isa, m);
    isa.store_i32(y[0], out);
    isa.store_i32(y[1], &mut out[IN * row..]);
    isa.store_i32(y[2], &mut out[2 * IN * row..]);
    isa.store_i32(y[3], &mut out[3 * IN * row..]);
}

/// The form of the epilogue, if nothing but a multiplier comes before it.
#[inline(always)]
pub(super) fn form<I: Isa>(_: I, body: &Body) -> Form {
    if body.finishes_in_registers() { body.epilogue.form(I::BIAS) } else { Form::Any }
}

/// Makes accumulators of the sums of some tiles for the channels of a panel and passes them to the epilogue, which is of
/// `form`, as [`form`] says.
#[inline(always)]
pub(super) fn finish<I: Isa>(
    isa: I,
    (body, form): (&Body, Form),
    tiling: Tiling,
    tiles: Range<usize>,
    sums: &[i32],
    &Panel { channels, vectors, .. }: &Panel,
    live: &mut Live<'_, I>,
) {
    let is_whole = channels.1 - channels.0 == vectors * I::LANES;
    if !(body.finishes_in_quads() && is_whole) {
        isa.enter(OneByOne { isa, body, tiling, tiles, sums, channels, vectors, live });
        return;
    }
    macro_rules! enter {
        ($vectors:literal, $form:ident) => {{
            const FORM: u8 = Form::$form as u8;
            let back = Back::<I, $vectors, FORM> { isa, body, tiling, tiles, sums, channels, live };
            isa.enter(back)
        }};
    }
    match (vectors, form) {
        // What comes most often is compiled alone.
        (2, Form::Relu) if const { I::NV == 2 } => enter!(2, Relu),
        (2, Form::PreActivation) if const { I::NV == 2 } => enter!(2, PreActivation),
        (1, _) => enter!(1, Any),
        (2, _) => enter!(2, Any),
        _ => enter!(4, Any),
    }
}

/// Makes accumulators of the sums of some tiles and passes them to the epilogue, four vectors at a time.
struct Back<'a, 'l, I: Isa, const NV: usize, const FORM: u8> {
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

impl<I: Isa, const NV: usize, const FORM: u8> Kernel for Back<'_, '_, I, NV, FORM> {
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, body, tiling, tiles, mut sums, channels, live } = self;
        let (channel, count) = (channels.0, NV * I::LANES);
        let scale: [Scale<I>; NV] =
            core::array::from_fn(|n| match body.scale(isa, channel + n * I::LANES) {
                // Known to compilers.
                Scale { multiplier, .. } if FORM != Form::Any as u8 => Scale::of(multiplier),
                scale => scale,
            });
        let of_tile = OUT * IN * count;
        let mut tile = tiles.start;
        while tile < tiles.end {
            // Tiles side by side: where rows are read and written is found once for all of them.
            let (y, x) = tiling.place(tile);
            let mut beside = 1;
            while tile + beside < tiles.end && tiling.place(tile + beside) == (y, x + OUT * beside)
            {
                beside += 1;
            }
            for (i, share) in SHARE.into_iter().enumerate().take(tiling.rows.1 - y) {
                let pixel = (y + i) * tiling.width + x;
                let multipliers: [[I::F; DISTINCT]; NV] = core::array::from_fn(|n| {
                    core::array::from_fn(|j| {
                        isa.mul_f32(scale[n].multiplier, isa.splat_f32(share * SHARE[j]))
                    })
                });
                let pixels = Pixels::new(isa, live, (pixel, OUT * beside), channel, count);
                let Some(pixels) = pixels.in_form::<FORM>() else {
                    unreachable!("another epilogue")
                };
                let mut row = Row { isa, scale: &scale, multipliers, pixels };
                for (k, sums) in sums.chunks_exact(of_tile).take(beside).enumerate() {
                    row.finish(self::row::<I>(sums, NV, i), OUT * k);
                }
                if FORM == Form::Any as u8 {
                    live.after_quads(isa, pixel..pixel + OUT * beside, channel, count);
                }
            }
            sums = &sums[beside * of_tile..];
            tile += beside;
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
                    let acc = match i {
                        0 => exact::<I, 6, 5, 4>(isa, outputs),
                        1 => exact::<I, 5, 4, 3>(isa, outputs),
                        _ => exact::<I, 4, 3, 2>(isa, outputs),
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

/// Columns of outputs that differ in what comes out: the third and the fourth are alike.
const DISTINCT: usize = 3;

/// What an accumulator is of what comes out in a row and, once more, in a column, if that is multiplied by [`NINTH`].
const SHARE: [f32; OUT] = [1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0, 1.0 / 2.0];

/// A row of pixels.
struct Row<'t, I: Isa, const NV: usize> {
    isa: I,
    scale: &'t [Scale<I>; NV],
    /// For each column what its values are multiplied by.
    multipliers: [[I::F; DISTINCT]; NV],
    pixels: Pixels<'t, I>,
}

impl<I: Isa, const NV: usize> Row<'_, I, NV> {
    /// Finishes four pixels, from `at` on, from six sums for each vector of channels.
    #[inline(always)]
    fn finish(&mut self, sums: &[i32], at: usize) {
        let isa = self.isa;
        // No closures: compilers leave them as functions, and what is in registers is lost around a call.
        let a = self.values(sums, 0);
        let b = if NV > 1 { self.values(sums, 1 % NV) } else { a };
        let pixels = &mut self.pixels;
        match NV {
            1 => pixels.quad::<1>(isa, a, at, at + 3),
            2 => {
                pixels.quad::<2>(isa, [a[0], b[0], a[1], b[1]], at, at + 1);
                pixels.quad::<2>(isa, [a[2], b[2], a[3], b[3]], at + 2, at + 3);
            }
            _ => {
                let (c, d) = (self.values(sums, 2 % NV), self.values(sums, 3 % NV));
                let pixels = &mut self.pixels;
                pixels.quad::<4>(isa, [a[0], b[0], c[0], d[0]], at, at);
                pixels.quad::<4>(isa, [a[1], b[1], c[1], d[1]], at + 1, at + 1);
                pixels.quad::<4>(isa, [a[2], b[2], c[2], d[2]], at + 2, at + 2);
                pixels.quad::<4>(isa, [a[3], b[3], c[3], d[3]], at + 3, at + 3);
            }
        }
    }

    /// The scaled accumulators of vector `n` of channels.
    #[inline(always)]
    fn values(&self, sums: &[i32], n: usize) -> [I::F; OUT] {
        let (isa, scale, [first, second, other]) = (self.isa, &self.scale[n], self.multipliers[n]);
        let y = back(isa, load::<I>(isa, &sums[n * I::LANES..], NV * I::LANES));
        let ninth = isa.splat(NINTH);
        [
            scale.value_by(isa, isa.mul(y[0], ninth), first),
            scale.value_by(isa, isa.mul(y[1], ninth), second),
            scale.value_by(isa, isa.mul(y[2], ninth), other),
            scale.value_by(isa, isa.mul(y[3], ninth), other),
        ]
    }
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

/// Accumulators from `9 << A`, `9 << B`, `9 << C` and `9 << C` times as much.
#[inline(always)]
fn exact<I: Isa, const A: u32, const B: u32, const C: u32>(isa: I, y: [I::I; OUT]) -> [I::I; OUT] {
    let ninth = isa.splat(NINTH);
    [
        isa.shr::<A>(isa.mul(y[0], ninth)),
        isa.shr::<B>(isa.mul(y[1], ninth)),
        isa.shr::<C>(isa.mul(y[2], ninth)),
        isa.shr::<C>(isa.mul(y[3], ninth)),
    ]
}
