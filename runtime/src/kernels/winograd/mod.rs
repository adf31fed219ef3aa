//! Exact Winograd convolution, F(4x4, 3x3) (Lavin and Gray 2015, arXiv:1509.09308): 36 products for 16 output pixels,
//! where the definition takes 144.
//!
//! ```text
//! y = A [ (G w G') * (B x B') ] A'        * element by element, summed over input channels
//! ```
//!
//! Everything is integer. The rows of `G` are multiplied by 24, -6, -6, 24, 24 and 6, so that all entries are whole;
//! transformed weights are at most 49 * 127, transformed activations at most 68 * 255, so both fit i16, and sums of
//! products are taken modulo 2^32. The rows of `A` make up for the factors: what comes out is 36 `y`, or two, four, ...,
//! sixteen times as much, modulo 2^32. Nine has an inverse there, so 4 to 64 `y` modulo 2^32 is found by a product:
//! exactly, as long as `y` is less than 2^25 in magnitude. Packing makes sure of that from the weights. The powers of two
//! go into what `y` is multiplied by afterwards, as a real number, where they change no digit.
//!
//! `A` adds what the second point of each side holds to all outputs, so the sums of that one product start with the bias.
//!
//! A tile of 4x4 output pixels reads 6x6 input pixels. Tiles are taken in blocks whose transformed inputs and sums stay
//! in the second cache level: of each block a few tiles after the other pass all points ([`product`]), or all tiles of a
//! small map one column of points after the other ([`column`]). The last tile of a row moves back to stay inside the map
//! and computes some pixels again; rows below the map, or below the thread's part of it, are dropped.

mod back;
mod choice;
mod column;
mod forward;
mod product;
mod weights;

use self::product::ZEROS;
use super::conv::{Body, Source};
use super::live::{LINE, Live};
use super::pack::{Packed, Shelf, within};
use super::scratch::{Scratch, ScratchSize};
use crate::isa::Isa;
use crate::pages::Pages;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

pub(super) use choice::{Division, can, choose};

/// Output pixels on a side of a tile.
const OUT: usize = 4;
/// Input pixels on a side of a tile.
const IN: usize = 6;
/// What comes out for 1: 36, and twice or four times that in the first rows and columns.
const OF_SUM: i32 = 36;
/// Products for each pair of channels.
const POINTS: usize = IN * IN;
/// Bytes of transformed inputs of a block of tiles, as large as the second cache level of processors with such vectors.
/// Weights are transformed once for each block.
const fn block_bytes<I: Isa>() -> usize {
    I::LANES << 16
}

/// Maps of at most so many tiles are multiplied column by column of points: sums of all of them are kept, and of more they
/// take too much of the second cache level (in blocks of 98 tiles 3x3 64-64 @56 made ResNet-50 3 % slower).
const COLUMN_TILES: usize = 64;

/// A run of output channels whose weights are packed together.
#[derive(Clone, Copy)]
struct Panel {
    /// First byte of its weights.
    start: usize,
    /// First output channel, and the one behind the last.
    channels: (usize, usize),
    /// Vectors of output channels.
    vectors: usize,
}

/// Packed weights, to be transformed.
pub(super) struct Weights {
    packed: Packed,
    panels: Box<[Panel]>,
    /// Pairs of input channels.
    pairs: usize,
    /// Tiles of a block at most.
    tiles: usize,
    /// What the bias is where products are summed.
    start: Box<[i32]>,
    /// Whether all tiles are multiplied with a column of points before the next one, by [`column`].
    by_columns: bool,
    division: Division,
}

/// Bytes of a vector of i16.
const fn vector<I: Isa>() -> usize {
    4 * I::LANES
}

