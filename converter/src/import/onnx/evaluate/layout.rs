//! Operators that move, copy or describe elements without computing with them.

use ndarray::{ArrayD, Axis, IxDyn};

use super::super::constant::{Constant, same_type};
use super::super::node::Node;
use super::super::{shapes, tensor};
use super::{Budget, Operands};

/// The results of a layout operator; `None` if it is none.
pub(super) fn evaluate(
    node: &Node,
    o: &Operands,
    budget: &mut Budget,
) -> Result<Option<Vec<Constant>>, String> {
    let attribute = |e: crate::error::Error| e.to_string();
    let ints = |name: &str| node.ints(name).map_err(attribute);
    let int = |name: &str, default: i64| node.int(name, default).map_err(attribute);
    let one = match node.op_type() {
        "Identity" | "Dropout" => o.get(0)?.clone(),
        "Shape" => {
            let shape = o.get(0)?.shape();
            let range = shapes::slice(int("start", 0)?, int("end", i64::MAX)?, 1, shape.len())?;
            let sizes = &shape[range.start..range.start + range.count];
            Constant::from_ints(sizes.iter().map(|&d| d as i64).collect())
        }
        "Size" => Constant::from_int(o.get(0)?.len() as i64),
        "Reshape" => {
            let x = o.get(0)?;
            let shape = shapes::reshape(x.shape(), &o.ints(1)?, int("allowzero", 0)? != 0)?;
            with_shape(x, &shape)?
        }
        "Flatten" => with_shape(o.get(0)?, &shapes::flatten(o.get(0)?.shape(), int("axis", 1)?)?)?,
        "Squeeze" | "Unsqueeze" => {
            let x = o.get(0)?;
            let axes = match o.maybe_ints(1)? {
                Some(list) => Some(list),
                None => ints("axes")?.map(<[i64]>::to_vec),
            };
            let shape = match (node.op_type(), axes) {
                ("Squeeze", axes) => shapes::squeeze(x.shape(), axes.as_deref())?,
                (_, axes) => shapes::unsqueeze(x.shape(), &axes.ok_or("has no axes")?)?,
            };
            with_shape(x, &shape)?
        }
        "Transpose" => {
            let x = o.get(0)?;
            let perm = shapes::permutation(ints("perm")?, x.shape().len())?;
            same_type!(x, a => Ok::<_, String>((**a).clone().permuted_axes(IxDyn(&perm))))?
        }
        "Concat" => concat(o, int("axis", 0)?)?,
        "Slice" => slice(o)?,
        "Gather" => gather(o.get(0)?, o.get(1)?, int("axis", 0)?, budget)?,
        "Split" => return split(node, o).map(Some),
        "Expand" => {
            let x = o.get(0)?;
            let target: Vec<usize> = sizes(&o.ints(1)?)?;
            broadcast_to(x, &shapes::broadcast(x.shape(), &target)?, budget)?
        }
        "Tile" => tile(o.get(0)?, &o.ints(1)?, budget)?,
        "Range" => range(o, budget)?,
        "ConstantOfShape" => {
            let shape = sizes(&o.ints(0)?)?;
            budget.spend(shapes::element_count(&shape)?)?;
            let value = match node.tensor("value").map_err(attribute)? {
                Some(t) => tensor::constant(t, &node.name).map_err(attribute)?,
                None => Constant::from_floats(vec![0.0]),
            };
            same_type!(&value, a => {
                let v = a.first().ok_or("has an empty value")?;
                Ok::<_, String>(ArrayD::from_elem(IxDyn(&shape), *v))
            })?
        }
        _ => return Ok(None),
    };
    Ok(Some(vec![one]))
}

fn sizes(list: &[i64]) -> Result<Vec<usize>, String> {
    let all = list.iter().map(|&d| usize::try_from(d));
    all.collect::<Result<_, _>>().map_err(|_| format!("the shape {list:?} has a negative size"))
}

/// The same elements in another shape.
pub(in crate::import::onnx) fn with_shape(
    x: &Constant,
    shape: &[usize],
) -> Result<Constant, String> {
    same_type!(x, a => (**a).clone().into_shape_with_order(IxDyn(shape)).map_err(|e| e.to_string()))
}

/// The elements repeated to a larger shape.
pub(in crate::import::onnx) fn broadcast_to(
    x: &Constant,
    shape: &[usize],
    budget: &mut Budget,
) -> Result<Constant, String> {
    budget.spend(shapes::element_count(shape)?)?;
    let wrong = || format!("shape {:?} does not expand to {shape:?}", x.shape());
    same_type!(x, a => a.broadcast(IxDyn(shape)).map(|v| v.to_owned()).ok_or_else(wrong))
}

