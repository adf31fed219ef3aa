//! Operators of a model.
//!
//! Numbers: `acc` is an exact i32; everything behind it is f32 in the order written, see [`crate::quant`].
//! `x'` stands for `x - zero_point(x)`.

use super::{Span, TensorDesc, TensorId};

/// How a result is written: clamp, round, optionally look up, store.
///
/// ```text
/// q = requantize(t, zero_point, clamp_min, clamp_max);   store(table ? table[q + 128] : q)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Store {
    /// Where to.
    pub output: TensorId,
    /// Zero point of `q`: that of the output tensor, or of the table's input when there is a table.
    pub zero_point: i32,
    /// Lower limit of `q`.
    pub clamp_min: i32,
    /// Upper limit of `q`.
    pub clamp_max: i32,
    /// 256 i8 values (SiLU, sigmoid, ...), only with an i8 output.
    pub table: Option<Span>,
}

/// A second operand that is added before the clamp: `t = t + f32(r') * multiplier`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Residual {
    /// Same height, width and channels as the result; i8 or i16.
    pub tensor: TensorId,
    /// `scale(r) / scale(q)`. Kernels are faster where the tensor is i8 and this has at most
    /// [`RESIDUAL_BITS`](crate::quant::RESIDUAL_BITS) significant bits.
    pub multiplier: f32,
}

/// Per-channel affine of the second store: `u = t * a[c]; u = u + b[c]` with `a`, `b` as f32 arrays (finite; `a` may be
/// negative or zero).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// f32 per channel.
    pub a: Span,
    /// f32 per channel.
    pub b: Span,
}

/// What follows the accumulation, always in this order:
///
/// ```text
/// t = f32(acc) * m                          (m per channel for convolutions, one value elsewhere)
/// t = t < 0 ? t * slope[c] : t              (convolutions only, if they have slopes)
/// t = silu(t) * factor[c]                   (convolutions only, if they have factors)
/// t = t + f32(r') * residual.multiplier     (if there is a residual)
/// store 1: t                                (if present: i8 or i16)
/// store 2: u = t * a[c]; u = u + b[c]       (if present: i8; t is not rounded, and clamped only as `clamp` says)
/// ```
///
/// Store 2 serves pre-activation blocks: one pass writes the raw sum and the next block's `relu(bn(sum))`. It takes
/// `t` before store 1's clamp and rounding. At least one store is present.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epilogue {
    /// Added operand.
    pub residual: Option<Residual>,
    /// The value itself.
    pub store: Option<Store>,
    /// An affine image of the value.
    pub second: Option<(Affine, Store)>,
}

/// A sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height, width of the window.
    pub size: [u32; 2],
    /// Vertical, horizontal step.
    pub stride: [u32; 2],
    /// Top, left, bottom, right padding.
    pub padding: [u32; 4],
    /// Vertical, horizontal dilation.
    pub dilation: [u32; 2],
}

/// Convolution, depthwise and grouped included; linear layers are 1x1 convolutions of a 1x1 map.
///
/// ```text
/// acc[o] = bias[o] + sum_{i,j,c} x'[y*s + i*d - p, ..., c] * w[o][i][j][c]      (outside the map x' = 0)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2d {
    /// i8 activations.
    pub input: TensorId,
    /// Window.
    pub window: Window,
    /// Divides input and output channels.
    pub groups: u32,
    /// Output channels.
    pub channels_out: u32,
    /// i8 `[C_out, H_w, W_w, C_in/groups]`, values in -127..=127.
    pub weights: Span,
    /// i32 per output channel. It holds the real bias only; zero-point corrections are the kernel's business.
    pub bias: Span,
    /// f32 per output channel: `scale(x) * scale(w[o]) / scale(t)`. Kernels are faster where these have at most
    /// [`MULTIPLIER_BITS`](crate::quant::MULTIPLIER_BITS) significant bits.
    pub multiplier: Span,
    /// f32 per output channel, finite: `t = t * slope[o]` where `t < 0`, right behind `t = f32(acc) * m[o]` and before
    /// the residual. PReLU and leaky ReLU; with slope 0 a ReLU whose result is then added to a skip.
    pub slope: Option<Span>,
    /// What follows.
    pub epilogue: Epilogue,
    /// f32 per output channel, positive: `t = silu(t) * factor[o]` in place of a slope, see [`crate::quant::silu`].
    /// `t = f32(acc) * m[o]` then is the real value. Unlike a table this takes `t` before it is rounded, and each
    /// channel may have a unit of its own.
    pub silu: Option<Span>,
}

