//! Operators of a model, packed.

use super::tuned::{Blocking, Problem};
use super::{
    Io, PackedConcat, PackedConv, PackedCopy, PackedElementwise, PackedPool, PackedResize,
    PackedTable, Scratch, ScratchSize, Shelf,
};
use crate::Model;
use crate::arena::Lease;
use crate::desc::{Op, OpKind};
use crate::isa::Platform;
use crate::ops::Units;
use crate::pages::Pages;
use alloc::sync::Arc;

/// An operator with its kernel.
pub enum PackedOp {
    /// Convolution or linear layer.
    Conv(PackedConv),
    /// Sum, product, affine map.
    Elementwise(PackedElementwise),
    /// Pooling.
    Pool(PackedPool),
    /// Concatenation.
    Concat(PackedConcat),
    /// Slice, subsampling, padding.
    Copy(PackedCopy),
    /// Resize.
    Resize(PackedResize),
    /// Look-up.
    Table(PackedTable),
}

impl PackedOp {
    /// Prepares an operator for `platform`; none if there is no kernel, so that the scalar definition serves.
    #[must_use]
    pub fn pack(platform: Platform, op: &Op, model: &Model<'_>) -> Option<Self> {
        let mut shelf = Shelf::new(0);
        let mut packed = Self::pack_on(platform, op, model, &mut shelf)?;
        packed.attach(&shelf.finish());
        Some(packed)
    }

    /// As [`PackedOp::pack`], with weights on a shelf, which has to be attached before the first run.
    #[must_use]
    pub fn pack_on(
        platform: Platform,
        op: &Op,
        model: &Model<'_>,
        shelf: &mut Shelf,
    ) -> Option<Self> {
        Some(match &op.kind {
            OpKind::Conv2d(conv) => Self::Conv(PackedConv::pack_on(platform, conv, model, shelf)),
            OpKind::Add { .. } | OpKind::Mul { .. } | OpKind::Affine { .. } => {
                Self::Elementwise(PackedElementwise::pack(platform, &op.kind, model)?)
            }
            OpKind::Pool(pool) => Self::Pool(PackedPool::pack(platform, pool, model)?),
            OpKind::Resize(resize) => Self::Resize(PackedResize::pack(resize, model)),
            OpKind::Table(table) => Self::Table(PackedTable::pack(platform, table, model)),
            OpKind::Copy(copy) => Self::Copy(PackedCopy::pack(platform, copy, model)),
            OpKind::Concat { inputs, multipliers, output } => {
                Self::Concat(PackedConcat::pack(platform, *inputs, *multipliers, *output, model))
            }
        })
    }

    /// Attaches the finished shelf that the weights were packed onto.
    pub fn attach(&mut self, shelf: &[Arc<Pages>]) {
        if let Self::Conv(conv) = self {
            conv.attach(shelf);
        }
    }

    /// The kernel's name, one of [`super::KERNELS`].
    #[must_use]
    pub fn kernel(&self) -> &'static str {
        match self {
            Self::Conv(conv) => conv.kernel(),
            Self::Elementwise(op) => op.kernel(),
            Self::Pool(pool) => pool.kernel(),
            Self::Concat(_) => "concat",
            Self::Copy(_) => "copy",
            Self::Resize(_) => "resize",
            Self::Table(_) => "table",
        }
    }

    /// Size and blocking of a convolution, where there is one.
    #[doc(hidden)]
    #[must_use]
    pub fn blocking(&self) -> Option<(Problem, Blocking)> {
        match self {
            Self::Conv(conv) => conv.blocking(),
            _ => None,
        }
    }

    /// What a run needs beside its operands.
    #[must_use]
    pub fn scratch(&self) -> ScratchSize {
        match self {
            Self::Conv(conv) => conv.scratch(),
            _ => ScratchSize::default(),
        }
    }

    /// Time of the products of a run, relative to those of the definition, both at the processor's peak.
    #[doc(hidden)]
    #[must_use]
    pub fn effort(&self) -> f32 {
        match self {
            Self::Conv(conv) => conv.effort(),
            _ => 1.0,
        }
    }

    /// How the work may be divided.
    #[must_use]
    pub fn units(&self) -> Units {
        match self {
            Self::Conv(conv) => conv.units(),
            Self::Pool(pool) => pool.units(),
            _ => Units::Pixels,
        }
    }

    /// The pool, if it is one.
    #[must_use]
    pub fn as_pool(&self) -> Option<&PackedPool> {
        if let Self::Pool(pool) = self { Some(pool) } else { None }
    }

    /// The packed weights that a run from unit `first` on begins with, where they are many.
    #[must_use]
    pub fn head(&self, first: usize) -> &[i8] {
        match self {
            Self::Conv(conv) => conv.head(first),
            _ => &[],
        }
    }

    /// Computes the leased part of the operator that this was packed from; `next` is the [`PackedOp::head`] of a later
    /// one.
    pub fn run(
        &self,
        op: &Op,
        model: &Model<'_>,
        lease: Lease<'_>,
        next: &[i8],
        scratch: &mut Scratch,
    ) {
        if lease.units.is_empty() {
            return;
        }
        if let Self::Concat(concat) = self {
            return concat.run(lease);
        }
        let Lease { inputs, outputs: [store, second], columns, units: range } = lease;
        let [input, gate, residual] =
            op.kind.reads().map(|id| id.map(|id| inputs.get(&model.tensor(id))));
        let io = Io {
            input: input.unwrap_or_default(),
            gate,
            residual,
            store,
            second,
            next,
            scratch,
            range,
        };
        match self {
            Self::Conv(conv) if columns.iter().any(Option::is_some) => {
                conv.run_in_columns(io, columns);
            }
            Self::Conv(conv) => conv.run(io),
            Self::Elementwise(op) => op.run(io),
            Self::Pool(pool) => pool.run(io),
            Self::Copy(copy) => copy.run(io),
            Self::Resize(resize) => resize.run(io),
            Self::Table(table) => table.run(io),
            Self::Concat(_) => {}
        }
    }
}

impl core::fmt::Debug for PackedOp {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("PackedOp").field(&self.kernel()).finish()
    }
}
