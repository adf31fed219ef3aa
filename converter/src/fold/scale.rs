//! Per-channel `x * scale + shift` in f64, and how neighbouring operators absorb it.

use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn};

use crate::graph::{Conv2d, Graph, Op, ValueId, Weights, weights};

/// One pair per channel.
#[derive(Clone, Debug)]
pub(super) struct ChannelScale {
    pub scale: Vec<f64>,
    pub shift: Vec<f64>,
}

/// A tensor in f64, in row-major order.
fn wide(w: &ArrayD<f32>) -> Vec<f64> {
    w.iter().map(|&v| f64::from(v)).collect()
}

/// Rounds once, back to f32; `None` when a value is not finite.
fn narrow(shape: &[usize], values: impl IntoIterator<Item = f64>) -> Option<Weights> {
    let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
    let finite = values.iter().all(|v| v.is_finite());
    finite.then(|| {
        weights(ArrayD::from_shape_vec(IxDyn(shape), values).expect("one value per element"))
    })
}

impl ChannelScale {
    /// What a batch norm or affine operator computes.
    pub fn of(op: &Op) -> Option<Self> {
        match op {
            Op::BatchNorm { gamma, beta, mean, var, eps } => {
                let scale: Vec<f64> = gamma
                    .iter()
                    .zip(var.iter())
                    .map(|(&g, &v)| f64::from(g) / (f64::from(v) + f64::from(*eps)).sqrt())
                    .collect();
                let shift = beta.iter().zip(mean.iter()).zip(&scale);
                let shift = shift.map(|((&b, &m), s)| f64::from(b) - f64::from(m) * s).collect();
                Some(Self { scale, shift })
            }
            Op::Affine { scale, shift } => Some(Self { scale: wide(scale), shift: wide(shift) }),
            _ => None,
        }
    }

    /// The affine operator, `None` when a value is not finite.
    pub fn affine(&self) -> Option<Op> {
        let vector = |v: &[f64]| narrow(&[v.len()], v.iter().copied());
        Some(Op::Affine { scale: vector(&self.scale)?, shift: vector(&self.shift)? })
    }

    /// Whether this can follow inside `op`, whose result has `rank` axes.
    pub fn fits_behind(op: &Op, rank: usize) -> bool {
        match op {
            Op::Conv2d(_) | Op::BatchNorm { .. } | Op::Affine { .. } => true,
            // The channels of a linear layer are its last axis.
            Op::Linear { .. } => rank == 2,
            _ => false,
        }
    }

    /// `op`, then this; `None` when a value is not finite. `op` is one that [`Self::fits_behind`] accepts.
    pub fn behind(&self, op: &Op) -> Option<Op> {
        match op {
            Op::Conv2d(c) => {
                let (weight, bias) = self.scale_outputs(&c.weight, c.bias.as_deref())?;
                Some(Op::Conv2d(Conv2d { weight, bias: Some(bias), ..c.clone() }))
            }
            Op::Linear { weight, bias } => {
                let (weight, bias) = self.scale_outputs(weight, bias.as_deref())?;
                Some(Op::Linear { weight, bias: Some(bias) })
            }
            _ => {
                let first = Self::of(op)?;
                let scale = first.scale.iter().zip(&self.scale).map(|(a, b)| a * b).collect();
                let shift = first
                    .shift
                    .iter()
                    .zip(&self.scale)
                    .zip(&self.shift)
                    .map(|((a, s), t)| a * s + t);
                Self { scale, shift: shift.collect() }.affine()
            }
        }
    }

    fn scale_outputs(
        &self,
        weight: &ArrayD<f32>,
        bias: Option<&ArrayD<f32>>,
    ) -> Option<(Weights, Weights)> {
        let bias = bias.map_or_else(|| vec![0.0; self.scale.len()], wide);
        let bias = bias.iter().zip(&self.scale).zip(&self.shift).map(|((b, s), t)| b * s + t);
        let per_output = weight.len() / self.scale.len();
        let values =
            weight.iter().enumerate().map(|(i, &w)| f64::from(w) * self.scale[i / per_output]);
        Some((narrow(weight.shape(), values)?, narrow(&[self.scale.len()], bias)?))
    }

    /// Whether this can come first inside `op`: padding would have to be shifted, too, so there must be none or no
    /// shift.
    pub fn fits_before(&self, op: &Op, rank: usize) -> bool {
        match op {
            Op::Conv2d(c) => c.padding == [0; 4] || self.shift.iter().all(|&s| s == 0.0),
            Op::Linear { .. } => rank == 2,
            _ => false,
        }
    }

    /// This, then `op`; `None` when a value is not finite. `op` is one that [`Self::fits_before`] accepts.
    pub fn before(&self, op: &Op) -> Option<Op> {
        match op {
            Op::Conv2d(c) => {
                let (weight, bias) = self.scale_inputs(&c.weight, c.bias.as_deref(), c.groups)?;
                Some(Op::Conv2d(Conv2d { weight, bias: Some(bias), ..c.clone() }))
            }
            Op::Linear { weight, bias } => {
                let (weight, bias) = self.scale_inputs(weight, bias.as_deref(), 1)?;
                Some(Op::Linear { weight, bias: Some(bias) })
            }
            _ => None,
        }
    }

    fn scale_inputs(
        &self,
        weight: &ArrayD<f32>,
        bias: Option<&ArrayD<f32>>,
        groups: usize,
    ) -> Option<(Weights, Weights)> {
        let (outputs, inputs) = (weight.shape()[0], weight.shape()[1]);
        let mut bias = bias.map_or_else(|| vec![0.0; outputs], wide);
        let mut values = Vec::with_capacity(weight.len());
        for (o, filter) in weight.axis_iter(Axis(0)).enumerate() {
            let group = o / (outputs / groups);
            for (i, taps) in filter.axis_iter(Axis(0)).enumerate() {
                let taps: ArrayViewD<'_, f32> = taps;
                let channel = group * inputs + i;
                let taps: Vec<f64> = taps.iter().map(|&t| f64::from(t)).collect();
                bias[o] += taps.iter().sum::<f64>() * self.shift[channel];
                values.extend(taps.iter().map(|t| t * self.scale[channel]));
            }
        }
        Some((narrow(weight.shape(), values)?, narrow(&[outputs], bias)?))
    }
}

/// A constant operand as one value per channel (axis 1) of a value with `shape`.
pub(super) fn channel_constant(graph: &Graph, value: ValueId, shape: &[usize]) -> Option<Vec<f64>> {
    let w = graph.constant(value)?;
    let &channels = shape.get(1)?;
    if w.len() == 1 && w.ndim() <= shape.len() {
        return Some(vec![f64::from(*w.first()?); channels]);
    }
    // Aligned at the last axis, everything but axis 1 must be 1.
    let offset = shape.len().checked_sub(w.ndim())?;
    let fits =
        w.shape().iter().enumerate().all(|(i, &n)| n == if i + offset == 1 { channels } else { 1 });
    (fits && w.len() == channels).then(|| wide(w))
}
