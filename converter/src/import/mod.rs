//! Reading source files: [`load`] turns any of them into a float graph.
//!
//! `source` is that entry. `onnx` reads whole networks. `checkpoint` tells the container of a state_dict and
//! reads it into a [`Checkpoint`](crate::checkpoint::Checkpoint); `torch_zip`, `torch_legacy` and `safetensors`
//! are the containers; `pickle` is the restricted machine behind the first two; `storage` and `tensor` turn
//! bytes into arrays; `state_dict` finds the weights in what was saved, `module` the records of a pickled module.

pub mod checkpoint;
mod described;
pub mod module;
mod network;
pub mod onnx;
pub mod pickle;
mod safetensors;
mod source;
mod state_dict;
mod storage;
mod tensor;
mod torch_legacy;
mod torch_zip;

#[cfg(test)]
pub(crate) mod testing;

pub use source::{LoadOptions, Source, load};
pub use storage::StorageType;
