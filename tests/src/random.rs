//! Reproducible numbers for property tests, also as arrays.

pub use kenar_test_models::random::Random;
use ndarray::{ArrayD, IxDyn};

/// Arrays of random numbers.
pub trait RandomArray {
    /// Numbers in -1..1.
    fn array(&mut self, shape: &[usize]) -> ArrayD<f32>;
}

impl RandomArray for Random {
    fn array(&mut self, shape: &[usize]) -> ArrayD<f32> {
        ArrayD::from_shape_simple_fn(IxDyn(shape), || self.unit())
    }
}