/// What a pooling window computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Maximum of the positions inside the map; output has the input's scale and zero point.
    Max,
    /// `t = f32(sum of x') * m`, see [`Pool::multiplier`].
    Average,
}

/// Pooling; a global average is an average with the window of the map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pool {
    /// Max or average.
    pub kind: PoolKind,
    /// i8 or, for averages, i16.
    pub input: TensorId,
    /// Window.
    pub window: Window,
    /// Average: `scale(x) / scale(out)`. `t = f32(acc) * (multiplier / f32(count))`, where the quotient is one f32
    /// division and `count` is the number of positions inside the map, or of the whole window if `count_padding`.
    pub multiplier: f32,
    /// Average: padding counts as zeros.
    pub count_padding: bool,
    /// How the result is written; for max pooling only `output` matters and there is no table.
    pub store: Store,
}

/// Nearest-neighbour resize: `in = floor(out * in_size / out_size)`; scale and zero point are kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resize {
    /// Source.
    pub input: TensorId,
    /// Target; its shape says the size.
    pub output: TensorId,
}

/// i8 to i8 through 256 values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Table {
    /// Source.
    pub input: TensorId,
    /// Target, same shape.
    pub output: TensorId,
    /// 256 i8 values; entry `q + 128`.
    pub table: Span,
}

/// Strided crop with padding: slice, split, subsampling shortcut, channel padding, explicit pad.
///
/// ```text
/// out[y][x][c] = in[y*step[0] + start[0]][x*step[1] + start[1]][c + start[2]]   if that is inside the input
///              = zero point                                                      elsewhere
/// ```
///
/// Type, scale and zero point are kept. A run of channels may be a view of the input's bytes; then nothing is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Copy {
    /// Source.
    pub input: TensorId,
    /// Target.
    pub output: TensorId,
    /// Row, column, channel of the first element; may be negative.
    pub start: [i32; 3],
    /// Vertical, horizontal step, at least 1.
    pub step: [u32; 2],
}

impl Copy {
    /// The first channel, if this takes nothing but a run of `input`'s channels.
    #[must_use]
    pub fn slice(&self, input: &TensorDesc, output: &TensorDesc) -> Option<u32> {
        let [row, column, channel] = self.start;
        let channel = u32::try_from(channel).ok()?;
        let fits = [row, column] == [0, 0]
            && self.step == [1, 1]
            && [input.height, input.width] == [output.height, output.width]
            && channel.checked_add(output.channels)? <= input.channels;
        fits.then_some(channel)
    }

    /// Whether the result already lies in the input's bytes, so that nothing has to be moved.
    #[must_use]
    pub fn is_view(&self, input: &TensorDesc, output: &TensorDesc) -> bool {
        self.slice(input, output).is_some_and(|channel| output.is_view_of(input, channel))
    }
}

/// What of an operator may depend on the size of the maps: the same step of a network at another input size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Geometry {
    /// Of a convolution or a pooling.
    Window(Window),
    /// Of a [`struct@Copy`].
    Crop {
        /// Row, column, channel of the first element; may be negative.
        start: [i32; 3],
        /// Vertical, horizontal step.
        step: [u32; 2],
    },
}

/// A run of u32 in the list section (operands of a concatenation).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List {
    /// First entry.
    pub start: u32,
    /// Number of entries.
    pub len: u32,
}

