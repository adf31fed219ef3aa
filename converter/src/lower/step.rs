//! Steps: what will become one operator of the model each, still in terms of float values.

use kenar::desc::DType;

use super::prepare::Conv;
use super::shape::{Copy, Window};
use crate::graph::{Activation, ValueId};

/// What a step accumulates or moves.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    Conv(Conv),
    Add,
    Mul { gate: ValueId },
    Affine { scale: Vec<f32>, shift: Vec<f32> },
    MaxPool(Window),
    AvgPool { window: Window, count_padding: bool },
    Resize,
    Table(Activation),
    Copy(Copy),
    Concat { operands: Vec<ValueId> },
}

impl Work {
    /// Whether the step ends in an epilogue that can take a second store.
    pub fn has_epilogue(&self) -> bool {
        matches!(self, Self::Conv(_) | Self::Add | Self::Mul { .. })
    }
}

/// What happens to a result before it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Finish {
    /// Nothing but the limits of the type.
    Plain,
    /// Limits in real units; infinite where there is none.
    Clamp(f32, f32),
    /// A look-up.
    Table(Activation),
}

impl Finish {
    /// How an activation is written.
    pub fn of(activation: &Activation) -> Self {
        match activation {
            Activation::Relu => Self::Clamp(0.0, f32::INFINITY),
            // A clip that leaves zero out would shift every zero; a table says what it does.
            &Activation::Clip { min, max } if min <= 0.0 && max >= 0.0 => Self::Clamp(min, max),
            other => Self::Table(other.clone()),
        }
    }
}

/// Where a result goes.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The float value that is written.
    pub value: ValueId,
    /// The float value before `finish`.
    pub before: ValueId,
    pub finish: Finish,
    pub dtype: DType,
}

/// The second store: a per-channel affine of the raw sum.
#[derive(Clone, Debug)]
pub(crate) struct Second {
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
    pub target: Target,
}

/// One operator to be.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub name: String,
    pub work: Work,
    /// First operand, and the element type it is read in.
    pub input: ValueId,
    pub input_dtype: DType,
    /// Factor per channel below zero, in front of the residual.
    pub slope: Option<Vec<f32>>,
    /// SiLU of the unrounded result of a convolution, in front of the residual, in place of a slope.
    pub silu: bool,
    pub residual: Option<(ValueId, DType)>,
    /// The float value of the sum before any store.
    pub raw: ValueId,
    pub first: Option<Target>,
    pub second: Option<Second>,
}

impl Step {
    /// Both stores.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.first.iter().chain(self.second.as_ref().map(|s| &s.target))
    }

    /// Every tensor that is read, with its element type.
    pub fn reads(&self) -> Vec<(ValueId, DType)> {
        match &self.work {
            Work::Concat { operands } => operands.iter().map(|&v| (v, DType::I8)).collect(),
            Work::Mul { gate } => {
                let mut reads = vec![(self.input, self.input_dtype), (*gate, DType::I8)];
                reads.extend(self.residual);
                reads
            }
            _ => {
                let mut reads = vec![(self.input, self.input_dtype)];
                reads.extend(self.residual);
                reads
            }
        }
    }

    /// Whether the sum is kept as it is: the stream of pre-activation networks.
    pub fn sums_raw(&self) -> bool {
        self.residual.is_some() && self.first.as_ref().is_none_or(|t| t.finish == Finish::Plain)
    }
}
