//! Quantised arithmetic: the numbers that every kernel must reproduce.

mod requantize;
mod silu;

pub use requantize::{requantize, round_ties_even, scale_accumulator};
pub use silu::silu;
#[cfg(feature = "alloc")]
pub(crate) use silu::{DENOMINATOR, NUMERATOR, REACH};
