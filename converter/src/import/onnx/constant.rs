//! Constants: what initializers and folded shape sub-graphs evaluate to.

use std::sync::Arc;

use ndarray::{ArrayD, IxDyn};

use crate::graph::Weights;

/// A tensor known at import, in one of the three types that matter to a network: every float type is held as
/// f32, every integer type as i64.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    /// Floats.
    F32(Weights),
    /// Integers.
    I64(Arc<ArrayD<i64>>),
    /// Truth values.
    Bool(Arc<ArrayD<bool>>),
}

/// Arrays are kept in row-major layout.
fn standard<T: Clone>(array: ArrayD<T>) -> Arc<ArrayD<T>> {
    Arc::new(if array.is_standard_layout() {
        array
    } else {
        array.as_standard_layout().into_owned()
    })
}

impl From<ArrayD<f32>> for Constant {
    fn from(array: ArrayD<f32>) -> Self {
        Self::F32(standard(array))
    }
}

impl From<ArrayD<i64>> for Constant {
    fn from(array: ArrayD<i64>) -> Self {
        Self::I64(standard(array))
    }
}

impl From<ArrayD<bool>> for Constant {
    fn from(array: ArrayD<bool>) -> Self {
        Self::Bool(standard(array))
    }
}

/// Evaluates an expression over the array of a constant, whatever its type; the result is a constant of that
/// type. The expression is a `Result`.
macro_rules! same_type {
    ($constant:expr, $array:ident => $body:expr) => {
        match $constant {
            $crate::import::onnx::constant::Constant::F32($array) => $body.map(Constant::from),
            $crate::import::onnx::constant::Constant::I64($array) => $body.map(Constant::from),
            $crate::import::onnx::constant::Constant::Bool($array) => $body.map(Constant::from),
        }
    };
}
pub(super) use same_type;

impl Constant {
    /// A vector of integers.
    pub(super) fn from_ints(values: Vec<i64>) -> Self {
        Self::from(ndarray::Array1::from(values).into_dyn())
    }

    /// A vector of floats.
    pub(super) fn from_floats(values: Vec<f32>) -> Self {
        Self::from(ndarray::Array1::from(values).into_dyn())
    }

    /// A single integer of rank 0.
    pub(super) fn from_int(value: i64) -> Self {
        Self::from(ArrayD::from_elem(IxDyn(&[]), value))
    }

    /// Sizes of all axes.
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            Self::F32(a) => a.shape(),
            Self::I64(a) => a.shape(),
            Self::Bool(a) => a.shape(),
        }
    }

    /// Number of elements.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::F32(a) => a.len(),
            Self::I64(a) => a.len(),
            Self::Bool(a) => a.len(),
        }
    }

    /// The element type in words.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::F32(_) => "float",
            Self::I64(_) => "integer",
            Self::Bool(_) => "boolean",
        }
    }

    /// The values of an integer constant in row-major order.
    pub(super) fn ints(&self) -> Option<Vec<i64>> {
        match self {
            Self::I64(a) => Some(a.iter().copied().collect()),
            _ => None,
        }
    }

    /// The array of a float constant.
    pub(super) fn floats(&self) -> Option<&Weights> {
        match self {
            Self::F32(a) => Some(a),
            _ => None,
        }
    }

    /// The value of a float constant with one element.
    pub(super) fn float(&self) -> Option<f32> {
        self.floats().filter(|a| a.len() == 1).and_then(|a| a.first().copied())
    }

    /// The value of an integer constant with one element.
    pub(super) fn int(&self) -> Option<i64> {
        match self {
            Self::I64(a) if a.len() == 1 => a.first().copied(),
            _ => None,
        }
    }

    /// Whether a one-element constant of any type is not zero.
    pub(super) fn truth(&self) -> Option<bool> {
        match self {
            Self::Bool(a) if a.len() == 1 => a.first().copied(),
            Self::I64(a) if a.len() == 1 => a.first().map(|&v| v != 0),
            Self::F32(a) if a.len() == 1 => a.first().map(|&v| v != 0.0),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_are_kept_row_major() {
        let array = ArrayD::from_shape_vec(IxDyn(&[2, 3]), vec![1i64, 2, 3, 4, 5, 6]).unwrap();
        let constant = Constant::from(array.permuted_axes(IxDyn(&[1, 0])));
        assert_eq!(constant.shape(), [3, 2]);
        assert_eq!(constant.ints().unwrap(), [1, 4, 2, 5, 3, 6]);
        let Constant::I64(a) = constant else { unreachable!() };
        assert!(a.is_standard_layout());
    }

    #[test]
    fn single_values_have_one_type() {
        assert_eq!(Constant::from_int(3).int(), Some(3));
        assert_eq!(Constant::from_int(3).float(), None);
        assert_eq!(Constant::from_ints(vec![1, 2]).int(), None);
        assert_eq!(Constant::from_floats(vec![0.5]).float(), Some(0.5));
        assert_eq!(Constant::from_int(0).truth(), Some(false));
    }
}
