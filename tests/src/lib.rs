//! What the cross-crate tests share: reference loops, random numbers, where test data is found.

pub mod command;
pub mod detectors;
pub mod float_reference;
pub mod models;
pub mod pink;
pub mod random;
pub mod reference_int;
pub mod zoo;
