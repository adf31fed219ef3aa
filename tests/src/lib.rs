//! What the cross-crate tests share: reference loops, random numbers, where test data is found.

pub mod command;
pub mod float_reference;
pub mod pink;
pub mod random;
pub mod reference_int;
pub mod zoo;

pub use kenar_test_models::{detectors, models};
