//! Which convolutions are computed this way.

use super::super::conv::Body;
use super::super::indirect::CHANNEL_GRANULE;
use super::super::live::LINE;
use super::super::pack::Shelf;
use super::{OUT, POINTS, tiles};
use crate::isa::Isa;

/// Accumulators below it in magnitude come out exactly.
const EXACT: u64 = 1 << 25;
/// Multipliers of at least this magnitude can be divided by 64 exactly.
const SMALLEST: f32 = f32::MIN_POSITIVE * 64.0;

/// Whether a convolution of `groups` groups can be computed this way. `largest` is the largest magnitude of a sum of
/// products of stored activations and weights.
pub(in super::super) fn can(body: &Body, groups: usize, largest: u32) -> bool {
    let g = &body.geometry;
    groups == 1
        && g.size == [3, 3]
        && g.stride == [1, 1]
        && g.dilation == [1, 1]
        && g.output[1] >= OUT
        && u64::from(largest) + largest_bias(body) < EXACT
        && body.multiplier.iter().all(|m| *m == 0.0 || m.abs() >= SMALLEST)
}

fn largest_bias(body: &Body) -> u64 {
    body.bias.iter().map(|bias| u64::from(bias.unsigned_abs())).max().unwrap_or(0)
}

/// How the work is divided among threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Division {
    /// By bands of tiles: each thread transforms all weights, and the one with most bands ends last.
    Bands,
    /// By output channels, so many for each thread at most: each transforms all inputs.
    Columns(u32),
}

/// Bytes of a thread's outputs at most that it computes before it copies them.
const COLUMN_BYTES: usize = 256 << 10;

/// Pairs of channels of which products take half as long again: the transformed inputs and weights of a point no longer
/// stay in the first cache level. With more, those of the definition come from memory too. (Emerald Rapids, in networks:
/// 3x3 512-512 @14 with AVX-512 1279 us by the definition, 1505 this way; 256-256 @14 318 and 353, @20 648 and 492.)
const DEEP: usize = 256;
/// Time to copy a cache line of outputs.
const COPY: usize = 8;

/// The faster way to divide the work among the threads of `shelf`, if it pays to compute it this way.
pub(in super::super) fn choose<I: Isa>(body: &Body, shelf: &Shelf) -> Option<Division> {
    let threads = shelf.threads;
    let channels = body.channels_out.div_ceil(CHANNEL_GRANULE).div_ceil(threads) * CHANNEL_GRANULE;
    let fits = body.output_bytes(channels) <= COLUMN_BYTES;
    let has_parts = threads > 1 && channels < body.channels_out && fits;
    let (in_bands, in_columns) = (bands::<I>(body, threads), columns::<I>(body, channels));
    let (time, division) = if shelf.columns.unwrap_or(has_parts && in_columns < in_bands) {
        (in_columns, Division::Columns(channels as u32))
    } else {
        (in_bands, Division::Bands)
    };
    shelf.winograd.unwrap_or_else(|| pays::<I>(body, threads, time)).then_some(division)
}

/// Whether `time` is less than the definition takes, by what both were measured to take (`rates`, all 3x3 layers of the
/// networks there, on three instruction sets). The unit is the time of one [`crate::isa::Words::dot`].
fn pays<I: Isa>(body: &Body, threads: usize, time: usize) -> bool {
    let pixels = body.geometry.pixels().div_ceil(threads);
    let (vectors, quads) = (body.channels_out.div_ceil(I::LANES), body.depth.div_ceil(4));
    let direct = I::DP_IN_DOTS * 9 * pixels * quads * vectors / 100 + pixels * (40 + 20 * vectors);
    // Direct products run at 93 % of the peak, which leaves a tenth for what is not seen here.
    time + time / 10 < direct + direct / 14
}

/// What the thread with most bands of tiles takes.
fn bands<I: Isa>(body: &Body, threads: usize) -> usize {
    let bands = body.geometry.output[0].div_ceil(OUT);
    let tiles = tiles(&body.geometry.output) * bands.div_ceil(threads) / bands;
    time::<I>(body, tiles, body.channels_out)
}

/// What a thread takes for some channels of all pixels.
fn columns<I: Isa>(body: &Body, channels: usize) -> usize {
    let tiles = tiles(&body.geometry.output);
    time::<I>(body, tiles, channels) + tiles * OUT * OUT * channels.div_ceil(LINE) * COPY
}

/// What `tiles` tiles of some output channels take.
fn time<I: Isa>(body: &Body, tiles: usize, channels: usize) -> usize {
    let (vectors, pairs) = (channels.div_ceil(I::LANES), body.depth.div_ceil(2));
    let transformed = tiles * 460 * body.depth.div_ceil(2 * I::LANES)
        + pairs * vectors * I::TRANSFORM_IN_DOTS
        + tiles * vectors * 400;
    let products = POINTS * tiles * pairs * vectors;
    transformed + products + products * pairs.min(DEEP) / (2 * DEEP)
}
