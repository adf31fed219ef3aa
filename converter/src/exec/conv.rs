//! Convolution: a matrix product over im2col columns, a direct loop for depthwise.

use std::cell::RefCell;

use ndarray::linalg::{general_mat_mul, general_mat_vec_mul};
use ndarray::{
    ArrayD, ArrayView1, ArrayView2, ArrayViewD, ArrayViewMut1, ArrayViewMut2, Axis, Slice,
};

use super::im2col::{AxisWindow, im2col};
use crate::graph::Conv2d;

/// Columns are made in blocks of whole output rows of about this many values, so that they stay in the cache.
const COLUMN_BLOCK: usize = 96 * 1024;

thread_local! {
    /// Column buffer, kept between calls.
    static COLUMNS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `x: [N, C_in, H, W]` row-major, `shape` the result's.
pub(super) fn conv2d(c: &Conv2d, x: &ArrayViewD<'_, f32>, shape: &[usize]) -> ArrayD<f32> {
    let &[n, c_in, h, w] = x.shape() else { unreachable!("convolution operands have rank 4") };
    let &[_, c_out, out_h, out_w] = shape else { unreachable!("convolution results have rank 4") };
    let window = &c.weight.shape()[2..];
    let axis = |i: usize, size, out| AxisWindow {
        size,
        out,
        window: window[i],
        stride: c.stride[i],
        dilation: c.dilation[i],
        pad: c.padding[i],
    };
    let (ay, ax) = (axis(0, h, out_h), axis(1, w, out_w));
    let plane = out_h * out_w;
    let mut result = vec![0.0; n * c_out * plane];
    if let Some(bias) = &c.bias {
        for image in result.chunks_exact_mut(c_out * plane) {
            for (channel, &b) in image.chunks_exact_mut(plane).zip(bias.iter()) {
                channel.fill(b);
            }
        }
    }
    let x = x.as_slice().expect("operands are row-major");
    let weight = c.weight.as_slice().expect("weights are row-major");
    let (group_in, group_out) = (c_in / c.groups, c_out / c.groups);
    let inner = group_in * window[0] * window[1];
    let pointwise = inner == group_in && c.stride == [1, 1] && c.padding == [0; 4];
    for (image, result) in x.chunks_exact(c_in * h * w).zip(result.chunks_exact_mut(c_out * plane))
    {
        for g in 0..c.groups {
            let input = &image[g * group_in * h * w..][..group_in * h * w];
            let weight = &weight[g * group_out * inner..][..group_out * inner];
            let result = &mut result[g * group_out * plane..][..group_out * plane];
            if pointwise {
                accumulate_product(weight, input, result, inner, plane);
            } else if group_in == 1 {
                depthwise(weight, input, result, &ay, &ax);
            } else {
                windows(weight, input, result, &ay, &ax);
            }
        }
    }
    ArrayD::from_shape_vec(shape, result).expect("the result has the inferred size")
}

/// `result[m, n] += weight[m, k] * columns[k, n]`.
fn accumulate_product(weight: &[f32], columns: &[f32], result: &mut [f32], k: usize, n: usize) {
    let m = result.len() / n;
    let weight = ArrayView2::from_shape((m, k), weight).expect("weights fill their matrix");
    if n == 1 {
        general_mat_vec_mul(
            1.0,
            &weight,
            &ArrayView1::from(columns),
            1.0,
            &mut ArrayViewMut1::from(result),
        );
        return;
    }
    let columns = ArrayView2::from_shape((k, n), columns).expect("columns fill their matrix");
    let mut result = ArrayViewMut2::from_shape((m, n), result).expect("results fill their matrix");
    general_mat_mul(1.0, &weight, &columns, 1.0, &mut result);
}

/// Any window, one group.
fn windows(weight: &[f32], input: &[f32], result: &mut [f32], y: &AxisWindow, x: &AxisWindow) {
    let plane = y.out * x.out;
    let k = input.len() / (y.size * x.size) * y.window * x.window;
    let m = result.len() / plane;
    let weight = ArrayView2::from_shape((m, k), weight).expect("weights fill their matrix");
    let mut result =
        ArrayViewMut2::from_shape((m, plane), result).expect("results fill their matrix");
    let rows_per_block = (COLUMN_BLOCK / (k * x.out)).clamp(1, y.out);
    COLUMNS.with_borrow_mut(|buffer| {
        if buffer.len() < k * rows_per_block * x.out {
            buffer.resize(k * rows_per_block * x.out, 0.0);
        }
        for start in (0..y.out).step_by(rows_per_block) {
            let rows = start..(start + rows_per_block).min(y.out);
            let n = rows.len() * x.out;
            let columns = &mut buffer[..k * n];
            im2col(input, y, x, rows, columns);
            let columns =
                ArrayView2::from_shape((k, n), &*columns).expect("columns fill their matrix");
            let mut block =
                result.slice_axis_mut(Axis(1), Slice::from(start * x.out..start * x.out + n));
            general_mat_mul(1.0, &weight, &columns, 1.0, &mut block);
        }
    });
}

/// One input channel, any number of output channels.
fn depthwise(weight: &[f32], input: &[f32], result: &mut [f32], y: &AxisWindow, x: &AxisWindow) {
    let taps = y.window * x.window;
    for (weight, plane) in weight.chunks_exact(taps).zip(result.chunks_exact_mut(y.out * x.out)) {
        for (tap, &weight) in weight.iter().enumerate() {
            let (tap_y, tap_x) = (tap / x.window, tap % x.window);
            let inside = x.inside(tap_x);
            if inside.is_empty() {
                continue;
            }
            for out_y in y.inside(tap_y) {
                let to = &mut plane[out_y * x.out..][inside.clone()];
                let from = &input[y.input(out_y, tap_y) * x.size..][..x.size];
                let from = &from[x.input(inside.start, tap_x)..];
                if x.stride == 1 {
                    for (to, from) in to.iter_mut().zip(from) {
                        *to += weight * from;
                    }
                } else {
                    for (to, from) in to.iter_mut().zip(from.iter().step_by(x.stride)) {
                        *to += weight * from;
                    }
                }
            }
        }
    }
}
