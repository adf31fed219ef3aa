//! Grouped convolution with 4, 8 or 16 channels per group, as many out as in, in which activations stay where they are.
//!
//! A vector of activations is read as it lies in the map, four channels to a lane, and nothing is spread. Lane `l` of four
//! accumulators makes output channels `4 l` to `4 l + 3`, which belong to the same group:
//!
//! ```text
//! activations     | c0 c1 c2 c3 | c4 c5 c6 c7 | ...
//! accumulator v   | channel v   | channel 4+v | ...      v = 0..4
//! ```
//!
//! In groups of 8 or 16 channels a lane needs its neighbours' activations too: once for each, the vector is read with
//! lanes exchanged inside of 128 bits. The results are interleaved as they become bytes. Where it pays, products are those
//! of [`pairs`].

mod pairs;
mod partners;

use crate::isa::{Isa, Kernel, Places, strided, strided_inside};
use crate::kernels::conv::{Body, Source};
use crate::kernels::geometry::Geometry;
use crate::kernels::live::{FAR, LINE, Live};
use crate::kernels::pack::{Packed, Shelf, panel, panel_bytes};
use crate::kernels::quads::Pixels;
use crate::kernels::scale::Scales;
use crate::kernels::segment::{Segment, inside, segments, tiles};
use crate::pages::Pages;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use pairs::{Plan, Window};

/// Bytes of maps that are in no second cache level.
const VERY_FAR: usize = 4 * FAR;
/// Window columns.
const COLUMNS: usize = 3;
/// Vectors of accumulators, each with every fourth channel.
const VECTORS: usize = 4;

/// Weights, per block of `4 * LANES` channels: per window row, per column, per exchange of lanes, per
/// accumulator, or steps of [`pairs`].
pub(super) struct Weights {
    packed: Packed,
    blocks: Box<[Block]>,
    /// What sums start from, raised or not, in the order of accumulators and their lanes.
    bias: Box<[i32]>,
    multiplier: Box<[f32]>,
    /// Of raised sums.
    offset: Box<[f32]>,
    /// Pixels of a tile.
    tile: usize,
}

/// `4 * LANES` channels.
struct Block {
    /// Where its weights are.
    weights: Range<usize>,
    /// Where they read, if they are steps of pairs.
    places: Option<Places>,
    /// Whether its sums are raised.
    raised: bool,
}

/// Whether the kernel takes this convolution, of those with groups of 4, 8 or 16 channels.
pub(super) fn fits<I: Isa>(body: &Body) -> bool {
    I::LANES >= 8
        && body.channels_out.is_multiple_of(VECTORS * I::LANES)
        && body.finishes_in_registers()
        && body.epilogue.is_one_store_of_i8()
}

impl Weights {
    #[inline(always)]
    pub fn pack<I: Isa>(_: I, body: &Body, source: Source<'_>, shelf: &mut Shelf) -> Self {
        let block = VECTORS * I::LANES;
        let channels = 0..body.channels_out;
        let placed = channels.map(|n| n / block * block + channel::<I>(n % block));
        let mut bias: Box<[i32]> = placed.clone().map(|n| body.bias[n]).collect();
        let plans = if const { I::PAIRS } {
            pairs::plans::<I>(body, source, shelf.pairs)
        } else {
            Vec::new()
        };
        let (packed, mut blocks) = if plans.is_empty() {
            pack_whole::<I>(body, source, shelf)
        } else {
            pack_pairs::<I>(body, source, &plans, shelf, &mut bias)
        };
        let starts = (0..).step_by(block).zip(bias.chunks_exact_mut(block));
        for ((first, bias), block) in starts.zip(&mut blocks) {
            block.raised = body.raised.serves::<I>(first..first + bias.len());
            if block.raised {
                body.raised.raise(bias, |n| first + channel::<I>(n));
            }
        }
        let multiplier = placed.clone().map(|n| body.multiplier[n]).collect();
        let offset = placed.map(|n| body.raised.offset(n)[0]).collect();
        let tile = tile::<I>(body.depth, body.geometry.output[1]);
        Self { packed, blocks: blocks.into(), bias, multiplier, offset, tile }
    }

    /// Whether products are those of pairs.
    #[inline(always)]
    pub fn is_in_pairs(&self) -> bool {
        self.blocks.iter().all(|block| block.places.is_some())
    }

    /// Whether all sums are raised.
    #[cfg(test)]
    pub fn is_raised(&self) -> bool {
        self.blocks.iter().all(|block| block.raised)
    }

