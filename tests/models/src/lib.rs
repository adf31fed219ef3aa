//! Random numbers, and random model files from the runtime's own writer.

pub mod detectors;
pub mod models;
pub mod random;
