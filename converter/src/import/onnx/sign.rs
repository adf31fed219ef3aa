//! Which values can be negative: what a quantised network's implied clamps depend on.

use crate::graph::{Activation, Op};

/// Whether every element of an operator's result is zero or more, given that of its operands.
pub(super) fn is_non_negative(op: &Op, operands: &[bool]) -> bool {
    match op {
        Op::Activation(Activation::Clip { min, .. }) => *min >= 0.0,
        Op::Activation(a) => {
            matches!(
                a,
                Activation::Relu
                    | Activation::Sigmoid
                    | Activation::HardSigmoid { .. }
                    | Activation::Exp
            )
        }
        Op::Softmax { .. } => true,
        Op::Pad { value, .. } => *value >= 0.0 && operands[0],
        Op::Pool(_)
        | Op::GlobalAvgPool
        | Op::GlobalMaxPool
        | Op::Resize(_)
        | Op::Flatten
        | Op::Identity => operands[0],
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Slice { .. } | Op::Dropout => operands[0],
        Op::Concat { .. } | Op::Add | Op::Mul => operands.iter().all(|&o| o),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_follow_operators() {
        assert!(is_non_negative(&Op::Activation(Activation::Relu), &[false]));
        assert!(!is_non_negative(&Op::Activation(Activation::Silu), &[true]));
        assert!(is_non_negative(&Op::Add, &[true, true]));
        assert!(!is_non_negative(&Op::Add, &[true, false]));
        assert!(!is_non_negative(&Op::Sub, &[true, true]));
        assert!(!is_non_negative(&Op::Pad { pads: vec![], value: -1.0 }, &[true]));
    }
}