    pub fn attach(&mut self, shelf: &[Arc<Pages>]) {
        self.packed.attach(shelf);
    }
}

/// Channel of a block of lane `n % LANES` of accumulator `n / LANES`.
#[inline(always)]
fn channel<I: Isa>(n: usize) -> usize {
    VECTORS * (n % I::LANES) + n / I::LANES
}

#[inline(always)]
fn pack_pairs<I: Isa>(
    body: &Body,
    source: Source<'_>,
    plans: &[Plan],
    shelf: &mut Shelf,
    bias: &mut [i32],
) -> (Packed, Vec<Block>) {
    let mut blocks: Vec<Block> = Vec::with_capacity(plans.len());
    for plan in plans {
        let start = blocks.last().map_or(0, |block| block.weights.end);
        let weights = start..start + plan.bytes();
        blocks.push(Block { weights, places: Some(plan.places()), raised: false });
    }
    let (packed, out) = shelf.take(blocks.last().map_or(0, |block| block.weights.end));
    let starts = bias.chunks_exact_mut(VECTORS * I::LANES);
    for (index, ((plan, block), bias)) in plans.iter().zip(&blocks).zip(starts).enumerate() {
        let out = &mut out[block.weights.clone()];
        plan.pack::<I>(body, source, index * VECTORS * I::LANES, out);
        pairs::take_offsets(out, bias);
    }
    (packed, blocks)
}

#[inline(always)]
fn pack_whole<I: Isa>(body: &Body, source: Source<'_>, shelf: &mut Shelf) -> (Packed, Vec<Block>) {
    let rows = body.geometry.size[0];
    let block = VECTORS * I::LANES;
    let quads = body.depth / 4;
    let block_bytes = panel_bytes::<I>(rows * COLUMNS, body.depth, VECTORS);
    let (packed, out) = shelf.take(body.channels_out / block * block_bytes);
    for (first, out) in (0..).step_by(block).zip(out.chunks_exact_mut(block_bytes)) {
        for (step, out) in out.chunks_exact_mut(4 * block).enumerate() {
            let (row, column, exchange) =
                (step / quads / COLUMNS, step / quads % COLUMNS, step % quads);
            panel::<I>(out, VECTORS, block, 1, 4, |n, _| {
                let quad = (n % I::LANES % quads) ^ exchange;
                let at = (row * COLUMNS + column) * body.depth + 4 * quad;
                &source.channel(first + channel::<I>(n))[at..][..4]
            });
        }
    }
    let blocks = (0..body.channels_out / block).map(|index| Block {
        weights: index * block_bytes..(index + 1) * block_bytes,
        places: None,
        raised: false,
    });
    (packed, blocks.collect())
}

/// Pixels of a tile: whichever number computes fewer pixels of a row twice, the larger one first.
fn tile<I: Isa>(depth: usize, width: usize) -> usize {
    let sizes: &[usize] = match (I::LANES, depth) {
        (16, 16) => &[5, 4],
        // Columns share their activations, which need registers.
        (16, _) => &[4],
        _ => &[2],
    };
    let computed = |size: &usize| width.next_multiple_of(*size);
    sizes.iter().copied().filter(|size| *size <= width).min_by_key(computed).unwrap_or(1)
}

#[inline(always)]
pub(super) fn run<I: Isa>(
    isa: I,
    body: &Body,
    weights: &Weights,
    input: &[u8],
    live: Live<'_, I>,
    range: Range<usize>,
) {
    let block = VECTORS * I::LANES;
    let g = &body.geometry;
    let blocks = (0..).step_by(block).zip(&weights.blocks);
    let in_pairs = const { I::PAIRS } && weights.is_in_pairs();
    let window = if in_pairs { Some(Window::new()) } else { None };
    let mut map = Map { body, weights, input, live, window };
    // A part of a cache line, or lines of which windows that do not overlap are read once.
    let is_torn = block < LINE && input.len() > FAR;
    if is_torn || g.stride[0] > 1 && input.len() > VERY_FAR {
        // Far maps come once for all blocks, a row ahead.
        for segment in segments(g, range, usize::MAX) {
            let next = next_lines(g, segment.y);
            let part = next.len().div_ceil(body.channels_out / block).next_multiple_of(LINE);
            for (index, (first, block)) in blocks.clone().enumerate() {
                let start = next.start + index * part;
                for at in (start..next.end.min(start + part)).step_by(LINE) {
                    isa.prefetch_line(input.as_ptr().wrapping_add(at));
                }
                map.run_block(isa, segment, first, block);
            }
        }
        return;
    }
    for (first, block) in blocks {
        for segment in segments(g, range.clone(), usize::MAX) {
            map.run_block(isa, segment, first, block);
        }
    }
}

