//! Add, Sub, Mul, Div and their relatives, between values and with constants.

use ndarray::IxDyn;

use super::super::constant::Constant;
use super::super::context::{Binding, Context};
use super::super::evaluate::broadcast_to;
use super::super::node::Node;
use super::super::shapes;
use crate::error::Result;
use crate::graph::{Op, ValueId, Weights, weights};

fn op(node: &Node) -> Op {
    match node.op_type() {
        "Sub" => Op::Sub,
        "Mul" => Op::Mul,
        "Div" => Op::Div,
        _ => Op::Add,
    }
}

/// `x * scale + shift` with one number each, over a value of `shape`.
pub(super) fn uniform_affine(
    context: &mut Context,
    node: &Node,
    shape: &[usize],
    scale: f32,
    shift: f32,
) -> Result<Op> {
    let Some(&channels) = shape.get(1) else {
        return Err(
            node.error(format!("its operand has the shape {shape:?}, expected two axes or more"))
        );
    };
    context.spend(node, 2 * channels)?;
    let vector = |v: f32| weights(ndarray::ArrayD::from_elem(IxDyn(&[channels]), v));
    Ok(Op::Affine { scale: vector(scale), shift: vector(shift) })
}

/// A constant as one number a channel (axis 1) of `shape`, if it is that.
fn per_channel(
    context: &mut Context,
    node: &Node,
    c: &Weights,
    shape: &[usize],
) -> Result<Option<Weights>> {
    let (Some(pad), Some(&channels)) = (shape.len().checked_sub(c.ndim()), shape.get(1)) else {
        return Ok(None);
    };
    let size = |axis: usize| axis.checked_sub(pad).map_or(1, |i| c.shape()[i]);
    let fits =
        (0..shape.len()).all(|axis| size(axis) == 1 || (axis == 1 && size(axis) == channels));
    if !fits {
        return Ok(None);
    }
    context.spend(node, channels)?;
    let flat = c.to_shape(IxDyn(&[c.len()])).map_err(|e| node.error(e))?;
    let vector = flat.broadcast(IxDyn(&[channels])).map(|v| v.to_owned());
    Ok(vector.map(weights))
}

/// An arithmetic operator of two operands.
pub(super) fn binary(context: &mut Context, node: &Node) -> Result<()> {
    match (context.operand(node, 0)?, context.operand(node, 1)?) {
        (Binding::Value(x), Binding::Constant(c)) => with_constant(context, node, x, &c, false),
        (Binding::Constant(c), Binding::Value(x)) => with_constant(context, node, x, &c, true),
        _ => {
            let (a, b) = (context.value(node, 0)?, context.value(node, 1)?);
            let inputs = aligned(context, node, a, b)?;
            context.finish(node, op(node), &inputs)
        }
    }
}

/// The operands in the order and shapes that the graph's operators take: equal, or the second one number a
/// channel.
fn aligned(context: &mut Context, node: &Node, a: ValueId, b: ValueId) -> Result<[ValueId; 2]> {
    let (sa, sb) = (context.shape(a), context.shape(b));
    let small = |s: &[usize], big: &[usize]| {
        let ones: usize = s.iter().product();
        ones == 1
            || (big.len() == 4
                && s.len() <= 4
                && s.len() >= 3
                && s[s.len() - 3..] == [big[1], 1, 1])
    };
    if sa == sb {
        return Ok([a, b]);
    }
    let full = shapes::broadcast(&sa, &sb).map_err(|e| node.error(e))?;
    let commutes = matches!(node.op_type(), "Add" | "Mul" | "Sum");
    let (x, y, sy) = if full == sa && small(&sb, &sa) {
        (a, b, sb)
    } else if full == sb && small(&sa, &sb) && commutes {
        (b, a, sa)
    } else {
        return Ok([stretched(context, node, a, &full)?, stretched(context, node, b, &full)?]);
    };
    // A channel vector has four axes.
    if context.shape(x).len() == 4 && sy.len() != 4 {
        let channels = sy.iter().product();
        let y = context.push_part(
            node,
            "shape",
            Op::Reshape { shape: vec![1, channels, 1, 1] },
            &[y],
        )?;
        return Ok([x, y]);
    }
    Ok([x, y])
}

/// No axis of a decoded head is stretched further.
const MAX_COPIES: usize = 4096;

