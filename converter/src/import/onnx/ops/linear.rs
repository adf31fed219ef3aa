//! Gemm and MatMul with constant weights.

use ndarray::{ArrayD, Axis, Ix2, IxDyn};

use super::super::context::Context;
use super::super::node::Node;
use super::shape::reshape_op;
use crate::error::Result;
use crate::graph::{Op, Weights, weights};

/// The weights as `[out, in]`, times a factor.
fn matrix(
    context: &mut Context,
    node: &Node,
    w: &Weights,
    transposed: bool,
    factor: f32,
) -> Result<Weights> {
    let Ok(view) = w.view().into_dimensionality::<Ix2>() else {
        return Err(
            node.error(format!("its weight has the shape {:?}, expected a matrix", w.shape()))
        );
    };
    if transposed && factor == 1.0 {
        return Ok(w.clone());
    }
    context.spend(node, w.len())?;
    let view = if transposed { view } else { view.reversed_axes() };
    let owned = view.mapv(|v| v * factor).into_dyn();
    Ok(weights(owned.as_standard_layout().into_owned()))
}

/// `alpha * x * W + beta * bias`, `W` transposed or not.
pub(super) fn gemm(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    node.expect_int("transA", 0)?;
    let weight = context.weights(node, 1, "weight")?;
    let (alpha, beta) = (node.float("alpha", 1.0)?, node.float("beta", 1.0)?);
    let weight = matrix(context, node, &weight, node.int("transB", 0)? != 0, alpha)?;
    let shape = context.shape(x);
    if shape.len() != 2 {
        return Err(
            node.error(format!("its operand has the shape {shape:?}, expected [1, features]"))
        );
    }
    let out = weight.shape()[0];
    let bias = match context.maybe_weights(node, 2, "bias")? {
        None => None,
        Some(b) => {
            context.spend(node, out)?;
            let full =
                b.broadcast(IxDyn(&[1, out])).map(|v| v.index_axis(Axis(0), 0).mapv(|v| v * beta));
            let wrong = || {
                node.error(format!("its bias has the shape {:?}, expected {out} values", b.shape()))
            };
            Some(weights(full.ok_or_else(wrong)?))
        }
    };
    context.finish(node, Op::Linear { weight, bias }, &[x])
}

/// `x * W` over the last axis; a weight vector takes the axis away.
pub(super) fn mat_mul(context: &mut Context, node: &Node) -> Result<()> {
    let x = context.value(node, 0)?;
    let weight = context.weights(node, 1, "second matrix").map_err(|e| match e {
        crate::Error::Graph { node, detail } => crate::Error::graph(
            node,
            format!("{detail} (a product of two activations has no integer form)"),
        ),
        other => other,
    })?;
    if let &[inner] = weight.shape() {
        let mut target = context.shape(x);
        target.pop();
        context.spend(node, inner)?;
        let row = weight.to_shape(IxDyn(&[1, inner])).map_err(|e| node.error(e))?.to_owned();
        let sum = Op::Linear { weight: weights(row), bias: None };
        let summed = [target.as_slice(), &[1]].concat();
        return context.finish_chain(
            node,
            x,
            vec![("sum", sum), ("shape", reshape_op(&summed, target))],
        );
    }
    let weight = matrix(context, node, &weight, false, 1.0)?;
    context.finish(node, Op::Linear { weight, bias: None }, &[x])
}

/// A row of equal weights: a linear layer that adds up `n` values and scales the sum.
pub(super) fn sum_row(n: usize, factor: f32) -> Weights {
    weights(ArrayD::from_elem(IxDyn(&[1, n]), factor))
}
