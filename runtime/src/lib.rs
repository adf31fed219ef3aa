//! Runs int8 networks from one verified model file, with the same bytes on every CPU.
//!
//! ```no_run
//! # #[cfg(feature = "std")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let frame = vec![0u8; 320 * 320 * 3];
//! let file = std::fs::read("backbone.kenar")?;
//! let model = kenar::Model::parse(&file)?; // zero copy; everything is checked here, once
//! let mut arena = vec![0; model.arena_bytes()];
//! let mut session = kenar::Session::with_options(&model, &mut arena, kenar::Options::default())?;
//! session.input().set_rgb8(&frame, 320, 320)?; // normalisation is folded into the input quantisation
//! session.run()?;
//! let c3 = session.output("c3")?; // [1, H, W, C] i8 with scale and zero point
//! let mut map = vec![0.0; c3.len()];
//! c3.copy_f32_nchw(&mut map)?;
//! # Ok(()) }
//! # #[cfg(not(feature = "std"))]
//! # fn main() {}
//! ```
//!
//! On bare metal, `kenar::Session::new(&model, arena)` takes a static buffer instead.
//!
//! # Features
//!
//! - `std` (implies `alloc`): detection of the host's instruction set, packed weights, threads.
//! - `alloc`: the model writer and the memory planner, for converters.
//! - `detect`: boxes from the outputs of detectors ([`detect`]); takes `exp` from `libm`.
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
pub mod detect;
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
