//! Which convolutions are computed this way.

use super::super::conv::Body;
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

/// Whether that is faster than by the definition, by what both were measured to take (`rates`, all 3x3 layers of the
/// networks there, on three instruction sets). The unit is the time of one [`crate::isa::Words::dot`].
///
/// Of several threads each transforms all weights, and the one with most rows of tiles ends last.
pub(in super::super) fn pays<I: Isa>(body: &Body, threads: usize) -> bool {
    let bands = body.geometry.output[0].div_ceil(OUT);
    let tiles = tiles(&body.geometry.output) * bands.div_ceil(threads) / bands;
    let pixels = body.geometry.pixels().div_ceil(threads);
    let vectors = body.channels_out.div_ceil(I::LANES);
    let (pairs, quads) = (body.depth.div_ceil(2), body.depth.div_ceil(4));
    let transformed = tiles * 460 * body.depth.div_ceil(2 * I::LANES)
        + pairs * vectors * I::TRANSFORM_IN_DOTS
        + tiles * vectors * 400;
    let tiled = transformed + POINTS * tiles * pairs * vectors;
    let direct = I::DP_IN_DOTS * 9 * pixels * quads * vectors / 100 + pixels * (40 + 20 * vectors);
    // Direct products run at 93 % of the peak, which leaves a tenth for what is not seen here.
    tiled + tiled / 10 < direct + direct / 14
}
