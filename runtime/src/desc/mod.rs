//! Descriptors: plain `Copy` records of tensors and operators, the same for the writer, the loader and the kernels.
//!
//! Every array constant (weights, biases, multipliers, tables) is a [`Span`] into the model's data section.

mod op;
mod tensor;

pub use op::{
    Affine, Conv2d, Copy, Epilogue, Geometry, List, Op, OpKind, Pool, PoolKind, Residual, Resize,
    Store, Table, Window,
};
pub use tensor::{DType, TensorDesc, TensorId};

/// A run of bytes in a section of the model file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte, relative to the section.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}