/// The operators.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OpKind {
    /// Convolution or linear layer.
    Conv2d(Conv2d),
    /// `t = f32(a') * ma; t = t + f32(b') * mb` with the epilogue's residual as `b`: elementwise sum of two tensors.
    Add {
        /// i8 or i16.
        input: TensorId,
        /// `scale(a) / scale(t)`.
        multiplier: f32,
        /// The residual is present and is the second operand.
        epilogue: Epilogue,
    },
    /// `t = f32(x' * g') * m`; `g` has the shape of `x`, or is `[1, 1, 1, C]` (squeeze-excitation gate); both i8.
    Mul {
        /// Map.
        input: TensorId,
        /// Gate.
        gate: TensorId,
        /// `scale(x) * scale(g) / scale(t)`.
        multiplier: f32,
        /// What follows.
        epilogue: Epilogue,
    },
    /// `t = f32(x') * a[c]; t = t + b[c]`: batch norm that has no convolution to fold into, or a change of scale.
    Affine {
        /// i8 or i16.
        input: TensorId,
        /// Factors and summands.
        affine: Affine,
        /// How the result is written.
        store: Store,
    },
    /// Max or average pooling.
    Pool(Pool),
    /// Nearest-neighbour resize.
    Resize(Resize),
    /// Look-up.
    Table(Table),
    /// Slice, subsample, pad.
    Copy(Copy),
    /// Joins tensors along the channels; operand `i` is requantised by `t = f32(x') * m[i]`, and copied as bytes where
    /// its scale and zero point equal the output's (then `m[i]` is 1). Operands that are views into the output's
    /// buffer (same `arena_offset` as their place in the output) are left alone.
    Concat {
        /// Tensor ids.
        inputs: List,
        /// f32 per operand.
        multipliers: Span,
        /// Target.
        output: TensorId,
    },
}

/// One step of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Op {
    /// Name in the string section.
    pub name: Span,
    /// What is computed.
    pub kind: OpKind,
}

impl OpKind {
    /// Tensors that are read, but for a concatenation's operands, which are in its [`OpKind::list`].
    #[must_use]
    pub fn reads(&self) -> [Option<TensorId>; 3] {
        let added = |epilogue: &Epilogue| epilogue.residual.map(|residual| residual.tensor);
        match self {
            Self::Conv2d(conv) => [Some(conv.input), None, added(&conv.epilogue)],
            Self::Add { input, epilogue, .. } => [Some(*input), None, added(epilogue)],
            Self::Mul { input, gate, epilogue, .. } => [Some(*input), Some(*gate), added(epilogue)],
            Self::Affine { input, .. } => [Some(*input), None, None],
            Self::Pool(pool) => [Some(pool.input), None, None],
            Self::Resize(resize) => [Some(resize.input), None, None],
            Self::Table(table) => [Some(table.input), None, None],
            Self::Copy(copy) => [Some(copy.input), None, None],
            Self::Concat { .. } => [None; 3],
        }
    }

    /// The operands of a concatenation.
    #[must_use]
    pub fn list(&self) -> Option<List> {
        match self {
            Self::Concat { inputs, .. } => Some(*inputs),
            _ => None,
        }
    }

    /// Tensors that are written: the first and the second store.
    #[must_use]
    pub fn writes(&self) -> [Option<TensorId>; 2] {
        let stores = |epilogue: &Epilogue| {
            [
                epilogue.store.map(|store| store.output),
                epilogue.second.map(|(_, store)| store.output),
            ]
        };
        match self {
            Self::Conv2d(conv) => stores(&conv.epilogue),
            Self::Add { epilogue, .. } | Self::Mul { epilogue, .. } => stores(epilogue),
            Self::Affine { store, .. } => [Some(store.output), None],
            Self::Pool(pool) => [Some(pool.store.output), None],
            Self::Resize(resize) => [Some(resize.output), None],
            Self::Table(table) => [Some(table.output), None],
            Self::Copy(copy) => [Some(copy.output), None],
            Self::Concat { output, .. } => [Some(*output), None],
        }
    }

    /// What may depend on the size of the maps; shapes say the rest.
    #[must_use]
    pub fn geometry(&self) -> Option<Geometry> {
        match self {
            Self::Conv2d(conv) => Some(Geometry::Window(conv.window)),
            Self::Pool(pool) => Some(Geometry::Window(pool.window)),
            Self::Copy(copy) => Some(Geometry::Crop { start: copy.start, step: copy.step }),
            _ => None,
        }
    }

    /// What follows the accumulation, where an operator has it in full.
    #[must_use]
    pub fn epilogue(&self) -> Option<&Epilogue> {
        match self {
            Self::Conv2d(conv) => Some(&conv.epilogue),
            Self::Add { epilogue, .. } | Self::Mul { epilogue, .. } => Some(epilogue),
            _ => None,
        }
    }
}
