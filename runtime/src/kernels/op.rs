//! Operators of a model, packed.

use super::{Io, PackedConv};
use crate::Model;
use crate::arena::Lease;
use crate::desc::{Op, OpKind};
use crate::isa::Platform;
use crate::ops::Units;

/// An operator with its kernel.
pub enum PackedOp {
    /// Convolution or linear layer.
    Conv(PackedConv),
}

impl PackedOp {
    /// Prepares an operator for `platform`; none if there is no kernel, so that the scalar definition serves.
    #[must_use]
    pub fn pack(platform: Platform, op: &Op, model: &Model<'_>) -> Option<Self> {
        match &op.kind {
            OpKind::Conv2d(conv) => Some(Self::Conv(PackedConv::pack(platform, conv, model))),
            _ => None,
        }
    }

    /// The kernel's name.
    #[must_use]
    pub fn kernel(&self) -> &'static str {
        match self {
            Self::Conv(conv) => conv.kernel(),
        }
    }

    /// How the work may be divided.
    #[must_use]
    pub fn units(&self) -> Units {
        match self {
            Self::Conv(conv) => conv.units(),
        }
    }

    /// Computes the leased part of the operator that this was packed from.
    pub fn run(&self, op: &Op, model: &Model<'_>, lease: Lease<'_>) {
        let Lease { inputs, outputs: [store, second], units: range } = lease;
        let [input, gate, residual] =
            op.kind.reads().map(|id| id.map(|id| inputs.get(&model.tensor(id))));
        let io = Io { input: input.unwrap_or_default(), gate, residual, store, second, range };
        match self {
            Self::Conv(conv) => conv.run(io),
        }
    }
}

impl core::fmt::Debug for PackedOp {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("PackedOp").field(&self.kernel()).finish()
    }
}