impl Weights {
    #[inline(always)]
    pub fn pack<I: Isa>(
        _: I,
        body: &Body,
        division: Division,
        source: Source<'_>,
        shelf: &mut Shelf,
    ) -> Self {
        let pairs = body.depth.div_ceil(2);
        let mut panels = Vec::new();
        let (mut channel, mut start) = (0, 0);
        while channel < body.channels_out {
            let left = body.channels_out - channel;
            let vectors = if left > I::NV / 2 * I::LANES { I::NV } else { 1 };
            let end = channel + left.min(vectors * I::LANES);
            panels.push(Panel { start, channels: (channel, end), vectors });
            start += weights::panel_bytes::<I>(pairs, vectors);
            channel = end;
        }
        let (packed, out) = shelf.take(start);
        for p in &panels {
            let out = &mut out[p.start..][..weights::panel_bytes::<I>(pairs, p.vectors)];
            weights::fill::<I>(out, body.depth, p.vectors, p.channels.0..p.channels.1, source);
        }
        let tile = POINTS * pairs.div_ceil(I::LANES) * vector::<I>();
        let most = block_bytes::<I>() / tile / I::WORD_ROWS * I::WORD_ROWS;
        let tiles = most.max(I::WORD_ROWS).min(tiles(&body.geometry.output));
        // As many more as a panel has vectors.
        let start = body.bias.iter().map(|bias| bias.wrapping_mul(OF_SUM)).chain(ZEROS).collect();
        let by_columns = pairs <= I::COLUMN_PAIRS && tiles <= COLUMN_TILES;
        let panels = panels.into();
        Self { packed, panels, pairs, tiles, start, by_columns, division }
    }

    /// How the work is divided among threads.
    pub fn division(&self) -> Division {
        self.division
    }

    /// The panels of some channels, which begin at a multiple of [`super::indirect::CHANNEL_GRANULE`].
    #[inline(always)]
    fn of_channels(&self, channels: &Range<usize>) -> &[Panel] {
        within(&self.panels, channels, |p| p.channels)
    }

    pub fn attach(&mut self, shelf: &[Arc<Pages>]) {
        self.packed.attach(shelf);
    }

    /// The weights that a run of the channels from `channel` on begins with.
    #[inline(always)]
    pub fn head<I: Isa>(&self, channel: usize) -> &[i8] {
        let panels = self.of_channels(&(channel..usize::MAX));
        panels.first().map_or(&[], |p| self.panel::<I>(p))
    }

    /// The weights of a panel.
    #[inline(always)]
    fn panel<I: Isa>(&self, p: &Panel) -> &[i8] {
        &self.packed[p.start..][..weights::panel_bytes::<I>(self.pairs, p.vectors)]
    }

    /// Tiles whose transformed inputs lie together at most.
    #[inline(always)]
    fn group<I: Isa>(&self) -> usize {
        if self.by_columns { self.tiles } else { I::WORD_ROWS }
    }

    /// Bytes of weights that are transformed at once.
    #[inline(always)]
    fn transformed<I: Isa>(&self) -> usize {
        if self.by_columns {
            weights::column_bytes::<I>(self.pairs, I::NV)
        } else {
            weights::transformed_bytes::<I>(self.pairs, I::NV)
        }
    }

    /// What a run needs.
    #[inline(always)]
    pub fn scratch<I: Isa>(&self) -> ScratchSize {
        let depth = self.pairs.div_ceil(I::LANES);
        let groups = groups(self.tiles, self.group::<I>());
        let words: usize = groups.map(|g| IN * column_words::<I>(depth, g.len())).sum();
        ScratchSize {
            words: self.transformed::<I>() + words + IN * LINE,
            sums: (OUT * IN * self.group::<I>() + IN * I::WORD_ROWS) * I::NV * I::LANES,
            outputs: 0,
        }
    }
}

/// Time of the products of a whole run, relative to those of the definition, both at the peak.
#[inline(always)]
pub(super) fn effort<I: Isa>(body: &Body) -> f32 {
    let tiled = (tiles(&body.geometry.output) * POINTS) as f32 / 2.0;
    let direct = (body.geometry.pixels() * 9 * I::DP_IN_DOTS) as f32 / 400.0;
    tiled / direct
}

/// Parts of the work begin at multiples of so many pixels.
pub(super) fn granule(body: &Body) -> usize {
    OUT * body.geometry.output[1]
}

/// Tiles of a map.
fn tiles(output: &[usize; 2]) -> usize {
    output[0].div_ceil(OUT) * output[1].div_ceil(OUT)
}

