//! Runs int8 networks from one verified model file, with the same bytes on every CPU.
//!
//! # Features
//!
//! - `std` (implies `alloc`): detection of the host's instruction set, packed weights, threads.
//! - `alloc`: the model writer and the memory planner, for converters.
//! - `half`: outputs as f16.
//! - `defmt`: [`Error`] implements `defmt::Format`.
//!
//! Without features the crate needs `core` alone and never allocates.
#![no_std]
#![deny(unsafe_code)]
#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[allow(unsafe_code)]
pub mod arena;
pub mod desc;
pub mod error;
pub mod format;
pub mod isa;
#[cfg(feature = "alloc")]
pub mod kernels;
pub mod model;
pub mod ops;
#[cfg(feature = "alloc")]
pub mod plan;
pub mod quant;
pub mod session;
#[cfg(all(test, feature = "alloc"))]
mod testing;

pub use error::Error;
pub use model::{Model, Output};
#[cfg(feature = "std")]
pub use session::Options;
pub use session::{Session, TensorView};
