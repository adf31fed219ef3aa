//! The transform of inputs.

use super::super::conv::Body;
use super::super::epilogue::MAX_LANES;
use super::{IN, Tiling, column_words, groups, vector};
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

/// Transforms the inputs of a block of tiles: per group of tiles, per column of points, per vector of channels,
/// per tile, per point of the column.
pub(super) struct Forward<'a, I: Isa> {
    pub isa: I,
    pub body: &'a Body,
    pub input: &'a [u8],
    pub tiling: Tiling,
    pub block: Range<usize>,
    /// Tiles of a group at most.
    pub group: usize,
    pub words: &'a mut [u8],
}

impl<I: Isa> Kernel for Forward<'_, I> {
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, body, input, tiling, block, group, words } = self;
        let g = &body.geometry;
        let [height, width] = g.input;
        let channels = 2 * I::LANES;
        let depth = body.depth.div_ceil(channels);
        let tiles = block.len();
        let padding = [body.zero; 2 * MAX_LANES];
        let mut rest = words;
        for group in groups(tiles, group) {
            let of_column = column_words::<I>(depth, group.len());
            let (words, after) = rest.split_at_mut(IN * of_column);
            rest = after;
            for (row, tile) in group.clone().enumerate() {
                let (y, x) = tiling.place(block.start + tile);
                // May be above or left of the map.
                let (y, x) = (y.wrapping_sub(g.padding[0]), x.wrapping_sub(g.padding[1]));
                let is_inside = y < height && y + IN <= height && x < width && x + IN <= width;
                for step in 0..depth {
                    let at = (step * group.len() + row) * IN * vector::<I>();
                    let out = AreaMut::new(words, IN, at, of_column, IN * vector::<I>());
                    if is_inside {
                        let first = (y * width + x) * g.pixel_stride + step * channels;
                        let bytes = (IN - 1) * g.pixel_stride + channels;
                        let area = Area::new(input, IN, first, width * g.pixel_stride, bytes);
                        one(isa, &Inside(area, g.pixel_stride), out);
                        continue;
                    }
                    let padding = &padding[..channels];
                    let columns = inside(x, width);
                    let first = x.wrapping_add(columns.start);
                    let rows = core::array::from_fn(|i| {
                        let (y, count) = (y.wrapping_add(i), columns.len().max(1));
                        if y < height && !columns.is_empty() {
                            let at = (y * width + first) * g.pixel_stride + step * channels;
                            Area::new(input, count, at, g.pixel_stride, channels)
                        } else {
                            Area::new(padding, count, 0, 0, channels)
                        }
                    });
                    one(isa, &AtEdge { rows, columns, padding }, out);
                }
            }
        }
    }
}

/// Columns of a tile that are inside a map of `width` columns. `x` is the first, which may be left of the map.
#[inline(always)]
fn inside(x: usize, width: usize) -> Range<usize> {
    let left = if x < width { 0 } else { x.wrapping_neg().min(IN) };
    left..width.wrapping_sub(x).min(IN).max(left)
}

/// The pixels of a tile, one vector of channels of each.
trait Pixels {
    /// `len` bytes of each pixel of column `j`.
    fn column(&self, j: usize, len: usize) -> [&[u8]; IN];
}

/// Pixels that are all inside the map, so many bytes apart in a row.
struct Inside<'a>(Area<'a>, usize);

impl Pixels for Inside<'_> {
    #[inline(always)]
    fn column(&self, j: usize, len: usize) -> [&[u8]; IN] {
        core::array::from_fn(|i| self.0.get(i, j * self.1, len))
    }
}

/// Pixels some of which are padding.
struct AtEdge<'a> {
    /// Of each row the pixels in columns that are inside the map.
    rows: [Area<'a>; IN],
    columns: Range<usize>,
    padding: &'a [u8],
}

impl Pixels for AtEdge<'_> {
    #[inline(always)]
    fn column(&self, j: usize, len: usize) -> [&[u8]; IN] {
        if self.columns.contains(&j) {
            core::array::from_fn(|i| self.rows[i].get(j - self.columns.start, 0, len))
        } else {
            [self.padding; IN]
        }
    }
}

/// Transforms one tile of one vector of channels.
#[inline(always)]
fn one<I: Isa>(isa: I, x: &impl Pixels, mut out: AreaMut<'_>) {
    // Not loops: what they index would be kept in memory.
    let column = [
        forward(isa, load(isa, x, 0)),
        forward(isa, load(isa, x, 1)),
        forward(isa, load(isa, x, 2)),
        forward(isa, load(isa, x, 3)),
        forward(isa, load(isa, x, 4)),
        forward(isa, load(isa, x, 5)),
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
fn load<I: Isa>(isa: I, x: &impl Pixels, j: usize) -> [I::H; IN] {
    let pixels = x.column(j, 2 * I::LANES);
    [
        isa.widen(pixels[0]),
        isa.widen(pixels[1]),
        isa.widen(pixels[2]),
        isa.widen(pixels[3]),
        isa.widen(pixels[4]),
        isa.widen(pixels[5]),
    ]
}

/// Transforms row `R` of the transformed columns and stores it.
#[inline(always)]
fn store<I: Isa, const R: usize>(isa: I, column: &[[I::H; IN]; IN], out: &mut AreaMut<'_>) {
    let row = [column[0][R], column[1][R], column[2][R], column[3][R], column[4][R], column[5][R]];
    let row = forward(isa, row);
    let len = 4 * I::LANES;
    isa.store_words(row[0], out.get(0, R * len, len));
    isa.store_words(row[1], out.get(1, R * len, len));
    isa.store_words(row[2], out.get(2, R * len, len));
    isa.store_words(row[3], out.get(3, R * len, len));
    isa.store_words(row[4], out.get(4, R * len, len));
    isa.store_words(row[5], out.get(5, R * len, len));
}
