//! Weights: kept as they are, nine bytes for each pair of channels, and transformed in every run, one panel after the
//! other. Transformed they are eight times as large and would have to come from memory.

use super::super::conv::Source;
use super::{IN, POINTS};
use crate::isa::{AreaMut, Isa, Kernel};
use core::ops::Range;

/// Taps of the window.
const TAPS: usize = 9;

/// Bytes of a panel of so many vectors of output channels.
pub(super) const fn panel_bytes<I: Isa>(pairs: usize, vectors: usize) -> usize {
    pairs * vectors * TAPS * 2 * I::LANES
}

/// Bytes from point to point of a transformed panel: an odd number of cache lines, so that the points of a weight are
/// not in the same place of the cache.
pub(super) const fn point_bytes<I: Isa>(pairs: usize, vectors: usize) -> usize {
    pairs * vectors * 4 * I::LANES / 128 * 128 + 64 * 3
}

/// Bytes of a transformed panel.
pub(super) const fn transformed_bytes<I: Isa>(pairs: usize, vectors: usize) -> usize {
    POINTS * point_bytes::<I>(pairs, vectors)
}

/// Packs the weights of some output channels into zeros: per pair of input channels, per vector, per tap.
#[inline(always)]
pub(super) fn fill<I: Isa>(
    out: &mut [u8],
    depth: usize,
    vectors: usize,
    channels: Range<usize>,
    source: Source<'_>,
) {
    let step = vectors * TAPS * 2 * I::LANES;
    for (n, channel) in channels.enumerate() {
        let weights = source.channel(channel);
        let (vector, lane) = (n / I::LANES, n % I::LANES);
        let place = [0, 1].map(|k| I::word_index(lane, k));
        for (tap, weights) in weights.chunks_exact(depth).enumerate() {
            let first = (vector * TAPS + tap) * 2 * I::LANES;
            let (pairs, odd) = weights.as_chunks::<2>();
            let mut out = out[first..].chunks_mut(step);
            for (pair, out) in pairs.iter().zip(&mut out) {
                out[place[0]] = pair[0];
                out[place[1]] = pair[1];
            }
            if let (&[weight], Some(out)) = (odd, out.next()) {
                out[place[0]] = weight;
            }
        }
    }
}

/// Transforms a panel: per point, per pair of input channels, per vector.
pub(super) struct Transform<'a, I: Isa> {
    pub isa: I,
    pub packed: &'a [i8],
    /// Vectors of output channels.
    pub vectors: usize,
    /// Room for [`transformed_bytes`].
    pub out: &'a mut [u8],
}

impl<I: Isa> Kernel for Transform<'_, I> {
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, packed, vectors, out } = self;
        let six = isa.splat_i16(6);
        let pairs = packed.len() / (TAPS * 2 * I::LANES * vectors);
        let of_point = point_bytes::<I>(pairs, vectors);
        for (i, taps) in packed.chunks_exact(TAPS * 2 * I::LANES).enumerate() {
            let column = [
                line(isa, six, load(isa, taps, 0)),
                line(isa, six, load(isa, taps, 1)),
                line(isa, six, load(isa, taps, 2)),
            ];
            let len = 4 * I::LANES;
            let mut out = AreaMut::new(out, POINTS, i * len, of_point, len);
            // Not a loop: what it indexes would be kept in memory.
            store::<I, 0>(isa, six, &column, &mut out);
            store::<I, 1>(isa, six, &column, &mut out);
            store::<I, 2>(isa, six, &column, &mut out);
            store::<I, 3>(isa, six, &column, &mut out);
            store::<I, 4>(isa, six, &column, &mut out);
            store::<I, 5>(isa, six, &column, &mut out);
        }
    }
}

/// Column `j` of the window.
#[inline(always)]
fn load<I: Isa>(isa: I, taps: &[i8], j: usize) -> [I::H; 3] {
    let vector = 2 * I::LANES;
    [
        isa.widen_weights(&taps[j * vector..]),
        isa.widen_weights(&taps[(3 + j) * vector..]),
        isa.widen_weights(&taps[(6 + j) * vector..]),
    ]
}

/// Transforms row `R` of the transformed columns and stores it.
#[inline(always)]
fn store<I: Isa, const R: usize>(
    isa: I,
    six: I::H,
    column: &[[I::H; IN]; 3],
    out: &mut AreaMut<'_>,
) {
    let row = line(isa, six, [column[0][R], column[1][R], column[2][R]]);
    let len = 4 * I::LANES;
    isa.store_words(row[0], out.get(R, 0, len));
    isa.store_words(row[1], out.get(IN + R, 0, len));
    isa.store_words(row[2], out.get(2 * IN + R, 0, len));
    isa.store_words(row[3], out.get(3 * IN + R, 0, len));
    isa.store_words(row[4], out.get(4 * IN + R, 0, len));
    isa.store_words(row[5], out.get(5 * IN + R, 0, len));
}

/// `G w` of three weights, with the rows multiplied by 24, -6, -6, 24, 24 and 6.
#[inline(always)]
pub(super) fn line<I: Isa>(isa: I, six: I::H, [a, b, c]: [I::H; 3]) -> [I::H; IN] {
    let sum = isa.add_words(a, c);
    let even = isa.add_words(a, isa.four_words(c));
    let odd = isa.add_words(b, b);
    [
        isa.mul_words(a, six),
        isa.add_words(sum, b),
        isa.sub_words(sum, b),
        isa.add_words(even, odd),
        isa.sub_words(even, odd),
        isa.mul_words(c, six),
    ]
}
