//! Operators of the float graph.

use std::sync::Arc;

use ndarray::ArrayD;

/// Shared constant data; cloning a graph does not copy weights.
pub type Weights = Arc<ArrayD<f32>>;

/// Wraps an array as [`Weights`].
pub fn weights(array: ArrayD<f32>) -> Weights {
    Arc::new(array)
}

/// 2-d convolution. Input `[N, C_in, H, W]`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// `[C_out, C_in/groups, H_w, W_w]`.
    pub weight: Weights,
    /// `[C_out]`.
    pub bias: Option<Weights>,
    /// Vertical, horizontal.
    pub stride: [usize; 2],
    /// Top, left, bottom, right; zeros.
    pub padding: [usize; 4],
    /// Vertical, horizontal.
    pub dilation: [usize; 2],
    /// Divides both channel counts.
    pub groups: usize,
}

/// Elementwise functions of one operand.
#[derive(Clone, Debug, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `clamp(x, min, max)`; ReLU6 is `Clip { 0, 6 }`.
    Clip {
        /// Lower limit.
        min: f32,
        /// Upper limit.
        max: f32,
    },
    /// `x * sigmoid(x)`.
    Silu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x * clamp(x + 3, 0, 6) / 6`.
    HardSwish,
    /// `clamp(alpha * x + beta, 0, 1)`; PyTorch: alpha 1/6, beta 1/2.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `x` for `x >= 0`, else `slope * x`.
    LeakyRelu {
        /// Slope below zero.
        slope: f32,
    },
    /// Hyperbolic tangent.
    Tanh,
    /// `exp(x)`.
    Exp,
}

/// What a pooling window computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Maximum; padding never wins.
    Max,
    /// Mean over the window; `count_include_pad` counts padding as zeros.
    Average {
        /// Whether the divisor counts padded positions.
        count_include_pad: bool,
    },
}

/// 2-d pooling.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Max or average.
    pub kind: PoolKind,
    /// Window height, width.
    pub window: [usize; 2],
    /// Vertical, horizontal.
    pub stride: [usize; 2],
    /// Top, left, bottom, right.
    pub padding: [usize; 4],
    /// Dilation of the window (max pooling only; otherwise 1, 1).
    pub dilation: [usize; 2],
    /// Output size rounds up (windows starting in the right or bottom padding are dropped, as PyTorch does).
    pub ceil_mode: bool,
}

/// Nearest-neighbour resize: `in = floor(out * in_size / out_size)` (asymmetric, floor; PyTorch's `nearest`).
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// Output height, width.
    pub size: [usize; 2],
}

/// An operator. Operand order is that of the variant's description.
#[derive(Clone, Debug)]
pub enum Op {
    /// `[x]`.
    Conv2d(Conv2d),
    /// `[x]`, over the last axis: `x * weight^T + bias`; weight `[out, in]`.
    Linear {
        /// `[out, in]`.
        weight: Weights,
        /// `[out]`.
        bias: Option<Weights>,
    },
    /// `[x]`; per channel (axis 1): `(x - mean) / sqrt(var + eps) * gamma + beta`.
    BatchNorm {
        /// `[C]`.
        gamma: Weights,
        /// `[C]`.
        beta: Weights,
        /// `[C]`.
        mean: Weights,
        /// `[C]`.
        var: Weights,
        /// Added to the variance.
        eps: f32,
    },
    /// `[x]`; per channel (axis 1): `x * scale + shift`.
    Affine {
        /// `[C]`.
        scale: Weights,
        /// `[C]`.
        shift: Weights,
    },
    /// `[x]`.
    Activation(Activation),
    /// `[x]`; `x` for `x >= 0`, else `slope[c] * x`.
    PRelu {
        /// `[C]` or `[1]`.
        slope: Weights,
    },
    /// `[a, b]`, equal shapes, or either a channel vector `[1, C, 1, 1]`, a single value or whatever else NumPy's
    /// broadcasting stretches (the importers of blocks check that no residual is stretched).
    Add,
    /// `[a, b]`, shapes as for `Add`.
    Mul,
    /// `[a, b]`: `a - b`.
    Sub,
    /// `[a, b]`: `a / b`.
    Div,
    /// `[x...]` along an axis.
    Concat {
        /// Axis of the shape with batch.
        axis: usize,
    },
    /// `[x]`: `x[start..end step]` along one axis; `end` is already clipped to the size.
    Slice {
        /// Axis of the shape with batch.
        axis: usize,
        /// First index.
        start: usize,
        /// One past the last index considered.
        end: usize,
        /// Step, at least 1.
        step: usize,
    },
    /// `[x]`: constant zero padding per axis, `(before, after)`; channels may be padded.
    Pad {
        /// One pair per axis.
        pads: Vec<(usize, usize)>,
        /// The value, 0 nearly always.
        value: f32,
    },
    /// `[x]`.
    Pool(Pool),
    /// `[x]`: mean over H and W, keeps the axes as 1.
    GlobalAvgPool,
    /// `[x]`: maximum over H and W, keeps the axes as 1.
    GlobalMaxPool,
    /// `[x]`.
    Resize(Resize),
    /// `[x]`: everything behind the batch axis into one.
    Flatten,
    /// `[x]`: to this shape, batch axis first (1), all sizes known.
    Reshape {
        /// Full shape.
        shape: Vec<usize>,
    },
    /// `[x]`: axes permuted; `perm[0] == 0`.
    Transpose {
        /// Output axis i is input axis `perm[i]`.
        perm: Vec<usize>,
    },
    /// `[x]` along an axis.
    Softmax {
        /// Axis of the shape with batch.
        axis: usize,
    },
    /// `[x]`: identity when evaluated; kept so that its removal is a visible pass.
    Dropout,
    /// `[x]`.
    Identity,
    /// `[]`: a constant.
    Constant(Weights),
}

impl Op {
    /// Visits every constant tensor inside the operator, with its role (`weight`, `bias`, `gamma`, ...).
    pub fn for_each_weight<'a>(&'a self, mut f: impl FnMut(&'static str, &'a Weights)) {
        match self {
            Self::Conv2d(c) => {
                f("weight", &c.weight);
                c.bias.iter().for_each(|b| f("bias", b));
            }
            Self::Linear { weight, bias } => {
                f("weight", weight);
                bias.iter().for_each(|b| f("bias", b));
            }
            Self::BatchNorm { gamma, beta, mean, var, .. } => {
                f("gamma", gamma);
                f("beta", beta);
                f("mean", mean);
                f("variance", var);
            }
            Self::Affine { scale, shift } => {
                f("scale", scale);
                f("shift", shift);
            }
            Self::PRelu { slope } => f("slope", slope),
            Self::Constant(w) => f("constant", w),
            _ => {}
        }
    }

    /// Everything that decides what the operator computes but for the values of its constant tensors: name,
    /// parameters (floats to six digits), shapes of the tensors. Equal texts mean equal structure.
    pub fn attributes(&self) -> String {
        let mut text = match self {
            Self::Conv2d(Conv2d { stride, padding, dilation, groups, .. }) => {
                format!(
                    "Conv2d stride {stride:?} padding {padding:?} dilation {dilation:?} groups {groups}"
                )
            }
            Self::BatchNorm { eps, .. } => format!("BatchNorm eps {eps:.5e}"),
            Self::Activation(Activation::Clip { min, max }) => format!("Clip {min:.5e} {max:.5e}"),
            Self::Activation(Activation::HardSigmoid { alpha, beta }) => {
                format!("HardSigmoid {alpha:.5e} {beta:.5e}")
            }
            Self::Activation(Activation::LeakyRelu { slope }) => format!("LeakyRelu {slope:.5e}"),
            Self::Linear { .. } | Self::Affine { .. } | Self::PRelu { .. } | Self::Constant(_) => {
                self.name().into()
            }
            other => format!("{other:?}"),
        };
        self.for_each_weight(|role, w| text += &format!(" {role} {:?}", w.shape()));
        text
    }

    /// Visits every constant tensor inside the operator, to replace it by one of the same shape.
    pub fn for_each_weight_mut(&mut self, mut f: impl FnMut(&mut Weights)) {
        match self {
            Self::Conv2d(Conv2d { weight, bias, .. }) | Self::Linear { weight, bias } => {
                f(weight);
                bias.iter_mut().for_each(f);
            }
            Self::BatchNorm { gamma, beta, mean, var, .. } => {
                [gamma, beta, mean, var].into_iter().for_each(f);
            }
            Self::Affine { scale, shift } => [scale, shift].into_iter().for_each(f),
            Self::PRelu { slope } => f(slope),
            Self::Constant(w) => f(w),
            _ => {}
        }
    }

    /// The operator's name in tables and messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv2d(_) => "Conv2d",
            Self::Linear { .. } => "Linear",
            Self::BatchNorm { .. } => "BatchNorm",
            Self::Affine { .. } => "Affine",
            Self::Activation(a) => match a {
                Activation::Relu => "Relu",
                Activation::Clip { .. } => "Clip",
                Activation::Silu => "SiLU",
                Activation::Sigmoid => "Sigmoid",
                Activation::HardSwish => "HardSwish",
                Activation::HardSigmoid { .. } => "HardSigmoid",
                Activation::LeakyRelu { .. } => "LeakyRelu",
                Activation::Tanh => "Tanh",
                Activation::Exp => "Exp",
            },
            Self::PRelu { .. } => "PRelu",
            Self::Add => "Add",
            Self::Mul => "Mul",
            Self::Sub => "Sub",
            Self::Div => "Div",
            Self::Concat { .. } => "Concat",
            Self::Slice { .. } => "Slice",
            Self::Pad { .. } => "Pad",
            Self::Pool(Pool { kind: PoolKind::Max, .. }) => "MaxPool",
            Self::Pool(_) => "AvgPool",
            Self::GlobalAvgPool => "GlobalAvgPool",
            Self::GlobalMaxPool => "GlobalMaxPool",
            Self::Resize(_) => "Resize",
            Self::Flatten => "Flatten",
            Self::Reshape { .. } => "Reshape",
            Self::Transpose { .. } => "Transpose",
            Self::Softmax { .. } => "Softmax",
            Self::Dropout => "Dropout",
            Self::Identity => "Identity",
            Self::Constant(_) => "Constant",
        }
    }
}
