//! Fully connected layers.

use ndarray::linalg::{general_mat_mul, general_mat_vec_mul};
use ndarray::{ArrayD, ArrayView1, ArrayView2, ArrayViewD, ArrayViewMut1, ArrayViewMut2};

/// `x: [..., in]`, `weight: [out, in]`, result `[..., out]`.
pub(super) fn linear(
    weight: &ArrayD<f32>,
    bias: Option<&ArrayD<f32>>,
    x: &ArrayViewD<'_, f32>,
    shape: &[usize],
) -> ArrayD<f32> {
    let (out, inner) = (weight.shape()[0], weight.shape()[1]);
    let rows = x.len() / inner.max(1);
    let mut result = vec![0.0; rows * out];
    if let Some(bias) = bias {
        for row in result.chunks_exact_mut(out) {
            for (r, b) in row.iter_mut().zip(bias) {
                *r = *b;
            }
        }
    }
    let x = x.as_slice().expect("operands are row-major");
    let weight = weight.view().into_dimensionality::<ndarray::Ix2>().expect("weights have rank 2");
    if rows == 1 {
        general_mat_vec_mul(
            1.0,
            &weight,
            &ArrayView1::from(x),
            1.0,
            &mut ArrayViewMut1::from(&mut result[..]),
        );
    } else {
        let x = ArrayView2::from_shape((rows, inner), x).expect("operands fill their matrix");
        let mut result =
            ArrayViewMut2::from_shape((rows, out), &mut result).expect("results fill their matrix");
        general_mat_mul(1.0, &x, &weight.t(), 1.0, &mut result);
    }
    ArrayD::from_shape_vec(shape, result).expect("the result has the inferred size")
}
