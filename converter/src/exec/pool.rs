//! Pooling with PyTorch's rules for padding and `ceil_mode`.

use ndarray::{ArrayD, ArrayViewD};

use crate::graph::Pool;

/// Calls `window(input_plane, [top, left])` for every output; positions are those of the padded input.
fn for_each_window(
    p: &Pool,
    x: &ArrayViewD<'_, f32>,
    shape: &[usize],
    window: impl Fn(&[f32], [usize; 2]) -> f32,
) -> ArrayD<f32> {
    let plane = x.shape()[2] * x.shape()[3];
    let (out_h, out_w) = (shape[2], shape[3]);
    let mut result = Vec::with_capacity(shape.iter().product());
    for input in x.as_slice().expect("operands are row-major").chunks_exact(plane) {
        for out_y in 0..out_h {
            for out_x in 0..out_w {
                result.push(window(input, [out_y * p.stride[0], out_x * p.stride[1]]));
            }
        }
    }
    ArrayD::from_shape_vec(shape, result).expect("the result has the inferred size")
}

/// Maximum; padding counts as minus infinity.
pub(super) fn max(p: &Pool, x: &ArrayViewD<'_, f32>, shape: &[usize]) -> ArrayD<f32> {
    let (h, w) = (x.shape()[2], x.shape()[3]);
    for_each_window(p, x, shape, |input, [top, left]| {
        let mut best = f32::NEG_INFINITY;
        for tap_y in 0..p.window[0] {
            let Some(y) =
                (top + tap_y * p.dilation[0]).checked_sub(p.padding[0]).filter(|&y| y < h)
            else {
                continue;
            };
            for tap_x in 0..p.window[1] {
                let column = (left + tap_x * p.dilation[1]).checked_sub(p.padding[1]);
                if let Some(x) = column.filter(|&x| x < w) {
                    let value = input[y * w + x];
                    // A NaN stays, so that it is seen at the output.
                    if value > best || value.is_nan() {
                        best = value;
                    }
                }
            }
        }
        best
    })
}

/// Mean over the window clipped to the padded input (`count_include_pad`) or to the input.
pub(super) fn average(
    p: &Pool,
    count_include_pad: bool,
    x: &ArrayViewD<'_, f32>,
    shape: &[usize],
) -> ArrayD<f32> {
    let size = [x.shape()[2], x.shape()[3]];
    for_each_window(p, x, shape, |input, start| {
        // Per axis: first and one past the last input position, and the number of positions that count.
        let span = |i: usize| {
            let padded_end =
                (start[i] + p.window[i]).min(size[i] + p.padding[i] + p.padding[i + 2]);
            let first = start[i].max(p.padding[i]) - p.padding[i];
            let end = padded_end.saturating_sub(p.padding[i]).min(size[i]);
            let first = first.min(end);
            (first, end, if count_include_pad { padded_end - start[i] } else { end - first })
        };
        let ((top, bottom, count_y), (left, right, count_x)) = (span(0), span(1));
        let mut sum = 0.0f32;
        for row in input.chunks_exact(size[1]).take(bottom).skip(top) {
            sum += row[left..right].iter().sum::<f32>();
        }
        let count = count_y * count_x;
        if count == 0 { 0.0 } else { sum / count as f32 }
    })
}

fn per_plane(x: &ArrayViewD<'_, f32>, shape: &[usize], f: impl Fn(&[f32]) -> f32) -> ArrayD<f32> {
    let plane = x.shape()[2] * x.shape()[3];
    let values = x.as_slice().expect("operands are row-major").chunks_exact(plane).map(f).collect();
    ArrayD::from_shape_vec(shape, values).expect("the result has the inferred size")
}

/// Mean of each plane.
pub(super) fn global_average(x: &ArrayViewD<'_, f32>, shape: &[usize]) -> ArrayD<f32> {
    per_plane(x, shape, |plane| {
        (plane.iter().map(|&v| f64::from(v)).sum::<f64>() / plane.len() as f64) as f32
    })
}

/// Maximum of each plane.
pub(super) fn global_max(x: &ArrayViewD<'_, f32>, shape: &[usize]) -> ArrayD<f32> {
    per_plane(x, shape, |plane| {
        plane
            .iter()
            .fold(f32::NEG_INFINITY, |best, &v| if v > best || v.is_nan() { v } else { best })
    })
}
