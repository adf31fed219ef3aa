//! The transform of inputs.

use super::super::conv::Body;
use super::super::epilogue::MAX_LANES;
use super::{IN, POINTS, Tiling, groups, point_words, vector};
use crate::isa::{Area, AreaMut, Isa, Kernel};
use core::ops::Range;

/// `B x` of six pixels.
#[inline(always)]
pub(super) fn forward<I: Isa>(isa: I, x: [I::H; IN]) -> [I::H; IN] {
    let a = isa.sub_words(x[4], isa.four_words(x[2]));
    let b = isa.sub_words(x[3], isa.four_words(x[1]));
    let c = isa.sub_words(x[4], x[2]);
    let d = isa.sub_words(x[3], x[1]);
    let e = isa.add_words(d, d);
    let f = isa.sub_words(x[0], x[2]);
    let g = isa.sub_words(x[5], x[3]);
    [
        isa.add_words(c, isa.four_words(f)),
        isa.add_words(a, b),
        isa.sub_words(a, b),
        isa.add_words(c, e),
        isa.sub_words(c, e),
        isa.sub_words(g, isa.four_words(d)),
    ]
}

/// Transforms the inputs of a block of tiles: per group of tiles, per point, per vector of channels, per tile.
pub(super) struct Forward<'a, I: Isa> {
    pub isa: I,
    pub body: &'a Body,
    pub input: &'a [u8],
    pub tiling: Tiling,
    pub block: Range<usize>,
    pub words: &'a mut [u8],
}

impl<I: Isa> Kernel for Forward<'_, I> {
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, body, input, tiling, block, words } = self;
        let g = &body.geometry;
        let [height, width] = g.input;
        let channels = 2 * I::LANES;
        let depth = body.depth.div_ceil(channels);
        let tiles = block.len();
        let mut rest = words;
        for group in groups(tiles, I::WORD_ROWS) {
            let of_point = point_words::<I>(depth, group.len());
            let (words, after) = rest.split_at_mut(POINTS * of_point);
            rest = after;
            for (row, tile) in group.clone().enumerate() {
                let (y, x) = tiling.place(block.start + tile);
                // May be above or left of the map.
                let (y, x) = (y.wrapping_sub(g.padding[0]), x.wrapping_sub(g.padding[1]));
                let is_inside = y < height && y + IN <= height && x < width && x + IN <= width;
                for step in 0..depth {
                    let copy;
                    let (area, pixel) = if is_inside {
                        let first = (y * width + x) * g.pixel_stride + step * channels;
                        let bytes = (IN - 1) * g.pixel_stride + channels;
                        let area = Area::new(input, IN, first, width * g.pixel_stride, bytes);
                        (area, g.pixel_stride)
                    } else {
                        let mut filled = [body.zero; POINTS * 2 * MAX_LANES];
                        for i in 0..IN {
                            for j in 0..IN {
                                let (y, x) = (y.wrapping_add(i), x.wrapping_add(j));
                                if y < height && x < width {
                                    let at = (y * width + x) * g.pixel_stride + step * channels;
                                    filled[(i * IN + j) * channels..][..channels]
                                        .copy_from_slice(&input[at..][..channels]);
                                }
                            }
                        }
                        copy = filled;
                        let row = IN * channels;
                        (Area::new(&copy, IN, 0, row, row), channels)
                    };
                    let at = (step * group.len() + row) * vector::<I>();
                    let out = AreaMut::new(words, POINTS, at, of_point, vector::<I>());
                    one(isa, area, pixel, out);
                }
            }
        }
    }
}

/// Transforms one tile of one vector of channels.
#[inline(always)]
fn one<I: Isa>(isa: I, x: Area<'_>, pixel: usize, mut out: AreaMut<'_>) {
    // Not loops: what they index would be kept in memory.
    let column = [
        forward(isa, load(isa, x, 0, pixel)),
        forward(isa, load(isa, x, 1, pixel)),
        forward(isa, load(isa, x, 2, pixel)),
        forward(isa, load(isa, x, 3, pixel)),
        forward(isa, load(isa, x, 4, pixel)),
        forward(isa, load(isa, x, 5, pixel)),
    ];
    store::<I, 0>(isa, &column, &mut out);
    store::<I, 1>(isa, &column, &mut out);
    store::<I, 2>(isa, &column, &mut out);
    store::<I, 3>(isa, &column, &mut out);
    store::<I, 4>(isa, &column, &mut out);
    store::<I, 5>(isa, &column, &mut out);
}

/// Column `j` of a tile.
#[inline(always)]
fn load<I: Isa>(isa: I, x: Area<'_>, j: usize, pixel: usize) -> [I::H; IN] {
    let (at, len) = (j * pixel, 2 * I::LANES);
    [
        isa.widen(x.get(0, at, len)),
        isa.widen(x.get(1, at, len)),
        isa.widen(x.get(2, at, len)),
        isa.widen(x.get(3, at, len)),
        isa.widen(x.get(4, at, len)),
        isa.widen(x.get(5, at, len)),
    ]
}

/// Transforms row `R` of the transformed columns and stores it.
#[inline(always)]
fn store<I: Isa, const R: usize>(isa: I, column: &[[I::H; IN]; IN], out: &mut AreaMut<'_>) {
    let row = [column[0][R], column[1][R], column[2][R], column[3][R], column[4][R], column[5][R]];
    let row = forward(isa, row);
    let len = 4 * I::LANES;
    isa.store_words(row[0], out.get(R, 0, len));
    isa.store_words(row[1], out.get(IN + R, 0, len));
    isa.store_words(row[2], out.get(2 * IN + R, 0, len));
    isa.store_words(row[3], out.get(3 * IN + R, 0, len));
    isa.store_words(row[4], out.get(4 * IN + R, 0, len));
    isa.store_words(row[5], out.get(5 * IN + R, 0, len));
}
