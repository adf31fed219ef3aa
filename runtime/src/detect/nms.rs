//! Greedy non-maximum suppression.

use super::{Detection, Options};

/// Whether two boxes share more than `limit` of their union.
fn overlap(a: &[f32; 4], b: &[f32; 4], limit: f32) -> bool {
    let area = |c: &[f32; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let shared = width * height;
    shared / (area(a) + area(b) - shared) > limit
}

/// Moves the boxes that remain to the front, best first as they come, and returns them. `locate` computes a box's
/// corners; it is asked as late as possible.
pub(super) fn suppress<'b>(
    found: &'b mut [Detection],
    options: &Options<'_>,
    locate: impl Fn(u32) -> [f32; 4],
) -> &'b mut [Detection] {
    let mut kept = 0;
    for index in 0..found.len() {
        if kept == options.max_boxes {
            break;
        }
        let mut one = found[index];
        one.corners = locate(one.candidate);
        let dropped = found[..kept].iter().any(|better| {
            (options.agnostic || better.class == one.class)
                && overlap(&better.corners, &one.corners, options.iou)
        });
        if !dropped {
            found[kept] = one;
            kept += 1;
        }
    }
    &mut found[..kept]
}
