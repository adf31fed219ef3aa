//! Max and average pooling, see [`crate::desc::Pool`].

use super::conv2d::Taps;
use super::epilogue::StoreTo;
use super::map::{Map, Part};
use crate::desc::{Pool, PoolKind};
use crate::quant::scale_accumulator;

/// Computes a part of it. The loader has seen to it that every window holds a position of the map.
pub(super) fn run(pool: &Pool, x: Map<'_>, mut end: StoreTo<'_, '_>, part: &Part) {
    let window =
        Taps::new(pool.window.size, pool.window.stride, pool.window.padding, pool.window.dilation);
    let map = [x.height, x.width];
    let width = end.size()[1];
    part.for_each(|pixel, c| {
        let at = [pixel / width, pixel % width];
        match pool.kind {
            PoolKind::Max => {
                let mut largest = i32::MIN;
                window.for_each(at, map, |_, position| largest = largest.max(x.get(position, c)));
                end.put_quantized(pixel, c, largest);
            }
            PoolKind::Average => {
                let (mut acc, mut count) = (0, 0);
                window.for_each(at, map, |_, position| {
                    acc += x.centered(position, c);
                    count += 1;
                });
                let count = if pool.count_padding { window.count() } else { count };
                end.put(pixel, c, scale_accumulator(acc, pool.multiplier / count as f32));
            }
        }
    });
}
