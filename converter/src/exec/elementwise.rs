//! Activations, per-channel vectors, arithmetic of two operands.

use ndarray::{ArrayD, IxDyn};

use super::Operand;
use crate::graph::Activation;

/// `f` in place, when the operand dies here.
fn map(x: Operand<'_>, f: impl Fn(f32) -> f32) -> ArrayD<f32> {
    let mut x = x.into_owned();
    for v in x.as_slice_mut().expect("operands are row-major") {
        *v = f(*v);
    }
    x
}

/// `f(channel, value)` in place; channels are axis 1.
fn map_channels(x: Operand<'_>, f: impl Fn(usize, &mut [f32])) -> ArrayD<f32> {
    let channels = x.shape()[1];
    let plane: usize = x.shape()[2..].iter().product();
    let mut x = x.into_owned();
    if plane > 0 {
        let values = x.as_slice_mut().expect("operands are row-major");
        for (i, values) in values.chunks_exact_mut(plane).enumerate() {
            f(i % channels, values);
        }
    }
    x
}

/// Logistic function.
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Clamps without touching NaN and without a condition on the limits.
fn clip(x: f32, min: f32, max: f32) -> f32 {
    if x < min {
        min
    } else if x > max {
        max
    } else {
        x
    }
}

pub(super) fn activation(x: Operand<'_>, a: &Activation) -> ArrayD<f32> {
    match *a {
        Activation::Relu => map(x, |v| if v < 0.0 { 0.0 } else { v }),
        Activation::Clip { min, max } => map(x, |v| clip(v, min, max)),
        Activation::Silu => map(x, |v| v * sigmoid(v)),
        Activation::Sigmoid => map(x, sigmoid),
        Activation::HardSwish => map(x, |v| v * clip(v + 3.0, 0.0, 6.0) / 6.0),
        Activation::HardSigmoid { alpha, beta } => map(x, |v| clip(alpha * v + beta, 0.0, 1.0)),
        Activation::LeakyRelu { slope } => map(x, |v| if v < 0.0 { slope * v } else { v }),
        Activation::Tanh => map(x, f32::tanh),
        Activation::Exp => map(x, f32::exp),
    }
}

pub(super) fn prelu(x: Operand<'_>, slope: &ArrayD<f32>) -> ArrayD<f32> {
    let slopes: Vec<f32> = slope.iter().copied().collect();
    if let [slope] = slopes[..] {
        return activation(x, &Activation::LeakyRelu { slope });
    }
    map_channels(x, |c, values| {
        let slope = slopes[c];
        for v in values {
            *v = if *v < 0.0 { slope * *v } else { *v };
        }
    })
}

pub(super) fn affine(x: Operand<'_>, scale: &ArrayD<f32>, shift: &ArrayD<f32>) -> ArrayD<f32> {
    let vectors: Vec<_> = scale.iter().copied().zip(shift.iter().copied()).collect();
    map_channels(x, |c, values| {
        let (scale, shift) = vectors[c];
        for v in values {
            *v = *v * scale + shift;
        }
    })
}

/// `vectors`: gamma, beta, mean, variance.
pub(super) fn batch_norm(x: Operand<'_>, vectors: [&ArrayD<f32>; 4], eps: f32) -> ArrayD<f32> {
    let [gamma, beta, mean, var] = vectors.map(|v| v.iter().copied().collect::<Vec<f32>>());
    map_channels(x, |c, values| {
        let scale = (f64::from(gamma[c]) / (f64::from(var[c]) + f64::from(eps)).sqrt()) as f32;
        let (mean, beta) = (mean[c], beta[c]);
        for v in values {
            *v = (*v - mean) * scale + beta;
        }
    })
}

/// `f(a, b)` with either operand broadcast to `shape`.
pub(super) fn binary(
    a: Operand<'_>,
    b: Operand<'_>,
    shape: &[usize],
    f: fn(f32, f32) -> f32,
) -> ArrayD<f32> {
    if a.shape() == shape {
        return into_first(a, &b, f);
    }
    if b.shape() == shape {
        return into_first(b, &a, |b, a| f(a, b));
    }
    let wide = |x: &Operand<'_>| {
        x.broadcast(IxDyn(shape)).expect("broadcast was checked by the graph").to_owned()
    };
    let b = wide(&b);
    into_first(wide(&a).into(), &b.into(), f)
}

/// `f(a, b)` where `a` has the result's shape.
fn into_first(a: Operand<'_>, b: &Operand<'_>, f: impl Fn(f32, f32) -> f32) -> ArrayD<f32> {
    let values = b.as_slice().expect("operands are row-major");
    if a.shape() == b.shape() {
        let mut a = a.into_owned();
        for (a, b) in a.as_slice_mut().expect("operands are row-major").iter_mut().zip(values) {
            *a = f(*a, *b);
        }
        return a;
    }
    if let [b] = values[..] {
        return map(a, |a| f(a, b));
    }
    if a.ndim() == 4 && b.ndim() == 4 && b.shape()[1] == a.shape()[1] && b.len() == a.shape()[1] {
        return map_channels(a, |c, channel| {
            for v in channel {
                *v = f(*v, values[c]);
            }
        });
    }
    let mut a = a.into_owned();
    a.zip_mut_with(&b.view(), |a, b| *a = f(*a, *b));
    a
}