/// A value repeated to a larger shape: joined with itself along the axes of size 1.
pub(super) fn stretched(
    context: &mut Context,
    node: &Node,
    x: ValueId,
    full: &[usize],
) -> Result<ValueId> {
    let from = context.shape(x);
    let pad =
        full.len().checked_sub(from.len()).ok_or_else(|| node.error("stretches to fewer axes"))?;
    let mut value = x;
    if pad > 0 {
        let shape = [vec![1; pad], from.clone()].concat();
        value = context.push_part(node, "shape", Op::Reshape { shape }, &[value])?;
    }
    for (axis, &copies) in full.iter().enumerate() {
        if context.shape(value)[axis] == copies {
            continue;
        }
        if copies > MAX_COPIES {
            return Err(node.error(format!(
                "stretches {from:?} to {full:?}; expected at most {MAX_COPIES} copies"
            )));
        }
        context.spend(node, copies)?;
        value = context.push_part(node, "copies", Op::Concat { axis }, &vec![value; copies])?;
    }
    Ok(value)
}

fn with_constant(
    context: &mut Context,
    node: &Node,
    x: ValueId,
    c: &Constant,
    constant_first: bool,
) -> Result<()> {
    let shape = context.shape(x);
    let Some(w) = c.floats() else {
        return Err(
            node.error(format!("combines a float value with a constant of type {}", c.type_name()))
        );
    };
    let full = shapes::broadcast(&shape, w.shape()).map_err(|e| node.error(e))?;
    if full.iter().product::<usize>() != shape.iter().product::<usize>() {
        return Err(node.error(format!(
            "stretches a value of shape {shape:?} to a constant of shape {:?}; expected a constant that fits the value",
            w.shape()
        )));
    }
    let name = node.input(usize::from(!constant_first)).unwrap_or_default();
    let x = if full == shape {
        x
    } else {
        context.push_part(node, "shape", Op::Reshape { shape: full.clone() }, &[x])?
    };
    let divides_by_value = node.op_type() == "Div" && constant_first;
    if let Some(v) = per_channel(context, node, w, &full)?
        && !divides_by_value
    {
        let all = |value: f32| weights(v.mapv(|_| value));
        let (scale, shift) = match node.op_type() {
            "Add" => (all(1.0), v.clone()),
            "Sub" if constant_first => (all(-1.0), v.clone()),
            "Sub" => (all(1.0), weights(v.mapv(|v| -v))),
            "Mul" => (v.clone(), all(0.0)),
            _ => (weights(v.mapv(f32::recip)), all(0.0)),
        };
        if scale.iter().chain(shift.iter()).any(|v| !v.is_finite()) {
            return Err(node.error(format!("constant '{name}' makes values that are not finite")));
        }
        return context.finish(node, Op::Affine { scale, shift }, &[x]);
    }
    let stretched = broadcast_to(c, &full, &mut context.budget).map_err(|e| node.error(e))?;
    let constant = context.push_constant(node, name, &stretched)?;
    let inputs = if constant_first { [constant, x] } else { [x, constant] };
    context.finish(node, op(node), &inputs)
}

/// Sum of any number of operands.
pub(super) fn sum(context: &mut Context, node: &Node) -> Result<()> {
    let mut total = context.value(node, 0)?;
    let n = node.input_count();
    for i in 1..n {
        let next = context.value(node, i)?;
        let inputs = aligned(context, node, total, next)?;
        if i + 1 == n {
            return context.finish(node, Op::Add, &inputs);
        }
        total = context.push_part(node, "sum", Op::Add, &inputs)?;
    }
    context.finish(node, Op::Identity, &[total])
}

/// `-x`.
pub(super) fn negate(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let op = uniform_affine(context, node, &context.shape(x), -1.0, 0.0)?;
    context.finish(node, op, &[x])
}

/// `x` to the power of 1 or 2.
pub(super) fn power(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let exponent = context.constant(node, 1, "exponent")?;
    match exponent.float().or(exponent.int().map(|v| v as f32)) {
        Some(1.0) => context.finish(node, Op::Identity, &[x]),
        Some(2.0) => context.finish(node, Op::Mul, &[x, x]),
        Some(v) => Err(node.error(format!("has the exponent {v}, expected 1 or 2"))),
        None => Err(node
            .error(format!("has exponents of shape {:?}, expected one number", exponent.shape()))),
    }
}
