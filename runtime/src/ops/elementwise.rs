//! Sum and product of two maps.

use super::epilogue::End;
use super::map::{Map, Part};

/// `t = f32(a') * multiplier`; the epilogue's residual is the other summand.
pub(super) fn add(a: Map<'_>, multiplier: f32, mut end: End<'_, '_>, part: &Part) {
    part.for_each(|pixel, c| end.put(pixel, c, a.centered(pixel, c) as f32 * multiplier));
}

/// `t = f32(x' * g') * multiplier`, where a gate of one pixel serves all.
pub(super) fn mul(x: Map<'_>, gate: Map<'_>, multiplier: f32, mut end: End<'_, '_>, part: &Part) {
    let whole_map = gate.height * gate.width != 1;
    part.for_each(|pixel, c| {
        let g = gate.centered(if whole_map { pixel } else { 0 }, c);
        end.put(pixel, c, (x.centered(pixel, c) * g) as f32 * multiplier);
    });
}
