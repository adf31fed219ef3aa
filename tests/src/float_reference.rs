//! Float operators in textbook loops, accumulating in f64; the executor is compared with these.

use kenar_convert::graph::{Conv2d, Pool, PoolKind};
use ndarray::{ArrayD, IxDyn};

/// `size` read as an input position of one axis: inside the map or not.
fn inside(position: usize, pad: usize, size: usize) -> Option<usize> {
    position.checked_sub(pad).filter(|&p| p < size)
}

/// Convolution by its definition; `shape` is the result's.
pub fn conv2d(c: &Conv2d, x: &ArrayD<f32>, shape: &[usize]) -> ArrayD<f32> {
    let (h, w) = (x.shape()[2], x.shape()[3]);
    let (c_out, group_in) = (c.weight.shape()[0], c.weight.shape()[1]);
    ArrayD::from_shape_fn(IxDyn(shape), |at| {
        let group = at[1] / (c_out / c.groups);
        let mut sum = c.bias.as_ref().map_or(0.0, |b| f64::from(b[at[1]]));
        for i in 0..group_in {
            for ky in 0..c.weight.shape()[2] {
                for kx in 0..c.weight.shape()[3] {
                    let y = inside(at[2] * c.stride[0] + ky * c.dilation[0], c.padding[0], h);
                    let z = inside(at[3] * c.stride[1] + kx * c.dilation[1], c.padding[1], w);
                    if let (Some(y), Some(z)) = (y, z) {
                        let value = x[[at[0], group * group_in + i, y, z]];
                        sum += f64::from(value) * f64::from(c.weight[[at[1], i, ky, kx]]);
                    }
                }
            }
        }
        sum as f32
    })
}

/// Pooling by its definition: a window position is inside the map, in its padding (counted when asked for), or
/// beyond (never counted); `shape` is the result's.
pub fn pool(p: &Pool, x: &ArrayD<f32>, shape: &[usize]) -> ArrayD<f32> {
    let size = [x.shape()[2], x.shape()[3]];
    ArrayD::from_shape_fn(IxDyn(shape), |at| {
        let (mut largest, mut sum, mut count) = (f32::NEG_INFINITY, 0.0f64, 0usize);
        for ky in 0..p.window[0] {
            for kx in 0..p.window[1] {
                let position = [
                    at[2] * p.stride[0] + ky * p.dilation[0],
                    at[3] * p.stride[1] + kx * p.dilation[1],
                ];
                let beyond =
                    (0..2).any(|i| position[i] >= size[i] + p.padding[i] + p.padding[i + 2]);
                let y = inside(position[0], p.padding[0], size[0]);
                let z = inside(position[1], p.padding[1], size[1]);
                match (y, z) {
                    (Some(y), Some(z)) => {
                        let value = x[[at[0], at[1], y, z]];
                        largest = largest.max(value);
                        sum += f64::from(value);
                        count += 1;
                    }
                    _ if !beyond && p.kind == (PoolKind::Average { count_include_pad: true }) => {
                        count += 1
                    }
                    _ => {}
                }
            }
        }
        match p.kind {
            PoolKind::Max => largest,
            PoolKind::Average { .. } if count == 0 => 0.0,
            PoolKind::Average { .. } => (sum / count as f64) as f32,
        }
    })
}

/// `x * weight^T + bias` over the last axis of a matrix.
pub fn linear(weight: &ArrayD<f32>, bias: Option<&ArrayD<f32>>, x: &ArrayD<f32>) -> ArrayD<f32> {
    let (out, inner) = (weight.shape()[0], weight.shape()[1]);
    ArrayD::from_shape_fn(IxDyn(&[x.shape()[0], out]), |at| {
        let products = (0..inner).map(|i| f64::from(x[[at[0], i]]) * f64::from(weight[[at[1], i]]));
        (products.sum::<f64>() + bias.map_or(0.0, |b| f64::from(b[at[1]]))) as f32
    })
}
