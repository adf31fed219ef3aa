//! Strided crop with padding, see [`crate::desc::Copy`].

use super::map::{Map, MapMut, Part};
use crate::desc::Copy;

/// Computes a part of it.
pub(super) fn run(copy: &Copy, x: Map<'_>, out: Option<MapMut<'_>>, part: &Part) {
    let Some(mut out) = out else { return };
    let width = out.width;
    let source = |position: usize, step: u32, start: i32, size: usize| {
        let at = position as i64 * i64::from(step) + i64::from(start);
        usize::try_from(at).ok().filter(|&at| at < size)
    };
    part.for_each(|pixel, c| {
        let row = source(pixel / width, copy.step[0], copy.start[0], x.height);
        let column = source(pixel % width, copy.step[1], copy.start[1], x.width);
        let channel = source(c, 1, copy.start[2], x.channels);
        let q = match (row, column, channel) {
            (Some(row), Some(column), Some(channel)) => x.get(row * x.width + column, channel),
            _ => x.zero_point,
        };
        out.put(pixel, c, q);
    });
}
