//! Calibration, ranges and the quantisation of weights and biases.
//!
//! [`calibrate`] streams images through the float executor; [`range::choose`] turns a histogram into the interval an i8
//! tensor covers; [`weights`] and [`bias`] quantise the constants of one layer, [`bias_correction`] shifts biases against
//! the mean error that rounding the weights leaves. What is quantised together, and where i16 is used, is decided in
//! [`crate::lower`]. How well a finished model follows the float network is measured in [`crate::evaluate`].

pub mod bias;
pub mod bias_correction;
mod calibration;
mod channels;
mod histogram;
mod params;
mod patches;
pub mod range;
pub mod rounding;
pub mod weights;

pub use calibration::{Calibration, Options, calibrate, calibrate_sizes};
pub use channels::Channels;
pub use histogram::Histogram;
pub use params::QParams;
pub(crate) use patches::row_major;
pub use patches::{Block, Patches};
pub use range::{Method, Range};
pub use weights::{Rounding, WeightMethod};
