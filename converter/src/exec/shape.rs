//! Operators that move values without computing: join, cut, pad, permute, repeat.

use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn, Slice};

use super::Operand;

pub(super) fn concat(operands: &[Operand<'_>], axis: usize) -> ArrayD<f32> {
    let views: Vec<_> = operands.iter().map(|x| x.view()).collect();
    let joined = ndarray::concatenate(Axis(axis), &views).expect("the graph checked the shapes");
    row_major(joined)
}

/// Copies only if the array is not row-major.
fn row_major(array: ArrayD<f32>) -> ArrayD<f32> {
    if array.is_standard_layout() { array } else { array.as_standard_layout().into_owned() }
}

pub(super) fn slice(
    x: &ArrayViewD<'_, f32>,
    axis: usize,
    start: usize,
    end: usize,
    step: usize,
) -> ArrayD<f32> {
    let cut = Slice::new(start as isize, Some(end as isize), step as isize);
    x.slice_axis(Axis(axis), cut).as_standard_layout().into_owned()
}

pub(super) fn pad(
    x: &ArrayViewD<'_, f32>,
    pads: &[(usize, usize)],
    value: f32,
    shape: &[usize],
) -> ArrayD<f32> {
    let mut result = ArrayD::from_elem(IxDyn(shape), value);
    let mut inner = result.view_mut();
    for (axis, &(before, _)) in pads.iter().enumerate() {
        let end = before + x.shape()[axis];
        inner.slice_axis_inplace(Axis(axis), Slice::from(before..end));
    }
    inner.assign(x);
    result
}

pub(super) fn reshape(x: Operand<'_>, shape: &[usize]) -> ArrayD<f32> {
    x.into_owned().into_shape_with_order(IxDyn(shape)).expect("the graph checked the sizes")
}

pub(super) fn transpose(x: &ArrayViewD<'_, f32>, perm: &[usize]) -> ArrayD<f32> {
    x.view().permuted_axes(IxDyn(perm)).as_standard_layout().into_owned()
}

pub(super) fn resize_nearest(x: &ArrayViewD<'_, f32>, shape: &[usize]) -> ArrayD<f32> {
    let (h, w) = (x.shape()[2], x.shape()[3]);
    let (out_h, out_w) = (shape[2], shape[3]);
    let columns: Vec<usize> = (0..out_w).map(|i| i * w / out_w).collect();
    let mut result = Vec::with_capacity(shape.iter().product());
    for plane in x.as_slice().expect("operands are row-major").chunks_exact(h * w) {
        for out_y in 0..out_h {
            let row = &plane[out_y * h / out_h * w..][..w];
            result.extend(columns.iter().map(|&c| row[c]));
        }
    }
    ArrayD::from_shape_vec(IxDyn(shape), result).expect("the result has the inferred size")
}
