//! Products of pairs, as in [`crate::kernels::paired`]: input channels of a lane in an order in which no two neighbours
//! saturate, and what is too much of the others as a step of its own.
//!
//! A step is a vector of activations of every pixel, shuffled inside of 128 bits, which exchanges lanes as well. In what
//! order they come does not matter: all steps of a tile are one loop.

use super::partners::{Lane, Partners};
use super::{COLUMNS, Row, VECTORS, finish, starts};
use crate::isa::{Isa, Kernel, Places, WOVEN, copy_strided};
use crate::kernels::conv::{Body, Source};
use crate::kernels::paired::halve;
use crate::kernels::segment::{Segment, inside, tiles};
use alloc::vec::Vec;

/// Vectors of a step: order, signs, weights.
const PARTS: usize = 2 + VECTORS;
/// What an activation is XORed with to be `q + 128`.
const POSITIVE: u8 = 0x80;
/// And to be `127 - q`.
const TURNED: u8 = 0x7f;
/// Channels of a block.
const BLOCK: usize = WOVEN / PARTS;
/// Window rows, at most.
const ROWS: usize = 3;
/// Pixels of a tile, at most.
const PIXELS: usize = 2;
/// Pixels of a window with a stride of 1, at most.
const MOST_PIXELS: usize = 64;
/// Input columns of a window, at most.
const MOST_COLUMNS: usize = MOST_PIXELS - 1 + COLUMNS;
/// Time of a product as it is, where one of pairs is 1; in the first cache level, 1.6.
const UNPAIRED: f32 = 1.5;

/// Plans for all blocks, where products of pairs are possible and take less time, or are `wanted`; otherwise none.
#[inline(always)]
pub fn plans<I: Isa>(body: &Body, source: Source<'_>, wanted: Option<bool>) -> Vec<Plan> {
    const { assert!(!I::PAIRS || BLOCK == VECTORS * I::LANES) };
    let mut plans = Vec::new();
    if wanted == Some(false) || body.geometry.size[0] > ROWS {
        return plans;
    }
    for first in (0..body.channels_out).step_by(BLOCK) {
        plans.push(Plan::new::<I>(body, source, first));
    }
    let steps: usize = plans.iter().map(Plan::steps).sum();
    let unpaired = plans.len() * body.geometry.taps() * body.depth / 4;
    if !wanted.unwrap_or((steps as f32) < UNPAIRED * unpaired as f32) {
        plans.clear();
    }
    plans
}

/// Orders of the lanes of a block, and what follows from them.
pub struct Plan {
    /// Per tap, per lane.
    partners: Vec<Partners>,
    /// Of every tap.
    steps: Vec<usize>,
}

impl Plan {
    /// For the output channels from `first` on.
    #[inline(always)]
    pub fn new<I: Isa>(body: &Body, source: Source<'_>, first: usize) -> Self {
        let taps = body.geometry.taps();
        let mut partners = Vec::with_capacity(taps * I::LANES);
        let mut steps = Vec::with_capacity(taps);
        for tap in 0..taps {
            let mut most = 0;
            for lane in 0..I::LANES {
                let weights = lane_of(body, source, first + VECTORS * lane, tap);
                let found = Partners::find(&weights);
                most = most.max(found.beyond.count_ones() as usize);
                partners.push(found);
            }
            steps.push(body.depth / 4 + most.div_ceil(2));
        }
        Self { partners, steps }
    }

    /// Steps of a tile.
    #[inline(always)]
    fn steps(&self) -> usize {
        self.steps.iter().sum()
    }

    /// Bytes of weights.
    pub fn bytes(&self) -> usize {
        self.steps() * WOVEN
    }

    /// Packs the weights of a block into zeros.
    #[inline(always)]
    pub fn pack<I: Isa>(&self, body: &Body, source: Source<'_>, first: usize, out: &mut [u8]) {
        let lanes_of_group = body.depth / 4;
        let mut start = 0;
        for (tap, steps) in self.steps.iter().enumerate() {
            let out = &mut out[start..][..steps * WOVEN];
            start += steps * WOVEN;
            for (lane, found) in self.partners[tap * I::LANES..][..I::LANES].iter().enumerate() {
                let weights = lane_of(body, source, first + VECTORS * lane, tap);
                // The first byte of the group in its half of the vector.
                let group = (4 * (lane % 4 / lanes_of_group * lanes_of_group)) as u8;
                let mut free = body.depth / 2;
                for (i, pair) in found.order[..body.depth].as_chunks::<2>().0.iter().enumerate() {
                    let turns = found.turned >> i & 1 == 1;
                    let mut weights = weights.map(|w| pair.map(|from| w[usize::from(from)] as i8));
                    for [_, second] in &mut weights {
                        *second = if turns { -*second } else { *second };
                    }
                    let from = pair.map(|from| group + from);
                    let signs = if turns { [POSITIVE, TURNED] } else { [POSITIVE; 2] };
                    if found.beyond >> i & 1 == 1 {
                        put(out, (free, lane), from, signs, weights.each_mut().map(halve));
                        free += 1;
                    }
                    put(out, (i, lane), from, signs, weights);
                }
            }
        }
    }

    /// Where the steps of a block read in a [`Window`].
    pub fn places(&self) -> Places {
        let mut places = Vec::with_capacity(self.steps());
        for (tap, steps) in self.steps.iter().enumerate() {
            let place = (tap / COLUMNS * MOST_COLUMNS + tap % COLUMNS) * BLOCK;
            places.extend((0..*steps).map(|_| place));
        }
        Places::new(places)
    }
}

