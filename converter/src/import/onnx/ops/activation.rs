//! Activations: elementwise functions of one value, PRelu and Softmax.

use ndarray::IxDyn;

use super::super::context::{Binding, Context};
use super::super::node::Node;
use super::super::shapes;
use super::shape::reshape_op;
use crate::error::Result;
use crate::graph::{Activation, Op, weights};

/// A clamp; one that only cuts below zero is a ReLU.
pub(super) fn clip(node: &Node, min: Option<f32>, max: Option<f32>) -> Result<Op> {
    let min = min.unwrap_or(f32::MIN).max(f32::MIN);
    let max = max.unwrap_or(f32::MAX).min(f32::MAX);
    // NaN counts as wrong order.
    if !matches!(min.partial_cmp(&max), Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal))
    {
        return Err(node.error(format!("clips to {min}..{max}, expected a range")));
    }
    Ok(Op::Activation(if min == 0.0 && max == f32::MAX {
        Activation::Relu
    } else {
        Activation::Clip { min, max }
    }))
}

fn limit_operand(context: &mut Context, node: &Node, i: usize) -> Result<Option<f32>> {
    let Some(c) = context.maybe_constant(node, i, "limit")? else { return Ok(None) };
    match c.float() {
        Some(v) if !v.is_nan() => Ok(Some(v)),
        _ => Err(node.error(format!("has a limit of shape {:?}, expected one float", c.shape()))),
    }
}

/// An elementwise function, PRelu or Softmax.
pub(super) fn activation(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let finite = |name: &str, default: f32| match node.float(name, default)? {
        v if v.is_finite() => Ok(v),
        v => Err(node.error(format!("has {name} = {v}, expected a finite number"))),
    };
    let activation = match node.op_type() {
        "Relu" => Activation::Relu,
        "Sigmoid" => Activation::Sigmoid,
        "HardSwish" => Activation::HardSwish,
        "Tanh" => Activation::Tanh,
        "Exp" => Activation::Exp,
        "HardSigmoid" => {
            Activation::HardSigmoid { alpha: finite("alpha", 0.2)?, beta: finite("beta", 0.5)? }
        }
        "LeakyRelu" => Activation::LeakyRelu { slope: finite("alpha", 0.01)? },
        "Clip" => {
            let (min, max) = (limit_operand(context, node, 1)?, limit_operand(context, node, 2)?);
            let op = clip(node, min, max)?;
            return context.finish(node, op, &[x]);
        }
        "PRelu" => return prelu(context, node),
        _ => return softmax(context, node),
    };
    context.finish(node, Op::Activation(activation), &[x])
}

/// Min or Max with one constant number: a clamp on one side.
pub(super) fn limit(context: &mut Context, node: &Node) -> Result<()> {
    let mut operands = Vec::new();
    for i in 0..node.input_count().min(3) {
        operands.push(context.operand(node, i)?);
    }
    let (x, c) = match operands.as_slice() {
        [Binding::Value(x), Binding::Constant(c)] | [Binding::Constant(c), Binding::Value(x)] => {
            (*x, c)
        }
        _ => return Err(node.error("is supported between one value and one constant number only")),
    };
    let v = c.float().ok_or_else(|| {
        node.error(format!("has a limit of shape {:?}, expected one float", c.shape()))
    })?;
    let op = if node.op_type() == "Max" {
        clip(node, Some(v), None)?
    } else {
        clip(node, None, Some(v))?
    };
    context.finish(node, op, &[x])
}

fn prelu(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let slope = context.weights(node, 1, "slope")?;
    let shape = context.shape(x);
    let channels = shape.get(1).copied().unwrap_or(1);
    // The slope broadcasts against the whole shape, so that a bare [C] would follow the last axis.
    let aligned = shape
        .len()
        .checked_sub(slope.ndim())
        .map(|pad| [vec![1; pad], slope.shape().to_vec()].concat());
    let per_channel = aligned
        .is_some_and(|s| s.iter().enumerate().all(|(i, &d)| d == 1 || (i == 1 && d == channels)));
    if !per_channel {
        return Err(node.error(format!(
            "has slopes of shape {:?} for {shape:?}, expected one number or one a channel",
            slope.shape()
        )));
    }
    let n = slope.len();
    let vector = slope.to_shape(IxDyn(&[n])).map_err(|e| node.error(e))?.into_owned();
    context.finish(node, Op::PRelu { slope: weights(vector) }, &[x])
}

fn softmax(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let shape = context.shape(x);
    let wrong = |e: String| node.error(e);
    if node.opset >= 13 {
        let axis = shapes::axis(node.int("axis", -1)?, shape.len()).map_err(wrong)?;
        return context.finish(node, Op::Softmax { axis }, &[x]);
    }
    // Up to operator set 12 the axes from `axis` on count as one.
    let axis = shapes::axis(node.int("axis", 1)?, shape.len()).map_err(wrong)?;
    if shape[axis + 1..].iter().all(|&d| d == 1) {
        return context.finish(node, Op::Softmax { axis }, &[x]);
    }
    let flat = shapes::flatten(&shape, axis as i64).map_err(wrong)?;
    let chain = vec![
        ("rows", reshape_op(&shape, flat)),
        ("softmax", Op::Softmax { axis: 1 }),
        ("shape", Op::Reshape { shape }),
    ];
    context.finish_chain(node, x, chain)
}