/// What all blocks share.
struct Map<'a, 'l, I: Isa> {
    body: &'l Body,
    weights: &'l Weights,
    input: &'l [u8],
    live: Live<'a, I>,
    window: Option<Window>,
}

impl<I: Isa> Map<'_, '_, I> {
    /// A block of channels from `first` on of the pixels of a segment.
    #[inline(always)]
    fn run_block(&mut self, isa: I, segment: Segment, first: usize, block: &Block) {
        let Self { body, weights, input, live, window } = self;
        let packed = &weights.packed[block.weights.clone()];
        let channels = VECTORS * I::LANES;
        let bias = &weights.bias[first..][..channels];
        let multiplier = &weights.multiplier[first..][..channels];
        let offset = block.raised.then(|| &weights.offset[first..][..channels]);
        let scale = (multiplier, offset);
        let row = Row { body, input, segment, first, packed, bias, scale, live: &mut *live };
        match (&block.places, window) {
            (Some(places), Some(window)) if const { I::PAIRS } => {
                pairs::run_row(isa, places, window, row);
            }
            _ => run_row(isa, weights.tile, row),
        }
        let pixel = segment.y * body.geometry.output[1] + segment.x;
        live.after_quads(isa, pixel..pixel + segment.width, first, channels);
    }
}

/// The input bytes that the output row behind `y` reads and row `y` does not; they may end behind the map.
fn next_lines(g: &Geometry, y: usize) -> Range<usize> {
    let end = ((y + 1) * g.stride[0] + g.size[0]).saturating_sub(g.padding[0]);
    let line = g.input[1] * g.pixel_stride;
    end.saturating_sub(g.stride[0]) * line..end * line
}

/// A segment, and what belongs to the channels of a block.
struct Row<'a, 'l, I: Isa> {
    body: &'l Body,
    input: &'l [u8],
    segment: Segment,
    /// First channel.
    first: usize,
    packed: &'l [i8],
    bias: &'l [i32],
    /// Multipliers, and the offsets of sums that are raised.
    scale: (&'l [f32], Option<&'l [f32]>),
    live: &'l mut Live<'a, I>,
}

/// Runs a row in tiles of `tile` pixels. Every shape is a function of its own, as in `gemm`.
#[inline(always)]
fn run_row<I: Isa>(isa: I, tile: usize, row: Row<'_, '_, I>) {
    let tile = if row.segment.width < tile { 1 } else { tile };
    macro_rules! shapes {
        ($($lanes:literal: $depth:literal $p:literal)*) => {
            match (row.body.depth, row.body.geometry.stride[1], tile) {
                $(
                    ($depth, 1, $p) if const { I::LANES == $lanes } => shape!($lanes, $depth, 1, $p),
                    ($depth, 2, $p) if const { I::LANES == $lanes } => shape!($lanes, $depth, 2, $p),
                )*
                _ => unreachable!("`fits` admits 4, 8, 16 channels, strides 1, 2, and some sets"),
            }
        };
    }
    macro_rules! shape {
        ($lanes:literal, $depth:literal, $stride:literal, $p:literal) => {{
            const COLS: usize = ($p - 1) * $stride + COLUMNS;
            isa.enter(Tiled::<I, { $depth / 4 }, $stride, $p, COLS, { VECTORS * $lanes }> {
                isa,
                row,
            })
        }};
    }
    shapes!(16: 4 1 16: 4 4 16: 8 1 16: 8 4 16: 16 1 16: 16 4 16: 16 5
        8: 4 1 8: 4 2 8: 8 1 8: 8 2 8: 16 1 8: 16 2);
}

/// `Q` lanes make a group; windows step by `S` columns; tiles have `P` pixels and read `COLS` columns; a block has `K`
/// channels.
struct Tiled<
    'a,
    'l,
    I: Isa,
    const Q: usize,
    const S: usize,
    const P: usize,
    const COLS: usize,
    const K: usize,
> {
    isa: I,
    row: Row<'a, 'l, I>,
}

