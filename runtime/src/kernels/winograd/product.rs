//! Products of transformed inputs and transformed weights: tiles by output channels, for the six points of a column.

use super::super::epilogue::MAX_LANES;
use super::back::put;
use super::{IN, OUT, vector};
use crate::isa::{Isa, Kernel};
use core::hint::black_box;

/// Bytes that [`Isa::prefetch`] asks for.
pub(super) const ASK: usize = 128;
/// What most sums start from.
pub(super) const ZEROS: [i32; 2 * MAX_LANES] = [0; 2 * MAX_LANES];

/// Arguments of a product of some tiles.
pub(super) struct Args<'a> {
    /// Inputs: per vector of channels, per tile, per point.
    pub words: &'a [u8],
    /// Weights of six points, `weight_step` bytes apart: per pair of channels, per vector of sums.
    pub weights: &'a [u8],
    pub weight_step: usize,
    pub pairs: usize,
    /// What the sums of the second point start from, one value for each channel; the others start from 0.
    pub start: &'a [i32],
    /// What is asked for from memory meanwhile.
    pub ahead: &'a [i8],
    /// Room for the sums of six points.
    pub sums: &'a mut [i32],
    /// Results, from the first row of this column of the first tile on.
    pub out: &'a mut [i32],
}

struct Product<'a, I: Isa, const MR: usize, const NV: usize> {
    isa: I,
    args: Args<'a>,
}

impl<I: Isa, const MR: usize, const NV: usize> Kernel for Product<'_, I, MR, NV> {
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, args } = self;
        let Args { words, weights, weight_step, pairs, start, ahead, sums, out } = args;
        // In all steps alike: many requests at once would keep loads waiting.
        let asks = IN * pairs.div_ceil(I::LANES);
        let ask = ahead.len().div_ceil(asks).next_multiple_of(ASK);
        let sums = &mut sums[..IN * MR * NV * I::LANES];
        let points = weights.chunks(weight_step).zip(sums.chunks_exact_mut(MR * NV * I::LANES));
        for (i, (weights, sums)) in points.enumerate().take(IN) {
            let words = &words[i * vector::<I>()..];
            let ahead = (ahead, ask, i * pairs.div_ceil(I::LANES) * ask);
            let start = if i == 1 { start } else { &ZEROS };
            let start: [I::I; NV] = core::array::from_fn(|n| isa.load_i32(&start[n * I::LANES..]));
            point::<I, MR, NV>(isa, words, weights, pairs, start, ahead, sums);
        }
        let row = NV * I::LANES;
        for r in 0..MR {
            let out = &mut out[r * OUT * IN * row..][..((OUT - 1) * IN + 1) * row];
            for n in 0..NV {
                let at = n * I::LANES;
                let sums = &sums[r * row + at..][..(IN - 1) * MR * row + I::LANES];
                let sums = [
                    isa.load_i32(sums),
                    isa.load_i32(&sums[MR * row..]),
                    isa.load_i32(&sums[2 * MR * row..]),
                    isa.load_i32(&sums[3 * MR * row..]),
                    isa.load_i32(&sums[4 * MR * row..]),
                    isa.load_i32(&sums[5 * MR * row..]),
                ];
                put(isa, sums, &mut out[at..], row);
            }
        }
    }
}

/// Sums of one point, which begin with `start`. `ahead` is what to ask for, how much of it with every vector of channels,
/// and from where on.
#[inline(always)]
fn point<I: Isa, const MR: usize, const NV: usize>(
    isa: I,
    words: &[u8],
    weights: &[u8],
    pairs: usize,
    start: [I::I; NV],
    (ahead, ask, mut asked): (&[i8], usize, usize),
    sums: &mut [i32],
) {
    let mut acc: [[I::I; NV]; MR] = [start; MR];
    let steps = weights[..pairs * NV * vector::<I>()].chunks(I::LANES * NV * vector::<I>());
    for (words, weights) in words.chunks(MR * IN * vector::<I>()).zip(steps) {
        let words = &words[..((MR - 1) * IN + 1) * vector::<I>()];
        for at in (asked..(asked + ask).min(ahead.len())).step_by(ASK) {
            isa.prefetch(ahead, at);
        }
        asked += ask;
        let lanes = if I::STAYS_A_LOOP { black_box(I::LANES) } else { I::LANES };
        for (k, weights) in weights.chunks_exact(NV * vector::<I>()).enumerate().take(lanes) {
            // No more than that in any case; compilers that do not know it would check it for every row.
            let k = k % I::LANES;
            let w: [I::H; NV] =
                core::array::from_fn(|n| isa.load_words(&weights[n * vector::<I>()..]));
            for (r, acc) in acc.iter_mut().enumerate() {
                let x = words[r * IN * vector::<I>() + 4 * k..].first_chunk().expect("a pair");
                let x = isa.pair(x);
                for (acc, w) in acc.iter_mut().zip(w) {
                    *acc = isa.dot(*acc, x, w);
                }
            }
        }
    }
    for (sums, acc) in sums.chunks_exact_mut(I::LANES).zip(acc.as_flattened()) {
        isa.store_i32(*acc, sums);
    }
}

/// Computes `rows` tiles by `vectors`: [`Isa::NV`], or 1.
#[inline(always)]
pub(super) fn product<I: Isa>(isa: I, rows: usize, vectors: usize, args: Args<'_>) {
    macro_rules! shapes {
        ($($nv:literal: $($mr:literal)*;)*) => {
            match (rows, vectors) {
                $($(($mr, $nv) => if const { $mr <= I::WORD_ROWS && ($nv == 1 || $nv == I::NV) } {
                    isa.enter(Product::<I, $mr, $nv> { isa, args })
                } else {
                    unreachable!("no such tile")
                })*)*
                _ => unreachable!("no such tile"),
            }
        };
    }
    shapes!(
        1: 1 2 3 4 5 6 7 8 9 10;
        2: 1 2 3 4 5 6 7 8 9 10;
        4: 1 2 3 4;
    )
}
