//! Quantised arithmetic: the numbers that every kernel must reproduce.

mod requantize;

pub use requantize::{requantize, round_ties_even, scale_accumulator};