/// Where the tiles of a part of the map lie.
#[derive(Clone, Copy)]
struct Tiling {
    /// Output rows.
    rows: (usize, usize),
    width: usize,
    /// Tiles of a row of tiles.
    columns: usize,
}

impl Tiling {
    /// Row and column of a tile's first output pixel.
    #[inline(always)]
    fn place(&self, tile: usize) -> (usize, usize) {
        let (row, column) = (tile / self.columns, tile % self.columns);
        (self.rows.0 + OUT * row, (OUT * column).min(self.width - OUT))
    }
}

/// Bytes from column to column of the transformed inputs of some tiles: an odd number of cache lines, so that the columns
/// of a tile are not in the same place of the cache.
const fn column_words<I: Isa>(depth: usize, tiles: usize) -> usize {
    (words_of::<I>(depth, tiles).div_ceil(LINE) | 1) * LINE
}

/// Bytes of a column of transformed inputs.
const fn words_of<I: Isa>(depth: usize, tiles: usize) -> usize {
    depth * tiles * IN * vector::<I>()
}

/// Parts of a block of `tiles` tiles with nearly as many each, at most `most`.
fn groups(tiles: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = tiles.div_ceil(most);
    (0..count).map(move |i| tiles * i / count..tiles * (i + 1) / count)
}

/// Operands of a run.
pub(super) struct Operands<'a, 's> {
    pub input: &'a [u8],
    /// Weights that are asked for meanwhile.
    pub next: &'a [i8],
    pub scratch: &'s mut Scratch,
    /// Output pixels: whole rows. Or output channels, if the work is divided by them.
    pub range: Range<usize>,
}

