//! Look-up: `table[q + 128]`.

use super::map::{Map, MapMut, Part};

/// Computes a part of it.
pub(super) fn run(x: Map<'_>, table: &[u8], out: Option<MapMut<'_>>, part: &Part) {
    let Some(mut out) = out else { return };
    part.for_each(|pixel, c| {
        let q = table[(x.get(pixel, c) + 128) as usize] as i8;
        out.put(pixel, c, i32::from(q));
    });
}
