//! Nearest-neighbour resize: `in = floor(out * in_size / out_size)`.

use super::map::{Map, MapMut, Part};

/// Computes a part of it.
pub(super) fn run(x: Map<'_>, out: Option<MapMut<'_>>, part: &Part) {
    let Some(mut out) = out else { return };
    let nearest = |position: usize, from: usize, to: usize| {
        (position as u64 * from as u64 / to as u64) as usize
    };
    let (height, width) = (out.height, out.width);
    part.for_each(|pixel, c| {
        let row = nearest(pixel / width, x.height, height);
        let column = nearest(pixel % width, x.width, width);
        out.put(pixel, c, x.get(row * x.width + column, c));
    });
}
