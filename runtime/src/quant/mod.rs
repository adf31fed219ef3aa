//! Quantised arithmetic: the numbers that every kernel must reproduce.

mod requantize;
mod significant;
mod silu;

pub use requantize::{requantize, round_ties_even, scale_accumulator};
pub use significant::{MULTIPLIER_BITS, RESIDUAL_BITS, has_bits, significant};
pub use silu::silu;
#[cfg(feature = "alloc")]
pub(crate) use silu::{DENOMINATOR, NUMERATOR, REACH};
