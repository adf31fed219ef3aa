//! Reductions over axes of constants.

use ndarray::Axis;

use super::super::constant::Constant;
use super::super::node::Node;
use super::super::shapes;
use super::layout::with_shape;
use super::{Budget, Operands};

/// The result of a reduction; `None` if the operator is none.
pub(super) fn evaluate(
    node: &Node,
    o: &Operands,
    budget: &mut Budget,
) -> Result<Option<Constant>, String> {
    let ints: fn(i64, i64) -> i64 = match node.op_type() {
        "ReduceProd" => i64::wrapping_mul,
        "ReduceSum" => i64::wrapping_add,
        "ReduceMax" => i64::max,
        "ReduceMin" => i64::min,
        _ => return Ok(None),
    };
    let floats: fn(f32, f32) -> f32 = match node.op_type() {
        "ReduceProd" => |a, b| a * b,
        "ReduceSum" => |a, b| a + b,
        "ReduceMax" => f32::max,
        _ => f32::min,
    };
    let attribute = |e: crate::error::Error| e.to_string();
    let x = o.get(0)?;
    let rank = x.shape().len();
    let given = match o.maybe_ints(1)? {
        Some(list) => Some(list),
        None => node.ints("axes").map_err(attribute)?.map(<[i64]>::to_vec),
    };
    let axes = match given {
        Some(list) if !list.is_empty() => shapes::axes(&list, rank)?,
        _ if node.int("noop_with_empty_axes", 0).map_err(attribute)? != 0 => {
            return Ok(Some(x.clone()));
        }
        _ => (0..rank).collect(),
    };
    let mut kept: Vec<usize> = x.shape().to_vec();
    let mut result = x.clone();
    for &axis in &axes {
        kept[axis] = 1;
        budget.spend(result.len())?;
        if result.shape()[axis] == 0 {
            return Err(format!("reduces the empty axis {axis}"));
        }
        result = match &result {
            Constant::F32(a) => {
                a.map_axis(Axis(axis), |v| v.iter().copied().reduce(floats).unwrap_or(0.0)).into()
            }
            Constant::I64(a) => {
                a.map_axis(Axis(axis), |v| v.iter().copied().reduce(ints).unwrap_or(0)).into()
            }
            Constant::Bool(_) => return Err("reduces truth values".into()),
        };
        // The axis stays, so that the others keep their numbers.
        let mut shape = result.shape().to_vec();
        shape.insert(axis, 1);
        result = with_shape(&result, &shape)?;
    }
    if node.int("keepdims", 1).map_err(attribute)? == 0 {
        kept = (0..rank).filter(|i| !axes.contains(i)).map(|i| kept[i]).collect();
    }
    with_shape(&result, &kept).map(Some)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{run, run_ints};
    use super::*;

    #[test]
    fn the_size_of_a_shape_is_its_product() {
        let shape = Constant::from_ints(vec![2, 3, 4]);
        assert_eq!(
            run_ints("ReduceProd", &[("keepdims", &[0])], std::slice::from_ref(&shape)),
            [24]
        );
        let kept = run("ReduceMax", &[], &[shape]).unwrap().unwrap().remove(0);
        assert_eq!((kept.shape(), kept.int()), (&[1][..], Some(4)));
    }

    #[test]
    fn axes_keep_their_numbers() {
        let x = with_shape(&Constant::from_ints((0..6).collect()), &[1, 2, 3]).unwrap();
        let axes = Constant::from_ints(vec![-1]);
        assert_eq!(run_ints("ReduceSum", &[("keepdims", &[0])], &[x.clone(), axes]), [3, 12]);
        assert!(run("ReduceSum", &[], &[x, Constant::from_ints(vec![3])]).is_err());
        let empty = Constant::from_ints(vec![]);
        assert!(run("ReduceMax", &[], &[empty]).is_err());
    }
}