fn concat(o: &Operands, axis: i64) -> Result<Constant, String> {
    let parts: Vec<&Constant> = o.values.iter().flatten().collect();
    let first = *parts.first().ok_or("has nothing to join")?;
    let axis = shapes::axis(axis, first.shape().len())?;
    macro_rules! join {
        ($variant:ident) => {{
            let mut views = Vec::with_capacity(parts.len());
            for part in &parts {
                let Constant::$variant(a) = part else {
                    return Err("joins different types".into());
                };
                if a.ndim() != first.shape().len() {
                    return Err("joins different ranks".into());
                }
                views.push(a.view());
            }
            ndarray::concatenate(Axis(axis), &views).map(Constant::from).map_err(|e| e.to_string())
        }};
    }
    match first {
        Constant::F32(_) => join!(F32),
        Constant::I64(_) => join!(I64),
        Constant::Bool(_) => join!(Bool),
    }
}

fn slice(o: &Operands) -> Result<Constant, String> {
    let x = o.get(0)?;
    let (starts, ends) = (o.ints(1)?, o.ints(2)?);
    let axes = o.maybe_ints(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = o.maybe_ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("starts, ends, axes and steps have different lengths".into());
    }
    let mut result = x.clone();
    for (i, axis) in shapes::axes(&axes, x.shape().len())?.into_iter().enumerate() {
        let r = shapes::slice(starts[i], ends[i], steps[i], x.shape()[axis])?;
        let indices: Vec<usize> =
            (0..r.count).map(|k| (r.start as i64 + k as i64 * r.step) as usize).collect();
        result = same_type!(&result, a => Ok::<_, String>(a.select(Axis(axis), &indices)))?;
    }
    Ok(result)
}

fn gather(
    x: &Constant,
    indices: &Constant,
    axis: i64,
    budget: &mut Budget,
) -> Result<Constant, String> {
    let rank = x.shape().len();
    let axis = shapes::axis(axis, rank)?;
    let size = x.shape()[axis];
    let list = indices.ints().ok_or("the indices are not integers")?;
    let list: Vec<usize> = list
        .into_iter()
        .map(|i| {
            shapes::axis(i, size).map_err(|_| format!("index {i} is outside of {size} elements"))
        })
        .collect::<Result<_, _>>()?;
    let mut shape = x.shape()[..axis].to_vec();
    shape.extend(indices.shape());
    shape.extend(&x.shape()[axis + 1..]);
    budget.spend(shapes::element_count(&shape)?)?;
    let picked = same_type!(x, a => Ok::<_, String>(a.select(Axis(axis), &list)))?;
    with_shape(&picked, &shape)
}

/// The sizes of a Split's parts, from the file or equal.
pub(in crate::import::onnx) fn split_sizes(
    given: Option<&[i64]>,
    outputs: usize,
    size: usize,
) -> Result<Vec<usize>, String> {
    let parts = match given {
        Some(list) => sizes(list)?,
        None => {
            // The last part is the smaller one where the size does not divide.
            let part = size.div_ceil(outputs.max(1));
            (0..outputs).map(|i| part.min(size.saturating_sub(i * part))).collect()
        }
    };
    let total = parts.iter().try_fold(0usize, |n, &p| n.checked_add(p));
    if total != Some(size) || parts.len() != outputs {
        return Err(format!(
            "parts {parts:?} for {outputs} results do not make up an axis of {size}"
        ));
    }
    Ok(parts)
}

fn split(node: &Node, o: &Operands) -> Result<Vec<Constant>, String> {
    let attribute = |e: crate::error::Error| e.to_string();
    let x = o.get(0)?;
    let axis = shapes::axis(node.int("axis", 0).map_err(attribute)?, x.shape().len())?;
    let given = match o.maybe_ints(1)? {
        Some(list) => Some(list),
        None => node.ints("split").map_err(attribute)?.map(<[i64]>::to_vec),
    };
    let parts = split_sizes(given.as_deref(), node.output_count(), x.shape()[axis])?;
    let mut start = 0;
    parts
        .into_iter()
        .map(|n| {
            let indices: Vec<usize> = (start..start + n).collect();
            start += n;
            same_type!(x, a => Ok(a.select(Axis(axis), &indices)))
        })
        .collect()
}

fn tile(x: &Constant, repeats: &[i64], budget: &mut Budget) -> Result<Constant, String> {
    let repeats = sizes(repeats)?;
    if repeats.len() != x.shape().len() {
        return Err(format!("{} repeats for shape {:?}", repeats.len(), x.shape()));
    }
    let shape: Vec<usize> = x
        .shape()
        .iter()
        .zip(&repeats)
        .map(|(d, r)| d.checked_mul(*r).ok_or("repeats too often"))
        .collect::<Result<_, _>>()?;
    // Every step on the way may be larger than the result where a repeat is 0.
    if shapes::element_count(&shape)? == 0 {
        return same_type!(x, a => Ok(ArrayD::from_shape_fn(IxDyn(&shape), |_| a[IxDyn(&vec![0; a.ndim()])])));
    }
    budget.spend(shapes::element_count(&shape)?.saturating_mul(shape.len()))?;
    let mut result = x.clone();
    for (axis, &n) in repeats.iter().enumerate() {
        let size = result.shape()[axis];
        let indices: Vec<usize> = (0..n).flat_map(|_| 0..size).collect();
        result = same_type!(&result, a => Ok::<_, String>(a.select(Axis(axis), &indices)))?;
    }
    Ok(result)
}

