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

/// Bytes of the transformed weights of a column of points, if they are to be multiplied together.
pub(super) const fn column_bytes<I: Isa>(pairs: usize, vectors: usize) -> usize {
    pairs * IN * vectors * 4 * I::LANES
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

/// Transforms a panel for the six points of a column: per pair of input channels, per point, per vector.
pub(super) struct TransformColumn<'a, I: Isa> {
    pub isa: I,
    pub packed: &'a [i8],
    /// Vectors of output channels.
    pub vectors: usize,
    pub column: usize,
    /// As many as [`column_bytes`].
    pub out: &'a mut [u8],
}

impl<I: Isa> Kernel for TransformColumn<'_, I> {
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        match self.column {
            0 => self.of::<0>(),
            1 => self.of::<1>(),
            2 => self.of::<2>(),
            3 => self.of::<3>(),
            4 => self.of::<4>(),
            _ => self.of::<5>(),
        }
    }
}

impl<I: Isa> TransformColumn<'_, I> {
    #[inline(always)]
    fn of<const J: usize>(self) {
        let Self { isa, packed, vectors, out, .. } = self;
        let (six, len) = (isa.splat_i16(6), 4 * I::LANES);
        let steps = packed.chunks_exact(TAPS * 2 * I::LANES * vectors);
        for (taps, out) in steps.zip(out.chunks_exact_mut(IN * vectors * len)) {
            for (i, taps) in taps.chunks_exact(TAPS * 2 * I::LANES).enumerate() {
                let row = [
                    line(isa, six, load_row(isa, taps, 0))[J],
                    line(isa, six, load_row(isa, taps, 1))[J],
                    line(isa, six, load_row(isa, taps, 2))[J],
                ];
                let points = line(isa, six, row);
                let mut out = AreaMut::new(out, IN, i * len, vectors * len, len);
                isa.store_words(points[0], out.get(0, 0, len));
                isa.store_words(points[1], out.get(1, 0, len));
                isa.store_words(points[2], out.get(2, 0, len));
                isa.store_words(points[3], out.get(3, 0, len));
                isa.store_words(points[4], out.get(4, 0, len));
                isa.store_words(points[5], out.get(5, 0, len));
            }
        }
    }
}

/// Row `i` of the window.
#[inline(always)]
fn load_row<I: Isa>(isa: I, taps: &[i8], i: usize) -> [I::H; 3] {
    let vector = 2 * I::LANES;
    [
        isa.widen_weights(&taps[3 * i * vector..]),
        isa.widen_weights(&taps[(3 * i + 1) * vector..]),
        isa.widen_weights(&taps[(3 * i + 2) * vector..]),
    ]
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