#[inline(always)]
pub(super) fn run<I: Isa>(
    isa: I,
    body: &Body,
    weights: &Weights,
    operands: Operands<'_, '_>,
    mut live: Live<'_, I>,
) {
    let Operands { input, next, scratch, range } = operands;
    let [height, width] = body.geometry.output;
    let (rows, panels) = match weights.division {
        Division::Bands => ((range.start / width, range.end.div_ceil(width)), &weights.panels[..]),
        Division::Columns(_) => ((0, height), weights.of_channels(&range)),
    };
    let columns = width.div_ceil(OUT);
    let tiling = Tiling { rows, width, columns };
    let depth = weights.pairs.div_ceil(I::LANES);
    // Asked once for all tiles.
    let ends = (body, back::form(isa, body));
    let (words, sums) = scratch.split();
    let (transformed, words) = words.split_at_mut(weights.transformed::<I>());
    let (column, sums) = sums.split_at_mut(IN * I::WORD_ROWS * I::NV * I::LANES);
    let blocks = groups((rows.1 - rows.0).div_ceil(OUT) * columns, weights.tiles);
    for (count, block) in blocks.enumerate() {
        let tiles = block.len();
        let (group, block_, words_) = (weights.group::<I>(), block.clone(), &mut *words);
        isa.enter(forward::Forward {
            isa,
            body,
            input,
            tiling,
            block: block_,
            group,
            words: words_,
        });
        for (i, p) in panels.iter().enumerate() {
            let packed = weights.panel::<I>(p);
            // While a panel is used, the next one comes from memory.
            let after = panels.get(i + 1);
            let ahead = after.map_or(next, |p| weights.panel::<I>(p));
            let calls = IN * tiles.div_ceil(weights.group::<I>());
            let mut parts =
                ahead[..ahead.len().min(packed.len())].chunks(packed.len().div_ceil(calls));
            let start = |j: usize| if j == 1 { &weights.start[p.channels.0..] } else { &ZEROS[..] };
            if const { I::COLUMN_PAIRS > 0 } && weights.by_columns {
                let (of_words, len) =
                    (column_words::<I>(depth, tiles), words_of::<I>(depth, tiles));
                let of_weights = weights::column_bytes::<I>(weights.pairs, p.vectors);
                for j in 0..IN {
                    let (vectors, column) = (p.vectors, j);
                    let out = &mut transformed[..of_weights];
                    isa.enter(weights::TransformColumn { isa, packed, vectors, column, out });
                    let args = column::Args {
                        words: &words[j * of_words..][..len],
                        tiles,
                        weights: &transformed[..of_weights],
                        start: start(j),
                        ahead: parts.next().unwrap_or_default(),
                        out: &mut sums[j * p.vectors * I::LANES..],
                    };
                    column::products(isa, p.vectors, args);
                }
                let tiles = block.clone();
                back::finish(isa, ends, tiling, tiles, sums, p, &mut live);
                continue;
            }
            let weight_step = weights::point_bytes::<I>(weights.pairs, p.vectors);
            // A single panel is still there in the next block.
            if count == 0 || panels.len() > 1 {
                isa.enter(weights::Transform { isa, packed, vectors: p.vectors, out: transformed });
            }
            let mut words = &words[..];
            for group in groups(tiles, I::WORD_ROWS) {
                let word_step = column_words::<I>(depth, group.len());
                for j in 0..IN {
                    let args = product::Args {
                        words: &words[j * word_step..][..words_of::<I>(depth, group.len())],
                        weights: &transformed[j * IN * weight_step..],
                        weight_step,
                        pairs: weights.pairs,
                        start: start(j),
                        ahead: parts.next().unwrap_or_default(),
                        sums: column,
                        out: &mut sums[j * p.vectors * I::LANES..],
                    };
                    product::product(isa, group.len(), p.vectors, args);
                }
                words = &words[IN * word_step..];
                let tiles = block.start + group.start..block.start + group.end;
                back::finish(isa, ends, tiling, tiles, sums, p, &mut live);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Scalar;

    /// What six values become, value by value: the columns of a transform.
    fn columns<const N: usize>(f: impl Fn([[i16; 8]; N]) -> [[i16; 8]; IN]) -> [[i32; N]; IN] {
        let units: [[[i16; 8]; N]; N] =
            core::array::from_fn(|i| core::array::from_fn(|j| [i16::from(i == j); 8]));
        let columns = units.map(f);
        core::array::from_fn(|row| core::array::from_fn(|i| i32::from(columns[i][row][0])))
    }

    /// The largest sums of the positive and of the negative factors of a transform of rows and columns.
    fn largest<const N: usize>(rows: [[i32; N]; IN]) -> (i32, i32) {
        let mut most = (0, 0);
        for a in rows {
            for b in rows {
                let products = a.iter().flat_map(|a| b.iter().map(move |b| a * b));
                let positive: i32 = products.clone().filter(|p| *p > 0).sum();
                let negative: i32 = products.filter(|p| *p < 0).sum();
                most = (most.0.max(positive), most.1.min(negative));
            }
        }
        most
    }

    #[test]
    fn transforms_fit_i16() {
        let (positive, negative) = largest(columns(|x| forward::forward(Scalar, x)));
        // Bytes are 0 to 255 on some sets and -128 to 127 on others.
        assert!(positive * 255 <= 32_767 && negative * 255 >= -32_767);
        assert!((positive - negative) * 128 <= 32_767);
        let (positive, negative) = largest(columns(|w| weights::line(Scalar, [6; 8], w)));
        assert!((positive - negative) * 127 <= 32_767);
    }

    #[test]
    fn transforms_multiply_windows() {
        // One row: six pixels and three weights give four outputs, 24, 12, 6 and 6 times.
        let x = [[3; 8], [-128; 8], [127; 8], [5; 8], [-77; 8], [100; 8]];
        let w = [[127; 8], [-3; 8], [-126; 8]];
        let (u, v) = (weights::line(Scalar, [6; 8], w), forward::forward(Scalar, x));
        let m: [[i32; 4]; IN] =
            core::array::from_fn(|i| [i32::from(u[i][0]) * i32::from(v[i][0]); 4]);
        let y = back::back(Scalar, m);
        for (i, factor) in [24, 12, 6, 6].into_iter().enumerate() {
            let sum: i32 = (0..3).map(|j| i32::from(x[i + j][0]) * i32::from(w[j][0])).sum();
            assert_eq!(y[i], [factor * sum; 4]);
        }
    }
}
