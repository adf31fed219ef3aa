//! Softmax along one axis.

use ndarray::{ArrayD, Axis};

use super::Operand;

pub(super) fn softmax(x: Operand<'_>, axis: usize) -> ArrayD<f32> {
    let mut x = x.into_owned();
    for mut lane in x.lanes_mut(Axis(axis)) {
        let max = lane.fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        let mut sum = 0.0f32;
        for v in &mut lane {
            *v = (*v - max).exp();
            sum += *v;
        }
        lane /= sum;
    }
    x
}
