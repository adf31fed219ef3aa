//! Vector kernels: safe code, written once over the operations of [`crate::isa::Isa`].
//!
//! Every kernel gives the bytes that the scalar definition gives, in the platform's storage form: an i8 value `q` is
//! the byte `q ^ act_xor`. A packed operator is made once per model and platform; running it never allocates.
//! Tests live in `crate::testing` and run every kernel of [`KERNELS`] on every platform.
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
mod bandwidth;
mod concat;
mod conv;
mod depthwise;
mod elementwise;
mod epilogue;
mod finder;
mod form;
mod gemm;
mod geometry;
mod grouped;
mod indirect;
mod large_pool;
mod lined;
mod live;
mod moves;
mod op;
mod pack;
mod paired;
mod panels;
#[cfg(feature = "std")]
mod peak;
mod pool;
mod quads;
mod raised;
mod scale;
mod scratch;
mod segment;
mod squeeze;
mod stem;
mod tuned;
mod winograd;
mod woven;

pub use concat::PackedConcat;
pub use conv::PackedConv;
pub use elementwise::PackedElementwise;
#[cfg(test)]
pub(crate) use form::Form;
pub use moves::{PackedCopy, PackedResize, PackedTable};
pub use op::PackedOp;
pub use pack::Shelf;
pub use pool::PackedPool;
pub use scratch::{Scratch, ScratchSize};
#[doc(hidden)]
pub use tuned::{Blocking, Problem};

use crate::Model;
use crate::desc::{Span, TensorDesc, TensorId};
use core::ops::Range;

/// The kernels, by the names that packed operators report.
pub const KERNELS: &[&str] = &[
    "pointwise",
    "indirect",
    "window_rows",
    "gathered",
    "grouped",
    "depthwise",
    "stem",
    "winograd",
    "add",
    "mul",
    "affine",
    "max_pool",
    "average_pool",
    "concat",
    "copy",
    "resize",
    "table",
];

/// Where packers find tensors and constants: a verified model.
pub trait Lookup {
    /// A tensor's description.
    fn tensor(&self, id: TensorId) -> TensorDesc;
    /// A constant's bytes, little-endian.
    fn bytes(&self, span: Span) -> &[u8];
}

impl Lookup for Model<'_> {
    fn tensor(&self, id: TensorId) -> TensorDesc {
        Model::tensor(self, id)
    }

    fn bytes(&self, span: Span) -> &[u8] {
        self.data(span)
    }
}

/// Operands of one run. Input slices hold the whole tensor and [`TensorDesc::SLACK_BYTES`] behind it; i16 tensors are
/// native-endian bytes.
pub struct Io<'a> {
    /// First operand.
    pub input: &'a [u8],
    /// Gate of a multiplication.
    pub gate: Option<&'a [u8]>,
    /// Residual of the epilogue.
    pub residual: Option<&'a [u8]>,
    /// Output of the first store, from the start of `range` on.
    pub store: Option<&'a mut [u8]>,
    /// Output of the second store, from the start of `range` on.
    pub second: Option<&'a mut [u8]>,
    /// Weights of the next convolution, asked for from memory in time; may be empty.
    pub next: &'a [i8],
    /// Memory for [`PackedConv::scratch`].
    pub scratch: &'a mut Scratch,
    /// The units (pixels or channels) to compute.
    pub range: Range<usize>,
}