impl<I: Isa, const Q: usize, const S: usize, const P: usize, const COLS: usize, const K: usize>
    Kernel for Tiled<'_, '_, I, Q, S, P, COLS, K>
{
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, row } = self;
        let Row { body, input, segment, first, packed, bias, scale, live } = row;
        let g = &body.geometry;
        let padding = [body.zero; K];
        let bias = starts(isa, bias);
        for x in tiles::<P>(segment) {
            let left = (x * S).wrapping_sub(g.padding[1]);
            let inside = inside(left, 1, COLS, g.input[1]);
            let mut acc = [bias; P];
            for (ky, w) in packed.chunks_exact(Q * COLUMNS * VECTORS * K).enumerate() {
                let columns: [&[u8; K]; COLS] = match g.tap(0, segment.y, ky) {
                    Some(y) if inside == (0..COLS) => {
                        let at = (y * g.input[1] + left) * g.pixel_stride + first;
                        strided(&input[at..], g.pixel_stride)
                    }
                    Some(y) if !inside.is_empty() => {
                        let left = left.wrapping_add(inside.start);
                        let at = (y * g.input[1] + left) * g.pixel_stride + first;
                        strided_inside(&input[at..], g.pixel_stride, inside.clone(), &padding)
                    }
                    _ => [&padding; COLS],
                };
                // One column of the window in a turn: more are more than the registers hold.
                let w = w.chunks_exact(Q * VECTORS * K);
                for (x, w) in columns.windows((P - 1) * S + 1).zip(w) {
                    dots::<I, 0, S, P, K>(isa, &mut acc, x, &w[..VECTORS * K]);
                    if Q >= 2 {
                        let w = &w[VECTORS * K..][..VECTORS * K];
                        dots::<I, 1, S, P, K>(isa, &mut acc, x, w);
                    }
                    if Q >= 4 {
                        let w = &w[2 * VECTORS * K..][..2 * VECTORS * K];
                        dots::<I, 2, S, P, K>(isa, &mut acc, x, w);
                        dots::<I, 3, S, P, K>(isa, &mut acc, x, &w[VECTORS * K..]);
                    }
                }
            }
            let pixel = segment.y * g.output[1] + x;
            finish(isa, &acc, scale, live, (pixel, first));
        }
    }
}

/// What the sums of a block start from.
#[inline(always)]
fn starts<I: Isa>(isa: I, bias: &[i32]) -> [I::I; VECTORS] {
    let l = I::LANES;
    [
        isa.load_i32(bias),
        isa.load_i32(&bias[l..]),
        isa.load_i32(&bias[2 * l..]),
        isa.load_i32(&bias[3 * l..]),
    ]
}

/// Finishes the sums of a block for `P` pixels. The first pixel and channel come last.
#[inline(always)]
fn finish<I: Isa, const P: usize>(
    isa: I,
    acc: &[[I::I; VECTORS]; P],
    (multiplier, offset): (&[f32], Option<&[f32]>),
    live: &mut Live<'_, I>,
    (pixel, first): (usize, usize),
) {
    let l = I::LANES;
    let scales = Scales::<I, VECTORS>::new(isa, multiplier, offset);
    let mut pixels = Pixels::new(isa, live, (pixel, P), first, VECTORS * l);
    // A loop may stay one, and then the sums go through memory after every product.
    pixels.woven(isa, scales.values(isa, acc[0]), 0);
    if P > 1 {
        pixels.woven(isa, scales.values(isa, acc[1 % P]), 1);
    }
    if P > 2 {
        pixels.woven(isa, scales.values(isa, acc[2 % P]), 2);
    }
    if P > 3 {
        pixels.woven(isa, scales.values(isa, acc[3 % P]), 3);
    }
    if P > 4 {
        pixels.woven(isa, scales.values(isa, acc[4 % P]), 4);
    }
}

/// A column of the window, each lane with the activations of lane `l ^ R`.
#[inline(always)]
fn dots<I: Isa, const R: usize, const S: usize, const P: usize, const K: usize>(
    isa: I,
    acc: &mut [[I::I; VECTORS]; P],
    x: &[&[u8; K]],
    w: &[i8],
) {
    let w =
        [isa.weights(w), isa.weights(&w[K..]), isa.weights(&w[2 * K..]), isa.weights(&w[3 * K..])];
    for (p, acc) in acc.iter_mut().enumerate() {
        let x = isa.own::<R>(x[p * S]);
        for v in 0..VECTORS {
            acc[v] = isa.dp(acc[v], x, w[v]);
        }
    }
}
