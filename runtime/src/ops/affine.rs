//! Per-channel affine map: `t = f32(x') * a[c]; t = t + b[c]`.

use super::epilogue::StoreTo;
use super::map::{Map, Part};
use crate::format::F32s;

/// Computes a part of it.
pub(super) fn run(x: Map<'_>, a: F32s<'_>, b: F32s<'_>, mut end: StoreTo<'_, '_>, part: &Part) {
    part.for_each(|pixel, c| {
        let t = x.centered(pixel, c) as f32 * a.get(c);
        end.put(pixel, c, t + b.get(c));
    });
}