fn range(o: &Operands, budget: &mut Budget) -> Result<Constant, String> {
    let (start, limit, step) = (o.get(0)?, o.get(1)?, o.get(2)?);
    if let (Some(start), Some(limit), Some(step)) = (start.int(), limit.int(), step.int()) {
        let count = match step {
            0 => return Err("has step 0".into()),
            1.. => (i128::from(limit) - i128::from(start)).max(0) as u128,
            _ => (i128::from(start) - i128::from(limit)).max(0) as u128,
        };
        let count =
            usize::try_from(count.div_ceil(u128::from(step.unsigned_abs()))).unwrap_or(usize::MAX);
        budget.spend(count)?;
        return Ok(Constant::from_ints((0..count as i64).map(|i| start + i * step).collect()));
    }
    if let (Some(start), Some(limit), Some(step)) = (start.float(), limit.float(), step.float()) {
        let count = ((f64::from(limit) - f64::from(start)) / f64::from(step)).ceil();
        if !count.is_finite() {
            return Err("has no end".into());
        }
        let count = count.max(0.0) as usize;
        budget.spend(count)?;
        return Ok(Constant::from_floats((0..count).map(|i| start + i as f32 * step).collect()));
    }
    Err("expected three single numbers of one type".into())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{run, run_ints};
    use super::*;

    fn ints(values: &[i64]) -> Constant {
        Constant::from_ints(values.to_vec())
    }

    #[test]
    fn the_chain_of_a_dynamic_pad_evaluates() {
        // PyTorch writes pads last axis first and reverses them by a slice of step -1.
        let pairs = ints(&[1, 2, 3, 4, 0, 0, 0, 0]);
        let matrix = run("Reshape", &[], &[pairs, ints(&[-1, 2])]).unwrap().unwrap().remove(0);
        let reversed = [ints(&[-1]), ints(&[i64::MIN + 1]), ints(&[0]), ints(&[-1])];
        let mut operands = vec![matrix];
        operands.extend(reversed);
        let rows = run("Slice", &[], &operands).unwrap().unwrap().remove(0);
        let columns = run("Transpose", &[("perm", &[1, 0])], &[rows]).unwrap().unwrap().remove(0);
        assert_eq!(run_ints("Reshape", &[], &[columns, ints(&[-1])]), [0, 0, 3, 1, 0, 0, 4, 2]);
    }

    #[test]
    fn gather_and_concat_build_shapes() {
        let shape = ints(&[1, 64, 20, 24]);
        let size = run("Gather", &[], &[shape.clone(), Constant::from_int(-1)])
            .unwrap()
            .unwrap()
            .remove(0);
        assert_eq!(size.shape(), [] as [usize; 0]);
        let one = run("Unsqueeze", &[], &[size, ints(&[0])]).unwrap().unwrap().remove(0);
        assert_eq!(run_ints("Concat", &[("axis", &[0])], &[ints(&[-1]), one]), [-1, 24]);
        assert!(run("Gather", &[], &[shape, ints(&[4])]).is_err());
        assert!(run("Concat", &[], &[ints(&[1]), Constant::from_floats(vec![1.0])]).is_err());
    }

    #[test]
    fn ranges_tiles_and_splits() {
        let limits = [Constant::from_int(5), Constant::from_int(0), Constant::from_int(-2)];
        assert_eq!(run_ints("Range", &[], &limits), [5, 3, 1]);
        assert_eq!(run_ints("Tile", &[], &[ints(&[1, 2]), ints(&[2])]), [1, 2, 1, 2]);
        assert!(run_ints("Tile", &[], &[ints(&[]), ints(&[3])]).is_empty());
        assert_eq!(run_ints("Expand", &[], &[ints(&[7]), ints(&[2, 2])]), [7; 4]);
        let parts = run("Split", &[], &[ints(&[1, 2, 3])]).unwrap().unwrap();
        assert_eq!(
            parts.iter().map(|p| p.ints().unwrap()).collect::<Vec<_>>(),
            [vec![1, 2], vec![3]]
        );
        assert!(run("Split", &[], &[ints(&[1, 2, 3]), ints(&[i64::MAX, 4])]).is_err());
    }
}
