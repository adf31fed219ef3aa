//! Products of small maps: all six points of a column at once, a few tiles at a time. Sums of points never leave the
//! registers, and the weights of a column, read once for each few tiles, stay in the first cache level.

use super::back::put;
use super::product::ASK;
use super::{IN, OUT, vector};
use crate::isa::{Isa, Kernel};

/// Arguments of the products of a column of points.
pub(super) struct Args<'a> {
    /// Inputs: per vector of channels, per tile, per point.
    pub words: &'a [u8],
    pub tiles: usize,
    /// Weights: per pair of channels, per point, per vector of sums.
    pub weights: &'a [u8],
    /// What the sums of the second point start from, one value for each channel; the others start from 0.
    pub start: &'a [i32],
    /// What is asked for from memory meanwhile.
    pub ahead: &'a [i8],
    /// Results, from the first row of this column of the first tile on.
    pub out: &'a mut [i32],
}

struct Column<'a, I: Isa, const MR: usize, const NV: usize> {
    isa: I,
    args: Args<'a>,
}

impl<I: Isa, const MR: usize, const NV: usize> Kernel for Column<'_, I, MR, NV> {
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, mut args } = self;
        let mut ahead = args.ahead;
        let ask = ahead.len().div_ceil(args.tiles.div_ceil(MR)).next_multiple_of(ASK);
        let mut tile = 0;
        while tile < args.tiles {
            let (now, later) = ahead.split_at(ask.min(ahead.len()));
            ahead = later;
            for at in (0..now.len()).step_by(ASK) {
                isa.prefetch(now, at);
            }
            if args.tiles - tile >= MR {
                tiles::<I, MR, NV>(isa, &mut args, tile);
                tile += MR;
            } else {
                tiles::<I, 1, NV>(isa, &mut args, tile);
                tile += 1;
            }
        }
    }
}

/// `MR` tiles from `tile` on.
#[inline(always)]
fn tiles<I: Isa, const MR: usize, const NV: usize>(isa: I, args: &mut Args<'_>, tile: usize) {
    let start: [I::I; NV] = core::array::from_fn(|n| isa.load_i32(&args.start[n * I::LANES..]));
    let mut acc: [[[I::I; NV]; MR]; IN] = [[[isa.splat(0); NV]; MR]; IN];
    acc[1] = [start; MR];
    let (of_tile, of_pair) = (IN * vector::<I>(), IN * NV * vector::<I>());
    let words = args.words.chunks_exact(args.tiles * of_tile);
    for (words, weights) in words.zip(args.weights.chunks(I::LANES * of_pair)) {
        let words = &words[tile * of_tile..][..MR * of_tile];
        if let Some(weights) = weights.get(..I::LANES * of_pair) {
            // Nothing is left to check or to count: what does so takes the place of products. It stays a loop, as long as
            // it is; of products one behind the other compilers make two instructions each.
            for k in 0..I::LANES {
                add(isa, &mut acc, words, &weights[k * of_pair..][..of_pair], k);
            }
        } else {
            for (k, weights) in weights.chunks_exact(of_pair).enumerate() {
                add(isa, &mut acc, words, weights, k % I::LANES);
            }
        }
    }
    let row = NV * I::LANES;
    for r in 0..MR {
        let out = &mut args.out[(tile + r) * OUT * IN * row..][..((OUT - 1) * IN + 1) * row];
        for n in 0..NV {
            let (at, [a, b, c, d, e, f]) = (n * I::LANES, &acc);
            let sums = [a[r][n], b[r][n], c[r][n], d[r][n], e[r][n], f[r][n]];
            put(isa, sums, &mut out[at..], row);
        }
    }
}

/// Adds the products of pair `k` of a vector of channels.
#[inline(always)]
fn add<I: Isa, const MR: usize, const NV: usize>(
    isa: I,
    acc: &mut [[[I::I; NV]; MR]; IN],
    words: &[u8],
    weights: &[u8],
    k: usize,
) {
    for (p, acc) in acc.iter_mut().enumerate() {
        let w: [I::H; NV] =
            core::array::from_fn(|n| isa.load_words(&weights[(p * NV + n) * vector::<I>()..]));
        for (r, acc) in acc.iter_mut().enumerate() {
            let x = words[(r * IN + p) * vector::<I>() + 4 * k..].first_chunk();
            let x = isa.pair(x.expect("a pair"));
            for (acc, w) in acc.iter_mut().zip(w) {
                *acc = isa.dot(*acc, x, w);
            }
        }
    }
}

/// Multiplies for `vectors` vectors of sums: [`Isa::NV`], or 1.
#[inline(always)]
pub(super) fn products<I: Isa>(isa: I, vectors: usize, args: Args<'_>) {
    match vectors {
        1 => isa.enter(Column::<I, 4, 1> { isa, args }),
        2 => isa.enter(Column::<I, 2, 2> { isa, args }),
        _ => unreachable!("no such tile"),
    }
}
