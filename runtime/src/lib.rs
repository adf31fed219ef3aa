//! kenar
#![no_std]
#![deny(unsafe_code)]
#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod desc;
pub mod error;
pub mod quant;

pub use error::Error;