/// Weights of the four output channels from `first` on, of a tap.
#[inline(always)]
fn lane_of<'s>(body: &Body, source: Source<'s>, first: usize, tap: usize) -> Lane<'s> {
    core::array::from_fn(|v| &source.channel(first + v)[tap * body.depth..][..body.depth])
}

/// Puts pair `i` of a lane where it belongs in the steps of a tap: two bytes of every vector.
#[inline(always)]
fn put(
    steps: &mut [u8],
    (i, lane): (usize, usize),
    from: [u8; 2],
    signs: [u8; 2],
    weights: [[i8; 2]; VECTORS],
) {
    let step = &mut steps[i / 2 * WOVEN..][..WOVEN];
    let [a, b, c, d] = weights.map(|w| w.map(|w| w as u8));
    for (part, out) in [from, signs, a, b, c, d].iter().zip(step.chunks_exact_mut(BLOCK)) {
        out[4 * lane + i % 2 * 2..][..2].copy_from_slice(part);
    }
}

/// Takes from what sums start from, in the order of accumulators and their lanes, what is added because activations are
/// `q + 128` and `127 - q`.
#[inline(always)]
pub fn take_offsets(steps: &[u8], bias: &mut [i32]) {
    for step in steps.chunks_exact(WOVEN) {
        let (signs, weights) = step[BLOCK..].split_at(BLOCK);
        let signs = signs.as_chunks::<4>().0.iter().cycle();
        for ((weights, signs), bias) in weights.as_chunks::<4>().0.iter().zip(signs).zip(&mut *bias)
        {
            for (weight, offset) in weights.iter().zip(signs) {
                // Of either form, the offset is the byte that makes it.
                *bias = bias.wrapping_sub(i32::from(*offset) * i32::from(*weight as i8));
            }
        }
    }
}

/// What a row of tiles reads, side by side. The lines of a map that a block of channels is in share few sets of the first
/// cache level, and a window that leaves the map is none of a kind.
#[repr(align(64))]
pub struct Window([[[u8; BLOCK]; MOST_COLUMNS]; ROWS]);

impl Window {
    pub const fn new() -> Self {
        Self([[[0; BLOCK]; MOST_COLUMNS]; ROWS])
    }

    /// Copies the channels from `first` on.
    #[inline(always)]
    fn fill(&mut self, body: &Body, input: &[u8], segment: Segment, first: usize) {
        let g = &body.geometry;
        let columns = (segment.width - 1) * g.stride[1] + COLUMNS;
        let left = (segment.x * g.stride[1]).wrapping_sub(g.padding[1]);
        let inside = inside(left, 1, columns, g.input[1]);
        for (ky, row) in self.0[..g.size[0]].iter_mut().enumerate() {
            let (inside, y) = match g.tap(0, segment.y, ky) {
                Some(y) if !inside.is_empty() => (inside.clone(), y),
                _ => (0..0, 0),
            };
            row[..inside.start].fill([body.zero; BLOCK]);
            row[inside.end..columns].fill([body.zero; BLOCK]);
            if !inside.is_empty() {
                let x = left.wrapping_add(inside.start);
                let from = &input[(y * g.input[1] + x) * g.pixel_stride + first..];
                let to = row[inside.clone()].as_flattened_mut();
                copy_strided::<BLOCK>(to, BLOCK, from, g.pixel_stride, inside.len());
            }
        }
    }
}

/// Runs a row in tiles of [`PIXELS`], where there are as many.
#[inline(always)]
pub fn run_row<I: Isa>(isa: I, places: &Places, window: &mut Window, row: Row<'_, '_, I>) {
    // Sets without pairs have no such function.
    if const { I::PAIRS } {
        if row.segment.width < PIXELS {
            isa.enter(Tiled::<I, 1> { isa, row, places, window });
        } else {
            isa.enter(Tiled::<I, PIXELS> { isa, row, places, window });
        }
    }
}

/// A row of a block in tiles of `P` pixels.
struct Tiled<'a, 'l, I: Isa, const P: usize> {
    isa: I,
    row: Row<'a, 'l, I>,
    places: &'l Places,
    window: &'l mut Window,
}

impl<I: Isa, const P: usize> Kernel for Tiled<'_, '_, I, P> {
    type Output = ();

    #[inline(always)]
    fn eval<Same: Isa>(self, _: Same) {
        let Self { isa, row, places, window } = self;
        let Row { body, input, segment, first, packed, bias, scale, live } = row;
        let g = &body.geometry;
        let bias = starts(isa, bias);
        let step = BLOCK * g.stride[1];
        // Parts of nearly equal width, none of a single pixel.
        let parts = segment.width.div_ceil(MOST_PIXELS / g.stride[1]);
        let (width, wider) = (segment.width / parts, segment.width % parts);
        let mut x = segment.x;
        for part in 0..parts {
            let part = Segment { x, width: width + usize::from(part < wider), ..segment };
            x += part.width;
            window.fill(body, input, part, first);
            let bytes = window.0.as_flattened().as_flattened();
            for x in tiles::<P>(part) {
                let mut acc = [bias; P];
                isa.woven(&mut acc, &bytes[(x - part.x) * step..], step, places, packed);
                let pixel = segment.y * g.output[1] + x;
                finish(isa, &acc, scale, live, (pixel, first));
            }
        }
    }
}
